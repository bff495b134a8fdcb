import Glibc
package import NIOCore
import Synchronization

/// What the kernel counted on one TCP socket: `struct tcp_info` of Linux, of which the C library's has only the start.
package struct KernelCounts: Sendable, Equatable {
    /// Bytes that came in order, those that nobody has read included.
    package var received: UInt64
    /// Bytes that the peer acknowledged.
    package var acknowledged: UInt64
    /// Bytes that left, each once: what the kernel sent again is not counted.
    package var sent: UInt64
    /// Bytes that the kernel took and the peer has not acknowledged.
    package var queued: UInt64

    /// Bytes that the kernel took.
    package var taken: UInt64 { self.acknowledged + self.queued }

    private enum Offset {
        static let acknowledged = 120
        static let received = 128
        static let sent = 200
        static let repeated = 208
        static let end = 216
    }

    package init?(descriptor: CInt) {
        var bytes = [UInt8](repeating: 0, count: 512)
        var length = socklen_t(bytes.count)
        // Safety: the kernel writes at most `length` bytes, which the array has.
        let status = unsafe bytes.withUnsafeMutableBytes {
            unsafe getsockopt(descriptor, CInt(IPPROTO_TCP), TCP_INFO, $0.baseAddress, &length)
        }
        guard status == 0, Int(length) >= Offset.end else { return nil }
        var queued: CInt = 0
        // Safety: the request writes one integer.
        guard unsafe ioctl(descriptor, UInt(TIOCOUTQ), &queued) == 0 else { return nil }
        self.queued = UInt64(queued)
        let buffer = ByteBuffer(bytes: bytes)
        func number(_ offset: Int) -> UInt64 { buffer.getInteger(at: offset, endianness: .host) ?? 0 }
        self.acknowledged = number(Offset.acknowledged)
        self.received = number(Offset.received)
        self.sent = number(Offset.sent) - number(Offset.repeated)
    }

    /// Of the socket of this process whose peer has that port on 127.0.0.1.
    package init?(peerPort: Int) {
        for descriptor in CInt(0)..<4_096 {
            var address = [UInt8](repeating: 0, count: 128)
            var length = socklen_t(address.count)
            // Safety: the kernel writes at most `length` bytes, which the array has.
            let status = unsafe address.withUnsafeMutableBytes { bytes in
                unsafe getpeername(descriptor, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
            }
            let buffer = ByteBuffer(bytes: address)
            guard status == 0, buffer.getInteger(at: 0, endianness: .host) == UInt16(AF_INET),
                buffer.getInteger(at: 2) == UInt16(peerPort)
            else { continue }
            self.init(descriptor: descriptor)
            return
        }
        return nil
    }
}

/// Stands first in a client's pipeline and counts what comes from the socket, as the program and as the kernel sees it.
package final class WireCounter: ChannelInboundHandler, Sendable {
    package typealias InboundIn = ByteBuffer

    private struct State {
        var read: UInt64 = 0
        var kernel: KernelCounts?
        var port: Int?
    }

    private let state = Mutex(State())

    package init() {}

    /// Bytes that were read.
    package var read: UInt64 { self.state.withLock { $0.read } }
    /// At the end of the last read.
    package var kernel: KernelCounts? { self.state.withLock { $0.kernel } }
    /// The client's port.
    package var port: Int? { self.state.withLock { $0.port } }

    package func channelActive(context: ChannelHandlerContext) {
        let port = context.channel.localAddress?.port
        self.state.withLock { $0.port = port }
        context.fireChannelActive()
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let count = self.unwrapInboundIn(data).readableBytes
        self.state.withLock { $0.read += UInt64(count) }
        context.fireChannelRead(data)
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        let descriptor = try? context.channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        let counts = descriptor.flatMap { $0 }.flatMap { KernelCounts(descriptor: $0) }
        self.state.withLock { state in
            if let counts { state.kernel = counts }
        }
        context.fireChannelReadComplete()
    }
}
