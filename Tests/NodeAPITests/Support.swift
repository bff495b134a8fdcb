import Foundation
import Media
import NIOCore
import NIOPosix
import ProcessStats
import StreamHub
import Streaming
import Synchronization
import Testing

@testable import NodeAPI

/// A node without sockets: what its API tells is set by the test.
final class FakeNode: Sendable {
    struct State {
        var streams: [NodeStream] = []
        var options = NodeAPIOptions()
        var readiness = NodeReadiness(isListening: true, isDraining: false, cluster: .alone)
        var reload = NodeReload(succeeded: true, message: "nothing changed", json: "{\"changed\":[]}")
        var kicked: [String] = []
        var figures = NodeFigures()
    }

    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let sessions = SessionRegistry()
    let state = Mutex(State())
    let loops: LoopLagProbe
    private let sampler = ProcessSampler()

    init() { self.loops = LoopLagProbe(self.group.makeIterator().map { $0 as any EventLoop }) }

    func close() async throws {
        self.loops.stop()
        try await self.group.shutdownGracefully()
    }

    func services() -> NodeAPIServices {
        var services = NodeAPIServices(
            identity: NodeAPIIdentity(
                node: "origin-1", role: "origin", region: "eu", version: "6.1.2", server: "vid-server1",
                service: "abcd1234", startedMillis: 1_000_000_000_000),
            sessions: self.sessions, sampler: self.sampler, loops: self.loops,
            streams: { self.state.withLock { $0.streams } },
            stream: { key in self.state.withLock { $0.streams.first { $0.key == key } } },
            readiness: { self.state.withLock { $0.readiness } })
        services.vhostID = { "vid-v\($0.prefix(6))" }
        services.streamID = { "vid-\($0.app)-\($0.name)" }
        services.options = { self.state.withLock { $0.options } }
        services.vhosts = {
            [
                NodeVhost(name: StreamKey.defaultVhost, isHLSEnabled: true, hlsSegmentSeconds: 2.5),
                NodeVhost(name: "tv.example", isHLSEnabled: false, hlsSegmentSeconds: 2),
            ]
        }
        services.vhostOfDomain = { $0 == "tv.example" ? $0 : StreamKey.defaultVhost }
        services.reload = { self.state.withLock { $0.reload } }
        services.setDraining = { draining in self.state.withLock { $0.readiness.isDraining = draining } }
        services.settings = { NodeDocument(contentType: "application/json", text: "{\"api\":{\"token\":\"***\"}}") }
        services.figures = { self.state.withLock { $0.figures } }
        return services
    }

    /// Opens a session that does something. Kicks of it are noted, unless it `cannotEnd`.
    @discardableResult
    func session(
        _ kind: SessionActivity.Kind, _ key: StreamKey, _ transport: String, relay: Bool = false,
        ip: String = "192.0.2.1", received: Int = 0, sent: Int = 0, cannotEnd: Bool = false,
        client: ClientDescription = ClientDescription()
    ) throws -> SessionAccount {
        let account = try #require(
            self.sessions.open(try SocketAddress(ipAddress: ip, port: 5_000), transport: transport))
        account.client = client
        if !cannotEnd {
            account.onTerminate { [weak self] end, _ in
                self?.state.withLock { $0.kicked.append("\(account.id) \(end.rawValue)") }
            }
        }
        self.sessions.begin(account, SessionActivity(kind: kind, key: key, transport: transport, isRelay: relay))
        account.received(received)
        account.sent(sent)
        return account
    }

    func live(_ key: StreamKey, viewers: Int = 0) -> NodeStream {
        var stream = NodeStream(key: key, epoch: 7, state: "live", isHeld: true)
        stream.video = Track(
            codec: .h264, configuration: nil,
            format: .video(VideoFormat(width: 1_280, height: 720, profile: "High", level: "3.1", frameRate: 25)))
        stream.audio = Track(
            codec: .aac, configuration: nil,
            format: .audio(AudioFormat(sampleRate: 48_000, channels: 2, profile: "LC")))
        stream.viewers = viewers > 0 ? ["rtmp": viewers] : [:]
        stream.videoFrames = 250
        stream.audioFrames = 480
        stream.publishedFor = .seconds(10)
        return stream
    }

    func set(_ body: (inout State) -> Void) { self.state.withLock { body(&$0) } }
}

