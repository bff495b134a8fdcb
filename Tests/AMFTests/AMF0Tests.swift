import AMF
import Media
import NIOCore
import Testing

/// Bytes from a hexadecimal text with spaces.
func bytes(_ hex: String) -> ByteBuffer {
    let digits = hex.filter { !$0.isWhitespace }
    var buffer = ByteBuffer()
    var rest = Substring(digits)
    while !rest.isEmpty {
        buffer.writeInteger(UInt8(rest.prefix(2), radix: 16) ?? 0)
        rest = rest.dropFirst(2)
    }
    return buffer
}

/// What a decoder makes of bytes, so that values and errors can be compared.
func decode0(_ buffer: ByteBuffer, limits: AMFLimits = .default) -> Result<[AMFValue], AMFError> {
    do {
        return .success(try AMF0.decode(buffer, limits: limits))
    } catch {
        return .failure(error)
    }
}

@Suite("AMF0")
struct AMF0Tests {
    struct Vector: Sendable, CustomTestStringConvertible {
        var name: String
        var hex: String
        var value: AMFValue
        var testDescription: String { self.name }
    }

    static let vectors: [Vector] = [
        Vector(name: "number", hex: "00 40 08 00 00 00 00 00 00", value: .number(3)),
        Vector(name: "true", hex: "01 01", value: .boolean(true)),
        Vector(name: "false", hex: "01 00", value: .boolean(false)),
        Vector(name: "string", hex: "02 0004 6c697665", value: .string("live")),
        Vector(name: "empty string", hex: "02 0000", value: .string("")),
        Vector(
            name: "object", hex: "03 0003 617070 02 0004 6c697665 0001 61 05 000009",
            value: .object([AMFProperty("app", "live"), AMFProperty("a", .null)])),
        Vector(name: "empty object", hex: "03 000009", value: .object([])),
        Vector(name: "null", hex: "05", value: .null),
        Vector(name: "undefined", hex: "06", value: .undefined),
        Vector(
            name: "ECMA array", hex: "08 00000001 0005 7769647468 00 4094000000000000 000009",
            value: .ecmaArray([AMFProperty("width", .number(1280))])),
        Vector(
            name: "strict array", hex: "0a 00000002 01 01 02 0001 78",
            value: .strictArray([.boolean(true), .string("x")])),
        Vector(
            name: "date", hex: "0b 4272 2c8f 1c00 0000 0000",
            value: .date(millis: Double(bitPattern: 0x4272_2C8F_1C00_0000), timeZoneMinutes: 0)),
        Vector(name: "XML document", hex: "0f 00000004 3c612f3e", value: .xml("<a/>")),
        Vector(
            name: "typed object", hex: "10 0001 54 0001 61 01 01 000009",
            value: .typedObject(className: "T", [AMFProperty("a", .boolean(true))])),
    ]

    @Test("each kind of value is read from the bytes of the specification", arguments: Self.vectors)
    func reads(_ vector: Vector) {
        #expect(decode0(bytes(vector.hex)) == .success([vector.value]))
    }

    @Test("each kind of value is written as the bytes of the specification", arguments: Self.vectors)
    func writes(_ vector: Vector) {
        var buffer = ByteBuffer()
        AMF0.write(vector.value, into: &buffer)
        #expect(buffer == bytes(vector.hex))
    }

    @Test("a value that is cut short is an error at every cut", arguments: Self.vectors)
    func cuts(_ vector: Vector) {
        let whole = bytes(vector.hex)
        for length in 1..<whole.readableBytes {
            guard let cut = whole.getSlice(at: 0, length: length) else { continue }
            switch decode0(cut) {
            case .failure(.truncated): break
            case .success(let values):
                // Only a list of members may end with the buffer.
                #expect(values.first?.properties != nil, "cut at \(length)")
            case .failure(let error): Issue.record("cut at \(length): \(error)")
            }
        }
    }

    @Test("a string of 65,536 bytes is a long string in both directions")
    func longString() {
        let text = String(repeating: "a", count: 65_536)
        var buffer = ByteBuffer()
        AMF0.write(string: text, into: &buffer)
        #expect(buffer.getInteger(at: 0, as: UInt8.self) == 0x0C)
        #expect(buffer.getInteger(at: 1, as: UInt32.self) == 65_536)
        #expect(decode0(buffer) == .success([.string(text)]))
    }

