import Media
import NIOCore
import RTP
import RTPReceiving
import RTSPSessions
import SDP
import Testing

@Suite struct SourceTests {
    /// As ffmpeg announces it.
    static let ffmpeg = """
        v=0
        o=- 0 0 IN IP4 127.0.0.1
        s=No Name
        c=IN IP4 127.0.0.1
        t=0 0
        a=tool:libavformat 59.27.100
        m=video 0 RTP/AVP 96
        b=AS:64
        a=rtpmap:96 H264/90000
        a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY=,aOvjyyLA; profile-level-id=64001E
        a=control:streamid=0
        m=audio 0 RTP/AVP 97
        b=AS:64
        a=rtpmap:97 MPEG4-GENERIC/44100/1
        a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=120856E500
        a=control:streamid=1
        """

    private static func payload(_ track: RTSPSourceTrack, _ type: UInt8) -> RTPMediaPayload? {
        if case .media(let payload)? = track.line.payloadTypes[type] { payload } else { nil }
    }

    @Test func `What ffmpeg announces is understood`() throws {
        let source = try RTSPSource(parsing: Self.ffmpeg)
        #expect(source.tracks.map(\.control) == ["streamid=0", "streamid=1"])
        #expect(source.tracks.map(\.codecs) == [[.h264], [.aac]])
        #expect(source.ignored.isEmpty && source.control.isEmpty)
        let video = try #require(Self.payload(source.tracks[0], 96))
        #expect(video.format == .h264(packetizationMode: 1) && video.clockRate == 90_000)
        #expect(video.parameterSets.map(\.readableBytes) == [26, 6])
        let audio = try #require(Self.payload(source.tracks[1], 97))
        #expect(audio.clockRate == 44_100 && audio.channels == 1)
        #expect(audio.codecHeader == ByteBuffer(bytes: [0x12, 0x08, 0x56, 0xE5, 0x00]))
    }

    /// Absolute and missing controls, start codes in parameter sets, an unknown track, static payload types, spaces.
    @Test func `Cameras are taken as they are`() throws {
        let source = try RTSPSource(
            parsing: """
                v=0
                o=- 1 1 IN IP4 192.0.2.7
                s=Media
                a=control:rtsp://192.0.2.7/stream/
                t=0 0
                m=application 0 RTP/AVP 107
                a=rtpmap:107 vnd.onvif.metadata/90000
                a=control:trackID=3
                m=audio 0 RTP/AVP 8
                m=video 0 RTP/AVP 98
                a=rtpmap:98 H265/90000
                a=fmtp:98 sprop-vps=AAAAAUABDAH//w==; sprop-sps=AAABQgEB;sprop-pps=!!!
                a=control:rtsp://192.0.2.7/stream/trackID=1
                m=video 0 RTP/AVP 26
                a=control:trackID=2
                m=video 0 RTP/AVP 96
                a=rtpmap:96 H264/90000
                """)
        #expect(source.control == "rtsp://192.0.2.7/stream/")
        #expect(source.tracks.map(\.line.kind) == [.audio, .video])
        #expect(source.tracks.map(\.control) == ["", "rtsp://192.0.2.7/stream/trackID=1"])
        #expect(source.ignored == [.kind("application"), .codecs([]), .secondOfItsKind(.video)])
        #expect(source.ignoredControls == ["trackID=3", "trackID=2", ""])
        #expect(Self.payload(source.tracks[0], 8)?.format == .g711ALaw(channels: 1))
        let sets = try #require(Self.payload(source.tracks[1], 98)).parameterSets
        #expect(sets == [ByteBuffer(bytes: [0x40, 1, 0x0C, 1, 0xFF, 0xFF]), ByteBuffer(bytes: [0x42, 1, 1])])
    }

    /// As GStreamer announces AAC: a StreamMuxConfig whose AudioSpecificConfig begins in the middle of a byte.
    @Test func `The configuration of LATM is taken out of its frame`() throws {
        let source = try RTSPSource(parsing: Self.audio("MP4A-LATM/44100", "cpresent=0;config=40002420adca1fe0"))
        let payload = try #require(Self.payload(source.tracks[0], 97))
        #expect(payload.format == .latm(clockRate: 44_100, subframes: 1))
        let header = try AudioSpecificConfig(parsing: try #require(payload.codecHeader))
        #expect(header.sampleRate == 44_100 && header.channels == 2 && header.objectType == 2)
    }

    private static func audio(_ map: String, _ parameters: String? = nil) -> String {
        "v=0\no=- 1 1 IN IP4 0.0.0.0\nm=audio 0 RTP/AVP 97\na=rtpmap:97 \(map)\n"
            + (parameters.map { "a=fmtp:97 \($0)\n" } ?? "")
    }

    @Test func `Opus and MP3 are known`() throws {
        let mono = try RTSPSource(parsing: Self.audio("opus/48000/2", "sprop-stereo=0"))
        #expect(Self.payload(mono.tracks[0], 97)?.channels == 1)
        let stereo = try RTSPSource(parsing: Self.audio("OPUS/48000/2"))
        #expect(Self.payload(stereo.tracks[0], 97)?.channels == 2)
        let mp3 = try RTSPSource(parsing: "v=0\no=- 1 1 IN IP4 0.0.0.0\nm=audio 0 RTP/AVP 14\n")
        #expect(Self.payload(mp3.tracks[0], 14)?.format == .mpegAudio)
    }

    @Test(arguments: [
        // Without a configuration nothing of AAC can be decoded.
        ("mpeg4-generic/48000", "sizelength=13;indexlength=3;indexdeltalength=3"),
        ("mpeg4-generic/48000", "sizelength=13;indexlength=3;indexdeltalength=3;config=12"),
        ("mpeg4-generic/48000", "sizelength=13;indexlength=3;indexdeltalength=3;config=xyz0"),
        ("MP4A-LATM/44100", "cpresent=1"), ("MP4A-LATM/44100", "cpresent=0;config=c0002420adca1fe0"),
        ("MP4A-LATM/44100", "cpresent=0;config=4002"), ("G726-32/8000", nil), ("H264/90000", nil),
    ])
    func `Codecs that cannot be read give no track`(_ map: String, _ parameters: String?) {
        let name = String(map.prefix { $0 != "/" })
        #expect(throws: RTSPSource.Failure.nothingUsable([.codecs([name])])) {
            try RTSPSource(parsing: Self.audio(map, parameters))
        }
    }

    @Test func `What is no description, or holds nothing, is refused`() {
        #expect(throws: RTSPSource.Failure.description(.empty)) { try RTSPSource(parsing: "") }
        #expect(throws: RTSPSource.Failure.nothingUsable([])) {
            try RTSPSource(parsing: "v=0\no=- 1 1 IN IP4 0.0.0.0\n")
        }
        #expect(throws: RTSPSource.Failure.nothingUsable([.transport("RTP/SAVP")])) {
            try RTSPSource(parsing: "v=0\no=- 1 1 IN IP4 0.0.0.0\nm=audio 0 RTP/SAVP 0\n")
        }
    }

    @Test func `No prefix of a description traps`() {
        for count in 0...Self.ffmpeg.utf8.count {
            _ = try? RTSPSource(parsing: String(decoding: Self.ffmpeg.utf8.prefix(count), as: UTF8.self))
        }
    }
}
