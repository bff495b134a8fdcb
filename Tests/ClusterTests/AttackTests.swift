import Foundation
import Testing

extension ClusterTests {
    /// What clients send who wish us ill: all of it is refused, nobody else notices, and nothing is told.
    @Suite struct AttackTests {
        /// A coordinator and an origin with a secret for everything, and a stream that plays.
        private final class Victims: Sendable {
            static let secrets = [
                "cluster", "admin", "api", "password", "tokens", "paths", "hooks", "publisher", "viewer",
            ].reduce(into: [String: String]()) { $0[$1] = "SECRET-of-\($1)-0123456789-0123456789" }

            let sandbox: Sandbox
            let coordinator: ClusterNode
            let origin: ClusterNode
            let publisher: Child
            let viewer: Recording
            let tlsPorts: [String: Int]
            private let before: [String: Int]

            /// One app asks for tokens and signatures.
            private static let file = """
                vhosts:
                  - name: __defaultVhost__
                    domains: [localhost]
                    apps:
                      guarded: {access.play.token: required, play.url_secret: "\(secrets["paths"] ?? "")"}
                """

            init(_ sandbox: Sandbox) async throws {
                let secrets = Self.secrets
                let certificate = sandbox.file("certificate.pem").path
                let key = sandbox.file("key.pem").path
                _ = try await sandbox.run(
                    try Tools.command("openssl"),
                    [
                        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", key, "-out", certificate,
                    ])
                _ = try sandbox.write("canary.txt", "CANARY")
                let ports = try Sandbox.freePorts(4)
                self.tlsPorts = ["media": ports[0], "api": ports[1], "coordinator": ports[2]]
                func tls(_ section: String, _ port: Int) -> [String: String] {
                    [
                        "\(section).tls.listen": "127.0.0.1:\(port)", "\(section).tls.certificate": certificate,
                        "\(section).tls.key": key,
                    ]
                }
                self.sandbox = sandbox
                self.coordinator = try ClusterNode(
                    "coordinator", role: "coordinator", ports: [0, 0, ports[3]],
                    settings: [
                        "coordinator.listen": "127.0.0.1:\(ports[3])",
                        "coordinator.database": sandbox.file("coordinator.sqlite").path, "log.level": "debug",
                        "cluster.secret": secrets["cluster"] ?? "", "coordinator.admin_token": secrets["admin"] ?? "",
                    ].merging(tls("coordinator", ports[2])) { $1 }, sandbox: sandbox)
                try await self.coordinator.isReady()
                let yaml = try sandbox.write("origin.yaml", Self.file)
                self.origin = try await Cluster.node(
                    "origin", role: "origin",
                    [
                        "cluster.coordinator": "http://127.0.0.1:\(ports[3])",
                        "cluster.secret": secrets["cluster"] ?? "",
                        "api.token": secrets["api"] ?? "", "api.username": "admin", "log.level": "debug",
                        "api.password": secrets["password"] ?? "", "access.jwt.secret": secrets["tokens"] ?? "",
                        "hooks.secret": secrets["hooks"] ?? "", "stream.latency": "realtime",
                        "http.cors": "https://good.example",
                    ].merging(tls("http", ports[0])) { $1 }.merging(tls("api", ports[1])) { $1 }, sandbox,
                    Launch(environment: ["WEIR_CONFIG": yaml.path]))
                let source = try await Media.makeSource(sandbox, seconds: 20, group: 25)
                self.publisher = try Media.publish(
                    sandbox, source, to: self.origin.rtmp("live/one?token=\(secrets["publisher"] ?? "")"), loops: true)
                try await HLSTests.isPlayable(sandbox, self.origin, "live/one", segments: 2)
                self.viewer = try Media.download(
                    sandbox, self.origin.flv("live/one") + "?token=\(secrets["viewer"] ?? "")", to: "viewer.flv")
                try await self.viewer.grows()
                self.before = [
                    "origin": try self.origin.child.residentBytes,
                    "coordinator": try self.coordinator.child.residentBytes,
                ]
            }

            // MARK: Targets

            private func both(_ target: Attacks.Target) -> [Attacks.Target] {
                var secure = target
                secure.port = self.tlsPorts[target.kind] ?? 0
                secure.isTLS = true
                return [target, secure]
            }

            /// Each plain, then over TLS.
            var media: [Attacks.Target] {
                self.both(
                    .init(
                        kind: "media", port: self.origin.httpPort, path: "/live/one.m3u8", post: "/live/one.flv",
                        health: self.origin.apiPort))
            }

            var api: [Attacks.Target] {
                self.both(
                    .init(
                        kind: "api", port: self.origin.apiPort, path: "/api/v1/versions", post: "/api/v2/nothing",
                        authorization: "Bearer \(Self.secrets["api"] ?? "")", health: self.origin.apiPort))
            }