    @Test("an object that ends with the buffer instead of an end marker is complete")
    func missingEndMarker() {
        #expect(
            decode0(bytes("08 00000000 0001 61 01 01"))
                == .success([.ecmaArray([AMFProperty("a", .boolean(true))])]))
    }

    @Test("a reference stands for the object that it names")
    func reference() {
        // [ {a: true}, reference 1 ]: the array is entry 0.
        #expect(
            decode0(bytes("0a 00000002 03 0001 61 0101 000009 07 0001"))
                == .success([
                    .strictArray([
                        .object([AMFProperty("a", .boolean(true))]), .object([AMFProperty("a", .boolean(true))]),
                    ])
                ]))
    }

    @Test("a reference to an object that is not complete is refused, as is one outside the table")
    func badReferences() {
        #expect(decode0(bytes("03 0001 61 07 0000 000009")) == .failure(.invalidReference(index: 0, offset: 4)))
        #expect(decode0(bytes("07 0005")) == .failure(.invalidReference(index: 5, offset: 0)))
    }

    @Test("references that double each other run into the limit of values")
    func referenceBomb() {
        // [a, [0'…]]: each array holds two references to the one before.
        var buffer = bytes("0a 00000002 05 05")
        for index in 0..<40 {
            buffer.writeInteger(UInt8(0x0A))
            buffer.writeInteger(UInt32(2))
            for _ in 0..<2 {
                buffer.writeInteger(UInt8(0x07))
                buffer.writeInteger(UInt16(index))
            }
        }
        guard case .failure(.tooManyValues(let limit, _)) = decode0(buffer, limits: AMFLimits(maximumDepth: 100)) else {
            Issue.record("the bomb went off")
            return
        }
        #expect(limit == 4096)
    }

    @Test("an object nested 1,000 deep is refused at the limit")
    func tooDeep() {
        var buffer = ByteBuffer()
        for _ in 0..<1000 {
            buffer.writeImmutableBuffer(bytes("03 0001 61"))
        }
        #expect(decode0(buffer) == .failure(.tooDeep(limit: 32, offset: 128)))
    }

    @Test("a value at the deepest allowed level is accepted")
    func depthLimit() {
        let limits = AMFLimits(maximumDepth: 2)
        #expect(decode0(bytes("0a 00000001 05"), limits: limits) == .success([.strictArray([.null])]))
        #expect(
            decode0(bytes("0a 00000001 0a 00000001 05"), limits: limits) == .failure(.tooDeep(limit: 2, offset: 10)))
    }

    @Test("more values than the limit are refused")
    func tooManyValues() {
        let buffer = ByteBuffer(repeating: 0x05, count: 5000)
        #expect(decode0(buffer) == .failure(.tooManyValues(limit: 4096, offset: 4096)))
    }

    @Test("an array that announces four thousand million elements costs nothing")
    func hugeCount() {
        #expect(
            decode0(bytes("0a ffffffff 05")) == .failure(.truncated(needed: 0xFFFF_FFFF, available: 1, offset: 5)))
    }

    @Test("a string beyond the limit is refused before it is read")
    func longStringLimit() {
        #expect(
            decode0(bytes("0c 7fffffff 61"))
                == .failure(.stringTooLong(length: 0x7FFF_FFFF, limit: 1 << 20, offset: 5)))
    }

    @Test("reserved and unknown markers are refused", arguments: [0x04, 0x0D, 0x0E, 0x12, 0xFF] as [UInt8])
    func unknownMarkers(_ marker: UInt8) {
        #expect(decode0(ByteBuffer(integer: marker)) == .failure(.unknownMarker(marker: marker, offset: 0)))
    }

    @Test("text that is not UTF-8 is repaired")
    func latin1() {
        #expect(decode0(bytes("02 0001 e9")) == .success([.string("\u{FFFD}")]))
    }

    @Test("the avmplus marker switches to AMF3 for one value")
    func avmPlus() {
        #expect(decode0(bytes("11 04 05 01 01")) == .success([.number(5), .boolean(true)]))
    }

    @Test("members are found by name, the last one of a name first")
    func lookup() {
        let value = AMFValue.object([AMFProperty("a", 1), AMFProperty("b", "x"), AMFProperty("a", 2)])
        #expect(value["a"]?.doubleValue == 2)
        #expect(value["b"]?.stringValue == "x")
        #expect(value["c"] == nil)
        #expect(AMFValue.number(1)["a"] == nil)
    }

    @Test("a member without a name is left out, because it would end the object")
    func emptyName() {
        var buffer = ByteBuffer()
        AMF0.write(.object([AMFProperty("", 1), AMFProperty("a", .null)]), into: &buffer)
        #expect(decode0(buffer) == .success([.object([AMFProperty("a", .null)])]))
    }
}

@Suite("Stream metadata as AMF")
struct StreamMetadataAMFTests {
    @Test("plain values are kept in order, nested ones are left out")
    func fromAMF() {
        let value = AMFValue.ecmaArray([
            AMFProperty("width", 1280), AMFProperty("encoder", "x"), AMFProperty("stereo", true),
            AMFProperty("keyframes", .object([AMFProperty("times", .strictArray([]))])), AMFProperty("width", 1920),
        ])
        let metadata = StreamMetadata(amf: value)
        #expect(metadata.entries.map(\.name) == ["width", "encoder", "stereo"])
        #expect(metadata["width"] == .number(1920))
        #expect(metadata["encoder"] == .string("x"))
        #expect(metadata["stereo"] == .boolean(true))
    }

    @Test("a body that was written reads as the same metadata")
    func roundTrip() {
        let metadata = StreamMetadata(entries: [
            .init(name: "framerate", value: .number(29.97)), .init(name: "encoder", value: .string("w")),
            .init(name: "stereo", value: .boolean(false)),
        ])
        var body = ByteBuffer()
        metadata.writeBody(into: &body)
        guard case .success(let values) = decode0(body), values.count == 2 else {
            Issue.record("the body is not two values")
            return
        }
        #expect(values[0] == "onMetaData")
        #expect(StreamMetadata(amf: values[1]) == metadata)
    }
}