/// A node for one test, closed behind it.
func withNode(_ body: (FakeNode, NodeAPI) async throws -> Void) async throws {
    let node = FakeNode()
    do {
        try await body(node, NodeAPI(node.services()))
    } catch {
        try await node.close()
        throw error
    }
    try await node.close()
}

extension NodeAPI {
    /// The status and the JSON of an answer.
    func json(
        _ method: String = "GET", _ target: String, headers: [String: String] = [:]
    ) async throws -> (status: Int, body: JSON) {
        let answer = try await self.answer(method, target, headers: headers)
        return (answer.status, try JSONDecoder().decode(JSON.self, from: Data(answer.body.readableBytesView)))
    }

    func answer(
        _ method: String = "GET", _ target: String, headers: [String: String] = [:]
    ) async throws -> NodeAPIResponse {
        await self.respond(try #require(NodeAPIRequest(method: method, target: target, headers: headers)))
    }

    func text(_ target: String) async throws -> String {
        String(buffer: try await self.answer("GET", target).body)
    }
}

/// A JSON value whose types are told apart as strictly as JSON does.
indirect enum JSON: Decodable, Equatable, Sendable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByBooleanLiteral
{
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSON].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSON].self))
        }
    }

    init(stringLiteral value: String) { self = .string(value) }
    init(integerLiteral value: Int) { self = .number(Double(value)) }
    init(booleanLiteral value: Bool) { self = .bool(value) }

    subscript(_ name: String) -> JSON? {
        guard case .object(let members) = self else { return nil }
        return members[name]
    }

    var items: [JSON] {
        guard case .array(let items) = self else { return [] }
        return items
    }

    var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    var number: Double? {
        guard case .number(let number) = self else { return nil }
        return number
    }
}

/// The type of a field in SRS's answers.
indirect enum Shape: Equatable, Sendable {
    case int, number, string, bool, null
    case object([String: Shape])
    case array(Shape)

    /// What of `value` is not as it should be; names that are not in the table count, too.
    func problems(_ value: JSON, at path: String = "") -> [String] {
        switch (self, value) {
        case (.object(let fields), .object(let members)):
            let extra = Set(members.keys).subtracting(fields.keys).sorted().map { "\(path).\($0) is not SRS's" }
            return extra
                + fields.sorted { $0.key < $1.key }.flatMap { name, shape in
                    members[name].map { shape.problems($0, at: "\(path).\(name)") } ?? ["\(path).\(name) is missing"]
                }
        case (.array(let shape), .array(let items)):
            return items.enumerated().flatMap { shape.problems($0.element, at: "\(path)[\($0.offset)]") }
        case (.int, .number(let number)):
            return number == number.rounded() ? [] : ["\(path) is no whole number"]
        case (.number, .number), (.string, .string), (.bool, .bool), (.null, .null): return []
        default: return ["\(path) is \(value), not \(self)"]
        }
    }

    /// An object whose fields are all of one type.
    static func all(_ names: String, _ shape: Shape) -> Shape {
        .object(Dictionary(uniqueKeysWithValues: names.split(separator: " ").map { (String($0), shape) }))
    }

    func with(_ more: [String: Shape]) -> Shape {
        guard case .object(let fields) = self else { return self }
        return .object(fields.merging(more) { $1 })
    }

    func with(_ more: Shape) -> Shape {
        guard case .object(let fields) = more else { return self }
        return self.with(fields)
    }
}
