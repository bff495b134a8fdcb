import Foundation
import Media
import NIOCore
import StreamHub
import Synchronization
import Testing

@testable import Hooks

extension AllTests {
    @Suite struct DecisionTests {
        private static func decide(
            _ answer: FakeReceiver.Answer, policy: HookURLs.Unreachable = .deny,
            _ change: (inout HooksConfiguration) -> Void = { _ in }
        ) async throws -> (decision: HookDecision, time: Duration, statistics: HookEventStatistics) {
            try await FakeReceiver.with({ _ in answer }) { receiver in
                let url = receiver.url()
                let bench = HooksBench(change) { _ in HookURLs([.onPlay: [url]], unreachable: policy) }
                return try await bench.run { bench in
                    let start = ContinuousClock.now
                    let peer = HookPeer(id: "abcd1234", ip: "192.0.2.7")
                    let decision = await bench.hooks.decide(.onPlay, HooksBench.key, peer)
                    let statistics = bench.hooks.statistics().events[.onPlay] ?? HookEventStatistics()
                    return (decision, ContinuousClock.now - start, statistics)
                }
            }
        }

        private static func refusal(_ cause: HookRefusal.Cause, _ reason: String) -> HookDecision {
            .refuse(HookRefusal(event: .onPlay, cause: cause, reason: reason))
        }

        @Test(
            "Answers that agree let the session in",
            arguments: [
                "0", " 0 ", "0\n", "\r\n0\r\n", #"{"code":0}"#, " {\"code\": 0, \"msg\": \"welcome\"}\n",
                #"{"code":0,"data":null}"#, #"{"code":0,"data":"text"}"#, #"{"code":0,"data":{"session":null}}"#,
            ])
        func agreement(body: String) async throws {
            for status in ["200 OK", "201 Created"] {
                let result = try await Self.decide(.text(body, status: status))
                #expect(result.decision == .allow(SessionPolicy()))
                #expect(result.statistics.delivered == 1)
                #expect(result.statistics.latency.reduce(0, +) == 1)
            }
        }

        @Test(
            "Answers that are no agreement refuse, and say so",
            arguments: [
                "", "00", "1.5", "\"0\"", "ok", "{}", "[0]", #"{"code":"0"}"#, #"{"code":null}"#, #"{"code":0"#,
                "0 0 x",
            ])
        func unreadable(body: String) async throws {
            let result = try await Self.decide(.text(body))
            #expect(
                result.decision
                    == Self.refusal(.unreadable, "refused, because the answer to on_play cannot be understood"))
            #expect(result.statistics.refused == 1)
            #expect(result.statistics.delivered == 0)
        }

