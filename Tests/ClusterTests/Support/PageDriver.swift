import Foundation

/// Opens the player page in a headless Chromium, some of them side by side, and tells over and over what they show.
struct PageDriver: Sendable {
    /// A page to open.
    struct Request: Encodable, Sendable {
        let name: String
        let url: String
        var width = 800
        var height = 900
        /// The stream whose entry in the list is clicked.
        var click: String?
    }

    /// What one page shows.
    struct Page: Decodable, Sendable {
        /// Streams in the list.
        let streams: [String]
        /// The facts under the picture.
        let state: String?
        let playsBy: String?
        /// In seconds, as the page tells it.
        let latency: Double?
        /// Frames that were decoded, and how wide they are.
        let frames: Int
        let width: Int
        /// Milliseconds from the navigation to the first frame.
        let firstFrame: Double?
        /// Milliseconds between the clock in the picture of `ClockPublisher` and its showing: the median since the look
        /// before.
        let delay: Double?
        /// The brightness of 16 × 9 fields of the picture in a screenshot of the page.
        let shot: [Int]?
        /// How many pixels the page is wider than its window.
        let overflow: Int
        /// Exceptions of the page's scripts.
        let errors: [String]
        /// What was asked for at other servers.
        let foreign: [String]
    }

    let child: Child
    private let output: URL

    /// Opens the pages; they close by themselves after `seconds`.
    static func open(_ sandbox: Sandbox, _ pages: [Request], seconds: Int = 180) throws -> PageDriver {
        let script = try sandbox.write("pages.py", self.script)
        let output = sandbox.file("pages.json")
        let list = try String(decoding: JSONEncoder().encode(pages), as: UTF8.self)
        let pictures = FileManager.default.temporaryDirectory.appendingPathComponent("weir-page").path
        let child = try sandbox.start(
            "pages", try Tools.python,
            [script.path, try Tools.command("chromium"), list, output.path, pictures, "\(seconds)"])
        return PageDriver(child: child, output: output)
    }

    /// The newest look at all pages.
    func look() throws -> [String: Page] {
        guard self.child.isRunning else { throw Failure(self.child.report) }
        guard let data = try? Data(contentsOf: self.output) else { return [:] }
        return try JSONDecoder().decode([String: Page].self, from: data)
    }

    /// Waits until the page `name` is as it should be.
    @discardableResult
    func page(
        _ name: String, _ what: String, within limit: Duration = .seconds(20), _ condition: (Page) -> Bool
    ) async throws -> Page {
        var newest: Page?
        func words() -> String {
            guard let newest else { return "\(name): \(what); it was not opened" }
            var text = ""
            dump(newest, to: &text)
            return "\(name): \(what); it is \(text)"
        }
        return try await until(words(), within: limit, every: .milliseconds(100)) {
            newest = try self.look()[name]
            return newest.flatMap { condition($0) ? $0 : nil }
        }
    }

    /// Whether two screenshots show different pictures, neither of which is one plain colour.
    static func moves(_ one: [Int], _ other: [Int]) -> Bool {
        let changed = zip(one, other).filter { abs($0 - $1) > 40 }.count
        return changed >= 3 && [one, other].allSatisfy { ($0.max() ?? 0) - ($0.min() ?? 0) > 80 }
    }

    private static let script = #"""
        import base64, json, os, sys, time
        from playwright.sync_api import sync_playwright

        chromium, requests, output, pictures, seconds = sys.argv[1:]
        requests, seconds = json.loads(requests), float(seconds)

        # Reads the clock of each frame when it is shown: 32 fields of 20 x 60 pixels, black or white.
        WATCH = """() => document.addEventListener("DOMContentLoaded", () => {
            const video = document.querySelector("video");
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [320, 120];
            const context = canvas.getContext("2d", { willReadFrequently: true });
            window.watch = { delays: [], firstFrame: null };
            const take = (now) => {
                const shownAt = Date.now();
                watch.firstFrame ??= now;
                context.drawImage(video, 0, 0, 320, 180);
                const { data } = context.getImageData(0, 0, 320, 120);
                let stamp = 0;
                for (let bit = 0; bit < 32; bit += 1) {
                    const x = bit % 16 * 20 + 10, y = (bit < 16 ? 0 : 60) + 30;
                    stamp = stamp * 2 + (data[(y * 320 + x) * 4] > 128 ? 1 : 0);
                }
                watch.delays.push((shownAt - stamp) | 0);
                video.requestVideoFrameCallback(take);
            };
            video.requestVideoFrameCallback(take);
        })"""
        LOOK = """() => {
            const video = document.querySelector("video");
            const facts = Object.fromEntries([...document.querySelectorAll("#facts div")].map(
                (item) => [item.dataset.name, item.lastChild.textContent]));
            const delays = watch.delays.splice(0).sort((left, right) => left - right);
            return {
                streams: [...document.querySelectorAll("#streams strong")].map((name) => name.textContent),
                state: facts.State ?? null, playsBy: facts.Protocol ?? null,
                latency: facts.Latency ? parseFloat(facts.Latency) : null,
                frames: video.getVideoPlaybackQuality().totalVideoFrames, width: video.videoWidth,
                firstFrame: watch.firstFrame, delay: delays[delays.length >> 1] ?? null,
                overflow: document.documentElement.scrollWidth - innerWidth,
            };
        }"""
        FIELDS = """async (png) => {
            const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
            const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
            const canvas = new OffscreenCanvas(16, 9);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0, 16, 9);
            const { data } = context.getImageData(0, 0, 16, 9);
            return Array.from({ length: 144 }, (_, at) => Math.round(
                (data[at * 4] + data[at * 4 + 1] + data[at * 4 + 2]) / 3));
        }"""

