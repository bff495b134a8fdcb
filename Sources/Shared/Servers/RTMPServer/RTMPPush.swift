package import FLV
package import Media
package import NIOCore
import NIOPosix
package import NIOSSL
package import RTMP
import StreamHub
package import Streaming

/// A stream on a server that is none of the cluster's: `rtmp(s)://host[:port]/app[/more]/stream[?query]`.
package struct RTMPPushTarget: Sendable, Hashable {
    package let host: String
    package let port: Int
    package let usesTLS: Bool
    package let app: String
    /// Without its query.
    package let name: String
    /// Without `?`. Holds secrets: never log it.
    package let query: String

    /// Takes a URL apart. The last component of its path is the stream, those before it are the app.
    package init(parsing text: String) throws(RTMPPushError) {
        let url: RTMPURL
        do throws(RTMPAddressError) {
            url = try RTMPURL(parsing: text)
        } catch {
            throw .address(error)
        }
        guard url.scheme == "rtmp" || url.scheme == "rtmps" else { throw .scheme }
        guard let slash = url.path.lastIndex(of: "/"), slash > url.path.startIndex else { throw .noStream }
        self.host = url.host
        self.port = url.effectivePort
        self.usesTLS = url.scheme == "rtmps"
        self.app = String(url.path[..<slash])
        self.name = String(url.path[url.path.index(after: slash)...])
        self.query = url.parameters.queryString
    }

    var target: RTMPClientTarget {
        let scheme = self.usesTLS ? "rtmps" : "rtmp"
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        let isDefault = self.port == (self.usesTLS ? RTMPURL.defaultTLSPort : RTMPURL.defaultPort)
        return RTMPClientTarget(
            tcURL: "\(scheme)://\(host)\(isDefault ? "" : ":\(self.port)")/\(self.app)", app: self.app,
            streamName: self.query.isEmpty ? self.name : "\(self.name)?\(self.query)", role: .publish,
            flashVersion: "FMLE/3.0 (compatible; Weir)")
    }
}

/// Why a text names no stream to publish to.
package enum RTMPPushError: Error, Hashable, Sendable {
    case address(RTMPAddressError)
    /// Neither `rtmp` nor `rtmps`.
    case scheme
    /// The path has no app, or no stream.
    case noStream
}

/// How a stream is pushed.
package struct RTMPPushConfiguration: Sendable {
    package var client = RTMPClientConfiguration()
    package var connectTimeout = TimeAmount.seconds(5)
    /// Bytes that may wait for the destination; from then on `isWritable` is false until half of them have left.
    package var maximumQueuedBytes = 4 << 20
    /// How long `isWritable` may be false before the connection is given up.
    package var stallTimeout = TimeAmount.seconds(15)
    /// For destinations of `rtmps`; `nil` fails them.
    package var tls: NIOSSLContext?
    package var hevcForm = FLVHEVCForm.asPublished

    package init() {}
}

