import Media
import MediaObjects
import NIOCore
import Testing

@testable import ObjectCache

/// A table with numbered waiters on two loops, and a clock of its own.
struct Bench {
    final class Loop: Sendable {}

    var table: CacheTable<Int>
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    var nextWaiter = 0
    let loops = [Loop(), Loop()]
    let key: StreamKey

    init(_ change: (inout ObjectCacheConfiguration) -> Void = { _ in }) throws {
        var configuration = ObjectCacheConfiguration(node: "edge")
        change(&configuration)
        try configuration.validate()
        self.table = CacheTable(configuration: configuration)
        self.key = try StreamKey(app: "live", name: "game")
    }

    func request(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) -> MediaObjectRequest {
        MediaObjectRequest(key: self.key, name: name, query: query)
    }

    mutating func ask(_ request: MediaObjectRequest, loop: Int = 0) -> CacheTable<Int>.Decision {
        let waiter = self.nextWaiter
        var isUsed = false
        let decision = self.table.request(request, loop: ObjectIdentifier(self.loops[loop]), now: self.now) {
            isUsed = true
            return waiter
        }
        if isUsed { self.nextWaiter += 1 }
        return decision
    }

    /// In one word what the table decided: `fetch`, `wait`, `pass`, or the answer.
    mutating func word(_ request: MediaObjectRequest, loop: Int = 0) -> String {
        switch self.ask(request, loop: loop) {
        case .fetch: "fetch"
        case .wait: "wait"
        case .passThrough: "pass"
        case .answer(let answer): Self.word(answer)
        }
    }

    mutating func word(_ name: MediaObjectName, _ query: MediaObjectQuery = MediaObjectQuery()) -> String {
        self.word(self.request(name, query))
    }

    mutating func complete(_ request: MediaObjectRequest, _ result: FetchResult) -> String {
        switch self.table.complete(request.canonical, result, now: self.now) {
        case .release(let answer, let waiters): "\(Self.word(answer)) to \(waiters.values.map(\.count).reduce(0, +))"
        case .retry(let pause, _): "retry after \(pause.nanoseconds / 1_000_000)"
        case .split(_, let waiters): "split \(waiters.values.map(\.count).reduce(0, +))"
        }
    }

    /// Asks for an object that is not there and lets it arrive.
    mutating func load(_ request: MediaObjectRequest, _ result: FetchResult) -> String {
        let first = self.word(request)
        return first == "fetch" ? self.complete(request, result) : "no fetch: \(first)"
    }

    mutating func pass(milliseconds: Int64) { self.now = self.now + .milliseconds(milliseconds) }

    static func word(_ answer: MediaObjectAnswer) -> String {
        switch answer {
        case .object(let object):
            if case .bytes(let bytes) = object.body { String(buffer: bytes) } else { "body" }
        case .notFound: "404"
        case .badRequest: "400"
        case .forbidden: "403"
        case .conflict: "409"
        case .unavailable: "503"
        }
    }

    func object(
        _ text: String, _ lifetime: MediaObject.Lifetime = .immutable, etag: String? = "tag", gzip: Int = 0
    ) -> FetchResult {
        .object(
            MediaObject(
                body: .bytes(ByteBuffer(string: text)), gzip: gzip > 0 ? ByteBuffer(repeating: 0, count: gzip) : nil,
                contentType: "x/y", etag: etag, lifetime: lifetime, storedAt: self.now), nil)
    }

    /// A playlist named after its position: `m10e13p2`.
    func playlist(_ sequence: UInt64, _ count: UInt64, parts: Int = 0, isEnded: Bool = false) -> FetchResult {
        var facts = PlaylistFacts()
        facts.mediaSequence = sequence
        facts.segmentCount = count
        facts.openParts = parts
        facts.targetSeconds = 2
        facts.partTargetSeconds = 0.2
        facts.isEnded = isEnded
        return .object(
            MediaObject(
                body: .bytes(ByteBuffer(string: "m\(sequence)e\(sequence + count)p\(parts)")), contentType: "x/y",
                etag: "\(sequence)-\(count)-\(parts)", lifetime: .seconds(0.2), storedAt: self.now), facts)
    }
}

