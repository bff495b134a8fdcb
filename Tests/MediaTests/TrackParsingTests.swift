import Media
import NIOCore
import TestSupport
import Testing

@Suite struct TrackParsingTests {
    @Test("a record makes a track that keeps it and knows its format")
    func record() throws {
        let track = try Track(codec: .h264, parsingConfiguration: Records.avcHigh)
        #expect(track.configuration == Records.avcHigh)
        #expect(
            track.format
                == .video(VideoFormat(width: 322, height: 182, profile: "High", level: "1.3", frameRate: 25)))
        #expect(track.nalUnitLengthSize == 4)
        #expect(try Track(codec: .hevc, parsingConfiguration: Records.hevcMain).nalUnitLengthSize == 4)
        #expect(try Track(codec: .aac, parsingConfiguration: bytes("1190")).nalUnitLengthSize == nil)
    }

    @Test("bare parameter sets with start codes become an avcC record")
    func annexB() throws {
        let record = try AVCDecoderConfiguration(parsing: Records.avcHigh)
        var stream = bytes("00000001")
        stream.writeImmutableBuffer(try #require(record.sequenceParameterSets.first))
        stream.writeImmutableBuffer(bytes("00000001"))
        stream.writeImmutableBuffer(try #require(record.pictureParameterSets.first))
        let track = try Track(codec: .h264, parsingConfiguration: stream)
        #expect(track.configuration == Records.avcHigh)
    }

    @Test("records are kept in their ISO form, without what a container puts in front")
    func normalised() throws {
        let vp9 = try Track(codec: .vp9, parsingConfiguration: bytes("01000000 000b820202020000"))
        #expect(vp9.configuration == bytes("000b820202020000"))
        let info = "12001200000000000000 0bb800f000000000" + String(repeating: "00", count: 16)
        let flac = try Track(codec: .flac, parsingConfiguration: bytes("664c6143 80000022" + info))
        #expect(flac.configuration == bytes(info))
        let mp3 = try Track(codec: .mp3, parsingConfiguration: bytes("00"))
        #expect(mp3.configuration == nil)
    }

    @Test("a codec that needs a record is refused without one", arguments: Codec.allCases)
    func missing(codec: Codec) throws {
        if codec.needsConfiguration {
            #expect(throws: CodecHeaderError.missingConfiguration(codec)) {
                try Track(codec: codec, parsingConfiguration: nil)
            }
            #expect(throws: CodecHeaderError.missingConfiguration(codec)) {
                try Track(codec: codec, describedBy: bytes("00"))
            }
        } else {
            #expect(try Track(codec: codec, parsingConfiguration: nil).configuration == nil)
        }
    }

    @Test("a codec without a record is described by its frame")
    func described() throws {
        #expect(
            try Track(codec: .mp3, describedBy: bytes("fffb54c4")).format
                == .audio(AudioFormat(sampleRate: 48_000, channels: 1, profile: "Layer 3", samplesPerFrame: 1152)))
        #expect(
            try Track(codec: .g711ALaw, describedBy: bytes("d5")).format
                == .audio(AudioFormat(sampleRate: 8_000, channels: 1)))
        #expect(throws: CodecHeaderError.badSignature(offset: 0)) {
            try Track(codec: .ac3, describedBy: bytes("00000000"))
        }
    }
}
