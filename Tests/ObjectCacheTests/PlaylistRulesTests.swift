import MediaObjects
import NIOCore
import Testing

@testable import ObjectCache

@Suite("cache table: blocking playlist requests") struct BlockingTests {
    private func blocking(_ sequence: UInt64, _ part: Int? = nil) -> MediaObjectQuery {
        MediaObjectQuery(sequence: sequence, part: part)
    }

    @Test("one wait for each segment and part; what it brings is the playlist for everybody")
    func shared() throws {
        var bench = try Bench()
        let request = bench.request(.playlist(.video), self.blocking(13, 1))
        #expect(bench.word(request) == "fetch")
        for _ in 0..<500 { #expect(bench.word(request) == "wait") }
        #expect(bench.complete(request, bench.playlist(10, 3, parts: 2)) == "m10e13p2 to 501")
        #expect(bench.word(request) == "m10e13p2")
        #expect(bench.word(.playlist(.video)) == "m10e13p2")
        #expect(bench.word(.playlist(.video), self.blocking(13, 0)) == "m10e13p2")
        #expect(bench.word(.playlist(.video), self.blocking(12)) == "m10e13p2")
        #expect(bench.word(.playlist(.video), self.blocking(13, 2)) == "fetch")
        #expect(bench.word(.playlist(.video), self.blocking(13)) == "fetch")
        #expect(bench.word(.playlist(.audio), self.blocking(13, 1)) == "fetch")
        #expect(bench.table.statistics.objects == 1)
    }

    @Test("a playlist beyond its lifetime answers no blocking request, though it contains what is waited for")
    func expired() throws {
        var bench = try Bench()
        _ = bench.load(bench.request(.playlist(.video)), bench.playlist(10, 3))
        bench.pass(milliseconds: 199)
        #expect(bench.word(.playlist(.video), self.blocking(12)) == "m10e13p0")
        bench.pass(milliseconds: 1)
        #expect(bench.word(.playlist(.video), self.blocking(12)) == "fetch")
    }

    @Test("the wait is longer than the origin's, and bounded where the target duration is unknown or silly")
    func deadline() throws {
        var bench = try Bench()
        guard case .fetch(let unknown) = bench.ask(bench.request(.playlist(.video), self.blocking(13))),
            case .fetch(let plain) = bench.ask(bench.request(.playlist(.video)))
        else {
            Issue.record("no fetch")
            return
        }
        #expect(unknown.deadline == bench.now + .seconds(20))
        #expect(unknown.validator == nil)
        #expect(plain.deadline == bench.now + .seconds(2))
        _ = bench.complete(plain.request, bench.playlist(10, 3))
        guard case .fetch(let known) = bench.ask(bench.request(.playlist(.video), self.blocking(14))),
            case .fetch(let segment) = bench.ask(bench.request(.segment(.video, epoch: 1, sequence: 1)))
        else {
            Issue.record("no fetch")
            return
        }
        #expect(known.deadline == bench.now + .seconds(7))
        #expect(segment.deadline == bench.now + .seconds(5))
    }

    @Test("while the origin is away those who wait go on waiting, with pauses that grow, until the deadline")
    func originAway() throws {
        var bench = try Bench()
        _ = bench.load(bench.request(.playlist(.video)), bench.playlist(10, 3))
        let request = bench.request(.playlist(.video), self.blocking(13))
        #expect(bench.word(request) == "fetch")
        #expect(bench.complete(request, .failed("x")) == "retry after 250")
        bench.pass(milliseconds: 250)
        #expect(bench.word(request) == "wait")
        #expect(bench.complete(request, .notFound("x")) == "retry after 500")
        bench.pass(milliseconds: 500)
        #expect(bench.complete(request, .failed("x")) == "retry after 1000")
        bench.pass(milliseconds: 1_000)
        #expect(bench.complete(request, .failed("x")) == "retry after 1000")
        bench.pass(milliseconds: 1_000)
        // The new origin's sequence is far beyond what was asked for.
        #expect(bench.complete(request, bench.playlist(100, 1)) == "m100e101p0 to 2")
    }

    @Test("at the deadline they are told, as there is no playlist that has what they asked for")
    func originStaysAway() throws {
        var bench = try Bench()
        _ = bench.load(bench.request(.playlist(.video)), bench.playlist(10, 3))
        let request = bench.request(.playlist(.video), self.blocking(13))
        #expect(bench.word(request) == "fetch")
        bench.pass(milliseconds: 6_750)
        #expect(bench.complete(request, .failed("x")) == "503 to 1")
        #expect(bench.word(request) == "503")
    }

    @Test("a stream that was not live a moment ago is not waited for")
    func unknownStream() throws {
        var bench = try Bench()
        #expect(bench.load(bench.request(.playlist(.video), self.blocking(13)), .notFound("x")) == "404 to 1")
        #expect(bench.load(bench.request(.playlist(.audio), self.blocking(13)), .failed("x")) == "503 to 1")
        #expect(
            bench.load(bench.request(.playlist(.main), self.blocking(99)), .refused(.badRequest("x"))) == "400 to 1")
    }
}

