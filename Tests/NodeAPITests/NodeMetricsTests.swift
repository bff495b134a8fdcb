import Exposition
import Foundation
import Media
import NIOCore
import ObjectCache
import ProcessStats
import SegmentStore
import StreamHub
import Testing

@testable import MediaStorage
@testable import NodeAPI
@testable import Recorder

@Suite("Metrics of a node")
struct NodeMetricsTests {
    /// A node with everything that has metrics.
    private static func everything(_ node: FakeNode) throws -> NodeAPIServices {
        var services = node.services()
        services.storage = {
            var folder = StorageSnapshot.example
            folder.alarm = .diskFull
            return NodeStorage(catalog: "open", folders: [folder], streams: [])
        }
        services.cache = { ObjectCacheStatistics() }
        services.hooks = {
            var event = NodeHooks.Event(name: "on_publish")
            event.latency.observe(0.02)
            event.allowed = 1
            return NodeHooks(events: [event])
        }
        services.forwards = { [] }
        services.pulls = { [] }
        services.recordings = NodeRecordings(
            list: { _ in .success(RecordingPage(recordings: [])) }, delete: { _ in .success(()) }, statuses: { [] },
            status: { .init(key: $0, intent: nil, isFollowed: false) }, setIntent: { _, _ in .success(()) })
        node.set { state in
            state.figures.refusals = [
                NodeRefusals(transport: "rtmp", cause: "busy", count: 3),
                NodeRefusals(transport: "evil\" } 1", cause: "forbidden", count: 2),
                NodeRefusals(transport: "worse", cause: "forbidden", count: 5),
            ]
            state.options.metricsOfStreams = true
        }
        return services
    }

    @Test("promtool finds nothing wrong with them")
    func promtool() async throws {
        let node = FakeNode()
        let services = try Self.everything(node)
        let key = try StreamKey(app: "live", name: "a{b}=1,é🎥'")
        node.set { state in state.streams = [node.live(key, viewers: 3)] }
        try node.session(.publish, key, "rtmp", received: 99)
        try node.session(.play, key, "carrier-pigeon", sent: 12)
        let text = try await NodeAPI(services).text("/metrics")
        // SRS's own names do not follow the rules of naming that promtool knows.
        let ours = text.split(separator: "\n").filter { !$0.contains("srs_") }.joined(separator: "\n") + "\n"
        #expect(try Promtool.check(["check", "metrics"], input: ours) == "")
        #expect(try Promtool.check(["check", "metrics"], input: text).contains("error while linting") == false)
        try await node.close()
    }

    @Test("5,000 streams do not make 5,000 series")
    func bounded() async throws {
        let node = FakeNode()
        let services = try Self.everything(node)
        let streams = try (0..<5_000).map { node.live(try StreamKey(app: "live", name: "s\($0)"), viewers: $0 % 7) }
        node.set { state in
            state.streams = streams
            state.options.metricsOfStreams = false
        }
        let series = StreamSeries()
        let metrics = NodeMetrics(services: services, series: series)
        let without = await metrics.exposition(.prometheus).sampleCount
        node.set { state in state.options.metricsOfStreams = true }
        let with = await metrics.exposition(.prometheus).sampleCount
        node.set { state in state.streams = [] }
        let empty = await metrics.exposition(.prometheus).sampleCount
        #expect(without < 200)
        #expect(with < without + 101 * 16)
        #expect(abs(empty - without) < 20)
        try await node.close()
    }

    @Test("Transports that nobody knows are one series, and refusals are summed by it")
    func closedSets() async throws {
        let node = FakeNode()
        let services = try Self.everything(node)
        let key = try StreamKey(app: "live", name: "game")
        for number in 0..<50 { try node.session(.play, key, "transport-\(number)") }
        let text = try await NodeAPI(services).text("/metrics")
        #expect(text.contains("weir_players{transport=\"other\"} 50\n"))
        #expect(text.contains("weir_refusals_total{transport=\"other\",cause=\"forbidden\"} 7\n"))
        #expect(text.contains("weir_refusals_total{transport=\"rtmp\",cause=\"busy\"} 3\n"))
        #expect(!text.contains("evil"))
        #expect(!text.contains("transport-"))
        try await node.close()
    }

