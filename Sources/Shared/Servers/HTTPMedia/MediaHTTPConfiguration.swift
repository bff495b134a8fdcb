package import FLV
package import Media
package import NIOCore
package import NIOPosix
package import StreamHub
package import Streaming

/// What the HTTP delivery of media needs to know.
package struct MediaHTTPConfiguration: Sendable {
    /// Origins whose pages may read the streams; `*` means all.
    package var corsOrigins: [String]
    /// How HEVC is signalled to the players of a stream.
    package var hevcForm: @Sendable (StreamKey) -> FLVHEVCForm
    /// In which codec the players of a stream get its audio, unless they ask for the source's with `?audio=source`.
    package var audioForm: @Sendable (StreamKey) -> AudioForm
    /// `TCP_NODELAY` of viewers; `nil` lets the kernel join small writes while older ones are on their way.
    package var playerNoDelay: @Sendable (StreamKey) -> Bool?
    package var isTLS: Bool
    /// The vhost that a domain belongs to: that of the query if it names one, else that of the `Host`.
    package var vhost: @Sendable (_ domain: String) -> String
    /// Admits requests for files, and says whose bytes they are; `nil` lets everybody have everything.
    package var objectGate: (any MediaObjectGate)?
    /// Where the accounts of connections are kept.
    package var sessions: SessionRegistry
    /// Whether a peer is a proxy that is believed what it says of its clients.
    package var trustsProxy: @Sendable (SocketAddress) -> Bool
    /// How often nodes may pass a request on to each other before it is taken for a loop.
    package var maximumHops: Int
    /// A connection without a request is closed after this time, and one that takes no byte of an answer within it.
    package var idleTimeout: TimeAmount
    /// An answer that is waited for longer than this is 503. Sources have shorter deadlines; this one guards them.
    package var maximumWait: TimeAmount
    /// Requests that one HTTP/2 connection may have at the same time, waiting ones included.
    package var maximumConcurrentStreams: Int
    /// Counts the connections of all listeners that share it, and refuses those beyond its bound; `nil` for no bound.
    package var connectionLimit: ConnectionLimit?
    /// A stream that is published for so long without audio has none: its listeners are answered 404.
    package var audioWait: TimeAmount
    /// A viewer who got no byte for so long of a stream whose media comes is ended: its format carries none of it.
    package var emptyTimeout: TimeAmount
    /// What is asked of publishers.
    package var publish: HTTPPublishConfiguration
    /// Opens and reads files. Its threads may block on the disk.
    package var filePool: NIOThreadPool

    package init(
        corsOrigins: [String] = ["*"],
        hevcForm: @escaping @Sendable (StreamKey) -> FLVHEVCForm = { _ in .asPublished },
        audioForm: @escaping @Sendable (StreamKey) -> AudioForm = { _ in .source },
        playerNoDelay: @escaping @Sendable (StreamKey) -> Bool? = { _ in nil },
        isTLS: Bool = false,
        vhost: @escaping @Sendable (_ domain: String) -> String = { _ in StreamKey.defaultVhost },
        objectGate: (any MediaObjectGate)? = nil,
        sessions: SessionRegistry = SessionRegistry(),
        trustsProxy: @escaping @Sendable (SocketAddress) -> Bool = { _ in false }, maximumHops: Int = 4,
        idleTimeout: TimeAmount = .seconds(60),
        maximumWait: TimeAmount = .seconds(60), maximumConcurrentStreams: Int = 100,
        connectionLimit: ConnectionLimit? = nil, audioWait: TimeAmount = TrackHold.Configuration().audioWait,
        emptyTimeout: TimeAmount = .seconds(30), publish: HTTPPublishConfiguration = HTTPPublishConfiguration(),
        filePool: NIOThreadPool = .singleton
    ) {
        self.corsOrigins = corsOrigins
        self.hevcForm = hevcForm
        self.audioForm = audioForm
        self.playerNoDelay = playerNoDelay
        self.isTLS = isTLS
        self.vhost = vhost
        self.objectGate = objectGate
        self.sessions = sessions
        self.trustsProxy = trustsProxy
        self.maximumHops = maximumHops
        self.idleTimeout = idleTimeout
        self.maximumWait = maximumWait
        self.maximumConcurrentStreams = maximumConcurrentStreams
        self.connectionLimit = connectionLimit
        self.audioWait = audioWait
        self.emptyTimeout = emptyTimeout
        self.publish = publish
        self.filePool = filePool
    }

    /// The value of `Access-Control-Allow-Origin` for a request from `origin`; `nil` if it may not read.
    func allowedOrigin(_ origin: String) -> String? {
        if self.allowsAllOrigins { return "*" }
        return self.corsOrigins.contains(origin) ? origin : nil
    }

    /// Answers are the same whichever page asks, so caches can give one to all.
    var allowsAllOrigins: Bool { self.corsOrigins.contains("*") }
}
