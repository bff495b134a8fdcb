import Foundation
import Testing

extension ClusterTests {
    /// Who may publish and play, as players, encoders and curl see it.
    @Suite struct AccessProcessTests {
        private static let tokenSecret = "token-secret-of-the-access-tests-0123456789"
        private static let urlSecret = "url-secret-of-the-access-tests-0123456789"

        /// Apps with rules of their own.
        private static let apps = """
            vhosts:
              - name: __defaultVhost__
                domains: [localhost]
                apps:
                  members: {access.publish.token: required, access.play.token: required}
                  office: {access.publish.deny: [127.0.0.9], access.play.allow: [127.0.0.1, 127.0.0.16/28]}
                  pages: {access.referer.allow: ["*.example.com"], access.referer.allow_empty: false}
                  signed: {play.url_secret: "\(urlSecret)"}
                  few: {limits.viewers_per_stream: 2, limits.publishers_per_app: 1}
            """

        private static func origin(
            _ sandbox: Sandbox, _ settings: [String: String] = [:]
        ) async throws -> ClusterNode {
            let file = try sandbox.write("apps.yaml", Self.apps)
            let own = ["access.jwt.secret": Self.tokenSecret, "log.level": "debug"]
            return try await Cluster.node(
                "origin", role: "origin", own.merging(settings) { $1 }, sandbox,
                Launch(environment: ["WEIR_CONFIG": file.path]))
        }

        // MARK: Attempts

        /// What one that publishes with ffmpeg for a moment is told; `nil` if it may.
        private static func publish(_ sandbox: Sandbox, _ url: String, _ file: URL) async throws -> String? {
            let child = try sandbox.start(
                "publish", try Tools.ffmpeg,
                Media.quiet + ["-re", "-i", file.path, "-c", "copy", "-t", "2", "-f", "flv", url])
            let ending = try await child.wait(within: .seconds(15))
            return ending == .exited(0) ? nil : Self.told(child)
        }

        private static func play(_ sandbox: Sandbox, _ url: String) async throws -> String? {
            let child = try sandbox.start(
                "play", try Tools.ffmpeg,
                Media.quiet + ["-rw_timeout", "8000000", "-i", url, "-c", "copy", "-t", "1", "-f", "null", "-"])
            let ending = try await child.wait(within: .seconds(15))
            return ending == .exited(0) ? nil : Self.told(child)
        }

        /// The first line that tells what the server said.
        private static func told(_ child: Child) -> String {
            let lines = child.text.split(separator: "\n").map(String.init)
            let line = lines.first { $0.contains("Server error: ") || $0.contains("HTTP error ") } ?? child.text
            return line.components(separatedBy: "] ").last ?? line
        }

        /// The status of HTTP-FLV and of HLS, each for a client that nothing is known of.
        private static func statuses(
            _ sandbox: Sandbox, _ node: ClusterNode, _ key: String, query: String = "", prefix: String = "",
            _ options: [String] = []
        ) async throws -> [Int] {
            var found: [Int] = []
            for url in [node.flv(key), node.http("\(prefix)\(key).m3u8")] {
                let agent = ["-A", "agent-\(UUID().uuidString)", "-m", "2", "-o", "/dev/null"]
                found.append(try await sandbox.request("\(url)\(query)", options: agent + options).status)
            }
            return found
        }

        // MARK: Tokens

