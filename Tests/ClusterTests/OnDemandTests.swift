import Foundation
import Testing

extension ClusterTests {
    /// Cameras that are fetched by RTSP while somebody watches, whoever it is and wherever.
    @Suite struct OnDemandTests {
        /// The ways to watch.
        private static let ways = ["rtmp", "flv", "ts", "hls", "whep", "srt", "rtsp"]

        /// A camera with one stream that asks for a password.
        private static func camera(_ sandbox: Sandbox) async throws -> ClusterNode {
            try await Cluster.node(
                "camera", role: "origin",
                [
                    "stream.rtsp.players": "me:pw", "rtsp.ports": "23400-23499", "stream.publish.grace": "0s",
                    "stream.hls.enabled": "false",
                ], sandbox)
        }

        /// What makes a node fetch the camera as each of `names`.
        private static func fetching(_ camera: ClusterNode, _ names: [String]) -> [String: String] {
            let url = camera.rtsp("live/lens", user: "me:pw")
            return [
                "rtsp.pulls": names.map { "live/\($0)=\(url) on_demand" }.joined(separator: ","),
                "rtsp.pull_linger": "3s", "stream.publish.grace": "0s", "edge.linger": "1s",
                "stream.hls.segment_duration": "2s",
            ]
        }

        /// Publishes pictures in their order, as a camera does: WebRTC has no others.
        private static func shoot(_ sandbox: Sandbox, _ camera: ClusterNode) async throws {
            let file = sandbox.file("lens.flv")
            _ = try await sandbox.run(
                try Tools.ffmpeg,
                Media.quiet + [
                    "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=440",
                    "-t", "10", "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25", "-sc_threshold", "0",
                    "-pix_fmt", "yuv420p", "-b:v", "300k", "-c:a", "aac", "-ac", "2", "-y", file.path,
                ], within: .seconds(60))
            _ = try Media.publish(sandbox, file, to: camera.rtmp("live/lens"), loops: true, name: "lens")
            try await camera.isLive("live/lens")
        }

        /// Begins to watch `name` in one of the ways.
        private static func watch(
            _ sandbox: Sandbox, _ way: String, _ node: ClusterNode, _ name: String
        ) throws -> Recording {
            let stream = "live/\(name)"
            switch way {
            case "rtmp": return try Media.record(sandbox, node.rtmp(stream), to: "\(name).flv")
            case "flv": return try Media.download(sandbox, node.flv(stream), to: "\(name).flv")
            case "ts": return try Media.download(sandbox, node.http("\(stream).ts"), to: "\(name).ts")
            case "hls": return try Media.record(sandbox, node.http("\(stream).m3u8"), to: "\(name).flv")
            case "srt": return try SRTClients.record(sandbox, SRTClients.url(node.srtPort, stream), to: "\(name).ts")
            case "rtsp": return try RTSPTests.play(sandbox, node.rtsp(stream), by: "tcp", to: "\(name).h264")
            default:
                let file = sandbox.file("\(name).json")
                return Recording(
                    child: try WebRTCClients.startGStreamer(
                        sandbox, "play", node.http("\(stream)/whep"), seconds: 8, output: file), file: file)
            }
        }

        /// That a stream nobody publishes comes for one viewer in each way at `node`, and goes when they have gone.
        private static func check(
            _ sandbox: Sandbox, _ node: ClusterNode, _ prefix: String, ways: [String], fetchedBy origin: ClusterNode
        ) async throws {
            let names = ways.map { "\(prefix)-\($0)" }
            #expect(try await origin.streams()?.filter { names.contains(String($0.key.dropFirst(5))) }.isEmpty == true)
            let viewers = try zip(ways, names).map { ($0, try self.watch(sandbox, $0, node, $1)) }
            for (way, viewer) in viewers {
                if way == "whep" {
                    try await viewer.child.wait(within: .seconds(40))
                    let report = try JSON(String(contentsOf: viewer.file, encoding: .utf8))
                    #expect((report["video"].int ?? 0) > 25, "\(viewer.child.name): \(report)")
                } else {
                    try await viewer.grows(beyond: 60_000, within: .seconds(30))
                }
            }
            // As long as somebody watches it is fetched, also by those who are asked for files only.
            try await Task.sleep(for: .seconds(8))
            for (way, viewer) in viewers where way != "whep" {
                let size = viewer.size
                try await viewer.grows(beyond: size + 20_000, within: .seconds(10))
                try await viewer.stop()
            }
            try await until("nobody watches", within: .seconds(40)) {
                try await origin.streams()?.contains { names.contains(String($0.key.dropFirst(5))) } == false
            }
        }

