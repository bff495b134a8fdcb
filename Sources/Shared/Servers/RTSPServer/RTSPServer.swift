package import Logging
package import NIOCore
import NIOPosix
import NIOSSL
package import StreamHub
import Synchronization
package import TLSContexts

/// Listens for RTSP and RTSPS.
package final class RTSPServer: Sendable {
    private struct State {
        var channels: [any Channel] = []
        var connections: [ObjectIdentifier: any Channel] = [:]
    }

    private let group: any EventLoopGroup
    private let configuration: RTSPServerConfiguration
    let gate: any SessionGate
    let hub: StreamHub
    private let logger: Logger
    private let audiences: RTSPAudienceTable
    let ports: PortPool?
    private let state = Mutex(State())

    package init(
        group: any EventLoopGroup, configuration: RTSPServerConfiguration, gate: any SessionGate, hub: StreamHub,
        logger: Logger
    ) {
        self.group = group
        self.configuration = configuration
        self.gate = gate
        self.hub = hub
        self.logger = logger
        self.audiences = RTSPAudienceTable(rate: configuration.datagramRate)
        self.ports = configuration.ports.map {
            PortPool(
                range: $0, receiveBuffer: configuration.receiveBufferBytes,
                sendBuffer: configuration.sendBufferBytes)
        }
    }

    /// Binds `host:port` and accepts. Returns the port that was bound.
    package func listen(host: String, port: Int, tls: TLSContextStore? = nil) async throws -> Int {
        let channel = try await ServerBootstrap(group: self.group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in self.accept(channel, tls: tls) }
            .bind(host: host, port: port).get()
        self.state.withLock { $0.channels.append(channel) }
        return channel.localAddress?.port ?? port
    }

    private func accept(_ channel: any Channel, tls: TLSContextStore?) -> EventLoopFuture<Void> {
        let id = ObjectIdentifier(channel)
        let isAccepted = self.state.withLock { state in
            guard state.connections.count < self.configuration.maximumConnections else { return false }
            state.connections[id] = channel
            return true
        }
        guard isAccepted else {
            self.logger.warning("connection refused: rtsp.maximum_connections reached")
            self.configuration.sessions.refusedConnection("maximum_connections")
            return channel.close()
        }
        channel.closeFuture.whenComplete { _ in
            _ = self.state.withLock { $0.connections.removeValue(forKey: id) }
        }
        let sessions = self.configuration.sessions
        guard let account = sessions.open(channel.remoteAddress, transport: tls == nil ? "rtsp" : "rtsps") else {
            return channel.close()
        }
        return channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(SessionSocketHandler(account: account, registry: sessions))
            if let tls { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.current)) }
            try channel.pipeline.syncOperations.addHandler(
                RTSPHandler(
                    configuration: self.configuration, gate: self.gate, hub: self.hub, audiences: self.audiences,
                    ports: self.ports, account: account, isTLS: tls != nil, logger: self.logger))
        }
    }

    var nextLoop: any EventLoop { self.group.next() }
    var sessions: SessionRegistry { self.configuration.sessions }

    /// The number of open connections.
    package var connectionCount: Int { self.state.withLock { $0.connections.count } }

    /// Streams that have RTSP players.
    var audienceCount: Int { self.audiences.count }

    /// Pairs of ports that nobody uses; 0 without UDP.
    var freePortCount: Int { self.ports?.freeCount ?? 0 }

    /// Stops accepting.
    package func stopAccepting() async {
        let channels = self.state.withLock { state in
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { try? await channel.close().get() }
    }

    /// Closes each connection: RTSP has no word for a server's goodbye that clients listen to.
    package func endConnections() {
        for channel in self.state.withLock({ Array($0.connections.values) }) {
            channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
    }
}
