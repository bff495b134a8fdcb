// The frame of the console: signing in, the list of pages, and which of them is shown.

import { api, followEvents, signals, token } from "./console-api.js";
import { say } from "./console-dialog.js";
import { field, h, icon, setAttribute, setText } from "./console-dom.js";
import { overview, PageScope } from "./console-page.js";
import { accessPage } from "./page-access.js";
import { clientsPage } from "./page-clients.js";
import { eventsPage } from "./page-events.js";
import { nodePage, nodesPage } from "./page-nodes.js";
import { overviewPage } from "./page-overview.js";
import { recordingPage, recordingsPage } from "./page-recordings.js";
import { streamPage } from "./page-stream.js";
import { streamsPage } from "./page-streams.js";

const element = (id) => document.getElementById(id);

/** `match` is the address after `#`; its parts are handed to `show(scope, main, ...parts)`, which gives the title. */
const pages = [
    { match: /^\/?$/, show: overviewPage, item: "overview" },
    { match: /^\/streams$/, show: streamsPage, item: "streams" },
    { match: /^\/streams\/([^/]+)\/([^/]+)\/([^/]+)$/, show: streamPage, item: "streams" },
    { match: /^\/nodes$/, show: nodesPage, item: "nodes" },
    { match: /^\/nodes\/([^/]+)$/, show: nodePage, item: "nodes" },
    { match: /^\/clients$/, show: clientsPage, item: "clients" },
    { match: /^\/recordings$/, show: recordingsPage, item: "recordings" },
    { match: /^\/recordings\/([^/]+)$/, show: recordingPage, item: "recordings" },
    { match: /^\/events$/, show: eventsPage, item: "events" },
    { match: /^\/access$/, show: accessPage, item: "access" },
];

const items = [
    { name: "overview", label: "Overview", address: "#/" },
    { name: "streams", label: "Streams", address: "#/streams" },
    { name: "nodes", label: "Nodes", address: "#/nodes" },
    { name: "clients", label: "Clients", address: "#/clients" },
    { name: "recordings", label: "Recordings", address: "#/recordings" },
    { name: "events", label: "Events", address: "#/events" },
    { name: "access", label: "Access", address: "#/access" },
];

let session;
let scope;
let following;

// ---------------------------------------------------------------------------------------------------------------------
// Which page

function readLocation() {
    const [place, query = ""] = location.hash.slice(1).split("?");
    const parameters = new URLSearchParams(query);
    for (const page of pages) {
        const found = page.match.exec(place);
        if (!found) continue;
        try {
            return { page, parts: found.slice(1).map(decodeURIComponent), parameters };
        } catch {
            break;
        }
    }
    return { page: { show: unknownPage }, parts: [], parameters };
}

function unknownPage(_, main) {
    main.append(h("h1", { tabindex: -1 }, "No such page"), h("p", {}, h("a", { href: "#/" }, "To the overview")));
    return "No such page";
}

/** Shows what the address asks for. `isMove`: the address changed, so the focus goes along. */
function show({ isMove = false } = {}) {
    if (!session) return;
    scope?.leave();
    const { page, parts, parameters } = readLocation();
    scope = new PageScope({ session, query: parameters });
    const main = element("main");
    main.replaceChildren();
    const title = page.show(scope, main, ...parts);
    document.title = `${title} – Weir console`;
    for (const link of element("nav").querySelectorAll("a")) {
        setAttribute(link, "aria-current", link.dataset.item === page.item ? "page" : undefined);
    }
    openMenu(false);
    if (!isMove) return;
    scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
}

function openMenu(isOpen) {
    element("top").classList.toggle("open", isOpen);
    setAttribute(element("menu"), "aria-expanded", isOpen);
}

// ---------------------------------------------------------------------------------------------------------------------
// Who

/** The name and role of a token; without one, of those who need none. */
async function ask(secret) {
    const found = await api.get("whoami", { secret });
    return { name: found?.name ?? "", role: found?.role ?? "viewer" };
}