@Suite("cache table: failover and ends") struct FailoverTests {
    @Test("a playlist is served beyond its lifetime while no newer one can be had, without a fetch for each request")
    func stale() throws {
        var bench = try Bench()
        let request = bench.request(.playlist(.video))
        #expect(bench.load(request, bench.playlist(10, 3)) == "m10e13p0 to 1")
        bench.pass(milliseconds: 200)
        #expect(bench.word(request) == "fetch")
        #expect(bench.word(request) == "wait")
        #expect(bench.complete(request, .failed("x")) == "m10e13p0 to 2")
        bench.pass(milliseconds: 249)
        #expect(bench.word(request) == "m10e13p0")
        bench.pass(milliseconds: 1)
        #expect(bench.load(request, .notFound("x")) == "m10e13p0 to 1")
        bench.pass(milliseconds: 499)
        #expect(bench.word(request) == "m10e13p0")
        bench.pass(milliseconds: 1)
        #expect(bench.load(request, bench.playlist(100, 1)) == "m100e101p0 to 1")
        let statistics = bench.table.statistics
        #expect([statistics.stale, statistics.misses, statistics.errors, statistics.notFound] == [5, 4, 1, 1])
    }

    @Test("that ends: then the failure is told, as 404 or as 503, and remembered for a second")
    func staleLimit() throws {
        for (failure, word) in [(FetchResult.failed("x"), "503"), (.notFound("x"), "404")] {
            var bench = try Bench()
            let request = bench.request(.playlist(.video))
            _ = bench.load(request, bench.playlist(10, 3))
            bench.pass(milliseconds: 10_199)
            #expect(bench.load(request, failure) == "m10e13p0 to 1")
            bench.pass(milliseconds: 1_000)
            #expect(bench.load(request, failure) == "\(word) to 1")
            #expect(bench.word(request) == word)
        }
    }

    @Test("manifests, multivariant playlists and pictures are served stale as well; segments and keys are not")
    func staleKinds() throws {
        var bench = try Bench()
        for name in [MediaObjectName.manifest, .multivariant, .snapshot, .info, .recording(.playlist(from: 0, to: 1))] {
            _ = bench.load(bench.request(name), bench.object("old", .seconds(1)))
        }
        _ = bench.load(bench.request(.key(epoch: 1, index: 1)), bench.object("key", .uncacheable))
        bench.pass(milliseconds: 1_000)
        for name in [MediaObjectName.manifest, .multivariant, .snapshot, .info, .recording(.playlist(from: 0, to: 1))] {
            #expect(bench.load(bench.request(name), .failed("x")) == "old to 1")
        }
        bench.pass(milliseconds: 59_000)
        #expect(bench.load(bench.request(.key(epoch: 1, index: 1)), .failed("x")) == "503 to 1")
    }

    @Test("a playlist that goes back is not answered: asked again at once, then the newer one is served stale")
    func regression() throws {
        var bench = try Bench()
        let request = bench.request(.playlist(.video))
        _ = bench.load(request, bench.playlist(10, 3))
        bench.pass(milliseconds: 200)
        #expect(bench.word(request) == "fetch")
        #expect(bench.complete(request, bench.playlist(9, 3)) == "retry after 20")
        #expect(bench.complete(request, bench.playlist(9, 3)) == "m10e13p0 to 1")
        #expect(bench.table.statistics.outdated == 2)
        bench.pass(milliseconds: 250)
        #expect(bench.load(request, bench.playlist(11, 3)) == "m11e14p0 to 1")
    }

    @Test("the same for one that ends earlier, and where nothing is left to be served in its place")
    func regressionWithoutStale() throws {
        var bench = try Bench()
        let request = bench.request(.playlist(.video))
        _ = bench.load(request, bench.playlist(10, 3))
        bench.pass(milliseconds: 20_000)
        #expect(bench.word(request) == "fetch")
        #expect(bench.complete(request, bench.playlist(10, 2)) == "retry after 20")
        #expect(bench.complete(request, bench.playlist(10, 2)) == "503 to 1")
    }

