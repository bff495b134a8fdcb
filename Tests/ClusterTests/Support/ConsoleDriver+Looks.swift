extension ConsoleDriver {
    /// How it looks, can be read and reached, and the order of all steps.
    static let looks = #"""
        NAMES = """() => {
            const problems = [];
            const isSeen = (node) => node.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
            const textOf = (id) => document.getElementById(id)?.textContent ?? "";
            const labelOf = (node) => node.getAttribute("aria-label")
                || (node.getAttribute("aria-labelledby") ?? "").split(" ").map(textOf).join(" ").trim()
                || [...(node.labels ?? [])].map((label) => label.textContent).join(" ") || node.textContent.trim();
            const named = "button, a[href], input, select, textarea, video, dialog, [role=meter], svg[role=img]";
            for (const node of document.querySelectorAll(named)) {
                if (isSeen(node) && !labelOf(node)) problems.push(`no name: ${node.outerHTML.slice(0, 120)}`);
            }
            for (const node of document.querySelectorAll("img:not([alt])")) problems.push(`no alt: ${node.className}`);
            const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
            for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) problems.push(`id twice: ${id}`);
            if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
            if (!document.documentElement.lang) problems.push("no language");
            if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
            if (document.querySelector("[style*=url], script:not([src]), style")) problems.push("inline");
            return problems;
        }"""

        # The contrast of all texts with what is behind them. Spec: WCAG 2.2 §1.4.3.
        CONTRAST = """() => {
            const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
            const rgba = (colour) => {
                context.clearRect(0, 0, 1, 1);
                context.fillStyle = colour;
                context.fillRect(0, 0, 1, 1);
                const [red, green, blue, alpha] = context.getImageData(0, 0, 1, 1).data;
                return [red, green, blue, alpha / 255];
            };
            const over = (front, back) => back.map(
                (value, at) => at === 3 ? 1 : front[at] * front[3] + value * (1 - front[3]));
            const light = ([red, green, blue]) => [red, green, blue].map((value) => value / 255)
                .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
                .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
            const behind = (node) => {
                const layers = [];
                for (let at = node; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
                return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
            };
            const found = new Set();
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const node = walker.currentNode.parentElement;
                if (!walker.currentNode.data.trim() || !node.checkVisibility({ checkVisibilityCSS: true })) continue;
                if (node.closest("button:disabled, .stage, .unseen, noscript")) continue;
                const style = getComputedStyle(node);
                const back = behind(node);
                const [one, two] = [light(over(rgba(style.color), back)), light(back)];
                const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
                const size = parseFloat(style.fontSize);
                const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
                if (ratio >= (isLarge ? 3 : 4.5)) continue;
                found.add(`${node.className || node.tagName} ${style.color} ${ratio.toFixed(2)}`);
            }
            return [...found];
        }"""

        def can_be_walked_by_keyboard():
            page.goto("about:blank")
            page.goto(base + "#/nodes")
            page.wait_for_selector(".nodeCard")
            page.keyboard.press("Tab")
            check(page.evaluate("document.activeElement.id") == "skip", "the first stop is not the skip link")
            page.keyboard.press("Enter")
            check(page.evaluate("document.activeElement.id") == "main", "the skip link does not lead to the content")
            page.evaluate("document.activeElement.blur()")
            seen = []
            for _ in range(30):
                page.keyboard.press("Tab")
                stop = page.evaluate("""() => {
                    const node = document.activeElement;
                    if (!node || node === document.body) return null;
                    const { outlineStyle, outlineWidth } = getComputedStyle(node);
                    const name = node.getAttribute("aria-label") || node.textContent.trim() || node.type;
                    return [name, outlineStyle, outlineWidth];
                }""")
                if stop is None:
                    continue
                check(stop[1] != "none" and stop[2] != "0px", "the focus cannot be seen at", stop[0])
                seen.append(stop[0])
            for wanted in ("Overview", "Streams", "Access", "Sign out", f"Drain {request['edge']}"):
                check(any(wanted in name for name in seen), wanted, "is not reached:", seen)

        PLACES = {
            "overview": "#/", "streams": "#/streams", "stream": stream_page, "nodes": "#/nodes",
            "node": "#/nodes/" + request["edge"], "clients": "#/clients", "recordings": "#/recordings",
            "events": "#/events", "access": "#/access",
        }

        def is_readable_everywhere():
            problems = []
            secret = page.evaluate("sessionStorage.getItem('weir-token')")
            for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)):
                context = browser.new_context(
                    viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce")
                look = context.new_page()
                watch(look)
                look.goto(base)
                look.wait_for_selector("#signIn")
                look.screenshot(path=f"{pictures}-signin-{scheme}-{width}.png")
                for line in look.evaluate(CONTRAST):
                    faint[f"{scheme} signin {line}"] = 1
                look.fill("#signIn input", secret)
                look.click("#signIn button")
                look.wait_for_selector("#top a[aria-current]", state="attached")
                for name, place in PLACES.items():
                    look.evaluate("place => { location.hash = place; }", place)
                    look.wait_for_timeout(1800)
                    look.screenshot(
                        path=f"{pictures}-{name}-{scheme}-{width}.png", full_page=name not in ("events", "clients"))
                    over = look.evaluate("document.documentElement.scrollWidth - innerWidth")
                    if over > 0:
                        problems.append(f"{name} is {over} px wider than {width}")
                    problems += [f"{name} {width}: {line}" for line in look.evaluate(NAMES)]
                    for line in look.evaluate(CONTRAST):
                        faint[f"{scheme} {name} {line}"] = 1
                if width == 360:
                    check(not look.locator("#nav").is_visible(), "the menu is open")
                    look.click("#menu")
                    check(look.locator("#nav").is_visible(), "the menu does not open")
                    look.screenshot(path=f"{pictures}-menu-{scheme}-{width}.png")
                    look.click("#nav a:has-text('Nodes')")
                    look.wait_for_timeout(300)
                    check(not look.locator("#nav").is_visible(), "the menu stays open")
                violations.extend(look.evaluate("window.refused ?? []"))
                context.close()
            check(not problems, *problems[:8])

        def changes_the_theme():
            go("#/")
            for wanted, scheme in (("light", "light"), ("dark", "dark"), ("auto", "light dark")):
                page.click("#theme")
                check(page.evaluate("document.documentElement.dataset.theme") == wanted, "it is not", wanted)
                found = page.evaluate("getComputedStyle(document.documentElement).colorScheme")
                check(found == scheme, "the scheme of", wanted, "is", found)

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, headless=True,
                args=["--no-sandbox", "--disable-gpu", "--mute-audio",
                      "--autoplay-policy=no-user-gesture-required"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(12000)
            watch(page)
            for work in (
                    opens_with_sign_in, refuses_a_wrong_token, signs_in, shows_the_cluster, lists_streams,
                    pages_long_lists, goes_back, shows_a_stream, gives_addresses, names_transports, plays,
                    plays_by_webrtc, records,
                    closes_dialogs_by_keyboard,
                    searches_clients, keeps_hostile_names_as_text, kicks, tells_events_live, drains, sets_policies,
                    makes_tokens, hides_what_is_not_allowed, signs_out_when_the_token_is_revoked,
                    can_be_walked_by_keyboard, changes_the_theme, is_readable_everywhere):
                step(work)
            violations.extend(page.evaluate("window.refused ?? []"))
            browser.close()
        with open(output, "w") as file:
            json.dump({"steps": steps, "errors": errors, "violations": violations, "foreign": foreign,
                       "faint": list(faint)}, file)
        """#
}
