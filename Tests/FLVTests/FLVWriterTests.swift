import FLV
import Media
import NIOCore
import TestSupport
import Testing

@Suite struct FLVTagBodyWriterTests {
    private func frame(_ codec: Codec, dts: Int64 = 1000, pts: Int64 = 1000, keyframe: Bool = true) -> Frame {
        Frame(
            codec: codec, dts: MediaTime(millis: dts), pts: MediaTime(millis: pts), isKeyframe: keyframe,
            payload: bytes("aabb"))
    }

    private func track(_ codec: Codec, _ record: String? = nil, format: AudioFormat? = nil, legacy: Bool = false)
        -> Track
    {
        Track(
            codec: codec, configuration: record.map(bytes),
            format: codec.kind == .video ? .video(VideoFormat()) : .audio(format ?? AudioFormat()),
            usesLegacyFLVCodecID: legacy)
    }

    private func header(_ frame: Frame, _ track: Track) -> ByteBuffer {
        var buffer = ByteBuffer()
        #expect(FLVTagBodyWriter.writeHeader(of: frame, track: track, into: &buffer) == buffer.readableBytes)
        #expect(buffer.readableBytes <= FLVTagBodyWriter.maximumHeaderLength)
        return buffer
    }

    private func configuration(_ track: Track) -> ByteBuffer? {
        var buffer = ByteBuffer()
        guard let length = FLVTagBodyWriter.writeConfiguration(of: track, into: &buffer) else {
            #expect(buffer.readableBytes == 0)
            return nil
        }
        #expect(length == buffer.readableBytes)
        return buffer
    }

    @Test("H.264 takes the legacy form with a signed composition offset")
    func avc() {
        let track = self.track(.h264, "0164")
        #expect(self.header(self.frame(.h264), track) == bytes("17 01 000000"))
        #expect(self.header(self.frame(.h264, pts: 1080, keyframe: false), track) == bytes("27 01 000050"))
        #expect(self.header(self.frame(.h264, pts: 960, keyframe: false), track) == bytes("27 01 ffffd8"))
        #expect(self.configuration(track) == bytes("17 00 000000 0164"))
    }

    @Test("HEVC is enhanced, or codec id 12 where its track says so")
    func hevc() {
        let track = self.track(.hevc, "01")
        #expect(self.header(self.frame(.hevc), track) == bytes("93 68766331"))
        #expect(self.header(self.frame(.hevc, pts: 1080, keyframe: false), track) == bytes("a1 68766331 000050"))
        #expect(self.header(self.frame(.hevc, pts: 999), track) == bytes("91 68766331 ffffff"))
        #expect(self.configuration(track) == bytes("90 68766331 01"))
        let legacy = self.track(.hevc, "01", legacy: true)
        #expect(self.header(self.frame(.hevc, pts: 1080), legacy) == bytes("1c 01 000050"))
        #expect(self.configuration(legacy) == bytes("1c 00 000000 01"))
    }

    @Test("the other video codecs are enhanced and have no composition offset")
    func otherVideo() {
        #expect(self.header(self.frame(.av1), self.track(.av1, "81")) == bytes("91 61763031"))
        #expect(self.header(self.frame(.vp9, keyframe: false), self.track(.vp9, "00")) == bytes("a1 76703039"))
        #expect(self.header(self.frame(.vp8), self.track(.vp8)) == bytes("91 76703038"))
        #expect(self.configuration(self.track(.av1, "81")) == bytes("90 61763031 81"))
        #expect(self.configuration(self.track(.vp9, "00")) == bytes("90 76703039 01000000 00"))
        #expect(self.configuration(self.track(.vp8)) == nil)
    }

