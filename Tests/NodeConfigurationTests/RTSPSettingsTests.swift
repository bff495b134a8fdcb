import NIOCore
import SRSConfig
import Testing

@testable import NodeConfiguration

@Suite("Settings of RTSP")
struct RTSPSettingsTests: OriginFileTests {
    @Test("All keys reach their members")
    func keys() throws {
        let settings = try self.load(
            """
            rtsp:
              enabled: true
              listen: [":554", "[::1]:554"]
              tls: { listen: ":322", certificate: /dev/null, key: /dev/null }
              udp: false
              ports: 30000-30999
              authentication: [md5]
              realm: Cameras
              request_timeout: 3s
              session_timeout: 30s
              publish_idle_timeout: 4s
              receive_wait: 50ms
              maximum_connections: 7
              pulls:
                - live/door=rtsp://user:pa%3Ass@192.0.2.7/stream1
                - "a/b/yard?vhost=v&token=t=rtsps://192.0.2.8:3222/h264?x=1 udp on_demand insecure"
              pull_linger: 20s
              pull_wait: 6s
              pull_media_timeout: 8s
            stream:
              rtsp:
                enabled: false
                publishers: ["camera:secret:with:colons"]
                players: ["me:pw", "you:pw"]
                play_wait: 1s
            """)
        let rtsp = settings.rtsp
        #expect(rtsp.isEnabled && rtsp.listen.map(\.description) == ["0.0.0.0:554", "[::1]:554"])
        #expect(rtsp.tls.listen.map(\.port) == [322] && rtsp.tls.certificate == "/dev/null")
        #expect(!rtsp.udp && rtsp.ports == PortRange(first: 30_000, last: 30_999))
        #expect(rtsp.authentication == [.md5] && rtsp.realm == "Cameras")
        #expect(rtsp.requestTimeout == .seconds(3) && rtsp.sessionTimeout == .seconds(30))
        #expect(rtsp.publishIdleTimeout == .seconds(4) && rtsp.receiveWait == .milliseconds(50))
        #expect(rtsp.maximumConnections == 7 && rtsp.pullLinger == .seconds(20))
        #expect(rtsp.pullWait == .seconds(6) && rtsp.pullMediaTimeout == .seconds(8))
        let (door, yard) = (rtsp.pulls[0], rtsp.pulls[1])
        #expect(door.app == "live" && door.name == "door" && door.url == "rtsp://user:pa%3Ass@192.0.2.7/stream1")
        #expect(door.delivery == .auto && !door.isOnDemand && door.verifiesCertificate && door.vhost == nil)
        #expect(yard.app == "a/b" && yard.name == "yard" && yard.query == "vhost=v&token=t" && yard.vhost == "v")
        #expect(yard.url == "rtsps://192.0.2.8:3222/h264?x=1" && yard.delivery == .udp)
        #expect(yard.isOnDemand && !yard.verifiesCertificate)
        let stream = settings.stream.rtsp
        #expect(!stream.isEnabled && stream.playWait == .seconds(1))
        #expect(stream.publishers.map(\.name) == ["camera"])
        #expect(stream.publishers.map(\.password) == ["secret:with:colons"])
        #expect(stream.players.count == 2)
    }

    @Test("No description shows a password")
    func secrets() throws {
        let settings = try self.load("stream.rtsp.players: ['me:hush-hush']")
        #expect(!"\(settings.stream.rtsp.players) \(String(reflecting: settings.stream.rtsp))".contains("hush-hush"))
    }

    @Test(
        "A value that cannot be is refused, with what would do",
        arguments: [
            ("rtsp.ports: 30000", "FIRST-LAST"), ("rtsp.ports: 30001-30000", "FIRST-LAST"),
            ("rtsp.ports: 80-90", "FIRST-LAST"), ("rtsp.authentication: [ntlm]", "sha256, md5"),
            ("rtsp.pulls: ['rtsp://h/a']", "APP/STREAM=rtsp://"),
            ("rtsp.pulls: ['door=rtsp://h/a']", "APP/STREAM=rtsp://"),
            ("rtsp.pulls: ['live/door=rtsp:///a']", "APP/STREAM=rtsp://"),
            ("rtsp.pulls: ['live/door=rtsp://h/a always']", "APP/STREAM=rtsp://"),
            ("rtsp.pulls: ['live/door=http://h/a']", "APP/STREAM=rtsp://"),
            ("stream.rtsp.players: [me]", "NAME:PASSWORD"), ("stream.rtsp.players: [':x']", "NAME:PASSWORD"),
            ("stream.rtsp.publishers: ['me:']", "NAME:PASSWORD"),
        ])
    func refusals(yaml: String, hint: String) {
        let problems = self.problems(yaml)
        #expect(problems.count == 1 && problems.allSatisfy { $0.contains(hint) }, "\(problems)")
    }

    @Test(
        "What contradicts is told with both keys",
        arguments: [
            ("rtsp.listen: []", ["rtsp.listen", "rtsp.enabled"]),
            ("rtsp.listen: ':1935'", ["rtsp.listen", "rtmp.listen"]),
            ("rtsp.listen: [':9', '127.0.0.1:9']", ["rtsp.listen", "same port"]),
            ("rtsp.listen: ['[::]:9', '0.0.0.0:9']", ["rtsp.listen", "same port"]),
            ("rtsp.tls.listen: ':322'", ["rtsp.tls.listen", "rtsp.tls.certificate"]),
            ("rtsp.authentication: []", ["rtsp.authentication"]),
            ("rtsp.pulls: ['a/b=rtsp://h/1', 'a/b=rtsp://h/2']", ["rtsp.pulls", "a/b"]),
        ] as [(String, [String])])
    func contradictions(yaml: String, words: [String]) {
        let problems = self.problems(yaml)
        #expect(!problems.isEmpty && words.allSatisfy(problems.joined().contains), "\(problems)")
    }

    @Test("What is off contradicts nothing")
    func harmless() {
        #expect(self.problems("{ rtsp.enabled: false, rtsp.listen: [] }").isEmpty)
        #expect(self.problems("{ rtsp.enabled: false, rtsp.listen: ':1935' }").isEmpty)
    }

    @Test("SRS's directives become settings")
    func srs() throws {
        let text = """
            listen 1935;
            rtsp_server { enabled on; listen 5540; }
            vhost __defaultVhost__ { rtsp { enabled on; rtmp_to_rtsp on; } }
            """
        let result = SRSImport(try SRSConfigParser.parse(text.utf8), path: "srs.conf", role: .origin)
        #expect(result.notes.filter { $0.kind == .noEqual }.isEmpty, "\(result.notes)")
        let settings = try self.load(result.yaml)
        #expect(
            settings.rtsp.isEnabled && settings.rtsp.listen.map(\.port) == [5_540] && settings.stream.rtsp.isEnabled)
        let without = SRSImport(try SRSConfigParser.parse("listen 1935;".utf8), path: "srs.conf", role: .origin)
        #expect(try !self.load(without.yaml).rtsp.isEnabled)
    }
}
