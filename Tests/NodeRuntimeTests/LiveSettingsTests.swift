import Media
import NIOCore
import NodeConfiguration
import Placement
import Synchronization
import Testing

@testable import NodeRuntime

@Suite("Settings in force")
struct LiveSettingsTests {
    /// A configuration that a test changes while the settings live.
    private final class Source: Sendable {
        private let yaml: Mutex<String>
        let loads = Mutex(0)

        init(_ yaml: String) { self.yaml = Mutex(yaml) }

        var text: String {
            get { self.yaml.withLock { $0 } }
            set { self.yaml.withLock { $0 = newValue } }
        }

        func load() throws(ConfigurationError) -> NodeSettings {
            self.loads.withLock { $0 += 1 }
            return try ConfigurationLoader.load(
                role: .origin, file: .init(path: "f.yaml", text: self.text), hostName: "host")
        }

        func live() throws -> LiveSettings {
            LiveSettings(try self.load()) { () throws(ConfigurationError) in try self.load() }
        }
    }

    private static func key(_ app: String, vhost: String = StreamKey.defaultVhost) throws -> StreamKey {
        try StreamKey(vhost: vhost, app: app, name: "s")
    }

    @Test("a reload puts in force what may change, tells all that differs, and keeps the rest of the start")
    func reload() async throws {
        let source = Source("{ rtmp.chunk_size: 1000, stream.latency: low }")
        let live = try source.live()
        #expect(live.reloadState == .init(id: 0, phase: .none))
        let seen = Mutex<[Int]>([])
        live.onChange { settings in seen.withLock { $0.append(settings.rtmp.chunkSize) } }
        source.text = "{ rtmp.chunk_size: 2000, stream.latency: realtime }"
        let report = await live.reload()
        #expect(report.isApplied && report.id == 1)
        #expect(report.changes.map(\.key) == ["rtmp.chunk_size", "stream.latency"])
        #expect(report.changes.map(\.effect) == [.restart, .newSessions])
        #expect(live.current.rtmp.chunkSize == 1_000 && live.current.stream.latency == .realtime)
        #expect(try live.streamSettings(for: Self.key("live")).latency == .realtime)
        #expect(live.reloadState == .init(id: 1, phase: .finished(problems: [])))
        #expect(seen.withLock { $0 } == [1_000])
        // What needs a restart is told again each time.
        #expect(await live.reload().changes.map(\.key) == ["rtmp.chunk_size"])
    }

    @Test("a mistake changes nothing, and is told")
    func mistakes() async throws {
        let source = Source("stream.latency: low")
        let live = try source.live()
        live.onChange { _ in Issue.record("nothing changed") }
        for (text, word) in [
            ("stream.latency: fast", "stream.latency"), ("{", "f.yaml"), ("strem: {}", "did you mean"),
        ] {
            source.text = text
            let report = await live.reload()
            #expect(!report.isApplied && report.changes.isEmpty)
            #expect(report.problems.first?.contains(word) == true, "\(report.problems)")
            #expect(live.current.stream.latency == .low)
        }
        #expect(live.reloadState.id == 3)
    }

    @Test("new values that need others of a restart are refused as a whole")
    func contradictions() async throws {
        let source = Source("cluster.coordinator: 'http://127.0.0.1:7000'")
        let live = try source.live()
        source.text =
            "{ cluster.coordinator: 'http://127.0.0.1:7000', cluster.secret: s, stream.play.url_secret: u, stream.latency: low }"
        let report = await live.reload()
        #expect(report.problems.first?.contains("without a restart") == true, "\(report.problems)")
        #expect(live.current.stream.latency == .balanced)
    }

    @Test("reloads at one time are one")
    func single() async throws {
        let source = Source("stream.latency: low")
        let live = try source.live()
        let ids = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<20 { group.addTask { await live.reload().id } }
            return await group.reduce(into: Set<Int>()) { $0.insert($1) }
        }
        #expect(ids.count <= 20 && live.reloadState.id == ids.count)
        #expect(source.loads.withLock { $0 } == ids.count + 1)
        let id = live.beginReload()
        for _ in 0..<200 where live.reloadState.phase != .finished(problems: []) {
            try await Task.sleep(for: .milliseconds(5))
        }
        #expect(live.reloadState == .init(id: id, phase: .finished(problems: [])))
    }

    @Test("policies lie over the file, later ones over earlier ones, where vhost and app say so")
    func policies() throws {
        let source = Source("{ stream.latency: low, vhosts: [{ name: v, stream: { gop_cache: no } }] }")
        let live = try source.live()
        let list = PolicyList(
            revision: 7,
            policies: [
                StreamPolicy(vhost: nil, app: nil, settings: ["publish.policy": "reject", "idle_timeout": "1min"]),
                StreamPolicy(vhost: nil, app: "a", settings: ["publish.policy": "takeover"]),
                StreamPolicy(vhost: "v", app: "a", settings: ["access.play.deny": "10.0.0.0/8,192.0.2.1"]),
            ])
        #expect(live.apply(list).isEmpty && live.policies.revision == 7)
        for _ in 0..<2 {
            let other = live.streamSettings(for: try Self.key("b"))
            #expect(other.publish.policy == .reject && other.latency == .low && other.idleTimeout == .minutes(1))
            #expect(live.streamSettings(for: try Self.key("a")).publish.policy == .takeover)
            #expect(live.streamSettings(for: try Self.key("a")).access.play.deny.isEmpty)
            let tenant = live.streamSettings(for: try Self.key("a", vhost: "v"))
            #expect(!tenant.gopCache && tenant.access.play.deny == ["10.0.0.0/8", "192.0.2.1"])
        }
        #expect(live.current.stream.publish.policy == .grace)
        _ = live.apply(PolicyList(revision: 8, policies: []))
        #expect(try live.streamSettings(for: Self.key("a")).publish.policy == .grace)
    }

    @Test("a wrong policy is left out as a whole, with its place and key, and the others hold")
    func wrongPolicies() throws {
        let live = try Source("").live()
        let problems = live.apply(
            PolicyList(
                revision: 1,
                policies: [
                    StreamPolicy(vhost: nil, app: nil, settings: ["latency": "low", "publish.polcy": "reject"]),
                    StreamPolicy(vhost: nil, app: nil, settings: ["gop_cache": "no"]),
                    StreamPolicy(vhost: nil, app: nil, settings: ["access.play.token": "required"]),
                    StreamPolicy(vhost: nil, app: nil, settings: ["latency": "fast"]),
                ]))
        #expect(problems.map(\.index) == [0, 2, 3])
        #expect(problems[0].description.contains("stream.publish.polcy"))
        #expect(problems[1].description.contains("access.jwt.secret"))
        let settings = try live.streamSettings(for: Self.key("a"))
        #expect(settings.latency == .balanced && !settings.gopCache)
    }

    @Test("settings of more apps than are kept ready stay right")
    func manyApps() throws {
        let live = try Source("").live()
        _ = live.apply(
            PolicyList(revision: 1, policies: [StreamPolicy(vhost: nil, app: "a4500", settings: ["latency": "low"])]))
        for index in 0..<5_000 {
            let settings = live.streamSettings(vhost: StreamKey.defaultVhost, app: "a\(index)")
            if (settings.latency == .low) != (index == 4_500) { Issue.record("a\(index) has \(settings.latency)") }
        }
    }
}