            var administration: [Attacks.Target] {
                self.both(
                    .init(
                        kind: "coordinator", port: self.coordinator.apiPort, path: "/api/v1/nodes",
                        post: "/api/v1/tokens", authorization: "Bearer \(Self.secrets["admin"] ?? "")",
                        health: self.coordinator.apiPort))
            }

            var rtmp: Attacks.Target {
                .init(kind: "RTMP", port: self.origin.rtmpPort, path: "", health: self.origin.apiPort)
            }

            // MARK: Afterwards

            /// Nothing broke, nothing grew without bound, nothing was told.
            func areWell(growth: Int = 120 << 20) async throws {
                try await self.viewer.grows(beyond: self.viewer.size)
                for node in [self.origin, self.coordinator] {
                    #expect(node.child.isRunning, "\(node.name)")
                    #expect(try await node.status(node.apiURL("/healthz")) == 200, "\(node.name)")
                    let before = self.before[node.name] ?? 0
                    try await until("\(node.name)'s memory is given back", within: .seconds(30), every: .seconds(1)) {
                        try node.child.residentBytes < before + growth
                    }
                    #expect(node.lines(with: " error ") == [], "\(node.name)")
                }
                #expect(self.publisher.isRunning && self.viewer.child.isRunning)
                try await self.keepSecrets()
            }

            /// No log and no answer has a secret in it.
            private func keepSecrets() async throws {
                var texts = ["origin's log": self.origin.child.text, "coordinator's log": self.coordinator.child.text]
                let node = [
                    "/api/v1/", "/api/v1/summaries", "/api/v1/self_proc_stats", "/api/v1/features", "/api/v1/vhosts",
                    "/api/v1/clients?count=1000", "/api/v1/streams?count=1000", "/api/v1/raw?rpc=raw",
                    "/api/v1/tests/requests", "/api/v2/node", "/api/v2/sessions?idle=true", "/api/v2/streams",
                    "/api/v2/settings", "/api/v2/hooks", "/api/v2/forwards", "/api/v2/storage", "/api/v2/recordings",
                    "/metrics", "/readyz",
                ]
                let coordinator =
                    [
                        "nodes", "streams", "sessions", "events?limit=1000", "policies", "tokens", "recordings",
                    ].map { "/api/v1/\($0)" } + ["/metrics", "/openapi.json", "/readyz"]
                for (target, paths) in [(self.origin, node), (self.coordinator, coordinator)] {
                    let token = Self.secrets[target === self.origin ? "api" : "admin"] ?? ""
                    for path in paths {
                        let reply = try await self.sandbox.request(
                            target.apiURL(path), headers: ["Authorization: Bearer \(token)"])
                        #expect(
                            reply.status == 200 || reply.status == 404 && path.hasSuffix("json"), "\(path): \(reply)")
                        texts["\(target.name)\(path)"] = reply.text
                    }
                }
                for (place, text) in texts {
                    for (name, secret) in Self.secrets { #expect(!text.contains(secret), "\(name) in \(place)") }
                }
            }
        }

        // MARK: By the bytes

