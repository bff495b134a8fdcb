/// Attacks below and beside HTTP/1.1.
extension Attacks {
    /// HTTP/2 of TLS ports, frame by frame. Spec: RFC 9113; CVE-2023-44487 and the floods of 2019 and 2024.
    static let http2 = #"""
        import os, struct
        from attack import *


        def frame(kind, flags, stream, body=b""):
            return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


        def literal(name, value):
            return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


        # GET, https, the path and the authority.
        def fields(path=b"/"):
            return b"\x82\x87" + literal(b":path", path) + literal(b":authority", b"localhost")


        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
        HEADERS, RST, SETTINGS, PING, WINDOW, CONTINUATION, DATA, PRIORITY = 1, 3, 4, 6, 8, 9, 0, 2


        def flood(target, name, pieces, must_end=False, wait=4):
            """Sends pieces for as long as the server takes them."""
            count()
            received, ended = b"", False
            try:
                with connect(target, 5, ["h2"]) as link:
                    if link.selected_alpn_protocol() != "h2":
                        return found(f"{target['kind']}: no HTTP/2")
                    link.sendall(preface)
                    link.settimeout(0.5)
                    began = time.monotonic()
                    try:
                        for number, piece in enumerate(pieces):
                            link.settimeout(3)
                            link.sendall(piece)
                            link.setblocking(False)
                            try:
                                while data := link.recv(1 << 16):
                                    received = (received + data)[-65536:]
                                else:
                                    ended = True
                                    break
                            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                                pass
                            if time.monotonic() - began > 12:
                                break
                        link.settimeout(wait)
                        while not ended:
                            data = link.recv(1 << 16)
                            ended = not data
                            received = (received + data)[-65536:]
                    except TimeoutError:
                        pass
                    except OSError:
                        ended = True
            except OSError:
                ended = True
            for text in forbidden:
                if text in received:
                    found(f"{target['kind']}: {name}: tells {text!r}")
            if must_end and not ended:
                found(f"{target['kind']}: {name}: the connection goes on")
            healthy(target)


        def batches(make, count, each=200):
            for start in range(0, count, each):
                yield b"".join(make(number) for number in range(start, min(start + each, count)))


