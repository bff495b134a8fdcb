// The whole cluster at a glance.

import { api } from "./console-api.js";
import { Chart, LoadBar } from "./console-charts.js";
import { h, reconcile, setText } from "./console-dom.js";
import { formatBitRate, formatCount, formatPercent, plural, streamName, words } from "./console-format.js";
import { EventFeed } from "./page-events.js";
import { overview as live } from "./console-page.js";
import {
    card, nodeTone, setLink, showBadge, streamAddress, streamKeyText, streamTone, Table, textColumn, Thumbnails,
    nodeAddress, totalOf, Trouble, viewersText,
} from "./console-widgets.js";

const topCount = 8;
/** The list comes by name, or by viewers where the coordinator can: of so many the most watched are shown. */
const topCandidates = 200;

/** Samples of the API's history, with their times; where nothing was heard there are none. */
export function samplesOf(history, name) {
    const values = history?.[name] ?? [];
    const first = history.endMillis - (values.length - 1) * history.stepSeconds * 1000;
    return values.map((value, index) => ({ at: first + index * history.stepSeconds * 1000, value }))
        .filter(({ value }) => value !== null);
}

/** A number with its name, and what it is made of. */
class Tile {
    #value = h("strong");
    #detail = h("small");

    constructor(label) {
        this.node = h("li", { class: "tile card" }, h("span", { class: "label" }, label), this.#value, this.#detail);
    }

    show(value, detail) {
        setText(this.#value, value);
        setText(this.#detail, detail);
    }
}

function showSums(tiles, sums) {
    const { nodes } = sums;
    const count = Object.values(nodes).reduce((all, some) => all + some, 0);
    tiles.viewers.show(formatCount(totalOf(sums.viewers)), viewersText(sums.viewers) || "Nobody watches");
    tiles.streams.show(formatCount(sums.liveStreams),
        sums.streams > sums.liveStreams ? `${formatCount(sums.streams - sums.liveStreams)} not live` : "All are live");
    tiles.egress.show(formatBitRate(sums.sentBitsPerSecond), "To viewers and nodes");
    tiles.ingest.show(formatBitRate(sums.receivedBitsPerSecond), plural(sums.publishers, "publisher"));
    const others = Object.entries(nodes).filter(([state, some]) => state !== "alive" && some > 0)
        .map(([state, some]) => `${some} ${nodeTone(state)[1].toLowerCase()}`);
    tiles.nodes.show(`${formatCount(nodes.alive ?? 0)} of ${formatCount(count)}`, others.join(", ") || "All are alive");
    tiles.edges.show(formatCount(sums.desiredEdges), "For this load");
}

function nodeTable() {
    const bar = (label, share, text) => ({
        label, name: "loadColumn", make: (cell) => {
            cell.weirBar = new LoadBar(label);
            cell.append(cell.weirBar.node);
        }, update: (cell, entry) => cell.weirBar.show(share(entry), text(entry)),
    });
    return new Table({
        label: "Nodes", keyOf: ({ node }) => node.id, empty: "No node has joined yet.", columns: [
            { label: "Node", isWide: true, name: "nameColumn", update: (cell, { node }) => (
                setLink(cell, nodeAddress(node.id), node.id)) },
            { label: "State", name: "stateColumn", update: (cell, { state }) => showBadge(cell, nodeTone(state)) },
            bar("Load", (entry) => entry.utilisation, (entry) => formatPercent(entry.utilisation)),
            textColumn("Egress", "rateColumn", ({ load }) => formatBitRate(load.egressBitsPerSecond),
                { isNumber: true }),
            textColumn("Viewers", "countColumn", ({ load }) => formatCount(load.viewers), { isNumber: true }),
        ],
    });
}

/** The busiest streams with their pictures. */
class TopStreams {
    node = h("ul", { class: "topStreams" });
    #thumbnails;
    #empty = h("p", { class: "empty" }, "Nothing is live.");

    constructor(scope) {
        this.#thumbnails = new Thumbnails(scope);
        this.content = [this.node, this.#empty];
    }

    show(streams) {
        this.#empty.hidden = streams.length > 0;
        const make = (stream) => this.#make(stream);
        reconcile(this.node, streams, ({ key }) => streamKeyText(key), make, (item, stream) => {
            this.#thumbnails.setLive(item.weirThumb, stream.health === "ok");
            showBadge(item.querySelector(".state"), streamTone(stream));
            setText(item.querySelector(".numbers"), `${plural(totalOf(stream.viewers), "viewer")} · `
                + formatBitRate(stream.ingestBitsPerSecond));
        });
    }

    #make({ key }) {
        const thumb = this.#thumbnails.make(key);
        const item = h("li", {}, h("a", { href: streamAddress(key) }, thumb, h("strong", {}, streamName(key))),
            h("span", { class: "numbers faint" }), h("span", { class: "state" }));
        item.weirThumb = thumb;
        return item;
    }
}

const alarmsText = (nodes) => nodes.flatMap(({ node, facts }) => (
    (facts?.alarms ?? []).map((alarm) => `${node.id}: ${words(alarm).toLowerCase()}`)));

export function overviewPage(scope, main) {
    const tiles = {
        viewers: new Tile("Viewers"), streams: new Tile("Live streams"),
        egress: new Tile("Egress"), ingest: new Tile("Ingest"),
        nodes: new Tile("Nodes alive"), edges: new Tile("Edges wanted"),
    };
    const charts = {
        viewers: new Chart({ title: "Viewers", format: formatCount, spanMillis: 3_600_000 }),
        egressBitsPerSecond: new Chart({ title: "Egress", format: formatBitRate, spanMillis: 3_600_000 }),
        ingestBitsPerSecond: new Chart({ title: "Ingest", format: formatBitRate, spanMillis: 3_600_000 }),
    };
    const trouble = new Trouble();
    const alarms = h("p", { class: "notice", role: "status", hidden: true });
    const nodes = nodeTable();
    const top = new TopStreams(scope);
    const feed = new EventFeed(scope, { limit: 8 });
    main.append(
        h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Overview")), trouble.node, alarms,
        h("ul", { class: "tiles" }, Object.values(tiles).map(({ node }) => node)),
        h("div", { class: "stack" },
            h("div", { class: "three" }, Object.values(charts).map((chart) => (
                h("section", { class: "card" }, h("div", { class: "inside" }, chart.node))))),
            card("Most watched", h("div", { class: "inside" }, top.content)),
            h("div", { class: "columns" }, card("Nodes", nodes.node), card("Latest events", feed.node))));

    if (live.newest) showSums(tiles, live.newest);
    scope.on("hello", (sums) => showSums(tiles, sums));
    scope.on("overview", (sums) => showSums(tiles, sums));
    scope.every(10_000, async () => {
        const [sums, history] = await Promise.all([
            api.get("overview", { signal: scope.signal }), api.get("history", { signal: scope.signal }),
        ]);
        live.newest = sums;
        showSums(tiles, sums);
        for (const [name, chart] of Object.entries(charts)) chart.show(samplesOf(history, name), history.endMillis);
    }, (error) => trouble.show(error));
    const known = {};
    scope.every(3000, async () => {
        const list = await api.getChanged("nodes", known, { query: { limit: 200 }, signal: scope.signal });
        if (!list) return;
        nodes.show([...list.nodes].sort((left, right) => right.utilisation - left.utilisation).slice(0, 10));
        const texts = alarmsText(list.nodes);
        alarms.hidden = texts.length === 0;
        setText(alarms, texts.slice(0, 5).join(" · "));
    }, (error) => { if (error) nodes.fail(error.message); });
    const knownTop = {};
    scope.every(10_000, async () => {
        const query = { limit: topCandidates, order: "viewers" };
        const list = await api.getChanged("streams", knownTop, { query, signal: scope.signal });
        if (!list) return;
        const sorted = [...list.streams].sort((left, right) => totalOf(right.viewers) - totalOf(left.viewers));
        top.show(sorted.slice(0, topCount));
    });
    return "Overview";
}
