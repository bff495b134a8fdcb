import NIOCore
import Testing

@testable import NodeConfiguration

/// Loads with a YAML text, and gives back what is wrong with it, one line each.
func problems(
    _ yaml: String? = nil, role: NodeSettings.Role = .origin, environment: [String: String] = [:],
    assignments: [String] = []
) -> [String] {
    do throws(ConfigurationError) {
        _ = try load(yaml, role: role, environment: environment, assignments: assignments)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

func load(
    _ yaml: String? = nil, role: NodeSettings.Role = .origin, environment: [String: String] = [:],
    assignments: [String] = []
) throws(ConfigurationError) -> NodeSettings {
    try ConfigurationLoader.load(
        role: role, file: yaml.map { ConfigurationLoader.File(path: "f.yaml", text: $0) }, environment: environment,
        assignments: assignments, hostName: "host", coreCount: 4)
}

@Suite("Loading")
struct LoaderTests {
    @Test("an origin needs no file, and is a complete single server")
    func defaults() throws {
        let settings = try load()
        #expect(settings.rtmp.listen == [ListenAddress(host: "0.0.0.0", port: 1_935)])
        #expect(settings.http.listen == [ListenAddress(host: "0.0.0.0", port: 8_080)])
        #expect(settings.api.listen.isLoopback)
        #expect(settings.cluster.coordinator.isEmpty)
        #expect(settings.node.id == "host-origin-1935")
        #expect(settings.node.advertise == "host")
        #expect(settings.eventLoops == 4)
    }

    @Test("a node that listens on loopback advertises loopback, unless told otherwise")
    func advertise() throws {
        #expect(try load("rtmp: { listen: '127.0.0.1:1936' }").node.advertise == "127.0.0.1")
        #expect(try load("rtmp.listen: '127.0.0.1:1936'").node.id == "host-origin-1936")
        #expect(try load("node: { advertise: 10.0.0.1, id: a }").node.advertise == "10.0.0.1")
        #expect(try load("node: { advertise: '::1' }").node.advertise == "::1")
        #expect(try load(role: .coordinator).node.advertise == "127.0.0.1")
    }

    @Test("the file wins over defaults, the environment over the file, and the last --set over all")
    func order() throws {
        let yaml = "rtmp:\n  chunk_size: 1000\n  amf_maximum_depth: 10\n  amf_maximum_values: 100\n"
        let settings = try load(
            yaml, environment: ["WEIR_RTMP_AMF_MAXIMUM_DEPTH": "11", "WEIR_RTMP_AMF_MAXIMUM_VALUES": "101"],
            assignments: ["rtmp.amf_maximum_values=102", "rtmp.amf_maximum_values=103"])
        #expect(settings.rtmp.chunkSize == 1_000)
        #expect(settings.rtmp.amfMaximumDepth == 11)
        #expect(settings.rtmp.amfMaximumValues == 103)
        #expect(settings.rtmp.maximumChunkStreams == 64)
    }

    @Test("values of every kind are read from YAML")
    func kinds() throws {
        let settings = try load(
            """
            log: { level: debug, format: json }
            rtmp:
              listen: [":1935", "[::1]:1936"]
              maximum_message_size: 4MiB
              handshake_timeout: 2500ms
            http:
              listen: []
              cors: https://example.com
            api: { token: "abc" }
            cluster:
              coordinator: http://127.0.0.1:7000
              origins: [a, "b:1936"]
            stream:
              gop_cache: no
              flv.hevc: legacy
              play: { tcp_nodelay: on }
            """)
        #expect(settings.log.level == .debug && settings.log.format == .json)
        #expect(settings.rtmp.listen.map(\.description) == ["0.0.0.0:1935", "[::1]:1936"])
        #expect(settings.rtmp.maximumMessageBytes == 4 << 20)
        #expect(settings.rtmp.handshakeTimeout == .milliseconds(2_500))
        #expect(settings.http.listen.isEmpty && settings.http.corsOrigins == ["https://example.com"])
        #expect(settings.api.token.value == "abc")
        #expect(settings.cluster.coordinator == [ServiceURL(host: "127.0.0.1", port: 7_000)])
        #expect(settings.cluster.origins.map(\.description) == ["a:1935", "b:1936"])
        #expect(
            !settings.stream.gopCache && settings.stream.flv.hevc == .legacy && settings.stream.play.tcpNoDelay == .on)
    }

    @Test("a file of comments, and sections whose keys are all comments, change nothing")
    func emptySections() throws {
        #expect(try load("# nothing\n") == load())
        #expect(try load("rtmp:\n  # listen: :1\nstream:\nvhosts:\n") == load())
        #expect(try load("") == load())
    }

    @Test("an unknown key is named with its place and the nearest key")
    func unknownKeys() {
        #expect(
            problems("rtmp:\n  chunksize: 1\n")
                == ["f.yaml:2:3: error: rtmp.chunksize: unknown key; did you mean \"rtmp.chunk_size\"?"])
        #expect(problems("rtpm:\n  a: 1\n  b: 2\n") == ["f.yaml:1:1: error: rtpm: unknown key; did you mean \"rtmp\"?"])
        #expect(problems("listen: 1") == ["f.yaml:1:1: error: listen: unknown key; did you mean \"rtmp.listen\"?"])
        #expect(problems("zebra_crossing: 1") == ["f.yaml:1:1: error: zebra_crossing: unknown key"])
        #expect(
            problems("stream: { publish: { polcy: grace } }")
                == ["f.yaml:1:22: error: stream.publish.polcy: unknown key; did you mean \"stream.publish.policy\"?"])
    }

    @Test("all mistakes of all sources are reported at once, in the order of the sources")
    func allAtOnce() {
        let found = problems(
            "rtmp: { chunk_size: 1, listen: [':1935', nope] }\nlog: loud\n", environment: ["WEIR_LOG_LEVEL": "loud"],
            assignments: ["a=1", "rtmp.chunk_size=x"])
        #expect(
            found.map { $0.prefix { $0 != " " } } == [
                "f.yaml:1:21:", "f.yaml:1:42:", "f.yaml:2:6:", "environment", "--set", "--set",
            ])
        #expect(found.first == "f.yaml:1:21: error: rtmp.chunk_size: 1 is out of range; allowed is 128 to 65536")
        #expect(found.last == "--set rtmp.chunk_size: error: rtmp.chunk_size: \"x\" is not valid; expected an integer")
    }

    @Test("a value of the wrong shape tells what was expected and found")
    func wrongShapes() {
        #expect(problems("rtmp: 5") == ["f.yaml:1:7: error: rtmp: expected a mapping of keys to values, found \"5\""])
        #expect(
            problems("log: { level: [info] }").first?.hasSuffix("error, critical, found a list") == true)
        #expect(problems("rtmp: { chunk_size: }").first?.contains("the value is missing; expected integer") == true)
        #expect(
            problems("rtmp: { listen: [[a]] }").first?.contains("expected a scalar in the list, found a list") == true)
        #expect(problems("[a, b]") == ["f.yaml:1:1: error: expected a mapping of keys to values, found a list"])
        #expect(problems("vhosts: {}").first?.contains("expected a list of vhosts, found a mapping") == true)
    }

    @Test("YAML that does not parse is reported with its place")
    func syntax() {
        #expect(problems("rtmp:\n  - a\n b: {").first?.hasPrefix("f.yaml:3:") == true)
        #expect(problems("a: \u{1}").first?.contains("not valid YAML") == true)
        #expect(
            problems("rtmp: { chunk_size: 1000, chunk_size: 2000 }").first?.contains(
                "chunk_size: the key is there twice") == true)
        let deep = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(problems(deep).first?.contains("nested deeper than 16 levels") == true)
    }

    @Test("a dotted key is short for a mapping, and both together are a duplicate")
    func dottedKeys() throws {
        #expect(try load("rtmp.chunk_size: 1000").rtmp.chunkSize == 1_000)
        #expect(
            problems("rtmp: { chunk_size: 1000 }\nrtmp.chunk_size: 2000")
                == ["f.yaml:2:18: error: rtmp.chunk_size: the key is there twice"])
    }

    @Test("settings of another role are refused in the file and by --set, and passed over in the environment")
    func otherRoles() throws {
        #expect(
            problems("coordinator: { lease: 20s }")
                == ["f.yaml:1:1: error: coordinator: the origin has no such setting; it belongs to the coordinator"])
        #expect(
            problems(role: .coordinator, assignments: ["rtmp.listen=:1"])
                == [
                    "--set rtmp.listen: error: rtmp.listen: the coordinator has no such setting; it belongs to the origin and the edge"
                ])
        #expect(problems("vhosts: []", role: .coordinator).count == 1)
        #expect(try load(environment: ["WEIR_COORDINATOR_LISTEN": ":7000"]) == load())
    }

    @Test("lists are separated by commas outside YAML, and may be emptied")
    func commas() throws {
        let settings = try load(
            environment: ["WEIR_RTMP_LISTEN": ":1935, [::1]:1936"], assignments: ["http.listen=", "http.cors=*"])
        #expect(settings.rtmp.listen.map(\.port) == [1_935, 1_936])
        #expect(settings.http.listen.isEmpty)
    }

    @Test("an unknown WEIR_ variable is an error; those of the build and of Kubernetes are not")
    func environmentNames() throws {
        #expect(
            problems(environment: ["WEIR_RTMP_LISTN": ":1"])
                == ["environment variable WEIR_RTMP_LISTN: error: unknown key; did you mean \"WEIR_RTMP_LISTEN\"?"])
        let strangers = [
            "WEIR_BUILD", "WEIR_CONFIG", "WEIR_ORIGIN_SERVICE_HOST", "WEIR_ORIGIN_SERVICE_PORT_RTMP",
            "WEIR_ORIGIN_PORT",
            "WEIR_ORIGIN_PORT_1935_TCP", "WEIR_ORIGIN_PORT_1935_TCP_ADDR", "PATH", "weir_rtmp",
        ]
        let environment = Dictionary(uniqueKeysWithValues: strangers.map { ($0, "x") })
        #expect(try load(environment: environment) == load())
    }

    @Test("--set wants KEY=VALUE with one known key; the value may hold further equals signs")
    func assignments() throws {
        #expect(problems(assignments: ["rtmp.listen"]).first?.contains("expected KEY=VALUE") == true)
        #expect(
            problems(assignments: ["rtmp=1"]).first?.contains("expected the key of one value, found a section") == true)
        #expect(problems(assignments: ["vhosts[0].name=a"]).count == 1)
        #expect(problems(assignments: ["=1"]).count == 1)
        #expect(try load(assignments: ["api.token=a=b"]).api.token.value == "a=b")
    }

    @Test("a secret is in no message, wherever it was written")
    func secretsInMessages() {
        let found = problems(
            "api:\n  token: \"two words\"\n", environment: ["WEIR_CLUSTER_SECRET": "two words"],
            assignments: ["api.token=two words"])
        #expect(found.count == 3)
        #expect(found.allSatisfy { !$0.contains("two words") && $0.contains("<redacted>") })
    }

    @Test("a file that a setting names has to be readable")
    func unreadableFiles() {
        let yaml = "rtmp.tls: { listen: ':443', certificate: c.pem, key: k.pem }"
        let found = #expect(throws: ConfigurationError.self) {
            try ConfigurationLoader.load(
                role: .origin, file: .init(path: "f.yaml", text: yaml), isReadable: { $0 == "k.pem" })
        }
        #expect(found?.problems.map(\.description) == ["f.yaml:1:42: error: rtmp.tls.certificate: cannot read: c.pem"])
    }
}

@Suite("Spelling")
struct SpellingTests {
    @Test("the distance counts insertions, deletions, substitutions and swaps of neighbours")
    func distance() {
        #expect(Spelling.distance("", "") == 0)
        #expect(Spelling.distance("", "abc") == 3)
        #expect(Spelling.distance("abc", "") == 3)
        #expect(Spelling.distance("kitten", "sitting") == 3)
        #expect(Spelling.distance("rtpm", "rtmp") == 1)
    }

    @Test("nothing is proposed for a word that resembles none")
    func nothingNear() {
        #expect(Spelling.nearest(to: "xyzzy", among: ["rtmp.listen", "log.level"]) == nil)
        #expect(Spelling.nearest(to: "a", among: ["b"]) == nil)
    }
}
