import Crypto
import CryptoExtras
import MediaObjects
import NIOCore
import Packaging
import Synchronization

/// AES-128 of whole segments: CBC with PKCS7 padding, the sequence number as initialization vector.
/// Spec: RFC 8216 §4.3.2.4, §5.2.
enum SegmentKeys {
    static let byteCount = 16

    /// A new key from the system's secure generator.
    static func make() -> [UInt8] {
        unsafe SymmetricKey(size: .bits128).withUnsafeBytes { unsafe Array($0) }
    }

    /// The encrypted bytes of a segment.
    static func encrypt(_ pieces: [ByteBuffer], key: [UInt8], sequence: UInt64) -> ByteBuffer? {
        var plain: [UInt8] = []
        plain.reserveCapacity(pieces.reduce(0) { $0 + $1.readableBytes })
        for piece in pieces { plain.append(contentsOf: piece.readableBytesView) }
        var vector = [UInt8](repeating: 0, count: 16)
        for index in 0..<8 { vector[15 - index] = UInt8(truncatingIfNeeded: sequence >> (8 * UInt64(index))) }
        guard let iv = try? AES._CBC.IV(ivBytes: vector),
            let encrypted = try? AES._CBC.encrypt(plain, using: SymmetricKey(data: key), iv: iv)
        else { return nil }
        return ByteBuffer(bytes: encrypted)
    }

    static func object(_ key: [UInt8]) -> MediaObject {
        MediaObject(
            body: .bytes(ByteBuffer(bytes: key)), contentType: MediaObject.ContentType.key, etag: nil,
            lifetime: .uncacheable)
    }
}

extension StreamShelf {
    /// The output with its segment encrypted, if it names a key, which is made if it is new.
    func encrypted(_ output: PackagingOutput) -> PackagingOutput {
        guard case .segment(var segment) = output, let index = segment.facts.keyIndex else { return output }
        let name = MediaObjectName.key(epoch: segment.facts.epoch, index: index)
        let key = self.state.withLock { state -> [UInt8] in
            if let key = state.keys[name] { return key }
            let key = SegmentKeys.make()
            state.keys[name] = key
            state.hold(.object(SegmentKeys.object(key)), as: name, byteCount: key.count)
            state.replaceCurrent("key", with: name)
            return key
        }
        guard let bytes = SegmentKeys.encrypt(segment.pieces, key: key, sequence: segment.facts.sequence) else {
            preconditionFailure("AES-128 takes any bytes under a key of \(key.count) bytes")
        }
        segment.pieces = [bytes]
        segment.facts.byteCount = bytes.readableBytes
        return .segment(segment)
    }
}
