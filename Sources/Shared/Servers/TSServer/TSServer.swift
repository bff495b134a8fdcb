package import Logging
package import NIOCore
import NIOPosix
package import StreamHub
import Synchronization

/// Takes in transport streams that come over UDP, to this machine or to a group.
///
/// Each port has a socket on one event loop of the group. Order of life: `init`, `start`, `shutdown`.
package final class TSServer: Sendable {
    private struct State {
        var channels: [any Channel] = []
        var handlers: [NIOLoopBound<TSPortHandler>] = []
    }

    /// Datagrams are no longer; longer ones are cut off, and refused.
    private static let maximumDatagramLength = 2_048

    private let group: any EventLoopGroup
    private let services: TSIngest.Services
    private let state = Mutex(State())

    package init(
        group: any EventLoopGroup, configuration: TSServerConfiguration, gate: any SessionGate, logger: Logger
    ) {
        self.group = group
        self.services = TSIngest.Services(configuration: configuration, gate: gate, logger: logger)
    }

    /// Opens all listeners. Throws, with all of them closed, if one cannot be opened.
    ///
    /// Errors: `TSServerError`.
    package func start() async throws {
        do {
            for listener in self.services.configuration.listeners {
                for port in listener.ports { try await self.listen(listener, port: port) }
            }
        } catch {
            await self.shutdown()
            throw error
        }
    }

    /// The addresses that are listened on, with the ports that were bound, in the order of the configuration.
    package var boundAddresses: [SocketAddress] {
        self.state.withLock { $0.channels.compactMap(\.localAddress) }
    }

    /// Ends all streams and closes all sockets.
    package func shutdown() async {
        let channels = self.state.withLock { state in
            defer { (state.channels, state.handlers) = ([], []) }
            return state.channels
        }
        for channel in channels { try? await channel.close() }
    }

    /// What was received since the start. Any task may ask.
    package func statistics() async -> TSServerStatistics {
        var sum = TSServerStatistics()
        for handler in self.state.withLock({ $0.handlers }) {
            let one = try? await handler.eventLoop.submit { handler.value.statistics }.get()
            if let one { sum = sum + one }
        }
        return sum
    }

    private func listen(_ listener: TSListenerConfiguration, port: Int) async throws {
        let membership = try MulticastGroup(listener, port: port)
        let configuration = self.services.configuration
        let services = self.services
        var bootstrap = DatagramBootstrap(group: self.group.next())
            .channelOption(.socketOption(.so_rcvbuf), value: .init(configuration.receiveBufferBytes))
            .channelOption(.datagramVectorReadMessageCount, value: configuration.receiveBatch)
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(
                    capacity: configuration.receiveBatch * Self.maximumDatagramLength))
        // Several programs of a machine may listen to one group; a port of its own belongs to one.
        if membership != nil { bootstrap = bootstrap.channelOption(.socketOption(.so_reuseaddr), value: 1) }
        let channel: any Channel
        do {
            channel = try await bootstrap.bind(host: listener.host, port: port).get()
        } catch {
            throw TSServerError.bind(address: listener.host, port: port, cause: "\(error)")
        }
        self.state.withLock { $0.channels.append(channel) }
        let bound = channel.localAddress?.port ?? port
        let handler = try await channel.eventLoop.submit {
            if let membership { try membership.join(channel) }
            let handler = TSPortHandler(services: services, listener: listener, port: bound)
            try channel.pipeline.syncOperations.addHandler(handler)
            return NIOLoopBound(handler, eventLoop: channel.eventLoop)
        }.get()
        self.state.withLock { $0.handlers.append(handler) }
    }
}
