package import ArgumentParser
import Foundation
import Media
import NIOCore
import SRSConfig

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

    @Option(
        name: .customLong("import-srs"),
        help: ArgumentHelp(
            "Print the YAML that equals this srs.conf, tell what has no equal on standard error, and exit with 1 if there is such, else 0; 2 if the file cannot be read.",
            valueName: "file"))
    package var importedPath: String?

    @Option(
        name: .customLong("sign-path"),
        help: ArgumentHelp(
            "Print a signed path and query for /APP/STREAM, or /APP/ for all streams of an app, and exit.",
            valueName: "path"))
    package var signedPath: String?

    @Option(
        name: .customLong("expires"),
        help: ArgumentHelp("How long a signature is good, such as 24h or 30min.", valueName: "duration"))
    package var signatureLifetime = "24h"

    @Option(
        name: .customLong("vhost"),
        help: ArgumentHelp("The vhost to sign for. Default: the default vhost.", valueName: "name"))
    package var signedVhost: String?

    @Option(
        name: .customLong("secret"),
        help: ArgumentHelp(
            "The secret to sign with, which other users of the machine can see. Default: stream.play.url_secret.",
            valueName: "secret"))
    package var signingSecret: String?

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
        if let path = self.importedPath { throw try self.importSRS(path, role: role) }
        if let path = self.signedPath {
            print(try self.sign(path, role: role), terminator: "")
            return nil
        }
        let source = self.source(role: role)
        let settings = try source.load()
        let path = source.path
        if self.printsConfiguration {
            print(ConfigurationPrinter.yaml(settings), terminator: "")
        } else if self.checksConfiguration {
            print("\(role.rawValue): the configuration\(path.map { " in \($0)" } ?? "") is valid")
        }
        return self.printsConfiguration || self.checksConfiguration ? nil : settings
    }

    /// Where these flags read settings from, for reading them again.
    package func source(role: NodeSettings.Role) -> ConfigurationSource {
        let environment = ProcessInfo.processInfo.environment
        let variable = environment["WEIR_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        return ConfigurationSource(
            role: role, path: self.configurationPath ?? variable, environment: environment,
            assignments: self.assignments)
    }
}

// MARK: - Commands

extension CommandLineOptions {
    /// Prints the YAML of an srs.conf; the returned error is the exit status.
    private func importSRS(_ path: String, role: NodeSettings.Role) throws -> ExitCode {
        guard role != .coordinator else {
            throw ValidationError("--import-srs makes settings of an origin or of an edge")
        }
        let statements: [SRSDirective]
        do {
            statements = try SRSConfigParser.parse(try ConfigurationSource.read(path).text.utf8)
        } catch {
            Self.writeError(error is SRSConfigError ? "\(path):\(error)" : "\(error)")
            return ExitCode(2)
        }
        let result = SRSImport(statements, path: path, role: role)
        print(result.yaml, terminator: "")
        for note in result.notes { Self.writeError(note.description) }
        return result.isComplete ? ExitCode.success : ExitCode(1)
    }

    private static func writeError(_ line: String) {
        FileHandle.standardError.write(Data("\(line)\n".utf8))
    }

    /// The lines that `--sign-path` prints.
    private func sign(_ path: String, role: NodeSettings.Role) throws -> String {
        let lifetime: TimeAmount
        do throws(ValueProblem) {
            lifetime = try DurationText.parse(self.signatureLifetime)
        } catch {
            throw ValidationError("--expires needs a duration, such as 24h or 30min")
        }
        let vhost = self.signedVhost ?? StreamKey.defaultVhost
        var secret = self.signingSecret
        if secret == nil {
            let settings = try self.source(role: role).load()
            let app = path.split(separator: "/").first.map(String.init) ?? ""
            secret = settings.streamSettings(vhost: vhost, app: app).play.urlSecret.value
        }
        let now = Int64(Date().timeIntervalSince1970)
        do throws(SignedAddress.Problem) {
            let address = try SignedAddress(
                path: path, vhost: vhost, expires: now + lifetime.nanoseconds / 1_000_000_000, secret: secret ?? "")
            return address.description
        } catch {
            throw ValidationError(error.description)
        }
    }
}
