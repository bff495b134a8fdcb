// The page: the list of live streams, the player's controls, and what it tells of itself.

import { supports } from "./player-buffer.js";
import { FlvPlayer } from "./player-flv.js";
import { HlsPlayer } from "./player-hls.js";
import { NativePlayer } from "./player-native.js";
import { WhepPlayer } from "./player-whep.js";

const element = (id) => document.getElementById(id);
const video = element("video");

// ---------------------------------------------------------------------------------------------------------------------
// What is asked for: `#app/name?mode=…&dvr=…&token=…`, or the same parameters before the `#`

function readLocation() {
    const [path, query = ""] = location.hash.slice(1).split("?");
    const parameters = new URLSearchParams(location.search);
    for (const [name, value] of new URLSearchParams(query)) parameters.set(name, value);
    const name = path.split("/").map(decodeURIComponent).join("/");
    return { path: name.includes("/") ? name : undefined, parameters };
}

function linkTo(stream) {
    const isDefault = !stream.vhost || stream.vhost === "__defaultVhost__";
    const query = isDefault ? "" : `?vhost=${encodeURIComponent(stream.vhost)}`;
    return `#${encodePath(nameOf(stream))}${query}`;
}

const nameOf = ({ app, name }) => `${app}/${name}`;
const encodePath = (path) => path.split("/").map(encodeURIComponent).join("/");

/** Adds to an address what every request for the stream needs. */
function decorator(parameters) {
    return (address) => {
        const url = new URL(address, document.baseURI);
        for (const name of ["token", "vhost"]) {
            if (parameters.has(name) && !url.searchParams.has(name)) url.searchParams.set(name, parameters.get(name));
        }
        const isPlaylist = url.pathname.endsWith(".m3u8");
        if (isPlaylist && Number(parameters.get("dvr")) > 0) url.searchParams.set("dvr", parameters.get("dvr"));
        return url.href;
    };
}

// ---------------------------------------------------------------------------------------------------------------------
// The server's clock

/**
 * How far this device's clock is off, as far as `Date` headers of whole seconds can tell: 0 unless they contradict it.
 */
const clock = {
    low: -Infinity,
    high: Infinity,
    learn(response, sentAt) {
        const date = Date.parse(response.headers.get("Date") ?? "");
        if (!date || Number(response.headers.get("Age")) > 0) return;
        const low = date - Date.now();
        // Servers write the header once a second, so it may be nearly two seconds old.
        const high = date + 2000 - sentAt;
        const fits = low <= this.high && high >= this.low;
        this.low = fits ? Math.max(this.low, low) : low;
        this.high = fits ? Math.min(this.high, high) : high;
    },
    now() {
        return Date.now() + Math.min(Math.max(0, this.low), this.high);
    },
};

// ---------------------------------------------------------------------------------------------------------------------
// The list

let streams = [];

async function refresh() {
    const sentAt = Date.now();
    try {
        const response = await fetch("api/streams.json", { cache: "no-store", signal: AbortSignal.timeout(8000) });
        if (!response.ok) throw new Error(`status ${response.status}`);
        clock.learn(response, sentAt);
        streams = (await response.json()).streams ?? [];
        const viewers = streams.reduce((sum, stream) => sum + (stream.viewers ?? 0), 0);
        element("summary").textContent = `${count(streams.length, "stream")}, ${count(viewers, "viewer")}`;
        element("empty").hidden = streams.length > 0;
        showList();
        // What was opened by its name has appeared: now it is known how to play it.
        const hasAppeared = current && !current.stream && streams.some((stream) => nameOf(stream) === current.path);
        if (hasAppeared && video.readyState === 0) show();
    } catch {
        element("summary").textContent = "The list cannot be loaded at the moment.";
    }
}

const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function describe({ video: picture, audio, bitRate }) {
    const size = picture?.width && picture.height ? ` ${picture.width}×${picture.height}` : "";
    const rate = picture?.frameRate ? ` ${Math.round(picture.frameRate)} fps` : "";
    const parts = [picture && `${codecName(picture.codec)}${size}${rate}`, audio && codecName(audio.codec)];
    if (bitRate) parts.push(formatBitRate(bitRate));
    return parts.filter(Boolean).join(" · ");
}

const codecName = (codec) => ({ h264: "H.264", hevc: "HEVC", av1: "AV1", vp8: "VP8", vp9: "VP9", aac: "AAC", mp3: "MP3",
    opus: "Opus", flac: "FLAC", ac3: "AC-3", eac3: "E-AC-3" })[codec] ?? codec;

