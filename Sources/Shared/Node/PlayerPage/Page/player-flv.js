// Plays HTTP-FLV over Media Source Extensions: reads the tags of an endless FLV body and writes their frames as
// fragmented MP4. Adobe FLV 10.1 annex E; Enhanced RTMP v2 for HEVC, AV1, VP9, Opus, FLAC, AC-3.

import {
    backOffMillis, canUseMediaSource, childController, LiveSync, MediaBuffer, PlayError, sleep,
} from "./player-buffer.js";
import {
    aacCodec, aacFormat, av1Codec, avcCodec, avcSize, concat, hevcCodec, number, vp9Codec, writeFragment, writeInit,
} from "./player-mp4.js";

// ---------------------------------------------------------------------------------------------------------------------
// Tags

/** Cuts chunks of a body into tags `{type, time, body}`, times in milliseconds. */
class TagReader {
    #rest = new Uint8Array(0);
    #hasHeader = false;

    *read(chunk) {
        let bytes = this.#rest.length ? concat([this.#rest, chunk]) : chunk;
        if (!this.#hasHeader && bytes.length >= 13) {
            if (bytes[0] !== 0x46 || bytes[1] !== 0x4c || bytes[2] !== 0x56) {
                throw new PlayError("The server's answer is not FLV.");
            }
            bytes = bytes.subarray(number(bytes, 5, 4) + 4);
            this.#hasHeader = true;
        }
        let at = 0;
        while (this.#hasHeader && at + 11 <= bytes.length) {
            const size = number(bytes, at + 1, 3);
            if (at + 11 + size + 4 > bytes.length) break;
            const time = bytes[at + 7] * 2 ** 24 + number(bytes, at + 4, 3);
            yield { type: bytes[at] & 0x1f, time, body: bytes.subarray(at + 11, at + 11 + size) };
            at += size + 15;
        }
        this.#rest = bytes.slice(at);
    }
}

const fourCC = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const signed24 = (bytes, at) => (number(bytes, at, 3) << 8) >> 8;

/** Skips the modifiers that may stand before the type of an enhanced packet. */
function packetType(body) {
    let type = body[0] & 15;
    let at = 1;
    while (type === 7 && at < body.length) {
        let size = body[at] + 1;
        at += 1;
        if (size === 256) {
            size = number(body, at, 2) + 1;
            at += 2;
        }
        at += size;
        type = body[at] & 15;
        at += 1;
    }
    return { type, at };
}

/** A video tag as `{codec, config}`, `{codec, isKey, offset, data}`, or `undefined` for what has neither. */
function readVideo(body) {
    if (body.length < 5) return undefined;
    if (body[0] & 0x80) {
        const isKey = (body[0] >> 4 & 7) === 1;
        const { type, at } = packetType(body);
        const codec = { avc1: "h264", hvc1: "hevc", av01: "av1", vp09: "vp9" }[fourCC(body, at)];
        const data = body.subarray(at + 4);
        if (!codec) return undefined;
        if (type === 0) return { codec, config: data };
        const hasOffset = type === 1 && (codec === "h264" || codec === "hevc");
        if (hasOffset) return { codec, isKey, offset: signed24(data, 0), data: data.subarray(3) };
        return type === 1 || type === 3 ? { codec, isKey, offset: 0, data } : undefined;
    }
    const codec = { 7: "h264", 12: "hevc", 13: "av1" }[body[0] & 15];
    if (!codec || body[0] >> 4 === 5) return undefined;
    const data = body.subarray(5);
    if (body[1] === 0) return { codec, config: data };
    return body[1] === 1 ? { codec, isKey: body[0] >> 4 === 1, offset: signed24(body, 2), data } : undefined;
}

