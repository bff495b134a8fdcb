import Foundation
import Testing

extension ClusterTests {
    @Suite struct CDNTests {
        /// The part of all requests that the cache in front has to answer by itself.
        private static let wantedRatio = 0.98

        /// Arguments of `sh` that run the command behind them with room for connections.
        private static let withManyFiles = ["-c", "ulimit -n 16384 || ulimit -n $(ulimit -Hn); exec \"$@\"", "sh"]

        /// The recipe of this repository as a whole configuration, with ports and folders of its own.
        private static func startNginx(
            _ sandbox: Sandbox, _ edges: [ClusterNode], isSigned: Bool = false
        ) async throws -> Int {
            let port = try Sandbox.freePorts(1)[0]
            var recipe = try String(
                contentsOf: Tools.repository.appendingPathComponent("cluster-configs/nginx-cdn.conf"), encoding: .utf8)
            for (written, edge) in zip(["127.0.0.1:8081", "127.0.0.1:8082"], edges) {
                recipe = recipe.replacingOccurrences(of: written, with: "127.0.0.1:\(edge.httpPort)")
            }
            recipe = recipe.replacingOccurrences(of: "listen 8090", with: "listen 127.0.0.1:\(port)")
                .replacingOccurrences(of: "/var/cache/nginx/weir", with: sandbox.file("nginx-cache").path)
                .replacingOccurrences(of: "/var/log/nginx/weir.log", with: sandbox.file("nginx-access.log").path)
            if isSigned { recipe = recipe.replacingOccurrences(of: "# auth_request", with: "auth_request") }
            _ = try sandbox.write("weir.conf", recipe)
            let configuration = try sandbox.write(
                "nginx.conf",
                """
                daemon off; worker_processes 1; worker_rlimit_nofile 8192; user \(NSUserName());
                pid \(sandbox.file("nginx.pid").path); error_log stderr warn;
                events { worker_connections 4096; }
                http {
                    client_body_temp_path \(sandbox.file("nginx-body").path);
                    proxy_temp_path \(sandbox.file("nginx-proxy").path);
                    include \(sandbox.file("weir.conf").path);
                }
                """)
            _ = try sandbox.start(
                "nginx", "sh", Self.withManyFiles + [try Tools.command("nginx"), "-c", configuration.path])
            return port
        }

        /// Varnish with the recipe of this repository.
        private static func startVarnish(_ sandbox: Sandbox, _ edges: [ClusterNode]) async throws -> Int {
            let port = try Sandbox.freePorts(1)[0]
            var recipe = try String(
                contentsOf: Tools.repository.appendingPathComponent("cluster-configs/varnish-cdn.vcl"), encoding: .utf8)
            for (written, edge) in zip(["\"8081\"", "\"8082\""], edges) {
                recipe = recipe.replacingOccurrences(of: written, with: "\"\(edge.httpPort)\"")
            }
            let file = try sandbox.write("weir.vcl", recipe)
            _ = try sandbox.start(
                "varnish", "sh",
                Self.withManyFiles + [
                    try Tools.command("varnishd"), "-F", "-a", "127.0.0.1:\(port)", "-f", file.path, "-n",
                    sandbox.file("varnish").path, "-s",
                    "malloc,256M", "-p", "thread_pools=2", "-p", "thread_pool_max=3000",
                ])
            return port
        }

        private static func check(_ report: HLSPlayers.Report, players: Int, seconds: Int) {
            #expect(report.hitRatio >= self.wantedRatio, "\(report)")
            #expect(report.wentBack == 0, "\(report)")
            #expect(report.stalls == 0, "\(report)")
            #expect(report.errors == [:])
            #expect(report.statuses.keys.sorted() == ["200"], "\(report.statuses)")
            // Each player got some media; if not, the ratio says nothing.
            #expect(report.media >= players * (seconds - 8) / 4, "\(report)")
        }

        private static let players = Tools.seconds("WEIR_TEST_CDN_PLAYERS", default: 500)
        private static let seconds = Tools.seconds("WEIR_TEST_CDN_SECONDS", default: 20)

        @Test(
            "a cache in front of two edges answers 98 of 100 requests of 500 players by itself",
            arguments: zip(["nginx", "nginx", "varnish"], ["mpegts", "fmp4", "fmp4"]))
        func hitRatio(cache: String, container: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["stream.hls.container": container])
                let edges = [try await cluster.edge("edge-1"), try await cluster.edge("edge-2")]
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                for edge in edges { try await HLSTests.isPlayable(sandbox, edge, "live/one") }
                let port =
                    cache == "nginx"
                    ? try await Self.startNginx(sandbox, edges) : try await Self.startVarnish(sandbox, edges)
                let url = "http://127.0.0.1:\(port)/live/one.m3u8"
                try await until("\(cache) serves the playlist", within: .seconds(15)) {
                    try await edges[0].status(url) == 200
                }
                let report = try await HLSPlayers.play(sandbox, url, count: Self.players, seconds: Self.seconds)
                Self.check(report, players: Self.players, seconds: Self.seconds)
                // Parts are for fMP4: those players waited for them.
                #expect((report.blockedMedianMillis > 0) == (container == "fmp4"), "\(report)")
            }
        }

        @Test(
            "500 viewers with a signature each share what nginx keeps; without one, or with a forged one, nobody has it"
        )
        func signed() async throws {
            let secret = "a-secret-of-the-tests-with-32-bytes"
            let settings = ["stream.play.url_secret": secret]
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", settings)
                let edges = [
                    try await cluster.edge("edge-1", settings), try await cluster.edge("edge-2", settings),
                ]
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                try await origin.isLive("live/one")
                let port = try await Self.startNginx(sandbox, edges, isSigned: true)
                let root = "http://127.0.0.1:\(port)"
                try await until("nginx answers", within: .seconds(15)) { try await edges[0].status(root) != 0 }
                // Until a first segment is complete there is nothing to play.
                try await Task.sleep(for: .seconds(8))
                let report = try await HLSPlayers.play(
                    sandbox, "\(root)/live/one.m3u8", count: Self.players, seconds: Self.seconds, secret: secret)
                Self.check(report, players: Self.players, seconds: Self.seconds)
                for path in ["/live/one.m3u8", "/~4102444800a~AAAAAAAAAAAAAAAAAAAAAA/live/one.m3u8"] {
                    #expect(try await edges[0].status(root + path) == 403, "\(path)")
                }
            }
        }
    }
}
