// What several pages show: tables, names with links, states, thumbnails.

import { api } from "./console-api.js";
import { badge, h, reconcile, setAttribute, setBadge, setText } from "./console-dom.js";
import { byCount, formatCount, shortTransportName, streamName, sum, words } from "./console-format.js";

// ---------------------------------------------------------------------------------------------------------------------
// Addresses

export const streamAddress = ({ vhost, app, name }) => (
    `#/streams/${[vhost || "__defaultVhost__", app, name].map(encodeURIComponent).join("/")}`);

export const nodeAddress = (id) => `#/nodes/${encodeURIComponent(id)}`;

export const streamQuery = ({ vhost, app, name }) => ({ vhost, app, name });

export const streamKeyText = ({ vhost, app, name }) => JSON.stringify([vhost, app, name]);

export const streamLink = (key) => h("a", { href: streamAddress(key) }, streamName(key));

export const nodeLink = (id) => h("a", { href: nodeAddress(id) }, id);

/** A link in a table's cell that follows what the item says. */
export function setLink(cell, address, text) {
    let link = cell.querySelector("a");
    if (!link) {
        link = h("a");
        cell.append(link);
    }
    setAttribute(link, "href", address);
    setText(link, text);
}

// ---------------------------------------------------------------------------------------------------------------------
// States

const streamTones = {
    ok: ["live", "Live"], stalled: ["bad", "Stalled"], starting: ["warn", "Starting"], waiting: ["warn", "Waiting"],
    orphaned: ["bad", "Orphaned"], ended: ["plain", "Ended"],
};

/** What the states of streams mean, for those who point at them. */
const streamMeanings = {
    ok: "Media arrive.", stalled: "The publisher is connected but sends nothing.",
    starting: "No media have arrived yet.",
    waiting: "The publisher left; viewers are kept for a while.", orphaned: "The node that holds it is not heard.",
    ended: "The stream is over.",
};

export const streamTone = (stream) => streamTones[stream.health] ?? ["plain", words(stream.health)];

export const streamMeaning = (stream) => streamMeanings[stream.health] ?? "";

const nodeTones = {
    alive: ["good", "Alive"], draining: ["warn", "Draining"], drained: ["warn", "Drained"],
    suspect: ["warn", "Suspect"], dead: ["bad", "Dead"], unheard: ["plain", "Unheard"],
};

export const nodeTone = (state) => nodeTones[state] ?? ["plain", words(state)];

/** A badge in a cell that changes with the state. */
export function showBadge(cell, [tone, text]) {
    const known = cell.querySelector(".badge");
    if (known) setBadge(known, tone, text);
    else cell.append(badge(tone, text));
}

export const totalOf = (viewers) => sum(Object.values(viewers ?? {}));

/** `HLS 3 · RTMP 1`; numbers stay with their names. */
export const viewersText = (viewers) => byCount(viewers)
    .map(([transport, count]) => `${shortTransportName(transport)}\u00a0${formatCount(count)}`).join(" · ");

// ---------------------------------------------------------------------------------------------------------------------
// Tables

/**
 * A table whose rows stay while their items do. `columns`: `label`, `name` (a class for its width), `isNumber`,
 * `isWide` (takes the whole row in narrow windows), `make(cell, item)` once and `update(cell, item)` each time.
 */
export class Table {
    #body = h("tbody");
    #columns;
    #keyOf;
    #empty;
    #table;

    constructor({ label, columns, keyOf, empty }) {
        this.#columns = columns;
        this.#keyOf = keyOf;
        const head = columns.map((column) => h("th", { class: Table.#classOf(column), scope: "col" },
            column.isHidden ? h("span", { class: "unseen" }, column.label) : column.label));
        this.#table = h("table", { class: "table", "aria-label": label, role: "table" },
            h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), this.#body);
        this.#body.setAttribute("role", "rowgroup");
        for (const cell of head) cell.setAttribute("role", "columnheader");
        this.#empty = h("p", { class: "empty" }, "Loading …");
        this.#empty.dataset.text = empty;
        this.#table.hidden = true;
        this.node = h("div", { class: "tableBox" }, this.#table, this.#empty);
    }

    static #classOf({ name, isNumber, isWide, isAction }) {
        return [name, isNumber && "num", isWide && "wide", isAction && "act"].filter(Boolean).join(" ") || undefined;
    }

