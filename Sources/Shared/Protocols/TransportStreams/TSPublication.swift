package import MPEGTS
package import Media
package import NIOCore
package import Streaming

/// Turns the bytes of a transport stream, as a publisher sends them, into the events of a live stream.
///
/// Run loop: `receive` what arrived, hand the events that come back to the sink; `takeNotices()` now and then, for the log;
/// `finish` when the publisher leaves. The events' times are raw: the sink's clock is `SourceClock.mpegTS`.
///
/// - What a demuxer promises of frames holds here: see `TSDemuxer`.
/// - No broken picture goes out. Where packets of the video are missing or damaged, its frames are dropped up to the next
///   keyframe, and with that the pictures that stand behind it but are shown before it, which refer to what was lost. Audio
///   goes on with its next whole frame.
/// - Nothing begins in part. While the program names audio or video that has not come yet, the events wait, for a bounded
///   time: see `TrackHold`.
/// - Nothing ends a publication: bytes that are no transport stream are counted and passed over. Whether a publisher that
///   sends no media is worth its connection, `hasMedia` lets its owner decide.
/// - Bounded: an access unit, the tables, and some notices are kept.
///
/// Spec: ISO 13818-1.
package struct TSPublication: Sendable {
    /// What is read, and what happens after a loss.
    package struct Configuration: Sendable, Hashable {
        /// Which program and which audio are read, and how much is kept.
        package var demuxer: TSDemuxer.Configuration
        /// After a loss video waits for a keyframe. Without, decoders show what they make of it: for sources that never
        /// send one, because they refresh their pictures piece by piece.
        package var waitsForKeyframeAfterLoss: Bool
        /// How long the start waits for a track that the program names.
        package var hold: TrackHold.Configuration
        /// A problem of one kind is told at most once in this time; in between it is only counted.
        package var noticeInterval: TimeAmount

        package init(
            demuxer: TSDemuxer.Configuration = .init(), waitsForKeyframeAfterLoss: Bool = true,
            hold: TrackHold.Configuration = .init(), noticeInterval: TimeAmount = .seconds(10)
        ) {
            self.demuxer = demuxer
            self.hold = hold
            self.waitsForKeyframeAfterLoss = waitsForKeyframeAfterLoss
            self.noticeInterval = noticeInterval
        }
    }

    /// What the owner may want to log.
    package enum Notice: Sendable, Equatable {
        /// The program that is read was found, or its map changed.
        case program(TSProgram)
        /// The source announces that its clock jumps. The stream's timeline joins it.
        case clockJump
        /// Something is wrong with the stream. `suppressed`: problems of this kind since the last one that was told.
        case problem(TSProblem, suppressed: Int)
    }

    /// What was counted since the start.
    package struct Statistics: Sendable, Hashable {
        package var bytes: UInt64 = 0
        /// What the demuxer counted: packets, losses, duplicates, damage.
        package var demuxer = TSDemuxer.Statistics()
        package var videoFrames = 0
        package var audioFrames = 0
        /// Video frames that were dropped because what they refer to was lost.
        package var droppedVideoFrames = 0
        /// How often video had to wait for a keyframe after a loss.
        package var losses = 0
        package var problems = 0
    }

    /// Notices that wait to be taken. The oldest go first.
    static let maximumNotices = 32

    private let configuration: Configuration
    private var demuxer: TSDemuxer
    private var gate: KeyframeGate
    private var hold: TrackHold
    private var videoPID: UInt16?
    private var counters = Statistics()
    private var notices: [Notice] = []
    private var told: [ProblemKind: (at: NIODeadline, suppressed: Int)] = [:]
    private var lastArrival = NIODeadline.uptimeNanoseconds(0)
    private var isFinished = false
    /// The program that is read; `nil` before it is found.
    package private(set) var program: TSProgram?

    package init(configuration: Configuration = .init()) {
        self.configuration = configuration
        self.demuxer = TSDemuxer(configuration: configuration.demuxer)
        self.gate = KeyframeGate(isEnabled: configuration.waitsForKeyframeAfterLoss)
        self.hold = TrackHold(configuration: configuration.hold)
    }

    package var statistics: Statistics {
        var statistics = self.counters
        statistics.demuxer = self.demuxer.statistics
        return statistics
    }

    /// Frames have been read, be they held back still.
    package var hasMedia: Bool { self.counters.videoFrames + self.counters.audioFrames > 0 }

    /// Frames that were read since the start, those included that were left out after a loss.
    package var frameCount: UInt64 {
        UInt64(self.counters.videoFrames + self.counters.audioFrames + self.counters.droppedVideoFrames)
    }

    /// Takes the next bytes, whole packets or not. Returns what may go on now, in order.
    ///
    /// Cost: a copy of each byte into its frame; nothing is allocated for packets that complete none.
    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) -> [MediaEvent] {
        precondition(!self.isFinished, "bytes after the end")
        self.counters.bytes += UInt64(bytes.readableBytes)
        self.lastArrival = now
        self.demuxer.receive(bytes)
        return self.drain(now: now)
    }

    /// The publisher left: gives out what was complete.
    package mutating func finish() -> [MediaEvent] {
        guard !self.isFinished else { return [] }
        self.isFinished = true
        self.demuxer.finish()
        return self.drain(now: self.lastArrival) + self.hold.finish()
    }

    /// What happened since the last call, oldest first.
    package mutating func takeNotices() -> [Notice] {
        defer { self.notices.removeAll(keepingCapacity: true) }
        return self.notices
    }

    private mutating func drain(now: NIODeadline) -> [MediaEvent] {
        var events: [MediaEvent] = []
        while let output = self.demuxer.nextOutput() {
            switch output {
            case .event(.frame(let frame), let position):
                if self.admits(frame, position: position) { self.pass(.frame(frame), to: &events, now: now) }
            case .event(let event, _): self.pass(event, to: &events, now: now)
            case .id3: break
            case .program(let program): self.programChanged(program)
            case .clockJump: self.append(.clockJump)
            case .problem(let problem): self.receive(problem, now: now)
            }
        }
        return events
    }

    /// One by one, so that what the program says in between counts at its place, however the bytes were cut.
    private mutating func pass(_ event: MediaEvent, to events: inout [MediaEvent], now: NIODeadline) {
        if self.hold.isHolding {
            events += self.hold.receive([event], now: now)
        } else {
            events.append(event)
        }
    }

    private mutating func admits(_ frame: Frame, position: Int64) -> Bool {
        guard frame.kind == .video else {
            self.counters.audioFrames += 1
            return true
        }
        guard self.gate.admits(frame, position: position) else {
            self.counters.droppedVideoFrames += 1
            return false
        }
        self.counters.videoFrames += 1
        return true
    }

    private mutating func programChanged(_ program: TSProgram) {
        self.program = program
        self.hold.expect(Set(program.streams.compactMap { $0.isSelected ? $0.content.codec?.kind : nil }))
        let videoPID = program.streams.first { $0.isSelected && $0.content.codec?.kind == .video }?.pid
        if videoPID != self.videoPID { self.gate.restart() }
        self.videoPID = videoPID
        self.append(.program(program))
    }

    // MARK: Problems

    private mutating func receive(_ problem: TSProblem, now: NIODeadline) {
        self.counters.problems += 1
        if let (pid, position) = problem.damage, pid == self.videoPID, self.gate.damaged(wholeFrom: position) {
            self.counters.losses += 1
        }
        let kind = ProblemKind(problem)
        if let last = self.told[kind], now - last.at < self.configuration.noticeInterval {
            self.told[kind]?.suppressed += 1
            return
        }
        self.append(.problem(problem, suppressed: self.told[kind]?.suppressed ?? 0))
        self.told[kind] = (now, 0)
    }

    private mutating func append(_ notice: Notice) {
        if self.notices.count == Self.maximumNotices { self.notices.removeFirst() }
        self.notices.append(notice)
    }
}

