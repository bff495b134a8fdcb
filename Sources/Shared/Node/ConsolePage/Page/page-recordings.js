// What was recorded.

import { api, path } from "./console-api.js";
import { act, confirm } from "./console-dialog.js";
import { choice, field, h, safeAddress, setAttribute, setText } from "./console-dom.js";
import {
    codecName, formatBytes, formatClock, formatDate, formatMoment, streamName, words,
} from "./console-format.js";
import { debounced } from "./console-page.js";
import { PlayerBox } from "./console-player.js";
import {
    button as smallButton, card, filterInput, nodeColumn, nodeLink, Pager, setLink, showBadge, showFacts, streamAddress,
    streamLink, Table, textColumn, Trouble,
} from "./console-widgets.js";

const pageSize = 50;

const tones = { recording: "rec", finishing: "warn", finished: "good", failed: "bad", deleted: "plain" };

const toneOf = ({ state }) => [tones[state] ?? "plain", words(state)];

const recordingAddress = ({ id }) => `#/recordings/${encodeURIComponent(id)}`;

const trackText = ({ tracks, format }) => [String(format).toUpperCase(), ...tracks.map(({ codec, width, height }) => (
    width && height ? `${codecName(codec)} ${width}×${height}` : codecName(codec)))].join(" · ");

const lengthText = ({ startMillis, endMillis }) => formatClock((endMillis - startMillis) / 1000);

/** The table of recordings; `omit` names columns that say the same in each row. */
export function recordingTable(scope, { omit = [], empty }) {
    const isShort = omit.length > 0;
    const columns = [
        { label: "Begin", name: "momentColumn", isWide: true, update: (cell, entry) => (
            setLink(cell, recordingAddress(entry), formatMoment(entry.startMillis))) },
        { label: "Stream", name: "streamColumn", update: (cell, { key }) => (
            setLink(cell, streamAddress(key), streamName(key))) },
        { label: "State", name: "stateColumn", update: (cell, entry) => showBadge(cell, toneOf(entry)) },
        textColumn("Length", "spanColumn", lengthText, { isNumber: true }),
        textColumn("Size", "rateColumn", ({ bytes }) => formatBytes(bytes), { isNumber: true }),
    ];
    if (!isShort) {
        columns.push(textColumn("Format", "formatColumn", trackText),
            nodeColumn());
    }
    const shown = columns.filter(({ label }) => !omit.includes(label));
    return new Table({ label: "Recordings", empty, keyOf: ({ id }) => id, columns: shown });
}

const states = [
    ["", "All states"], ["recording", "Recording"], ["finished", "Finished"], ["failed", "Failed"],
    ["deleted", "Deleted"],
];

export function recordingsPage(scope, main) {
    const trouble = new Trouble();
    const table = recordingTable(scope, { empty: "No recording fits." });
    const pager = new Pager({ size: pageSize, noun: "recording", onMove: () => {
        refresh();
        scrollTo(0, 0);
    } });
    const [app, stream] = ["app", "stream"].map((name) => filterInput(scope, name, "search", 255));
    const [from, to] = ["from", "to"].map((name) => filterInput(scope, name, "date"));
    const state = choice(states, scope.query.get("state") ?? "");
    const change = () => {
        scope.setQuery({
            app: app.value.trim(), stream: stream.value.trim(), from: from.value, to: to.value, state: state.value,
        });
        pager.restart();
        refresh();
    };
    for (const control of [app, stream]) control.addEventListener("input", debounced(300, change));
    for (const control of [from, to, state]) control.addEventListener("change", change);
    main.append(h("div", { class: "head" }, h("h1", { tabindex: -1 }, "Recordings")), trouble.node,
        h("form", { class: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
            h("div", { class: "grow" }, field("App", app)), h("div", { class: "grow" }, field("Stream", stream)),
            field("From", from), field("To", to), field("State", state)),
        h("section", { class: "card", "aria-label": "Recordings" }, table.node, pager.node));
    const millis = (text, days) => (text ? new Date(`${text}T00:00:00`).getTime() + days * 86_400_000 : undefined);
    const refresh = scope.every(10_000, async () => {
        const query = {
            app: app.value.trim(), stream: stream.value.trim(), from: millis(from.value, 0), to: millis(to.value, 1),
            state: state.value, order: "newest", cursor: pager.cursor, limit: pageSize,
        };
        const found = await api.get("recordings", { query, signal: scope.signal });
        table.show(found.recordings);
        pager.show(found.recordings.length, found.next);
    }, (error) => {
        trouble.show(error);
        if (error) table.fail(error.message);
    });
    return "Recordings";
}

async function remove(id, button) {
    const text = "The file is deleted on the node that has it. This cannot be taken back.";
    if (!await confirm("Delete this recording?", text, "Delete")) return;
    const isDone = await act(button, () => api.delete(path("recordings/{}", id)), "The recording is deleted.");
    if (isDone) location.hash = "#/recordings";
}

export function recordingPage(scope, main, id) {
    const trouble = new Trouble();
    const title = h("h1", { tabindex: -1 }, "Recording");
    const state = h("span");
    const facts = h("dl", { class: "facts" });
    const download = h("a", { class: "button small", hidden: true, rel: "noopener", download: true }, "Download");
    const button = smallButton("Delete", () => remove(id, button), "risky");
    const urls = async () => (await api.get(path("recordings/{}/urls", id), { signal: scope.signal })).urls ?? [];
    const player = new PlayerBox(scope, { label: "Recorded picture", load: urls });
    main.append(
        h("div", { class: "head" }, title, state, h("div", { class: "actions" }, download, scope.isOperator && button)),
        trouble.node,
        h("div", { class: "columns wide" },
            h("section", { class: "card playerCard", "aria-label": "Player" }, player.node),
            card("About", h("div", { class: "inside" }, facts))));
    scope.every(5000, async () => {
        const entry = await api.get(path("recordings/{}", id), { signal: scope.signal });
        setText(title, `${streamName(entry.key)}, ${formatDate(entry.startMillis)}`);
        showBadge(state, toneOf(entry));
        button.disabled = ["recording", "finishing", "deleted"].includes(entry.state);
        showFacts(facts, {
            Stream: streamLink(entry.key), Node: nodeLink(entry.node), Begin: formatDate(entry.startMillis),
            End: entry.state === "recording" ? "still recording" : formatDate(entry.endMillis),
            Length: lengthText(entry), Size: formatBytes(entry.bytes),
            Format: trackText(entry), File: entry.path, Id: entry.id,
        });
    }, (error) => trouble.show(error));
    urls().then((found) => {
        const file = found.find(({ protocol }) => protocol === "mp4");
        if (!file) return;
        setAttribute(download, "href", safeAddress(file.url));
        download.hidden = !download.href;
    }).catch(() => {});
    return "Recording";
}
