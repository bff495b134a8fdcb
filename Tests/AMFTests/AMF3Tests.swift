import AMF
import NIOCore
import Testing

private func decode3(_ hex: String, limits: AMFLimits = .default) -> Result<[AMFValue], AMFError> {
    var decoder = AMF3Decoder(bytes(hex), limits: limits)
    do {
        return .success(try decoder.rest())
    } catch {
        return .failure(error)
    }
}

@Suite("AMF3")
struct AMF3Tests {
    struct Vector: Sendable, CustomTestStringConvertible {
        var name: String
        var hex: String
        var value: AMFValue
        var testDescription: String { self.name }
    }

    static let vectors: [Vector] = [
        Vector(name: "undefined", hex: "00", value: .undefined),
        Vector(name: "null", hex: "01", value: .null),
        Vector(name: "false", hex: "02", value: .boolean(false)),
        Vector(name: "true", hex: "03", value: .boolean(true)),
        Vector(name: "integer of one byte", hex: "04 7f", value: .number(127)),
        Vector(name: "integer of two bytes", hex: "04 81 00", value: .number(128)),
        Vector(name: "integer of three bytes", hex: "04 81 80 00", value: .number(16_384)),
        Vector(name: "integer of four bytes", hex: "04 80 c0 80 00", value: .number(2_097_152)),
        Vector(name: "greatest integer", hex: "04 bf ff ff ff", value: .number(268_435_455)),
        Vector(name: "least integer", hex: "04 c0 80 80 00", value: .number(-268_435_456)),
        Vector(name: "minus one", hex: "04 ff ff ff ff", value: .number(-1)),
        Vector(name: "double", hex: "05 3ff8000000000000", value: .number(1.5)),
        Vector(name: "string", hex: "06 07 616263", value: .string("abc")),
        Vector(name: "XML", hex: "0b 09 3c612f3e", value: .xml("<a/>")),
        Vector(name: "date", hex: "08 01 4059000000000000", value: .date(millis: 100, timeZoneMinutes: 0)),
        Vector(name: "byte array", hex: "0c 05 0102", value: .byteArray(ByteBuffer(bytes: [1, 2]))),
        Vector(name: "dense array", hex: "09 05 01 04 01 03", value: .strictArray([.number(1), .boolean(true)])),
        Vector(
            name: "associative array", hex: "09 03 03 61 02 01 04 07",
            value: .ecmaArray([AMFProperty("a", .boolean(false)), AMFProperty("0", .number(7))])),
        Vector(
            name: "anonymous dynamic object", hex: "0a 0b 01 03 61 04 01 01",
            value: .object([AMFProperty("a", .number(1))])),
        Vector(
            name: "sealed typed object", hex: "0a 13 03 54 03 61 06 03 78",
            value: .typedObject(className: "T", [AMFProperty("a", .string("x"))])),
        Vector(
            name: "vector of integers", hex: "0d 05 00 00000001 ffffffff",
            value: .strictArray([.number(1), .number(-1)])),
        Vector(
            name: "vector of unsigned integers", hex: "0e 03 00 ffffffff", value: .strictArray([.number(4_294_967_295)])
        ),
        Vector(name: "vector of doubles", hex: "0f 03 00 3ff8000000000000", value: .strictArray([.number(1.5)])),
        Vector(name: "vector of objects", hex: "10 03 00 01 03", value: .strictArray([.boolean(true)])),
        Vector(
            name: "dictionary", hex: "11 03 00 06 03 61 03", value: .ecmaArray([AMFProperty("a", .boolean(true))])),
        Vector(
            name: "array collection",
            hex: "0a 07 43 666c65782e6d6573736167696e672e696f2e4172726179436f6c6c656374696f6e 09 03 01 03",
            value: .strictArray([.boolean(true)])),
    ]

    @Test("each kind of value is read", arguments: Self.vectors)
    func reads(_ vector: Vector) {
        #expect(decode3(vector.hex) == .success([vector.value]))
    }

    @Test("a value that is cut short is an error at every cut", arguments: Self.vectors)
    func cuts(_ vector: Vector) {
        let whole = bytes(vector.hex)
        for length in 1..<whole.readableBytes {
            guard let cut = whole.getSlice(at: 0, length: length) else { continue }
            var decoder = AMF3Decoder(cut)
            #expect(throws: AMFError.self, "cut at \(length)") { try decoder.rest() }
        }
    }

    @Test("strings, objects and traits are found again by reference")
    func references() {
        #expect(decode3("06 03 61 06 00") == .success([.string("a"), .string("a")]))
        let object = AMFValue.object([AMFProperty("a", .number(1))])
        #expect(decode3("0a 0b 01 03 61 04 01 01 0a 00") == .success([object, object]))
        #expect(
            decode3("0a 13 03 54 03 61 04 01 0a 01 04 02")
                == .success([
                    .typedObject(className: "T", [AMFProperty("a", .number(1))]),
                    .typedObject(className: "T", [AMFProperty("a", .number(2))]),
                ]))
    }

    @Test("references that lead nowhere are refused")
    func badReferences() {
        #expect(decode3("06 00") == .failure(.invalidReference(index: 0, offset: 1)))
        #expect(decode3("0a 02") == .failure(.invalidReference(index: 1, offset: 0)))
        #expect(decode3("0a 05") == .failure(.invalidReference(index: 1, offset: 2)))
        // An array that holds itself.
        #expect(decode3("09 03 01 09 00") == .failure(.invalidReference(index: 0, offset: 3)))
    }

    @Test("a class that serializes itself is refused")
    func externalizable() {
        #expect(decode3("0a 07 03 54 01") == .failure(.unsupportedExternalizable(offset: 4)))
    }

    @Test("counts that the bytes cannot satisfy cost nothing")
    func hugeCounts() {
        #expect(decode3("09 bfffffff 01") == .failure(.truncated(needed: 134_217_727, available: 0, offset: 6)))
        #expect(decode3("0d bfffffff 00") == .failure(.truncated(needed: 536_870_908, available: 0, offset: 6)))
    }

    @Test("arrays nested 1,000 deep are refused at the limit")
    func tooDeep() {
        let hex = String(repeating: "09 03 01", count: 1000)
        #expect(decode3(hex) == .failure(.tooDeep(limit: 32, offset: 96)))
    }

    @Test("unknown markers are refused")
    func unknownMarker() {
        #expect(decode3("12") == .failure(.unknownMarker(marker: 0x12, offset: 0)))
    }
}
