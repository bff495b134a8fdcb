import AMF
import Media
import NIOCore
import NIOPosix
import RTMP
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import RTMPServer

@Suite("publishers that are asked to go on at another node", .timeLimit(.minutes(1))) struct ReconnectTests {
    private static func remote(_ fixture: Fixture) throws -> RTMPRemote {
        RTMPRemote(
            host: "127.0.0.1", port: fixture.port, key: try StreamKey(app: "live", name: "demo"),
            relay: RelayIdentity(node: "edge", epoch: 0))
    }

    private func ask(_ fixture: Fixture, ownHost: String = "own") async -> Set<String> {
        await fixture.server.requestReconnects(ownHost: ownHost, text: "Maintenance.") { _ in ("10.0.0.2", 1_936) }
    }

    @Test("a forward leaves before a keyframe, and the next node gets that keyframe first: no picture is lost")
    func movesAtKeyframe() async throws {
        try await Fixture.run { first in
            try await Fixture.run { second in
                let forward = Forward(first)
                try await forward.start(Self.remote(first))
                try await forward.receive([.track(Sample.video), .track(Sample.audio)])
                for number in 0..<10 { try await forward.receive([.frame(Sample.video(number))]) }
                try await first.received(10)
                #expect(await self.ask(first).count == 1)
                // The request is on its way to the forward, which may not have it yet.
                try await Task.sleep(for: .milliseconds(100))
                for number in 10..<25 {
                    try await forward.receive([.frame(Sample.video(number)), .frame(Sample.audio(number))])
                }
                #expect(forward.losses.values.isEmpty)
                try await forward.receive([
                    .frame(Sample.audio(99)), .frame(Sample.video(25)), .frame(Sample.video(26)),
                ])
                try await eventually("it left") { forward.losses.values == [.closed] }
                #expect(forward.connection.readings.values == [true, false])
                try await first.received(25)
                try await eventually("the first node waits") { try await first.snapshot()?.phase == .grace }
                #expect(try await first.snapshot()?.counters.videoFrames == 25)
                try await forward.receive([.frame(Sample.video(27))])
                try await forward.start(Self.remote(second))
                try await forward.receive([.frame(Sample.video(28))])
                try await second.received(4)
                let snapshot = try await second.snapshot()
                #expect(snapshot?.counters.videoFrames == 4)
                #expect(snapshot?.counters.droppedFrames == 0)
                #expect(snapshot?.counters.keyframes == 1)
                #expect(snapshot?.state.video?.configuration == Sample.avcRecord)
                #expect(snapshot?.state.audio != nil)
                try await forward.finish()
            }
        }
    }

    @Test("a forward of sound alone leaves at the next frame")
    func movesWithoutVideo() async throws {
        try await Fixture.run { fixture in
            let forward = Forward(fixture)
            try await forward.start(Self.remote(fixture))
            try await forward.receive([.track(Sample.audio), .frame(Sample.audio(0))])
            try await eventually("it is there") { try await fixture.snapshot()?.counters.audioFrames == 1 }
            #expect(await self.ask(fixture).count == 1)
            try await Task.sleep(for: .milliseconds(100))
            #expect(forward.losses.values.isEmpty)
            try await forward.receive([.frame(Sample.audio(1))])
            try await eventually("it left") { forward.losses.values == [.closed] }
            try await forward.finish()
        }
    }

    @Test("an encoder that can is told where to go, if it came by this node's own name; one that cannot is not asked")
    func encoders() async throws {
        try await Fixture.run { fixture in
            let plain = try await fixture.publisher(name: "plain")
            let capable = try await fixture.client(
                .publish, name: "capable", properties: [AMFProperty("capsEx", 1)])
            try await eventually("it is admitted") { capable.isEstablished }
            let viewer = try await fixture.client(.play, name: "plain", properties: [AMFProperty("capsEx", 1)])
            try await eventually("it plays") { viewer.isEstablished }

            #expect(await self.ask(fixture, ownHost: "127.0.0.1").count == 1)
            try await eventually("it is told") { self.requests(capable).count == 1 }
            #expect(self.requests(capable) == ["rtmp://10.0.0.2:1936/live"])
            #expect(await self.ask(fixture, ownHost: "Balancer").count == 1)
            try await eventually("it is told again") { self.requests(capable).count == 2 }
            #expect(self.requests(capable).last == .some(nil))
            #expect(self.requests(plain).isEmpty && self.requests(viewer).isEmpty)
            #expect(!capable.isClosed && !plain.isClosed && !viewer.isClosed)
        }
    }

    private func requests(_ client: TestClient) -> [String?] {
        client.events.values.compactMap { event -> String?? in
            guard case .reconnectRequested(let url, _) = event else { return nil }
            return .some(url)
        }
    }
}
