import Foundation
import Glibc
import Testing

extension ClusterTests {
    @Suite struct ProgramTests {
        @Test("SIGTERM ends each program in order, within the drain deadline and with status 0")
        func termination() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let deadline = ["shutdown.drain_deadline": "3s"]
                let origin = try await cluster.origin("origin", deadline)
                let edge = try await cluster.edge("edge", deadline)
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await origin.isLive("live/one")
                _ = try await Audience(sandbox, "live/one", on: [origin, edge])
                for node in [edge, origin, cluster.coordinator] {
                    node.child.signal(SIGTERM)
                    let ending = try await node.child.wait(within: .seconds(10))
                    try #require(ending == .exited(0), "\(node.name)")
                    try #require(!node.child.text.contains(" error "), "\(node.name)")
                }
            }
        }

        @Test("the configurations that come with the project are right")
        func shippedConfigurations() async throws {
            try await Sandbox.run { sandbox in
                let files = [
                    "coordinator": "coordinator", "origin": "origin", "edge": "edge", "single-server": "origin",
                ]
                for (file, role) in files {
                    let path = Tools.repository.appendingPathComponent("cluster-configs/\(file).yaml").path
                    _ = try await sandbox.run(try Tools.program(role), ["--config", path, "--check-config"])
                }
            }
        }

        @Test(
            "a wrong key is refused with file, line and the nearest key", arguments: ["origin", "edge", "coordinator"])
        func wrongKey(role: String) async throws {
            try await Sandbox.run { sandbox in
                let file = try sandbox.write("weir.yaml", "# mine\nlog:\n  levle: info\n")
                let child = try sandbox.start(role, try Tools.program(role), ["--config", file.path])
                let ending = try await child.wait(within: .seconds(5))
                try #require(ending == .exited(78))
                try #require(child.text.contains("\(file.path):3"))
                try #require(child.text.contains("log.level"))
            }
        }

        @Test(
            "a port that is taken is named with its setting", arguments: ["rtmp.listen", "http.listen", "api.listen"])
        func takenPort(key: String) async throws {
            try await Sandbox.run { sandbox in
                let first = try await Cluster.node("first", role: "origin", [:], sandbox)
                let taken = ["rtmp.listen": first.rtmpPort, "http.listen": first.httpPort, "api.listen": first.apiPort]
                var settings = try ["rtmp.listen", "http.listen", "api.listen"].reduce(into: [String: Int]()) {
                    $0[$1] = try Sandbox.freePorts(1)[0]
                }
                settings[key] = taken[key]
                let second = try sandbox.start(
                    "second", try Tools.program("origin"),
                    settings.flatMap { ["--set", "\($0.key)=127.0.0.1:\($0.value)"] })
                let ending = try await second.wait(within: .seconds(5))
                guard case .exited(let status) = ending else { throw Failure("second \(ending)") }
                try #require(status != 0)
                try #require(second.text.contains(key))
                try #require(second.text.contains("127.0.0.1:\(taken[key] ?? 0)"))
            }
        }

        @Test("RTMPS and HTTPS-FLV work, and a new certificate is taken up without a restart")
        func tls() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 40)
                let certificate = sandbox.file("certificate.pem")
                let key = sandbox.file("key.pem")
                try await Self.makeCertificate(sandbox, "first", certificate, key)
                let ports = try Sandbox.freePorts(2)
                let origin = try await Cluster.node(
                    "origin", role: "origin",
                    [
                        "rtmp.tls.listen": "127.0.0.1:\(ports[0])", "rtmp.tls.certificate": certificate.path,
                        "rtmp.tls.key": key.path, "http.tls.listen": "127.0.0.1:\(ports[1])",
                        "http.tls.certificate": certificate.path, "http.tls.key": key.path,
                    ], sandbox)
                let rtmps = "rtmps://127.0.0.1:\(ports[0])/live/one"
                let https = "https://127.0.0.1:\(ports[1])/live/one.flv"
                let publisher = try Media.publish(sandbox, source, to: rtmps)
                try await origin.isLive("live/one")
                let viewers = [
                    try Media.record(sandbox, rtmps, to: "rtmps.flv"),
                    try Media.download(sandbox, https, to: "https.flv", options: ["-k"]),
                ]
                for viewer in viewers { try await viewer.grows() }

                try await Self.makeCertificate(sandbox, "second", certificate, key)
                for port in ports {
                    try await until("the new certificate is shown", within: .seconds(15), every: .milliseconds(300)) {
                        try await sandbox.run(
                            "sh",
                            [
                                "-c",
                                "openssl s_client -connect 127.0.0.1:\(port) < /dev/null 2>&1 | grep -m 1 'CN = second'",
                            ], expecting: nil
                        ).contains("second")
                    }
                }
                for viewer in viewers { try #require(viewer.child.isRunning) }
                try #require(publisher.isRunning)
                for viewer in viewers { try await viewer.stop() }
                let packets = try await Media.packets(sandbox, source)
                for viewer in viewers {
                    let found = try await Media.packets(sandbox, viewer.file)
                    let difference = Media.difference(found, packets, streams: [0, 1], isPart: true)
                    try #require(difference == nil, "\(viewer.child.name)")
                }
            }
        }

        private static func makeCertificate(
            _ sandbox: Sandbox, _ name: String, _ certificate: URL, _ key: URL
        ) async throws {
            _ = try await sandbox.run(
                try Tools.command("openssl"),
                [
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=\(name)",
                    "-keyout", key.path, "-out", certificate.path,
                ])
        }
    }
}
