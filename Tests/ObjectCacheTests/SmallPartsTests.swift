import Media
import MediaObjects
import NIOCore
import NIOHTTP1
import Testing

@testable import ObjectCache

@Suite("least recently used") struct LRUMapTests {
    @Test("use and writing make a key the newest, looking does not")
    func order() {
        var map = LRUMap<String, Int>()
        for (index, key) in ["a", "b", "c"].enumerated() { #expect(map.update(key, index) == nil) }
        #expect(map.keys == ["c", "b", "a"])
        #expect(map.use("a") == 0)
        #expect(map.peek("b") == 1)
        #expect(map.keys == ["a", "c", "b"])
        #expect(map.update("c", 9) == 2)
        #expect(map.keys == ["c", "a", "b"])
        #expect(map.removeOldest()?.key == "b")
        #expect(map.remove("a") == 0)
        #expect(map.remove("a") == nil)
        #expect(map.use("a") == nil)
        #expect(map.keys == ["c"])
        #expect(map.removeOldest()?.value == 9)
        #expect(map.removeOldest() == nil)
        #expect(map.count == 0)
    }

    @Test("it agrees with a plain list over many random steps")
    func model() {
        var state: UInt64 = 42
        func random(_ bound: UInt64) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % bound)
        }
        var map = LRUMap<Int, Int>()
        var model: [(key: Int, value: Int)] = []
        for step in 0..<20_000 {
            let key = random(20)
            let position = model.firstIndex { $0.key == key }
            switch random(5) {
            case 0, 1:
                #expect(map.update(key, step) == position.map { model.remove(at: $0).value })
                model.insert((key, step), at: 0)
            case 2:
                #expect(map.use(key) == position.map { model[$0].value })
                if let position { model.insert(model.remove(at: position), at: 0) }
            case 3: #expect(map.remove(key) == position.map { model.remove(at: $0).value })
            default: #expect(map.removeOldest()?.key == model.popLast()?.key)
            }
            #expect(map.keys == model.map(\.key))
        }
    }
}

@Suite("what nodes say to each other") struct UpstreamExchangeTests {
    private let upstream = ObjectUpstream(node: "o", host: "10.0.0.1", httpPort: 8080)

