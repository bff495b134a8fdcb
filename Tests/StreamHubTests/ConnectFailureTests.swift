import NIOCore
import NIOPosix
import Testing

@testable import StreamHub

@Suite("Why a connection could not be made", .timeLimit(.minutes(1))) struct ConnectFailureTests {
    private func failure(_ host: String, _ port: Int) async throws -> String {
        do {
            let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            try await bootstrap.connect(host: host, port: port).get().close()
            return "connected"
        } catch {
            return ConnectFailure.text(error)
        }
    }

    @Test("is told in words") func words() async throws {
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        try await server.close()
        #expect(try await self.failure("127.0.0.1", port) == "Connection refused")
        // An empty label is no name, so nobody is asked; the words are the system's.
        let unknown = try await self.failure("camera..invalid", port)
        #expect(["Name or service not known", "Temporary failure in name resolution"].contains(unknown), "\(unknown)")
        #expect(ConnectFailure.text(ChannelError.connectTimeout(.milliseconds(1_500))) == "no answer within 1500 ms")
        #expect(ConnectFailure.text(ChannelError.connectTimeout(.seconds(5))) == "no answer within 5 s")
        #expect(ConnectFailure.text(IOError(errnoCode: 113, reason: "connect")) == "No route to host")
    }
}
