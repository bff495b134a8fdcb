// Plays (Low-Latency) HLS of fragmented MP4 over Media Source Extensions.
//
// Each rendition has a feed: one loop keeps its playlist fresh, another fetches what comes next and appends it. All
// feeds share one timeline: the first segment of the first playlist is at 0, and what follows adjoins, over
// discontinuities too. A failure that a feed cannot overcome ends the session; the next one starts afresh at the live
// edge.

import {
    backOffMillis, canUseMediaSource, childController, LiveSync, MediaBuffer, PlayError, sleep, supports,
} from "./player-buffer.js";
import { describeInit, startTime } from "./player-mp4.js";
import { parseMedia, parseMultivariant } from "./player-playlist.js";

/** Fetches with a deadline; failures become `PlayError`s with a status. */
async function request(url, { signal, timeout = 10_000, range }) {
    const inner = childController(signal);
    let isLate = false;
    const timer = setTimeout(() => {
        isLate = true;
        inner.abort();
    }, timeout);
    let response;
    try {
        response = await fetch(url, { signal: inner.signal, headers: range ? { Range: range } : {} });
        if (response.ok) return { response, bytes: new Uint8Array(await response.arrayBuffer()) };
    } catch (error) {
        if (signal.aborted) throw error;
        throw new PlayError(isLate ? "The server takes too long to answer." : "The connection was lost.");
    } finally {
        clearTimeout(timer);
    }
    const reason = response.status === 404 ? "The stream is not live. Waiting for it."
        : response.status === 401 || response.status === 403 ? "Playing this stream is not allowed."
            : `The server answers with status ${response.status}.`;
    throw new PlayError(reason, { status: response.status, isFinal: [401, 403].includes(response.status) });
}

/** Segments without an initialization segment are MPEG-TS, or of a kind that nobody makes any more. */
function notMP4() {
    return new PlayError("The HLS of this stream is not MP4. Another protocol may play here.", { isFinal: true });
}

/** `n@o` as the value of a `Range` header. */
function rangeHeader(range) {
    if (!range) return undefined;
    const [length, offset = 0] = range.split("@").map(Number);
    return `bytes=${offset}-${offset + length - 1}`;
}

export class HlsPlayer {
    /** What the page shows while there is trouble, or "". */
    trouble = "";
    hasEnded = false;
    variants = [];
    variant;
    sync;
    #video;
    #url;
    #decorate;
    #wantedVariant;
    /** The bandwidth that was too much. */
    #ceiling = Infinity;
    #seekTo;
    /** Where a seek that waits for buffers to be empty will go. */
    #target;
    #changes = new EventTarget();
    #stopped = new AbortController();
    #session;
    #attempt = 0;
    #received = [];
    /** The timeline: where segments begin, by sequence number; offsets from media time, by discontinuity. */
    #starts = new Map();
    #offsets = new Map();

    /** `decorate(url)` adds what every request needs, such as a token. */
    constructor({ video, url, decorate }) {
        this.#video = video;
        this.#url = url;
        this.#decorate = decorate;
    }

    static get isPossible() {
        return canUseMediaSource();
    }

