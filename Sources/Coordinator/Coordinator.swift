import ArgumentParser
import CoordinatorService
import NIOCore
import NodeConfiguration
import NodeRuntime

/// Keeps the placement of streams.
@main
struct Coordinator: NodeCommand {
    static let role = NodeSettings.Role.coordinator
    static let configuration = Self.makeConfiguration()

    @OptionGroup var options: CommandLineOptions

    func serve(_ settings: NodeSettings) async throws {
        let logger = NodeProgram.bootstrapLogging(settings)
        let server = CoordinatorServer(configuration: settings.coordinatorConfiguration, logger: logger)
        try await NodeProgram.run(server, settings: settings, logger: logger)
    }
}

extension NodeSettings {
    /// What the coordinator's server needs of the settings.
    var coordinatorConfiguration: CoordinatorConfiguration {
        var configuration = CoordinatorConfiguration()
        configuration.host = self.coordinator.listen.host
        configuration.port = self.coordinator.listen.port
        configuration.databasePath = self.coordinator.database
        configuration.secret = self.cluster.secret.isEmpty ? nil : self.cluster.secret.value
        configuration.heartbeatMillis = self.cluster.heartbeat.nanoseconds / 1_000_000
        configuration.leaseMillis = self.coordinator.lease.nanoseconds / 1_000_000
        configuration.suspectAfterMillis = self.coordinator.suspectAfter.nanoseconds / 1_000_000
        configuration.deadAfterMillis = self.coordinator.deadAfter.nanoseconds / 1_000_000
        configuration.eventRetentionMillis = self.coordinator.eventRetention.nanoseconds / 1_000_000
        configuration.maximumWatchers = self.coordinator.maximumWatchers
        return configuration
    }
}
