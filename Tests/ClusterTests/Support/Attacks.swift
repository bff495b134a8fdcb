import Foundation

/// Things that no honest client sends. Each script prints the findings that speak against the system, and what it tried.
enum Attacks {
    /// What one script found.
    struct Report: Decodable, Sendable {
        let findings: [String]
        /// How many attacks there were, so that none is left out unseen.
        let count: Int
    }

    /// One server that is attacked.
    struct Target: Encodable, Sendable {
        /// `media`, `api` or `coordinator`.
        var kind: String
        var port: Int
        var isTLS = false
        /// Something that is there.
        var path: String
        /// Something that takes a body.
        var post = "/api/v2/reload"
        /// `Authorization`, if the server wants one.
        var authorization = ""
        /// Where the health of the same process is told.
        var health: Int
    }

    static func run(
        _ sandbox: Sandbox, _ name: String, _ script: String, _ targets: [Target], _ arguments: [String] = [],
        within limit: Duration
    ) async throws -> Report {
        _ = try sandbox.write("attack.py", self.common)
        let file = try sandbox.write("\(name).py", script)
        let json = String(decoding: try JSONEncoder().encode(targets), as: UTF8.self)
        let text = try await sandbox.run(try Tools.python, [file.path, json] + arguments, within: limit)
        return try JSONDecoder().decode(Report.self, from: Data(text.utf8))
    }

    /// Sockets, and what holds for every answer.
    private static let common = #"""
        import json, socket, ssl, sys, time

