// Who did what when.

import { api } from "./console-api.js";
import { badge, choice, field, h, reconcile, setText } from "./console-dom.js";
import { formatMoment, streamName, words } from "./console-format.js";
import { debounced } from "./console-page.js";
import { filterInput, nodeLink, Pager, streamLink, Trouble } from "./console-widgets.js";

/** What happened, and how an operator should take it. */
const kinds = {
    nodeJoined: ["good", "Node joined"], nodeLeft: ["plain", "Node left"], nodeSuspect: ["warn", "Node suspect"],
    nodeDead: ["bad", "Node dead"], nodeBack: ["good", "Node back"], nodeLinkLost: ["warn", "Node's link lost"],
    drained: ["warn", "Drained"], undrained: ["good", "Undrained"], claimed: ["plain", "Stream claimed"],
    takenOver: ["warn", "Stream taken over"], adopted: ["plain", "Stream adopted"], revived: ["good", "Stream revived"],
    live: ["good", "Stream live"], grace: ["warn", "Publisher away"], ended: ["plain", "Stream ended"],
    superseded: ["warn", "Placement superseded"], recovered: ["good", "Coordinator recovered"],
    kicked: ["warn", "Client kicked"], publisherEnded: ["warn", "Publisher ended"],
    recordingStarted: ["good", "Recording started"], recordingStopped: ["plain", "Recording stopped"],
    recordingRemoved: ["warn", "Recording deleted"], policySet: ["plain", "Policy set"],
    policyRemoved: ["plain", "Policy removed"], tokenCreated: ["plain", "Token made"],
    tokenRevoked: ["warn", "Token revoked"], backedUp: ["plain", "Backed up"],
};

const kindOf = (name) => kinds[name] ?? ["plain", words(name)];

/** One line of the log. */
function makeLine({ atMillis, actor, event }) {
    const { kind, key, node, detail } = event;
    const about = h("span", { class: "about" });
    const add = (...parts) => about.append(about.childNodes.length ? " · " : "", ...parts);
    if (key) add(streamLink(key));
    if (node) add(nodeLink(node));
    if (detail) add(h("span", {}, /^[a-z]+[A-Za-z]*$/.test(detail) ? words(detail) : detail));
    if (actor) add(h("span", {}, `by ${actor}`));
    const [tone, text] = kindOf(kind);
    const time = h("time", { datetime: new Date(atMillis).toISOString() }, formatMoment(atMillis));
    return h("li", {}, time, badge(tone, text), about);
}

/** The newest events that fit `filter`, which grow as more happens. */
export class EventFeed {
    #list = h("ol", { class: "log" });
    #empty = h("p", { class: "empty" }, "Loading …");
    #events = [];
    #scope;
    #limit;
    #filter;
    #fits;
    #load;

    /** `filter` is the query of the API, `fits(event)` the same for what comes live. */
    constructor(scope, { limit, filter = {}, fits = () => true }) {
        this.#scope = scope;
        this.#limit = limit;
        this.#filter = filter;
        this.#fits = fits;
        this.node = h("div", {}, this.#list, this.#empty);
        this.#load = scope.every(60_000, () => this.#reload(), (error) => {
            if (error && !this.#events.length) setText(this.#empty, error.message);
        });
        scope.on("event", (event) => this.#add(event));
        scope.on("reset", () => this.#load());
        scope.on("hello", () => this.#load());
    }

    async #reload() {
        const query = { ...this.#filter, order: "newest", limit: this.#limit };
        const { events } = await api.get("events", { query, signal: this.#scope.signal });
        this.#events = events;
        this.#show();
    }

    #add(event) {
        if (!event?.event || !this.#fits(event.event) || this.#events.some(({ id }) => id === event.id)) return;
        this.#events = [event, ...this.#events].slice(0, this.#limit);
        this.#show();
    }

    #show() {
        reconcile(this.#list, this.#events, ({ id }) => id, makeLine, (line, { atMillis }) => {
            setText(line.firstElementChild, formatMoment(atMillis));
        });
        this.#empty.hidden = this.#events.length > 0;
        setText(this.#empty, "Nothing has happened yet.");
    }
}

const pageSize = 100;

export function eventsPage(scope, main) {
    const trouble = new Trouble();
    const list = h("ol", { class: "log" });
    const empty = h("p", { class: "empty" }, "Loading …");
    const pager = new Pager({ size: pageSize, noun: "event", onMove: () => {
        refresh();
        scrollTo(0, 0);
    } });
    const options = Object.entries(kinds).map(([name, [, text]]) => [name, text])
        .sort(([, left], [, right]) => left.localeCompare(right));
    const kind = choice([["", "All kinds"], ...options], scope.query.get("kind") ?? "");
    const [search, node, actor] = ["q", "node", "actor"].map((name) => filterInput(scope, name));
    const isLive = h("input", { type: "checkbox", checked: true });
    const filter = () => ({
        q: search.value.trim(), kind: kind.value, node: node.value.trim(), actor: actor.value.trim(),
    });
    const change = () => {
        scope.setQuery(filter());
        pager.restart();
        refresh();
    };
    for (const control of [search, node, actor]) control.addEventListener("input", debounced(300, change));
    kind.addEventListener("change", change);
    isLive.addEventListener("change", () => { if (isLive.checked) refresh(); });
    main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Events")), trouble.node,
        h("form", { class: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
            h("div", { class: "grow" }, field("Find", search)), field("Kind", kind), field("Node", node),
            field("By", actor), h("label", { class: "check" }, isLive, "Live")),
        h("section", { class: "card", "aria-label": "Events" }, list, empty, pager.node));
    const refresh = scope.every(30_000, async () => {
        const query = { ...filter(), order: "newest", after: pager.cursor, limit: pageSize };
        const found = await api.get("events", { query, signal: scope.signal });
        reconcile(list, found.events, ({ id }) => id, makeLine, () => {});
        setText(empty, "No event fits.");
        empty.hidden = found.events.length > 0;
        pager.show(found.events.length, found.next);
    }, (error) => {
        trouble.show(error);
        if (error) setText(empty, error.message);
    });
    const refreshSoon = debounced(400, refresh);
    const follow = () => {
        if (isLive.checked && pager.isFirst) refreshSoon();
    };
    scope.on("event", follow);
    scope.on("reset", follow);
    return "Events";
}

/** What `fits` of a feed about one stream compares. */
export const isAbout = (wanted) => ({ key }) => Boolean(key) && streamName(key) === streamName(wanted);
