import Foundation
import Glibc
import Testing

/// A stream as the API of a node shows it.
struct StreamView: Decodable, Sendable {
    struct TrackView: Decodable, Sendable {
        let kind: String
        let codec: String
        let width: Int?
        let height: Int?
    }

    let key: String
    let epoch: UInt64
    let state: String
    let tracks: [TrackView]
    let viewers: [String: Int]
    let videoFrames: Int
    let audioFrames: Int

    var viewerCount: Int { self.viewers.values.reduce(0, +) }
}

/// A stream as the coordinator shows it.
struct PlacementView: Decodable, Sendable {
    struct Key: Decodable, Sendable {
        let app: String
        let name: String
    }

    let key: Key
    let epoch: UInt64
    let isProvisional: Bool
    let state: String
    let node: String
}

/// One of the programs, started with settings of its own.
final class ClusterNode: Sendable {
    let name: String
    let role: String
    let ports: [Int]
    let settings: [String]
    private let sandbox: Sandbox
    let launch: Launch
    private let current: LockedBox<Child>

    var child: Child { self.current.value }
    var rtmpPort: Int { self.ports[0] }
    var httpPort: Int { self.ports[1] }
    var apiPort: Int { self.ports[2] }
    var webRTCPort: Int { self.ports[3] }
    var srtPort: Int { self.ports[4] }
    var rtspPort: Int { self.ports[5] }

    init(
        _ name: String, role: String, ports: [Int], settings: [String: String], sandbox: Sandbox,
        launch: Launch = Launch()
    ) throws {
        self.name = name
        self.role = role
        self.ports = ports
        // Origins share the sandbox's folder, but not what they write.
        let files = [
            "media.directory": "\(name)-media", "media.recordings": "\(name)-recordings",
            "media.catalog": "\(name)-media.sqlite",
        ]
        self.settings = (role == "origin" ? files.merging(settings) { $1 } : settings).sorted { $0.key < $1.key }
            .flatMap { ["--set", "\($0.key)=\($0.value)"] }
        self.sandbox = sandbox
        self.launch = launch
        self.current = LockedBox(try launch.start(name, try Tools.program(role), self.settings, sandbox))
    }

    /// Starts the program once more, with the same ports and settings.
    func restart() async throws {
        self.child.destroy()
        self.current.value = try self.launch.start(
            self.name, try Tools.program(self.role), self.settings, self.sandbox)
        try await self.isReady()
    }

    func isReady() async throws {
        try await until("\(self.name) is ready", within: .seconds(20)) {
            if let ending = self.child.ending { throw Failure("\(self.name) \(ending)") }
            let status = try await self.status(self.apiURL("/api/v1/health"))
            guard self.role != "coordinator" else { return status == 200 }
            // The API may be up before the others.
            guard status == 200 else { return false }
            return try await self.status("http://127.0.0.1:\(self.httpPort)/") != 0
        }
    }

    func rtmp(_ stream: String) -> String { "rtmp://127.0.0.1:\(self.rtmpPort)/\(stream)" }
    func http(_ path: String) -> String { "http://127.0.0.1:\(self.httpPort)/\(path)" }
    func flv(_ stream: String) -> String { "http://127.0.0.1:\(self.httpPort)/\(stream).flv" }
    func apiURL(_ path: String) -> String { "http://127.0.0.1:\(self.apiPort)\(path)" }