        class Watched:
            def __init__(self, browser, request):
                self.name, self.shot, self.shot_at, self.frames = request["name"], None, 0, 0
                self.errors, self.foreign = [], []
                self.page = browser.new_page(viewport={"width": request["width"], "height": request["height"]})
                self.page.on("pageerror", lambda error: self.errors.append(str(error)))
                base = request["url"].split("#")[0]
                self.page.on("request", lambda asked: None if asked.url.startswith((base, "blob:", "data:"))
                             else self.foreign.append(asked.url))
                self.page.add_init_script(f"({WATCH})()")
                self.page.goto(request["url"])
                if request.get("click"):
                    self.page.click(f'#streams a:has-text("{request["click"]}")')

            def look(self, judge):
                found = self.page.evaluate(LOOK)
                if found["frames"] > self.frames + 25 and time.monotonic() - self.shot_at > 1:
                    path = f"{pictures}-{self.name}.png"
                    self.page.screenshot(path=path)
                    png = self.page.locator("video").screenshot()
                    self.shot = judge.evaluate(FIELDS, base64.b64encode(png).decode())
                    self.shot_at, self.frames = time.monotonic(), found["frames"]
                return dict(found, shot=self.shot, errors=self.errors, foreign=self.foreign)

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, headless=True,
                args=["--no-sandbox", "--disable-gpu", "--mute-audio",
                      "--autoplay-policy=no-user-gesture-required"])
            judge = browser.new_page()
            pages = [Watched(browser, request) for request in requests]
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                looks = {page.name: page.look(judge) for page in pages}
                with open(output + ".new", "w") as file:
                    json.dump(looks, file)
                os.replace(output + ".new", output)
                judge.wait_for_timeout(250)
            browser.close()
        """#
}

/// Publishes a picture that carries the wall clock, by which the way from glass to glass is measured, with sound.
enum ClockPublisher {
    /// 320 × 180 at 25 frames a second. Two rows of 16 fields are the milliseconds since 1970, modulo 2³², at which a
    /// frame was made; below them a bar moves.
    static func start(_ sandbox: Sandbox, to url: String) throws -> Child {
        let script = try sandbox.write("clock.py", self.script)
        return try sandbox.start("clock", try Tools.python, [script.path, try Tools.ffmpeg, url])
    }

    private static let script = #"""
        import subprocess, sys, time

        ffmpeg, url = sys.argv[1:]
        encoder = subprocess.Popen(
            [ffmpeg, "-hide_banner", "-loglevel", "warning", "-f", "rawvideo", "-pix_fmt", "gray", "-s", "320x180",
             "-r", "25", "-i", "-", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-shortest",
             "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "50", "-pix_fmt", "yuv420p",
             "-c:a", "aac", "-f", "flv", url], stdin=subprocess.PIPE)
        start, count = time.monotonic(), 0
        while encoder.poll() is None:
            stamp = int(time.time() * 1000) & 0xFFFFFFFF
            fields = [(b"\xe0" if stamp >> 31 - bit & 1 else b"\x20") * 20 for bit in range(32)]
            bar = bytearray(b"\x40" * 320)
            for x in range(40):
                bar[(count * 8 + x) % 320] = 0xF0
            try:
                encoder.stdin.write(b"".join(fields[:16]) * 60 + b"".join(fields[16:]) * 60 + bytes(bar) * 60)
                encoder.stdin.flush()
            except BrokenPipeError:
                break
            count += 1
            time.sleep(max(0, start + count / 25 - time.monotonic()))
        sys.exit(encoder.wait())
        """#
}
