import Foundation

/// A device of GB/T 28181 that runs beside a node.
final class SimulatedDevice: Sendable {
    static let server = "34020000002000000001"

    struct Settings: Encodable, Sendable {
        var id = "34020000001110000001"
        var server = SimulatedDevice.server
        var host = "127.0.0.1"
        var port: Int
        /// `udp` or `tcp`.
        var sip = "udp"
        var password = "secret"
        /// Another password than the right one.
        var wrong: String?
        var channels = [["34020000001320000001", "大门"]]
        /// A transport stream.
        var media: String
        var codec = "h264"
        /// Raw A-law instead of the audio of the transport stream.
        var alaw: String?
        /// The stream type of the audio in the program stream's map, if it is neither AAC nor A-law.
        var audioType: Int?
        /// The program stream has a map.
        var map = true
        /// Every so many frames are damaged.
        var broken = 0
        /// Datagrams overtake each other.
        var swap = false
        /// The program stream is written there, too.
        var dump: String?
        var loop = true
        var commands = ""
    }

    let child: Child
    private let output: URL
    private let commands: URL

    init(_ sandbox: Sandbox, _ settings: Settings, name: String = "device") throws {
        var settings = settings
        self.commands = sandbox.file("\(name).commands")
        settings.commands = self.commands.path
        let file = try sandbox.write(
            "\(name).json", String(decoding: JSONEncoder().encode(settings), as: UTF8.self))
        self.output = sandbox.file("\(name).events")
        self.child = try sandbox.python(
            name, DeviceDriver.media + DeviceDriver.signalling, [file.path], output: self.output)
    }

    /// What it told so far.
    var events: [JSON] {
        let text = (try? String(contentsOf: self.output, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { try? JSON(String($0)) }
    }

    func events(_ name: String) -> [JSON] { self.events.filter { $0["event"].string == name } }

    /// Waits for the event of that number, from 0.
    @discardableResult
    func event(_ name: String, number: Int = 0, within limit: Duration = .seconds(10)) async throws -> JSON {
        try await until("the device tells \(name) (\(number))", within: limit, every: .milliseconds(50)) {
            if let ending = self.child.ending { throw Failure("the device \(ending)") }
            let found = self.events(name)
            return found.indices.contains(number) ? found[number] : nil
        }
    }

    /// Lets it do something: `register`, `unregister`, `keepalive`, `alarm`, `rebind [ADDRESS]`, `cut`, `hangup`,
    /// `quit`.
    func command(_ line: String) throws {
        let old = (try? String(contentsOf: self.commands, encoding: .utf8)) ?? ""
        try Data((old + line + "\n").utf8).write(to: self.commands, options: .atomic)
    }
}

extension ClusterNode {
    /// An origin that takes devices, with its SIP port; alone, or one of a cluster.
    static func forDevices(
        _ sandbox: Sandbox, _ settings: [String: String] = [:], in cluster: Cluster? = nil
    ) async throws -> (node: ClusterNode, sip: Int) {
        let ports = try Sandbox.freePorts(2)
        let own = [
            "gb28181.enabled": "true", "gb28181.listen": "0.0.0.0:\(ports[0])",
            "gb28181.media_listen": "0.0.0.0:\(ports[1])", "gb28181.password": "secret",
            "gb28181.reinvite_delay": "500ms", "gb28181.media_timeout": "2s", "gb28181.idle_timeout": "3s",
        ].merging(settings) { $1 }
        if let cluster { return (try await cluster.origin("origin", own), ports[0]) }
        return (try await Cluster.node("origin", role: "origin", own, sandbox), ports[0])
    }
}
