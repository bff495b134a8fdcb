import Media
import NIOCore
import ProcessStats
import StreamHub

/// SRS's vhosts, streams and clients.
struct SRSStreams {
    let services: NodeAPIServices

    /// SRS's codes of things that are not there.
    private enum Code {
        static let vhostNotFound = 2014
        static let streamNotFound = 2048
        static let clientNotFound = 2049
        /// The client cannot be ended any more.
        static let badRequest = 400
    }

    /// The most entries of a page. SRS has no bound.
    static let maximumCount = 10_000

    private func answer(_ members: KeyValuePairs<String, JSONValue?>) -> NodeAPIResponse {
        SRSDirectory.answer(self.services, members)
    }

    /// `start` from 0 and `count` from 10, as SRS reads them: what is no number counts as 0.
    static func page(_ query: [String: String]) -> (start: Int, count: Int) {
        func number(_ name: String) -> Int { query[name].flatMap { Int($0) } ?? 0 }
        return (min(max(0, number("start")), 1 << 30), min(max(10, number("count")), self.maximumCount))
    }

    private static func kbps(_ totals: SessionTotals) -> JSONValue {
        self.kbps(received: totals.receivedBitsPerSecond, sent: totals.sentBitsPerSecond)
    }

    private static func kbps(received: UInt64, sent: UInt64) -> JSONValue {
        .object(["recv_30s": .count(received / 1_000), "send_30s": .count(sent / 1_000)])
    }

    // MARK: Vhosts

    func vhosts() -> NodeAPIResponse {
        let keys = self.services.sessions.activeStreams
        return self.answer([
            "vhosts": .array(self.services.vhosts().map { self.vhost($0, keys) })
        ])
    }

    func vhost(_ id: String) -> NodeAPIResponse {
        guard let vhost = self.services.vhosts().first(where: { self.services.vhostID($0.name) == id })
        else { return .code(Code.vhostNotFound) }
        return self.answer(["vhost": self.vhost(vhost, self.services.sessions.activeStreams)])
    }

    private func vhost(_ vhost: NodeVhost, _ keys: [StreamKey]) -> JSONValue {
        let totals = self.services.sessions.totals(ofVhost: vhost.name)
        return .object([
            "id": .string(self.services.vhostID(vhost.name)), "name": .string(vhost.name), "enabled": .bool(true),
            "clients": .count(Self.clients(totals)),
            "streams": .count(keys.reduce(0) { $0 + ($1.vhost == vhost.name ? 1 : 0) }),
            "send_bytes": .count(totals.sentBytes), "recv_bytes": .count(totals.receivedBytes),
            "kbps": Self.kbps(totals),
            "hls": .object([
                "enabled": .bool(vhost.isHLSEnabled),
                "fragment": vhost.isHLSEnabled ? .number(vhost.hlsSegmentSeconds) : nil,
            ]),
        ])
    }

    /// Everybody who publishes or plays, other nodes among them, as SRS counts.
    private static func clients(_ totals: SessionTotals) -> Int {
        totals.publishers + totals.playerCount + totals.relays
    }

    // MARK: Streams

    func streams(_ query: [String: String]) async -> NodeAPIResponse {
        var known: [StreamKey: NodeStream] = [:]
        for stream in await self.services.streams() { known[stream.key] = stream }
        let keys = Set(known.keys).union(self.services.sessions.activeStreams)
        let sorted = keys.map { (id: self.services.streamID($0), key: $0) }.sorted { $0.id < $1.id }
        let page = Self.page(query)
        let shown = sorted.dropFirst(page.start).prefix(page.count)
        return self.answer([
            "streams": .array(shown.map { self.stream($0.key, $0.id, known[$0.key]) }),
            "total": .count(sorted.count),
        ])
    }

    func stream(_ id: String) async -> NodeAPIResponse {
        let active = self.services.sessions.activeStreams
        var key = active.first { self.services.streamID($0) == id }
        if key == nil { key = await self.services.streams().first { self.services.streamID($0.key) == id }?.key }
        guard let key else { return .code(Code.streamNotFound) }
        return self.answer(["stream": self.stream(key, id, await self.services.stream(key))])
    }

    private func stream(_ key: StreamKey, _ id: String, _ stream: NodeStream?) -> JSONValue {
        let totals = self.services.sessions.totals(of: key)
        let publisher = self.publisher(of: key)
        return .object([
            "id": .string(id), "name": .string(key.name), "vhost": .string(self.services.vhostID(key.vhost)),
            "app": .string(key.app),
            "tcUrl": .string(publisher.map { SecretMask.query($0.client.tcURL) } ?? "rtmp://\(key.vhost)/\(key.app)"),
            "url": .string("/\(key.app)/\(key.name)"),
            "live_ms": .count(self.services.sampler.sample().unixMillis), "clients": .count(Self.clients(totals)),
            "frames": .count(stream?.videoFrames ?? 0), "send_bytes": .count(totals.sentBytes),
            "recv_bytes": .count(totals.receivedBytes), "kbps": Self.kbps(totals),
            "publish": .object([
                "active": .bool(stream?.isLive ?? (publisher != nil)),
                "cid": publisher.map { .string($0.account.id) },
            ]),
            "video": Self.video(stream?.video), "audio": Self.audio(stream?.audio),
        ])
    }

