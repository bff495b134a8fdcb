import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

/// A moment of the arrival clock that only the test moves.
func arrival(_ millis: Int64) -> NIODeadline { .uptimeNanoseconds(5_000_000_000_000) + .milliseconds(millis) }

/// Repeatable random numbers: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

/// Writes the bits of a parameter set.
struct BitWriter {
    private(set) var bytes: [UInt8]
    private var free = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func bits(_ value: Int, _ count: Int) {
        for index in (0..<count).reversed() {
            if self.free == 0 {
                self.bytes.append(0)
                self.free = 8
            }
            self.free -= 1
            if value >> index & 1 == 1 { self.bytes[self.bytes.count - 1] |= 1 << UInt8(self.free) }
        }
    }

    mutating func expGolomb(_ value: Int) {
        let length = Int.bitWidth - (value + 1).leadingZeroBitCount
        self.bits(0, length - 1)
        self.bits(value + 1, length)
    }
}

/// Parameter sets and slices of a made-up H.264 encoder.
enum H264 {
    /// A Constrained Baseline sequence parameter set of a picture of whole macroblocks.
    static func sps(width: Int, height: Int) -> ByteBuffer {
        var writer = BitWriter([0x67, 66, 0xC0, 31])
        writer.expGolomb(0)
        writer.expGolomb(0)
        writer.expGolomb(2)
        writer.expGolomb(1)
        writer.bits(0, 1)
        writer.expGolomb(width / 16 - 1)
        writer.expGolomb(height / 16 - 1)
        writer.bits(0b1100, 4)
        writer.bits(1, 1)
        return ByteBuffer(bytes: writer.bytes)
    }

    static let pps = ByteBuffer(bytes: [0x68, 0xCE, 0x38, 0x80])

    /// A frame in `Frame.payload`'s form: one slice that tells its own number, that of the frame it refers to, and
    /// noise that follows from the number.
    static func frame(number: UInt32, reference: UInt32, isKeyframe: Bool, length: Int) -> ByteBuffer {
        var unit = ByteBuffer()
        unit.writeMultipleIntegers(UInt8(isKeyframe ? 0x65 : 0x41), UInt8(0x88), number, reference)
        unit.writeImmutableBuffer(self.noise(number, length: length))
        var frame = ByteBuffer(integer: UInt32(unit.readableBytes))
        frame.writeBuffer(&unit)
        return frame
    }

    /// The number and the reference of a frame; `nil` when a byte of it is wrong.
    static func check(_ payload: ByteBuffer) -> (number: UInt32, reference: UInt32)? {
        var rest = payload
        guard
            let (length, _, _, number, reference) = rest.readMultipleIntegers(
                as: (UInt32, UInt8, UInt8, UInt32, UInt32).self), Int(length) == payload.readableBytes - 4,
            rest == self.noise(number, length: rest.readableBytes)
        else { return nil }
        return (number, reference)
    }

    private static let table = ByteBuffer(bytes: (0..<65_536).map { UInt8(truncatingIfNeeded: ($0 &* 31) >> 3 | 1) })

    private static func noise(_ number: UInt32, length: Int) -> ByteBuffer {
        self.table.getSlice(at: Int(number % 1_021) * 7, length: length) ?? ByteBuffer()
    }
}

extension RTPReceivedLine {
    /// H.264 as payload type 96, retransmissions as 97, redundant coding as 98.
    static func video(
        mid: String? = "0", rids: [String] = [], ssrcs: [UInt32] = [], groups: [RTPSourceGroup] = [],
        feedback: RTPFeedback = [.nack, .pli]
    ) -> RTPReceivedLine {
        RTPReceivedLine(
            mid: mid, kind: .video,
            payloadTypes: [
                96: .media(RTPMediaPayload(format: .h264(packetizationMode: 1), clockRate: 90_000)),
                97: .retransmission(associated: 96), 98: .redundancy,
            ], extensions: [.mid: 1, .transportSequenceNumber: 2, .rid: 3, .repairedRID: 4], ssrcs: ssrcs,
            ssrcGroups: groups, rids: rids, feedback: feedback)
    }

