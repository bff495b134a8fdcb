import Media
import NIOCore
import NIOPosix
import RTMP
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing

@testable import RTMPServer

@Suite("RTMP links between nodes", .timeLimit(.minutes(1)))
struct LinkTests {
    private static func remote(_ fixture: Fixture, name: String = "demo", port: Int? = nil) throws -> RTMPRemote {
        RTMPRemote(
            host: "127.0.0.1", port: port ?? fixture.port, key: try StreamKey(app: "live", name: name),
            relay: RelayIdentity(node: "edge-1", epoch: 41))
    }

    /// Keeps what it is given.
    private final class Sink: MediaSink, Sendable {
        let epoch: UInt64 = 0
        let events = Log<MediaEvent>()
        let finishes = Log<Void>()

        func receive(_ events: [MediaEvent]) { for event in events { self.events.append(event) } }
        func finish() { self.finishes.append(()) }

        var frames: [Frame] { self.events.values.compactMap { if case .frame(let frame) = $0 { frame } else { nil } } }
        var tracks: [Track] { self.events.values.compactMap { if case .track(let track) = $0 { track } else { nil } } }
    }

    private struct Pull {
        let pull: RTMPPull
        let sink = Sink()
        let epochs = Log<UInt64?>()
        let ends = Log<RTMPLinkEnd>()

        init(_ fixture: Fixture, _ remote: RTMPRemote, mediaTimeout: TimeAmount? = .seconds(5), accepts: Bool = true)
            async throws
        {
            let (sink, epochs, ends) = (self.sink, self.epochs, self.ends)
            let loop = fixture.group.next()
            let pull = RTMPPull(on: loop) { epoch in
                epochs.append(epoch)
                return accepts ? sink : nil
            } onEnd: {
                ends.append($0)
            }
            self.pull = pull
            var configuration = RTMPClientConfiguration()
            configuration.mediaTimeout = mediaTimeout
            try await loop.submit { [configuration] in
                pull.start(remote, configuration: configuration, connectTimeout: .seconds(2))
            }.get()
            self.loop = loop
        }

        let loop: any EventLoop

        func stop() async throws {
            let pull = self.pull
            try await self.loop.submit { pull.stop() }.get()
        }
    }

    // MARK: Pull