        /// Tokens by their names, made by hand: HS256 with Python's hmac, RS256 with openssl.
        private static func tokens(_ sandbox: Sandbox) async throws -> [String: String] {
            for arguments in [
                ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "private.pem"],
                ["pkey", "-in", "private.pem", "-pubout", "-out", "public.pem"],
                ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "other.pem"],
            ] {
                _ = try await sandbox.run(try Tools.command("openssl"), arguments)
            }
            let json = try await sandbox.report(
                "tokens",
                #"""
                import base64, hashlib, hmac, json, subprocess, sys, time

                secret, now = sys.argv[1].encode(), int(time.time())

                def b64(data): return base64.urlsafe_b64encode(data).decode().rstrip("=")

                def token(claims, alg="HS256", key=secret, **header):
                    parts = [dict({"alg": alg, "typ": "JWT"}, **header), claims]
                    text = ".".join(b64(json.dumps(part).encode()) for part in parts)
                    if alg == "HS256":
                        code = hmac.new(key, text.encode(), hashlib.sha256).digest()
                    elif alg == "RS256":
                        command = ["openssl", "dgst", "-sha256", "-sign", key, "-binary"]
                        code = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
                    else:
                        code = b"none"
                    return f"{text}.{b64(code)}"

                good = {"app": "members", "stream": "one", "action": ["publish", "play"], "exp": now + 600}
                print(json.dumps({
                    "good": token(good), "rsa": token(good, "RS256", "private.pem"),
                    "prefix": token(dict(good, stream="on*")), "brief": token(dict(good, exp=now + 8)),
                    "play": token(dict(good, action="play", sub="ann")),
                    "expired": token(dict(good, exp=now - 120)), "early": token(dict(good, nbf=now + 300)),
                    "endless": token({k: v for k, v in good.items() if k != "exp"}),
                    "app": token(dict(good, app="live")), "stream": token(dict(good, stream="two")),
                    "forged": token(good, key=b"x" * 40), "rsaForged": token(good, "RS256", "other.pem"),
                    "none": token(good, "none"), "critical": token(good, crit=["exp"]),
                    # The public key as the secret of HS256: the oldest trick.
                    "confused": token(good, key=open("public.pem", "rb").read()),
                    "broken": "a.b.c", "long": "e" * 9000,
                }))
                """#, [Self.tokenSecret], within: .seconds(20))
            return json.members.compactMapValues(\.string)
        }

        @Test("tokens open an app to those who publish and play; wrong ones are refused in each protocol's way")
        func tokens() async throws {
            try await Sandbox.run { sandbox in
                let tokens = try await Self.tokens(sandbox)
                let origin = try await Self.origin(
                    sandbox, ["access.jwt.public_key": sandbox.file("public.pem").path, "access.jwt.leeway": "0s"])
                let file = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                let key = "members/one"
                func query(_ name: String) throws -> String { "?token=\(try #require(tokens[name]))" }
                let publisher = try Media.publish(sandbox, file, to: origin.rtmp(key) + (try query("good")))
                try await origin.isLive(key)
                try await until("HLS is ready", within: .seconds(15)) {
                    try await Self.statuses(sandbox, origin, key, query: try query("good")) == [200, 200]
                }
                let reasons = [
                    "expired": "expired", "early": "not valid yet", "endless": "no expiry",
                    "forged": "signature is wrong",
                    "rsaForged": "signature is wrong", "none": "algorithm", "critical": "cannot be read",
                    "confused": "signature is wrong", "broken": "cannot be read", "long": "cannot be read",
                    "app": "not for this stream", "stream": "not for this stream", "": "A token is required",
                ]
                for (name, reason) in reasons {
                    let text = name.isEmpty ? "" : try query(name)
                    let status = ["app", "stream"].contains(name) ? 403 : 401
                    #expect(try await Self.statuses(sandbox, origin, key, query: text) == [status, status], "\(name)")
                    // ffmpeg keeps less of a URL than this one has.
                    guard name != "long" else { continue }
                    let player = try await Self.play(sandbox, origin.rtmp(key) + text)
                    #expect(player?.contains(reason) == true, "\(name): \(player ?? "plays")")
                    let other = try await Self.publish(sandbox, origin.rtmp(key) + text, file)
                    #expect(other?.contains(reason) == true, "\(name): \(other ?? "publishes")")
                }
                for name in ["good", "rsa", "prefix", "play"] {
                    #expect(
                        try await Self.statuses(sandbox, origin, key, query: try query(name)) == [200, 200], "\(name)")
                    #expect(try await Self.play(sandbox, origin.rtmp(key) + (try query(name))) == nil, "\(name)")
                }
                let bearer = ["-H", "Authorization: Bearer \(try #require(tokens["rsa"]))"]
                #expect(try await Self.statuses(sandbox, origin, key, bearer) == [200, 200])
                let player = try await Self.publish(sandbox, origin.rtmp(key) + (try query("play")), file)
                #expect(player?.contains("does not allow that") == true, "\(player ?? "publishes")")
                #expect(publisher.isRunning)
                try await Self.checkAnswer(sandbox, origin)
                try await Self.checkSecrecy(sandbox, origin, tokens)
            }
        }

        /// What a client that has to prove itself is told by HTTP.
        private static func checkAnswer(_ sandbox: Sandbox, _ origin: ClusterNode) async throws {
            for path in ["members/one.flv", "members/one.m3u8", "members/one.jpg", "members/one.mpd"] {
                let reply = try await sandbox.request(origin.http(path), options: ["-A", "agent-\(path)"])
                #expect(reply.status == 401, "\(path)")
                #expect(reply.header("WWW-Authenticate") == "Bearer realm=\"weir\"", "\(path)")
                #expect(reply.header("Content-Type") == "application/problem+json", "\(path)")
                #expect(reply.header("Cache-Control") == "no-store", "\(path)")
                #expect(reply.json["status"].int == 401 && reply.json["detail"].string == "A token is required.")
            }
        }

        /// No token, and no signature of one, in what is logged and told.
        private static func checkSecrecy(
            _ sandbox: Sandbox, _ origin: ClusterNode, _ tokens: [String: String]
        ) async throws {
            var texts = ["log": origin.child.text]
            for path in [
                "/api/v1/clients?count=100", "/api/v1/streams", "/api/v2/sessions?idle=true", "/api/v2/streams",
                "/api/v2/settings", "/metrics",
            ] {
                texts[path] = try await origin.api(path, in: sandbox).text
            }
            for (place, text) in texts {
                #expect(!text.isEmpty)
                for (name, token) in tokens where token.count > 20 {
                    let part = token.split(separator: ".").last.map(String.init) ?? token
                    #expect(!text.contains(part.prefix(24)), "\(name) in \(place)")
                }
                #expect(!text.contains(Self.tokenSecret) && !text.contains(Self.urlSecret), "\(place)")
            }
        }

        @Test("a session ends with its token")
        func expiry() async throws {
            try await Sandbox.run { sandbox in
                let tokens = try await Self.tokens(sandbox)
                let origin = try await Self.origin(sandbox, ["access.jwt.leeway": "0s"])
                let file = try await Media.makeSource(sandbox, seconds: 60, group: 25)
                let query = { (name: String) in "?token=\(tokens[name] ?? "")" }
                let brief = try Media.publish(sandbox, file, to: origin.rtmp("members/one") + query("brief"))
                try await origin.isLive("members/one")
                let viewer = try Media.download(sandbox, origin.flv("members/one") + query("brief"), to: "brief.flv")
                try await viewer.grows()
                try await brief.wait(within: .seconds(15))
                try await viewer.child.wait(within: .seconds(15))
                #expect(brief.ending != .exited(0))
                let counts = try await origin.api("/metrics", in: sandbox).text.split(separator: "\n")
                    .filter { $0.hasPrefix("weir_session_ends_total") }
                #expect(counts.contains("weir_session_ends_total{reason=\"limited\"} 2"))
            }
        }

        // MARK: Addresses, pages, signatures

        @Test("addresses and pages that may not are refused as forbidden, others get in")
        func addresses() async throws {
            try await Sandbox.run { sandbox in
                let origin = try await Self.origin(sandbox)
                let file = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                for key in ["office/one", "pages/one"] {
                    _ = try Media.publish(sandbox, file, to: origin.rtmp(key), name: "publisher-\(key.prefix(5))")
                    try await origin.isLive(key)
                }
                try await until("HLS is ready", within: .seconds(15)) {
                    try await Self.statuses(sandbox, origin, "office/one") == [200, 200]
                }
                for (address, status) in [("127.0.0.1", 200), ("127.0.0.20", 200), ("127.0.0.32", 403)] {
                    let found = try await Self.statuses(sandbox, origin, "office/one", ["--interface", address])
                    #expect(found == [status, status], "\(address)")
                }
                // A proxy that nobody trusts can say what it likes.
                let forged = ["--interface", "127.0.0.32", "-H", "X-Forwarded-For: 127.0.0.1"]
                #expect(try await Self.statuses(sandbox, origin, "office/one", forged) == [403, 403])
                let relays = [
                    try await CountingRelay(sandbox, targets: [origin.rtmpPort], source: "127.0.0.9"),
                    try await CountingRelay(sandbox, targets: [origin.rtmpPort], source: "127.0.0.20"),
                ]
                let denied = try await Self.publish(sandbox, relays[0].rtmp(0, "office/two"), file)
                #expect(denied?.contains("This address may not do that") == true, "\(denied ?? "publishes")")
                #expect(try await Self.publish(sandbox, relays[1].rtmp(0, "office/two"), file) == nil)
                let player = try await Self.play(sandbox, relays[0].rtmp(0, "office/one"))
                #expect(player?.contains("This address may not do that") == true, "\(player ?? "plays")")
                #expect(try await Self.play(sandbox, relays[1].rtmp(0, "office/one")) == nil)

                for (referer, status) in [
                    ("https://www.example.com/watch", 200), ("https://example.com/", 403), ("https://evil.test/", 403),
                    ("https://www.example.com.evil.test/", 403), ("www.example.com", 403), ("", 403),
                ] {
                    let options = referer.isEmpty ? [] : ["-e", referer]
                    let found = try await Self.statuses(sandbox, origin, "pages/one", options)
                    #expect(found == [status, status], "\(referer)")
                }
            }
        }

        @Test("signatures that --sign-path prints open RTMP, FLV and files until they expire, and nothing else")
        func signatures() async throws {
            try await Sandbox.run { sandbox in
                let origin = try await Self.origin(sandbox)
                let file = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                _ = try Media.publish(sandbox, file, to: origin.rtmp("signed/one"))
                try await origin.isLive("signed/one")
                func sign(_ path: String, _ expires: String, _ secret: String) async throws -> [String: String] {
                    let text = try await sandbox.run(
                        try Tools.program("origin"),
                        ["--sign-path", path, "--expires", expires, "--secret", secret])
                    let lines = text.split(separator: "\n").map { $0.split(separator: ":", maxSplits: 1) }
                    return Dictionary(
                        lines.filter { $0.count == 2 }
                            .map { (String($0[0]), $0[1].trimmingCharacters(in: .whitespaces)) }
                    ) { $1 }
                }
                func found(_ signature: [String: String]) async throws -> [Int] {
                    try await Self.statuses(
                        sandbox, origin, "signed/one", query: "?\(signature["query"] ?? "")",
                        prefix: "\(signature["prefix"]?.dropFirst() ?? "")/")
                }
                let stream = try await sign("/signed/one", "1h", Self.urlSecret)
                try await until("HLS is ready", within: .seconds(15)) { try await found(stream) == [200, 200] }
                #expect(try await found(try await sign("/signed/", "1h", Self.urlSecret)) == [200, 200])
                #expect(try await Self.play(sandbox, "\(origin.rtmp("signed/one"))?\(stream["query"] ?? "")") == nil)
                let brief = try await sign("/signed/one", "1s", Self.urlSecret)
                try await Task.sleep(for: .seconds(3))
                for wrong in [
                    brief, try await sign("/signed/two", "1h", Self.urlSecret),
                    try await sign("/other/", "1h", Self.urlSecret),
                    try await sign("/signed/one", "1h", "another-secret-of-the-tests-0123456789"),
                ] {
                    #expect(try await found(wrong) == [403, 403], "\(wrong)")
                    let player = try await Self.play(sandbox, "\(origin.rtmp("signed/one"))?\(wrong["query"] ?? "")")
                    #expect(player?.contains("signature") == true, "\(player ?? "plays")")
                }
                #expect(try await Self.statuses(sandbox, origin, "signed/one") == [403, 403])
                // A signature in the query of a playlist would be lost at its segments.
                #expect(
                    try await Self.statuses(sandbox, origin, "signed/one", query: "?\(stream["query"] ?? "")")
                        == [200, 403])
                let log = origin.child.text
                for signature in [stream, brief] {
                    let code = signature["query"]?.components(separatedBy: "signature=").last ?? "none"
                    #expect(!log.contains(code))
                }
            }
        }

        // MARK: Limits

        @Test("limits of streams, apps and addresses refuse one too many, and let the next in when somebody leaves")
        func limits() async throws {
            try await Sandbox.run { sandbox in
                let origin = try await Self.origin(sandbox, ["limits.connections_per_address": "4"])
                let file = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                _ = try Media.publish(sandbox, file, to: origin.rtmp("few/one"))
                try await origin.isLive("few/one")
                let relay = try await CountingRelay(sandbox, targets: [origin.rtmpPort], source: "127.0.0.21")
                let second = try await Self.publish(sandbox, relay.rtmp(0, "few/two"), file)
                #expect(second?.contains("as many publishers") == true, "\(second ?? "publishes")")

                func watch(_ name: String, _ address: String) throws -> Recording {
                    try Media.download(
                        sandbox, origin.flv("few/one"), to: "\(name).flv", options: ["--interface", address])
                }
                let viewers = [try watch("one", "127.0.0.31"), try watch("two", "127.0.0.32")]
                for viewer in viewers { try await viewer.grows() }
                let other = ["--interface", "127.0.0.33"]
                #expect(try await Self.statuses(sandbox, origin, "few/one", other) == [429, 429])
                let reply = try await sandbox.request(origin.flv("few/one"), options: other)
                #expect(reply.json["detail"].string?.contains("as many viewers") == true, "\(reply)")
                #expect(reply.header("Retry-After") != nil)
                let player = try await Self.play(sandbox, relay.rtmp(0, "few/one"))
                #expect(player?.contains("as many viewers") == true, "\(player ?? "plays")")
                try await viewers[0].stop()
                try await until("there is room", within: .seconds(5)) {
                    try await Self.statuses(sandbox, origin, "few/one", other).first == 200
                }

                // Connections that do nothing count as well.
                let crowd = try sandbox.python(
                    "crowd",
                    """
                    import socket, sys, time
                    held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), source_address=("127.0.0.40", 0))
                            for _ in range(8)]
                    time.sleep(0.5)
                    closed = 0
                    for one in held:
                        one.settimeout(0.2)
                        try:
                            closed += one.recv(1) == b""
                        except TimeoutError:
                            pass
                        except OSError:
                            closed += 1
                    print("closed", closed, flush=True)
                    time.sleep(60)
                    """, ["\(origin.httpPort)"])
                try await until("the crowd is in", within: .seconds(5)) { crowd.text.contains("closed") }
                #expect(crowd.text.contains("closed 4"), "\(crowd.text)")
                let refused = ["--interface", "127.0.0.40"]
                #expect(try await Self.statuses(sandbox, origin, "few/one", refused) == [0, 0])
                crowd.destroy()
                try await until("the address has room again", within: .seconds(5)) {
                    try await Self.statuses(sandbox, origin, "few/nobody", refused) == [404, 404]
                }
                let counts = try await origin.api("/metrics", in: sandbox).text.split(separator: "\n")
                    .filter { $0.contains("refus") && !$0.hasSuffix(" 0") }
                for name in [
                    "weir_connections_refused_total{reason=\"address_connections\"}",
                    "weir_refusals_total{transport=\"rtmp\",cause=\"limited\"}",
                ] {
                    #expect(counts.contains { $0.hasPrefix(name) }, "\(name)")
                }
            }
        }
    }
}
