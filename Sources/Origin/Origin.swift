import ArgumentParser
import NodeConfiguration
import NodeRuntime

/// Takes publishers in and serves viewers.
@main
struct Origin: NodeCommand {
    static let role = NodeSettings.Role.origin
    static let configuration = Self.makeConfiguration()

    @OptionGroup var options: CommandLineOptions

    func serve(_ settings: NodeSettings) async throws {
        let logger = NodeProgram.bootstrapLogging(settings)
        let live = LiveSettings(settings, source: self.options.source(role: Self.role))
        try await NodeProgram.run(NodeService(settings: live, logger: logger), settings: live, logger: logger)
    }
}