/// What sort of problem it is, whatever its place.
private enum ProblemKind: Hashable, Sendable {
    case garbage, transportError, malformedPacket, continuity, scrambled, sectionChecksum, malformedSection
    case tooManyEntries, malformedPES, shortPES, tooLong, audioSyncLost, unusableFrame, configuration
    case unsupportedConfiguration

    init(_ problem: TSProblem) {
        self =
            switch problem {
            case .garbage: .garbage
            case .transportError: .transportError
            case .malformedPacket: .malformedPacket
            case .continuity: .continuity
            case .scrambled: .scrambled
            case .sectionChecksum: .sectionChecksum
            case .malformedSection: .malformedSection
            case .tooManyEntries: .tooManyEntries
            case .malformedPES: .malformedPES
            case .shortPES: .shortPES
            case .tooLong: .tooLong
            case .audioSyncLost: .audioSyncLost
            case .unusableFrame: .unusableFrame
            case .configuration: .configuration
            case .unsupportedConfiguration: .unsupportedConfiguration
            }
    }
}

extension TSProblem {
    /// Of which elementary stream bytes are missing or wrong, and the position from which on whole frames may begin; `nil`
    /// for problems that hurt no frame that goes out.
    fileprivate var damage: (pid: UInt16, wholeFrom: Int64)? {
        switch self {
        // What is missing was in front of this packet, with which a frame may begin.
        case .continuity(let pid, _, _, let position): (pid, position)
        case .transportError(let pid, let position), .malformedPacket(let pid, let position),
            .scrambled(let pid, let position), .malformedPES(let pid, let position),
            .shortPES(let pid, _, _, let position), .tooLong(let pid, _, let position):
            (pid, position + 1)
        // Garbage between packets hurts none of them; where it took the place of some, a counter shows it.
        case .garbage, .sectionChecksum, .malformedSection, .tooManyEntries, .audioSyncLost, .unusableFrame,
            .configuration, .unsupportedConfiguration:
            nil
        }
    }
}
