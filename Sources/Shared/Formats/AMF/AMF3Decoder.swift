package import NIOCore

/// The type markers of AMF3 (§3.1, and the vector types of later players).
enum AMF3Marker {
    static let undefined: UInt8 = 0x00
    static let null: UInt8 = 0x01
    static let `false`: UInt8 = 0x02
    static let `true`: UInt8 = 0x03
    static let integer: UInt8 = 0x04
    static let double: UInt8 = 0x05
    static let string: UInt8 = 0x06
    static let xmlDocument: UInt8 = 0x07
    static let date: UInt8 = 0x08
    static let array: UInt8 = 0x09
    static let object: UInt8 = 0x0A
    static let xml: UInt8 = 0x0B
    static let byteArray: UInt8 = 0x0C
    static let vectorInt: UInt8 = 0x0D
    static let vectorUInt: UInt8 = 0x0E
    static let vectorDouble: UInt8 = 0x0F
    static let vectorObject: UInt8 = 0x10
    static let dictionary: UInt8 = 0x11
}

/// Reads the AMF3 values of one message body, one after the other, with one set of reference tables.
///
/// Total, like `AMF0Decoder`. Of the classes that serialize themselves only Flex's transparent wrappers are known.
///
/// **Spec:** AMF3 §3; vectors and dictionaries as in the 2013 edition.
package struct AMF3Decoder {
    private var input: AMFInput
    private var tables = AMF3Tables()

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
        try self.tables.value(from: &self.input, depth: 1)
    }

    /// Reads all values that are left.
    package mutating func rest() throws(AMFError) -> [AMFValue] {
        var values: [AMFValue] = []
        while !self.isAtEnd {
            values.append(try self.next())
        }
        return values
    }
}

/// The three reference tables of AMF3 (§2.2), and the readers that fill them.
///
/// The tables hold at most one entry for each value that was read, so the limits bound them too.
struct AMF3Tables {
    private struct Traits {
        var className: String
        var isDynamic: Bool
        var isExternalizable: Bool
        var names: [String]
    }

    private var strings: [String] = []
    private var objects: [AMFReferenceTarget] = []
    private var traits: [Traits] = []

    mutating func value(from input: inout AMFInput, depth: Int) throws(AMFError) -> AMFValue {
        try input.check(depth: depth)
        try input.charge()
        let offset = input.offset
        let marker = try input.integer(as: UInt8.self)
        switch marker {
        case AMF3Marker.undefined: return .undefined
        case AMF3Marker.null: return .null
        case AMF3Marker.false: return .boolean(false)
        case AMF3Marker.true: return .boolean(true)
        case AMF3Marker.integer:
            // §3.6: U29 as a two's complement number of 29 bits.
            let raw = try Self.u29(from: &input)
            return .number(Double(raw >= 1 << 28 ? raw - 1 << 29 : raw))
        case AMF3Marker.double: return .number(try input.double())
        case AMF3Marker.string: return .string(try self.string(from: &input))
        case AMF3Marker.xmlDocument, AMF3Marker.xml, AMF3Marker.date, AMF3Marker.array, AMF3Marker.object,
            AMF3Marker.byteArray, AMF3Marker.vectorInt, AMF3Marker.vectorUInt, AMF3Marker.vectorDouble,
            AMF3Marker.vectorObject, AMF3Marker.dictionary:
            return try self.complexValue(marker: marker, from: &input, depth: depth, offset: offset)
        default:
            throw .unknownMarker(marker: marker, offset: offset)
        }
    }

    /// Variable-length unsigned integer of 29 bits (§1.3.1): three bytes of 7 bits, a fourth of 8.
    static func u29(from input: inout AMFInput) throws(AMFError) -> Int {
        var result = 0
        for _ in 0..<3 {
            let byte = Int(try input.integer(as: UInt8.self))
            result = result << 7 | byte & 0x7F
            guard byte & 0x80 != 0 else { return result }
        }
        return result << 8 | Int(try input.integer(as: UInt8.self))
    }

    private mutating func string(from input: inout AMFInput) throws(AMFError) -> String {
        let offset = input.offset
        let header = try Self.u29(from: &input)
        guard header & 1 == 1 else {
            guard header >> 1 < self.strings.count else {
                throw .invalidReference(index: header >> 1, offset: offset)
            }
            return self.strings[header >> 1]
        }
        let text = try input.string(length: header >> 1)
        // §1.3.2: the empty string is never sent by reference. Names are charged too, so the table is bounded.
        if !text.isEmpty {
            try input.charge()
            self.strings.append(text)
        }
        return text
    }

    private mutating func complexValue(
        marker: UInt8, from input: inout AMFInput, depth: Int, offset: Int
    ) throws(AMFError) -> AMFValue {
        let header = try Self.u29(from: &input)
        guard header & 1 == 1 else {
            let index = header >> 1
            guard index < self.objects.count, let value = self.objects[index].value else {
                throw .invalidReference(index: index, offset: offset)
            }
            try input.check(depth: depth + self.objects[index].height - 1)
            try input.charge(self.objects[index].values - 1)
            return value
        }
        let index = self.objects.count
        let valuesBefore = input.values
        self.objects.append(AMFReferenceTarget())
        let value = try self.inlineValue(marker: marker, payload: header >> 1, from: &input, depth: depth)
        self.objects[index] = AMFReferenceTarget(
            value: value, values: input.values - valuesBefore + 1, height: value.height)
        return value
    }

