import AsyncHTTPClient
import CoordinatorStore
import Foundation
import Media
import NIOCore
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

@Suite("coordinator API", .timeLimit(.minutes(2)), .serialized) struct APITests {
    private func encode(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    private func node(_ name: String) throws -> NodeDescription {
        NodeDescription(id: try NodeID(name), instance: "one", role: .origin, host: "h", rtmpPort: 1935)
    }

    private func join(_ coordinator: TestCoordinator, _ name: String, _ streams: [StreamReport] = []) async throws {
        let body = try self.encode(
            RegisterRequest(node: try self.node(name), status: NodeStatus(streams: streams)))
        #expect(try await call(coordinator.url + "/api/v1/nodes", method: .POST, body: body).status == 200)
    }

    private func claim(_ name: String, node: String) throws -> String {
        try self.encode(
            ClaimRequest(
                key: try StreamKey(app: "live", name: name), node: try NodeID(node), instance: "one", policy: .reject))
    }

    @Test("every call but health needs the secret, and a wrong one is refused like none")
    func secret() async throws {
        let coordinator = try TestCoordinator(secret: "right")
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        #expect(try await call(url + "health").status == 200)
        for path in ["nodes", "streams", "events", "watch", "routes/play?app=a&name=b", "watch?poll=1"] {
            let none = try await call(url + path)
            #expect(none.status == 401)
            #expect(none.type == "application/problem+json")
            for wrong in ["Bearer wrong", "Bearer ", "right", "Bearer right2", "Basic right"] {
                #expect(try await call(url + path, headers: [("Authorization", wrong)]).status == 401)
            }
        }
        #expect(try await call(url + "nodes", headers: [("Authorization", "Bearer right")]).status == 200)
        await coordinator.stop()
    }

    @Test("bodies that are broken, too large, or hold values out of range are refused with a reason")
    func badBodies() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        let bad = [
            "", "{", "[]", "{\"node\":3}", String(repeating: "[", count: 10_000),
            try self.encode(RegisterRequest(node: try self.node("a"), status: NodeStatus()))
                .replacingOccurrences(of: "1935", with: "70000"),
            try self.encode(RegisterRequest(node: try self.node("a"), status: NodeStatus()))
                .replacingOccurrences(of: "\"a\"", with: "\"a b\""),
            try self.encode(
                RegisterRequest(
                    node: try self.node("a"),
                    status: NodeStatus(streams: [
                        StreamReport(key: try StreamKey(app: "a", name: "b"), epoch: 0, state: .live)
                    ]))),
        ]
        for body in bad {
            for path in ["nodes", "streams/claim", "streams/renew", "streams/release", "nodes/a/heartbeat"] {
                let answer = try await call(url + path, method: .POST, body: body)
                #expect(answer.status == 400, "\(path) \(body.prefix(80))")
                #expect(answer.type == "application/problem+json")
            }
        }
        let large = String(repeating: " ", count: 65 << 10)
        #expect(try await call(url + "nodes", method: .POST, body: large).status == 413)
        #expect(try await call(url + "routes/play?app=live").status == 400)
        #expect(try await call(url + "routes/play?app=..&name=x").status == 400)
        #expect(try await call(url + "events?limit=0").status == 400)
        #expect(try await call(url + "nodes/a%20b/drain", method: .POST, headers: asAdmin).status == 400)
        #expect(try await call(url + "nothing").status == 404)
        #expect(try await call(url + "health").status == 200)
        await coordinator.stop()
    }

    @Test("a claim that lost names the holder in its problem, and a stranger's claim says to join")
    func conflict() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        let claim = try self.claim("x", node: "a")
        #expect(try await call(url + "streams/claim", method: .POST, body: claim).body.contains("unknown-node"))
        try await self.join(coordinator, "a")
        try await self.join(coordinator, "b")
        try await eventually("the recovery is over") { try await call(url + "health").body.contains("false") }
        #expect(try await call(url + "streams/claim", method: .POST, body: claim).status == 200)
        let lost = try await call(
            url + "streams/claim", method: .POST, body: try self.claim("x", node: "b"))
        #expect(lost.status == 409)
        let problem = try JSONDecoder().decode(ProblemDetails.self, from: Data(lost.body.utf8))
        #expect(problem.type == "urn:weir:problem:conflict")
        #expect(problem.conflict?.node.rawValue == "a")
        #expect(problem.conflict?.host == "h")
        await coordinator.stop()
    }

    @Test("nodes, streams by page, and the history of events are listed")
    func lists() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        let reports = try (0..<5).map {
            StreamReport(key: try StreamKey(app: "live", name: "s\($0)"), epoch: 9 << 16, state: .live)
        }
        try await self.join(coordinator, "a", reports)
        let nodes = try JSONDecoder().decode(NodeList.self, from: Data(try await call(url + "nodes").body.utf8))
        #expect(nodes.nodes.map(\.node.id.rawValue) == ["a"])
        var names: [String] = []
        var after: String? = ""
        while let page = after {
            let escaped = page.replacingOccurrences(of: "/", with: "%2F")
            let body = try await call(url + "streams?limit=2&after=\(escaped)").body
            let list = try JSONDecoder().decode(StreamList.self, from: Data(body.utf8))
            #expect(list.streams.count <= 2)
            names += list.streams.map(\.key.name)
            after = list.next
        }
        #expect(names == ["s0", "s1", "s2", "s3", "s4"])
        try await eventually("events are stored") {
            let body = try await call(url + "events?limit=1000").body
            let events = try JSONDecoder().decode(EventPage.self, from: Data(body.utf8)).events
            return events.filter { $0.event.kind == .adopted }.count == 5
                && events.map(\.id) == events.map(\.id).sorted()
        }
        await coordinator.stop()
    }

    @Test("a poll answers all at first, then waits for news, and after a restart all again")
    func poll() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        func poll(_ query: String) async throws -> WatchBatch {
            let body = try await call(url + "watch?poll=1" + query).body
            return try JSONDecoder().decode(WatchBatch.self, from: Data(body.utf8))
        }
        try await self.join(coordinator, "a")
        try await eventually("the recovery is over") { try await !poll("&wait=0").isRecovering }
        let first = try await poll("&wait=0")
        #expect(first.isSnapshot && first.changes.isEmpty)
        #expect(try await poll("&wait=0&after=\(first.cursor)").changes.isEmpty)
        async let waiting = poll("&wait=10&after=\(first.cursor)")
        try await Task.sleep(for: .milliseconds(50))
        _ = try await call(url + "streams/claim", method: .POST, body: try self.claim("x", node: "a"))
        let second = try await waiting
        #expect(!second.isSnapshot)
        #expect(second.changes.map(\.key.name) == ["x"])
        let port = await coordinator.stop()
        try await coordinator.start(port: port)
        #expect(try await poll("&wait=0&after=\(second.cursor)").isSnapshot)
        await coordinator.stop()
    }

    @Test("events resume after Last-Event-ID, and start anew when that is too old or not ours")
    func events() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let url = coordinator.url + "/api/v1/"
        try await self.join(coordinator, "a")
        try await eventually("the recovery is over") { try await call(url + "health").body.contains("false") }

        func read(from id: String?, until text: String) async throws -> String {
            var request = HTTPClientRequest(url: url + "watch")
            if let id { request.headers.add(name: "Last-Event-ID", value: id) }
            let response = try await HTTPClient.shared.execute(request, deadline: .now() + .seconds(10))
            #expect(response.headers.first(name: "Content-Type") == "text/event-stream")
            var got = ""
            for try await buffer in response.body {
                got += String(buffer: buffer)
                if got.contains(text) { break }
            }
            return got
        }
        let start = try await read(from: nil, until: "event: synced")
        #expect(start.hasPrefix("event: reset\n"))
        let line = try #require(start.split(separator: "\n").first { $0.hasPrefix("id: ") })
        let id = String(line.dropFirst(4))
        _ = try await call(url + "streams/claim", method: .POST, body: try self.claim("x", node: "a"))
        let resumed = try await read(from: id, until: "event: mark")
        #expect(resumed.hasPrefix("event: resumed\n"))
        #expect(resumed.contains("\"name\":\"x\""))
        for other in ["0000.1", "nonsense", "\(id)9999"] {
            #expect(try await read(from: other, until: "event: synced").hasPrefix("event: reset\n"))
        }
        for index in 0..<70 {
            _ = try await call(url + "streams/claim", method: .POST, body: try self.claim("y\(index)", node: "a"))
        }
        #expect(try await read(from: id, until: "event: synced").hasPrefix("event: reset\n"))
        try await eventually("watchers that went are not kept") {
            try await call(url + "health").body.contains("\"watchers\":0")
        }
        await coordinator.stop()
    }

    @Test("a coordinator stops while somebody watches")
    func stopWithWatcher() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let response = try await HTTPClient.shared.execute(
            HTTPClientRequest(url: coordinator.url + "/api/v1/watch"), deadline: .now() + .seconds(10))
        #expect(response.status == .ok)
        let start = ContinuousClock.now
        await coordinator.stop()
        #expect(ContinuousClock.now - start < .seconds(5))
    }

    @Test("a configuration that cannot work names the setting")
    func configuration() {
        #expect(throws: CoordinatorConfigurationError.missingSecret(host: "0.0.0.0")) {
            try CoordinatorConfiguration(host: "0.0.0.0").validate()
        }
        #expect(throws: Never.self) { try CoordinatorConfiguration(host: "0.0.0.0", secret: "x").validate() }
        #expect(throws: CoordinatorConfigurationError.timesOutOfOrder) {
            try CoordinatorConfiguration(suspectAfterMillis: 6_000).validate()
        }
        #expect(throws: CoordinatorConfigurationError.portOutOfRange(70_000)) {
            try CoordinatorConfiguration(port: 70_000).validate()
        }
        #expect(throws: CoordinatorConfigurationError.notPositive("maximum_watchers")) {
            try CoordinatorConfiguration(maximumWatchers: 0).validate()
        }
    }
}

@Suite("watch ring") struct WatchRingTests {
    @Test("it gives what is new, and nil once some of it is gone")
    func ring() throws {
        var ring = WatchRing(capacity: 3)
        #expect(ring.items(after: 0) == [])
        #expect(ring.items(after: 1) == nil)
        for _ in 0..<5 { ring.append(.recovered) }
        #expect(ring.newest == 5)
        #expect(ring.items(after: 5) == [])
        #expect(ring.items(after: 2)?.count == 3)
        #expect(ring.items(after: 1) == nil)
    }
}
