import Foundation
import Testing

extension ClusterTests {
    @Suite struct AccessTests {
        private static let secret = "a-secret-of-the-tests-with-32-bytes"

        /// What stands in front of a path, made as the documentation says, by other means than the system's own.
        private static func prefix(
            _ sandbox: Sandbox, stream: String? = nil, seconds: Int = 600, secret: String = Self.secret
        ) async throws -> String {
            try await sandbox.run(
                try Tools.python,
                [
                    "-c",
                    """
                    import base64, hashlib, hmac, sys, time
                    secret, stream, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
                    expires, scope = int(time.time()) + seconds, "s" if stream else "a"
                    message = f"weir-path-1\\n__defaultVhost__\\n{scope}\\n{expires}\\nlive" + (f"\\n{stream}" if stream else "")
                    code = hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()[:16]
                    print(f"~{expires}{scope}~" + base64.urlsafe_b64encode(code).decode().rstrip("="), end="")
                    """, secret, stream ?? "", "\(seconds)",
                ])
        }

        @Test("encrypted segments play through an edge for those with a signed path, keys change, and nothing is open")
        func encryption() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 60, group: 25)
                let wanted = try await Media.pictures(sandbox, source)
                let cluster = try await Cluster(sandbox)
                let secret = ["stream.play.url_secret": Self.secret]
                let edge = try await cluster.edge("edge", secret)
                var origins: [ClusterNode] = []
                for container in ["fmp4", "mpegts"] {
                    let settings = [
                        "stream.hls.encryption": "true", "stream.hls.segments_per_key": "2",
                        "stream.hls.container": container,
                    ]
                    let all = DiskTests.short.merging(settings) { $1 }.merging(secret) { $1 }
                    let origin = try await cluster.origin(container, all)
                    _ = try Media.publish(
                        sandbox, source, to: origin.rtmp("live/\(container)"), name: "to-\(container)")
                    origins.append(origin)
                }
                let prefix = try await Self.prefix(sandbox)
                for origin in origins {
                    let key = "live/\(origin.name)"
                    try await HLSTests.isPlayable(sandbox, edge, "\(prefix)/\(key)", segments: 4)
                    let file = sandbox.file("\(origin.name).mkv")
                    let player = try sandbox.start(
                        "player-\(origin.name)", try Tools.ffmpeg,
                        Media.quiet + [
                            "-i", edge.http("\(prefix)/\(key).m3u8"), "-map", "0:v", "-map", "0:a", "-t", "5", "-c",
                            "copy",
                            "-y", file.path,
                        ])
                    try await player.wait(within: .seconds(20))
                    #expect(try HLSTests.complaints(player) == [])
                    let found = try await Media.pictures(sandbox, file)
                    #expect(found.count >= 112, "\(origin.name)")
                    #expect(Media.difference(found, wanted, streams: [0], isPart: true) == nil, "\(origin.name)")
                    try await Self.checkKeys(sandbox, [edge, origin], prefix, origin)
                    try await Self.checkRefusals(sandbox, [edge, origin], prefix, key)
                }
            }
        }

        /// Keys change and are for nobody's cache; what is on disk is what is served, and no media as they are.
        private static func checkKeys(
            _ sandbox: Sandbox, _ nodes: [ClusterNode], _ prefix: String, _ origin: ClusterNode
        ) async throws {
            let curl = try Tools.command("curl")
            let isFMP4 = origin.name == "fmp4"
            let folder = "live/\(origin.name)"
            let text = try await sandbox.run(
                curl, ["-sf", nodes[0].http("\(prefix)/\(folder)/_\(isFMP4 ? "video" : "main").m3u8")])
            let keys = text.split(separator: "\n").filter { $0.hasPrefix("#EXT-X-KEY:METHOD=AES-128") }
                .compactMap { $0.split(separator: "\"").dropFirst().first.map(String.init) }
            #expect(Set(keys).count >= 3, "\(text)")
            for node in nodes {
                let answer = try await sandbox.run(
                    curl,
                    [
                        "-s", "-o", "/dev/null", "-D", "-", "-w", "%{http_code} %{size_download}",
                        node.http("\(prefix)/\(folder)/\(keys[0])"),
                    ])
                #expect(answer.lowercased().contains("\r\ncache-control: no-store"), "\(node.name): \(answer)")
                #expect(!answer.lowercased().contains("\r\netag:"), "\(node.name)")
                #expect(answer.hasSuffix("200 16"), "\(node.name): \(answer)")
            }
            let segments = text.split(separator: "\n").filter { $0.hasPrefix("_") }.map(String.init)
            let disk = sandbox.file("\(origin.name)-media/\(folder)")
            let name = segments[segments.count - 2]
            let bytes = try Data(contentsOf: disk.appendingPathComponent(name))
            let served = sandbox.file("served-\(origin.name)")
            _ = try await sandbox.run(
                curl, ["-sf", "-o", served.path, nodes[0].http("\(prefix)/\(folder)/\(name)")])
            #expect(try Data(contentsOf: served) == bytes)
            #expect(bytes.count % 16 == 0)
            for mark in isFMP4 ? ["styp", "moof", "mdat"] : ["\u{47}\u{40}\u{00}\u{10}", "Weir"] {
                #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(mark)")
            }
            for file in try FileManager.default.contentsOfDirectory(atPath: disk.path) where file.hasSuffix(".key") {
                let path = disk.appendingPathComponent(file).path
                let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
                #expect(mode == 0o600, "\(file)")
            }
        }

        private static func checkRefusals(
            _ sandbox: Sandbox, _ nodes: [ClusterNode], _ prefix: String, _ key: String
        ) async throws {
            let stream = String(key.split(separator: "/")[1])
            let refused = [
                "", try await Self.prefix(sandbox, seconds: -10) + "/",
                try await Self.prefix(sandbox, stream: "other") + "/",
                try await Self.prefix(sandbox, secret: "another-secret-of-32-bytes-or-so") + "/",
            ]
            let own = try await Self.prefix(sandbox, stream: stream)
            let segment = try #require(
                try await DVRTests.segments(
                    sandbox, nodes[0].http("\(prefix)/\(key)/_\(stream == "fmp4" ? "video" : "main").m3u8")
                ).last)
            for node in nodes {
                for path in ["\(key).m3u8", "\(key)/\(segment)", "\(key).jpg", "\(key)/_rec-1000-2000.m3u8"] {
                    for prefix in refused {
                        #expect(try await node.status(node.http(prefix + path)) == 403, "\(node.name) \(prefix)\(path)")
                    }
                }
                #expect(try await node.status(node.http("\(own)/\(key).m3u8")) == 200)
                #expect(try await node.status(node.http("\(own)/\(key)/\(segment)")) == 200)
                #expect(try await node.status(node.http("\(own)/live/other.m3u8")) == 403)
            }
        }
    }
}
