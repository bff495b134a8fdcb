import AMF
package import Media
package import NIOCore
import NIOPosix
package import RTMP
package import StreamHub
import Streaming

/// Where a stream is pulled from, or published to.
package struct RTMPRemote: Sendable, Hashable {
    package var host: String
    package var port: Int
    package var key: StreamKey
    /// The publisher's query, which the other node shall see.
    package var query: String
    /// How this node names itself, and the epoch that it expects.
    package var relay: RelayIdentity
    /// The cluster's secret, by which this node proves itself; `nil` where there is none.
    package var secret: String?
    /// Who publishes, if this node forwards a publisher.
    package var peer: ForwardedPeer?

    package init(
        host: String, port: Int, key: StreamKey, query: String = "", relay: RelayIdentity, secret: String? = nil,
        peer: ForwardedPeer? = nil
    ) {
        self.host = host
        self.port = port
        self.key = key
        self.query = query
        self.relay = relay
        self.secret = secret.flatMap { $0.isEmpty ? nil : $0 }
        self.peer = peer
    }

    /// What the connect command says of this node. `now` is in seconds since 1970 UTC.
    func connectProperties(now: Int64) -> [AMFProperty] {
        var properties = [
            AMFProperty("weirNode", .string(self.relay.node)),
            AMFProperty("weirEpoch", .number(Double(self.relay.epoch))),
        ]
        if let secret = self.secret {
            let proof = RelayProof.make(secret: secret, node: self.relay.node, now: now)
            properties.append(AMFProperty("weirProof", .string(proof)))
        }
        if let peer = self.peer { properties.append(AMFProperty("weirPeer", peer.value)) }
        return properties
    }

    /// `now` is in seconds since 1970 UTC.
    func target(_ role: RTMPClientTarget.Role, now: Int64 = wallClockSeconds()) -> RTMPClientTarget {
        var query = self.query.split(separator: "&").map(String.init)
            .filter { !$0.hasPrefix("vhost=") && !$0.hasPrefix("domain=") }
        if self.key.vhost != StreamKey.defaultVhost { query.append("vhost=\(self.key.vhost)") }
        let name = query.isEmpty ? self.key.name : "\(self.key.name)?\(query.joined(separator: "&"))"
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        return RTMPClientTarget(
            tcURL: "rtmp://\(host):\(self.port)/\(self.key.app)", app: self.key.app, streamName: name, role: role,
            connectProperties: self.connectProperties(now: now))
    }

    func connect(
        on loop: any EventLoop, timeout: TimeAmount, _ handler: @escaping @Sendable () -> RTMPClientHandler
    ) -> EventLoopFuture<any Channel> {
        ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler()) }
            }
            .connect(host: self.host, port: self.port)
    }
}

/// A stream that is pulled from another node into a live stream of this one.
///
/// Runs on `loop`, which is the home loop of the stream. Make one for each attempt.
// Safety: touched on `loop` only.
package final class RTMPPull: RTMPLinkOwner, @unchecked Sendable {
    private let loop: any EventLoop
    /// The stream plays. `epoch` is what the other node says of it. Returns where the media go; `nil` refuses.
    private let onPlaying: @Sendable (_ epoch: UInt64?) -> (any MediaSink)?
    private let onEnd: @Sendable (RTMPLinkEnd) -> Void
    private var sink: (any MediaSink)?
    private var handler: RTMPClientHandler?
    private var isOver = false

    /// Both closures are called on `loop`; `onEnd` once.
    package init(
        on loop: any EventLoop, onPlaying: @escaping @Sendable (_ epoch: UInt64?) -> (any MediaSink)?,
        onEnd: @escaping @Sendable (RTMPLinkEnd) -> Void
    ) {
        self.loop = loop
        self.onPlaying = onPlaying
        self.onEnd = onEnd
    }

    /// Connects and plays. Call once, on `loop`.
    package func start(_ remote: RTMPRemote, configuration: RTMPClientConfiguration, connectTimeout: TimeAmount) {
        self.loop.assertInEventLoop()
        let handler = RTMPClientHandler(configuration: configuration, target: remote.target(.play), owner: self)
        self.handler = handler
        let bound = NIOLoopBound(handler, eventLoop: self.loop)
        remote.connect(on: self.loop, timeout: connectTimeout) { bound.value }.assumeIsolated().whenFailure { error in
            self.linkEnded(.failed("cannot connect to \(remote.host):\(remote.port): \(ConnectFailure.text(error))"))
        }
    }

    /// Stops. `onEnd` is told `.closed` unless it was told something before. On `loop`.
    package func stop() {
        self.loop.assertInEventLoop()
        self.handler?.leave(isPublishing: false)
        self.linkEnded(.closed)
    }

    func linkEstablished(epoch: UInt64?) {
        guard !self.isOver else { return }
        self.sink = self.onPlaying(epoch)
        if self.sink == nil { self.stop() }
    }

    func linkReceived(_ events: [MediaEvent]) { self.sink?.receive(events) }

    func linkWritable(_ isWritable: Bool) {}

    /// A stream that is pulled follows its placement.
    func linkShouldMove() {}

    func linkEnded(_ end: RTMPLinkEnd) {
        guard !self.isOver else { return }
        self.isOver = true
        self.sink?.finish()
        self.sink = nil
        self.handler = nil
        self.onEnd(end)
    }
}

