import ISOBMFF
import Media
import NIOCore
import Playlists
import Testing

@testable import Packaging

/// Tracks that need no codec.
enum Make {
    /// Parameter sets of 320 × 180, made by x264.
    static let avcC: [UInt8] = [
        0x01, 0x64, 0x00, 0x0C, 0xFF, 0xE1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x0C, 0xAC, 0xD9, 0x41, 0x41, 0x9F, 0x9E,
        0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xF1, 0x42, 0x99, 0x60, 0x01, 0x00, 0x06,
        0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0, 0xFD, 0xF8, 0xF8, 0x00,
    ]

    static func h264(level: UInt8 = 0x0C) throws -> Track {
        var record = self.avcC
        record[3] = level
        return try Track(codec: .h264, parsingConfiguration: ByteBuffer(bytes: record))
    }

    static func aac(rate: Int = 48_000) throws -> Track {
        var record = ByteBuffer()
        try AudioSpecificConfig(sampleRate: rate, channelConfiguration: 2).write(into: &record)
        return try Track(codec: .aac, parsingConfiguration: record)
    }

    static func track(_ codec: Codec, rate: Int, samples: Int) -> Track {
        Track(
            codec: codec, configuration: nil,
            format: .audio(AudioFormat(sampleRate: rate, channels: 2, samplesPerFrame: samples)))
    }

    static var opus: Track {
        get throws {
            var record = ByteBuffer()
            OpusHead(channels: 2).write(into: &record)
            return try Track(codec: .opus, parsingConfiguration: record)
        }
    }

    /// A payload that tells frames apart: one NAL unit of eight bytes, or eight bytes of sound.
    static func payload(_ codec: Codec, _ number: UInt64) -> ByteBuffer {
        var buffer = ByteBuffer()
        switch codec {
        case .h264, .hevc:
            buffer.writeInteger(UInt32(9))
            buffer.writeInteger(UInt8(0x41))
        case .opus: buffer.writeInteger(UInt8(0xFC))
        case .mp3: buffer.writeInteger(UInt32(0xFFFB_9064))
        default: break
        }
        buffer.writeInteger(number)
        return buffer
    }

    static func number(_ payload: ByteBuffer) -> UInt64? {
        payload.getInteger(at: payload.writerIndex - 8, as: UInt64.self)
    }
}

/// A source, its packager and a window, with a clock that the test moves.
struct Bench {
    var packager: StreamPackager
    var window: StreamWindow
    var outputs: [PackagingOutput] = []
    var video: Track?
    var audio: Track?
    /// The wall clock that belongs to media time 0 of the source.
    var epochMillis: Int64
    /// How far the source's wall clock is from it by now.
    var nowMillis: Int64
    var nextNumber: UInt64 = 1
    var fed: [UInt64] = []
    var isOpen = false

    static let start: Int64 = 1_790_000_000_000

    init(
        _ configuration: PackagingConfiguration = .init(), position: PackagingPosition? = nil, now: Int64 = Bench.start,
        video: Track?, audio: Track?
    ) throws {
        try configuration.validate()
        self.packager = StreamPackager(configuration: configuration, position: position, nowMillis: now)
        self.window = StreamWindow(configuration: configuration)
        self.video = video
        self.audio = audio
        self.epochMillis = now
        self.nowMillis = now
    }

    mutating func drain() {
        while let output = self.packager.nextOutput() {
            self.window.append(output)
            self.outputs.append(output)
        }
    }

    mutating func begin(epoch: UInt64 = 1, continues: Bool = false, announces: Bool = true) {
        self.packager.sourceStarted(epoch: epoch, continues: continues, nowMillis: self.nowMillis)
        self.isOpen = true
        if announces {
            for track in [self.video, self.audio].compactMap({ $0 }) { self.send(.track(track)) }
        }
        self.drain()
    }

