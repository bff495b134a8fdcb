import Media
import NIOHTTP1
import Placement
import Testing

@testable import CoordinatorService

/// Where players and publishers of SRT, RTSP and transport streams are sent.
extension ControlAPITests {
    /// The ports of a node of this version.
    private func withPorts(_ node: inout NodeDescription) {
        (node.srtPort, node.rtspPort, node.rtspsPort) = (10_080, 8_554, 322)
        node.takesPostedFLV = true
    }

    @Test("players and publishers are sent to SRT, RTSP, HTTP-TS and posted FLV where nodes have them")
    func newProtocols() async throws {
        try await self.with { coordinator, url in
            func urls(_ action: String, _ query: String) async throws -> [String] {
                try await answer(url + "routes/\(action)?app=live&name=x&" + query, headers: asAdmin)
                    .decoded(as: MediaURLs.self).urls.map(\.url)
            }
            try await FakeNode(coordinator, "o", change: self.withPorts).join(FakeNode.holding(try self.key("x")))
            let publish = try await urls("publish", "format=all")
            #expect(
                publish == [
                    "rtmp://o.example:1935/live/x", "http://o.example:8080/live/x.flv",
                    "http://o.example:8080/live/x/whip",
                    "srt://o.example:10080?streamid=%23%21::r=live/x,m=publish", "rtsp://o.example:8554/live/x",
                    "rtsps://o.example:322/live/x",
                ])
            #expect(try await urls("publish", "format=srt") == [publish[3]])
            #expect(try await urls("publish", "format=ts") == [])
            try await FakeNode(coordinator, "e", role: .edge, change: self.withPorts).join()
            let srt = "srt://e.example:10080?streamid=%23%21::r=live/x,m=request"
            #expect(try await urls("play", "format=srt") == [srt])
            #expect(try await urls("play", "format=rtsp") == ["rtsp://e.example:8554/live/x"])
            #expect(try await urls("play", "format=ts") == ["http://e.example:8080/live/x.ts"])
            let all = try await urls("play", "format=all&limit=8")
            #expect(all.count == MediaProtocol.allCases.count && all.contains(srt))
            // The ports are those of the list of nodes, too.
            let nodes = try await answer(url + "nodes", headers: asAdmin).decoded(as: NodeList.self).nodes
            #expect(nodes.map(\.node.srtPort) == [10_080, 10_080])
        }
    }

    @Test("nobody is sent to post FLV where it is not taken", arguments: [false, nil])
    func postedFLV(isTaken: Bool?) async throws {
        try await self.with { coordinator, url in
            try await FakeNode(coordinator, "o") { node in
                self.withPorts(&node)
                node.takesPostedFLV = isTaken
            }.join(FakeNode.holding(try self.key("x")))
            for (action, count) in [("play", 1), ("publish", 0)] {
                let found = try await answer(url + "routes/\(action)?app=live&name=x&format=flv", headers: asAdmin)
                #expect(try found.decoded(as: MediaURLs.self).urls.count == count, "\(action)")
            }
        }
    }

    @Test("a node that tells none of these ports is sent nobody who would need them") func earlierNodes() async throws {
        try await self.with { coordinator, url in
            try await FakeNode(coordinator, "o").join(FakeNode.holding(try self.key("x")))
            for format in ["ts", "srt", "rtsp", "rtsps"] {
                for action in ["play", "publish"] {
                    let query = "routes/\(action)?app=live&name=x&format=\(format)"
                    let found = try await answer(url + query, headers: asAdmin).decoded(as: MediaURLs.self)
                    #expect(found.urls.isEmpty && found.isLive)
                }
            }
            let post = try await answer(url + "routes/publish?app=live&name=x&format=flv", headers: asAdmin)
            #expect(try post.decoded(as: MediaURLs.self).urls.isEmpty)
        }
    }

    @Test("how the network treats a session is told as its node tells it") func paths() async throws {
        try await self.with { coordinator, url in
            let node = try FakeNode(coordinator, "o")
            try await node.join()
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                defer { tasks.cancelAll() }
                tasks.addTask {
                    await node.serve { _ in
                        let path = #"{"roundTripMillis":12.5,"sentPackets":100,"sendLoss":3,"retransmittedPackets":4}"#
                        let sessions = #"[{"id":"s1","kind":"play","transport":"srt","path":\#(path)},{"id":"s2"}]"#
                        return (200, "application/json", #"{"sessions":\#(sessions)}"#)
                    }
                }
                try await eventually("it waits for requests") {
                    try await answer(url + "nodes", headers: asAdmin).decoded(as: NodeList.self).nodes
                        .contains(where: \.isReachable)
                }
                let found = try await answer(url + "sessions", headers: asAdmin).decoded(as: SessionList.self).sessions
                let told = SessionPath(roundTripMillis: 12.5, sentPackets: 100, sendLoss: 3, retransmittedPackets: 4)
                #expect(found.map(\.path) == [told, nil])
            }
        }
    }
}
