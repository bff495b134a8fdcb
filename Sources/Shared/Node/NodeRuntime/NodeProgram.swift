import Glibc
package import Logging
import NIOCore
package import NodeConfiguration
package import ServiceLifecycle
import Synchronization
import UnixSignals

/// Runs a program's services until SIGTERM or SIGINT; SIGHUP reads the configuration again.
package enum NodeProgram {
    /// The level of lines that are written, which a reload may change.
    private static let level = LogLevel()

    /// The logger of a program, made by its settings. Call once.
    package static func bootstrapLogging(_ settings: NodeSettings) -> Logger {
        self.level.value = Logger.Level(rawValue: settings.log.level.rawValue) ?? .info
        let isJSON = settings.log.format == .json
        LoggingSystem.bootstrap { label in LineLogHandler(label: label, isJSON: isJSON, level: self.level) }
        return Logger(label: settings.role.rawValue)
    }

    /// Each connection is an open file, and many systems start programs with room for 1,024.
    private static func raiseOpenFileLimit(_ logger: Logger) {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0,
            limit.rlim_cur < limit.rlim_max
        else { return }
        limit.rlim_cur = limit.rlim_max
        if unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 {
            logger.warning("cannot raise the limit of open files", metadata: ["errno": "\(errno)"])
        }
    }

    /// Runs `service` and stops it in order when a signal comes. SIGHUP reloads `settings`.
    package static func run(_ service: any Service, settings: LiveSettings, logger: Logger) async throws {
        self.raiseOpenFileLimit(logger)
        settings.onChange { self.level.value = Logger.Level(rawValue: $0.log.level.rawValue) ?? .info }
        let shutdown = settings.current.shutdown
        // Services are stopped in the opposite order: the reload comes last, because SIGHUP would end the process.
        var configuration = ServiceGroupConfiguration(
            services: [
                .init(service: HangupService(settings: settings, logger: logger)),
                .init(service: service, successTerminationBehavior: .gracefullyShutdownGroup),
            ],
            gracefulShutdownSignals: [.sigterm, .sigint], logger: logger.quiet)
        let patience = shutdown.drainDeadline + max(shutdown.viewerWait, shutdown.publisherWait)
        configuration.maximumGracefulShutdownDuration = .nanoseconds(patience.nanoseconds) + .seconds(5)
        try await ServiceGroup(configuration: configuration).run()
    }
}

/// Reloads the configuration at each SIGHUP.
private struct HangupService: Service {
    let settings: LiveSettings
    let logger: Logger

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        for await _ in signals.cancelOnGracefulShutdown() {
            (await self.settings.reload()).log(self.logger)
        }
    }
}

extension ReloadReport {
    /// Tells an operator what a reload did. Secrets are not in it.
    package func log(_ logger: Logger) {
        guard self.isApplied else {
            for problem in self.problems { logger.error("configuration not reloaded: \(problem)") }
            return
        }
        logger.notice("configuration reloaded", metadata: ["reload": "\(self.id)", "changes": "\(self.changes.count)"])
        for change in self.changes {
            logger.notice(
                "setting changed\(change.effect == .restart ? "; it needs a restart" : "")",
                metadata: [
                    "key": "\(change.key)", "old": "\(change.old)", "new": "\(change.new)",
                    "effect": "\(change.effect.rawValue)",
                ])
        }
    }
}

/// A level that all log handlers of a program share. Any thread may call.
final class LogLevel: Sendable {
    private let state = Mutex(Logger.Level.info)

    var value: Logger.Level {
        get { self.state.withLock { $0 } }
        set { self.state.withLock { $0 = newValue } }
    }
}
