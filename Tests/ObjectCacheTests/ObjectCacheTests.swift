import Media
import MediaObjects
import NIOCore
import Synchronization
import Testing

@testable import ObjectCache

private let segment = MediaObjectName.segment(.video, epoch: 1, sequence: 5)

@Suite("the cache in front of an origin", .timeLimit(.minutes(1))) struct OriginTests {
    @Test("a thousand requests for each of some objects cost the origin one request for each")
    func singleFlight() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            let body = request.target.contains(".m3u8") ? playlistText(10, 3, target: 60) : "body of \(request.target)"
            let message = FakeOrigin.message("200 OK", [("Content-Length", "\(body.utf8.count)")], "")
            return .slow(message, .milliseconds(50), ByteBuffer(string: body))
        }
        try await withOrigin(answers) { origin, bench in
            let names: [MediaObjectName] = [
                .playlist(.video), .initialization(.video, epoch: 1, index: 0), segment,
                .part(.video, epoch: 1, sequence: 6, part: 0), .key(epoch: 1, index: 0),
            ]
            var futures: [EventLoopFuture<MediaObjectAnswer>] = []
            for _ in 0..<1_000 { for name in names { futures.append(bench.future(bench.request(name))) } }
            for (index, future) in futures.enumerated() {
                let word = Bench.word(try await future.get())
                let name = names[index % names.count]
                let expected =
                    name == .playlist(.video) ? playlistText(10, 3, target: 60) : "body of /live/game/\(name.fileName)"
                guard word == expected else {
                    Issue.record("\(name) is \(word)")
                    break
                }
            }
            #expect(origin.requests.count == 5)
            #expect(origin.counts.values.allSatisfy { $0 == 1 })
            let statistics = bench.cache.statistics
            #expect(statistics.misses == 5)
            #expect(statistics.waits + statistics.hits == 4_995)
            #expect([statistics.flights, statistics.waiters, statistics.objects] == [0, 0, 5])
        }
    }

    @Test("the request names its node, its hops and the cluster's secret, and asks for no coding")
    func headers() async throws {
        try await withOrigin({ _ in .ok("s") }) { origin, bench in
            var request = bench.request(segment)
            request.hops = 1
            _ = try await bench.future(request).get()
            let headers = try #require(origin.requests.first).headers
            #expect(headers["weir-node"] == "edge-1")
            #expect(headers["weir-hops"] == "2")
            #expect(headers["authorization"] == "Bearer top")
            #expect(headers["accept-encoding"] == nil)
            #expect(headers["host"] == "127.0.0.1:\(origin.port)")
            request.hops = 4
            try await bench.expect(bench.future(request), "503")
            #expect(origin.requests.count == 1)
        }
    }

    @Test("what the origin says of an object comes with it, and text gets its gzip form here")
    func metadata() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            request.target.hasSuffix(".m3u8")
                ? .ok(
                    playlistText(10, 40, target: 60), [("ETag", "\"p-1\""), ("Cache-Control", "max-age=0, s-maxage=2")])
                : .ok("1234", [("ETag", "\"s-1\""), ("Content-Type", "video/x"), ("Age", "7")])
        }
        try await withOrigin(answers) { _, bench in
            let playlist = try #require(try await bench.object(.playlist(.video)))
            #expect(playlist.etag == "p-1")
            #expect(playlist.lifetime == .seconds(2))
            #expect(playlist.contentType == "application/vnd.apple.mpegurl")
            let gzip = try #require(playlist.gzip)
            #expect(Array(gzip.readableBytesView.prefix(2)) == [0x1F, 0x8B])
            let object = try #require(try await bench.object(segment))
            #expect(object.contentType == "video/x")
            #expect(object.etag == "s-1")
            #expect(object.lifetime == .immutable)
            #expect(object.gzip == nil)
            let age = NIODeadline.now() - (try #require(object.storedAt))
            #expect((TimeAmount.seconds(7)...(.seconds(9))).contains(age))
        }
    }

    @Test("two thousand blocked reloads are one request, and released at once by its answer")
    func release() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            let body = playlistText(10, 40)
            let head = FakeOrigin.message("200 OK", [("Content-Length", "\(body.utf8.count)")], "")
            return .held(head, ByteBuffer(string: body))
        }
        try await withOrigin(answers) { origin, bench in
            var delays: [TimeAmount] = []
            for round in 0..<3 where delays.allSatisfy({ $0 >= .milliseconds(500) }) {
                let query = MediaObjectQuery(sequence: UInt64(47 + round), rewindSeconds: round + 1)
                let request = bench.request(.playlist(.video), query)
                let latest = Mutex(NIODeadline.uptimeNanoseconds(0))
                let futures = (0..<2_000).map { _ in
                    bench.future(request).map { answer -> Bool in
                        latest.withLock { $0 = max($0, .now()) }
                        if case .object = answer { return true } else { return false }
                    }
                }
                try await expectEventually { origin.heldCount == 1 }
                origin.release()
                var released = 0
                for future in futures where try await future.get() { released += 1 }
                #expect(released == 2_000)
                #expect(origin.requests.count == round + 1)
                delays.append(latest.withLock { $0 } - origin.lastWrite)
            }
            // The best of three: the machine may be busy.
            let best = try #require(delays.min())
            #expect(best < .milliseconds(500), "the last of 2,000 was released after \(delays)")
        }
    }

    @Test("an unchanged playlist is not sent again")
    func notModified() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            request.headers["if-none-match"] == "\"v1\""
                ? .bytes(FakeOrigin.message("304 Not Modified", [("ETag", "\"v1\"")], ""))
                : .ok("<MPD/>", [("ETag", "\"v1\""), ("Cache-Control", "s-maxage=1")])
        }
        try await withOrigin(answers) { origin, bench in
            try await bench.expect(.manifest, "<MPD/>")
            try await bench.expect(.manifest, "<MPD/>")
            #expect(origin.requests.count == 1)
            try await Task.sleep(nanoseconds: 1_050_000_000)
            try await bench.expect(.manifest, "<MPD/>")
            #expect(origin.requests.count == 2)
            #expect(bench.cache.statistics.fetchedBytes == 6)
        }
    }
}

