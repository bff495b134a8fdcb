import Foundation

/// Many HLS players in one process: each reloads its playlists and gets its segments as the standard says, over
/// connections of its own, without decoding anything.
///
/// They play low-latency playlists by blocking reloads, delta updates and parts, others by whole segments. Spec:
/// RFC 8216 §6.3; draft-pantos-hls-rfc8216bis §6.3.
enum HLSPlayers {
    /// What all of them together saw.
    struct Report: Decodable, Sendable {
        let requests: Int
        /// Answers that the cache in front marks with `X-Cache: HIT`.
        let hits: Int
        let playlists: Int
        let media: Int
        let bytes: Int
        /// Playlists that were older than one before.
        let wentBack: Int
        /// Times that a player got nothing new for three target durations.
        let stalls: Int
        /// By HTTP status, by `X-Cache`, by error.
        let statuses: [String: Int]
        let caches: [String: Int]
        let errors: [String: Int]
        let blockedMedianMillis: Int
        let blocked99Millis: Int

        var hitRatio: Double { Double(self.hits) / Double(max(self.requests, 1)) }
    }

    /// Plays `url` with `count` players, which begin over four seconds, for `seconds`.
    ///
    /// - Parameter secret: each player gets a signed path of its own, for the app `live` of the default vhost.
    static func play(
        _ sandbox: Sandbox, _ url: String, count: Int, seconds: Int, secret: String = ""
    ) async throws -> Report {
        let script = try sandbox.write("players-\(UUID().uuidString.prefix(8)).py", self.script)
        let text = try await sandbox.run(
            try Tools.python, [script.path, url, "\(count)", "\(seconds)", secret], within: .seconds(seconds + 60))
        return try JSONDecoder().decode(Report.self, from: Data(text.utf8))
    }

    private static let script = #"""
        import asyncio, base64, hashlib, hmac, json, re, resource, sys, time
        from urllib.parse import urljoin, urlsplit

        url, players, seconds, secret = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
        total = {"requests": 0, "hits": 0, "playlists": 0, "media": 0, "bytes": 0, "wentBack": 0, "stalls": 0}
        statuses, caches, errors, blocked = {}, {}, {}, []
        deadline = 0.0


        def note(table, key):
            table[str(key)] = table.get(str(key), 0) + 1


        def signature(number):
            """The path prefix of one player: 16 bytes of HMAC-SHA256 over vhost, scope, expiry and app."""
            if not secret:
                return ""
            expires = int(time.time()) + 600 + number
            message = f"weir-path-1\n__defaultVhost__\na\n{expires}\nlive"
            code = hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()[:16]
            return f"/~{expires}a~" + base64.urlsafe_b64encode(code).decode().rstrip("=")


        class Connection:
            """One kept HTTP/1.1 connection of one player."""

            def __init__(self, host, port):
                self.host, self.port, self.reader, self.writer = host, port, None, None

            async def get(self, target):
                for attempt in range(2):
                    try:
                        if self.writer is None:
                            opened = asyncio.open_connection(self.host, self.port, limit=1 << 20)
                            self.reader, self.writer = await opened
                        head = f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\nAccept-Encoding: identity\r\n\r\n"
                        self.writer.write(head.encode())
                        return await asyncio.wait_for(self.answer(), 30)
                    except (OSError, asyncio.IncompleteReadError):
                        self.close()
                        if attempt:
                            raise

            async def answer(self):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")
                status = int(head[0].split(" ")[1])
                pairs = [line.split(":", 1) for line in head[1:] if ":" in line]
                fields = {name.lower(): value.strip() for name, value in pairs}
                if "chunked" in fields.get("transfer-encoding", ""):
                    body = b""
                    while size := int((await self.reader.readline()).split(b";")[0], 16):
                        body += await self.reader.readexactly(size)
                        await self.reader.readexactly(2)
                    await self.reader.readline()
                else:
                    body = await self.reader.readexactly(int(fields.get("content-length", 0)))
                cache = fields.get("x-cache", "none")
                total["requests"] += 1
                total["bytes"] += len(body)
                total["hits"] += cache == "HIT"
                note(statuses, status)
                note(caches, cache)
                return status, body

            def close(self):
                if self.writer:
                    self.writer.close()
                self.reader = self.writer = None


        def attribute(line, name):
            found = re.search(rf'[:,]{name}=("([^"]*)"|[^,]*)', line)
            return found and (found.group(2) if found.group(2) is not None else found.group(1))


