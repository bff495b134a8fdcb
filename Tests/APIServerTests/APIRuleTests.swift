import HTTPTypes
import NIOCore
import Testing

@testable import APIServer

@Suite("Rules of an API server")
struct APIRuleTests {
    @Test("roles include what they say")
    func roles() {
        let table: [(APIRole, [APIRole])] = [
            (.admin, [.viewer, .operator, .admin]), (.operator, [.viewer, .operator]), (.viewer, [.viewer]),
            (.node, [.viewer, .node]),
        ]
        for (role, included) in table {
            #expect(APIRole.allCases.filter { role.includes($0) } == APIRole.allCases.filter(included.contains))
        }
    }

    @Test("credentials are read, and never described")
    func credentials() throws {
        #expect(APICredentials(authorization: "Bearer abc") == .bearer("abc"))
        #expect(
            APICredentials(authorization: "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
                == .basic(user: "Aladdin", password: "open sesame"))
        #expect(APICredentials(authorization: "Basic Og") == .basic(user: "", password: ""))
        for text in [
            "Bearer", "Bearer ", "Bearer \u{e9}", "Basic !", "Basic QQ==", "Basic A", "Basic QR", "Basic QQ=",
            "Token x", "",
        ] {
            #expect(APICredentials(authorization: text) == nil, "\(text)")
        }
        #expect(APICredentials(authorization: "Bearer " + String(repeating: "a", count: 9_000)) == nil)
        let secret = APICredentials.basic(user: "user", password: "hunter2")
        var dumped = ""
        dump(secret, to: &dumped)
        #expect(!"\(secret)\(String(reflecting: secret))\(dumped)".contains("hunter"))
        #expect(secret.matches(user: "user", password: "hunter2") && !secret.matches(user: "user", password: ""))
        #expect(!APICredentials.basic(user: "", password: "").matches(user: "", password: ""))
        #expect(!APICredentials.bearer("").matches(token: "") && !secret.matches(token: "hunter2"))
        #expect(APICredentials.bearer("a:b").digest != APICredentials.basic(user: "a", password: "b").digest)
    }

    @Test("failures are counted by address in a window, in a table of fixed size")
    func signIns() {
        let limiter = SignInLimiter(maximumFailures: 2, window: .seconds(10), capacity: 3)
        let start = NIODeadline.uptimeNanoseconds(1)
        func check(_ address: String, _ at: Int64, _ digest: UInt8 = 9) -> SignInLimiter.Verdict {
            limiter.check(address, digest: [digest], now: start + .seconds(at))
        }
        limiter.failed("a", digest: [1], now: start)
        #expect(check("a", 1) == .allowed)
        limiter.failed("a", digest: [2], now: start + .seconds(1))
        #expect(check("a", 2) == .refused(seconds: 9) && check("b", 2) == .allowed)
        #expect(check("a", 10) == .allowed)
        limiter.succeeded(digest: [9])
        #expect(check("a", 2) == .allowed && check("a", 2, 8) == .refused(seconds: 9))
        limiter.failed("c", digest: [9], now: start + .seconds(2))
        #expect(check("a", 2) == .refused(seconds: 9), "what is wrong now is not known any more")
        limiter.failed("d", digest: [1], now: start + .seconds(3))
        limiter.failed("e", digest: [1], now: start + .seconds(4))
        #expect(check("a", 4) == .allowed, "the oldest made room")
        #expect(limiter.failureCount == 5)
    }

    @Test("IPv6 addresses of one network count together, IPv4 addresses do not")
    func networks() {
        #expect(SignInLimiter.key(of: "2001:db8:1:2::3") == SignInLimiter.key(of: "2001:db8:1:2:ffff::9"))
        #expect(SignInLimiter.key(of: "2001:db8:1:2::3") != SignInLimiter.key(of: "2001:db8:1:3::3"))
        #expect(SignInLimiter.key(of: "::1") == "::1")
        #expect(SignInLimiter.key(of: "::ffff:192.0.2.1") != SignInLimiter.key(of: "::ffff:192.0.2.2"))
        #expect(SignInLimiter.key(of: "192.0.2.1") == "192.0.2.1")
        #expect(SignInLimiter.key(of: "nonsense:") == "nonsense:")
    }

    @Test("deadlines follow what is read, answered and left unread")
    func deadlines() {
        var limits = APILimits()
        limits.idleTimeout = .seconds(60)
        limits.headTimeout = .seconds(10)
        limits.bodyTimeout = .seconds(30)
        limits.stallTimeout = .seconds(20)
        limits.bodyByteCount = 10
        limits.headByteCount = 100
        func at(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }
        var deadlines = RequestDeadlines(limits: limits, now: at(0))
        #expect(deadlines.verdict(now: at(0)) == .wait(until: at(60)) && deadlines.verdict(now: at(60)) == .close)
        deadlines.receivedBytes(60, now: at(1))
        deadlines.receivedBytes(40, now: at(5))
        #expect(deadlines.verdict(now: at(5)) == .wait(until: at(11)) && !deadlines.isHeadTooLong)
        #expect(deadlines.verdict(now: at(11)) == .timedOut(hasRequest: true))
        deadlines.receivedBytes(1, now: at(6))
        #expect(deadlines.isHeadTooLong)
        deadlines.receivedHead(now: at(7))
        #expect(!deadlines.isHeadTooLong && deadlines.verdict(now: at(7)) == .wait(until: at(37)))
        #expect(deadlines.receivedBody(10) && !deadlines.receivedBody(1))
        #expect(deadlines.verdict(now: at(37)) == .timedOut(hasRequest: true))
        deadlines.receivedEnd(now: at(8))
        #expect(deadlines.verdict(now: at(1_000)) == .idle)
        deadlines.writabilityChanged(false, now: at(9))
        deadlines.writabilityChanged(false, now: at(10))
        #expect(deadlines.verdict(now: at(9)) == .wait(until: at(29)))
        #expect(deadlines.verdict(now: at(29)) == .timedOut(hasRequest: false))
        deadlines.writabilityChanged(true, now: at(12))
        deadlines.receivedBytes(5, now: at(12))
        #expect(deadlines.verdict(now: at(22)) == .timedOut(hasRequest: false), "an answer is on its way")
        deadlines.receivedHead(now: at(13))
        deadlines.receivedEnd(now: at(13))
        #expect(!deadlines.answered(now: at(14)) && deadlines.answered(now: at(15)))
        #expect(deadlines.verdict(now: at(15)) == .wait(until: at(75)))
    }

    @Test("problems are JSON whatever is in them")
    func problems() {
        let problem = APIProblem(
            .badRequest, name: "n", title: "a\"b\\c", detail: "\u{1}\n<é>", members: ["b": "2", "a": "1"])
        #expect(
            problem.json
                == #"{"type":"urn:weir:problem:n","title":"a\"b\\c","status":400,"detail":"\u0001\u000a\u003cé\u003e","a":"1","b":"2"}"#
        )
        #expect(APIProblem(.requestHeaderFieldsTooLarge).name == "request-header-fields-too-large")
        #expect(APIProblem(.init(code: 599)).name == "status-599")
    }
}
