// What publishing and playing over WebRTC share: offer and answer over HTTP, ICE servers, restarts of ICE, the end of a
// session. RFC 9725 (WHIP); draft-ietf-wish-whep (WHEP); RFC 8840 for fragments.

import { SilenceWatch } from "./webrtc-silence.js";

/**
 * A failure that can be told in `message`. `isFinal`: trying again does not help. `status` is that of an HTTP answer,
 * `retryAfter` what it says, in seconds.
 */
export class SessionError extends Error {
    constructor(message, { isFinal = false, status = 0, retryAfter = 0 } = {}) {
        super(message);
        this.isFinal = isFinal;
        this.status = status;
        this.retryAfter = retryAfter;
    }
}

export const canUseWebRTC = () => typeof window.RTCPeerConnection === "function";

/** Statuses after which the same request would be refused again. */
const finalStatuses = new Set([400, 401, 403, 405, 406, 413, 415, 422]);

/** What a server refused, in the words of its problem document (RFC 9457). */
async function refusal(response) {
    const isProblem = response.headers.get("Content-Type")?.startsWith("application/problem+json");
    const problem = isProblem ? await response.json().catch(() => ({})) : {};
    const words = [problem.title, problem.detail].filter(Boolean).join(": ");
    const texts = {
        401: "A token is needed, or the one given is not valid.",
        404: "The stream is not live, or this server has no WebRTC.",
    };
    return new SessionError(words || texts[response.status] || `The server answers with status ${response.status}.`, {
        isFinal: finalStatuses.has(response.status), status: response.status,
        retryAfter: Number(response.headers.get("Retry-After")) || 0,
    });
}

