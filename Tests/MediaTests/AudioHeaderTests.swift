import Media
import NIOCore
import TestSupport
import Testing

@Suite struct AudioHeaderTests {
    @Test(
        "an AudioSpecificConfig tells rate, channels and frame length",
        arguments: [
            ("1190", AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 1024)),
            ("1210", AudioFormat(sampleRate: 44_100, channels: 2, profile: "LC", samplesPerFrame: 1024)),
            ("118856e500", AudioFormat(sampleRate: 48_000, channels: 1, profile: "LC", samplesPerFrame: 1024)),
            ("11b056e500", AudioFormat(sampleRate: 48_000, channels: 6, profile: "LC", samplesPerFrame: 1024)),
            ("1194", AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 960)),
            // Object type 5 in front: 24 kHz core, 48 kHz with spectral band replication.
            ("2b118800", AudioFormat(sampleRate: 48_000, channels: 2, profile: "HE-AAC", samplesPerFrame: 2048)),
            // Object type 29: mono core with parametric stereo.
            ("eb098800", AudioFormat(sampleRate: 48_000, channels: 2, profile: "HE-AACv2", samplesPerFrame: 2048)),
            // The same announced behind a core's header.
            ("131056e598", AudioFormat(sampleRate: 48_000, channels: 2, profile: "HE-AAC", samplesPerFrame: 2048)),
            (
                "130856e59d4880",
                AudioFormat(sampleRate: 48_000, channels: 2, profile: "HE-AACv2", samplesPerFrame: 2048)
            ),
            // An explicit rate of 24 bits.
            ("1780 5dc0 10", AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC", samplesPerFrame: 1024)),
        ])
    func aac(record: String, format: AudioFormat) throws {
        #expect(try AudioSpecificConfig(parsing: bytes(record)).audioFormat == format)
    }

    @Test("channel configuration 0 counts the channels of the program config element")
    func aacProgramConfig() throws {
        // Object type 2, 48 kHz, configuration 0; front: one single and one pair; back: one pair; one LFE: 5.1 by
        // hand. Element: tag 0, profile 1, rate 3, counts 2-0-1-1-0-0, no mixdowns, elements, alignment, no comment.
        let bits =
            "00010" + "0011" + "0000" + "0" + "0" + "0"
            + "0000" + "01" + "0011" + "0010" + "0000" + "0001" + "01" + "000" + "0000" + "0" + "0" + "0"
            + "0" + "0000" + "1" + "0000" + "1" + "0001" + "0000"
        var packed: [UInt8] = []
        for (index, bit) in bits.enumerated() {
            if index % 8 == 0 { packed.append(0) }
            if bit == "1" { packed[index / 8] |= 0x80 >> UInt8(index % 8) }
        }
        packed.append(0)
        let config = try AudioSpecificConfig(parsing: ByteBuffer(bytes: packed))
        #expect(config.channelConfiguration == 0)
        #expect(config.channels == 6)
        for prefix in prefixes(of: ByteBuffer(bytes: packed)) {
            #expect(throws: CodecHeaderError.self) { try AudioSpecificConfig(parsing: prefix) }
        }
        var buffer = ByteBuffer()
        #expect(throws: CodecHeaderError.invalidValue(0, offset: 0)) { try config.write(into: &buffer) }
    }

    @Test("an AudioSpecificConfig is written as it was read", arguments: ["1190", "1210", "1194", "17805dc010"])
    func aacRoundTrip(record: String) throws {
        let config = try AudioSpecificConfig(parsing: bytes(record))
        var buffer = ByteBuffer()
        try config.write(into: &buffer)
        #expect(try AudioSpecificConfig(parsing: buffer) == config)
        if record != "17805dc010" { #expect(buffer == bytes(record)) }
    }

    @Test("an announced extension survives writing and reading")
    func aacExtensionRoundTrip() throws {
        for record in ["2b118800", "eb098800", "130856e59d4880"] {
            let config = try AudioSpecificConfig(parsing: bytes(record))
            var buffer = ByteBuffer()
            try config.write(into: &buffer)
            #expect(try AudioSpecificConfig(parsing: buffer) == config)
        }
    }

    @Test("a header of an object type with further fields is not written")
    func aacUnwritable() throws {
        let scalable = try AudioSpecificConfig(parsing: bytes("3189cfe500"))
        #expect(scalable.objectType == 6)
        var buffer = ByteBuffer()
        #expect(throws: CodecHeaderError.invalidValue(6, offset: 0)) { try scalable.write(into: &buffer) }
        #expect(buffer.readableBytes == 0)
    }

    @Test("a config for audio that describes itself is the two bytes every player knows")
    func aacMade() throws {
        var buffer = ByteBuffer()
        try AudioSpecificConfig(sampleRate: 48_000, channelConfiguration: 2).write(into: &buffer)
        #expect(buffer == bytes("1190"))
        buffer.clear()
        try AudioSpecificConfig(sampleRate: 37_000, channelConfiguration: 1).write(into: &buffer)
        #expect(try AudioSpecificConfig(parsing: buffer).sampleRate == 37_000)
    }

    @Test("reserved values and missing bytes of an AudioSpecificConfig are refused")
    func aacBroken() {
        #expect(throws: CodecHeaderError.invalidValue(0, offset: 0)) { try AudioSpecificConfig(parsing: bytes("0190")) }
        #expect(throws: CodecHeaderError.invalidValue(13, offset: 0)) {
            try AudioSpecificConfig(parsing: bytes("1690"))
        }
        for prefix in prefixes(of: bytes("1190")) {
            #expect(throws: CodecHeaderError.self) { try AudioSpecificConfig(parsing: prefix) }
        }
    }

    @Test("an OpusHead tells channels and pre-skip, and is written as it was read")
    func opus() throws {
        let head = try OpusHead(parsing: Records.opusMono)
        #expect(head.channels == 1)
        #expect(head.preSkip == 312)
        #expect(head.inputSampleRate == 48_000)
        #expect(head.audioFormat == AudioFormat(sampleRate: 48_000, channels: 1))
        #expect(head == OpusHead(channels: 1))
        var buffer = ByteBuffer()
        head.write(into: &buffer)
        #expect(buffer == Records.opusMono)
    }

    @Test("a broken OpusHead is refused with its reason")
    func opusBroken() {
        for prefix in prefixes(of: Records.opusMono) {
            #expect(throws: CodecHeaderError.self) { try OpusHead(parsing: prefix) }
        }
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) {
            try OpusHead(parsing: bytes("4f707573546167730101380180bb0000000000"))
        }
        #expect(throws: CodecHeaderError.unsupportedVersion(16, offset: 8)) {
            try OpusHead(parsing: bytes("4f707573486561641001380180bb0000000000"))
        }
        #expect(throws: CodecHeaderError.invalidValue(0, offset: 9)) {
            try OpusHead(parsing: bytes("4f707573486561640100380180bb0000000000"))
        }
        #expect(throws: CodecHeaderError.truncated(offset: 19, neededBits: 64, availableBits: 0)) {
            try OpusHead(parsing: bytes("4f707573486561640106380180bb0000000001"))
        }
    }

    @Test("a STREAMINFO block is read bare and behind the signature")
    func flac() throws {
        let bare = bytes("12001200000000000000 0bb800f000000000" + String(repeating: "00", count: 16))
        let info = try FLACStreamInfo(parsing: bare)
        #expect(info.audioFormat == AudioFormat(sampleRate: 48_000, channels: 1, samplesPerFrame: 4608))
        #expect(info.bitsPerSample == 16)
        var signed = bytes("664c6143 80000022")
        signed.writeImmutableBuffer(bare)
        #expect(try FLACStreamInfo(parsing: signed) == info)
        for prefix in prefixes(of: signed) {
            #expect(throws: CodecHeaderError.self) { try FLACStreamInfo(parsing: prefix) }
        }
        #expect(throws: CodecHeaderError.invalidValue(4, offset: 4)) {
            try FLACStreamInfo(parsing: bytes("664c6143 04000022"))
        }
    }

    @Test(
        "an MPEG audio header tells rate, channels and lengths",
        arguments: [
            ("fffb54c4", 48_000, 1, 1152, 64_000, 192), ("fffb9064", 44_100, 2, 1152, 128_000, 417),
            ("fff38064", 22_050, 2, 576, 64_000, 208), ("ffe318c4", 8_000, 1, 576, 8_000, 72),
            ("fffd8400", 48_000, 2, 1152, 128_000, 384),
        ])
    func mp3(header: String, rate: Int, channels: Int, samples: Int, bitRate: Int, length: Int) throws {
        let parsed = try MPEGAudioHeader(parsing: bytes(header))
        #expect(parsed.sampleRate == rate)
        #expect(parsed.channels == channels)
        #expect(parsed.samplesPerFrame == samples)
        #expect(parsed.bitRate == bitRate)
        #expect(parsed.frameLength == length)
    }

    @Test("reserved values of an MPEG audio header are refused")
    func mp3Broken() {
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) { try MPEGAudioHeader(parsing: bytes("49443304")) }
        for header in ["ffeb9064", "fff99064", "fffb9c64", "fffbf064"] {
            #expect(throws: CodecHeaderError.self) { try MPEGAudioHeader(parsing: bytes(header)) }
        }
        for prefix in prefixes(of: bytes("fffb9064")) {
            #expect(throws: CodecHeaderError.self) { try MPEGAudioHeader(parsing: prefix) }
        }
    }

    @Test(
        "an AC-3 or E-AC-3 header tells rate and channels",
        arguments: [
            ("0b77480d0c402f84", false, 48_000, 1), ("0b7746fa5e40ebf8", false, 44_100, 6),
            ("0b77037f3f87c000", true, 48_000, 6),
        ])
    func ac3(header: String, isEnhanced: Bool, rate: Int, channels: Int) throws {
        let parsed = try AC3Header(parsing: bytes(header))
        #expect(parsed.isEnhanced == isEnhanced)
        #expect(parsed.sampleRate == rate)
        #expect(parsed.channels == channels)
        #expect(parsed.samplesPerFrame == 1536)
        for prefix in prefixes(of: bytes(header)) where prefix.readableBytes < 6 {
            #expect(throws: CodecHeaderError.self) { try AC3Header(parsing: prefix) }
        }
    }

    @Test("a broken AC-3 header is refused with its reason")
    func ac3Broken() {
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) { try AC3Header(parsing: bytes("0b78480d0c402f84")) }
        #expect(throws: CodecHeaderError.unsupportedVersion(17, offset: 5)) {
            try AC3Header(parsing: bytes("0b77480d0c882f84"))
        }
        #expect(throws: CodecHeaderError.invalidValue(3, offset: 4)) {
            try AC3Header(parsing: bytes("0b77480dc0402f84"))
        }
    }
}
