import Foundation

/// Two machines in network namespaces of their own: one for the nodes, one for clients, which can move from one network
/// to another and lose UDP. Everything ends with the test.
struct Network: Sendable {
    /// What the nodes' machine is called by clients, in whichever network these are.
    static let server = "10.200.0.1"
    /// The client's addresses in its first network and in its second.
    static let addresses = ["10.200.0.2", "10.201.0.2"]

    private let sandbox: Sandbox
    private let holder: Child
    private let client: pid_t

    /// Whether namespaces can be made here.
    static let isPossible: Bool = {
        guard let unshare = try? Tools.command("unshare"), (try? Tools.command("ip")) != nil else { return false }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: unshare)
        process.arguments =
            Self.own + [
                "--net", "sh", "-ec",
                "ip link set lo up; ip link add one0 type veth peer name two0; ip rule add pref 9 iif one0 blackhole",
            ]
        process.standardError = FileHandle.nullDevice
        do { try process.run() } catch { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }()

    /// A root of its own is what a user needs who may not change networks.
    private static let own = getuid() == 0 ? [] : ["--user", "--map-root-user"]

    init(_ sandbox: Sandbox) async throws {
        let holder = try sandbox.start(
            "network", try Tools.command("unshare"), Self.own + ["--net", "sh", "-ec", Self.script])
        let words = try await until("the network is there", within: .seconds(10)) {
            guard holder.isRunning else { throw Failure(holder.report) }
            return holder.text.split(separator: "\n").first { $0.hasPrefix("ready ") }
        }
        guard let client = words.split(separator: " ").last.flatMap({ pid_t($0) }) else { throw Failure(holder.report) }
        (self.sandbox, self.holder, self.client) = (sandbox, holder, client)
    }

    private static let script = """
        ip link set lo up
        unshare --net sleep 600 &
        until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
        for at in 0 1; do
            ip link add server$at type veth peer name client$at netns $!
            ip addr add 10.20$at.0.1/24 dev server$at
            ip link set server$at up
        done
        nsenter --target $! --net sh -ec 'ip link set lo up
            ip addr add 10.200.0.2/24 dev client0
            ip link set client0 up
            ip route add default via 10.200.0.1'
        echo ready $!
        wait
        """

    /// Words that put a program onto the nodes' machine.
    var nodes: Launch {
        Launch(words: self.enter(self.holder.pid), reach: self.enter(self.holder.pid), host: "0.0.0.0")
    }
    /// Words that put a program onto the client's machine.
    var clients: Launch { Launch(words: self.enter(self.client)) }

    private func enter(_ pid: pid_t) -> [String] {
        let user = Self.own.isEmpty ? [] : ["--user", "--preserve-credentials"]
        return ["/usr/bin/env", "nsenter", "--target", "\(pid)"] + user + ["--net", "--"]
    }

    /// The client leaves its first network and is in the second one at once, with another interface and address.
    func move() async throws {
        try await self.runOnClient(
            """
            ip link set client0 down
            ip addr add 10.201.0.2/24 dev client1
            ip link set client1 up
            ip route replace default via 10.201.0.1
            """)
    }

    /// From now on datagrams of the client vanish on their way.
    func blockUDP() async throws {
        // What is for this machine is looked up first of all, and would get past the rule.
        try await self.run(
            """
            ip rule add pref 100 lookup local
            ip rule del pref 0
            ip rule add pref 10 iif server0 ipproto udp blackhole
            """, on: self.nodes)
    }

    private func runOnClient(_ script: String) async throws { try await self.run(script, on: self.clients) }

    private func run(_ script: String, on machine: Launch) async throws {
        let words = machine.words + ["sh", "-ec", script]
        _ = try await self.sandbox.run(words[0], Array(words.dropFirst()))
    }
}

extension ClusterNode {
    /// The address of a page or a stream for those who are on the other machine.
    func outside(_ path: String) -> String { "http://\(Network.server):\(self.httpPort)/\(path)" }
}
