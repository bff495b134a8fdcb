package import ArgumentParser
import Foundation

/// The version of the three programs.
package enum WeirVersion {
    package static let current = "0.1.0"
}

/// One of the three programs: flags and settings here, the rest in `serve`.
///
/// ```swift
/// @main
/// struct Origin: NodeCommand {
///     static let role = NodeSettings.Role.origin
///     static let configuration = Self.makeConfiguration()
///     @OptionGroup var options: CommandLineOptions
///     func serve(_ settings: NodeSettings) async throws { … }
/// }
/// ```
package protocol NodeCommand: AsyncParsableCommand {
    static var role: NodeSettings.Role { get }
    var options: CommandLineOptions { get }
    /// Runs until the node has shut down.
    func serve(_ settings: NodeSettings) async throws
}

extension NodeCommand {
    /// Exit status for a configuration that is wrong, `EX_CONFIG` of sysexits.h.
    private static var configurationExitCode: ExitCode { ExitCode(78) }

    package mutating func run() async throws {
        let settings: NodeSettings?
        do {
            settings = try self.options.load(role: Self.role)
        } catch let error as ConfigurationError {
            let count = error.problems.count
            let summary =
                "\(Self.role.rawValue): \(count == 1 ? "1 mistake" : "\(count) mistakes") in the configuration"
            FileHandle.standardError.write(Data("\(error)\n\(summary)\n".utf8))
            throw Self.configurationExitCode
        }
        guard let settings else { return }
        try await self.serve(settings)
    }

    /// Name, help and version of the program.
    package static func makeConfiguration() -> CommandConfiguration {
        CommandConfiguration(
            commandName: self.role.rawValue, abstract: CommandHelp.abstract(of: self.role),
            discussion: CommandHelp.discussion(of: self.role),
            version: "weir \(self.role.rawValue) \(WeirVersion.current)")
    }
}

/// The texts of `--help`, with addresses taken from the defaults.
enum CommandHelp {
    static func abstract(of role: NodeSettings.Role) -> String {
        switch role {
        case .origin: "Takes live streams in and serves them: alone, or as an origin of a cluster."
        case .edge: "Serves viewers of streams that it pulls from other nodes, and forwards publishers to them."
        case .coordinator: "Keeps the list of nodes and streams of a cluster, and its REST API."
        }
    }

    static func discussion(of role: NodeSettings.Role) -> String {
        """
        \(self.examples(of: role))

        \(self.ports(of: role))

        SETTINGS (later sources win)
          built-in defaults, the file of --config, environment variables such as
          \(SettingSchema.environmentName(of: self.exampleKey(of: role))), and --set.
          --print-config shows those in force, docs/configuration.md describes
          all of them, and cluster-configs/ has files to start from.

        SIGTERM and SIGINT stop the program in order, within shutdown.drain_deadline.
        Exit status: 0 after a stop, 64 for wrong flags, 78 for a wrong configuration.
        """
    }

    private static func examples(of role: NodeSettings.Role) -> String {
        switch role {
        case .origin:
            """
            EXAMPLES
              origin                     a complete single server, without any file
              origin --config cluster-configs/origin.yaml
              origin --set rtmp.listen=:1936 --set stream.latency=realtime
              Publish: ffmpeg -re -i movie.mp4 -c copy -f flv rtmp://localhost/live/demo
                       ffmpeg -re -i movie.mp4 -c copy -f mpegts \\
                         'srt://localhost:10080?streamid=#!::r=live/demo,m=publish'
              Play:    ffplay rtmp://localhost/live/demo
                       ffplay http://localhost:8080/live/demo.m3u8
            """
        case .edge:
            """
            EXAMPLES
              edge --config cluster-configs/edge.yaml
              edge --set cluster.origins=origin-1:1935     without a coordinator
              edge --set cluster.coordinator=http://127.0.0.1:7000 \\
                   --set rtmp.listen=:1936 --set http.listen=:8081 \\
                   --set api.listen=127.0.0.1:1986         beside an origin
            """
        case .coordinator:
            """
            EXAMPLES
              coordinator                on loopback, for the nodes of this machine
              coordinator --config cluster-configs/coordinator.yaml
              coordinator --set coordinator.listen=:7000 --set cluster.secret=SECRET
            """
        }
    }

    private static func ports(of role: NodeSettings.Role) -> String {
        let settings = NodeSettings(role: role)
        switch role {
        case .origin, .edge:
            let rows = [
                ("rtmp.listen", settings.rtmp.listen, "RTMP, to publish and to play"),
                ("http.listen", settings.http.listen, "HLS, DASH, FLV, TS, WHIP, WHEP, pages"),
                ("rtc.listen", settings.rtc.listen, "WebRTC's media, UDP and TCP"),
                ("srt.listen", settings.srt.listen, "SRT, UDP"),
                ("rtsp.listen", settings.rtsp.listen, "RTSP"),
                ("api.listen", [settings.api.listen], "administration"),
            ]
            let lines = rows.map { key, addresses, purpose in
                let places = addresses.map(\.description).joined(separator: ", ")
                return "  " + self.padded(key, to: 12) + self.padded(places, to: 25) + purpose
            }
            return (["PORTS (TCP where nothing else is said)"] + lines).joined(separator: "\n")
        case .coordinator:
            return """
                PORTS (all TCP)
                  coordinator.listen  \(settings.coordinator.listen)    REST API under /api/v1
                """
        }
    }

    private static func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    private static func exampleKey(of role: NodeSettings.Role) -> String {
        role == .coordinator ? "coordinator.listen" : "rtmp.listen"
    }
}
