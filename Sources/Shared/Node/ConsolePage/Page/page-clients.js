// Sessions of clients across the cluster.

import { api, path } from "./console-api.js";
import { act, confirm } from "./console-dialog.js";
import { choice, field, h, setAttribute, setText } from "./console-dom.js";
import {
    formatBitRate, formatBytes, formatPath, formatSpan, plural, streamName, transportName,
} from "./console-format.js";
import { debounced } from "./console-page.js";
import {
    actionColumn, filterInput, nodeColumn, Pager, setLink, streamAddress, streamQuery, Table, textColumn, Trouble,
} from "./console-widgets.js";

const pageSize = 50;
/** Sessions that are looked through for a text at one time. */
const searchedSize = 500;

const kindNames = { publish: "Publishes", play: "Plays" };

/** Who it is: address, what it says of itself, and how the network treats it. */
function updateClient(cell, session) {
    const { ip, id, userAgent, isRelay } = session;
    cell.firstElementChild ?? cell.append(
        h("span", { class: "code" }), h("small", { class: "oneLine" }), h("small", { class: "network" }));
    setText(cell.children[0], ip || id);
    const text = [isRelay && "Relay of the cluster", userAgent].filter(Boolean).join(" · ");
    setText(cell.children[1], text || (session.path ? "" : "Says nothing of itself"));
    setAttribute(cell.children[1], "title", text);
    setText(cell.children[2], formatPath(session));
    setAttribute(cell.children[2], "title", latencyText(session));
}

/** The delays in which losses are repaired. */
function latencyText({ kind, path }) {
    const millis = kind === "publish" ? path?.receiveLatencyMillis : path?.sendLatencyMillis;
    return millis === undefined ? undefined : `Latency ${millis} ms`;
}

async function kick(session, pressed, refresh) {
    const what = session.kind === "publish" ? "publisher" : "client";
    const about = session.key ? ` of ${streamName(session.key)}` : "";
    const text = `The ${what}${about} at ${session.ip ?? "an unknown address"} is disconnected from ${session.node}. `
        + "It may come back: policies and tokens keep it out.";
    if (!await confirm("Kick this client?", text, "Kick")) return;
    const place = path("sessions/{}/{}", session.node, session.id);
    await act(pressed, () => api.delete(place), "The client was disconnected.");
    refresh();
}

/** The table of sessions; `omit` names columns that say the same in each row. */
export function sessionTable(scope, { omit = [], refresh, empty }) {
    const columns = [
        { label: "Client", name: "clientColumn", isWide: true, update: updateClient },
        { label: "Stream", name: "streamColumn", update: (cell, { key }) => {
            if (key) setLink(cell, streamAddress(key), streamName(key));
            else setText(cell, "–");
        } },
        textColumn("Does", "protocolName", ({ kind, transport }) => (
            [kindNames[kind], transport && transportName(transport)].filter(Boolean).join(" ") || "–")),
        nodeColumn(),
        textColumn("Bit rate", "rateColumn", ({ kind, sentBitsPerSecond, receivedBitsPerSecond }) => (
            formatBitRate(kind === "publish" ? receivedBitsPerSecond : sentBitsPerSecond)), { isNumber: true }),
        textColumn("Bytes", "bytesColumn", ({ kind, sentBytes, receivedBytes }) => (
            formatBytes(kind === "publish" ? receivedBytes : sentBytes)), { isNumber: true }),
        textColumn("Since", "spanColumn", ({ seconds }) => formatSpan(seconds), { isNumber: true }),
    ];
    if (scope.isOperator) {
        columns.push(actionColumn("Kick", (session, pressed) => kick(session, pressed, refresh), ({ ip, id }) => (
            [ip, id].filter(Boolean).join(", "))));
    }
    return new Table({
        label: "Clients", empty, keyOf: ({ node, id }) => `${node}/${id}`,
        columns: columns.filter(({ label }) => !omit.includes(label)),
    });
}

/** Says which nodes did not answer: their sessions are not in the list. */
export function missingText(missing = []) {
    if (!missing.length) return "";
    const names = missing.slice(0, 5).join(", ") + (missing.length > 5 ? " …" : "");
    return `${plural(missing.length, "node")} did not answer (${names}): what is there is not in the list.`;
}

