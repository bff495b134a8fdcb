import ISOBMFF
import Media
import MediaStorage
import NIOCore
import NIOPosix
import Recording
import Synchronization

/// Makes MP4 files of ranges of recordings, and keeps them for a while.
///
/// Each file is made once for all who ask for it. Their number and size are bounded; the one that was unused for longest
/// makes room, none that was used in the last minute.
final class RecordingDownloads: Sendable {
    typealias Part = (recording: PlayableRecording, range: Range<Int>)

    enum Answer: Sendable {
        case file(path: String, byteCount: Int64)
        /// No room, or still being made when the deadline came.
        case busy
        case failed(any Error)
    }

    private enum Download {
        case making([EventLoopPromise<Answer>], byteCount: Int64)
        case ready(byteCount: Int64, lastUse: NIODeadline)

        var byteCount: Int64 {
            switch self {
            case .making(_, let count), .ready(let count, _): count
            }
        }
    }

    private enum Step {
        case answer(Answer)
        case wait
        case make(removing: [String])
    }

    /// A file that was used this recently may still be on its way to somebody.
    private static let inUse = TimeAmount.minutes(1)
    private static let maximumWaiters = 100

    private let folder: String
    private let limits: RecorderLimits
    private let pool: NIOThreadPool
    private let downloads = Mutex<[String: Download]>([:])

    init(folder: String, limits: RecorderLimits, pool: NIOThreadPool) {
        self.folder = folder
        self.limits = limits
        self.pool = pool
    }

    /// Removes what a process before this one left.
    func removeAll() {
        self.pool.submit { _ in
            for name in DiskFile.names(in: self.folder) where self.downloads.withLock({ $0[name] == nil }) {
                DiskFile.remove("\(self.folder)/\(name)")
            }
        }
    }

    /// Removes what nobody used for its lifetime.
    func removeExpired() {
        let limit = NIODeadline.now() - self.limits.downloadLifetime
        let expired = self.downloads.withLock { downloads -> [String] in
            let names = downloads.compactMap { name, download -> String? in
                if case .ready(_, let lastUse) = download, lastUse < limit { name } else { nil }
            }
            for name in names { downloads[name] = nil }
            return names
        }
        self.remove(expired)
    }

    private func remove(_ names: [String]) {
        guard !names.isEmpty else { return }
        self.pool.submit { _ in for name in names { DiskFile.remove("\(self.folder)/\(name)") } }
    }

    /// The file `name` of `parts`. Completes on `loop` within the deadline.
    func file(
        _ name: String, of parts: [Part], byteCount: Int64, library: RecordingLibrary, on loop: any EventLoop
    ) -> EventLoopFuture<Answer> {
        let promise = loop.makePromise(of: Answer.self)
        switch self.step(name, byteCount: byteCount, promise: promise) {
        case .answer(let answer): promise.succeed(answer)
        case .wait: break
        case .make(let removed):
            self.remove(removed)
            self.pool.submit { _ in self.make(name, parts, library) }
        }
        let answer = loop.makePromise(of: Answer.self)
        let timer = loop.scheduleTask(in: self.limits.downloadDeadline) { answer.succeed(.busy) }
        promise.futureResult.whenSuccess { result in
            timer.cancel()
            // After the deadline the answer was given, and this does nothing.
            answer.succeed(result)
        }
        return answer.futureResult
    }

    private func step(_ name: String, byteCount: Int64, promise: EventLoopPromise<Answer>) -> Step {
        let now = NIODeadline.now()
        return self.downloads.withLock { downloads -> Step in
            switch downloads[name] {
            case .ready(let count, _):
                downloads[name] = .ready(byteCount: count, lastUse: now)
                return .answer(.file(path: "\(self.folder)/\(name)", byteCount: count))
            case .making(var promises, let count):
                guard promises.count < Self.maximumWaiters else { return .answer(.busy) }
                promises.append(promise)
                downloads[name] = .making(promises, byteCount: count)
                return .wait
            case nil:
                guard let removed = self.makeRoom(for: byteCount, in: &downloads, now: now) else {
                    return .answer(.busy)
                }
                downloads[name] = .making([promise], byteCount: byteCount)
                return .make(removing: removed)
            }
        }
    }

    /// Takes the files away that must go; `nil` if there is no room without those that are in use.
    private func makeRoom(
        for byteCount: Int64, in downloads: inout [String: Download], now: NIODeadline
    ) -> [String]? {
        guard byteCount <= self.limits.maximumDownloadBytes else { return nil }
        var idle = downloads.compactMap { name, download -> (name: String, lastUse: NIODeadline)? in
            guard case .ready(_, let lastUse) = download, lastUse + Self.inUse < now else { return nil }
            return (name, lastUse)
        }.sorted { $0.lastUse > $1.lastUse }
        var removed: [String] = []
        var count = downloads.count
        var bytes = downloads.values.reduce(0) { $0 + $1.byteCount }
        while count >= self.limits.maximumDownloads || bytes + byteCount > self.limits.maximumDownloadBytes {
            guard let next = idle.popLast() else { return nil }
            removed.append(next.name)
            count -= 1
            bytes -= downloads[next.name]?.byteCount ?? 0
        }
        for name in removed { downloads[name] = nil }
        return removed
    }

    /// On a reading thread.
    private func make(_ name: String, _ parts: [Part], _ library: RecordingLibrary) {
        let path = "\(self.folder)/\(name)"
        var temporary = [path + ".part"]
        let answer: Answer
        do {
            try DiskFile.makeFolder(self.folder)
            let (plan, sources, copies) = try library.join(parts, folder: self.folder, name: name)
            temporary += copies
            let target = try DiskFile.create(path + ".part")
            try target.append(plan, from: sources)
            DiskFile.remove(path)
            _ = try DiskFile.rename(path + ".part", toFree: path)
            answer = .file(path: path, byteCount: plan.byteCount)
        } catch {
            answer = .failed(error)
        }
        for path in temporary { DiskFile.remove(path) }
        let waiting = self.downloads.withLock { downloads -> [EventLoopPromise<Answer>] in
            guard case .making(let promises, _) = downloads[name] else { return [] }
            if case .file(_, let count) = answer {
                downloads[name] = .ready(byteCount: count, lastUse: .now())
            } else {
                downloads[name] = nil
            }
            return promises
        }
        for promise in waiting { promise.succeed(answer) }
    }
}
