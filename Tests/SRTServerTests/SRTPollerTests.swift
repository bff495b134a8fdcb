import Logging
import NIOCore
import NIOPosix
import SRTAccess
import StreamHub
import Synchronization
import Testing

@testable import SRTServer

@Suite("The thread that waits for SRT sockets", .serialized)
struct SRTPollerTests {
    /// Counts what it is told.
    private final class Peer: SRTPeer {
        private struct State {
            var bytes = 0
            var calls: [String] = []
        }

        private let state = Mutex(State())

        var bytes: Int { self.state.withLock { $0.bytes } }
        var calls: [String] { self.state.withLock { $0.calls } }

        func connected() { self.state.withLock { $0.calls.append("connected") } }
        func received(_ bytes: ByteBuffer) { self.state.withLock { $0.bytes += bytes.readableBytes } }
        func sampled(_ statistics: PathStatistics) {}
        func lost(_ loss: SRTLoss) { self.state.withLock { $0.calls.append("lost") } }
        func closed(_ statistics: PathStatistics?) {
            self.state.withLock { $0.calls.append(statistics == nil ? "closed" : "closed with figures") }
        }
    }

    /// Connected pairs: who sends, and who receives.
    private static func pairs(_ count: Int, latency: Int) async throws -> [(sender: SRTSocket, receiver: SRTSocket)] {
        try SRTLibrary.start(logger: Logger(label: "test"))
        var options = SRTOptions()
        try options.set(.latency, to: .integer(latency))
        let listener = try SRTSocket.make(options)
        defer { listener.close() }
        try listener.bind(SocketAddress(ipAddress: "127.0.0.1", port: 0))
        try listener.listen(backlog: count, doorkeeper: nil)
        let address = try #require(listener.localAddress)
        var pairs: [(SRTSocket, SRTSocket)] = []
        for _ in 0..<count {
            let sender = try SRTSocket.make(options)
            try sender.connect(address)
            var receiver: SRTSocket?
            try await until("a pair") {
                receiver = receiver ?? listener.accept()?.socket
                return receiver != nil && sender.isConnected
            }
            pairs.append((sender, try #require(receiver)))
        }
        return pairs
    }

    private static func with(firstEvents: Int, _ body: (SRTPoller) async throws -> Void) async throws {
        let poller = try SRTPoller(on: MultiThreadedEventLoopGroup.singleton.any(), firstEvents: firstEvents)
        var failure: (any Error)?
        do { try await body(poller) } catch { failure = error }
        await poller.stop()
        if let failure { throw failure }
    }

    @Test("More sockets may be ready than a turn has room for, and all of them are heard")
    func manyEvents() async throws {
        let pairs = try await Self.pairs(9, latency: 20)
        for pair in pairs { try await pair.sender.send(all: ByteBuffer(repeating: 0x47, count: 1_316)) }
        try await Task.sleep(for: .milliseconds(100))
        try await Self.with(firstEvents: 2) { poller in
            let peers = pairs.map { _ in Peer() }
            for (pair, peer) in zip(pairs, peers) { poller.add(pair.receiver, as: .peer(peer, isReading: true)) }
            try await until("all were read") { peers.allSatisfy { $0.bytes == 1_316 } }
            // Their connections break together.
            for pair in pairs { pair.sender.close() }
            try await until("all have ended") { peers.allSatisfy { $0.calls == ["lost", "closed"] } }
        }
    }

    @Test("What a peer sent before it closed is read, held up or not due yet as it may be", arguments: [true, false])
    func lastMessages(isReading: Bool) async throws {
        let pair = try #require(try await Self.pairs(1, latency: 600).first)
        try await Self.with(firstEvents: 2) { poller in
            let peer = Peer()
            poller.add(pair.receiver, as: .peer(peer, isReading: isReading))
            // More than one turn reads.
            try await pair.sender.send(all: ByteBuffer(repeating: 0x47, count: 200 * 1_316))
            try await until("all has arrived") { pair.sender.unacknowledgedBytes == 0 }
            pair.sender.close()
            try await until("the peer has ended") { peer.calls == ["lost", "closed"] }
            #expect(peer.bytes == 200 * 1_316)
        }
    }

    @Test("Who is closed here is told the last figures, once")
    func close() async throws {
        let pair = try #require(try await Self.pairs(1, latency: 20).first)
        defer { pair.sender.close() }
        try await Self.with(firstEvents: 2) { poller in
            let peer = Peer()
            poller.add(pair.receiver, as: .peer(peer, isReading: true))
            poller.close(pair.receiver)
            poller.close(pair.receiver)
            try await until("it is closed") { !peer.calls.isEmpty }
            try await Task.sleep(for: .milliseconds(50))
            #expect(peer.calls == ["closed with figures"])
        }
    }
}

@Suite("How long a publisher has been silent")
struct SRTSilenceTests {
    @Test("Silence counts from the last growth, and not while nothing is read")
    func silence() {
        func at(_ seconds: Int64) -> NIODeadline { .uptimeNanoseconds(0) + .seconds(seconds) }
        var silence = SRTSilence(now: at(10))
        silence.look(bytes: 1, frames: 1, isReading: true, now: at(11))
        #expect(silence.lastBytesAt == at(11) && silence.lastFramesAt == at(11))
        silence.look(bytes: 2, frames: 1, isReading: true, now: at(12))
        #expect(silence.lastBytesAt == at(12) && silence.lastFramesAt == at(11))
        silence.look(bytes: 2, frames: 1, isReading: true, now: at(13))
        #expect(silence.lastBytesAt == at(12) && silence.lastFramesAt == at(11))
        // It was us who did not read.
        silence.look(bytes: 2, frames: 1, isReading: false, now: at(40))
        silence.look(bytes: 2, frames: 1, isReading: true, now: at(41))
        #expect(silence.lastBytesAt == at(40) && silence.lastFramesAt == at(40))
    }

    @Test("The end of a stream waits for the latency and a round trip, within bounds")
    func delivery() {
        var statistics = PathStatistics()
        statistics.sendLatencyMillis = 120
        statistics.roundTripMillis = 30.5
        #expect(SRTDrain.delivery(of: statistics) == .microseconds(170_500))
        statistics.sendLatencyMillis = 1 << 40
        statistics.roundTripMillis = 1e12
        #expect(SRTDrain.delivery(of: statistics) == .milliseconds(65_535 + 2_000 + 20))
    }
}
