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
    /// The peer is another node of the cluster, so it is no viewer and no publisher of the cluster.
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
    /// The URL that an RTMP client connected to, or the request's URL without its query.
    package var tcURL = ""
    package var pageURL = ""
    package var swfURL = ""
    package var userAgent = ""
    /// `Referer` of HTTP, `pageUrl` of RTMP.
    package var referer = ""
    /// The query of the stream's URL, without `?`. Holds secrets: never log it.
    package var query = ""

    package init() {}
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
/// Made by the socket layer when a connection is accepted, or for viewers that come by single requests (HLS, DASH) at
/// their first request. Streams, vhosts and the node are sums of accounts; there is no second counting. Any thread may
/// call.
package final class SessionAccount: Sendable {
    /// 8 characters of `a–z 0–9`, unique in the process: `client_id` of hooks and the API.
    package let id: String
    /// The peer's address, without its port for those who compare it, with the port for those who read it.
    package let address: SocketAddress?
    package let startedAt: NIODeadline
    /// Its bytes are bytes of other connections, which count them too: not added to the node's sums. So it is for
    /// viewers that come by single requests.
    package let isVirtual: Bool

    private let receivedCounter = Atomic<UInt64>(0)
    private let sentCounter = Atomic<UInt64>(0)
    let state: Mutex<State>

    struct State {
        var client = ClientDescription()
        /// The address that a trusted proxy named.
        var forwardedAddress: String?
        var activity: SessionActivity?
        /// Bytes when the activity began.
        var receivedBefore: UInt64 = 0
        var sentBefore: UInt64 = 0
        var activeSince: NIODeadline?
        var isClosed = false
        var terminate: (@Sendable (SessionEnd, String) -> Void)?
        var limits = SessionLimits()
        var rates = SessionRates()
        var end: SessionEnd?
    }

    init(id: String, address: SocketAddress?, isVirtual: Bool, now: NIODeadline) {
        self.id = id
        self.address = address
        self.startedAt = now
        self.isVirtual = isVirtual
        self.state = Mutex(State())
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

    /// The client's address without a port, as hooks and the API tell it.
    package var ip: String { self.forwardedAddress ?? self.address?.ipAddress ?? "unknown" }

    package var activity: SessionActivity? { self.state.withLock { $0.activity } }

    // MARK: Ending

    /// How the session is ended from outside: called at most once, from any thread, with a text for the peer.
    package func onTerminate(_ body: @escaping @Sendable (SessionEnd, String) -> Void) {
        self.state.withLock { $0.terminate = body }
    }

    /// Ends the session. Returns false when it cannot be, because it has closed or was ended before.
    @discardableResult
    package func terminate(_ end: SessionEnd, _ text: String) -> Bool {
        let body: (@Sendable (SessionEnd, String) -> Void)? = self.state.withLock { state in
            guard !state.isClosed, let body = state.terminate else { return nil }
            state.terminate = nil
            state.end = end
            return body
        }
        body?(end, text)
        return body != nil
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
    /// Bits a second of a publisher, on the average of 10 s.
    package var bitsPerSecond: UInt64?
    /// When it has to be over, such as at the expiry of its token.
    package var until: NIODeadline?
    /// Seconds since 1970 at which its token expires; for the API only.
    package var expirySeconds: Int64?

    package init() {}
}

/// Bit rates of one session, from samples that the registry takes.
package struct SessionRates: Sendable, Hashable {
    struct Sample: Sendable, Hashable {
        var at: NIODeadline
        var received: UInt64
        var sent: UInt64
    }

    /// Samples at most 5 s apart, the oldest first; at most 8, so about 30 s.
    private(set) var samples: [Sample] = []
    private static let maximumSamples = 8
    private static let interval = TimeAmount.seconds(5)

    mutating func sample(received: UInt64, sent: UInt64, now: NIODeadline) {
        if let last = self.samples.last, now - last.at < Self.interval { return }
        if self.samples.count == Self.maximumSamples { self.samples.removeFirst() }
        self.samples.append(Sample(at: now, received: received, sent: sent))
    }

    /// Bits a second over at most `window`, by what was counted until now.
    func bitsPerSecond(
        over window: TimeAmount, received: UInt64, sent: UInt64, now: NIODeadline
    ) -> (received: UInt64, sent: UInt64) {
        // The first sample within the window; a session that is younger than it is measured since its start.
        guard let from = self.samples.first(where: { now - $0.at <= window }) ?? self.samples.last
        else { return (0, 0) }
        let nanoseconds = (now - from.at).nanoseconds
        guard nanoseconds > 0 else { return (0, 0) }
        let seconds = Double(nanoseconds) / 1e9
        func rate(_ new: UInt64, _ old: UInt64) -> UInt64 {
            new > old ? UInt64(Double(new - old) * 8 / seconds) : 0
        }
        return (rate(received, from.received), rate(sent, from.sent))
    }
}
