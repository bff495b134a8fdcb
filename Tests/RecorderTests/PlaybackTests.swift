import Foundation
import Media
import MediaObjects
import NIOCore
import Recording
import TestSupport
import Testing

@testable import Recorder

@Suite("playing recordings") struct PlaybackTests {
    @Test("a range plays as exactly the frames of its GOPs", arguments: RecordingFormat.allCases)
    func range(format: RecordingFormat) async throws {
        let bench = try await Bench(format)
        let source = try TestSource.flv(bench.folder)
        try await bench.publish(try TestSource.events(source))
        let entry = try #require(try await bench.recordings(count: 1).first)
        let all = try Judge.hashes(source, "v")
        let whole = try await bench.download(from: entry.startMillis - 5_000, to: entry.endMillis + 5_000)
        #expect(try Judge.complaints(whole.path) == "")
        #expect(try Judge.hashes(whole.path, "v") == all)
        #expect(try Judge.hashes(whole.path, "a") == Judge.hashes(source, "a"))
        #expect(whole.text.contains("#EXT-X-ENDLIST"))
        #expect(whole.text.contains("#EXT-X-PLAYLIST-TYPE:VOD"))
        #expect(!whole.text.contains("#EXT-X-DISCONTINUITY"))
        let part = try await bench.download(from: entry.startMillis + 2_500, to: entry.startMillis + 4_000)
        #expect(try Judge.hashes(part.path, "v") == Array(all[50..<100]))
        await bench.close()
    }

    @Test("two files with a gap play one behind the other") func gap() async throws {
        let bench = try await Bench()
        let source = try TestSource.flv(bench.folder)
        let events = try TestSource.events(source)
        try await bench.publish(events)
        try await bench.publish(events)
        let entries = try await bench.recordings(count: 2)
        // The second one was published at once, and its clock does not go back.
        #expect(entries[0].endMillis <= entries[1].startMillis)
        let from = entries[0].startMillis - 1
        let to = max(entries[0].endMillis, entries[1].endMillis) + 1
        let vod = try await bench.download(from: from, to: to)
        #expect(vod.text.split(separator: "\n").filter { $0 == "#EXT-X-DISCONTINUITY" }.count == 1)
        #expect(vod.text.split(separator: "\n").filter { $0.hasPrefix("#EXT-X-MAP") }.count == 2)
        let all = try Judge.hashes(source, "v")
        #expect(try Judge.hashes(vod.path, "v") == all + all)
        let file = try await bench.object(.file(from: from, to: to))
        guard case .file(let path, _) = file.body else { throw Bench.TimedOut(what: "file") }
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v").count == 400)
        await bench.close()
    }

    @Test("a range downloads as one MP4, made once", arguments: RecordingFormat.allCases)
    func download(format: RecordingFormat) async throws {
        let bench = try await Bench(format)
        let source = try TestSource.flv(bench.folder)
        try await bench.publish(try TestSource.events(source))
        let entry = try #require(try await bench.recordings(count: 1).first)
        let name = RecordingObjectName.file(from: entry.startMillis + 2_500, to: entry.startMillis + 5_000)
        let object = try await bench.object(name)
        guard case .file(let path, let count) = object.body else { throw Bench.TimedOut(what: "file") }
        #expect(object.attachmentName?.hasPrefix("game-") == true)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v") == Array(Judge.hashes(source, "v")[50..<125]))
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int64
        #expect(size == count)
        let again = try await bench.object(name)
        #expect(again.etag == object.etag)
        let left = try FileManager.default.contentsOfDirectory(atPath: "\(bench.folder.path)/.weir-downloads")
        #expect(left.count == 1)
        await bench.close()
    }

    @Test("what is on the disk of a growing file plays", arguments: RecordingFormat.allCases)
    func growing(format: RecordingFormat) async throws {
        let bench = try await Bench(format)
        let source = try TestSource.flv(bench.folder)
        try await bench.publish(try TestSource.events(source), stays: true)
        let entry = try await bench.eventually("7 intervals on the disk") { () -> RecordingEntry? in
            guard let entry = bench.recorder.status(of: bench.key).current, entry.durationMillis >= 7_400 else {
                return nil
            }
            return entry
        }
        let all = try Judge.hashes(source, "v")
        let vod = try await bench.download(from: entry.startMillis, to: entry.startMillis + 60_000)
        #expect(try Judge.hashes(vod.path, "v") == Array(all[..<175]))
        await bench.close()
    }

    @Test("what is not there, and what belongs to another stream, is not found") func notFound() async throws {
        let bench = try await Bench()
        try await bench.publish(try TestSource.events(TestSource.flv(bench.folder)))
        let entry = try #require(try await bench.recordings(count: 1).first)
        let other = try StreamKey(app: "live", name: "other")
        let names: [(RecordingObjectName, StreamKey)] = [
            (.initialization(recording: "nothing"), bench.key), (.initialization(recording: entry.id), other),
            (.segment(recording: entry.id, first: 7, count: 2), bench.key),
            (.segment(recording: entry.id, first: 0, count: 1), other),
            (.playlist(from: 0, to: 1_000), bench.key), (.file(from: 0, to: 1_000), bench.key),
            (.playlist(from: entry.startMillis, to: entry.endMillis), other),
        ]
        for (name, key) in names {
            guard case .notFound = try await bench.answer(name, of: key) else {
                Issue.record("\(name) was answered")
                continue
            }
        }
        guard case .badRequest = try await bench.answer(.playlist(from: 0, to: 1 << 45)) else {
            Issue.record("an endless range was answered")
            return
        }
        await bench.close()
    }

    @Test("segments are the same bytes each time") func deterministic() async throws {
        let bench = try await Bench()
        try await bench.publish(try TestSource.events(TestSource.flv(bench.folder)))
        let entry = try #require(try await bench.recordings(count: 1).first)
        let name = RecordingObjectName.segment(recording: entry.id, first: 1, count: 2)
        let first = try await bench.object(name)
        let second = try await bench.object(name)
        #expect(first.etag == second.etag && first.etag != nil)
        #expect(first.lifetime == .immutable)
        await bench.close()
    }

    @Test("a cache keeps what was used last, within its bound") func cache() {
        var cache = BoundedCache<Int, String>(maximumCost: 10)
        for number in 0..<5 { cache.insert("\(number)", cost: 3, for: number) }
        #expect((0..<5).map { cache.value($0) } == [nil, nil, "2", "3", "4"])
        _ = cache.value(2)
        cache.insert("x", cost: 5, for: 9)
        #expect(cache.value(2) == "2")
        #expect(cache.value(3) == nil)
        cache.insert("too much", cost: 11, for: 2)
        #expect(cache.value(2) == nil)
    }
}
