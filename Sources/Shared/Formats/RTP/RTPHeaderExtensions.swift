package import NIOCore

/// The extension block of an RTP header: small elements that are told apart by ids that the SDP assigned.
///
/// The elements stay in the datagram's memory. Spec: RFC 3550 §5.3.1, RFC 8285 §4.
package struct RTPHeaderExtensions: Sendable, Hashable {
    /// How elements are laid out; the block's 16-bit profile field.
    package enum Form: Sendable, Hashable {
        /// Ids 1 to 14, 1 to 16 bytes each (profile `0xBEDE`).
        case oneByte
        /// Ids 1 to 255, 0 to 255 bytes each (profile `0x1000` to `0x100F`; the low four bits belong to applications).
        case twoByte
        /// Some other use of the extension; it has no elements.
        case other(profile: UInt16)

        fileprivate init(profile: UInt16) {
            if profile == 0xBEDE {
                self = .oneByte
            } else if profile >> 4 == 0x100 {
                self = .twoByte
            } else {
                self = .other(profile: profile)
            }
        }

        fileprivate var profile: UInt16 {
            switch self {
            case .oneByte: 0xBEDE
            case .twoByte: 0x1000
            case .other(let profile): profile
            }
        }
    }

    /// One element of a block.
    package struct Element: Sendable, Hashable {
        package var id: UInt8
        package var value: ByteBuffer

        package init(id: UInt8, value: ByteBuffer) {
            self.id = id
            self.value = value
        }
    }

    package let form: Form
    /// The block behind profile and length; whole 32-bit words.
    package let data: ByteBuffer

    /// Makes the smallest block that holds `elements`: one-byte headers if all fit into them.
    ///
    /// Ids are 1 to 255 (15 makes the block two-byte), values at most 255 bytes.
    package init(_ elements: [Element]) {
        let isOneByte = elements.allSatisfy { (1...14).contains($0.id) && (1...16).contains($0.value.readableBytes) }
        var data = ByteBuffer()
        for element in elements {
            precondition(element.id > 0, "id 0 is padding")
            let length = element.value.readableBytes
            precondition(length < 256, "an extension element has at most 255 bytes, got \(length)")
            if isOneByte {
                data.writeInteger(element.id << 4 | UInt8(truncatingIfNeeded: length - 1))
            } else {
                data.writeMultipleIntegers(element.id, UInt8(truncatingIfNeeded: length))
            }
            data.writeImmutableBuffer(element.value)
        }
        data.writeRepeatingByte(0, count: -data.readableBytes & 3)
        self.form = isOneByte ? .oneByte : .twoByte
        self.data = data
    }

    /// Takes the block off the front of `buffer`, which stands at the profile field; `offset` is for errors.
    init(readingFrom buffer: inout ByteBuffer, offset: Int) throws(RTPError) {
        guard let (profile, words) = buffer.readMultipleIntegers(as: (UInt16, UInt16).self) else {
            throw .truncated(offset: offset, needed: 4, available: buffer.readableBytes)
        }
        guard let data = buffer.readSlice(length: Int(words) * 4) else {
            throw .truncated(offset: offset + 4, needed: Int(words) * 4, available: buffer.readableBytes)
        }
        self.form = Form(profile: profile)
        self.data = data
    }

    /// Bytes of the block with profile and length.
    package var byteCount: Int { 4 + self.data.readableBytes }

    /// Appends the block with profile and length.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            self.form.profile, UInt16(truncatingIfNeeded: self.data.readableBytes / 4))
        buffer.writeImmutableBuffer(self.data)
    }

    /// The value of the first element with `id`; `nil` when there is none.
    package func value(id: UInt8) -> ByteBuffer? {
        var iterator = self.makeIterator()
        while let element = iterator.next() {
            if element.id == id { return element.value }
        }
        return nil
    }
}

extension RTPHeaderExtensions: Sequence {
    /// Walks the elements. Stops in front of an element that is cut off, and at the one-byte id 15 (RFC 8285 §4.2).
    package struct Iterator: IteratorProtocol {
        private var rest: ByteBuffer
        private let form: Form

        fileprivate init(_ extensions: RTPHeaderExtensions) {
            self.rest = extensions.data
            self.form = extensions.form
        }

        package mutating func next() -> Element? {
            if case .other = self.form { return nil }
            while let first = self.rest.readInteger(as: UInt8.self) {
                if first == 0 { continue }
                let (id, length): (UInt8, Int)
                if self.form == .oneByte {
                    (id, length) = (first >> 4, Int(first & 0x0F) + 1)
                    // §4.2: 15 ends the processing. Id 0 with a length is padding of a broken sender: one byte.
                    if id == 15 { return nil }
                    if id == 0 { continue }
                } else {
                    guard let count = self.rest.readInteger(as: UInt8.self) else { return nil }
                    (id, length) = (first, Int(count))
                }
                guard let value = self.rest.readSlice(length: length) else { return nil }
                return Element(id: id, value: value)
            }
            return nil
        }
    }

    package func makeIterator() -> Iterator { Iterator(self) }
}
