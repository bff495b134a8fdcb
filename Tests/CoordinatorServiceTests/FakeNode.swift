import AsyncHTTPClient
import Foundation
import Media
import NIOCore
import NIOHTTP1
import Placement
import Synchronization

/// A node that only speaks HTTP: it joins, reports what it is told to, and answers requests.
struct FakeNode: Sendable {
    let url: String
    let description: NodeDescription
    let headers: [(String, String)]

    /// `change` fills in what nodes of earlier versions do not tell.
    init(
        _ coordinator: TestCoordinator, _ name: String, role: NodeRole = .origin, region: String = "",
        change: (inout NodeDescription) -> Void = { _ in }
    ) throws {
        self.url = coordinator.url + "/api/v1/nodes"
        var description = NodeDescription(
            id: try NodeID(name), instance: "one", role: role, region: region, host: "\(name).example",
            rtmpPort: 1935, httpPort: 8080, version: "1")
        change(&description)
        self.description = description
        self.headers = coordinator.secret.map { [("Authorization", "Bearer \($0)")] } ?? []
    }

    static func json(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    func join(_ status: NodeStatus = NodeStatus()) async throws {
        let body = try Self.json(RegisterRequest(node: self.description, status: status))
        let joined = try await answer(self.url, method: .POST, body: body, headers: self.headers)
        guard joined.status == .ok else { throw NotInTime(what: joined.text) }
    }

    @discardableResult
    func report(_ status: NodeStatus, policiesRevision: UInt64? = nil) async throws -> HeartbeatAnswer {
        let body = try Self.json(
            HeartbeatRequest(instance: "one", status: status, policiesRevision: policiesRevision))
        return try await answer(
            "\(self.url)/\(self.description.id)/heartbeat", method: .POST, body: body, headers: self.headers
        ).decoded(as: HeartbeatAnswer.self)
    }

    /// A stream that it holds, live, with facts.
    static func holding(_ keys: StreamKey..., viewers: [String: Int] = [:]) -> NodeStatus {
        var status = NodeStatus(streams: keys.map { StreamReport(key: $0, epoch: 9 << 16, state: .live) })
        status.load.viewers = viewers.values.reduce(0, +)
        status.node = NodeFacts(startedMillis: 1)
        status.node?.viewers = viewers
        status.node?.publishers = keys.count
        status.facts = keys.map { key in
            var facts = StreamFacts(key: key, epoch: 9 << 16, isHolder: true)
            facts.viewers = viewers
            facts.ingestBitsPerSecond = 1_000
            facts.tracks = [TrackFacts(kind: "video", codec: "h264")]
            facts.publisher = PublisherFacts(
                session: "pub", address: "192.0.2.1", transport: "rtmp", userAgent: nil, seconds: 3)
            return facts
        }
        return status
    }

    /// Answers requests until cancelled; `nil` does not answer.
    func serve(_ body: @escaping @Sendable (NodeRequest) -> (status: Int, type: String, body: String)?) async {
        let path = "\(self.url)/\(self.description.id)"
        while !Task.isCancelled {
            let polled = try? await answer(path + "/requests?instance=one&wait=5000", headers: self.headers)
            for request in (try? polled?.decoded(as: NodeRequests.self))?.requests ?? [] {
                guard let said = body(request) else { continue }
                let response = NodeResponse(
                    instance: "one", id: request.id, status: said.status, contentType: said.type,
                    body: Data(said.body.utf8).base64EncodedString())
                _ = try? await answer(
                    path + "/responses", method: .POST, body: try Self.json(response), headers: self.headers)
            }
        }
    }
}

/// What was seen, in order, from whatever task.
final class Notes: Sendable {
    private let notes = Mutex<[String]>([])

    var all: [String] { self.notes.withLock { $0 } }
    func add(_ note: String) { self.notes.withLock { $0.append(note) } }
}
