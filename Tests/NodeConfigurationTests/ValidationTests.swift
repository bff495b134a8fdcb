import Testing

@testable import NodeConfiguration

@Suite("Contradictions")
struct ValidationTests {
    @Test(
        "what contradicts itself is refused with the keys that take part",
        arguments: [
            ("api.listen: ':1985'", ["api.listen", "api.token"]),
            ("rtmp.tls.listen: ':443'", ["rtmp.tls.listen", "rtmp.tls.certificate"]),
            ("http.tls.key: a.pem", ["http.tls.key", "http.tls.listen"]),
            ("{ rtmp.listen: [], http.listen: [] }", ["rtmp.listen", "http.tls.listen"]),
            ("http.listen: ':1935'", ["http.listen", "rtmp.listen"]),
            ("rtmp.listen: [':1935', '127.0.0.1:1935']", ["rtmp.listen", "127.0.0.1:1935"]),
            ("cluster.coordinator: 'http://coordinator:7000'", ["cluster.coordinator", "cluster.secret"]),
            ("vhosts: [{ name: a }, { name: A }]", ["vhosts[1].name", "vhosts[0].name"]),
            (
                "vhosts: [{ name: a, domains: x.y }, { name: b, domains: X.y }]",
                ["vhosts[1].domains", "vhosts[0].domains"]
            ),
        ])
    func origins(yaml: String, words: [String]) throws {
        let found = problems(yaml)
        let text = try #require(found.first)
        #expect(text.hasPrefix("f.yaml:1:") || yaml.contains("[], http"))
        for word in words {
            #expect(text.contains(word), "\(text)")
        }
    }

    @Test("a listener other than loopback is fine with a token, and port 0 never clashes")
    func allowed() {
        #expect(problems("{ api.listen: ':1985', api.token: t }").isEmpty)
        #expect(
            problems("{ rtmp.listen: '127.0.0.1:0', http.listen: '127.0.0.1:0', api.listen: '127.0.0.1:0' }").isEmpty)
        #expect(problems("{ rtmp.listen: '127.0.0.1:1', http.listen: '127.0.0.2:1' }").isEmpty)
        #expect(problems("{ cluster.coordinator: 'http://c:7000', cluster.secret: s }").isEmpty)
    }

    @Test("an edge needs a coordinator or origins")
    func edges() {
        #expect(problems(role: .edge).first?.contains("cluster.origins") == true)
        #expect(problems("cluster.origins: a", role: .edge).isEmpty)
        #expect(problems("cluster.coordinator: 'http://localhost:7000'", role: .edge).isEmpty)
    }

    @Test("a coordinator that others can reach needs the secret, and its times have an order")
    func coordinators() {
        #expect(problems(role: .coordinator).isEmpty)
        #expect(problems("coordinator.listen: ':7000'", role: .coordinator).first?.contains("cluster.secret") == true)
        #expect(problems("{ coordinator.listen: ':7000', cluster.secret: s }", role: .coordinator).isEmpty)
        #expect(problems("coordinator.suspect_after: 6s", role: .coordinator).first?.contains("dead_after") == true)
        #expect(problems("coordinator.suspect_after: 5s", role: .coordinator).first?.contains("dead_after") == true)
        #expect(
            problems("{ cluster.heartbeat: 4s }", role: .coordinator).first?.contains("cluster.heartbeat") == true)
        #expect(problems("rtmp.maximum_partial_bytes: 1MiB").first?.contains("maximum_message_size") == true)
        #expect(problems("coordinator.lease: 4s", role: .coordinator).first?.contains("dead_after") == true)
        #expect(problems("coordinator.database: ''", role: .coordinator).count == 1)
    }

    @Test("settings of files that could not work name the key, for vhosts too")
    func files() {
        #expect(problems("stream.snapshot.interval: 500ms").first?.contains("stream.snapshot.interval") == true)
        #expect(problems("stream.snapshot.interval: 1s").isEmpty)
        #expect(problems("media.directory: /").first?.contains("media.directory") == true)
        #expect(problems("{ stream.hls.dvr_window: 1h, stream.hls.disk: false }").count == 1)
        #expect(problems("stream.hls.part_duration: 1500ms").first?.contains("segment_duration") == true)
        #expect(problems("stream.hls.path: '[app]/[stream].ts'").first?.contains("[seq]") == true)
        #expect(problems("stream.dvr.path: '../[app]/[stream]'").count == 1)
        #expect(problems("stream.hls.group_members: game").count == 1)
        #expect(problems("stream.hls.group_members: game=hd+").count == 1)
        #expect(problems("stream.hls.group_members: [game=hd+sd]").isEmpty)
        let signed = "{ stream.play.url_secret: s, cluster.coordinator: 'http://127.0.0.1:7000' }"
        #expect(problems(signed).first?.contains("cluster.secret") == true)
        #expect(
            problems("vhosts: [{ name: a, stream: { snapshot.interval: 10ms } }]").first?.contains("vhosts[0]") == true)
    }

    @Test("contradictions are not looked for among values that are wrong anyway")
    func errorsFirst() {
        #expect(problems("{ api.listen: ':1985', rtmp.chunk_size: 1 }").count == 1)
    }
}
