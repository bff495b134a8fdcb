import Media
import NIOCore
import StreamHub
import Testing

@testable import Hooks

extension AllTests {
    @Suite struct SmallRulesTests {
        @Test("Ids are stable, of SRS's form, and differ")
        func idsAreStableOfSrss() {
            let key = HooksBench.key("live", "livestream")
            #expect(SRSIdentifiers.stream(key) == SRSIdentifiers.stream(HooksBench.key("live", "livestream")))
            var seen: Set<String> = [SRSIdentifiers.vhost("live"), SRSIdentifiers.server(node: "live")]
            for index in 0..<20_000 { seen.insert(SRSIdentifiers.stream(HooksBench.key("live", "s\(index)"))) }
            #expect(seen.count == 20_002)
            for id in seen {
                #expect(id.hasPrefix("vid-") && id.utf8.count == 11)
                #expect(id.dropFirst(4).utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) })
            }
            // Parts do not run together.
            #expect(
                SRSIdentifiers.stream(HooksBench.key("a/b", "c")) != SRSIdentifiers.stream(HooksBench.key("a", "b/c")))
        }

        @Test("Configurations that cannot work are refused")
        func configurationsThatCannotWorkAre() throws {
            func problem(_ change: (inout HooksConfiguration) -> Void) -> HooksConfigurationError? {
                var configuration = HooksConfiguration(serverID: "s", serviceID: "t", node: "n", version: "1")
                change(&configuration)
                do throws(HooksConfigurationError) {
                    try configuration.validate()
                    return nil
                } catch {
                    return error
                }
            }
            #expect(problem { _ in } == nil)
            #expect(problem { $0.timeout = .zero } == .timeout(.zero))
            #expect(problem { $0.shortTimeout = .seconds(-1) } == .timeout(.seconds(-1)))
            #expect(problem { $0.retries = -1 } == .retries(-1))
            #expect(problem { $0.retries = 101 } == .retries(101))
            #expect(problem { $0.pauses = [] } == .noPauses)
            #expect(problem { $0.queue = 0 } == .queue(0))
            #expect(problem { $0.concurrency = 0 } == .concurrency(0))
            #expect(problem { $0.maximumAnswerBytes = 0 } == .maximumAnswerBytes(0))
            #expect(problem { $0.failuresUntilShort = 0 } == .failuresUntilShort(0))
        }

        @Test(
            "URLs are told apart by scheme, host and port, and printed without secrets",
            arguments: [
                ("http://h:1/a?b", "http://h:1", "http://h:1/a", "/a?b"),
                ("https://u:p@h/a/b#f", "https://u:p@h", "https://h/a/b", "/a/b"),
                ("http://h?q=1", "http://h", "http://h", "/?q=1"), ("http://h", "http://h", "http://h", "/"),
                ("nonsense?x", "nonsense?x", "nonsense", "/"),
            ])
        func urls(url: String, origin: String, printable: String, target: String) {
            #expect(HookCall.origin(of: url) == origin)
            #expect(HookCall.printable(url) == printable)
            #expect(HookCall.target(of: url) == target)
        }