/** Updates the items in place, so that the focus and a reader's position stay. */
function showList() {
    const list = element("streams");
    const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
    const wanted = readLocation().path;
    streams.forEach((stream, index) => {
        const key = `${stream.vhost}/${nameOf(stream)}`;
        const item = known.get(key) ?? makeItem(stream, key);
        known.delete(key);
        const [link] = item.children;
        setText(link.querySelector(".about"), describe(stream));
        setText(link.querySelector(".viewers"), count(stream.viewers ?? 0, "viewer"));
        if (nameOf(stream) === wanted) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
        if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    });
    for (const item of known.values()) item.remove();
}

function makeItem(stream, key) {
    const item = document.createElement("li");
    item.dataset.key = key;
    const link = document.createElement("a");
    link.href = linkTo(stream);
    if (stream.formats?.includes("jpg")) {
        const picture = document.createElement("img");
        Object.assign(picture, { alt: "", loading: "lazy", src: `${encodePath(nameOf(stream))}.jpg` });
        picture.addEventListener("error", () => picture.remove());
        link.append(picture);
    }
    const name = document.createElement("strong");
    name.textContent = nameOf(stream);
    const about = document.createElement("small");
    about.className = "about";
    const viewers = document.createElement("small");
    viewers.className = "viewers";
    link.append(name, about, viewers);
    item.append(link);
    return item;
}

function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
}

// ---------------------------------------------------------------------------------------------------------------------
// Ways to play

const ways = [
    { id: "hls", label: "HLS", format: "hls", suffix: ".m3u8", Player: HlsPlayer },
    { id: "flv", label: "HTTP-FLV", format: "flv", suffix: ".flv", Player: FlvPlayer },
    { id: "native", label: "Browser's own HLS", format: "hls", suffix: ".m3u8", Player: NativePlayer },
    { id: "webrtc", label: "WebRTC", format: "webrtc", suffix: "/whep", Player: WhepPlayer },
];

/** The ways that this browser has for a stream, the best first. Unknown streams may have any. */
function possibleWays(stream) {
    const isKnown = ({ mime }, kind) => !mime || supports(kind, mime);
    const fits = ["video", "audio"].every((kind) => !stream?.[kind] || isKnown(stream[kind], kind));
    const fitsWebRTC = !stream?.video || WhepPlayer.supports(stream.video.codec);
    return ways.filter(({ format, Player }) => Player.isPossible && (stream?.formats?.includes(format) ?? true)
        && (Player === WhepPlayer ? fitsWebRTC : fits || Player === NativePlayer));
}

// ---------------------------------------------------------------------------------------------------------------------
// Playing

let current;

function show() {
    const { path, parameters } = readLocation();
    stop();
    element("player").hidden = !path;
    document.title = path ? `${path} – Weir` : "Weir";
    showList();
    if (!path) return;
    element("title").textContent = path;
    const vhost = parameters.get("vhost");
    const stream = streams.find((known) => nameOf(known) === path && (!vhost || known.vhost === vhost));
    const possible = possibleWays(stream);
    // What else the list does not offer may still be tried by hand.
    const all = ways.filter(({ Player }) => Player.isPossible);
    const wanted = { ll: "hls", mse: "hls" }[parameters.get("mode")] ?? parameters.get("mode");
    const order = [...all.filter(({ id }) => id === wanted), ...possible, ...all];
    fillSelect(element("mode"), all, order[0]?.id);
    if (!order.length) {
        notice("This browser has no way to play live streams.");
        return;
    }
    start(order[0], { path, parameters, stream, others: wanted ? [] : order.slice(1) });
}

function start(way, request) {
    const { path, parameters, stream, others } = request;
    if (parameters.get("dvr") === null && stream?.dvr) parameters.set("dvr", stream.dvr);
    const player = new way.Player({
        video, url: `${encodePath(path)}${way.suffix}`, decorate: decorator(parameters),
        size: { width: stream?.video?.width || 1280, height: stream?.video?.height || 720 },
    });
    current = { player, way, path, stream, droppedBefore: video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0 };
    element("mode").value = way.id;
    // A phone or a page without a click so far may play only without sound.
    video.muted = video.muted || !navigator.userActivation?.hasBeenActive;
    video.autoplay = true;
    player.start().catch((error) => {
        if (current?.player !== player) return;
        player.stop();
        const next = others.find(({ id }) => id !== way.id);
        if (next) start(next, { ...request, others: others.filter(({ id }) => id !== way.id && id !== next.id) });
        else current.failure = error.message;
    });
}

function stop() {
    current?.player.stop();
    current = undefined;
}

function fillSelect(select, options, chosen) {
    select.replaceChildren(...options.map(({ id, label }) => new Option(label, id, false, id === chosen)));
}

/** A change of mode or quality is part of the link, so that it can be passed on. */
function setParameter(name, value) {
    const [path, query = ""] = location.hash.split("?");
    const parameters = new URLSearchParams(query);
    parameters.set(name, value);
    history.replaceState(null, "", `${path}?${parameters}`);
}

// ---------------------------------------------------------------------------------------------------------------------
// What is told

