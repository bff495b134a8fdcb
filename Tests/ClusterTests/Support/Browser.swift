import Foundation

/// Plays FLV with mpegts.js in a headless Chromium.
enum Browser {
    /// What a page told after some seconds of playing.
    struct Report: Decodable {
        struct Player: Decodable {
            let url: String
            let firstTime: Double
            let lastTime: Double
            let decodedFrames: Int
            let width: Int
            let errors: [String]
        }

        let players: [Player]
    }

    /// Opens one page with a player for each URL, and lets them play for `seconds`.
    static func play(_ sandbox: Sandbox, _ urls: [String], seconds: Int, screenshot: URL) async throws -> Report {
        let script = try sandbox.write("browser.py", self.script)
        let text = try await sandbox.run(
            try Tools.python,
            [
                script.path, try Tools.command("chromium"), try Tools.mpegtsJS, screenshot.path, "\(seconds)",
            ] + urls, within: .seconds(seconds + 45))
        return try JSONDecoder().decode(Report.self, from: Data(text.utf8))
    }

    private static let script = #"""
        import http.server, json, pathlib, sys, threading
        from playwright.sync_api import sync_playwright

        chromium, player, screenshot, seconds, *urls = sys.argv[1:]
        page_text = """<!doctype html><meta charset="utf-8"><body><script src="/player.js"></script><script>
        window.players = URLS.map(url => {
            const video = document.createElement("video");
            video.muted = true; video.width = 320; document.body.append(video);
            const entry = { url, video, errors: [] };
            const player = mpegts.createPlayer({ type: "flv", isLive: true, url }, { enableWorker: false });
            player.on(mpegts.Events.ERROR, (...details) => entry.errors.push(JSON.stringify(details)));
            player.attachMediaElement(video); player.load();
            video.play().catch(error => entry.errors.push(String(error)));
            return entry;
        });
        </script>""".replace("URLS", json.dumps(urls))

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                is_script = self.path == "/player.js"
                body = pathlib.Path(player).read_bytes() if is_script else page_text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *_): pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, headless=True,
                args=["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_function("window.players.every(p => p.video.currentTime > 0 || p.errors.length)", timeout=20000)
            first = page.evaluate("window.players.map(p => p.video.currentTime)")
            page.wait_for_timeout(int(seconds) * 1000)
            report = page.evaluate("""window.players.map(p => ({
                url: p.url, lastTime: p.video.currentTime, width: p.video.videoWidth, errors: p.errors,
                decodedFrames: p.video.getVideoPlaybackQuality().totalVideoFrames }))""")
            page.screenshot(path=screenshot)
            browser.close()
        for entry, time in zip(report, first):
            entry["firstTime"] = time
        print(json.dumps({"players": report}))
        """#
}
