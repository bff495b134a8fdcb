import Foundation
import NIOCore
import TLSContexts
import Testing

@testable import APIServer

/// Attacks by size and by slowness, against a real server.
@Suite("Limits of an API server")
struct APILimitTests {
    private static let bearer = "Authorization: Bearer \(secretToken)"

    private static func limited(_ change: (inout APILimits) -> Void) -> APIServerConfiguration {
        configuration { change(&$0.limits) }
    }

    private static func until(_ what: Comment, _ condition: () -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(5)
        while ContinuousClock.now < end, !condition() { try await Task.sleep(for: .milliseconds(5)) }
        try #require(condition(), what)
    }

    @Test("a head that comes byte by byte is ended in time, with an answer")
    func slowHead() async throws {
        let limits = Self.limited { $0.headTimeout = .milliseconds(500) }
        try await withServer(limits) { port, server async throws in
            let started = ContinuousClock.now
            let pieces = Array("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: 1\r\n".map(String.init)) + ["\r\n"]
            let answer = try Answer(try await RawClient.connect(port).exchange(pieces, pause: .milliseconds(50)))
            #expect(answer.status == 408 && answer.problem == "request-timeout")
            #expect(ContinuousClock.now - started < .seconds(7))
            #expect(server.statistics.timedOut == 1)
        }
    }

    @Test("a body that does not come is ended in time, with an answer")
    func slowBody() async throws {
        let limits = Self.limited { $0.bodyTimeout = .milliseconds(500) }
        try await withServer(limits) { port, _ async throws in
            let head = "POST /echo HTTP/1.1\r\nHost: h\r\n\(Self.bearer)\r\nContent-Length: 100\r\n\r\n"
            let answer = try Answer(
                try await RawClient.connect(port).exchange(
                    [head] + Array(repeating: "x", count: 60), pause: .milliseconds(50)))
            #expect(answer.status == 408 && answer.problem == "request-timeout")
        }
    }

    @Test("a connection without requests is closed without an answer, new or between requests")
    func idle() async throws {
        let limits = Self.limited { $0.idleTimeout = .milliseconds(400) }
        try await withServer(limits) { port, server async throws in
            let started = ContinuousClock.now
            #expect(try await RawClient.connect(port).exchange([]).isEmpty)
            let answer = try await RawClient.connect(port).exchange(["GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"])
            #expect(answer.hasSuffix("ok"))
            #expect(ContinuousClock.now - started < .seconds(7))
            for _ in 0..<100 where server.statistics.connections > 0 { try await Task.sleep(for: .milliseconds(20)) }
            #expect(server.statistics.connections == 0 && server.statistics.timedOut == 0)
        }
    }

    @Test("an answer that takes long is not ended by the times for requests")
    func longAnswer() async throws {
        let limits = Self.limited {
            $0.idleTimeout = .milliseconds(400)
            $0.headTimeout = .milliseconds(400)
            $0.bodyTimeout = .milliseconds(400)
        }
        try await withServer(limits) { port, _ async throws in
            #expect(try await RawClient.request(port, "GET /slow", [Self.bearer]).body == "slow")
        }
    }

    @Test("a client that does not read its answer is closed")
    func slowReader() async throws {
        let limits = Self.limited { $0.stallTimeout = .milliseconds(500) }
        try await withServer(limits) { port, server async throws in
            let client = try await StoppedReader.connect(port)
            try await client.send("GET /large HTTP/1.1\r\nHost: h\r\n\(Self.bearer)\r\n\r\n")
            for _ in 0..<100 where server.statistics.timedOut == 0 { try await Task.sleep(for: .milliseconds(50)) }
            #expect(server.statistics.timedOut == 1)
            try await client.close()
            for _ in 0..<100 where server.statistics.connections > 0 { try await Task.sleep(for: .milliseconds(20)) }
            #expect(server.statistics.connections == 0 && server.statistics.requestsInFlight == 0)
        }
    }