function formatBitRate(rate) {
    return rate >= 1e6 ? `${(rate / 1e6).toFixed(1)} Mbit/s` : `${Math.round(rate / 1e3)} kbit/s`;
}

const formatSeconds = (seconds) => `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;

function formatSpan(seconds) {
    const whole = Math.max(0, Math.round(seconds));
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(whole / 3600);
    const minutes = Math.floor(whole / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function notice(text) {
    element("notice").hidden = !text;
    setText(element("notice"), text);
}

/** The player's state in plain words. */
function stateOf({ player, failure }) {
    if (failure) return failure;
    if (player.hasEnded && video.ended) return "The stream has ended.";
    if (player.trouble) return player.trouble;
    if (video.paused) return "Paused";
    if (video.seeking) return "Seeking";
    if (video.readyState < 3) return video.currentTime > 0 ? "Waiting for more" : "Connecting";
    return "Playing";
}

function bufferAhead() {
    const { buffered, currentTime } = video;
    for (let index = 0; index < buffered.length; index += 1) {
        if (buffered.start(index) - 0.1 <= currentTime && currentTime < buffered.end(index)) {
            return buffered.end(index) - currentTime;
        }
    }
    return 0;
}

const framesShown = { at: 0, total: 0, rate: undefined };

function frameRate() {
    const total = video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    const now = performance.now();
    if (now - framesShown.at > 1900) {
        const frames = total - framesShown.total;
        const isUsable = frames > 0 && framesShown.at > 0 && now - framesShown.at < 4000;
        framesShown.rate = isUsable ? frames * 1000 / (now - framesShown.at) : undefined;
        Object.assign(framesShown, { at: now, total });
    }
    return framesShown.rate;
}

function showFacts() {
    if (!current) return;
    const { player, way, droppedBefore } = current;
    const state = stateOf(current);
    notice(state === "Playing" || state === "Paused" ? "" : state);
    const isLow = way.id === "hls" && player.isLowLatency;
    const facts = { State: state, Protocol: isLow ? "Low-Latency HLS" : way.label };
    const { wallTime } = player;
    if (wallTime) facts.Latency = formatSeconds(Math.max(0, clock.now() - wallTime) / 1000);
    if (player.facts) Object.assign(facts, player.facts);
    else facts.Buffer = formatSeconds(bufferAhead());
    if (player.bitRate) facts["Bit rate"] = formatBitRate(player.bitRate);
    if (video.videoWidth && !facts.Picture) {
        const rate = frameRate();
        facts.Picture = `${video.videoWidth}×${video.videoHeight}${rate ? ` · ${Math.round(rate)} fps` : ""}`;
    }
    const quality = video.getVideoPlaybackQuality?.();
    if (quality && !player.facts) {
        facts["Dropped frames"] = String(Math.max(0, quality.droppedVideoFrames - droppedBefore));
    }
    if (player.sync) {
        facts.Speed = `${Math.round(video.playbackRate * 100)} %`;
        facts.Stalls = String(player.sync.stalls);
    }
    const list = element("facts");
    const known = new Map([...list.children].map((item) => [item.dataset.name, item]));
    for (const [name, value] of Object.entries(facts)) {
        const item = known.get(name) ?? makeFact(name);
        known.delete(name);
        setText(item.lastChild, value);
        list.append(item);
    }
    for (const item of known.values()) item.remove();
    showControls(player);
}

function makeFact(name) {
    const item = document.createElement("div");
    item.dataset.name = name;
    const term = document.createElement("dt");
    term.textContent = name;
    item.append(term, document.createElement("dd"));
    return item;
}

let isSeeking = false;

function showControls(player) {
    label("play", video.paused ? "Play" : "Pause", !video.paused);
    // The browser may not let it begin by itself.
    element("tap").hidden = !(video.paused && video.autoplay && video.readyState >= 3);
    const isSilent = video.muted || video.volume === 0;
    label("mute", isSilent ? "Unmute" : "Mute", isSilent);
    // What comes over WebRTC is live, or nothing.
    const isFollowing = (player.sync?.isFollowing ?? Boolean(player.facts)) && !video.paused;
    element("live").classList.toggle("on", isFollowing);
    element("live").hidden = player.hasEnded;
    const window = player.seekable;
    const canSeek = Boolean(window && player.seek && window.end - window.start > 25);
    element("seek").hidden = !canSeek;
    const behind = canSeek ? window.end - video.currentTime : 0;
    const place = canSeek ? placeIn(window, player) : "";
    setText(element("behind"), player.hasEnded || (behind > 8 && !isFollowing) ? place : "");
    if (canSeek && !isSeeking) {
        const share = (video.currentTime - window.start) / (window.end - window.start);
        element("seek").value = String(Math.round(share * 1000));
        element("seek").setAttribute("aria-valuetext", player.hasEnded ? place : `${formatSpan(behind)} behind live`);
    }
    showQualities(player);
}

/** Where in a recording, or how far behind the live edge. */
function placeIn({ start, end }, { hasEnded }) {
    const { currentTime } = video;
    if (!hasEnded) return `−${formatSpan(end - currentTime)}`;
    return `${formatSpan(currentTime - start)} / ${formatSpan(end - start)}`;
}

/** A button with two faces. */
function label(id, text, isOn) {
    const button = element(id);
    button.toggleAttribute("data-on", isOn);
    if (button.getAttribute("aria-label") !== text) button.setAttribute("aria-label", text);
}

function showQualities(player) {
    const names = player.variants.map(({ height, bandwidth, frameRate: rate }) => {
        const size = height ? `${height}p${rate > 31 ? Math.round(rate) : ""}` : "Audio";
        return `${size} · ${formatBitRate(bandwidth)}`;
    });
    element("qualityLabel").hidden = names.length < 2;
    const key = names.join();
    const select = element("quality");
    if (select.dataset.key === key) return;
    select.dataset.key = key;
    const options = player.variants.map(({ url }, index) => ({ id: url, label: names[index] }));
    fillSelect(select, [{ id: "", label: "Automatic" }, ...options], "");
}

// ---------------------------------------------------------------------------------------------------------------------
// Controls

function togglePlay() {
    // A session that begins anew does as the one before: it plays, or waits.
    video.autoplay = video.paused;
    if (video.paused) video.play().catch(() => {});
    else video.pause();
    showFacts();
}

async function seekTo(time) {
    const window = current?.player.seekable;
    if (!window || element("seek").hidden) return;
    const { player } = current;
    if (!player.hasEnded && time > window.end - (player.sync?.target ?? 3)) {
        goLive();
        return;
    }
    if (player.sync) player.sync.isFollowing = false;
    const hadEnded = video.ended;
    await player.seek(Math.min(Math.max(window.start + 0.1, time), window.end - 0.1));
    if (hadEnded) video.play().catch(() => {});
}

function seekBy(seconds) {
    seekTo((current.player.position ?? video.currentTime) + seconds);
}

function goLive() {
    if (!current || current.player.hasEnded) return;
    const { player } = current;
    if (player.sync) player.sync.jump();
    else if (player.seekable) player.seek(Math.max(0, player.seekable.end - 1));
    video.play().catch(() => {});
}

function toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (element("stage").requestFullscreen) element("stage").requestFullscreen();
    else video.webkitEnterFullscreen?.();
}

function toggleMute() {
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 0.5;
    showFacts();
}

const keys = {
    " ": togglePlay,
    k: togglePlay,
    m: toggleMute,
    f: toggleFull,
    l: goLive,
    arrowleft: () => seekBy(-10),
    arrowright: () => seekBy(10),
    arrowup: () => { video.volume = Math.min(1, video.volume + 0.1); },
    arrowdown: () => { video.volume = Math.max(0, video.volume - 0.1); },
};

function bindControls() {
    element("play").addEventListener("click", togglePlay);
    element("mute").addEventListener("click", toggleMute);
    element("live").addEventListener("click", goLive);
    element("full").addEventListener("click", toggleFull);
    element("tap").addEventListener("click", togglePlay);
    element("volume").addEventListener("input", ({ target }) => {
        video.volume = Number(target.value);
        video.muted = false;
    });
    video.addEventListener("volumechange", () => { element("volume").value = String(video.volume); });
    video.addEventListener("click", togglePlay);
    const seek = element("seek");
    seek.addEventListener("input", () => { isSeeking = true; });
    seek.addEventListener("change", () => {
        isSeeking = false;
        const window = current?.player.seekable;
        if (window) seekTo(window.start + (window.end - window.start) * Number(seek.value) / 1000);
    });
    element("mode").addEventListener("change", ({ target }) => {
        setParameter("mode", target.value);
        show();
    });
    element("quality").addEventListener("change", ({ target }) => current?.player.choose?.(target.value || undefined));
    document.addEventListener("keydown", (event) => {
        const isControl = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
        const isPress = event.target.closest?.("button, a") && event.key === " ";
        if (!current || isControl || isPress || event.ctrlKey || event.metaKey || event.altKey) return;
        const action = keys[event.key.toLowerCase()];
        if (!action) return;
        event.preventDefault();
        action();
    });
}

bindControls();
addEventListener("hashchange", show);
// A page in the background is woken seldom: what it missed is skipped when it comes back.
document.addEventListener("visibilitychange", () => {
    const sync = current?.player.sync;
    if (!document.hidden && sync?.isFollowing && !video.paused && sync.distance > sync.target + 3) sync.jump();
});
await refresh();
show();
setInterval(() => { if (!document.hidden) refresh(); }, 3000);
setInterval(showFacts, 500);
