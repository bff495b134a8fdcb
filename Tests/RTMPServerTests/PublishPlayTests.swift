import AMF
import Media
import NIOCore
import RTMP
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import RTMPServer

@Suite("RTMP publish and play", .timeLimit(.minutes(1)))
struct PublishPlayTests {
    @Test(
        "players get the bytes that were published, headers first",
        arguments: [
            FlushPolicy.realtime, .low, .balanced,
        ])
    func bytesArrive(flush: FlushPolicy) async throws {
        try await Fixture.run(LiveStreamSettings(flush: flush)) { fixture in
            let publisher = try await fixture.publisher()
            let early = try await fixture.player()
            try await publisher.sendFrames(0..<60)
            try await fixture.received(60)
            let late = try await fixture.player()
            try await publisher.sendFrames(60..<70)
            for (player, first) in [(early, 0), (late, 50)] {
                try await eventually("all frames") { player.bodies(.audio).count >= 71 - first }
                #expect(player.bodies(.video) == Sample.videoBodies(first..<70))
                #expect(player.bodies(.audio) == Sample.audioBodies(first..<70))
                let times: [UInt32] = [2_760, 2_765]
                #expect(player.media.suffix(2).map(\.timestamp) == times)
            }
        }
    }

    @Test("a message of several chunks arrives whole")
    func largeFrames() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher()
            let player = try await fixture.player()
            try await publisher.sendFrames(0..<3, bytes: 200_000)
            try await eventually("all frames") { player.bodies(.video).count == 4 }
            #expect(player.bodies(.video) == Sample.videoBodies(0..<3, bytes: 200_000))
        }
    }

    @Test("the gate learns who publishes and plays")
    func identities() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher(name: "demo?token=secret&x=1")
            let player = try await fixture.client(
                .play,
                properties: [
                    AMFProperty("weirNode", .string("edge-1")), AMFProperty("weirEpoch", .number(41)),
                ])
            try await eventually("the player is admitted") { player.isEstablished }
            let peer = try #require(fixture.gate.publishers.values.first)
            #expect(peer.transport == "rtmp")
            #expect(peer.app == "live")
            #expect(peer.name == "demo")
            #expect(peer.token == "secret")
            #expect(peer.address.hasPrefix("127.0.0.1:"))
            #expect(fixture.gate.relays.values == [RelayIdentity(node: "edge-1", epoch: 41, isProved: true)])
            for case .playing(let information) in player.events.values {
                #expect(information.last { $0.name == "weirEpoch" }?.value == .number(41))
            }
            try await publisher.close()
        }
    }

    @Test("a refused publisher is told why")
    func refusedPublishers() async throws {
        try await Fixture.run { fixture in
            _ = try await fixture.publisher()
            for (app, code) in [
                ("live", "NetStream.Publish.BadName"), ("bad", "NetStream.Publish.BadName"),
                ("down", "NetStream.Publish.Rejected"),
            ] {
                let client = try await fixture.client(.publish, app: app)
                try await eventually("the refusal") { client.rejection != nil }
                #expect(client.rejection == code, "\(app)")
            }
        }
    }

    @Test("a refused player is told why")
    func refusedPlayers() async throws {
        try await Fixture.run { fixture in
            for (app, code) in [
                ("live", "NetStream.Play.StreamNotFound"), ("bad", "NetStream.Play.StreamNotFound"),
                ("down", "NetStream.Play.Failed"),
            ] {
                let client = try await fixture.client(.play, app: app)
                try await eventually("the refusal") { client.rejection != nil }
                #expect(client.rejection == code, "\(app)")
                try await eventually("the connection is closed") { client.isClosed }
            }
            try await eventually("no connection is left") { fixture.server.connectionCount == 0 }
        }
    }

    @Test("a publisher that was replaced is told, and its connection closed")
    func takeover() async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .takeover))
        try await Fixture.run(settings) { fixture in
            let old = try await fixture.publisher(name: "demo?token=secret")
            let player = try await fixture.player()
            try await old.sendFrames(0..<3)
            try await fixture.received(3)
            let new = try await fixture.publisher(name: "demo?token=secret")
            try await eventually("the old connection is closed") { old.isClosed }
            try await new.sendFrames(50..<53)
            try await eventually("frames of both") { player.bodies(.video).count >= 8 }
            let expected = Sample.videoBodies(0..<3) + Sample.videoBodies(50..<53)
            #expect(player.bodies(.video) == expected)
            #expect(!player.isClosed)
        }
    }

    @Test("a publisher that loses its stream while it is admitted does not go on")
    func revokedWhileAdmitted() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client(.publish, app: "revoked")
            try await eventually("the connection is closed") { client.isClosed }
            try await eventually("no connection is left") { fixture.server.connectionCount == 0 }
        }
    }

    @Test("a stream that ends tells its players")
    func streamEnds() async throws {
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .reject))
        try await Fixture.run(settings) { fixture in
            let publisher = try await fixture.publisher()
            let player = try await fixture.player()
            try await publisher.sendFrames(0..<5)
            try await eventually("the frames") { player.bodies(.video).count == 6 }
            try await publisher.unpublish()
            try await eventually("the end") { player.endCode != nil }
            #expect(player.endCode == "NetStream.Play.UnpublishNotify")
        }
    }

    @Test("a publisher that comes back within the grace time keeps its players")
    func republish() async throws {
        try await Fixture.run { fixture in
            let first = try await fixture.publisher()
            let player = try await fixture.player()
            try await first.sendFrames(0..<5)
            try await eventually("the frames") { player.bodies(.video).count == 6 }
            try await first.close()
            try await eventually("the stream waits") { try await fixture.snapshot()?.phase == .grace }
            let second = try await fixture.publisher()
            try await second.sendFrames(0..<5)
            try await eventually("the frames of the second") { player.bodies(.video).count >= 11 }
            #expect(player.endCode == nil)
            let times = player.media.filter { $0.kind == .video }.map(\.timestamp)
            #expect(zip(times, times.dropFirst()).allSatisfy { $0 <= $1 })
        }
    }

    @Test("a server that shuts down tells players and publishers, and closes")
    func shutdown() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.publisher()
            let player = try await fixture.player()
            await fixture.server.stopAccepting()
            fixture.server.endConnections()
            try await eventually("both are closed") { publisher.isClosed && player.isClosed }
            #expect(player.endCode == "NetStream.Play.UnpublishNotify")
            try await eventually("no connection is left") { fixture.server.connectionCount == 0 }
            // Another server of this run may have got the port by now, so what counts is what reaches this one.
            _ = try? await fixture.client(.play)
            #expect(fixture.server.connectionCount == 0)
        }
    }
}

