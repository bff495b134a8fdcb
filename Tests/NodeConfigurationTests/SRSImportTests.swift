import NIOCore
import SRSConfig
import Testing

@testable import NodeConfiguration

@Suite("Import of srs.conf")
struct SRSImportTests {
    private func convert(_ text: String, role: NodeSettings.Role = .origin) throws -> SRSImport {
        SRSImport(try SRSConfigParser.parse(text.utf8), path: "srs.conf", role: role)
    }

    /// The settings that the printed YAML makes, which has to load.
    private func settings(_ result: SRSImport, role: NodeSettings.Role = .origin) throws -> NodeSettings {
        let found = problems(result.yaml, role: role)
        try #require(found.isEmpty, "\(found)\n\(result.yaml)")
        return try load(result.yaml, role: role)
    }

    @Test("a single server with HLS, FLV, callbacks and an API")
    func singleServer() throws {
        let result = try self.convert(
            """
            listen              1935 [::1]:1936;
            max_connections     2000;
            srs_log_tank        console;
            srs_log_level_v2    info;
            daemon              off;
            http_api   { enabled on; listen 1985; crossdomain on; raw_api { enabled on; allow_reload on; }
                         auth { enabled on; username admin; password "s3cret;x"; } }
            http_server { enabled on; listen 8080; dir ./objs/nginx/html; }
            heartbeat { enabled on; interval 9.5; url http://127.0.0.1:8085/api/v1/servers; device_id "cam 1"; ports on; }
            vhost __defaultVhost__ {
                min_latency on;
                tcp_nodelay on;
                play { gop_cache off; queue_length 10; mw_latency 100; }
                publish { firstpkt_timeout 15000; normal_timeout 7000; mr off; }
                hls { enabled on; hls_fragment 5; hls_window 30; hls_path /var/media; hls_keys on;
                      hls_fragments_per_key 3; hls_aof_ratio 1.5; hls_dispose 60; }
                http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }
                http_hooks { enabled on; on_publish http://a:8085/s http://b/s; on_hls_notify http://c/[app]/[stream][param]; }
                forward { enabled on; destination 192.0.2.1:1935 backup.example; }
            }
            """)
        let settings = try self.settings(result)
        #expect(settings.rtmp.listen.map(\.description) == ["0.0.0.0:1935", "[::1]:1936"])
        #expect(settings.rtmp.maximumConnections == 2_000 && settings.http.maximumConnections == 2_000)
        #expect(settings.api.username == "admin" && settings.api.password.value == "s3cret;x")
        #expect(settings.api.listen.description == "0.0.0.0:1985")
        #expect(settings.heartbeat.enabled && settings.heartbeat.interval == .milliseconds(9_500))
        #expect(settings.heartbeat.deviceID == "cam 1" && settings.media.directory == "/var/media")
        #expect(settings.rtmp.publishFirstMediaTimeout == .seconds(15))
        #expect(settings.rtmp.publishIdleTimeout == .seconds(7))
        let stream = settings.stream
        #expect(stream.latency == .realtime && !stream.gopCache && stream.play.slowViewerAge == .seconds(10))
        #expect(stream.play.tcpNoDelay == .on)
        #expect(stream.hls.enabled && stream.hls.container == .mpegts && stream.hls.segmentDuration == .seconds(5))
        #expect(stream.hls.window == .seconds(30) && stream.hls.encryption && stream.hls.segmentsPerKey == 3)
        #expect(stream.hls.maximumSegmentPercent == 150 && stream.hls.dispose == .seconds(60))
        #expect(stream.hooks.onPublish.map(\.description) == ["http://a:8085/s", "http://b:80/s"])
        #expect(
            stream.forward.destinations.map(\.text) == [
                "rtmp://192.0.2.1:1935/[app]/[stream]", "rtmp://backup.example/[app]/[stream]",
            ])
        #expect(
            result.notes.filter { $0.kind == .noEqual }.map(\.directive) == ["crossdomain on", "dir ./objs/nginx/html"])
        #expect(!result.isComplete && result.notes.allSatisfy { !$0.description.contains("s3cret") })
        #expect(result.notes.first { $0.directive.hasPrefix("dir") }?.description.hasPrefix("srs.conf:8:") == true)
    }

    @Test("the smallest file is equal without a note, and has no HTTP")
    func smallest() throws {
        let result = try self.convert("listen 1935;\nmax_connections 1000;\nvhost __defaultVhost__ {\n}\n")
        #expect(result.isComplete && result.notes.isEmpty)
        let settings = try self.settings(result)
        #expect(settings.http.listen.isEmpty && !settings.stream.hls.enabled && settings.vhosts.isEmpty)
        #expect(try self.settings(try self.convert("")).rtmp.listen.count == 1)
    }

    @Test("vhosts do not inherit from the default vhost, as in SRS")
    func vhosts() throws {
        let result = try self.convert(
            """
            listen 1935;
            http_server { enabled on; }
            vhost __defaultVhost__ { hls { enabled on; } }
            vhost demo.example { min_latency on; forward { enabled on; destination a; }
                dvr { enabled on; dvr_path ./rec/[app]/[stream]/[2006][01][02]-[timestamp].mp4; dvr_plan segment; dvr_duration 60; } }
            vhost old.example { enabled off; }
            vhost legacy.example { gop_cache off; mw_latency 150; forward b:1935; publish_normal_timeout 9000; }
            """)
        let settings = try self.settings(result)
        #expect(settings.vhosts.map(\.name) == ["__defaultVhost__", "demo.example", "legacy.example"])
        #expect(settings.vhosts.map(\.stream.hls.enabled) == [true, false, false] && !settings.stream.hls.enabled)
        let demo = settings.vhosts[1].stream
        #expect(demo.dvr.enabled && demo.dvr.format == .mp4 && demo.dvr.plan == .segment)
        #expect(demo.dvr.path == "[app]/[stream]/[2006][01][02]-[timestamp].[ext]")
        #expect(demo.dvr.segmentDuration == .seconds(60) && settings.media.recordings == "./rec")
        #expect(demo.forward.destinations.map(\.text) == ["rtmp://a/[app]/[stream]?vhost=[vhost]"])
        let legacy = settings.vhosts[2].stream
        #expect(!legacy.gopCache && legacy.latency == .low && legacy.forward.destinations.count == 1)
        #expect(settings.rtmp.publishIdleTimeout == .seconds(9))
        #expect(result.notes.map(\.directive) == ["vhost old.example"])
        #expect(result.yaml.contains("# 150 ms in SRS"))
    }

    @Test("an edge pulls from the origins of its remote vhost")
    func edge() throws {
        let text = """
            listen 1935;
            http_server { enabled on; listen 8080; https { enabled on; listen 8443; key k.pem; cert c.pem; } }
            vhost __defaultVhost__ {
                cluster { mode remote; origin 10.0.0.1:19350 10.0.0.2; token_traverse off; debug_srs_upnode off; }
                http_remux { enabled on; }
                dvr { enabled on; }
            }
            """
        let result = try self.convert(text, role: .edge)
        let settings = try self.settings(result, role: .edge)
        #expect(settings.cluster.origins.map(\.description) == ["10.0.0.1:19350", "10.0.0.2:1935"])
        #expect(settings.http.tls.listen.map(\.description) == ["0.0.0.0:8443"] && settings.http.tls.key == "k.pem")
        #expect(result.notes.map(\.directive) == ["dvr"])
        let origin = try self.convert(text)
        #expect(try self.settings(origin).stream.dvr.enabled)
        let local = try self.convert("listen 1935;\nvhost x { }", role: .edge)
        #expect(!local.isComplete && local.yaml.contains("CHANGE THIS"))
        _ = try self.settings(local, role: .edge)
    }

    @Test(
        "security means what it means in SRS",
        arguments: [
            ("allow play all; deny publish 10.0.0.0/8;", ["all"], [], [], ["10.0.0.0/8", "all"]),
            ("allow publish 192.0.2.1;", [], ["all"], ["192.0.2.1"], []),
            ("deny play 192.0.2.1; deny play 2001:db8::/32;", [], ["192.0.2.1", "2001:db8::/32"], [], []),
            ("", [], ["all"], [], ["all"]),
        ] as [(String, [String], [String], [String], [String])])
    func security(
        rules: String, playAllow: [String], playDeny: [String], publishAllow: [String], publishDeny: [String]
    ) throws {
        let result = try self.convert("vhost __defaultVhost__ { security { enabled on; \(rules) } }")
        let access = try self.settings(result).stream.access
        #expect(access.play.allow == playAllow && access.play.deny == playDeny)
        #expect(access.publish.allow == publishAllow)
        // A deny of SRS beside the missing allow is part of denying all.
        #expect(access.publish.deny == publishDeny || access.publish.deny == ["all"])
        #expect(result.isComplete)
        #expect(
            try self.settings(self.convert("vhost __defaultVhost__ { security { \(rules) } }")).stream.access.play.deny
                .isEmpty)
    }

    @Test("refer lists become domains and what is below them")
    func referer() throws {
        let result = try self.convert(
            "vhost __defaultVhost__ { refer { enabled on; all example.com; publish x.y; play a.b; } }")
        let referer = try self.settings(result).stream.access.referer
        #expect(referer.allow.map(\.description) == ["example.com", "*.example.com", "a.b", "*.a.b"])
        #expect(!referer.allowEmpty && result.notes.map(\.directive) == ["publish x.y"])
    }

    @Test("DASH asks for fMP4, alone and beside HLS")
    func dash() throws {
        let alone = try self.settings(
            self.convert(
                "vhost __defaultVhost__ { dash { enabled on; dash_fragment 4; dash_window_size 10; dash_path ./d; } }"))
        #expect(alone.stream.hls.enabled && alone.stream.hls.container == .fmp4 && alone.stream.hls.dash)
        #expect(alone.stream.hls.segmentDuration == .seconds(4) && alone.stream.hls.window == .seconds(40))
        #expect(alone.media.directory == "./d")
        for blocks in [
            "hls { enabled on; hls_fragment 6; } dash { enabled on; }",
            "dash { enabled on; } hls { enabled on; hls_fragment 6; }",
        ] {
            let both = try self.settings(self.convert("vhost __defaultVhost__ { \(blocks) }")).stream.hls
            #expect(both.container == .fmp4 && both.dash && both.segmentDuration == .seconds(6))
        }
    }

    @Test("WebRTC: the server, its candidates, and what vhosts say of it")
    func webRTC() throws {
        let result = try self.convert(
            """
            listen 1935;
            http_server { enabled on; listen 8080; }
            rtc_server { enabled on; listen 8001; candidate 192.0.2.7; tcp { enabled on; listen 8002; } ip_family all;
                         protocol all; encrypt on; ecdsa on; }
            vhost __defaultVhost__ {
                rtc { enabled on; nack off; twcc on; stun_timeout 20; pli_for_rtmp 3.5; opus_bitrate 64000;
                      aac_bitrate 96000; rtmp_to_rtc on; rtc_to_rtmp on; keep_bframe off; dtls_role passive; }
            }
            """)
        let settings = try self.settings(result)
        #expect(settings.rtc.listen.map(\.description) == ["0.0.0.0:8001"] && settings.rtc.isEnabled)
        #expect(settings.rtc.tcpListeners.map(\.port) == [8_002])
        #expect(settings.rtc.candidates.map(\.description) == ["192.0.2.7"])
        #expect(settings.rtc.consentTimeout == .seconds(20) && !settings.stream.rtc.nack && settings.stream.rtc.twcc)
        #expect(settings.stream.rtc.keyframeInterval == .milliseconds(3_500))
        #expect(settings.stream.audio.opusBitRate == 64_000 && settings.stream.audio.aacBitRate == 96_000)
        #expect(result.isComplete, "\(result.notes)")
    }

    @Test("WebRTC is off without rtc_server, has no TCP unless SRS has, and gives up a port that HTTP has")
    func webRTCDefaults() throws {
        #expect(try !self.settings(self.convert("listen 1935;")).rtc.isEnabled)
        let off = try self.convert("rtc_server { enabled off; } vhost a { rtc { enabled off; } }")
        #expect(try !self.settings(off).rtc.isEnabled && off.notes.map(\.directive) == ["rtc"])
        let plain = try self.settings(self.convert("rtc_server { enabled on; candidate *; }")).rtc
        #expect(plain.isEnabled && plain.candidates.isEmpty && plain.tcpListeners.isEmpty)
        let shared = try self.convert(
            "http_server { enabled on; listen 8000; } rtc_server { enabled on; tcp { enabled on; listen 8000; } }")
        #expect(try self.settings(shared).rtc.tcpListeners.isEmpty && !shared.isComplete)
        let odd = try self.convert(
            "rtc_server { enabled on; protocol tcp; encrypt off; candidate $CANDIDATE; black_hole { enabled on; } bogus 1; }"
        )
        #expect(
            odd.notes.map(\.directive) == [
                "protocol tcp", "encrypt off", "candidate $CANDIDATE", "black_hole", "bogus 1",
            ])
    }

    @Test("an API without a password stays on loopback, with HTTPS only beside a password")
    func api() throws {
        let open = try self.convert("http_api { enabled on; listen 0.0.0.0:2985; https { enabled on; } }")
        #expect(try self.settings(open).api.listen.description == "127.0.0.1:2985")
        #expect(open.notes.map(\.directive) == ["https"])
        let closed = try self.convert(
            "http_api { enabled on; https { enabled on; listen 1990; key k; cert c; } auth { enabled on; username u; password p; } }"
        )
        #expect(try self.settings(closed).api.tls.listen.map(\.port) == [1_990] && closed.notes.isEmpty)
        #expect(try self.settings(self.convert("http_api { enabled off; listen 7; }")).api.listen.port == 1_985)
    }

    @Test("what is unknown, wrong or out of range is told, and never printed")
    func mistakes() throws {
        let result = try self.convert(
            """
            listen $PORT;
            chunk_size 100;
            listn 1;
            include more.conf;
            srs_log_level loud;
            rtc_server { enabled on; listen 8000; }
            srt_server { enabled off; }
            vhost a/b { }
            vhost x { transcode { enabled on; } ingest i { enabled off; } bogus 1; hls { enabled on; hls_fragment long; }
                hls_ts_file [app].ts; chunk_size 4096; publish { kickoff_for_idle 30; } play { gop_cache maybe; } }
            vhost X { }
            """)
        _ = try self.settings(result)
        #expect(result.notes.map(\.line) == [1, 2, 3, 4, 5, 8, 9, 9, 9, 10, 10, 10, 11])
        #expect(!result.yaml.contains("listn") && !result.isComplete)
    }

    @Test("any statements give YAML that loads")
    func total() throws {
        var generator = Linear(state: 7)
        for _ in 0..<2_000 {
            let text = (0..<6).map { _ in Self.statement(depth: 0, &generator) }.joined(separator: "\n")
            let statements = try SRSConfigParser.parse(text.utf8)
            for role in [NodeSettings.Role.origin, .edge] {
                let result = SRSImport(statements, path: "srs.conf", role: role)
                let found = problems(result.yaml, role: role)
                #expect(found.isEmpty, "\(text)\n\(result.yaml)\n\(found)")
                if !found.isEmpty { return }
            }
        }
    }

    private static let names = [
        "vhost", "hls", "dash", "dvr", "security", "http_api", "https", "http_server", "heartbeat", "forward",
        "cluster",
        "play", "publish", "refer", "http_hooks", "auth", "rtc_server", "rtc", "tcp",
    ]
    private static let leaves = [
        "enabled", "listen", "hls_path", "hls_fragment", "hls_window", "dvr_path", "dvr_plan", "dvr_duration", "allow",
        "deny", "cert", "key", "mode", "origin", "url", "interval", "destination", "all", "on_publish", "mw_latency",
        "queue_length", "username", "password", "max_connections", "chunk_size", "dash_window_size", "hls_aof_ratio",
        "candidate", "nack", "pli_for_rtmp", "opus_bitrate", "stun_timeout",
    ]
    private static let arguments = [
        "on", "off", "x", "''", "/", "play", "publish", "1935", "0.0.0.0:1935", "a.example", "remote", "http://a/b",
        "[app]/[stream].mp4", "./a/[stream].flv", "session", "10.0.0.0/8", "0", "7", "1e9", "'a \"b'", "2.1", "$X", "é",
    ]

    private static func statement(depth: Int, _ generator: inout Linear) -> String {
        func pick(_ list: [String]) -> String { list[Int.random(in: 0..<list.count, using: &generator)] }
        if depth < 3, Int.random(in: 0..<(depth == 0 ? 2 : 3), using: &generator) > 0 {
            let name = depth == 0 && Bool.random(using: &generator) ? "vhost" : pick(self.names)
            let argument = name == "vhost" ? " " + pick(["a", "b", "c.d", "__defaultVhost__"]) : ""
            let children = (0..<Int.random(in: 0...5, using: &generator)).map { _ in
                self.statement(depth: depth + 1, &generator)
            }
            return "\(name)\(argument) { enabled \(pick(["on", "on", "off"])); \(children.joined(separator: " ")) }"
        }
        let words = (0..<Int.random(in: 0...2, using: &generator)).map { _ in pick(self.arguments) }
        return ([pick(self.leaves)] + words).joined(separator: " ") + ";"
    }
}

private struct Linear: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return self.state ^ (self.state >> 33)
    }
}