function showSignIn(text = "") {
    session = undefined;
    scope?.leave();
    scope = undefined;
    following?.abort();
    document.title = "Sign in – Weir console";
    document.body.classList.add("signedOut");
    for (const id of ["nav", "menu", "signOut"]) element(id).hidden = true;
    setText(element("who"), "");
    showLink(undefined);
    const input = h("input", {
        type: "password", name: "token", autocomplete: "current-password", required: true, spellcheck: "false",
        autocapitalize: "off", maxlength: 512,
    });
    const problem = h("p", { class: "problem", role: "alert", hidden: !text }, text);
    const button = h("button", { type: "submit", class: "primary" }, "Sign in");
    const submit = async (event) => {
        event.preventDefault();
        button.disabled = true;
        try {
            const secret = input.value.trim();
            const found = await ask(secret);
            token.value = secret;
            begin(found, { isMove: true });
        } catch (error) {
            setText(problem, error.status === 401 ? "This token is not known, or it has expired." : error.message);
            problem.hidden = false;
            input.select();
        } finally {
            button.disabled = false;
        }
    };
    const hint = "The coordinator printed an administrator's token at its first start.";
    element("main").replaceChildren(h("section", { id: "signIn", class: "card" },
        h("h1", { tabindex: -1 }, "Sign in"),
        h("form", { onsubmit: submit }, field("Token", input, hint), problem, button)));
    input.focus();
}

function begin(found, options) {
    session = found;
    document.body.classList.remove("signedOut");
    for (const id of ["nav", "menu"]) element(id).hidden = false;
    element("signOut").hidden = false;
    setText(element("signOut"), token.value ? "Sign out" : "Sign in");
    setText(element("who"), [found.name, found.role].filter(Boolean).join(" · "));
    const isOperator = ["operator", "admin"].includes(found.role);
    for (const link of element("nav").querySelectorAll("a")) {
        link.parentElement.hidden = link.dataset.item === "access" && !isOperator;
    }
    follow();
    show(options);
}

function follow() {
    following?.abort();
    following = new AbortController();
    followEvents({
        signal: following.signal,
        onEvent: ({ data, event }) => {
            let content;
            try {
                content = JSON.parse(data);
            } catch {
                return;
            }
            if (event === "hello" || event === "overview") overview.newest = content;
            scope?.deliver({ message: event, content });
        },
        onState: showLink,
    });
}

/** Whether what is shown is live. */
function showLink(isConnected) {
    const link = element("link");
    const state = isConnected === undefined ? undefined : isConnected ? "live" : "lost";
    setAttribute(link, "data-state", state);
    setText(link, { live: "Live", lost: "Connecting again" }[state] ?? "");
}

// ---------------------------------------------------------------------------------------------------------------------
// Light and dark

const themes = { auto: "System", light: "Light", dark: "Dark" };

function showTheme() {
    const name = themes[document.documentElement.dataset.theme] ?? themes.auto;
    element("theme").replaceChildren(icon("theme"), h("span", {}, `Theme: ${name.toLowerCase()}`));
}

function nextTheme() {
    const names = Object.keys(themes);
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    document.documentElement.dataset.theme = next;
    if (next === "auto") localStorage.removeItem("weir-theme");
    else localStorage.setItem("weir-theme", next);
    showTheme();
}

// ---------------------------------------------------------------------------------------------------------------------

function bind() {
    element("nav").firstElementChild.append(...items.map(({ name, label, address }) => (
        h("li", {}, h("a", { href: address, "data-item": name }, icon(name), h("span", {}, label))))));
    element("menu").prepend(icon("menu"));
    element("menu").addEventListener("click", () => openMenu(!element("top").classList.contains("open")));
    element("top").addEventListener("keydown", ({ key }) => {
        if (key !== "Escape" || !element("top").classList.contains("open")) return;
        openMenu(false);
        element("menu").focus();
    });
    element("skip").addEventListener("click", (event) => {
        event.preventDefault();
        element("main").focus();
    });
    element("theme").addEventListener("click", nextTheme);
    element("signOut").addEventListener("click", () => {
        token.value = "";
        showSignIn();
    });
    signals.addEventListener("signedout", () => {
        if (!session) return;
        token.value = "";
        showSignIn("Your token does not hold any more. Sign in again.");
    });
    addEventListener("hashchange", () => show({ isMove: true }));
    addEventListener("unhandledrejection", ({ reason }) => {
        if (reason?.name !== "AbortError") say(reason?.message ?? "Something went wrong.", { isError: true });
    });
    showTheme();
}

async function start() {
    try {
        begin(await ask(token.value));
    } catch (error) {
        const isUnknown = error.status === 401;
        const text = isUnknown ? token.value && "Your token does not hold any more. Sign in again." : error.message;
        if (isUnknown) token.value = "";
        showSignIn(text);
    }
}

bind();
await start();
