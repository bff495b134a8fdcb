import Foundation

/// Walks through the console in a headless Chromium, as an operator would, and tells what it saw.
enum ConsoleDriver {
    /// What there is to look at.
    struct Request: Encodable, Sendable {
        /// The address of the console.
        let url: String
        /// A token with the role admin.
        let token: String
        /// A live stream with viewers, and the way to it: names of nodes, and one that may be drained.
        let app: String
        let stream: String
        let origin: String
        let edge: String
        /// What a client wrote as its user agent, and a publisher as the name of a stream, which would set
        /// `window.pwned` if they were HTML.
        let hostile: String
        let hostileStream: String
        /// Where pages may load media from.
        let media: [String]
        /// More streams than one page of the list holds.
        var hasManyStreams = false
        /// Steps that are left out, by their names.
        var without: [String] = []
    }

    struct Step: Decodable, Sendable {
        let name: String
        /// Empty when it went well.
        let failure: String
    }

    /// What happened.
    struct Report: Decodable, Sendable {
        let steps: [Step]
        /// Exceptions of scripts, and what the console of the browser says of them.
        let errors: [String]
        /// What the content security policy refused.
        let violations: [String]
        /// What was asked for at servers that are neither the coordinator nor `media`.
        let foreign: [String]
        /// Texts that are too faint: colour, background, contrast.
        let faint: [String]

        var failures: [String] { self.steps.filter { !$0.failure.isEmpty }.map { "\($0.name): \($0.failure)" } }
    }

    /// Where the screenshots are written: `weir-console-PAGE-SCHEME-WIDTH.png`.
    static var pictures: String { FileManager.default.temporaryDirectory.appendingPathComponent("weir-console").path }

    static func run(_ sandbox: Sandbox, _ request: Request) async throws -> Report {
        let script = try sandbox.write("console.py", self.script + self.looks)
        let output = sandbox.file("console.json")
        let text = try String(decoding: JSONEncoder().encode(request), as: UTF8.self)
        _ = try await sandbox.run(
            try Tools.python, [script.path, try Tools.command("chromium"), text, output.path, self.pictures],
            within: .seconds(240))
        return try JSONDecoder().decode(Report.self, from: Data(contentsOf: output))
    }

    /// What an operator does. Each step says in an exception what is wrong.
    private static let script = #"""
        import json, sys, time, urllib.parse
        from playwright.sync_api import sync_playwright, TimeoutError as PlaywrightTimeout

        chromium, request, output, pictures = sys.argv[1:]
        request = json.loads(request)
        base, stream = request["url"], request["stream"]
        stream_page = "#/streams/__defaultVhost__/" + "/".join(
            urllib.parse.quote(part, safe="") for part in (request["app"], stream))
        steps, errors, violations, foreign, faint = [], [], [], [], {}

        def step(work):
            if work.__name__ in request["without"]:
                return
            failure = ""
            try:
                work()
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"[:600]
                page.screenshot(path=f"{pictures}-failed-{work.__name__}.png")
            steps.append({"name": work.__name__, "failure": failure})

        def check(holds, *words):
            assert holds, " ".join(str(word) for word in words)

        def until(look, what, seconds=10):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                found = look()
                if found:
                    return found
                page.wait_for_timeout(100)
            raise AssertionError(f"not within {seconds} s: {what}")

        def go(place):
            """By the address, as a link does; the page comes anew even if it is the same."""
            page.evaluate("place => { if (location.hash === place) location.hash = '#/nowhere'; }", place)
            page.wait_for_timeout(50)
            page.evaluate("place => { location.hash = place; }", place)
            page.wait_for_selector("main h1")

        def text(selector):
            return page.locator(selector).first.inner_text()

        def watch(page):
            def said(message):
                words = message.text
                if "Content Security Policy" in words:
                    violations.append(words[:300])
                elif message.type == "error" and not words.startswith("Failed to load resource"):
                    errors.append(words[:300])
            page.on("console", said)
            page.on("pageerror", lambda error: errors.append(str(error)[:300]))
            allowed = (base.split("#")[0], "blob:", "data:", "about:", *request["media"])
            page.on("request", lambda asked: None if asked.url.startswith(allowed) else foreign.append(asked.url))
            page.add_init_script(
                "addEventListener('securitypolicyviolation', (event) => { (window.refused ??= []).push("
                "`${event.violatedDirective} ${event.blockedURI}`); });")

