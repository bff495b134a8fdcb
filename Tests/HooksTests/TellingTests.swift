import Foundation
import Logging
import Media
import NIOCore
import StreamHub
import Synchronization
import Testing

@testable import Hooks

extension AllTests {
    @Suite struct TellingTests {
        private static func recording(_ id: String, _ key: StreamKey = HooksBench.key) -> HookRecording {
            HookRecording(key: key, path: "/r/\(id).mp4", durationMillis: 1, byteCount: 1, id: id, epoch: 1)
        }

        private static func ids(_ requests: [FakeReceiver.Request]) throws -> [String] {
            try requests.compactMap { try AllTests.SessionTests.object($0.body)["recording"] as? String }
        }

        @Test(
            "What may pass is tried again under the same delivery id",
            arguments: [
                FakeReceiver.Answer.text("0", status: "503 Service Unavailable"), .text("", status: "500 Oops"),
                .text("0", status: "429 Too Many Requests"), .hangUp,
            ])
        func retries(answer: FakeReceiver.Answer) async throws {
            // A connection that is closed is tried once more at once, without being counted.
            let closes = if case .hangUp = answer { true } else { false }
            let failures = closes ? 4 : 2
            try await FakeReceiver.with({ $0.index < failures ? answer : .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in HookURLs([.onDVR: [url]]) }.run { bench in
                    bench.hooks.recordingFinished(Self.recording("a"))
                    let requests = try await receiver.requests(failures + 1)
                    #expect(Set(requests.map { $0.headers["weir-delivery"] }).count == 1)
                    try await until { bench.hooks.statistics().events[.onDVR]?.delivered == 1 }
                    let statistics = try #require(bench.hooks.statistics().events[.onDVR])
                    #expect(statistics.retried == 2)
                    #expect(statistics.failed == 0)
                    #expect(statistics.refused == 0)
                    #expect(bench.hooks.statistics().queued == 0)
                }
            }
        }

        @Test(
            "An answer that is final is not asked for again",
            arguments: [
                FakeReceiver.Answer.text("1"), .text("0", status: "404 Not Found"), .text("0", status: "302 Found"),
                .text("", status: "400 Bad Request"), .text(String(repeating: "0", count: 100_000)),
            ])
        func finalAnswers(answer: FakeReceiver.Answer) async throws {
            try await FakeReceiver.with({ _ in answer }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in HookURLs([.onDVR: [url]]) }.run { bench in
                    bench.hooks.recordingFinished(Self.recording("a"))
                    try await until { bench.hooks.statistics().events[.onDVR]?.refused == 1 }
                    try await Task.sleep(for: .milliseconds(100))
                    #expect(receiver.requests.count == 1)
                    #expect(bench.hooks.statistics().events[.onDVR]?.retried == 0)
                }
            }
        }

        @Test("A call is given up after its last try, logged without its query, and the next one is made")
        func aCallIsGivenUp()
            async throws
        {
            try await FakeReceiver.with({ $0.index < 3 ? .text("", status: "500 Oops") : .agreement }) { receiver in
                let url = receiver.url("/hook?secret=hidden")
                try await HooksBench({ $0.retries = 2 }) { _ in HookURLs([.onDVR: [url]]) }.run { bench in
                    bench.hooks.recordingFinished(Self.recording("a"))
                    bench.hooks.recordingFinished(Self.recording("b"))
                    #expect(try await Self.ids(receiver.requests(4)) == ["a", "a", "a", "b"])
                    try await until { bench.hooks.statistics().events[.onDVR]?.delivered == 1 }
                    #expect(bench.hooks.statistics().events[.onDVR]?.refused == 1)
                    try await until { bench.log.all.contains { $0.contains("a hook failed") } }
                    #expect(!bench.log.all.joined().contains("hidden"))
                }
            }
        }

        @Test("The calls of one stream stay in order while one of them is tried again")
        func theCallsOfOneStream() async throws {
            try await FakeReceiver.with({ $0.index % 3 == 0 ? .text("", status: "503 Busy") : .agreement }) {
                receiver in
                let url = receiver.url()
                try await HooksBench { _ in HookURLs([.onDVR: [url]]) }.run { bench in
                    let names = (0..<20).map { "r\($0)" }
                    for name in names { bench.hooks.recordingFinished(Self.recording(name)) }
                    try await until { bench.hooks.statistics().events[.onDVR]?.delivered == 20 }
                    var told = try Self.ids(receiver.requests)
                    told = told.enumerated().filter { $0.offset == 0 || told[$0.offset - 1] != $0.element }.map(
                        \.element)
                    #expect(told == names)
                }
            }
        }