    private mutating func inlineValue(
        marker: UInt8, payload: Int, from input: inout AMFInput, depth: Int
    ) throws(AMFError) -> AMFValue {
        switch marker {
        case AMF3Marker.xml, AMF3Marker.xmlDocument: return .xml(try input.string(length: payload))
        case AMF3Marker.date: return .date(millis: try input.double(), timeZoneMinutes: 0)
        case AMF3Marker.byteArray: return .byteArray(try input.bytes(length: payload))
        case AMF3Marker.array: return try self.array(count: payload, from: &input, depth: depth)
        case AMF3Marker.object: return try self.object(header: payload, from: &input, depth: depth)
        case AMF3Marker.dictionary: return try self.dictionary(count: payload, from: &input, depth: depth)
        default: return try self.vector(marker: marker, count: payload, from: &input, depth: depth)
        }
    }

    private mutating func array(count: Int, from input: inout AMFInput, depth: Int) throws(AMFError) -> AMFValue {
        let named = try self.namedMembers(from: &input, depth: depth)
        try Self.check(count: count, size: 1, in: input)
        var elements: [AMFValue] = []
        for _ in 0..<count {
            elements.append(try self.value(from: &input, depth: depth + 1))
        }
        guard !named.isEmpty else { return .strictArray(elements) }
        return .ecmaArray(named + elements.enumerated().map { AMFProperty("\($0.offset)", $0.element) })
    }

    private mutating func object(header: Int, from input: inout AMFInput, depth: Int) throws(AMFError) -> AMFValue {
        let traits = try self.traits(header: header, from: &input)
        if traits.isExternalizable {
            switch traits.className {
            case "flex.messaging.io.ArrayCollection", "flex.messaging.io.ObjectProxy",
                "flex.messaging.io.ArrayList":
                return try self.value(from: &input, depth: depth + 1)
            default:
                throw .unsupportedExternalizable(offset: input.offset)
            }
        }
        var properties: [AMFProperty] = []
        for name in traits.names {
            properties.append(AMFProperty(name, try self.value(from: &input, depth: depth + 1)))
        }
        if traits.isDynamic {
            properties += try self.namedMembers(from: &input, depth: depth)
        }
        return traits.className.isEmpty
            ? .object(properties) : .typedObject(className: traits.className, properties)
    }

    /// §3.12: U29O-traits-ref, U29O-traits-ext or U29O-traits. `header` has lost its reference bit.
    private mutating func traits(header: Int, from input: inout AMFInput) throws(AMFError) -> Traits {
        guard header & 1 == 1 else {
            guard header >> 1 < self.traits.count else {
                throw .invalidReference(index: header >> 1, offset: input.offset)
            }
            return self.traits[header >> 1]
        }
        try input.charge()
        let isExternalizable = header & 2 != 0
        var traits = Traits(
            className: try self.string(from: &input), isDynamic: header & 4 != 0, isExternalizable: isExternalizable,
            names: [])
        if !isExternalizable {
            let count = header >> 3
            try Self.check(count: count, size: 1, in: input)
            for _ in 0..<count {
                try input.charge()
                traits.names.append(try self.string(from: &input))
            }
        }
        self.traits.append(traits)
        return traits
    }

    /// Name and value pairs up to the empty name.
    private mutating func namedMembers(from input: inout AMFInput, depth: Int) throws(AMFError) -> [AMFProperty] {
        var members: [AMFProperty] = []
        while true {
            let name = try self.string(from: &input)
            guard !name.isEmpty else { return members }
            members.append(AMFProperty(name, try self.value(from: &input, depth: depth + 1)))
        }
    }

    private mutating func vector(
        marker: UInt8, count: Int, from input: inout AMFInput, depth: Int
    ) throws(AMFError) -> AMFValue {
        _ = try input.integer(as: UInt8.self)  // whether the length is fixed, which is the owner's concern
        if marker == AMF3Marker.vectorObject {
            _ = try self.string(from: &input)  // the elements' class
        }
        let size = marker == AMF3Marker.vectorDouble ? 8 : marker == AMF3Marker.vectorObject ? 1 : 4
        try Self.check(count: count, size: size, in: input)
        var elements: [AMFValue] = []
        for _ in 0..<count {
            switch marker {
            case AMF3Marker.vectorObject:
                elements.append(try self.value(from: &input, depth: depth + 1))
                continue
            case AMF3Marker.vectorInt: elements.append(.number(Double(try input.integer(as: Int32.self))))
            case AMF3Marker.vectorUInt: elements.append(.number(Double(try input.integer(as: UInt32.self))))
            default: elements.append(.number(try input.double()))
            }
            try input.charge()
        }
        try input.check(depth: count > 0 ? depth + 1 : depth)
        return .strictArray(elements)
    }

    /// Pairs of any two values. Keys that are no strings or numbers have no name and are dropped with their values.
    private mutating func dictionary(count: Int, from input: inout AMFInput, depth: Int) throws(AMFError) -> AMFValue {
        _ = try input.integer(as: UInt8.self)  // whether keys are weak, which is the owner's concern
        try Self.check(count: count, size: 2, in: input)
        var members: [AMFProperty] = []
        for _ in 0..<count {
            let key = try self.value(from: &input, depth: depth + 1)
            let value = try self.value(from: &input, depth: depth + 1)
            switch key {
            case .string(let name): members.append(AMFProperty(name, value))
            case .number(let number): members.append(AMFProperty("\(number)", value))
            default: continue
            }
        }
        return .ecmaArray(members)
    }

    /// Refuses a count that the bytes left over cannot satisfy, before anything is kept for it.
    private static func check(count: Int, size: Int, in input: AMFInput) throws(AMFError) {
        guard count <= input.available / size else {
            throw .truncated(needed: count * size, available: input.available, offset: input.offset)
        }
    }
}