        def sign_in(secret):
            page.fill("#signIn input", secret)
            page.click("#signIn button")

        def is_signed_in():
            page.wait_for_selector("#signOut", state="attached")
            until(lambda: not page.evaluate("document.body.classList.contains('signedOut')"), "the token is taken")

        def opens_with_sign_in():
            answer = page.goto(base)
            headers = answer.headers
            policy = headers.get("content-security-policy", "")
            check("script-src 'self'" in policy and "unsafe" not in policy, "policy is", policy)
            check("frame-ancestors 'none'" in policy, "frames are allowed:", policy)
            check(headers.get("x-content-type-options") == "nosniff", "nosniff is missing")
            check(headers.get("referrer-policy") == "no-referrer", "the referrer policy is another")
            page.wait_for_selector("#signIn")
            check(not page.locator("#nav").is_visible(), "the pages can be seen")
            check(page.evaluate("document.activeElement.name") == "token", "the token is not focused")

        def refuses_a_wrong_token():
            sign_in("not-the-token")
            page.wait_for_selector("#signIn .problem:not([hidden])")
            check("not known" in text("#signIn .problem"), text("#signIn .problem"))
            check(page.evaluate("sessionStorage.length") == 0, "something was kept")

        def signs_in():
            sign_in(request["token"])
            page.wait_for_selector("#nav a[aria-current]")
            check(text("h1") == "Overview", text("h1"))
            check("admin" in text("#who"), text("#who"))
            check(request["token"] not in page.content(), "the token is on the page")
            until(lambda: text("#link") == "Live", "the events are connected")

        def shows_the_cluster():
            until(lambda: all(request[node] in text("main") for node in ("edge", "origin")), "both nodes are listed")
            until(lambda: request["hasManyStreams"] or stream in text(".topStreams"), "the stream is shown")
            until(lambda: page.locator(".topStreams img:not([hidden])").count() > 0, "a thumbnail", 25)
            check(page.locator(".tile").count() == 6, "tiles")
            words = page.locator(".chart svg").first.get_attribute("aria-label")
            check("Viewers" in words, "the chart says", words)

        def lists_streams():
            go("#/streams")
            page.fill("main input[type=search]", stream[:20])
            until(lambda: stream in text("main tbody"), "the stream is listed")
            until(lambda: "q=" in page.url, "the filter is in the address")
            page.fill("main input[type=search]", "no-stream-has-this-name")
            until(lambda: page.locator("main .empty").is_visible(), "nothing fits")

        def pages_long_lists():
            if not request["hasManyStreams"]:
                return
            go("#/streams")
            until(lambda: page.locator("main tbody tr").count() == 50, "a page of 50")
            first = page.locator("main tbody tr").first.inner_text()
            page.evaluate("""() => {
                window.added = 0;
                new MutationObserver((list) => {
                    for (const { addedNodes } of list) window.added += addedNodes.length;
                }).observe(document.querySelector("main tbody"), { childList: true });
            }""")
            page.wait_for_timeout(9000)
            check(page.evaluate("window.added") < 10, "rows were made anew:", page.evaluate("window.added"))
            page.click(".pager button:has-text('Next')")
            until(lambda: page.locator("main tbody tr").first.inner_text() != first, "the next page")
            check(page.locator("main tbody tr").count() == 50, "rows", page.locator("main tbody tr").count())
            page.click(".pager button:has-text('Previous')")
            name = first.split("\n")[0]
            until(lambda: page.locator("main tbody tr").first.inner_text().startswith(name), "the first page")

        def goes_back():
            go("#/streams")
            page.fill("main input[type=search]", stream[:20])
            until(lambda: "q=" in page.url and stream in text("main tbody"), "the stream is listed")
            page.click(f"main tbody a:text-is('{request['app']}/{stream}')")
            until(lambda: text("h1").endswith(stream), "the stream's page")
            check(page.evaluate("document.activeElement.tagName") == "H1", "the focus did not go along")
            page.go_back()
            until(lambda: text("h1") == "Streams" and stream in text("main tbody"), "back at the list")
            check(page.input_value("main input[type=search]") == stream[:20], "the filter is forgotten")

        def shows_a_stream():
            go(stream_page)
            until(lambda: page.locator(".tracks li").count() >= 2, "tracks")
            until(lambda: request["origin"] in text(".route .holder"), "the origin is on the way")
            until(lambda: request["edge"] in text(".route .relay"), "the edge is on the way")
            until(lambda: page.locator("section:has(h2:text-is('Viewers')) tbody tr").count() > 0, "viewers")

