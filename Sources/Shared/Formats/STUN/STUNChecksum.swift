import Crypto
import NIOCore

/// MESSAGE-INTEGRITY and FINGERPRINT: both are computed as if the message ended behind the attribute itself.
enum STUNChecksum {
    /// HMAC-SHA1 over the first `length` bytes, the header's length replaced. Spec: RFC 8489 §14.5.
    static func integrity(of message: ByteBuffer, length: Int, password: String) -> [UInt8] {
        Array(self.authenticator(of: message, length: length, password: password).finalize())
    }

    /// Whether `digest` is that HMAC; takes the same time for every wrong one.
    static func isIntegrity(_ digest: [UInt8], of message: ByteBuffer, length: Int, password: String) -> Bool {
        let expected = self.integrity(of: message, length: length, password: password)
        guard expected.count == digest.count else { return false }
        return zip(expected, digest).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    /// The CRC-32 over the first `length` bytes with its mask. Spec: RFC 8489 §14.7.
    static func fingerprint(of message: ByteBuffer, length: Int) -> UInt32 {
        var checksum: UInt32 = 0xFFFF_FFFF
        self.update(&checksum, with: self.header(of: message, length: length + 8).readableBytesView)
        let start = message.readerIndex + STUNMessage.headerLength
        if let rest = message.getSlice(at: start, length: length - STUNMessage.headerLength) {
            self.update(&checksum, with: rest.readableBytesView)
        }
        return ~checksum ^ 0x5354_554E
    }

    private static func authenticator(
        of message: ByteBuffer, length: Int, password: String
    ) -> HMAC<Insecure.SHA1> {
        var authenticator = HMAC<Insecure.SHA1>(key: SymmetricKey(data: Array(password.utf8)))
        authenticator.update(data: Array(self.header(of: message, length: length + 24).readableBytesView))
        let start = message.readerIndex + STUNMessage.headerLength
        if let rest = message.getSlice(at: start, length: length - STUNMessage.headerLength) {
            authenticator.update(data: Array(rest.readableBytesView))
        }
        return authenticator
    }

    /// The message's header, saying that the message has `length` bytes with it.
    private static func header(of message: ByteBuffer, length: Int) -> ByteBuffer {
        var header = message.getSlice(at: message.readerIndex, length: STUNMessage.headerLength) ?? ByteBuffer()
        header.setInteger(
            UInt16(truncatingIfNeeded: length - STUNMessage.headerLength), at: header.readerIndex + 2)
        return header
    }

    private static func update(_ checksum: inout UInt32, with bytes: ByteBufferView) {
        for byte in bytes {
            checksum = checksum >> 8 ^ self.table[Int((checksum ^ UInt32(byte)) & 0xFF)]
        }
    }

    /// The polynomial of ISO 3309, reflected.
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 != 0 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
    }
}
