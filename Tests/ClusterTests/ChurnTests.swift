import Foundation
import Testing

extension ClusterTests {
    /// Names without end: what comes and goes leaves nothing behind.
    @Suite struct ChurnTests {
        /// What a node holds when nobody is there.
        private struct Level: CustomStringConvertible {
            let residentBytes: Int
            let descriptors: Int
            let series: Int

            var description: String {
                "\(self.residentBytes >> 20) MiB, \(self.descriptors) descriptors, \(self.series) series"
            }
        }

        /// One in five streams is packaged for HLS, with files that go at once.
        private static let settings = """
            vhosts:
              - name: __defaultVhost__
                domains: [localhost]
                stream:
                  latency: realtime
                  publish.grace: 100ms
                  idle_timeout: 1s
                  hls.dispose: 2s
                apps:
                  live: {hls.enabled: false}
            """

        /// Waits until streams and sessions are gone, and memory has come to rest.
        private static func level(_ node: ClusterNode, _ sandbox: Sandbox) async throws -> Level {
            try await until("all streams are gone", within: .seconds(60), every: .milliseconds(500)) {
                let streams = try await node.api("/api/v2/streams", in: sandbox).json
                let sessions = try await node.api("/api/v2/sessions", in: sandbox).json
                return streams["total"].int == 0 && sessions["total"].int == 0
            }
            try await until("all connections are gone", within: .seconds(30), every: .milliseconds(500)) {
                try await node.api("/api/v2/sessions?idle=true", in: sandbox).json["total"].int == 0
            }
            var last = Int.max
            try await until("memory is at rest", within: .seconds(30), every: .seconds(2)) {
                let now = try node.child.residentBytes
                defer { last = now }
                return abs(now - last) < 1 << 20
            }
            let metrics = try await node.api("/metrics", in: sandbox).text
            return Level(
                residentBytes: try node.child.residentBytes, descriptors: try node.descriptors,
                series: metrics.split(separator: "\n").count { !$0.hasPrefix("#") })
        }

        @Test("50,000 names published, played and dropped leave no memory, descriptors, streams, sessions and series")
        func names() async throws {
            let count = Tools.seconds("WEIR_TEST_CHURN_NAMES", default: 50_000)
            let first = min(5_000, count / 2)
            try await Sandbox.run { sandbox in
                let file = try sandbox.write("churn.yaml", Self.settings)
                let node = try await Cluster.node(
                    "origin", role: "origin", ["log.level": "warning"], sandbox,
                    Launch(environment: ["WEIR_CONFIG": file.path]))
                let source = try await Media.makeSource(sandbox, seconds: 1, size: "64x36")
                func churn(_ start: Int, _ count: Int) async throws {
                    let report = try await sandbox.report(
                        "churn", Self.script,
                        ["\(node.rtmpPort)", "\(node.httpPort)", source.path, "\(start)", "\(count)", "32"],
                        within: .seconds(60 + count / 40))
                    #expect(report["failures"] == .array([]))
                }
                try await churn(0, first)
                let before = try await Self.level(node, sandbox)
                try await churn(first, count - first)
                let after = try await Self.level(node, sandbox)
                #expect(after.descriptors == before.descriptors, "\(before), then \(after)")
                #expect(after.series == before.series, "\(before), then \(after)")
                #expect(after.residentBytes < before.residentBytes + 30 << 20, "\(before), then \(after)")
                let left = try await sandbox.run(
                    try Tools.command("find"), [sandbox.file("origin-media").path, "-type", "f"])
                #expect(left == "")
                #expect(node.lines(with: " error ") == [])
                #expect(try await node.status(node.apiURL("/healthz")) == 200)
            }
        }

        private static let script = #"""
            import asyncio, json, os, random, struct, sys, time

            rtmp, http, path, first, count, lanes = *map(int, sys.argv[1:3]), sys.argv[3], *map(int, sys.argv[4:7])


