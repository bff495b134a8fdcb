import GB28181
import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The sockets that media come over: shared ones, and those of single sessions.
final class MediaPorts: Sendable {
    private struct State {
        var channels: [any Channel] = []
        var next = 0
    }

    private let group: any EventLoopGroup
    private let configuration: GB28181ServerConfiguration
    private let door: MediaDoor
    private let state = Mutex(State())
    private let boundPort = Atomic<Int>(0)

    init(group: any EventLoopGroup, configuration: GB28181ServerConfiguration, door: MediaDoor) {
        self.group = group
        self.configuration = configuration
        self.door = door
    }

    /// The port of all sessions, over TCP and UDP; 0 before `start`.
    var sharedPort: Int { self.boundPort.load(ordering: .relaxed) }

    /// Opens the shared port: for each event loop a UDP socket, among which the kernel deals devices out by their
    /// addresses.
    func start() async throws {
        let listener = self.configuration.media
        let server = try await self.server(slot: nil, group: self.group).bind(
            host: listener.host, port: listener.port
        ).get()
        self.keep(server)
        let port = server.localAddress?.port ?? listener.port
        self.boundPort.store(port, ordering: .relaxed)
        // Sockets that may share a port would share it with those of another program, too.
        try await DatagramBootstrap(group: self.group).bind(host: listener.host, port: port).get().close().get()
        for loop in self.group.makeIterator() {
            self.keep(
                try await self.datagrams(slot: nil, group: loop, shares: true).bind(host: listener.host, port: port)
                    .get())
        }
    }

    private func keep(_ channel: any Channel) { self.state.withLock { $0.channels.append(channel) } }

    func stop() async {
        let channels = self.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { try? await channel.close().get() }
    }

    private func server(slot: MediaSlot?, group: any EventLoopGroup) -> ServerBootstrap {
        let door = self.door
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                guard door.enter() else { return channel.close() }
                channel.closeFuture.whenComplete { _ in door.leave() }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(MediaConnection(door: door, slot: slot))
                }
            }
    }

    private func datagrams(slot: MediaSlot?, group: any EventLoopGroup, shares: Bool) -> DatagramBootstrap {
        let door = self.door
        var bootstrap = DatagramBootstrap(group: group)
            .channelOption(.socketOption(.so_rcvbuf), value: .init(self.configuration.receiveBufferBytes))
            // Some devices send packets far above what a network carries in one piece.
            .channelOption(.datagramVectorReadMessageCount, value: 8)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 8 * 65_536))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(MediaDatagrams(door: door, slot: slot))
                }
            }
        if shares { bootstrap = bootstrap.channelOption(.socketOption(.init(rawValue: SO_REUSEPORT)), value: 1) }
        return bootstrap
    }

    // MARK: Sessions

    /// Opens a port for one session: the next one of the range that is free.
    func open(for slot: MediaSlot, transport: DeviceTransport) -> EventLoopFuture<(any Channel, Int)> {
        let range = self.configuration.sessionPorts ?? 0...0
        return self.open(for: slot, transport, range, tries: min(range.count, 64), on: self.group.next())
    }

    private func open(
        for slot: MediaSlot, _ transport: DeviceTransport, _ range: ClosedRange<Int>, tries: Int,
        on loop: any EventLoop
    ) -> EventLoopFuture<(any Channel, Int)> {
        // RTP has the even ports where there are pairs (RFC 3550 §11).
        let port = self.state.withLock { state in
            defer { state.next = (state.next + 2) % range.count }
            return range.lowerBound + state.next
        }
        let host = self.configuration.media.host
        let bound =
            transport == .udp
            ? self.datagrams(slot: slot, group: loop, shares: false).bind(host: host, port: port)
            : self.server(slot: slot, group: loop).bind(host: host, port: port)
        return bound.map { ($0, $0.localAddress?.port ?? port) }.flatMapError { error in
            guard tries > 1 else { return loop.makeFailedFuture(error) }
            return self.open(for: slot, transport, range, tries: tries - 1, on: loop)
        }
    }

    /// Connects to a device that waits for it.
    func connect(for slot: MediaSlot, host: String, port: Int) -> EventLoopFuture<any Channel> {
        let door = self.door
        return ClientBootstrap(group: self.group)
            .connectTimeout(self.configuration.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(MediaConnection(door: door, slot: slot))
                }
            }
            .connect(host: host, port: port)
    }
}