    /// The status of a GET; 0 when there was no answer.
    func status(_ url: String) async throws -> Int {
        let text = try await self.curl(["-s", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}", url])
        return Int(text) ?? 0
    }

    private func curl(_ arguments: [String]) async throws -> String {
        let words = self.launch.reach + [try Tools.command("curl")] + arguments
        return try await self.sandbox.run(words[0], Array(words.dropFirst()), expecting: nil)
    }

    /// Nodes have an API without a token here, which takes no others.
    private var credentials: [String] {
        self.role == "coordinator" ? ["-H", "Authorization: Bearer \(Cluster.secret)"] : []
    }

    /// The answer of the API; `nil` when there is none.
    func get<Answer: Decodable>(_ path: String, as type: Answer.Type) async throws -> Answer? {
        let text = try await self.curl(["-s", "-f", "-m", "10"] + self.credentials + [self.apiURL(path)])
        guard !text.isEmpty else { return nil }
        return try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    /// The status of a request to the API that changes something; 0 when there was no answer.
    @discardableResult
    func send(_ method: String, _ path: String) async throws -> Int {
        let text = try await self.curl(
            ["-s", "-o", "/dev/null", "-m", "5", "-X", method, "-w", "%{http_code}"] + self.credentials
                + [self.apiURL(path)])
        return Int(text) ?? 0
    }

    /// The streams of an origin or edge; `nil` when it does not answer.
    func streams() async throws -> [StreamView]? {
        struct List: Decodable { let streams: [StreamView] }
        return try await self.get("/api/v2/streams", as: List.self)?.streams
    }

    func stream(_ key: String) async throws -> StreamView? { try await self.streams()?.first { $0.key == key } }

    /// The placements that a coordinator knows; `nil` when it does not answer.
    func placements() async throws -> [PlacementView]? {
        struct List: Decodable { let streams: [PlacementView] }
        return try await self.get("/api/v1/streams", as: List.self)?.streams
    }

    func placement(_ key: String) async throws -> PlacementView? {
        try await self.placements()?.first { "\($0.key.app)/\($0.key.name)" == key }
    }

    /// The health of the nodes that a coordinator knows, by their ids.
    func nodes() async throws -> [String: String]? {
        struct List: Decodable {
            struct Entry: Decodable {
                struct Node: Decodable { let id: String }
                let node: Node
                let health: String
            }
            let nodes: [Entry]
        }
        let entries = try await self.get("/api/v1/nodes", as: List.self)?.nodes
        return entries.map { Dictionary($0.map { ($0.node.id, $0.health) }) { $1 } }
    }

    /// Waits until a publisher's media arrive.
    @discardableResult
    func isLive(_ key: String, within limit: Duration = .seconds(10)) async throws -> StreamView {
        try await until("\(key) is live on \(self.name)", within: limit) {
            try await self.stream(key).flatMap { $0.state == "live" && $0.videoFrames + $0.audioFrames > 0 ? $0 : nil }
        }
    }
}

/// A coordinator, origins and edges on loopback.
final class Cluster: Sendable {
    static let secret = "of-the-tests"

    let sandbox: Sandbox
    let coordinator: ClusterNode

    private let launch: Launch

    /// Starts a coordinator. `launch` is for all nodes that have none of their own.
    init(
        _ sandbox: Sandbox, coordinator settings: [String: String] = [:], launch: Launch = Launch()
    ) async throws {
        self.sandbox = sandbox
        self.launch = launch
        let port = try Sandbox.freePorts(1)[0]
        self.coordinator = try ClusterNode(
            "coordinator", role: "coordinator", ports: [0, 0, port],
            settings: [
                "coordinator.listen": "127.0.0.1:\(port)",
                "coordinator.database": sandbox.file("coordinator.sqlite").path, "cluster.secret": Self.secret,
            ].merging(settings) { $1 }, sandbox: sandbox, launch: launch)
        try await self.coordinator.isReady()
    }

    /// Waits until the coordinator no longer waits for nodes that it may have forgotten.
    func isRecovered() async throws {
        struct Health: Decodable { let recovering: Bool }
        try await until("the coordinator is recovered", within: .seconds(10), every: .milliseconds(100)) {
            try await self.coordinator.get("/api/v1/health", as: Health.self)?.recovering == false
        }
    }

    func origin(
        _ name: String = "origin", _ settings: [String: String] = [:], launch: Launch? = nil
    ) async throws -> ClusterNode {
        try await self.node(name, role: "origin", settings, launch)
    }

    func edge(_ name: String = "edge", _ settings: [String: String] = [:]) async throws -> ClusterNode {
        try await self.node(name, role: "edge", settings)
    }

    private func node(
        _ name: String, role: String, _ settings: [String: String], _ launch: Launch? = nil
    ) async throws -> ClusterNode {
        let own = [
            "cluster.coordinator": "http://127.0.0.1:\(self.coordinator.apiPort)", "cluster.secret": Self.secret,
        ]
        let node = try await Self.node(
            name, role: role, own.merging(settings) { $1 }, self.sandbox, launch ?? self.launch)
        try await until("the coordinator knows \(name)", within: .seconds(10)) {
            try await self.coordinator.nodes()?[name] != nil
        }
        return node
    }

    /// Starts a node that no coordinator knows, unless the settings name one.
    static func node(
        _ name: String, role: String, _ settings: [String: String], _ sandbox: Sandbox, _ launch: Launch = Launch()
    ) async throws -> ClusterNode {
        let ports = try Sandbox.freePorts(6)
        let host = launch.host
        let own = [
            "node.id": name, "node.advertise": "127.0.0.1", "rtmp.listen": "\(host):\(ports[0])",
            "http.listen": "\(host):\(ports[1])", "api.listen": "127.0.0.1:\(ports[2])",
            "rtc.listen": "\(host):\(ports[3])", "srt.listen": "\(host):\(ports[4])",
            "rtsp.listen": "\(host):\(ports[5])",
        ]
        let node = try ClusterNode(
            name, role: role, ports: ports, settings: own.merging(settings) { $1 }, sandbox: sandbox,
            launch: launch)
        try await node.isReady()
        return node
    }
}
