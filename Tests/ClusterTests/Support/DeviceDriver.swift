/// A simulated device of GB/T 28181, first half: what it sends. It reads a transport stream that ffmpeg made, and writes its
/// frames as a program stream.
enum DeviceDriver {
    static let media = #"""
        """A device of GB/T 28181: registers, keeps alive, answers, and sends a transport stream's media as a program stream.

            device.py SETTINGS.json

        What happens is written to standard output, one JSON object a line. Commands come as lines of the file "commands".
        """
        import hashlib, json, os, re, socket, struct, sys, threading, time, random

        S = json.loads(open(sys.argv[1]).read())
        ID, SERVER, HOST, PORT = S["id"], S["server"], S["host"], S["port"]
        CHANNELS = S.get("channels", [])
        PASSWORD, TCP = S.get("password", ""), S.get("sip", "udp") == "tcp"
        DOMAIN = SERVER[:10]
        lock = threading.RLock()


        def tell(event, **values):
            with lock:
                print(json.dumps(dict(event=event, **values)), flush=True)


        # ---- Media: a transport stream of ffmpeg, as (kind, pts, dts, bytes, keyframe).
        def read_ts(path):
            pids, out, found = {}, {}, []
            data = open(path, "rb").read()

            def stamp(b):
                return (b[0] >> 1 & 7) << 30 | b[1] << 22 | (b[2] >> 1) << 15 | b[3] << 7 | b[4] >> 1

            def close(pid):
                pes = out.pop(pid, None)
                if not pes:
                    return
                flags, length = pes[7] >> 6, pes[8]
                pts = stamp(pes[9:14])
                dts = stamp(pes[14:19]) if flags == 3 else pts
                body = bytes(pes[9 + length:])
                key = pids[pid] == "audio" or is_key(body, S.get("codec", "h264"))
                found.append((pids[pid], pts, dts, body, key))

            for at in range(0, len(data) - 187, 188):
                p = data[at:at + 188]
                pid = (p[1] & 0x1F) << 8 | p[2]
                i = 4
                if p[3] & 0x20:
                    i += 1 + p[4]
                if not p[3] & 0x10:
                    continue
                if p[1] & 0x40 and p[i:i + 3] == b"\0\0\1":
                    if pid not in pids:
                        pids[pid] = "audio" if 0xC0 <= p[i + 3] < 0xE0 else "video"
                    close(pid)
                    out[pid] = bytearray(p[i:])
                elif pid in out:
                    out[pid] += p[i:]
            for pid in list(out):
                close(pid)
            return sorted(found, key=lambda f: f[2])


        def is_key(body, codec):
            for match in re.finditer(b"\0\0\1(.)", body[:4096], re.S):
                byte = match.group(1)[0]
                if codec == "hevc" and 16 <= byte >> 1 & 0x3F <= 21:
                    return True
                if codec == "h264" and byte & 0x1F == 5:
                    return True
            return False


        def read_media():
            frames = read_ts(S["media"])
            if S.get("alaw"):
                frames = [f for f in frames if f[0] == "video"]
                data, start = open(S["alaw"], "rb").read(), frames[0][1]
                for n in range(0, len(data) - 319, 320):
                    time_ = start + n // 320 * 3600
                    frames.append(("audio", time_, time_, data[n:n + 320], True))
                frames.sort(key=lambda f: f[2])
            return frames


        def time_bytes(mark, t):
            t &= (1 << 33) - 1
            return bytes([mark << 4 | (t >> 30) << 1 | 1]) + struct.pack(">H", (t >> 15 & 0x7FFF) << 1 | 1) + \
                struct.pack(">H", (t & 0x7FFF) << 1 | 1)


        def crc(data):
            value = 0xFFFFFFFF
            for byte in data:
                value ^= byte << 24
                for _ in range(8):
                    value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
            return value


