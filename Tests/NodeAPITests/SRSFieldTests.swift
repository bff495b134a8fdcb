import Media
import NIOCore
import StreamHub
import Testing

@testable import NodeAPI

/// The tables of SRS 6: each path with the fields and types of its answer.
@Suite("SRS's answers, field by field")
struct SRSFieldTests {
    private static let envelope: Shape = .object(["code": .int, "server": .string, "service": .string, "pid": .string])
    private static let kbps = Shape.all("recv_30s send_30s", .int)

    private static let selfProcess = Shape.all("version argv cwd", .string)
        .with(.all("pid ppid mem_kbyte srs_uptime", .int)).with(.all("mem_percent cpu_percent", .number))
    private static let system = Shape.all(
        "cpu_percent disk_busy_percent mem_ram_percent mem_swap_percent uptime ilde_time load_1m load_5m load_15m",
        .number
    ).with(
        .all(
            """
            disk_read_KBps disk_write_KBps mem_ram_kbyte mem_swap_kbyte cpus cpus_online net_sample_time net_recv_bytes \
            net_send_bytes net_recvi_bytes net_sendi_bytes srs_sample_time srs_recv_bytes srs_send_bytes conn_sys \
            conn_sys_et conn_sys_tw conn_sys_udp conn_srs
            """, .int))
    private static let usage = Shape.all(
        """
        sample_time ru_utime ru_stime ru_maxrss ru_ixrss ru_idrss ru_isrss ru_minflt ru_majflt ru_nswap ru_inblock \
        ru_oublock ru_msgsnd ru_msgrcv ru_nsignals ru_nvcsw ru_nivcsw
        """, .int
    ).with(["ok": .bool])
    private static let ownStat = Shape.all(
        """
        sample_time pid ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime \
        priority nice num_threads itrealvalue starttime vsize rss rsslim startcode endcode startstack kstkesp kstkeip \
        signal blocked sigignore sigcatch wchan nswap cnswap exit_signal processor rt_priority policy \
        delayacct_blkio_ticks guest_time cguest_time
        """, .int
    ).with(["ok": .bool, "percent": .number, "comm": .string, "state": .string])
    private static let systemStat = Shape.all(
        "sample_time user nice sys idle iowait irq softirq steal guest", .int
    ).with(["ok": .bool, "percent": .number])
    private static let memory = Shape.all(
        """
        sample_time MemActive RealInUse NotInUse MemTotal MemFree Buffers Cached SwapTotal SwapFree
        """, .int
    ).with(["ok": .bool, "percent_ram": .number, "percent_swap": .number])
    private static let features = Shape.all(
        "ssl hls hds callback api httpd dvr transcode ingest stat caster complex_send tcp_nodelay so_sendbuf mr", .bool)

    private static let vhost = Shape.all("id name", .string).with(.all("clients streams send_bytes recv_bytes", .int))
        .with(["enabled": .bool, "kbps": Self.kbps, "hls": .object(["enabled": .bool, "fragment": .number])])
    private static let stream = Shape.all("id name vhost app tcUrl url", .string)
        .with(.all("live_ms clients frames send_bytes recv_bytes", .int))
        .with([
            "kbps": Self.kbps, "publish": .object(["active": .bool, "cid": .string]),
            "video": .all("codec profile level", .string).with(.all("width height", .int)),
            "audio": .all("codec profile", .string).with(.all("sample_rate channel", .int)),
        ])
    private static let client = Shape.all("id vhost stream ip pageUrl swfUrl tcUrl url name type", .string)
        .with(.all("send_bytes recv_bytes", .int))
        .with(["publish": .bool, "alive": .number, "kbps": Self.kbps])