/// A publisher's media on their way to another node.
///
/// Runs on the publisher's loop. When the connection is lost, the publisher is not read from, so nothing is lost, and
/// `onLost` decides where to go on. A node that asks to be left is left before a keyframe, so that the next node's
/// viewers miss no picture. Make the first connection with `start`.
// Safety: touched on the publisher's loop only.
package final class RTMPForward: MediaSink, RTMPLinkOwner, @unchecked Sendable {
    private let connection: any PublisherConnection
    private let chunkSize: Int
    private let configuration: RTMPClientConfiguration
    private let connectTimeout: TimeAmount
    private let onLost: @Sendable (RTMPForward, RTMPLinkEnd) -> Void
    private var encoder: RTMPRendition
    private var state = StreamState()
    private var handler: RTMPClientHandler?
    private var established: EventLoopPromise<UInt64>?
    private var isEstablished = false
    /// The publisher left.
    package private(set) var isFinished = false
    /// The node asked to be left, and at this time it is left wherever the media stand.
    private var leavesBy: NIODeadline?
    /// What came while there was no connection; little, because the publisher is not read from then.
    private var waiting: [MediaEvent] = []
    package private(set) var epoch: UInt64 = 0
    package private(set) var key: StreamKey?

    /// Longer than most groups of pictures, and shorter than a node waits for those that it asked to leave.
    private static let longestWaitForKeyframe = TimeAmount.seconds(4)

    /// `onLost` is called on the publisher's loop when an established connection ends while the publisher is there, with
    /// `.closed` when the node wished so.
    package init(
        connection: any PublisherConnection, configuration: RTMPClientConfiguration, connectTimeout: TimeAmount,
        onLost: @escaping @Sendable (RTMPForward, RTMPLinkEnd) -> Void
    ) {
        self.connection = connection
        self.configuration = configuration
        self.connectTimeout = connectTimeout
        self.chunkSize = configuration.chunkSize
        self.encoder = RTMPRendition(chunkSize: configuration.chunkSize)
        self.onLost = onLost
    }

    /// Connects and publishes. The future gives the epoch, or fails with an `RTMPLinkEnd`. On the publisher's loop.
    package func start(_ remote: RTMPRemote) -> EventLoopFuture<UInt64> {
        let loop = self.connection.loop
        loop.assertInEventLoop()
        guard !self.isFinished else { return loop.makeFailedFuture(RTMPLinkEnd.closed) }
        let promise = loop.makePromise(of: UInt64.self)
        self.established = promise
        self.key = remote.key
        var target = remote.target(.publish)
        target.takesReconnectRequests = true
        let handler = RTMPClientHandler(configuration: self.configuration, target: target, owner: self)
        self.handler = handler
        let bound = NIOLoopBound(handler, eventLoop: loop)
        remote.connect(on: loop, timeout: self.connectTimeout) { bound.value }.assumeIsolated().whenFailure { error in
            self.linkEnded(.failed("cannot connect to \(remote.host):\(remote.port): \(ConnectFailure.text(error))"))
        }
        return promise.futureResult
    }

    package func receive(_ events: [MediaEvent]) {
        guard !self.isFinished else { return }
        for event in events { self.note(event) }
        guard self.isEstablished else {
            self.waiting.append(contentsOf: events)
            return
        }
        guard let start = self.startOfMove(in: events) else { return self.send(events) }
        self.send(Array(events[..<start]))
        self.waiting = Array(events[start...])
        self.handler?.leave(isPublishing: true)
    }

    /// Where the next node's part begins, if it begins in `events`.
    private func startOfMove(in events: [MediaEvent]) -> Int? {
        guard let leavesBy = self.leavesBy else { return nil }
        if NIODeadline.now() >= leavesBy { return 0 }
        let needsVideo = self.state.video != nil
        return events.firstIndex { event in
            guard case .frame(let frame) = event else { return false }
            return needsVideo ? frame.kind == .video && frame.isKeyframe : true
        }
    }

    package func finish() {
        guard !self.isFinished else { return }
        self.isFinished = true
        self.handler?.leave(isPublishing: true)
        self.handler = nil
    }

    private func note(_ event: MediaEvent) {
        switch event {
        case .track(let track) where track.kind == .video: self.state.video = track
        case .track(let track): self.state.audio = track
        case .metadata(let metadata): self.state.metadata = metadata
        case .frame, .data: break
        }
    }

    private func send(_ events: [MediaEvent]) {
        var bytes = ByteBuffer()
        for event in events {
            let time: MediaTime =
                switch event {
                case .frame(let frame): frame.dts
                case .data(let data): data.time
                case .track, .metadata: .zero
                }
            self.encoder.write(event, state: self.state, at: time, into: &bytes)
        }
        if bytes.readableBytes > 0 { self.handler?.send(bytes) }
    }

    // MARK: The link

    func linkEstablished(epoch: UInt64?) {
        self.isEstablished = true
        self.epoch = epoch ?? 0
        var bytes = ByteBuffer()
        self.encoder.writePrelude(self.state, at: .zero, into: &bytes)
        if bytes.readableBytes > 0 { self.handler?.send(bytes) }
        let waiting = self.waiting
        self.waiting = []
        self.send(waiting.filter { if case .frame = $0 { true } else { false } })
        self.connection.setReading(true)
        self.established?.succeed(self.epoch)
        self.established = nil
    }

    func linkReceived(_ events: [MediaEvent]) {}

    func linkShouldMove() {
        guard self.isEstablished, self.leavesBy == nil else { return }
        self.leavesBy = .now() + Self.longestWaitForKeyframe
    }

    func linkWritable(_ isWritable: Bool) {
        if self.isEstablished { self.connection.setReading(isWritable) }
    }

    func linkEnded(_ end: RTMPLinkEnd) {
        let wasEstablished = self.isEstablished
        self.isEstablished = false
        self.leavesBy = nil
        self.handler = nil
        if let promise = self.established {
            self.established = nil
            promise.fail(end)
        } else if wasEstablished, !self.isFinished {
            self.connection.setReading(false)
            self.onLost(self, end)
        }
    }
}
