import ArgumentParser
import CoordinatorService
import Foundation
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
        let live = LiveSettings(settings, source: self.options.source(role: Self.role))
        let server = CoordinatorServer(configuration: settings.coordinatorConfiguration, logger: logger)
        try await NodeProgram.run(server, settings: live, logger: logger)
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
        configuration.version = WeirVersion.current
        configuration.adminToken = self.coordinator.adminToken.isEmpty ? nil : self.coordinator.adminToken.value
        configuration.announceAdminToken = Self.announce
        configuration.hostNames = self.coordinator.hosts
        let desired = self.coordinator.desired
        configuration.desired = DesiredEdges(
            viewersPerEdge: desired.viewersPerEdge, egressBitsPerEdge: UInt64(max(0, desired.egressPerEdge)),
            minimumEdges: desired.minimumEdges, targetLoad: Double(desired.targetLoadPercent) / 100)
        configuration.tls = self.coordinator.tls.listen.first.map {
            CoordinatorConfiguration.TLSListener(
                host: $0.host, port: $0.port, certificate: self.coordinator.tls.certificate,
                key: self.coordinator.tls.key)
        }
        configuration.checkSetting = { key, value in
            var settings = StreamSettings()
            do throws(ConfigurationProblem) {
                try settings.set(key, to: value)
                return nil
            } catch {
                return "\(error)"
            }
        }
        return configuration
    }

    /// To the terminal and to no log file's format: the token is a secret, and is never told again.
    private static func announce(_ token: String) {
        let text = """
            The coordinator made a token with the role admin, for its console and API. It is told this once:

                \(token)


            """
        FileHandle.standardError.write(Data(text.utf8))
    }
}