    private static let tables: [(String, Shape)] = [
        ("/api/v1/versions", .all("major minor revision", .int).with(["version": .string])),
        ("/api/v1/summaries", .object(["ok": .bool, "now_ms": .int, "self": Self.selfProcess, "system": Self.system])),
        ("/api/v1/rusages", Self.usage), ("/api/v1/self_proc_stats", Self.ownStat),
        ("/api/v1/system_proc_stats", Self.systemStat), ("/api/v1/meminfos", Self.memory),
        ("/api/v1/authors", .all("license contributors", .string)),
        ("/api/v1/features", .all("options options2 build build2", .string).with(["features": Self.features])),
        (
            "/api/v1/tests/requests?a=b",
            .all("uri path METHOD", .string).with([
                "headers": .all("sigature version link", .string).with(["time": .int])
            ])
        ),
    ]

    @Test("Facts have the fields and types of SRS", arguments: Self.tables.map(\.0))
    func facts(path: String) async throws {
        let data = try #require(Self.tables.first { $0.0 == path }?.1)
        try await withNode { _, api async throws in
            let (status, body) = try await api.json("GET", path)
            #expect(status == 200)
            #expect(Self.envelope.with(["data": data]).problems(body) == [])
            #expect(body["code"] == 0)
            #expect(body["server"] == "vid-server1")
            #expect(body["service"] == "abcd1234")
        }
    }

    @Test("The program tells its own version in SRS's fields")
    func version() async throws {
        try await withNode { _, api async throws in
            let data = try await api.json("GET", "/api/v1/versions").body["data"]
            #expect(data?["major"] == 6)
            #expect(data?["minor"] == 1)
            #expect(data?["revision"] == 2)
            #expect(data?["version"] == "6.1.2")
        }
    }

    @Test("The machine's figures are plausible")
    func figures() async throws {
        try await withNode { _, api async throws in
            let summary = try await api.json("GET", "/api/v1/summaries").body["data"]
            #expect(summary?["ok"] == true)
            #expect((summary?["now_ms"]?.number ?? 0) > 1.7e12)
            #expect((summary?["self"]?["mem_kbyte"]?.number ?? 0) > 1_000)
            #expect((0...1).contains(summary?["self"]?["mem_percent"]?.number ?? -1))
            #expect((summary?["system"]?["cpus"]?.number ?? 0) >= 1)
            let memory = try await api.json("GET", "/api/v1/meminfos").body["data"]
            let total = try #require(memory?["MemTotal"]?.number)
            #expect(memory?["RealInUse"]?.number.map { $0 + (memory?["NotInUse"]?.number ?? 0) } == total)
            #expect((0...1).contains(memory?["percent_ram"]?.number ?? -1))
        }
    }

    @Test("Directories name their children", arguments: ["/", "/api", "/api/", "/api/v1", "/api/v1/"])
    func directories(path: String) async throws {
        try await withNode { _, api async throws in
            let (status, body) = try await api.json("GET", path)
            #expect(status == 200)
            #expect(body["code"] == 0)
            #expect(body["urls"] != nil)
            guard path.hasPrefix("/api/v1"), case .object(let urls)? = body["urls"] else { return }
            for name in urls.keys where name != "tests" {
                #expect(try await api.answer("GET", "/api/v1/\(name)").status != 405, "\(name)")
            }
        }
    }