        @Test("A dead receiver does not hold up another")
        func aDeadReceiverDoesNot() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { good in
                try await FakeReceiver.with({ _ in .silence }) { dead in
                    let urls = [dead.url(), good.url()]
                    try await HooksBench { _ in HookURLs([.onDVR: urls]) }.run(closeLimit: .milliseconds(50)) { bench in
                        let start = ContinuousClock.now
                        for index in 0..<50 { bench.hooks.recordingFinished(Self.recording("r\(index)")) }
                        _ = try await good.requests(50)
                        #expect(ContinuousClock.now - start < .seconds(3))
                        // The last call is done when its answer is read, not when it came.
                        try await until { bench.hooks.statistics().queued == 50 }
                    }
                }
            }
        }

        @Test("More calls than may wait are dropped, counted and logged once")
        func moreCallsThanMayWait() async throws {
            try await FakeReceiver.with({ _ in .silence }) { receiver in
                let url = receiver.url()
                try await HooksBench({ $0.queue = 3 }) { _ in HookURLs([.onDVR: [url]]) }.run(
                    closeLimit: .milliseconds(50)
                ) { bench in
                    for index in 0..<10 { bench.hooks.recordingFinished(Self.recording("r\(index)")) }
                    #expect(bench.hooks.statistics().events[.onDVR]?.dropped == 7)
                    #expect(bench.hooks.statistics().queued == 3)
                    try await until { bench.log.all.contains { $0.contains("dropped") } }
                    let lines = bench.log.all.filter { $0.contains("hooks are dropped") }
                    #expect(lines.count == 1)
                    #expect(lines.first?.contains("count=7") == true)
                }
            }
        }

        @Test("What waits at the end is still told, within the deadline")
        func whatWaitsAtTheEnd() async throws {
            try await FakeReceiver.with({ _ in .late("0", .milliseconds(50)) }) { receiver in
                let url = receiver.url()
                let bench = HooksBench { _ in HookURLs([.onDVR: [url]]) }
                try await bench.run { bench in
                    for index in 0..<10 { bench.hooks.recordingFinished(Self.recording("r\(index)")) }
                }
                #expect(receiver.requests.count == 10)
                #expect(bench.hooks.statistics().queued == 0)
            }
            try await FakeReceiver.with({ _ in .silence }) { receiver in
                let url = receiver.url()
                let bench = HooksBench({ $0.timeout = .seconds(30) }) { _ in HookURLs([.onDVR: [url]]) }
                let start = ContinuousClock.now
                try await bench.run(closeLimit: .milliseconds(200)) { bench in
                    for index in 0..<10 { bench.hooks.recordingFinished(Self.recording("r\(index)")) }
                }
                #expect(ContinuousClock.now - start < .seconds(10))
                #expect(bench.log.all.contains { $0.contains("given up at the end") && $0.contains("count=10") })
            }
        }

        @Test("A publisher that comes back is asked for after the end of its last session was told")
        func aPublisherThatComesBack() async throws {
            try await FakeReceiver.with({ request in
                request.action == "on_unpublish" ? .late("0", .milliseconds(200)) : .agreement
            }) { receiver in
                let url = receiver.url()
                let urls = HookURLs([.onPublish: [url], .onUnpublish: [url]])
                try await HooksBench { _ in urls }.run { bench in
                    for _ in 0..<2 {
                        let peer = try bench.peer()
                        let account = try #require(peer.account)
                        _ = await bench.hooks.admit(.publish, HooksBench.key, peer)
                        bench.registry.begin(
                            account, SessionActivity(kind: .publish, key: HooksBench.key, transport: "rtmp"))
                        bench.registry.close(account)
                    }
                    let actions = try await receiver.requests(4).map(\.action)
                    #expect(actions == ["on_publish", "on_unpublish", "on_publish", "on_unpublish"])
                }
            }
        }

        @Test("A publisher is not kept waiting by a receiver that hangs")
        func aPublisherIsNotKept() async throws {
            try await FakeReceiver.with({ $0.action == "on_unpublish" ? .silence : .agreement }) { receiver in
                let url = receiver.url()
                let urls = HookURLs([.onPublish: [url], .onUnpublish: [url]])
                let bench = HooksBench({ $0.timeout = .seconds(30) }) { _ in urls }
                try await bench.run(closeLimit: .milliseconds(50)) { bench in
                    let peer = try bench.peer()
                    let account = try #require(peer.account)
                    _ = await bench.hooks.admit(.publish, HooksBench.key, peer)
                    bench.registry.begin(
                        account, SessionActivity(kind: .publish, key: HooksBench.key, transport: "rtmp"))
                    bench.registry.close(account)
                    let start = ContinuousClock.now
                    let decision = await bench.hooks.admit(.publish, HooksBench.key, try bench.peer())
                    #expect(decision == .allow(SessionPolicy()))
                    #expect(ContinuousClock.now - start < .seconds(10))
                }
            }
        }

        @Test("Every body is signed, as another implementation reckons it")
        func everyBodyIsSignedAs() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                let urls = HookURLs([.onPlay: [url], .onDVR: [url], .onHLSNotify: [receiver.url("/n?x=[stream]")]])
                try await HooksBench({ $0.secret = "pässword" }) { _ in urls }.run { bench in
                    _ = await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b", query: "ü=\"\\\n"))
                    bench.hooks.recordingFinished(Self.recording("a"))
                    bench.hooks.segmentFinished(
                        HookSegment(
                            key: HooksBench.key, epoch: 1, sequence: 1, durationMillis: 1, path: "", url: "u",
                            playlistPath: "", playlistURL: "", track: "main", byteCount: 1))
                    for request in try await receiver.requests(3) {
                        let header = try #require(request.headers["weir-signature"])
                        let fields = header.split(separator: ",").map(String.init)
                        let time = try #require(fields.first?.dropFirst(2))
                        #expect(abs(try #require(Double(time)) - Date().timeIntervalSince1970) < 30)
                        let signed = "\(time)." + (request.method == "GET" ? request.target : request.body)
                        #expect(try "v1=" + Self.python(key: "pässword", signed) == fields.last)
                    }
                }
            }
        }

        private static func python(key: String, _ text: String) throws -> String {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            let program =
                "import hmac,hashlib,sys;print(hmac.new(sys.argv[1].encode(),sys.argv[2].encode(),hashlib.sha256).hexdigest())"
            process.arguments = ["python3", "-c", program, key, text]
            process.environment = ProcessInfo.processInfo.environment.merging(["PYTHONUTF8": "1"]) { $1 }
            let pipe = Pipe()
            process.standardOutput = pipe
            try process.run()
            let data = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }
}