    /// Opus as payload type 111, redundant coding as 63.
    static func audio(mid: String? = "1", feedback: RTPFeedback = [.nack]) -> RTPReceivedLine {
        RTPReceivedLine(
            mid: mid, kind: .audio,
            payloadTypes: [
                111: .media(RTPMediaPayload(format: .opus, clockRate: 48_000, channels: 2)), 63: .redundancy,
            ], extensions: [.mid: 1, .transportSequenceNumber: 2], feedback: feedback)
    }
}

extension RTPReceiver {
    static func make(
        _ lines: [RTPReceivedLine], jitter: RTPJitterLimits = .init(), reports: RTPReportSettings = .init(),
        maximumSources: Int = 16
    ) -> RTPReceiver {
        RTPReceiver(
            configuration: RTPReceiverConfiguration(
                lines: lines, localSSRC: 1, jitter: jitter, reports: reports, maximumSources: maximumSources),
            now: arrival(0))
    }

    func receive(_ packet: RTPPacket, at millis: Int64) {
        var datagram = ByteBuffer()
        packet.write(into: &datagram)
        self.receive(rtp: datagram, arrival: arrival(millis))
    }
}

extension RTPReceiverOutput {
    var frames: [Frame] {
        self.events.compactMap { event in
            if case .frame(let frame) = event { frame } else { nil }
        }
    }

    var tracks: [Track] {
        self.events.compactMap { event in
            if case .track(let track) = event { track } else { nil }
        }
    }

    var keyframeRequests: [UInt32] {
        self.rtcp.compactMap { packet in
            if case .pictureLossIndication(_, let ssrc) = packet { ssrc } else { nil }
        }
    }

    var nacks: [RTCPNack] {
        self.rtcp.compactMap { packet in
            if case .nack(let nack) = packet { nack } else { nil }
        }
    }
}

/// Makes the packets of one encoding of a made-up publisher.
struct VideoSource {
    var ssrc: UInt32
    var sequence: UInt16
    var timestamp: UInt32
    var payloadType: UInt8 = 96
    var size: (width: Int, height: Int) = (640, 480)
    var extensions: RTPHeaderExtensions?
    var frameLength = 3_000
    private(set) var number: UInt32 = 0

    init(ssrc: UInt32 = 0x1000, sequence: UInt16 = 100, timestamp: UInt32 = 9_000) {
        self.ssrc = ssrc
        self.sequence = sequence
        self.timestamp = timestamp
    }

    /// The packets of the next frame; the timestamp moves on by `ticks` behind it.
    mutating func frame(isKeyframe: Bool, ticks: UInt32 = 3_000, withParameterSets: Bool = true) throws -> [RTPPacket] {
        self.number += 1
        let frame = H264.frame(
            number: self.number, reference: self.number - 1, isKeyframe: isKeyframe, length: self.frameLength)
        let writer = RTPPayloadWriter(format: .h264(packetizationMode: 1), maximumPayload: 1_100)
        let sets =
            isKeyframe && withParameterSets
            ? [H264.sps(width: self.size.width, height: self.size.height), H264.pps] : []
        let payloads = try writer.payloads(of: frame, isKeyframe: isKeyframe, parameterSets: sets)
        let packets = payloads.ranges.indices.map { index in
            defer { self.sequence &+= 1 }
            return RTPPacket(
                header: RTPHeader(
                    marker: payloads.hasMarker(at: index), payloadType: self.payloadType,
                    sequenceNumber: self.sequence, timestamp: self.timestamp, ssrc: self.ssrc,
                    extensions: self.extensions), payload: payloads.payload(at: index))
        }
        self.timestamp &+= ticks
        return packets
    }
}