    show(items) {
        reconcile(this.#body, items, this.#keyOf, (item) => this.#makeRow(item), (row, item) => {
            this.#columns.forEach((column, index) => column.update?.(row.children[index], item));
        });
        this.#table.hidden = items.length === 0;
        this.#empty.hidden = items.length > 0;
        setText(this.#empty, this.#empty.dataset.text);
    }

    /** Says why there is nothing, instead of that there is nothing. */
    fail(text) {
        if (this.#body.children.length) return;
        setText(this.#empty, text);
    }

    /** Roles are named, because tables that are laid out as cards lose them in some browsers. */
    #makeRow(item) {
        return h("tr", { role: "row" }, this.#columns.map((column) => {
            const label = column.isWide || column.isAction ? undefined : column.label;
            const cell = h("td", { class: Table.#classOf(column), "data-label": label, role: "cell" });
            column.make?.(cell, item);
            return cell;
        }));
    }
}

/** A column that shows a text of the item. */
export const textColumn = (label, name, text, more = {}) => ({
    label, name, update: (cell, item) => {
        let value = cell.querySelector(".value");
        if (!value) {
            value = h("span", { class: "value" });
            cell.append(value);
        }
        setText(value, text(item));
    }, ...more,
});

/** A small button. */
export const button = (label, onclick, more = "") => (
    h("button", { type: "button", class: `small ${more}`.trim(), onclick }, label));

/** A field of a filter; the page's address remembers what is in it. */
export const filterInput = (scope, name, type = "search", maxlength = 64) => (
    h("input", { type, value: scope.query.get(name) ?? "", maxlength, autocomplete: "off" }));

export const nodeColumn = (label = "Node") => ({
    label, name: "nodeColumn", update: (cell, { node }) => setLink(cell, nodeAddress(node), node),
});

/**
 * A button in the last columns: `work(item, button)`. `nameOf(item)` says to readers which one it is. The element
 * stays, so it learns its item anew each time.
 */
export const actionColumn = (name, work, nameOf) => ({
    label: name, name: "actionColumn", isHidden: true, isAction: true,
    make: (cell) => {
        const node = button(name, () => work(cell.weirItem, node));
        cell.append(node);
    },
    update: (cell, item) => {
        cell.weirItem = item;
        setAttribute(cell.firstElementChild, "aria-label", `${name} ${nameOf(item)}`);
    },
});

/** A card with a heading. */
export function card(title, ...content) {
    const heading = h("h2", {}, title);
    return h("section", { class: "card" }, h("header", {}, heading), content);
}

/** Where a page says that what it shows may be old. */
export class Trouble {
    node = h("p", { class: "notice", role: "status", hidden: true });

