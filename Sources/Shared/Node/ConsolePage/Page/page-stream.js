// One stream: picture, what it is made of, the way it takes, and who watches.

import { AddressBook } from "./console-addresses.js";
import { api } from "./console-api.js";
import { Chart, History } from "./console-charts.js";
import { act, confirm } from "./console-dialog.js";
import { badge, h, reconcile, setAttribute, setText } from "./console-dom.js";
import {
    describeTrack, formatBitRate, formatCount, formatPath, formatSpan, plural, streamName, transportName, words,
} from "./console-format.js";
import { debounced } from "./console-page.js";
import { PlayerBox } from "./console-player.js";
import { EventFeed, isAbout } from "./page-events.js";
import { missingText, moreClientsAddress, publisherOf, sessionsOf, sessionTable } from "./page-clients.js";
import { samplesOf } from "./page-overview.js";
import { recordingTable } from "./page-recordings.js";
import {
    button, card, nodeAddress, nodeTone, setLink, showBadge, showFacts, streamMeaning, streamQuery, streamTone, totalOf,
    Trouble, viewersText,
} from "./console-widgets.js";

const viewerLimit = 20;

// ---------------------------------------------------------------------------------------------------------------------
// The way from the publisher to the viewers

/** Publisher → origin → edges, as columns of boxes with arrows between them. */
class RouteDrawing {
    #columns = { publisher: h("ol", {}), holder: h("ol", {}), relay: h("ol", {}) };
    #empty = h("p", { class: "empty", hidden: true }, "Nobody has it at the moment.");

    constructor() {
        this.node = h("div", { class: "route" }, Object.entries(this.#columns).map(([name, list]) => {
            list.setAttribute("aria-label", { publisher: "Publisher", holder: "Origin", relay: "Pulled by" }[name]);
            return h("div", { class: `leg ${name}` }, h("h3", {}, list.getAttribute("aria-label")), list);
        }));
        this.content = [this.node, this.#empty];
    }

