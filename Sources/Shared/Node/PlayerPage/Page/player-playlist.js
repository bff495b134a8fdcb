// Reads HLS playlists, low-latency tags and delta updates included. RFC 8216; draft-pantos-hls-rfc8216bis.

import { PlayError } from "./player-buffer.js";

/** `KEY=VALUE,KEY="VALUE"` as an object. */
function attributes(text) {
    const found = {};
    for (const [, name, quoted, plain] of text.matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^",]*))/g)) {
        found[name] = quoted ?? plain;
    }
    return found;
}

/** Lines as `{tag, value}` or `{uri}`. */
function* lines(text) {
    if (!text.startsWith("#EXTM3U")) throw new PlayError("The server's answer is not a playlist.");
    for (const line of text.split(/\r?\n/)) {
        if (line.startsWith("#EXT")) {
            const colon = line.indexOf(":");
            yield colon < 0 ? { tag: line, value: "" } : { tag: line.slice(0, colon), value: line.slice(colon + 1) };
        } else if (line && !line.startsWith("#")) {
            yield { uri: line };
        }
    }
}

/**
 * A multivariant playlist: `{variants: [{url, bandwidth, width, height, frameRate, codecs, audioUrl}]}`, the largest
 * picture first; `undefined` if the text is a media playlist.
 */
export function parseMultivariant(text, base) {
    const variants = [];
    const groups = new Map();
    let pending;
    for (const { tag, value, uri } of lines(text)) {
        if (tag === "#EXTINF" || tag === "#EXT-X-TARGETDURATION") return undefined;
        if (tag === "#EXT-X-MEDIA") {
            const media = attributes(value);
            const known = groups.get(media["GROUP-ID"]);
            if (media.TYPE === "AUDIO" && (!known || media.DEFAULT === "YES")) groups.set(media["GROUP-ID"], media);
        } else if (tag === "#EXT-X-STREAM-INF") {
            pending = attributes(value);
        } else if (uri && pending) {
            const [width, height] = (pending.RESOLUTION ?? "").split("x").map(Number);
            variants.push({
                url: new URL(uri, base).href, width, height, bandwidth: Number(pending.BANDWIDTH) || 0,
                frameRate: Number(pending["FRAME-RATE"]) || undefined, group: pending.AUDIO,
                codecs: (pending.CODECS ?? "").split(",").map((codec) => codec.trim()).filter(Boolean),
            });
            pending = undefined;
        }
    }
    for (const variant of variants) {
        const uri = groups.get(variant.group)?.URI;
        variant.audioUrl = uri && new URL(uri, base).href;
    }
    return { variants: variants.sort((left, right) => (right.height || 0) - (left.height || 0)
        || right.bandwidth - left.bandwidth) };
}

/**
 * A media playlist. Segments are `{sequence, url, duration, wallTime, discontinuity, map, key, isGap, isWhole, parts}`,
 * times in seconds, `wallTime` in milliseconds since 1970; the last one may be open (`isWhole` false), with the parts
 * that exist. `previous` is the playlist before, which a delta update builds upon.
 */
export function parseMedia(text, base, previous) {
    const playlist = {
        segments: [], targetDuration: 6, isEnded: false, canBlock: false, hint: undefined, partTarget: undefined,
        receivedAt: performance.now(),
    };
    let sequence = 0;
    let discontinuity = 0;
    let wallTime;
    let map;
    let key;
    let open;
    const resolve = (uri) => new URL(uri, base).href;
    const begin = () => {
        open ??= { sequence, discontinuity, map, key, wallTime, parts: [], duration: 0, isGap: false, isWhole: false };
        return open;
    };
    const skip = (count) => {
        for (let index = 0; index < count; index += 1) {
            const known = previous?.bySequence.get(sequence);
            if (!known?.isWhole) throw new PlayError("The delta update does not fit.", { status: 412 });
            playlist.segments.push(known);
            discontinuity = known.discontinuity;
            wallTime = known.wallTime && known.wallTime + known.duration * 1000;
            sequence += 1;
        }
    };
    for (const { tag, value, uri } of lines(text)) {
        if (uri) {
            const segment = begin();
            Object.assign(segment, { url: resolve(uri), isWhole: true });
            playlist.segments.push(segment);
            wallTime = segment.wallTime && segment.wallTime + segment.duration * 1000;
            sequence += 1;
            open = undefined;
            continue;
        }
        switch (tag) {
        case "#EXT-X-TARGETDURATION": playlist.targetDuration = Number(value) || 6; break;
        case "#EXT-X-MEDIA-SEQUENCE": sequence = Number(value) || 0; break;
        case "#EXT-X-DISCONTINUITY-SEQUENCE": discontinuity = Number(value) || 0; break;
        case "#EXT-X-ENDLIST": playlist.isEnded = true; break;
        case "#EXT-X-PART-INF": playlist.partTarget = Number(attributes(value)["PART-TARGET"]) || undefined; break;
        case "#EXT-X-SKIP": skip(Number(attributes(value)["SKIPPED-SEGMENTS"]) || 0); break;
        case "#EXT-X-SERVER-CONTROL": {
            const control = attributes(value);
            playlist.canBlock = control["CAN-BLOCK-RELOAD"] === "YES";
            playlist.canSkip = Number(control["CAN-SKIP-UNTIL"]) > 0;
            playlist.holdBack = Number(control["HOLD-BACK"]) || undefined;
            playlist.partHoldBack = Number(control["PART-HOLD-BACK"]) || undefined;
            break;
        }
        case "#EXT-X-DISCONTINUITY":
            discontinuity += 1;
            wallTime = undefined;
            break;
        case "#EXT-X-PROGRAM-DATE-TIME": wallTime = Date.parse(value) || undefined; break;
        case "#EXT-X-MAP": {
            const { URI, BYTERANGE } = attributes(value);
            map = { url: resolve(URI), range: BYTERANGE };
            break;
        }
        case "#EXT-X-KEY": {
            const { METHOD, URI, IV } = attributes(value);
            key = METHOD === "NONE" ? undefined : { method: METHOD, url: URI && resolve(URI), iv: IV };
            break;
        }
        case "#EXT-X-GAP": begin().isGap = true; break;
        case "#EXT-X-PART": {
            const part = attributes(value);
            begin().parts.push({
                url: resolve(part.URI), duration: Number(part.DURATION) || 0, isGap: part.GAP === "YES",
                isIndependent: part.INDEPENDENT === "YES", range: part.BYTERANGE,
            });
            break;
        }
        case "#EXT-X-PRELOAD-HINT": {
            const hint = attributes(value);
            if (hint.TYPE === "PART" && !hint["BYTERANGE-START"]) playlist.hint = resolve(hint.URI);
            break;
        }
        case "#EXTINF": begin().duration = parseFloat(value) || 0; break;
        default: break;
        }
    }
    if (open?.parts.length) {
        open.duration = open.parts.reduce((sum, part) => sum + part.duration, 0);
        playlist.segments.push(open);
    }
    if (!playlist.segments.length && !playlist.isEnded) {
        throw new PlayError("The stream has no segments yet.", { status: 404 });
    }
    playlist.bySequence = new Map(playlist.segments.map((segment) => [segment.sequence, segment]));
    return playlist;
}