/// One connection that publishes a stream of this node to another server.
///
/// Runs on `loop`. Its owner decides what is sent: begin with `begin`, skip while `isWritable` is false. Times start near
/// zero with the first frame. Make one for each attempt.
// Safety: touched on `loop` only.
package final class RTMPPush: RTMPLinkOwner, @unchecked Sendable {
    private let loop: any EventLoop
    private let configuration: RTMPPushConfiguration
    private let onLive: @Sendable () -> Void
    private let onEnd: @Sendable (RTMPLinkEnd) -> Void
    private var encoder: RTMPRendition
    private var handler: RTMPClientHandler?
    private var batch = ByteBuffer()
    private var start: MediaTime?
    private var stall: Scheduled<Void>?
    private var isLive = false
    private var isOver = false
    /// Whether the destination keeps up.
    package private(set) var isWritable = true
    /// Bytes of media that were given to the connection.
    package private(set) var sentBytes: UInt64 = 0

    /// Both closures are called on `loop`: `onLive` when the destination agreed, `onEnd` once, whatever happens.
    package init(
        on loop: any EventLoop, configuration: RTMPPushConfiguration, onLive: @escaping @Sendable () -> Void,
        onEnd: @escaping @Sendable (RTMPLinkEnd) -> Void
    ) {
        self.loop = loop
        self.configuration = configuration
        self.onLive = onLive
        self.onEnd = onEnd
        self.encoder = RTMPRendition(chunkSize: configuration.client.chunkSize, hevc: configuration.hevcForm)
    }

    /// Connects and asks to publish. Call once.
    package func start(_ target: RTMPPushTarget) {
        self.loop.assertInEventLoop()
        guard !target.usesTLS || self.configuration.tls != nil else {
            return self.linkEnded(.failed("there is no TLS for outgoing connections"))
        }
        let handler = RTMPClientHandler(
            configuration: self.configuration.client, target: target.target, owner: self)
        self.handler = handler
        let bound = NIOLoopBound(handler, eventLoop: self.loop)
        let tls = target.usesTLS ? self.configuration.tls : nil
        let high = max(self.configuration.maximumQueuedBytes, 2)
        ClientBootstrap(group: self.loop)
            .connectTimeout(self.configuration.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.writeBufferWaterMark, value: .init(low: high / 2, high: high))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(Self.tlsHandler(tls, host: target.host))
                    }
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
            .connect(host: target.host, port: target.port)
            .hop(to: self.loop).assumeIsolated().whenFailure { error in
                let cause = ConnectFailure.text(error)
                self.linkEnded(.failed("cannot connect to \(target.host):\(target.port): \(cause)"))
            }
    }

    private static func tlsHandler(_ context: NIOSSLContext, host: String) throws -> NIOSSLClientHandler {
        // RFC 6066 §3: addresses are not sent as server names.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
    }

    /// Announces what the stream consists of. After `onLive`, and whenever something was left out.
    package func begin(_ state: StreamState) {
        guard self.isLive else { return }
        self.encoder.writePrelude(state, at: .zero, into: &self.batch)
    }

    /// Adds an event to what `flush` sends; `state` contains it.
    package func send(_ event: MediaEvent, state: StreamState) {
        guard self.isLive else { return }
        switch event {
        case .frame(var frame):
            let start = self.start ?? frame.dts
            self.start = start
            let offset = frame.pts - frame.dts
            frame.dts = max(.zero, frame.dts - start)
            frame.pts = frame.dts + offset
            self.encoder.write(.frame(frame), state: state, at: frame.dts, into: &self.batch)
        case .data(var data):
            data.time = max(.zero, data.time - (self.start ?? data.time))
            self.encoder.write(.data(data), state: state, at: data.time, into: &self.batch)
        case .track, .metadata:
            self.encoder.write(event, state: state, at: .zero, into: &self.batch)
        }
    }

    package func flush() {
        guard self.isLive, self.batch.readableBytes > 0 else { return }
        self.sentBytes += UInt64(self.batch.readableBytes)
        let batch = self.batch
        self.batch = ByteBuffer()
        self.handler?.send(batch)
    }

    /// Leaves in order. `onEnd` is told `.closed` unless it was told something before.
    package func stop() {
        self.loop.assertInEventLoop()
        self.handler?.leave(isPublishing: true)
        self.linkEnded(.closed)
    }

    // MARK: The link

    func linkEstablished(epoch: UInt64?) {
        guard !self.isOver else { return }
        self.isLive = true
        self.onLive()
    }

    func linkReceived(_ events: [MediaEvent]) {}

    /// Another cluster's node that drains: its own way to end the connection follows.
    func linkShouldMove() {}

    func linkWritable(_ isWritable: Bool) {
        guard !self.isOver else { return }
        self.isWritable = isWritable
        self.stall?.cancel()
        self.stall = nil
        guard !isWritable else { return }
        self.stall = self.loop.assumeIsolated().scheduleTask(in: self.configuration.stallTimeout) {
            guard !self.isWritable else { return }
            let handler = self.handler
            self.linkEnded(.failed("the destination does not read"))
            handler?.abandon()
        }
    }

    func linkEnded(_ end: RTMPLinkEnd) {
        guard !self.isOver else { return }
        self.isOver = true
        self.isLive = false
        self.stall?.cancel()
        self.stall = nil
        self.handler = nil
        self.batch = ByteBuffer()
        self.onEnd(end)
    }
}
