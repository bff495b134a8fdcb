// Nodes with their load, and drains.

import { api, path } from "./console-api.js";
import { Chart, History, LoadBar } from "./console-charts.js";
import { act, confirm } from "./console-dialog.js";
import { badge, field, h, reconcile, setAttribute, setText } from "./console-dom.js";
import {
    formatBitRate, formatBytes, formatCount, formatDate, formatPart, formatPercent, formatSpan, plural, words,
} from "./console-format.js";
import { debounced } from "./console-page.js";
import { streamTable } from "./page-streams.js";
import {
    button as smallButton, card, filterInput, nodeAddress, nodeTone, Pager, showBadge, showFacts, totalOf, Trouble,
    viewersText,
} from "./console-widgets.js";

/** What was measured of each node while the console is open: the API keeps no history of nodes. */
const histories = new Map();
const maximumHistories = 500;

function historyOf(id) {
    let known = histories.get(id);
    if (!known) {
        if (histories.size >= maximumHistories) histories.delete(histories.keys().next().value);
        known = { egress: new History(), viewers: new History(), cpu: new History() };
        histories.set(id, known);
    }
    return known;
}

function measure({ node, load }) {
    const known = historyOf(node.id);
    known.egress.add(load.egressBitsPerSecond);
    known.viewers.add(load.viewers);
    known.cpu.add(load.busiestLoop);
    return known;
}

/** The bars of one node: CPU, egress, memory, disk. Each says what it is of. */
class Bars {
    #bars = Object.fromEntries(["CPU", "Egress", "Memory", "Disk"].map((name) => [name, new LoadBar(name)]));

    constructor() {
        this.node = h("dl", { class: "bars" }, Object.entries(this.#bars).flatMap(([name, bar]) => [
            h("dt", {}, name), h("dd", {}, bar.node),
        ]));
    }

    show({ load, facts }) {
        const share = (part, whole) => (whole > 0 ? part / whole : undefined);
        const of = (part, whole, format) => (whole > 0 ? formatPart(part, whole, format) : format(part));
        this.#bars.CPU.show(load.busiestLoop, formatPercent(load.busiestLoop));
        this.#bars.Egress.show(share(load.egressBitsPerSecond, load.egressCapacityBitsPerSecond),
            of(load.egressBitsPerSecond, load.egressCapacityBitsPerSecond, formatBitRate));
        this.#bars.Memory.show(share(load.memoryBytes, load.memoryLimitBytes),
            of(load.memoryBytes, load.memoryLimitBytes, formatBytes));
        this.#bars.Disk.show(facts?.diskUsed, formatPercent(facts?.diskUsed));
    }
}

/** Asks, and tells the node to become empty, or takes that back. */
async function toggleDrain(entry, button, refresh) {
    const { id } = entry.node;
    if (!entry.isDrained) {
        const viewers = plural(totalOf(entry.facts?.viewers), "viewer");
        const text = `${id} gets no new streams, its publishers are moved and its ${viewers} sent elsewhere. `
            + "The drain holds over restarts until you take it back.";
        if (!await confirm(`Drain ${id}?`, text, "Drain")) return;
    }
    await act(button, () => api.post(path(entry.isDrained ? "nodes/{}/undrain" : "nodes/{}/drain", id)),
        entry.isDrained ? `${id} takes streams again.` : `${id} is being drained.`);
    refresh();
}

/** The drain button of a node. Nodes that are gone cannot be drained, but a drain can be taken back. */
class DrainButton {
    #entry;