        @Test("a camera on demand is fetched for whoever watches at its origin or at an edge, and not for longer")
        func everywhere() async throws {
            try await Sandbox.run { sandbox in
                let camera = try await Self.camera(sandbox)
                try await Self.shoot(sandbox, camera)
                let cluster = try await Cluster(sandbox)
                // One that could bring streams, but not these.
                _ = try await cluster.origin("other", ["rtsp.pulls": "live/nothing=rtsp://127.0.0.1:9/x on_demand"])
                let names = ["near", "far"].flatMap { place in Self.ways.map { "\(place)-\($0)" } }
                let origin = try await cluster.origin("origin", Self.fetching(camera, names))
                let edge = try await cluster.edge("edge", ["edge.linger": "1s"])
                try await Self.check(sandbox, origin, "near", ways: Self.ways, fetchedBy: origin)
                try await Self.check(sandbox, edge, "far", ways: Self.ways, fetchedBy: origin)
                // What nobody can bring is told at once.
                let began = ContinuousClock.now
                #expect(try await edge.status(edge.flv("live/unknown")) == 404)
                #expect(try await edge.status(edge.http("live/unknown.m3u8")) == 404)
                #expect(ContinuousClock.now - began < .seconds(2))
            }
        }

        @Test("a camera on demand is fetched for viewers at an edge that knows its origins by a list")
        func listed() async throws {
            try await Sandbox.run { sandbox in
                let camera = try await Self.camera(sandbox)
                try await Self.shoot(sandbox, camera)
                let ways = ["rtmp", "flv", "rtsp"]
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    Self.fetching(camera, ways.map { "listed-\($0)" }).merging(["cluster.secret": "x"]) { $1 }, sandbox)
                let edge = try await Cluster.node(
                    "edge", role: "edge",
                    [
                        "cluster.origins": "127.0.0.1:\(origin.rtmpPort)", "edge.linger": "1s", "cluster.secret": "x",
                        "edge.http_port_of_origins": "\(origin.httpPort)",
                    ], sandbox)
                try await Self.check(sandbox, edge, "listed", ways: ways, fetchedBy: origin)
            }
        }

        @Test("a camera is fetched always by UDP, and on demand by TCP, and again after it was gone")
        func outages() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 6)
                let camera = try await Self.camera(sandbox)
                let target = camera.rtsp("live/lens", user: "me:pw")
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    [
                        "rtsp.pulls": "live/always=\(target) udp,live/wanted=\(target) on_demand",
                        "rtsp.pull_linger": "2s", "rtsp.ports": "23500-23599",
                    ], sandbox)
                let first = try Media.publish(
                    sandbox, source, to: camera.rtmp("live/lens"), loops: true, name: "first")
                let always = try await origin.isLive("live/always", within: .seconds(15))
                #expect(Set(always.tracks.map(\.codec)) == ["h264", "aac"])
                try #require(try await origin.stream("live/wanted") == nil)
                let viewer = try RTSPTests.play(sandbox, origin.rtsp("live/wanted"), by: "tcp", to: "wanted.h264")
                try await viewer.records(20_000)
                // A viewer who comes while the stream waits for its publisher brings it back.
                try await until("it is no longer fetched", within: .seconds(15)) {
                    try await origin.stream("live/wanted")?.state != "live"
                }
                let late = try RTSPTests.play(sandbox, origin.rtsp("live/wanted"), by: "tcp", to: "late.h264")
                try await late.records(20_000)
                try await until("nobody watches", within: .seconds(40)) {
                    try await origin.stream("live/wanted") == nil
                }
                first.destroy()
                try await until("the camera is gone", within: .seconds(30)) {
                    try await origin.stream("live/always") == nil
                }
                _ = try Media.publish(sandbox, source, to: camera.rtmp("live/lens"), loops: true, name: "second")
                try await origin.isLive("live/always", within: .seconds(40))
            }
        }
    }
}
