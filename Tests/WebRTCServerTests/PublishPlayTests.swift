import Logging
import Media
import NIOCore
import NIOPosix
import RTP
import RTPReceiving
import RTPSending
import SecureRTP
import StreamHub
import Streaming
import Synchronization
import TestSupport
import Testing
import WebRTC

@testable import WebRTCServer

@Suite(.timeLimit(.minutes(2))) struct PublishPlayTests {
    /// Publishes in real time.
    private func publish(
        _ range: Range<Int>, bytes: Int = 5_000, by publish: ([MediaEvent]) async throws -> Void
    ) async throws {
        let start = ContinuousClock.now
        for number in range {
            try await publish(Sample.events(number, bytes: bytes))
            try await Task.sleep(until: start + .milliseconds(40) * (number - range.lowerBound + 1))
        }
    }

    /// What a player has seen is an unbroken run of pictures from a keyframe on, and of audio.
    private func expectUnbroken(
        _ frames: [Frame], upTo end: Int, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let numbers = Sample.numbers(of: frames)
        let first = (numbers.first ?? nil) ?? -1
        #expect(first >= 0 && first % 25 == 0, "starts at \(first)", sourceLocation: sourceLocation)
        let expected: [Int?] = Array(first..<max(first, end))
        #expect(numbers == expected, sourceLocation: sourceLocation)
        let audio = Sample.audioNumbers(of: frames)
        let firstAudio = (audio.first ?? nil) ?? -1
        let expectedAudio: [Int?] = Array(firstAudio..<max(firstAudio, 2 * end))
        #expect(audio == expectedAudio, sourceLocation: sourceLocation)
    }

    @Test(arguments: [TestClient.Way.udp, .tcp, .udp6, .tcp6])
    func whatIsPublishedIsPlayed(way: TestClient.Way) async throws {
        let node = try await TestNode()
        let publisher = TestClient(.publisher, on: node.group.next())
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.publish(publisher, name: "a", way)
        try await eventually("the publisher connects") { publisher.state.isEstablished }
        try await self.publish(0..<12, by: publisher.publish)
        let answer = try await node.play(player, name: "a", way)
        try await eventually("the player connects") { player.state.isEstablished }
        try await self.publish(12..<40, by: publisher.publish)
        try await eventually("the last picture is there") { Sample.numbers(of: player.frames).last == 39 }
        try await eventually("the last sound is there") { Sample.audioNumbers(of: player.frames).last == 79 }
        self.expectUnbroken(player.frames, upTo: 40)
        #expect(player.state.tracks.map(\.codec).sorted { $0.rawValue < $1.rawValue } == [.h264, .opus])

        #expect(node.server.sessions == 2)
        let account = try #require(node.sessions.account(answer.account))
        #expect(account.activity?.kind == .play)
        #expect(account.activity?.transport == "webrtc")
        #expect(account.sentBytes > 28 * 5_000)
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        #expect(diagnosis.phase == "established")
        #expect(diagnosis.ice.state == .connected)
        #expect(diagnosis.media.codecs == ["h264", "opus"])
        #expect((diagnosis.media.counters["packets"] ?? 0) > 150)
        try await node.stop()
        try await eventually("nothing is left") { node.server.directory.isEmpty }
    }

    @Test func aStreamOfAnotherProtocolIsPlayedFromItsKeyframeByMany() async throws {
        let node = try await TestNode()
        let publisher = try await TestPublisher.start(node.hub, "b", on: node.group.next())
        try await self.publish(0..<10, by: publisher.publish)
        let players = (0..<8).map { TestClient(.player, on: node.group.next(), seed: UInt64($0)) }
        for (index, player) in players.enumerated() {
            _ = try await node.play(player, name: "b", index % 2 == 0 ? .udp : .udp6)
        }
        for player in players { try await eventually("connected") { player.state.isEstablished } }
        try await self.publish(10..<40, by: publisher.publish)
        for player in players {
            try await eventually("all is there") { Sample.numbers(of: player.frames).last == 39 }
            // From the cached keyframe, not from the next one.
            #expect(Sample.numbers(of: player.frames).first == 0)
            self.expectUnbroken(player.frames, upTo: 40)
        }
        let viewers = try await publisher.stream.home.submit { publisher.stream.snapshot().viewers }.get()
        #expect(viewers["webrtc"] == 8)
        let statistics = await node.server.statistics()
        // Five packets a picture leave together, those of several players with one call.
        #expect(statistics.sendCalls * 2 < statistics.sentDatagrams)
        for player in players { try await player.leave() }
        try await publisher.leave()
        try await eventually("nothing is left") { try await node.isClean() }
        try await node.stop()
    }

    @Test(arguments: [TestClient.Way.udp, .udp6])
    func listenersOfAllAddressesAnswerFromTheOneThatWasSentTo(way: TestClient.Way) async throws {
        let node = try await TestNode {
            $0.udp = [.init(host: "0.0.0.0", port: 0), .init(host: "::", port: 0)]
            // Another address of this machine than the one that the kernel would answer from.
            $0.candidates = way == .udp ? ["127.0.0.7"] : ["::1"]
        }
        let publisher = try await TestPublisher.start(node.hub, "l", on: node.group.next())
        try await self.publish(0..<3, by: publisher.publish)
        let player = TestClient(.player, on: node.group.next())
        let answer = try await node.play(player, name: "l", way)
        try await eventually("connected") { player.state.isEstablished }
        try await self.publish(3..<20, by: publisher.publish)
        try await eventually("all is there") { Sample.numbers(of: player.frames).last == 19 }
        self.expectUnbroken(player.frames, upTo: 20)
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        let local = try #require(diagnosis.ice.pairs.first).local
        #expect(local.hasPrefix(way == .udp ? "127.0.0.7:" : "[::1]:"))
        #expect(player.sources == [way == .udp ? "127.0.0.7" : "::1"])
        try await node.stop()
    }

    @Test func withoutSegmentationTheSameArrives() async throws {
        let node = try await TestNode { $0.usesSegmentation = false }
        let publisher = try await TestPublisher.start(node.hub, "c", on: node.group.next())
        try await self.publish(0..<5, by: publisher.publish)
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.play(player, name: "c")
        try await eventually("connected") { player.state.isEstablished }
        try await self.publish(5..<20, by: publisher.publish)
        try await eventually("all is there") { Sample.numbers(of: player.frames).last == 19 }
        self.expectUnbroken(player.frames, upTo: 20)
        try await node.stop()
    }

    @Test func lossOnThePublishersWayBreaksNoPicture() async throws {
        let node = try await TestNode()
        let publisher = TestClient(.publisher, on: node.group.next(), seed: 3)
        let answer = try await node.publish(publisher, name: "d")
        try await eventually("connected") { publisher.state.isEstablished }
        try await self.publish(0..<5, by: publisher.publish)
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.play(player, name: "d")
        try await eventually("connected") { player.state.isEstablished }
        try await publisher.setLoss(inbound: 5, outbound: 5, jitterMillis: 30)
        try await self.publish(5..<80, by: publisher.publish)
        try await publisher.setLoss(inbound: 0, outbound: 0)
        // Up to behind another keyframe, as this publisher makes none when it is asked.
        try await self.publish(80..<110, by: publisher.publish)
        try await eventually("the end is there", within: .seconds(30)) {
            Sample.numbers(of: player.frames).last == 109
        }
        let numbers = Sample.numbers(of: player.frames)
        #expect(numbers.allSatisfy { $0 != nil })
        // A gap ends at a keyframe.
        for (before, after) in zip(numbers, numbers.dropFirst()) {
            guard let before, let after else { continue }
            let isRight = after == before + 1 || (after % 25 == 0 && after > before)
            #expect(isRight, "\(before) then \(after)")
        }
        let counters = await node.server.diagnose(id: answer.id)?.media.counters
        #expect(numbers.count > 40, "\(numbers.compactMap { $0 }) \(counters ?? [:])")
        try await node.stop()
    }

    @Test func lossOnThePlayersWayIsRepaired() async throws {
        let node = try await TestNode()
        let publisher = try await TestPublisher.start(node.hub, "e", on: node.group.next())
        try await self.publish(0..<3, by: publisher.publish)
        let player = TestClient(.player, on: node.group.next(), seed: 9)
        // A third of all packets is lost: the handshake gets through.
        try await player.setLoss(inbound: 30, outbound: 30)
        let answer = try await node.play(player, name: "e")
        try await eventually("connected in spite of loss", within: .seconds(15)) { player.state.isEstablished }
        try await player.setLoss(inbound: 5, outbound: 5, jitterMillis: 20)
        try await self.publish(3..<60, by: publisher.publish)
        try await player.setLoss(inbound: 0, outbound: 0)
        try await self.publish(60..<70, by: publisher.publish)
        try await eventually("the end is there", within: .seconds(30)) {
            Sample.numbers(of: player.frames).last == 69
        }
        let numbers = Sample.numbers(of: player.frames)
        #expect(numbers.allSatisfy { $0 != nil })
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        #expect(numbers.count > 35, "\(numbers.compactMap { $0 }) \(diagnosis.media.counters)")
        #expect((diagnosis.media.counters["repeatedPackets"] ?? 0) > 0)
        try await node.stop()
    }

    @Test(arguments: [1, 2]) func aPlayerThatMovesGoesOn(loops: Int) async throws {
        let node = try await TestNode(loops: loops)
        let publisher = try await TestPublisher.start(node.hub, "f", on: node.group.next())
        try await self.publish(0..<3, by: publisher.publish)
        let player = TestClient(.player, on: node.group.next())
        let answer = try await node.play(player, name: "f")
        try await eventually("connected") { player.state.isEstablished }
        try await self.publish(3..<10, by: publisher.publish)
        // The kernel gives each new port to a loop by chance, so several moves meet all cases.
        for round in 0..<4 {
            try await player.move()
            try await self.publish(10 + round * 12..<22 + round * 12, by: publisher.publish)
        }
        try await self.publish(58..<70, by: publisher.publish)
        try await eventually("the end is there") { Sample.numbers(of: player.frames).last == 69 }
        #expect(Sample.numbers(of: player.frames).allSatisfy { $0 != nil })
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        #expect(diagnosis.ice.pathChanges >= 4)
        try await node.stop()
    }

    @Test func aRestartOfICEKeepsTheMediaFlowing() async throws {
        let node = try await TestNode()
        let publisher = TestClient(.publisher, on: node.group.next())
        let answer = try await node.publish(publisher, name: "g")
        try await eventually("connected") { publisher.state.isEstablished }
        try await self.publish(0..<3, by: publisher.publish)
        let wrong = await node.server.patch(
            id: answer.id, fragment: "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", ifMatch: "nonsense")
        #expect(wrong == .failure(.preconditionFailed(etag: answer.etag)))
        let noted = await node.server.patch(
            id: answer.id,
            fragment: "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n",
            ifMatch: answer.etag)
        #expect(noted == .success(.noted))
        let result = await node.server.patch(
            id: answer.id, fragment: "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", ifMatch: "*")
        guard case .success(.restarted(let fragment, let etag)) = result else {
            Issue.record("no restart: \(result)")
            return
        }
        #expect(etag != answer.etag)
        #expect(await node.server.etag(id: answer.id) == etag)
        try await publisher.restart(fragment)
        try await publisher.move()
        try await self.publish(3..<20, by: publisher.publish)
        try await eventually("the new names are used") {
            let diagnosis = await node.server.diagnose(id: answer.id)
            let (restarts, changes) = (diagnosis?.ice.restarts ?? 0, diagnosis?.ice.pathChanges ?? 0)
            return restarts == 1 && changes > 0
        }
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        #expect(diagnosis.phase == "established")
        try await eventually("media flow") {
            (await node.server.diagnose(id: answer.id)?.media.counters["video.frames"] ?? 0) >= 18
        }
        try await node.stop()
    }

    @Test func anAnswerWaitsForAStreamThatIsJustBeginning() async throws {
        let node = try await TestNode()
        let player = TestClient(.player, on: node.group.next())
        async let answer = node.server.createPlayer(node.request(player.offer, app: "early", name: "w"))
        try await eventually("the stream is wanted") { !node.hub.streams.isEmpty }
        let stream = try #require(node.hub.streams.first)
        try await eventually("somebody waits") {
            try await stream.home.submit { stream.viewerCount }.get() == 1
        }
        let id = node.hub.nextSessionID()
        let publisher = TestPublisher(stream: stream, id: id)
        let isActive = try await stream.home.submit { () -> Bool in
            guard stream.claim(.init(id: id, token: "")) == nil else { return false }
            return stream.activate(id, publisher: publisher, epoch: 1, clock: SourceClock(period: nil))
        }.get()
        #expect(isActive)
        try await publisher.publish(Sample.events(0))
        let made = try await answer.get()
        try await player.connect(made.sdp, .udp)
        try await eventually("the picture is there") { Sample.numbers(of: player.frames) == [0] }
        try await node.stop()
    }

    @Test func playersOfAReplacedSourceGoOnAtAKeyframe() async throws {
        let node = try await TestNode()
        let first = try await TestPublisher.start(node.hub, "h", on: node.group.next())
        try await self.publish(0..<8, by: first.publish)
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.play(player, name: "h")
        try await eventually("connected") { player.state.isEstablished }
        try await self.publish(8..<16, by: first.publish)
        try await first.leave()
        let second = try await TestPublisher.start(node.hub, "h", on: node.group.next())
        // The other source has a clock of its own.
        try await second.publish([.track(Sample.video), .track(Sample.audio)])
        try await self.publish(50..<70, by: second.publish)
        try await eventually("the other source is there") { Sample.numbers(of: player.frames).last == 69 }
        let expected: [Int?] = Array(0..<16) + Array(50..<70)
        #expect(Sample.numbers(of: player.frames) == expected)
        let times = player.frames.filter { $0.kind == .video }.map(\.pts)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        try await second.leave()
        try await eventually("the end of the stream ends its player") { player.state.isClosed }
        #expect(node.sessions.counts.ends[.streamEnded] == 1)
        try await eventually("nothing is left") { try await node.isClean() }
        try await node.stop()
    }
}