        def parse(text):
            """What a player follows: the first sequence, the target, the part target, [(sequence, part, uri)]."""
            sequence = part = target = 0
            part_target, items, first = None, [], None
            for line in text.splitlines():
                if line.startswith("#EXT-X-MEDIA-SEQUENCE:"):
                    sequence = first = int(line.split(":")[1])
                elif line.startswith("#EXT-X-TARGETDURATION:"):
                    target = float(line.split(":")[1])
                elif line.startswith("#EXT-X-PART-INF:"):
                    part_target = float(attribute(line, "PART-TARGET"))
                elif line.startswith("#EXT-X-SKIP:"):
                    sequence += int(attribute(line, "SKIPPED-SEGMENTS"))
                elif line.startswith("#EXT-X-PART:"):
                    items.append((sequence, part, attribute(line, "URI")))
                    part += 1
                elif line and not line.startswith("#"):
                    items.append((sequence, None, line))
                    sequence, part = sequence + 1, 0
            maps = re.findall(r'#EXT-X-MAP:URI="([^"]*)"', text)
            return first or 0, target, part_target, items, (sequence, part), maps


        async def follow(connection, playlist, low_latency):
            """Plays one media playlist: reloads it, and gets each new part or segment once, in order."""
            known, first_seen, maps, last_media, query = None, 0, set(), time.time(), ""
            while time.time() < deadline:
                started = time.time()
                status, body = await connection.get(playlist + query)
                total["playlists"] += 1
                if status != 200:
                    await asyncio.sleep(1)
                    continue
                first, target, part_target, items, edge, found = parse(body.decode())
                is_blocking = low_latency and part_target is not None
                if "msn" in query:
                    blocked.append(time.time() - started)
                total["wentBack"] += first < first_seen or (known is not None and edge < known[1])
                first_seen = max(first_seen, first)
                if known is None:
                    hold = max(0, len(items) - 3)
                    known = (items[hold][0], -1) if items else (0, -1), edge
                    start = items[hold:] if is_blocking else [i for i in items if i[1] is None][-3:]
                else:
                    start = items
                for uri in found:
                    if uri not in maps:
                        maps.add(uri)
                        await connection.get(urljoin(playlist, uri))
                position = known[0]
                for sequence, part, uri in start:
                    is_part = part is not None
                    place = (sequence, part if is_part else 1 << 20)
                    if is_part != is_blocking or place <= position:
                        continue
                    status, _ = await connection.get(urljoin(playlist, uri))
                    total["media"] += 1
                    if status == 200:
                        position, last_media = place, time.time()
                known = position, max(known[1], edge)
                if time.time() - last_media > 3 * target + 1:
                    total["stalls"] += 1
                    last_media = time.time()
                if is_blocking:
                    query = f"?_HLS_msn={edge[0]}&_HLS_part={edge[1]}&_HLS_skip=YES"
                else:
                    # Half a target duration after a playlist that brought nothing. Spec: RFC 8216 6.3.4.
                    pause = target if start else target / 2
                    await asyncio.sleep(max(0, started + pause - time.time()))


        async def play(number):
            parts = urlsplit(url)
            await asyncio.sleep(number / players * 4)
            connection = Connection(parts.hostname, parts.port or 80)
            others = []
            try:
                top = signature(number) + parts.path
                _, body = await connection.get(top)
                text = body.decode()
                lists = [line for line in text.splitlines() if line and not line.startswith("#")][:1]
                lists += [attribute(line, "URI") for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:")][:1]
                others = [Connection(parts.hostname, parts.port or 80) for _ in lists]
                await asyncio.gather(*(follow(c, urljoin(top, uri), True) for c, uri in zip(others, lists) if uri))
            except Exception as error:
                note(errors, f"{type(error).__name__}: {error}"[:120])
            for each in [connection] + others:
                each.close()


        async def main():
            global deadline
            # Three connections a player.
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384) if most > 0 else 16384, most))
            deadline = time.time() + seconds
            await asyncio.gather(*(play(number) for number in range(players)))
            blocked.sort()
            middle = blocked[len(blocked) // 2] if blocked else 0
            late = blocked[len(blocked) * 99 // 100] if blocked else 0
            tables = {"statuses": statuses, "caches": caches, "errors": errors}
            times = {"blockedMedianMillis": round(middle * 1000), "blocked99Millis": round(late * 1000)}
            print(json.dumps(total | tables | times))

        asyncio.run(main())
        """#
}
