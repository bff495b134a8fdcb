// The list of streams, page by page.

import { api } from "./console-api.js";
import { choice, field, h, setAttribute, setText } from "./console-dom.js";
import {
    briefTrack, formatBitRate, formatCount, formatSpan, streamName,
} from "./console-format.js";
import { debounced, overview } from "./console-page.js";
import {
    filterInput, nodeColumn, Pager, showBadge, streamAddress, streamKeyText, streamMeaning, streamTone, Table,
    textColumn, Thumbnails, totalOf, Trouble, viewersText,
} from "./console-widgets.js";

const pageSize = 50;

function nameColumn(thumbnails) {
    return {
        label: "Stream", name: "nameColumn", isWide: true,
        make: (cell, stream) => {
            const thumb = thumbnails.make(stream.key);
            cell.weirThumb = thumb;
            const link = h("a", { href: streamAddress(stream.key) }, streamName(stream.key));
            cell.append(h("div", { class: "withThumb" }, thumb, h("div", {}, link, h("small"))));
        },
        update: (cell, stream) => {
            thumbnails.setLive(cell.weirThumb, stream.health === "ok");
            setText(cell.querySelector("small"), stream.tracks.map(briefTrack).join(" · "));
        },
    };
}

function updateState(cell, stream) {
    showBadge(cell, streamTone(stream));
    setAttribute(cell.firstElementChild, "title", streamMeaning(stream));
    const isShown = cell.children.length > 1;
    if (stream.isRecording && !isShown) cell.append(h("span", { class: "badge rec" }, "Rec"));
    if (!stream.isRecording && isShown) cell.lastElementChild.remove();
}

/** The table of streams, as the page of a node shows it, too. */
export function streamTable(scope, empty) {
    const thumbnails = new Thumbnails(scope);
    return new Table({
        label: "Streams", keyOf: ({ key }) => streamKeyText(key), empty, columns: [
            nameColumn(thumbnails),
            { label: "State", name: "stateColumn badgesCell", update: updateState },
            nodeColumn("Origin"),
            textColumn("By protocol", "protocolColumn", ({ viewers }) => viewersText(viewers) || "–"),
            textColumn("Viewers", "countColumn", ({ viewers }) => formatCount(totalOf(viewers)), { isNumber: true }),
            textColumn("Bit rate", "rateColumn", ({ ingestBitsPerSecond }) => formatBitRate(ingestBitsPerSecond),
                { isNumber: true }),
            textColumn("Since", "spanColumn", ({ uptimeSeconds }) => formatSpan(uptimeSeconds), { isNumber: true }),
        ],
    });
}

const states = [
    ["", "All states"], ["live", "Live"], ["claiming", "Starting"], ["grace", "Waiting"], ["ended", "Ended"],
];

export function streamsPage(scope, main) {
    const trouble = new Trouble();
    const table = streamTable(scope, "No stream fits.");
    const pager = new Pager({ size: pageSize, noun: "stream", onMove: () => {
        refresh();
        scrollTo(0, 0);
    } });
    const search = filterInput(scope, "q");
    const state = choice(states, scope.query.get("state") ?? "");
    const node = scope.query.get("node");
    const known = {};
    const change = () => {
        scope.setQuery({ q: search.value.trim(), state: state.value });
        pager.restart();
        refresh();
    };
    search.addEventListener("input", debounced(250, change));
    state.addEventListener("change", change);
    main.append(
        h("div", { class: "head" }, h("h1", { tabindex: -1 }, node ? `Streams of ${node}` : "Streams")), trouble.node,
        h("form", { class: "toolbar", role: "search", onsubmit: (event) => event.preventDefault() },
            h("div", { class: "grow" }, field("Find by name", search)), field("State", state)),
        h("section", { class: "card", "aria-label": "Streams" }, table.node, pager.node));

    const refresh = scope.every(4000, async () => {
        const query = {
            q: search.value.trim(), state: state.value, node, after: pager.cursor, limit: pageSize,
            ended: state.value === "ended" ? "1" : undefined,
        };
        const list = await api.getChanged("streams", known, { query, signal: scope.signal });
        if (!list) return;
        table.show(list.streams);
        const isFiltered = Boolean(query.q || query.state || node);
        const total = isFiltered ? undefined : overview.newest?.streams;
        pager.show(list.streams.length, list.next, { total, isFiltered });
    }, (error) => {
        trouble.show(error);
        if (error) table.fail(error.message);
    });
    const refreshSoon = debounced(400, refresh);
    scope.on("changes", refreshSoon);
    scope.on("reset", refreshSoon);
    return "Streams";
}
