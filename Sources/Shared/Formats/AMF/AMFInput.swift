internal import NIOCore

/// The bytes, limits and counts that the decoders of both encodings share while they read one message body.
struct AMFInput {
    private(set) var buffer: ByteBuffer
    let limits: AMFLimits
    private(set) var values = 0
    private let start: Int

    init(_ buffer: ByteBuffer, limits: AMFLimits) {
        self.buffer = buffer
        self.limits = limits
        self.start = buffer.readerIndex
    }

    var offset: Int { self.buffer.readerIndex - self.start }
    var available: Int { self.buffer.readableBytes }

    /// Counts `count` values that are about to be kept.
    mutating func charge(_ count: Int = 1) throws(AMFError) {
        self.values += count
        guard self.values <= self.limits.maximumValues else {
            throw .tooManyValues(limit: self.limits.maximumValues, offset: self.offset)
        }
    }

    /// Checks that a value may stand at `depth`.
    func check(depth: Int) throws(AMFError) {
        guard depth <= self.limits.maximumDepth else {
            throw .tooDeep(limit: self.limits.maximumDepth, offset: self.offset)
        }
    }

    mutating func integer<T: FixedWidthInteger>(as type: T.Type = T.self) throws(AMFError) -> T {
        guard let value = self.buffer.readInteger(as: T.self) else {
            throw .truncated(needed: MemoryLayout<T>.size, available: self.available, offset: self.offset)
        }
        return value
    }

    mutating func double() throws(AMFError) -> Double {
        Double(bitPattern: try self.integer(as: UInt64.self))
    }

    /// Reads `length` bytes as text. Bytes that are not UTF-8 are repaired: encoders do send Latin-1.
    mutating func string(length: Int) throws(AMFError) -> String {
        try self.checkLength(length)
        guard let text = self.buffer.readString(length: length) else {
            throw .truncated(needed: length, available: self.available, offset: self.offset)
        }
        return text
    }

    mutating func bytes(length: Int) throws(AMFError) -> ByteBuffer {
        try self.checkLength(length)
        guard let bytes = self.buffer.readSlice(length: length) else {
            throw .truncated(needed: length, available: self.available, offset: self.offset)
        }
        return bytes
    }

    /// Whether the next three bytes end an object (AMF0 §2.11); consumes them if so.
    mutating func skipObjectEnd() -> Bool {
        guard self.buffer.readableBytes >= 3,
            self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt16.self) == 0,
            self.buffer.getInteger(at: self.buffer.readerIndex + 2, as: UInt8.self) == AMF0Marker.objectEnd
        else { return false }
        self.buffer.moveReaderIndex(forwardBy: 3)
        return true
    }

    private func checkLength(_ length: Int) throws(AMFError) {
        guard length <= self.limits.maximumStringLength else {
            throw .stringTooLong(length: length, limit: self.limits.maximumStringLength, offset: self.offset)
        }
    }
}

/// A value that a later reference may name, with what it would cost to stand there once more.
struct AMFReferenceTarget {
    var value: AMFValue?
    var values = 0
    var height = 0
}

extension AMFValue {
    /// How many levels the value has: 1 for a scalar.
    var height: Int {
        switch self {
        case .object(let properties), .ecmaArray(let properties), .typedObject(_, let properties):
            1 + (properties.map(\.value.height).max() ?? 0)
        case .strictArray(let elements):
            1 + (elements.map(\.height).max() ?? 0)
        default: 1
        }
    }
}