    @Test("AAC, MP3, G.711 and Speex take the legacy form")
    func legacyAudio() {
        let stereo = AudioFormat(sampleRate: 44_100, channels: 2)
        let mono = AudioFormat(sampleRate: 8_000, channels: 1)
        #expect(self.header(self.frame(.aac), self.track(.aac, "1190")) == bytes("af 01"))
        #expect(self.configuration(self.track(.aac, "1190")) == bytes("af 00 1190"))
        #expect(self.header(self.frame(.mp3), self.track(.mp3, format: stereo)) == bytes("2f"))
        #expect(self.header(self.frame(.mp3), self.track(.mp3, format: mono)) == bytes("e2"))
        #expect(
            self.header(self.frame(.mp3), self.track(.mp3, format: AudioFormat(sampleRate: 22_050, channels: 1)))
                == bytes("2a"))
        #expect(self.header(self.frame(.g711ALaw), self.track(.g711ALaw, format: mono)) == bytes("72"))
        #expect(self.header(self.frame(.g711MuLaw), self.track(.g711MuLaw, format: stereo)) == bytes("83"))
        #expect(self.header(self.frame(.speex), self.track(.speex)) == bytes("b6"))
        #expect(self.configuration(self.track(.mp3, format: stereo)) == nil)
    }

    @Test("Opus, FLAC, AC-3 and E-AC-3 are enhanced")
    func enhancedAudio() {
        #expect(self.header(self.frame(.opus), self.track(.opus, "4f")) == bytes("91 4f707573"))
        #expect(self.header(self.frame(.ac3), self.track(.ac3)) == bytes("91 61632d33"))
        #expect(self.header(self.frame(.eac3), self.track(.eac3)) == bytes("91 65632d33"))
        #expect(self.header(self.frame(.flac), self.track(.flac, "12")) == bytes("91 664c6143"))
        #expect(self.configuration(self.track(.opus, "4f")) == bytes("90 4f707573 4f"))
        #expect(self.configuration(self.track(.flac, "12")) == bytes("90 664c6143 664c6143 80000022 12"))
        #expect(self.configuration(self.track(.ac3)) == nil)
    }

    @Test("the composition offset saturates at 24 bits, and adds up in whole milliseconds")
    func compositionOffset() {
        #expect(FLVTagBodyWriter.compositionOffsetMillis(of: self.frame(.h264, dts: 0, pts: 1 << 24)) == 0x7F_FFFF)
        #expect(FLVTagBodyWriter.compositionOffsetMillis(of: self.frame(.h264, dts: 1 << 24, pts: 0)) == -0x80_0000)
        var frame = self.frame(.h264)
        frame.dts = MediaTime(ticks: 3003)
        frame.pts = MediaTime(ticks: 9009)
        #expect(FLVTagBodyWriter.compositionOffsetMillis(of: frame) == 67)
        #expect(frame.dts.millis + 67 == frame.pts.millis)
    }

    @Test("what is written is read back as it was", arguments: Codec.allCases)
    func roundTrip(codec: Codec) throws {
        let records: [Codec: String] = [
            .h264: "014d001fffe000", .hevc: "01016000000090000000000078f000fcfdf8f800000f00", .av1: "81000c00",
            .vp9: "000b820202020000", .aac: "1190", .opus: "4f707573486561640101380180bb0000000000",
            .flac: "12001200000000000000 0bb800f000000000" + String(repeating: "00", count: 16),
        ]
        let payloads: [Codec: String] = [
            .h264: "00000002 6588", .mp3: "fffb54c4", .ac3: "0b77480d0c402f84", .eac3: "0b77037f3f87c000",
            .vp8: "f067009d012a4201b60000",
        ]
        let track = self.track(codec, records[codec])
        var frame = self.frame(codec)
        frame.payload = bytes(payloads[codec] ?? "aabb")
        var reader = FLVTrackReader()
        if let body = self.configuration(track) {
            let result = try self.read(body, codec, 0, &reader)
            #expect(result.track?.codec == codec)
            #expect(result.track?.configuration == track.configuration)
        }
        var body = self.header(frame, track)
        body.writeImmutableBuffer(frame.payload)
        let result = try self.read(body, codec, 1000, &reader)
        #expect(result.frame == frame)
        #expect((result.track == nil) == (track.configuration != nil))
    }

    private func read(
        _ body: ByteBuffer, _ codec: Codec, _ millis: Int64, _ reader: inout FLVTrackReader
    ) throws -> FLVReadResult {
        codec.kind == .video
            ? try reader.video(timestampMillis: millis, body: body)
            : try reader.audio(timestampMillis: millis, body: body)
    }

    @Test("writing into a buffer with room never moves it")
    func noAllocation() {
        var buffer = ByteBufferAllocator().buffer(capacity: 4096)
        let frame = self.frame(.hevc, pts: 1080)
        let track = self.track(.hevc, "01")
        let capacity = buffer.capacity
        for _ in 0..<100 {
            FLVTagWriter.writeTag(of: frame, track: track, into: &buffer)
        }
        #expect(buffer.readableBytes == 100 * (15 + 8 + 2))
        #expect(buffer.capacity == capacity)
    }
}

@Suite struct FLVFileTests {
    private static let file = bytes(
        """
        464c560105 00000009 00000000
        12 000003 000000 00 000000 020000 0000000e
        08 000004 010203 7f 000000 af001190 0000000f
        09 000006 fffffe ff 000000 170100000065 00000011
        """)
    private static let tags = [
        FLVTag(type: .script, timestampMillis: 0, body: bytes("020000")),
        FLVTag(type: .audio, timestampMillis: 0x7F01_0203, body: bytes("af001190")),
        FLVTag(type: .video, timestampMillis: 0xFFFF_FFFE, body: bytes("170100000065")),
    ]

    private func drain(_ reader: inout FLVFileReader) throws(FLVError) -> [FLVTag] {
        var tags: [FLVTag] = []
        while let tag = try reader.nextTag() { tags.append(tag) }
        return tags
    }

    @Test("a file is written byte for byte")
    func write() {
        var buffer = ByteBuffer()
        FLVFileHeader.write(hasAudio: true, hasVideo: true, into: &buffer)
        #expect(buffer.readableBytes == FLVFileHeader.byteCount)
        for tag in Self.tags {
            let length = FLVTagWriter.writeTag(
                type: tag.type, timestampMillis: Int64(tag.timestampMillis), payload: tag.body, into: &buffer)
            #expect(length == tag.body.readableBytes + FLVTagWriter.overhead)
        }
        #expect(buffer == Self.file)
    }

