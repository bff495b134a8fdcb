import Foundation
import NIOCore
import TLSContexts
import Testing

@testable import APIServer

@Suite("API server")
struct APIServerTests {
    private static let bearer = "Authorization: Bearer \(secretToken)"

    @Test("every answer has the security headers, problems too, and a page may have its own policy")
    func headers() async throws {
        try await withServer { port, _ async throws in
            for line in ["GET /healthz", "GET /who", "GET /nothing", "POST /healthz", "TRACE /x", "BREW /x", "GET /\r"]
            {
                let answer = try await RawClient.request(port, line, [Self.bearer])
                #expect(answer.header("x-frame-options") == "DENY", "\(line)")
                #expect(answer.header("x-content-type-options") == "nosniff")
                #expect(answer.header("referrer-policy") == "no-referrer")
                #expect(answer.header("cache-control") == "no-store")
                #expect(answer.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'")
                #expect(answer.header("access-control-allow-origin") == nil)
            }
            let page = try await RawClient.request(port, "GET /page", [Self.bearer])
            #expect(page.header("content-security-policy") == "default-src 'self'")
            #expect(page.header("cache-control") == "no-cache" && page.header("x-frame-options") == "DENY")
        }
    }

    @Test("errors of routes, of the router and of frameworks are problems")
    func problems() async throws {
        try await withServer { port, _ async throws in
            func ask(_ line: String) async throws -> Answer {
                try await RawClient.request(port, line, [Self.bearer])
            }
            let teapot = try await ask("GET /teapot")
            #expect(teapot.status == 409 && teapot.problem == "teapot")
            #expect(teapot.body.contains("\"id\":\"7\"") && !teapot.body.contains("<"), "\(teapot.body)")
            let missing = try await ask("GET /missing")
            #expect(missing.status == 404 && missing.problem == "not-found" && missing.body.contains("no such thing"))
            let nothing = try await ask("GET /nothing/here")
            #expect(nothing.status == 404 && nothing.problem == "not-found")
            let broken = try await ask("GET /broken")
            #expect(
                broken.status == 500 && broken.problem == "internal-server-error" && !broken.body.contains("Broken"))
            let method = try await ask("PUT /items/7")
            #expect(method.status == 405 && method.problem == "method-not-allowed")
            #expect(method.header("allow") == "DELETE, GET, HEAD")
            let trace = try await ask("TRACE /healthz")
            #expect(trace.status == 405 && trace.header("allow") == "GET, HEAD")
            #expect(try await ask("TRACE /nothing").status == 501)
        }
    }

    @Test("HEAD is GET without a body, for problems too")
    func head() async throws {
        try await withServer { port, _ async throws in
            let found = try await RawClient.request(port, "HEAD /items/abc", [Self.bearer])
            #expect(found.status == 200 && found.body.isEmpty && found.header("content-length") == "3")
            let missing = try await RawClient.request(port, "HEAD /nothing", [Self.bearer])
            #expect(missing.status == 404 && missing.body.isEmpty)
        }
    }

    @Test("credentials decide who asks, and roles what they may")
    func roles() async throws {
        try await withServer { port, _ async throws in
            func ask(_ line: String, _ authorization: String?) async throws -> Answer {
                try await RawClient.request(port, line, authorization.map { ["Authorization: \($0)"] } ?? [])
            }
            #expect(try await ask("GET /healthz", nil).status == 200)
            let none = try await ask("GET /who", nil)
            #expect(none.status == 401 && none.problem == "unauthorized")
            #expect(none.header("www-authenticate") == "Bearer realm=\"weir\"")
            #expect(try await ask("GET /who", "Bearer \(secretToken)").body == "root 127.0.0.1")
            #expect(try await ask("GET /who", "bearer  viewer").body == "eve 127.0.0.1")
            // u:p:w
            #expect(try await ask("GET /who", "Basic dTpwOnc=").body == "u 127.0.0.1")
            for wrong in ["Bearer x", "Basic dTpwOnc=x", "Basic dTp3", "Digest a", "Bearer", "", "Bearer a b"] {
                #expect(try await ask("GET /who", wrong).status == 401, "\(wrong)")
            }
            let forbidden = try await ask("DELETE /items/7", "Bearer viewer")
            #expect(forbidden.status == 403 && forbidden.problem == "forbidden")
            #expect(try await ask("DELETE /items/7", "Basic dTpwOnc=").status == 403)
            #expect(try await ask("DELETE /items/7", "Bearer \(secretToken)").status == 204)
        }
    }

    @Test("a 404 tells nobody without credentials what is there")
    func enumeration() async throws {
        try await withServer { port, _ async throws in
            #expect(try await RawClient.request(port, "GET /nothing").status == 401)
            #expect(try await RawClient.request(port, "GET /items/7").status == 401)
        }
    }

    @Test("without credentials, only hosts that no stranger can point here are answered")
    func rebinding() async throws {
        let open = configuration {
            $0.anonymous = { APIPrincipal(role: .operator, name: "local") }
            $0.hosts = ["weir.example"]
        }
        try await withServer(open) { port, _ async throws in
            for host in [
                "127.0.0.1:\(port)", "localhost", "LOCALHOST:80", "[::1]:1", "192.0.2.1", "weir.example:1985",
                "Weir.Example.",
            ] {
                #expect(try await RawClient.request(port, "GET /who", host: host).body == "local 127.0.0.1", "\(host)")
            }
            for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "weir.example.evil", "x"] {
                let answer = try await RawClient.request(port, "GET /who", host: host)
                #expect(answer.status == 421 && answer.problem == "unknown-host", "\(host)")
                #expect(try await RawClient.request(port, "GET /who", [Self.bearer], host: host).status == 200)
                #expect(try await RawClient.request(port, "GET /healthz", host: host).status == 200)
            }
        }
    }

    @Test("pages of other origins change nothing, and read only where they are allowed to")
    func origins() async throws {
        let open = configuration {
            $0.anonymous = { APIPrincipal(role: .operator, name: "local") }
            $0.corsOrigins = ["https://console.example"]
        }
        try await withServer(open) { port, _ async throws in
            func post(_ headers: [String]) async throws -> Answer {
                try await RawClient.request(port, "POST /echo", headers + ["Content-Length: 1"], body: "x")
            }
            #expect(try await post([]).status == 200)
            #expect(try await post(["Origin: http://127.0.0.1"]).status == 200)
            #expect(try await post(["Origin: https://Console.example"]).status == 200)
            for headers in [["Origin: https://evil.example"], ["Origin: null"], ["Sec-Fetch-Site: cross-site"]] {
                let answer = try await post(headers)
                #expect(answer.status == 403 && answer.problem == "cross-origin", "\(headers)")
            }
            let allowed = try await RawClient.request(port, "GET /who", ["Origin: https://console.example"])
            #expect(allowed.header("access-control-allow-origin") == "https://console.example")
            #expect(allowed.header("vary") == "Origin")
            let other = try await RawClient.request(port, "GET /who", ["Origin: https://evil.example"])
            #expect(other.status == 200 && other.header("access-control-allow-origin") == nil)
            let preflight = try await RawClient.request(
                port, "OPTIONS /echo", ["Origin: https://console.example", "Access-Control-Request-Method: POST"])
            #expect(
                preflight.status == 204
                    && preflight.header("access-control-allow-headers")?.contains("Authorization") == true)
        }
        try await withServer { port, _ async throws in
            let preflight = try await RawClient.request(
                port, "OPTIONS /echo", ["Origin: https://a.example", "Access-Control-Request-Method: POST"])
            #expect(preflight.status == 204 && preflight.header("access-control-allow-origin") == nil)
            #expect(preflight.header("access-control-allow-methods") == nil)
        }
    }

    @Test("paths that programs read differently are refused before they are routed")
    func paths() async throws {
        try await withServer { port, _ async throws in
            for path in [
                "/../who", "/items/..", "/items/%2e%2e/who", "/items/.", "/a%00b", "/a%0d%0aX:y", "/a%5cb", "/a%zz",
                "/a%",
            ] {
                let answer = try await RawClient.request(port, "GET \(path)", [Self.bearer])
                #expect(answer.status == 400 && answer.problem == "bad-path", "\(path)")
                #expect(answer.header("x") == nil)
            }
            #expect(try await RawClient.request(port, "GET /items/a%20b..", [Self.bearer]).status == 200)
        }
    }

    @Test("who guesses tokens is slowed down, and who knows one is not")
    func guessing() async throws {
        let strict = configuration { $0.limits.failedSignIns = 3 }
        try await withServer(strict) { port, server async throws in
            #expect(try await RawClient.request(port, "GET /who", [Self.bearer]).status == 200)
            for guess in 0..<3 {
                #expect(
                    try await RawClient.request(port, "GET /who", ["Authorization: Bearer g\(guess)"]).status == 401)
            }
            let blocked = try await RawClient.request(port, "GET /who", ["Authorization: Bearer viewer"])
            #expect(blocked.status == 429 && blocked.problem == "too-many-failures")
            #expect(Int(blocked.header("retry-after") ?? "").map { 1...61 ~= $0 } == true)
            #expect(try await RawClient.request(port, "GET /who", [Self.bearer]).status == 200)
            #expect(server.statistics.failedSignIns == 3)
        }
    }

    @Test("behind a trusted proxy the client is whom it names, and others name nobody")
    func proxies() async throws {
        let headers = [Self.bearer, "X-Forwarded-For: 198.51.100.9, 192.0.2.1"]
        try await withServer { port, _ async throws in
            #expect(try await RawClient.request(port, "GET /who", headers).body == "root 127.0.0.1")
        }
        let behind = configuration { $0.isTrustedProxy = { $0 == "127.0.0.1" } }
        try await withServer(behind) { port, _ async throws in
            #expect(try await RawClient.request(port, "GET /who", headers).body == "root 192.0.2.1")
            let forged = [Self.bearer, "X-Forwarded-For: not an address"]
            #expect(try await RawClient.request(port, "GET /who", forged).body == "root 127.0.0.1")
        }
    }

    @Test("log lines have neither queries nor credentials, and no path breaks a line")
    func logging() async throws {
        let collector = LogCollector()
        try await withServer(logger: collector.logger) { port, _ async throws in
            _ = try await RawClient.request(port, "GET /who?token=hunter2&x=y", [Self.bearer])
            _ = try await RawClient.request(port, "GET /who", ["Authorization: Bearer hunter2"])
            _ = try await RawClient.request(port, "GET /who", ["Authorization: Basic aHVudGVyOmh1bnRlcjI="])
            _ = try await RawClient.request(
                port, "POST /echo/\(String(repeating: "a", count: 500))\u{1b}", [Self.bearer])
        }
        let lines = collector.all
        #expect(lines.contains { $0.contains("path=/who") && $0.contains("who=root") && $0.contains("status=200") })
        for line in lines {
            #expect(!line.contains("hunter") && !line.contains(secretToken) && !line.contains("aHVudGVy"), "\(line)")
            #expect(!line.contains("\n") && line.utf8.count < 600)
        }
    }
}
