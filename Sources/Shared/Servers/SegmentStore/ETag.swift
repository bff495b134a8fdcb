import Crypto
import MediaObjects
import NIOCore

/// Strong validators that are equal on every node for equal bytes.
enum ETag {
    /// Of an object that never changes and whose name is given once in the cluster.
    static func of(_ name: MediaObjectName, byteCount: Int) -> String {
        switch name {
        case .segment(let tag, let epoch, let sequence): "\(tag.rawValue)-\(epoch)-\(sequence)-\(byteCount)"
        case .part(let tag, let epoch, let sequence, let part):
            "\(tag.rawValue)-\(epoch)-\(sequence).\(part)-\(byteCount)"
        case .initialization(let tag, let epoch, let index): "\(tag.rawValue)-\(epoch)-i\(index)-\(byteCount)"
        default: preconditionFailure("\(name) changes, or is for one viewer")
        }
    }

    /// Of bytes that change under their name.
    static func of(_ bytes: ByteBuffer) -> String {
        var hash = SHA256()
        unsafe bytes.withUnsafeReadableBytes { unsafe hash.update(bufferPointer: $0) }
        let digest = hash.finalize()
        return digest.prefix(12).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }.joined()
    }
}