        @Test("paths, heads and bodies that no honest client sends are refused, and never answered twice")
        func http() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                let report = try await Attacks.run(
                    sandbox, "http", Attacks.http, victims.media + victims.api + victims.administration,
                    within: .seconds(400))
                #expect(report.findings == [])
                #expect(report.count > 3_000)
                try await victims.areWell()
            }
        }

        @Test("who never finishes what he begins is closed in time, whatever he began, and nobody waits for him")
        func slow() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                let report = try await Attacks.run(
                    sandbox, "slow", Attacks.slow, victims.media + victims.api + victims.administration,
                    ["\(victims.origin.rtmpPort)"], within: .seconds(150))
                #expect(report.findings == [])
                #expect(report.count > 200)
                try await victims.areWell()
            }
        }

        @Test("thousands of connections that do nothing, or break off, keep nobody out")
        func crowds() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                let descriptors = try victims.origin.descriptors
                for _ in 0..<2 {
                    let report = try await Attacks.run(
                        sandbox, "crowd", Attacks.crowd, victims.media + [victims.api[0], victims.administration[0]],
                        ["3000", "\(victims.origin.rtmpPort)"], within: .seconds(120))
                    #expect(report.findings == [])
                    #expect(report.count > 10_000)
                    try await until("the crowd is gone", within: .seconds(20), every: .milliseconds(500)) {
                        try victims.origin.descriptors <= descriptors + 8
                    }
                }
                // The allocator keeps what 10,000 connections took at once, a third of them with TLS.
                try await victims.areWell(growth: 400 << 20)
            }
        }

        @Test("floods and broken frames of HTTP/2 end their own connections at most")
        func http2() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                let report = try await Attacks.run(
                    sandbox, "http2", Attacks.http2, [victims.media[1], victims.api[1], victims.administration[1]],
                    within: .seconds(500))
                #expect(report.findings == [])
                #expect(report.count > 70)
                try await victims.areWell()
            }
        }

        @Test("broken RTMP and broken WebSocket frames end their own connections at most")
        func media() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                for (name, script, targets) in [
                    ("rtmp", Attacks.rtmp, [victims.rtmp]), ("websocket", Attacks.webSocket, victims.media),
                ] {
                    let report = try await Attacks.run(sandbox, name, script, targets, within: .seconds(300))
                    #expect(report.findings == [])
                    #expect(report.count > 30)
                }
                try await victims.areWell()
            }
        }

        // MARK: By a scanner

        @Test("a scanner of web pages finds nothing in the console, in the APIs and in the player page")
        func scan() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                // Without those that ask a server of the scanner's makers.
                let modules = [
                    "backup", "blindsql", "cookieflags", "crlf", "csp", "csrf", "exec", "file", "htaccess",
                    "http_headers", "methods", "permanentxss", "redirect", "sql", "xss",
                ]
                for target in [victims.administration[0], victims.api[0], victims.media[0]] {
                    let file = sandbox.file("scan-\(target.kind).json")
                    _ = try await sandbox.run(
                        try Tools.command("wapiti"),
                        [
                            "-u", "http://127.0.0.1:\(target.port)/", "--flush-session", "--scope", "folder", "-m",
                            modules.joined(separator: ","), "--max-scan-time", "30", "--max-attack-time", "10", "-t",
                            "5", "-f", "json", "-o", file.path, "-v", "0", "-H",
                            "Authorization: \(target.authorization)",
                        ], within: .seconds(200))
                    let report = try JSON(String(contentsOf: file, encoding: .utf8))
                    // One is obsolete, and the other is for TLS. The player page may be part of others, and has its
                    // policy in its head.
                    let allowed =
                        ["X-XSS-Protection", "Strict-Transport-Security"]
                        + (target.kind == "media" ? ["X-Frame-Options", "CSP"] : [])
                    for group in ["vulnerabilities", "anomalies"] {
                        for (name, findings) in report[group].members {
                            for finding in findings.array {
                                let text = finding["info"].string ?? ""
                                let isKnown = allowed.contains { text.hasPrefix($0) }
                                #expect(isKnown, "\(target.kind): \(name): \(finding)")
                            }
                        }
                    }
                }
                try await victims.areWell()
            }
        }

        // MARK: By pages

        /// A node as it starts without any settings: open to this machine.
        private static func open(_ sandbox: Sandbox) async throws -> ClusterNode {
            try await Cluster.node("open", role: "origin", [:], sandbox)
        }

        @Test("pages of others change nothing on a node that asks this machine for no credentials, and read nothing")
        func pages() async throws {
            try await Sandbox.run { sandbox in
                let node = try await Self.open(sandbox)
                let reload = node.apiURL("/api/v2/reload")
                for headers in [
                    ["Origin: http://evil.test"], ["Origin: null"], ["Origin: http://127.0.0.1:1"],
                    ["Origin: http://127.0.0.1.evil.test:\(node.apiPort)"], ["Sec-Fetch-Site: cross-site"],
                    ["Origin: http://evil.test", "Content-Type: text/plain"],
                ] {
                    let reply = try await sandbox.request(reload, method: "POST", headers: headers)
                    #expect(reply.status == 403, "\(headers): \(reply)")
                    #expect(reply.header("Access-Control-Allow-Origin") == nil)
                }
                let own = ["Origin: http://127.0.0.1:\(node.apiPort)"]
                #expect(try await sandbox.request(reload, method: "POST", headers: own).status == 200)
                #expect(try await sandbox.request(reload, method: "POST").status == 200)
                // The name of a page that now points here.
                for host in [
                    "evil.test", "evil.test:\(node.apiPort)", "localhost.evil.test", "127.0.0.1.evil.test",
                    "1.evil.test",
                ] {
                    for path in ["/api/v1/clients", "/api/v2/settings", "/metrics"] {
                        let reply = try await sandbox.request(node.apiURL(path), headers: ["Host: \(host)"])
                        #expect(reply.status == 421, "\(host)\(path): \(reply)")
                    }
                }
                for host in ["localhost", "127.0.0.1:\(node.apiPort)", "[::1]:80", "node.localhost"] {
                    #expect(
                        try await sandbox.request(node.apiURL("/metrics"), headers: ["Host: \(host)"]).status == 200)
                }
                let preflight = try await sandbox.request(
                    reload, method: "OPTIONS",
                    headers: ["Origin: http://evil.test", "Access-Control-Request-Method: POST"])
                #expect(preflight.header("Access-Control-Allow-Origin") == nil)
                #expect(preflight.header("Access-Control-Allow-Methods") == nil)
                // JSONP is how SRS lets any page read and kick.
                for query in ["callback=steal", "callback=steal&method=DELETE", "callback=%3Cscript%3E"] {
                    let reply = try await sandbox.request(node.apiURL("/api/v1/clients?\(query)"))
                    #expect(reply.header("Content-Type")?.hasPrefix("application/json") == true)
                    #expect(!reply.text.contains("steal") && reply.json["code"].int == 0, "\(reply)")
                }
            }
        }

        @Test("who guesses credentials is slowed down, and who has them is not kept out by him")
        func guesses() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                for (node, secret, path) in [
                    (victims.origin, "api", "/api/v1/versions"), (victims.coordinator, "admin", "/api/v1/nodes"),
                ] {
                    let right = ["Authorization: Bearer \(Victims.secrets[secret] ?? "")"]
                    #expect(try await sandbox.request(node.apiURL(path), headers: right).status == 200)
                    var statuses: [Int] = []
                    for number in 0..<40 {
                        let wrong =
                            number % 2 == 0
                            ? ["Authorization: Bearer guess-\(number)"]
                            : ["Authorization: Basic \(Data("admin:\(number)".utf8).base64EncodedString())"]
                        let reply = try await sandbox.request(node.apiURL(path), headers: wrong)
                        statuses.append(reply.status)
                        if reply.status == 401 { #expect(reply.header("WWW-Authenticate") != nil) }
                        if reply.status == 429 { #expect(reply.header("Retry-After") != nil) }
                    }
                    #expect(statuses.first == 401 && statuses.last == 429, "\(statuses)")
                    #expect(Set(statuses) == [401, 429])
                    #expect(try await sandbox.request(node.apiURL(path), headers: right).status == 200)
                    #expect(try await sandbox.request(node.apiURL(path)).status == 401)
                    #expect(try await node.status(node.apiURL("/healthz")) == 200)
                }
                let basic = Data("admin:\(Victims.secrets["password"] ?? "")".utf8).base64EncodedString()
                let other = try await sandbox.request(
                    victims.origin.apiURL("/api/v1/versions"), headers: ["Authorization: Basic \(basic)"],
                    options: ["--interface", "127.0.0.50"])
                #expect(other.status == 200)
                try await victims.areWell()
            }
        }

        @Test("what clients write of themselves stays text: in JSON, in metrics, in logs and in headers")
        func texts() async throws {
            try await Sandbox.run { sandbox in
                let victims = try await Victims(sandbox)
                let name = "<svg/onload=alert(1)>&{};"
                let source = try await Media.makeSource(sandbox, seconds: 20, name: "texts.flv", size: "64x36")
                _ = try Media.publish(
                    sandbox, source, to: victims.origin.rtmp("live"), name: "hostile",
                    options: ["-rtmp_app", "live", "-rtmp_playpath", name])
                let agent = "<script>alert(1)</script>\u{202E}"
                let viewer = try Media.download(
                    sandbox, victims.origin.flv("live/one"), to: "hostile-viewer.flv",
                    options: ["-A", agent, "-e", "https://a.example/<b>?token=\(Victims.secrets["viewer"] ?? "")"])
                try await viewer.grows()
                let bearer = ["Authorization: Bearer \(Victims.secrets["api"] ?? "")"]
                try await until("the name is listed", within: .seconds(10), every: .milliseconds(200)) {
                    let streams = try await sandbox.request(
                        victims.origin.apiURL("/api/v2/streams"), headers: bearer
                    ).json["streams"].array
                    return streams.contains { $0["name"].string == name && $0["state"].string == "live" }
                }
                for path in ["/api/v1/streams", "/api/v1/clients?count=100", "/api/v2/sessions", "/metrics"] {
                    let reply = try await sandbox.request(victims.origin.apiURL(path), headers: bearer)
                    #expect(reply.header("X-Content-Type-Options") == "nosniff")
                    #expect(reply.header("Content-Type")?.contains("html") == false)
                    #expect(path == "/metrics" || reply.json != .null, "\(path): \(reply)")
                }
                let metrics = try await sandbox.request(victims.origin.apiURL("/metrics"), headers: bearer).text
                let line =
                    #/^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*",?)*\})? [-+.0-9eEInfNa]+$/#
                for text in metrics.split(separator: "\n") where !text.hasPrefix("#") {
                    #expect(text.wholeMatch(of: line) != nil, "\(text)")
                }
                let log = victims.origin.child.text
                #expect(!log.contains("\u{1B}") && !log.contains("\u{202E}"))
                try await victims.areWell()
            }
        }
    }
}
