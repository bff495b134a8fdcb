import Foundation
import Media
import NIOCore
import Recording
import TestSupport
import Testing

@Suite("recording writer") struct WriterTests {
    @Test("a file of each format decodes to the source's frames", arguments: RecordingFormat.allCases)
    func decodes(format: RecordingFormat) throws {
        let folder = try Folder()
        let source = try TestSource.flv(folder)
        let written = Written.record(try TestSource.events(source), RecorderConfiguration(format: format))
        #expect(written.files.count == 1)
        let file = try #require(written.files.first)
        let path = try folder.file("recording.\(format.rawValue)", file.finished)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v") == Judge.hashes(source, "v"))
        #expect(try Judge.hashes(path, "a") == Judge.hashes(source, "a"))
        let summary = try #require(file.summary)
        #expect(summary.byteCount == Int64(file.bytes.readableBytes))
        #expect(summary.index.count == TestSource.seconds)
        #expect(abs(summary.endMillis - summary.startMillis - Int64(TestSource.seconds) * 1_000) < 100)
        #expect(summary.startMillis == 1_700_000_000_000)
        #expect(summary.reason == .sourceEnded)
    }

    @Test("an FLV says its duration and size") func metadata() throws {
        let folder = try Folder()
        let written = Written.record(try TestSource.events(TestSource.flv(folder)), RecorderConfiguration(format: .flv))
        let file = try #require(written.files.first)
        let path = try folder.file("recording.flv", file.finished)
        let duration = try #require(try Judge.probe(path, "format=duration").first.flatMap(Double.init))
        #expect(abs(duration - Double(TestSource.seconds)) < 0.1)
        let size = try Judge.run("ffprobe", ["-v", "error", "-show_entries", "format_tags", path])
        #expect(!size.contains("error"))
        let bytes = file.finished
        let summary = try #require(file.summary)
        #expect(
            bytes.getInteger(at: 72, as: UInt64.self).map(Double.init(bitPattern:)) == Double(summary.byteCount))
    }

    @Test("what is gathered never spans a second", arguments: RecordingFormat.allCases)
    func flushes(format: RecordingFormat) throws {
        let folder = try Folder()
        let written = Written.record(
            try TestSource.events(TestSource.flv(folder)), RecorderConfiguration(format: format))
        let file = try #require(written.files.first)
        var last = MediaTime.zero
        for piece in file.pieces {
            #expect(piece.endTime - last <= MediaTime(millis: 700))
            last = piece.endTime
        }
    }

    @Test("the segment plan cuts at keyframes, without a gap", arguments: RecordingFormat.allCases)
    func segments(format: RecordingFormat) throws {
        let folder = try Folder()
        let source = try TestSource.flv(folder)
        let written = Written.record(
            try TestSource.events(source), RecorderConfiguration(format: format, plan: .segment(.seconds(3))))
        #expect(written.files.count == 3)
        var video: [String] = []
        var audio: [String] = []
        for (number, file) in written.files.enumerated() {
            let path = try folder.file("\(number).\(format.rawValue)", file.finished)
            video += try Judge.hashes(path, "v")
            let own = try Judge.hashes(path, "a")
            audio += own
            if number > 0 {
                let before = try #require(written.files[number - 1].summary)
                #expect(abs(file.start.startMillis - before.endMillis) <= 40)
            }
        }
        #expect(try video == Judge.hashes(source, "v"))
        // Each file's first frame is decoded without the one before it, so hashes differ there, never their number.
        #expect(try audio.count == Judge.hashes(source, "a").count)
        #expect(written.files.compactMap(\.summary?.reason) == [.segmentDuration, .segmentDuration, .sourceEnded])
    }

    @Test("a change of the tracks begins a new file at the keyframe") func tracksChange() throws {
        let folder = try Folder()
        let events = try TestSource.events(TestSource.flv(folder))
        var changed = events.moved(by: MediaTime(millis: 8_000))
        for (index, event) in changed.enumerated() {
            guard case .track(var track) = event, track.kind == .video, let record = track.configuration else {
                continue
            }
            // The same record with another length of its own, as an encoder that restarts may send.
            track.configuration = record
            track.format = .video(VideoFormat(width: 1, height: 1))
            changed[index] = .track(track)
        }
        let written = Written.record(events + changed, RecorderConfiguration())
        #expect(written.files.count == 2)
        #expect(written.files.first?.summary?.reason == .tracksChanged)
        let frames = written.files.map { file in file.summary?.index.count ?? 0 }
        #expect(frames == [TestSource.seconds, TestSource.seconds])
        let path = try folder.file("second.mp4", try #require(written.files.last).finished)
        #expect(try Judge.hashes(path, "v") == Judge.hashes("\(folder.path)/source.flv", "v"))
    }

    @Test("a track that comes too late begins a new file, and its first frames wait for it") func lateAudio() throws {
        let folder = try Folder()
        let events = try TestSource.events(TestSource.flv(folder))
        let late = events.filter { event in
            guard case .frame(let frame) = event, frame.kind == .audio else { return true }
            return frame.dts >= MediaTime(millis: 3_400)
        }
        let audioTrack = late.first { if case .track(let track) = $0 { track.kind == .audio } else { false } }
        var order = late.filter { $0 != audioTrack }
        let place = try #require(
            order.firstIndex { if case .frame(let frame) = $0 { frame.kind == .audio } else { false } })
        order.insert(try #require(audioTrack), at: place)
        let written = Written.record(order, RecorderConfiguration())
        #expect(written.files.map(\.start.tracks.count) == [1, 2])
        let second = try #require(written.files.last)
        let path = try folder.file("second.mp4", second.finished)
        #expect(try Judge.hashes(path, "a").count == late.frames.filter { $0.kind == .audio }.count)
        #expect(try Judge.hashes(path, "v").count == 4 * 25)
    }

    @Test("sound alone is recorded, cut every two seconds", arguments: RecordingFormat.allCases)
    func audioOnly(format: RecordingFormat) throws {
        let folder = try Folder()
        let source = try TestSource.flv(folder, audioOnly: true)
        let written = Written.record(try TestSource.events(source), RecorderConfiguration(format: format))
        let file = try #require(written.files.first)
        let path = try folder.file("recording.\(format.rawValue)", file.finished)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "a") == Judge.hashes(source, "a"))
        #expect(file.summary?.index.count == 4)
    }

    @Test("only the kinds that are wanted are recorded") func kinds() throws {
        let folder = try Folder()
        let events = try TestSource.events(TestSource.flv(folder))
        let audio = Written.record(events, RecorderConfiguration(kinds: .audioOnly))
        #expect(audio.files.map { $0.start.tracks.map(\.kind) } == [[.audio]])
        let video = Written.record(events, RecorderConfiguration(kinds: .videoOnly))
        #expect(video.files.map { $0.start.tracks.map(\.kind) } == [[.video]])
    }

    @Test("media that wait for a file are bounded") func pending() throws {
        let folder = try Folder()
        let events = try TestSource.events(TestSource.flv(folder)).filter { event in
            if case .frame(let frame) = event { !(frame.kind == .video && frame.isKeyframe) } else { true }
        }
        var writer = RecordingWriter(
            configuration: RecorderConfiguration(keyframeWait: .minutes(1), maximumPendingBytes: 10_000))
        writer.sourceStarted(continues: false)
        for event in events {
            writer.receive(event)
            writer.batchEnded(wallMillis: 0)
        }
        #expect(!writer.isWriting)
        #expect(writer.counters.droppedFrames > 100)
    }

    @Test("after a lost file another begins at the next keyframe") func lostFile() throws {
        let folder = try Folder()
        let events = try TestSource.events(TestSource.flv(folder))
        var writer = RecordingWriter(configuration: RecorderConfiguration())
        var written = Written()
        writer.sourceStarted(continues: false)
        for (index, event) in events.enumerated() {
            writer.receive(event)
            writer.batchEnded(wallMillis: 1_700_000_000_000)
            written.drain(&writer)
            if index == events.count / 2 { writer.fileLost() }
        }
        writer.sourceEnded()
        written.drain(&writer)
        #expect(written.files.count == 2)
        #expect(written.files[0].summary == nil)
        let path = try folder.file("second.mp4", written.files[1].finished)
        #expect(try Judge.complaints(path) == "")
        #expect(try Judge.hashes(path, "v").count % 25 == 0)
    }

    @Test("settings out of their range are refused by name")
    func validation() {
        #expect(throws: RecordingError.invalid(.fragmentDuration)) {
            try RecorderConfiguration(fragmentDuration: .seconds(2)).validate()
        }
        #expect(throws: RecordingError.invalid(.segmentDuration)) {
            try RecorderConfiguration(plan: .segment(.milliseconds(1))).validate()
        }
        #expect(throws: RecordingError.invalid(.maximumFileBytes)) {
            try RecorderConfiguration(maximumFileBytes: 0).validate()
        }
    }
}
