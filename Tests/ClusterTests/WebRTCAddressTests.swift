import Foundation
import Testing

extension ClusterTests {
    /// WebRTC of clients on a machine of its own, which gets another address, or whose network has no UDP.
    @Suite(.enabled(if: Network.isPossible, "network namespaces cannot be made here"))
    struct WebRTCAddressTests {
        @Test("a publisher and a player whose machine moves to another network go on in their sessions")
        func roams() async throws {
            try await Sandbox.run { sandbox in
                let network = try await Network(sandbox)
                let (origin, edge) = try await Self.nodes(sandbox, network)
                let output = sandbox.file("roams.json")
                // What a viewer sees who stays where it is.
                let pages = try WebRTCPages.open(sandbox, [], launch: network.nodes)
                let client = try WebRTCClients.startAiortc(
                    sandbox, publish: origin.outside("live/one/whip"), play: edge.outside("live/one/whep"),
                    seconds: 14, roams: true, output: output, launch: network.clients)
                let begun = try await until("both sessions are there", within: .seconds(20)) {
                    try client.text.split(separator: "\n").first { $0.hasPrefix("{") }.map { try JSON(String($0)) }
                }
                let sessions = try [(origin, begun["resource"]), (edge, begun["played"])].map { node, resource in
                    (node, try #require(resource.string?.split(separator: "/").last.map(String.init)))
                }
                for (node, id) in sessions {
                    try await Self.isConnected(node, id, from: [Network.addresses[0]], sandbox)
                }
                try pages.add(
                    .init(name: "play", kind: .play, base: origin.http(""), url: origin.http("live/one/whep")))
                try await pages.isMoving("play")
                try pages.tell(.reset("play"))
                try await Task.sleep(for: .seconds(2))
                try await network.move()
                for (node, id) in sessions { try await Self.isConnected(node, id, from: Network.addresses, sandbox) }
                let look = try await pages.isMoving("play", frames: 25)
                try await client.wait(within: .seconds(30))
                let report = try JSON(String(contentsOf: output, encoding: .utf8))
                print(
                    "the address changed: \(look.longestGap) ms without a frame of the publisher,",
                    "\(report["pause"]) ms without packets for the player")
                #expect(look.longestGap < 2_000 && look.broken == 0)
                // Reports of a player, which tell where it is now, are half a second to one and a half apart.
                #expect((50..<2_500).contains(report["pause"].int ?? 0), "\(report)")
                #expect(report["state"].string == "connected")
            }
        }

        @Test("the pages go on in their sessions when their machine moves to another network")
        func pagesMove() async throws {
            try await Sandbox.run { sandbox in
                let network = try await Network(sandbox)
                let (origin, edge) = try await Self.nodes(sandbox, network)
                let pages = try WebRTCPages.open(
                    sandbox,
                    [
                        .init(
                            name: "publish", kind: .page, base: "",
                            url: origin.outside("publish.html?source=test&codec=vp8#live/one")),
                        .init(name: "play", kind: .page, base: "", url: edge.outside("#live/one?mode=webrtc")),
                    ], launch: network.clients)
                try await pages.isMoving("play", frames: 50)
                var sessions: [(String, ClusterNode, String)] = []
                for (name, node) in [("publish", origin), ("play", edge)] {
                    let id = try #require(try pages.look()[name]?.session)
                    try await Self.isConnected(node, id, from: [Network.addresses[0]], sandbox)
                    sessions.append((name, node, id))
                }
                try pages.tell(.reset("play"))
                try await Task.sleep(for: .seconds(3))
                try await network.move()
                for (_, node, id) in sessions { try await Self.isConnected(node, id, from: Network.addresses, sandbox) }
                let look = try await pages.isMoving("play", frames: 50)
                print("the address of the pages changed: \(look.longestGap) ms without a frame")
                #expect(look.longestGap < 8_000)
                for (name, _, id) in sessions {
                    let look = try #require(try pages.look()[name])
                    #expect(look.session == id && look.posts == 1 && look.errors == [], "\(look)")
                }
            }
        }

        @Test("pages get through over TCP where UDP is lost, also when that begins while they play")
        func tcp() async throws {
            try await Sandbox.run { sandbox in
                let network = try await Network(sandbox)
                let (origin, edge) = try await Self.nodes(sandbox, network)
                func player(_ name: String) -> WebRTCPages.Request {
                    .init(name: name, kind: .page, base: "", url: edge.outside("#live/one?mode=webrtc"))
                }
                let pages = try WebRTCPages.open(
                    sandbox,
                    [
                        .init(
                            name: "publish", kind: .page, base: "",
                            url: origin.outside("publish.html?source=test&codec=vp8#live/one")),
                        player("early"),
                    ], seconds: 90, launch: network.clients)
                try await pages.isMoving("early")
                try pages.tell(.reset("early"))
                try await network.blockUDP()
                try pages.add(player("late"))
                for (name, node) in [("publish", origin), ("early", edge), ("late", edge)] {
                    try await until("\(name) uses TCP", within: .seconds(20), every: .milliseconds(100)) {
                        guard let id = try pages.look()[name]?.session else { return false }
                        return try await Self.pairs(node, id, sandbox).contains {
                            $0["state"].string == "selected" && $0["transport"].string == "tcp"
                        }
                    }
                }
                for name in ["early", "late"] { try await pages.isMoving(name, frames: 50) }
                let looks = try pages.look()
                print("UDP was blocked: \(looks["early"]?.longestGap ?? -1) ms without a frame")
                for (name, look) in looks { #expect(look.posts == 1 && look.errors == [], "\(name): \(look)") }
            }
        }

        private static func nodes(
            _ sandbox: Sandbox, _ network: Network
        ) async throws -> (origin: ClusterNode, edge: ClusterNode) {
            let cluster = try await Cluster(sandbox, launch: network.nodes)
            return (try await cluster.origin(), try await cluster.edge())
        }

        /// Waits until a node has heard a session from exactly these addresses, and sends to the last one.
        private static func isConnected(
            _ node: ClusterNode, _ id: String, from addresses: [String], _ sandbox: Sandbox
        ) async throws {
            var found: [JSON] = []
            try await until(
                "\(node.name) hears \(id) from \(addresses), not \(found)", within: .seconds(15),
                every: .milliseconds(50)
            ) {
                found = try await Self.pairs(node, id, sandbox)
                let selected = found.first { $0["state"].string == "selected" }
                return Set(found.map(Self.address)) == Set(addresses) && selected.map(Self.address) == addresses.last
            }
        }

        private static func address(_ pair: JSON) -> String {
            String((pair["remote"].string ?? "").prefix { $0 != ":" })
        }

        private static func pairs(_ node: ClusterNode, _ id: String, _ sandbox: Sandbox) async throws -> [JSON] {
            try await sandbox.request(node.http("rtc/v1/diagnose/\(id)"), reach: node.launch.reach)
                .json["ice"]["pairs"].array
        }
    }
}
