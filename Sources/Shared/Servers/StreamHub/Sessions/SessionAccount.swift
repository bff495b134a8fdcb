package import Media
package import NIOCore
import Synchronization

/// What a session does on a stream.
package struct SessionActivity: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable, CaseIterable {
        case publish, play
    }

    package var kind: Kind
    package var key: StreamKey
    /// How the media travel, such as `rtmp`, `rtmps`, `http-flv`, `ws-flv`, `hls`, `dash`; from a closed set.
    package var transport: String
    /// The peer is another node of the cluster that pulls, so it is no viewer. A publisher that a node forwards is one.
    package var isRelay: Bool
    package var epoch: UInt64

    package init(kind: Kind, key: StreamKey, transport: String, isRelay: Bool = false, epoch: UInt64 = 0) {
        self.kind = kind
        self.key = key
        self.transport = transport
        self.isRelay = isRelay
        self.epoch = epoch
    }
}

/// What a client says of itself. Nothing of it is proved.
package struct ClientDescription: Sendable, Hashable {
    /// The URL that an RTMP client connected to, or the request's URL; both without their query.
    package var tcURL = ""
    package var pageURL = ""
    package var swfURL = ""
    package var userAgent = ""
    /// `Referer` of HTTP, `pageUrl` of RTMP.
    package var referer = ""
    /// The query of the stream's URL, without `?`. Holds secrets: never log it.
    package var query = ""

    /// The most that is kept of one of the texts, in UTF-8 bytes.
    package static let maximumTextLength = 1_024
    /// The most that is kept of the query: longer than tokens are.
    package static let maximumQueryLength = 4_096

    package init() {}

    /// As much of what a peer wrote as is kept of it: at most `maximum` bytes.
    package static func bounded(_ text: String, to maximum: Int = ClientDescription.maximumTextLength) -> String {
        guard text.utf8.count > maximum else { return text }
        // A character that the cut goes through becomes a replacement character.
        return String(decoding: text.utf8.prefix(maximum), as: UTF8.self)
    }

    /// A URL without its query and fragment, bounded.
    package static func withoutQuery(_ url: String) -> String {
        self.bounded(String(url.prefix { $0 != "?" && $0 != "#" }))
    }
}

/// Why a session ended, as hooks, logs and the API tell it. A closed set.
package enum SessionEnd: String, Sendable, Hashable, CaseIterable {
    /// The peer left, or its connection broke.
    case left
    /// The stream is over.
    case streamEnded
    /// A viewer skipped too often.
    case tooSlow
    /// Another publisher took the stream.
    case takenOver
    /// An operator ended it.
    case kicked
    /// A limit of its own: bit rate, duration, the expiry of its token.
    case limited
    /// The node shuts down, or is drained.
    case shutdown
    /// Bytes that cannot be understood, or none for too long.
    case failed
}

