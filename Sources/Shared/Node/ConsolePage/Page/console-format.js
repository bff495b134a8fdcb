// Numbers, times and names as people read them.

const missing = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const whole = new Intl.NumberFormat("en");

export const formatCount = (value) => (isNumber(value) ? whole.format(Math.round(value)) : missing);

export const plural = (number, noun, nouns = `${noun}s`) => `${formatCount(number)} ${number === 1 ? noun : nouns}`;

/** Three significant digits at the most: numbers that change each second are read at a glance. */
function scaled(value, units, step) {
    let rest = value;
    let index = 0;
    while (rest >= step * 0.9995 && index < units.length - 1) {
        rest /= step;
        index += 1;
    }
    const digits = index === 0 || rest >= 99.95 ? 0 : 1;
    return `${rest.toFixed(digits)} ${units[index]}`;
}

export const formatBitRate = (value) => (isNumber(value)
    ? scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"], 1000) : missing);

export const formatBytes = (value) => (isNumber(value)
    ? scaled(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024) : missing);

/** `2.2 of 10.0 Gbit/s`: the unit once when both have the same. */
export function formatPart(part, whole, format) {
    const [left, right] = [format(part), format(whole)];
    const unit = left.split(" ")[1];
    return right.endsWith(` ${unit}`) ? `${left.split(" ")[0]} of ${right}` : `${left} of ${right}`;
}

export const formatPercent = (share) => (isNumber(share) ? `${Math.round(share * 100)} %` : missing);

/** `4 s`, `3 min`, `2 h 05 min`, `3 d 4 h`. */
export function formatSpan(seconds) {
    if (!isNumber(seconds)) return missing;
    const total = Math.max(0, Math.round(seconds));
    if (total < 60) return `${total} s`;
    const minutes = Math.floor(total / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
    return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `1:02:03`, as players show it. */
export function formatClock(seconds) {
    const total = Math.max(0, Math.round(seconds));
    const two = (value) => String(value).padStart(2, "0");
    const hours = Math.floor(total / 3600);
    const minutes = Math.floor(total / 60) % 60;
    return hours ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}

const timeOfDay = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat("en-GB", {
    year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit",
});

/** The time of today; with the date for other days. */
export function formatMoment(millis) {
    if (!isNumber(millis) || millis <= 0) return missing;
    const date = new Date(millis);
    const isToday = date.toDateString() === new Date().toDateString();
    return (isToday ? timeOfDay : dayAndTime).format(date);
}

export const formatDate = (millis) => (isNumber(millis) && millis > 0 ? dayAndTime.format(new Date(millis)) : missing);

const codecNames = {
    h264: "H.264", avc: "H.264", hevc: "HEVC", h265: "HEVC", av1: "AV1", vp8: "VP8", vp9: "VP9", aac: "AAC", mp3: "MP3",
    opus: "Opus", flac: "FLAC", ac3: "AC-3", eac3: "E-AC-3", pcma: "G.711 A-law", pcmu: "G.711 µ-law",
};

export const codecName = (codec) => codecNames[String(codec).toLowerCase()] ?? String(codec ?? missing);

const transportNames = {
    rtmp: "RTMP", rtmps: "RTMPS", "http-flv": "HTTP-FLV", "https-flv": "HTTPS-FLV", flv: "FLV",
    "ws-flv": "WebSocket-FLV", "wss-flv": "WebSocket-FLV (TLS)", hls: "HLS", dash: "DASH", srt: "SRT", webrtc: "WebRTC",
    whip: "WHIP", whep: "WHEP", rtsp: "RTSP", rtsps: "RTSPS", ts: "TS", gb28181: "GB28181",
    "http-ts": "HTTP-TS", "https-ts": "HTTPS-TS", "ws-ts": "WebSocket-TS", "wss-ts": "WebSocket-TS (TLS)",
    "http-aac": "HTTP-AAC", "https-aac": "HTTPS-AAC", "http-mp3": "HTTP-MP3", "https-mp3": "HTTPS-MP3",
};

export const transportName = (name) => transportNames[name] ?? String(name ?? missing);

const shortTransportNames = { "http-flv": "FLV", "https-flv": "FLV", flv: "FLV", "ws-flv": "WS", "wss-flv": "WS" };

/**
 * `RTT 12 ms · 0.4 % lost · 7 sent again · 0 too late`: how the network treats a session; `undefined` where its transport
 * does not know.
 */
export function formatPath({ kind, path }) {
    if (!path) return undefined;
    const isPublisher = kind === "publish";
    const lost = (isPublisher ? path.receiveLoss : path.sendLoss) ?? 0;
    const packets = isPublisher ? (path.receivedPackets ?? 0) + lost : path.sentPackets ?? 0;
    const late = isPublisher ? path.receiveDrops : path.sendDrops;
    const share = packets ? (100 * lost) / packets : 0;
    return [
        `RTT ${path.roundTripMillis.toFixed(path.roundTripMillis < 10 ? 1 : 0)} ms`,
        `${share > 0 && share < 0.1 ? "< 0.1" : share.toFixed(share > 0 ? 1 : 0)} % lost`,
        !isPublisher && `${formatCount(path.retransmittedPackets ?? 0)} sent again`,
        `${formatCount(late ?? 0)} too late`,
    ].filter(Boolean).join(" · ");
}

/** For lists of many. */
export const shortTransportName = (name) => shortTransportNames[name] ?? transportName(name);

/** `H.264 1080p30` or `AAC`. */
export function briefTrack({ codec, height, frameRate }) {
    const size = height ? ` ${height}p${frameRate ? Math.round(frameRate) : ""}` : "";
    return codecName(codec) + size;
}

/** `H.264 1920×1080 30 fps` or `AAC 48 kHz stereo`. */
export function describeTrack(track) {
    const parts = [codecName(track.codec)];
    if (track.width && track.height) parts.push(`${track.width}×${track.height}`);
    if (track.frameRate) parts.push(`${Math.round(track.frameRate)} fps`);
    if (track.sampleRate) parts.push(`${Math.round(track.sampleRate / 100) / 10} kHz`);
    if (track.channels) parts.push({ 1: "mono", 2: "stereo" }[track.channels] ?? `${track.channels} channels`);
    return parts.join(" ");
}

/** Words of identifiers such as `linkLost` or `stream_live`. */
export function words(identifier) {
    const text = String(identifier ?? "").replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/[._-]+/g, " ").toLowerCase();
    return text.charAt(0).toUpperCase() + text.slice(1);
}

export const sum = (values) => values.reduce((total, value) => total + (isNumber(value) ? value : 0), 0);

/** Entries of `{ hls: 3, rtmp: 1 }`, the most first. */
export const byCount = (counts) => Object.entries(counts ?? {}).filter(([, count]) => count > 0)
    .sort(([, left], [, right]) => right - left);

/** `vhost/app/name`, without the vhost that all have. */
export function streamName({ vhost, app, name }) {
    const isDefault = !vhost || vhost === "__defaultVhost__";
    return `${isDefault ? "" : `${vhost}/`}${app}/${name}`;
}
