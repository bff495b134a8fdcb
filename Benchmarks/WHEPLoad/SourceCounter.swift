import NIOCore
import RTP

/// What one viewer or all of them received so far.
struct ReceivedTotals {
    var packets = 0
    /// Bytes of the protected packets.
    var bytes = 0
    /// Packets that the sequence numbers say were sent.
    var expected = 0
    /// Packets that came behind a later one, or twice.
    var late = 0
    var controlPackets = 0
    var stalls = 0
    var longestGapMicros: Int64 = 0
    /// Packets that could not be authenticated.
    var undecryptable = 0
    var videoFrames = 0
    var keyframes = 0
    var audioFrames = 0
    /// Frames that were not whole, or could not be put together.
    var brokenFrames = 0

    static func += (left: inout Self, right: Self) {
        left.packets += right.packets
        left.bytes += right.bytes
        left.expected += right.expected
        left.late += right.late
        left.controlPackets += right.controlPackets
        left.stalls += right.stalls
        left.longestGapMicros = max(left.longestGapMicros, right.longestGapMicros)
        left.undecryptable += right.undecryptable
        left.videoFrames += right.videoFrames
        left.keyframes += right.keyframes
        left.audioFrames += right.audioFrames
        left.brokenFrames += right.brokenFrames
    }

    /// What came since `earlier`. The longest gap is that of the whole time.
    func since(_ earlier: Self) -> Self {
        var difference = self
        difference.packets -= earlier.packets
        difference.bytes -= earlier.bytes
        difference.expected -= earlier.expected
        difference.late -= earlier.late
        difference.controlPackets -= earlier.controlPackets
        difference.stalls -= earlier.stalls
        difference.undecryptable -= earlier.undecryptable
        difference.videoFrames -= earlier.videoFrames
        difference.keyframes -= earlier.keyframes
        difference.audioFrames -= earlier.audioFrames
        difference.brokenFrames -= earlier.brokenFrames
        return difference
    }
}

/// The part of an RTP header that is counted, read where it lies.
struct PacketFacts {
    let payloadType: UInt8
    let sequenceNumber: UInt16
    let timestamp: UInt32
    let ssrc: UInt32
    /// The transport-wide sequence number, if the packet has one.
    var transportSequence: UInt16?

