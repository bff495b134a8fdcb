import Media
import NIOCore
import TestSupport
import Testing

@Suite struct NALUnitTests {
    @Test("units come out as slices, empty ones are skipped, and the count includes them", arguments: 1...4)
    func walk(lengthSize: Int) throws {
        var payload = bytes("ff")
        payload.moveReaderIndex(forwardBy: 1)
        for unit in ["6501", "", "4102030405"] {
            let unit = bytes(unit)
            for index in (0..<lengthSize).reversed() {
                payload.writeInteger(UInt8(truncatingIfNeeded: unit.readableBytes >> (index * 8)))
            }
            payload.writeImmutableBuffer(unit)
        }
        let units = LengthPrefixedNALUnits(payload, lengthSize: lengthSize)
        #expect(Array(units) == [bytes("6501"), bytes("4102030405")])
        #expect(try units.validate() == 3)
    }

    @Test("a unit that is cut off ends the walk and is named by its offset")
    func cutOff() {
        let units = LengthPrefixedNALUnits(bytes("00000001 09 00000005 6501"), lengthSize: 4)
        #expect(Array(units) == [bytes("09")])
        #expect(throws: CodecHeaderError.truncated(offset: 5, neededBits: 40, availableBits: 16)) {
            try units.validate()
        }
        #expect(throws: CodecHeaderError.truncated(offset: 5, neededBits: 32, availableBits: 16)) {
            try LengthPrefixedNALUnits(bytes("00000001 09 0000"), lengthSize: 4).validate()
        }
    }

    @Test("an IDR slice of H.264 and any random access picture of HEVC is where decoding can start")
    func randomAccess() {
        #expect(self.isRandomAccess("00000002 0910 00000002 6588", .h264))
        #expect(!self.isRandomAccess("00000002 0910 00000002 4188", .h264))
        #expect(self.isRandomAccess("00000002 2601", .hevc))
        #expect(self.isRandomAccess("00000002 2a01", .hevc))
        #expect(!self.isRandomAccess("00000002 0201", .hevc))
        #expect(!self.isRandomAccess("00000002 6588", .vp8))
    }

    private func isRandomAccess(_ payload: String, _ codec: Codec) -> Bool {
        LengthPrefixedNALUnits(bytes(payload), lengthSize: 4).containsRandomAccessPoint(codec: codec)
    }

    @Test("start codes of both lengths are recognised at the start only")
    func startCodes() {
        #expect(AnnexB.hasStartCode(bytes("00000001 09")))
        #expect(AnnexB.hasStartCode(bytes("000001 09")))
        #expect(AnnexB.hasStartCode(bytes("000001")))
        #expect(!AnnexB.hasStartCode(bytes("0000")))
        #expect(!AnnexB.hasStartCode(bytes("00000002 0910")))
        #expect(!AnnexB.hasStartCode(bytes("09000001")))
    }

    @Test("a byte stream is cut at start codes, without their zeros and what precedes the first")
    func annexB() throws {
        let stream = bytes("aa 00000001 0910 000001 67420003 0000 00000001 000001 6588 010000")
        #expect(AnnexB.units(in: stream) == [bytes("0910"), bytes("67420003"), bytes("658801")])
        #expect(
            try AnnexB.lengthPrefixed(stream, lengthSize: 4)
                == bytes("00000002 0910 00000004 67420003 00000003 658801"))
        #expect(AnnexB.units(in: bytes("0102030405")).isEmpty)
        #expect(AnnexB.units(in: ByteBuffer()).isEmpty)
    }

    @Test("start codes are found at every position and cut of the stream")
    func annexBPositions() {
        for position in 0..<12 {
            var stream = ByteBuffer(repeating: 2, count: position)
            stream.writeImmutableBuffer(bytes("000001 65"))
            stream.writeRepeatingByte(7, count: 5)
            #expect(AnnexB.units(in: stream).first == bytes("650707070707"))
            for prefix in prefixes(of: stream) {
                #expect(AnnexB.units(in: prefix).count == (prefix.readableBytes > position + 3 ? 1 : 0))
            }
        }
    }

    @Test("a frame of more units than any picture has is refused in both forms, and one of as many is not")
    func tooMany() throws {
        let limit = LengthPrefixedNALUnits.maximumUnits
        func prefixed(_ count: Int) -> ByteBuffer {
            var payload = ByteBuffer()
            for _ in 0..<count { payload.writeMultipleIntegers(UInt8(1), UInt8(0x41)) }
            return payload
        }
        #expect(try LengthPrefixedNALUnits(prefixed(limit), lengthSize: 1).validate(limit: limit) == limit)
        #expect(throws: CodecHeaderError.tooManyUnits(limit: limit)) {
            try LengthPrefixedNALUnits(prefixed(limit + 1), lengthSize: 1).validate(limit: limit)
        }
        func coded(_ count: Int) -> ByteBuffer {
            var stream = ByteBuffer()
            for _ in 0..<count { stream.writeInteger(UInt32(0x0000_0141)) }
            return stream
        }
        #expect(AnnexB.units(in: coded(9), limit: 4).count == 4)
        #expect(AnnexB.units(in: coded(9), limit: 9).count == 9)
        #expect(try AnnexB.lengthPrefixed(coded(limit), lengthSize: 1) == prefixed(limit))
        #expect(throws: CodecHeaderError.tooManyUnits(limit: limit)) {
            try AnnexB.lengthPrefixed(coded(limit + 1), lengthSize: 1)
        }
    }

    @Test("a unit that is too long for its length field is refused")
    func tooLong() {
        var stream = bytes("000001")
        stream.writeRepeatingByte(1, count: 256)
        #expect(throws: CodecHeaderError.unitTooLong(length: 256, lengthSize: 1)) {
            try AnnexB.lengthPrefixed(stream, lengthSize: 1)
        }
    }
}
