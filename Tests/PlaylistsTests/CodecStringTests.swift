import Media
import NIOCore
import Testing

@testable import Playlists

@Suite struct CodecStringTests {
    private static func video(_ codec: Codec, _ record: [UInt8]?, _ format: VideoFormat = VideoFormat()) -> Track {
        Track(codec: codec, configuration: record.map { ByteBuffer(bytes: $0) }, format: .video(format))
    }

    private static func audio(_ codec: Codec, _ record: [UInt8]? = nil) -> Track {
        Track(codec: codec, configuration: record.map { ByteBuffer(bytes: $0) }, format: .audio(AudioFormat()))
    }

    /// An hvcC record without parameter sets.
    private static func hevc(
        profile: UInt8, compatibility: UInt32, constraints: [UInt8], level: UInt8
    ) -> [UInt8] {
        [1, profile] + (0..<4).map { UInt8(truncatingIfNeeded: compatibility >> UInt32(24 - 8 * $0)) } + constraints
            + [level, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 0]
    }

    @Test(
        "H.264 tells profile, constraints and level",
        arguments: [
            ([0x64, 0x00, 0x1F] as [UInt8], "avc1.64001f"), ([0x42, 0xC0, 0x0A], "avc1.42c00a"),
            ([0xF4, 0x00, 0x33], "avc1.f40033"),
        ])
    func avc(bytes: [UInt8], wanted: String) {
        #expect(CodecString.of(Self.video(.h264, [1] + bytes + [0xFF, 0xE0, 0])) == wanted)
        #expect(CodecString.of(Self.video(.h264, [1] + bytes + [0xFF, 0xE0, 0]), in: .mpegTS) == wanted)
    }

    @Test("HEVC is what its standard gives as examples")
    func hevc() {
        let main = Self.hevc(
            profile: 1, compatibility: 0x6000_0000, constraints: [0x90, 0, 0, 0, 0, 0], level: 93)
        #expect(CodecString.of(Self.video(.hevc, main)) == "hvc1.1.6.L93.90")
        let main10 = Self.hevc(
            profile: 0x22, compatibility: 0x2000_0000, constraints: [0xB0, 0, 0, 0, 0, 0], level: 153)
        #expect(CodecString.of(Self.video(.hevc, main10)) == "hvc1.2.4.H153.B0")
        let odd = Self.hevc(profile: 0x44, compatibility: 0x0800_0001, constraints: [0, 0x0E, 0, 0, 0, 0], level: 30)
        #expect(CodecString.of(Self.video(.hevc, odd)) == "hvc1.A4.80000010.L30.0.E")
        let bare = Self.hevc(profile: 1, compatibility: 0, constraints: [0, 0, 0, 0, 0, 0], level: 30)
        #expect(CodecString.of(Self.video(.hevc, bare)) == "hvc1.1.0.L30")
    }

    @Test("AV1 tells profile, level, tier and depth, and the rest only of monochrome pictures")
    func av1() {
        #expect(CodecString.of(Self.video(.av1, [0x81, 0x08, 0x0C, 0])) == "av01.0.08M.08")
        #expect(CodecString.of(Self.video(.av1, [0x81, 0x2D, 0xCC, 0])) == "av01.1.13H.10")
        #expect(CodecString.of(Self.video(.av1, [0x81, 0x5F, 0x6C, 0])) == "av01.2.31M.12")
        #expect(CodecString.of(Self.video(.av1, [0x81, 0x00, 0x1C, 0])) == "av01.0.00M.08.1.110.01.01.01.0")
    }

    @Test("VP9 tells profile, level and depth; a level of 0 is found by the picture")
    func vp9() {
        #expect(CodecString.of(Self.video(.vp9, [0, 31, 0x82, 1, 1, 1, 0, 0])) == "vp09.00.31.08")
        #expect(CodecString.of(Self.video(.vp9, [2, 0, 0xA2, 1, 1, 1, 0, 0])) == "vp09.02.31.10")
        let large = VideoFormat(width: 1920, height: 1080, frameRate: 60)
        #expect(CodecString.of(Self.video(.vp9, [0, 0, 0x82, 1, 1, 1, 0, 0], large)) == "vp09.00.41.08")
        let small = VideoFormat(width: 256, height: 144)
        #expect(CodecString.of(Self.video(.vp9, [0, 0, 0x82, 1, 1, 1, 0, 0], small)) == "vp09.00.11.08")
        let wild = VideoFormat(width: 60_000, height: 60_000, frameRate: .nan)
        #expect(CodecString.of(Self.video(.vp9, [0, 0, 0x82, 1, 1, 1, 0, 0], wild)) == "vp09.00.62.08")
        #expect(CodecString.of(Self.video(.vp8, nil, small)) == "vp08.00.11.08")
    }

    @Test("AAC tells the object type that a player has to know")
    func aac() {
        #expect(CodecString.of(Self.audio(.aac, [0x12, 0x10])) == "mp4a.40.2")
        // Object type 5, 24 kHz, stereo, to 48 kHz, low complexity.
        #expect(CodecString.of(Self.audio(.aac, [0x2B, 0x11, 0x88, 0x00])) == "mp4a.40.5")
        // Object type 29, 24 kHz, mono, to 48 kHz, low complexity.
        #expect(CodecString.of(Self.audio(.aac, [0xEB, 0x09, 0x88, 0x00])) == "mp4a.40.29")
        // Object type 42: escape, then 10.
        #expect(CodecString.of(Self.audio(.aac, [0xF9, 0x46, 0x40, 0x00])) == "mp4a.40.42")
    }

    @Test("MP3 has a name in MP4 and another in MPEG-TS")
    func mp3() {
        #expect(CodecString.of(Self.audio(.mp3)) == "mp4a.6B")
        #expect(CodecString.of(Self.audio(.mp3), in: .mpegTS) == "mp4a.40.34")
    }

    @Test(
        "Other audio codecs have fixed names, or none",
        arguments: [
            (Codec.opus, "opus" as String?), (.flac, "fLaC"), (.ac3, "ac-3"), (.eac3, "ec-3"), (.speex, nil),
            (.g711ALaw, nil),
            (.g711MuLaw, nil),
        ])
    func audio(codec: Codec, wanted: String?) {
        #expect(CodecString.of(Self.audio(codec)) == wanted)
    }

    @Test("A header that is missing or cut off gives no name", arguments: [Codec.h264, .hevc, .av1, .vp9, .aac])
    func broken(codec: Codec) {
        let whole: [UInt8] =
            switch codec {
            case .h264: [1, 0x64, 0, 0x1F, 0xFF, 0xE0, 0]
            case .hevc: Self.hevc(profile: 1, compatibility: 0, constraints: [0, 0, 0, 0, 0, 0], level: 30)
            case .av1: [0x81, 0x08, 0x0C, 0]
            case .vp9: [0, 31, 0x82, 1, 1, 1, 0, 0]
            default: [0x12, 0x10]
            }
        #expect(CodecString.of(Track(codec: codec, configuration: nil, format: .audio(AudioFormat()))) == nil)
        for length in 0..<whole.count {
            let track = Track(
                codec: codec, configuration: ByteBuffer(bytes: whole.prefix(length)), format: .audio(AudioFormat()))
            #expect(CodecString.of(track) == nil, "\(length) bytes")
        }
    }
}
