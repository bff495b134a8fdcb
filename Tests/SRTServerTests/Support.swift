import Logging
import Media
import NIOCore
import NIOPosix
import SRTAccess
import StreamHub
import Streaming
import Synchronization

@testable import SRTServer

struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ text: String) { self.description = text }
}

/// Waits until something holds, by looking again and again.
func until(
    _ what: String, within limit: Duration = .seconds(10), _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    throw Failure("in vain: \(what)")
}

/// Lets everybody publish and play on one hub, unless it is told to refuse.
final class OpenGate: SessionGate {
    private struct State {
        var refusal: SessionRefusal?
        var peers: [PeerIdentity] = []
        var epoch: UInt64 = 0
    }

    let hub: StreamHub
    private let state = Mutex(State())

    init(hub: StreamHub) { self.hub = hub }

    var refusal: SessionRefusal? {
        get { self.state.withLock { $0.refusal } }
        set { self.state.withLock { $0.refusal = newValue } }
    }
    var peers: [PeerIdentity] { self.state.withLock { $0.peers } }

    private func key(_ peer: PeerIdentity) throws(SessionRefusal) -> StreamKey {
        let refusal = self.state.withLock { state in
            state.peers.append(peer)
            return state.refusal
        }
        if let refusal { throw refusal }
        guard let key = try? StreamKey(app: peer.app, name: peer.name) else {
            throw SessionRefusal(.badName, "no name")
        }
        return key
    }

    func play(
        _ peer: PeerIdentity, relay: RelayIdentity?, on loop: any EventLoop
    ) async -> Result<PlayGrant, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            return .success(PlayGrant(stream: self.hub.stream(key, home: loop), epoch: 1))
        } catch {
            return .failure(error)
        }
    }

    func publish(
        _ peer: PeerIdentity, relay: RelayIdentity?, clock: SourceClock, connection: any PublisherConnection
    ) async -> Result<NIOLoopBound<any MediaSink>, SessionRefusal> {
        do throws(SessionRefusal) {
            let key = try self.key(peer)
            let id = self.hub.nextSessionID()
            let stream = self.hub.stream(key, home: connection.loop)
            let epoch = self.state.withLock { state in
                state.epoch += 1
                return state.epoch
            }
            let refusal = try? await stream.home.submit { () -> PublisherSlot.Refusal? in
                if let refusal = stream.claim(.init(id: id, token: peer.token)) { return refusal }
                _ = stream.activate(id, publisher: connection, epoch: epoch, clock: clock)
                return nil
            }.get()
            if let refusal { throw SessionRefusal(.busy, "\(refusal)") }
            let loop = connection.loop
            let sink = try? await loop.submit {
                NIOLoopBound<any MediaSink>(Publication(stream: stream, id: id, epoch: epoch), eventLoop: loop)
            }.get()
            guard let sink else { throw SessionRefusal(.unavailable, "over") }
            return .success(sink)
        } catch {
            return .failure(error)
        }
    }
}

/// A server on a free port of this machine, with what it needs.
final class Bench: Sendable {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let registry = SessionRegistry()
    let hub: StreamHub
    let gate: OpenGate
    let server: SRTServer

    private init(
        _ live: LiveStreamSettings, _ change: (inout SRTServerConfiguration) throws -> Void
    ) throws {
        self.hub = StreamHub(sessions: self.registry) { _ in live }
        self.gate = OpenGate(hub: self.hub)
        var configuration = SRTServerConfiguration(sessions: self.registry)
        configuration.listeners = [SRTListenAddress(host: "127.0.0.1", port: 0)]
        try change(&configuration)
        var logger = Logger(label: "test")
        logger.logLevel = .error
        self.server = SRTServer(
            group: self.group, configuration: configuration, gate: self.gate, hub: self.hub, logger: logger)
    }

    /// Runs `body` with a server, which is ended afterwards, whatever happens.
    static func with(
        live: LiveStreamSettings = .init(), _ change: (inout SRTServerConfiguration) throws -> Void = { _ in },
        _ body: (Bench) async throws -> Void
    ) async throws {
        let bench = try Bench(live, change)
        var failure: (any Error)?
        do {
            try await bench.server.start()
            try await body(bench)
        } catch {
            failure = error
        }
        await bench.server.shutdown()
        try await bench.group.shutdownGracefully()
        if let failure { throw failure }
    }

    var address: SocketAddress {
        get throws {
            guard let address = self.server.boundAddresses.first else { throw Failure("no listener") }
            return address
        }
    }

    /// Connects a client as a URL's options say. Throws what it was rejected with.
    func connect(_ streamID: String, _ change: (inout SRTOptions) throws -> Void = { _ in }) async throws -> SRTSocket {
        var options = SRTOptions()
        try options.set(.streamID, to: .text(streamID))
        try options.set(.latency, to: .integer(50))
        try change(&options)
        let socket = try SRTSocket.make(options)
        try socket.connect(self.address)
        let end = ContinuousClock.now + .seconds(10)
        var overFor = 0
        while ContinuousClock.now < end {
            if socket.isConnected { return socket }
            // For a moment before a connection stands the library shows it as broken, without a reason.
            overFor = socket.isOver ? overFor + 1 : 0
            if overFor > 0, socket.rejection.code != 0 || overFor > 40 { throw Rejected(reason: socket.rejection) }
            try await Task.sleep(for: .milliseconds(5))
        }
        throw Failure("the connection stays away")
    }

    /// The stream that somebody publishes or plays.
    func stream(_ name: String, in app: String = "live") async throws -> LiveStream {
        let key = try StreamKey(app: app, name: name)
        try await until("the stream \(key) is there") { self.hub.existing(key) != nil }
        guard let stream = self.hub.existing(key) else { throw Failure("the stream is gone") }
        return stream
    }
}

struct Rejected: Error, Equatable {
    let reason: SRTRejectReason
}

extension SRTSocket {
    /// Sends whole messages, as fast as the library takes them.
    func send(all bytes: ByteBuffer, messageBytes: Int = 1_316) async throws {
        var rest = bytes
        while let message = rest.readSlice(length: min(messageBytes, rest.readableBytes)), message.readableBytes > 0 {
            try await until("the library takes a message") {
                switch unsafe message.withUnsafeReadableBytes({ unsafe self.send($0) }) {
                case .sent: return true
                case .full: return false
                case .lost: throw Failure("the connection is lost")
                }
            }
        }
    }

    /// What arrives until `isEnough` or the connection is over.
    func receive(within limit: Duration = .seconds(10), until isEnough: (ByteBuffer) -> Bool) async throws -> ByteBuffer
    {
        var bytes = ByteBuffer()
        let end = ContinuousClock.now + limit
        while ContinuousClock.now < end, !isEnough(bytes) {
            switch self.receive(into: &bytes) {
            case .bytes: continue
            case .nothing: try await Task.sleep(for: .milliseconds(5))
            case .lost: return bytes
            }
        }
        return bytes
    }
}