    private func publisher(of key: StreamKey) -> SessionSnapshot? {
        var filter = SessionFilter()
        filter.key = key
        filter.kind = .publish
        return self.services.sessions.list(filter, limit: 1).first
    }

    /// `null` without a video track. Names are those of SRS.
    static func video(_ track: Track?) -> JSONValue {
        guard let track, case .video(let format) = track.format else { return .null }
        return .object([
            "codec": .string(self.codecName(track.codec)), "profile": .string(format.profile ?? "Other"),
            "level": .string(format.level ?? "Other"), "width": .count(format.width ?? 0),
            "height": .count(format.height ?? 0),
        ])
    }

    static func audio(_ track: Track?) -> JSONValue {
        guard let track, case .audio(let format) = track.format else { return .null }
        return .object([
            "codec": .string(self.codecName(track.codec)), "sample_rate": .count(format.sampleRate ?? 0),
            "channel": .count(format.channels ?? 0), "profile": .string(format.profile ?? "Other"),
        ])
    }

    private static func codecName(_ codec: Codec) -> String {
        switch codec {
        case .h264: "H264"
        case .hevc: "HEVC"
        case .opus: "Opus"
        case .speex: "Speex"
        case .g711ALaw: "G711ALaw"
        case .g711MuLaw: "G711MuLaw"
        case .av1, .vp8, .vp9, .aac, .mp3, .flac, .ac3, .eac3: codec.rawValue.uppercased()
        }
    }

    // MARK: Clients

    func clients(_ query: [String: String]) -> NodeAPIResponse {
        let page = Self.page(query)
        let filter = SessionFilter()
        let shown = self.services.sessions.list(filter, limit: page.start + page.count).dropFirst(page.start)
        return self.answer([
            "clients": .array(shown.map { self.client($0) }),
            "total": .count(self.services.sessions.count(filter)),
        ])
    }

    func client(_ id: String) -> NodeAPIResponse {
        guard let account = self.services.sessions.account(id), account.activity != nil
        else { return .code(Code.clientNotFound) }
        return self.answer(["client": self.client(account.snapshot())])
    }

    func kick(_ id: String) -> NodeAPIResponse {
        guard let account = self.services.sessions.account(id), account.activity != nil
        else { return .code(Code.clientNotFound) }
        guard self.services.sessions.kick(id, reason: "ended by the operator") else { return .code(Code.badRequest) }
        return self.answer([:])
    }

    private func client(_ session: SessionSnapshot) -> JSONValue {
        let key = session.activity?.key
        return .object([
            "id": .string(session.account.id),
            "vhost": .string(key.map { self.services.vhostID($0.vhost) } ?? ""),
            "stream": .string(key.map { self.services.streamID($0) } ?? ""), "ip": .string(session.account.ip),
            "pageUrl": .string(SecretMask.query(session.client.pageURL)),
            "swfUrl": .string(SecretMask.query(session.client.swfURL)),
            "tcUrl": .string(SecretMask.query(session.client.tcURL)),
            "url": .string(key.map { "/\($0.app)/\($0.name)" } ?? ""), "name": .string(key?.name ?? ""),
            "type": .string(Self.clientType(session.activity)),
            "publish": .bool(session.activity?.kind == .publish),
            "alive": .number(Double(max(0, session.age.nanoseconds)) / 1e9),
            "send_bytes": .count(session.sentBytes), "recv_bytes": .count(session.receivedBytes),
            "kbps": Self.kbps(received: session.receivedBitsPerSecond, sent: session.sentBitsPerSecond),
        ])
    }

    /// SRS's word for a kind of client. DASH has none there.
    static func clientType(_ activity: SessionActivity?) -> String {
        switch (activity?.kind, activity?.transport) {
        // SRS takes transport streams and posted FLV through its own RTMP, and serves all HTTP streams alike.
        case (.publish, "rtmp"), (.publish, "rtmps"), (.publish, "ts"), (.publish, "http-flv"),
            (.publish, "https-flv"):
            "fmle-publish"
        case (.publish, "srt"): "srt-publish"
        case (.publish, "webrtc"): "rtc-publish"
        case (.publish, "gb28181"): "gb28181"
        case (.publish, "rtsp"), (.publish, "rtsps"): "rtsp-publish"
        case (.play, "rtsp"), (.play, "rtsps"): "rtsp-play"
        case (.play, "rtmp"), (.play, "rtmps"): "rtmp-play"
        case (.play, "hls"): "hls-play"
        case (.play, "dash"): "dash-play"
        case (.play, "srt"): "srt-play"
        case (.play, "webrtc"): "rtc-play"
        case (.play, let transport?)
        where ["-flv", "-ts", "-aac", "-mp3"].contains(where: { transport.hasSuffix($0) }): "flv-play"
        default: "Unknown"
        }
    }
}
