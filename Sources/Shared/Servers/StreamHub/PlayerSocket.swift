import Glibc
package import NIOCore

/// The socket options of a viewer's connection.
package enum PlayerSocket {
    /// The most bytes that the kernel keeps unsent; the rest waits in the ring, where it costs nothing.
    package static let notSentLowWater = 128 << 10

    /// Sets the options. Failures are harmless: the defaults of the kernel then hold. Call on the channel's loop.
    package static func tune(_ channel: any Channel, noDelay: Bool) {
        let options = channel.syncOptions
        try? options?.setOption(.tcpOption(.tcp_nodelay), value: noDelay ? 1 : 0)
        try? options?.setOption(
            .tcpOption(.init(rawValue: CInt(TCP_NOTSENT_LOWAT))), value: self.notSentLowWater)
    }
}
