import APIServer
import CoordinatorStore
import Hummingbird
package import Logging
import NIOCore
import NIOPosix
import ProcessStats
import ServiceLifecycle
import Synchronization
import TLSContexts

/// The coordinator: opens the database, keeps the placement table, and serves the API until it is shut down.
package final class CoordinatorServer: Sendable, Service {
    private enum Listening {
        case starting([CheckedContinuation<Int?, Never>])
        case on(port: Int)
        case over
    }

    private let configuration: CoordinatorConfiguration
    private let logger: Logger
    private let listening = Mutex(Listening.starting([]))

    /// The configuration must be valid.
    package init(configuration: CoordinatorConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    /// The port that it listens on, once it does; `nil` when it could not start, or is over.
    package func boundPort() async -> Int? {
        await withCheckedContinuation { continuation in
            let known: Int?? = self.listening.withLock { listening in
                switch listening {
                case .starting(let waiters):
                    listening = .starting(waiters + [continuation])
                    return .none
                case .on(let port): return .some(port)
                case .over: return .some(nil)
                }
            }
            if let known { continuation.resume(returning: known) }
        }
    }

    private func listens(on port: Int?) {
        let waiters = self.listening.withLock { listening in
            defer { listening = port.map { .on(port: $0) } ?? .over }
            if case .starting(let waiters) = listening { return waiters }
            return []
        }
        for waiter in waiters { waiter.resume(returning: port) }
    }

    /// Runs until cancelled or shut down gracefully: then it stops accepting, ends its watchers, stores what is left, and
    /// closes the database. Throws `CoordinatorConfigurationError`, `CoordinatorStoreError`, and what binding the
    /// port or reading the certificate throws.
    package func run() async throws {
        defer { self.listens(on: nil) }
        try self.configuration.validate()
        let store = try await CoordinatorStore.open(path: self.configuration.databasePath)
        defer { store.close() }
        let core = try await CoordinatorCore(configuration: self.configuration, store: store, logger: self.logger)
        try await core.prepareTokens()
        try await withGracefulShutdownHandler {
            try await self.serve(core)
        } onGracefulShutdown: {
            core.endStreams()
        }
        core.endStreams()
        await core.finish()
        self.logger.info("the coordinator stopped")
    }

    private func serve(_ core: CoordinatorCore) async throws {
        let tls = try self.configuration.tls.map { listener in
            try TLSContextStore(
                TLSFiles(certificate: listener.certificate, key: listener.key),
                applicationProtocols: ["h2", "http/1.1"])
        }
        let server = self.server(core, tls: tls)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask { await core.runCommits() }
            group.addTask { await core.pacer.run() }
            group.addTask { await core.sampler.run() }
            group.addTask { await Self.every(.milliseconds(100)) { await core.tick() } }
            group.addTask { await Self.every(.seconds(1)) { await core.pulse() } }
            if let tls {
                let logger = self.logger
                group.addTask { await tls.watch(logger: logger) }
            }
            try await withThrowingTaskGroup(of: Void.self) { listeners in
                defer { listeners.cancelAll() }
                let plain = server.listener(host: self.configuration.host, port: self.configuration.port) { port in
                    self.listens(on: port)
                }
                listeners.addTask { try await plain.run() }
                if let listener = self.configuration.tls {
                    let secure = server.listener(host: listener.host, port: listener.port, isTLS: true)
                    listeners.addTask { try await secure.run() }
                }
                try await listeners.waitForAll()
            }
        }
    }

    private func server(_ core: CoordinatorCore, tls: TLSContextStore?) -> APIServer {
        let table = RouteTable(CoordinatorRoutes(core: core).all())
        let router = APIServer.makeRouter()
        table.add(to: router, core: core)
        ConsoleFiles.add(to: router)
        var configuration = APIServerConfiguration(
            name: "coordinator", anonymous: core.callers.anonymous.map(APIPrincipal.init)
        ) { credentials in
            guard case .bearer(let token) = credentials else { return nil }
            return core.callers.caller(token: token, nowMillis: CoordinatorCore.wallMillis()).map(APIPrincipal.init)
        } requirement: { method, path in
            switch table.access(method, path: path) {
            case .none: .open
            case .viewer: .role(.viewer)
            case .operator: .role(.operator)
            case .admin: .role(.admin)
            case .node: .role(.node)
            }
        }
        configuration.limits = self.configuration.apiLimits
        configuration.isTrustedProxy = self.configuration.isTrustedProxy
        configuration.hosts = self.configuration.hostNames
        return APIServer(
            configuration: configuration, router: router, tls: tls, group: MultiThreadedEventLoopGroup.singleton,
            logger: self.quietLogger)
    }

    /// Nodes report every second: a line for each of their requests would bury the rest. What operators do is logged with
    /// its event.
    private var quietLogger: Logger {
        var logger = self.logger
        if logger.logLevel == .info || logger.logLevel == .notice { logger.logLevel = .warning }
        return logger
    }

    private static func every(_ pause: Duration, _ body: @Sendable () async -> Void) async {
        while !Task.isCancelled {
            await body()
            try? await Task.sleep(for: pause)
        }
    }
}

extension APIPrincipal {
    fileprivate init(_ caller: Caller) {
        let role: APIRole =
            switch caller.role {
            case .viewer: .viewer
            case .operator: .operator
            case .admin: .admin
            case .node: .node
            }
        self.init(role: role, name: caller.name)
    }
}