@Suite("RTMP clients that mean harm", .timeLimit(.minutes(1)))
struct HostileClientTests {
    /// Runs `attack` beside a healthy publisher and player, and checks that these do not notice.
    private static func beside(
        _ settings: LiveStreamSettings = .init(flush: .realtime), maximumConnections: Int = 100,
        configure: (inout RTMPSessionConfiguration) -> Void = { _ in },
        attack: (Fixture, TestClient) async throws -> Void
    ) async throws {
        try await Fixture.run(settings, maximumConnections: maximumConnections, configure: configure) { fixture in
            let publisher = try await fixture.publisher()
            let player = try await fixture.player()
            try await publisher.sendFrames(0..<5)
            try await attack(fixture, publisher)
            let before = try await fixture.snapshot()?.counters.videoFrames ?? 0
            try await publisher.sendFrames(before..<(before + 5))
            try await eventually("the healthy player has everything") { player.bodies(.video).count == before + 6 }
            #expect(!publisher.isClosed)
            #expect(!player.isClosed)
            try await eventually("the others are gone") { fixture.server.connectionCount == 2 }
        }
    }

    @Test("garbage costs its own connection", arguments: [UInt8(0), 0x47, 0xFF])
    func garbage(first: UInt8) async throws {
        try await Self.beside { fixture, _ in
            let client = try await RawClient(port: fixture.port, group: fixture.group)
            try await client.send(ByteBuffer(repeating: first, count: 8_000))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a handshake that stalls is ended")
    func stalledHandshake() async throws {
        try await Self.beside(configure: { $0.handshakeTimeout = .milliseconds(200) }) { fixture, _ in
            let silent = try await RawClient(port: fixture.port, group: fixture.group)
            let slow = try await RawClient(port: fixture.port, group: fixture.group)
            try await slow.send(ByteBuffer(repeating: 3, count: 700))
            try await eventually("both are closed") { silent.isClosed && slow.isClosed }
        }
    }

    @Test("a client that never asks for anything is ended")
    func noCommand() async throws {
        try await Self.beside(configure: { $0.commandTimeout = .milliseconds(200) }) { fixture, _ in
            let client = try await Self.shaken(fixture)
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a message of 16 MB is refused when it is announced")
    func hugeMessage() async throws {
        try await Self.beside { fixture, _ in
            let client = try await Self.shaken(fixture)
            // A type 0 chunk that announces 16,777,215 bytes of audio (RTMP 1.0 §5.3.1.2.1).
            try await client.send(ByteBuffer(bytes: [4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 8, 1, 0, 0, 0]))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a chunk size of 16 MB is refused")
    func hugeChunkSize() async throws {
        try await Self.beside { fixture, _ in
            let client = try await Self.shaken(fixture)
            try await client.send(
                ByteBuffer(bytes: [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0x00, 0xFF, 0xFF, 0xFF]))
            try await client.send(ByteBuffer(bytes: [4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 8, 1, 0, 0, 0]))
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a player that reads nothing is ended, and costs nobody else")
    func readsNothing() async throws {
        let settings = LiveStreamSettings(
            flush: .realtime, slowViewer: SlowViewerPolicy(maximumBytes: 300 << 10, skipsBeforeClose: 2))
        try await Self.beside(settings) { fixture, publisher in
            let stuck = try await fixture.player()
            try await stuck.setReading(false)
            var number = 5
            while fixture.server.connectionCount > 2, number < 3_000 {
                try await publisher.sendFrames(number..<(number + 1), gop: 10, bytes: 20_000)
                number += 1
                try await fixture.received(number)
                if number > 1_000 { try await Task.sleep(for: .milliseconds(10)) }
            }
            #expect(fixture.server.connectionCount == 2)
            try await stuck.close()
        }
    }

    @Test("connections beyond the limit are closed at once")
    func tooMany() async throws {
        try await Self.beside(maximumConnections: 2) { fixture, _ in
            let client = try await RawClient(port: fixture.port, group: fixture.group)
            try await eventually("it is closed") { client.isClosed }
        }
    }

    @Test("a publisher of unreadable media is told and ended")
    func unreadableMedia() async throws {
        try await Self.beside { fixture, _ in
            let client = try await fixture.client(.publish, name: "noise")
            try await eventually("it is admitted") { client.isEstablished }
            let broken = Track(
                codec: .h264, configuration: ByteBuffer(bytes: [9, 9, 9]), format: .video(VideoFormat()))
            for _ in 0..<RTMPIngest.maximumConsecutiveErrors { try await client.send([.track(broken)]) }
            try await eventually("it is ended") { client.isClosed }
        }
    }

    /// A client that has done the handshake and nothing else.
    private static func shaken(_ fixture: Fixture) async throws -> RawClient {
        let client = try await RawClient(port: fixture.port, group: fixture.group)
        var hello = ByteBuffer(bytes: [3])
        hello.writeRepeatingByte(0, count: 1_536)
        try await client.send(hello)
        try await eventually("the server's answer") { client.received.readableBytes >= 1 + 2 * 1_536 }
        try await client.send(ByteBuffer(client.received.readableBytesView.dropFirst().prefix(1_536)))
        return client
    }
}
