import Foundation

/// WebRTC clients that are no browsers.
enum WebRTCClients {
    /// Publishes and plays with aiortc: a picture that carries the clock as `ClockPublisher`'s does, and 500 Hz.
    ///
    /// - Parameters:
    ///   - publish, play: addresses; `nil` leaves the one or the other out.
    ///   - codec: `vp8` or `h264`, for what is published.
    ///   - roams: sends from whichever address the machine has, as an app on a phone does, and checks the path twice a
    ///     second. Else its sockets are bound to the addresses that there were in the beginning.
    /// - Returns: a process that writes to `output`, after `seconds`, the resources of the publisher and the player, and
    ///   the `state`, `frames`, `delay` and the longest `pause` between two packets in milliseconds, `samples` and `hertz`
    ///   of the player. What is known in the beginning is written to its log at once.
    static func startAiortc(
        _ sandbox: Sandbox, publish: String? = nil, play: String? = nil, codec: String = "vp8", seconds: Double,
        roams: Bool = false, output: URL? = nil, launch: Launch = Launch()
    ) throws -> Child {
        try sandbox.python(
            self.unique("aiortc"), self.aiortc,
            [publish ?? "-", play ?? "-", codec, "\(seconds)", roams ? "roams" : "stays"], output: output,
            launch: launch)
    }

    /// Publishes (H.264 and Opus) or plays with GStreamer's webrtcbin for `seconds`, then writes to `output` the
    /// `state` of the connection, the `errors`, and how many `video` and `audio` buffers were decoded.
    static func startGStreamer(
        _ sandbox: Sandbox, _ action: String, _ url: String, seconds: Double, output: URL
    ) throws -> Child {
        // Debian's own Python has GStreamer.
        try sandbox.start(
            "gstreamer-\(action)", "/usr/bin/python3",
            [
                try sandbox.write("\(self.unique("gstreamer")).py", self.gstreamer).path, action, url, "\(seconds)",
            ], output: output)
    }

    /// Publishes H.264 and Opus with FFmpeg's own WHIP.
    static func startFFmpeg(_ sandbox: Sandbox, _ url: String, seconds: Double) throws -> Child {
        try sandbox.python("ffmpeg-whip", self.ffmpeg, [url, "\(seconds)"])
    }

    /// No process may find a script that is just being written for another, nor one with the name of a module.
    private static func unique(_ name: String) -> String { "\(name)-\(UUID().uuidString.prefix(8))" }

    private static let aiortc = #"""
        import asyncio, fractions, json, sys, time, urllib.parse, urllib.request
        import aioice, aiortc.rtcrtpreceiver, av
        from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

        whip, whep, codec, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
        if sys.argv[5] == "roams":
            aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["0.0.0.0"]
            aioice.ice.CONSENT_INTERVAL = 0.5

        class Picture(MediaStreamTrack):
            """320 x 180, 25 frames a second: two rows of 16 fields are the milliseconds since 1970, modulo 2 ** 32."""
            kind = "video"
            count, start = 0, None

            async def recv(self):
                self.start = self.start or time.monotonic()
                await asyncio.sleep(max(0, self.start + self.count / 25 - time.monotonic()))
                stamp = int(time.time() * 1000) & 0xFFFFFFFF
                fields = [(b"\xe0" if stamp >> 31 - bit & 1 else b"\x20") * 20 for bit in range(32)]
                bar = bytes(0xF0 if (x - self.count * 8) % 320 < 40 else 0x40 for x in range(320))
                frame = av.VideoFrame(320, 180, "yuv420p")
                rows = b"".join(fields[:16]) * 60 + b"".join(fields[16:]) * 60 + bar * 60
                for plane, width, data in zip(frame.planes, (320, 160, 160), (rows, b"\x80" * 14400, b"\x80" * 14400)):
                    lines = (data[at:at + width] for at in range(0, len(data), width))
                    plane.update(b"".join(line.ljust(plane.line_size, b"\0") for line in lines))
                frame.pts, frame.time_base = self.count * 3600, fractions.Fraction(1, 90000)
                self.count += 1
                return frame

        class Tone(MediaStreamTrack):
            """A square wave of 500 Hz, in frames of 20 ms."""
            kind = "audio"
            count, start = 0, None

