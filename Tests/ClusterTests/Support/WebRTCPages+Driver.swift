extension WebRTCPages {
    /// What runs in a page.
    static let script = #"""
        (() => {
            // As `ClockPublisher`: two rows of 16 fields are the milliseconds since 1970, modulo 2³², and a bar moves.
            const clock = () => {
                const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
                const context = canvas.getContext("2d", { alpha: false });
                let count = 0;
                const draw = () => {
                    const stamp = Date.now() >>> 0;
                    for (let bit = 0; bit < 32; bit += 1) {
                        context.fillStyle = stamp >>> 31 - bit & 1 ? "#e0e0e0" : "#202020";
                        context.fillRect(bit % 16 * 20, bit < 16 ? 0 : 60, 20, 60);
                    }
                    context.fillStyle = "#404040";
                    context.fillRect(0, 120, 320, 60);
                    context.fillStyle = "#f0f0f0";
                    context.fillRect(count * 8 % 320, 120, 40, 60);
                    count += 1;
                };
                draw();
                setInterval(draw, 40);
                return canvas.captureStream(25).getVideoTracks()[0];
            };
            const tone = () => {
                const sound = new AudioContext({ sampleRate: 48000 });
                const [source, out] = [sound.createOscillator(), sound.createMediaStreamDestination()];
                source.connect(out);
                source.start();
                return out.stream.getAudioTracks()[0];
            };
            const read = (context, video) => {
                context.drawImage(video, 0, 0, 320, 180);
                const { data } = context.getImageData(0, 0, 320, 120);
                let stamp = 0;
                for (let bit = 0; bit < 32; bit += 1) {
                    const x = bit % 16 * 20 + 10, y = (bit < 16 ? 0 : 60) + 30;
                    stamp = stamp * 2 + (data[(y * 320 + x) * 4] > 128 ? 1 : 0);
                }
                return stamp;
            };
            const draws = (width, height) => Object.assign(document.createElement("canvas"), { width, height })
                .getContext("2d", { willReadFrequently: true });
            const peer = { delays: [], longestGap: 0, broken: 0, status: 0, text: "", answeredAt: Infinity };
            window.peer = peer;
            /** Watches each frame. */
            peer.watch = (video) => {
                peer.begin ??= Date.now();
                const context = draws(320, 180);
                peer.video = video;
                const take = () => {
                    const now = Date.now(), stamp = read(context, video), delay = (now - stamp) | 0;
                    peer.firstFrame ??= now - peer.begin;
                    peer.longestGap = Math.max(peer.longestGap, now - (peer.lastFrame ?? now));
                    peer.lastFrame = now;
                    // An encoder may leave single fields as they were for a frame; nothing is shown yet where all is 0.
                    if (stamp && (delay < -2100 || delay > 20000)) peer.broken += 1;
                    else if (stamp) peer.delays.push(delay);
                    video.requestVideoFrameCallback(take);
                };
                video.requestVideoFrameCallback(take);
            };
            /** Shows what comes. */
            const screen = () => {
                const video = document.createElement("video");
                Object.assign(video, { muted: true, autoplay: true, playsInline: true, width: 320, height: 180 });
                document.body.append(video);
                peer.watch(video);
                const media = new MediaStream();
                video.srcObject = media;
                return ({ track }) => media.addTrack(track);
            };
            const prefer = (transceiver, codec) => {
                if (!codec) return;
                const { codecs } = RTCRtpReceiver.getCapabilities(transceiver.receiver.track.kind);
                const name = ({ mimeType }) => mimeType.split("/")[1].toLowerCase();
                transceiver.setCodecPreferences([
                    ...codecs.filter((each) => name(each) === codec),
                    ...codecs.filter((each) => /rtx|red|ulpfec/.test(name(each))),
                ]);
            };
            const add = (connection, { kind, video, audio }) => {
                for (const [media, codec, make] of [["video", video, clock], ["audio", audio, tone]]) {
                    if (codec === "none") continue;
                    const isPlayer = kind === "play";
                    prefer(connection.addTransceiver(isPlayer ? media : make(), {
                        direction: isPlayer ? "recvonly" : "sendonly",
                    }), codec);
                }
            };
            const connectDirectly = async (one, other) => {
                one.onicecandidate = ({ candidate }) => { if (candidate) other.addIceCandidate(candidate); };
                other.onicecandidate = ({ candidate }) => { if (candidate) one.addIceCandidate(candidate); };
                await one.setLocalDescription();
                await other.setRemoteDescription(one.localDescription);
                await other.setLocalDescription();
                await one.setRemoteDescription(other.localDescription);
            };
            peer.open = async (request) => {
                const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
                peer.connection = connection;
                peer.begin = Date.now();
                connection.addEventListener("connectionstatechange", () => {
                    if (connection.connectionState === "connected") peer.connected ??= Date.now() - peer.begin;
                });
                add(connection, request);
                if (request.kind === "direct") {
                    peer.connection = new RTCPeerConnection();
                    peer.connection.ontrack = screen();
                    await connectDirectly(connection, peer.connection);
                    return;
                }
                if (request.kind === "play") connection.ontrack = screen();
                await connection.setLocalDescription();
                const answer = await fetch(request.url, {
                    method: "POST", headers: { "Content-Type": "application/sdp" },
                    body: connection.localDescription.sdp,
                });
                peer.resource = answer.headers.get("Location");
                peer.text = await answer.text();
                peer.status = answer.status;
                if (peer.status !== 201) return;
                const sdp = request.relay
                    ? peer.text.replace(/^a=candidate:.* tcp .*\r\n/gmi, "")
                        .replace(/^(a=candidate:\S+ 1 udp \d+ \S+) \d+/gmi, `$1 ${request.relay}`)
                    : peer.text;
                await connection.setRemoteDescription({ type: "answer", sdp });
            };
            peer.reset = () => Object.assign(peer, { longestGap: 0, broken: 0, lastFrame: Date.now() });
            const readStatistics = async (connection) => {
                const found = { frames: 0, width: 0, codecs: {}, freezes: 0, samples: 0 };
                if (!connection) return found;
                const report = await connection.getStats();
                for (const entry of report.values()) {
                    if (!/^(in|out)bound-rtp$/.test(entry.type)) continue;
                    const codec = report.get(entry.codecId)?.mimeType.split("/")[1].toLowerCase();
                    if (codec) found.codecs[entry.kind] = codec;
                    if (entry.kind === "audio") {
                        found.samples = (entry.totalSamplesReceived ?? 0) - (entry.concealedSamples ?? 0);
                        continue;
                    }
                    found.frames = entry.framesDecoded ?? entry.framesEncoded ?? 0;
                    found.width = entry.frameWidth ?? 0;
                    found.freezes = entry.freezeCount ?? 0;
                }
                return found;
            };
            const readPicture = () => {
                if (!peer.video || !peer.lastFrame) return null;
                const context = draws(16, 9);
                context.drawImage(peer.video, 0, 0, 16, 9);
                const { data } = context.getImageData(0, 0, 16, 9);
                return Array.from({ length: 144 }, (_, at) => Math.round(
                    (data[at * 4] + data[at * 4 + 1] + data[at * 4 + 2]) / 3));
            };
            peer.look = async () => {
                const delays = peer.delays.splice(0).sort((left, right) => left - right);
                const { status, text, longestGap, broken } = peer;
                return {
                    ...await readStatistics(peer.connection),
                    status, answer: [0, 201].includes(status) ? null : text, resource: peer.resource ?? null,
                    state: peer.connection?.connectionState ?? "", connected: peer.connected ?? null,
                    firstFrame: peer.firstFrame ?? null, longestGap, broken,
                    sinceFrame: peer.lastFrame ? Date.now() - peer.lastFrame : null,
                    delay: delays[delays.length >> 1] ?? null, picture: readPicture(),
                };
            };
        })()
        """#

    /// What drives the browsers.
    static let driver = #"""
        import json, os, sys, time
        from playwright.sync_api import sync_playwright

        chromium, requests, output, commands, script, seconds = sys.argv[1:]
        FORM = """() => ({
            state: document.querySelector('#facts [data-name="State"]')?.lastChild.textContent ?? "",
            frames: document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames })"""

        class Peer:
            def __init__(self, browser, request):
                self.request, self.errors, self.posts, self.resource = request, [], 0, None
                self.page = browser.new_context(viewport={"width": 480, "height": 300}).new_page()
                self.page.on("pageerror", lambda error: self.errors.append(str(error)))
                self.page.on("response", self.answered)
                # A page of the node's that is empty.
                self.page.route("**/driver", lambda route: route.fulfill(
                    body="<!doctype html><body>", content_type="text/html"))
                self.open()

            def answered(self, response):
                if response.request.method == "POST" and response.status == 201:
                    self.posts, self.resource = self.posts + 1, response.headers.get("location")

            def open(self):
                try:
                    if self.request["kind"] == "page":
                        self.page.goto(self.request["url"])
                        self.page.evaluate(script)
                        self.page.evaluate("peer.watch(document.querySelector('video'))")
                        if self.page.locator("#go").count():
                            self.page.click("#go")
                    else:
                        self.page.goto(self.request["base"] + "driver")
                        self.page.evaluate(script)
                        self.page.evaluate("(request) => peer.open(request)", self.request)
                except Exception as error:
                    self.errors.append(str(error))

            def look(self):
                found = self.page.evaluate("peer.look()")
                if self.request["kind"] == "page":
                    found.update(self.page.evaluate(FORM), resource=self.resource)
                return dict(found, errors=self.errors, posts=self.posts)

        with sync_playwright() as playwright:
            browsers, peers, done = {}, {}, 0

            def add(request):
                name = request["browser"]
                browsers[name] = browsers.get(name) or playwright.chromium.launch(
                    executable_path=chromium, headless=True,
                    args=["--no-sandbox", "--disable-gpu", "--mute-audio",
                          "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
                          "--use-fake-ui-for-media-stream"])
                peers[request["name"]] = Peer(browsers[name], request)

            for request in json.loads(requests):
                add(request)
            end = time.monotonic() + float(seconds)
            while time.monotonic() < end:
                with open(commands) as file:
                    lines = file.read().splitlines()
                for command in map(json.loads, lines[done:]):
                    if "add" in command:
                        add(command["add"])
                    if "reload" in command:
                        peers[command["reload"]].open()
                    if "reset" in command:
                        peers[command["reset"]].page.evaluate("peer.reset()")
                    if "close" in command:
                        peer = peers.pop(command["close"])
                        # A page that is left ends its connections; one that is torn down does not.
                        peer.page.goto("about:blank")
                        peer.page.context.close()
                done = len(lines)
                looks = {name: peer.look() for name, peer in peers.items()}
                with open(output + ".new", "w") as file:
                    json.dump(looks, file)
                os.replace(output + ".new", output)
                for peer in list(peers.values())[:1]:
                    peer.page.wait_for_timeout(200)
                if not peers:
                    time.sleep(0.2)
            for browser in browsers.values():
                browser.close()
        """#
}