@Suite("cache table: one flight for each object") struct SingleFlightTests {
    @Test("a thousand requests are one fetch, all are released, later ones are hits")
    func single() throws {
        var bench = try Bench()
        let request = bench.request(.segment(.video, epoch: 7, sequence: 1))
        #expect(bench.word(request) == "fetch")
        for index in 1..<1_000 { #expect(bench.word(request, loop: index % 2) == "wait") }
        #expect(bench.table.statistics.waiters == 1_000)
        guard
            case .release(let answer, let waiters) = bench.table.complete(request, bench.object("s"), now: bench.now)
        else {
            Issue.record("not released")
            return
        }
        #expect(Bench.word(answer) == "s")
        #expect(waiters.count == 2)
        #expect(waiters.values.map(\.count) == [500, 500])
        #expect(waiters.values.joined().sorted() == Array(0..<1_000))
        #expect(bench.word(request) == "s")
        let statistics = bench.table.statistics
        #expect([statistics.misses, statistics.waits, statistics.hits, statistics.fetched] == [1, 999, 1, 1])
        #expect([statistics.waiters, statistics.flights, statistics.objects, statistics.fetchedBytes] == [0, 0, 1, 1])
    }

    @Test("queries that do not change an object share it; those that do, do not")
    func keys() throws {
        var bench = try Bench()
        let blocking = MediaObjectQuery(sequence: 5, part: 1)
        #expect(bench.word(.segment(.video, epoch: 7, sequence: 1), blocking) == "fetch")
        #expect(bench.word(.segment(.video, epoch: 7, sequence: 1)) == "wait")
        #expect(bench.word(.multivariant, MediaObjectQuery(skip: .segments)) == "fetch")
        #expect(bench.word(.multivariant) == "wait")
        #expect(bench.word(.multivariant, MediaObjectQuery(rewindSeconds: 60)) == "fetch")
        #expect(bench.word(.playlist(.video)) == "fetch")
        #expect(bench.word(.playlist(.video), blocking) == "fetch")
        #expect(bench.word(.playlist(.video), MediaObjectQuery(sequence: 5, part: 2)) == "fetch")
        #expect(bench.word(.playlist(.video), MediaObjectQuery(skip: .segments)) == "fetch")
        #expect(bench.word(.playlist(.video), MediaObjectQuery(rewindSeconds: 60)) == "fetch")
        #expect(bench.word(.playlist(.audio)) == "fetch")
        #expect(bench.word(.playlist(.video), blocking) == "wait")
    }

    @Test("a failure fails all that wait, once, and is remembered for its second")
    func failure() throws {
        var bench = try Bench()
        let request = bench.request(.segment(.video, epoch: 7, sequence: 1))
        #expect(bench.word(request) == "fetch")
        #expect(bench.word(request) == "wait")
        #expect(bench.complete(request, .failed("x")) == "503 to 2")
        #expect(bench.word(request) == "503")
        bench.pass(milliseconds: 999)
        #expect(bench.word(request) == "503")
        bench.pass(milliseconds: 1)
        #expect(bench.load(request, .notFound("x")) == "404 to 1")
        #expect(bench.word(request) == "404")
        bench.pass(milliseconds: 1_000)
        #expect(bench.load(request, bench.object("s")) == "s to 1")
        #expect(bench.table.statistics.negatives == 3)
        #expect(bench.table.statistics.errors == 1)
        #expect(bench.table.statistics.notFound == 1)
    }

    @Test("a segment that was asked for too early is asked for again once a playlist or a manifest came")
    func tooEarly() throws {
        var bench = try Bench()
        let segment = bench.request(.segment(.video, epoch: 7, sequence: 9))
        let others = [bench.request(.segment(.video, epoch: 7, sequence: 8)), bench.request(.playlist(.audio))]
        for name in [MediaObjectName.playlist(.video), .manifest] {
            #expect(bench.load(segment, .notFound("x")) == "404 to 1")
            #expect(bench.load(others[0], .failed("x")) == "503 to 1")
            #expect(bench.load(others[1], .notFound("x")) == "404 to 1")
            bench.pass(milliseconds: 300)
            #expect(bench.word(segment) == "404")
            let playlist = bench.request(name)
            #expect(bench.load(playlist, bench.object("new")) == "new to 1")
            #expect(bench.load(segment, .notFound("x")) == "404 to 1")
            #expect(bench.word(segment) == "404")
            // What failed otherwise, and what is no media, is no concern of the playlist.
            #expect(others.map { bench.word($0) } == ["503", "404"])
            bench.pass(milliseconds: 5_000)
        }
    }

    @Test("refusals are passed on and remembered like failures")
    func refusals() throws {
        var bench = try Bench()
        for (answer, word) in [
            (MediaObjectAnswer.badRequest("x"), "400"), (.forbidden("x"), "403"), (.conflict("x"), "409"),
        ] {
            #expect(bench.load(bench.request(.key(epoch: 1, index: 1)), .refused(answer)) == "\(word) to 1")
            #expect(bench.word(.key(epoch: 1, index: 1)) == word)
            bench.pass(milliseconds: 1_000)
        }
    }

    @Test("negative answers are bounded; the ones not asked for go first")
    func negativeBound() throws {
        var bench = try Bench { $0.maximumNegatives = 3 }
        for index in 0..<50 {
            let request = bench.request(.segment(.video, epoch: 7, sequence: UInt64(index)))
            #expect(bench.load(request, .notFound("x")) == "404 to 1")
        }
        #expect(bench.table.negativeCount == 3)
        #expect(bench.word(.segment(.video, epoch: 7, sequence: 49)) == "404")
        #expect(bench.word(.segment(.video, epoch: 7, sequence: 46)) == "fetch")
    }

    @Test("flights and waiters are bounded, for each object and together")
    func bounds() throws {
        var bench = try Bench {
            $0.maximumFlights = 2
            $0.maximumWaitersPerObject = 3
            $0.maximumWaiters = 4
        }
        let first = bench.request(.segment(.video, epoch: 7, sequence: 1))
        let second = bench.request(.segment(.video, epoch: 7, sequence: 2))
        let third = bench.request(.segment(.video, epoch: 7, sequence: 3))
        #expect([bench.word(first), bench.word(second), bench.word(third)] == ["fetch", "fetch", "503"])
        #expect([bench.word(first), bench.word(first), bench.word(first)] == ["wait", "wait", "503"])
        #expect(bench.word(second) == "503")
        #expect(bench.table.statistics.refused == 3)
        #expect(bench.complete(first, bench.object("a")) == "a to 3")
        #expect([bench.word(second), bench.word(third)] == ["wait", "fetch"])
    }

    @Test("what is too large is split among those who wait, passed through after that, and looked at again later")
    func oversized() throws {
        var bench = try Bench { $0.maximumPassThroughs = 2 }
        let request = bench.request(.segment(.video, epoch: 7, sequence: 1))
        #expect([bench.word(request), bench.word(request)] == ["fetch", "wait"])
        #expect(bench.complete(request, .tooLarge) == "split 2")
        #expect([bench.word(request), bench.word(request), bench.word(request)] == ["pass", "pass", "503"])
        bench.table.passThroughEnded()
        #expect(bench.table.statistics.passThroughs == 1)
        #expect(bench.word(request) == "pass")
        bench.pass(milliseconds: 60_000)
        #expect(bench.word(request) == "fetch")
        bench.table.passThroughEnded()
        #expect(bench.word(.recording(.file(from: 0, to: 1))) == "pass")
    }

    @Test("closing releases everybody and lets nothing begin; what is stored is still served")
    func close() throws {
        var bench = try Bench()
        let stored = bench.request(.segment(.video, epoch: 7, sequence: 1))
        #expect(bench.load(stored, bench.object("s")) == "s to 1")
        let flying = bench.request(.segment(.video, epoch: 7, sequence: 2))
        #expect([bench.word(flying), bench.word(flying)] == ["fetch", "wait"])
        let ended = bench.table.close(.unavailable("x"))
        #expect(ended.flatMap { $0.1.values.joined() }.count == 2)
        #expect([bench.word(flying), bench.word(stored)] == ["503", "s"])
        #expect(bench.table.statistics.waiters == 0)
    }
}

@Suite("cache table: memory and lifetimes") struct StoringTests {
    @Test("immutable objects stay, others end, what is for one viewer is not kept, but keys are, for a while")
    func lifetimes() throws {
        var bench = try Bench()
        #expect(bench.load(bench.request(.initialization(.video, epoch: 1, index: 0)), bench.object("i")) == "i to 1")
        #expect(bench.load(bench.request(.manifest), bench.object("m", .seconds(1.5))) == "m to 1")
        #expect(bench.load(bench.request(.key(epoch: 1, index: 0)), bench.object("k", .uncacheable)) == "k to 1")
        #expect(bench.load(bench.request(.snapshot), bench.object("p", .uncacheable)) == "p to 1")
        #expect(bench.word(.snapshot) == "fetch")
        bench.pass(milliseconds: 1_499)
        #expect(bench.word(.manifest) == "m")
        bench.pass(milliseconds: 1)
        #expect(bench.word(.manifest) == "fetch")
        bench.pass(milliseconds: 58_499)
        #expect(bench.word(.key(epoch: 1, index: 0)) == "k")
        bench.pass(milliseconds: 1)
        #expect(bench.word(.key(epoch: 1, index: 0)) == "fetch")
        bench.pass(milliseconds: 86_400_000)
        #expect(bench.word(.initialization(.video, epoch: 1, index: 0)) == "i")
    }