    @Test("Sums over streams never shrink though streams come, go and begin anew")
    func monotone() throws {
        let series = StreamSeries()
        func stream(_ name: String, frames: Int, viewers: Int = 0) throws -> NodeStream {
            var stream = NodeStream(key: try StreamKey(app: "live", name: name), epoch: 1, state: "live", isHeld: true)
            stream.videoFrames = frames
            stream.viewers = ["rtmp": viewers]
            return stream
        }
        func look(_ streams: [NodeStream], _ maximum: Int) -> StreamSeries.Look {
            series.look(at: streams, maximum: maximum, totals: { _ in nil })
        }
        let first = look([try stream("a", frames: 10), try stream("b", frames: 5, viewers: 9)], 1)
        #expect(first.all.videoFrames == 15)
        #expect(first.labelled.map(\.stream.key.name) == ["b"])
        #expect(first.others.videoFrames == 10)
        // The one with a label keeps it, though another has more viewers now.
        let second = look([try stream("a", frames: 14, viewers: 100), try stream("b", frames: 6)], 1)
        #expect(second.all.videoFrames == 20)
        #expect(second.labelled.map(\.stream.key.name) == ["b"])
        #expect(second.others.videoFrames == 14)
        // It ends: its label goes to the other, whose further frames are no longer with the rest.
        let third = look([try stream("a", frames: 20)], 1)
        #expect(third.all.videoFrames == 26)
        #expect(third.labelled.map(\.stream.key.name) == ["a"])
        #expect(third.others.videoFrames == 14)
        // It begins anew.
        let fourth = look([try stream("a", frames: 3)], 1)
        #expect(fourth.all.videoFrames == 29)
        let fifth = look([], 1)
        #expect(fifth.all.videoFrames == 29)
        #expect(fifth.labelled.isEmpty)
        let sixth = look([try stream("a", frames: 3), try stream("c", frames: 1)], 0)
        #expect(sixth.labelled.isEmpty)
        #expect(sixth.all.videoFrames == 33)
    }