        @Test("What publishers write cannot change another part of a notification's URL")
        func whatPublishersWriteCannotChange() throws {
            let configuration = HooksConfiguration(serverID: "s", serviceID: "t", node: "n", version: "1")
            func make(_ template: String, _ name: String, _ parameter: String, url: String = "u") -> String {
                NotifyURL.make(
                    template, configuration,
                    HookSegment(
                        key: HooksBench.key("live", name), epoch: 1, sequence: 1, durationMillis: 1, path: "", url: url,
                        playlistPath: "", playlistURL: "", track: "main", byteCount: 1), parameter: parameter)
            }
            #expect(make("http://h/[stream]", "a&b=c+d@é", "") == "http://h/a%26b%3Dc%2Bd%40%C3%A9")
            #expect(
                make("http://h/[stream]/[param]", "[app]", "?a=1&b=\r\n #x")
                    == "http://h/%5Bapp%5D/?a=1&b=%0D%0A%20%23x")
            #expect(make("http://h/[unknown]x[app", "s", "") == "http://h/[unknown]x[app")
            #expect(
                make("http://h/[server_id][service_id][app][ts_url]", "s", "", url: "live/s/1.ts")
                    == "http://h/stlivelive/s/1.ts")
            #expect(make("http://h/[ts_url]", "s", "", url: "https://cdn/1.ts") == "https://cdn/1.ts")
        }

        @Test("Limits of a policy tighten those that are there")
        func limitsOfAPolicyTighten() {
            let now = NIODeadline.uptimeNanoseconds(1_000)
            var limits = SessionLimits()
            #expect(SessionPolicy().limits(within: limits, now: now, nowSeconds: 100) == limits)
            limits.bitsPerSecond = 500
            limits.until = now + .seconds(10)
            let wide = SessionPolicy(maximumBitRate: 900, maximumSeconds: 20, expiresAt: 300)
            var both = limits
            both.expirySeconds = 300
            #expect(wide.limits(within: limits, now: now, nowSeconds: 100) == both)
            let tight = SessionPolicy(maximumBitRate: 100, maximumSeconds: 9, expiresAt: 105)
            let limited = tight.limits(within: limits, now: now, nowSeconds: 100)
            #expect(limited.bitsPerSecond == 100)
            #expect(limited.until == now + .seconds(5))
            #expect(limited.expirySeconds == 105)
            // Out of all reach, and long ago.
            let odd = SessionPolicy(maximumSeconds: .max, expiresAt: 0)
            #expect(odd.limits(within: SessionLimits(), now: now, nowSeconds: 100).until == now)
            let endless = SessionPolicy(maximumSeconds: .max)
            #expect(endless.limits(within: SessionLimits(), now: now, nowSeconds: 100).until != nil)
        }

        @Test("Refusals have their causes for the peer")
        func refusalsHaveTheirCausesFor() {
            let causes: [HookRefusal.Cause: SessionRefusal.Cause] = [
                .refused: .forbidden, .unreadable: .forbidden, .unreachable: .unavailable, .overloaded: .unavailable,
            ]
            for cause in HookRefusal.Cause.allCases {
                let refusal = HookRefusal(event: .onPlay, cause: cause, reason: "why")
                #expect(refusal.sessionRefusal.text == "why")
                #expect(refusal.sessionRefusal.cause == causes[cause])
            }
        }

        @Test("A policy of wrong types is left out by the field")
        func aPolicyOfWrongTypes() {
            func read(_ session: String) -> HookAnswer {
                HookAnswer(status: 200, body: ByteBuffer(string: #"{"code":0,"data":{"session":\#(session)}}"#))
            }
            #expect(read("{}") == .agreed(SessionPolicy(), urls: nil, problems: []))
            #expect(read("[]") == .agreed(SessionPolicy(), urls: nil, problems: ["session"]))
            #expect(
                read(#"{"maximum_bit_rate":1}"#) == .agreed(SessionPolicy(maximumBitRate: 1), urls: nil, problems: []))
            for value in ["0", "-1", "1.5", "\"1\"", "true", "[]", "1e99"] {
                #expect(
                    read(#"{"maximum_bit_rate":\#(value),"record":false}"#)
                        == .agreed(SessionPolicy(records: false), urls: nil, problems: ["maximum_bit_rate"]))
            }
            #expect(
                read(#"{"publish_policy":"maybe"}"#)
                    == .agreed(SessionPolicy(), urls: nil, problems: ["publish_policy"]))
            for policy in SessionPolicy.PublishPolicy.allCases {
                #expect(
                    read(#"{"publish_policy":"\#(policy.rawValue)"}"#)
                        == .agreed(SessionPolicy(publishPolicy: policy), urls: nil, problems: []))
            }
        }

        @Test("Answers of deep nesting and broken UTF-8 are unreadable, not fatal")
        func answersOfDeepNestingAnd() {
            let deep = String(repeating: "[", count: 30_000)
            #expect(HookAnswer(status: 200, body: ByteBuffer(string: deep)) == .unreadable)
            #expect(HookAnswer(status: 200, body: ByteBuffer(bytes: [0xFF, 0xFE, 0x30])) == .unreadable)
            let object = #"{"data":"# + String(repeating: #"{"a":"#, count: 5_000)
            #expect(HookAnswer(status: 200, body: ByteBuffer(string: object)) == .unreadable)
        }

        @Test("Times fall into their buckets")
        func timesFallIntoTheirBuckets() {
            var statistics = HookEventStatistics()
            for millis in [0, 5, 6, 10, 10_000, 10_001] as [Int64] { statistics.took(.milliseconds(millis)) }
            #expect(statistics.latency == [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
            #expect(statistics.latencySum == .milliseconds(20_022))
        }
    }
}
