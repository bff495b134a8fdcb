/// Clients that take their time, and those that are many.
extension Attacks {
    /// Connections that never finish what they begin: each has to be closed, while others are served at once.
    ///
    /// The argument is the RTMP port of the first target.
    static let slow = #"""
        import threading
        from attack import *

        rtmp = int(sys.argv[2])
        lock = threading.Lock()


        def drip(target, name, limit, start, piece=b"x", every=1.0, reads=True):
            """Begins with `start`, goes on with `piece` again and again, and waits for the end."""
            with lock:
                count()
            began = time.monotonic()
            ended = None
            try:
                link = connect(target, timeout=5) if start is not None else socket.create_connection(("127.0.0.1", target["port"]))
                with link:
                    if start:
                        link.sendall(start)
                    link.settimeout(every)
                    while time.monotonic() - began < limit + 8:
                        try:
                            if not reads:
                                time.sleep(every)
                            elif not link.recv(1 << 16):
                                break
                        except (TimeoutError, ssl.SSLWantReadError):
                            pass
                        if piece:
                            link.sendall(piece)
                    else:
                        ended = "never"
            except OSError:
                pass
            took = time.monotonic() - began
            if ended or took > limit:
                with lock:
                    found(f"{target['kind']}{' TLS' if target['isTLS'] else ''}: {name}: open for {took:.0f} s, not {limit}")


        jobs = []
        for target in targets:
            isAPI = target["kind"] != "media"
            idle, slowHead, slowBody = 65, (15 if isAPI else 65), (45 if isAPI else 85)
            line = f"GET {target['path']} HTTP/1.1\r\nHost: a\r\n".encode()
            post = head(target, target["post"] if isAPI else "/", "POST", length=10_000)
            jobs += [
                (target, "nothing", idle, b"", b""),
                (target, "a slow line", slowHead, b"GET /", b"a"),
                (target, "slow fields", slowHead, line, b"X: y\r\n"),
                (target, "a slow field", slowHead, line + b"X: ", b"y"),
                (target, "a slow body", slowBody, post, b"x"),
                (target, "slow chunks", slowBody, head(target, target["post"] if isAPI else "/", "POST",
                                                       "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
                (target, "half a body", slowBody, post + b"x" * 100, b""),
            ]
            if target["isTLS"]:
                jobs += [(target, "no handshake", 15, None, b""),
                         (dict(target, isTLS=False), "a slow handshake", 15, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0")]
        first = dict(targets[0], port=rtmp, isTLS=False, kind="RTMP")
        jobs += [
            (first, "nothing", 20, b"", b""), (first, "a slow handshake", 20, b"\x03", b"\0"),
            (first, "no connect", 45, b"\x03" + bytes(1536) + bytes(1536), b""),
            # A command that goes on for ever, byte by byte.
            (first, "a slow command", 45, b"\x03" + bytes(3072) + b"\x03\0\0\0\0\xff\xff\x14\0\0\0\0", b"\x02"),
        ]
        threads = [threading.Thread(target=drip, args=job, daemon=True) for job in jobs for _ in range(5)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for target in targets:
                healthy(target)
            time.sleep(2)
        report()
        """#

    /// Thousands of connections that do nothing, then others that come and go: the rest goes on. Arguments: how many for
    /// each target, and the RTMP port.
    static let crowd = #"""
        import resource
        from attack import *

        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        size, rtmp = int(sys.argv[2]), int(sys.argv[3])
        crowds = [dict(target, port=port) for target in targets for port in [target["port"]]]
        crowds.append(dict(targets[0], port=rtmp, isTLS=False))
        held = []
        for target in crowds:
            most = size if target["kind"] == "media" else 900
            for number in range(most):
                count()
                try:
                    held.append(socket.create_connection(("127.0.0.1", target["port"]), timeout=5,
                                                         source_address=(f"127.2.{number // 250}.{number % 250 + 1}", 0)))
                except OSError as error:
                    found(f"{target['kind']}: connection {number}: {error}")
                    break
        for target in targets:
            healthy(target)
            attack(target, "amid a crowd", head(target, target["path"], "GET", "Connection: close"), allowed=range(200, 405))
        for link in held:
            link.close()
        time.sleep(2)
        # Connections that break off in the middle of something.
        linger = b"\1\0\0\0\0\0\0\0"
        for target in crowds:
            for number in range(1_000):
                count()
                link = socket.create_connection(("127.0.0.1", target["port"]), timeout=5)
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                link.sendall([b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\x03" + bytes(1536)][number % 4])
                link.close()
        time.sleep(2)
        report()
        """#
}