/** The STUN and TURN servers of `Link` headers. RFC 9725 §4.6. */
export function iceServers(header) {
    const servers = [];
    for (const [, url, rest] of (header ?? "").matchAll(/<([^>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*")*)/g)) {
        const values = {};
        for (const [, name, value] of rest.matchAll(/;\s*([\w-]+)="((?:[^"\\]|\\.)*)"/g)) {
            values[name] = value.replace(/\\(.)/g, "$1");
        }
        if (values.rel !== "ice-server") continue;
        servers.push(values.username ? { urls: url, username: values.username, credential: values.credential }
            : { urls: url });
    }
    return servers;
}

/** Opus in stereo, which browsers take for mono unless the SDP says so. RFC 7587 §6.1. */
function withStereo(sdp) {
    const type = /a=rtpmap:(\d+) opus\/48000\/2/i.exec(sdp)?.[1];
    if (!type) return sdp;
    return sdp.replace(new RegExp(`(a=fmtp:${type} )(?!.*stereo=)`, "g"), "$1stereo=1;");
}

/** What tells the server of new ICE credentials. RFC 8840 §9. */
function fragment(sdp) {
    const value = (part, name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(part)?.[1].trim();
    const [, ...media] = sdp.split(/^(?=m=)/m);
    const mids = media.map((part) => value(part, "mid"));
    const lines = [`a=group:BUNDLE ${mids.join(" ")}`];
    media.slice(0, 1).forEach((part) => lines.push(
        part.split(/\r?\n/)[0], `a=mid:${mids[0]}`, `a=ice-ufrag:${value(part, "ice-ufrag")}`,
        `a=ice-pwd:${value(part, "ice-pwd")}`));
    return `${lines.join("\r\n")}\r\n`;
}

/** The server's answer of before with the credentials and candidates of a fragment. */
export function withFragment(sdp, text) {
    const value = (name) => new RegExp(`^a=${name}:(.*)$`, "m").exec(text)?.[1].trim();
    const [ufrag, password] = [value("ice-ufrag"), value("ice-pwd")];
    if (!ufrag || !password) throw new SessionError("The server's answer to a restart cannot be read.");
    const candidates = text.match(/^a=candidate:.*$/gm)?.map((line) => line.trim()) ?? [];
    const [head, ...media] = sdp.split(/^(?=m=)/m);
    const replace = (part) => part.replace(/^a=ice-ufrag:.*$/gm, `a=ice-ufrag:${ufrag}`)
        .replace(/^a=ice-pwd:.*$/gm, `a=ice-pwd:${password}`);
    const parts = media.map((part, index) => {
        const kept = candidates.length ? part.replace(/^a=(candidate:.*|end-of-candidates)\r?\n/gm, "") : part;
        const isFirst = index === 0 && candidates.length > 0;
        return replace(isFirst ? `${kept.trimEnd()}\r\n${candidates.join("\r\n")}\r\n` : kept);
    });
    return replace(head) + parts.join("");
}

/** One session with a server. `ended` resolves when the connection is lost for good. */
export class WebRTCSession {
    connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    /** Milliseconds from the request to what is `at` now: "answer", "connected". */
    times = {};
    ended;
    #url;
    #authorization;
    #resource;
    #openedAt = 0;
    #end;
    #timer;
    #silence;
    #isRestarting = false;
    #isClosed = false;

    /** `token`: sent as `Authorization: Bearer`. */
    constructor({ url, token }) {
        this.#url = url;
        this.#authorization = token ? { Authorization: `Bearer ${token}` } : {};
        this.ended = new Promise((resolve) => { this.#end = resolve; });
        this.connection.addEventListener("connectionstatechange", () => this.#changed());
        this.connection.addEventListener("iceconnectionstatechange", () => this.#changed());
    }

    get openedAt() {
        return this.#openedAt;
    }

    /** `prepare(connection)` adds the transceivers. No candidates are sent: the server sees where checks come from. */
    async open(prepare, signal) {
        prepare(this.connection);
        const { sdp } = await this.connection.createOffer();
        const offer = { type: "offer", sdp: withStereo(sdp) };
        this.#openedAt = performance.now();
        const response = await this.#fetch(this.#url, "POST", offer.sdp, {
            signal, headers: { "Content-Type": "application/sdp" },
        });
        if (response.status !== 201) throw await refusal(response);
        const location = response.headers.get("Location");
        this.#resource = location ? new URL(location, response.url).href : undefined;
        const answer = await response.text();
        if (this.#isClosed) {
            this.#remove();
            return;
        }
        this.times.answer = performance.now() - this.#openedAt;
        const servers = iceServers(response.headers.get("Link"));
        // Before the local description, with which gathering begins.
        if (servers.length) this.connection.setConfiguration({ bundlePolicy: "max-bundle", iceServers: servers });
        await this.connection.setLocalDescription(offer);
        await this.connection.setRemoteDescription({ type: "answer", sdp: answer });
        this.#watchTransports();
        this.#silence = new SilenceWatch(this.connection, () => this.#restart());
    }

    /** A server that ends the session closes DTLS, which changes no state of the connection in some browsers. */
    #watchTransports() {
        const ends = this.connection.getTransceivers().flatMap(({ sender, receiver }) => [sender, receiver]);
        for (const transport of new Set(ends.map((end) => end.transport).filter(Boolean))) {
            transport.addEventListener("statechange", () => {
                if (["closed", "failed"].includes(transport.state)) this.#end();
            });
        }
    }

    async #fetch(url, method, body, { signal, headers = {}, keepalive = false } = {}) {
        const deadline = AbortSignal.timeout(20_000);
        try {
            return await fetch(url, {
                method, body, keepalive, cache: "no-store", headers: { ...headers, ...this.#authorization },
                signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
            });
        } catch (error) {
            if (signal?.aborted) throw error;
            const isLate = error.name === "TimeoutError";
            throw new SessionError(isLate ? "The server takes too long to answer." : "The server cannot be reached.");
        }
    }

    #changed() {
        const { connectionState: state, iceConnectionState: ice } = this.connection;
        if (state === "connected") this.times.connected ??= performance.now() - this.#openedAt;
        clearTimeout(this.#timer);
        if (state === "closed") this.#end();
        else if (ice === "failed") this.#restart();
        // DTLS ended, or its handshake failed: no new path helps.
        else if (state === "failed") this.#end();
        else if (ice === "disconnected") this.#timer = setTimeout(() => this.#restart(), 2000);
    }

    /** Looks for another path to the server. RFC 9725 §4.3.3. */
    async #restart() {
        if (this.#isRestarting || this.#isClosed) return;
        this.#isRestarting = true;
        try {
            if (!this.#resource) throw new SessionError("The connection was lost.");
            const { connection } = this;
            const offer = await connection.createOffer({ iceRestart: true });
            const response = await this.#askForRestart(fragment(offer.sdp));
            if (response.status !== 200) throw await refusal(response);
            const sdp = withFragment(connection.remoteDescription.sdp, await response.text());
            await connection.setLocalDescription(offer);
            await connection.setRemoteDescription({ type: "answer", sdp });
            this.#timer = setTimeout(() => {
                if (connection.connectionState !== "connected") this.#end();
            }, 10_000);
        } catch {
            this.#end();
        } finally {
            this.#isRestarting = false;
        }
    }

    /** A browser whose address has just changed ends the requests that it had begun; only then there is a second try. */
    async #askForRestart(body) {
        const ask = () => this.#fetch(this.#resource, "PATCH", body, {
            headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
        });
        try {
            return await ask();
        } catch {
            await new Promise((resolve) => { setTimeout(resolve, 250); });
            return await ask();
        }
    }

    #remove() {
        if (!this.#resource) return;
        // The page may be on its way out.
        this.#fetch(this.#resource, "DELETE", undefined, { keepalive: true }).catch(() => {});
        this.#resource = undefined;
    }

    close() {
        if (this.#isClosed) return;
        this.#isClosed = true;
        clearTimeout(this.#timer);
        this.#silence?.stop();
        this.connection.close();
        this.#remove();
        this.#end();
    }
}