    mutating func send(_ event: MediaEvent) {
        self.packager.receive(event, video: self.video, audio: self.audio, nowMillis: self.nowMillis)
        self.drain()
    }

    /// `video` or `audio` metadata, as an encoder announces them.
    mutating func announce(_ kinds: Set<MediaKind>) {
        var metadata = StreamMetadata()
        if kinds.contains(.video) { metadata.entries.append(.init(name: "width", value: .number(320))) }
        if kinds.contains(.audio) { metadata.entries.append(.init(name: "audiocodecid", value: .number(10))) }
        self.send(.metadata(metadata))
    }

    mutating func change(video track: Track) {
        self.video = track
        self.send(.track(track))
    }

    mutating func change(audio track: Track) {
        self.audio = track
        self.send(.track(track))
    }

    /// A frame at `ticks`, the wall clock running along.
    mutating func frame(_ kind: MediaKind, _ ticks: Int64, offset: Int64 = 0, key: Bool = true) {
        guard let codec = kind == .video ? self.video?.codec : self.audio?.codec else { return }
        self.nowMillis = max(self.nowMillis, self.epochMillis + ticks / 90)
        self.fed.append(self.nextNumber)
        self.send(
            .frame(
                Frame(
                    codec: codec, dts: MediaTime(ticks: ticks), pts: MediaTime(ticks: ticks + offset), isKeyframe: key,
                    payload: Make.payload(codec, self.nextNumber))))
        self.nextNumber += 1
    }

    mutating func end(isFinal: Bool = false) {
        self.packager.sourceEnded(isFinal: isFinal, nowMillis: self.nowMillis)
        self.isOpen = false
        self.drain()
    }

    /// Video and audio from `from` for `seconds`, interleaved by time, times rounded to milliseconds as RTMP has them.
    mutating func play(
        from: Double = 0, seconds: Double, fps: Double = 25, gop: Int = 50, sampleRate: Double = 48_000,
        samples: Double = 1024, kinds: Set<MediaKind> = [.video, .audio]
    ) {
        var videoIndex = 0
        var audioIndex = 0
        while true {
            let videoTime = kinds.contains(.video) ? from + Double(videoIndex) / fps : .infinity
            let audioTime = kinds.contains(.audio) ? from + Double(audioIndex) * samples / sampleRate : .infinity
            guard min(videoTime, audioTime) < from + seconds - 1e-9 else { return }
            if videoTime <= audioTime {
                self.frame(.video, Int64((videoTime * 1000).rounded()) * 90, key: videoIndex % gop == 0)
                videoIndex += 1
            } else {
                self.frame(.audio, Int64((audioTime * 1000).rounded()) * 90)
                audioIndex += 1
            }
        }
    }

    var segments: [PackagedSegment] {
        self.outputs.compactMap { if case .segment(let segment) = $0 { segment } else { nil } }
    }

    func segments(_ tag: PackagingTag) -> [PackagedSegment] { self.segments.filter { $0.facts.tag == tag } }

    var parts: [PackagedPart] {
        self.outputs.compactMap { if case .part(let part) = $0 { part } else { nil } }
    }

    var tracks: [PackagedTracks] {
        self.outputs.compactMap { if case .tracks(let tracks) = $0 { tracks } else { nil } }
    }

    var problems: [PackagingProblem] {
        self.outputs.compactMap { if case .problem(let problem) = $0 { problem } else { nil } }
    }
}

extension PackagedSegment {
    var bytes: ByteBuffer {
        var buffer = ByteBuffer()
        for piece in self.pieces { buffer.writeImmutableBuffer(piece) }
        return buffer
    }

    /// Seconds, exactly enough for tests.
    var seconds: Double { Double(self.facts.duration) / Double(self.facts.timescale) }
}

