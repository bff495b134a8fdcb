import Media
import MediaObjects
import NIOCore
import Synchronization
import Testing

@testable import ObjectCache

private let segment = MediaObjectName.segment(.video, epoch: 1, sequence: 5)

@Suite("the cache between origins", .timeLimit(.minutes(1))) struct SeveralOriginsTests {
    @Test("a killed origin's playlist is served until the next origin has the stream, and never goes back")
    func failover() async throws {
        let old = FakeOrigin { request in .ok(playlistText(10, 3)) }
        let new = FakeOrigin { request in request.earlier < 2 ? .status("404 Not Found") : .ok(playlistText(100, 1)) }
        try await old.start()
        try await new.start()
        let place = Mutex([old.upstream("old")])
        let resolver = ObjectCacheResolver(upstreams: { _, _ in .upstreams(place.withLock { $0 }) })
        try await withCache(resolver, { $0.retryInterval = .milliseconds(50) }) { bench in
            try await bench.expect(.playlist(.video), playlistText(10, 3))
            try await old.kill()
            try await Task.sleep(nanoseconds: 510_000_000)
            try await bench.expect(.playlist(.video), playlistText(10, 3))
            place.withLock { $0 = [new.upstream("new")] }
            var seen: [String] = []
            let isTaken = try await eventually {
                seen.append(try await bench.word(.playlist(.video)))
                return seen.last == playlistText(100, 1)
            }
            #expect(isTaken)
            #expect(Set(seen) == [playlistText(10, 3), playlistText(100, 1)])
            #expect(bench.cache.statistics.stale > 0)
            // The old origin comes back and still has the old stream.
            try await old.start()
            place.withLock { $0 = [old.upstream("old")] }
            try await Task.sleep(nanoseconds: 510_000_000)
            try await bench.expect(.playlist(.video), playlistText(100, 1))
            #expect(bench.cache.statistics.outdated > 0)
        }
        try await new.kill()
        try await old.kill()
    }

    @Test("blocked reloads at a frozen origin move to the new one when the cluster says so")
    func moved() async throws {
        let old = FakeOrigin { request in request.target.contains("msn") ? .silence : .ok(playlistText(10, 3)) }
        let new = FakeOrigin { request in .ok(playlistText(100, 1)) }
        try await old.start()
        try await new.start()
        let place = Mutex([old.upstream("old")])
        let resolver = ObjectCacheResolver(upstreams: { _, _ in .upstreams(place.withLock { $0 }) })
        try await withCache(resolver) { bench in
            try await bench.expect(.playlist(.video), playlistText(10, 3))
            let waiting = (0..<50).map { _ in
                bench.future(bench.request(.playlist(.video), MediaObjectQuery(sequence: 13)))
            }
            try await expectEventually { old.requests.count == 2 }
            let start = NIODeadline.now()
            place.withLock { $0 = [new.upstream("new")] }
            bench.cache.streamMoved(bench.key)
            for future in waiting { try await bench.expect(future, playlistText(100, 1)) }
            #expect(NIODeadline.now() - start < .seconds(2))
            #expect(new.requests.count == 1)
        }
        try await old.kill()
        try await new.kill()
    }

    @Test(
        "nodes are tried in turn: a dead, a frozen and an ignorant one cost time, not the object; the one that had it is asked first"
    )
    func inTurn() async throws {
        let dead = ObjectUpstream(node: "dead", host: "127.0.0.1", httpPort: 1)
        let frozen = FakeOrigin { _ in .silence }
        let ignorant = FakeOrigin { _ in .status("404 Not Found") }
        let good = FakeOrigin { _ in .ok("s") }
        for origin in [frozen, ignorant, good] { try await origin.start() }
        let all = [dead, frozen.upstream("frozen"), ignorant.upstream("ignorant"), good.upstream("good")]
        try await withCache(
            ObjectCacheResolver(upstreams: { _, _ in .upstreams(all) }), { $0.headDeadline = .milliseconds(800) }
        ) { bench in
            try await bench.expect(segment, "s")
            #expect(frozen.requests.count == 1)
            #expect(ignorant.requests.count == 1)
            for sequence in 6..<12 {
                try await bench.expect(.segment(.video, epoch: 1, sequence: UInt64(sequence)), "s")
            }
            #expect(frozen.requests.count == 1)
            #expect(good.requests.count == 7)
        }
        for origin in [frozen, ignorant, good] { try await origin.kill() }
    }

    @Test("if one node cannot be asked and the others have not, nobody knows: 503, not 404")
    func unknowable() async throws {
        let dead = ObjectUpstream(node: "dead", host: "127.0.0.1", httpPort: 1)
        try await withOrigin({ _ in .status("404 Not Found") }) { origin, _ in
            let all = [dead, origin.upstream()]
            try await withCache(ObjectCacheResolver(upstreams: { _, _ in .upstreams(all) })) { bench in
                try await bench.expect(segment, "503")
            }
            let one = [origin.upstream()]
            try await withCache(ObjectCacheResolver(upstreams: { _, _ in .upstreams(one) })) { bench in
                try await bench.expect(segment, "404")
            }
        }
    }

    @Test("an ended stream is served by the node that had it until that has nothing more; unknown ones are 404")
    func ended() async throws {
        let answers: @Sendable (FakeOrigin.Request) -> FakeOrigin.Answer = { request in
            request.earlier < 2 ? .ok(playlistText(10, 3)) : .status("404 Not Found")
        }
        let origin = FakeOrigin(respond: answers)
        try await origin.start()
        let answer = Mutex(UpstreamAnswer.upstreams([origin.upstream()]))
        let resolver = ObjectCacheResolver(upstreams: { _, _ in answer.withLock { $0 } })
        try await withCache(resolver, { $0.negativeLifetime = .seconds(20) }) { bench in
            try await bench.expect(.playlist(.video), playlistText(10, 3))
            answer.withLock { $0 = .ended }
            for expected in [playlistText(10, 3), "404", "404"] {
                try await Task.sleep(nanoseconds: 510_000_000)
                try await bench.expect(.playlist(.video), expected)
            }
            let before = origin.requests.count
            #expect(before == 3)
            try await bench.expect(.playlist(.audio), "404")
            #expect(origin.requests.count == before)
            answer.withLock { $0 = .unavailable("x") }
            try await bench.expect(.manifest, "503")
            answer.withLock { $0 = .notFound }
            try await bench.expect(.snapshot, "404")
            answer.withLock { $0 = .upstreams([]) }
            try await bench.expect(segment, "404")
        }
        try await origin.kill()
    }

    @Test("nodes that may bring a stream are asked for its playlists, each with time to do so, and by this node alone")
    func suppliers() async throws {
        let other = FakeOrigin { _ in .status("404 Not Found") }
        let camera = FakeOrigin { request in
            request.target.contains("_video.m3u8") ? .ok(playlistText(10, 3)) : .status("404 Not Found")
        }
        for origin in [other, camera] { try await origin.start() }
        let answer = UpstreamAnswer.suppliers([other.upstream(), camera.upstream()], hasEnded: true)
        try await withCache(ObjectCacheResolver(upstreams: { _, _ in answer })) { bench in
            try await bench.expect(segment, "404")
            try await bench.expect(.snapshot, "404")
            #expect(other.requests.isEmpty && camera.requests.isEmpty)
            try await bench.expect(.playlist(.video), playlistText(10, 3))
            #expect(other.requests.count == 1 && camera.requests.count == 1)
            try await bench.expect(.playlist(.audio), "404")
            #expect(other.requests.count == 2)
        }
        for origin in [other, camera] { try await origin.kill() }
    }

    @Test("negative answers of many names are bounded and expire")
    func negatives() async throws {
        try await withOrigin({ _ in .status("404 Not Found") }, { $0.maximumNegatives = 10 }) { origin, bench in
            for sequence in 0..<100 {
                try await bench.expect(.segment(.video, epoch: 1, sequence: UInt64(sequence)), "404")
            }
            try await bench.expect(.segment(.video, epoch: 1, sequence: 99), "404")
            #expect(origin.requests.count == 100)
            try await bench.expect(.segment(.video, epoch: 1, sequence: 0), "404")
            #expect(origin.requests.count == 101)
        }
    }

    @Test("shutting down answers all that wait and refuses what would have to be fetched")
    func shutdown() async throws {
        try await withOrigin({ request in request.target.contains("-9.") ? .ok("s") : .silence }) { _, bench in
            try await bench.expect(.segment(.video, epoch: 1, sequence: 9), "s")
            let waiting = (0..<10).map { index in
                bench.future(bench.request(index % 2 == 0 ? segment : .playlist(.video), MediaObjectQuery(sequence: 1)))
            }
            let start = NIODeadline.now()
            bench.cache.shutdown()
            for future in waiting { try await bench.expect(future, "503") }
            #expect(NIODeadline.now() - start < .seconds(1))
            try await bench.expect(segment, "503")
            try await bench.expect(.segment(.video, epoch: 1, sequence: 9), "s")
        }
    }
}

