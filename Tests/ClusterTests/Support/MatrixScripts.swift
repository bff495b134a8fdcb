import Foundation

/// What the matrix test runs beside ffmpeg and curl.
enum MatrixScripts {
    static func json(_ value: [Any]) throws -> String {
        String(decoding: try JSONSerialization.data(withJSONObject: value), as: UTF8.self)
    }

    /// A player of low-latency HLS: `[[playlist, file], …]`. It keeps each part as it came, behind its header, until
    /// SIGINT.
    static let lowLatency = #"""
        """Follows low-latency playlists by blocking reloads, part by part, until it is told to stop. A thread a playlist."""
        import http.client, json, re, signal, sys, threading, time
        from urllib.parse import urljoin, urlsplit

        stopped = threading.Event()


        class Follower:
            def __init__(self, url, path):
                parts = urlsplit(url)
                self.url, self.path, self.file = parts.path, path, open(path, "wb")
                self.host, self.seen, self.map = (parts.hostname, parts.port), (0, -1), None
                self.connection = http.client.HTTPConnection(*self.host, timeout=10)

            def get(self, path):
                self.connection.request("GET", path)
                answer = self.connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise OSError(f"{answer.status} of {path}")
                return body

            def load(self, query):
                """Gets what is new; gives the place behind the last part."""
                text = self.get(self.url + query).decode()
                sequence, part = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text).group(1)), 0
                for line in text.splitlines():
                    uri = re.search(r'URI="([^"]*)"', line)
                    if line.startswith("#EXT-X-MAP:") and uri.group(1) != self.map:
                        self.map = uri.group(1)
                        self.take(self.map)
                    elif line.startswith("#EXT-X-PART:"):
                        if (sequence, part) > self.seen:
                            self.take(uri.group(1))
                            self.seen = sequence, part
                        part += 1
                    elif line and not line.startswith("#"):
                        sequence, part = sequence + 1, 0
                return sequence, part

            def take(self, uri):
                self.file.write(self.get(urljoin(self.url, uri)))
                self.file.flush()

            def run(self):
                query = ""
                while not stopped.is_set():
                    try:
                        place = self.load(query)
                        query = f"?_HLS_msn={place[0]}&_HLS_part={place[1]}"
                    except (OSError, AttributeError, http.client.HTTPException) as error:
                        if stopped.is_set():
                            return
                        print(f"{self.path}: {error}", file=sys.stderr, flush=True)
                        self.connection.close()
                        query = ""
                        time.sleep(0.2)


        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        for job in json.loads(sys.argv[1]):
            threading.Thread(target=Follower(*job).run, daemon=True).start()
        while not stopped.wait(0.5):
            pass
        """#

    /// A player of MPEG-DASH: `[[manifest, file of pictures, file of sound], …]`. It keeps each segment as it came,
    /// behind its header, until SIGINT.
    static let dash = #"""
        """Follows manifests of MPEG-DASH as each asks to be updated, and gets each segment that they list, until SIGINT."""
        import json, re, signal, sys, threading, time, urllib.error, urllib.request
        from urllib.parse import urljoin
        from mpegdash.parser import MPEGDASHParser

        stopped = threading.Event()


        def get(url):
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()


        def listed(template):
            """The numbers of the segments that a timeline describes."""
            count = sum(1 + (each.r or 0) for each in template.segment_timelines[0].Ss)
            return range(template.start_number, template.start_number + count)


        def follow(url, files):
            """One file for each adaptation set: the header, and behind it the segments in their order."""
            headers, seen = {}, {}
            while not stopped.is_set():
                pause = 0.2
                try:
                    manifest = MPEGDASHParser.parse(get(url).decode())
                    pause = float(re.search(r"([\d.]+)S", manifest.minimum_update_period).group(1)) / 2
                    for set in manifest.periods[-1].adaptation_sets:
                        template, path = set.representations[0].segment_templates[0], files[set.content_type]
                        with open(path, "ab") as file:
                            if headers.get(path) != template.initialization:
                                headers[path] = template.initialization
                                file.write(get(urljoin(url, template.initialization)))
                            for number in listed(template):
                                if number > seen.get(path, 0):
                                    file.write(get(urljoin(url, template.media.replace("$Number$", str(number)))))
                                    seen[path] = number
                except (OSError, KeyError, TypeError) as error:
                    print(f"{url}: {error}", file=sys.stderr, flush=True)
                stopped.wait(pause)


        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        for url, video, audio in json.loads(sys.argv[1]):
            threading.Thread(target=follow, args=(url, {"video": video, "audio": audio}), daemon=True).start()
        while not stopped.wait(0.5):
            pass
        """#

    /// Publishes by WHIP what is coded already: `[[url, file, video, audio], …]`, in real time.
    static var whip: String { self.webRTC + self.publisher }

    /// Plays by WHEP, and keeps what a decoder would get: `[[url, file], …]`, until SIGINT.
    static var whep: String { self.webRTC + self.player }

    private static let webRTC = #"""
        """H.265 for aiortc, which does not know it. Spec: RFC 7798."""
        import asyncio, base64, contextvars, json, signal, struct, sys, threading, time, urllib.parse, urllib.request
        import aiortc.clock, aiortc.codecs, aiortc.rtcrtpreceiver, aiortc.rtcrtpsender, aiortc.utils, av
        from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
        from aiortc.mediastreams import MediaStreamError
        from aiortc.rtcrtpparameters import RTCRtcpFeedback, RTCRtpCodecParameters
        from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket

        # H.264 and H.265 alone, so that a picture has one meaning; each without retransmissions, of which loopback needs none.
        FEEDBACK = [RTCRtcpFeedback(type="nack"), RTCRtcpFeedback(type="nack", parameter="pli")]
        PROFILE = {"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e01f"}


        def offered(name, clock, payload_type, parameters={}, feedback=[], channels=None):
            return RTCRtpCodecParameters(
                mimeType=name, clockRate=clock, payloadType=payload_type, parameters=dict(parameters),
                rtcpFeedback=list(feedback), channels=channels)


        VIDEO = {"h264": offered("video/H264", 90000, 102, PROFILE, FEEDBACK), "hevc": offered("video/H265", 90000, 104, {}, FEEDBACK)}
        AUDIO = {"opus": offered("audio/opus", 48000, 111, channels=2), "pcmu": offered("audio/PCMU", 8000, 0, channels=1),
                 "pcma": offered("audio/PCMA", 8000, 8, channels=1), "mp3": offered("audio/MPA", 90000, 112),
                 "aac": offered("audio/mpeg4-generic", 48000, 113, {"streamtype": "5", "mode": "AAC-hbr", "config": "1190",
                                                                   "sizelength": "13", "indexlength": "3"}, channels=2)}


        def offer_only(video, audio):
            aiortc.codecs.CODECS["video"][:] = [VIDEO[each] for each in video]
            aiortc.codecs.CODECS["audio"][:] = [AUDIO[each] for each in audio]


        def fragments(unit, most=1200):
            """One H.265 unit as payloads: whole, or in fragments (4.4.3)."""
            if len(unit) <= most:
                return [unit]
            head, kind, rest = bytes([unit[0] & 0x81 | 49 << 1, unit[1]]), unit[0] >> 1 & 0x3F, unit[2:]
            pieces = [rest[at:at + most] for at in range(0, len(rest), most)]
            flags = [0x80] + [0] * (len(pieces) - 2) + [0x40]
            return [head + bytes([flag | kind]) + piece for flag, piece in zip(flags, pieces)]


        def hevc_depayload(data):
            """A payload as a piece of an Annex B stream."""
            kind, start = data[0] >> 1 & 0x3F, b"\0\0\0\1"
            if kind == 49:
                first = start + bytes([data[0] & 0x81 | (data[2] & 0x3F) << 1, data[1]]) if data[2] & 0x80 else b""
                return first + data[3:]
            if kind != 48:
                return start + data
            out, at = b"", 2
            while at + 2 <= len(data):
                size = struct.unpack_from("!H", data, at)[0]
                out += start + data[at + 2:at + 2 + size]
                at += 2 + size
            return out


        def post(url, sdp):
            request = urllib.request.Request(url, sdp.encode(), {"Content-Type": "application/sdp"}, method="POST")
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()


        async def connect(connection, url):
            await connection.setLocalDescription(await connection.createOffer())
            answer = await asyncio.to_thread(post, url, connection.localDescription.sdp)
            await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        """# + "\n"

    private static let publisher = #"""


        # Timestamps begin shortly before they wrap.
        ORIGIN = (1 << 32) - 5000
        sent = contextvars.ContextVar("sent")
        now = aiortc.clock.current_ntp_time
        # A sender's reports tell when its last packet was due, and not when a busy machine came to send it.
        aiortc.clock.current_ntp_time = lambda: sent.get(None) or now()


        class Packed:
            """Payloads that are ready, where aiortc wants an encoder."""
            def pack(self, packet):
                sent.set(packet.wall)
                return packet.payloads, packet.time


        aiortc.rtcrtpsender.get_encoder = lambda codec: Packed()


        class Start:
            """The moment that is time 0 of a file."""
            def __init__(self):
                self.event = asyncio.Event()

            def now(self):
                self.time, self.wall = time.monotonic() + 0.1, now() + (1 << 32) // 10
                self.event.set()


        class Coded(MediaStreamTrack):
            """Frames that are coded already, each when it is due."""
            def __init__(self, kind, packets, clock, start):
                super().__init__()
                self.kind, self.packets, self.clock, self.start = kind, iter(packets), clock, start

            async def recv(self):
                await self.start.event.wait()
                packet = next(self.packets, None)
                if packet is None:
                    raise MediaStreamError
                await asyncio.sleep(max(0, self.start.time + packet.due - time.monotonic()))
                packet.time, packet.wall = round(packet.due * self.clock), self.start.wall + round(packet.due * (1 << 32))
                return packet


        class Due:
            def __init__(self, due, payloads):
                self.due, self.payloads = due, payloads


        def read(path, codec):
            """The frames of a Matroska file as RTP payloads: one list of pictures, one of sounds."""
            found = {"video": [], "audio": []}
            with av.open(path) as media:
                pictures = media.streams.video[0]
                annex = av.bitstream.BitStreamFilterContext(f"{codec}_mp4toannexb", pictures)
                for packet in media.demux():
                    if packet.pts is None:
                        continue
                    due = float(packet.pts * packet.time_base)
                    if packet.stream.type == "audio":
                        found["audio"].append(Due(due, [bytes(packet)]))
                        continue
                    for whole in annex.filter(packet):
                        units = list(aiortc.codecs.H264Encoder._split_bitstream(bytes(whole)))
                        if codec == "h264":
                            payloads = aiortc.codecs.H264Encoder._packetize(units)
                        else:
                            payloads = [each for unit in units for each in fragments(unit)]
                        found["video"].append(Due(due, payloads))
            return found


        async def publish(url, path, codec, sound):
            media, start = read(path, codec), Start()
            connection = RTCPeerConnection()
            for kind, clock in (("video", 90000), ("audio", AUDIO[sound].clockRate)):
                connection.addTransceiver(Coded(kind, media[kind], clock, start), direction="sendonly")
            offer_only([codec], [sound])
            aiortc.rtcrtpsender.random32 = lambda: ORIGIN
            await connect(connection, url)
            # Senders choose where their timestamps begin once they are connected.
            for sender in connection.getSenders():
                await asyncio.wait_for(sender._RTCRtpSender__rtp_started.wait(), 10)
            aiortc.rtcrtpsender.random32 = aiortc.utils.random32
            start.now()
            # Reports in front of the first packets: sound and picture are together from the beginning.
            for sender in connection.getSenders():
                information = RtcpSenderInfo(start.wall, ORIGIN, 0, 0)
                await sender._send_rtcp([RtcpSrPacket(ssrc=sender._ssrc, sender_info=information)])
            return connection, media["video"][-1].due


        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            connections = [await publish(*job) for job in json.loads(sys.argv[1])]
            await asyncio.sleep(max(length for _, length in connections) + 1)
            for connection, _ in connections:
                await connection.close()


        asyncio.run(main())
        """#

    private static let player = #"""


        units, threads = {}, {}


        class Noted:
            """Keeps what a decoder would get, under the thread that would decode."""
            def decode(self, frame):
                units.setdefault(threading.get_ident(), []).append((frame.timestamp, base64.b64encode(frame.data).decode()))
                return []


        Receiver = aiortc.rtcrtpreceiver.RTCRtpReceiver
        depayload, report = aiortc.rtcrtpreceiver.depayload, Receiver._handle_rtcp_packet
        aiortc.rtcrtpreceiver.get_decoder = lambda codec: Noted()
        aiortc.rtcrtpreceiver.depayload = lambda codec, data: hevc_depayload(data) if codec.name == "H265" else depayload(codec, data)


        async def reported(receiver, packet):
            information = getattr(packet, "sender_info", None)
            if information:
                receiver.reports = getattr(receiver, "reports", []) + [(information.ntp_timestamp, information.rtp_timestamp)]
            await report(receiver, packet)


        Receiver._handle_rtcp_packet = reported


        async def play(url):
            connection = RTCPeerConnection()
            for kind in ("video", "audio"):
                connection.addTransceiver(kind, direction="recvonly")
            await connect(connection, url)
            return connection


        def kept(connection):
            found = {}
            for transceiver in connection.getTransceivers():
                receiver = transceiver.receiver
                thread = receiver._RTCRtpReceiver__decoder_thread
                codecs = receiver._RTCRtpReceiver__codecs
                if not thread or thread.ident not in units:
                    continue
                codec = next(iter(codecs.values()))
                found[transceiver.kind] = {
                    "codec": codec.name.lower(), "clock": codec.clockRate, "units": units[thread.ident],
                    "reports": getattr(receiver, "reports", []), "origin": receiver._RTCRtpReceiver__timestamp_mapper._origin}
            return found


        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            ended = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, ended.set)
            offer_only(VIDEO, ("opus", "pcmu", "pcma"))
            jobs = json.loads(sys.argv[1])
            connections = dict(zip((path for _, path in jobs), await asyncio.gather(*(play(url) for url, _ in jobs))))
            print("playing", file=sys.stderr, flush=True)
            await ended.wait()
            for path, connection in connections.items():
                with open(path, "w") as file:
                    json.dump(kept(connection), file)
            for connection in connections.values():
                await connection.close()


        asyncio.run(main())
        """#
}
