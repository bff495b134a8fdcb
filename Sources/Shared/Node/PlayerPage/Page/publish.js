// The page that publishes: the form, the picture, and what is told of the connection.

import { listDevices, openSource } from "./publish-sources.js";
import { sendableCodecs, WhipPublisher } from "./publish-whip.js";
import { canUseWebRTC } from "./webrtc-session.js";

const element = (id) => document.getElementById(id);
const form = element("form");
const parameters = new URLSearchParams(location.search);

/** What is on its way: `{source, publisher}`, or nothing. */
let current;
let isBusy = false;

// ---------------------------------------------------------------------------------------------------------------------
// The form. `#app/stream` fills in the stream, `?source=…&codec=…&vhost=…` other things.

const encodePath = (path) => path.split("/").map(encodeURIComponent).join("/");

function fillForm() {
    const codecs = sendableCodecs();
    const wanted = (parameters.get("codec") ?? "h264").replace(/^h265$|^hevc$/, "h265");
    element("codec").replaceChildren(...codecs.map(({ id, label }) => (
        new Option(label, id, false, id === `video/${wanted}`))));
    const sources = ["camera", "screen", "test"];
    const source = parameters.get("source") ?? (navigator.mediaDevices ? "camera" : "test");
    form.elements.source.value = sources.includes(source) ? source : "test";
    if (!navigator.mediaDevices) {
        for (const name of ["camera", "screen"]) form.querySelector(`[value="${name}"]`).disabled = true;
        notice("Cameras and screens need a page that came over HTTPS, or from localhost.");
    }
    const path = location.hash.slice(1).split("?")[0];
    element("stream").value = path ? path.split("/").map(decodeURIComponent).join("/") : "live/browser";
    if (!canUseWebRTC() || !codecs.length) {
        element("go").disabled = true;
        notice("This browser has no WebRTC.");
    }
    showFields();
}

function showFields() {
    const source = form.elements.source.value;
    element("size").disabled = source === "screen";
    for (const name of ["camera", "microphone"]) {
        element(`${name}Label`).hidden = source !== "camera" || element(name).options.length < 2;
    }
}

/** Browsers tell the names of devices once one was allowed. */
async function showDevices() {
    const { cameras, microphones } = await listDevices();
    for (const [id, found] of [["camera", cameras], ["microphone", microphones]]) {
        const chosen = element(id).value;
        element(id).replaceChildren(...found.map(({ label, deviceId }) => (
            new Option(label, deviceId, false, deviceId === chosen))));
    }
    showFields();
}

function readForm() {
    const [width, height] = element("size").value.split("x").map(Number);
    return {
        source: form.elements.source.value, width, height, frameRate: Number(element("frameRate").value),
        camera: element("camera").value, microphone: element("microphone").value,
        codec: element("codec").value, bitRate: Number(element("bitRate").value) * 1000,
        simulcast: element("simulcast").checked, stream: element("stream").value.trim().replace(/^\/+|\/+$/g, ""),
        token: element("token").value.trim(),
    };
}

/** Only a name with an app can be published. */
function checkStream() {
    const isName = /^[^/]+(\/[^/]+)+$/.test(element("stream").value.trim().replace(/^\/+|\/+$/g, ""));
    element("stream").setCustomValidity(isName ? "" : "The name of an app and of a stream, such as live/camera");
}

// ---------------------------------------------------------------------------------------------------------------------
// Publishing

function endpoint(stream) {
    const url = new URL(`${encodePath(stream)}/whip`, document.baseURI);
    for (const name of ["token", "vhost"]) if (parameters.has(name)) url.searchParams.set(name, parameters.get(name));
    return url.href;
}

async function begin() {
    const options = readForm();
    setBusy(true);
    let source;
    try {
        source = await openSource(options.source, options);
    } catch (error) {
        notice(error.message);
        return;
    } finally {
        setBusy(false);
    }
    if (options.source === "camera") await showDevices();
    const publisher = new WhipPublisher(source.stream, { ...options, url: endpoint(options.stream) });
    const mine = { source, publisher };
    current = mine;
    element("video").srcObject = source.stream;
    // The browser's own button for the end of a shared screen.
    for (const track of source.stream.getVideoTracks()) {
        track.addEventListener("ended", () => { if (current === mine) end(); });
    }
    showWatch(options.stream);
    showState();
    try {
        await publisher.start();
    } catch (error) {
        if (current === mine) end(error.message);
    }
}

function end(reason = "") {
    const { source, publisher } = current;
    current = undefined;
    publisher.stop();
    source.stop();
    element("video").srcObject = null;
    element("watch").hidden = true;
    showState();
    notice(reason);
}

// ---------------------------------------------------------------------------------------------------------------------
// What is told

function notice(text) {
    element("notice").hidden = !text;
    if (element("notice").textContent !== text) element("notice").textContent = text;
}

function setBusy(value) {
    isBusy = value;
    element("go").disabled = value;
}

function showWatch(stream) {
    const vhost = parameters.get("vhost");
    const query = new URLSearchParams({ mode: "webrtc", ...(vhost ? { vhost } : {}) });
    element("watchLink").href = `./#${encodePath(stream)}?${query}`;
    element("watchLink").textContent = `Watch ${stream}`;
}

function showState() {
    const button = element("go");
    const isOn = Boolean(current);
    button.toggleAttribute("data-on", isOn);
    button.textContent = isOn ? "Stop" : "Publish";
    for (const id of ["what", "how", "where"]) {
        for (const field of element(id).querySelectorAll("input, select")) {
            if (isOn) field.dataset.was ??= String(field.disabled);
            field.disabled = isOn || field.dataset.was === "true";
            if (!isOn) delete field.dataset.was;
        }
    }
    showFacts();
}

function showFacts() {
    const list = element("facts");
    const facts = {};
    if (current) {
        const { state } = current.publisher;
        Object.assign(facts, { State: state }, current.publisher.facts);
        element("watch").hidden = state !== "Live";
        notice(state === "Live" ? "" : state);
    }
    const known = new Map([...list.children].map((item) => [item.dataset.name, item]));
    for (const [name, value] of Object.entries(facts)) {
        const item = known.get(name) ?? makeFact(name);
        known.delete(name);
        if (item.lastChild.textContent !== value) item.lastChild.textContent = value;
        list.append(item);
    }
    for (const item of known.values()) item.remove();
}

function makeFact(name) {
    const item = document.createElement("div");
    item.dataset.name = name;
    const term = document.createElement("dt");
    term.textContent = name;
    item.append(term, document.createElement("dd"));
    return item;
}

form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isBusy) return;
    if (current) end();
    else begin();
});
form.addEventListener("change", showFields);
element("stream").addEventListener("input", checkStream);
fillForm();
checkStream();
setInterval(() => { if (current) showFacts(); }, 500);