    @Test("an object that was old when it came lives shorter, but is not fetched for each request")
    func age() throws {
        var bench = try Bench()
        let object = MediaObject(
            body: .bytes(ByteBuffer(string: "m")), contentType: "x/y", etag: nil, lifetime: .seconds(3),
            storedAt: bench.now - .seconds(2))
        #expect(bench.load(bench.request(.manifest), .object(object, nil)) == "m to 1")
        bench.pass(milliseconds: 1_000)
        var older = object
        older.storedAt = bench.now - .seconds(60)
        #expect(bench.load(bench.request(.manifest), .object(older, nil)) == "m to 1")
        bench.pass(milliseconds: 99)
        #expect(bench.word(.manifest) == "m")
        bench.pass(milliseconds: 1)
        #expect(bench.word(.manifest) == "fetch")
    }

    @Test("the bytes stay within their bound; what was not used for the longest time goes first")
    func eviction() throws {
        var bench = try Bench {
            $0.maximumBytes = 10_240
            $0.maximumObjectBytes = 10_240
        }
        let names = (0..<6).map { MediaObjectName.segment(.video, epoch: 1, sequence: UInt64($0)) }
        let text = String(repeating: "x", count: 1_024)
        for name in names[..<5] { #expect(bench.load(bench.request(name), bench.object(text)) == "\(text) to 1") }
        #expect(bench.table.statistics.bytes == 5 * 2_048)
        #expect(bench.word(names[0]) == text)
        #expect(bench.load(bench.request(names[5]), bench.object(text)) == "\(text) to 1")
        #expect(bench.table.storedKeys.map(\.name) == [names[5], names[0], names[4], names[3], names[2]])
        #expect(bench.table.statistics.evictions == 1)
        #expect(bench.table.statistics.bytes == 5 * 2_048)
        #expect(bench.word(names[1]) == "fetch")
    }

    @Test("both forms of an object count, a replaced one counts once, one that does not fit is not kept")
    func accounting() throws {
        var bench = try Bench {
            $0.maximumBytes = 20_000
            $0.maximumObjectBytes = 20_000
        }
        #expect(
            bench.load(bench.request(.manifest), bench.object("12345678", .seconds(1), gzip: 4_096)) == "12345678 to 1")
        let bytes = bench.table.statistics.bytes
        #expect(bytes >= 1_024 + 8 + 4_096)
        bench.pass(milliseconds: 1_000)
        #expect(
            bench.load(bench.request(.manifest), bench.object("12345678", .seconds(1), gzip: 4_096)) == "12345678 to 1")
        #expect(bench.table.statistics.bytes == bytes)
        bench.pass(milliseconds: 1_000)
        _ = bench.load(bench.request(.manifest), bench.object(String(repeating: "x", count: 20_000), .seconds(1)))
        #expect(bench.table.statistics.bytes == 0)
        #expect(bench.table.statistics.objects == 0)
    }