            async def recv(self):
                self.start = self.start or time.monotonic()
                await asyncio.sleep(max(0, self.start + self.count / 50 - time.monotonic()))
                frame = av.AudioFrame("s16", "mono", 960)
                frame.planes[0].update((b"\x00\x10" * 48 + b"\x00\xf0" * 48) * 10)
                frame.sample_rate, frame.pts, frame.time_base = 48000, self.count * 960, fractions.Fraction(1, 48000)
                self.count += 1
                return frame

        def post(url, sdp):
            request = urllib.request.Request(url, sdp.encode(), {"Content-Type": "application/sdp"}, method="POST")
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["Location"], answer.read().decode()

        async def connect(connection, url):
            await connection.setLocalDescription(await connection.createOffer())
            status, resource, sdp = await asyncio.to_thread(post, url, connection.localDescription.sdp)
            await connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
            return urllib.parse.urljoin(url, resource)

        async def publish(url):
            connection = RTCPeerConnection()
            for track in (Picture(), Tone()):
                sender = connection.addTransceiver(track, direction="sendonly")
                if track.kind == "video":
                    sender.setCodecPreferences([each for each in RTCRtpSender.getCapabilities("video").codecs
                                                if each.mimeType.lower() in (f"video/{codec}", "video/rtx")])
            return connection, await connect(connection, url)

        async def play(url, found):
            connection = RTCPeerConnection()
            found.update(state="new", frames=0, delays=[], pause=0, samples=0, crossings=0, sounding=0)
            last, Receiver = None, aiortc.rtcrtpreceiver.RTCRtpReceiver
            handle = Receiver._handle_rtp_packet

            async def arrived(receiver, packet, **others):
                nonlocal last
                now = time.monotonic()
                found["pause"] = max(found["pause"], round((now - (last or now)) * 1000))
                last = now
                await handle(receiver, packet, **others)

            Receiver._handle_rtp_packet = arrived

