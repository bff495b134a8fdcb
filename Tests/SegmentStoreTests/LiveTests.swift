import Media
import MediaCatalog
import MediaObjects
import NIOCore
import NIOPosix
import Packaging
import Synchronization
import Testing

@testable import SegmentStore

@Suite("A live stream of a segment store", .timeLimit(.minutes(1)))
struct LiveTests {
    @Test("Everything that a playlist names is there, and on disk byte for byte")
    func servedAndWritten() async throws {
        let station = try await Station(try Folder())
        var source = try await station.publish()
        try await source.send(seconds: 6)
        await station.settle()
        for tag in [MediaTag.video, .audio] {
            let text = try await station.text(.playlist(tag))
            #expect(text.names.count >= 4)
            for name in text.names {
                let name = try #require(name)
                let object = try await station.object(name)
                let bytes = try #require(object.bytes)
                #expect(object.lifetime == .immutable)
                #expect(object.etag != nil)
                #expect(
                    station.folder.contents("media/live/game/\(name.fileName)") == Array(bytes.readableBytesView))
            }
            let initialization = MediaObjectName.initialization(tag, epoch: 7, index: 0)
            #expect(text.contains(initialization.fileName))
            let bytes = try #require(try await station.object(initialization).bytes)
            #expect(
                station.folder.contents("media/live/game/\(initialization.fileName)")
                    == Array(bytes.readableBytesView))
        }
        let multivariant = try await station.text(.multivariant)
        #expect(multivariant.contains("game/_video.m3u8") && multivariant.contains("game/_audio.m3u8"))
        #expect(try await station.text(.manifest).contains("<MPD"))
        #expect(try await station.text(.info).contains(#""container":"fragmentedMP4""#))
        #expect(try await station.ask(.playlist(.main)).kind == "notFound")
        #expect(try await station.ask(.snapshot).kind == "notFound")
        #expect(try await station.ask(.multivariant, "other").kind == "notFound")
        #expect(try await station.ask(.segment(.video, epoch: 7, sequence: 1)).kind == "notFound")

        // What a static server has says the same, without what only we can do.
        let plain = String(
            decoding: station.folder.contents("media/live/game/_video.m3u8") ?? [], as: UTF8.self)
        #expect(plain.names == (try await station.text(.playlist(.video))).names)
        #expect(!plain.contains("EXT-X-PART") && !plain.contains("SERVER-CONTROL") && !plain.contains("EXT-X-GAP"))
        #expect(station.folder.contents("media/live/game.m3u8") == Array(multivariant.utf8))
        #expect(station.folder.contents("media/live/game.mpd") != nil)
        let window = try #require(try await station.catalog.windows().first)
        let statistics = try #require(station.store.statistics().first)
        #expect(window.segments.count == statistics.madeSegments && window.assets.count == 6)
        #expect(window.position.nextSequence == station.store.position(of: try Station.key())?.nextSequence)
        #expect(statistics.storedSegments == statistics.madeSegments && statistics.unwrittenSegments == 0)
        #expect(statistics.isLive && statistics.madeParts > 40 && statistics.memoryBytes > 0)
        try await station.shutDown()
    }

    @Test("Parts concatenate to their segment, and a part is the same bytes on each request")
    func parts() async throws {
        let station = try await Station(try Folder(), onDisk: false)
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 3)
        try await source.send(frames: 8)
        let text = try await station.text(.playlist(.video))
        let sequence = try #require(try await station.listed().last)
        var joined = ByteBuffer()
        var part = 0
        while text.contains("_video-7-\(sequence).\(part).m4s") {
            let name = MediaObjectName.part(.video, epoch: 7, sequence: sequence, part: part)
            joined.writeImmutableBuffer(try #require(try await station.object(name).bytes))
            part += 1
        }
        #expect(part == 5)
        #expect(try await station.object(.segment(.video, epoch: 7, sequence: sequence)).bytes == joined)
        #expect(text.contains("EXT-X-PRELOAD-HINT"))
        try await station.shutDown()
    }

    @Test("A playlist is rendered and compressed once for each state of the stream")
    func renderedOnce() async throws {
        let station = try await Station(try Folder(), onDisk: false)
        var source = try await station.publish()
        try await source.send(seconds: 3)
        let first = try await station.object(.playlist(.video))
        let second = try await station.object(.playlist(.video))
        // Equal storage, not only equal bytes.
        let addresses = [first, second].map { object in
            unsafe object.bytes?.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) }
        }
        #expect(addresses[0] == addresses[1] && addresses[0] != nil)
        #expect(first.etag == second.etag && first.gzip != nil)
        try await source.send(seconds: 1)
        #expect(try await station.object(.playlist(.video)).etag != first.etag)
        guard case .seconds(let lifetime) = first.lifetime else {
            Issue.record("\(first.lifetime)")
            return
        }
        #expect(lifetime <= 0.25)
        try await station.shutDown()
    }

    @Test("Two thousand blocked reloads are answered at once by the part, with one rendering")
    func manyWaiters() async throws {
        let station = try await Station(try Folder(), onDisk: false)
        var source = try await station.publish()
        try await source.send(seconds: 3)
        try await source.send(frames: 2)
        let next = try #require(try await station.listed().last) + 1
        let request = MediaObjectRequest(
            key: try Station.key(), name: .playlist(.video), query: .init(sequence: next, part: 0))
        let answered = Mutex<(count: Int, etags: Set<String>, last: NIODeadline)>((0, [], .now()))
        let loops = Array(station.loops.makeIterator())
        for loop in loops {
            try await loop.submit {
                for _ in 0..<1_000 {
                    guard case .later(let future) = station.store.reply(to: request, on: loop) else {
                        Issue.record("a request for what comes next did not wait")
                        return
                    }
                    future.whenSuccess { answer in
                        loop.assertInEventLoop()
                        answered.withLock { state in
                            state.count += 1
                            if case .object(let object) = answer { state.etags.insert(object.etag ?? "") }
                            state.last = .now()
                        }
                    }
                }
            }.get()
        }
        #expect(station.store.statistics().first?.waiters == 2_000)
        let started = NIODeadline.now()
        try await source.send(frames: 8)
        while answered.withLock({ $0.count }) < 2_000, NIODeadline.now() - started < .seconds(10) {
            try await Task.sleep(for: .milliseconds(1))
        }
        let result = answered.withLock { $0 }
        #expect(result.count == 2_000)
        #expect(result.etags.count == 1 && !result.etags.contains(""))
        #expect(result.last - started < .seconds(5), "\((result.last - started).nanoseconds / 1_000) µs")
        #expect(station.store.statistics().first?.waiters == 0)
        try await station.shutDown()
    }

    @Test("Requests wait for the next part and the hinted part, and are refused what is too far ahead")
    func blocking() async throws {
        let station = try await Station(try Folder(), onDisk: false) { $0.maximumWaiters = 3 }
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 3)
        try await source.send(frames: 1)
        let last = try #require(try await station.listed().last)
        #expect(
            try await station.ask(.playlist(.video), query: .init(sequence: last + 9)).kind == "badRequest")
        #expect(try await station.ask(.playlist(.video), query: .init(part: 1)).kind == "badRequest")
        #expect(try await station.ask(.playlist(.video), query: .init(sequence: last)).kind == "object")
        #expect(try await station.ask(.part(.video, epoch: 6, sequence: last + 1, part: 0)).kind == "notFound")

        async let playlist = station.text(.playlist(.video), query: .init(sequence: last + 1))
        async let part = station.object(.part(.video, epoch: 7, sequence: last + 1, part: 0))
        async let delta = station.text(.playlist(.video), query: .init(sequence: last + 1, part: 1, skip: .segments))
        while station.store.statistics().first?.waiters != 3 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(
            try await station.ask(.playlist(.video), query: .init(sequence: last + 1)).kind == "unavailable",
            "the number of those who wait is bounded")
        try await source.send(seconds: 2)
        #expect(try await playlist.contains("_video-7-\(last + 1).m4s"))
        #expect(try await delta.contains("_video-7-\(last + 1).1.m4s"))
        #expect(try await part.bytes != nil)
        #expect(station.store.statistics().first?.refusedWaiters == 1)
        try await station.shutDown()
    }

    @Test("Before the first segment requests wait, and none waits for ever")
    func firstSegment() async throws {
        let station = try await Station(try Folder(), onDisk: false) { $0.packaging.trackWaitMillis = 0 }
        var source = try await station.publish(hasAudio: false)
        async let text = station.text(.multivariant)
        async let playlist = station.text(.playlist(.video))
        try await source.send(frames: 30)
        #expect(try await text.contains("#EXTM3U"))
        #expect(try await playlist.contains("#EXTINF"))

        let last = try #require(try await station.listed().last)
        let started = ContinuousClock.now
        #expect(
            try await station.ask(.playlist(.video), query: .init(sequence: last + 2)).kind == "unavailable",
            "the source stands still")
        #expect(ContinuousClock.now - started < .seconds(8))
        #expect(station.store.statistics().first?.expiredWaiters == 1)
        try await station.shutDown()
    }

    @Test("Those who wait for a stream that ends get what there is; those who come later are slowed down")
    func ended() async throws {
        let station = try await Station(try Folder(), onDisk: false)
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 3)
        let last = try #require(try await station.listed().last)
        async let playlist = station.ask(.playlist(.video), query: .init(sequence: last + 2))
        async let part = station.ask(.part(.video, epoch: 7, sequence: last + 2, part: 0))
        while (station.store.statistics().first?.waiters ?? 0) < 2 { try await Task.sleep(for: .milliseconds(1)) }
        try await source.leave()
        #expect(try await playlist.kind == "object")
        #expect(try await part.kind == "notFound")
        #expect(try await station.ask(.playlist(.video)).kind == "object", "the playlist stays for a while")
        let started = ContinuousClock.now
        #expect(try await station.ask(.playlist(.video), query: .init(sequence: last + 3)).kind == "object")
        #expect(ContinuousClock.now - started > .milliseconds(900))
        #expect(station.store.statistics().first?.isLive == false)
        try await station.shutDown()
    }

    @Test("A republish goes on with the numbers, marks a discontinuity, and wakes those who wait")
    func republish() async throws {
        let station = try await Station(try Folder(), onDisk: false) { $0.packaging.trackWaitMillis = 0 }
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 3)
        try await source.leave()
        let last = try #require(try await station.listed().last)
        async let woken = station.text(.playlist(.video), query: .init(sequence: last + 1))
        while station.store.statistics().first?.waiters != 1 { try await Task.sleep(for: .milliseconds(1)) }
        var second = try await station.publish(epoch: 8, hasAudio: false)
        try await second.send(seconds: 2)
        #expect(try await woken.contains("_video-8-\(last + 1)."))
        try await second.send(seconds: 1)
        let text = try await station.text(.playlist(.video))
        #expect(text.contains("#EXT-X-DISCONTINUITY\n"))
        let listed = try await station.listed()
        #expect(listed == Array(listed[0]..<listed[0] + UInt64(listed.count)))
        try await station.shutDown()
    }

    @Test("The streams of a group have one multivariant playlist, and any of them has its own")
    func groups() async throws {
        let declared = try Station.key("ladder")
        let members = [try Station.key("game_720"), try Station.key("news")]
        let station = try await Station(
            try Folder(), onDisk: false, members: [declared: members])
        for (name, epoch) in [("game_720", 1), ("game_360", 2), ("news", 3)] as [(String, UInt64)] {
            var source = try await station.publish(name, epoch: epoch, frameBytes: epoch == 1 ? 900 : 100)
            try await source.send(seconds: 3)
        }
        let text = try await station.text(.multivariant)
        #expect(text.contains("game_720/_video.m3u8") && text.contains("game_360/_video.m3u8"))
        #expect(!text.contains("news/"))
        let group = try await station.text(.multivariant, "ladder", query: .init(rewindSeconds: 60))
        #expect(group.contains("game_720/_video.m3u8?dvr=60") && group.contains("news/_audio.m3u8?dvr=60"))
        #expect(!group.contains("game_360"))
        #expect(try await !station.text(.multivariant, "news").contains("game"))
        #expect(try await station.ask(.playlist(.video)).kind == "notFound")
        try await station.shutDown()
    }

    @Test("Transport streams are served and described, too")
    func transportStream() async throws {
        let station = try await Station(try Folder()) { $0.packaging.container = .mpegTS }
        var source = try await station.publish()
        try await source.send(seconds: 4)
        await station.settle()
        let text = try await station.text(.playlist(.main))
        let name = try #require(text.names.first ?? nil)
        #expect(try await station.object(name).bytes?.readableBytesView.first == 0x47)
        #expect(try await station.object(name).contentType == MediaObject.ContentType.mpegTS)
        #expect(try await station.text(.multivariant).contains("game/_main.m3u8"))
        #expect(station.folder.files.filter { $0.hasSuffix(".ts") }.count == text.names.count)
        #expect(try await station.ask(.manifest).kind == "notFound")
        try await station.shutDown()
    }
}