    show(error) {
        this.node.hidden = !error;
        setText(this.node, error ? `${error.message} What is shown may be old.` : "");
    }
}

/** Terms with what they say at the moment; a fact that is `undefined` is left out. */
export function showFacts(list, facts) {
    const entries = Object.entries(facts).filter(([, value]) => value !== undefined && value !== "");
    const pairs = entries.flatMap(([name, value]) => [
        { key: `t-${name}`, tag: "dt", text: name }, { key: `d-${name}`, tag: "dd", text: value },
    ]);
    reconcile(list, pairs, ({ key }) => key, ({ tag }) => h(tag), (node, { text }) => {
        if (text instanceof Node) {
            if (!node.isEqualNode(h(node.localName, {}, text.cloneNode(true)))) node.replaceChildren(text);
        } else {
            setText(node, text);
        }
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// Pages of long lists, by the API's cursors

/** Back and forward through a list. The cursors of the pages before are kept, as the API only goes forward. */
export class Pager {
    #cursors = [undefined];
    #next;
    #back;
    #forward;
    #text = h("span", { class: "faint", role: "status" });
    #size;
    #noun;

    constructor({ size, noun, onMove }) {
        this.#size = size;
        this.#noun = noun;
        const move = (work) => () => {
            work();
            onMove();
        };
        this.#back = button("Previous", move(() => this.#cursors.pop()));
        this.#forward = button("Next", move(() => this.#cursors.push(this.#next)));
        this.node = h("div", { class: "pager", hidden: true }, this.#text,
            h("div", { class: "end" }, this.#back, this.#forward));
    }

    get cursor() {
        return this.#cursors.at(-1);
    }

    get isFirst() {
        return this.#cursors.length === 1;
    }

    restart() {
        this.#cursors = [undefined];
    }

    /**
     * `total` is the length of the whole list, when it is known. Pages of a filtered list may hold fewer than others, or
     * nothing, and yet have a next one: places are not told then.
     */
    show(count, next, { total, isFiltered = false } = {}) {
        this.#next = next;
        const first = (this.#cursors.length - 1) * this.#size;
        const isWhole = this.isFirst && next === undefined;
        this.node.hidden = count === 0 && this.isFirst && next === undefined;
        const places = count ? `${formatCount(first + 1)}–${formatCount(first + count)}` : "No more";
        const range = isFiltered ? formatCount(count) : places;
        const of = total !== undefined && total > count ? ` of ${formatCount(total)}` : "";
        setText(this.#text, isWhole ? `${formatCount(count)} ${this.#noun}${count === 1 ? "" : "s"}`
            : `${range}${of} ${this.#noun}s${isFiltered ? " on this page" : ""}`);
        this.#back.disabled = this.isFirst;
        this.#forward.disabled = next === undefined;
        this.#back.hidden = isWhole;
        this.#forward.hidden = isWhole;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Thumbnails

const maximumAtOnce = 3;
const refreshMillis = 20_000;

/** Pictures of streams, fetched with the token, for those that are seen, a few at a time. */
export class Thumbnails {
    #scope;
    #observer;
    #pictures = new Map();
    #running = 0;
    #isRefused = false;

    constructor(scope) {
        this.#scope = scope;
        this.#observer = new IntersectionObserver((entries) => {
            for (const { target, isIntersecting } of entries) {
                const picture = this.#pictures.get(target);
                if (picture) picture.isSeen = isIntersecting;
            }
            this.#next();
        }, { rootMargin: "100px" });
        const timer = setInterval(() => this.#next(), 1000);
        scope.signal.addEventListener("abort", () => {
            clearInterval(timer);
            this.#observer.disconnect();
            for (const { url } of this.#pictures.values()) URL.revokeObjectURL(url);
            this.#pictures.clear();
        });
    }

    /** A place for the picture of the stream `key`. */
    make(key) {
        const image = h("img", { alt: "", hidden: true, decoding: "async" });
        const node = h("span", { class: "thumb" }, image);
        this.#pictures.set(node, { image, key, at: 0, isSeen: false, isLive: true, url: "" });
        this.#observer.observe(node);
        return node;
    }

    /** Streams that are not live have no new pictures. */
    setLive(node, isLive) {
        const picture = this.#pictures.get(node);
        if (picture) picture.isLive = isLive;
    }

    #next() {
        if (this.#isRefused || document.hidden) return;
        const now = Date.now();
        for (const [node, picture] of this.#pictures) {
            if (this.#running >= maximumAtOnce) return;
            if (!node.isConnected && picture.wasConnected) {
                this.#observer.unobserve(node);
                URL.revokeObjectURL(picture.url);
                this.#pictures.delete(node);
            } else if (picture.isSeen && picture.isLive && now - picture.at > refreshMillis) {
                picture.at = now;
                this.#load(picture);
            }
            picture.wasConnected ||= node.isConnected;
        }
    }

    async #load(picture) {
        this.#running += 1;
        try {
            const found = await api.blob("snapshot", {
                query: streamQuery(picture.key), etag: picture.etag, signal: this.#scope.signal,
            });
            if (found?.blob.type === "image/jpeg" && !this.#scope.signal.aborted) {
                const { url } = picture;
                picture.url = URL.createObjectURL(found.blob);
                picture.etag = found.etag;
                picture.image.src = picture.url;
                picture.image.hidden = false;
                URL.revokeObjectURL(url);
            }
        } catch (error) {
            // Who may not see pictures is not asked for them again.
            if (error.status === 403) this.#isRefused = true;
        } finally {
            this.#running -= 1;
            this.#next();
        }
    }
}
