// What a connection says of itself, in words. W3C webrtc-stats.

const formatBitRate = (rate) => (
    rate >= 1e6 ? `${(rate / 1e6).toFixed(2)} Mbit/s` : `${Math.round(rate / 1e3)} kbit/s`);
const formatMillis = (seconds) => `${(seconds * 1000).toFixed(seconds < 0.0995 ? 1 : 0)} ms`;
const formatShare = (share) => `${(share * 100).toFixed(share > 0 && share < 0.1 ? 2 : 1)} %`;
const codecName = ({ mimeType = "" } = {}) => mimeType.split("/")[1];

/** Reads `getStats()` again and again; rates are of the time between two readings. */
export class StatsReader {
    /** Bits a second, in the direction of the media. */
    bitRate = 0;
    #connection;
    #before = new Map();

    constructor(connection) {
        this.#connection = connection;
    }

    /** Facts by name, in the order in which they are shown. */
    async read() {
        const reports = await this.#connection.getStats();
        const all = [...reports.values()];
        const received = all.filter(({ type }) => type === "inbound-rtp");
        const sent = all.filter(({ type }) => type === "outbound-rtp");
        const facts = received.length ? this.#received(received, reports) : this.#sent(sent, reports, all);
        Object.assign(facts, this.#path(all, reports));
        this.#before = reports;
        return facts;
    }

    /** How much `name` grew a second since the reading before. */
    #rate(report, name) {
        const before = this.#before.get(report.id);
        const seconds = before ? (report.timestamp - before.timestamp) / 1000 : 0;
        return seconds > 0 ? Math.max(0, (report[name] ?? 0) - (before[name] ?? 0)) / seconds : 0;
    }

    #ratio(report, name, of) {
        const count = this.#rate(report, of);
        return count > 0 ? this.#rate(report, name) / count : undefined;
    }

    #received(streams, reports) {
        const video = streams.find(({ kind }) => kind === "video");
        const audio = streams.find(({ kind }) => kind === "audio");
        this.bitRate = streams.reduce((sum, report) => sum + 8 * this.#rate(report, "bytesReceived"), 0);
        const facts = this.#common([video, audio], reports, "bytesReceived");
        const lost = streams.reduce((sum, report) => sum + this.#rate(report, "packetsLost"), 0);
        const arrived = streams.reduce((sum, report) => sum + this.#rate(report, "packetsReceived"), 0);
        facts.Loss = formatShare(lost + arrived > 0 ? lost / (lost + arrived) : 0);
        if (video?.jitter !== undefined) facts.Jitter = formatMillis(video.jitter);
        const delay = video && this.#ratio(video, "jitterBufferDelay", "jitterBufferEmittedCount");
        if (delay !== undefined) facts["Jitter buffer"] = formatMillis(delay);
        if (video) facts["Dropped frames"] = String(video.framesDropped ?? 0);
        if (video?.freezeCount !== undefined) facts.Freezes = String(video.freezeCount);
        const requests = [video?.nackCount && `${video.nackCount} NACK`, video?.pliCount && `${video.pliCount} PLI`];
        const asked = requests.filter(Boolean).join(", ");
        if (asked) facts["Asked for"] = asked;
        return facts;
    }

    #sent(streams, reports, all) {
        const layers = streams.filter(({ kind }) => kind === "video")
            .sort((one, other) => (other.frameHeight ?? 0) - (one.frameHeight ?? 0));
        const audio = streams.find(({ kind }) => kind === "audio");
        this.bitRate = streams.reduce((sum, report) => sum + 8 * this.#rate(report, "bytesSent"), 0);
        const facts = this.#common([layers[0], audio], reports, "bytesSent");
        const active = layers.filter((layer) => this.#rate(layer, "bytesSent") > 0);
        if (layers.length > 1) {
            facts.Video = formatBitRate(layers.reduce((sum, layer) => sum + 8 * this.#rate(layer, "bytesSent"), 0));
            facts.Layers = active.map(({ rid, frameHeight }) => `${rid}: ${frameHeight}p`).join(", ") || "none yet";
        }
        const remote = all.filter(({ type }) => type === "remote-inbound-rtp");
        const worst = Math.max(0, ...remote.map(({ fractionLost }) => fractionLost ?? 0));
        if (remote.length) facts.Loss = formatShare(worst);
        const jitter = remote.find(({ kind }) => kind === "video")?.jitter;
        if (jitter !== undefined) facts.Jitter = formatMillis(jitter);
        const limit = layers[0]?.qualityLimitationReason;
        if (limit && limit !== "none") facts["Limited by"] = limit;
        const again = layers.reduce((sum, layer) => sum + (layer.retransmittedPacketsSent ?? 0), 0);
        if (again) facts["Sent again"] = `${again} packets`;
        const asked = layers.reduce((sum, { pliCount = 0, firCount = 0 }) => sum + pliCount + firCount, 0);
        if (asked) facts["Keyframes asked for"] = String(asked);
        return facts;
    }

    #common([video, audio], reports, bytes) {
        const facts = {};
        if (video?.frameWidth) {
            const rate = video.framesPerSecond ? ` · ${Math.round(video.framesPerSecond)} fps` : "";
            facts.Picture = `${video.frameWidth}×${video.frameHeight}${rate}`;
        }
        if (video) facts.Video = formatBitRate(8 * this.#rate(video, bytes));
        if (audio) facts.Audio = formatBitRate(8 * this.#rate(audio, bytes));
        const codecs = [video, audio].map((report) => report && codecName(reports.get(report.codecId)));
        if (codecs.some(Boolean)) facts.Codecs = codecs.filter(Boolean).join(" · ");
        return facts;
    }

    /** The pair of candidates that is in use, and how the way is encrypted. */
    #path(all, reports) {
        const transport = all.find(({ type }) => type === "transport");
        const isUsed = ({ type, nominated, state }) => (
            type === "candidate-pair" && nominated && state === "succeeded");
        const pair = reports.get(transport?.selectedCandidatePairId) ?? all.find(isUsed);
        if (!pair) return {};
        const facts = {};
        if (pair.currentRoundTripTime !== undefined) facts["Round trip"] = formatMillis(pair.currentRoundTripTime);
        const [local, remote] = [reports.get(pair.localCandidateId), reports.get(pair.remoteCandidateId)];
        const place = ({ address, ip, port } = {}) => {
            const host = address ?? ip ?? "hidden";
            return `${host.includes(":") ? `[${host}]` : host}:${port ?? "?"}`;
        };
        if (remote) {
            const kind = local ? `${local.protocol} ${local.candidateType}` : remote.protocol;
            facts.Path = `${kind} ${place(local)} → ${place(remote)}`;
        }
        if (transport?.srtpCipher) facts.Encryption = transport.srtpCipher;
        return facts;
    }
}
