import DigestAuthentication
import Media
import NIOCore
import RTP
import RTSP
import RTSPSessions
import StreamHub
import TestSupport
import Testing

@testable import RTSPServer

@Suite(.timeLimit(.minutes(2))) struct PlayTests {
    /// The pictures that the packets of a channel hold.
    static func pictures(_ packets: [ByteBuffer]) -> [ByteBuffer] {
        var reader = RTPPayloadReader(format: .h264(packetizationMode: 1))
        var pictures: [ByteBuffer] = []
        for bytes in packets {
            guard let packet = try? RTPPacket(parsing: bytes) else {
                Issue.record("no packet of RTP")
                continue
            }
            reader.append(packet.payload, marker: packet.header.marker, timestamp: packet.header.timestamp)
            while case .accessUnit(let unit)? = reader.nextOutput() { pictures.append(unit.payload) }
        }
        return pictures
    }

    @Test func `Players by TCP get all pictures since the last keyframe, behind the reports`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        let early = try await feed.pictures(13)
        let clients = [try await scene.client(), try await scene.client()]
        for client in clients { try await client.play("/live/a") }
        let late = try await feed.pictures(20)
        let expected = (early[10...] + late).map(\.payload)
        for client in clients {
            try await eventually("all pictures came, and the sound behind the last") {
                Self.pictures(client.packets(0)).count >= expected.count && client.packets(2).count >= expected.count
            }
            #expect(Self.pictures(client.packets(0)) == expected)
            #expect(client.packets(2).count == expected.count)
            let first = client.elements.first { if case .packet = $0 { true } else { false } }
            guard case .packet(channel: 1, _)? = first else {
                Issue.record("the first packet is no report")
                return
            }
        }
        // Both share the bytes.
        #expect(clients[0].packets(0) == clients[1].packets(0))
        let snapshot = try await feed.stream.home.submit { feed.stream.snapshot() }.get()
        #expect(snapshot.viewers["rtsp"] == 2 && snapshot.renditions.count == 1)
        for client in clients { try await client.close() }
        try await eventually("nobody watches") { scene.server.audienceCount == 0 }
        try await scene.close()
    }

    @Test func `A paused player gets nothing, and goes on at a keyframe`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        try await feed.pictures(5)
        let client = try await scene.client()
        try await client.play("/live/a")
        try await eventually("pictures came") { Self.pictures(client.packets(0)).count == 5 }
        #expect(try await client.request(.pause, "/live/a").status == .ok)
        try await feed.pictures(17)
        #expect(try await client.request(.getParameter, "/live/a").status == .ok)
        #expect(Self.pictures(client.packets(0)).count == 5)
        #expect(try await client.request(.play, "/live/a").status == .ok)
        try await feed.pictures(1)
        // From the keyframe with number 20 on.
        try await eventually("it goes on") { Self.pictures(client.packets(0)).count == 8 }
        try await client.close()
        try await scene.close()
    }

    @Test func `The end of a stream, and other tracks, end its players`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        try await feed.pictures(3)
        let first = try await scene.client()
        try await first.play("/live/a")
        let described = try await scene.client()
        #expect(try await described.request(.describe, "/live/a").status == .ok)
        try await feed.send([.track(try Track(codec: .aac, parsingConfiguration: ByteBuffer(bytes: [0x11, 0x90])))])
        try await eventually("those who were told of other tracks are gone") { first.isClosed && described.isClosed }
        let second = try await scene.client()
        try await second.play("/live/a")
        try await feed.finish()
        try await feed.stream.home.submit { feed.stream.endNow(.streamEnded) }.get()
        try await eventually("the stream is over") { second.isClosed }
        try await scene.close()
    }

    @Test func `A publisher that comes back keeps the players of the same tracks, and loses those of other ones`()
        async throws
    {
        let scene = try await Scene()
        let first = try await scene.publish("a")
        var sent = try await first.pictures(3)
        let client = try await scene.client()
        try await client.play("/live/a")
        try await eventually("pictures came") { Self.pictures(client.packets(0)).count == 3 }
        try await first.finish()
        let second = try await scene.publish("a")
        sent += try await second.pictures(4)
        try await eventually("it goes on") { Self.pictures(client.packets(0)).count == 7 || client.isClosed }
        #expect(Self.pictures(client.packets(0)) == sent.map(\.payload) && !client.isClosed)
        try await second.finish()
        // Whether audio comes after all is waited for, for a moment.
        let start = ContinuousClock.now
        let third = try await scene.publish("a", hasAudio: false)
        try await eventually("who was told of audio is gone") {
            try await third.pictures(1)
            return client.isClosed
        }
        #expect(ContinuousClock.now - start > .milliseconds(300))
        try await scene.close()
    }

    @Test func `Streams that are not there, and streams that may not be had, are told apart`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        try await feed.pictures(1)
        let client = try await scene.client()
        #expect(try await client.request(.describe, "/live/none").status == .notFound)
        #expect(try await client.request(.describe, "/one").status == .notFound)
        #expect(try await client.request(.describe, "/off/a").status == .forbidden)
        #expect(try await client.request(.describe, "/live/%22").status == .badRequest)
        #expect(try await client.request(.describe, "/live/a").status == .ok)
        #expect(try await client.request(.teardown, "/live/a").status == .ok)
        try await eventually("it is closed") { client.isClosed }
        try await scene.close()
    }

    @Test func `A player of a stream without tracks waits for them`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        let client = try await scene.client()
        async let asked = client.request(.describe, "/live/a")
        try await eventually("somebody waits") { scene.server.audienceCount == 1 }
        try await feed.pictures(1)
        let answer = try await asked
        #expect(answer.status == .ok)
        let text = String(buffer: answer.body)
        #expect(text.contains("m=video 0 RTP/AVP 96\r\n") && text.contains("m=audio 0 RTP/AVP 97\r\n"))
        #expect(
            text.contains("config=1208") && text.contains("sprop-parameter-sets=Z2QAHqzZQKAv+XARAAADAAEAAAMAMg8WLZY="))
        // Nothing comes of this one.
        let silent = try await scene.publish("silent")
        #expect(try await client.request(.describe, "/live/silent").status == .notFound)
        try await silent.finish()
        try await client.close()
        try await scene.close()
    }

    @Test func `An operator ends a session, and its account holds its bytes`() async throws {
        let scene = try await Scene()
        let feed = try await scene.publish("a")
        try await feed.pictures(10)
        let client = try await scene.client()
        try await client.play("/live/a")
        var account: SessionAccount?
        try await eventually("it plays") {
            account = scene.accounts(on: feed.stream.key).first
            return (account?.sentBytes ?? 0) > 20_000
        }
        #expect(account?.activity?.kind == .play && account?.activity?.transport == "rtsp")
        account?.terminate(.kicked, "the test says so")
        try await eventually("it is gone") { client.isClosed }
        try await scene.close()
    }

    // MARK: Who may

    @Test func `Accounts are asked for by digest and basic, and after three wrong answers the connection ends`()
        async throws
    {
        let scene = try await Scene()
        let client = try await scene.client()
        let challenged = try await client.request(.describe, "/accounts/a")
        #expect(challenged.status == .unauthorized)
        let offers = challenged.headers.all("WWW-Authenticate")
        #expect(offers.count == 3 && offers[0].contains("SHA-256") && offers[2].hasPrefix("Basic"))
        var digest = DigestClient(username: "me", password: "pw")
        let tries = digest.challenged(offers)
        #expect(tries)
        let uri = client.base + "/accounts/a"
        let answer = digest.authorization(method: "DESCRIBE", uri: uri, clientNonce: "c")
        let right = try #require(answer)
        // The gate was asked: the account is right, and nobody publishes.
        #expect(try await client.request(.describe, "/accounts/a", [("Authorization", right)]).status == .notFound)
        let basic = AuthenticationCredentials.basic(username: "me", password: "pw").text
        #expect(try await client.request(.describe, "/accounts/a", [("Authorization", basic)]).status == .notFound)
        // The digest of another stream, a wrong password, and no account at all.
        #expect(try await client.request(.describe, "/accounts/b", [("Authorization", right)]).status == .unauthorized)
        let wrong = AuthenticationCredentials.basic(username: "me", password: "no").text
        #expect(try await client.request(.describe, "/accounts/a", [("Authorization", wrong)]).status == .unauthorized)
        #expect(!client.isClosed)
        #expect(try await client.request(.describe, "/accounts/a", [("Authorization", "x")]).status == .unauthorized)
        try await eventually("it is closed") { client.isClosed }
        #expect(scene.gate.peers.allSatisfy { $0.authorization == nil })
        try await scene.close()
    }

    @Test func `A token comes in the URL or as the password`() async throws {
        let scene = try await Scene()
        let client = try await scene.client()
        let asked = try await client.request(.describe, "/token/a")
        #expect(asked.status == .unauthorized && asked.headers["WWW-Authenticate"] == "Basic realm=\"Weir\"")
        let password = AuthenticationCredentials.basic(username: "any", password: "abc").text
        #expect(try await client.request(.describe, "/token/a", [("Authorization", password)]).status == .notFound)
        #expect(try await client.request(.describe, "/token/a?token=abc").status == .notFound)
        #expect(scene.gate.peers.map(\.token) == ["", "abc", "abc"])
        #expect(scene.gate.peers.last?.query == "token=abc")
        try await client.close()
        try await scene.close()
    }
}