    @Test("a large object counts twice, as whoever serves it keeps a second form")
    func large() throws {
        var bench = try Bench()
        let text = String(repeating: "x", count: 300_000)
        _ = bench.load(bench.request(.segment(.video, epoch: 1, sequence: 1)), bench.object(text))
        #expect(bench.table.statistics.bytes == 600_000 + 1_024)
    }

    @Test("an expired object is asked for by its validator, and lives on if it has not changed")
    func revalidation() throws {
        var bench = try Bench()
        let request = bench.request(.manifest)
        #expect(bench.load(request, bench.object("m", .seconds(1), etag: "v1")) == "m to 1")
        bench.pass(milliseconds: 1_000)
        guard case .fetch(let order) = bench.ask(request) else {
            Issue.record("no fetch")
            return
        }
        #expect(order.validator == "v1")
        #expect(bench.complete(request, .notModified) == "m to 1")
        bench.pass(milliseconds: 999)
        #expect(bench.word(request) == "m")
        #expect(bench.table.statistics.hits == 1)
    }

    @Test("if the object was evicted meanwhile it is fetched without a condition")
    func evictedDuringRevalidation() throws {
        var bench = try Bench {
            $0.maximumBytes = 4_000
            $0.maximumObjectBytes = 4_000
        }
        let request = bench.request(.manifest)
        #expect(bench.load(request, bench.object("m", .seconds(1), etag: "v1")) == "m to 1")
        bench.pass(milliseconds: 1_000)
        #expect(bench.word(request) == "fetch")
        _ = bench.load(
            bench.request(.segment(.video, epoch: 1, sequence: 1)), bench.object(String(repeating: "x", count: 2_048)))
        guard case .retry(let pause, let order) = bench.table.complete(request, .notModified, now: bench.now) else {
            Issue.record("no retry")
            return
        }
        #expect(pause == .nanoseconds(0))
        #expect(order.validator == nil)
        #expect(bench.complete(request, bench.object("n", .seconds(1))) == "n to 1")
    }
}