extension AllTests {
    @Suite struct HeartbeatTests {
        @Test("The node is reported in its interval, with SRS's fields")
        func theNodeIsReportedIn() async throws {
            try await FakeReceiver.with({ $0.index == 0 ? .text("whatever", status: "500 Oops") : .agreement }) {
                receiver in
                var configuration = ServerHeartbeatConfiguration(
                    url: receiver.url("/api/v1/servers"), interval: .milliseconds(100), deviceID: "dev-1",
                    ip: "192.0.2.1", serverID: "vid-s", serviceID: "run", version: "4.0")
                configuration.summaries = { #"{"ok":true}"# }
                configuration.ports = ["rtmp": ["0.0.0.0:1935", "[::]:1935"], "http": ["0.0.0.0:8080"]]
                let heartbeat = ServerHeartbeat(
                    configuration: configuration,
                    logger: .init(label: "test", factory: { _ in LogLines(store: .init()) }))
                let task = Task { await heartbeat.run() }
                let requests = try await receiver.requests(3)
                task.cancel()
                await task.value
                let body =
                    #"{"device_id":"dev-1","ip":"192.0.2.1","server":"vid-s","service":"run","#
                    + #""pid":"\#(ProcessInfo.processInfo.processIdentifier)","summaries":{"ok":true},"#
                    + #""http":["0.0.0.0:8080"],"rtmp":["0.0.0.0:1935","[::]:1935"]}"#
                #expect(Set(requests.map(\.body)) == [body])
                #expect(requests[0].target == "/api/v1/servers")
                #expect(requests[0].method == "POST")
                _ = try AllTests.SessionTests.object(body)
                configuration.summaries = nil
                configuration.ports = [:]
                let small = await ServerHeartbeat(configuration: configuration, logger: heartbeat.logger).body()
                #expect(!String(buffer: small).contains("summaries"))
                _ = try AllTests.SessionTests.object(String(buffer: small))
            }
        }
    }
}