/// What must hold for any output whatever came in; ends the source first. Returns the numbers of the frames that are in segments.
@discardableResult
func checkInvariants(_ bench: inout Bench, sourceLocation: SourceLocation = #_sourceLocation) throws -> Set<UInt64> {
    if bench.isOpen { bench.end() }
    var seen: [UInt64] = []
    for tag in PackagingTag.allCases where tag != .main {
        var last: SegmentFacts?
        var readers: [PackagingRun: FragmentReader] = [:]
        for segment in bench.segments(tag) {
            let facts = segment.facts
            if let last {
                #expect(facts.sequence > last.sequence, sourceLocation: sourceLocation)
                #expect(
                    facts.run.discontinuitySequence
                        == last.run.discontinuitySequence + (facts.isDiscontinuity ? 1 : 0)
                        || facts.sequence > last.sequence + 1, sourceLocation: sourceLocation)
                #expect(facts.programDateTimeMillis >= last.programDateTimeMillis, sourceLocation: sourceLocation)
                #expect(facts.targetDurationSeconds == last.targetDurationSeconds, sourceLocation: sourceLocation)
            }
            #expect(
                facts.playlistDuration.roundedSeconds <= facts.targetDurationSeconds, "\(facts)",
                sourceLocation: sourceLocation)
            #expect(facts.byteCount == segment.bytes.readableBytes, sourceLocation: sourceLocation)
            if readers[facts.run] == nil {
                let tracks = try #require(
                    bench.tracks.first {
                        $0.facts.tag == tag && $0.facts.epoch == facts.epoch
                            && $0.facts.index == facts.run.initializationIndex
                    }, sourceLocation: sourceLocation)
                readers[facts.run] = try FragmentReader(initialization: try #require(tracks.initialization))
            }
            let fragments = try #require(readers[facts.run]).fragments(in: segment.bytes)
            let samples = fragments.flatMap(\.samples)
            #expect(samples.count == facts.frameCount, sourceLocation: sourceLocation)
            #expect(facts.isGap == samples.isEmpty, sourceLocation: sourceLocation)
            seen += samples.compactMap { Make.number($0.payload) }
            if !facts.isGap {
                #expect(fragments.first?.decodeTime == UInt64(facts.decodeStart), sourceLocation: sourceLocation)
                #expect(samples.first?.isSync == facts.isIndependent, sourceLocation: sourceLocation)
                // Fragments follow each other without a hole.
                var end: UInt64?
                for fragment in fragments {
                    if let end { #expect(fragment.decodeTime == end, sourceLocation: sourceLocation) }
                    end = fragment.samples.reduce(fragment.decodeTime) { $0 + UInt64($1.duration) }
                }
            }
            checkParts(of: segment, in: bench, sourceLocation)
            last = facts
        }
    }
    #expect(Set(seen).count == seen.count, "a frame came twice", sourceLocation: sourceLocation)
    #expect(
        seen.count + bench.packager.counters.droppedFrames == bench.fed.count,
        "\(seen.count) + \(bench.packager.counters.droppedFrames) of \(bench.fed.count)", sourceLocation: sourceLocation
    )
    return Set(seen)
}

private func checkParts(of segment: PackagedSegment, in bench: Bench, _ sourceLocation: SourceLocation) {
    let facts = segment.facts
    let parts = bench.parts.filter { $0.facts.tag == facts.tag && $0.facts.sequence == facts.sequence }
    #expect(parts.count == facts.partCount, sourceLocation: sourceLocation)
    guard !parts.isEmpty else { return }
    #expect(parts.map(\.bytes) == segment.pieces, sourceLocation: sourceLocation)
    #expect(parts.map(\.facts.index) == Array(0..<parts.count), sourceLocation: sourceLocation)
    #expect(parts.reduce(0) { $0 + $1.facts.duration } == facts.duration, sourceLocation: sourceLocation)
    #expect(
        parts.allSatisfy { $0.facts.segmentProgramDateTimeMillis == facts.programDateTimeMillis },
        sourceLocation: sourceLocation)
}
