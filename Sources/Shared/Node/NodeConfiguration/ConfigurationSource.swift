import Foundation

/// The file, environment and flags of a program, which can be read again while it runs.
package struct ConfigurationSource: Sendable {
    package var role: NodeSettings.Role
    /// The YAML file, if there is one.
    package var path: String?
    package var environment: [String: String]
    /// The arguments of `--set`.
    package var assignments: [String]

    package init(
        role: NodeSettings.Role, path: String? = nil, environment: [String: String] = [:], assignments: [String] = []
    ) {
        self.role = role
        self.path = path
        self.environment = environment
        self.assignments = assignments
    }

    /// Reads and checks everything. Blocks for the time of a disk read.
    package func load() throws(ConfigurationError) -> NodeSettings {
        var file: ConfigurationLoader.File?
        if let path = self.path { file = try Self.read(path) }
        return try ConfigurationLoader.load(
            role: self.role, file: file, environment: self.environment, assignments: self.assignments,
            hostName: ProcessInfo.processInfo.hostName, coreCount: max(1, ProcessInfo.processInfo.activeProcessorCount),
            isReadable: { FileManager.default.isReadableFile(atPath: $0) })
    }

    /// Reads a file in UTF-8; the problem says why it cannot be read.
    static func read(_ path: String) throws(ConfigurationError) -> ConfigurationLoader.File {
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
