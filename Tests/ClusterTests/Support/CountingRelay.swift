import Foundation

/// A TCP relay between players and nodes that counts what it carries: what a client moved, by another's count.
struct CountingRelay: Sendable {
    /// Bytes of all connections of one port, since the start.
    struct Count: Sendable {
        let toServer: Int
        let toClient: Int
    }

    private let ports: [Int]
    private let control: String
    private let sandbox: Sandbox

    /// One port for each target port on loopback. `source` is the address that the relay connects from.
    init(_ sandbox: Sandbox, targets: [Int], source: String = "127.0.0.1") async throws {
        let ports = try Sandbox.freePorts(targets.count + 1)
        self.ports = Array(ports.dropLast())
        self.control = "http://127.0.0.1:\(ports[targets.count])/"
        self.sandbox = sandbox
        let child = try sandbox.python(
            "relay", Self.script,
            [source, "\(ports[targets.count])"] + zip(ports, targets).map { "\($0):\($1)" })
        try await until("the relay listens", within: .seconds(10)) { child.text.contains("ready") }
    }

    func rtmp(_ index: Int, _ stream: String) -> String { "rtmp://127.0.0.1:\(self.ports[index])/\(stream)" }
    func http(_ index: Int, _ path: String) -> String { "http://127.0.0.1:\(self.ports[index])/\(path)" }

    var counts: [Count] {
        get async throws {
            try await self.sandbox.request(self.control).json.array.map {
                Count(toServer: $0[0].int ?? 0, toClient: $0[1].int ?? 0)
            }
        }
    }

    private static let script = #"""
        import asyncio, json, sys

        source, control, counts = sys.argv[1], int(sys.argv[2]), []

        async def carry(reader, writer, count, direction):
            try:
                while data := await reader.read(1 << 16):
                    count[direction] += len(data)
                    writer.write(data)
                    await writer.drain()
            except OSError:
                pass
            finally:
                try:
                    writer.write_eof()
                except OSError:
                    pass

        def relay(target, count):
            async def accept(reader, writer):
                try:
                    server_reader, server_writer = await asyncio.open_connection(
                        "127.0.0.1", target, local_addr=(source, 0))
                except OSError:
                    return writer.close()
                # An end is passed on for its direction only, as TCP has it.
                await asyncio.gather(carry(reader, server_writer, count, 0), carry(server_reader, writer, count, 1))
                server_writer.close()
                writer.close()
            return accept

        async def tell(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(counts).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()

        async def main():
            for pair in sys.argv[3:]:
                port, target = map(int, pair.split(":"))
                counts.append([0, 0])
                await asyncio.start_server(relay(target, counts[-1]), "127.0.0.1", port)
            await asyncio.start_server(tell, "127.0.0.1", control)
            print("ready", flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
        """#
}
