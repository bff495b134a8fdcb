import FoundationEssentials
import Media
import MediaObjects
import MediaStorage
import NIOCore
import Packaging
import Playlists
import Synchronization

extension StreamShelf {
    /// How many renderings are kept; each generation has few, whatever viewers ask for.
    private static let maximumRendered = 32

    /// Answers a request for this stream. Called on `loop`.
    func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        switch request.name {
        case .playlist(let tag):
            return self.reply(
                .playlist(tag.packagingTag, sequence: request.query.sequence, part: request.query.part),
                .playlist(
                    tag.packagingTag, isDelta: request.query.skip != nil,
                    rewindSeconds: self.rewind(request.query.rewindSeconds)), on: loop)
        case .multivariant:
            let object = RenderedObject.multivariant(rewindSeconds: self.rewind(request.query.rewindSeconds))
            return self.reply(.overview, object, on: loop)
        case .manifest: return self.reply(.overview, .manifest, on: loop)
        case .info: return self.reply(.overview, .info, on: loop)
        case .part(let tag, let epoch, let sequence, let part):
            return self.reply(
                .part(tag.packagingTag, epoch: epoch, sequence: sequence, part: part), .part(request.name), on: loop)
        case .segment, .initialization, .key: return .now(self.lookUp(request.name))
        case .snapshot, .recording: return .now(.notFound("no such file of this stream"))
        }
    }

    /// How far back a playlist shall reach, in few steps, so that viewers cannot make us render endlessly many.
    private func rewind(_ seconds: Int?) -> Int? {
        let limit = Int(self.configuration.packaging.dvrWindowMillis / 1_000)
        guard let seconds, seconds > 0, limit > 0 else { return nil }
        var step = 30
        while step < seconds, step < limit { step *= 2 }
        return min(step, limit)
    }

    private func reply(
        _ condition: WaitCondition, _ object: RenderedObject, on loop: any EventLoop
    ) -> MediaObjectReply {
        enum Outcome {
            case now(MediaObjectAnswer)
            case render
            case wait(EventLoopFuture<MediaObjectAnswer>, id: UInt64, isNew: Bool, limit: TimeAmount)
        }
        let maximum = self.configuration.maximumWaiters
        let outcome = self.state.withLock { state -> Outcome in
            if let refusal = state.refusal(of: condition) { return .now(refusal) }
            guard state.mustWait(condition) else {
                if let found = state.cached(object) { return .now(.object(found)) }
                return .render
            }
            guard state.waiters.count < maximum else {
                state.counters.refusedWaiters += 1
                return .now(.unavailable("too many requests wait for this stream"))
            }
            let waiter = state.waiters.join(condition, object: object, on: loop, now: .now())
            // RFC 8216bis §6.2.5.2: 503 when what is waited for does not come within three target durations.
            let target = Int64(state.window.targetDurationSeconds ?? 2)
            let limit = TimeAmount.seconds(state.window.isEnded ? target : 3 * target)
            return .wait(waiter.future, id: waiter.id, isNew: waiter.isNew, limit: limit)
        }
        switch outcome {
        case .now(let answer): return .now(answer)
        case .render: return .now(self.answer(object))
        case .wait(let future, let id, let isNew, let limit):
            if isNew {
                loop.scheduleTask(in: limit + PlaylistWaiters.joinTime) { self.giveUp(id: id, condition: condition) }
            }
            return .later(future)
        }
    }

    /// The time of a group of waiters is over. On its loop.
    private func giveUp(id: UInt64, condition: WaitCondition) {
        let (group, isEnded) = self.state.withLock { state in
            let group = state.waiters.take(id: id, of: condition)
            state.counters.expiredWaiters += group?.count ?? 0
            return (group, state.window.isEnded)
        }
        guard let group else { return }
        // A player of a stream that ended asks again and again; it is slowed down, and told no error.
        group.promise.succeed(
            isEnded ? self.answer(group.object) : .unavailable("the stream did not go on in time"))
    }

    /// Completes waiters: each object is made once, each loop is crossed to once.
    func release(_ groups: [WaiterGroup]) {
        guard !groups.isEmpty else { return }
        var answers: [RenderedObject: MediaObjectAnswer] = [:]
        for group in groups where answers[group.object] == nil { answers[group.object] = self.answer(group.object) }
        let made = answers
        for groups in Dictionary(grouping: groups, by: { ObjectIdentifier($0.loop) }).values {
            groups.first?.loop.execute {
                for group in groups {
                    group.promise.succeed(made[group.object] ?? .notFound("the stream has ended"))
                }
            }
        }
    }

    // MARK: Rendered objects

    /// The object as it is now, made if the last one is older than the stream.
    func answer(_ object: RenderedObject) -> MediaObjectAnswer {
        let (window, missing, found) = self.state.withLock { state in
            let found = state.cached(object)
            return (found == nil ? state.window : nil, state.missing, found)
        }
        if let found { return .object(found) }
        guard let window, let made = self.render(object, window, missing: missing) else {
            return .notFound("the stream has no such file")
        }
        self.state.withLock { state in
            guard state.window.generation == window.generation, state.missing == missing else { return }
            if state.renderedGeneration != window.generation || state.rendered.count >= Self.maximumRendered {
                state.rendered.removeAll(keepingCapacity: true)
                state.renderedGeneration = window.generation
            }
            state.rendered[object] = made
        }
        return .object(made)
    }

    private func render(
        _ object: RenderedObject, _ window: StreamWindow, missing: Set<MediaObjectName>
    ) -> MediaObject? {
        var bytes = ByteBuffer()
        let type: String
        switch object {
        case .playlist(let tag, let isDelta, let rewindSeconds):
            guard
                case .playlist(var playlist, let delta) = window.playlist(
                    tag, sequence: nil, part: nil, delta: isDelta, rewindSeconds: rewindSeconds)
            else { return nil }
            Self.markGaps(&playlist, missing)
            playlist.write(into: &bytes, delta: delta)
            type = MediaObject.ContentType.hls
        case .multivariant(let rewindSeconds):
            guard let facts = window.variant() else { return nil }
            GroupPlaylist.write(
                [.init(folder: self.folder, facts: facts)], rewindSeconds: rewindSeconds, into: &bytes)
            type = MediaObject.ContentType.hls
        case .manifest:
            guard let manifest = window.manifest(folder: self.folder, nowMillis: WallClock.unixMillis) else {
                return nil
            }
            manifest.write(into: &bytes)
            type = MediaObject.ContentType.dash
        case .info:
            guard let facts = window.variant(), let data = StoreJSON.encode(facts) else { return nil }
            bytes.writeString(data)
            type = MediaObject.ContentType.json
        case .part: return nil
        }
        return MediaObject(
            body: .bytes(bytes), gzip: Gzip.compress(bytes), contentType: type, etag: ETag.of(bytes),
            lifetime: .seconds(Self.lifetime(of: object, window)))
    }

    /// What is listed and was never written is a gap: players go on behind it.
    static func markGaps(_ playlist: inout MediaPlaylist, _ missing: Set<MediaObjectName>) {
        guard !missing.isEmpty else { return }
        let names = Set(missing.map(\.fileName))
        for index in playlist.segments.indices where names.contains(playlist.segments[index].uri) {
            playlist.segments[index].isGap = true
        }
    }

    /// The last component of the stream's name: the folder that its top playlist refers to.
    var folder: String { String(self.key.name.split(separator: "/").last ?? "") }

    /// Half a target duration, and no longer than a part where playlists change with each.
    private static func lifetime(of object: RenderedObject, _ window: StreamWindow) -> Double {
        let half = Double(window.targetDurationSeconds ?? 2) / 2
        guard case .playlist = object, window.isLive, let part = window.partTargetMillis else { return half }
        return min(half, Double(part) / 1_000)
    }

    // MARK: Bytes

    /// A segment, initialization segment or key, from memory or else from disk.
    func lookUp(_ name: MediaObjectName) -> MediaObjectAnswer {
        let (held, file) = self.state.withLock { ($0.memory[name], $0.files[name]) }
        switch held {
        case .object(let object)?: return .object(object)
        case .pieces(let pieces)?: return .object(self.join(pieces, name))
        case nil: break
        }
        if case .key = name { return .notFound("no such key, or no longer") }
        guard let file else { return .notFound("no such segment, or no longer") }
        return .object(
            MediaObject(
                body: .file(path: file.path, count: file.byteCount), contentType: Self.contentType(of: name),
                etag: ETag.of(name, byteCount: Int(file.byteCount)), lifetime: .immutable))
    }

    /// Makes one body of a segment's pieces, and keeps it for the next request.
    private func join(_ pieces: [ByteBuffer], _ name: MediaObjectName) -> MediaObject {
        var bytes = pieces.count == 1 ? pieces[0] : ByteBuffer()
        if pieces.count != 1 {
            bytes.reserveCapacity(pieces.reduce(0) { $0 + $1.readableBytes })
            for piece in pieces { bytes.writeImmutableBuffer(piece) }
        }
        let object = MediaObject(
            body: .bytes(bytes), contentType: Self.contentType(of: name),
            etag: ETag.of(name, byteCount: bytes.readableBytes), lifetime: .immutable)
        return self.state.withLock { state in
            switch state.memory[name] {
            case .object(let found)?: return found
            case .pieces?:
                state.memory[name] = .object(object)
                return object
            case nil: return object
            }
        }
    }

    private static func contentType(of name: MediaObjectName) -> String {
        switch name {
        case .segment(.main, _, _): MediaObject.ContentType.mpegTS
        case .initialization: MediaObject.ContentType.mp4
        default: MediaObject.ContentType.segment
        }
    }
}

extension StreamShelf.State {
    /// An object that was made of the stream as it is now.
    func cached(_ object: RenderedObject) -> MediaObject? {
        if case .part(let name) = object {
            if case .object(let found)? = self.memory[name] { return found }
            return nil
        }
        return self.renderedGeneration == self.window.generation ? self.rendered[object] : nil
    }

    /// Why a request is answered with an error at once.
    func refusal(of condition: WaitCondition) -> MediaObjectAnswer? {
        guard case .playlist(let tag, let sequence, let part) = condition else { return nil }
        switch self.window.readiness(tag, sequence: sequence, part: part) {
        case .tooFarAhead: return .badRequest("the playlist will not have that segment or part soon")
        case .unknown: return .notFound("the stream has no such playlist")
        case .ready, .wait: return nil
        }
    }
}

/// JSON of what nodes tell each other and of what the catalogue keeps. Equal values give equal text.
enum StoreJSON {
    static func encode(_ value: some Encodable) -> String? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) }
    }

    static func decode<Value: Decodable>(_ type: Value.Type, _ text: String?) -> Value? {
        guard let text else { return nil }
        return try? JSONDecoder().decode(type, from: Data(text.utf8))
    }
}