    @Test("a pull gets the epoch and all that is published")
    func pull() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher()
            let pull = try await Pull(fixture, Self.remote(fixture))
            try await eventually("it plays") { pull.epochs.values.count == 1 }
            #expect(pull.epochs.values == [41])
            #expect(fixture.gate.relays.values == [RelayIdentity(node: "edge-1", epoch: 41, isProved: true)])
            try await publisher.sendFrames(0..<30)
            try await eventually("all frames") { pull.sink.frames.count == 60 }
            #expect(
                pull.sink.frames.filter { $0.kind == .video }.map(\.payload)
                    == (0..<30).map { Sample.video($0).payload })
            #expect(pull.sink.tracks.map(\.configuration) == [Sample.avcRecord, Sample.audio.configuration])
            try await pull.stop()
            #expect(pull.ends.values == [.closed])
            #expect(pull.sink.finishes.values.count == 1)
            try await eventually("the server forgets it") { fixture.server.connectionCount == 1 }
        }
    }

    @Test("a pull that loses its server is told once")
    func pullLosesServer() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher()
            let pull = try await Pull(fixture, Self.remote(fixture))
            try await publisher.sendFrames(0..<5)
            try await eventually("it plays") { !pull.sink.frames.isEmpty }
            fixture.server.endConnections()
            try await eventually("it ends") { !pull.ends.values.isEmpty }
            // A node that stops does not say that the stream is over: it may go on elsewhere.
            #expect(pull.ends.values == [.failed("the connection was closed")])
            #expect(pull.sink.finishes.values.count == 1)
        }
    }

    @Test("a pull whose upstream falls silent ends by itself")
    func pullFallsSilent() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher()
            let pull = try await Pull(fixture, Self.remote(fixture), mediaTimeout: .milliseconds(200))
            try await publisher.sendFrames(0..<2)
            try await eventually("it ends") { !pull.ends.values.isEmpty }
            guard case .failed = pull.ends.values.first else {
                Issue.record("it ended with \(pull.ends.values)")
                return
            }
        }
    }

    @Test("a pull of a stream that nobody publishes is refused")
    func pullRefused() async throws {
        try await Fixture.run { fixture in
            let pull = try await Pull(fixture, Self.remote(fixture, name: "none"))
            try await eventually("it ends") { !pull.ends.values.isEmpty }
            guard case .rejected(let code, _) = pull.ends.values.first else {
                Issue.record("it ended with \(pull.ends.values)")
                return
            }
            #expect(code == "NetStream.Play.StreamNotFound")
            #expect(pull.epochs.values.isEmpty)
            try await Task.sleep(for: .milliseconds(50))
            #expect(pull.ends.values.count == 1)
        }
    }

    @Test("a pull that nobody wants any more stops")
    func pullUnwanted() async throws {
        try await Fixture.run { fixture in
            _ = try await fixture.publisher()
            let pull = try await Pull(fixture, Self.remote(fixture), accepts: false)
            try await eventually("it ends") { !pull.ends.values.isEmpty }
            #expect(pull.ends.values == [.closed])
        }
    }

    @Test("a pull from where nobody listens fails")
    func pullUnreachable() async throws {
        try await Fixture.run { fixture in
            await fixture.server.stopAccepting()
            let pull = try await Pull(fixture, Self.remote(fixture))
            try await eventually("it ends") { !pull.ends.values.isEmpty }
            guard case .failed = pull.ends.values.first else {
                Issue.record("it ended with \(pull.ends.values)")
                return
            }
        }
    }

    // MARK: Forward

    @Test("a forwarded publisher's media arrive at the other node")
    func forward() async throws {
        try await Fixture.run { fixture in
            let forward = Forward(fixture)
            let epoch = try await forward.start(Self.remote(fixture))
            #expect(epoch == 0 || epoch == 41)
            let player = try await fixture.player()
            try await forward.receive([.track(Sample.video), .track(Sample.audio)])
            for number in 0..<30 { try await forward.receive([.frame(Sample.video(number))]) }
            try await eventually("all frames") { player.bodies(.video).count == 31 }
            #expect(player.bodies(.video) == Sample.videoBodies(0..<30))
            try await forward.finish()
            try await eventually("the stream waits") { try await fixture.snapshot()?.phase == .grace }
            #expect(forward.losses.values.isEmpty)
        }
    }

    @Test("a forward that loses its node stops reading, and goes on at the next one with what the stream consists of")
    func forwardMoves() async throws {
        try await Fixture.run { first in
            try await Fixture.run { second in
                let forward = Forward(first)
                _ = try await forward.start(Self.remote(first))
                try await forward.receive([.track(Sample.video)])
                try await forward.receive([.frame(Sample.video(0))])
                try await first.received(1)
                first.server.endConnections()
                try await eventually("the loss") { forward.losses.values.count == 1 }
                #expect(forward.connection.readings.values == [true, false])
                try await forward.receive([.frame(Sample.video(25))])
                _ = try await forward.start(Self.remote(second))
                #expect(forward.connection.readings.values == [true, false, true])
                try await second.received(1)
                let state = try await second.snapshot()?.state
                #expect(state?.video?.configuration == Sample.avcRecord)
                try await forward.receive([.frame(Sample.video(26))])
                try await second.received(2)
                try await forward.finish()
            }
        }
    }

    @Test("a forward that is refused or cannot connect says so")
    func forwardRefused() async throws {
        try await Fixture.run { fixture in
            _ = try await fixture.publisher()
            let refused = Forward(fixture)
            await #expect(throws: RTMPLinkEnd.self) { try await refused.start(Self.remote(fixture)) }
            await fixture.server.stopAccepting()
            let lost = Forward(fixture)
            let remote = try Self.remote(fixture, name: "other")
            let cause = "cannot connect to \(remote.host):\(remote.port): Connection refused"
            await #expect(throws: RTMPLinkEnd.failed(cause)) { try await lost.start(remote) }
            #expect(refused.losses.values.isEmpty)
            #expect(lost.losses.values.isEmpty)
            try await refused.finish()
            await #expect(throws: RTMPLinkEnd.closed) { try await refused.start(Self.remote(fixture)) }
        }
    }
}