    @Test("after a minute without a better one a playlist that went back is believed")
    func regressionEnds() throws {
        var bench = try Bench()
        let request = bench.request(.playlist(.video))
        _ = bench.load(request, bench.playlist(10, 3))
        bench.pass(milliseconds: 60_000)
        #expect(bench.load(request, bench.playlist(1, 3)) == "m1e4p0 to 1")
    }

    @Test("whole playlists and delta updates are one playlist to a player: neither goes behind the other")
    func deltas() throws {
        var bench = try Bench()
        let whole = bench.request(.playlist(.video))
        let delta = bench.request(.playlist(.video), MediaObjectQuery(skip: .segments))
        #expect(bench.load(whole, bench.playlist(10, 3)) == "m10e13p0 to 1")
        #expect(bench.load(delta, bench.playlist(11, 3)) == "m11e14p0 to 1")
        // The stored one would be fresh, but is behind.
        #expect(bench.word(whole) == "fetch")
        #expect(bench.complete(whole, bench.playlist(11, 3)) == "m11e14p0 to 1")
        #expect(bench.word(whole) == "m11e14p0")
        // Another rewind window is another playlist.
        let rewind = bench.request(.playlist(.video), MediaObjectQuery(rewindSeconds: 60))
        #expect(bench.load(rewind, bench.playlist(2, 12)) == "m2e14p0 to 1")
    }

    @Test("of two answers that overtook each other the newer one is given to all")
    func overtaken() throws {
        var bench = try Bench()
        let slow = bench.request(.playlist(.video))
        let fast = bench.request(.playlist(.video), MediaObjectQuery(sequence: 13, part: 1))
        #expect([bench.word(slow), bench.word(fast)] == ["fetch", "fetch"])
        #expect(bench.complete(fast, bench.playlist(10, 3, parts: 2)) == "m10e13p2 to 1")
        #expect(bench.complete(slow, bench.playlist(10, 3, parts: 1)) == "m10e13p2 to 1")
        #expect(bench.word(slow) == "m10e13p2")
    }

    @Test("also where the older one lies a segment back")
    func overtakenBySegment() throws {
        var bench = try Bench()
        let slow = bench.request(.playlist(.video))
        let fast = bench.request(.playlist(.video), MediaObjectQuery(sequence: 13))
        #expect([bench.word(slow), bench.word(fast)] == ["fetch", "fetch"])
        #expect(bench.complete(fast, bench.playlist(11, 3)) == "m11e14p0 to 1")
        #expect(bench.complete(slow, bench.playlist(10, 3)) == "m11e14p0 to 1")
    }

    @Test("an ended stream's playlist is served until its node has none; then it is gone at once, without a stale one")
    func ended() throws {
        for (last, result) in [(false, FetchResult.gone("x")), (true, .notFound("x"))] {
            var bench = try Bench()
            let request = bench.request(.playlist(.video))
            #expect(bench.load(request, bench.playlist(10, 3, isEnded: last)) == "m10e13p0 to 1")
            bench.pass(milliseconds: 200)
            #expect(bench.load(request, result) == "404 to 1")
            #expect(bench.table.statistics.objects == 0)
            #expect(bench.word(request) == "404")
            bench.pass(milliseconds: 1_000)
            #expect(bench.load(request, bench.playlist(20, 1)) == "m20e21p0 to 1")
        }
    }

    @Test("how far streams had come is remembered of as many streams as the bound says")
    func progressBound() throws {
        var bench = try Bench { $0.maximumStreams = 2 }
        for seconds in 1...3 {
            let request = bench.request(.playlist(.video), MediaObjectQuery(rewindSeconds: seconds))
            _ = bench.load(request, bench.playlist(10, 3))
        }
        bench.pass(milliseconds: 200)
        let first = bench.request(.playlist(.video), MediaObjectQuery(rewindSeconds: 1))
        let last = bench.request(.playlist(.video), MediaObjectQuery(rewindSeconds: 3))
        #expect(bench.load(first, bench.playlist(9, 3)) == "m9e12p0 to 1")
        #expect(bench.load(last, bench.playlist(9, 3)) == "retry after 20")
    }
}