/** What one field finds: a whole address, or a part of an address, id, user agent or stream. */
function searchQuery(text) {
    if (!text) return {};
    const isAddress = /^\d+(\.\d+){3}$|^[0-9a-f]*:[0-9a-f:.]*$/i.test(text);
    return isAddress ? { ip: text } : { q: text, limit: searchedSize };
}

/** Nodes may answer with all that they have: what is asked for is sought once more here. */
function fits({ id, ip = "", userAgent = "", key }, text) {
    const all = [id, ip, userAgent, key ? streamName(key) : ""].join("\n").toLowerCase();
    return all.includes(text.toLowerCase());
}

const kindOptions = [["", "All"], ["play", "Viewers"], ["publish", "Publishers"]];
const transports = [
    "rtmp", "rtmps", "http-flv", "ws-flv", "http-ts", "hls", "dash", "webrtc", "srt", "rtsp", "rtsps", "ts", "gb28181",
];

export function clientsPage(scope, main) {
    const trouble = new Trouble();
    const missing = h("p", { class: "notice", role: "status", hidden: true });
    const key = scope.query.get("stream") ? {
        vhost: scope.query.get("vhost") ?? undefined, app: scope.query.get("app"), name: scope.query.get("stream"),
    } : undefined;
    const search = filterInput(scope, "q");
    const kind = choice(kindOptions, scope.query.get("kind") ?? "");
    const transport = choice([["", "All"], ...transports.map((name) => [name, transportName(name)])],
        scope.query.get("transport") ?? "");
    const node = filterInput(scope, "node");
    const table = sessionTable(scope, { refresh: () => refresh(), empty: "No client fits." });
    const pager = new Pager({ size: pageSize, noun: "client", onMove: () => {
        refresh();
        scrollTo(0, 0);
    } });
    const change = () => {
        scope.setQuery({
            q: search.value.trim(), kind: kind.value, transport: transport.value, node: node.value.trim(),
        });
        pager.restart();
        refresh();
    };
    for (const control of [search, node]) control.addEventListener("input", debounced(300, change));
    for (const control of [kind, transport]) control.addEventListener("change", change);
    main.append(
        h("div", { class: "head" }, h("h1", { tabindex: -1 }, key ? `Clients of ${streamName(key)}` : "Clients")),
        trouble.node, missing,
        h("form", { class: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
            h("div", { class: "grow" }, field("Find by address, user agent or stream", search)), field("Does", kind),
            field("Protocol", transport), field("Node", node)),
        h("section", { class: "card", "aria-label": "Clients" }, table.node, pager.node));
    const refresh = scope.every(5000, async () => {
        const text = search.value.trim();
        const query = {
            limit: pageSize, ...searchQuery(text), ...(key ? streamQuery(key) : {}), kind: kind.value,
            transport: transport.value, node: node.value.trim(), after: pager.cursor,
        };
        const list = await api.get("sessions", { query, signal: scope.signal, timeout: 20_000 });
        const found = query.q ? list.sessions.filter((session) => fits(session, text)) : list.sessions;
        table.show(found);
        pager.show(found.length, list.next, { isFiltered: Boolean(query.q) });
        setText(missing, missingText(list.missing));
        missing.hidden = !list.missing?.length;
    }, (error) => {
        trouble.show(error);
        if (error) table.fail(error.message);
    });
    return "Clients";
}

/** The session that publishes a stream. */
export async function publisherOf(key, signal) {
    const query = { ...streamQuery(key), kind: "publish", limit: 1 };
    return (await api.get("sessions", { query, signal, timeout: 20_000 })).sessions[0];
}

/** What a page of a stream shows: its first viewers. */
export const sessionsOf = (key, limit, signal) => (
    api.get("sessions", { query: { ...streamQuery(key), kind: "play", limit }, signal, timeout: 20_000 }));

export const moreClientsAddress = ({ vhost, app, name }) => (
    `#/clients?${new URLSearchParams({ vhost, app, stream: name })}`);
