import NIOCore
import Testing

@testable import NodeConfiguration

@Suite("Differences of configurations")
struct SettingsDifferenceTests {
    @Test("every section says when its changes count, and every exception is a key")
    func complete() {
        let sections = Set(SettingSchema.sections.map(\.name))
        #expect(sections.isSubset(of: Set(SettingSchema.effects.keys)))
        for name in SettingSchema.effects.keys where !sections.contains(name) {
            #expect(SettingSchema.entries[name] != nil, "\(name)")
        }
        #expect(SettingSchema.effect(of: "event_loops") == .restart)
        #expect(SettingSchema.effect(of: "rtmp.listen") == .restart)
        #expect(SettingSchema.effect(of: "log.level") == .now && SettingSchema.effect(of: "log.format") == .restart)
        #expect(SettingSchema.effect(of: "stream.publish.grace") == .newSessions)
        #expect(SettingSchema.effect(of: "vhosts.a.stream.latency") == .newSessions)
        #expect(
            SettingSchema.effect(of: "rtc.listen") == .restart && SettingSchema.effect(of: "rtc.ice_servers") == .now)
        #expect(SettingSchema.effect(of: "stream.rtc.nack") == .newSessions)
    }

    @Test("equal configurations do not differ")
    func equal() throws {
        let yaml = "vhosts: [{ name: a, stream: { latency: low }, apps: { x: { gop_cache: no } } }]"
        #expect(SettingsDifference(from: try load(yaml), to: try load(yaml)).isEmpty)
    }

    @Test("changes have their key, both values and when they count; secrets are not shown")
    func changes() throws {
        let old = try load("{ api.token: hunter2, log.level: info, rtmp.listen: ':1935' }")
        let new = try load(
            "{ api.token: hunter3, log.level: debug, rtmp.listen: [':1935', ':1936'], api.username: a, api.password: b }"
        )
        let found = SettingsDifference(from: old, to: new)
        #expect(
            found.changes == [
                SettingChange(key: "log.level", old: "info", new: "debug", effect: .now),
                SettingChange(
                    key: "rtmp.listen", old: "0.0.0.0:1935", new: "0.0.0.0:1935, 0.0.0.0:1936", effect: .restart),
                SettingChange(key: "api.token", old: "(set)", new: "(set)", effect: .now),
                SettingChange(key: "api.username", old: "", new: "a", effect: .now),
                SettingChange(key: "api.password", old: "", new: "(set)", effect: .now),
            ])
        #expect(found.waitingForRestart == ["rtmp.listen"])
    }

    @Test("vhosts that come, go and change are named, and what they inherit is not named twice")
    func vhosts() throws {
        let old = try load(
            """
            vhosts:
              - { name: a, stream: { latency: low }, apps: { x: { gop_cache: no } } }
              - { name: b }
            """)
        let new = try load(
            """
            stream.idle_timeout: 1min
            vhosts:
              - { name: c }
              - { name: a, domains: x.y, stream: { latency: realtime }, apps: { x: { gop_cache: no, play.tcp_nodelay: on } } }
            """)
        let keys = SettingsDifference(from: old, to: new).changes.map(\.key)
        #expect(
            keys == [
                "stream.idle_timeout", "vhosts.b", "vhosts.c", "vhosts.a.domains", "vhosts.a.stream.latency",
                "vhosts.a.apps.x.play.tcp_nodelay",
            ])
        let reordered = SettingsDifference(
            from: try load("vhosts: [{ name: a }, { name: b }]"), to: try load("vhosts: [{ name: b }, { name: a }]"))
        #expect(reordered.changes.map(\.key) == ["vhosts"])
    }

    @Test("what may change while the program runs is taken, the rest stays")
    func taking() throws {
        let old = try load("{ rtmp.chunk_size: 1000, stream.latency: low }")
        let new = try load("{ rtmp.chunk_size: 2000, stream.latency: realtime, api.token: t, vhosts: [{ name: a }] }")
        let mixed = old.taking(new)
        #expect(mixed.rtmp.chunkSize == 1_000 && mixed.stream.latency == .realtime && mixed.api.token.value == "t")
        #expect(mixed.vhosts == new.vhosts)
        #expect(SettingsDifference(from: mixed, to: new).changes.map(\.key) == ["rtmp.chunk_size"])
    }

    @Test("a key of streams is set by text, and a wrong one is named")
    func policies() throws {
        var stream = StreamSettings()
        try stream.set("publish.policy", to: "reject")
        try stream.set("access.play.deny", to: "10.0.0.0/8, 192.0.2.1")
        try stream.set("access.play.allow", to: "")
        #expect(stream.publish.policy == .reject && stream.access.play.deny == ["10.0.0.0/8", "192.0.2.1"])
        func problem(_ key: String, _ text: String) -> String {
            var stream = StreamSettings()
            do throws(ConfigurationProblem) {
                try stream.set(key, to: text)
                return ""
            } catch {
                return error.description
            }
        }
        #expect(problem("publish.polcy", "x").contains("did you mean \"publish.policy\""))
        #expect(problem("latency", "fast").contains("stream.latency") && problem("latency", "fast").contains("fast"))
        #expect(!problem("play.url_secret", "hun ter2").contains("ter2"))
        #expect(problem("stream.latency", "low").contains("unknown key"))
    }
}