        def pack(frame):
            kind, pts, dts, body, key = frame
            t = dts & (1 << 33) - 1
            scr = 1 << 46 | (t >> 30) << 43 | 1 << 42 | (t >> 15 & 0x7FFF) << 27 | 1 << 26 | (t & 0x7FFF) << 11 | 1 << 10 | 1
            out = b"\0\0\1\xba" + struct.pack(">Q", scr)[2:] + b"\x01\x89\xc3\xf8"
            if kind == "video" and key and S.get("map", True):
                out += b"\0\0\1\xbb" + struct.pack(">H", 12) + b"\x80\xc4\xe1\x04\xe1\xff\xe0\xe0\x80\xc0\xc0\x40"
                video = {"h264": 0x1B, "hevc": 0x24}[S.get("declared", S.get("codec", "h264"))]
                audio = S.get("audioType") or (0x90 if S.get("alaw") else 0x0F)
                body_map = b"\xe0\xff\0\0" + struct.pack(">H", 8) + bytes([video, 0xE0, 0, 0, audio, 0xC0, 0, 0])
                section = b"\0\0\1\xbc" + struct.pack(">H", len(body_map) + 4) + body_map
                out += section + struct.pack(">I", crc(section))
            stream = 0xE0 if kind == "video" else 0xC0
            first = True
            while body or first:
                piece, body = body[:65000], body[65000:]
                if first and pts != dts:
                    header = b"\x84\xc0\x0a" + time_bytes(3, pts) + time_bytes(1, dts)
                elif first:
                    header = b"\x84\x80\x05" + time_bytes(2, pts)
                else:
                    header = b"\x80\x00\x00"
                out += b"\0\0\1" + bytes([stream]) + struct.pack(">H", len(header) + len(piece)) + header + piece
                first = False
            return out


        class Sender(threading.Thread):
            def __init__(self, offer, call):
                super().__init__(daemon=True)
                self.offer, self.call, self.stopped, self.broken = offer, call, False, S.get("broken", 0)
                self.sequence, self.scale, self.paused = random.randrange(65536), 1.0, False
                self.listener = None
                if offer["setup"] == "active":
                    self.listener = socket.create_server(("127.0.0.1", 0))

            def run(self):
                try:
                    self.send_all()
                except OSError as error:
                    tell("media-error", text=str(error))
                tell("media-end", call=self.call)

            def connect(self):
                o = self.offer
                if not o["tcp"]:
                    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    s.connect((o["host"], o["port"]))
                    return s
                if self.listener:
                    self.listener.settimeout(10)
                    return self.listener.accept()[0]
                return socket.create_connection((o["host"], o["port"]), timeout=10)

            def send_all(self):
                s = self.connect()
                frames = read_media()
                dump = open(S["dump"], "wb") if S.get("dump") else None
                base, began = frames[0][2], time.monotonic()
                shift, last = 0, frames[-1][2] - base + 3600
                ssrc = S.get("ssrc", self.offer["ssrc"])
                held = None
                count = 0
                while not self.stopped:
                    for kind, pts, dts, body, key in frames:
                        due = began + (dts - base + shift) / 90000 / self.scale
                        while not self.stopped and (self.paused or time.monotonic() < due):
                            time.sleep(0.004)
                        if self.stopped:
                            break
                        data = pack((kind, pts + shift, dts + shift, body, key))
                        if dump:
                            dump.write(data)
                            dump.flush()
                        count += 1
                        if self.broken and count % self.broken == 0:
                            # A length that is wrong, and bytes that are nothing.
                            data = data[:20] + os.urandom(300) + data[60:]
                        packets = [data[n:n + 1400] for n in range(0, len(data), 1400)]
                        for n, payload in enumerate(packets):
                            self.sequence = self.sequence + 1 & 0xFFFF
                            mark = 0x80 if n == len(packets) - 1 else 0
                            rtp = struct.pack(">BBHII", 0x80, mark | 96, self.sequence, dts + shift & 0xFFFFFFFF, ssrc) + payload
                            if self.offer["tcp"]:
                                s.sendall(struct.pack(">H", len(rtp)) + rtp)
                            elif S.get("swap") and held is None and random.random() < 0.1:
                                held = rtp
                            else:
                                s.send(rtp)
                                if held:
                                    s.send(held)
                                    held = None
                    shift += last
                    if self.offer["name"] != "Play" or not S.get("loop", True):
                        break
                if self.offer["name"] != "Play" and not self.stopped:
                    body = "<?xml version=\"1.0\"?>\r\n<Notify><CmdType>MediaStatus</CmdType><SN>1</SN><DeviceID>%s</DeviceID>" \
                        "<NotifyType>121</NotifyType></Notify>" % ID
                    agent.request("MESSAGE", body)
                    time.sleep(0.5)
                s.close()
        """# + "\n"
}
