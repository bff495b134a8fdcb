package import NIOCore

/// One named member of an AMF object.
package struct AMFProperty: Sendable, Hashable {
    package var name: String
    package var value: AMFValue

    package init(_ name: String, _ value: AMFValue) {
        self.name = name
        self.value = value
    }
}

/// A value of Action Message Format, whichever of its two encodings it came in.
///
/// AMF3 integers are `number`, AMF3 vectors `strictArray`, AMF3 dictionaries `ecmaArray`. References are resolved by the
/// decoders, so a value is always a tree; what the copies cost is charged to `AMFLimits.maximumValues`.
///
/// **Spec:** AMF0 §2.2–2.18, AMF3 §3.
package indirect enum AMFValue: Sendable, Hashable {
    case number(Double)
    case boolean(Bool)
    case string(String)
    /// An anonymous object. Order and repeated names are kept as they were sent.
    case object([AMFProperty])
    case null
    case undefined
    /// An associative array.
    case ecmaArray([AMFProperty])
    case strictArray([AMFValue])
    /// Milliseconds since 1970 in UTC. The time zone is reserved and 0 by specification, and kept as it was sent.
    case date(millis: Double, timeZoneMinutes: Int16)
    case xml(String)
    case typedObject(className: String, [AMFProperty])
    /// Opaque bytes. Only AMF3 has them; AMF0 writes `undefined` in their place.
    case byteArray(ByteBuffer)
}

extension AMFValue {
    /// The members of an object, typed object or ECMA array; `nil` for any other value.
    package var properties: [AMFProperty]? {
        switch self {
        case .object(let properties), .ecmaArray(let properties), .typedObject(_, let properties): properties
        default: nil
        }
    }

    /// The member called `name`. Where a name is repeated the last one counts, as it does for an object's owner.
    package subscript(name: String) -> AMFValue? {
        self.properties?.last { $0.name == name }?.value
    }

    /// The value of a number; `nil` for any other value.
    package var doubleValue: Double? {
        guard case .number(let value) = self else { return nil }
        return value
    }

    /// The text of a string; `nil` for any other value.
    package var stringValue: String? {
        guard case .string(let value) = self else { return nil }
        return value
    }

    /// The value of a boolean; `nil` for any other value.
    package var booleanValue: Bool? {
        guard case .boolean(let value) = self else { return nil }
        return value
    }

    /// Whether the value says that there is nothing.
    package var isNullOrUndefined: Bool {
        switch self {
        case .null, .undefined: true
        default: false
        }
    }
}

extension AMFValue: ExpressibleByStringLiteral, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(integerLiteral value: Int) { self = .number(Double(value)) }
    package init(booleanLiteral value: Bool) { self = .boolean(value) }
}

/// How much a decoder accepts before it refuses a message.
package struct AMFLimits: Sendable, Hashable {
    /// How deep objects and arrays may nest. A value on its own has depth 1.
    package var maximumDepth: Int
    /// How many values one decoder yields in all, members, elements and resolved references counted.
    package var maximumValues: Int
    /// The longest string, XML document, property name or byte array, in bytes.
    package var maximumStringLength: Int

    /// Enough for every encoder that is known, and little to lose.
    package static let `default` = AMFLimits()

    package init(maximumDepth: Int = 32, maximumValues: Int = 4096, maximumStringLength: Int = 1 << 20) {
        self.maximumDepth = maximumDepth
        self.maximumValues = maximumValues
        self.maximumStringLength = maximumStringLength
    }
}

/// Why bytes are not AMF. Offsets count from where the decoder's buffer began.
package enum AMFError: Error, Hashable, Sendable {
    case truncated(needed: Int, available: Int, offset: Int)
    case tooDeep(limit: Int, offset: Int)
    case tooManyValues(limit: Int, offset: Int)
    case stringTooLong(length: Int, limit: Int, offset: Int)
    /// A marker that no specification defines, or one of the reserved ones (movie clip, record set, unsupported).
    case unknownMarker(marker: UInt8, offset: Int)
    /// A reference outside the table, or to a value that is not complete yet (a cycle, which a tree cannot hold).
    case invalidReference(index: Int, offset: Int)
    /// An AMF3 class with its own serialization, which only its authors can read.
    case unsupportedExternalizable(offset: Int)
}

extension AMFError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .truncated(let needed, let available, let offset):
            "AMF ends early: \(needed) bytes needed, \(available) available at offset \(offset)"
        case .tooDeep(let limit, let offset): "AMF nests deeper than \(limit) at offset \(offset)"
        case .tooManyValues(let limit, let offset): "AMF holds more than \(limit) values at offset \(offset)"
        case .stringTooLong(let length, let limit, let offset):
            "AMF string of \(length) bytes at offset \(offset), limit \(limit)"
        case .unknownMarker(let marker, let offset): "AMF marker \(marker) at offset \(offset) is unknown"
        case .invalidReference(let index, let offset): "AMF reference \(index) at offset \(offset) leads nowhere"
        case .unsupportedExternalizable(let offset): "AMF3 externalizable object at offset \(offset)"
        }
    }
}
