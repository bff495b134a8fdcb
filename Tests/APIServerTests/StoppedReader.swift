import NIOCore
import NIOPosix

/// A TCP connection that reads nothing, with a small receive buffer.
struct StoppedReader {
    private let channel: any Channel

    static func connect(_ port: Int) async throws -> StoppedReader {
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.autoRead, value: false)
            .channelOption(.socketOption(.so_rcvbuf), value: 4_096)
            .connect(host: "127.0.0.1", port: port).get()
        return StoppedReader(channel: channel)
    }

    func send(_ text: String) async throws {
        try await self.channel.writeAndFlush(ByteBuffer(string: text))
    }

    func close() async throws {
        try await self.channel.close()
    }
}