    /// `nil` for what is too short. `extensionID` is the number of the header extension with the transport-wide number.
    init?(_ packet: UnsafeRawBufferPointer, extensionID: UInt8?) {
        guard packet.count >= RTPHeader.minimumByteCount else { return nil }
        func integer<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value {
            unsafe Value(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        self.payloadType = unsafe packet[1] & 0x7F
        self.sequenceNumber = integer(2, as: UInt16.self)
        self.timestamp = integer(4, as: UInt32.self)
        self.ssrc = integer(8, as: UInt32.self)
        let first = unsafe packet[0]
        guard let extensionID, first & 0x10 != 0 else { return }
        var offset = RTPHeader.minimumByteCount + Int(first & 0x0F) * 4
        guard packet.count >= offset + 4, integer(offset, as: UInt16.self) == 0xBEDE else { return }
        let end = min(packet.count, offset + 4 + Int(integer(offset + 2, as: UInt16.self)) * 4)
        offset += 4
        while offset < end {
            let element = unsafe packet[offset]
            offset += 1
            guard element != 0 else { continue }
            let length = Int(element & 0x0F) + 1
            if element >> 4 == extensionID, length == 2, offset + 2 <= end {
                self.transportSequence = integer(offset, as: UInt16.self)
                return
            }
            offset += length
        }
    }
}

/// One source as a receiver knows it for its reports. Spec: RFC 3550 §A.3, §A.8.
struct SourceCounter {
    let ssrc: UInt32
    let clockRate: Int64
    private let first: Int64
    private(set) var highest: Int64
    private(set) var received = 1
    private var jitter = 0.0
    private var lastTransit: Int64
    private var reportedExpected = 0
    private var reportedReceived = 0
    /// The compact time of the last sender report, and when it came in microseconds.
    private var senderReport: (compact: UInt32, micros: Int64)?

    init(_ packet: PacketFacts, clockRate: Int64, micros: Int64) {
        self.ssrc = packet.ssrc
        self.clockRate = clockRate
        self.first = Int64(packet.sequenceNumber)
        self.highest = self.first
        self.lastTransit = 0
        self.lastTransit = self.transit(packet, micros: micros)
    }

    var expected: Int { Int(self.highest - self.first) + 1 }

    /// Notes the next packet. Returns how many are missing in front of it; −1 if it came late or twice.
    mutating func note(_ packet: PacketFacts, micros: Int64) -> Int {
        self.received += 1
        let transit = self.transit(packet, micros: micros)
        let change = Double(abs(Int64(Int32(truncatingIfNeeded: transit - self.lastTransit))))
        self.jitter += (change - self.jitter) / 16
        self.lastTransit = transit
        let wide = RTPSequence.unwrap(packet.sequenceNumber, near: self.highest)
        guard wide > self.highest else { return -1 }
        defer { self.highest = wide }
        return Int(wide - self.highest) - 1
    }

    mutating func note(_ report: RTCPSenderReport, micros: Int64) {
        self.senderReport = (report.ntpTime.compact, micros)
    }

    /// The block for the next report at `micros`.
    mutating func reportBlock(micros: Int64) -> RTCPReportBlock {
        let expected = self.expected - self.reportedExpected
        let lost = expected - (self.received - self.reportedReceived)
        self.reportedExpected = self.expected
        self.reportedReceived = self.received
        let delay = self.senderReport.map { (micros - $0.micros) * 65_536 / 1_000_000 } ?? 0
        return RTCPReportBlock(
            ssrc: self.ssrc,
            fractionLost: expected > 0 && lost > 0 ? UInt8(clamping: lost * 256 / expected) : 0,
            cumulativeLost: Int32(clamping: self.expected - self.received),
            highestSequenceNumber: UInt32(truncatingIfNeeded: self.highest), jitter: UInt32(self.jitter),
            lastSenderReport: self.senderReport?.compact ?? 0, delaySinceLastSenderReport: UInt32(clamping: delay))
    }

    private func transit(_ packet: PacketFacts, micros: Int64) -> Int64 {
        micros / 1_000 * self.clockRate / 1_000 + micros % 1_000 * self.clockRate / 1_000_000
            - Int64(packet.timestamp)
    }
}

/// Puts the frames of one viewer together, to see whether they are whole.
struct FrameChecker {
    private var video = RTPPayloadReader(format: .h264(packetizationMode: 1))
    private var audio = RTPPayloadReader(format: .opus)

    /// Takes a decrypted packet; `missing` packets are not there in front of it. Returns whether a keyframe is whole now.
    mutating func take(_ packet: ByteBuffer, isVideo: Bool, missing: Int, totals: inout ReceivedTotals) -> Bool {
        guard let packet = try? RTPPacket(parsing: packet) else {
            totals.brokenFrames += 1
            return false
        }
        let (marker, timestamp) = (packet.header.marker, packet.header.timestamp)
        var sawKeyframe = false
        if isVideo {
            if missing > 0 { self.video.packetsAreMissing() }
            self.video.append(packet.payload, marker: marker, timestamp: timestamp)
            while let output = self.video.nextOutput() {
                guard case .accessUnit(let unit) = output else {
                    totals.brokenFrames += 1
                    continue
                }
                totals.videoFrames += 1
                if unit.isKeyframe {
                    totals.keyframes += 1
                    sawKeyframe = true
                }
            }
        } else {
            if missing > 0 { self.audio.packetsAreMissing() }
            self.audio.append(packet.payload, marker: marker, timestamp: timestamp)
            while let output = self.audio.nextOutput() {
                if case .accessUnit = output { totals.audioFrames += 1 } else { totals.brokenFrames += 1 }
            }
        }
        return sawKeyframe
    }
}
