package import NIOCore

/// AAC's out-of-band header. Spec: ISO/IEC 14496-3 §1.6.2.1.
package struct AudioSpecificConfig: Sendable, Hashable {
    /// The MPEG-4 audio object types that get a name here; others are carried by number.
    package enum ObjectType {
        package static let main = 1
        package static let lowComplexity = 2
        package static let scalableSampleRate = 3
        package static let longTermPrediction = 4
        package static let spectralBandReplication = 5
        package static let lowDelay = 23
        package static let parametricStereo = 29
        package static let enhancedLowDelay = 39
        package static let unified = 42
    }

    /// The object type of the core coder: low complexity also for HE-AAC.
    package var objectType: Int
    /// Samples per second of the core coder.
    package var sampleRate: Int
    /// 0 when the layout is in a program config element, whose count of channels is then in `channels`.
    package var channelConfiguration: Int
    /// Channels of the core coder; `nil` for a configuration number that the standard reserves.
    package var channels: Int?
    /// Samples per second with spectral band replication; `nil` when the header does not announce it. Decoders may find
    /// it in the stream all the same.
    package var extensionSampleRate: Int?
    package var usesParametricStereo: Bool
    /// Frames have 960 samples instead of 1024 (480 instead of 512 for the low delay types).
    package var usesShortFrames: Bool

    /// The configuration of plain AAC, for ingests whose audio describes itself (ADTS).
    ///
    /// `objectType` is 1 to 4, `sampleRate` positive and below 2²⁴, `channelConfiguration` 1 to 15.
    package init(objectType: Int = ObjectType.lowComplexity, sampleRate: Int, channelConfiguration: Int) {
        precondition((1...4).contains(objectType), "audio object type \(objectType) is not plain AAC")
        precondition((1..<1 << 24).contains(sampleRate), "sample rate \(sampleRate) does not fit in 24 bits")
        precondition((1...15).contains(channelConfiguration), "channel configuration \(channelConfiguration)")
        self.objectType = objectType
        self.sampleRate = sampleRate
        self.channelConfiguration = channelConfiguration
        self.channels = Self.channels(ofConfiguration: channelConfiguration)
        self.extensionSampleRate = nil
        self.usesParametricStereo = false
        self.usesShortFrames = false
    }

    /// Parses a header. Bytes after it are ignored, as players do.
    ///
    /// Errors: `truncated`, `invalidValue` for a reserved sample rate index or object type 0.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(record)
        (self.usesParametricStereo, self.usesShortFrames, self.extensionSampleRate) = (false, false, nil)
        var objectType = try Self.readObjectType(&reader)
        self.sampleRate = try Self.readSampleRate(&reader)
        self.channelConfiguration = try reader.int(4)
        let isHierarchical =
            objectType == ObjectType.spectralBandReplication || objectType == ObjectType.parametricStereo
        if isHierarchical {
            self.usesParametricStereo = objectType == ObjectType.parametricStereo
            self.extensionSampleRate = try Self.readSampleRate(&reader)
            objectType = try Self.readObjectType(&reader)
            if objectType == 22 { try reader.skip(4) }
        }
        self.objectType = objectType
        self.channels = Self.channels(ofConfiguration: self.channelConfiguration)
        try self.readSpecificConfig(&reader)
        if !isHierarchical { self.readSyncExtension(&reader) }
    }

    /// Appends the header, with explicit signalling of what extends the core (object type 5 or 29 in front).
    ///
    /// Errors: `invalidValue` when the channel layout is in a program config element, which is not kept, and for object
    /// types of the core other than 1 to 4, whose headers have further fields.
    package func write(into buffer: inout ByteBuffer) throws(CodecHeaderError) {
        guard (1...4).contains(self.objectType) else {
            throw .invalidValue(UInt32(clamping: self.objectType), offset: 0)
        }
        guard (1...15).contains(self.channelConfiguration) else {
            throw .invalidValue(UInt32(clamping: self.channelConfiguration), offset: 0)
        }
        var writer = BitWriter()
        if let extensionSampleRate = self.extensionSampleRate {
            writer.writeObjectType(
                self.usesParametricStereo ? ObjectType.parametricStereo : ObjectType.spectralBandReplication)
            writer.writeSampleRate(self.sampleRate)
            writer.write(self.channelConfiguration, bits: 4)
            writer.writeSampleRate(extensionSampleRate)
            writer.writeObjectType(self.objectType)
        } else {
            writer.writeObjectType(self.objectType)
            writer.writeSampleRate(self.sampleRate)
            writer.write(self.channelConfiguration, bits: 4)
        }
        writer.write(self.usesShortFrames ? 1 : 0, bits: 1)
        writer.write(0, bits: 2)
        buffer.writeBytes(writer.bytes)
    }

    /// The samples as a player hears them: twice the core's rate and frame length with spectral band replication.
    package var audioFormat: AudioFormat {
        let coreSamples: Int? =
            switch self.objectType {
            case 1...4: self.usesShortFrames ? 960 : 1024
            case ObjectType.lowDelay, ObjectType.enhancedLowDelay: self.usesShortFrames ? 480 : 512
            default: nil
            }
        let ratio = self.extensionSampleRate == self.sampleRate * 2 ? 2 : 1
        return AudioFormat(
            sampleRate: self.extensionSampleRate ?? self.sampleRate,
            channels: self.usesParametricStereo && self.channels == 1 ? 2 : self.channels,
            profile: self.profile, samplesPerFrame: coreSamples.map { $0 * ratio })
    }

    private var profile: String? {
        if self.usesParametricStereo { return "HE-AACv2" }
        if self.extensionSampleRate != nil { return "HE-AAC" }
        switch self.objectType {
        case ObjectType.main: return "Main"
        case ObjectType.lowComplexity: return "LC"
        case ObjectType.scalableSampleRate: return "SSR"
        case ObjectType.longTermPrediction: return "LTP"
        case ObjectType.lowDelay: return "LD"
        case ObjectType.enhancedLowDelay: return "ELD"
        case ObjectType.unified: return "xHE-AAC"
        default: return nil
        }
    }

    static let sampleRates = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ]

    /// Channels of a configuration number (ISO/IEC 23001-8, table 8); `nil` for 0 and the reserved numbers.
    package static func channels(ofConfiguration number: Int) -> Int? {
        let counts = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0]
        return counts.indices.contains(number) && counts[number] > 0 ? counts[number] : nil
    }

    private static func readObjectType(_ reader: inout BitReader) throws(CodecHeaderError) -> Int {
        let offset = reader.byteOffset
        let type = try reader.int(5)
        guard type != 0 else { throw .invalidValue(0, offset: offset) }
        return type == 31 ? 32 + (try reader.int(6)) : type
    }

    private static func readSampleRate(_ reader: inout BitReader) throws(CodecHeaderError) -> Int {
        let offset = reader.byteOffset
        let index = try reader.int(4)
        let rate = index == 15 ? try reader.int(24) : index < self.sampleRates.count ? self.sampleRates[index] : 0
        guard rate > 0 else { throw .invalidValue(UInt32(index), offset: offset) }
        return rate
    }

    private mutating func readSpecificConfig(_ reader: inout BitReader) throws(CodecHeaderError) {
        switch self.objectType {
        case 1...4, 6, 7, 17, 19...23:
            self.usesShortFrames = try reader.flag()
            if try reader.flag() { try reader.skip(14) }
            let isExtended = try reader.flag()
            if self.channelConfiguration == 0 { self.channels = try Self.readProgramConfig(&reader) }
            if self.objectType == 6 || self.objectType == 20 { try reader.skip(3) }
            guard isExtended else { return }
            if self.objectType == 22 { try reader.skip(16) }
            if [17, 19, 20, 23].contains(self.objectType) { try reader.skip(3) }
            try reader.skip(1)
        case ObjectType.enhancedLowDelay:
            self.usesShortFrames = try reader.flag()
        default:
            break
        }
    }

    /// Counts the channels of a program config element. Spec: ISO/IEC 14496-3 §4.4.1.1.
    private static func readProgramConfig(_ reader: inout BitReader) throws(CodecHeaderError) -> Int? {
        try reader.skip(4 + 2 + 4)
        let positioned = [try reader.int(4), try reader.int(4), try reader.int(4)].reduce(0, +)
        let effects = try reader.int(2)
        let associated = try reader.int(3)
        let coupling = try reader.int(4)
        if try reader.flag() { try reader.skip(4) }
        if try reader.flag() { try reader.skip(4) }
        if try reader.flag() { try reader.skip(3) }
        var channels = effects
        for _ in 0..<positioned {
            channels += try reader.flag() ? 2 : 1
            try reader.skip(4)
        }
        try reader.skip(effects * 4 + associated * 4 + coupling * 5)
        reader.alignToByte()
        try reader.skip(try reader.int(8) * 8)
        return channels > 0 ? channels : nil
    }

    /// Reads the backward compatible announcement of HE-AAC behind the core's header. It is optional, so whatever does
    /// not fit it is padding. Spec: ISO/IEC 14496-3 §1.6.6.1.
    private mutating func readSyncExtension(_ reader: inout BitReader) {
        guard reader.bitsLeft >= 16, (try? reader.bits(11)) == 0x2B7, (try? Self.readObjectType(&reader)) == 5,
            (try? reader.flag()) == true, let rate = try? Self.readSampleRate(&reader)
        else { return }
        self.extensionSampleRate = rate
        guard reader.bitsLeft >= 12, (try? reader.bits(11)) == 0x548 else { return }
        self.usesParametricStereo = (try? reader.flag()) == true
    }
}

/// Writes fields of any width, most significant bit first; the last byte is filled with zeros.
struct BitWriter {
    private(set) var bytes: [UInt8] = []
    private var bitCount = 0

    mutating func write(_ value: Int, bits: Int) {
        for index in (0..<bits).reversed() {
            if self.bitCount % 8 == 0 { self.bytes.append(0) }
            if value >> index & 1 == 1 { self.bytes[self.bitCount / 8] |= 0x80 >> UInt8(self.bitCount % 8) }
            self.bitCount += 1
        }
    }

    mutating func writeObjectType(_ type: Int) {
        self.write(min(type, 31), bits: 5)
        if type >= 31 { self.write(type - 32, bits: 6) }
    }

    mutating func writeSampleRate(_ rate: Int) {
        if let index = AudioSpecificConfig.sampleRates.firstIndex(of: rate) {
            self.write(index, bits: 4)
        } else {
            self.write(15, bits: 4)
            self.write(rate, bits: 24)
        }
    }
}
