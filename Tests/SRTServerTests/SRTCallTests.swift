import Logging
import Media
import NIOCore
import SRTAccess
import StreamHub
import Streaming
import Testing

@testable import SRTServer

@Suite("Calls to other SRT servers", .serialized)
struct SRTCallTests {
    private let logger: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }()

    private func url(_ bench: Bench, _ rest: String) throws -> SRTURL {
        try SRTURL(parsing: "srt://127.0.0.1:\(bench.address.port ?? 0)?\(rest)")
    }

    /// Sends some pictures on and on until `isEnough`.
    private func feed(_ publisher: SRTSocket, until isEnough: () async throws -> Bool) async throws {
        var part = 0
        try await until("enough has arrived") {
            try await publisher.send(all: Sample.stream(part * 10..<part * 10 + 10))
            part += 1
            return try await isEnough()
        }
    }

    private func videoFrames(_ bench: Bench, _ name: String) async throws -> Int {
        guard let stream = bench.hub.existing(try StreamKey(app: "live", name: name)) else { return 0 }
        return try await stream.home.submit { stream.snapshot().counters.videoFrames }.get()
    }

    @Test("A stream is pulled from another server, with encryption, and again when that one comes back")
    func pull() async throws {
        try await Bench.with { source in
            try source.options.set(.passphrase, to: .text("correct horse"))
        } _: { source in
            try await Bench.with { bench in
                let target = SRTPulls.Target(
                    stream: SRTStreamID(app: "live", name: "copy", mode: .publish),
                    url: try self.url(source, "streamid=live/one&passphrase=correct%20horse&latency=50"))
                let pulls = SRTPulls(server: bench.server, targets: [target], logger: self.logger)
                try pulls.start()
                let publisher = try await source.connect("#!::r=live/one,m=publish") {
                    try $0.set(.passphrase, to: .text("correct horse"))
                }
                try await self.feed(publisher) { try await self.videoFrames(bench, "copy") > 20 }
                #expect(bench.server.sessions.map(\.isEncrypted) == [true])
                #expect(pulls.snapshots.map(\.state) == [.live] && pulls.snapshots.map(\.attempts) == [1])
                try await until("the pull has figures") { (pulls.snapshots.first?.path?.receivedPackets ?? 0) > 20 }
                #expect((pulls.snapshots.first?.receivedBytes ?? 0) > 20_000)
                #expect(bench.registry.totals().publishers == 1 && source.registry.totals().playerCount == 1)
                // The other server ends the session, and it comes again.
                let first = try #require(
                    source.registry.list(SessionFilter(), limit: 9).first { $0.activity?.kind == .play })
                source.registry.kick(first.account.id, reason: "go")
                try await self.feed(publisher) {
                    source.server.totals.opened >= 3 && source.registry.totals().playerCount == 1
                }
                pulls.stop()
            }
        }
    }

    @Test("A stream is sent to another server for as long as it is published")
    func push() async throws {
        var live = LiveStreamSettings()
        live.publish.grace = .milliseconds(100)
        try await Bench.with { remote in
            try await Bench.with(live: live) { bench in
                let pushes = SRTPushes(server: bench.server, logger: self.logger)
                let publisher = try await bench.connect("#!::r=live/one,m=publish")
                let stream = try await bench.stream("one")
                let url = try self.url(remote, "streamid=%23!::r=live/copy,m=publish&latency=50")
                try await stream.home.submit {
                    pushes.published(stream, to: [url])
                    // The same again is the same.
                    pushes.published(stream, to: [url])
                }.get()
                try await self.feed(publisher) { try await self.videoFrames(remote, "copy") > 20 }
                #expect(pushes.snapshots.map(\.state) == [.live] && pushes.snapshots.map(\.attempts) == [1])
                try await until("the push has figures") {
                    (pushes.snapshots.first?.path?.sentPackets ?? 0) > 20 && bench.server.totals.sentPackets > 20
                }
                #expect((pushes.snapshots.first?.sentBytes ?? 0) > 20_000 && bench.server.totals.open == 2)
                #expect(pushes.snapshots.map(\.url) == ["srt://127.0.0.1:\(try remote.address.port ?? 0)"])
                // Whoever takes the stream elsewhere is no viewer.
                #expect(try await stream.home.submit { stream.viewerCount }.get() == 0)
                publisher.close()
                try await until("the push is over") { pushes.snapshots.isEmpty && remote.server.totals.open == 0 }
                // What was counted stays so.
                #expect(bench.server.totals.sentPackets > 20)
                await pushes.close()
            }
        }
    }

    @Test("A destination that turns the stream away is told, and tried again later")
    func pushRefused() async throws {
        try await Bench.with {
            $0.doorkeeper = { _, _ in .forbidden }
        } _: { remote in
            try await Bench.with { bench in
                let pushes = SRTPushes(server: bench.server, logger: self.logger)
                let publisher = try await bench.connect("#!::r=live/one,m=publish")
                let stream = try await bench.stream("one")
                let url = try self.url(remote, "streamid=%23!::r=live/copy,m=publish")
                try await stream.home.submit { pushes.published(stream, to: [url]) }.get()
                try await self.feed(publisher) { (pushes.snapshots.first?.attempts ?? 0) >= 2 }
                #expect(pushes.snapshots.first?.lastError.contains("1403") == true)
                await pushes.close()
                #expect(pushes.snapshots.isEmpty)
            }
        }
    }

    @Test("A destination that takes the stream and closes at once is called less and less often")
    func pushCloses() async throws {
        try await Bench.with { remote in
            remote.gate.refusal = SessionRefusal(.unauthorized, "who are you")
            try await Bench.with { bench in
                let pauses = SRTPauses(first: .milliseconds(100), longest: .seconds(20))
                let pushes = SRTPushes(server: bench.server, pauses: pauses, logger: self.logger)
                let publisher = try await bench.connect("#!::r=live/one,m=publish")
                let stream = try await bench.stream("one")
                let url = try self.url(remote, "streamid=%23!::r=live/copy,m=publish&latency=50")
                try await stream.home.submit { pushes.published(stream, to: [url]) }.get()
                let end = ContinuousClock.now + .seconds(3)
                try await self.feed(publisher) {
                    ContinuousClock.now > end && (pushes.snapshots.first?.attempts ?? 0) >= 3
                        && remote.server.totals.opened >= 3
                }
                // Pauses of 50 to 100 ms would be 20 and more; they double.
                #expect(try #require(pushes.snapshots.first).attempts <= 8)
                await pushes.close()
            }
        }
    }

    @Test("A server whose connections end at once is called less and less often")
    func pullCloses() async throws {
        try await Bench.with { source in
            source.gate.refusal = SessionRefusal(.unauthorized, "who are you")
            try await Bench.with { bench in
                let target = SRTPulls.Target(
                    stream: SRTStreamID(app: "live", name: "copy", mode: .publish),
                    url: try self.url(source, "streamid=live/one&latency=50"))
                let pauses = SRTPauses(first: .milliseconds(100), longest: .seconds(20))
                let pulls = SRTPulls(server: bench.server, targets: [target], pauses: pauses, logger: self.logger)
                try pulls.start()
                try await Task.sleep(for: .seconds(3))
                try await until("it was called again", within: .seconds(20)) {
                    (pulls.snapshots.first?.attempts ?? 0) >= 3 && source.server.totals.opened >= 3
                }
                let snapshot = try #require(pulls.snapshots.first)
                #expect(snapshot.attempts <= 8)
                #expect(!snapshot.lastError.isEmpty && snapshot.stream == "live/copy")
                pulls.stop()
            }
        }
    }

    @Test("The node's options reach sockets that call, but for its passphrase, and the URL's come over them")
    func callOptions() async throws {
        try await Bench.with { configuration in
            try configuration.options.set(.connectTimeout, to: .integer(400))
            try configuration.options.set(.peerIdleTimeout, to: .integer(7_000))
            try configuration.options.set(.peerLatency, to: .integer(321))
            try configuration.options.set(.sendBuffer, to: .integer(500 * 1_472))
            try configuration.options.set(.payloadSize, to: .integer(1_128))
            try configuration.options.set(.passphrase, to: .text("correct horse"))
            try configuration.options.set(.keyLength, to: .integer(32))
        } _: { bench in
            // Nobody is there.
            let port = try Self.freePort()
            let url = try SRTURL(parsing: "srt://127.0.0.1:\(port)?peerlatency=222")
            let options = bench.server.configuration.callOptions(url)
            let socket = try SRTServer.call(url, SocketAddress(ipAddress: "127.0.0.1", port: port), options)
            defer { socket.close() }
            #expect(try socket.value(of: .connectTimeout) == .integer(400))
            #expect(try socket.value(of: .peerIdleTimeout) == .integer(7_000))
            #expect(try socket.value(of: .peerLatency) == .integer(222))
            #expect(try socket.value(of: .sendBuffer) == .integer(500 * 1_472))
            #expect(try socket.value(of: .payloadSize) == .integer(1_128))
            #expect(try socket.value(of: .keyLength) == .integer(0) && options[.passphrase] == nil)
            // The latency of both directions takes the place of the node's for each.
            let both = try SRTURL(parsing: "srt://127.0.0.1:\(port)?latency=777")
            let second = try SRTSocket.make(bench.server.configuration.callOptions(both))
            defer { second.close() }
            #expect(try second.value(of: .receiveLatency) == .integer(777))
            #expect(try second.value(of: .peerLatency) == .integer(777))
            // A shorter datagram has fewer packets.
            let short = try SRTURL(parsing: "srt://127.0.0.1:\(port)?mss=800")
            #expect(bench.server.configuration.callOptions(short)[.payloadSize] == .integer(752))
            try await until("it has given up") { socket.isOver }
        }
    }

    @Test("Both ends call each other (rendezvous), and the stream comes")
    func rendezvous() async throws {
        try await Bench.with { bench in
            let ports = try (0..<2).map { _ in try Self.freePort() }
            let url = try SRTURL(
                parsing:
                    "srt://127.0.0.1:\(ports[0])?mode=rendezvous&localaddr=127.0.0.1&localport=\(ports[1])&latency=50")
            let pulls = SRTPulls(
                server: bench.server,
                targets: [.init(stream: SRTStreamID(app: "live", name: "met", mode: .publish), url: url)],
                logger: self.logger)
            try pulls.start()
            var options = SRTOptions()
            try options.set(.latency, to: .integer(50))
            let publisher = try SRTSocket.make(options)
            try publisher.rendezvous(
                SocketAddress(ipAddress: "127.0.0.1", port: ports[1]),
                from: SocketAddress(ipAddress: "127.0.0.1", port: ports[0]))
            try await until("they met", within: .seconds(20)) { publisher.isConnected }
            try await self.feed(publisher) { try await self.videoFrames(bench, "met") > 20 }
            pulls.stop()
            publisher.close()
        }
    }

    @Test("A pull in the mode listener takes whoever calls, whatever the stream id says")
    func listener() async throws {
        try await Bench.with { bench in
            let port = try Self.freePort()
            let url = try SRTURL(parsing: "srt://127.0.0.1:\(port)?mode=listener&latency=50")
            let pulls = SRTPulls(
                server: bench.server,
                targets: [.init(stream: SRTStreamID(app: "live", name: "door", mode: .publish), url: url)],
                logger: self.logger)
            try pulls.start()
            let publisher = try SRTSocket.make(SRTOptions())
            try publisher.connect(SocketAddress(ipAddress: "127.0.0.1", port: port))
            try await until("it is let in") { publisher.isConnected }
            try await self.feed(publisher) { try await self.videoFrames(bench, "door") > 20 }
            #expect(bench.gate.peers.map(\.name) == ["door"])
            pulls.stop()
            publisher.close()
        }
    }

    private static func freePort() throws -> Int {
        let socket = try SRTSocket.make(SRTOptions())
        defer { socket.close() }
        try socket.bind(SocketAddress(ipAddress: "127.0.0.1", port: 0))
        return try #require(socket.localAddress?.port)
    }
}
