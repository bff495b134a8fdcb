import Media
import NIOCore
import StreamHub

/// Sessions and streams of the node.
extension NodeAPI {
    func sessions(_ request: NodeAPIRequest) -> NodeAPIResponse {
        switch (request.method, request.path.count) {
        case ("GET", 1): return self.sessionList(request.query)
        case ("GET", _):
            guard let account = self.services.sessions.account(request.path[1]) else { return Self.unknownSession }
            return .json(Self.session(account.snapshot()))
        case ("DELETE", 2):
            guard self.services.sessions.account(request.path[1]) != nil else { return Self.unknownSession }
            guard self.services.sessions.kick(request.path[1], reason: "ended by the operator") else {
                return .problem("session-is-ending", 409, "The session is ending already")
            }
            return .noContent()
        default: return .methodNotAllowed(request.path.count == 2 ? ["GET", "DELETE"] : ["GET"])
        }
    }

    private static var unknownSession: NodeAPIResponse {
        .problem("unknown-session", 404, "There is no session with this id")
    }

    private func sessionList(_ query: [String: String]) -> NodeAPIResponse {
        var filter = SessionFilter()
        if let text = query["key"] {
            switch self.key(text) {
            case .success(let key): filter.key = key
            case .failure(let error): return .invalid(error.text)
            }
        }
        if let text = query["kind"] {
            guard let kind = SessionActivity.Kind(rawValue: text) else { return .invalid("kind is publish or play") }
            filter.kind = kind
        }
        (filter.vhost, filter.app) = (query["vhost"], query["app"])
        (filter.transport, filter.ip) = (query["transport"], query["ip"])
        filter.includesIdle = query["idle"] == "true"
        switch Self.page(query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let page):
            let found = self.services.sessions.list(filter, after: page.after, limit: page.limit + 1)
            let shown = found.prefix(page.limit)
            return .json(
                .object([
                    "sessions": .array(shown.map(Self.session)),
                    "total": .count(self.services.sessions.count(filter)),
                    "next": found.count > page.limit ? shown.last.map { .string($0.account.id) } : nil,
                ]))
        }
    }

    private static func session(_ session: SessionSnapshot) -> JSONValue {
        let activity = session.activity
        let client = session.client
        let limits = session.account.limits
        func shown(_ text: String) -> JSONValue? { text.isEmpty ? nil : .string(SecretMask.query(text)) }
        return .object([
            "id": .string(session.account.id), "kind": activity.map { .string($0.kind.rawValue) },
            "key": activity.map { .string("\($0.key)") }, "vhost": activity.map { .string($0.key.vhost) },
            "app": activity.map { .string($0.key.app) }, "name": activity.map { .string($0.key.name) },
            "transport": activity.map { .string($0.transport) }, "relay": activity.map { .bool($0.isRelay) },
            "epoch": activity.map { .count($0.epoch) }, "ip": .string(session.account.ip),
            "port": session.account.address?.port.map { .count($0) },
            "proxied": session.account.forwardedAddress == nil ? nil : .bool(true),
            "virtual": session.account.isVirtual ? .bool(true) : nil,
            "seconds": .number(Double(max(0, session.age.nanoseconds)) / 1e9),
            "receivedBytes": .count(session.receivedBytes), "sentBytes": .count(session.sentBytes),
            "receivedBitsPerSecond": .count(session.receivedBitsPerSecond),
            "sentBitsPerSecond": .count(session.sentBitsPerSecond), "tcUrl": shown(client.tcURL),
            "pageUrl": shown(client.pageURL), "swfUrl": shown(client.swfURL),
            "userAgent": client.userAgent.isEmpty ? nil : .string(client.userAgent),
            "referer": shown(client.referer),
            "query": client.query.isEmpty ? nil : .string(SecretMask.parameters(client.query)),
            "subject": session.account.subject.map { .string($0) },
            "maximumBitsPerSecond": limits.bitsPerSecond.map { .count($0) },
            "expirySeconds": limits.expirySeconds.map { .integer($0) },
            "path": session.account.path.map(Self.path),
        ])
    }

    /// How the network treats a session.
    static func path(_ path: PathStatistics) -> JSONValue {
        .object([
            "roundTripMillis": .number(path.roundTripMillis), "bitsPerSecond": .number(path.bitsPerSecond),
            "sentPackets": .count(path.sentPackets), "receivedPackets": .count(path.receivedPackets),
            "sendLoss": .count(path.sendLoss), "receiveLoss": .count(path.receiveLoss),
            "retransmittedPackets": .count(path.retransmittedPackets), "sendDrops": .count(path.sendDrops),
            "receiveDrops": .count(path.receiveDrops), "undecryptedPackets": .count(path.undecryptedPackets),
            "sendBufferMillis": .count(path.sendBufferMillis), "receiveBufferMillis": .count(path.receiveBufferMillis),
            "sendLatencyMillis": .count(path.sendLatencyMillis),
            "receiveLatencyMillis": .count(path.receiveLatencyMillis),
        ])
    }

    // MARK: Streams

    func ownStreams(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
        if request.path.count > 1 {
            switch self.key(request.path.dropFirst().joined(separator: "/")) {
            case .failure(let error): return .invalid(error.text)
            case .success(let key):
                guard let stream = await self.services.stream(key) else {
                    return .problem("unknown-stream", 404, "This node does not have the stream")
                }
                return .json(self.stream(stream))
            }
        }
        switch Self.page(request.query, standard: 1_000, maximum: 10_000) {
        case .failure(let error): return .invalid(error.text)
        case .success(let page):
            let all = await self.services.streams().filter { stream in
                (request.query["vhost"].map { $0 == stream.key.vhost } ?? true)
                    && (request.query["app"].map { $0 == stream.key.app } ?? true)
                    && (request.query["state"].map { $0 == stream.state } ?? true)
            }
            let sorted = all.map { (text: "\($0.key)", stream: $0) }.sorted { $0.text < $1.text }
            let rest = sorted.drop { !page.after.isEmpty && $0.text <= page.after }
            let shown = rest.prefix(page.limit)
            return .json(
                .object([
                    "streams": .array(shown.map { self.stream($0.stream) }), "total": .count(sorted.count),
                    "next": rest.count > page.limit ? shown.last.map { .string($0.text) } : nil,
                ]))
        }
    }

    private func stream(_ stream: NodeStream) -> JSONValue {
        let totals = self.services.sessions.totals(of: stream.key)
        var filter = SessionFilter()
        filter.key = stream.key
        filter.kind = .publish
        let publisher = self.services.sessions.list(filter, limit: 1).first
        return Self.media(stream).merging(
            .object([
                "sessions": .object([
                    "publishers": .count(totals.publishers), "players": .counts(totals.players),
                    "relays": .count(totals.relays), "receivedBytes": .count(totals.receivedBytes),
                    "sentBytes": .count(totals.sentBytes),
                    "receivedBitsPerSecond": .count(totals.receivedBitsPerSecond),
                    "sentBitsPerSecond": .count(totals.sentBitsPerSecond),
                ]),
                "publisher": publisher.map { .string($0.account.id) },
            ]))
    }

    private static func media(_ stream: NodeStream) -> JSONValue {
        .object([
            "key": .string("\(stream.key)"), "vhost": .string(stream.key.vhost), "app": .string(stream.key.app),
            "name": .string(stream.key.name), "epoch": .count(stream.epoch), "state": .string(stream.state),
            "held": .bool(stream.isHeld),
            "tracks": .array([stream.video, stream.audio].compactMap { $0 }.map(Self.track)),
            "viewers": .counts(stream.viewers), "videoFrames": .count(stream.videoFrames),
            "audioFrames": .count(stream.audioFrames), "keyframes": .count(stream.keyframes),
            "mediaBytes": .count(stream.mediaBytes), "droppedFrames": .count(stream.droppedFrames),
            "viewerSkipsByBytes": .count(stream.skipsByBytes), "viewerSkipsByAge": .count(stream.skipsByAge),
            "slowViewersClosed": .count(stream.slowViewersClosed), "timelineJumps": .count(stream.timelineJumps),
            "restampedFrames": .count(stream.restampedFrames),
            "publishedSeconds": stream.publishedFor.map { .number(Double($0.nanoseconds) / 1e9) },
            "silentMillis": stream.silentFor.map { .count($0.nanoseconds / 1_000_000) },
            "ingestBitsPerSecond": .count(stream.ingestBitsPerSecond),
            "framesPerSecond": stream.framesPerSecond.map { .number($0) },
            "gopMillis": stream.gopMillis.map { .count($0) }, "ringBytes": stream.ringBytes.map { .count($0) },
            "slabs": stream.slabs.map { .count($0) },
            "flushLatenessMillis": stream.flushLateness.map { .number(Double($0.nanoseconds) / 1e6) },
        ])
    }

    static func track(_ track: Track) -> JSONValue {
        var video: VideoFormat?
        var audio: AudioFormat?
        switch track.format {
        case .video(let format): video = format
        case .audio(let format): audio = format
        }
        return .object([
            "kind": .string(track.kind.rawValue), "codec": .string(track.codec.rawValue),
            "width": video?.width.map { .count($0) }, "height": video?.height.map { .count($0) },
            "profile": (video?.profile ?? audio?.profile).map { .string($0) },
            "level": video?.level.map { .string($0) }, "frameRate": video?.frameRate.map { .number($0) },
            "sampleRate": audio?.sampleRate.map { .count($0) }, "channels": audio?.channels.map { .count($0) },
        ])
    }
}
