import NIOCore
import Testing

@testable import NodeConfiguration

@Suite("Settings of access, limits, callbacks and APIs")
struct AdministrationTests {
    @Test("every new kind of value is read from YAML and written back")
    func kinds() throws {
        let settings = try load(
            """
            limits: { connections_per_address: 10, sessions: 100 }
            http.trusted_proxies: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7]
            api: { username: ops, password: "p:w", cors: https://console.example, hosts: [Weir.Example, "::1"] }
            access.jwt:
              secret: 0123456789abcdef0123456789abcdef
              jwks_url: https://id.example/keys?x=1
              require_expiry: no
            hooks: { timeout: 2s, secret: s }
            heartbeat: { enabled: yes, url: "http://h.example:8085/api/v1/servers", ports: on }
            metrics: { streams: off, maximum_streams: 7 }
            shutdown: { viewer_wait: 30s }
            stream:
              access:
                publish: { allow: [10.0.0.0/8], token: required }
                play: { deny: all }
                referer: { allow: ["*.example.com", example.com], allow_empty: false }
              limits: { publish_bit_rate: 2.5Mbps, viewers_per_stream: 5 }
              hooks: { on_publish: ["http://a/x", "https://b:1/y?z=[app]"], unreachable: allow }
              forward.destinations: "rtmp://backup.example/[app]/[stream]?vhost=[vhost]"
            """)
        #expect(settings.limits.connectionsPerAddress == 10 && settings.limits.sessions == 100)
        #expect(settings.http.trustedProxies == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])
        #expect(settings.api.username == "ops" && settings.api.password.value == "p:w")
        #expect(settings.api.hosts == ["weir.example", "::1"])
        #expect(settings.access.jwt.jwksURL?.description == "https://id.example:443/keys?x=1")
        #expect(settings.access.jwt.isEnabled && !settings.access.jwt.requiresExpiry)
        #expect(settings.hooks.timeout == .seconds(2) && settings.heartbeat.ports && !settings.metrics.streams)
        #expect(settings.stream.access.publish.token == .required && settings.stream.access.play.deny == ["all"])
        #expect(settings.stream.access.referer.allow == [.below("example.com"), .exact("example.com")])
        #expect(settings.stream.limits.publishBitRate == 2_500_000 && settings.shutdown.viewerWait == .seconds(30))
        #expect(settings.stream.hooks.onPublish.count == 2 && settings.stream.hooks.unreachable == .allow)
        let target = try #require(settings.stream.forward.destinations.first)
        #expect(target.url(vhost: "v", app: "a/b", stream: "s") == "rtmp://backup.example/a/b/s?vhost=v")
        let printed = ConfigurationPrinter.yaml(settings)
        #expect(printed.contains("publish_bit_rate: 2500kbps") && !printed.contains("p:w"), "\(printed)")
    }

    @Test(
        "values of the wrong form are refused with what is expected",
        arguments: [
            ("http.trusted_proxies: all", "10.0.0.0/8"), ("http.trusted_proxies: 10.0.0.0/33", "10.0.0.0/8"),
            ("stream.access.play.allow: 1.2.3", "or all"), ("stream.access.play.deny: host.example", "or all"),
            ("stream.limits.publish_bit_rate: 5MB", "bit rate"), ("stream.limits.publish_bit_rate: -1", "bit rate"),
            ("heartbeat.url: ftp://h/", "http://HOST"), ("access.jwt.jwks_url: id.example", "http://HOST"),
            ("stream.forward.destinations: http://h/a/b", "rtmp://HOST"),
            ("stream.forward.destinations: 'rtmp://h/a'", "rtmp://HOST"),
            ("stream.forward.destinations: 'rtmp://[app]/a/b'", "rtmp"),
            ("stream.forward.destinations: 'rtmp://h/[app]/[name]'", "[stream]"),
            ("stream.forward.destinations: 'rtmp://h/[app/b'", "rtmp://HOST"),
            ("api.hosts: 'weir.example:80'", "without a port"), ("api.username: 'a b'", "letters"),
            ("stream.access.referer.allow: 'http://x.y'", "domain"),
        ])
    func refused(yaml: String, expected: String) {
        let found = problems(yaml)
        #expect(found.count == 1 && found[0].contains(expected), "\(found)")
    }