    @Test("What is counted is what the sessions say")
    func sessions() async throws {
        try await withNode { node, api async throws in
            let key = try StreamKey(app: "live", name: "game")
            try node.session(.publish, key, "rtmp", received: 1_000)
            try node.session(.play, key, "hls", sent: 50)
            try node.session(.play, key, "rtmp", relay: true, sent: 7)
            let gone = try node.session(.play, key, "rtmp", sent: 3)
            node.sessions.close(gone, .tooSlow)
            let text = try await api.text("/metrics")
            for line in [
                "weir_publishers 1", "weir_relays 1", "weir_players{transport=\"hls\"} 1",
                "weir_players{transport=\"rtmp\"} 0", "weir_received_bytes_total 1000", "weir_sent_bytes_total 60",
                "weir_sessions 3", "weir_sessions_opened_total 4", "weir_session_ends_total{reason=\"tooSlow\"} 1",
                "srs_clients 3", "srs_clients_total 4", "srs_send_bytes_total 60", "weir_ready 1",
                "weir_not_ready{reason=\"draining\"} 0",
            ] { #expect(text.contains("\(line)\n"), "\(line)") }
        }
    }

    @Test("OpenMetrics is written for those who ask for it")
    func openMetrics() async throws {
        try await withNode { _, api async throws in
            let answer = try await api.answer(
                "GET", "/metrics", headers: ["accept": "application/openmetrics-text;version=1.0.0"])
            #expect(answer.contentType.hasPrefix("application/openmetrics-text"))
            #expect(String(buffer: answer.body).hasSuffix("# EOF\n"))
        }
    }

    @Test("The alert rules and the scrape configuration that are shipped are valid")
    func shippedRules() throws {
        let folder = Promtool.repository + "/deploy"
        _ = try Promtool.check(["check", "rules", "\(folder)/prometheus/weir-alerts.yml"])
        _ = try Promtool.check(["test", "rules", "\(folder)/prometheus/weir-alerts-test.yml"])
        _ = try Promtool.check(["check", "config", "--syntax-only", "\(folder)/prometheus/prometheus.yml"])
    }

    @Test("Dashboard and alerts name only metrics that the node writes")
    func shippedNames() async throws {
        let node = FakeNode()
        let services = try Self.everything(node)
        let key = try StreamKey(app: "live", name: "game")
        var stream = node.live(key, viewers: 1)
        (stream.ringBytes, stream.slabs, stream.framesPerSecond, stream.gopMillis) = (1, 1, 25, 2_000)
        stream.silentFor = .seconds(1)
        node.sessions.setAdmission(NobodyComesIn())
        #expect(node.sessions.open(nil, transport: "rtmp") == nil)
        node.set { state in state.streams = [stream] }
        let text = try await NodeAPI(services).text("/metrics")
        let known = Set(
            text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.prefix { $0 != "{" && $0 != " " } })
        for file in ["grafana/weir.json", "prometheus/weir-alerts.yml"] {
            let content = try String(contentsOfFile: "\(Promtool.repository)/deploy/\(file)", encoding: .utf8)
            let used = Set(content.matches(of: #/\b(?:weir|process)_[a-z_]+/#).map { $0.output })
                .filter { !$0.hasPrefix("weir_cluster_") }
            #expect(used.count > 5)
            #expect(used.subtracting(known).sorted() == [], "\(file)")
        }
        let dashboard = try String(contentsOfFile: "\(Promtool.repository)/deploy/grafana/weir.json", encoding: .utf8)
        let panels = try JSONDecoder().decode(JSON.self, from: Data(dashboard.utf8))["panels"]?.items ?? []
        let queries = panels.flatMap { $0["targets"]?.items ?? [] }.compactMap { $0["expr"]?.text }
        #expect(queries.count > 30)
        try Promtool.checkQueries(queries)
        try await node.close()
    }
}

extension StorageSnapshot {
    static var example: StorageSnapshot {
        StorageSnapshot(
            root: "/media", alarm: nil, alarmSinceUnixMillis: nil, queuedBytes: 0, queuedJobs: 0, writtenBytes: 5,
            writtenFiles: 1, deletedFiles: 0, failedWrites: 0, droppedWrites: 0,
            space: StorageSpace(totalBytes: 100, freeBytes: 40, freeFiles: 9))
    }
}

/// Refuses every connection.
private struct NobodyComesIn: ConnectionAdmission {
    func connectionOpened(_ address: SocketAddress?, transport: String) -> String? { "connections" }
    func connectionClosed(_ address: SocketAddress?, transport: String) {}
}

/// Prometheus's own tool.
enum Promtool {
    /// Tests run in the repository. Where a file was compiled says nothing of where the repository is now.
    static let repository = FileManager.default.currentDirectoryPath

    /// Each query has to be one that Prometheus understands.
    static func checkQueries(_ queries: [String]) throws {
        var rules = "groups:\n- name: queries\n  rules:\n"
        for (number, query) in queries.enumerated() {
            let text = query.replacing("$__rate_interval", with: "1m").replacing("$job", with: "weir")
                .replacing("$instance", with: ".*").replacing("'", with: "''")
            rules += "  - record: q\(number)\n    expr: '\(text)'\n"
        }
        let file = FileManager.default.temporaryDirectory.appending(path: "queries-\(UUID().uuidString).yml")
        try Data(rules.utf8).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        _ = try self.check(["check", "rules", file.path])
    }

    /// Runs it. Returns what it had to say on standard error; a status other than 0 and 3 (style) is a failure.
    static func check(_ arguments: [String], input: String = "") throws -> String {
        let folder = FileManager.default.temporaryDirectory.appending(path: "promtool-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let names = ["in", "out", "err"].map { folder.appending(path: $0) }
        try Data(input.utf8).write(to: names[0])
        for name in names.dropFirst() { try Data().write(to: name) }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["timeout", "60", "promtool"] + arguments
        process.standardInput = try FileHandle(forReadingFrom: names[0])
        process.standardOutput = try FileHandle(forWritingTo: names[1])
        process.standardError = try FileHandle(forWritingTo: names[2])
        try process.run()
        process.waitUntilExit()
        let errors = try String(contentsOf: names[2], encoding: .utf8)
        let output = try String(contentsOf: names[1], encoding: .utf8)
        try #require([0, 3].contains(process.terminationStatus), "promtool \(arguments): \(errors) \(output)")
        return errors
    }
}
