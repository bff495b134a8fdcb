import Crypto
package import Logging
package import Media
package import MediaObjects
package import MediaStorage
package import NIOCore
package import StreamHub
import Synchronization

/// Gives out the last keyframe of each stream as a picture, on demand, and writes it to disk once in a while.
///
/// One picture is made at a time for a stream, whoever asks for it, and given out for a second. A keyframe that was
/// coded already is not coded again. Keyframes are those of a stream's GOP cache; a stream without one has no pictures.
package final class SnapshotService: MediaObjectSource {
    /// The answer that is there, or who waits for it.
    struct Entry {
        /// The last picture, with the frame that it was made of.
        var picture: (frame: Frame, configuration: SnapshotConfiguration, object: MediaObject)?
        /// Until then the picture is given out as it is.
        var freshUntil = NIODeadline.uptimeNanoseconds(0)
        /// Those who wait for the next one; `nil`: none is being made.
        var waiters: [Waiter]?
    }

    struct State {
        var entries: [StreamKey: Entry] = [:]
        var timers: [StreamKey: PeriodicSnapshot] = [:]
        var isClosed = false
    }

    private let hub: StreamHub
    let storage: StorageWriter?
    let renderer: SnapshotRenderer
    let logger: Logger
    private let limits: SnapshotLimits
    let settings: @Sendable (StreamKey) -> SnapshotConfiguration?
    let state = Mutex(State())

    /// `settings` gives what is to be made of a stream, `nil` for nothing; it is asked on any thread. Without `storage`
    /// nothing is written. Close it before the last reference goes.
    package init(
        hub: StreamHub, storage: StorageWriter?, logger: Logger, limits: SnapshotLimits = SnapshotLimits(),
        settings: @escaping @Sendable (StreamKey) -> SnapshotConfiguration?
    ) {
        self.hub = hub
        self.storage = storage
        self.logger = logger
        self.limits = limits
        self.settings = settings
        self.renderer = SnapshotRenderer(limits: limits, logger: logger)
    }

    // MARK: Answers

    /// Answers requests for `.snapshot`; others are not found.
    package func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        guard request.name == .snapshot, let configuration = self.settings(request.key) else {
            return .now(.notFound("no pictures are made of \(request.key)"))
        }
        guard let stream = self.hub.existing(request.key) else {
            self.state.withLock { $0.forget(request.key) }
            return .now(.notFound("nobody publishes \(request.key)"))
        }
        let waiter = Waiter(loop: loop)
        switch self.state.withLock({ $0.join(request.key, waiter, now: .now(), limits: self.limits) }) {
        case .object(let object): return .now(.object(object))
        case .refused: return .now(.unavailable("too many wait for the picture"))
        case .waits:
            break
        case .leads:
            stream.home.execute { self.make(of: stream, as: configuration) }
        }
        return .later(waiter.answer(within: self.limits.deadline))
    }

    /// Makes the picture that others wait for. On the stream's home loop.
    private func make(of stream: LiveStream, as configuration: SnapshotConfiguration) {
        guard let found = stream.lastKeyframe() else {
            return self.finish(stream.key, .notFound("\(stream.key) has no video now"))
        }
        let known = self.state.withLock { $0.entries[stream.key]?.picture }
        if let known, known.frame == found.frame, known.configuration == configuration {
            return self.finish(stream.key, .object(known.object))
        }
        self.renderer.render(found.frame, of: found.track, as: configuration) { result in
            switch result {
            case .success(let bytes):
                let object = Self.object(bytes)
                self.state.withLock {
                    $0.entries[stream.key]?.picture = (found.frame, configuration, object)
                }
                self.finish(stream.key, .object(object))
            case .failure(let error):
                self.finish(stream.key, self.answer(for: error, stream.key))
            }
        }
    }

    private func answer(for error: SnapshotError, _ key: StreamKey) -> MediaObjectAnswer {
        switch error {
        case .busy, .timedOut, .closed, .outOfMemory:
            return .unavailable("no time for pictures now: \(error)")
        case .unsupportedCodec(let codec):
            return .notFound("no pictures are made of \(codec.rawValue)")
        case .configuration, .decoding, .noPicture, .damagedPicture, .unusableSize, .scaling, .encoding:
            self.logger.debug("a keyframe gave no picture: \(error)", metadata: ["stream": "\(key)"])
            return .notFound("the keyframe gives no picture")
        }
    }

    /// Tells those who wait. Any thread.
    private func finish(_ key: StreamKey, _ answer: MediaObjectAnswer) {
        let waiters = self.state.withLock { state -> [Waiter] in
            let waiters = state.entries[key]?.waiters ?? []
            state.entries[key]?.waiters = nil
            if case .object = answer {
                state.entries[key]?.freshUntil = .now() + self.limits.lifetime
            } else {
                state.forget(key)
            }
            return waiters
        }
        for waiter in waiters { waiter.complete(answer) }
    }

    static func object(_ bytes: ByteBuffer) -> MediaObject {
        let tag = SHA256.hash(data: Array(bytes.readableBytesView)).prefix(12).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }
        return MediaObject(
            body: .bytes(bytes), contentType: MediaObject.ContentType.jpeg, etag: tag.joined(), lifetime: .seconds(1))
    }

    // MARK: Life

    /// Ends the timers and the threads. Those who wait get `unavailable`.
    package func close() async {
        let timers = self.state.withLock { state in
            state.isClosed = true
            defer { state.timers = [:] }
            return Array(state.timers.values)
        }
        for timer in timers { timer.stop() }
        await self.renderer.close()
    }

    /// Pictures made, failures, and how many wait for a thread.
    package var counters: (made: UInt64, failed: UInt64, waiting: Int) { self.renderer.counters }
}