    @Test(
        "what contradicts itself is refused with the keys that take part",
        arguments: [
            ("api.tls: { listen: ':1990', certificate: c, key: k }", ["api.tls.listen", "api.token", "api.password"]),
            ("api.username: a", ["api.username", "api.password"]),
            ("api.password: a", ["api.password", "api.username"]),
            (
                "{ api.token: t, api.tls: { listen: '127.0.0.1:1985', certificate: c, key: k } }",
                ["api.tls.listen", "same port"]
            ),
            ("access.jwt.secret: short", ["access.jwt.secret", "32"]),
            ("heartbeat.enabled: true", ["heartbeat.url"]),
            ("stream.access.play.token: required", ["stream.access.play.token", "access.jwt.secret"]),
            (
                "vhosts: [{ name: a, stream: { access.publish.token: required } }]",
                ["vhosts[0].stream.access.publish.token", "jwks_url"]
            ),
        ])
    func contradictions(yaml: String, words: [String]) throws {
        let text = try #require(problems(yaml).first)
        for word in words { #expect(text.contains(word), "\(text)") }
    }

    @Test("a user with a password is enough for an API that others can reach")
    func allowed() {
        #expect(problems("{ api.listen: ':1985', api.username: a, api.password: b }").isEmpty)
        #expect(
            problems("{ stream.access.play.token: required, access.jwt.public_key: key.pem }").isEmpty)
    }

    @Test("the coordinator's TLS is held to the same rules as its plain listener")
    func coordinator() throws {
        let tls = "coordinator.tls: { listen: ':7443', certificate: c, key: k }"
        #expect(problems(tls, role: .coordinator).first?.contains("cluster.secret") == true)
        #expect(problems("{ \(tls), cluster.secret: s }", role: .coordinator).isEmpty)
        #expect(problems("coordinator.tls.listen: '127.0.0.1:7443'", role: .coordinator).count == 2)
        #expect(
            problems("coordinator.tls: { listen: '127.0.0.1:7000', certificate: c, key: k }", role: .coordinator)
                .first?.contains("same port") == true)
        let settings = try load(
            "coordinator: { admin_token: t, desired: { egress_per_edge: 8Gbps, target_load: 60 } }", role: .coordinator)
        #expect(settings.coordinator.desired.egressPerEdge == 8_000_000_000)
        #expect(settings.coordinator.adminToken.value == "t" && settings.coordinator.desired.targetLoadPercent == 60)
    }

    @Test("files that cannot be read are named by their key")
    func files() {
        func unreadable(_ yaml: String, _ role: NodeSettings.Role) -> [String] {
            do throws(ConfigurationError) {
                _ = try ConfigurationLoader.load(
                    role: role, file: .init(path: "f.yaml", text: yaml), isReadable: { _ in false })
                return []
            } catch {
                return error.problems.map(\.key)
            }
        }
        #expect(
            unreadable("api.tls: { listen: '127.0.0.1:1', certificate: c, key: k }", .origin)
                == ["api.tls.certificate", "api.tls.key"])
        #expect(
            unreadable("coordinator.tls: { listen: '127.0.0.1:1', certificate: c, key: k }", .coordinator)
                == ["coordinator.tls.certificate", "coordinator.tls.key"])
    }

    @Test("a path and its query are signed for a stream or an app of a vhost")
    func signing() throws {
        func lines(_ path: String, _ vhost: String = "__defaultVhost__") throws -> [String: String] {
            let text = try SignedAddress(path: path, vhost: vhost, expires: 4_000_000_000, secret: "k").description
            let pairs = text.split(separator: "\n").map { $0.split(separator: ":", maxSplits: 1) }
            return Dictionary(uniqueKeysWithValues: pairs.map { (String($0[0]), String($0[1].drop { $0 == " " })) })
        }
        let stream = try lines("/live/demo")
        let prefix = try #require(stream["prefix"])
        let query = try #require(stream["query"])
        #expect(prefix.hasPrefix("/~4000000000s~") && query.hasPrefix("expires=4000000000&signature="))
        #expect(stream["HLS"] == "\(prefix)/live/demo.m3u8" && stream["FLV"] == "/live/demo.flv?\(query)")
        let app = try lines("/live/")
        #expect(app["prefix"]?.hasPrefix("/~4000000000a~") == true)
        #expect(app["HLS"] == "\(app["prefix"] ?? "")/live/STREAM.m3u8")
        #expect(try lines("/live/demo", "v") != stream)
        #expect(throws: SignedAddress.Problem.noSecret) {
            try SignedAddress(path: "/live/demo", vhost: "v", expires: 1, secret: "")
        }
        for path in ["live/demo", "/live", "/", "", "/live/a b", "/../x"] {
            #expect(throws: SignedAddress.Problem.notAStream(path)) {
                try SignedAddress(path: path, vhost: "v", expires: 1, secret: "k")
            }
        }
    }
}
