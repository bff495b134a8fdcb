import SRSConfig
import Testing

@testable import NodeConfiguration

struct TSSettingsTests {
    @Test("A listener is read with its range, its name and its options, and is written as it was")
    func reads() throws {
        let plain = try TSListenTarget(parsing: "udp://:9000/live/cam")
        #expect(plain.host == "0.0.0.0")
        #expect(plain.ports == 9_000...9_000)
        #expect(plain.app == "live")
        #expect(plain.stream == "cam")
        #expect(plain.audio == .first)
        #expect(plain.interface == nil && plain.source == nil && plain.program == nil && plain.token == nil)
        let text =
            "udp://232.1.1.7:5000/tv/hd/ch7?interface=eth0&source=10.0.0.9&program=12&audio=deu&vhost=a.example&token=x=y"
        let full = try TSListenTarget(parsing: text)
        #expect(full.host == "232.1.1.7")
        #expect(full.app == "tv/hd")
        #expect(full.stream == "ch7")
        #expect(full.interface == "eth0")
        #expect(full.source == "10.0.0.9")
        #expect(full.program == 12)
        #expect(full.audio == .language("deu"))
        #expect(full.vhost == "a.example")
        #expect(full.token == "x=y")
        // Options may be secret, and are kept for what is written back.
        #expect("\(full)" == "udp://232.1.1.7:5000/tv/hd/ch7")
        #expect(SettingCodec.tsListeners.write([full]) == [text])
        let range = try TSListenTarget(parsing: "udp://[::]:9000-9199/live/[port]-[address].[program]?audio=257")
        #expect(range.host == "::")
        #expect(range.ports == 9_000...9_199)
        #expect(range.audio == .pid(257))
    }

    @Test(
        "What cannot be meant is refused",
        arguments: [
            "", "udp://", "udp://:9000", "udp://:9000/cam", "udp://:9000//cam", "udp://:9000/live/",
            "tcp://:9000/live/cam",
            "udp://:0/live/cam", "udp://:70000/live/cam", "udp://9000/live/cam", "udp://:9001-9000/live/[port]",
            "udp://:9000-9001/live/cam", "udp://:9000-10000/live/[port]", "udp://:1-2-3/live/[port]",
            "udp://example.com:9000/live/cam", "udp://:9000/live/[name]", "udp://:9000/live/[port",
            "udp://:9000/[port]/cam", "udp://:9000/live/cam?program=0", "udp://:9000/live/cam?program=65536",
            "udp://:9000/live/[program]?program=1", "udp://:9000/live/cam?audio=15",
            "udp://:9000/live/cam?audio=german",
            "udp://:9000/live/cam?color=red", "udp://:9000/live/cam?interface=", "udp://:9000/live/cam?interface",
            "udp://:9000/live/c m",
        ])
    func refuses(text: String) {
        #expect(throws: ValueProblem.self) { try TSListenTarget(parsing: text) }
    }
}

struct TSImportTests {
    @Test("Casters of SRS become listeners, or are not needed")
    func casters() throws {
        let text = """
            listen 1935;
            stream_caster { enabled on; caster mpegts_over_udp; output rtmp://127.0.0.1/live/one; listen 8935; }
            stream_caster { enabled on; caster mpegts_over_udp; output rtmp://127.0.0.1:1935/tv/two?token=x&a=b; listen 8936; }
            stream_caster { enabled off; caster mpegts_over_udp; output rtmp://127.0.0.1/live/off; listen 8937; }
            stream_caster { enabled on; caster flv; output rtmp://127.0.0.1/[app]/[stream]; listen 8938; }
            stream_caster { enabled on; caster mpegts_over_udp; output rtmp://127.0.0.1/[app]/[stream]; listen 8939; }
            vhost __defaultVhost__ { http_remux { enabled on; mount [vhost]/[app]/[stream].ts; } }
            """
        let result = SRSImport(try SRSConfigParser.parse(text.utf8), path: "srs.conf", role: .origin)
        #expect(result.yaml.contains("udp://:8935/live/one"))
        #expect(result.yaml.contains("udp://:8936/tv/two?token=x"))
        #expect(!result.yaml.contains("8937"))
        #expect(result.notes.map(\.kind) == [.notNeeded, .noEqual])
    }
}