extension SnapshotService.State {
    enum Join {
        case object(MediaObject)
        /// The caller has to make the picture.
        case leads
        /// Another does.
        case waits
        case refused
    }

    /// Lets a viewer have the picture, or wait for it.
    mutating func join(_ key: StreamKey, _ waiter: Waiter, now: NIODeadline, limits: SnapshotLimits) -> Join {
        guard !self.isClosed else { return .refused }
        if let waiters = self.entries[key]?.waiters {
            guard waiters.count < limits.maximumViewers else { return .refused }
            self.entries[key]?.waiters?.append(waiter)
            return .waits
        }
        if let entry = self.entries[key], now < entry.freshUntil, let picture = entry.picture {
            return .object(picture.object)
        }
        if self.entries[key] == nil, self.entries.count >= limits.maximumStreams {
            guard self.makeRoom(now: now) else { return .refused }
        }
        self.entries[key, default: SnapshotService.Entry()].waiters = [waiter]
        return .leads
    }

    /// Lets the picture go that was asked for longest ago, unless somebody waits for it.
    private mutating func makeRoom(now: NIODeadline) -> Bool {
        let idle = self.entries.filter { $0.value.waiters == nil }
        guard let oldest = idle.min(by: { $0.value.freshUntil < $1.value.freshUntil }) else { return false }
        self.entries[oldest.key] = nil
        return true
    }

    /// The stream is gone, or has no picture.
    mutating func forget(_ key: StreamKey) {
        if self.entries[key]?.waiters == nil { self.entries[key] = nil }
    }
}

/// A viewer who waits for a picture, on a loop.
// Safety: `promise` and `timer` are touched on `loop` only.
final class Waiter: @unchecked Sendable {
    private let loop: any EventLoop
    private var promise: EventLoopPromise<MediaObjectAnswer>?
    private var timer: Scheduled<Void>?

    init(loop: any EventLoop) { self.loop = loop }

    /// What completes with the answer, or without one after `limit`. Call it once, on the waiter's loop, in the turn in
    /// which others learn of the waiter: answers take the next turn.
    func answer(within limit: TimeAmount) -> EventLoopFuture<MediaObjectAnswer> {
        self.loop.assertInEventLoop()
        let promise = self.loop.makePromise(of: MediaObjectAnswer.self)
        self.promise = promise
        self.timer = self.loop.assumeIsolated().scheduleTask(in: limit) {
            self.completeNow(.unavailable("the picture took too long"))
        }
        return promise.futureResult
    }

    /// Any thread. The first answer counts.
    func complete(_ answer: MediaObjectAnswer) {
        self.loop.execute { self.completeNow(answer) }
    }

    private func completeNow(_ answer: MediaObjectAnswer) {
        self.timer?.cancel()
        self.timer = nil
        self.promise?.succeed(answer)
        self.promise = nil
    }
}
