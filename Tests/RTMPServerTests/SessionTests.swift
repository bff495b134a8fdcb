import AMF
import Logging
import Media
import NIOCore
import NIOPosix
import RTMP
import StreamHub
import Streaming
import Synchronization
import TLSContexts
import TestSupport
import Testing

@testable import RTMPServer

/// Keeps what sessions did.
final class SessionLog: SessionObserver {
    let began = Log<SessionActivity>()
    let ended = Log<SessionResult>()
    let closed = Log<String>()

    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) { self.began.append(activity) }
    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.ended.append(result)
    }
    func sessionClosed(_ account: SessionAccount) { self.closed.append(account.id) }
}

@Suite("RTMP sessions", .timeLimit(.minutes(1)))
struct SessionTests {
    /// The one session that plays or publishes.
    private static func account(
        _ fixture: Fixture, _ kind: SessionActivity.Kind, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> SessionAccount {
        var filter = SessionFilter()
        filter.kind = kind
        try await eventually("a session", sourceLocation: sourceLocation) {
            fixture.sessions.count(filter) == 1
        }
        return try #require(fixture.sessions.list(filter, limit: 1).first?.account)
    }

    // MARK: Numbers

    @Test("accounts have what the kernel counted, and streams and the node their sums", arguments: [false, true])
    func kernel(isTLS: Bool) async throws {
        let certificate = isTLS ? try Certificate() : nil
        let context = try certificate?.clientContext()
        try await Fixture.run(tls: try certificate.map { try TLSContextStore($0.files) }) { fixture in
            let publisher = try await fixture.publisher(tls: context)
            let player = try await fixture.player(tls: context)
            let accounts = [try await Self.account(fixture, .publish), try await Self.account(fixture, .play)]
            try await publisher.sendFrames(0..<200, bytes: 9_000)
            try await eventually("all frames") { player.bodies(.video).count == 201 }
            for (client, account) in zip([publisher, player], accounts) {
                let port = try #require(client.wire.port)
                try await eventually("the kernel agrees") {
                    guard let counts = KernelCounts(peerPort: port) else { return false }
                    return counts.received == account.receivedBytes && counts.acknowledged == account.sentBytes
                        && counts.sent == account.sentBytes
                }
                #expect(client.wire.read == account.sentBytes)
            }
            let key = try StreamKey(app: "live", name: "demo")
            let totals = fixture.sessions.totals(of: key)
            #expect(totals.publishers == 1)
            #expect(totals.players == [isTLS ? "rtmps" : "rtmp": 1])
            #expect(totals.receivedBytes > 200 * 9_000)
            #expect(totals.sentBytes > 200 * 9_000)
            let sums = (received: accounts.map(\.receivedBytes), sent: accounts.map(\.sentBytes))
            #expect(fixture.sessions.totals().receivedBytes == sums.received.reduce(0, +))
            #expect(fixture.sessions.totals().sentBytes == sums.sent.reduce(0, +))
            let log = SessionLog()
            fixture.sessions.add(log)
            try await publisher.close()
            try await player.close()
            try await eventually("all are closed") { fixture.sessions.counts.open == 0 }
            #expect(fixture.sessions.totals().sentBytes == accounts.map(\.sentBytes).reduce(0, +))
            let after = fixture.sessions.totals(of: key)
            #expect(after.receivedBytes == log.ended.values.map(\.receivedBytes).reduce(0, +))
            #expect(after.sentBytes == log.ended.values.map(\.sentBytes).reduce(0, +))
            #expect(after.playerCount == 0)
        }
    }

    @Test("a viewer that is cut was sent what arrives, and no more", arguments: [false, true])
    func cut(isTLS: Bool) async throws {
        let certificate = isTLS ? try Certificate() : nil
        let context = try certificate?.clientContext()
        let settings = LiveStreamSettings(
            flush: .realtime,
            slowViewer: SlowViewerPolicy(maximumBytes: 400_000, maximumAge: .seconds(60), skipsBeforeClose: 0))
        let log = SessionLog()
        try await Fixture.run(settings, tls: try certificate.map { try TLSContextStore($0.files) }) { fixture in
            fixture.sessions.add(log)
            let publisher = try await fixture.publisher(tls: context)
            let player = try await fixture.player(tls: context)
            let account = try await Self.account(fixture, .play)
            try await player.setReading(false)
            var number = 0
            while log.ended.values.isEmpty, number < 4_000 {
                try await publisher.sendFrames(number..<(number + 25), bytes: 20_000)
                number += 25
                try await Task.sleep(for: .milliseconds(2))
            }
            try await eventually("it is cut") { log.ended.values.count == 1 }
            #expect(log.ended.values.map(\.end) == [.tooSlow])
            try await eventually("its connection is closed", within: .seconds(30)) { log.closed.values == [account.id] }
            try await player.setReading(true)
            try await eventually("it has read all") { player.isClosed }
            #expect(player.wire.read == account.sentBytes)
            // The kernel counts the end of the connection as a byte.
            let received = try #require(player.wire.kernel).received
            #expect(received == account.sentBytes || received == account.sentBytes + 1)
            #expect(account.sentBytes > 100_000)
        }
    }

    @Test(
        "a connection that breaks under a viewer leaves its account with what the kernel took",
        arguments: [false, true])
    func broken(isTLS: Bool) async throws {
        let certificate = isTLS ? try Certificate() : nil
        let context = try certificate?.clientContext()
        let log = SessionLog()
        try await Fixture.run(tls: try certificate.map { try TLSContextStore($0.files) }) { fixture in
            fixture.sessions.add(log)
            let publisher = try await fixture.publisher(tls: context)
            let player = try await fixture.player(tls: context)
            let account = try await Self.account(fixture, .play)
            let port = try #require(player.wire.port)
            try await player.setReading(false)
            try await publisher.sendFrames(0..<200, bytes: 20_000)
            var last: KernelCounts?
            try await eventually("the socket is full") {
                defer { last = KernelCounts(peerPort: port) }
                try await Task.sleep(for: .milliseconds(100))
                return last != nil && last == KernelCounts(peerPort: port) && account.sentBytes > 100_000
            }
            let kernel = try #require(last)
            #expect(account.sentBytes >= kernel.taken)
            try await player.close()
            try await eventually("it is gone") { log.closed.values.contains(account.id) }
            #expect(account.sentBytes == kernel.taken)
            #expect(log.ended.values.map(\.end) == [.left])
        }
    }

    // MARK: Who

    @Test("the gate and the account learn what a client says of itself")
    func description() async throws {
        try await Fixture.run { fixture in
            let client = try await fixture.client(
                .publish, name: "demo?token=t0&a=b", properties: [AMFProperty("pageUrl", "http://page.example/p")])
            try await eventually("it publishes") { client.isEstablished }
            let account = try await Self.account(fixture, .publish)
            let peer = try #require(fixture.gate.publishers.values.first)
            #expect(peer.account === account)
            #expect(peer.client == account.client)
            #expect(peer.client.tcURL == "rtmp://127.0.0.1/live")
            #expect(peer.client.pageURL == "http://page.example/p")
            #expect(peer.client.referer == "http://page.example/p")
            #expect(peer.client.userAgent.contains("Weir"))
            #expect(peer.client.query == "token=t0&a=b")
            #expect(account.ip == "127.0.0.1")
            #expect(account.transport == "rtmp")
            #expect(account.activity?.epoch == 41)
            #expect(account.activity?.key == (try StreamKey(app: "live", name: "demo")))
        }
    }

    // MARK: Ends

    @Test("a kick tells a publisher and a viewer why, and closes them", arguments: [false, true])
    func kick(isTLS: Bool) async throws {
        let certificate = isTLS ? try Certificate() : nil
        let context = try certificate?.clientContext()
        let log = SessionLog()
        try await Fixture.run(tls: try certificate.map { try TLSContextStore($0.files) }) { fixture in
            fixture.sessions.add(log)
            let publisher = try await fixture.publisher(tls: context)
            let player = try await fixture.player(tls: context)
            try await publisher.sendFrames(0..<3)
            try await eventually("it plays") { !player.media.isEmpty }
            let viewer = try await Self.account(fixture, .play)
            #expect(fixture.sessions.kick(viewer.id, reason: "not you"))
            try await eventually("it is closed") { player.isClosed }
            #expect(player.endCode == "NetStream.Play.Failed")
            #expect(player.endText == "not you")
            let source = try await Self.account(fixture, .publish)
            #expect(fixture.sessions.kick(source.id, reason: "nor you"))
            try await eventually("it is closed") { publisher.isClosed }
            #expect(publisher.endCode == "NetStream.Publish.Rejected")
            #expect(publisher.endText == "nor you")
            try await eventually("all is told") { log.closed.values.count == 2 }
            #expect(log.ended.values.map(\.end) == [.kicked, .kicked])
            try await eventually("the stream waits") { try await fixture.snapshot()?.phase == .grace }
            #expect(fixture.server.connectionCount == 0)
        }
    }

    @Test("a connection that does nothing can be kicked, and a node that is kicked looks elsewhere")
    func kickOthers() async throws {
        try await Fixture.run { fixture in
            let raw = try await RawClient(port: fixture.port, group: fixture.group)
            var filter = SessionFilter()
            filter.includesIdle = true
            try await eventually("it is there") { fixture.sessions.count(filter) == 1 }
            let idle = try #require(fixture.sessions.list(filter, limit: 1).first)
            #expect(fixture.sessions.kick(idle.account.id, reason: "x"))
            try await eventually("it is closed") { raw.isClosed }
            _ = try await fixture.publisher()
            let node = try await fixture.client(
                .play, properties: [AMFProperty("weirNode", "edge-1"), AMFProperty("weirEpoch", 0)])
            try await eventually("it plays") { node.isEstablished }
            let relay = try await Self.account(fixture, .play)
            #expect(relay.activity?.isRelay == true)
            #expect(fixture.sessions.totals().relays == 1)
            #expect(fixture.sessions.kick(relay.id, reason: "x"))
            try await eventually("it is closed") { node.isClosed }
            #expect(node.endCode == nil, "a stream that ended would not be looked for")
        }
    }

    @Test("each end has its reason")
    func reasons() async throws {
        let log = SessionLog()
        let settings = LiveStreamSettings(flush: .realtime, publish: PublishSettings(policy: .takeover))
        try await Fixture.run(settings) { fixture in
            fixture.sessions.add(log)
            func ends(_ expected: [SessionEnd]) async throws {
                try await eventually("\(expected)") { log.ended.values.map(\.end) == expected }
            }
            let first = try await fixture.publisher(name: "demo?token=t")
            let second = try await fixture.publisher(name: "demo?token=t")
            try await ends([.takenOver])
            try await eventually("it is closed") { first.isClosed }
            let player = try await fixture.player()
            try await second.unpublish()
            try await ends([.takenOver, .left])
            let stream = try #require(fixture.hub.existing(try StreamKey(app: "live", name: "demo")))
            try await stream.home.submit { stream.endNow(.streamEnded) }.get()
            try await ends([.takenOver, .left, .streamEnded])
            try await player.close()
            _ = try await fixture.publisher()
            fixture.server.endConnections()
            try await ends([.takenOver, .left, .streamEnded, .shutdown])
            #expect(fixture.sessions.activeStreams.isEmpty)
        }
    }

    @Test("unreadable media end a session as failed")
    func failed() async throws {
        let log = SessionLog()
        try await Fixture.run { fixture in
            fixture.sessions.add(log)
            let raw = try await RawClient(port: fixture.port, group: fixture.group)
            try await raw.send(ByteBuffer(repeating: 9, count: 4_000))
            try await eventually("it is closed") { raw.isClosed }
            try await eventually("it is told") { log.closed.values.count == 1 }
            #expect(log.ended.values.isEmpty, "it never did anything")
            let publisher = try await fixture.publisher()
            try await eventually("it publishes") { log.began.values.count == 1 }
            // A video message of a codec that nobody knows, again and again.
            try await publisher.sendGarbage(count: 60)
            try await eventually("it is ended") { publisher.endCode == "NetStream.Publish.Rejected" }
            #expect(log.ended.values.map(\.end) == [.failed])
        }
    }

    // MARK: Refusals

    @Test("refusals are counted by transport and cause")
    func refusals() async throws {
        try await Fixture.run { fixture in
            let publisher = try await fixture.client(.publish, app: "secret")
            try await eventually("it is refused") { publisher.rejection != nil }
            #expect(publisher.rejection == "NetStream.Publish.Rejected")
            let player = try await fixture.client(.play, app: "secret")
            try await eventually("it is refused") { player.rejection != nil }
            #expect(player.rejection == "NetStream.Play.Failed")
            #expect(
                fixture.sessions.counts.refusals
                    == [SessionRefusalKind(transport: "rtmp", cause: .unauthorized): 2])
            #expect(fixture.sessions.counts.ends.isEmpty)
        }
    }

    private final class Door: ConnectionAdmission {
        let opened = Log<String>()
        let closed = Log<String>()

        func connectionOpened(_ address: SocketAddress?, transport: String) -> String? {
            self.opened.append("\(address?.ipAddress ?? "-") \(transport)")
            return self.opened.values.count > 1 ? "full" : nil
        }

        func connectionClosed(_ address: SocketAddress?, transport: String) {
            self.closed.append("\(address?.ipAddress ?? "-") \(transport)")
        }
    }

    @Test("who is not let in is closed at once")
    func door() async throws {
        try await Fixture.run(maximumConnections: 2) { fixture in
            let door = Door()
            fixture.sessions.setAdmission(door)
            let first = try await RawClient(port: fixture.port, group: fixture.group)
            try await eventually("it is in") { fixture.sessions.counts.open == 1 }
            let second = try await RawClient(port: fixture.port, group: fixture.group)
            try await eventually("it is closed") { second.isClosed }
            #expect(fixture.sessions.counts.refused == ["full": 1])
            #expect(!first.isClosed)
            fixture.server.endConnections()
            try await eventually("it is told") { door.closed.values == ["127.0.0.1 rtmp"] }
        }
    }
}
