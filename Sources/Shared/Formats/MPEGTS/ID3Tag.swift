package import NIOCore

/// ID3 tags as timed metadata: in transport streams, and in `emsg` boxes of fragmented MP4.
///
/// Spec: ID3v2.4.0 structure §3.1, frames §4.2.6 (`TXXX`) and §4.27 (`PRIV`).
package enum ID3Tag {
    /// One frame of a tag.
    package enum Frame: Sendable, Hashable {
        /// `TXXX`: a text under a name.
        case text(name: String, value: String)
        /// `PRIV`: bytes that `owner`, a URL or a reverse domain name, gives a meaning to.
        case priv(owner: String, payload: ByteBuffer)
        /// Any other frame: four characters, the first in the highest byte, and its content as it came.
        case other(id: UInt32, content: ByteBuffer)
    }

    /// Sizes have 28 bits; a tag with more is not made.
    package static let maximumContentLength = 1 << 28 - 1

    private static let textID: UInt32 = 0x5458_5858
    private static let privateID: UInt32 = 0x5052_4956

    /// A tag of texts, one `TXXX` frame each, in UTF-8.
    package static func text(_ pairs: [(name: String, value: String)]) -> ByteBuffer {
        self.tag(pairs.map { .text(name: $0.name, value: $0.value) })
    }

    /// A tag with one `PRIV` frame.
    package static func priv(owner: String, payload: ByteBuffer) -> ByteBuffer {
        self.tag([.priv(owner: owner, payload: payload)])
    }

    /// A tag with `frames` in order. Zero characters in names and owners, which end there on the wire, are left out; a
    /// frame that would make the tag longer than `maximumContentLength` is left out, too.
    package static func tag(_ frames: [Frame]) -> ByteBuffer {
        var content = ByteBuffer()
        for frame in frames {
            let (id, body) = self.body(of: frame)
            guard content.readableBytes + 10 + body.readableBytes <= self.maximumContentLength else { continue }
            content.writeMultipleIntegers(id, self.syncsafe(body.readableBytes), UInt16(0))
            content.writeImmutableBuffer(body)
        }
        var tag = ByteBuffer()
        tag.reserveCapacity(10 + content.readableBytes)
        // "ID3", version 4.0, no flags.
        tag.writeMultipleIntegers(UInt32(0x4944_3304), UInt16(0), self.syncsafe(content.readableBytes))
        tag.writeImmutableBuffer(content)
        return tag
    }

    /// The frames of a version 2.4 tag; `nil` if it is none, is cut off, or uses unsynchronization. Bytes behind the tag
    /// are ignored. Texts that are not in UTF-8 or Latin 1 come out as `other`.
    package static func frames(in tag: ByteBuffer) -> [Frame]? {
        var tag = tag
        guard let (mark, flags, size) = tag.readMultipleIntegers(as: (UInt32, UInt16, UInt32).self),
            mark == 0x4944_3304, flags & 0x00C0 == 0, let length = self.plain(size),
            var content = tag.readSlice(length: length)
        else { return nil }
        var frames: [Frame] = []
        while content.readableBytes >= 10 {
            // Padding is zero bytes up to the end.
            guard let (id, size, flags) = content.readMultipleIntegers(as: (UInt32, UInt32, UInt16).self), id != 0
            else { break }
            guard let length = self.plain(size), let body = content.readSlice(length: length) else { return nil }
            frames.append(flags & 0xFF == 0 ? self.frame(id: id, body: body) : .other(id: id, content: body))
        }
        return frames
    }

    private static func body(of frame: Frame) -> (id: UInt32, body: ByteBuffer) {
        var body = ByteBuffer()
        switch frame {
        case .text(let name, let value):
            body.writeInteger(UInt8(3))
            body.writeBytes(name.utf8.filter { $0 != 0 })
            body.writeInteger(UInt8(0))
            body.writeString(value)
            return (self.textID, body)
        case .priv(let owner, let payload):
            body.writeBytes(owner.utf8.filter { $0 != 0 })
            body.writeInteger(UInt8(0))
            body.writeImmutableBuffer(payload)
            return (self.privateID, body)
        case .other(let id, let content):
            return (id, content)
        }
    }

    private static func frame(id: UInt32, body: ByteBuffer) -> Frame {
        var rest = body
        switch id {
        case self.textID:
            guard let encoding = rest.readInteger(as: UInt8.self), encoding == 3 || encoding == 0,
                let name = self.readText(&rest, encoding: encoding)
            else { break }
            return .text(name: name, value: self.readText(&rest, encoding: encoding, toEnd: true) ?? "")
        case self.privateID:
            guard let owner = self.readText(&rest, encoding: 0) else { break }
            return .priv(owner: owner, payload: rest)
        default:
            break
        }
        return .other(id: id, content: body)
    }

    /// A text up to a zero byte, which is passed over; `toEnd`: a missing zero byte is no error.
    private static func readText(_ rest: inout ByteBuffer, encoding: UInt8, toEnd: Bool = false) -> String? {
        let end = rest.readableBytesView.firstIndex(of: 0)
        guard end != nil || toEnd else { return nil }
        let bytes = rest.readableBytesView[rest.readerIndex..<(end ?? rest.writerIndex)]
        rest.moveReaderIndex(to: end.map { $0 + 1 } ?? rest.writerIndex)
        if encoding == 3 { return String(decoding: bytes, as: UTF8.self) }
        return String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
    }

    /// 28 bits in four bytes whose highest bits are 0 (ID3v2.4.0 structure §6.2).
    private static func syncsafe(_ length: Int) -> UInt32 {
        let value = UInt32(truncatingIfNeeded: length)
        return (value & 0x7F) | (value << 1 & 0x7F00) | (value << 2 & 0x7F_0000) | (value << 3 & 0x7F00_0000)
    }

    private static func plain(_ syncsafe: UInt32) -> Int? {
        guard syncsafe & 0x8080_8080 == 0 else { return nil }
        let value = syncsafe
        return Int((value & 0x7F) | (value >> 1 & 0x3F80) | (value >> 2 & 0x1F_C000) | (value >> 3 & 0xFE0_0000))
    }
}
