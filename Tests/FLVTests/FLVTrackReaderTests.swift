import FLV
import Media
import NIOCore
import TestSupport
import Testing

@Suite struct FLVTrackReaderTests {
    private let avc =
        "0164000dffe1001a 6764000dacd941519e226c0440000003004000000c83c50a6580 01 0006 68ebe3cb22c0 fdf8f800"

    @Test("a sequence header gives the track, a frame its times in the source's clock")
    func avcStream() throws {
        var reader = FLVTrackReader()
        let header = try reader.video(timestampMillis: 0, body: bytes("17 00 000000" + self.avc))
        #expect(header.frame == nil)
        #expect(header.track?.codec == .h264)
        #expect(header.track?.configuration == bytes(self.avc))
        #expect(reader.videoTrack == header.track)
        let frame = try reader.video(timestampMillis: 40, body: bytes("27 01 ffffd8 00000002 4188"))
        #expect(frame.track == nil)
        #expect(
            frame.frame
                == Frame(
                    codec: .h264, dts: MediaTime(millis: 40), pts: .zero, isKeyframe: false,
                    payload: bytes("00000002 4188")))
    }

    @Test("a repeated sequence header is dropped, a changed one is a new track")
    func repeated() throws {
        var reader = FLVTrackReader()
        #expect(try reader.audio(timestampMillis: 0, body: bytes("af 00 1190")).track != nil)
        #expect(try reader.audio(timestampMillis: 9, body: bytes("af 00 1190")) == FLVReadResult())
        #expect(reader.lastIgnored == .repeatedConfiguration)
        #expect(reader.counters.ignoredMessages == 1)
        let changed = try reader.audio(timestampMillis: 10, body: bytes("af 00 1210")).track
        #expect(
            changed?.format
                == .audio(AudioFormat(sampleRate: 44_100, channels: 2, profile: "LC", samplesPerFrame: 1024)))
        #expect(try reader.audio(timestampMillis: 11, body: bytes("af 01 aa")).frame?.isKeyframe == true)
        #expect(reader.lastIgnored == nil)
    }

    @Test("frames that come before their configuration are counted and dropped")
    func missingConfiguration() throws {
        var reader = FLVTrackReader()
        #expect(try reader.video(timestampMillis: 0, body: bytes("17 01 000000 00000002 6588")) == FLVReadResult())
        #expect(try reader.audio(timestampMillis: 0, body: bytes("af 01 aa")) == FLVReadResult())
        #expect(try reader.audio(timestampMillis: 0, body: bytes("91 4f707573 aa")) == FLVReadResult())
        #expect(reader.counters.droppedFrames == 3)
        #expect(reader.lastIgnored == .missingConfiguration)
        // A frame of another codec than the configured one lacks its configuration, too.
        _ = try reader.audio(timestampMillis: 0, body: bytes("af 00 1190"))
        #expect(try reader.audio(timestampMillis: 0, body: bytes("91 4f707573 aa")) == FLVReadResult())
    }

    @Test("a broken configuration is an error, after which the reader goes on")
    func brokenConfiguration() throws {
        var reader = FLVTrackReader()
        #expect(
            throws: FLVError.configuration(.aac, .truncated(offset: 0, neededBits: 4, availableBits: 3))
        ) { try reader.audio(timestampMillis: 0, body: bytes("af 00 11")) }
        #expect(throws: FLVError.configuration(.h264, .unsupportedVersion(9, offset: 0))) {
            try reader.video(timestampMillis: 0, body: bytes("17 00 000000 09"))
        }
        #expect(try reader.audio(timestampMillis: 0, body: bytes("af 00 1190")).track != nil)
    }

    @Test("codecs without a configuration get their track from the first frame, and a new one when it changes")
    func describedByFrame() throws {
        var reader = FLVTrackReader()
        let first = try reader.audio(timestampMillis: 26, body: bytes("2e fffb54c4 00"))
        #expect(first.track?.codec == .mp3)
        #expect(first.frame?.dts == MediaTime(millis: 26))
        #expect(try reader.audio(timestampMillis: 50, body: bytes("2e fffb56c4 00")).track == nil)
        let changed = try reader.audio(timestampMillis: 74, body: bytes("2f fffb9064 00"))
        #expect(changed.track?.format != first.track?.format)
        let mu = try reader.audio(timestampMillis: 80, body: bytes("83 ff"))
        #expect(mu.track?.format == .audio(AudioFormat(sampleRate: 8_000, channels: 2)))
        #expect(try reader.audio(timestampMillis: 90, body: bytes("83 fe")).track == nil)
        let ac3 = try reader.audio(timestampMillis: 100, body: bytes("91 61632d33 0b77480d0c402f84"))
        #expect(ac3.track?.codec == .ac3)
    }

    @Test("a first frame without a readable header is dropped, a later one is passed on")
    func unreadableFrame() throws {
        var reader = FLVTrackReader()
        #expect(try reader.audio(timestampMillis: 0, body: bytes("2e 494433")) == FLVReadResult())
        #expect(reader.counters.droppedFrames == 1)
        #expect(reader.lastIgnored == .unusableFrame)
        _ = try reader.audio(timestampMillis: 0, body: bytes("2e fffb54c4 00"))
        let damaged = try reader.audio(timestampMillis: 0, body: bytes("2e 00000000 00"))
        #expect(damaged.track == nil)
        #expect(damaged.frame?.payload == bytes("00000000 00"))
    }

    @Test("VP8 begins at a key frame, which tells the size")
    func vp8() throws {
        var reader = FLVTrackReader()
        #expect(try reader.video(timestampMillis: 0, body: bytes("a1 76703038 f1")) == FLVReadResult())
        let result = try reader.video(timestampMillis: 0, body: bytes("91 76703038 f067009d012a4201b60000"))
        #expect(result.track?.format == .video(VideoFormat(width: 322, height: 182, profile: "Profile 0")))
        #expect(result.frame?.isKeyframe == true)
        #expect(try reader.video(timestampMillis: 0, body: bytes("a1 76703038 f1")).frame != nil)
    }

    @Test("H.264 in Annex B form is rewritten with the length size of its track")
    func annexB() throws {
        var reader = FLVTrackReader()
        _ = try reader.video(timestampMillis: 0, body: bytes("17 00 000000" + self.avc))
        let result = try reader.video(timestampMillis: 0, body: bytes("17 01 000000 00000001 0910 000001 658801"))
        #expect(result.frame?.payload == bytes("00000002 0910 00000003 658801"))
        #expect(reader.counters.convertedFrames == 1)
    }

    @Test("lengths that look like start codes are left alone when they add up")
    func lengthsLikeStartCodes() throws {
        var reader = FLVTrackReader()
        _ = try reader.video(timestampMillis: 0, body: bytes("17 00 000000" + self.avc))
        let end = try reader.video(timestampMillis: 0, body: bytes("27 01 000000 00000001 0a"))
        #expect(end.frame?.payload == bytes("00000001 0a"))
        var body = bytes("27 01 000000 00000102 41")
        body.writeRepeatingByte(0x55, count: 257)
        #expect(try reader.video(timestampMillis: 0, body: body).frame?.payload.readableBytes == 262)
        #expect(reader.counters.convertedFrames == 0)
        #expect(try reader.video(timestampMillis: 0, body: bytes("27 01 000000 00000001")) == FLVReadResult())
        #expect(reader.lastIgnored == .unusableFrame)
    }

    @Test("an AV1 frame loses its temporal delimiter")
    func av1() throws {
        var reader = FLVTrackReader()
        _ = try reader.video(timestampMillis: 0, body: bytes("90 61763031 81000c00 0a0b000000043d06d402f80040"))
        #expect(
            try reader.video(timestampMillis: 0, body: bytes("91 61763031 1200 0a01")).frame?.payload == bytes("0a01"))
        #expect(try reader.video(timestampMillis: 0, body: bytes("a1 61763031 32b1")).frame?.payload == bytes("32b1"))
    }

    @Test("HEVC remembers how it was signalled")
    func hevcForms() throws {
        let record = "01016000000090000000000078f000fcfdf8f800000f00"
        var reader = FLVTrackReader()
        let legacy = try reader.video(timestampMillis: 0, body: bytes("1c 00 000000" + record)).track
        #expect(legacy?.usesLegacyFLVCodecID == true)
        let enhanced = try reader.video(timestampMillis: 0, body: bytes("90 68766331" + record)).track
        #expect(enhanced?.usesLegacyFLVCodecID == false)
    }

    @Test("of several tracks the lowest that has announced itself is used")
    func multitrack() throws {
        var reader = FLVTrackReader()
        #expect(try reader.audio(timestampMillis: 0, body: bytes("95 00 6d703461 02 1190")).track != nil)
        #expect(try reader.audio(timestampMillis: 0, body: bytes("95 00 6d703461 03 1210")) == FLVReadResult())
        #expect(reader.lastIgnored == .otherTrack(id: 3))
        #expect(try reader.audio(timestampMillis: 0, body: bytes("95 01 6d703461 02 aa")).frame != nil)
        #expect(try reader.audio(timestampMillis: 0, body: bytes("95 01 6d703461 01 aa")) == FLVReadResult())
        #expect(try reader.audio(timestampMillis: 0, body: bytes("af 00 1190")).track != nil)
        #expect(try reader.audio(timestampMillis: 0, body: bytes("95 01 6d703461 02 aa")) == FLVReadResult())
        #expect(try reader.audio(timestampMillis: 0, body: bytes("af 01 aa")).frame != nil)
    }

    @Test("a payload shares the storage of the message it came in")
    func noCopy() throws {
        var reader = FLVTrackReader()
        _ = try reader.audio(timestampMillis: 0, body: bytes("af 00 1190"))
        let body = bytes("af 01 aabbccdd")
        let payload = try #require(reader.audio(timestampMillis: 0, body: body).frame?.payload)
        let bodyAddress = unsafe body.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) }
        let payloadAddress = unsafe payload.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) }
        #expect(payloadAddress == bodyAddress + 2)
    }
}
