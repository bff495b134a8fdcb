import NIOCore
import RTP

/// The header of all packets of a track, but for what `RTPBurst` patches.
struct RTPHeaderTemplate {
    private var bytes: InlineArray<64, UInt8>
    /// Where elements end, padding not counted; 12 without extensions.
    private var end = RTPHeader.minimumByteCount
    private var isTwoByte = false
    private var playoutDelayID: UInt8 = 0
    /// Minimum and maximum, 12 bits each.
    private var playoutDelay: UInt32 = 0
    /// Where the values of elements are; 0 for those that are not there.
    private(set) var transportSequenceOffset = 0
    private(set) var absoluteSendTimeOffset = 0

    /// A header for one SSRC. `hasVariableExtensions`: send times and transport-wide numbers are written if negotiated.
    init(
        ssrc: UInt32, payloadType: UInt8, track: RTPTrackConfiguration, hasVariableExtensions: Bool,
        playoutDelay: RTPPlayoutDelay?
    ) {
        self.bytes = InlineArray(repeating: 0)
        self.bytes[0] = 0x80
        self.bytes[1] = payloadType & 0x7F
        self.store(ssrc, at: 8)
        let ids = track.extensions
        let mid = Array(track.mid.utf8)
        // The peer chose mid and ids: what cannot be written is left out. Id 0 is padding.
        func used(_ id: UInt8?, if condition: Bool) -> UInt8? { condition && id != 0 ? id : nil }
        let midID = used(ids.mid, if: (1...16).contains(mid.count))
        let playoutID = used(ids.playoutDelay, if: playoutDelay != nil)
        let sequenceID = used(ids.transportSequenceNumber, if: hasVariableExtensions)
        let timeID = used(ids.absoluteSendTime, if: hasVariableExtensions)
        self.isTwoByte = [midID, playoutID, sequenceID, timeID].contains { ($0 ?? 0) > 14 }
        if let sequenceID {
            self.transportSequenceOffset = self.append(sequenceID, count: 2)
        }
        if let timeID {
            self.absoluteSendTimeOffset = self.append(timeID, count: 3)
        }
        if let midID {
            let offset = self.append(midID, count: mid.count)
            for (index, byte) in mid.enumerated() { self.bytes[offset + index] = byte }
        }
        if let playoutID, let playoutDelay {
            self.playoutDelayID = playoutID
            self.playoutDelay = UInt32(playoutDelay.minimum) << 12 | UInt32(playoutDelay.maximum)
        }
    }

    /// The header of a frame's packets without what differs between them, and its length.
    func header(timestamp: UInt32, sendTime: UInt32, isKeyframe: Bool) -> (Self, length: Int) {
        var header = self
        header.store(timestamp, at: 4)
        if self.absoluteSendTimeOffset > 0 { header.store24(sendTime, at: self.absoluteSendTimeOffset) }
        if isKeyframe, self.playoutDelayID > 0 {
            let offset = header.append(self.playoutDelayID, count: 3)
            header.store24(self.playoutDelay, at: offset)
        }
        guard header.end > RTPHeader.minimumByteCount else { return (header, header.end) }
        // RFC 3550 §5.3.1: the block is whole words; what is behind the elements is padding, which is zero.
        let length = (header.end + 3) & ~3
        header.bytes[0] |= 0x10
        header.bytes[12] = self.isTwoByte ? 0x10 : 0xBE
        header.bytes[13] = self.isTwoByte ? 0x00 : 0xDE
        header.bytes[15] = UInt8(truncatingIfNeeded: (length - 16) / 4)
        return (header, length)
    }

    /// Makes it the header of a retransmission.
    mutating func setSource(ssrc: UInt32, payloadType: UInt8) {
        self.bytes[1] = payloadType & 0x7F
        self.store(ssrc, at: 8)
    }

    /// Copies the first `count` bytes.
    func copy(count: Int, to destination: UnsafeMutableRawBufferPointer) {
        let span = self.bytes.span
        unsafe span.withUnsafeBytes { bytes in
            unsafe destination.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count]))
        }
    }

    /// Appends an element and returns where its value goes.
    private mutating func append(_ id: UInt8, count: Int) -> Int {
        if self.end == RTPHeader.minimumByteCount { self.end += 4 }
        if self.isTwoByte {
            self.bytes[self.end] = id
            self.bytes[self.end + 1] = UInt8(truncatingIfNeeded: count)
            self.end += 2
        } else {
            self.bytes[self.end] = id << 4 | UInt8(truncatingIfNeeded: count - 1)
            self.end += 1
        }
        defer { self.end += count }
        return self.end
    }

    private mutating func store(_ value: UInt32, at offset: Int) {
        self.bytes[offset] = UInt8(truncatingIfNeeded: value >> 24)
        self.store24(value, at: offset + 1)
    }

    private mutating func store24(_ value: UInt32, at offset: Int) {
        self.bytes[offset] = UInt8(truncatingIfNeeded: value >> 16)
        self.bytes[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
        self.bytes[offset + 2] = UInt8(truncatingIfNeeded: value)
    }
}
