import Foundation
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import Recording
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import Recorder

@Suite("recorder") struct RecorderTests {
    @Test("a stream is recorded, finished, listed and told", arguments: RecordingFormat.allCases)
    func records(format: RecordingFormat) async throws {
        let bench = try await Bench(format)
        let source = try TestSource.flv(bench.folder)
        try await bench.publish(try TestSource.events(source))
        let entry = try #require(try await bench.recordings(count: 1).first)
        #expect(entry.path == "\(bench.folder.path)/live/game/\(entry.startMillis).\(format.rawValue)")
        #expect(RecordingEntry.isID(entry.id))
        #expect(abs(entry.durationMillis - 8_000) < 100)
        #expect(entry.tracks.map(\.codec) == [.h264, .aac])
        let size = try FileManager.default.attributesOfItem(atPath: entry.path)[.size] as? Int64
        #expect(entry.bytes == size)
        #expect(try Judge.complaints(entry.path) == "")
        #expect(try Judge.hashes(entry.path, "v") == Judge.hashes(source, "v"))
        #expect(bench.files.withLock { $0.map(\.entry.id) } == [entry.id])
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(bench.folder.path)/live/game").count == 1)
        if format == .mp4 {
            // The tables are in front.
            let head = try Data(contentsOf: URL(fileURLWithPath: entry.path)).prefix(64)
            #expect(String(decoding: head, as: UTF8.self).contains("moov"))
        }
        await bench.close()
    }

    @Test("an MP4 may stay in fragments") func fragmented() async throws {
        let bench = try await Bench(finishesProgressive: false)
        let source = try TestSource.flv(bench.folder)
        try await bench.publish(try TestSource.events(source))
        let entry = try #require(try await bench.recordings(count: 1).first)
        let data = try Data(contentsOf: URL(fileURLWithPath: entry.path))
        #expect(data.range(of: Data("moof".utf8)) != nil)
        #expect(try Judge.hashes(entry.path, "v") == Judge.hashes(source, "v"))
        await bench.close()
    }

    @Test("a file that is there is never overwritten") func noOverwriting() async throws {
        let folder = try Folder()
        let path = try folder.file("a.mp4", ByteBuffer(string: "old"))
        try folder.file("b.part", ByteBuffer(string: "new"))
        #expect(try DiskFile.rename("\(folder.path)/b.part", toFree: path) == "\(folder.path)/a-2.mp4")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
        #expect(try String(contentsOfFile: "\(folder.path)/a-2.mp4", encoding: .utf8) == "new")
    }

    @Test("operators start and stop it, and a restart remembers") func intents() async throws {
        let bench = try await Bench(isEnabled: false)
        let events = try TestSource.events(TestSource.flv(bench.folder))
        try await bench.publish(events)
        #expect(bench.recorder.status(of: bench.key).isFollowed == false)
        try await bench.recorder.setIntent(true, for: bench.key)
        try await bench.publish(events)
        _ = try await bench.recordings(count: 1)
        #expect(bench.recorder.statuses().map(\.intent) == [true])
        await bench.close()
        let again = try await Bench(isEnabled: false, folder: bench.folder)
        await again.recorder.recover()
        try await again.publish(events)
        _ = try await again.recordings(count: 2)
        try await again.recorder.setIntent(nil, for: again.key)
        try await again.publish(events)
        #expect(again.recorder.status(of: again.key).intent == nil)
        try await Task.sleep(for: .milliseconds(100))
        _ = try await again.recordings(count: 2)
        await again.close()
    }

    @Test("a stop in mid-stream ends the file at once, and a start begins with the cached GOP") func stopAndStart()
        async throws
    {
        let bench = try await Bench()
        try await bench.publish(try TestSource.events(TestSource.flv(bench.folder)), stays: true)
        #expect(bench.recorder.status(of: bench.key).current != nil)
        try await bench.recorder.setIntent(false, for: bench.key)
        _ = try await bench.recordings(count: 1)
        #expect(bench.recorder.status(of: bench.key).isFollowed == false)
        try await bench.recorder.setIntent(true, for: bench.key)
        let current = try await bench.eventually("a new file") { bench.recorder.status(of: bench.key).current }
        #expect(current.state == .recording)
        try await bench.recorder.setIntent(false, for: bench.key)
        let second = try #require(try await bench.recordings(count: 2).last)
        #expect(try Judge.hashes(second.path, "v").count == 25)
        await bench.close()
    }