/** An audio tag as `{codec, config}`, `{codec, data}`, or `undefined`. */
function readAudio(body) {
    if (body.length < 2) return undefined;
    const format = body[0] >> 4;
    if (format === 9) {
        const { type, at } = packetType(body);
        const name = fourCC(body, at);
        const codec = { mp4a: "aac", Opus: "opus", fLaC: "flac", "ac-3": "ac3", "ec-3": "eac3", ".mp3": "mp3" }[name];
        const data = body.subarray(at + 4);
        if (!codec) return undefined;
        if (type === 0) return { codec, config: data };
        return type === 1 ? { codec, data } : undefined;
    }
    if (format === 10) {
        return body[1] === 0 ? { codec: "aac", config: body.subarray(2) } : { codec: "aac", data: body.subarray(2) };
    }
    return format === 2 || format === 14 ? { codec: "mp3", data: body.subarray(1) } : undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Tracks

/** What MP4 has to say of a video codec's configuration; `size` is what else is known of the picture. */
function describeVideo(codec, record, size) {
    const common = { kind: "video", timescale: 1000, ...size };
    switch (codec) {
    case "h264":
        return { ...common, ...avcSize(record), name: avcCodec(record), codec: { entry: "avc1", box: "avcC", record } };
    case "hevc": return { ...common, name: hevcCodec(record), codec: { entry: "hvc1", box: "hvcC", record } };
    case "av1": return { ...common, name: av1Codec(record), codec: { entry: "av01", box: "av1C", record } };
    default: {
        // The box has a version and flags in front, which some writers send along.
        const full = record.length >= 12 && record[0] === 1 ? record : concat([Uint8Array.of(1, 0, 0, 0), record]);
        return { ...common, name: vp9Codec(full.subarray(4)), codec: { entry: "vp09", box: "vpcC", record: full } };
    }
    }
}

/** What MP4 has to say of an audio codec: by its configuration, or by its first frame where it has none. */
function describeAudio(codec, record, frame) {
    const make = (name, entry, sampleRate, channels, frameLength) => ({
        kind: "audio", timescale: sampleRate, name, codec: entry, sampleRate, channels, frameLength,
    });
    switch (codec) {
    case "aac": {
        const { sampleRate, channels } = aacFormat(record);
        const entry = { entry: "mp4a", box: "esds", objectType: 0x40, record };
        return make(aacCodec(record), entry, sampleRate, channels, () => 1024);
    }
    case "opus": {
        // `OpusHead` has its numbers the other way round than the box, and a signature in front.
        const head = record.subarray(8);
        const box = Uint8Array.from([0, head[1], head[3], head[2], head[7], head[6], head[5], head[4], head[9], head[8],
            ...head.subarray(10)]);
        return make("opus", { entry: "Opus", box: "dOps", record: box }, 48_000, head[1], opusFrameLength);
    }
    case "flac": {
        // Some writers keep the signature and the block's header of a FLAC file.
        if (fourCC(record, 0) === "fLaC") record = record.subarray(8);
        const rate = number(record, 10, 3) >> 4;
        const box = concat([Uint8Array.of(0, 0, 0, 0, 0x80, 0, 0, record.length), record]);
        const length = number(record, 2, 2);
        return make(
            "flac", { entry: "fLaC", box: "dfLa", record: box }, rate, (record[12] >> 1 & 7) + 1, () => length);
    }
    case "mp3": {
        const isLow = (frame[1] & 8) === 0;
        const base = [44_100, 48_000, 32_000][frame[2] >> 2 & 3] ?? 44_100;
        const rate = isLow ? base / ((frame[1] & 0x10) === 0 ? 4 : 2) : base;
        const entry = { entry: "mp4a", box: "esds", objectType: 0x6b };
        return make("mp3", entry, rate, frame[3] >> 6 === 3 ? 1 : 2, () => (isLow ? 576 : 1152));
    }
    default: throw new PlayError(`This browser cannot play ${codec} by FLV.`, { isFinal: true });
    }
}

/** Samples at 48 kHz of an Opus packet. RFC 6716 §3.1. */
function opusFrameLength(packet) {
    const config = packet[0] >> 3;
    const length = config < 12 ? [480, 960, 1920, 2880][config & 3]
        : config < 16 ? [480, 960][config & 1] : [120, 240, 480, 960][config & 3];
    const code = packet[0] & 3;
    return length * (code === 0 ? 1 : code === 3 ? packet[1] & 63 : 2);
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The frames of one track on their way from tags to fragments. */
class TrackWriter {
    description;
    frames = [];
    isNew = false;
    #record;
    #sequence = 0;
    #lastTime;
    #lastDuration = 33;
    /** The decode time of the next audio frame in ticks, which follows the counts of samples. */
    #nextTicks;

    /** Takes a configuration; the same one again is no news. */
    configure(record, describe) {
        const isSame = this.#record && record.length === this.#record.length
            && record.every((byte, index) => byte === this.#record[index]);
        if (isSame) return;
        this.#record = record.slice();
        this.description = describe(this.#record);
        this.isNew = true;
        this.#nextTicks = undefined;
    }

    add(time, frame) {
        this.frames.push({ time, ...frame });
    }

    /** The frames as a fragment; `undefined` without any. */
    take() {
        if (!this.frames.length || !this.description) return undefined;
        const frames = this.frames;
        this.frames = [];
        this.#sequence += 1;
        return this.description.kind === "video" ? this.#takeVideo(frames) : this.#takeAudio(frames);
    }

    #takeVideo(frames) {
        frames.forEach((frame, index) => {
            const next = frames[index + 1];
            if (next) this.#lastDuration = Math.max(1, next.time - frame.time);
            else if (this.#lastTime !== undefined) this.#lastDuration = clamp(frame.time - this.#lastTime, 1, 1000);
            frame.duration = this.#lastDuration;
            this.#lastTime = frame.time;
        });
        return writeFragment(this.#sequence, frames[0].time, frames);
    }

    #takeAudio(frames) {
        const { timescale, frameLength } = this.description;
        const wanted = Math.round(frames[0].time * timescale / 1000);
        // Tags have whole milliseconds: samples are counted, and only what is clearly off is believed.
        const isOff = this.#nextTicks === undefined || Math.abs(wanted - this.#nextTicks) > timescale / 10;
        if (isOff) this.#nextTicks = wanted;
        const start = this.#nextTicks;
        for (const frame of frames) {
            frame.duration = frameLength(frame.data);
            frame.offset = 0;
            frame.isKey = true;
            this.#nextTicks += frame.duration;
        }
        return writeFragment(this.#sequence, start, frames);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The player

export class FlvPlayer {
    trouble = "";
    hasEnded = false;
    sync;
    variants = [];
    #video;
    #url;
    #size;
    #stopped = new AbortController();
    #attempt = 0;
    #received = [];

    /** `size`: width and height as the list of streams has them, for codecs whose header is not read here. */
    constructor({ video, url, decorate, size }) {
        this.#video = video;
        this.#url = decorate(url);
        this.#size = size;
    }

    static get isPossible() {
        return canUseMediaSource();
    }

    stop() {
        this.#stopped.abort();
    }

    async start() {
        const { signal } = this.#stopped;
        while (!signal.aborted) {
            const media = new MediaBuffer(this.#video);
            const session = childController(signal);
            try {
                await this.#play(media, session.signal);
                throw new PlayError("The stream has ended, or the connection was lost.");
            } catch (error) {
                if (signal.aborted) return;
                this.trouble = error instanceof PlayError ? error.message : `Playback failed (${error.message}).`;
                if (error.isFinal) throw error;
                this.#attempt += 1;
                await sleep(Math.max(500, backOffMillis(this.#attempt)), signal).catch(() => {});
            } finally {
                session.abort();
                this.sync?.stop();
                media.close();
            }
        }
    }

    async #play(media, signal) {
        const reader = await this.#connect(signal);
        const tags = new TagReader();
        const tracks = { video: new TrackWriter(), audio: new TrackWriter() };
        const clock = { base: undefined, last: 0 };
        let isOpen = false;
        let openAt;
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return;
            this.#received.push({ bytes: value.length, at: performance.now() });
            for (const tag of tags.read(value)) this.#take(tag, tracks, clock);
            const found = Object.values(tracks).filter(({ description }) => description);
            if (!isOpen && found.length) {
                // The tracks are told right at the start; a stream may have only one.
                openAt ??= performance.now() + 700;
                if (found.length < 2 && performance.now() < openAt) continue;
                await this.#open(media, found);
                isOpen = true;
            }
            if (isOpen) await this.#flush(media, tracks);
        }
    }

    async #connect(signal) {
        let response;
        try {
            response = await fetch(this.#url, { signal });
        } catch (error) {
            if (signal.aborted) throw error;
            throw new PlayError("The connection was lost.");
        }
        if (response.status === 404) throw new PlayError("The stream is not live. Waiting for it.");
        if (response.status === 401 || response.status === 403) {
            throw new PlayError("Playing this stream is not allowed.", { isFinal: true });
        }
        if (!response.ok) throw new PlayError(`The server answers with status ${response.status}.`);
        return response.body.getReader();
    }

    #take({ type, time, body }, tracks, clock) {
        const read = { 8: readAudio, 9: readVideo }[type];
        const packet = read?.(body);
        if (!packet) return;
        const track = type === 9 ? tracks.video : tracks.audio;
        if (packet.config) {
            const describe = type === 9 ? (record) => describeVideo(packet.codec, record, this.#size)
                : (record) => describeAudio(packet.codec, record);
            if (packet.config.length) track.configure(packet.config, describe);
            return;
        }
        if (!packet.data.length) return;
        if (packet.codec === "mp3" && !track.description) {
            track.configure(packet.data.subarray(0, 4), (frame) => describeAudio("mp3", undefined, frame));
        }
        clock.base ??= time;
        // A new source may begin its time anew: what follows adjoins what was there.
        if (Math.abs(time - clock.base - clock.last) > 30_000) clock.base = time - clock.last;
        const moment = Math.max(0, time - clock.base);
        clock.last = moment;
        track.add(moment, packet);
    }

    async #open(media, found) {
        await media.open(found.map(({ description }) => ({ kind: description.kind, codec: description.name })));
        this.sync = new LiveSync(this.#video, media, {
            edge: () => this.#bufferedEnd(), wanted: () => 0.8,
            seek: (time) => { this.#video.currentTime = time; },
        });
        this.trouble = "";
        this.#attempt = 0;
    }

    #bufferedEnd() {
        const { buffered } = this.#video;
        return buffered.length ? buffered.end(buffered.length - 1) : this.#video.currentTime;
    }

    async #flush(media, tracks) {
        for (const writer of Object.values(tracks)) {
            const { description } = writer;
            const buffer = description && media.track(description.kind);
            if (description && !buffer) throw new PlayError("The tracks of the stream changed.");
            if (writer.isNew) {
                writer.isNew = false;
                await buffer.appendInit(writeInit(description), description.name);
            }
            const fragment = writer.take();
            if (fragment) await buffer.append(fragment, 0, () => media.evict(5));
        }
        media.evict(20);
        const { buffered, currentTime } = this.#video;
        // The first thing that comes is a burst: it is played from near its end.
        if (currentTime === 0 && buffered.length) this.#video.currentTime = Math.max(0.01, this.#bufferedEnd() - 0.8);
    }

    get bitRate() {
        const oldest = performance.now() - 6000;
        while (this.#received.length > 2 && this.#received[0].at < oldest) this.#received.shift();
        if (this.#received.length < 3) return 0;
        const seconds = (performance.now() - this.#received[0].at) / 1000;
        const bytes = this.#received.slice(1).reduce((sum, { bytes: count }) => sum + count, 0);
        return seconds > 1 ? bytes * 8 / seconds : 0;
    }

    /** FLV has no clock. */
    get wallTime() {
        return undefined;
    }
}
