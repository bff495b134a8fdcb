// MP4 boxes: writes initialization segments and fragments from frames, reads what a player has to know of a segment,
// and names codecs as MIME types do. ISO/IEC 14496-12, -14, -15; RFC 6381.

/** Reads `count` bytes of a big-endian number. */
export function number(bytes, at, count) {
    let value = 0;
    for (let index = 0; index < count; index += 1) value = value * 256 + (bytes[at + index] ?? 0);
    return value;
}

export function concat(chunks) {
    const whole = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
        whole.set(chunk, at);
        at += chunk.length;
    }
    return whole;
}

const fourCC = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));
const hex = (value, digits = 2) => value.toString(16).padStart(digits, "0");

// ---------------------------------------------------------------------------------------------------------------------
// Reading

/** Calls `visit(type, payload)` for each box of `bytes` that is whole, until it returns something. */
function visitBoxes(bytes, visit) {
    let at = 0;
    while (at + 8 <= bytes.length) {
        let size = number(bytes, at, 4);
        let header = 8;
        if (size === 1) {
            size = number(bytes, at + 8, 8);
            header = 16;
        } else if (size === 0) {
            size = bytes.length - at;
        }
        if (size < header || at + size > bytes.length) return undefined;
        const found = visit(fourCC(bytes, at + 4), bytes.subarray(at + header, at + size));
        if (found !== undefined) return found;
        at += size;
    }
    return undefined;
}

/** The payload of the first box at `path`, such as `moov/trak/mdia/mdhd`. */
function findBox(bytes, path) {
    const [name, ...rest] = path.split("/");
    return visitBoxes(bytes, (type, payload) => {
        if (type !== name) return undefined;
        return rest.length ? findBox(payload, rest.join("/")) : payload;
    });
}

/**
 * What an initialization segment says of its tracks: `{kind, codec, timescales}`. With several tracks the kind is video
 * and `codec` lists all codecs, as a MIME type does; timescales are by track number.
 */
export function describeInit(bytes) {
    const tracks = [];
    visitBoxes(findBox(bytes, "moov") ?? bytes, (type, payload) => {
        if (type === "trak") tracks.push(describeTrack(payload));
        return undefined;
    });
    if (!tracks.length) throw new Error("The initialization segment is not MP4");
    return {
        kind: tracks.some(({ kind }) => kind === "video") ? "video" : "audio",
        codec: tracks.map(({ codec }) => codec).join(","),
        timescales: new Map(tracks.map(({ id, timescale }) => [id, timescale])),
    };
}

function describeTrack(track) {
    const [head, media, handler, entries] = ["tkhd", "mdia/mdhd", "mdia/hdlr", "mdia/minf/stbl/stsd"]
        .map((path) => findBox(track, path) ?? new Uint8Array(24));
    const isVideo = fourCC(handler, 8) === "vide";
    return {
        id: number(head, head[0] === 1 ? 20 : 12, 4),
        kind: isVideo ? "video" : "audio",
        codec: visitBoxes(entries.subarray(8), (type, entry) => sampleEntryCodec(type, entry, isVideo ? 78 : 28)),
        timescale: number(media, media[0] === 1 ? 20 : 12, 4) || 1,
    };
}

/** The decode time in seconds of what comes first in a media segment, 0 if it does not tell. */
export function startTime(bytes, timescales) {
    const header = findBox(bytes, "moof/traf/tfhd");
    const time = findBox(bytes, "moof/traf/tfdt");
    if (!header || !time) return 0;
    return number(time, 4, time[0] === 1 ? 8 : 4) / (timescales.get(number(header, 4, 4)) ?? 1);
}

/** The frames of a media segment of one track. */
export function mediaData(bytes) {
    const found = [];
    visitBoxes(bytes, (type, payload) => {
        if (type === "mdat") found.push(payload);
        return undefined;
    });
    return concat(found);
}

function sampleEntryCodec(type, entry, headerLength) {
    const box = (name) => findBox(entry.subarray(headerLength), name);
    switch (type) {
    case "avc1": case "avc3": return avcCodec(box("avcC") ?? new Uint8Array(4), type);
    case "hvc1": case "hev1": return hevcCodec(box("hvcC") ?? new Uint8Array(13), type);
    case "av01": return av1Codec(box("av1C") ?? new Uint8Array(4));
    case "vp09": return vp9Codec((box("vpcC") ?? new Uint8Array(12)).subarray(4));
    case "mp4a": return mp4aCodec(box("esds"));
    case "Opus": return "opus";
    case "fLaC": return "flac";
    default: return type;
    }
}

