import Glibc
package import Logging
import NIOCore
package import NodeConfiguration
package import ServiceLifecycle
import UnixSignals

/// Runs a program's services until SIGTERM or SIGINT.
package enum NodeProgram {
    /// The logger of a program, made by its settings. Call once.
    package static func bootstrapLogging(_ settings: NodeSettings) -> Logger {
        let level = Logger.Level(rawValue: settings.log.level.rawValue) ?? .info
        let isJSON = settings.log.format == .json
        LoggingSystem.bootstrap { label in
            var handler = LineLogHandler(label: label, isJSON: isJSON)
            handler.logLevel = level
            return handler
        }
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

    /// Runs `service` and stops it in order when a signal comes.
    package static func run(_ service: any Service, settings: NodeSettings, logger: Logger) async throws {
        self.raiseOpenFileLimit(logger)
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: service, successTerminationBehavior: .gracefullyShutdownGroup)],
            gracefulShutdownSignals: [.sigterm, .sigint], logger: logger.quiet)
        configuration.maximumGracefulShutdownDuration =
            .nanoseconds(settings.shutdown.drainDeadline.nanoseconds) + .seconds(5)
        try await ServiceGroup(configuration: configuration).run()
    }
}