    @Test("oversized targets, fields, heads and bodies are refused by name")
    func sizes() async throws {
        try await withServer { port, server async throws in
            let long = { (count: Int) in String(repeating: "a", count: count) }
            #expect(try await RawClient.request(port, "GET /\(long(9_000))", [Self.bearer]).status == 414)
            #expect(try await RawClient.request(port, "GET /who", ["X-A: \(long(20_000))"]).status == 431)
            #expect(try await RawClient.request(port, "GET /who", (0..<120).map { "X-\($0): 1" }).status == 431)
            #expect(
                try await RawClient.request(port, "GET /who", (0..<50).map { "X-\($0): \(long(1_000))" }).status == 431)
            #expect(try await RawClient.request(port, "GET /\(long(100_000))").status == 431)
            let declared = try await RawClient.request(port, "POST /echo", [Self.bearer, "Content-Length: 2000000"])
            #expect(declared.status == 413 && declared.problem == "content-too-large")
            let chunk = "10000\r\n\(long(65_536))\r\n"
            let chunked = try await RawClient.request(
                port, "POST /echo", [Self.bearer, "Transfer-Encoding: chunked"],
                body: String(repeating: chunk, count: 20) + "0\r\n\r\n")
            #expect(chunked.status == 413)
            let allowed = try await RawClient.request(
                port, "POST /echo", [Self.bearer, "Content-Length: 100000"], body: long(100_000))
            #expect(allowed.status == 200 && allowed.body.utf8.count == 100_000)
            #expect(server.statistics.rejected == 7 && server.statistics.requestsInFlight == 0)
        }
    }

    @Test(
        "requests that are no HTTP, or two at once, are refused",
        arguments: [
            "GET /who HTTP/1.1\r\n\r\n", "GET /who HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "GET http://evil.example/who HTTP/1.1\r\nHost: a\r\n\r\n", "nonsense\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n",
            "GET /who HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n",
        ])
    func malformed(request: String) async throws {
        try await withServer { port, server async throws in
            let text = try await RawClient.connect(port).exchange([request])
            #expect(text.hasPrefix("HTTP/1.1 400 "), "\(text)")
            #expect(try Answer(text).header("connection") == "close")
            #expect(server.statistics.requestsInFlight == 0)
        }
    }

    @Test("header values from a request never become header lines of the answer")
    func injection() async throws {
        try await withServer { port, _ async throws in
            let answer = try await RawClient.request(
                port, "GET /who", [Self.bearer, "Origin: https://a\u{b}Set-Cookie: x"])
            #expect(!answer.head.lowercased().contains("set-cookie"))
        }
    }

    @Test("connections and requests over the limit are refused, and those that leave make room")
    func counts() async throws {
        let limits = Self.limited {
            $0.connections = 2
            $0.requestsInFlight = 1
        }
        let held = Latch()
        try await withServer(limits, held: held) { port, server async throws in
            defer { held.open() }
            async let slow = RawClient.request(port, "GET /held", [Self.bearer])
            try await Self.until("it is in flight") { server.statistics.requestsInFlight == 1 }
            let busy = try await RawClient.request(port, "GET /healthz")
            #expect(busy.status == 503 && busy.problem == "service-unavailable" && busy.header("retry-after") == "1")
            try await Self.until("who was refused has left") { server.statistics.connections == 1 }
            let idle = try await StoppedReader.connect(port)
            try await Self.until("there is no room") { server.statistics.connections == 2 }
            #expect(try await RawClient.connect(port).exchange(["GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"]).isEmpty)
            held.open()
            #expect(try await slow.status == 200)
            try await idle.close()
            try await Self.until("all have left") { server.statistics.connections == 0 }
            #expect(try await RawClient.request(port, "GET /healthz").status == 200)
            #expect(server.statistics.refusedConnections == 1 && server.statistics.refusedRequests == 1)
        }
    }

    @Test("requests in one go are answered in order, and too many of them are not taken")
    func pipelining() async throws {
        try await withServer { port, server async throws in
            let request = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"
            let last = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            let few = try await RawClient.connect(port).exchange([String(repeating: request, count: 5) + last])
            #expect(few.components(separatedBy: "HTTP/1.1 200").count == 7)
            _ = try await RawClient.connect(port).exchange([String(repeating: request, count: 2_000)], seconds: 3)
            for _ in 0..<100 where server.statistics.connections > 0 { try await Task.sleep(for: .milliseconds(20)) }
            #expect(server.statistics.requestsInFlight == 0)
        }
    }

    @Test("over TLS it is HTTP/2 or HTTP/1.1, by what the client can, with the same headers and limits")
    func tls() async throws {
        let folder = try CertificateFolder()
        try await folder.issue("one.example")
        let store = try TLSContextStore(folder.files, applicationProtocols: ["h2", "http/1.1"])
        let limits = Self.limited { $0.bodyTimeout = .milliseconds(700) }
        try await withServer(limits, tls: store) { port, server async throws in
            func curl(_ arguments: [String]) async throws -> String {
                try await run(["curl", "-sk", "-m", "8", "-i", "-H", Self.bearer] + arguments).output
            }
            let base = "https://127.0.0.1:\(port)"
            let body = try folder.file(byteCount: 2_000_000)
            /// TLS waits up to 5 s for the client's own end of a connection that the server ends.
            func expectNoneOpen(_ after: String) async throws {
                for _ in 0..<400 where server.statistics.connections > 0 {
                    try await Task.sleep(for: .milliseconds(20))
                }
                #expect(server.statistics.connections == 0 && server.statistics.requestsInFlight == 0, "\(after)")
            }
            for (flag, version) in [("--http2", "HTTP/2 200"), ("--http1.1", "HTTP/1.1 200")] {
                let text = try await curl([flag, "\(base)/who"])
                #expect(text.hasPrefix(version) && text.hasSuffix("root 127.0.0.1"), "\(text)")
                #expect(text.lowercased().contains("x-frame-options: deny"))
                #expect(try await curl([flag, "-d", "abc", "\(base)/echo"]).hasSuffix("abc"))
                let large = try await curl([
                    flag, "-H", "Expect:", "--data-binary", String(repeating: "a", count: 100_000), "\(base)/echo",
                ])
                #expect(large.hasSuffix("aaa"))
                try await expectNoneOpen("\(flag) answered")
                #expect(try await curl([flag, "-X", "PUT", "\(base)/who"]).contains(" 405"))
                let fields = (0..<120).flatMap { ["-H", "X-\($0): 1"] }
                let many = try await curl([flag] + fields + ["\(base)/who"])
                #expect(many.contains(" 431") && many.contains("request-header-fields-too-large"), "\(flag) \(many)")
                try await expectNoneOpen("\(flag) 431")
                let declared = try await curl([flag, "-H", "Expect:", "--data-binary", "@\(body)", "\(base)/echo"])
                #expect(declared.contains(" 413"), "\(flag) \(declared)")
                try await expectNoneOpen("\(flag) 413")
            }
            #expect(try await RawClient.connect(port).exchange(["GET / HTTP/1.1\r\n\r\n"]).contains("200") == false)
            try await expectNoneOpen("no TLS")
        }
    }

    @Test("a new certificate serves new connections without a restart, and a broken one changes nothing")
    func certificates() async throws {
        let folder = try CertificateFolder()
        try await folder.issue("one.example")
        let store = try TLSContextStore(folder.files, applicationProtocols: ["h2", "http/1.1"])
        try await withServer(tls: store) { port, _ async throws in
            func name() async throws -> String {
                let (_, text) = try await run(["openssl", "s_client", "-connect", "127.0.0.1:\(port)"])
                return text.components(separatedBy: "\n").first { $0.hasPrefix("subject=") } ?? text
            }
            #expect(try await name().contains("one.example"))
            try await Task.sleep(for: .milliseconds(20))
            try await folder.issue("two.example")
            #expect(try store.reloadIfChanged())
            #expect(try await name().contains("two.example"))
            try Data("no certificate".utf8).write(to: URL(filePath: folder.files.certificate))
            #expect(throws: TLSFilesError.self) { try store.reloadIfChanged() }
            #expect(try await name().contains("two.example"))
        }
    }

    @Test("a client that does not finish its TLS handshake is closed")
    func handshake() async throws {
        let folder = try CertificateFolder()
        try await folder.issue("one.example")
        let store = try TLSContextStore(folder.files, applicationProtocols: ["h2", "http/1.1"])
        try await withServer(Self.limited { $0.handshakeTimeout = .milliseconds(400) }, tls: store) {
            port, server async throws in
            let started = ContinuousClock.now
            #expect(try await RawClient.connect(port).exchange([]).isEmpty)
            #expect(ContinuousClock.now - started < .seconds(7) && server.statistics.timedOut == 1)
        }
    }
}
