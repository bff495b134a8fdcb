package import Media
package import NIOCore
package import StreamHub

/// The events of SRS's HTTP callbacks. The raw value is `action` in their bodies, and a label of metrics.
package enum HookEvent: String, Sendable, Hashable, CaseIterable {
    case onConnect = "on_connect"
    case onClose = "on_close"
    case onPublish = "on_publish"
    case onUnpublish = "on_unpublish"
    case onPlay = "on_play"
    case onStop = "on_stop"
    case onDVR = "on_dvr"
    case onHLS = "on_hls"
    case onHLSNotify = "on_hls_notify"
    case onForward = "on_forward"

    /// Whether the session waits for the answer.
    package var decides: Bool {
        switch self {
        case .onConnect, .onPublish, .onPlay, .onForward: true
        case .onClose, .onUnpublish, .onStop, .onDVR, .onHLS, .onHLSNotify: false
        }
    }
}

/// Whom to call for the streams of one vhost or app. URLs are `http` or `https`, called in their order.
package struct HookURLs: Sendable, Hashable {
    /// What holds for a session when a receiver that decides cannot be reached, or answers too late.
    package enum Unreachable: String, Sendable, Hashable, CaseIterable {
        case deny, allow
    }

    /// By event; missing ones have no receiver.
    package var urls: [HookEvent: [String]]
    package var unreachable: Unreachable

    package init(_ urls: [HookEvent: [String]] = [:], unreachable: Unreachable = .deny) {
        self.urls = urls
        self.unreachable = unreachable
    }

    package subscript(event: HookEvent) -> [String] { self.urls[event] ?? [] }
}

/// A client, as the bodies of hooks describe it.
package struct HookPeer: Sendable, Hashable {
    /// `client_id`: the id of the session's account; empty when there is none.
    package var id: String
    /// Without a port.
    package var ip: String
    package var tcURL: String
    package var pageURL: String
    /// The query of the stream's URL, without `?`. Holds secrets: never log it.
    package var query: String
    /// `rtmp`, `http-flv` and so on; from a closed set.
    package var transport: String

    package init(
        id: String, ip: String, tcURL: String = "", pageURL: String = "", query: String = "", transport: String = ""
    ) {
        self.id = id
        self.ip = ip
        self.tcURL = tcURL
        self.pageURL = pageURL
        self.query = query
        self.transport = transport
    }

    /// Who asks to publish or play.
    package init(_ peer: PeerIdentity) {
        self.init(
            id: peer.account?.id ?? "", ip: peer.clientAddress, tcURL: peer.client.tcURL,
            pageURL: peer.client.pageURL, query: peer.query, transport: peer.transport)
    }

    /// `param` as SRS sends it for RTMP and HTTP: with `?`, or empty.
    package var parameter: String { self.query.isEmpty ? "" : "?\(self.query)" }
}

/// A recording that is complete, for `on_dvr`.
package struct HookRecording: Sendable, Hashable {
    package var key: StreamKey
    /// The file, absolute or relative to the process's folder.
    package var path: String
    package var durationMillis: Int64
    package var byteCount: Int64
    /// The recording's id in the catalogue.
    package var id: String
    package var epoch: UInt64

    package init(
        key: StreamKey, path: String, durationMillis: Int64, byteCount: Int64, id: String, epoch: UInt64
    ) {
        self.key = key
        self.path = path
        self.durationMillis = durationMillis
        self.byteCount = byteCount
        self.id = id
        self.epoch = epoch
    }
}

/// A segment that is complete, for `on_hls` and `on_hls_notify`.
package struct HookSegment: Sendable, Hashable {
    package var key: StreamKey
    package var epoch: UInt64
    package var sequence: UInt64
    package var durationMillis: Int64
    /// The segment's file; empty when it is in memory only.
    package var path: String
    /// Where the segment is had over HTTP, relative to the root of the server, without a leading slash.
    package var url: String
    /// The playlist's file; empty when none is written.
    package var playlistPath: String
    /// Where the stream's playlist is had over HTTP, relative as `url`.
    package var playlistURL: String
    /// Which of the stream's segments of this number it is: `main`, `video` or `audio`.
    package var track: String
    package var byteCount: Int64

    package init(
        key: StreamKey, epoch: UInt64, sequence: UInt64, durationMillis: Int64, path: String, url: String,
        playlistPath: String, playlistURL: String, track: String, byteCount: Int64
    ) {
        self.key = key
        self.epoch = epoch
        self.sequence = sequence
        self.durationMillis = durationMillis
        self.path = path
        self.url = url
        self.playlistPath = playlistPath
        self.playlistURL = playlistURL
        self.track = track
        self.byteCount = byteCount
    }
}

