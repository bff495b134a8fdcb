import Media
import NIOCore
import SRTAccess
import StreamHub
import Streaming
import Testing

@testable import SRTServer

@Suite("The SRT server", .serialized)
struct SRTServerTests {
    @Test("What is published is played, frame by frame, by those who come first and by those who come late")
    func publishAndPlay() async throws {
        try await Bench.with { bench in
            let early = try await bench.connect("#!::r=live/one,m=request")
            let stream = try await bench.stream("one")
            let publisher = try await bench.connect("#!::r=live/one,m=publish,user=me")
            for part in 0..<5 {
                try await publisher.send(all: Sample.stream(part * 10..<part * 10 + 10))
                try await Task.sleep(for: .milliseconds(20))
            }
            try await until("the stream has frames") {
                try await stream.home.submit { stream.snapshot().counters.videoFrames >= 40 }.get()
            }
            let late = try await bench.connect("live/one")
            for player in [early, late] {
                let bytes = try await player.receive { Sample.payloads(of: $0).video.count >= 8 }
                #expect(bytes.readableBytes % 188 == 0)
                let frames = Sample.payloads(of: bytes)
                #expect(frames.video.count >= 8 && frames.audio.count >= 8)
                let source = Set(Sample.frames(0..<60).map(\.payload))
                #expect((frames.video + frames.audio).allSatisfy(source.contains))
                #expect(frames.video.first.map { $0.getInteger(at: $0.readerIndex + 4, as: UInt8.self) } == 0x65)
            }
            let viewers = try await stream.home.submit { stream.snapshot().viewers }.get()
            #expect(viewers == ["srt": 2])
            let peer = bench.gate.peers.first { $0.query == "user=me" }
            #expect(peer?.transport == "srt" && peer?.app == "live" && peer?.name == "one" && peer?.vhost == nil)
            #expect(bench.registry.totals().publishers == 1 && bench.registry.totals().players == ["srt": 2])
            for socket in [early, late, publisher] { socket.close() }
            try await until("all sessions have ended") { bench.server.totals.open == 0 }
            #expect(bench.server.totals.opened == 3)
        }
    }

    @Test(
        "A peer that cannot be served is turned away with the code that says why",
        arguments: [
            ("#!::r=live/one,m=bidirectional", 1_405), ("#!::m=publish", 1_400), ("#!::r=live/one,t=file", 1_415),
            ("#!::r=off/one", 1_403), ("#!::r=live/missing", 1_404), ("#!::r=live/busy,m=publish", 1_409),
        ] as [(String, Int32)])
    func rejections(streamID: String, code: Int32) async throws {
        try await Bench.with { configuration in
            configuration.settings = { _, app, _ in
                var settings = SRTStreamSettings()
                settings.isEnabled = app != "off"
                return settings
            }
            configuration.doorkeeper = { id, _ in
                id.name == "missing" ? .notFound : id.name == "busy" ? .conflict : nil
            }
        } _: { bench in
            await #expect(throws: Rejected(reason: SRTRejectReason(code: code))) { try await bench.connect(streamID) }
            #expect(bench.server.totals.turnedAway.map { $0.key.rawValue } == [code])
            #expect(bench.gate.peers.isEmpty && bench.registry.counts.open == 0)
        }
    }

