package import NIOCore
package import Streaming

/// Why a viewer no longer gets a stream.
package enum ViewerEnd: Sendable, Hashable {
    /// The stream ended: no publisher came back in time.
    case streamEnded
    /// It skipped too often within the window of its policy.
    case tooSlow(SkipReason)
    /// Its socket failed with this error number.
    case socketFailed(errno: CInt)
    /// The node is shutting down, or an operator asked.
    case kicked(reason: String)
}

extension ViewerEnd: CustomStringConvertible {
    package var description: String {
        switch self {
        case .streamEnded: "the stream ended"
        case .tooSlow(.bytes): "too slow: too many unsent bytes"
        case .tooSlow(.age): "too slow: unsent bytes too old"
        case .socketFailed(let errno): "the socket failed, errno \(errno)"
        case .kicked(let reason): reason
        }
    }
}

/// Is told what happens to a viewer, on the viewer's event loop.
package protocol ViewerDelegate: AnyObject {
    /// The viewer left its stream and will be sent nothing more. Its channel is still open.
    func viewerEnded(_ reason: ViewerEnd)
}

/// One connection's place in a stream: a cursor into the shared slabs of a rendition.
///
/// While its socket keeps up, slabs are written to the file descriptor directly, behind NIO's back: a `send` is the whole
/// cost. What the socket does not take goes to the channel, which waits for it to become writable; until the channel has
/// written everything, nothing is written directly, so bytes never overtake each other.
// Safety: all mutable state is touched on `loop` only; other loops pass the reference on.
package final class Viewer: @unchecked Sendable {
    enum Phase {
        /// Not in a group, or the group waits for a frame to start with.
        case waiting
        case following
        case ended
    }

    package let id: UInt64
    package let loop: any EventLoop
    /// Writes go out from here toward the socket.
    private let context: ChannelHandlerContext
    /// The socket, where bytes may be written to it directly; -1 behind TLS.
    let descriptor: CInt
    private weak var delegate: (any ViewerDelegate)?

    // The cursor. `group` owns these.
    var phase = Phase.waiting
    var turn = 0
    var index = -1
    /// The next slab to send.
    var position: UInt64 = 0
    /// Bytes of that slab that were sent.
    var offset = 0
    /// A decoder needs the prelude of the slab at `position`.
    var needsPrelude = true
    var needsHeader = true
    var isPaused = false
    /// Up to here the viewer is sent what was cached when it started, which is no sign of slowness, until the deadline.
    var catchUpEnd: UInt64 = 0
    var catchUpDeadline = NIODeadline.uptimeNanoseconds(0)
    /// Writes that the channel has not finished.
    var outstandingWrites = 0
    /// Bytes were given to the channel and not flushed. At first those that the protocol wrote before the stream.
    private(set) var hasQueuedBytes = true
    var skips = SkipHistory()
    private(set) var group: FanOutGroup?

    /// Bytes that were handed to the socket or the channel.
    package private(set) var sentBytes: UInt64 = 0
    private let account: SessionAccount?

    /// `context` is that of a handler in whose place `ByteBuffer`s may be written. Call on its event loop.
    /// `writesDirectly`: nothing between that handler and the socket changes the bytes. `account` is the connection's; it
    /// gets what is written directly, the rest passes the channel's `SessionSocketHandler`.
    package init(
        id: UInt64, context: ChannelHandlerContext, writesDirectly: Bool, account: SessionAccount? = nil,
        delegate: any ViewerDelegate
    ) {
        context.eventLoop.preconditionInEventLoop()
        self.id = id
        self.loop = context.eventLoop
        self.context = context
        self.delegate = delegate
        self.account = account
        self.descriptor = writesDirectly ? Viewer.descriptor(of: context.channel) : -1
    }

    private static func descriptor(of channel: any Channel) -> CInt {
        let descriptor = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        return descriptor ?? -1
    }

    /// Skips so far, for the API.
    package var skipCount: Int { self.skips.total }

    /// Nothing is on its way through the channel.
    var isIdle: Bool { self.outstandingWrites == 0 }
    var writesDirectly: Bool { self.descriptor >= 0 }

    func join(_ group: FanOutGroup) { self.group = group }

    /// Sends bytes of this viewer alone, in order with the stream's. Call on `loop`.
    package func send(_ bytes: ByteBuffer) {
        self.loop.assertInEventLoop()
        guard bytes.readableBytes > 0 else { return }
        self.write(bytes)
        self.flush()
    }

    /// The socket took bytes of the stream that were written to it directly.
    func wroteDirectly(_ count: Int) {
        self.sentBytes += UInt64(count)
        self.account?.sent(count)
    }

    /// Queues bytes on the channel. `flush` must follow.
    func write(_ bytes: ByteBuffer) {
        guard bytes.readableBytes > 0 else { return }
        self.sentBytes += UInt64(bytes.readableBytes)
        self.hasQueuedBytes = true
        self.context.write(NIOAny(bytes), promise: nil)
    }

    /// Flushes what was queued; the viewer is idle again when the channel has written it.
    func flush() {
        self.outstandingWrites += 1
        self.hasQueuedBytes = false
        let promise = self.loop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { result in
            self.outstandingWrites -= 1
            guard case .success = result, self.isIdle else { return }
            self.group?.becameIdle(self)
        }
        // An empty write, because a promise tells of the bytes before it, too.
        self.context.writeAndFlush(NIOAny(ByteBuffer()), promise: promise)
    }

    /// Stops or continues the stream for this viewer; it continues at a frame that a decoder can start with.
    package func setPaused(_ isPaused: Bool) {
        self.loop.assertInEventLoop()
        guard isPaused != self.isPaused else { return }
        self.isPaused = isPaused
        guard self.phase != .ended else { return }
        self.phase = .waiting
        if !isPaused { self.group?.restart(self) }
    }

    /// Leaves the stream. Nothing is sent and nobody is told afterwards. Call on `loop`.
    package func leave() {
        self.loop.assertInEventLoop()
        guard self.phase != .ended else { return }
        self.phase = .ended
        self.group?.remove(self)
        self.group = nil
    }

    /// Closes the connection when everything was written, or after `limit` whatever was. Call on `loop`.
    package func closeWhenWritten(within limit: TimeAmount) {
        let context = self.context
        context.writeAndFlush(NIOAny(ByteBuffer())).assumeIsolated().whenComplete { _ in context.close(promise: nil) }
        self.loop.assumeIsolated().scheduleTask(in: limit) { context.close(promise: nil) }
    }

    /// Leaves the stream and tells the delegate.
    func end(_ reason: ViewerEnd) {
        guard self.phase != .ended else { return }
        self.leave()
        self.delegate?.viewerEnded(reason)
    }
}
