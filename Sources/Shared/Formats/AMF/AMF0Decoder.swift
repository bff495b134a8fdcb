package import NIOCore

/// The type markers of AMF0 (§2.1).
enum AMF0Marker {
    static let number: UInt8 = 0x00
    static let boolean: UInt8 = 0x01
    static let string: UInt8 = 0x02
    static let object: UInt8 = 0x03
    static let null: UInt8 = 0x05
    static let undefined: UInt8 = 0x06
    static let reference: UInt8 = 0x07
    static let ecmaArray: UInt8 = 0x08
    static let objectEnd: UInt8 = 0x09
    static let strictArray: UInt8 = 0x0A
    static let date: UInt8 = 0x0B
    static let longString: UInt8 = 0x0C
    static let xmlDocument: UInt8 = 0x0F
    static let typedObject: UInt8 = 0x10
    static let avmPlus: UInt8 = 0x11
}

/// Reads the AMF0 values of one message body, one after the other.
///
/// Total: any bytes give values or an error, in time and memory bounded by the limits. After an error the decoder must
/// not be used again. A value that follows the `avmplus` marker is read as AMF3.
///
/// Two mistakes of encoders are forgiven: an object or ECMA array that ends with the buffer instead of an end marker,
/// and an ECMA array whose announced count is wrong.
///
/// **Spec:** AMF0 §2, §3.1.
package struct AMF0Decoder {
    private var input: AMFInput
    private var references: [AMFReferenceTarget] = []

    /// Starts at the first readable byte of `buffer`.
    package init(_ buffer: ByteBuffer, limits: AMFLimits = .default) {
        self.input = AMFInput(buffer, limits: limits)
    }

    /// Whether every byte was read.
    package var isAtEnd: Bool { self.input.available == 0 }

    /// The bytes that were not read yet.
    package var remaining: ByteBuffer { self.input.buffer }

    /// Reads the next value; at the end of the buffer that is `truncated`.
    package mutating func next() throws(AMFError) -> AMFValue {
        try self.value(depth: 1)
    }

    /// Reads all values that are left.
    package mutating func rest() throws(AMFError) -> [AMFValue] {
        var values: [AMFValue] = []
        while !self.isAtEnd {
            values.append(try self.next())
        }
        return values
    }

    private mutating func value(depth: Int) throws(AMFError) -> AMFValue {
        try self.input.check(depth: depth)
        try self.input.charge()
        let offset = self.input.offset
        let marker = try self.input.integer(as: UInt8.self)
        switch marker {
        case AMF0Marker.number: return .number(try self.input.double())
        case AMF0Marker.boolean: return .boolean(try self.input.integer(as: UInt8.self) != 0)
        case AMF0Marker.string: return .string(try self.shortString())
        case AMF0Marker.longString: return .string(try self.longString())
        case AMF0Marker.xmlDocument: return .xml(try self.longString())
        case AMF0Marker.null: return .null
        case AMF0Marker.undefined: return .undefined
        case AMF0Marker.date:
            let millis = try self.input.double()
            return .date(millis: millis, timeZoneMinutes: try self.input.integer(as: Int16.self))
        case AMF0Marker.object, AMF0Marker.ecmaArray, AMF0Marker.strictArray, AMF0Marker.typedObject:
            return try self.complexValue(marker: marker, depth: depth)
        case AMF0Marker.reference:
            return try self.resolve(Int(try self.input.integer(as: UInt16.self)), depth: depth, offset: offset)
        case AMF0Marker.avmPlus:
            // AMF0 §3.1: the switch holds for one value, which starts with empty AMF3 tables.
            var tables = AMF3Tables()
            return try tables.value(from: &self.input, depth: depth)
        default:
            throw .unknownMarker(marker: marker, offset: offset)
        }
    }

    private mutating func complexValue(marker: UInt8, depth: Int) throws(AMFError) -> AMFValue {
        let index = self.references.count
        let valuesBefore = self.input.values
        self.references.append(AMFReferenceTarget())
        let value: AMFValue
        switch marker {
        case AMF0Marker.strictArray:
            value = .strictArray(try self.elements(depth: depth))
        case AMF0Marker.ecmaArray:
            // §2.10: the count is a hint; live encoders send 0 or a wrong one.
            _ = try self.input.integer(as: UInt32.self)
            value = .ecmaArray(try self.properties(depth: depth))
        case AMF0Marker.typedObject:
            let className = try self.shortString()
            value = .typedObject(className: className, try self.properties(depth: depth))
        default:
            value = .object(try self.properties(depth: depth))
        }
        self.references[index] = AMFReferenceTarget(
            value: value, values: self.input.values - valuesBefore + 1, height: value.height)
        return value
    }

    private mutating func properties(depth: Int) throws(AMFError) -> [AMFProperty] {
        var properties: [AMFProperty] = []
        while !self.input.skipObjectEnd(), self.input.available > 0 {
            let name = try self.shortString()
            properties.append(AMFProperty(name, try self.value(depth: depth + 1)))
        }
        return properties
    }

    private mutating func elements(depth: Int) throws(AMFError) -> [AMFValue] {
        let count = Int(try self.input.integer(as: UInt32.self))
        // Each element takes at least its marker, so a larger count cannot be true.
        guard count <= self.input.available else {
            throw .truncated(needed: count, available: self.input.available, offset: self.input.offset)
        }
        var elements: [AMFValue] = []
        for _ in 0..<count {
            elements.append(try self.value(depth: depth + 1))
        }
        return elements
    }

    private mutating func resolve(_ index: Int, depth: Int, offset: Int) throws(AMFError) -> AMFValue {
        guard index < self.references.count, let value = self.references[index].value else {
            throw .invalidReference(index: index, offset: offset)
        }
        try self.input.check(depth: depth + self.references[index].height - 1)
        try self.input.charge(self.references[index].values - 1)
        return value
    }

    private mutating func shortString() throws(AMFError) -> String {
        try self.input.string(length: Int(try self.input.integer(as: UInt16.self)))
    }

    private mutating func longString() throws(AMFError) -> String {
        try self.input.string(length: Int(try self.input.integer(as: UInt32.self)))
    }
}
