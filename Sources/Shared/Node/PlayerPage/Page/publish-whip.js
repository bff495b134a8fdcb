// Publishes a stream of the browser over WebRTC: WHIP for the session, the browser's own sender for the media.

import { backOffMillis, sleep } from "./player-buffer.js";
import { SessionError, WebRTCSession } from "./webrtc-session.js";
import { StatsReader } from "./webrtc-stats.js";

/** What is not a codec of pictures, but travels beside one. */
const companions = new Set(["video/rtx", "video/red", "video/ulpfec", "video/flexfec-03"]);

const names = {
    "video/h264": "H.264", "video/h265": "HEVC", "video/vp8": "VP8", "video/vp9": "VP9", "video/av1": "AV1",
};

/** The video codecs that this browser can send, as `{id, label}`; those first that most players take. */
export function sendableCodecs() {
    const codecs = window.RTCRtpSender?.getCapabilities?.("video")?.codecs ?? [];
    const types = new Set(codecs.map(({ mimeType }) => mimeType.toLowerCase()));
    return Object.entries(names).filter(([id]) => types.has(id)).map(([id, label]) => ({ id, label }));
}

/** All codecs, with those of type `id` in front. */
function preferring(id) {
    const codecs = RTCRtpSender.getCapabilities("video").codecs;
    const isWanted = ({ mimeType }) => mimeType.toLowerCase() === id;
    const isCompanion = ({ mimeType }) => companions.has(mimeType.toLowerCase());
    // Of H.264, the constrained baseline profile is the one that everybody decodes; packets may then be cut freely.
    const rank = ({ sdpFmtpLine = "" }) => (/packetization-mode=1/.test(sdpFmtpLine) ? 0 : 2)
        + (/profile-level-id=42e0/i.test(sdpFmtpLine) ? 0 : 1);
    const wanted = codecs.filter(isWanted).sort((one, other) => rank(one) - rank(other));
    return [...wanted, ...codecs.filter(isCompanion)];
}

/** Three sizes at once, or one. `bitRate` is that of all together. */
function encodings({ simulcast, bitRate, frameRate }) {
    const common = { maxFramerate: frameRate };
    if (!simulcast) return [{ ...common, maxBitrate: bitRate }];
    return [
        { ...common, rid: "q", scaleResolutionDownBy: 4, maxBitrate: Math.round(bitRate / 13) },
        { ...common, rid: "h", scaleResolutionDownBy: 2, maxBitrate: Math.round(bitRate * 3 / 13) },
        { ...common, rid: "f", maxBitrate: Math.round(bitRate * 9 / 13) },
    ];
}

export class WhipPublisher {
    /** In plain words; "Live" while all is well. */
    state = "Connecting";
    facts = {};
    #stream;
    #options;
    #stopped = new AbortController();
    #session;
    #stats;
    #timer;
    #attempt = 0;

    /** `options`: `url`, `token`, `codec` (a MIME type), `bitRate` (bits a second), `frameRate`, `simulcast`. */
    constructor(stream, options) {
        this.#stream = stream;
        this.#options = options;
    }

    get bitRate() {
        return this.#stats?.bitRate ?? 0;
    }

    /** Runs until `stop()`; throws what trying again does not help with. */
    async start() {
        const { signal } = this.#stopped;
        addEventListener("pagehide", () => this.#session?.close(), { signal });
        this.#timer = setInterval(() => this.#read(), 1000);
        while (!signal.aborted) {
            this.#session = new WebRTCSession({ url: this.#options.url, token: this.#options.token });
            try {
                await this.#publish(signal);
                this.state = "The connection was lost. Connecting again.";
            } catch (error) {
                if (signal.aborted) return;
                this.state = error.message;
                if (error.isFinal) throw error;
                const pause = error instanceof SessionError ? error.retryAfter * 1000 : 0;
                await sleep(Math.max(pause, 500, backOffMillis(this.#attempt)), signal).catch(() => {});
                this.#attempt += 1;
            } finally {
                this.#session.close();
            }
        }
    }

    #prepare(connection) {
        const { codec } = this.#options;
        for (const track of this.#stream.getTracks()) {
            const isVideo = track.kind === "video";
            const transceiver = connection.addTransceiver(track, {
                direction: "sendonly", streams: [this.#stream],
                sendEncodings: isVideo ? encodings(this.#options) : [{ maxBitrate: 128_000 }],
            });
            if (isVideo && codec) transceiver.setCodecPreferences?.(preferring(codec));
        }
    }

    async #publish(signal) {
        const session = this.#session;
        this.#stats = new StatsReader(session.connection);
        this.facts = {};
        await session.open((connection) => this.#prepare(connection), signal);
        const stop = () => session.close();
        signal.addEventListener("abort", stop, { once: true });
        session.connection.addEventListener("connectionstatechange", () => {
            const { connectionState } = session.connection;
            if (connectionState === "connected") this.state = "Live";
            if (connectionState === "disconnected") this.state = "The connection is interrupted.";
        });
        await session.ended;
        signal.removeEventListener("abort", stop);
        if (signal.aborted) throw new SessionError("stopped");
        this.#attempt = session.times.connected ? 0 : this.#attempt + 1;
        if (!session.times.connected) throw new SessionError("No path to the server was found. Trying again.");
    }

    async #read() {
        const stats = this.#stats;
        const session = this.#session;
        if (!stats || session.connection.connectionState !== "connected") return;
        const facts = await stats.read().catch(() => undefined);
        if (!facts || this.#stats !== stats) return;
        if (session.times.connected) facts["Connected after"] = `${Math.round(session.times.connected)} ms`;
        this.facts = facts;
    }

    stop() {
        this.#stopped.abort();
        clearInterval(this.#timer);
        this.#session?.close();
    }
}
