import CoordinatorStore
import Hummingbird
package import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

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
    /// port throws.
    package func run() async throws {
        defer { self.listens(on: nil) }
        try self.configuration.validate()
        let store = try await CoordinatorStore.open(path: self.configuration.databasePath)
        defer { store.close() }
        let core = try await CoordinatorCore(configuration: self.configuration, store: store, logger: self.logger)
        let application = Application(
            router: CoordinatorRoutes(core: core, configuration: self.configuration).router(),
            configuration: ApplicationConfiguration(
                address: .hostname(self.configuration.host, port: self.configuration.port), serverName: "weir"),
            onServerRunning: { channel in self.listens(on: channel.localAddress?.port) }, logger: self.logger)
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await core.runCommits() }
                group.addTask {
                    while !Task.isCancelled {
                        await core.tick()
                        try? await Task.sleep(for: .milliseconds(100))
                    }
                }
                defer { group.cancelAll() }
                try await application.run()
            }
        } onGracefulShutdown: {
            core.watchers.closeAll()
        }
        core.watchers.closeAll()
        await core.finish()
        self.logger.info("the coordinator stopped")
    }
}