@Suite("the cache and origins that misbehave", .timeLimit(.minutes(1))) struct HostileOriginTests {
    /// By name, so that a failure says which.
    private static let bombs: [String: FakeOrigin.Answer] = {
        let many = (0..<2_000).map { ("X-\($0)", "y") }
        let long = [("X-Long", String(repeating: "y", count: 1 << 20))]
        let answers: [(String, FakeOrigin.Answer)] = [
            ("many headers", .ok("s", many)), ("a long header", .ok("s", long)),
            ("no length", .bytesAndClose(FakeOrigin.message("200 OK", [], "half a segment"))),
            ("a body cut short", .bytesAndClose(FakeOrigin.message("200 OK", [("Content-Length", "10")], "half"))),
            (
                "chunks cut short",
                .bytesAndClose(
                    FakeOrigin.message("200 OK", [("Transfer-Encoding", "chunked")], "4\r\nhalf\r\n"))
            ),
            (
                "a broken chunk",
                .bytes(
                    FakeOrigin.message("200 OK", [("Transfer-Encoding", "chunked")], "zz\r\nhalf\r\n"))
            ),
            (
                "two lengths",
                .bytes(
                    FakeOrigin.message("200 OK", [("Content-Length", "4"), ("Content-Length", "5")], "half"))
            ),
            ("a negative length", .bytes(FakeOrigin.message("200 OK", [("Content-Length", "-4")], "half"))),
            ("a coding", .ok("s", [("Content-Encoding", "gzip")])),
            ("a redirect", .status("302 Found", [("Location", "http://127.0.0.1:1/x")])),
            ("a range", .status("206 Partial Content")), ("nothing", .status("204 No Content")),
            ("no HTTP", .bytesAndClose(ByteBuffer(string: "SSH-2.0-x\r\n\r\n"))),
            ("the end", .bytesAndClose(ByteBuffer())), ("an error", .status("500 Internal Server Error")),
            ("an unasked 304", .bytes(FakeOrigin.message("304 Not Modified", [], ""))),
        ]
        return Dictionary(uniqueKeysWithValues: answers)
    }()

    @Test(
        "none of it is passed on, kept, or believed: 503, and a second later the object is there",
        arguments: HostileOriginTests.bombs.keys.sorted())
    func bomb(name: String) async throws {
        let bomb = try #require(Self.bombs[name])
        let isBad = Mutex(true)
        try await withOrigin(
            { _ in isBad.withLock { $0 } ? bomb : .ok("good") }, { $0.negativeLifetime = .milliseconds(900) }
        ) {
            origin, bench in
            try await bench.expect(segment, "503")
            isBad.withLock { $0 = false }
            let first = origin.requests.count
            try await bench.expect(segment, "503")
            #expect(origin.requests.count == first)
            try await expectEventually { try await bench.word(segment) == "good" }
            #expect(bench.cache.statistics.objects == 1)
        }
    }

    @Test("more bytes than announced are not the object's, and spoil no other answer")
    func tooMany() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            request.target.contains("-5.m4s")
                ? .bytes(FakeOrigin.message("200 OK", [("Content-Length", "4")], "goodHTTP/1.1 200 OK\r\n\r\nevil"))
                : .ok("other")
        }
        try await withOrigin(answers) { _, bench in
            let first = try await bench.word(segment)
            #expect(first == "good" || first == "503")
            for sequence in 6..<20 {
                try await bench.expect(.segment(.video, epoch: 1, sequence: UInt64(sequence)), "other")
            }
        }
    }

    @Test("what calls itself a playlist and is none is not kept")
    func noPlaylist() async throws {
        try await withOrigin({ _ in .ok("<html>") }) { _, bench in
            try await bench.expect(.playlist(.video), "503")
            #expect(bench.cache.statistics.objects == 0)
        }
    }

    @Test("a frozen origin costs those who wait the deadline, all of them once")
    func frozen() async throws {
        try await withOrigin({ _ in .silence }, { $0.headDeadline = .milliseconds(300) }) { origin, bench in
            let start = NIODeadline.now()
            let futures = (0..<100).map { _ in bench.future(bench.request(segment)) }
            for future in futures { try await bench.expect(future, "503") }
            let passed = NIODeadline.now() - start
            #expect(passed >= .milliseconds(300) && passed < .seconds(3))
            #expect(origin.requests.count == 1)
            #expect(bench.cache.statistics.waiters == 0)
            // The connection is not used again.
            try await expectEventually { origin.connections == 0 }
        }
    }

    @Test("a body that trickles or stops ends at its deadline and is not kept")
    func slowBody() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { _ in
            .slow(FakeOrigin.message("200 OK", [("Content-Length", "9")], "half"), .seconds(20), ByteBuffer())
        }
        try await withOrigin(answers, { $0.bodyDeadline = .milliseconds(300) }) { origin, bench in
            let start = NIODeadline.now()
            try await bench.expect(segment, "503")
            #expect(NIODeadline.now() - start < .seconds(3))
            #expect(bench.cache.statistics.objects == 0)
            try await expectEventually { origin.connections == 0 }
        }
    }

    @Test("an origin that is not there fails at once, and no second request is made within the second")
    func refused() async throws {
        let origin = FakeOrigin { _ in .ok("s") }
        try await origin.start()
        let upstream = origin.upstream()
        try await origin.kill()
        let resolver = ObjectCacheResolver(upstreams: { _, _ in .upstreams([upstream]) })
        try await withCache(resolver, { $0.negativeLifetime = .seconds(20) }) { bench in
            let start = NIODeadline.now()
            try await bench.expect(segment, "503")
            #expect(NIODeadline.now() - start < .seconds(2))
            for _ in 0..<100 { try await bench.expect(segment, "503") }
            #expect(bench.cache.statistics.misses == 1)
            #expect(bench.cache.statistics.negatives == 100)
        }
        #expect(ObjectCacheConfiguration(node: "a", secret: "").negativeLifetime == .seconds(1))
    }

    @Test("a kept connection that the origin closes under the request is no failure")
    func closedUnderneath() async throws {
        try await withOrigin({ _ in .ok("s") }) { origin, bench in
            for sequence in 0..<20 {
                try await bench.expect(.segment(.video, epoch: 1, sequence: UInt64(sequence)), "s")
                let port = origin.port
                try await origin.kill()
                try await origin.start(port: port)
            }
            #expect(bench.cache.statistics.errors == 0)
        }
    }
}