/** Walks the descriptors of an `esds` box to the object type and the AudioSpecificConfig. ISO/IEC 14496-1 §7.2.6. */
function mp4aCodec(box) {
    let objectType = 0x40;
    let config;
    const walk = (bytes) => {
        let at = 0;
        while (at + 2 <= bytes.length) {
            const tag = bytes[at];
            let length = 0;
            do {
                at += 1;
                length = length * 128 + (bytes[at] & 0x7f);
            } while (bytes[at] & 0x80);
            const payload = bytes.subarray(at + 1, at + 1 + length);
            if (tag === 3) {
                const flags = payload[2];
                walk(payload.subarray(3 + (flags & 0x80 ? 2 : 0) + (flags & 0x20 ? 2 : 0)));
            } else if (tag === 4) {
                objectType = payload[0];
                walk(payload.subarray(13));
            } else if (tag === 5) {
                config = payload;
            }
            at += 1 + length;
        }
    };
    if (box) walk(box.subarray(4));
    return objectType === 0x40 ? aacCodec(config ?? new Uint8Array([0x10])) : `mp4a.${hex(objectType).toUpperCase()}`;
}

// ---------------------------------------------------------------------------------------------------------------------
// Names of codecs, from their configuration records

export function avcCodec(record, name = "avc1") {
    return `${name}.${hex(record[1])}${hex(record[2])}${hex(record[3])}`;
}

export function hevcCodec(record, name = "hvc1") {
    const space = ["", "A", "B", "C"][record[1] >> 6];
    let flags = 0;
    for (let bit = 0; bit < 32; bit += 1) {
        if (record[2 + (bit >> 3)] >> (7 - (bit & 7)) & 1) flags += 2 ** bit;
    }
    const constraints = [...record.subarray(6, 12)];
    while (constraints.at(-1) === 0) constraints.pop();
    const tier = record[1] & 0x20 ? "H" : "L";
    const tail = constraints.map((byte) => `.${byte.toString(16).toUpperCase()}`).join("");
    return `${name}.${space}${record[1] & 0x1f}.${flags.toString(16).toUpperCase()}.${tier}${record[12]}${tail}`;
}

export function av1Codec(record) {
    const two = (value) => String(value).padStart(2, "0");
    const depth = record[2] & 0x40 ? (record[2] & 0x20 ? 12 : 10) : 8;
    return `av01.${record[1] >> 5}.${two(record[1] & 0x1f)}${record[2] & 0x80 ? "H" : "M"}.${two(depth)}`;
}

export function vp9Codec(record) {
    const two = (value) => String(value).padStart(2, "0");
    return `vp09.${two(record[0])}.${two(record[1] || 31)}.${two(record[2] >> 4 || 8)}`;
}

export function aacCodec(config) {
    const type = config[0] >> 3;
    return `mp4a.40.${type === 31 ? 32 + ((config[0] & 7) << 3 | config[1] >> 5) : type}`;
}

/** Sample rate and channels of an AudioSpecificConfig, as its first fields tell. ISO/IEC 14496-3 §1.6.2.1. */
export function aacFormat(config) {
    const rates = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];
    const index = (config[0] & 7) << 1 | config[1] >> 7;
    if (index === 15) {
        const rate = (config[1] & 0x7f) << 17 | config[2] << 9 | config[3] << 1 | config[4] >> 7;
        return { sampleRate: rate, channels: config[4] >> 3 & 15 };
    }
    return { sampleRate: rates[index] ?? 48000, channels: config[1] >> 3 & 15 };
}