    constructor(refresh) {
        this.node = smallButton("Drain", () => toggleDrain(this.#entry, this.node, refresh));
    }

    show(entry) {
        this.#entry = entry;
        setText(this.node, entry.isDrained ? "Undrain" : "Drain");
        setAttribute(this.node, "aria-label", `${entry.isDrained ? "Undrain" : "Drain"} ${entry.node.id}`);
    }
}

function alarmBadges(list, { facts }) {
    reconcile(list, facts?.alarms ?? [], (alarm) => alarm, (alarm) => badge("warn", words(alarm)), () => {});
}

/** One node in the list. */
class NodeCard {
    #bars = new Bars();
    #chart = new Chart({ title: "Egress", format: formatBitRate, spanMillis: 600_000, isSmall: true });
    #button;
    #state = h("span");
    #about = h("small");
    #alarms = h("div", { class: "badges" });
    #numbers = h("dl", { class: "numbers" });

    constructor({ node }, scope, refresh) {
        this.#button = scope.isOperator ? new DrainButton(refresh) : undefined;
        const heading = h("h2", {}, h("a", { href: nodeAddress(node.id) }, node.id));
        this.node = h("li", { class: "card nodeCard" },
            h("header", {}, heading, this.#state, h("div", { class: "end" }, this.#button?.node)),
            h("div", { class: "inside" }, this.#about, this.#numbers, this.#bars.node,
                h("div", {}, h("small", {}, "Egress, last 10 minutes"), this.#chart.node), this.#alarms));
        this.node.weirCard = this;
    }

    show(entry) {
        const { node, facts, load } = entry;
        showBadge(this.#state, nodeTone(entry.state));
        const silence = entry.silentMillis > 3000 ? ` · silent for ${formatSpan(entry.silentMillis / 1000)}` : "";
        setText(this.#about, [words(node.role), node.region, node.version && `version ${node.version}`]
            .filter(Boolean).join(" · ") + silence);
        showFacts(this.#numbers, {
            Viewers: formatCount(load.viewers), Streams: formatCount(load.streams),
            Sessions: formatCount(facts?.sessions), "Loop lag": `${formatCount(load.loopLagMillis)} ms`,
        });
        this.#chart.show(measure(entry).egress.samples);
        this.#bars.show(entry);
        alarmBadges(this.#alarms, entry);
        this.#button?.show(entry);
    }
}

const pageSize = 60;

export function nodesPage(scope, main) {
    const trouble = new Trouble();
    const list = h("ul", { class: "nodeCards" });
    const empty = h("p", { class: "empty", hidden: true }, "No node fits.");
    const search = filterInput(scope, "q");
    const pager = new Pager({ size: pageSize, noun: "node", onMove: () => refresh() });
    search.addEventListener("input", debounced(250, () => {
        scope.setQuery({ q: search.value.trim() });
        pager.restart();
        refresh();
    }));
    main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Nodes")), trouble.node,
        h("form", { class: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
            h("div", { class: "grow" }, field("Find by name", search))), list, empty, pager.node);
    pager.node.classList.add("bare");
    const refresh = scope.every(2000, async () => {
        const query = { q: search.value.trim(), after: pager.cursor, limit: pageSize };
        const found = await api.get("nodes", { query, signal: scope.signal });
        empty.hidden = found.nodes.length > 0;
        reconcile(list, found.nodes, ({ node }) => node.id,
            (entry) => new NodeCard(entry, scope, () => refresh()).node, (item, entry) => item.weirCard.show(entry));
        pager.show(found.nodes.length, found.next);
    }, (error) => trouble.show(error));
    scope.on("changes", debounced(300, refresh));
    return "Nodes";
}

export function nodePage(scope, main, id) {
    const trouble = new Trouble();
    const state = h("span");
    const facts = h("dl", { class: "facts two" });
    const alarms = h("div", { class: "badges" });
    const bars = new Bars();
    const button = scope.isOperator ? new DrainButton(() => refresh()) : undefined;
    const charts = {
        viewers: new Chart({ title: "Viewers", format: formatCount, spanMillis: 600_000 }),
        egress: new Chart({ title: "Egress", format: formatBitRate, spanMillis: 600_000 }),
        cpu: new Chart({ title: "CPU of the busiest loop", format: formatPercent, spanMillis: 600_000, floor: 0.1 }),
    };
    const streams = streamTable(scope, "It has no streams.");
    const query = `node=${encodeURIComponent(id)}`;
    const more = h("p", { class: "pager", hidden: true }, h("a", { href: `#/streams?${query}` }, "All its streams"));
    main.append(
        h("div", { class: "head" }, h("h1", { tabindex: -1 }, id), state, alarms, h("div", { class: "actions" },
            h("a", { class: "button small", href: `#/clients?${query}` }, "Its clients"), button?.node)),
        trouble.node,
        h("div", { class: "stack" },
            h("div", { class: "columns narrow" }, card("Load", h("div", { class: "inside" }, bars.node)),
                card("About", h("div", { class: "inside" }, facts))),
            h("div", { class: "three" }, Object.values(charts).map(({ node }) => (
                h("section", { class: "card" }, h("div", { class: "inside" }, node))))),
            h("section", { class: "card" }, h("header", {}, h("h2", {}, "Streams")), streams.node, more)));
    const refresh = scope.every(2000, async () => {
        const entry = await api.get(path("nodes/{}", id), { signal: scope.signal });
        showBadge(state, nodeTone(entry.state));
        alarmBadges(alarms, entry);
        bars.show(entry);
        button?.show(entry);
        showFacts(facts, describe(entry));
        const known = measure(entry);
        for (const [name, chart] of Object.entries(charts)) chart.show(known[name].samples);
    }, (error) => trouble.show(error));
    const known = {};
    scope.every(4000, async () => {
        const list = await api.getChanged("streams", known, { query: { node: id, limit: 20 }, signal: scope.signal });
        if (!list) return;
        streams.show(list.streams);
        more.hidden = list.next === undefined;
    }, (error) => { if (error) streams.fail(error.message); });
    return id;
}

function describe({ node, load, facts, ...entry }) {
    const started = facts?.startedMillis;
    return {
        Role: words(node.role), Region: node.region, Version: node.version, Host: node.host,
        Ports: Object.entries({
            RTMP: node.rtmpPort, HTTP: node.httpPort, API: node.apiPort, SRT: node.srtPort, RTSP: node.rtspPort,
            RTSPS: node.rtspsPort,
        }).filter(([, port]) => port).map((pair) => pair.join(" ")).join(", "),
        Started: started && `${formatDate(started)} (${formatSpan((Date.now() - started) / 1000)} ago)`,
        "Last heard": entry.silentMillis < 3000 ? "now" : `${formatSpan(entry.silentMillis / 1000)} ago`,
        Viewers: viewersText(facts?.viewers) || formatCount(load.viewers),
        Publishers: facts && formatCount(facts.publishers), Sessions: facts && formatCount(facts.sessions),
        Streams: `${formatCount(entry.heldStreams)} held, ${formatCount(entry.pulledStreams)} pulled`,
        Traffic: facts
            && `${formatBitRate(facts.receivedBitsPerSecond)} in, ${formatBitRate(facts.sentBitsPerSecond)} out`,
        "Loop lag": `${formatCount(load.loopLagMillis)} ms`,
        Requests: entry.isReachable ? "It answers the coordinator's requests." : "It does not wait for requests.",
    };
}