    @Test("the flags of the header are those of the tracks")
    func flags() {
        for (audio, video, flags) in [(false, false, "00"), (true, false, "04"), (false, true, "01")] {
            var buffer = ByteBuffer()
            FLVFileHeader.write(hasAudio: audio, hasVideo: video, into: &buffer)
            #expect(buffer == bytes("464c5601 \(flags) 00000009 00000000"))
        }
    }

    @Test("a file is read whole, byte by byte, and cut in two anywhere")
    func read() throws {
        var whole = FLVFileReader()
        whole.receive(Self.file)
        #expect(try self.drain(&whole) == Self.tags)
        #expect(whole.bufferedBytes == 0)
        #expect(whole.declaresAudio == true)
        #expect(whole.declaresVideo == true)

        var slow = FLVFileReader()
        var tags: [FLVTag] = []
        for byte in Self.file.readableBytesView {
            slow.receive(ByteBuffer(bytes: [byte]))
            tags += try self.drain(&slow)
        }
        #expect(tags == Self.tags)

        for prefix in prefixes(of: Self.file) {
            var reader = FLVFileReader()
            reader.receive(prefix)
            var tags = try self.drain(&reader)
            reader.receive(
                try #require(
                    Self.file.getSlice(at: prefix.readableBytes, length: Self.file.readableBytes - prefix.readableBytes)
                ))
            tags += try self.drain(&reader)
            #expect(tags == Self.tags)
        }
    }

    @Test("a frame's tag has the frame's decoding time and length")
    func frameTag() throws {
        let track = Track(codec: .h264, configuration: bytes("014d001fffe000"), format: .video(VideoFormat()))
        let frame = Frame(
            codec: .h264, dts: MediaTime(millis: 0x1_0000_0010), pts: MediaTime(millis: 0x1_0000_0060),
            isKeyframe: true, payload: bytes("00000002 6588"))
        var buffer = ByteBuffer()
        FLVFileHeader.write(hasAudio: false, hasVideo: true, into: &buffer)
        let configurationLength = FLVTagWriter.writeTag(ofConfiguration: track, timestampMillis: 5, into: &buffer)
        let frameLength = FLVTagWriter.writeTag(of: frame, track: track, into: &buffer)
        #expect(configurationLength == 15 + 5 + 7)
        #expect(frameLength == 15 + 5 + 6)
        #expect(buffer.readableBytes == FLVFileHeader.byteCount + configurationLength + frameLength)
        var reader = FLVFileReader()
        reader.receive(buffer)
        #expect(
            try self.drain(&reader) == [
                FLVTag(type: .video, timestampMillis: 5, body: bytes("1700000000 014d001fffe000")),
                FLVTag(type: .video, timestampMillis: 0x10, body: bytes("1701000050 00000002 6588")),
            ])
    }

    @Test("what cannot be a tag is not written")
    func unwritable() {
        var buffer = ByteBuffer()
        let mp3 = Track(codec: .mp3, configuration: nil, format: .audio(AudioFormat()))
        #expect(FLVTagWriter.writeTag(ofConfiguration: mp3, timestampMillis: 0, into: &buffer) == 0)
        let huge = Frame(
            codec: .mp3, dts: .zero, pts: .zero, isKeyframe: true,
            payload: ByteBuffer(repeating: 0, count: FLVTagWriter.maximumBodyLength))
        #expect(FLVTagWriter.writeTag(of: huge, track: mp3, into: &buffer) == 0)
        #expect(buffer.readableBytes == 0)
    }

    @Test("tags of unknown types are passed over")
    func unknownTypes() throws {
        var reader = FLVFileReader()
        reader.receive(bytes("464c560105 00000009 00000000 0f 000001 000000 00 000000 aa 0000000c"))
        reader.receive(bytes("08 000001 000000 00 000000 bb 00000000"))
        #expect(try self.drain(&reader) == [FLVTag(type: .audio, timestampMillis: 0, body: bytes("bb"))])
    }

    @Test("what is not FLV, encrypted or too long is refused at its offset")
    func refused() {
        func error(_ text: String, maximum: Int = 1000) -> FLVError? {
            var reader = FLVFileReader(maximumBodyLength: maximum)
            reader.receive(bytes(text))
            do throws(FLVError) {
                _ = try self.drain(&reader)
                return nil
            } catch {
                return error
            }
        }
        #expect(error("464c560205 00000009") == .notFLV(offset: 0))
        #expect(error("474554202f 00000009") == .notFLV(offset: 0))
        #expect(error("464c560105 00001000") == .tooLong(length: 4096, maximum: 1024, offset: 5))
        #expect(error("464c560105 00000004") == .tooLong(length: 4, maximum: 1024, offset: 5))
        let header = "464c560105 00000009 00000000"
        #expect(error(header + "28 000001 000000 00") == .encrypted(offset: 13))
        #expect(
            error(header + "08 0003e9 000000 00")
                == .tooLong(length: 1001, maximum: 1000, offset: 13))
        #expect(error(header + "08 0003e8 000000 00") == nil)
    }
}
