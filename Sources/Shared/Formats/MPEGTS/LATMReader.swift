import Media
import NIOCore

/// Reads AAC out of LOAS frames: one program with one layer, which is all that broadcasters send.
///
/// Spec: ISO/IEC 14496-3 §1.7.2 (`AudioSyncStream`), §1.7.3 (`AudioMuxElement`, `StreamMuxConfig`).
struct LATMReader: Sendable {
    enum Element: Equatable {
        /// The access units of the frame, in order.
        case units([ByteBuffer])
        /// The frame refers to a configuration that did not come yet.
        case missingConfiguration
        /// Several programs or layers, another frame length type, or a coder whose header we cannot delimit.
        case unsupported
    }

    struct Configuration: Sendable, Equatable {
        /// The AudioSpecificConfig, filled up to whole bytes.
        var record: ByteBuffer
        /// Of the core coder.
        var sampleRate: Int
        var samplesPerFrame: Int
        /// Access units in each frame: 1 to 64.
        fileprivate var subframes: Int
    }

    private(set) var configuration: Configuration?

    /// Reads a LOAS frame with its three bytes of header. Errors: `truncated`, and those of the AudioSpecificConfig.
    mutating func read(_ frame: ByteBuffer) throws(CodecHeaderError) -> Element {
        var reader = BitReader(frame)
        try reader.skip(24)
        // useSameStreamMux
        if try !reader.flag() {
            self.configuration = nil
            guard let configuration = try Self.readStreamMuxConfig(&reader) else { return .unsupported }
            self.configuration = configuration
        }
        guard let configuration = self.configuration else { return .missingConfiguration }
        var units: [ByteBuffer] = []
        for _ in 0..<configuration.subframes {
            var length = 0
            while true {
                let byte = try reader.int(8)
                length += byte
                if byte < 255 { break }
            }
            guard length * 8 <= reader.bitsLeft else {
                throw .truncated(offset: reader.byteOffset, neededBits: length * 8, availableBits: reader.bitsLeft)
            }
            units.append(try Self.copy(&reader, bits: length * 8))
        }
        return .units(units)
    }

    /// `nil` for what is not supported.
    private static func readStreamMuxConfig(_ reader: inout BitReader) throws(CodecHeaderError) -> Configuration? {
        let version = try reader.int(1)
        if version == 1 {
            // audioMuxVersionA is reserved.
            guard try !reader.flag() else { return nil }
            _ = try self.latmValue(&reader)
        }
        // allStreamsSameTimeFraming, numSubFrames, numProgram, numLayer
        guard try reader.flag() else { return nil }
        let subframes = try reader.int(6) + 1
        guard try reader.int(4) == 0, try reader.int(3) == 0 else { return nil }
        guard let record = try self.readAudioSpecificConfig(&reader, hasLength: version == 1) else { return nil }
        let config = try AudioSpecificConfig(parsing: record)
        // frameLengthType 0 has the length in front of each unit, and a byte of buffer fullness here.
        guard try reader.int(3) == 0 else { return nil }
        try reader.skip(8)
        if try reader.flag() {
            if version == 1 {
                _ = try self.latmValue(&reader)
            } else {
                // otherDataLenEsc, otherDataLenTmp
                while try reader.flag() { try reader.skip(8) }
                try reader.skip(8)
            }
        }
        if try reader.flag() { try reader.skip(8) }
        let samples = [23, 39].contains(config.objectType) ? 512 : 1024
        return Configuration(
            record: record, sampleRate: config.sampleRate,
            samplesPerFrame: config.usesShortFrames ? samples / 16 * 15 : samples, subframes: subframes)
    }

    /// Reads the AudioSpecificConfig, which begins at any bit. Without a length in front it has to be parsed to know
    /// where it ends; `nil` for object types for which that is not done here.
    private static func readAudioSpecificConfig(
        _ reader: inout BitReader, hasLength: Bool
    ) throws(CodecHeaderError) -> ByteBuffer? {
        if hasLength {
            let length = try self.latmValue(&reader)
            guard length <= 1024 else { throw .numberTooLong(offset: reader.byteOffset) }
            return try self.copy(&reader, bits: length)
        }
        var ahead = reader
        guard try self.skipAudioSpecificConfig(&ahead) else { return nil }
        return try self.copy(&reader, bits: ahead.bitOffset - reader.bitOffset)
    }

    /// Passes over the header of an object type 1 to 4, bare or behind that of HE-AAC, with a channel configuration.
    private static func skipAudioSpecificConfig(_ reader: inout BitReader) throws(CodecHeaderError) -> Bool {
        func skipRate() throws(CodecHeaderError) { if try reader.int(4) == 15 { try reader.skip(24) } }
        var objectType = try reader.int(5)
        try skipRate()
        guard try reader.int(4) > 0 else { return false }
        if objectType == 5 || objectType == 29 {
            try skipRate()
            objectType = try reader.int(5)
        }
        guard (1...4).contains(objectType) else { return false }
        // GASpecificConfig: frameLengthFlag, dependsOnCoreCoder with its delay, extensionFlag with one bit behind it.
        try reader.skip(1)
        if try reader.flag() { try reader.skip(14) }
        if try reader.flag() { try reader.skip(1) }
        return true
    }

    /// `LatmGetValue`: one to four bytes behind their count.
    private static func latmValue(_ reader: inout BitReader) throws(CodecHeaderError) -> Int {
        let count = try reader.int(2) + 1
        return Int(try reader.bits(count * 8))
    }

    /// The next `count` bits as whole bytes, the last filled with zeros.
    private static func copy(_ reader: inout BitReader, bits count: Int) throws(CodecHeaderError) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity((count + 7) / 8)
        var left = count
        while left >= 32 {
            buffer.writeInteger(try reader.bits(32))
            left -= 32
        }
        while left >= 8 {
            buffer.writeInteger(UInt8(try reader.bits(8)))
            left -= 8
        }
        if left > 0 { buffer.writeInteger(UInt8(try reader.bits(left) << UInt32(8 - left))) }
        return buffer
    }
}