@Suite("facts of a playlist") struct PlaylistFactsTests {
    private static let text = """
        #EXTM3U
        #EXT-X-TARGETDURATION:4
        #EXT-X-VERSION:9
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6,CAN-SKIP-UNTIL=24.0
        #EXT-X-PART-INF:PART-TARGET=0.2
        #EXT-X-MEDIA-SEQUENCE:266
        #EXT-X-MAP:URI="init.mp4"
        #EXTINF:4.00008,
        a.m4s
        #EXT-X-PART:DURATION=0.2,URI="b.0.m4s",INDEPENDENT=YES
        #EXT-X-PART:DURATION=0.2,URI="b.1.m4s"
        #EXTINF:4.00008,
        b.m4s
        #EXT-X-PART:DURATION=0.2,URI="c.0.m4s",INDEPENDENT=YES
        #EXT-X-PART:DURATION=0.2,URI="c.1.m4s"
        #EXT-X-PART:DURATION=0.2,URI="c.2.m4s"
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI="c.3.m4s"

        """

    @Test("media sequence, segments, open parts, targets and the end are read", arguments: ["\n", "\r\n"])
    func read(ending: String) throws {
        let text = Self.text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: ending)
        let facts = try #require(PlaylistFacts(ByteBuffer(string: text)))
        #expect(facts.mediaSequence == 266)
        #expect(facts.end == 268)
        #expect(facts.openParts == 3)
        #expect(facts.targetSeconds == 4)
        #expect(facts.partTargetSeconds == 0.2)
        #expect(facts.lifetimeSeconds == 0.2)
        #expect(!facts.isEnded)
        #expect(try #require(PlaylistFacts(ByteBuffer(string: text + "#EXT-X-ENDLIST" + ending))).isEnded)
        #expect(try #require(PlaylistFacts(ByteBuffer(string: text + "#EXT-X-ENDLIST"))).isEnded)
    }

    @Test("what a delta update skips counts as listed")
    func skip() throws {
        let text =
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:10\n"
            + "#EXT-X-SKIP:SKIPPED-SEGMENTS=7,RECENTLY-REMOVED-DATERANGES=\"\"\n#EXTINF:4,\na\n"
        let facts = try #require(PlaylistFacts(ByteBuffer(string: text)))
        #expect(facts.end == 18)
        #expect(facts.lifetimeSeconds == 2)
    }

    @Test("a blocking request is satisfied by listed segments and parts only")
    func contains() throws {
        let facts = try #require(PlaylistFacts(ByteBuffer(string: Self.text)))
        #expect(facts.contains(sequence: 267, part: nil))
        #expect(facts.contains(sequence: 267, part: 99))
        #expect(facts.contains(sequence: 268, part: 2))
        #expect(!facts.contains(sequence: 268, part: 3))
        #expect(!facts.contains(sequence: 268, part: nil))
        #expect(!facts.contains(sequence: 269, part: 0))
    }

    @Test("what is no media playlist, or has numbers that are none, is refused")
    func refused() {
        for text in [
            "", "\n", "EXTM3U\n", "#EXTM3U", "#EXTM3U\n#EXT-X-VERSION:9\n",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "<html>#EXTM3U\n#EXT-X-TARGETDURATION:4\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:\n", "#EXTM3U\n#EXT-X-TARGETDURATION:0\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:99999999999999999999\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:-1\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:18446744073709551616\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SKIP:X=1\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SKIP:SKIPPED-SEGMENTS=x\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=nan\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=0\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-PART-INF:PART-TARGET=1e9\n",
        ] { #expect(PlaylistFacts(ByteBuffer(string: text)) == nil, "\(text)") }
    }

    @Test("cut at any byte it is refused or has no more than the whole has")
    func cut() throws {
        let bytes = Array(Self.text.utf8)
        let whole = try #require(PlaylistFacts(ByteBuffer(bytes: bytes)))
        for count in 0..<bytes.count {
            guard let facts = PlaylistFacts(ByteBuffer(bytes: bytes[..<count])) else { continue }
            #expect(facts.segmentCount <= whole.segmentCount)
            #expect(facts.mediaSequence <= whole.mediaSequence)
        }
    }

    @Test("numbers at the end of their range do not trap")
    func overflow() throws {
        let text =
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n"
            + "#EXT-X-SKIP:SKIPPED-SEGMENTS=18446744073709551615\n#EXTINF:1,\na\n#EXTINF:1,\na\n"
        let facts = try #require(PlaylistFacts(ByteBuffer(string: text)))
        #expect(facts.end == .max)
    }
}