            def amf(*values):
                out = b""
                for value in values:
                    if value is None:
                        out += b"\x05"
                    elif isinstance(value, str):
                        out += b"\x02" + struct.pack(">H", len(value)) + value.encode()
                    elif isinstance(value, dict):
                        out += b"\x03"
                        for name, item in value.items():
                            out += struct.pack(">H", len(name)) + name.encode() + amf(item)
                        out += b"\x00\x00\x09"
                    else:
                        out += b"\x00" + struct.pack(">d", value)
                return out


            def message(chunk_stream, kind, stream, body):
                return (bytes([chunk_stream]) + b"\x00\x00\x00" + struct.pack(">I", len(body))[1:] + bytes([kind])
                        + struct.pack("<I", stream) + body)


            def first_video():
                """The decoder configuration and the first keyframe of an FLV file."""
                data = open(path, "rb").read()
                at, found = 13, []
                while len(found) < 2:
                    kind, size = data[at], int.from_bytes(data[at + 1:at + 4], "big")
                    if kind == 9:
                        found.append(data[at + 11:at + 11 + size])
                    at += 15 + size
                return found


            video = first_video()
            mark = video[1][-48:]
            greeting = b"\x03" + bytes(8) + os.urandom(1528) + bytes(1536) + message(2, 1, 0, struct.pack(">I", 65536))


            def connect(app):
                return (greeting + message(3, 20, 0, amf("connect", 1, {"app": app, "tcUrl": f"rtmp://127.0.0.1:{rtmp}/{app}"}))
                        + message(3, 20, 0, amf("createStream", 2, None)))


            media = message(6, 9, 1, video[0]) + message(6, 9, 1, video[1])


            async def read_until(reader, wanted):
                found = b""
                while wanted not in found:
                    data = await reader.read(1 << 16)
                    if not data:
                        raise EOFError(f"closed after {len(found)} bytes: {found[-200:]!r}")
                    found += data


            async def playlist(name, address):
                reader, writer = await asyncio.open_connection("127.0.0.1", http, local_addr=(address, 0))
                try:
                    writer.write(f"GET /files/{name}.m3u8 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    # There may be no segment yet.
                    await asyncio.wait_for(read_until(reader, b"\r\n\r\n"), 0.5)
                except TimeoutError:
                    pass
                finally:
                    writer.transport.abort()


            async def one(number):
                # One in five is packaged, and some of these are asked for a playlist.
                app, name = "files" if number % 5 == 0 else "live", f"name-{number}"
                # Addresses of clients are many, too.
                address = f"127.1.{number // 250 % 250}.{number % 250 + 1}"
                reader, writer = await asyncio.open_connection("127.0.0.1", rtmp, local_addr=(address, 0))
                try:
                    writer.write(connect(app) + message(3, 20, 1, amf("publish", 3, None, name, "live")) + media)
                    await read_until(reader, b"NetStream.Publish.Start")
                    viewer, request = await asyncio.open_connection("127.0.0.1", http, local_addr=(address, 0))
                    try:
                        request.write(f"GET /{app}/{name}.flv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                        await read_until(viewer, mark)
                        if number % 10 == 0:
                            await playlist(name, address)
                    finally:
                        # Some leave in order, others are simply gone.
                        request.transport.abort() if number % 3 else request.close()
                finally:
                    writer.transport.abort() if number % 2 else writer.close()


            async def main():
                numbers, failures = iter(range(first, first + count)), []

                async def lane():
                    for number in numbers:
                        try:
                            await asyncio.wait_for(one(number), 20)
                        except Exception as error:
                            failures.append(f"{number}: {error!r}")
                            if len(failures) > 20:
                                return

                began = time.monotonic()
                await asyncio.gather(*(lane() for _ in range(lanes)))
                print(json.dumps({"failures": failures, "seconds": time.monotonic() - began}))

            asyncio.run(main())
            """#
    }
}
