package import NIOCore

/// The header extensions that Weir reads or writes, by the URI that the SDP names them with.
package enum RTPExtensionURI: String, Sendable, Hashable, CaseIterable {
    case mid = "urn:ietf:params:rtp-hdrext:sdes:mid"
    case rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
    case repairedRID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
    case transportSequenceNumber = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
    case absoluteSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
    case playoutDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
    case audioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
    case videoOrientation = "urn:3gpp:video-orientation"
    case transmissionOffset = "urn:ietf:params:rtp-hdrext:toffset"
    case dependencyDescriptor =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
}

/// When a packet left its sender, as 24 bits of a clock with 18 fractional bits that wraps each 64 seconds.
package struct RTPAbsoluteSendTime: Sendable, Hashable {
    /// 24 bits, in units of 2⁻¹⁸ seconds.
    package var value: UInt32

    /// Of a time in nanoseconds of any steady clock.
    package init(nanoseconds: UInt64) {
        let seconds = nanoseconds / 1_000_000_000 & 0x3F
        let fraction = ((nanoseconds % 1_000_000_000) << 18) / 1_000_000_000
        self.value = UInt32(truncatingIfNeeded: seconds << 18 | fraction)
    }

    /// Parses an element's value; `nil` unless it has 3 bytes.
    package init?(parsing value: ByteBuffer) {
        guard value.readableBytes == 3, let time = value.getUInt24(at: value.readerIndex) else { return nil }
        self.value = time
    }

    /// Appends the 3 bytes of the element's value.
    package func write(into buffer: inout ByteBuffer) { buffer.writeUInt24(self.value) }

    /// Microseconds from `earlier` to `later`, by the shorter way round the 64 seconds.
    package static func micros(from earlier: Self, to later: Self) -> Int64 {
        let wrapped = Int32(bitPattern: (later.value &- earlier.value) << 8) >> 8
        return (Int64(wrapped) * 1_000_000) >> 18
    }
}

/// The bounds of the delay that a player should keep in front of its decoder.
package struct RTPPlayoutDelay: Sendable, Hashable {
    /// In steps of 10 ms, 0 to 4095.
    package var minimum: UInt16
    package var maximum: UInt16

    /// Of milliseconds, rounded down to steps of 10 and cut to what fits.
    package init(minimumMillis: Int, maximumMillis: Int) {
        self.minimum = UInt16(truncatingIfNeeded: Swift.min(Swift.max(minimumMillis / 10, 0), 4095))
        self.maximum = UInt16(truncatingIfNeeded: Swift.min(Swift.max(maximumMillis / 10, 0), 4095))
    }

    /// Parses an element's value; `nil` unless it has 3 bytes.
    package init?(parsing value: ByteBuffer) {
        guard value.readableBytes == 3, let both = value.getUInt24(at: value.readerIndex) else { return nil }
        self.minimum = UInt16(truncatingIfNeeded: both >> 12)
        self.maximum = UInt16(truncatingIfNeeded: both & 0xFFF)
    }

    /// Appends the 3 bytes of the element's value.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeUInt24(UInt32(self.minimum & 0xFFF) << 12 | UInt32(self.maximum & 0xFFF))
    }
}

extension ByteBuffer {
    /// The most significant byte first; `nil` when fewer than 3 bytes are there.
    func getUInt24(at index: Int) -> UInt32? {
        guard let high = self.getInteger(at: index, as: UInt16.self),
            let low = self.getInteger(at: index + 2, as: UInt8.self)
        else { return nil }
        return UInt32(high) << 8 | UInt32(low)
    }

    mutating func readUInt24() -> UInt32? {
        guard let value = self.getUInt24(at: self.readerIndex) else { return nil }
        self.moveReaderIndex(forwardBy: 3)
        return value
    }

    /// Appends the low 24 bits.
    mutating func writeUInt24(_ value: UInt32) {
        self.writeMultipleIntegers(UInt16(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value))
    }
}