    @Test("URLs name the object and nothing else; odd bytes are escaped, IPv6 is in brackets")
    func urls() throws {
        let key = try StreamKey(app: "live/a", name: "gäme+1&x=$")
        let playlist = MediaObjectRequest(
            key: key, name: .playlist(.video),
            query: MediaObjectQuery(sequence: 5, part: 2, skip: .dateRanges, rewindSeconds: 60), hops: 3)
        #expect(
            UpstreamExchange.url(of: playlist, at: self.upstream)
                == "http://10.0.0.1:8080/live/a/g%C3%A4me%2B1%26x%3D%24/_video.m3u8"
                + "?_HLS_msn=5&_HLS_part=2&_HLS_skip=v2&dvr=60")
        let other = MediaObjectRequest(
            key: try StreamKey(vhost: "a.example", app: "live", name: "game"), name: .multivariant)
        #expect(
            UpstreamExchange.url(of: other, at: ObjectUpstream(node: "o", host: "::1", httpPort: 1))
                == "http://[::1]:1/live/game.m3u8?vhost=a.example")
    }

    @Test("each status has its meaning")
    func statuses() {
        func word(_ code: Int) -> String {
            switch UpstreamExchange.result(of: HTTPResponseStatus(statusCode: code), from: "o") {
            case nil: "object"
            case .notModified: "same"
            case .notFound: "404"
            case .refused(let answer): Bench.word(answer)
            case .failed: "failed"
            default: "other"
            }
        }
        let codes = [200, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 409, 410, 429, 500, 502, 503, 508]
        #expect(
            codes.map(word) == [
                "object", "failed", "failed", "failed", "failed", "same", "failed", "400", "403", "403", "404", "409",
                "404", "failed", "failed", "failed", "failed", "failed",
            ])
    }

    @Test("a length is believed only if the head says one thing")
    func lengths() {
        func length(_ headers: [(String, String)]) -> UpstreamExchange.BodyLength {
            UpstreamExchange.bodyLength(HTTPHeaders(headers))
        }
        #expect(length([("Content-Length", "12")]) == .bytes(12))
        #expect(length([("Content-Length", "12"), ("Content-Length", "12")]) == .bytes(12))
        #expect(length([("Content-Length", "12"), ("Content-Length", "13")]) == .unknown)
        #expect(length([("Content-Length", "-1")]) == .unknown)
        #expect(length([("Content-Length", "x")]) == .unknown)
        #expect(length([]) == .unknown)
        #expect(length([("Transfer-Encoding", "Chunked")]) == .chunked)
        #expect(length([("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")]) == .unknown)
        #expect(length([("Transfer-Encoding", "chunked"), ("Content-Length", "12")]) == .unknown)
    }

    @Test("strong validators are taken, weak and malformed ones are not")
    func etags() {
        func tag(_ text: String) -> String? { UpstreamExchange.etag(["ETag": text]) }
        #expect(tag("\"a-1\"") == "a-1")
        #expect(tag("W/\"a\"") == nil)
        #expect(tag("a") == nil)
        #expect(tag("\"\"") == nil)
        #expect(tag("\"a\"b\"") == nil)
        #expect(tag("\"a b\"") == nil)
        #expect(tag("\"\(String(repeating: "x", count: 300))\"") == nil)
    }

    @Test("lifetimes follow the name, the playlist and what the node says, the shortest wins")
    func lifetimes() {
        func lifetime(_ name: MediaObjectName, _ told: String?, _ facts: PlaylistFacts? = nil) -> MediaObject.Lifetime {
            UpstreamExchange.lifetime(told.map { ["Cache-Control": $0] } ?? [:], name, facts)
        }
        var facts = PlaylistFacts()
        facts.targetSeconds = 6
        #expect(lifetime(.segment(.video, epoch: 1, sequence: 1), "max-age=1") == .immutable)
        #expect(lifetime(.key(epoch: 1, index: 1), "max-age=100") == .uncacheable)
        #expect(lifetime(.snapshot, "public, max-age=0, s-maxage=2") == .seconds(2))
        #expect(lifetime(.snapshot, "no-store") == .uncacheable)
        #expect(lifetime(.snapshot, nil) == .seconds(1))
        #expect(lifetime(.playlist(.video), nil, facts) == .seconds(1))
        #expect(lifetime(.playlist(.video), "s-maxage=2", facts) == .seconds(2))
        #expect(lifetime(.playlist(.video), "s-maxage=200", facts) == .seconds(3))
        #expect(lifetime(.playlist(.video), "max-age=31536000, immutable", facts) == .seconds(3))
        facts.partTargetSeconds = 0.2
        #expect(lifetime(.playlist(.video), "max-age=0, s-maxage=1", facts) == .seconds(0.2))
        #expect(lifetime(.playlist(.video), "max-age=0", facts) == .seconds(0.2))
        #expect(lifetime(.recording(.playlist(from: 0, to: 1)), "max-age=60") == .seconds(60))
    }

    @Test("age counts from when the object was made")
    func age() {
        let now = NIODeadline.uptimeNanoseconds(100_000_000_000)
        #expect(UpstreamExchange.storedAt(["Age": "3"], now: now) == now - .seconds(3))
        #expect(UpstreamExchange.storedAt(["Age": "-3"], now: now) == now)
        #expect(UpstreamExchange.storedAt(["Age": "x"], now: now) == now)
        #expect(UpstreamExchange.storedAt([:], now: now) == now)
    }

    @Test("types and attachment names are taken if they are plain")
    func texts() {
        #expect(UpstreamExchange.contentType(["Content-Type": "video/mp4"], .manifest) == "video/mp4")
        #expect(UpstreamExchange.contentType(["Content-Type": "a\u{e9}/b"], .manifest) == "application/dash+xml")
        #expect(UpstreamExchange.contentType([:], .segment(.main, epoch: 1, sequence: 1)) == "video/mp2t")
        func name(_ text: String) -> String? { UpstreamExchange.attachmentName(["Content-Disposition": text]) }
        #expect(name("attachment; filename=\"a b.mp4\"") == "a b.mp4")
        #expect(name("inline; filename=\"a.mp4\"") == nil)
        #expect(name("attachment; filename=\"\"") == nil)
        #expect(name("attachment; filename=\"a\\b\"") == nil)
        #expect(name("attachment") == nil)
    }

    @Test("validators of what the cache makes are FNV-1a of the bytes")
    func contentTags() {
        #expect(ContentTag.of(ByteBuffer()) == "cbf29ce484222325")
        #expect(ContentTag.of(ByteBuffer(string: "a")) == "af63dc4c8601ec8c")
        #expect(ContentTag.of(ByteBuffer(string: "foobar")) == "85944171f73967e8")
    }
}

