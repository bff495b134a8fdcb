import NIOCore

/// Repeatable random numbers: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: self.next()) }
    }
}

/// The bytes of hexadecimal digits, whatever is between them.
func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

extension ByteBuffer {
    var array: [UInt8] { Array(self.readableBytesView) }
}

/// An RTP packet with the parts asked for.
func rtpPacket(
    sequenceNumber: UInt16, ssrc: UInt32, payload: [UInt8], csrcs: [UInt32] = [], extensionWords: Int? = nil,
    padding: Bool = false
) -> ByteBuffer {
    var packet = ByteBuffer()
    let first = 0x80 | UInt8(csrcs.count) | (extensionWords == nil ? 0 : 0x10) | (padding ? 0x20 : 0)
    packet.writeMultipleIntegers(first, UInt8(96), sequenceNumber, UInt32(sequenceNumber) &* 3000, ssrc)
    csrcs.forEach { packet.writeInteger($0) }
    if let extensionWords {
        packet.writeMultipleIntegers(UInt16(0xBEDE), UInt16(extensionWords))
        for word in 0..<extensionWords { packet.writeInteger(UInt32(word) &* 0x0101_0101) }
    }
    packet.writeBytes(payload)
    return packet
}

/// A receiver report with as many further words as asked for.
func rtcpPacket(ssrc: UInt32, words: Int) -> ByteBuffer {
    var packet = ByteBuffer()
    packet.writeMultipleIntegers(UInt8(0x81), UInt8(201), UInt16(1 + words), ssrc)
    for word in 0..<words { packet.writeInteger(UInt32(word) &* 0x0103_0507) }
    return packet
}