        def gives_addresses():
            go(stream_page)
            card = page.locator("section:has(h2:text-is('Addresses'))")
            until(lambda: card.locator("li").count() >= 13, "addresses of all protocols")
            lists = [item.inner_text().split("Copy") for item in card.locator("ul").all()]
            for entries, mode in zip(lists, ("request", "publish")):
                for word in ("rtmp://", "rtsp://", f"streamid=%23%21::r={request['app']}/{stream},m={mode}", ".flv"):
                    check(any(word in entry for entry in entries), word, "is not among", entries)
            check(any(f"/{stream}.ts" in entry for entry in lists[0]), "there is no HTTP-TS")
            row = card.locator("ul").first.locator("li", has_text="srt://")
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            row.locator("button").click()
            copied = until(lambda: page.evaluate("navigator.clipboard.readText()"), "something was copied")
            check(copied == row.locator(".code").inner_text(), "copied was", copied)

        def names_transports():
            go("#/clients")
            until(lambda: "SRT" in text("main tbody"), "a viewer by SRT", 20)
            page.select_option("main select >> nth=1", "srt")
            until(lambda: "HTTP-FLV" not in text("main tbody"), "only SRT")
            until(lambda: "RTT" in text("main tbody .network") and "sent again" in text("main tbody .network"),
                  "how the network treats it")

        def plays():
            go(stream_page)
            page.click(".playerStart")
            seen = "[document.querySelector('video')].every((video) => video.currentTime > 1 && video.videoWidth > 0)"
            until(lambda: page.evaluate(seen), "the picture moves", 25)
            until(lambda: "×" in text(".playerFacts"), "the player tells the size")

        def plays_by_webrtc():
            page.select_option(".playerBar select", label="WebRTC")
            shows = "[document.querySelector('video')].every((video) => video.srcObject && video.videoWidth > 0)"
            until(lambda: page.evaluate(shows), "a picture came by WebRTC", 25)
            frames = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
            first = page.evaluate(frames)
            until(lambda: page.evaluate(frames) > first + 50, "the picture moves")
            until(lambda: "bit" in text(".playerFacts"), "the player tells the bit rate")
            page.screenshot(path=f"{pictures}-webrtc.png")

        def records():
            go(stream_page)
            button = page.locator(".head .actions button", has_text="ecord").first
            until(lambda: button.is_enabled(), "the button can be pressed")
            check(button.inner_text() == "Record", button.inner_text())
            button.click()
            until(lambda: button.inner_text() == "Stop recording", "it records", 15)
            button.click()
            page.click("dialog button.danger")
            until(lambda: button.inner_text() == "Record", "it does not record any more", 15)

        def closes_dialogs_by_keyboard():
            go("#/nodes")
            button = page.locator(f"button[aria-label='Drain {request['edge']}']")
            button.focus()
            page.keyboard.press("Enter")
            page.wait_for_selector("dialog[open]")
            for _ in range(6):
                page.keyboard.press("Tab")
                inside = page.evaluate("document.activeElement === document.body"
                                       " || Boolean(document.activeElement?.closest('dialog'))")
                check(inside, "the focus left the dialog")
            page.keyboard.press("Escape")
            page.wait_for_selector("dialog", state="detached")
            check(button.evaluate("node => node === document.activeElement"), "the focus did not come back")

        def kicks():
            go(stream_page)
            rows = page.locator("section:has(h2:text-is('Viewers')) tbody tr")
            until(lambda: rows.count() > 0, "a viewer")
            button = rows.first.locator("button")
            name = button.get_attribute("aria-label")
            count = rows.count()
            button.click()
            page.click("dialog button.danger")
            until(lambda: "disconnected" in text("#messages"), "it says so")
            # Who is kicked may come back at once, under another id and as another row.
            until(lambda: rows.count() < count or rows.locator(f"button[aria-label='{name}']").count() == 0,
                  "it is gone", 15)

        def drains():
            go("#/nodes")
            button = page.locator(f"button[aria-label='Drain {request['edge']}']")
            button.click()
            page.click("dialog button.danger")
            item = page.locator(".nodeCard", has=page.locator(f"a:text-is('{request['edge']}')"))
            until(lambda: "Drain" in item.locator(".badge").first.inner_text(), "it drains")
            go("#/events")
            until(lambda: request["edge"] in text(".log li:has-text('Drained')"), "the event is told")
            go("#/nodes")
            page.click(f"button[aria-label='Undrain {request['edge']}']")
            until(lambda: item.locator(".badge").first.inner_text() == "Alive", "it is alive again")

