// What both ways of playing over Media Source Extensions share: buffers that take one append at a time, jumps over
// gaps, and the distance to the live edge.

import { describeInit, mediaData, startTime } from "./player-mp4.js";

/**
 * A failure that a viewer can be told of in `message`. `isFinal`: trying again does not help. `endsSession`: only
 * starting afresh helps. `status` is that of an HTTP answer.
 */
export class PlayError extends Error {
    constructor(message, { isFinal = false, endsSession = false, status = 0 } = {}) {
        super(message);
        this.isFinal = isFinal;
        this.endsSession = endsSession;
        this.status = status;
    }
}

/** An abort controller that is aborted with any of `signals`. */
export function childController(...signals) {
    const child = new AbortController();
    for (const signal of signals) {
        if (signal.aborted) child.abort();
        signal.addEventListener("abort", () => child.abort(), { once: true, signal: child.signal });
    }
    return child;
}

/** Waits; an aborted signal ends the wait with an error. */
export function sleep(millis, signal) {
    return new Promise((resolve, reject) => {
        if (signal?.aborted) {
            reject(new DOMException("stopped", "AbortError"));
            return;
        }
        const stop = () => {
            clearTimeout(timer);
            reject(new DOMException("stopped", "AbortError"));
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", stop);
            resolve();
        }, millis);
        signal?.addEventListener("abort", stop, { once: true });
    });
}

/** Doubles from 0.25 s to 5 s, with a share of chance so that viewers do not return all at once. */
export function backOffMillis(attempt) {
    return Math.min(5000, 250 * 2 ** Math.min(attempt, 5)) * (0.75 + Math.random() / 2);
}

export const canUseMediaSource = () => typeof window.MediaSource === "function";

export function supports(kind, codec) {
    return canUseMediaSource() && MediaSource.isTypeSupported(mimeType(kind, codec));
}

/** MP3 in MP4 is not for Chromium, which takes the bare frames. */
function mimeType(kind, codec) {
    const type = `${kind}/mp4; codecs="${codec}"`;
    const isMP3 = ["mp3", "mp4a.6B", "mp4a.69", "mp4a.40.34"].includes(codec);
    return isMP3 && !MediaSource.isTypeSupported(type) ? "audio/mpeg" : type;
}

/** A `MediaSource` of a video element with one buffer for each track. */
export class MediaBuffer {
    #video;
    #source = new MediaSource();
    #url = URL.createObjectURL(this.#source);
    #tracks = new Map();

    constructor(video) {
        this.#video = video;
    }