@Suite("large objects and streams", .timeLimit(.minutes(1))) struct PassThroughTests {
    private func drain(_ object: MediaObject) async throws -> (count: Int, length: Int64?)? {
        guard case .stream(let length, let next) = object.body else { return nil }
        var count = 0
        while let chunk = try await next() { count += chunk.readableBytes }
        return (count, length)
    }

    @Test("an object over the limit is passed through whole to each who asked, and not kept")
    func oversized() async throws {
        let body = ByteBuffer(repeating: 7, count: 3 << 20)
        try await withOrigin({ _ in .ok(body) }, { $0.maximumObjectBytes = 1 << 20 }) { origin, bench in
            let futures = (0..<3).map { _ in bench.future(bench.request(segment)) }
            for future in futures {
                guard case .object(let object) = try await future.get() else {
                    Issue.record("no object")
                    return
                }
                let drained = try #require(try await self.drain(object))
                #expect(drained.count == 3 << 20)
                #expect(drained.length == 3 << 20)
            }
            #expect(origin.requests.count == 4)
            #expect(bench.cache.statistics.objects == 0)
            let later = try #require(try await bench.object(segment))
            _ = try await self.drain(later)
            #expect(origin.requests.count == 5)
            try await expectEventually { bench.cache.statistics.passThroughs == 0 }
        }
    }

    @Test("so is one whose length is told by nobody and grows over the limit")
    func chunked() async throws {
        var body = ByteBuffer(string: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in 0..<64 {
            body.writeString("8000\r\n")
            body.writeRepeatingByte(7, count: 0x8000)
            body.writeString("\r\n")
        }
        body.writeString("0\r\n\r\n")
        let message = body
        try await withOrigin({ _ in .bytes(message) }, { $0.maximumObjectBytes = 1 << 20 }) { _, bench in
            let object = try #require(try await bench.object(segment))
            let drained = try #require(try await self.drain(object))
            #expect(drained.count == 2 << 20)
            #expect(drained.length == nil)
        }
    }

    @Test("a viewer who takes nothing stops the origin; one who leaves ends the request")
    func backPressure() async throws {
        let head = FakeOrigin.message("200 OK", [("Content-Length", "1099511627776")], "")
        let chunk = ByteBuffer(repeating: 7, count: 1 << 20)
        try await withOrigin({ _ in .endless(head: head, chunk: chunk) }) { origin, bench in
            var object = try await bench.object(.recording(.file(from: 0, to: 1)))
            guard case .stream(_, let next)? = object?.body else {
                Issue.record("no stream")
                return
            }
            object = nil
            var taken = 0
            for _ in 0..<10 { taken += try await next()?.readableBytes ?? 0 }
            #expect(taken > 0)
            try await expectEventually {
                let before = origin.written
                try await Task.sleep(nanoseconds: 300_000_000)
                return origin.written == before
            }
            #expect(origin.written < 64 << 20)
            #expect(bench.cache.statistics.passThroughs == 1)
        }
    }

    @Test("when the viewer lets go of a stream, the connection to the origin ends and its place is free")
    func letGo() async throws {
        let head = FakeOrigin.message("200 OK", [("Content-Length", "1099511627776")], "")
        let chunk = ByteBuffer(repeating: 7, count: 1 << 20)
        try await withOrigin({ _ in .endless(head: head, chunk: chunk) }, { $0.maximumPassThroughs = 1 }) {
            origin, bench in
            for _ in 0..<3 {
                do {
                    let object = try #require(try await bench.object(.recording(.file(from: 0, to: 1))))
                    guard case .stream(_, let next) = object.body else {
                        Issue.record("no stream")
                        return
                    }
                    let chunk = try await next()
                    #expect(chunk != nil)
                    try await bench.expect(.recording(.file(from: 0, to: 2)), "503")
                }
                try await expectEventually { origin.connections == 0 && bench.cache.statistics.passThroughs == 0 }
            }
        }
    }

    @Test("a stream that breaks off throws, so that nobody takes it for whole")
    func broken() async throws {
        let answer = FakeOrigin.Answer.bytesAndClose(
            FakeOrigin.message("200 OK", [("Content-Length", "100")], "half"))
        try await withOrigin({ _ in answer }) { _, bench in
            let object = try #require(try await bench.object(.recording(.file(from: 0, to: 1))))
            await #expect(throws: (any Error).self) { _ = try await self.drain(object) }
        }
    }
}