        @Test(
            "A receiver's reason is told to the peer",
            arguments: [
                (#"{"code":1,"msg":"no such user"}"#, "200 OK", "no such user"),
                (#"{"code":7,"message":"expired"}"#, "200 OK", "expired"),
                (#"{"code":7,"data":{"reason":"too many"}}"#, "200 OK", "too many"),
                (#"{"code":0,"msg":"forbidden here"}"#, "403 Forbidden", "forbidden here"),
                ("0", "204 No Content", "refused by on_play"),
                ("0", "500 Internal Server Error", "refused by on_play"),
                ("0", "404 Not Found", "refused by on_play"),
                (#"{"code":1}"#, "200 OK", "refused by on_play"), ("1\n", "200 OK", "refused by on_play"),
                ("-4", "201 Created", "refused by on_play"),
                (#"{"code":1,"msg":"a\u0000b\u001b[31m\u202Ec\r\nd"}"#, "200 OK", "a b [31mc d"),
            ])
        func reasons(body: String, status: String, reason: String) async throws {
            let sent: FakeReceiver.Answer =
                status.hasPrefix("204")
                ? .raw(ByteBuffer(string: "HTTP/1.1 204 No Content\r\n\r\n"))
                : .text(body, status: status)
            let result = try await Self.decide(sent)
            #expect(result.decision == Self.refusal(.refused, reason))
        }

        @Test("A reason is cut to 200 characters")
        func aReasonIsCutTo() async throws {
            let result = try await Self.decide(.text(#"{"code":1,"msg":"\#(String(repeating: "é", count: 5_000))"}"#))
            #expect(result.decision == Self.refusal(.refused, String(repeating: "é", count: 200)))
        }

        @Test("A redirect is not followed")
        func aRedirectIsNotFollowed() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { other in
                let location = "Location: \(other.url())\r\n"
                let result = try await Self.decide(.text("", status: "302 Found", headers: location))
                #expect(result.decision == Self.refusal(.refused, "refused by on_play"))
                #expect(other.requests.isEmpty)
            }
        }

        @Test("An answer of more than 64 KiB is cut off and refused")
        func anAnswerOfMoreThan() async throws {
            let flood = String(repeating: " ", count: 10 << 20) + "0"
            let result = try await Self.decide(.text(flood))
            #expect(
                result.decision
                    == Self.refusal(.unreadable, "refused, because the answer to on_play cannot be understood"))
            // The limit itself is allowed.
            let most = try await Self.decide(.text(String(repeating: " ", count: (64 << 10) - 1) + "0"))
            #expect(most.decision == .allow(SessionPolicy()))
            let more = try await Self.decide(.text(String(repeating: " ", count: 64 << 10) + "0"))
            #expect(more.decision != .allow(SessionPolicy()))
        }

        @Test(
            "A receiver that gives no whole answer in time is unreachable, and the policy holds",
            arguments: [
                FakeReceiver.Answer.silence, .drip("0", .milliseconds(100)), .late("0", .seconds(5)), .hangUp,
                .raw(ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0")),
                .raw(ByteBuffer(string: "no HTTP at all\r\n\r\n")),
            ])
        func unreachable(answer: FakeReceiver.Answer) async throws {
            let denied = try await Self.decide(answer) { $0.timeout = .milliseconds(400) }
            #expect(
                denied.decision == Self.refusal(.unreachable, "the server that decides on on_play cannot be reached"))
            #expect(denied.time < .seconds(4))
            #expect(denied.statistics.failed == 1)
            let allowed = try await Self.decide(answer, policy: .allow) { $0.timeout = .milliseconds(400) }
            #expect(allowed.decision == .allow(SessionPolicy()))
            #expect(allowed.time < .seconds(4))
        }

        @Test("A receiver whose port is closed is unreachable at once")
        func aReceiverWhosePortIs() async throws {
            let port = try await closedPort()
            for policy in HookURLs.Unreachable.allCases {
                let bench = HooksBench { _ in
                    HookURLs([.onPlay: ["http://127.0.0.1:\(port)/"]], unreachable: policy)
                }
                try await bench.run { bench in
                    let start = ContinuousClock.now
                    let decision = await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b"))
                    #expect(ContinuousClock.now - start < .seconds(2))
                    if case .allow = decision { #expect(policy == .allow) } else { #expect(policy == .deny) }
                }
            }
        }

        @Test(
            "URLs that cannot be called are unreachable",
            arguments: ["", "nonsense", "ftp://h/", "http://", "http://[::"])
        func badURL(url: String) async throws {
            let bench = HooksBench { _ in HookURLs([.onPlay: [url]]) }
            try await bench.run { bench in
                let decision = await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b"))
                guard case .refuse(let refusal) = decision else { return #expect(Bool(false), "it was let in") }
                #expect(refusal.cause == .unreachable)
            }
        }

        @Test("Receivers are asked in their order, and the first that refuses ends it")
        func receiversAreAskedInTheir() async throws {
            try await FakeReceiver.with({ request in
                request.target == "/2" ? .text(#"{"code":3,"msg":"second says no"}"#) : .agreement
            }) { receiver in
                let urls = ["/1", "/2", "/3"].map { receiver.url($0) }
                let bench = HooksBench { _ in HookURLs([.onPublish: urls]) }
                try await bench.run { bench in
                    let decision = await bench.hooks.decide(.onPublish, HooksBench.key, HookPeer(id: "a", ip: "b"))
                    #expect(
                        decision
                            == .refuse(HookRefusal(event: .onPublish, cause: .refused, reason: "second says no")))
                    #expect(receiver.requests.map(\.target) == ["/1", "/2"])
                }
            }
        }

        @Test("All receivers together have one deadline")
        func allReceiversTogetherHaveOne() async throws {
            try await FakeReceiver.with({ _ in .late("0", .milliseconds(300)) }) { receiver in
                let urls = (0..<6).map { receiver.url("/\($0)") }
                let bench = HooksBench({ $0.timeout = .milliseconds(700) }) { _ in HookURLs([.onPlay: urls]) }
                try await bench.run { bench in
                    let start = ContinuousClock.now
                    let decision = await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b"))
                    #expect(ContinuousClock.now - start < .seconds(4))
                    #expect(receiver.requests.count <= 3)
                    if case .allow = decision { #expect(Bool(false), "nobody had time to agree") }
                }
            }
        }

        @Test("A change of the URLs holds from the next event on")
        func aChangeOfTheUrls() async throws {
            try await FakeReceiver.with({ $0.target == "/no" ? .text("1") : .agreement }) { receiver in
                let current = Current(receiver.url("/yes"))
                let bench = HooksBench { _ in HookURLs([.onPlay: [current.url]]) }
                try await bench.run { bench in
                    let peer = HookPeer(id: "a", ip: "b")
                    #expect(await bench.hooks.decide(.onPlay, HooksBench.key, peer) == .allow(SessionPolicy()))
                    current.url = receiver.url("/no")
                    #expect(await bench.hooks.decide(.onPlay, HooksBench.key, peer) != .allow(SessionPolicy()))
                }
            }
        }

        @Test("A receiver that fails again and again gets short deadlines until it answers")
        func aReceiverThatFailsAgain() async throws {
            let silent = Current("yes")
            try await FakeReceiver.with({ _ in silent.url == "yes" ? .silence : .agreement }) { receiver in
                let url = receiver.url()
                let bench = HooksBench({
                    $0.timeout = .milliseconds(600)
                    $0.shortTimeout = .milliseconds(150)
                    $0.probeInterval = .seconds(1)
                }) { _ in HookURLs([.onPlay: [url]], unreachable: .allow) }
                try await bench.run { bench in
                    func time() async -> Duration {
                        let start = ContinuousClock.now
                        let peer = HookPeer(id: "a", ip: "b")
                        #expect(await bench.hooks.decide(.onPlay, HooksBench.key, peer) == .allow(SessionPolicy()))
                        return ContinuousClock.now - start
                    }
                    for _ in 0..<3 { #expect(await time() >= .milliseconds(550)) }
                    #expect(bench.hooks.statistics().unreachable == 1)
                    // After a while one has the whole time to find out, the next ones not.
                    var shortCalls = 0
                    while shortCalls < 20, await time() < .milliseconds(550) { shortCalls += 1 }
                    #expect((2..<20).contains(shortCalls))
                    let next = [await time(), await time()]
                    #expect(next.contains { $0 < .milliseconds(550) })
                    silent.url = "no"
                    try await until {
                        _ = await time()
                        return bench.hooks.statistics().unreachable == 0
                    }
                    silent.url = "yes"
                    #expect(await time() >= .milliseconds(550))
                }
            }
        }

        @Test("More sessions than may wait are treated as if the receiver were away")
        func moreSessionsThanMayWait() async throws {
            try await FakeReceiver.with({ _ in .late("0", .milliseconds(500)) }) { receiver in
                let url = receiver.url()
                let bench = HooksBench({ $0.queue = 2 }) { _ in HookURLs([.onPlay: [url]]) }
                try await bench.run { bench in
                    let decisions = await withTaskGroup(of: HookDecision.self) { group in
                        for _ in 0..<5 {
                            group.addTask {
                                await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b"))
                            }
                        }
                        return await group.reduce(into: [HookDecision]()) { $0.append($1) }
                    }
                    #expect(decisions.count { $0 == .allow(SessionPolicy()) } == 2)
                    #expect(
                        decisions.count {
                            $0 == Self.refusal(.overloaded, "too many wait for the server that decides on on_play")
                        } == 3)
                    #expect(bench.hooks.statistics().events[.onPlay]?.dropped == 3)
                }
            }
        }

        @Test("A session that goes away ends its question, and the receiver is not blamed")
        func aSessionThatGoesAway() async throws {
            try await FakeReceiver.with({ _ in .silence }) { receiver in
                let url = receiver.url()
                let bench = HooksBench({ $0.failuresUntilShort = 1 }) { _ in HookURLs([.onPlay: [url]]) }
                try await bench.run { bench in
                    let task = Task { await bench.hooks.decide(.onPlay, HooksBench.key, HookPeer(id: "a", ip: "b")) }
                    _ = try await receiver.requests(1)
                    let start = ContinuousClock.now
                    task.cancel()
                    _ = await task.value
                    #expect(ContinuousClock.now - start < .seconds(2))
                    #expect(bench.hooks.statistics().unreachable == 0)
                }
            }
        }
    }
}

/// A text that a test changes.
final class Current: Sendable {
    private let value: Mutex<String>

    init(_ value: String) { self.value = Mutex(value) }

    var url: String {
        get { self.value.withLock { $0 } }
        set { self.value.withLock { $0 = newValue } }
    }
}
