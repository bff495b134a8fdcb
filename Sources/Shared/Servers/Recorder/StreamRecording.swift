import Logging
import Media
import MediaStorage
import NIOCore
import Recording
import StreamHub
import Streaming

/// Records one stream: follows its events and hands the bytes to the disk's thread.
// Safety: all mutable state is touched on the stream's home loop only, where taps are called.
final class StreamRecording: StreamTap, @unchecked Sendable {
    private struct OpenFile {
        let storage: StorageFile
        let active: ActiveRecording
    }

    let key: StreamKey
    var audioForm: AudioForm { self.settings.audioForm }
    private let home: any EventLoop
    private weak var stream: LiveStream?
    private let recorder: Recorder
    private let settings: RecordingSettings
    private var writer: RecordingWriter
    private var file: OpenFile?
    private var epoch: UInt64 = 0
    /// The writer has not been told of the tracks that were there before the first event.
    private var needsState = true
    private var pausedUntil: NIODeadline?
    private var hasWarned = false

    init(_ stream: LiveStream, recorder: Recorder, settings: RecordingSettings, notBeforeMillis: Int64) {
        self.key = stream.key
        self.home = stream.home
        self.stream = stream
        self.recorder = recorder
        self.settings = settings
        self.writer = RecordingWriter(configuration: settings.configuration, notBeforeMillis: notBeforeMillis)
    }

    func follows(_ stream: LiveStream) -> Bool { self.stream === stream }

    /// Ends the file and follows the stream no longer. Any loop.
    func stop() {
        guard self.home.inEventLoop else { return self.home.execute { self.stop() } }
        self.stream?.detach(self)
        self.writer.stop()
        self.drain()
    }

    // MARK: The stream

    func sourceStarted(epoch: UInt64, continues: Bool) {
        self.epoch = epoch
        self.needsState = true
        self.writer.sourceStarted(continues: continues)
        self.drain()
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        if self.needsState {
            self.needsState = false
            for track in [state.video, state.audio].compactMap({ $0 }) { self.writer.receive(.track(track)) }
            if let metadata = state.metadata { self.writer.receive(.metadata(metadata)) }
        }
        if let until = self.pausedUntil {
            if now < until {
                // What the next file needs to know is not lost while the disk is.
                switch event {
                case .track, .metadata: self.writer.receive(event)
                case .frame, .data: break
                }
                return
            }
            self.pausedUntil = nil
        }
        self.writer.receive(event)
    }

    func batchEnded(now: NIODeadline) {
        self.writer.batchEnded(wallMillis: WallClock.unixMillis)
        self.drain()
        guard !self.hasWarned, self.writer.recordsNothing else { return }
        self.hasWarned = true
        self.recorder.logger.warning(
            "nothing of the stream can be recorded in this format",
            metadata: ["stream": "\(self.key)", "format": "\(self.settings.configuration.format.rawValue)"])
    }

    func sourceEnded(isFinal: Bool) {
        self.writer.sourceEnded()
        self.drain()
        guard isFinal else { return }
        self.stream?.detach(self)
        self.recorder.ended(self)
    }

    // MARK: Files

    private func drain() {
        while let output = self.writer.nextOutput() {
            switch output {
            case .begin(let start): self.open(start)
            case .append(let piece): self.append(piece)
            case .close(let summary): self.close(summary)
            }
        }
    }

    private func open(_ start: RecordingStart) {
        let entry: RecordingEntry
        do throws(PathPatternError) {
            entry = try self.recorder.newEntry(
                of: self.key, epoch: self.epoch, start: start, pattern: self.settings.pattern)
        } catch {
            return self.broke("no file name: \(error)")
        }
        let active = ActiveRecording(entry)
        self.recorder.began(active)
        let storage = self.recorder.storage.open(active.partPath) { result in self.check(result, of: active) }
        self.file = OpenFile(storage: storage, active: active)
        self.recorder.storage.append([start.header], to: storage) { result in
            if case .success = result { active.wroteHeader(start.header.readableBytes) }
            self.check(result, of: active)
        }
    }

    private func append(_ piece: RecordingPiece) {
        guard let file = self.file else { return }
        let (recorder, active) = (self.recorder, file.active)
        recorder.storage.append([piece.bytes], to: file.storage) { result in
            if case .success = result { recorder.wrote(piece, to: active) }
            self.check(result, of: active)
        }
    }

    private func close(_ summary: RecordingSummary) {
        guard let file = self.file else { return }
        self.file = nil
        let recorder = self.recorder
        recorder.noteEnd(summary.endMillis, of: self.key)
        let finishes = self.settings.configuration.finishesProgressive
        for patch in summary.patches { recorder.storage.overwrite(patch.bytes, at: patch.position, in: file.storage) }
        recorder.storage.close(file.storage) { result in
            let isWhole = if case .success = result { true } else { false }
            recorder.finish(file.active, isWhole ? summary : nil, finishesProgressive: finishes)
        }
    }

    /// On the writer's thread.
    private func check(_ result: Result<Void, StorageError>, of active: ActiveRecording) {
        guard case .failure(let error) = result else { return }
        self.home.execute { self.failed(active, error) }
    }

    /// The disk did not take the bytes: what is in the file is saved, and another begins when there may be room again.
    private func failed(_ active: ActiveRecording, _ error: StorageError) {
        guard let file = self.file, file.active === active else { return }
        self.file = nil
        let recorder = self.recorder
        let finishes = self.settings.configuration.finishesProgressive
        recorder.storage.close(file.storage) { _ in recorder.finish(active, nil, finishesProgressive: finishes) }
        self.broke("\(error)")
    }

    private func broke(_ problem: String) {
        self.writer.fileLost()
        self.pausedUntil = .now() + self.recorder.limits.retryDelay
        self.recorder.note(problem, of: self.key)
    }
}
