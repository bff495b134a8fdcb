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

@Suite(.timeLimit(.minutes(4))) struct SessionEndTests {
    @Test func refusalsNameTheirReasonAndLeaveNothing() async throws {
        let node = try await TestNode {
            $0.maximumSessions = 1
            $0.settings = { key in
                var settings = WebRTCStreamSettings()
                settings.isEnabled = key.app != "off"
                settings.playWait = .milliseconds(100)
                return settings
            }
        }
        let publisher = TestClient(.publisher, on: node.group.next())
        let player = TestClient(.player, on: node.group.next())
        func publish(_ offer: String, app: String = "live") async -> WebRTCRefusal? {
            if case .failure(let refusal) = await node.server.createPublisher(
                node.request(offer, app: app, name: "x"))
            {
                refusal
            } else {
                nil
            }
        }
        func play(_ offer: String, app: String = "live") async -> WebRTCRefusal? {
            if case .failure(let refusal) = await node.server.createPlayer(node.request(offer, app: app, name: "x")) {
                refusal
            } else {
                nil
            }
        }
        guard case .badOffer = await publish("nonsense") else {
            Issue.record("an offer that is none was taken")
            return
        }
        guard case .badOffer = await publish(player.offer) else {
            Issue.record("an offer that sends nothing was taken")
            return
        }
        #expect(
            await publish(publisher.offer, app: "closed")
                == .refused(SessionRefusal(.unauthorized, "the test wants a token")))
        #expect(await publish(publisher.offer, app: "off") == .disabled)
        #expect(await play(player.offer) == .refused(SessionRefusal(.notFound, "nobody publishes live/x")))
        #expect(await play(player.offer, app: "early") == .noTracks)
        #expect(
            await play(player.offer, app: "closed") == .refused(SessionRefusal(.unauthorized, "the test wants a token"))
        )
        #expect(node.sessions.counts.refusals[.init(transport: "webrtc", cause: .unauthorized)] == 2)
        try await eventually("nothing is left") { try await node.isClean() }

        #expect(await publish(publisher.offer) == nil)
        #expect(await play(player.offer) == .tooManySessions)
        await node.server.shutdown()
        #expect(await publish(publisher.offer) == .shuttingDown)
        #expect(await node.server.delete(id: "nobody") == false)
        #expect(await node.server.patch(id: "nobody", fragment: "", ifMatch: nil) == .failure(.unknownSession))
        try await eventually("nothing is left") { try await node.isClean() }
        try await node.stop()
    }

    @Test func anotherPublisherIsRefusedWhileTheStreamIsTaken() async throws {
        let node = try await TestNode { $0.handshakeTimeout = .seconds(1) }
        let first = TestClient(.publisher, on: node.group.next())
        let second = TestClient(.publisher, on: node.group.next())
        _ = try await node.server.createPublisher(node.request(first.offer, name: "y")).get()
        let refused = await node.server.createPublisher(node.request(second.offer, name: "y"))
        #expect(refused == .failure(.refused(SessionRefusal(.busy, "somebody publishes live/y"))))
        // Who never connects loses the stream after the time of a handshake.
        try await eventually("the stream is free") { node.server.sessions == 0 }
        let granted = await node.server.createPublisher(node.request(second.offer, name: "y"))
        #expect((try? granted.get()) != nil)
        try await eventually("nothing is left") { try await node.isClean() }
        #expect(node.sessions.counts.ends[.failed] == 2)
        try await node.stop()
    }

    @Test func whatAClientDeletesIsOver() async throws {
        let node = try await TestNode()
        let client = TestClient(.publisher, on: node.group.next())
        let answer = try await node.publish(client, name: "z")
        try await eventually("connected") { client.state.isEstablished }
        #expect(await node.server.delete(id: answer.id))
        try await eventually("the client is told") { client.state.isClosed }
        try await eventually("nothing is left") { try await node.isClean() }
        #expect(await node.server.delete(id: answer.id) == false)
        let diagnosis = try #require(await node.server.diagnose(id: answer.id))
        #expect(diagnosis.end == "left: the client said so")
        #expect(diagnosis.phase == "established")
        try await node.stop()
    }

    @Test func aNodeThatShutsDownTellsItsClients() async throws {
        let node = try await TestNode()
        let clients = [TestClient.Way.udp, .tcp].map { ($0, TestClient(.publisher, on: node.group.next())) }
        for (index, (way, client)) in clients.enumerated() {
            _ = try await node.publish(client, name: "s\(index)", way)
            try await eventually("connected") { client.state.isEstablished }
        }
        await node.server.shutdown()
        for (_, client) in clients { try await eventually("the client is told") { client.state.isClosed } }
        #expect(node.sessions.counts.ends[.shutdown] == 2)
        try await eventually("nothing is left") { try await node.isClean() }
        try await node.stop()
    }

    @Test func connectionsThatShowNoSessionAreClosed() async throws {
        let node = try await TestNode { $0.tcpFirstFrameTimeout = .milliseconds(200) }
        let address = try #require(node.server.boundAddresses.first { $0.isTCP }).address
        for bytes in [[0, 4, 1, 2, 3, 4], [0xFF, 0xFF], [UInt8]()] as [[UInt8]] {
            let closed = Counter()
            let channel = try await ClientBootstrap.connect(node.group, address)
            channel.closeFuture.whenComplete { _ in closed.increment() }
            // It may be closed already: one that says nothing is.
            try? await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get()
            try await eventually("the connection is closed") { closed.value == 1 }
        }
        try await node.stop()
    }

    @Test func fiveThousandSessionsThatDieInEveryWayLeaveNothing() async throws {
        let node = try await TestNode {
            $0.handshakeTimeout = .seconds(10)
            $0.consentTimeout = .seconds(8)
        }
        let source = try await TestPublisher.start(node.hub, "many", on: node.group.next())
        try await source.publish(Sample.events(0) + Sample.events(1))
        let offer = TestClient(.player, on: node.group.next()).offer
        let publishOffer = TestClient(.publisher, on: node.group.next()).offer
        var made = 0
        // Silent from the start; deleted before they connect; ended by an operator before they connect; refused.
        for number in 0..<4_600 {
            switch number % 5 {
            case 0, 1:
                _ = try await node.server.createPlayer(node.request(offer, name: "many")).get()
            case 2:
                let answer = try await node.server.createPlayer(node.request(offer, name: "many")).get()
                #expect(await node.server.delete(id: answer.id))
            case 3:
                let answer = try await node.server.createPlayer(node.request(offer, name: "many")).get()
                #expect(node.sessions.kick(answer.account, reason: "the test says so"))
            default:
                _ = await node.server.createPublisher(node.request(publishOffer, app: "closed", name: "n"))
                _ = try await node.server.createPublisher(node.request(publishOffer, name: "n\(number)")).get()
            }
            made += 1
        }
        // Connected ones: that say goodbye, that fall silent, that are ended by an operator; by UDP and TCP.
        for round in 0..<10 {
            var clients: [(TestClient, WebRTCAnswer)] = []
            for index in 0..<40 {
                let role: TestClient.Role = index % 4 == 3 ? .publisher : .player
                let client = TestClient(role, on: node.group.next(), seed: UInt64(index))
                let way: TestClient.Way = index % 8 < 6 ? .udp : .tcp
                let answer =
                    role == .player
                    ? try await node.play(client, name: "many", way)
                    : try await node.publish(client, name: "r\(round)-\(index)", way)
                clients.append((client, answer))
            }
            try await eventually("all connect", within: .seconds(30)) {
                clients.allSatisfy { $0.0.state.isEstablished }
            }
            for (index, (client, answer)) in clients.enumerated() {
                switch index % 3 {
                case 0: try await client.leave()
                case 1: try await client.leave(quietly: true)
                default: #expect(node.sessions.kick(answer.account, reason: "the test says so"))
                }
                made += 1
            }
            for (client, _) in clients { try await client.leave(quietly: true) }
        }
        #expect(made == 5_000)
        // Clients come to either loop: publishers' packets are handed over, players move.
        let statistics = await node.server.statistics()
        #expect(statistics.forwardedPackets > 0)
        #expect(statistics.movedSessions > 0)
        try await source.leave()
        try await eventually("nothing is left", within: .seconds(60)) { try await node.isClean() }
        #expect(node.server.archive.count <= DiagnosisArchive.maximumCount)
        for worker in node.server.workers {
            #expect(try await worker.loop.submit { worker.deadlineCount }.get() <= 600)
        }
        try await eventually("the streams are gone") { node.hub.streams.isEmpty }
        try await node.stop()
    }
}
