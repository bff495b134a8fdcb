// The player of the console: the player page's ways to play. Where media come from is told by the API.

import { h, setAttribute, setText } from "./console-dom.js";
import { formatBitRate, formatClock } from "./console-format.js";
import { FlvPlayer } from "./player/player-flv.js";
import { HlsPlayer } from "./player/player-hls.js";
import { NativePlayer } from "./player/player-native.js";
import { WhepPlayer } from "./player/player-whep.js";

/** A file that the browser plays by itself. */
class FilePlayer {
    trouble = "";
    hasEnded = true;
    #video;

    constructor({ video, url }) {
        this.#video = video;
        video.src = url;
    }

    static get isPossible() {
        return true;
    }

    start() {
        return new Promise((_, reject) => {
            this.#video.onerror = () => reject(new Error("The file cannot be played. It can be downloaded."));
        });
    }

    stop() {
        this.#video.onerror = null;
        this.#video.removeAttribute("src");
        this.#video.load();
    }
}

const ways = [
    { name: "HLS", protocol: "hls", Player: HlsPlayer },
    { name: "HTTP-FLV", protocol: "flv", Player: FlvPlayer },
    { name: "HLS of the browser", protocol: "hls", Player: NativePlayer },
    { name: "WebRTC", protocol: "webrtc", Player: WhepPlayer },
    { name: "MP4", protocol: "mp4", Player: FilePlayer },
];

/** What of `urls` (`protocol`, `url`) this browser can play, the best first. */
function possibleWays(urls) {
    return ways.filter(({ Player }) => Player.isPossible).flatMap((way) => (
        urls.filter(({ protocol, url }) => protocol === way.protocol && isReachable(url)).map(({ url, node }) => (
            { ...way, url, node })).slice(0, 1)));
}

/** A page that came over TLS may not fetch from where there is none. */
function isReachable(address) {
    try {
        const { protocol } = new URL(address);
        return protocol === "https:" || (protocol === "http:" && location.protocol === "http:");
    } catch {
        return false;
    }
}

/** A video with a choice of protocols. It starts without sound, and only when it is asked to. */
export class PlayerBox {
    #video = h("video", { playsinline: true, muted: true, preload: "none" });
    #notice = h("p", { class: "playerNotice", role: "status", hidden: true });
    #select = h("select", { "aria-label": "Protocol", hidden: true });
    #start = h("button", { type: "button", class: "primary playerStart" }, "Play");
    #facts = h("p", { class: "playerFacts faint" }, "Playing starts without sound.");
    #ways = [];
    #player;
    #way;
    #timer;

    /** `load()` gives the addresses, when they are wanted. `label` names the video for readers. */
    constructor(scope, { load, label }) {
        this.#video.setAttribute("aria-label", label);
        this.#video.muted = true;
        this.#start.addEventListener("click", () => this.#begin(load));
        this.#select.addEventListener("change", () => this.#play(this.#ways[Number(this.#select.value)]));
        this.node = h("div", { class: "player" },
            h("div", { class: "stage" }, this.#video, this.#notice, this.#start),
            h("div", { class: "playerBar" }, this.#facts, this.#select));
        scope.signal.addEventListener("abort", () => this.#stop());
    }

    async #begin(load) {
        this.#start.disabled = true;
        this.#say("Looking for the best way …");
        try {
            const urls = await load();
            this.#ways = possibleWays(urls);
            if (!this.#ways.length) throw new Error(this.#reason(urls));
            this.#select.replaceChildren(...this.#ways.map(({ name }, index) => h("option", { value: index }, name)));
            this.#select.hidden = this.#ways.length < 2;
            this.#start.hidden = true;
            this.#video.controls = true;
            this.#video.focus();
            this.#play(this.#ways[0]);
        } catch (error) {
            this.#say(error.message);
        } finally {
            this.#start.disabled = false;
        }
    }

    #reason(urls) {
        if (!urls.length) return "No node offers a way to play this.";
        const isMixed = location.protocol === "https:" && urls.every(({ url }) => !isReachable(url));
        if (isMixed) return "The nodes have no HTTPS, and this page was loaded over it.";
        return "This browser has no way to play this.";
    }

    #play(way) {
        this.#player?.stop();
        this.#way = way;
        const player = new way.Player({
            video: this.#video, url: way.url, decorate: (url) => new URL(url, way.url).href,
            size: { width: 1280, height: 720 },
        });
        this.#player = player;
        this.#video.autoplay = true;
        player.start().catch((error) => {
            if (this.#player !== player) return;
            player.stop();
            const next = this.#ways[this.#ways.indexOf(way) + 1];
            if (next) {
                this.#select.value = String(this.#ways.indexOf(next));
                this.#play(next);
            } else {
                this.#say(error.message);
                this.#player = undefined;
                this.#start.hidden = false;
            }
        });
        clearInterval(this.#timer);
        this.#timer = setInterval(() => this.#show(), 500);
    }

    #stop() {
        clearInterval(this.#timer);
        this.#player?.stop();
        this.#player = undefined;
    }

    #say(text) {
        setText(this.#notice, text);
        setAttribute(this.#notice, "hidden", text ? undefined : "");
    }

    #show() {
        const player = this.#player;
        if (!player) return;
        const isWaiting = this.#video.readyState < 3 && !this.#video.paused && !this.#video.ended;
        this.#say(player.trouble || (isWaiting ? "Waiting for media …" : ""));
        const facts = [this.#way.node && `from ${this.#way.node}`];
        if (this.#video.videoWidth) facts.push(`${this.#video.videoWidth}×${this.#video.videoHeight}`);
        if (player.bitRate) facts.push(formatBitRate(player.bitRate));
        const delay = player.wallTime && !player.hasEnded ? (Date.now() - player.wallTime) / 1000 : undefined;
        if (delay !== undefined) facts.push(`${Math.max(0, delay).toFixed(1)} s behind`);
        if (this.#video.paused) facts.push(`paused at ${formatClock(this.#video.currentTime)}`);
        setText(this.#facts, facts.filter(Boolean).join(" · "));
    }
}
