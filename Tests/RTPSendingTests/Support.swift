import Media
import NIOCore
import RTP
import Streaming

@testable import RTPSending

/// Small random numbers that a failure can be repeated with.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension NIODeadline {
    static func millis(_ value: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .milliseconds(1_000_000 + value) }
}

/// A stream that a test makes frame by frame, with its packetizer and one ring.
struct TestStream {
    static let sequenceSet = ByteBuffer(bytes: [0x67, 0x42, 0xC0, 0x1F, 0xDA, 0x01, 0x40, 0x16, 0xE8])
    static let pictureSet = ByteBuffer(bytes: [0x68, 0xCE, 0x3C, 0x80])

    var packetizer: RTPStreamPacketizer
    var ring: RTPFrameRing
    var state = StreamState()
    var frames: [RTPFrame] = []

    init(ring: RTPFrameRingConfiguration = .init(), maximumPayload: Int = 1_128) {
        self.packetizer = RTPStreamPacketizer(configuration: .init(maximumPayload: maximumPayload))
        self.ring = RTPFrameRing(configuration: ring)
    }

    /// A stream with both tracks announced.
    static func live(ring: RTPFrameRingConfiguration = .init()) -> TestStream {
        var stream = TestStream(ring: ring)
        stream.announce(Self.h264Track)
        stream.announce(Self.opusTrack)
        return stream
    }

    static var h264Track: Track {
        // Safety of the unwrapping: both sets are long enough for a record.
        let record = try? AVCDecoderConfiguration(
            sequenceParameterSets: [self.sequenceSet], pictureParameterSets: [self.pictureSet])
        var bytes = ByteBuffer()
        record?.write(into: &bytes)
        return Track(codec: .h264, configuration: bytes, format: .video(VideoFormat()))
    }

    static var opusTrack: Track {
        var head = ByteBuffer()
        OpusHead(channels: 2).write(into: &head)
        return Track(codec: .opus, configuration: head, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
    }

    mutating func announce(_ track: Track) {
        if track.kind == .video { self.state.video = track } else { self.state.audio = track }
        _ = self.packetizer.append(.track(track), state: self.state, now: .millis(0))
    }

    @discardableResult
    mutating func append(_ frame: Frame, now: NIODeadline) -> [RTPFrame] {
        let frames = self.packetizer.append(.frame(frame), state: self.state, now: now)
        for frame in frames { self.ring.append(frame) }
        self.frames += frames
        return frames
    }

    /// A picture of one slice. Times in milliseconds; `now` is the decoding time unless given.
    @discardableResult
    mutating func video(
        _ dts: Int64, pts: Int64? = nil, key: Bool = false, reference: Bool = true, bytes: Int = 3_000,
        codec: Codec = .h264, now: NIODeadline? = nil
    ) -> [RTPFrame] {
        let frame = Frame(
            codec: codec, dts: MediaTime(millis: dts), pts: MediaTime(millis: pts ?? dts), isKeyframe: key,
            payload: Self.slice(key: key, reference: reference, bytes: bytes, seed: UInt64(bitPattern: dts)))
        return self.append(frame, now: now ?? .millis(dts))
    }

    /// An Opus packet of 20 ms.
    @discardableResult
    mutating func audio(_ time: Int64, bytes: Int = 160, now: NIODeadline? = nil) -> [RTPFrame] {
        var payload = ByteBuffer(bytes: [0xFC])
        payload.writeRepeatingByte(UInt8(truncatingIfNeeded: time), count: bytes - 1)
        let frame = Frame(
            codec: .opus, dts: MediaTime(millis: time), pts: MediaTime(millis: time), isKeyframe: true,
            payload: payload)
        return self.append(frame, now: now ?? .millis(time))
    }

    /// Bytes that do not repeat soon, none of them zero.
    private static let noise: ByteBuffer = {
        var generator = SeededGenerator(seed: 1)
        return ByteBuffer(bytes: (0..<8_191).map { _ in UInt8.random(in: 1...255, using: &generator) })
    }()

    /// One NAL unit with a length of 4 bytes.
    static func slice(key: Bool, reference: Bool, bytes: Int, seed: UInt64) -> ByteBuffer {
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(bytes))
        payload.writeInteger(UInt8(key ? 0x65 : reference ? 0x41 : 0x01))
        // A picture's first slice begins with macroblock 0.
        payload.writeInteger(UInt8(0x88))
        var start = Int(seed * 31 % 1_024)
        while payload.readableBytes < bytes + 4 {
            let count = min(bytes + 4 - payload.readableBytes, self.noise.readableBytes - start)
            payload.writeImmutableBuffer(self.noise.getSlice(at: start, length: count) ?? ByteBuffer())
            start = 0
        }
        return payload
    }
}

/// A packet as the viewer gets it.
struct Received {
    var packet: RTPPacket
    var index: UInt64
    var at: NIODeadline
    /// For retransmissions: the number in front of the payload.
    var originalSequence: UInt16?

    var sequence: UInt16 { self.packet.header.sequenceNumber }
    var timestamp: UInt32 { self.packet.header.timestamp }
}

/// Builds the packets of a burst like the server does, without encryption, and parses them.
func packets(_ burst: RTPBurst, of frame: RTPFrame, at now: NIODeadline) throws -> [Received] {
    try (0..<burst.count).map { offset in
        var datagram = ByteBuffer()
        unsafe datagram.writeWithUnsafeMutableBytes(minimumWritableBytes: burst.headerLength) { bytes in
            unsafe burst.writeHeader(of: offset, into: bytes)
            return burst.headerLength
        }
        if let sequence = burst.originalSequence { datagram.writeInteger(sequence) }
        let range = burst.payload(of: offset, in: frame)
        datagram.writeImmutableBuffer(frame.payload.getSlice(at: range.lowerBound, length: range.count) ?? ByteBuffer())
        return Received(
            packet: try RTPPacket(parsing: datagram), index: burst.packetIndex(of: offset), at: now,
            originalSequence: burst.originalSequence)
    }
}