            async def watch(track):
                while True:
                    frame = await track.recv()
                    if track.kind == "video":
                        plane = frame.reformat(320, 180, "gray").planes[0]
                        data, stamp = bytes(plane), 0
                        for bit in range(32):
                            at = (bit // 16 * 60 + 30) * plane.line_size + bit % 16 * 20 + 10
                            stamp = stamp * 2 + (data[at] > 128)
                        found["delays"].append((int(time.time() * 1000) - stamp) & 0xFFFFFFFF)
                        found["frames"] += 1
                    else:
                        data = memoryview(bytes(frame.planes[0])).cast("h")
                        step = len(frame.layout.channels)
                        left = [data[at] for at in range(0, frame.samples * step, step)]
                        if max(left) > 1000:
                            found["sounding"] += frame.samples
                            found["crossings"] += sum(1 for a, b in zip(left, left[1:]) if a < 0 <= b)
                        found["samples"] += frame.samples

            tasks = []
            connection.on("track", lambda track: tasks.append(asyncio.ensure_future(watch(track))))
            connection.on("connectionstatechange", lambda: found.update(state=connection.connectionState))
            for kind in ("video", "audio"):
                connection.addTransceiver(kind, direction="recvonly")
            found["played"] = await connect(connection, url)
            return connection

        async def main():
            # Tracks end with the connection.
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            found, connections = {}, []
            if whip != "-":
                connection, resource = await publish(whip)
                connections.append(connection)
                found["resource"] = resource
                await asyncio.sleep(2)
            if whep != "-":
                connections.append(await play(whep, found))
            print(json.dumps(found), file=sys.stderr, flush=True)
            await asyncio.sleep(seconds)
            delays = sorted(found.pop("delays", []))
            found["delay"] = delays[len(delays) // 2] if delays else None
            if found.get("sounding"):
                found["hertz"] = round(found["crossings"] * 48000 / found["sounding"])
            print(json.dumps(found), flush=True)
            for connection in connections:
                await connection.close()

        asyncio.run(main())
        """#

    private static let gstreamer = #"""
        import json, sys, urllib.error, urllib.request
        import gi
        for name in ("Gst", "GstWebRTC", "GstSdp"):
            gi.require_version(name, "1.0")
        from gi.repository import GLib, Gst, GstSdp, GstWebRTC

        action, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
        Gst.init(None)
        found = {"video": 0, "audio": 0, "errors": []}
        SEND = """webrtcbin name=rtc bundle-policy=max-bundle
            videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1 ! videoconvert !
            openh264enc gop-size=50 ! h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency !
            application/x-rtp,media=video,encoding-name=H264,payload=96 ! rtc.
            audiotestsrc is-live=true ! audioconvert ! audioresample ! opusenc ! rtpopuspay !
            application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! rtc."""
        if action == "publish":
            pipeline = Gst.parse_launch(SEND)
            rtc = pipeline.get_by_name("rtc")
        else:
            pipeline, rtc = Gst.Pipeline.new(), Gst.ElementFactory.make("webrtcbin")
            rtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            pipeline.add(rtc)

        def negotiated(promise, _):
            # What is not kept in a variable is freed.
            reply = promise.get_reply()
            offer = reply.get_value("offer")
            rtc.emit("set-local-description", offer, Gst.Promise.new())
            request = urllib.request.Request(
                url, offer.sdp.as_text().encode(), {"Content-Type": "application/sdp"}, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    found["status"], text = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                found["errors"].append(f"{error.code} {error.read().decode()}")
                return
            _, message = GstSdp.SDPMessage.new()
            GstSdp.sdp_message_parse_buffer(text, message)
            answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
            rtc.emit("set-remote-description", answer, Gst.Promise.new())

        def count(_, buffer, pad, kind):
            found[kind] += 1

        def decoded(_, pad):
            kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
            sink = Gst.ElementFactory.make("fakesink")
            sink.set_property("signal-handoffs", True)
            sink.connect("handoff", count, kind)
            pipeline.add(sink)
            sink.sync_state_with_parent()
            pad.link(sink.get_static_pad("sink"))

        def added(_, pad):
            if pad.direction != Gst.PadDirection.SRC: return
            decoder = Gst.ElementFactory.make("decodebin")
            decoder.connect("pad-added", decoded)
            pipeline.add(decoder)
            decoder.sync_state_with_parent()
            pad.link(decoder.get_static_pad("sink"))

        def message(_, message):
            if message.type == Gst.MessageType.ERROR:
                error, detail = message.parse_error()
                found["errors"].append(f"{error.message}: {detail}")

        rtc.connect("on-negotiation-needed", lambda element: element.emit(
            "create-offer", None, Gst.Promise.new_with_change_func(negotiated, None)))
        rtc.connect("pad-added", added)
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", message)
        if action == "play":
            for caps in ("media=video,encoding-name=H264,payload=96,clock-rate=90000",
                         "media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2"):
                rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY,
                         Gst.Caps.from_string(f"application/x-rtp,{caps}"))
        pipeline.set_state(Gst.State.PLAYING)
        loop = GLib.MainLoop()
        GLib.timeout_add(int(seconds * 1000), loop.quit)
        loop.run()
        found["state"] = rtc.get_property("connection-state").value_nick
        print(json.dumps(found), flush=True)
        pipeline.set_state(Gst.State.NULL)
        """#

    private static let ffmpeg = #"""
        import fractions, sys, time
        import av
        url, seconds = sys.argv[1], float(sys.argv[2])
        av.logging.set_level(av.logging.WARNING)
        with av.open(url, "w", format="whip") as output:
            video = output.add_stream("libx264", rate=25, options={
                "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "25"})
            video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
            audio = output.add_stream("libopus", rate=48000, layout="stereo")
            start = time.monotonic()
            for count in range(int(seconds * 50)):
                time.sleep(max(0, start + count / 50 - time.monotonic()))
                if count % 2 == 0:
                    frame = av.VideoFrame(320, 180, "yuv420p")
                    for index, plane in enumerate(frame.planes):
                        plane.update(bytes([128 if index else count % 256]) * plane.buffer_size)
                    frame.pts, frame.time_base = count // 2, fractions.Fraction(1, 25)
                    output.mux(video.encode(frame))
                frame = av.AudioFrame("s16", "stereo", 960)
                frame.planes[0].update((b"\x00\x10" * 96 + b"\x00\xf0" * 96) * 10)
                frame.sample_rate, frame.pts, frame.time_base = 48000, count * 960, fractions.Fraction(1, 48000)
                output.mux(audio.encode(frame))
        """#
}
