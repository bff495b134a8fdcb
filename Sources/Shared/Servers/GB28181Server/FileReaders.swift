import Media
import NIOCore
import Synchronization

/// When somebody read files of a channel's stream last. From any thread.
final class FileReaders: Sendable {
    /// More than that many channels at once are played by sessions, too.
    private static let maximumStreams = 10_000

    private let times = Mutex<[StreamKey: NIODeadline]>([:])

    func note(_ key: StreamKey, now: NIODeadline) {
        self.times.withLock { times in
            if times[key] == nil, times.count >= Self.maximumStreams { times.removeAll(keepingCapacity: true) }
            times[key] = now
        }
    }

    func lastRead(of key: StreamKey) -> NIODeadline? { self.times.withLock { $0[key] } }

    func forget(_ key: StreamKey) { self.times.withLock { $0[key] = nil } }
}