    @Test("a disk that takes nothing ends the file, never the stream, and recording goes on later") func diskFails()
        async throws
    {
        let bench = try await Bench(limits: RecorderLimits(retryDelay: .milliseconds(50)))
        try bench.folder.file("live", ByteBuffer(string: "in the way"))
        let events = try TestSource.events(TestSource.flv(bench.folder))
        try await bench.publish(Array(events.prefix(300)), stays: true)
        let problem = try await bench.eventually("a problem") { bench.recorder.status(of: bench.key).problem }
        #expect(!problem.isEmpty)
        let stream = try #require(bench.hub.existing(bench.key))
        #expect(try await stream.home.submit { stream.snapshot().counters.videoFrames }.get() > 0)
        try FileManager.default.removeItem(atPath: "\(bench.folder.path)/live")
        try await Task.sleep(for: .milliseconds(80))
        try await stream.home.submit { stream.revoke(.kicked(reason: "test")) }.get()
        try await bench.publish(events)
        _ = try await bench.recordings(count: 1)
        #expect(bench.recorder.status(of: bench.key).problem == nil)
        await bench.close()
    }

    @Test(
        "what a crash left is cut where it is intact, finished and listed", arguments: RecordingFormat.allCases,
        [0, 1, 2])
    func recovers(format: RecordingFormat, cutting: Int) async throws {
        let bench = try await Bench(format)
        let source = try TestSource.flv(bench.folder)
        let start: Int64 = 1_700_000_000_000
        let (bytes, header) = try self.interrupted(TestSource.events(source), format)
        let kept = [header / 2, (header + bytes.readableBytes) / 2, bytes.readableBytes][cutting]
        let path = "\(bench.folder.path)/live/game/\(start).\(format.rawValue)"
        let entry = RecordingEntry(
            id: "crashed1", key: bench.key, epoch: 3, node: "origin-1", startMillis: start, endMillis: start,
            format: format, tracks: [RecordedTrack(codec: .h264)], bytes: 0, path: path, state: .recording)
        try FileManager.default.createDirectory(
            atPath: "\(bench.folder.path)/live/game", withIntermediateDirectories: true)
        try Data(bytes.readableBytesView.prefix(kept)).write(
            to: URL(fileURLWithPath: ActiveRecording.partPath(of: entry)))
        try await bench.database.saveNow(entry)
        await bench.recorder.recover()
        if kept <= header {
            _ = try await bench.recordings(.deleted, count: 1)
            #expect(try FileManager.default.contentsOfDirectory(atPath: "\(bench.folder.path)/live/game") == [])
        } else {
            let found = try #require(try await bench.recordings(count: 1).first)
            #expect(try Judge.hashes(found.path, "v").count >= (cutting == 2 ? 185 : 50))
            #expect(bench.files.withLock { $0.map(\.isRepaired) } == [true])
            if format != .ts { #expect(try Judge.complaints(found.path) == "") }
            let (playlist, _) = try await bench.download(from: start, to: start + 2_000)
            #expect(try Judge.hashes(playlist, "v") == Array(Judge.hashes(source, "v").prefix(50)))
        }
        await bench.close()
    }

    /// The bytes of a file that was never closed, and where its media begin.
    private func interrupted(_ events: [MediaEvent], _ format: RecordingFormat) throws -> (ByteBuffer, header: Int) {
        var writer = RecordingWriter(configuration: RecorderConfiguration(format: format))
        var bytes = ByteBuffer()
        var header = 0
        writer.sourceStarted(continues: false)
        for event in events {
            writer.receive(event)
            writer.batchEnded(wallMillis: 0)
            while let output = writer.nextOutput() {
                switch output {
                case .begin(let start):
                    bytes = start.header
                    header = bytes.readableBytes
                case .append(let piece): bytes.writeImmutableBuffer(piece.bytes)
                case .close: Issue.record("it was closed")
                }
            }
        }
        return (bytes, header)
    }

    @Test("the coordinator is told of each change until it has it") func reports() async throws {
        let bench = try await Bench()
        let told = Mutex<[RecordingEntry]>([])
        let refusals = Mutex(2)
        let recorder = bench.recorder
        let task = Task {
            await recorder.runReports { entry in
                let isRefused = refusals.withLock { count in
                    count -= 1
                    return count >= 0
                }
                if isRefused { return false }
                told.withLock { $0.append(entry) }
                return true
            }
        }
        try await bench.publish(try TestSource.events(TestSource.flv(bench.folder)))
        let entry = try #require(try await bench.recordings(count: 1).first)
        _ = try await bench.eventually("a report") { told.withLock { $0.last?.state == .finished ? true : nil } }
        #expect(told.withLock { $0.last } == entry)
        try await bench.recorder.delete(entry.id)
        _ = try await bench.eventually("a report") { told.withLock { $0.last?.state == .deleted ? true : nil } }
        #expect(!FileManager.default.fileExists(atPath: entry.path))
        await #expect(throws: RecorderError.unknownRecording) { try await bench.recorder.recording(entry.id) }
        task.cancel()
        await task.value
        await bench.close()
    }

    @Test("a recording that grows cannot be deleted") func deleteGrowing() async throws {
        let bench = try await Bench()
        try await bench.publish(try TestSource.events(TestSource.flv(bench.folder)), stays: true)
        let entry = try #require(try await bench.recordings(.recording, count: 1).first)
        await #expect(throws: RecorderError.stillRecording) { try await bench.recorder.delete(entry.id) }
        await bench.close()
    }
}