@Suite("recorded ranges of several nodes") struct RecordingMergeTests {
    private func playlist(_ runs: [[String]], target: Int = 6, version: Int = 7, isEnded: Bool = true) -> ByteBuffer {
        var lines = [
            "#EXTM3U", "#EXT-X-VERSION:\(version)", "#EXT-X-TARGETDURATION:\(target)", "#EXT-X-MEDIA-SEQUENCE:0",
            "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        lines += runs.joined(separator: ["#EXT-X-DISCONTINUITY"])
        if isEnded { lines.append("#EXT-X-ENDLIST") }
        return ByteBuffer(string: lines.joined(separator: "\n") + "\n")
    }

    private func run(_ id: String, _ time: String, map: Bool = true) -> [String] {
        (map ? ["#EXT-X-MAP:URI=\"_rec-\(id)-init.mp4\""] : [])
            + ["#EXT-X-PROGRAM-DATE-TIME:\(time)", "#EXTINF:6.00000,", "_rec-\(id)-0-3.m4s"]
    }

    /// Adds all, and says which were taken.
    private func join(_ playlists: [ByteBuffer]) -> (taken: [Bool], text: String?) {
        var merge = RecordingMerge()
        let taken = playlists.map { merge.add($0) }
        return (taken, merge.finished().map { String(buffer: $0) })
    }

    @Test("runs are put in the order of their times, with discontinuities and their own initialization segments")
    func order() {
        let first = self.run("a", "2026-11-22T10:00:00.000Z")
        let second = self.run("b", "2026-11-22T10:10:00.000Z")
        let third = self.run("c", "2026-11-22T10:20:00.500Z")
        let joined = self.join([
            self.playlist([first, third], target: 6), self.playlist([second], target: 9, version: 6),
        ])
        #expect(joined.taken == [true, true])
        #expect(joined.text == String(buffer: self.playlist([first, second, third], target: 9)))
    }

    @Test("a run that goes on with the initialization segment before it gets it again, wherever it stands")
    func inherited() throws {
        let joined = self.join([
            self.playlist([
                self.run("a", "2026-11-22T10:00:00.000Z"), self.run("a", "2026-11-22T10:20:00.000Z", map: false),
            ]),
            self.playlist([self.run("b", "2026-11-22T10:10:00.000Z")]),
        ])
        #expect(joined.taken == [true, true])
        let maps = try #require(joined.text).split(separator: "\n").filter { $0.hasPrefix("#EXT-X-MAP:") }
        #expect(maps == ["a", "b", "a"].map { "#EXT-X-MAP:URI=\"_rec-\($0)-init.mp4\"" })
    }

    @Test("what has no end, no time, no target or is no playlist is not joined; nothing gives nothing")
    func refused() {
        let joined = self.join([
            ByteBuffer(string: "hello"),
            self.playlist([self.run("a", "2026-11-22T10:00:00.000Z")], isEnded: false),
            self.playlist([["#EXTINF:6,", "a"]]), self.playlist([self.run("a", "yesterday")]),
            self.playlist([self.run("a", "2026-11-22T10:00:00.000Z")], target: 0),
        ])
        #expect(joined.taken == [false, false, false, false, false])
        #expect(joined.text == nil)
    }

    @Test("times are read to the millisecond")
    func times() {
        #expect(UTCTime.milliseconds("1970-01-01T00:00:00Z") == 0)
        #expect(UTCTime.milliseconds("2000-02-29T12:34:56.789Z") == 951_827_696_789)
        #expect(UTCTime.milliseconds("2026-11-22T10:20:30.4Z") == 1_795_342_830_400)
        #expect(UTCTime.milliseconds("2026-11-22T10:20:30.400999Z") == 1_795_342_830_400)
        for text in [
            "", "2026", "2026-11-22T10:20:30", "2026-11-22 10:20:30Z", "2026-13-22T10:20:30Z", "2026-11-00T10:20:30Z",
            "2026-11-22T24:20:30Z", "2026-11-22T10:60:30Z", "2026-11-22T10:20:30.Z", "2026-11-22T10:20:30,5Z",
            "2026-11-22T10:20:30.1234567890Z", "1969-11-22T10:20:30Z", "202x-11-22T10:20:30Z",
        ] { #expect(UTCTime.milliseconds(text) == nil, "\(text)") }
    }
}

@Suite("configuration of the cache") struct ConfigurationTests {
    @Test("defaults are valid; each nonsense is named")
    func validate() throws {
        try ObjectCacheConfiguration(node: "edge-1").validate()
        func wrong(_ change: (inout ObjectCacheConfiguration) -> Void) -> ObjectCacheConfigurationError? {
            var configuration = ObjectCacheConfiguration(node: "edge-1")
            change(&configuration)
            do throws(ObjectCacheConfigurationError) {
                try configuration.validate()
                return nil
            } catch {
                return error
            }
        }
        #expect(wrong { $0.node = "" } == .invalid("node"))
        #expect(wrong { $0.node = "a, b" } == .invalid("node"))
        #expect(wrong { $0.node = "a\r\nX: y" } == .invalid("node"))
        #expect(wrong { $0.maximumBytes = 0 } == .invalid("maximumBytes"))
        #expect(wrong { $0.maximumObjectBytes = $0.maximumBytes + 1 } == .invalid("maximumObjectBytes"))
        #expect(wrong { $0.maximumWaiters = -1 } == .invalid("maximumWaiters"))
        #expect(wrong { $0.headDeadline = .zero } == .invalid("headDeadline"))
        #expect(wrong { $0.staleLimit = .seconds(-1) } == .invalid("staleLimit"))
    }
}
