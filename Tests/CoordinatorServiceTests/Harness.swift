import APIServer
import AsyncHTTPClient
import ClusterLink
import Foundation
import Logging
import Media
import NIOCore
import NIOHTTP1
import Placement
import Synchronization

@testable import CoordinatorService

/// Nothing but errors: tests show their own failures.
func quietLogger() -> Logger {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}

/// A coordinator in this process that can be stopped and started again on the same port.
final class TestCoordinator: Sendable {
    struct NotListening: Error {}

    /// The token of the role admin.
    static let adminToken = "the-admin-of-the-tests"

    let folder: String
    let secret: String?
    private let change: @Sendable (inout CoordinatorConfiguration) -> Void
    private let running = Mutex<(task: Task<Void, any Error>, port: Int)?>(nil)

    /// `change` sets what a test needs otherwise.
    init(
        secret: String? = nil, change: @escaping @Sendable (inout CoordinatorConfiguration) -> Void = { _ in }
    ) throws {
        self.secret = secret
        self.change = change
        self.folder = NSTemporaryDirectory() + "weir-coordinator-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.folder) }

    var port: Int { self.running.withLock { $0?.port ?? 0 } }
    var url: String { "http://127.0.0.1:\(self.port)" }

    /// `recoveryMillis` is short unless the test is about it.
    func start(
        port: Int = 0, recoveryMillis: Int64 = 0, database: String = "db.sqlite", servesEvents: Bool = true
    ) async throws {
        // Below the ports that the kernel hands out, so that nobody takes this one while the coordinator is away. The
        // kernel may need a moment to give a port back.
        for attempt in 1... {
            do {
                return try await self.start(
                    at: port == 0 ? .random(in: 20_000..<32_000) : port, recoveryMillis: recoveryMillis,
                    database: database, servesEvents: servesEvents)
            } catch let error as IOError where attempt < 20 && error.errnoCode == EADDRINUSE {
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    private func start(at port: Int, recoveryMillis: Int64, database: String, servesEvents: Bool) async throws {
        var configuration = CoordinatorConfiguration(
            host: "127.0.0.1", port: port, databasePath: self.folder + "/" + database, secret: self.secret,
            recoveryMillis: recoveryMillis, watchHistory: 64, servesEvents: servesEvents, maximumBodyBytes: 64 << 10)
        configuration.adminToken = Self.adminToken
        configuration.apiLimits.failedSignIns = 1_000
        self.change(&configuration)
        let server = CoordinatorServer(configuration: configuration, logger: quietLogger())
        let task = Task { try await server.run() }
        guard let bound = await server.boundPort() else {
            try await task.value
            throw NotListening()
        }
        self.running.withLock { $0 = (task, bound) }
    }

    /// Stops it. Returns its port.
    @discardableResult
    func stop() async -> Int {
        guard let running = self.running.withLock({ $0 }) else { return 0 }
        running.task.cancel()
        _ = await running.task.result
        return running.port
    }
}

/// A node with a real link, and what the link told it.
final class TestNode: Sendable {
    struct Record {
        var status = NodeStatus()
        var changes: [PlacementChange] = []
        var superseded: [UInt64] = []
        var drains: [Bool] = []
    }

    let link: ClusterLink
    let description: NodeDescription
    private let record = Mutex(Record())
    private let task = Mutex<Task<Void, any Error>?>(nil)

    init(
        _ name: String, role: NodeRole = .origin, coordinator: TestCoordinator, instance: String = UUID().uuidString
    ) throws {
        self.description = NodeDescription(
            id: try NodeID(name), instance: instance, role: role, host: "127.0.0.1", rtmpPort: 1935, httpPort: 8080)
        self.link = ClusterLink(
            configuration: ClusterLinkConfiguration(
                coordinators: [coordinator.url], secret: coordinator.secret, node: self.description,
                heartbeatMillis: 200, requestDeadlineMillis: 5_000, maximumBackoffMillis: 200),
            logger: quietLogger())
    }

    func start() {
        self.link.attach(
            ClusterLinkHandlers(
                status: { [self] in self.record.withLock { $0.status } },
                onChange: { [self] change in self.record.withLock { $0.changes.append(change) } },
                onSuperseded: { [self] _, epoch in self.record.withLock { $0.superseded.append(epoch) } },
                onDrain: { [self] isDraining in self.record.withLock { $0.drains.append(isDraining) } }))
        let link = self.link
        self.task.withLock { $0 = Task { try await link.run() } }
    }

    func startConnected(watch: ClusterLinkState.Watch = .events) async throws {
        self.start()
        try await eventually("\(self.description.id) connects") {
            self.link.state.isConnected && self.link.state.watch == watch
        }
    }

    /// Stops as if the process were killed: without leave.
    func kill() async {
        let task = self.task.withLock { $0 }
        task?.cancel()
        _ = await task?.result
    }

    /// What the node holds from now on.
    func holds(_ reports: StreamReport...) { self.record.withLock { $0.status.streams = reports } }
    var changes: [PlacementChange] { self.record.withLock { $0.changes } }
    var superseded: [UInt64] { self.record.withLock { $0.superseded } }
    var drains: [Bool] { self.record.withLock { $0.drains } }
}

struct NotInTime: Error, CustomStringConvertible {
    var what: String
    var description: String { "not in time: \(self.what)" }
}

/// Waits until `condition` holds, for 10 s at most.
func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw NotInTime(what: what)
}

/// The header that lets an admin in.
let asAdmin = [("Authorization", "Bearer \(TestCoordinator.adminToken)")]

/// One HTTP request of the API.
func call(
    _ url: String, method: HTTPMethod = .GET, body: String? = nil, headers: [(String, String)] = []
) async throws -> (status: Int, type: String, body: String) {
    let response = try await answer(url, method: method, body: body, headers: headers)
    return (Int(response.status.code), response.headers.first(name: "Content-Type") ?? "", response.text)
}

/// An answer with its headers.
struct Answer {
    var status: HTTPResponseStatus
    var headers: HTTPHeaders
    var bytes: ByteBuffer

    var text: String { String(buffer: self.bytes) }

    func decoded<Value: Decodable>(as type: Value.Type) throws -> Value {
        try JSONDecoder().decode(type, from: Data(self.bytes.readableBytesView))
    }

    /// The name of the problem that it tells.
    var problem: String? {
        (try? self.decoded(as: ProblemDetails.self)).map {
            String($0.type.dropFirst(ProblemDetails.typePrefix.count))
        }
    }
}

/// One HTTP request of the API, with all that is answered.
func answer(
    _ url: String, method: HTTPMethod = .GET, body: String? = nil, headers: [(String, String)] = []
) async throws -> Answer {
    var request = HTTPClientRequest(url: url)
    request.method = method
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    if let body { request.body = .bytes(ByteBuffer(string: body)) }
    let response = try await HTTPClient.shared.execute(request, deadline: .now() + .seconds(20))
    return Answer(
        status: response.status, headers: response.headers, bytes: try await response.body.collect(upTo: 16 << 20))
}