    /** Makes all buffers at once: browsers take no further ones when the first has data. */
    async open(tracks) {
        const opened = new Promise((resolve) => {
            this.#source.addEventListener("sourceopen", resolve, { once: true });
        });
        this.#video.src = this.#url;
        await opened;
        URL.revokeObjectURL(this.#url);
        for (const { kind, codec } of tracks) {
            if (!supports(kind, codec)) {
                throw new PlayError(`This browser cannot play ${kind} of type ${codec}.`, { isFinal: true });
            }
            this.#tracks.set(kind, new TrackBuffer(this.#source.addSourceBuffer(mimeType(kind, codec)), kind, codec));
        }
        this.#source.duration = Infinity;
    }

    track(kind) {
        return this.#tracks.get(kind);
    }

    /** Seconds that are there from `time` on in all tracks. */
    ahead(time) {
        const { buffered } = this.#video;
        for (let index = 0; index < buffered.length; index += 1) {
            // Frames do not begin exactly where a jump or another track does.
            if (buffered.start(index) - 0.1 <= time && time < buffered.end(index)) return buffered.end(index) - time;
        }
        return 0;
    }

    /** Forgets what was played `keep` seconds ago and earlier. */
    evict(keep) {
        const end = this.#video.currentTime - keep;
        for (const track of this.#tracks.values()) track.removeBefore(end);
    }

    /** Forgets everything. */
    async clear() {
        await Promise.all([...this.#tracks.values()].map((track) => track.clear()));
    }

    /** Where a viewer may seek to. */
    setSeekable(start, end) {
        if (this.#source.readyState === "open" && end > start && start >= 0) {
            this.#source.setLiveSeekableRange(start, end);
        }
    }

    /** Nothing more comes, though a seek may need more again. */
    end() {
        if (this.#source.readyState === "open") this.#source.endOfStream();
    }

    /** The length of what has an end. */
    setDuration(seconds) {
        const isIdle = this.#source.readyState === "open" && ![...this.#tracks.values()].some(({ isBusy }) => isBusy);
        if (isIdle && this.#source.duration === Infinity) this.#source.duration = seconds;
    }

    close() {
        if (this.#video.src === this.#url) {
            this.#video.removeAttribute("src");
            this.#video.load();
        }
    }
}

/** A `SourceBuffer` with a queue in front. */
class TrackBuffer {
    #buffer;
    #kind;
    #codec;
    /** Ticks per second of media that the buffer gets without its MP4, by track; else `undefined`. */
    #bareTimescales;
    #last = Promise.resolve();

    constructor(buffer, kind, codec) {
        this.#buffer = buffer;
        this.#kind = kind;
        this.#codec = codec;
    }

    get isBusy() {
        return this.#buffer.updating;
    }

    #enqueue(action) {
        const result = this.#last.then(() => new Promise((resolve, reject) => {
            this.#buffer.onupdateend = resolve;
            this.#buffer.onerror = () => reject(new PlayError("The browser could not read the media."));
            action();
            if (!this.#buffer.updating) resolve();
        }));
        this.#last = result.catch(() => {});
        return result;
    }

    /** Appends an initialization segment; another codec than before is told to the browser. */
    appendInit(bytes, codec) {
        return this.#enqueue(() => {
            if (codec !== this.#codec) {
                if (!supports(this.#kind, codec)) {
                    throw new PlayError(`This browser cannot play ${this.#kind} of type ${codec}.`, { isFinal: true });
                }
                this.#buffer.changeType(mimeType(this.#kind, codec));
                this.#codec = codec;
            }
            const isBare = mimeType(this.#kind, codec) === "audio/mpeg";
            this.#bareTimescales = isBare ? describeInit(bytes).timescales : undefined;
            if (!isBare) this.#buffer.appendBuffer(bytes);
        });
    }

    /** Appends media whose times are moved by `offset` seconds. `makeRoom` is for a full buffer. */
    async append(bytes, offset, makeRoom) {
        const append = () => this.#enqueue(() => {
            if (this.#bareTimescales) this.#appendBare(bytes, offset);
            else this.#appendTimed(bytes, offset);
        });
        try {
            await append();
        } catch (error) {
            if (error.name !== "QuotaExceededError") throw error;
            makeRoom();
            await append();
        }
    }

    #appendTimed(bytes, offset) {
        if (this.#buffer.mode !== "segments") this.#buffer.mode = "segments";
        if (Math.abs(this.#buffer.timestampOffset - offset) > 0.0005) this.#buffer.timestampOffset = offset;
        this.#buffer.appendBuffer(bytes);
    }

    /** Frames without times follow one another; only where that is clearly wrong are they placed. */
    #appendBare(bytes, offset) {
        const { buffered } = this.#buffer;
        const start = startTime(bytes, this.#bareTimescales) + offset;
        const end = buffered.length ? buffered.end(buffered.length - 1) : Infinity;
        if (Math.abs(end - start) > 0.1) this.#buffer.timestampOffset = start;
        this.#buffer.appendBuffer(mediaData(bytes));
    }

    removeBefore(end) {
        const { buffered } = this.#buffer;
        if (!buffered.length || buffered.start(0) >= end - 1) return;
        this.#enqueue(() => this.#buffer.remove(0, end)).catch(() => {});
    }

    async clear() {
        await this.#enqueue(() => this.#buffer.remove(0, Infinity)).catch(() => {});
    }
}

/**
 * Keeps a live player at a distance from the edge, by small changes of speed and, if it is far off, by a jump; gets it
 * over gaps in the buffer; and counts stalls, each of which makes the distance a little longer for a while.
 */
export class LiveSync {
    /** Off while a viewer watches what was earlier. */
    isFollowing = true;
    stalls = 0;
    #video;
    #media;
    #edge;
    #wanted;
    #seek;
    #extra = 0;
    #stuckSince;
    #timer;
    #onWaiting;
    #hasStarted = false;

    /**
     * `edge()` is the time of the newest media there is, `wanted()` the distance to it in seconds, `seek(time)` goes to
     * a time that may not be buffered.
     */
    constructor(video, media, { edge, wanted, seek }) {
        this.#video = video;
        this.#media = media;
        this.#edge = edge;
        this.#wanted = wanted;
        this.#seek = seek;
        this.#onWaiting = () => {
            if (!this.#hasStarted || video.seeking || video.paused) return;
            this.stalls += 1;
            this.#extra = Math.min(3, this.#extra + 0.25);
        };
        video.addEventListener("waiting", this.#onWaiting);
        this.#timer = setInterval(() => this.#tick(), 200);
    }

    stop() {
        clearInterval(this.#timer);
        this.#video.removeEventListener("waiting", this.#onWaiting);
        this.#video.playbackRate = 1;
    }

    /** The distance that is aimed at. */
    get target() {
        return this.#wanted() + this.#extra;
    }

    /** The distance now. */
    get distance() {
        return this.#edge() - this.#video.currentTime;
    }

    /** Goes to the live edge, as far as it is buffered or will be. */
    jump() {
        this.isFollowing = true;
        this.#seek(Math.max(0, this.#edge() - this.target));
    }

    #tick() {
        const video = this.#video;
        this.#extra = Math.max(0, this.#extra - 0.002);
        if (video.seeking && this.#media.ahead(video.currentTime) > 0) return;
        this.#crossGap();
        if (video.paused || video.readyState < 3) return;
        const excess = this.distance - this.target;
        if (!this.#hasStarted) {
            this.#hasStarted = true;
            this.#skip(excess);
        }
        if (!this.isFollowing) {
            this.#setRate(1);
        } else if (excess > Math.max(2, this.target)) {
            this.jump();
        } else if (excess > 0.1 && this.#media.ahead(video.currentTime) > 0.3) {
            this.#setRate(Math.min(1.1, 1 + excess * 0.15));
        } else if (excess < -0.1) {
            this.#setRate(Math.max(0.92, 1 + excess * 0.15));
        } else if (Math.abs(excess) < 0.04) {
            this.#setRate(1);
        }
    }

    /** Loading took its time: a jump inside the buffer at the start is not noticed. */
    #skip(excess) {
        const video = this.#video;
        const seconds = Math.min(excess, this.#media.ahead(video.currentTime) - 0.2);
        if (this.isFollowing && seconds > 0.2) video.currentTime += seconds;
    }

    #setRate(rate) {
        const rounded = Math.round(rate * 50) / 50;
        if (this.#video.playbackRate !== rounded) this.#video.playbackRate = rounded;
    }

    /** Where nothing is buffered but something later is, playback would wait for ever. */
    #crossGap() {
        const video = this.#video;
        const { buffered, currentTime } = video;
        if (video.readyState >= 3 || this.#media.ahead(currentTime) > 0.2) {
            this.#stuckSince = undefined;
            return;
        }
        let next;
        for (let index = 0; index < buffered.length && next === undefined; index += 1) {
            if (buffered.start(index) > currentTime) next = buffered.start(index);
        }
        if (next === undefined) return;
        const now = performance.now();
        this.#stuckSince ??= now;
        if (now - this.#stuckSince > 400) {
            this.#stuckSince = undefined;
            video.currentTime = next + 0.02;
        }
    }
}
