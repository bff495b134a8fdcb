package import Media
import MediaCatalog
import MediaStorage
import NIOCore
import Synchronization

extension Recorder {
    // MARK: Lists

    /// The recordings of this origin, the oldest first; growing ones as they are now. Errors: `catalogUnavailable`.
    package func recordings(_ query: RecordingQuery) async throws(RecorderError) -> RecordingPage {
        do {
            var page = try await self.database.recordings(query)
            page.recordings = self.current(page.recordings)
            return page
        } catch {
            throw .catalogUnavailable
        }
    }

    /// One recording. Errors: `unknownRecording`, `catalogUnavailable`.
    package func recording(_ id: String) async throws(RecorderError) -> RecordingEntry {
        let entry: RecordingEntry?
        do { entry = try await self.database.recording(id) } catch { throw .catalogUnavailable }
        guard let entry, entry.state != .deleted else { throw .unknownRecording }
        return self.current([entry])[0]
    }

    private func current(_ entries: [RecordingEntry]) -> [RecordingEntry] {
        self.state.withLock { state in entries.map { state.active[$0.id]?.entry ?? $0 } }
    }

    /// Deletes a recording and its file. Errors: `unknownRecording`, `stillRecording`, `catalogUnavailable`, `storage`.
    package func delete(_ id: String) async throws(RecorderError) {
        let entry = try await self.recording(id)
        guard self.state.withLock({ $0.active[id] == nil }) else { throw .stillRecording }
        let deletion: Result<Void, StorageError> = await withCheckedContinuation { continuation in
            self.storage.delete(entry.path) { continuation.resume(returning: $0) }
        }
        if case .failure(let error) = deletion { throw .storage(error) }
        do { try await self.database.markDeleted(id) } catch { throw .catalogUnavailable }
        self.library.forget(id)
        self.wakeReports()
    }

    // MARK: Reports to the coordinator

    /// Tells the coordinator of one recording as it is now; true when the coordinator has it.
    package typealias Report = @Sendable (RecordingEntry) async -> Bool

    /// How many are told in one go.
    private static let reportBatch = 100

    /// Tells the coordinator of each recording that is new or changed, until it is acknowledged; runs until its task is
    /// cancelled or the recorder is closed. After a failure it waits 1 s, then up to 30 s.
    package func runReports(_ report: @escaping Report) async {
        var pause = Duration.seconds(1)
        while !Task.isCancelled, !self.state.withLock({ $0.isClosed }) {
            if await self.reportAll(report) {
                pause = .seconds(1)
                await self.waitForReports()
            } else {
                guard (try? await Task.sleep(for: pause)) != nil else { return }
                pause = min(pause * 2, .seconds(30))
            }
        }
    }

    /// The coordinator lost its list, or is another one: all recordings are told again.
    package func reportEverything() async {
        // A catalogue that does not answer now is asked again with the next call; what changes meanwhile is told.
        try? await self.database.markAllUnreported()
        self.wakeReports()
    }

    /// Returns whether nothing is left.
    private func reportAll(_ report: Report) async -> Bool {
        self.state.withLock { $0.hasReports = false }
        await self.database.flush()
        while !Task.isCancelled {
            guard let batch = try? await self.database.unreportedRecordings(limit: Self.reportBatch) else {
                return false
            }
            for recording in batch {
                guard await report(recording.entry), (try? await self.database.markReported(recording)) != nil else {
                    return false
                }
            }
            guard !batch.isEmpty else { return true }
        }
        return true
    }

    private func waitForReports() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isDue = self.state.withLock { state in
                    guard !state.hasReports, !state.isClosed, !Task.isCancelled, state.reportWaiter == nil else {
                        return true
                    }
                    state.reportWaiter = continuation
                    return false
                }
                if isDue { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.reportWaiter.take() }?.resume()
        }
    }

    func wakeReports() {
        let waiter = self.state.withLock { state in
            state.hasReports = true
            return state.reportWaiter.take()
        }
        waiter?.resume()
    }
}