@Suite("groups and recordings of several origins", .timeLimit(.minutes(1))) struct SpreadTests {
    @Test("a group's multivariant playlist is made of what all its members say, wherever they are")
    func group() async throws {
        let first = FakeOrigin { request in .ok("{\"a\":1}") }
        let second = FakeOrigin { request in .ok("{\"b\":2}") }
        try await first.start()
        try await second.start()
        let (one, two) = (first.upstream("one"), second.upstream("two"))
        let resolver = ObjectCacheResolver(
            upstreams: { key, name in
                guard name == .info else { return .notFound }
                switch key.name {
                case "game_1080": return .upstreams([one])
                case "game_720": return .upstreams([two])
                default: return .notFound
                }
            },
            groupMembers: { key in
                ["1080", "720", "480"].compactMap {
                    try? StreamKey(vhost: key.vhost, app: key.app, name: "\(key.name)_\($0)")
                }
            },
            multivariant: { key, members in
                ByteBuffer(
                    string: "\(key): "
                        + members.map { "\($0.key.name)=\(String(buffer: $0.info))" }.joined(separator: " "))
            })
        try await withCache(resolver) { bench in
            let object = try #require(try await bench.object(.multivariant))
            guard case .bytes(let bytes) = object.body else {
                Issue.record("no bytes")
                return
            }
            #expect(String(buffer: bytes) == "live/game: game_1080={\"a\":1} game_720={\"b\":2}")
            #expect(object.contentType == MediaObject.ContentType.hls)
            #expect(object.etag == ContentTag.of(bytes))
            #expect(object.lifetime == .seconds(1))
            for _ in 0..<10 { _ = try await bench.object(.multivariant) }
            #expect(first.requests.map(\.target) == ["/live/game_1080/_info.json"])
            #expect(second.requests.map(\.target) == ["/live/game_720/_info.json"])
        }
        try await first.kill()
        try await second.kill()
    }

    @Test("without members a multivariant playlist is the stream's own; a group without live members is none")
    func noGroup() async throws {
        try await withOrigin({ _ in .ok("#EXTM3U\n") }) { _, bench in
            try await bench.expect(.multivariant, "#EXTM3U\n")
        }
        let resolver = ObjectCacheResolver(
            upstreams: { _, _ in .notFound }, groupMembers: { [$0] }, multivariant: { _, _ in ByteBuffer(string: "x") })
        try await withCache(resolver) { bench in try await bench.expect(.multivariant, "404") }
    }

    @Test("a recorded range that two origins have is one playlist; with one of them away it is shorter, for a second")
    func recording() async throws {
        func text(_ id: String, _ minute: String) -> String {
            "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI=\"_rec-\(id)-init.mp4\"\n"
                + "#EXT-X-PROGRAM-DATE-TIME:2026-11-22T10:\(minute):00.000Z\n#EXTINF:6.0,\n_rec-\(id)-0-1.m4s\n"
                + "#EXT-X-ENDLIST\n"
        }
        let (textA, textB) = (text("a", "20"), text("b", "10"))
        let first = FakeOrigin { _ in .ok(textA, [("Cache-Control", "public, max-age=60")]) }
        let second = FakeOrigin { _ in .ok(textB, [("Cache-Control", "public, max-age=60")]) }
        try await first.start()
        try await second.start()
        let both = [first.upstream("one"), second.upstream("two")]
        try await withCache(ObjectCacheResolver(upstreams: { _, _ in .spread(both) })) { bench in
            let object = try #require(try await bench.object(.recording(.playlist(from: 0, to: 1_000))))
            guard case .bytes(let bytes) = object.body else {
                Issue.record("no bytes")
                return
            }
            let lines = String(buffer: bytes).split(separator: "\n").filter {
                $0.hasPrefix("_rec") || $0.hasSuffix("ITY")
            }
            #expect(lines == ["_rec-b-0-1.m4s", "#EXT-X-DISCONTINUITY", "_rec-a-0-1.m4s"])
            #expect(object.lifetime == .seconds(60))
            try await bench.expect(.recording(.file(from: 0, to: 1_000)), "409")
            try await second.kill()
            let partial = try #require(try await bench.object(.recording(.playlist(from: 0, to: 2_000))))
            guard case .bytes(let rest) = partial.body else {
                Issue.record("no bytes")
                return
            }
            #expect(String(buffer: rest).contains("_rec-a-0-1.m4s"))
            #expect(partial.lifetime == .seconds(1))
            try await first.kill()
            try await bench.expect(.recording(.playlist(from: 0, to: 3_000)), "503")
        }
    }
}
