import Media
import NIOCore
import RTP
import Testing

/// Bytes from hexadecimal digits; blanks are passed over.
func bytes(_ hex: String) -> ByteBuffer {
    let digits = hex.compactMap { $0.hexDigitValue }
    precondition(digits.count % 2 == 0, "an odd number of digits")
    return ByteBuffer(bytes: stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) })
}

func written(_ body: (inout ByteBuffer) -> Void) -> ByteBuffer {
    var buffer = ByteBuffer()
    body(&buffer)
    return buffer
}

/// SplitMix64: the same numbers for the same seed.
struct Generator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }

    /// Random bytes behind `head`, `count` in all.
    mutating func data(_ head: [UInt8], count: Int) -> ByteBuffer {
        var buffer = ByteBuffer(bytes: head)
        for _ in 0..<max(0, count - head.count) { buffer.writeInteger(UInt8(truncatingIfNeeded: self.next())) }
        return buffer
    }
}

extension RTPPayloadReader {
    mutating func drain() -> [Output] {
        var outputs: [Output] = []
        while let output = self.nextOutput() { outputs.append(output) }
        return outputs
    }

    /// Takes all packets of a frame.
    mutating func append(_ payloads: RTPPayloads, timestamp: UInt32) {
        for index in payloads.ranges.indices {
            self.append(
                payloads.payload(at: index), marker: payloads.hasMarker(at: index),
                timestamp: timestamp &+ payloads.timestampStep &* UInt32(index))
        }
    }

    /// What these payloads give, all of one timestamp with the marker on the last.
    static func read(_ payloads: [ByteBuffer], format: RTPPayloadFormat, timestamp: UInt32 = 7) -> [Output] {
        var reader = RTPPayloadReader(format: format)
        for (index, payload) in payloads.enumerated() {
            reader.append(payload, marker: index == payloads.count - 1, timestamp: timestamp)
        }
        return reader.drain()
    }
}

extension RTPPayloadReader.Output {
    var accessUnit: RTPAccessUnit? {
        if case .accessUnit(let unit) = self { unit } else { nil }
    }
    var error: RTPError? {
        if case .broken(let error, _) = self { error } else { nil }
    }
}

/// NAL units with 4-byte lengths.
func lengthPrefixed(_ units: [ByteBuffer]) -> ByteBuffer {
    var buffer = ByteBuffer()
    for unit in units {
        buffer.writeInteger(UInt32(unit.readableBytes))
        buffer.writeImmutableBuffer(unit)
    }
    return buffer
}
