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

@Suite("Proofs of nodes", .timeLimit(.minutes(1)))
struct RelayProofTests {
    private static let now: Int64 = 1_790_000_000

    @Test("a proof is the code of node and time")
    func vector() {
        // printf 'edge-1\n1790000000' | openssl dgst -sha256 -hmac secret
        #expect(
            RelayProof.make(secret: "secret", node: "edge-1", now: Self.now)
                == "1790000000.4634a0cb1aee5a6e3ff648f2b2158c89d67d20290096f99b802f8f74422f7dc2")
    }

    @Test("a proof holds for its node, its secret and five minutes", arguments: [-300, -1, 0, 1, 300] as [Int64])
    func valid(offset: Int64) {
        let proof = RelayProof.make(secret: "s", node: "edge-1", now: Self.now + offset)
        #expect(RelayProof.isValid(proof, secret: "s", node: "edge-1", now: Self.now))
        #expect(!RelayProof.isValid(proof, secret: "t", node: "edge-1", now: Self.now))
        #expect(!RelayProof.isValid(proof, secret: "s", node: "edge-2", now: Self.now))
    }

    @Test("a proof of another time does not", arguments: [-301, 301, 1_000_000] as [Int64])
    func expired(offset: Int64) {
        let proof = RelayProof.make(secret: "s", node: "n", now: Self.now + offset)
        #expect(!RelayProof.isValid(proof, secret: "s", node: "n", now: Self.now))
    }

    @Test("what is no proof is none, wherever it is cut or changed")
    func malformed() {
        let proof = RelayProof.make(secret: "s", node: "n", now: Self.now)
        for count in 0..<proof.utf8.count {
            #expect(!RelayProof.isValid(String(proof.prefix(count)), secret: "s", node: "n", now: Self.now))
            var bytes = Array(proof.utf8)
            bytes[count] ^= 1
            let changed = String(decoding: bytes, as: UTF8.self)
            #expect(!RelayProof.isValid(changed, secret: "s", node: "n", now: Self.now))
        }
        for text in ["", ".", "x.y", "-1.ab", "99999999999999999999.ab", proof + "0", "0" + proof, proof.uppercased()] {
            #expect(!RelayProof.isValid(text, secret: "s", node: "n", now: Self.now), "\(text)")
        }
    }

    // MARK: Who is believed

    @Test("with a secret, nodes are believed by their proof and by nothing else")
    func proved() async throws {
        try await Fixture.run(clusterSecret: "swordfish") { fixture in
            _ = try await fixture.publisher()
            for (secret, isProved) in [("swordfish", true), ("sword", false), (nil, false)] as [(String?, Bool)] {
                let remote = RTMPRemote(
                    host: "127.0.0.1", port: fixture.port, key: try StreamKey(app: "live", name: "demo"),
                    relay: RelayIdentity(node: "edge-1", epoch: 41), secret: secret)
                let client = try await fixture.client(
                    .play, properties: remote.connectProperties(now: wallClockSeconds()))
                try await eventually("it plays") { client.isEstablished }
                #expect(
                    fixture.gate.relays.values.last
                        == RelayIdentity(node: "edge-1", epoch: 41, isProved: isProved))
                var filter = SessionFilter()
                filter.kind = .play
                try await eventually("it plays") { fixture.sessions.count(filter) == 1 }
                #expect(fixture.sessions.list(filter, limit: 1).first?.activity?.isRelay == isProved)
                try await client.close()
                try await eventually("it left") { fixture.sessions.count(filter) == 0 }
            }
        }
    }

    @Test("without a secret, nodes of this machine are believed")
    func loopback() throws {
        for (address, isLoopback) in [
            ("127.0.0.1", true), ("127.8.0.1", true), ("::1", true), ("10.0.0.1", false), ("2001:db8::1", false),
            ("::ffff:127.0.0.1", true), ("::ffff:10.0.0.1", false),
        ] {
            #expect(try SocketAddress(ipAddress: address, port: 1).isLoopback == isLoopback, "\(address)")
        }
    }

    // MARK: Forwarded publishers

    private final class Connection: PublisherConnection {
        let loop: any EventLoop

        init(loop: any EventLoop) { self.loop = loop }

        func setReading(_ isReading: Bool) {}
        func publishingRevoked(_ reason: PublishEnd) {}
    }

    private static func peer(query: String = "token=t&a=b") throws -> PeerIdentity {
        var peer = PeerIdentity(
            transport: "rtmp", address: "203.0.113.7:5000", vhost: nil, host: "h", app: "live", name: "demo",
            query: query, token: "t")
        peer.client.userAgent = "OBS"
        peer.client.tcURL = "rtmp://edge.example/live"
        peer.client.pageURL = "http://page"
        return peer
    }

    @Test(
        "the origin sees the client of a proved node's publish, and the node's own address else",
        arguments: [true, false])
    func forwarded(isProved: Bool) async throws {
        try await Fixture.run(clusterSecret: "swordfish") { fixture in
            let connection = Connection(loop: fixture.group.next())
            let forward = RTMPForward(
                connection: connection, configuration: RTMPClientConfiguration(), connectTimeout: .seconds(2)
            ) { _, _ in }
            let remote = RTMPRemote(
                host: "127.0.0.1", port: fixture.port, key: try StreamKey(app: "live", name: "demo"),
                query: "token=t&a=b", relay: RelayIdentity(node: "edge-1", epoch: 0),
                secret: isProved ? "swordfish" : "guess", peer: ForwardedPeer(try Self.peer()))
            _ = try await connection.loop.flatSubmit { forward.start(remote) }.get()
            #expect(forward.key == remote.key)
            #expect(fixture.gate.forwarders.values == [RelayIdentity(node: "edge-1", epoch: 0, isProved: isProved)])
            let peer = try #require(fixture.gate.publishers.values.first)
            #expect(peer.token == "t")
            #expect(peer.clientAddress == (isProved ? "203.0.113.7" : "127.0.0.1"))
            #expect((peer.client.userAgent == "OBS") == isProved)
            #expect((peer.client.tcURL == "rtmp://edge.example/live") == isProved)
            #expect(peer.client.query == "token=t&a=b")
            try await eventually("it publishes") { !fixture.sessions.activeStreams.isEmpty }
            let session = try #require(fixture.sessions.list(SessionFilter(), limit: 1).first)
            #expect(session.ip == peer.clientAddress)
            #expect(session.activity?.isRelay == false, "it is the stream's publisher")
            try await connection.loop.submit { forward.finish() }.get()
        }
    }

    @Test("a forwarded client survives its way, is bounded, and needs an address")
    func forwardedPeer() throws {
        let peer = ForwardedPeer(try Self.peer())
        #expect(peer.address == "203.0.113.7")
        var expected = peer
        expected.client.referer = "http://page"
        #expect(ForwardedPeer(peer.value) == expected)
        let long = String(repeating: "x", count: 100_000)
        let read = try #require(
            ForwardedPeer(
                .object([
                    AMFProperty("address", "2001:db8::9"), AMFProperty("userAgent", .string(long)),
                    AMFProperty("query", .string(long)),
                ])))
        #expect(read.client.userAgent.utf8.count == ClientDescription.maximumTextLength)
        #expect(read.client.query.utf8.count == ClientDescription.maximumQueryLength)
        for value in [
            AMFValue.null, .object([]), .object([AMFProperty("address", "somewhere")]),
            .object([AMFProperty("address", 5)]), .object([AMFProperty("address", .string(long))]),
        ] {
            #expect(ForwardedPeer(value) == nil)
        }
    }
}
