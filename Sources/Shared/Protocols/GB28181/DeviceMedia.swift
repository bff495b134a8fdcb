import MPEGTS
package import MPEGPS
package import Media
package import NIOCore
import RTP
package import Streaming

/// Turns the packets of a device's session into the events of a live stream: RTP with a program stream inside.
///
/// Run loop: `receive` each packet, `deadlineReached` when the wait is over, `finish` at the end; hand the events that
/// come back to the sink. Times are raw: the sink's clock is `SourceClock.mpegTS`.
///
/// - Packets of a datagram transport are put in order, within a bounded wait.
/// - No broken picture goes out: where packets are missing or the program stream is damaged, video is dropped up to the
///   next keyframe, and with it pictures that are shown before that keyframe. Audio goes on.
/// - Nothing begins in part. While the map names audio or video that has not come yet, the events wait for a bounded time,
///   as they do where there is no map: see `TrackHold`.
/// - A device that begins anew, with other numbers, another source or another codec, is followed.
/// - Nothing ends it: bytes that are no program stream are counted. `lastMedia` tells its owner when frames last came.
///
/// Spec: GB/T 28181-2016 annex C.2, RFC 3550, RFC 2250.
package struct DeviceMedia: Sendable {
    /// How much is kept, and how long packets wait.
    package struct Configuration: Sendable, Hashable {
        package var demuxer = PSDemuxer.Configuration()
        /// How long a packet waits for one before it.
        package var reorderWait = TimeAmount.milliseconds(200)
        /// Packets that wait at most.
        package var reorderCapacity = 1_024
        /// How long the start waits for a track that the map names. Many devices name audio that they do not send.
        package var hold = TrackHold.Configuration(audioWait: .seconds(1), videoWait: .seconds(5))

        package init() {}
    }

    /// What was counted since the start.
    package struct Statistics: Sendable, Hashable {
        package var packets = 0
        package var bytes: UInt64 = 0
        package var malformedPackets = 0
        /// Packets that never came, that came too late, and that came twice.
        package var lost = 0
        package var late = 0
        package var duplicates = 0
        /// How often the numbers or the source began anew.
        package var restarts = 0
        package var demuxer = PSDemuxer.Statistics()
        package var problems = 0
        package var videoFrames = 0
        package var audioFrames = 0
        package var droppedVideoFrames = 0

        /// Bytes of the program stream that were passed over.
        package var skippedBytes: Int { self.demuxer.skippedBytes }
    }

    private var order: PacketOrder
    private var demuxer: PSDemuxer
    private var gate = KeyframeGate(isEnabled: true)
    private var hold: TrackHold
    private var counters = Statistics()
    private var events: [MediaEvent] = []
    private var items: [PacketOrder.Item] = []
    private var isFinished = false
    /// What was wrong last, for the log.
    package private(set) var lastProblem: PSProblem?
    private var foreignTypes: [UInt8] = []
    private var knownForeignTypes: Set<UInt8> = []
    /// When a frame was last read; `nil` before the first.
    package private(set) var lastMedia: NIODeadline?

    package init(configuration: Configuration = .init()) {
        self.order = PacketOrder(wait: configuration.reorderWait, capacity: configuration.reorderCapacity)
        self.demuxer = PSDemuxer(configuration: configuration.demuxer)
        self.hold = TrackHold(configuration: configuration.hold)
        // Until a map says more, both may come.
        self.hold.expect([.video, .audio])
    }

    package var statistics: Statistics {
        var statistics = self.counters
        statistics.demuxer = self.demuxer.statistics
        (statistics.lost, statistics.late) = (self.order.lost, self.order.late)
        (statistics.duplicates, statistics.restarts) = (self.order.duplicates, self.order.restarts)
        return statistics
    }

    /// When `deadlineReached` has to be called; `nil` while nothing waits.
    package var nextDeadline: NIODeadline? { self.order.nextDeadline }

    /// Takes one packet of the session. RTCP is passed over.
    package mutating func receive(_ bytes: ByteBuffer, now: NIODeadline) -> [MediaEvent] {
        guard !self.isFinished else { return [] }
        self.counters.bytes += UInt64(bytes.readableBytes)
        let packet: RTPPacket
        do throws(RTPError) {
            packet = try RTPPacket(parsing: bytes)
        } catch {
            if case .unexpectedPacketType = error { return [] }
            self.counters.malformedPackets += 1
            return []
        }
        self.counters.packets += 1
        self.order.receive(packet, now: now, into: &self.items)
        self.takeItems()
        return self.drain(now: now)
    }

    /// Gives up packets that did not come in time.
    package mutating func deadlineReached(now: NIODeadline) -> [MediaEvent] {
        guard !self.isFinished else { return [] }
        self.order.deadlineReached(now: now, into: &self.items)
        self.takeItems()
        return self.drain(now: now)
    }

    /// Bytes are missing where the transport should lose none, such as behind a wrong length.
    package mutating func lose() {
        guard !self.isFinished else { return }
        self.demuxer.lose()
        self.takeOutputs()
        self.gate.damaged(wholeFrom: 0)
    }

    /// The device left: gives out what was complete.
    package mutating func finish(now: NIODeadline) -> [MediaEvent] {
        guard !self.isFinished else { return [] }
        self.order.releaseAll(into: &self.items)
        self.takeItems()
        self.isFinished = true
        self.demuxer.finish()
        return self.drain(now: now) + self.hold.finish()
    }

    /// The stream types that maps named since the last call and that are not carried, each once in a session.
    package mutating func takeForeignTypes() -> [UInt8] {
        guard !self.foreignTypes.isEmpty else { return [] }
        defer { self.foreignTypes = [] }
        return self.foreignTypes
    }

    private mutating func takeItems() {
        for item in self.items {
            switch item {
            case .packet(let packet): if packet.payload.readableBytes > 0 { self.demuxer.receive(packet.payload) }
            case .gap:
                self.demuxer.lose()
                self.takeOutputs()
                self.gate.damaged(wholeFrom: 0)
            }
        }
        self.items.removeAll(keepingCapacity: true)
    }

    private mutating func takeOutputs() {
        while let output = self.demuxer.nextOutput() {
            switch output {
            case .map(let map): self.hold.expect(map.kinds)
            case .problem(let problem):
                self.counters.problems += 1
                self.lastProblem = problem
                if case .unsupportedStream(_, let type, _) = problem, self.knownForeignTypes.insert(type).inserted {
                    self.foreignTypes.append(type)
                }
                if problem.breaksVideo { self.gate.damaged(wholeFrom: 0) }
            case .event(.frame(let frame), let position):
                guard frame.kind != .video || self.gate.admits(frame, position: position) else {
                    self.counters.droppedVideoFrames += 1
                    continue
                }
                if frame.kind == .video { self.counters.videoFrames += 1 } else { self.counters.audioFrames += 1 }
                self.events.append(.frame(frame))
            case .event(let event, _): self.events.append(event)
            }
        }
    }

    private mutating func drain(now: NIODeadline) -> [MediaEvent] {
        self.takeOutputs()
        guard !self.events.isEmpty else { return [] }
        let events = self.events
        self.events = []
        self.lastMedia = now
        return self.hold.receive(events, now: now)
    }
}

extension PSProblem {
    /// Whether a picture, or a part of one, may be missing.
    fileprivate var breaksVideo: Bool {
        switch self {
        case .garbage, .malformedPES, .tooLong: true
        case .scrambled(let streamID, _): streamID >= 0xE0
        case .elementary(let problem):
            switch problem {
            case .tooLong, .shortPES, .malformedPES: true
            default: false
            }
        case .malformedMap, .unsupportedStream, .contradictoryMap: false
        }
    }
}