/// What an answer may set for the session that it lets in. What is `nil` is left to the node's settings.
package struct SessionPolicy: Sendable, Hashable {
    /// What happens when the stream has a publisher already.
    package enum PublishPolicy: String, Sendable, Hashable, CaseIterable {
        case takeover, reject, grace
    }

    /// Bits a second of a publisher.
    package var maximumBitRate: UInt64?
    /// Seconds that the session may last.
    package var maximumSeconds: Int64?
    /// When it has to be over, in seconds since 1970 UTC.
    package var expiresAt: Int64?
    package var publishPolicy: PublishPolicy?
    /// Whether the stream is recorded.
    package var records: Bool?

    package init(
        maximumBitRate: UInt64? = nil, maximumSeconds: Int64? = nil, expiresAt: Int64? = nil,
        publishPolicy: PublishPolicy? = nil, records: Bool? = nil
    ) {
        self.maximumBitRate = maximumBitRate
        self.maximumSeconds = maximumSeconds
        self.expiresAt = expiresAt
        self.publishPolicy = publishPolicy
        self.records = records
    }

    /// Adds what another receiver set: the tighter of two limits, and of other things the later word.
    package mutating func add(_ other: SessionPolicy) {
        self.maximumBitRate = Self.tighter(self.maximumBitRate, other.maximumBitRate)
        self.maximumSeconds = Self.tighter(self.maximumSeconds, other.maximumSeconds)
        self.expiresAt = Self.tighter(self.expiresAt, other.expiresAt)
        self.publishPolicy = other.publishPolicy ?? self.publishPolicy
        self.records = other.records ?? self.records
    }

    private static func tighter<Value: Comparable>(_ one: Value?, _ other: Value?) -> Value? {
        guard let one, let other else { return one ?? other }
        return min(one, other)
    }

    /// The limits of `limits` with those of the policy: the tighter of both. `now` and `nowSeconds`, the latter since 1970
    /// UTC, are the same moment.
    package func limits(within limits: SessionLimits, now: NIODeadline, nowSeconds: Int64) -> SessionLimits {
        var limits = limits
        limits.bitsPerSecond = Self.tighter(limits.bitsPerSecond, self.maximumBitRate)
        // A century is for ever, and cannot overflow.
        let century: Int64 = 100 * 366 * 86_400
        let seconds = Self.tighter(self.maximumSeconds, self.expiresAt.map { max($0, 0) - nowSeconds })
        if let seconds {
            limits.until = Self.tighter(limits.until, now + .seconds(min(max(seconds, 0), century)))
        }
        limits.expirySeconds = Self.tighter(limits.expirySeconds, self.expiresAt)
        return limits
    }
}

/// What the receivers say to a session.
package enum HookDecision: Sendable, Hashable {
    case allow(SessionPolicy)
    case refuse(HookRefusal)
}

/// Why hooks keep a session out.
package struct HookRefusal: Error, Sendable, Hashable {
    package enum Cause: String, Sendable, Hashable, CaseIterable {
        /// A receiver said no.
        case refused
        /// A receiver's answer cannot be understood, or is longer than it may be.
        case unreadable
        /// A receiver cannot be reached or answered too late, and the policy for that is `deny`.
        case unreachable
        /// More sessions than may do so wait for receivers.
        case overloaded
    }

    package var event: HookEvent
    package var cause: Cause
    /// For the peer: the receiver's own words, at most 200 printable characters, or ours.
    package var reason: String

    package init(event: HookEvent, cause: Cause, reason: String) {
        self.event = event
        self.cause = cause
        self.reason = reason
    }

    /// The same as the gate tells it to the peer.
    package var sessionRefusal: SessionRefusal {
        switch self.cause {
        case .refused, .unreadable: SessionRefusal(.forbidden, self.reason)
        case .unreachable, .overloaded: SessionRefusal(.unavailable, self.reason)
        }
    }
}