    @Test("Sessions beyond the limit are turned away, and make room when they end")
    func limit() async throws {
        try await Bench.with {
            $0.maximumSessions = 1
        } _: { bench in
            let first = try await bench.connect("live/one")
            try await until("it is a session") { bench.server.totals.open == 1 }
            await #expect(throws: Rejected(reason: SRTRejectReason(code: 1_402))) {
                try await bench.connect("live/two")
            }
            first.close()
            try await until("there is room") { bench.server.totals.open == 0 }
            try await bench.connect("live/two").close()
        }
    }

    @Test("What the gate refuses is closed, counted and takes no stream")
    func refusal() async throws {
        try await Bench.with { bench in
            bench.gate.refusal = SessionRefusal(.unauthorized, "who are you")
            // It may be closed before the client knows that it was let in.
            _ = try? await bench.connect("#!::r=live/one,m=publish")
            try await until("the gate was asked, and the session is over") {
                bench.gate.peers.count == 1 && bench.registry.counts.open == 0
            }
            #expect(
                bench.registry.counts.refusals == [SessionRefusalKind(transport: "srt", cause: .unauthorized): 1])
            #expect(bench.registry.counts.open == 0)
        }
    }

    @Test(
        "A passphrase encrypts with the key that is set, and a wrong one or none is turned away",
        arguments: [16, 24, 32])
    func passphrase(key: Int) async throws {
        try await Bench.with { configuration in
            try configuration.options.set(.keyLength, to: .integer(key))
            configuration.settings = { _, app, name in
                var settings = SRTStreamSettings()
                if app == "secret" {
                    let passphrase = name == "own" ? "battery staple" : "correct horse"
                    try? settings.options.set(.passphrase, to: .text(passphrase))
                }
                return settings
            }
        } _: { bench in
            let socket = try await bench.connect("#!::r=secret/one,m=publish") {
                try $0.set(.passphrase, to: .text("correct horse"))
            }
            #expect(socket.isEncrypted)
            #expect(try socket.value(of: .keyLength) == .integer(key))
            try await until("the session knows") { bench.server.sessions.first?.isEncrypted == true }
            try await socket.send(all: Sample.stream(0..<20))
            let stream = try await bench.stream("one", in: "secret")
            try await until("frames were decrypted") {
                try await stream.home.submit { stream.snapshot().counters.videoFrames > 10 }.get()
            }
            await #expect(throws: Rejected.self) {
                try await bench.connect("#!::r=secret/two") { try $0.set(.passphrase, to: .text("wrong horse!")) }
            }
            await #expect(throws: Rejected.self) { try await bench.connect("#!::r=secret/two") }
            await #expect(throws: Rejected.self) {
                try await bench.connect("#!::r=secret/own") { try $0.set(.passphrase, to: .text("correct horse")) }
            }
            let own = try await bench.connect("#!::r=secret/own") {
                try $0.set(.passphrase, to: .text("battery staple"))
            }
            #expect(own.isEncrypted)
            own.close()
            // Another stream is as open as ever.
            try await bench.connect("#!::r=open/two").close()
        }
    }

    @Test("An operator ends a session, and the peer's connection is over")
    func kick() async throws {
        try await Bench.with { bench in
            let player = try await bench.connect("live/one")
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await until("both are there") {
                bench.registry.totals().publishers == 1 && bench.registry.totals().playerCount == 1
            }
            for session in bench.registry.list(SessionFilter(), limit: 2) {
                #expect(bench.registry.kick(session.account.id, reason: "go"))
            }
            try await until("both are gone") { player.isOver && publisher.isOver }
            #expect(bench.registry.counts.ends[.kicked] == 2)
            try await until("nothing is open") { bench.server.totals.open == 0 }
        }
    }

    @Test("A player gets all that was sent before its stream ended, and is then told that it is over")
    func end() async throws {
        var live = LiveStreamSettings()
        live.publish.grace = .zero
        try await Bench.with(live: live) { bench in
            // Longer than anything else would wait.
            let player = try await bench.connect("live/one") { try $0.set(.receiveLatency, to: .integer(800)) }
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await until("the publisher is there") { bench.registry.totals().publishers == 1 }
            try await publisher.send(all: Sample.stream(0..<21))
            try await until("everything left") { publisher.unacknowledgedBytes == 0 }
            // What is within its latency here when the connection ends is read all the same.
            publisher.close()
            let bytes = try await player.receive { _ in false }
            #expect(Sample.payloads(of: bytes).video.count == 21)
            #expect(player.isOver)
            try await until("the session is gone") { bench.server.totals.open == 0 }
            #expect(bench.registry.counts.ends[.streamEnded] == 1 && bench.registry.counts.ends[.left] == 1)
        }
    }

    @Test("A publisher that sends no frames, or nothing at all, is ended")
    func silence() async throws {
        try await Bench.with { configuration in
            configuration.firstMediaTimeout = .seconds(4)
            configuration.idleTimeout = .seconds(1)
        } _: { bench in
            let silent = try await bench.connect("#!::r=live/silent,m=publish")
            let noisy = try await bench.connect("#!::r=live/noisy,m=publish")
            var silentEnd: Int?
            var sent = 0
            try await until("both are gone") {
                sent += 1
                try? await noisy.send(all: ByteBuffer(repeating: 1, count: 1_316))
                if silentEnd == nil, silent.isOver { silentEnd = sent }
                return noisy.isOver && silent.isOver
            }
            #expect((silentEnd ?? .max) < sent)
            #expect(bench.registry.counts.ends[.failed] == 2)
        }
    }

    @Test("How the network treats a session is told once a second")
    func statistics() async throws {
        try await Bench.with { bench in
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await publisher.send(all: Sample.stream(0..<50))
            try await until("the session has figures") {
                bench.registry.list(SessionFilter(), limit: 1).first?.account.path?.receivedPackets ?? 0 > 20
            }
            let path = try #require(bench.registry.list(SessionFilter(), limit: 1).first?.account.path)
            #expect(path.roundTripMillis > 0 && path.receiveLatencyMillis >= 50 && path.receiveLoss == 0)
            #expect(bench.server.totals.receivedPackets == path.receivedPackets)
            publisher.close()
            try await until("the session is over") { bench.server.totals.open == 0 }
            #expect(bench.server.totals.receivedPackets >= path.receivedPackets)
        }
    }

    @Test("A publisher that goes on with packets and sends no frames any more is ended")
    func stuffing() async throws {
        try await Bench.with { configuration in
            configuration.idleTimeout = .seconds(1)
        } _: { bench in
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await publisher.send(all: Sample.stream(0..<20))
            // Packets of nothing (PID 0x1FFF).
            var stuffing = ByteBuffer()
            for _ in 0..<7 {
                stuffing.writeMultipleIntegers(UInt8(0x47), UInt16(0x1FFF), UInt8(0x10))
                stuffing.writeRepeatingByte(0xFF, count: 184)
            }
            try await until("it is gone") {
                try? await publisher.send(all: stuffing)
                return publisher.isOver
            }
            #expect(bench.registry.counts.ends[.failed] == 1)
        }
    }

    @Test("The figures of a session that ends at once are counted")
    func shortSessions() async throws {
        try await Bench.with { bench in
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await until("it publishes") { bench.registry.totals().publishers == 1 }
            try await publisher.send(all: Sample.stream(0..<20))
            try await until("all has arrived") { publisher.unacknowledgedBytes == 0 }
            let session = try #require(bench.registry.list(SessionFilter(), limit: 1).first)
            #expect(bench.registry.kick(session.account.id, reason: "go"))
            try await until("it is over") { bench.server.totals.open == 0 }
            #expect(bench.server.totals.receivedPackets >= 15)
        }
    }

    /// Where a player can start: in front of the tables of programs.
    private static func starts(in stream: ByteBuffer) -> [Int] {
        stride(from: 0, to: stream.readableBytes, by: 188).filter { offset in
            stream.getInteger(at: offset + 1, as: UInt16.self).map { $0 & 0x5FFF } == 0x4000
        }
    }

    @Test("The packets of another publisher take the place of the first one's, from a place to start on")
    func passthroughTakeover() async throws {
        try await Bench.with { bench in
            let player = try await bench.connect("live/one")
            try await until("the player is there") { bench.registry.totals().playerCount == 1 }
            let key = try await bench.stream("one").key
            let table = bench.server.audiences
            let (old, new) = (Sample.stream(0..<20), Sample.stream(10..<40))
            let half = try #require(old.getSlice(at: 0, length: old.readableBytes / 376 * 188))
            // Begins in the midst of a picture.
            let later = try #require(new.getSlice(at: 5 * 188, length: new.readableBytes - 5 * 188))
            let start = try #require(Self.starts(in: later).first)
            var first = SRTPassage(table: table, key: key, publisher: 1)
            // A player that joins after this begins with it all the same; the others follow when it has come.
            let seated = min(half.readableBytes, try #require(Self.starts(in: old).dropFirst().first))
            first.pass(try #require(half.getSlice(at: 0, length: seated)))
            var bytes = try await player.receive { $0.readableBytes >= seated }
            first.pass(try #require(half.getSlice(at: seated, length: half.readableBytes - seated)))
            var second = SRTPassage(table: table, key: key, publisher: 2)
            first.pass(
                try #require(old.getSlice(at: half.readableBytes, length: old.readableBytes - half.readableBytes)))
            second.pass(later)
            // Its end changes nothing any more.
            first.end()
            #expect(table.isPassing(key))
            var expected = half
            expected.writeImmutableBuffer(try #require(later.getSlice(at: start, length: later.readableBytes - start)))
            let left = expected.readableBytes - seated
            let rest = try await player.receive { $0.readableBytes >= left }
            bytes.writeImmutableBuffer(rest)
            #expect(bytes == expected)
            second.end()
            #expect(!table.isPassing(key))
        }
    }

    @Test("Packets of a publisher reach players as they came, if so set")
    func passthrough() async throws {
        try await Bench.with { configuration in
            configuration.settings = { _, _, _ in
                var settings = SRTStreamSettings()
                settings.passesThrough = true
                return settings
            }
        } _: { bench in
            let publisher = try await bench.connect("#!::r=live/one,m=publish")
            try await until("the publisher is there") { bench.registry.totals().publishers == 1 }
            let player = try await bench.connect("live/one")
            try await until("the player is there") { bench.registry.totals().playerCount == 1 }
            let sent = Sample.stream(0..<30)
            // A player that joins after this begins with it all the same; the others follow when it has come.
            let seated = try #require(Self.starts(in: sent).dropFirst().first)
            let left = sent.readableBytes - seated
            try await publisher.send(all: try #require(sent.getSlice(at: 0, length: seated)))
            var bytes = try await player.receive { $0.readableBytes >= seated }
            try await publisher.send(all: try #require(sent.getSlice(at: seated, length: left)))
            let rest = try await player.receive { $0.readableBytes >= left }
            bytes.writeImmutableBuffer(rest)
            #expect(bytes == sent)
        }
    }

    @Test("A listener that cannot be bound says so, and leaves nothing behind")
    func busyPort() async throws {
        try await Bench.with { bench in
            let port = try #require(bench.address.port)
            await #expect(throws: SRTError.self) {
                try await Bench.with {
                    $0.listeners = [SRTListenAddress(host: "127.0.0.1", port: port)]
                    try $0.options.set(.reuseAddress, to: .flag(false))
                } _: { _ in
                }
            }
        }
    }
}