        def tells_events_live():
            go("#/events")
            until(lambda: page.locator(".log li").count() > 0, "events")
            answer = page.evaluate("""async (node) => {
                const headers = { Authorization: `Bearer ${sessionStorage.getItem("weir-token")}` };
                const send = (what) => fetch(`api/v1/nodes/${node}/${what}`, { method: "POST", headers });
                return [(await send("drain")).status, (await send("undrain")).status];
            }""", request["edge"])
            check(answer == [204, 204], "drain and undrain answered", answer)
            until(lambda: any("Undrained" in line for line in page.locator(".log li").all_inner_texts()[:5]),
                  "the event appears by itself", 8)

        def keeps_hostile_names_as_text():
            for place in ("#/", "#/streams", "#/clients", "#/events", "#/nodes", "#/recordings", stream_page):
                go(place)
                page.wait_for_timeout(900)
                check(page.evaluate("window.pwned === undefined"), "a name ran as a script at", place)
                check(page.locator("main [onerror], main [onload]").count() == 0, "it became an element at", place)
            for place, name in (("#/clients", request["hostile"]), ("#/streams", request["hostileStream"])):
                go(place)
                until(lambda: name in page.evaluate("document.querySelector('main').textContent"), "it can be read")

        def searches_clients():
            go("#/clients")
            until(lambda: page.locator("main tbody tr").count() > 0, "clients")
            page.select_option("main select >> nth=0", "publish")
            until(lambda: "Plays" not in text("main tbody"), "only publishers")
            check("kind=publish" in page.url, "the filter is not in the address")

        def sets_policies():
            go("#/access")
            page.click("button:has-text('New policy')")
            page.fill("dialog input[name=app]", "console-test")
            page.fill("dialog textarea", "this is no setting")
            page.click("dialog button[type=submit]")
            until(lambda: "Line 1" in text("dialog .problem"), "the mistake is named")
            page.fill("dialog textarea", "publish.policy = grace")
            page.click("dialog button[type=submit]")
            row = page.locator("tr", has_text="console-test")
            until(lambda: row.count() == 1, "the policy is listed")
            row.locator("button", has_text="Remove").click()
            page.click("dialog button.danger")
            until(lambda: row.count() == 0, "the policy is gone")

        def makes_tokens():
            global viewer
            go("#/access")
            page.click("button:has-text('New token')")
            page.fill("dialog input[name=name]", "console-viewer")
            page.click("dialog button[type=submit]")
            page.wait_for_selector("dialog input[readonly]")
            viewer = page.input_value("dialog input[readonly]")
            page.click("dialog button.primary")
            until(lambda: page.locator("tr", has_text="console-viewer").count() == 1, "the token is listed")
            until(lambda: viewer not in page.content(), "the secret leaves the page")

        def hides_what_is_not_allowed():
            page.click("#signOut")
            page.wait_for_selector("#signIn")
            check(page.evaluate("sessionStorage.length") == 0, "the token was kept")
            page.reload()
            sign_in(viewer)
            is_signed_in()
            check("viewer" in text("#who"), text("#who"))
            check(not page.locator("#nav a[data-item=access]").is_visible(), "Access is offered")
            for place in ("#/nodes", "#/clients", stream_page):
                go(place)
                page.wait_for_timeout(1200)
                for word in ("Drain", "Kick", "Record", "End publisher"):
                    check(page.locator("main button", has_text=word).count() == 0, word, "is offered at", place)
            go("#/access")
            check("does not allow" in text("main"), text("main"))
            page.click("#signOut")
            page.wait_for_selector("#signIn")
            sign_in(request["token"])
            is_signed_in()

        def signs_out_when_the_token_is_revoked():
            other = browser.new_context()
            second = other.new_page()
            watch(second)
            second.goto(base)
            second.fill("#signIn input", viewer)
            second.click("#signIn button")
            second.wait_for_selector("#nav a[aria-current]")
            second.evaluate("location.hash = '#/nodes'")
            go("#/access")
            page.locator("tr", has_text="console-viewer").locator("button").click()
            page.click("dialog button.danger")
            second.wait_for_selector("#signIn", timeout=25000)
            check("does not hold" in second.locator("#signIn .problem").inner_text(), "it does not say why")
            other.close()

        """#
}
