package import ArgumentParser
import Foundation

/// The flags that the three programs share.
package struct CommandLineOptions: ParsableArguments {
    @Option(
        name: .customLong("config"),
        help: ArgumentHelp("Read settings from this YAML file. Default: $WEIR_CONFIG, else no file.", valueName: "file")
    )
    package var configurationPath: String?

    @Option(
        name: .customLong("set"),
        help: ArgumentHelp(
            "Set one key, over file and environment; may be repeated. Lists are separated by commas.",
            valueName: "key=value"))
    package var assignments: [String] = []

    @Flag(name: .customLong("check-config"), help: "Check the settings, report every mistake, and exit.")
    package var checksConfiguration = false

    @Flag(name: .customLong("print-config"), help: "Print the settings in force as YAML, without secrets, and exit.")
    package var printsConfiguration = false

    @Flag(name: .customLong("print-config-reference"), help: .hidden)
    package var printsReference = false

    package init() {}

    /// Loads the settings of `role` from all sources, and does what `--check-config` and `--print-config` ask for.
    ///
    /// - Returns: the settings to run with, or nil if the flags asked for output only, which has been written.
    /// - Throws: `ConfigurationError` with everything that is wrong.
    package func load(role: NodeSettings.Role) throws -> NodeSettings? {
        if self.printsReference {
            print(ConfigurationReference.markdown(), terminator: "")
            return nil
        }
        let environment = ProcessInfo.processInfo.environment
        let variable = environment["WEIR_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        let path = self.configurationPath ?? variable
        let settings = try ConfigurationLoader.load(
            role: role, file: try path.map(Self.read), environment: environment, assignments: self.assignments,
            hostName: ProcessInfo.processInfo.hostName, coreCount: max(1, ProcessInfo.processInfo.activeProcessorCount),
            isReadable: { FileManager.default.isReadableFile(atPath: $0) })
        if self.printsConfiguration {
            print(ConfigurationPrinter.yaml(settings), terminator: "")
        } else if self.checksConfiguration {
            print("\(role.rawValue): the configuration\(path.map { " in \($0)" } ?? "") is valid")
        }
        return self.printsConfiguration || self.checksConfiguration ? nil : settings
    }

    private static func read(_ path: String) throws(ConfigurationError) -> ConfigurationLoader.File {
        let reason: String
        do {
            return ConfigurationLoader.File(path: path, text: try String(contentsOfFile: path, encoding: .utf8))
        } catch let error as CocoaError {
            reason =
                switch error.code {
                case .fileReadNoSuchFile, .fileNoSuchFile: "there is no such file"
                case .fileReadNoPermission: "permission denied"
                case .fileReadInapplicableStringEncoding: "the text is not UTF-8"
                default: error.localizedDescription
                }
        } catch {
            reason = error.localizedDescription
        }
        throw ConfigurationError(problems: [
            ConfigurationProblem(key: "", location: .wholeFile(path: path), reason: .unreadable(reason))
        ])
    }
}
