// Plays over WebRTC: WHEP for the session, the browser's own receiver for the media.

import { backOffMillis, sleep } from "./player-buffer.js";
import { canUseWebRTC, SessionError, WebRTCSession } from "./webrtc-session.js";
import { StatsReader } from "./webrtc-stats.js";

export class WhepPlayer {
    trouble = "";
    hasEnded = false;
    variants = [];
    /** What is known of the connection, by name. */
    facts = {};
    #video;
    #url;
    #stopped = new AbortController();
    #session;
    #stats;
    #firstFrame;
    #attempt = 0;
    /** Readings without media, one a second. */
    #silence = 0;
    #timer;

    constructor({ video, url, decorate }) {
        this.#video = video;
        this.#url = decorate(url);
    }

    static get isPossible() {
        return canUseWebRTC();
    }

    /** Whether this browser receives video of a codec, as the list names it. */
    static supports(codec) {
        const names = { h264: "h264", hevc: "h265", vp8: "vp8", vp9: "vp9", av1: "av1" };
        const known = RTCRtpReceiver.getCapabilities?.("video")?.codecs;
        return !known || known.some(({ mimeType }) => mimeType.toLowerCase() === `video/${names[codec]}`);
    }

    get bitRate() {
        return this.#stats?.bitRate ?? 0;
    }

    async start() {
        const { signal } = this.#stopped;
        addEventListener("pagehide", () => this.#session?.close(), { signal });
        this.#timer = setInterval(() => this.#read(), 1000);
        while (!signal.aborted) {
            this.#session = new WebRTCSession({ url: this.#url });
            try {
                await this.#play(signal);
                this.trouble = "The connection was lost. Connecting again.";
            } catch (error) {
                if (signal.aborted) return;
                this.trouble = error.status === 404 ? "The stream is not live. Waiting for it." : error.message;
                if (error.isFinal) throw error;
                const pause = error instanceof SessionError ? error.retryAfter * 1000 : 0;
                await sleep(Math.max(pause, 500, backOffMillis(this.#attempt)), signal).catch(() => {});
                this.#attempt += 1;
            } finally {
                this.#session.close();
            }
        }
    }

    async #play(signal) {
        const session = this.#session;
        const { connection } = session;
        const stream = new MediaStream();
        connection.addEventListener("track", ({ track }) => {
            stream.addTrack(track);
            if (this.#video.srcObject !== stream) this.#video.srcObject = stream;
        });
        this.#stats = new StatsReader(connection);
        this.#firstFrame = undefined;
        this.#silence = 0;
        this.facts = {};
        await session.open((fresh) => {
            fresh.addTransceiver("video", { direction: "recvonly" });
            fresh.addTransceiver("audio", { direction: "recvonly" });
        }, signal);
        this.trouble = "";
        this.#video.requestVideoFrameCallback?.((now) => { this.#firstFrame ??= now - session.openedAt; });
        const stop = () => session.close();
        signal.addEventListener("abort", stop, { once: true });
        await session.ended;
        signal.removeEventListener("abort", stop);
        if (signal.aborted) throw new SessionError("stopped");
        // One that was there for a while is come back to at once.
        this.#attempt = session.times.connected ? 0 : this.#attempt + 1;
        if (!session.times.connected) throw new SessionError("No path to the server was found. Trying again.");
    }

    async #read() {
        const stats = this.#stats;
        if (!stats || this.#session.connection.connectionState !== "connected") return;
        const facts = await stats.read().catch(() => undefined);
        if (!facts || this.#stats !== stats) return;
        this.#silence = stats.bitRate > 0 ? 0 : this.#silence + 1;
        if (this.#silence === 0) this.trouble = "";
        else if (this.#silence > 3) this.trouble = "Nothing arrives at the moment. Waiting for more.";
        if (this.#firstFrame !== undefined) facts["First frame"] = `${Math.round(this.#firstFrame)} ms`;
        this.facts = facts;
    }

    stop() {
        this.#stopped.abort();
        clearInterval(this.#timer);
        this.#session?.close();
        this.#video.srcObject = null;
    }
}
