import Foundation

/// A receiver of SRS's callbacks, as operators write them: it answers `0`, unless a test has it answer otherwise, and
/// notes what it was told.
struct HookServer: Sendable {
    /// What it does with calls of one event.
    enum Manner: String {
        case agree
        /// `{"code": 1, "msg": "not today"}`.
        case refuse
        /// The body `1`, with which receivers of the plain form refuse.
        case refusePlainly
        /// Status 403 and a body of no meaning.
        case forbid
        /// Never answers.
        case hang
        /// Closes the connection.
        case drop
        case garbage
        /// An empty body.
        case silence
        /// A body without an end.
        case flood
        /// Lets the session in for two seconds.
        case shortly
    }

    /// One call.
    struct Note: Sendable {
        let method: String
        /// With the query.
        let target: String
        let contentType: String
        let userAgent: String
        /// `right`, `wrong` or `missing`.
        let signature: String
        let delivery: String
        /// The names of the body's members, in their order.
        let names: [String]
        let body: JSON

        var action: String { self.body["action"].string ?? self.target }
        var client: String { self.body["client_id"].string ?? "" }
        var stream: String { self.body["stream"].string ?? "" }
    }

    let port: Int
    let child: Child
    private let file: URL
    private let manners: URL

    /// - Parameter secret: what calls are signed with.
    init(_ sandbox: Sandbox, secret: String = "", port: Int? = nil) async throws {
        let port = try port ?? Sandbox.freePorts(1)[0]
        self.file = sandbox.file("hooks-\(port).json")
        self.manners = sandbox.file("hooks-\(port).manners")
        if !FileManager.default.fileExists(atPath: self.manners.path) { try Data("{}".utf8).write(to: self.manners) }
        let child = try sandbox.python(
            "hooks", Self.script, ["\(port)", self.file.path, self.manners.path, secret])
        try await until("the receiver listens", within: .seconds(10)) { child.text.contains("ready") }
        self.port = port
        self.child = child
    }

    func url(_ path: String) -> String { "http://127.0.0.1:\(self.port)/\(path)" }

    /// Settings that have all these events called.
    func settings(_ events: [String]) -> [String: String] {
        Dictionary(events.map { ("stream.hooks.\($0)", self.url("srs?event=\($0)")) }) { $1 }
    }

    /// From now on. Events that are not named are agreed to.
    func answer(_ manners: [String: Manner]) throws {
        try JSONEncoder().encode(manners.mapValues(\.rawValue)).write(to: self.manners, options: .atomic)
    }

    /// All calls, in the order of their arrival.
    var notes: [Note] {
        get throws {
            let text = (try? String(contentsOf: self.file, encoding: .utf8)) ?? ""
            return try text.split(separator: "\n").map { line in
                let note = try JSON(String(line))
                return Note(
                    method: note["method"].string ?? "", target: note["target"].string ?? "",
                    contentType: note["contentType"].string ?? "", userAgent: note["userAgent"].string ?? "",
                    signature: note["signature"].string ?? "", delivery: note["delivery"].string ?? "",
                    names: note["names"].array.compactMap(\.string), body: note["body"])
            }
        }
    }

    func notes(of client: String) throws -> [Note] { try self.notes.filter { $0.client == client } }

    private static let script = #"""
        import hashlib, hmac, http.server, json, sys, threading, time

        port, path, manners, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
        lock = threading.Lock()

        def check(header, signed):
            if not header:
                return "missing"
            parts = dict(item.split("=", 1) for item in header.split(","))
            code = hmac.new(secret.encode(), parts["t"].encode() + b"." + signed, hashlib.sha256).hexdigest()
            fresh = abs(time.time() - int(parts["t"])) < 30
            return "right" if fresh and hmac.compare_digest(code, parts["v1"]) else "wrong"

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.note(None, self.path.encode())
                self.answer(b"0")

            def do_POST(self):
                text = self.rfile.read(int(self.headers["Content-Length"]))
                body = json.loads(text)
                self.note(body, text)
                with open(manners) as file:
                    manner = json.load(file).get(body.get("action"), "agree")
                getattr(self, manner)()

            def note(self, body, signed):
                note = {
                    "method": self.command, "target": self.path, "body": body, "names": list(body or {}),
                    "contentType": self.headers.get("Content-Type", ""),
                    "userAgent": self.headers.get("User-Agent", ""), "delivery": self.headers.get("Weir-Delivery", ""),
                    "signature": check(self.headers.get("Weir-Signature"), signed),
                }
                with lock, open(path, "a") as file:
                    file.write(json.dumps(note) + "\n")

            def answer(self, body, status=200):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def agree(self): self.answer(b"0")
            def refuse(self): self.answer(b'{"code": 1, "msg": "not today"}')
            def refusePlainly(self): self.answer(b"1")
            def forbid(self): self.answer(b"no", 403)
            def garbage(self): self.answer(b"<html>\xff\xfe{" + b"[" * 5000)
            def silence(self): self.answer(b"")
            def hang(self): time.sleep(600)
            def drop(self): self.connection.close()
            def shortly(self): self.answer(b'{"code": 0, "data": {"session": {"maximum_seconds": 2}}}')

            def flood(self):
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b"0" * 65536)
                except OSError:
                    pass

            def log_message(self, *_): pass
            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (OSError, ValueError):
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128
            def handle_error(self, *_): pass

        server = Server(("127.0.0.1", port), Handler)
        print("ready", flush=True)
        server.serve_forever()
        """#
}