    async start() {
        const { signal } = this.#stopped;
        while (!signal.aborted) {
            this.#session = childController(signal);
            const media = new MediaBuffer(this.#video);
            try {
                await this.#play(media, this.#session.signal);
            } catch (error) {
                if (signal.aborted) return;
                if (error.isFinal) {
                    this.trouble = error.message;
                    throw error;
                }
                if (!this.#session.signal.aborted) await this.#waitAfter(error, signal);
            } finally {
                this.#session.abort();
                this.sync?.stop();
                media.close();
            }
        }
    }

    async #waitAfter(error, signal) {
        const millis = Math.max(error.status === 404 ? 1000 : 0, backOffMillis(this.#attempt));
        this.#attempt += 1;
        this.trouble = error instanceof PlayError ? error.message : `Playback failed (${error.message}).`;
        await sleep(millis, signal).catch(() => {});
    }

    stop() {
        this.#stopped.abort();
    }

    /** Goes to `time`, buffered or not; returns when the browser has been told. */
    async seek(time) {
        await this.#seekTo?.(time);
    }

    /** Where it plays, or will in a moment. */
    get position() {
        return this.#target ?? this.#video.currentTime;
    }

    async #seekIn(media, feeds, time) {
        const isUnderWay = this.#target !== undefined;
        this.#target = time;
        if (isUnderWay) return;
        if (media.ahead(time) <= 0) {
            // What is appended from now on is what is wanted; a player at its end must not be told to seek before that.
            await media.clear();
            const { segments } = feeds[0].playlist;
            const isBefore = ({ sequence }) => this.#starts.get(sequence) <= this.#target;
            const first = segments.findLast(isBefore) ?? segments[0];
            for (const feed of feeds) feed.begin(first.sequence);
        }
        this.#video.currentTime = this.#target;
        this.#target = undefined;
    }

    /** Plays another variant, the one whose address is `url`; `undefined` leaves the choice to the player. */
    choose(url) {
        this.#wantedVariant = url;
        this.#ceiling = Infinity;
        this.#session?.abort();
    }

    async #play(media, signal) {
        this.#starts.clear();
        this.#offsets.clear();
        this.#target = undefined;
        const playlists = await this.#loadMultivariant(signal);
        const feeds = playlists.map((url, index) => new Feed(this, url, index === 0, signal));
        await Promise.all(feeds.map((feed) => feed.open()));
        await media.open(feeds);
        this.#place(feeds);
        this.#seekTo = (time) => this.#seekIn(media, feeds, time);
        this.sync = new LiveSync(this.#video, media, {
            edge: () => feeds[0].edge(), wanted: () => feeds[0].holdBack, seek: this.#seekTo,
        });
        this.sync.isFollowing = !feeds[0].playlist.isEnded;
        this.trouble = "";
        const housekeeping = setInterval(() => this.#keepHouse(media, feeds), 1000);
        try {
            await Promise.all(feeds.map((feed) => feed.run(media, () => media.evict(5))));
        } finally {
            clearInterval(housekeeping);
        }
    }

    /** The addresses of the media playlists to play, the main one first. */
    async #loadMultivariant(signal) {
        const url = this.address(this.#url);
        const { response, bytes } = await request(url, { signal });
        const text = new TextDecoder().decode(bytes);
        const found = parseMultivariant(text, response.url);
        if (!found) return [this.#url];
        const canPlay = (codec) => supports("video", codec) || supports("audio", codec);
        const isPlayable = ({ codecs }) => codecs.every(canPlay);
        this.variants = found.variants.filter(isPlayable);
        if (!this.variants.length) {
            const names = found.variants.flatMap(({ codecs }) => codecs).join(", ") || "none";
            throw new PlayError(`This browser cannot play the stream's codecs (${names}).`, { isFinal: true });
        }
        const screenHeight = Math.max(720, Math.min(screen.width, screen.height) * devicePixelRatio);
        this.variant = this.variants.find((variant) => variant.url === this.#wantedVariant)
            ?? this.variants.find(({ height, bandwidth }) => !(height > screenHeight) && bandwidth < this.#ceiling)
            ?? this.variants.at(-1);
        const urls = [this.variant.url];
        if (this.variant.audioUrl && this.variant.audioUrl !== urls[0]) urls.push(this.variant.audioUrl);
        return urls;
    }

    address(url) {
        return this.#decorate(url);
    }

    /** Decides where playing begins, and with which segment each feed. */
    #place(feeds) {
        const [main] = feeds;
        const { segments, isEnded } = main.playlist;
        const wanted = isEnded ? 0 : Math.max(0, main.edge() - main.holdBack);
        const first = segments.findLast((segment) => this.#starts.get(segment.sequence) <= wanted) ?? segments[0];
        for (const feed of feeds) feed.begin(first.sequence);
        this.#video.currentTime = Math.max(wanted, this.#starts.get(first.sequence));
    }

    // The timeline

    startOf(sequence) {
        return this.#starts.get(sequence);
    }

    get firstSequence() {
        return this.#starts.keys().next().value ?? 0;
    }

    /** Puts the segments of the main playlist on the timeline. */
    extend({ segments }) {
        let end;
        for (const segment of segments) {
            const known = this.#starts.get(segment.sequence);
            if (known !== undefined) {
                end = known + segment.duration;
            } else {
                if (end === undefined && this.#starts.size) {
                    throw new PlayError("The player fell behind the stream.", { endsSession: true });
                }
                end ??= 0;
                this.#starts.set(segment.sequence, end);
                end += segment.duration;
            }
        }
        for (const sequence of this.#starts.keys()) {
            if (sequence >= segments[0].sequence) break;
            this.#starts.delete(sequence);
        }
    }

    /** What to add to the media times of `bytes` so that they lie at `start`; the same for all of a discontinuity. */
    offset(discontinuity, bytes, timescales, start) {
        let offset = this.#offsets.get(discontinuity);
        if (offset === undefined) {
            offset = start - startTime(bytes, timescales);
            this.#offsets.set(discontinuity, offset);
        }
        return offset;
    }

    // What feeds ask

    get time() {
        return this.#video.currentTime;
    }

    get isPaused() {
        return this.#video.paused;
    }

    /** Tells all feeds that a playlist has changed. */
    announce() {
        this.#changes.dispatchEvent(new Event("change"));
    }

    /** Waits until a playlist changes, a second at most. */
    async change(signal) {
        const waiting = childController(signal);
        this.#changes.addEventListener("change", () => waiting.abort(), { once: true, signal: waiting.signal });
        await sleep(1000, waiting.signal).catch(() => {});
        waiting.abort();
        signal.throwIfAborted();
    }

    count(bytes, seconds) {
        this.#received.push({ bytes, seconds, at: performance.now() });
        const oldest = performance.now() - 10_000;
        while (this.#received.length > 2 && this.#received[0].at < oldest) this.#received.shift();
        this.#attempt = 0;
        this.trouble = "";
    }

    // What the page asks

    #keepHouse(media, feeds) {
        media.evict(30);
        const isSmallest = !this.variant || this.variant === this.variants.at(-1);
        if (this.sync.stalls >= 4 && !this.#wantedVariant && !isSmallest) {
            this.#ceiling = this.variant.bandwidth;
            this.#session.abort();
        }
        const window = feeds[0].window();
        if (!feeds[0].playlist.isEnded) {
            media.setSeekable(window.start, window.end);
        } else {
            this.sync.isFollowing = false;
            media.setDuration(window.end);
            if (feeds.every(({ isDone }) => isDone)) media.end();
        }
        this.hasEnded = feeds[0].playlist.isEnded;
        this.seekable = window;
        this.targetDuration = feeds[0].playlist.targetDuration;
        this.isLowLatency = feeds[0].playlist.partTarget !== undefined;
        this.wallTimeAt = (time) => feeds[0].wallTimeAt(time);
    }

    /** Bits per second of media, over all renditions. */
    get bitRate() {
        const seconds = this.#received.reduce((sum, { seconds: length }) => sum + length, 0);
        const bytes = this.#received.reduce((sum, { bytes: count }) => sum + count, 0);
        return seconds ? bytes * 8 / seconds * (this.variant?.audioUrl ? 2 : 1) : 0;
    }

    /** Milliseconds since 1970 at which the picture on screen was taken; `undefined` if the stream does not tell. */
    get wallTime() {
        return this.wallTimeAt?.(this.#video.currentTime);
    }
}

/** One media playlist with what is fetched of it. */
class Feed {
    playlist;
    kind;
    codec;
    /** All that the playlist lists has been appended, and no more will be listed. */
    isDone = false;
    #player;
    #url;
    #isMain;
    #signal;
    #init;
    #inits = new Map();
    #keys = new Map();
    #hints = new Map();
    #nextSequence = 0;
    #nextPart = 0;
    /** Enough is buffered for now. */
    #isFull = false;

    constructor(player, url, isMain, signal) {
        this.#player = player;
        this.#url = url;
        this.#isMain = isMain;
        this.#signal = signal;
    }

    /** Loads the playlist, and the initialization segment of what is newest in it to learn the codec. */
    async open() {
        await this.#reload();
        const { map } = this.playlist.segments.at(-1);
        if (!map) throw notMP4();
        const { codec, kind } = await this.#loadInit(map);
        this.codec = codec;
        this.kind = kind;
    }

    begin(sequence) {
        this.#nextSequence = sequence;
        this.#nextPart = 0;
    }

    /** The distance from the edge that the server asks for. */
    get holdBack() {
        const { partTarget, partHoldBack, holdBack, targetDuration } = this.playlist;
        if (partTarget) return partHoldBack ?? partTarget * 3;
        return holdBack ?? targetDuration * 3;
    }

    /** The end of what is listed, and what should have come since. */
    edge() {
        const last = this.playlist.segments.at(-1);
        const end = this.#player.startOf(last.sequence) + last.duration;
        if (this.playlist.isEnded) return end;
        const age = (performance.now() - this.playlist.receivedAt) / 1000;
        return end + Math.min(age, this.playlist.partTarget ?? this.playlist.targetDuration);
    }

    window() {
        return { start: this.#player.startOf(this.playlist.segments[0].sequence), end: this.edge() };
    }

    wallTimeAt(time) {
        const segment = this.playlist.segments.findLast(({ sequence }) => this.#player.startOf(sequence) <= time);
        return segment?.wallTime && segment.wallTime + (time - this.#player.startOf(segment.sequence)) * 1000;
    }

    /** Until something fails for good: at the end of a playlist a seek may still need what comes before. */
    async run(media, makeRoom) {
        await Promise.all([this.#keepFresh(), this.#feed(media, makeRoom)]);
    }

    // The playlist

    async #keepFresh() {
        let failures = 0;
        while (!this.playlist.isEnded) {
            if (this.#player.isPaused && this.#isFull) {
                await sleep(1000, this.#signal);
                continue;
            }
            const last = this.playlist.segments.at(-1);
            const before = this.playlist;
            try {
                await this.#reload(before.canBlock ? last : undefined);
                failures = 0;
            } catch (error) {
                this.#signal.throwIfAborted();
                failures += 1;
                if (error.isFinal || error.endsSession || failures > 6) throw error;
                if (failures > 1) this.#player.trouble = `${error.message} Trying again.`;
                await sleep(error.status === 412 ? 0 : backOffMillis(failures), this.#signal);
                continue;
            }
            const now = this.playlist.segments.at(-1);
            const hasMoved = now.sequence !== last.sequence || now.parts.length !== last.parts.length
                || now.isWhole !== last.isWhole;
            const pause = (this.playlist.partTarget ?? this.playlist.targetDuration / 2) * 1000;
            if (!this.playlist.isEnded && !(before.canBlock && hasMoved)) await sleep(pause, this.#signal);
        }
        this.#player.announce();
    }

    /** Loads the playlist: at once, or when there is more than `last` in it. */
    async #reload(last) {
        const url = new URL(this.#player.address(this.#url));
        const { playlist } = this;
        let timeout = 10_000;
        if (last) {
            const isOpen = !last.isWhole;
            url.searchParams.set("_HLS_msn", isOpen ? last.sequence : last.sequence + 1);
            if (playlist.partTarget) url.searchParams.set("_HLS_part", isOpen ? last.parts.length : 0);
            timeout += playlist.targetDuration * 3000;
        }
        if (playlist?.canSkip && performance.now() - playlist.receivedAt < playlist.targetDuration * 3000) {
            url.searchParams.set("_HLS_skip", "YES");
        }
        const { response, bytes } = await request(url.href, { signal: this.#signal, timeout });
        let next;
        try {
            next = parseMedia(new TextDecoder().decode(bytes), response.url, playlist);
        } catch (error) {
            // Without the playlist before, the next request is for a full one.
            if (error.status === 412) playlist.canSkip = false;
            throw error;
        }
        const newest = next.segments.at(-1)?.sequence;
        if (playlist && newest < playlist.segments.at(-1).sequence - 1) {
            throw new PlayError("The stream started anew.", { endsSession: true });
        }
        this.playlist = next;
        if (this.#isMain) this.#player.extend(next);
        this.#preload(next.hint);
        this.#player.announce();
    }

    /**
     * Asks for the part that comes next before it exists. Only over HTTP/2: a browser has six connections to a server
     * of HTTP/1.1, and requests that wait would use them up.
     */
    #preload(url) {
        const isAtEdge = this.#nextSequence + 1 >= this.playlist.segments.at(-1).sequence;
        if (!url || this.#hints.has(url) || !isMultiplexed() || !isAtEdge) return;
        const loaded = request(this.#player.address(url), { signal: this.#signal, timeout: 15_000 });
        loaded.catch(() => {});
        this.#hints.set(url, loaded);
        if (this.#hints.size > 4) this.#hints.delete(this.#hints.keys().next().value);
    }

    // The media

    async #feed(media, makeRoom) {
        const pending = [];
        const track = media.track(this.kind);
        for (;;) {
            while (pending.length < 2) {
                const item = this.#takeNext();
                if (!item) break;
                const loaded = this.#load(item);
                loaded.catch(() => {});
                pending.push({ item, loaded });
            }
            if (!pending.length) {
                this.isDone = this.playlist.isEnded;
                await this.#player.change(this.#signal);
                continue;
            }
            this.isDone = false;
            const { item, loaded } = pending.shift();
            const bytes = await loaded;
            if (bytes) await this.#append(track, item, bytes, makeRoom);
            while ((this.#isFull = media.ahead(this.#player.time) > 30)) await sleep(500, this.#signal);
        }
    }

    /** The next segment or part to fetch: whole segments where they are complete, parts at the edge. */
    #takeNext() {
        for (;;) {
            const segment = this.playlist.bySequence.get(this.#nextSequence);
            if (!segment) {
                const first = this.playlist.segments[0].sequence;
                if (this.#nextSequence >= first) return undefined;
                this.begin(first);
                continue;
            }
            // Its place on the timeline is known when the main playlist has it, too.
            if (this.#player.startOf(segment.sequence) === undefined && !this.#isOld(segment)) return undefined;
            const part = segment.parts[this.#nextPart];
            if (segment.isWhole && (this.#nextPart === 0 || !segment.parts.length)) {
                this.begin(segment.sequence + 1);
                if (segment.isGap) continue;
                return { segment, start: 0, url: segment.url, range: segment.range, duration: segment.duration };
            }
            if (part) {
                const start = segment.parts.slice(0, this.#nextPart).reduce((sum, { duration }) => sum + duration, 0);
                this.#nextPart += 1;
                if (part.isGap) continue;
                return { segment, start, url: part.url, range: part.range, duration: part.duration };
            }
            if (!segment.isWhole) return undefined;
            this.begin(segment.sequence + 1);
        }
    }

    /** The main playlist does not list it any more. */
    #isOld({ sequence }) {
        return sequence < this.#player.firstSequence;
    }

    /** The bytes of an item; `undefined` if it is lost, which playback jumps over. */
    async #load({ segment, url, range, duration }) {
        for (let attempt = 0; ; attempt += 1) {
            try {
                const hinted = this.#hints.get(url);
                this.#hints.delete(url);
                const address = this.#player.address(url);
                const options = { signal: this.#signal, range: rangeHeader(range) };
                let { bytes } = await (hinted ?? request(address, options));
                if (segment.key) bytes = await this.#decrypt(segment, bytes);
                this.#player.count(bytes.length, duration);
                return bytes;
            } catch (error) {
                this.#signal.throwIfAborted();
                const isGone = error.status === 404 || error.status === 410;
                if (isGone && attempt >= 3) return undefined;
                if (error.isFinal || attempt >= 7) throw error;
                const what = isGone ? "A part of the stream is missing." : error.message;
                if (attempt > 0) this.#player.trouble = `${what} Trying again.`;
                await sleep(isGone ? 250 : backOffMillis(attempt), this.#signal);
            }
        }
    }

    async #append(track, { segment, start }, bytes, makeRoom) {
        if (!segment.map) throw notMP4();
        const isSame = this.#init?.url === segment.map.url && this.#init.range === segment.map.range;
        if (!isSame) {
            const init = await this.#loadInit(segment.map);
            if (init.kind !== this.kind) throw new PlayError("The tracks of the stream changed.");
            await track.appendInit(init.bytes, init.codec);
            this.#init = { ...segment.map, timescales: init.timescales };
        }
        const at = this.#player.startOf(segment.sequence);
        // Older than the window by now: nobody will see it.
        if (at === undefined) return;
        const offset = this.#player.offset(segment.discontinuity, bytes, this.#init.timescales, at + start);
        await track.append(bytes, offset, makeRoom);
    }

    async #loadInit(map) {
        const name = `${map.url} ${map.range ?? ""}`;
        if (!this.#inits.has(name)) {
            const options = { signal: this.#signal, range: rangeHeader(map.range) };
            const { bytes } = await request(this.#player.address(map.url), options);
            this.#inits.set(name, { bytes, ...describeInit(bytes) });
            if (this.#inits.size > 8) this.#inits.delete(this.#inits.keys().next().value);
        }
        return this.#inits.get(name);
    }

    /** AES-128-CBC of whole segments, which browsers offer to pages that came by HTTPS or from this machine. */
    async #decrypt({ key, sequence }, bytes) {
        if (key.method !== "AES-128" || !crypto.subtle) {
            throw new PlayError("Encrypted streams need HTTPS here.", { isFinal: true });
        }
        if (!this.#keys.has(key.url)) {
            const { bytes: raw } = await request(this.#player.address(key.url), { signal: this.#signal });
            this.#keys.set(key.url, await crypto.subtle.importKey("raw", raw, "AES-CBC", false, ["decrypt"]));
            if (this.#keys.size > 8) this.#keys.delete(this.#keys.keys().next().value);
        }
        const digits = key.iv ? key.iv.slice(2) : sequence.toString(16);
        const iv = Uint8Array.from(digits.padStart(32, "0").match(/../g), (pair) => parseInt(pair, 16));
        const plain = await crypto.subtle.decrypt({ name: "AES-CBC", iv }, this.#keys.get(key.url), bytes);
        return new Uint8Array(plain);
    }
}

let multiplexed;

/** Whether the page itself came by HTTP/2 or 3. */
function isMultiplexed() {
    multiplexed ??= ["h2", "h3"].includes(performance.getEntriesByType("navigation")[0]?.nextHopProtocol);
    return multiplexed;
}