        targets = json.loads(sys.argv[1])
        findings, kinds, tried = [], set(), 0
        # What lies outside of all that is served, and what a stack trace or a file would show.
        forbidden = [b"CANARY", b"root:x:", b"SQLite format", b"SECRET", b"Fatal error", b".swift"]
        strict = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}


        def found(text, kind=None):
            """Notes a finding; of one kind the first only."""
            if len(findings) < 100 and (kind or text) not in kinds:
                kinds.add(kind or text)
                findings.append(text[:600])


        def count():
            global tried
            tried += 1


        def connect(target, timeout=5, alpn=None, source=None):
            raw = socket.create_connection(("127.0.0.1", target["port"]), timeout=timeout,
                                           source_address=(source, 0) if source else None)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not target["isTLS"]:
                return raw
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if alpn:
                context.set_alpn_protocols(alpn)
            return context.wrap_socket(raw, server_hostname="localhost")


        def exchange(target, request, timeout=3, patience=0.4, limit=1 << 22):
            """Sends bytes as they are. Gives all that comes until the server closes or is silent, and whether it closed."""
            answer, closed = b"", False
            try:
                with connect(target, timeout) as link:
                    try:
                        for part in [request] if isinstance(request, bytes) else request:
                            link.sendall(part)
                    except OSError:
                        pass
                    link.settimeout(timeout)
                    while len(answer) < limit:
                        try:
                            data = link.recv(1 << 16)
                        except (TimeoutError, ssl.SSLWantReadError):
                            break
                        except OSError:
                            closed = True
                            break
                        if not data:
                            closed = True
                            break
                        answer += data
                        link.settimeout(patience)
            except OSError:
                closed = True
            return answer, closed


        def answers(data):
            """The HTTP/1.1 answers in `data`: status, fields, body."""
            result = []
            while data.startswith(b"HTTP/1."):
                head, separator, rest = data.partition(b"\r\n\r\n")
                lines = head.split(b"\r\n")
                fields = {}
                for line in lines[1:]:
                    name, _, value = line.partition(b":")
                    fields[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
                status = int(lines[0].split()[1])
                if fields.get("transfer-encoding") == "chunked":
                    body = b""
                    while rest:
                        size, _, rest = rest.partition(b"\r\n")
                        if not size or int(size, 16) == 0:
                            rest = rest[2:]
                            break
                        body, rest = body + rest[:int(size, 16)], rest[int(size, 16) + 2:]
                else:
                    length = 0 if status in (100, 204, 304) else int(fields.get("content-length", len(rest)))
                    body, rest = rest[:length], rest[length:]
                result.append((status, fields, body))
                data = rest
            return result


        def check(target, name, data):
            """What holds for every answer, whatever was asked."""
            for text in forbidden:
                if text in data:
                    found(f"{target['kind']}: {name}: tells {text!r}")
            for status, fields, body in answers(data):
                if status == 100:
                    continue
                if "x-injected" in fields:
                    found(f"{target['kind']}: {name}: a header was injected")
                if status >= 500 and status not in (501, 503, 505, 508):
                    found(f"{target['kind']}: {name}: status {status}: {body[:200]!r}")
                wanted = strict if target["kind"] != "media" else {"x-content-type-options": "nosniff"} if body else {}
                for field, value in wanted.items():
                    if fields.get(field) != value:
                        found(f"{target['kind']}: {name}: status {status} without {field}", (target["kind"], status, field))
                if target["kind"] != "media" and "content-security-policy" not in fields:
                    found(f"{target['kind']}: {name}: status {status} without content-security-policy")


        def attack(target, name, request, allowed=range(400, 500), most=1, **options):
            """Tries one thing; every answer has a status of `allowed`, and there are `most` at most."""
            count()
            data, closed = exchange(target, request, **options)
            check(target, name, data)
            statuses = [status for status, _, _ in answers(data) if status != 100]
            if data and not data.startswith(b"HTTP/1."):
                found(f"{target['kind']}: {name}: no HTTP: {data[:80]!r}")
            if not data and not closed and not name.startswith("an endless"):
                # What is endless may be read until its time is over.
                found(f"{target['kind']}: {name}: neither answer nor end")
            if len(statuses) > most:
                found(f"{target['kind']}: {name}: {len(statuses)} answers: {statuses}")
            for status in statuses:
                if status not in allowed and status not in (501, 503, 505):
                    found(f"{target['kind']}: {name}: status {status}")
            return statuses


        def head(target, path=None, method="GET", *fields, host="127.0.0.1", length=None):
            lines = [f"{method} {path or target['path']} HTTP/1.1", f"Host: {host}", *fields]
            if target["authorization"]:
                lines.append(f"Authorization: {target['authorization']}")
            if length is not None:
                lines.append(f"Content-Length: {length}")
            return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


        def healthy(target, within=2.0):
            """The process answers, and soon."""
            health = dict(target, port=target["health"], isTLS=False)
            began = time.monotonic()
            data, _ = exchange(health, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            took = time.monotonic() - began
            if not data.startswith(b"HTTP/1.1 200"):
                found(f"{target['kind']}: not healthy: {data[:100]!r}")
            elif took > within:
                found(f"{target['kind']}: health took {took:.1f} s")


        def report():
            for target in targets:
                healthy(target)
            print(json.dumps({"findings": findings, "count": tried}))
        """#

    // MARK: HTTP

    /// Paths, heads and bodies.
    static let http = #"""
        from attack import *

        outside = ["etc/passwd", "canary.txt", "origin-media.sqlite", "origin-media/../canary.txt"]
        climbs = ["../" * 8, "..%2f" * 8, "%2e%2e/" * 8, "%2e%2e%2f" * 8, "..\\" * 8, "..%5c" * 8, "%252e%252e/" * 8,
                  "....//" * 8, "..;/" * 8, "%c0%ae%c0%ae/" * 8, "%e0%80%ae%e0%80%ae/" * 8, "..%00/" * 8, "./../" * 8,
                  ".%2e/" * 8, "\u2025/" * 4]
        starts = ["/", "/live/", "/live/one/", "/live/one/_", "//", "/api/v2/", "/~1999999999a~AAAAAAAAAAAAAAAAAAAAAA/live/"]
        ends = ["", ".m3u8", ".flv", ".jpg", "%00.m3u8", "/_video.m3u8"]


        def paths(target):
            for start in starts:
                for climb in climbs:
                    for number, name in enumerate(outside):
                        path = start + climb + name + ends[number % len(ends)]
                        path = path.encode().decode("latin-1")
                        attack(target, f"path {path}", head(target, path, "GET", "Connection: close"), patience=0.1)
            for path in ["/live/one%0d%0aX-Injected:%20yes.m3u8", "/live/one%0aX-Injected:%20yes.flv",
                         "/live/one.m3u8?x=%0d%0aX-Injected:%20yes", "/%0d%0aX-Injected:%20yes", "/live/%00",
                         "/live/%", "/live/%zz.m3u8", "/live/%ff%fe.m3u8", "/" + "a/" * 3000, "/live/" + "x" * 5000 + ".m3u8",
                         "/<script>alert(1)</script>", "/live/\"><svg onload=alert(1)>.m3u8".replace(" ", "%20"),
                         "/live/one.m3u8?" + "&".join(f"a{n}={n}" for n in range(1500)), "/?callback=alert",
                         "/api/v1/clients?callback=alert(1)//", "/api/v2/sessions?limit=99999999999999999999",
                         "/api/v2/sessions?after=" + "z" * 3000, "/api/v2/streams?key=../../x", "/api/v1/streams/..%2f..",
                         "/api/v1/clients/?method=DELETE&callback=x"]:
                attack(target, f"path {path[:80]}", head(target, path, "GET", "Connection: close"), allowed=range(200, 500))
            # Other forms of targets. Absolute ones are allowed, whoever they name.
            for form in ["http://evil.test/live/one.m3u8", "https://evil.test/", "HTTP://evil.test", "ftp://x/", "file:///etc/passwd"]:
                attack(target, f"form {form}", head(target, form), allowed=range(200, 500))
            for form in ["evil.test:80", "*", "?", "live/one.m3u8", "\\live\\one", "#"]:
                attack(target, f"form {form}", head(target, form))


        def heads(target):
            path = target["path"]
            base = f"GET {path} HTTP/1.1\r\n"
            host = "Host: 127.0.0.1\r\n"
            for name, text in {
                "long line": f"GET /{'a' * 200_000} HTTP/1.1\r\n{host}\r\n",
                "long field": f"{base}{host}X-Long: {'a' * 200_000}\r\n\r\n",
                "long name": f"{base}{host}{'a' * 200_000}: x\r\n\r\n",
                "many fields": base + host + "".join(f"X-{n}: {n}\r\n" for n in range(5_000)) + "\r\n",
                "large head": base + host + "".join(f"X-{n}: {'a' * 1_000}\r\n" for n in range(90)) + "\r\n",
                "no version": f"GET {path}\r\n\r\n", "version 9": f"GET {path} HTTP/9.9\r\n{host}\r\n",
                "words": f"GET {path} x y HTTP/1.1\r\n{host}\r\n", "empty method": f" {path} HTTP/1.1\r\n{host}\r\n",
                "NUL in a value": f"{base}{host}X-Nul: a\0b\r\n\r\n", "NUL in the line": f"GET /a\0b HTTP/1.1\r\n{host}\r\n",
                "bare CR": f"{base}{host}X-Cr: a\rX-Injected: yes\r\n\r\n", "no colon": f"{base}{host}nothing\r\n\r\n",
                "space before colon": f"{base}{host}X-Space : a\r\n\r\n", "space first": f"{base} {host}\r\n",
                "binary": "".join(map(chr, range(256))) * 64, "TLS to a plain port": "\x16\x03\x01\x02\x00\x01\x00" + "\x01" * 600,
                "RTMP": "\x03" + "\0" * 1536,
            }.items():
                attack(target, name, text.encode("latin-1"))
            if target["kind"] != "media":
                for name, text in {"no host": f"{base}\r\n", "two hosts": f"{base}{host}Host: evil.test\r\n\r\n"}.items():
                    attack(target, name, text.encode())
            for name, text in {"folded": f"{base}{host}X-Fold: a\r\n b\r\n\r\n", "line feeds": f"GET {path} HTTP/1.1\nHost: a\n\n",
                               "host of lines": f"{base}Host: a%0d%0aX-Injected: yes\r\n\r\n",
                               "origin": f"{base}{host}Origin: http://a%0d%0aX-Injected: yes\r\n\r\n"}.items():
                attack(target, name, text.encode(), allowed=range(200, 500))
            for method in ["TRACE", "TRACK", "FOO", "get", "PROPFIND", "PURGE", "A" * 10_000, "CONNECT", "PRI", "DEBUG"]:
                attack(target, f"method {method[:20]}", head(target, None, method))


        def bodies(target):
            post, size = target["post"], 64 << 20
            def send(name, fields, body=b"", allowed=range(400, 500), **options):
                start = head(target, post, "POST", *fields)
                attack(target, name, [start, body] if isinstance(body, bytes) else [start, *body], allowed, **options)
            send("huge length", ["Content-Length: 99999999999"])
            send("length beyond 64 bits", ["Content-Length: 99999999999999999999999"])
            for length in ["-1", "+5", "0x10", "5, 5", "5 5", "", "5;", "1e3"]:
                send(f"length {length!r}", [f"Content-Length: {length}"], b"hello")
            send("64 MiB in one", [f"Content-Length: {size}"], (b"x" * (1 << 20) for _ in range(64)))
            send("64 MiB in chunks", ["Transfer-Encoding: chunked"], (b"100000\r\n" + b"x" * (1 << 20) + b"\r\n" for _ in range(64)))
            send("a chunk of 2^64", ["Transfer-Encoding: chunked"], b"FFFFFFFFFFFFFFFFFF\r\nx")
            send("a chunk of -1", ["Transfer-Encoding: chunked"], b"-1\r\nx\r\n")
            send("an endless chunk size", ["Transfer-Encoding: chunked"], b"0" * 200_000)
            send("an endless chunk extension", ["Transfer-Encoding: chunked"], b"1;" + b"a" * 300_000 + b"\r\nx\r\n")
            # What a proxy in front may read in another way: never two answers, never a second request.
            hidden = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            for name, fields, body in [
                ("length and chunks", ["Content-Length: 4", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + hidden),
                ("chunks and length", ["Transfer-Encoding: chunked", "Content-Length: 40"], b"0\r\n\r\n" + hidden),
                ("two lengths", ["Content-Length: 0", "Content-Length: 37"], hidden),
                ("chunked, then not", ["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + hidden),
                ("an unknown coding", ["Transfer-Encoding: xchunked"], b"0\r\n\r\n" + hidden),
                ("two codings", ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + hidden),
                ("a coding with a space", ["Transfer-Encoding : chunked"], b"0\r\n\r\n" + hidden),
                ("a coding with a tab", ["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n" + hidden),
                ("a coding in quotes", ['Transfer-Encoding: "chunked"'], b"0\r\n\r\n" + hidden),
                ("chunks that end in LF", ["Transfer-Encoding: chunked"], b"0\n\n" + hidden),
                ("a chunk that is too short", ["Transfer-Encoding: chunked"], b"2\r\nxyz\r\n0\r\n\r\n" + hidden),
            ]:
                send(f"smuggled: {name}", fields, body)
            if target["kind"] != "media":
                deep = b"[" * 10_000 + b"]" * 10_000
                for name, body in {"arrays": deep, "objects": b'{"settings":' * 10_000 + b"1" + b"}" * 10_000,
                                   "an object of arrays": b'{"settings":' + deep + b"}", "an open array": b"[" * 10_000,
                                   "a long number": b'{"settings":' + b"9" * 100_000 + b"}",
                                   "broken UTF-8": b'{"settings":{"\xff\xfe":"\x80"}}'}.items():
                    start = head(target, "/api/v1/policies?app=live", "PUT", "Content-Type: application/json",
                                 length=len(body))
                    attack(target, f"JSON of {name}", start + body)


        for target in targets:
            paths(target)
            heads(target)
            bodies(target)
            healthy(target)
        report()
        """#
}
