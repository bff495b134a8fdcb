import Media
import NIOCore
import TestSupport
import Testing

@Suite struct BitReaderTests {
    @Test("fields of any width come out most significant bit first")
    func fields() throws {
        var reader = BitReader(bytes("a5 f0 12 34 56 78 9a"))
        #expect(try reader.bits(1) == 1)
        #expect(try reader.bits(3) == 2)
        #expect(try reader.bits(8) == 0x5F)
        #expect(try reader.bits(0) == 0)
        #expect(try reader.bits(32) == 0x0123_4567)
        #expect(reader.bitOffset == 44)
        #expect(reader.byteOffset == 5)
        #expect(reader.bitsLeft == 12)
        reader.alignToByte()
        #expect(reader.bitOffset == 48)
        #expect(try reader.int(8) == 0x9A)
    }

    @Test("a field that does not fit names where it starts and reads nothing")
    func truncated() {
        var reader = BitReader([0xFF, 0x80])
        #expect(throws: Never.self) { try reader.skip(9) }
        #expect(throws: CodecHeaderError.truncated(offset: 1, neededBits: 8, availableBits: 7)) {
            try reader.bits(8)
        }
        #expect(reader.bitOffset == 9)
        #expect(throws: CodecHeaderError.truncated(offset: 1, neededBits: 100, availableBits: 7)) {
            try reader.skip(100)
        }
    }

    @Test(
        "Exp-Golomb numbers follow the table of H.264 §9.1",
        arguments: [
            ([0x80], 0, 0), ([0x40], 1, 1), ([0x60], 2, -1), ([0x20], 3, 2), ([0x28], 4, -2), ([0x30], 5, 3),
            ([0x38], 6, -3), ([0x10], 7, 4), ([0x1E], 14, -7),
        ] as [([UInt8], UInt32, Int32)])
    func expGolomb(encoded: [UInt8], unsigned: UInt32, signed: Int32) throws {
        var reader = BitReader(encoded)
        #expect(try reader.unsignedExpGolomb() == unsigned)
        reader = BitReader(encoded)
        #expect(try reader.signedExpGolomb() == signed)
    }

    @Test("the largest Exp-Golomb number has 31 leading zeros, and a longer one is refused")
    func expGolombLimits() throws {
        var reader = BitReader([0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE])
        #expect(try reader.unsignedExpGolomb() == UInt32.max - 1)
        reader = BitReader([0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE])
        #expect(try reader.signedExpGolomb() == -Int32.max)
        reader = BitReader([0, 0, 0, 0, 0x80, 0, 0, 0, 0])
        #expect(throws: CodecHeaderError.numberTooLong(offset: 0)) { try reader.unsignedExpGolomb() }
    }

    @Test("an Exp-Golomb number above its stated maximum is refused")
    func expGolombMaximum() {
        var reader = BitReader([0x20])
        #expect(throws: CodecHeaderError.invalidValue(3, offset: 0)) { try reader.unsignedExpGolomb(maximum: 2) }
    }

    @Test("leb128 numbers are read up to 32 bits and 8 bytes")
    func leb128() throws {
        var reader = BitReader([0xE5, 0x8E, 0x26])
        #expect(try reader.leb128() == 624_485)
        reader = BitReader([0xFF, 0xFF, 0xFF, 0xFF, 0x0F])
        #expect(try reader.leb128() == UInt32.max)
        reader = BitReader([0xFF, 0xFF, 0xFF, 0xFF, 0x1F])
        #expect(throws: CodecHeaderError.numberTooLong(offset: 0)) { try reader.leb128() }
        reader = BitReader([UInt8](repeating: 0x80, count: 9))
        #expect(throws: CodecHeaderError.numberTooLong(offset: 0)) { try reader.leb128() }
    }

    @Test("a variable length code saturates at 32 leading zeros")
    func variableLengthCode() throws {
        var reader = BitReader([0x30])
        #expect(try reader.variableLengthCode() == 5)
        reader = BitReader([0, 0, 0, 0, 0x80])
        #expect(try reader.variableLengthCode() == UInt32.max)
    }

    @Test("emulation prevention bytes vanish only after two zero bytes")
    func emulationPrevention() throws {
        var reader = BitReader(removingEmulationPreventionFrom: bytes("00 00 03 01 03 00 03 00 00 03 00 00 03"))
        let expected: [UInt32] = [0, 0, 1, 3, 0, 3, 0, 0, 0, 0]
        for value in expected { #expect(try reader.bits(8) == value) }
        #expect(reader.bitsLeft == 0)
    }
}
