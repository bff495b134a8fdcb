import Media
import NIOCore
import NIOPosix
import RTMP
import StreamHub

@testable import RTMPServer

/// The connection of a publisher that is forwarded.
final class ForwardedConnection: PublisherConnection {
    let loop: any EventLoop
    let readings = Log<Bool>()

    init(loop: any EventLoop) { self.loop = loop }

    func setReading(_ isReading: Bool) { self.readings.append(isReading) }
    func publishingRevoked(_ reason: PublishEnd) {}
}

/// A forward of a fixture, driven by hand.
struct Forward {
    let connection: ForwardedConnection
    let forward: RTMPForward
    let losses = Log<RTMPLinkEnd>()

    init(_ fixture: Fixture) {
        let connection = ForwardedConnection(loop: fixture.group.next())
        let losses = self.losses
        self.connection = connection
        self.forward = RTMPForward(
            connection: connection, configuration: RTMPClientConfiguration(), connectTimeout: .seconds(2)
        ) { losses.append($1) }
    }

    @discardableResult
    func start(_ remote: RTMPRemote) async throws -> UInt64 {
        let forward = self.forward
        return try await self.connection.loop.flatSubmit { forward.start(remote) }.get()
    }

    func receive(_ events: [MediaEvent]) async throws {
        let forward = self.forward
        try await self.connection.loop.submit { forward.receive(events) }.get()
    }

    func finish() async throws {
        let forward = self.forward
        try await self.connection.loop.submit { forward.finish() }.get()
    }
}