    show({ nodes }) {
        const holder = nodes.find(({ kind }) => kind === "holder");
        const forwarder = nodes.find(({ kind }) => kind === "publisher");
        const publisher = forwarder?.publisher ?? holder?.publisher;
        const legs = {
            publisher: [
                ...(publisher ? [{ id: "publisher", title: publisher.address, lines: [
                    transportName(publisher.transport), publisher.userAgent, `for ${formatSpan(publisher.seconds)}`,
                ] }] : []),
                ...(forwarder && forwarder.node !== holder?.node ? [this.#box(forwarder, "takes it in")] : []),
            ],
            holder: holder ? [this.#box(holder)] : [],
            relay: nodes.filter(({ kind }) => kind === "relay").map((node) => this.#box(node)),
        };
        for (const [name, list] of Object.entries(this.#columns)) {
            reconcile(list, legs[name], ({ id }) => id, ({ isNode }) => this.#make(isNode),
                (item, leg) => this.#fill(item, leg));
            list.parentElement.hidden = legs[name].length === 0;
        }
        this.#empty.hidden = nodes.length > 0;
        this.node.hidden = nodes.length === 0;
    }

    #box(node, note) {
        const isWatched = totalOf(node.viewers) > 0;
        return {
            id: node.node, isNode: true, title: node.node, state: node.state, lines: [
                [node.role && words(node.role), node.region, note].filter(Boolean).join(" · "),
                `${formatBitRate(node.receivedBitsPerSecond)} in · ${formatBitRate(node.sentBitsPerSecond)} out`,
                isWatched ? `${plural(totalOf(node.viewers), "viewer")}: ${viewersText(node.viewers)}` : "No viewers",
            ],
        };
    }

    #make(isNode) {
        const title = isNode ? h("strong", {}, h("a")) : h("strong");
        const heading = h("div", { class: "top" }, title, h("span", { class: "state" }));
        return h("li", {}, heading, h("div", { class: "lines" }));
    }

    #fill(item, { title, state, lines, isNode }) {
        const strong = item.querySelector("strong");
        if (isNode) setLink(strong, nodeAddress(title), title);
        else setText(strong, title);
        if (state && state !== "alive") showBadge(item.querySelector(".state"), nodeTone(state));
        else item.querySelector(".state").replaceChildren();
        const texts = lines.filter(Boolean).map((text, index) => ({ text, index }));
        reconcile(item.querySelector(".lines"), texts, ({ index }) => index, () => h("small"),
            (line, { text }) => setText(line, text));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Buttons

class Actions {
    #scope;
    #key;
    #refresh;
    #record = button("Record", () => this.#toggleRecording());
    #picture = button("Snapshot", () => this.#takePicture());
    #end = button("End publisher", () => this.#endPublisher(), "risky");
    #stream;

    constructor(scope, key, refresh) {
        this.#scope = scope;
        this.#key = key;
        this.#refresh = refresh;
        this.node = h("div", { class: "actions" }, scope.isOperator && [this.#picture, this.#record, this.#end]);
        this.show(undefined);
    }

    show(stream) {
        this.#stream = stream;
        setText(this.#record, stream?.isRecording ? "Stop recording" : "Record");
        const isOver = !stream || stream.state === "ended";
        if (!this.#record.dataset.busy) this.#record.disabled = isOver;
        if (!this.#picture.dataset.busy) this.#picture.disabled = isOver;
        this.#end.hidden = !stream?.publisher;
    }

    async #run(pressed, work, done) {
        pressed.dataset.busy = "1";
        await act(pressed, work, done);
        delete pressed.dataset.busy;
        this.#refresh();
    }

    async #toggleRecording() {
        const isStop = this.#stream?.isRecording;
        const text = `The recording of ${streamName(this.#key)} ends here.`;
        if (isStop && !await confirm("Stop recording?", text, "Stop recording")) return;
        await this.#run(this.#record, () => api.post(isStop ? "records/stop" : "records/start", undefined, {
            query: streamQuery(this.#key),
        }), isStop ? "The recording is finished." : "The recording has started.");
    }

    async #takePicture() {
        await this.#run(this.#picture, async () => {
            const { blob } = await api.blob("snapshot", { query: streamQuery(this.#key), timeout: 20_000 });
            const url = URL.createObjectURL(blob);
            const time = new Date().toISOString().slice(0, 19).replace(/:/g, "-");
            const name = `${this.#key.app}-${this.#key.name}`.replace(/[^A-Za-z0-9._-]+/g, "_");
            h("a", { href: url, download: `${name}-${time}.jpg` }).click();
            setTimeout(() => URL.revokeObjectURL(url), 10_000);
        });
    }

    async #endPublisher() {
        const { publisher } = this.#stream ?? {};
        if (!publisher) return;
        const text = `The publisher at ${publisher.address} is disconnected and ${streamName(this.#key)} goes off air. `
            + "It may come back: policies and tokens keep it out.";
        if (!await confirm("End the publisher's session?", text, "End it")) return;
        await this.#run(this.#end, () => api.delete("stream/publisher", { query: streamQuery(this.#key) }),
            "The publisher was disconnected.");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The page

function trackFacts({ profile, level }) {
    return [profile, level && `level ${level}`].filter(Boolean).join(" · ");
}

function showTracks(list, tracks) {
    reconcile(list, tracks.map((track, index) => ({ track, index })), ({ index }) => index, () => (
        h("li", {}, badge("plain", ""), h("strong"), h("small"))), (item, { track }) => {
        setText(item.children[0], words(track.kind));
        setText(item.children[1], describeTrack(track));
        setText(item.children[2], trackFacts(track));
    });
}

/** Transports that know how the network treats their publishers. */
const knowsPath = ({ transport } = {}) => transport === "srt";

/** `session` is the publisher's, as far as it is known. */
function factsOf(stream, session) {
    const { publisher } = stream;
    const viewers = totalOf(stream.viewers);
    return {
        Health: streamMeaning(stream),
        "On air for": stream.uptimeSeconds === undefined ? undefined : formatSpan(stream.uptimeSeconds),
        Viewers: viewers ? `${formatCount(viewers)} (${viewersText(stream.viewers)})` : "None",
        Ingest: formatBitRate(stream.ingestBitsPerSecond),
        Egress: formatBitRate(stream.egressBitsPerSecond),
        "Frame rate": stream.framesPerSecond ? `${stream.framesPerSecond.toFixed(1)} fps` : undefined,
        GOP: stream.gopMillis ? `${(stream.gopMillis / 1000).toFixed(2)} s` : undefined,
        Silence: stream.silentMillis > 1000 ? formatSpan(stream.silentMillis / 1000) : undefined,
        Publisher: publisher && `${publisher.address} by ${transportName(publisher.transport)}`,
        Network: knowsPath(publisher) && session ? formatPath(session) : undefined,
        "User agent": publisher?.userAgent,
        Origin: stream.node,
        Epoch: stream.isProvisional ? `${stream.epoch} (provisional)` : String(stream.epoch),
    };
}

/** Counters of the nodes that tell of trouble; nothing when there was none. */
function troubleFacts(nodes) {
    const holder = nodes[0]?.facts;
    if (!holder) return {};
    const skips = nodes.reduce((sum, { facts }) => sum + facts.skips, 0);
    return {
        "Dropped frames": holder.droppedFrames ? formatCount(holder.droppedFrames) : undefined,
        "Jumps in time": holder.timelineJumps ? formatCount(holder.timelineJumps) : undefined,
        "Skips of slow viewers": skips ? formatCount(skips) : undefined,
    };
}

const formatGOP = (millis) => `${(millis / 1000).toFixed(2)} s`;

export function streamPage(scope, main, vhost, app, name) {
    const key = { vhost, app, name };
    const query = streamQuery(key);
    const trouble = new Trouble();
    const state = h("span");
    const recording = h("span", { class: "badge rec", hidden: true }, "Recording");
    const facts = h("dl", { class: "facts" });
    const tracks = h("ul", { class: "tracks" });
    const charts = {
        viewers: new Chart({ title: "Viewers", format: formatCount, spanMillis: 3_600_000 }),
        ingestBitsPerSecond: new Chart({ title: "Ingest", format: formatBitRate, spanMillis: 3_600_000 }),
    };
    const gopChart = new Chart({ title: "GOP length", format: formatGOP, spanMillis: 300_000 });
    const gops = new History();
    const route = new RouteDrawing();
    const player = new PlayerBox(scope, {
        label: `Picture of ${streamName(key)}`, load: async () => {
            const found = await api.get("routes/play", { query: { ...query, format: "all" }, signal: scope.signal });
            return found.urls ?? [];
        },
    });
    const missing = h("p", { class: "notice", role: "status", hidden: true });
    const viewers = sessionTable(scope, {
        omit: ["Stream"], refresh: () => refreshViewers(), empty: "Nobody watches.",
    });
    const more = h("a", { href: moreClientsAddress(key), class: "end" }, "All clients");
    const recordings = recordingTable(scope, { omit: ["Stream"], empty: "There is no recording." });
    const actions = new Actions(scope, key, () => refresh());
    const addresses = new AddressBook();
    let publisher;
    let publisherSession;

    const inside = (...content) => h("div", { class: "inside" }, content);
    main.append(
        h("div", { class: "head" }, h("h1", { tabindex: -1 }, streamName(key)), state, recording, actions.node),
        trouble.node,
        h("div", { class: "stack" },
            h("div", { class: "columns wide" },
                h("div", { class: "stack" },
                    h("section", { class: "card playerCard", "aria-label": "Player" }, player.node),
                    h("div", { class: "three" }, [...Object.values(charts), gopChart].map(({ node }) => (
                        h("section", { class: "card" }, inside(node)))))),
                h("div", { class: "stack" }, card("About", inside(facts)), card("Tracks", inside(tracks)))),
            card("Route", inside(route.content)),
            h("section", { class: "card" }, h("header", {}, h("h2", {}, "Addresses"),
                h("div", { class: "end" }, addresses.choice)), inside(addresses.node)),
            h("section", { class: "card" }, h("header", {}, h("h2", {}, "Viewers"), more), missing, viewers.node),
            h("div", { class: "columns" }, card("Recordings", recordings.node),
                card("Events", new EventFeed(scope, { limit: 10, filter: query, fits: isAbout(key) }).node))));

    const refresh = scope.every(2000, async () => {
        const found = await api.get("stream", { query, signal: scope.signal });
        const { stream, nodes } = found;
        showBadge(state, streamTone(stream));
        setAttribute(state, "title", streamMeaning(stream));
        recording.hidden = !stream.isRecording;
        actions.show(stream);
        publisher = stream.publisher;
        if (knowsPath(publisher) && !publisherSession) refreshPublisher();
        showFacts(facts, { ...factsOf(stream, publisherSession), ...troubleFacts(nodes) });
        showTracks(tracks, stream.tracks);
        if (stream.gopMillis) gops.add(stream.gopMillis);
        gopChart.show(gops.samples);
    }, (error) => {
        trouble.show(error);
        if (error?.status !== 404) return;
        showBadge(state, ["plain", "Not live"]);
        actions.show(undefined);
    });
    scope.every(3000, async () => {
        route.show(await api.get("stream/route", { query, signal: scope.signal }));
    }, (error) => {
        if (error?.status === 404) route.show({ nodes: [] });
    });
    scope.every(10_000, async () => {
        const history = await api.get("history", { query, signal: scope.signal });
        for (const [field, chart] of Object.entries(charts)) chart.show(samplesOf(history, field), history.endMillis);
        if (history.gopMillis) gops.adopt(samplesOf(history, "gopMillis"));
    });
    scope.every(15_000, async () => {
        const asked = (action, limit) => api.get(`routes/${action}`, {
            query: { ...query, format: "all", limit }, signal: scope.signal,
        });
        const [play, publish] = await Promise.all([asked("play", 8), asked("publish", 1)]);
        addresses.show({ play: play.urls, publish: publish.urls });
    });
    const refreshPublisher = scope.every(5000, async () => {
        publisherSession = knowsPath(publisher) ? await publisherOf(key, scope.signal) : undefined;
    });
    const refreshViewers = scope.every(5000, async () => {
        const list = await sessionsOf(key, viewerLimit, scope.signal);
        viewers.show(list.sessions);
        setText(more, list.next === undefined ? "All clients" : `More than ${list.sessions.length}: all clients`);
        setText(missing, missingText(list.missing));
        missing.hidden = !list.missing?.length;
    }, (error) => { if (error) viewers.fail(error.message); });
    scope.every(15_000, async () => {
        const found = await api.get("recordings", {
            query: { vhost, app, stream: name, order: "newest", limit: 10 }, signal: scope.signal,
        });
        recordings.show([...found.recordings].sort((left, right) => right.startMillis - left.startMillis));
    }, (error) => { if (error) recordings.fail(error.message); });
    scope.on("changes", debounced(300, (changes) => {
        const isMeant = changes.streams?.some((change) => streamName(change.key) === streamName(key));
        if (isMeant || changes.isComplete === false) refresh();
    }));
    return streamName(key);
}
