package import NIOCore

/// Counts the bytes of a connection's socket in its account, in both directions, and closes the account with it.
///
/// Stands first in the pipeline, below TLS. What is written behind the channel's back (`Viewer`) counts itself. A write is
/// counted when the channel gets it; what has not left when the connection ends is taken back, so that the account then
/// holds what the kernel was given. Cost: an atomic addition for each read and write.
package final class SessionSocketHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = IOData
    package typealias OutboundOut = IOData

    package let account: SessionAccount
    private let registry: SessionRegistry
    /// Bytes that the channel held when it was last asked, and bytes that it was given since.
    private var held = 0
    private var given = 0
    /// So many bytes may be given to the channel before it is asked how many of them it holds.
    private static let unaskedByteCount = 64 << 10
    /// Bytes that were counted and taken back because they never left; 0 until the connection ends.
    package private(set) var lostBytes = 0

    /// `registry` made the account.
    package init(account: SessionAccount, registry: SessionRegistry) {
        self.account = account
        self.registry = registry
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.account.received(self.unwrapInboundIn(data).readableBytes)
        context.fireChannelRead(data)
    }

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let count = self.unwrapOutboundIn(data).readableBytes
        self.account.sent(count)
        self.given += count
        context.write(data, promise: promise)
    }

    package func flush(context: ChannelHandlerContext) {
        context.flush()
        if self.given >= Self.unaskedByteCount { self.look(context) }
    }

    // A connection that ends passes through one of these while its channel still knows what it holds.

    package func channelReadComplete(context: ChannelHandlerContext) {
        if self.held > 0 || self.given >= Self.unaskedByteCount { self.look(context) }
        context.fireChannelReadComplete()
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.look(context)
        context.fireErrorCaught(error)
    }

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        self.look(context)
        context.close(mode: mode, promise: promise)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        self.lostBytes = self.held
        self.account.unsent(self.held)
        self.held = 0
        // Those behind say how it ended; the close then only finds that it has.
        context.fireChannelInactive()
        self.registry.close(self.account)
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        self.registry.close(self.account)
    }

    /// Asks the channel what it holds. A channel that has closed does not tell, and the last answer stays.
    private func look(_ context: ChannelHandlerContext) {
        guard let held = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes) else { return }
        self.held = held
        self.given = 0
    }
}