/// A viewer with everything that it was sent.
final class TestViewer {
    static let videoSSRC: UInt32 = 0x1111
    static let videoRTX: UInt32 = 0x1112
    static let audioSSRC: UInt32 = 0x2222

    var viewer: RTPViewer
    var received: [Received] = []
    var events: [RTPViewerEvent] = []

    init(
        _ configuration: RTPViewerConfiguration = TestViewer.configuration(),
        seeds: RTPViewerSeeds = RTPViewerSeeds(
            videoSequence: 1_000, videoTimestamp: 0, videoRTXSequence: 7, audioSequence: 2_000, audioTimestamp: 0,
            audioRTXSequence: 9),
        now: NIODeadline = .millis(0)
    ) {
        self.viewer = RTPViewer(
            configuration: configuration, seeds: seeds, ntp: NTPTime(unixNanoseconds: 1_700_000_000_000_000_000),
            now: now)
    }

    static func configuration(
        rtx: Bool = true, nack: Bool = true, extensions: RTPTrackConfiguration.ExtensionIDs = .init(),
        codec: Codec = .h264
    ) -> RTPViewerConfiguration {
        RTPViewerConfiguration(
            video: RTPTrackConfiguration(
                codec: codec, ssrc: self.videoSSRC, payloadType: 102, answersNACK: nack,
                rtx: rtx ? .init(ssrc: self.videoRTX, payloadType: 103) : nil, mid: "0", extensions: extensions),
            audio: RTPTrackConfiguration(
                codec: .opus, ssrc: self.audioSSRC, payloadType: 111, answersNACK: false, mid: "1",
                extensions: extensions), cname: "weir")
    }

    func start(_ stream: TestStream, now: NIODeadline) throws {
        self.viewer.start(from: stream.ring, now: now)
        try self.drain(stream, now: now)
    }

    /// Hands over frames that the ring has, as an owner does. Returns how many packets left.
    @discardableResult
    func send(_ frames: [RTPFrame], _ stream: TestStream, now: NIODeadline) throws -> Int {
        let count = self.received.count
        for frame in frames {
            if let burst = self.viewer.send(frame, now: now) {
                self.received += try packets(burst, of: frame, at: now)
            }
        }
        try self.drain(stream, now: now)
        return self.received.count - count
    }

    /// What may leave now, and what follows it within `limit`.
    func drain(_ stream: TestStream, now: NIODeadline, for limit: TimeAmount = .zero) throws {
        var now = now
        let end = now + limit
        while true {
            while let (frame, burst) = self.viewer.next(from: stream.ring, now: now) {
                self.received += try packets(burst, of: frame, at: now)
            }
            self.collectEvents()
            guard self.viewer.hasBacklog, self.viewer.nextDeadline <= end else { return }
            now = max(now + .nanoseconds(1), self.viewer.nextDeadline)
            var report = ByteBuffer()
            _ = self.viewer.report(into: &report, now: now)
        }
    }

    var hasBacklog: Bool { self.viewer.hasBacklog }
    var nextDeadline: NIODeadline { self.viewer.nextDeadline }
    var statistics: RTPViewerStatistics { self.viewer.statistics }
    var heapByteCount: Int { self.viewer.heapByteCount }
    var estimate: Int { self.viewer.estimatedBitrate }

    /// The report that is due, if one is.
    func report(now: NIODeadline) -> ByteBuffer? {
        var buffer = ByteBuffer()
        let isDue = self.viewer.report(into: &buffer, now: now)
        return isDue ? buffer : nil
    }

    func collectEvents() {
        while let event = self.viewer.nextEvent() { self.events.append(event) }
    }

    func receive(_ packets: [RTCPPacket], _ stream: TestStream, now: NIODeadline) throws {
        var datagram = ByteBuffer()
        for packet in packets { packet.write(into: &datagram) }
        self.viewer.receive(rtcp: datagram, ring: stream.ring, now: now)
        try self.drain(stream, now: now)
    }

    func video() -> [Received] { self.received.filter { $0.packet.header.ssrc == Self.videoSSRC } }
    func audio() -> [Received] { self.received.filter { $0.packet.header.ssrc == Self.audioSSRC } }
    func repeated() -> [Received] { self.received.filter { $0.packet.header.ssrc == Self.videoRTX } }

    /// The timestamps of pictures, in order, widened.
    func videoTimes() -> [Int64] {
        var unwrapper = RTPTimestampUnwrapper()
        var times: [Int64] = []
        for packet in self.video() {
            let time = unwrapper.unwrap(packet.timestamp)
            if times.last != time { times.append(time) }
        }
        return times
    }
}

/// What a player's depacketizer makes of packets in order.
func accessUnits(_ packets: [Received], format: RTPPayloadFormat) -> (units: [RTPAccessUnit], broken: Int) {
    var reader = RTPPayloadReader(format: format)
    var units: [RTPAccessUnit] = []
    var broken = 0
    var last: UInt16?
    for packet in packets {
        if let last, packet.sequence != last &+ 1 { reader.packetsAreMissing() }
        last = packet.sequence
        reader.append(
            packet.packet.payload, marker: packet.packet.header.marker, timestamp: packet.packet.header.timestamp)
        while let output = reader.nextOutput() {
            switch output {
            case .accessUnit(let unit): units.append(unit)
            case .broken: broken += 1
            }
        }
    }
    return (units, broken)
}
