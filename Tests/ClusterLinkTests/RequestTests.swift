import Foundation
import NIOCore
import Placement
import Synchronization
import Testing

@testable import ClusterLink

@Suite("requests that come by way of the coordinator", .timeLimit(.minutes(1))) struct RequestTests {
    private func coordinator(_ queue: RequestQueue) async throws -> ScriptedCoordinator {
        try await ScriptedCoordinator { call in
            if call.path.hasPrefix("nodes/a/requests") { return await queue.poll() }
            return call.path == "nodes/a/responses" ? ScriptedCoordinator.Answer(status: 204) : nil
        }
    }

    private func request(_ id: UInt64, _ path: String, method: String = "GET", millis: Int64 = 5_000) -> NodeRequest {
        NodeRequest(id: id, method: method, path: path, deadlineMillis: millis)
    }

    private func responses(_ coordinator: ScriptedCoordinator) throws -> [NodeResponse] {
        try coordinator.calls("nodes/a/responses").map { try $0.decode(NodeResponse.self) }
    }

    private func text(_ response: NodeResponse) -> String {
        Data(base64Encoded: response.body).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    @Test("a request is handed to the node, and its answer goes back as it is")
    func answered() async throws {
        let queue = RequestQueue()
        let coordinator = try await self.coordinator(queue)
        let link = try ClusterLink.test(coordinator.url)
        let seen = Mutex<[NodeRequest]>([])
        link.attach(
            ClusterLinkHandlers(onRequest: { request in
                seen.withLock { $0.append(request) }
                return NodeAnswer(status: 201, contentType: "text/x", body: ByteBuffer(string: "answer \(request.id)"))
            }))
        queue.add(
            NodeRequest(id: 7, method: "POST", path: "/api/v2/record/start?a=b", body: "{}", deadlineMillis: 5_000))
        try await link.running {
            try await eventually("an answer") { try self.responses(coordinator).count == 1 }
            queue.add(self.request(8, "/api/v2/sessions"), self.request(9, "/api/v2/sessions"))
            try await eventually("three answers") { try self.responses(coordinator).count == 3 }
        }
        #expect(seen.withLock { Set($0.map(\.id)) } == [7, 8, 9])
        #expect(seen.withLock { $0.first?.body } == "{}")
        let responses = try self.responses(coordinator)
        let first = try #require(responses.first)
        #expect(first.id == 7 && first.status == 201 && first.contentType == "text/x" && first.instance == "one")
        #expect(self.text(first) == "answer 7")
        let poll = try #require(coordinator.calls("nodes/a/requests").first)
        #expect(poll.path == "nodes/a/requests?instance=one&wait=10000")
        await coordinator.stop()
    }

    @Test("what is no request of the API is refused without the node's being asked")
    func malformed() async throws {
        let queue = RequestQueue()
        let coordinator = try await self.coordinator(queue)
        let link = try ClusterLink.test(coordinator.url)
        let asked = Atomic<Int>(0)
        link.attach(
            ClusterLinkHandlers(onRequest: { _ in
                asked.wrappingAdd(1, ordering: .relaxed)
                return NodeAnswer(status: 200, contentType: "", body: ByteBuffer())
            }))
        queue.add(
            self.request(1, "/x", method: "TRACE"), self.request(2, "x"), self.request(3, "/x\r\nHost: y"),
            self.request(4, "/" + String(repeating: "a", count: 9_000)), self.request(5, ""))
        try await link.running {
            try await eventually("five answers") { try self.responses(coordinator).count == 5 }
        }
        let statuses = Dictionary(
            try self.responses(coordinator).map { ($0.id, $0.status) }, uniquingKeysWith: { first, _ in first })
        #expect(statuses == [1: 405, 2: 400, 3: 400, 4: 400, 5: 400])
        #expect(asked.load(ordering: .relaxed) == 0)
        await coordinator.stop()
    }

    @Test("an answer that is too late is not sent, its work is cancelled, and the others do not wait for it")
    func late() async throws {
        let queue = RequestQueue()
        let coordinator = try await self.coordinator(queue)
        let link = try ClusterLink.test(coordinator.url)
        let wasCancelled = Atomic<Bool>(false)
        link.attach(
            ClusterLinkHandlers(onRequest: { request in
                if request.id == 1 {
                    try? await Task.sleep(for: .seconds(30))
                    wasCancelled.store(Task.isCancelled, ordering: .relaxed)
                }
                return NodeAnswer(status: 200, contentType: "", body: ByteBuffer())
            }))
        queue.add(self.request(1, "/slow", millis: 100), self.request(2, "/fast"))
        try await link.running {
            try await eventually("the cancel") { wasCancelled.load(ordering: .relaxed) }
            try await eventually("the other") { try self.responses(coordinator).count == 1 }
            queue.add(self.request(3, "/fast"))
            try await eventually("the next") { try self.responses(coordinator).count == 2 }
        }
        #expect(try self.responses(coordinator).map(\.id) == [2, 3])
        await coordinator.stop()
    }

    @Test("an answer that is too large becomes an error")
    func tooLarge() async throws {
        let queue = RequestQueue()
        let coordinator = try await self.coordinator(queue)
        let link = try ClusterLink.test(coordinator.url)
        link.attach(
            ClusterLinkHandlers(onRequest: { request in
                let count = NodeResponse.maximumBodyBytes + (request.id == 1 ? 1 : 0)
                return NodeAnswer(
                    status: 200, contentType: "text/plain", body: ByteBuffer(repeating: 0x61, count: count))
            }))
        queue.add(self.request(1, "/"), self.request(2, "/"))
        try await link.running {
            try await eventually("two answers") { try self.responses(coordinator).count == 2 }
        }
        let responses = try self.responses(coordinator)
        let large = try #require(responses.first { $0.id == 1 })
        #expect(large.status == 502 && large.contentType == "application/problem+json")
        #expect(self.text(large).contains("answer-too-large"))
        let whole = try #require(responses.first { $0.id == 2 })
        #expect(Data(base64Encoded: whole.body)?.count == NodeResponse.maximumBodyBytes)
        await coordinator.stop()
    }

    @Test("no more than the places are worked on at the same time")
    func bounded() async throws {
        let queue = RequestQueue()
        let coordinator = try await self.coordinator(queue)
        let link = try ClusterLink.test(coordinator.url)
        let running = Mutex((now: 0, most: 0))
        link.attach(
            ClusterLinkHandlers(onRequest: { _ in
                running.withLock { state in
                    state.now += 1
                    state.most = max(state.most, state.now)
                }
                try? await Task.sleep(for: .milliseconds(50))
                running.withLock { $0.now -= 1 }
                return NodeAnswer(status: 200, contentType: "", body: ByteBuffer())
            }))
        for id in 1...UInt64(3 * ClusterLink.maximumRequests) { queue.add(self.request(id, "/")) }
        try await link.running {
            try await eventually("all answers") {
                try self.responses(coordinator).count == 3 * ClusterLink.maximumRequests
            }
        }
        #expect(running.withLock { $0.most } == ClusterLink.maximumRequests)
        await coordinator.stop()
    }

    @Test("a coordinator that does not know node requests is left in peace")
    func olderCoordinator() async throws {
        let coordinator = try await ScriptedCoordinator { _ in nil }
        let link = try ClusterLink.test(coordinator.url)
        link.attach(
            ClusterLinkHandlers(onRequest: { _ in NodeAnswer(status: 200, contentType: "", body: ByteBuffer()) }))
        try await link.running {
            try await eventually("heartbeats") { coordinator.calls("nodes/a/heartbeat").count > 20 }
        }
        #expect(coordinator.calls("nodes/a/requests").count == 1)
        await coordinator.stop()
    }

    @Test("without a handler nothing is fetched")
    func noHandler() async throws {
        let coordinator = try await ScriptedCoordinator { _ in nil }
        let link = try ClusterLink.test(coordinator.url)
        try await link.running {
            try await eventually("heartbeats") { coordinator.calls("nodes/a/heartbeat").count > 5 }
        }
        #expect(coordinator.calls("nodes/a/requests").isEmpty)
        await coordinator.stop()
    }

    @Test("a node that the coordinator does not know joins again, and polls again")
    func joinsAgain() async throws {
        let queue = RequestQueue()
        let isForgotten = Atomic<Bool>(true)
        let coordinator = try await ScriptedCoordinator { call in
            if call.path.hasPrefix("nodes/a/requests") {
                return isForgotten.exchange(false, ordering: .relaxed)
                    ? .problem("unknown-node", status: 404) : await queue.poll()
            }
            return call.path == "nodes/a/responses" ? ScriptedCoordinator.Answer(status: 204) : nil
        }
        let link = try ClusterLink.test(coordinator.url)
        link.attach(
            ClusterLinkHandlers(onRequest: { _ in NodeAnswer(status: 200, contentType: "", body: ByteBuffer()) }))
        queue.add(self.request(1, "/"))
        try await link.running {
            try await eventually("an answer") { try self.responses(coordinator).count == 1 }
        }
        #expect(coordinator.calls.filter { $0.path == "nodes" }.count >= 2)
        await coordinator.stop()
    }

    @Test("a poll that comes back empty at once is not repeated in a circle")
    func impatientPoll() async throws {
        let coordinator = try await ScriptedCoordinator { call in
            call.path.hasPrefix("nodes/a/requests") ? .json(NodeRequests(requests: [])) : nil
        }
        let link = try ClusterLink.test(coordinator.url)
        link.attach(
            ClusterLinkHandlers(onRequest: { _ in NodeAnswer(status: 200, contentType: "", body: ByteBuffer()) }))
        let started = ContinuousClock.now
        try await link.running {
            try await Task.sleep(for: .milliseconds(500))
            try await eventually("it is repeated") { coordinator.calls("nodes/a/requests").count >= 2 }
        }
        let polls = coordinator.calls("nodes/a/requests").count
        // The pauses grow to half of the longest backoff at least.
        #expect(Double(polls) <= 10 + (ContinuousClock.now - started) / Duration.milliseconds(50))
        await coordinator.stop()
    }
}

@Suite("policies of the coordinator", .timeLimit(.minutes(1))) struct PolicyTests {
    @Test("policies are told once for each revision, and the node says which it has")
    func told() async throws {
        let current = Mutex(
            PolicyList(revision: 3, policies: [StreamPolicy(vhost: nil, app: "live", settings: ["gop_cache": "off"])]))
        let coordinator = try await ScriptedCoordinator { call in
            var answer = ScriptedCoordinator.granted
            let list = current.withLock { $0 }
            if call.path == "nodes" {
                answer.policies = list
            } else if let beat = try? call.decode(HeartbeatRequest.self) {
                answer.policies = beat.policiesRevision == list.revision ? nil : list
            } else {
                return nil
            }
            return .json(answer)
        }
        let link = try ClusterLink.test(coordinator.url)
        let told = Mutex<[UInt64]>([])
        link.attach(ClusterLinkHandlers(onPolicies: { list in told.withLock { $0.append(list.revision) } }))
        try await link.running {
            try await eventually("heartbeats with the revision") {
                try coordinator.calls("nodes/a/heartbeat").contains {
                    try $0.decode(HeartbeatRequest.self).policiesRevision == 3
                }
            }
            current.withLock { $0.revision = 4 }
            try await eventually("the next revision") { told.withLock { $0.last } == 4 }
            try await eventually("heartbeats with it") {
                try coordinator.calls("nodes/a/heartbeat").contains {
                    try $0.decode(HeartbeatRequest.self).policiesRevision == 4
                }
            }
        }
        #expect(told.withLock { $0 } == [3, 4])
        await coordinator.stop()
    }

    @Test("an older coordinator tells of no policies, and nothing happens")
    func none() async throws {
        let coordinator = try await ScriptedCoordinator { _ in nil }
        let link = try ClusterLink.test(coordinator.url)
        let told = Atomic<Int>(0)
        link.attach(ClusterLinkHandlers(onPolicies: { _ in told.wrappingAdd(1, ordering: .relaxed) }))
        try await link.running {
            try await eventually("heartbeats") { coordinator.calls("nodes/a/heartbeat").count > 3 }
        }
        #expect(told.load(ordering: .relaxed) == 0)
        #expect(
            try coordinator.calls("nodes/a/heartbeat").allSatisfy {
                try $0.decode(HeartbeatRequest.self).policiesRevision == nil
            })
        await coordinator.stop()
    }

    @Test("a change that must not wait goes out at once")
    func reportsNow() async throws {
        let coordinator = try await ScriptedCoordinator { _ in nil }
        let link = try ClusterLink.test(coordinator.url, heartbeatMillis: 60_000)
        let isDraining = Atomic<Bool>(false)
        link.attach(
            ClusterLinkHandlers(status: { NodeStatus(draining: isDraining.load(ordering: .relaxed)) }))
        try await link.running {
            try await eventually("the join") { link.state.isConnected }
            isDraining.store(true, ordering: .relaxed)
            link.reportNow()
            try await eventually("the news") {
                try coordinator.calls("nodes/a/heartbeat").contains {
                    try $0.decode(HeartbeatRequest.self).status.draining
                }
            }
        }
        await coordinator.stop()
    }
}