        for target in targets:
            path = target["path"].encode()
            block = fields(path)
            flood(target, "rapid reset", batches(lambda n: frame(HEADERS, 5, 2 * n + 1, block) + frame(RST, 0, 2 * n + 1, b"\0\0\0\x08"), 50_000))
            flood(target, "settings", batches(lambda n: frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535) * 20), 50_000))
            flood(target, "pings", batches(lambda n: frame(PING, 0, 0, bytes(8)), 100_000))
            flood(target, "priorities", batches(lambda n: frame(PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\x10"), 50_000))
            flood(target, "resets of nothing", batches(lambda n: frame(RST, 0, 1, b"\0\0\0\x08"), 20_000))
            flood(target, "empty data", iter([frame(HEADERS, 4, 1, b"\x83\x87" + literal(b":path", b"/") + literal(b":authority", b"a"))]
                                             + [frame(DATA, 0, 1) * 200] * 500))
            flood(target, "continuations", iter([frame(HEADERS, 1, 1, block)] + [frame(CONTINUATION, 0, 1, literal(b"x" * 100, b"y" * 100) * 50)] * 2_000), True)
            flood(target, "empty continuations", iter([frame(HEADERS, 1, 1, block)] + [frame(CONTINUATION, 0, 1) * 200] * 500), True)
            # A table entry of 4,000 bytes, then named 16,000 times.
            bomb = b"\x40\x01x\x7f" + bytes([0xa1, 0x1e]) + b"a" * 4_000
            flood(target, "HPACK bomb", iter([frame(HEADERS, 4, 1, block + bomb)]
                                             + [frame(HEADERS, 5, 2 * n + 3, block + b"\xbe" * 16_000) for n in range(300)]))
            flood(target, "streams without an end", batches(lambda n: frame(HEADERS, 4, 2 * n + 1, block), 20_000))
            flood(target, "a window beyond its bound", iter([frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 4]), True)
            flood(target, "a window of nothing", iter([frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))]
                                                      + list(batches(lambda n: frame(HEADERS, 5, 2 * n + 1, block), 2_000))))
            flood(target, "a frame that is too long", iter([frame(DATA, 0, 1, b"x" * 60_000)]), True)
            flood(target, "data without a stream", iter([frame(DATA, 0, 99, b"x")]), True)
            flood(target, "an even stream", iter([frame(HEADERS, 5, 2, block)]), True)
            flood(target, "broken HPACK", iter([frame(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff")]), True)
            flood(target, "no preface", iter([os.urandom(4_096)]), True)
            for name, bad in {"upper case": literal(b"X-Up", b"a"), "line breaks": literal(b"x-a", b"a\r\nx-injected: yes"),
                              "connection": literal(b"connection", b"close"), "two paths": literal(b":path", b"/x"),
                              "coding": literal(b"transfer-encoding", b"chunked"), "no scheme": b""}.items():
                flood(target, f"a head with {name}", iter([frame(HEADERS, 5, 1, (block if bad else block[:1] + block[2:]) + bad)]), wait=0.5)
            for path in [b"/../../etc/passwd", b"/live/%2e%2e/%2e%2e/canary.txt.m3u8", b"//..\\canary.txt", b"*", b"x", b""]:
                flood(target, f"path {path!r}", iter([frame(HEADERS, 5, 1, fields(path))]), wait=0.3)
        report()
        """#

    /// RTMP, by the bytes. The argument is the name that is published in between to see that it works.
    static let rtmp = #"""
        import os, struct
        from attack import *

        target = targets[0]


        def text(value):
            return b"\x02" + struct.pack(">H", len(value)) + value


        def name(value):
            return struct.pack(">H", len(value)) + value


        def number(value):
            return b"\0" + struct.pack(">d", value)


        def message(kind, stream, body, chunk_stream=3, length=None, at=b"\0\0\0"):
            return (bytes([chunk_stream]) + at + struct.pack(">I", len(body) if length is None else length)[1:]
                    + bytes([kind]) + struct.pack("<I", stream) + body)


        hello = b"\x03" + bytes(8) + os.urandom(1528) + bytes(1536)
        wide = message(1, 0, struct.pack(">I", 1 << 20), 2)
        url = b"rtmp://127.0.0.1/live"


        def connect_command(app=b"live", more=b""):
            return message(20, 0, text(b"connect") + number(1) + b"\x03" + name(b"app") + text(app) + name(b"tcUrl")
                           + text(url) + more + b"\0\0\x09")


        def publish(stream):
            return message(20, 0, text(b"createStream") + number(2) + b"\x05") + message(
                20, 1, text(b"publish") + number(3) + b"\x05" + text(stream) + text(b"live"))


        def play(stream):
            return message(20, 0, text(b"createStream") + number(2) + b"\x05") + message(
                20, 1, text(b"play") + number(3) + b"\x05" + text(stream))


        ready = hello + wide + connect_command()


        def send(what, data, wanted=None, unwanted=b"NetStream.Publish.Start", must_end=False, timeout=2, patience=0.3):
            count()
            answer, closed = exchange(target, data, timeout, patience)
            for bad in forbidden:
                if bad in answer:
                    found(f"RTMP: {what}: tells {bad!r}")
            if unwanted and unwanted in answer:
                found(f"RTMP: {what}: accepted")
            if wanted and wanted not in answer:
                found(f"RTMP: {what}: no {wanted!r} in {answer[-300:]!r}")
            if must_end and not closed:
                found(f"RTMP: {what}: the connection goes on")


        deep = (b"\x03" + name(b"a")) * 10_000 + b"\x05" + b"\0\0\x09" * 10_000
        arrays = b"\x0a\0\0\0\x01" * 10_000 + b"\x05"
        send("nested objects", ready + message(20, 0, text(b"x") + number(5) + deep), must_end=True)
        send("nested arrays", ready + message(20, 0, text(b"x") + number(5) + arrays), must_end=True)
        send("an array of 2^32", ready + message(20, 0, text(b"x") + number(5) + b"\x0a\xff\xff\xff\xff"), must_end=True)
        send("a string beyond its message", ready + message(20, 0, b"\x0c\x7f\xff\xff\xffabc"), must_end=True)
        send("many values", ready + message(20, 0, text(b"x") + number(5) + b"\x05" * 900_000), must_end=True)
        send("nesting in connect", hello + wide + connect_command(more=name(b"x") + deep), must_end=True)
        send("nested data of a stream", ready + publish(b"deep") + message(18, 1, text(b"@setDataFrame") + text(b"onMetaData") + deep), unwanted=None)
        send("AMF3", ready + message(17, 0, b"\0" + text(b"x") + number(5) + b"\x11" + b"\x09\x03\x01" * 10_000))
        for size in [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]:
            send(f"chunk size {size}", hello + message(1, 0, struct.pack(">I", size), 2) + connect_command() + bytes(4_096), timeout=1)
        send("messages without an end", ready + b"".join(
            b"\0" + bytes([n]) + b"\0\0\0\xff\xff\xff\x09\1\0\0\0" + b"x" * 100 for n in range(200)), must_end=True)
        send("a message of 16 MiB", [ready + message(9, 1, b"", length=0xffffff)] + [b"x" * (1 << 20)] * 20, must_end=True)
        send("bytes of chance", hello + os.urandom(200_000), must_end=True)
        send("bytes of chance after connect", ready + os.urandom(200_000), must_end=True)
        send("no handshake", os.urandom(8_192), timeout=1)
        send("another version", b"\x06" + bytes(3072) + connect_command(), timeout=1)
        send("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 100, timeout=1)
        send("media without publishing", ready + message(9, 1, b"\x17\1\0\0\0" + bytes(100)) * 1_000, timeout=1)
        send("empty media", ready + publish(b"empty") + message(9, 1, b"") * 1_000 + message(8, 1, b"") * 1_000, unwanted=None, timeout=1)
        send("broken media", ready + publish(b"broken") + b"".join(message(9, 1, os.urandom(50)) for _ in range(500)), unwanted=None, timeout=1)
        send("broken records", ready + publish(b"records") + message(9, 1, b"\x17\0\0\0\0\1\x64\0\x1f\xff\xff" + b"\xff" * 60)
             + message(9, 1, b"\x17\1\0\0\0\xff\xff\xff\xff") + message(8, 1, b"\xaf\0"), unwanted=None, timeout=1)
        send("times that jump", ready + publish(b"jumps") + b"".join(
            message(8, 1, b"\xaf\1\x21", 4, at=os.urandom(3)) for _ in range(500)), unwanted=None, timeout=1)
        send("commands without end", [ready] + [message(20, 0, text(b"createStream") + number(4) + b"\x05") * 500] * 100)
        send("unknown commands", [ready] + [message(20, 0, text(b"x" * 200) + number(4) + b"\x05") * 200] * 50, timeout=1)
        send("pings", [ready] + [message(4, 0, b"\0\x06\0\0\0\0", 2) * 1_000] * 50, timeout=1)
        send("aborts", [ready] + [message(2, 0, b"\0\0\0\x03", 2) * 1_000] * 20, timeout=1)
        send("windows of nothing", ready + message(5, 0, bytes(4), 2) + message(3, 0, b"\xff" * 4, 2) * 1_000, timeout=1)
        for bad in [b"", b"a\r\nX-Injected: yes", b"a\nb", b"a\0b", b"../../etc/passwd", b"..", b".", b"a/../../b",
                    b"x" * 5_000, b"a b", b"a\x1b[31m", b"\\..\\..\\x"]:
            send(f"publishing {bad[:30]!r}", ready + publish(bad), timeout=1)
            send(f"playing {bad[:30]!r}", ready + play(bad), unwanted=b"NetStream.Play.Start", timeout=1)
        for bad in [b"..", b"a\r\nb", b"live/../x", b"x" * 5_000]:
            send(f"connecting to {bad[:30]!r}", hello + wide + connect_command(bad) + publish(b"one-of-these"), timeout=1)
        forged = (name(b"weirNode") + text(b"edge") + name(b"weirEpoch") + number(9) + name(b"weirProof") + text(b"x" * 64)
                  + name(b"weirPeer") + b"\x03" + name(b"address") + text(b"192.0.2.1") + b"\0\0\x09")
        send("a node of no cluster", hello + wide + connect_command(b"guarded", forged) + play(b"one"),
             b"NetStream.Play.Failed", b"NetStream.Play.Start")
        send("what is right", ready + publish(b"right"), b"NetStream.Publish.Start", None)
        report()
        """#

    /// WebSockets on which FLV is played.
    static let webSocket = #"""
        import os, struct
        from attack import *

        upgrade = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


        def frame(opcode, body, fin=True, masked=True, length=None, reserved=0):
            size = len(body) if length is None else length
            start = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
            flag = 0x80 if masked else 0
            if size < 126:
                start += bytes([flag | size])
            elif size < 65536:
                start += bytes([flag | 126]) + struct.pack(">H", size)
            else:
                start += bytes([flag | 127]) + struct.pack(">Q", size)
            return start + (b"\0\0\0\0" if masked else b"") + body


        for target in targets:
            path = target["path"].replace(".m3u8", ".flv")
            opened = head(target, path, "GET", *upgrade, key)
            for what, fields in {"no key": upgrade, "a short key": (*upgrade, "Sec-WebSocket-Key: x"),
                                 "a key of lines": (*upgrade, "Sec-WebSocket-Key: a%0d%0aX-Injected: yes"),
                                 "version 0": (*upgrade[:2], "Sec-WebSocket-Version: 0", key)}.items():
                data, _ = exchange(target, head(target, path, "GET", *fields), 1, 0.2, 1 << 16)
                count()
                if b"X-Injected" in data.split(b"\r\n\r\n")[0].replace(b"%0d%0aX-Injected", b""):
                    found(f"{what}: injected")
            for what, data, must_end in [
                ("2^63 bytes", frame(2, b"x", length=1 << 63), True), ("2^62 bytes", frame(1, b"x", length=1 << 62), True),
                ("a text of 16 MiB", frame(1, bytes(16 << 20)), True), ("without a mask", frame(1, b"hello", masked=False), True),
                ("a long ping", frame(9, bytes(126)), True), ("a ping in parts", frame(9, b"x", fin=False), True),
                ("reserved bits", frame(1, b"x", reserved=7), True), ("opcode 15", frame(15, b"x"), True),
                ("a part of nothing", frame(0, b"x"), False), ("chance", os.urandom(100_000), True),
                ("a short close", frame(8, b"x"), True), ("a close", frame(8, b"\x03\xe8"), True),
                ("pings", frame(9, b"x") * 20_000, False), ("parts without an end", frame(1, b"x", fin=False) + frame(0, bytes(1000), fin=False) * 20_000, False),
                ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 9, True),
            ]:
                count()
                answer, closed = b"", False
                try:
                    with connect(target) as link:
                        link.sendall(opened)
                        began = time.monotonic()
                        while b"\r\n\r\n" not in answer:
                            piece = link.recv(65536)
                            if not piece:
                                raise OSError("closed before the upgrade")
                            answer += piece
                        if b" 101 " not in answer[:20]:
                            found(f"{what}: {answer[:60]!r}")
                            continue
                        try:
                            link.sendall(data)
                            # The stream goes on meanwhile; an end has to come all the same.
                            while time.monotonic() - began < 6:
                                if not link.recv(65536):
                                    closed = True
                                    break
                        except TimeoutError:
                            pass
                        except OSError:
                            closed = True
                except OSError as error:
                    found(f"{what}: {error}")
                if must_end and not closed:
                    found(f"{target['kind']}: {what}: the connection goes on")
                healthy(target)
            for origin in ["http://evil.test", "null"]:
                count()
                data, _ = exchange(target, head(target, path, "GET", *upgrade, key, f"Origin: {origin}"), 1, 0.2, 1 << 16)
                if not data.startswith(b"HTTP/1.1 403"):
                    found(f"a page of {origin}: {data[:60]!r}")
        report()
        """#
}