/// One session's account: who it is, what it does, and the bytes that its socket moved.
///
/// Made by the socket layer when a connection is accepted; for viewers that come by single requests (HLS, DASH) at their
/// first request; for a stream of HTTP/2 that is watched. Streams, vhosts and the node are sums of accounts; there is no
/// second counting. Any thread may call.
///
/// States: open → (active → open)… → closed. One that was terminated never becomes active again.
package final class SessionAccount: Sendable {
    /// 8 characters of `a–z 0–9`, unique in the process: `client_id` of hooks and the API.
    package let id: String
    /// The peer's address, without its port for those who compare it, with the port for those who read it.
    package let address: SocketAddress?
    /// What the connection was accepted for, such as `rtmp` or `https`; from a closed set.
    package let transport: String
    package let startedAt: NIODeadline
    /// Its bytes are bytes of other connections, which count them too: not added to the node's sums. So it is for
    /// viewers that come by single requests, and for streams of HTTP/2.
    package let isVirtual: Bool
    /// Who let the connection in, and is told of its end.
    let admission: (any ConnectionAdmission)?

    private let receivedCounter = Atomic<UInt64>(0)
    private let sentCounter = Atomic<UInt64>(0)
    /// Locked inside the registry's lock, never around it.
    let state: Mutex<State>

    struct State {
        var client = ClientDescription()
        /// The address that a trusted proxy named.
        var forwardedAddress: String?
        var subject: String?
        var activity: SessionActivity?
        /// Bytes when the activity began.
        var receivedBefore: UInt64 = 0
        var sentBefore: UInt64 = 0
        var activeSince: NIODeadline?
        var isClosed = false
        var terminate: (@Sendable (SessionEnd, String) -> Void)?
        /// The text of an end that came before anybody could be told how the session is ended.
        var untoldEnd: String?
        var limits = SessionLimits()
        var path: PathStatistics?
        var rates = SessionRates()
        /// Why the session was terminated, if it was.
        var end: SessionEnd?
        /// What the observers have not been told, the oldest first; at most a few.
        var notices: [SessionNotice] = []
        /// Somebody tells them now.
        var isTelling = false
    }

    init(
        id: String, address: SocketAddress?, transport: String, isVirtual: Bool,
        admission: (any ConnectionAdmission)?, now: NIODeadline
    ) {
        self.id = id
        self.address = address
        self.transport = transport
        self.isVirtual = isVirtual
        self.admission = admission
        self.startedAt = now
        var state = State()
        state.rates.sample(received: 0, sent: 0, now: now)
        self.state = Mutex(state)
    }

    // MARK: Bytes

    /// Counts bytes that came from the socket. Cost: one atomic addition.
    package func received(_ count: Int) { self.receivedCounter.wrappingAdd(UInt64(count), ordering: .relaxed) }
    /// Counts bytes that the socket took, or that the channel was given for it.
    package func sent(_ count: Int) { self.sentCounter.wrappingAdd(UInt64(count), ordering: .relaxed) }
    /// Takes back what was counted as sent and never left.
    package func unsent(_ count: Int) { self.sentCounter.wrappingSubtract(UInt64(count), ordering: .relaxed) }

    package var receivedBytes: UInt64 { self.receivedCounter.load(ordering: .relaxed) }
    package var sentBytes: UInt64 { self.sentCounter.load(ordering: .relaxed) }

    // MARK: Who

    package var client: ClientDescription {
        get { self.state.withLock { $0.client } }
        set { self.state.withLock { $0.client = newValue } }
    }

    /// The address of the client behind a proxy that the node trusts; `nil` when the peer is the client.
    package var forwardedAddress: String? {
        get { self.state.withLock { $0.forwardedAddress } }
        set { self.state.withLock { $0.forwardedAddress = newValue } }
    }

    /// Whom the session's token was made for (`sub`); `nil` without one.
    package var subject: String? {
        get { self.state.withLock { $0.subject } }
        set { self.state.withLock { $0.subject = newValue } }
    }

    /// The client's address without a port, as hooks and the API tell it.
    package var ip: String { self.forwardedAddress ?? self.address?.ipAddress ?? "unknown" }

    package var activity: SessionActivity? { self.state.withLock { $0.activity } }

    /// How the network treats the session, as its transport last saw it; `nil` where it cannot tell.
    package var path: PathStatistics? {
        get { self.state.withLock { $0.path } }
        set { self.state.withLock { $0.path = newValue } }
    }

    // MARK: Ending

    /// Its observers were told that it closed, or will be at once.
    package var isClosed: Bool { self.state.withLock { $0.isClosed } }

    /// How the session is ended from outside: called at most once, from any thread, with a text for the peer; at once if
    /// the session was ended already.
    ///
    /// `body` must not hold the session's connection alive.
    package func onTerminate(_ body: @escaping @Sendable (SessionEnd, String) -> Void) {
        let untold: (SessionEnd, String)? = self.state.withLock { state in
            guard !state.isClosed else { return nil }
            if let end = state.end, let text = state.untoldEnd {
                state.untoldEnd = nil
                return (end, text)
            }
            if state.end == nil { state.terminate = body }
            return nil
        }
        if let untold { body(untold.0, untold.1) }
    }

    /// Ends the session. Returns false when it has closed or was ended before.
    @discardableResult
    package func terminate(_ end: SessionEnd, _ text: String) -> Bool {
        let (isFirst, body): (Bool, (@Sendable (SessionEnd, String) -> Void)?) = self.state.withLock { state in
            guard !state.isClosed, state.end == nil else { return (false, nil) }
            state.end = end
            guard let body = state.terminate else {
                state.untoldEnd = text
                return (true, nil)
            }
            state.terminate = nil
            return (true, body)
        }
        body?(end, text)
        return isFirst
    }

    // MARK: Limits

    /// What the session may do from now on; the registry looks at it once a second.
    package var limits: SessionLimits {
        get { self.state.withLock { $0.limits } }
        set { self.state.withLock { $0.limits = newValue } }
    }
}

extension SessionAccount: Hashable {
    package static func == (left: SessionAccount, right: SessionAccount) -> Bool { left === right }
    package func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

/// What one session may do; beyond it, it is ended with `SessionEnd.limited`.
package struct SessionLimits: Sendable, Hashable {
    /// Bits a second of a publisher, on the average of the last 10 to 15 s.
    package var bitsPerSecond: UInt64?
    /// When it has to be over, such as at the expiry of its token.
    package var until: NIODeadline?
    /// Seconds since 1970 at which its token expires; for the API only.
    package var expirySeconds: Int64?

    package init() {}
}