    @Test("Vhosts, streams and clients have the fields and types of SRS")
    func lists() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            var client = ClientDescription()
            client.tcURL = "rtmp://host/live"
            let publisher = try node.session(.publish, key, "rtmp", received: 5_000, client: client)
            try node.session(.play, key, "http-flv", sent: 7_000)
            node.set { $0.streams = [node.live(key)] }
            func check(_ path: String, _ shape: Shape) async throws -> JSON {
                let (status, body) = try await api.json("GET", path)
                #expect(status == 200)
                #expect(Self.envelope.with(shape).problems(body) == [], "\(path)")
                return body
            }
            let vhosts = try await api.json("GET", "/api/v1/vhosts").body["vhosts"]?.items ?? []
            #expect(vhosts.count == 2)
            #expect(vhosts[0]["hls"]?["fragment"] == .number(2.5))
            #expect(vhosts[1]["hls"] == .object(["enabled": false]))
            #expect(vhosts[0]["clients"] == 2)
            #expect(vhosts[0]["streams"] == 1)
            #expect(vhosts[0]["recv_bytes"] == 5_000)
            #expect(vhosts[0]["send_bytes"] == 7_000)
            let vhostID = try #require(vhosts[0]["id"]?.text)
            _ = try await check("/api/v1/vhosts/\(vhostID)", .object(["vhost": Self.vhost]))
            let streams = try await check("/api/v1/streams/", .object(["streams": .array(Self.stream), "total": .int]))
            let stream = try #require(streams["streams"]?.items.first)
            #expect(stream["vhost"]?.text == vhostID)
            #expect(stream["publish"] == .object(["active": true, "cid": .string(publisher.id)]))
            #expect(stream["clients"] == 2)
            #expect(stream["frames"] == 250)
            #expect(stream["video"]?["codec"] == "H264")
            #expect(stream["audio"]?["sample_rate"] == 48_000)
            #expect(stream["tcUrl"] == "rtmp://host/live")
            #expect(stream["url"] == "/live/game")
            _ = try await check("/api/v1/streams/vid-live-game", .object(["stream": Self.stream]))
            let clients = try await check("/api/v1/clients/", .object(["clients": .array(Self.client), "total": .int]))
            #expect(
                Set(clients["clients"]?.items.compactMap { $0["type"]?.text } ?? []) == ["fmle-publish", "flv-play"])
            let one = try await check("/api/v1/clients/\(publisher.id)", .object(["client": Self.client]))
            #expect(one["client"]?["publish"] == true)
            #expect(one["client"]?["ip"] == "192.0.2.1")
            #expect(one["client"]?["stream"] == "vid-live-game")
        }
    }

    @Test("A stream without tracks and publisher says so")
    func bareStream() async throws {
        try await withNode { node, api async throws in
            node.set { $0.streams = [] }
            let key = try StreamKey(vhost: "tv.example", app: "live", name: "hls-only")
            try node.session(.play, key, "hls")
            let stream = try await api.json("GET", "/api/v1/streams/vid-live-hls-only").body["stream"]
            #expect(stream?["video"] == .null)
            #expect(stream?["audio"] == .null)
            #expect(stream?["publish"] == .object(["active": false]))
            #expect(stream?["tcUrl"] == "rtmp://tv.example/live")
            #expect(stream?["clients"] == 1)
        }
    }

    @Test("RAW answers have the fields of SRS and no envelope")
    func raw() async throws {
        try await withNode { _, api async throws in
            let raw = try await api.json("GET", "/api/v1/raw?rpc=raw").body
            let shape = Shape.object([
                "code": .int,
                "http_api": .object([
                    "enabled": .bool, "listen": .string, "crossdomain": .bool,
                    "raw_api": .all("enabled allow_reload allow_query allow_update", .bool),
                ]),
            ])
            #expect(shape.problems(raw) == [])
            #expect(raw["http_api"]?["listen"] == "1985")
            let fetch = try await api.json("GET", "/api/v1/raw?rpc=reload-fetch").body
            let state = Shape.all("err state", .int).with(.all("msg rid", .string))
            #expect(Shape.object(["code": .int, "data": state]).problems(fetch) == [])
        }
    }

    @Test("The look-up of an origin cluster has the fields of SRS")
    func clusters() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            node.set { $0.streams = [node.live(key)] }
            let path = "/api/v1/clusters?vhost=__defaultVhost__&ip=10.0.0.9&app=live&stream=game&coworker=10.0.0.7:1985"
            let body = try await api.json("POST", path).body
            let shape = Shape.object([
                "code": .int,
                "data": .object([
                    "query": .all("ip vhost app stream", .string),
                    "origin": .all("ip vhost api", .string).with(["port": .int, "routers": .array(.string)]),
                ]),
            ])
            #expect(shape.problems(body) == [])
            let origin = body["data"]?["origin"]
            #expect(origin?["ip"] == "10.0.0.7")
            #expect(origin?["port"] == 1_935)
            #expect(origin?["api"] == "127.0.0.1:1985")
            #expect(origin?["routers"] == .array(["127.0.0.1:1985"]))
        }
    }
}
