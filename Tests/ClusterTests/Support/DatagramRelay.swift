import Foundation

/// A network that behaves badly: carries datagrams between one client after the other and a node, and loses, delays,
/// doubles and reorders them as it is told, by a seed.
struct DatagramRelay: Sendable {
    /// Where clients send to.
    let port: Int
    private let controlPort: Int
    private let sandbox: Sandbox

    init(_ sandbox: Sandbox, to target: Int) async throws {
        let ports = try Sandbox.freePorts(2)
        let child = try sandbox.python("relay-\(target)", Self.script, [ports[0], target, ports[1]].map(String.init))
        try await until("the relay listens", within: .seconds(10)) { child.text.contains("ready") }
        self.port = ports[0]
        self.controlPort = ports[1]
        self.sandbox = sandbox
    }

    /// Changes what happens to datagrams from now on, and gives what happened so far.
    ///
    /// - `loss`, `double`: the part of all that is lost or comes twice. `jitter`: milliseconds; each datagram waits for
    ///   some of them, so that they overtake each other. `dark`: seconds in which nothing comes through.
    /// - `move`: 1 sends what the clients send from other ports, as a NAT or a new network does; answers to the old ones
    ///   are lost.
    @discardableResult
    func set(_ values: [String: Double] = [:]) async throws -> JSON {
        let query = values.map { "\($0.key)=\($0.value)" }.joined(separator: "&")
        let reply = try await self.sandbox.request("http://127.0.0.1:\(self.controlPort)/?\(query)")
        guard reply.status == 200 else { throw Failure("the relay answers \(reply)") }
        return reply.json
    }

    private static let script = #"""
        import heapq, http.server, json, random, select, socket, sys, threading, time, urllib.parse

        port, target, control = map(int, sys.argv[1:])
        state = {"loss": 0.0, "double": 0.0, "jitter": 0.0, "dark": 0.0, "move": 0.0}
        counts = {"carried": 0, "lost": 0, "doubled": 0, "moves": 0, "clients": 0}
        chance = random.Random(1)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                for name, value in urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query):
                    state[name] = float(value) + (time.monotonic() if name == "dark" else 0)
                body = json.dumps(counts).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_): pass

        def open_socket(port):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind(("127.0.0.1", port))
            one.setblocking(False)
            return one

        server = http.server.ThreadingHTTPServer(("127.0.0.1", control), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        front, backs, clients, queue, number = open_socket(port), {}, {}, [], 0
        print("ready", flush=True)
        while True:
            if state["move"]:
                state["move"] = 0.0
                counts["moves"] += 1
                for client, back in clients.items():
                    del backs[back]
                    back.close()
                    clients[client] = open_socket(0)
                    backs[clients[client]] = client
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _, _, client, is_up, data = heapq.heappop(queue)
                try:
                    (clients[client].sendto(data, ("127.0.0.1", target)) if is_up else front.sendto(data, client))
                except OSError:
                    pass
            wait = min(0.02, max(0, queue[0][0] - now)) if queue else 0.02
            for one in select.select([front, *backs], [], [], wait)[0]:
                for _ in range(64):
                    try:
                        data, address = one.recvfrom(2048)
                    except OSError:
                        break
                    client, is_up = backs.get(one, address), one is front
                    if client not in clients:
                        clients[client] = open_socket(0)
                        backs[clients[client]] = client
                        counts["clients"] += 1
                    now = time.monotonic()
                    if now < state["dark"] or chance.random() < state["loss"]:
                        counts["lost"] += 1
                        continue
                    counts["carried"] += 1
                    isDoubled = chance.random() < state["double"]
                    counts["doubled"] += isDoubled
                    for _ in range(1 + isDoubled):
                        number += 1
                        at = now + chance.random() * state["jitter"] / 1000
                        heapq.heappush(queue, (at, number, client, is_up, data))
        """#
}
