import Media
import NIOCore
import Testing

@testable import NodeConfiguration

@Suite("Vhosts")
struct VhostTests {
    private let yaml = """
        stream: { latency: low, play: { slow_viewer_age: 5s } }
        vhosts:
          - name: sports
            domains: [live.sports.example, "*.sports.example"]
            stream:
              publish: { policy: reject }
            apps:
              interview: { latency: realtime }
              deep/app:
                publish.grace: 1min
          - name: vip
            domains: vip.sports.example
          - name: __defaultVhost__
            stream: { gop_cache: false }
        """

    @Test("an app starts from its vhost, a vhost from the node, whatever source set it")
    func inheritance() throws {
        let settings = try load(self.yaml, assignments: ["stream.idle_timeout=33s"])
        let sports = settings.streamSettings(vhost: "sports", app: "live")
        #expect(sports.latency == .low && sports.publish.policy == .reject && sports.idleTimeout == .seconds(33))
        let interview = settings.streamSettings(vhost: "sports", app: "interview")
        #expect(interview.latency == .realtime && interview.publish.policy == .reject)
        #expect(interview.play.slowViewerAge == .seconds(5))
        #expect(settings.streamSettings(vhost: "sports", app: "deep/app").publish.grace == .minutes(1))
        #expect(settings.streamSettings(vhost: "vip", app: "interview").latency == .low)
        #expect(settings.streamSettings(vhost: "unheard", app: "live") == settings.stream)
        let key = try StreamKey(app: "live", name: "a")
        #expect(!settings.streamSettings(for: key).gopCache)
    }

    @Test("domains choose the vhost, exact ones first, names count, and strangers get the default")
    func domains() throws {
        let settings = try load(self.yaml)
        #expect(settings.vhost(forDomain: "LIVE.sports.example:1935") == "sports")
        #expect(settings.vhost(forDomain: "other.sports.example") == "sports")
        #expect(settings.vhost(forDomain: "vip.sports.example") == "vip")
        #expect(settings.vhost(forDomain: "VIP") == "vip")
        #expect(settings.vhost(forDomain: "sports.example") == StreamKey.defaultVhost)
        #expect(settings.vhost(forDomain: "") == StreamKey.defaultVhost)
    }

    @Test(
        "mistakes in vhosts are found at their place",
        arguments: [
            ("- {}", "f.yaml:2:3: error: vhosts[0].name: the value is missing"),
            ("- name: a/b", "f.yaml:2:9: error: vhosts[0].name: \"a/b\" is not valid"),
            (
                "- { name: a, domain: b }",
                "f.yaml:2:14: error: vhosts[0].domain: unknown key; did you mean \"domains\"?"
            ),
            ("- { name: a, domains: ['*'] }", "f.yaml:2:24: error: vhosts[0].domains: \"*\" is not valid"),
            (
                "- { name: a, stream: { plai: {} } }",
                "f.yaml:2:24: error: vhosts[0].stream.plai: unknown key; did you mean \"play\"?"
            ),
            (
                "- { name: a, stream: { latency: x } }",
                "f.yaml:2:33: error: vhosts[0].stream.latency: \"x\" is not valid"
            ),
            (
                "- { name: a, apps: { live: { gop_cache: 7 } } }",
                "f.yaml:2:41: error: vhosts[0].apps.live.gop_cache: \"7\""
            ),
            ("- { name: a, apps: { 'l ve': {} } }", "f.yaml:2:22: error: vhosts[0].apps.l ve: \"l ve\" is not valid"),
            (
                "- { name: a, apps: [live] }",
                "f.yaml:2:20: error: vhosts[0].apps: expected a mapping of apps, found a list"
            ),
            ("- a", "f.yaml:2:3: error: vhosts[0]: expected a mapping with a name, found \"a\""),
        ])
    func mistakes(vhost: String, expected: String) throws {
        let found = problems("vhosts:\n\(vhost)")
        #expect(found.count == 1, "\(found)")
        #expect(try #require(found.first).hasPrefix(expected), "\(found)")
    }

    @Test("a shorthand app without settings is the vhost's")
    func emptyApp() throws {
        let settings = try load("vhosts: [{ name: a, stream: { latency: low }, apps: { live: } }]")
        #expect(settings.streamSettings(vhost: "a", app: "live").latency == .low)
    }
}