/** Width and height from the first sequence parameter set of an `avcC` record; `undefined` if it cannot be read. */
export function avcSize(record) {
    const length = number(record, 6, 2);
    const unit = record.subarray(8, 8 + length);
    const bytes = unit.filter((byte, at) => !(byte === 3 && at > 1 && unit[at - 1] === 0 && unit[at - 2] === 0));
    let at = 8;
    const bit = () => {
        const value = bytes[at >> 3] >> (7 - (at & 7)) & 1;
        at += 1;
        return value;
    };
    const bits = (count) => {
        let value = 0;
        for (let index = 0; index < count; index += 1) value = value * 2 + bit();
        return value;
    };
    const unsigned = () => {
        let zeros = 0;
        while (zeros < 32 && at < bytes.length * 8 && !bit()) zeros += 1;
        return 2 ** zeros - 1 + bits(zeros);
    };
    const signed = () => {
        const value = unsigned();
        return value % 2 ? (value + 1) / 2 : -value / 2;
    };
    const skipScalingList = (size) => {
        let last = 8;
        for (let index = 0; index < size && last; index += 1) last = (last + signed() + 256) % 256;
    };
    const profile = bits(8);
    bits(16);
    unsigned();
    let chroma = 1;
    if ([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].includes(profile)) {
        chroma = unsigned();
        if (chroma === 3) bit();
        unsigned();
        unsigned();
        bit();
        if (bit()) {
            for (let list = 0; list < (chroma === 3 ? 12 : 8); list += 1) {
                if (bit()) skipScalingList(list < 6 ? 16 : 64);
            }
        }
    }
    unsigned();
    const orderType = unsigned();
    if (orderType === 0) {
        unsigned();
    } else if (orderType === 1) {
        bit();
        signed();
        signed();
        for (let count = Math.min(unsigned(), 255); count > 0; count -= 1) signed();
    }
    unsigned();
    bit();
    let width = (unsigned() + 1) * 16;
    const heightInMaps = unsigned() + 1;
    const frameOnly = bit();
    let height = heightInMaps * 16 * (2 - frameOnly);
    if (!frameOnly) bit();
    bit();
    if (bit()) {
        const unitX = chroma === 1 || chroma === 2 ? 2 : 1;
        const unitY = (chroma === 1 ? 2 : 1) * (2 - frameOnly);
        width -= (unsigned() + unsigned()) * unitX;
        height -= (unsigned() + unsigned()) * unitY;
    }
    const isSane = at <= bytes.length * 8 && width > 0 && height > 0 && width <= 16384 && height <= 16384;
    return isSane ? { width, height } : undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Writing

const u8 = (...values) => Uint8Array.from(values);
const u16 = (value) => u8(value >> 8 & 255, value & 255);
const u32 = (value) => u8(value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255);
const zeros = (count) => new Uint8Array(count);
const text = (value) => Uint8Array.from(value, (letter) => letter.charCodeAt(0));

function box(type, ...payloads) {
    const body = concat(payloads);
    return concat([u32(body.length + 8), text(type), body]);
}

const unity = concat([u32(0x10000), zeros(12), u32(0x10000), zeros(12), u32(0x40000000)]);

/** `{kind, codec: {entry, box, record}, timescale, width, height, sampleRate, channels}` as `ftyp` and `moov`. */
export function writeInit(track) {
    const isVideo = track.kind === "video";
    const { width = 0, height = 0 } = track;
    const trackHeader = box(
        "tkhd", u32(7), zeros(8), u32(1), zeros(20), u16(isVideo ? 0 : 0x100), zeros(2), unity,
        u16(width), zeros(2), u16(height), zeros(2));
    const mediaHeader = box("mdhd", zeros(12), u32(track.timescale), zeros(4), u16(0x55c4), zeros(2));
    const handler = box("hdlr", zeros(8), text(isVideo ? "vide" : "soun"), zeros(12), text("Weir\0"));
    const kindHeader = isVideo ? box("vmhd", u32(1), zeros(8)) : box("smhd", zeros(8));
    const data = box("dinf", box("dref", zeros(4), u32(1), box("url ", u32(1))));
    const tables = box(
        "stbl", box("stsd", zeros(4), u32(1), sampleEntry(track)), box("stts", zeros(8)), box("stsc", zeros(8)),
        box("stsz", zeros(12)), box("stco", zeros(8)));
    const media = box("mdia", mediaHeader, handler, box("minf", kindHeader, data, tables));
    const movieHeader = box(
        "mvhd", zeros(12), u32(1000), zeros(4), u32(0x10000), u16(0x100), zeros(10), unity, zeros(24), u32(2));
    const extend = box("mvex", box("trex", zeros(4), u32(1), u32(1), zeros(12)));
    return concat([
        box("ftyp", text("iso6"), u32(1), text("iso6"), text("mp41")),
        box("moov", movieHeader, box("trak", trackHeader, media), extend),
    ]);
}

function sampleEntry({ kind, codec, width = 0, height = 0, sampleRate = 0, channels = 2 }) {
    const common = concat([zeros(6), u16(1)]);
    const extra = codec.box === "esds" ? elementaryStream(codec) : codec.box && box(codec.box, codec.record);
    if (kind === "video") {
        return box(
            codec.entry, common, zeros(16), u16(width), u16(height), u32(0x480000), u32(0x480000), zeros(4), u16(1),
            zeros(32), u16(0x18), u16(0xffff), extra);
    }
    return box(
        codec.entry, common, zeros(8), u16(channels), u16(16), zeros(4), u16(Math.min(sampleRate, 65535)), zeros(2),
        extra ?? zeros(0));
}

function elementaryStream({ objectType, record }) {
    const descriptor = (tag, ...payloads) => {
        const body = concat(payloads);
        return concat([u8(tag, 0x80, 0x80, 0x80, body.length), body]);
    };
    const specific = record ? descriptor(5, record) : zeros(0);
    const config = descriptor(4, u8(objectType, 0x15), zeros(11), specific);
    return box("esds", zeros(4), descriptor(3, u16(1), u8(0), config, descriptor(6, u8(2))));
}

/** Frames `{duration, offset, isKey, data}` of one track, the first at `time` ticks, as one fragment. */
export function writeFragment(sequence, time, frames) {
    const table = new Uint8Array(frames.length * 16);
    const view = new DataView(table.buffer);
    frames.forEach((frame, index) => {
        view.setUint32(index * 16, frame.duration);
        view.setUint32(index * 16 + 4, frame.data.length);
        view.setUint32(index * 16 + 8, frame.isKey ? 0x02000000 : 0x01010000);
        view.setInt32(index * 16 + 12, frame.offset);
    });
    const baseTime = concat([u32(Math.floor(time / 2 ** 32)), u32(time % 2 ** 32)]);
    const make = (dataOffset) => box(
        "moof", box("mfhd", zeros(4), u32(sequence)),
        box(
            "traf", box("tfhd", u32(0x020000), u32(1)), box("tfdt", u32(0x01000000), baseTime),
            box("trun", u32(0x01000f01), u32(frames.length), u32(dataOffset), table)));
    const header = make(make(0).length + 8);
    return concat([header, box("mdat", ...frames.map((frame) => frame.data))]);
}
