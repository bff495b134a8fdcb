package import Logging
package import Media
package import MediaCatalog
package import MediaObjects
package import MediaStorage
package import NIOCore
package import Packaging
package import StreamHub
import Synchronization

/// Packages the streams of an origin and serves what it made: playlists, segments, parts and keys.
///
/// `attach` lets a stream be packaged, on its home loop; `reply` answers on any loop from memory or names a file. Files
/// are written by `StorageWriters` and listed in the `MediaDatabase`; without them all is in memory. `restore` once
/// before streams come, `run` as long as the origin runs: it is the janitor.
package final class SegmentStore: MediaObjectSource {
    private struct State {
        var shelves: [StreamKey: StreamShelf] = [:]
        var taps: [StreamKey: Attached] = [:]
        /// Where streams go on that have no shelf, with the wall clock of when that was learned.
        var positions: [StreamKey: PackagingPosition] = [:]
    }

    private struct Attached {
        var tap: PackagingTap
        weak var stream: LiveStream?
    }

    private let context: StoreContext
    private let configuration: @Sendable (StreamKey) -> SegmentStoreConfiguration?
    private let members: @Sendable (StreamKey) -> [StreamKey]
    private let hasGroups: @Sendable (StreamKey) -> Bool
    private let state = Mutex(State())

    /// `configuration` says how a stream is packaged; `nil`: it is not. `members` names the streams of a declared group;
    /// `hasGroups` whether streams `name_…` are one of `name`.
    /// `catalog` is `nil` for an origin that writes nothing.
    /// `onSegment` is called for each segment when its file is complete, on the thread of the disk; for segments without a
    /// file, on the stream's home loop. It must not block.
    package init(
        catalog: MediaDatabase?, writers: StorageWriters, logger: Logger,
        members: @escaping @Sendable (StreamKey) -> [StreamKey] = { _ in [] },
        hasGroups: @escaping @Sendable (StreamKey) -> Bool = { _ in true },
        onSegment: @escaping @Sendable (FinishedSegment) -> Void = { _ in },
        configuration: @escaping @Sendable (StreamKey) -> SegmentStoreConfiguration?
    ) {
        self.context = StoreContext(catalog: catalog, writers: writers, logger: logger, onSegment: onSegment)
        self.members = members
        self.hasGroups = hasGroups
        self.configuration = configuration
    }

    // MARK: Streams

    /// Packages a stream from now on, if its settings say so. Call on the stream's home loop when it has, or will have,
    /// a publisher; again is harmless.
    package func attach(to stream: LiveStream) {
        stream.home.assertInEventLoop()
        guard let configuration = self.configuration(stream.key) else { return self.detach(from: stream) }
        let (tap, old) = self.state.withLock { state -> (PackagingTap?, StreamShelf?) in
            var shelf = state.shelves[stream.key]
            var old: StreamShelf?
            if let attached = state.taps[stream.key], attached.stream === stream,
                attached.tap.shelf.configuration == configuration, attached.tap.shelf === shelf
            {
                return (nil, nil)
            }
            if let found = shelf, found.configuration != configuration {
                old = found
                state.positions[stream.key] = found.position
                shelf = nil
            }
            let used =
                shelf
                ?? StreamShelf(
                    key: stream.key, configuration: configuration, context: self.context,
                    position: state.positions.removeValue(forKey: stream.key))
            state.shelves[stream.key] = used
            let tap = PackagingTap(shelf: used)
            if let former = state.taps.updateValue(Attached(tap: tap, stream: stream), forKey: stream.key),
                former.stream === stream
            {
                stream.detach(former.tap)
            }
            return (tap, old)
        }
        old?.dispose(nowMillis: WallClock.unixMillis)
        if let tap { stream.attach(tap) }
    }

    /// Packages a stream no longer; what was made of it goes when its time is over. Call on the stream's home loop.
    package func detach(from stream: LiveStream) {
        stream.home.assertInEventLoop()
        let tap = self.state.withLock { state -> PackagingTap? in
            guard let attached = state.taps[stream.key], attached.stream === stream else { return nil }
            state.taps[stream.key] = nil
            return attached.tap
        }
        guard let tap else { return }
        stream.detach(tap)
        tap.sourceEnded(isFinal: true)
    }

    /// Where a stream that is packaged here stands, for the coordinator; `nil` while no time of it is known.
    package func position(of key: StreamKey) -> PackagingPosition? {
        let position = self.state.withLock { $0.shelves[key]?.position ?? $0.positions[key] }
        return position.flatMap { $0.endMillis > 0 ? $0 : nil }
    }

    /// Tells where a stream stood when it was last reported in the cluster. If this origin does not know better, it goes
    /// on `slack` numbers further: the segments that the other origin wrote since. Before the publisher is activated.
    package func seed(_ position: PackagingPosition, for key: StreamKey, slack: UInt64 = 64) {
        self.state.withLock { state in
            let shelf = state.shelves[key]
            let known = shelf?.position ?? state.positions[key]
            // What this origin wrote itself it knows exactly.
            if let known, known.nextSequence >= position.nextSequence { return }
            let next = position.advanced(by: slack)
            if let shelf { shelf.advance(to: next) } else { state.positions[key] = next }
        }
    }

    // MARK: Answers

    package func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        let shelf = self.state.withLock { $0.shelves[request.key] }
        if request.name == .multivariant, shelf == nil {
            if let answer = self.group(request) { return .now(answer) }
        }
        guard let shelf else { return .now(.notFound("no such stream")) }
        return shelf.reply(to: request, on: loop)
    }

    /// Whether this origin has playlists of the stream, published or not.
    package func holds(_ key: StreamKey) -> Bool { self.state.withLock { $0.shelves[key]?.isServing ?? false } }

    /// The multivariant playlist of a group, if streams of it are here.
    private func group(_ request: MediaObjectRequest) -> MediaObjectAnswer? {
        guard self.hasGroups(request.key) else { return nil }
        let declared = self.members(request.key)
        let prefix = request.key.name + "_"
        let shelves = self.state.withLock { state -> [StreamShelf] in
            if !declared.isEmpty { return declared.compactMap { state.shelves[$0] } }
            return state.shelves.values.filter {
                $0.key.vhost == request.key.vhost && $0.key.app == request.key.app && $0.key.name.hasPrefix(prefix)
            }
        }
        let members = shelves.compactMap { shelf in
            shelf.variant.map { VariantMember(folder: shelf.folder, facts: $0.facts) }
        }
        guard !members.isEmpty else { return nil }
        var bytes = ByteBuffer()
        GroupPlaylist.write(members, rewindSeconds: request.query.rewindSeconds, into: &bytes)
        let target = shelves.compactMap { $0.variant?.targetDurationSeconds }.min() ?? 2
        return .object(
            MediaObject(
                body: .bytes(bytes), gzip: Gzip.compress(bytes), contentType: MediaObject.ContentType.hls,
                etag: ETag.of(bytes), lifetime: .seconds(Double(target) / 2)))
    }

    // MARK: Life

    /// Lists what was on disk before a restart, so that players go on and numbers do. Call once, before any `attach`.
    package func restore() async {
        guard let catalog = self.context.catalog else { return }
        do throws(MediaDatabaseError) {
            let windows = try await catalog.windows()
            let positions = try await catalog.positions()
            let now = WallClock.unixMillis
            var shelves: [StreamKey: StreamShelf] = [:]
            for window in windows {
                guard let configuration = self.configuration(window.key), configuration.disk != nil else {
                    catalog.expireAll(window.key, atMillis: now)
                    continue
                }
                let shelf = StreamShelf(
                    key: window.key, configuration: configuration, context: self.context, position: nil)
                await shelf.restore(window, nowMillis: now)
                shelves[window.key] = shelf
            }
            let restored = shelves
            self.state.withLock { state in
                for (key, shelf) in restored where state.shelves[key] == nil { state.shelves[key] = shelf }
                for (key, position) in positions where state.shelves[key] == nil {
                    state.positions[key] = position.packaging
                }
            }
        } catch {
            self.context.logger.error("segments of before the start are not listed: \(error)")
        }
    }

    /// Looks after memory and disk every second until the task is cancelled.
    package func run() async {
        var janitor = Janitor(context: self.context, configuration: self.configuration)
        while !Task.isCancelled {
            let now = WallClock.unixMillis
            self.tick(nowMillis: now)
            await janitor.work(nowMillis: now)
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// Lets go what is due in memory, and streams of which nothing is left.
    func tick(nowMillis: Int64) {
        for shelf in self.state.withLock({ Array($0.shelves.values) }) where shelf.tick(nowMillis: nowMillis) {
            self.state.withLock { state in
                if let attached = state.taps[shelf.key], attached.tap.shelf === shelf {
                    guard attached.stream == nil else { return }
                    state.taps[shelf.key] = nil
                }
                guard state.shelves[shelf.key] === shelf else { return }
                state.shelves[shelf.key] = nil
                state.positions[shelf.key] = shelf.position
            }
        }
        // A stream that nothing is known of starts beyond all its numbers of more than a day ago.
        self.state.withLock { state in
            state.positions = state.positions.filter { $0.value.endMillis > nowMillis - Janitor.positionMillis }
        }
    }

    /// What is known of each stream now, in the order of their names.
    package func statistics() -> [SegmentStoreStatistics] {
        self.state.withLock { Array($0.shelves.values) }.map { $0.statistics() }
            .sorted { ($0.key.vhost, $0.key.app, $0.key.name) < ($1.key.vhost, $1.key.app, $1.key.name) }
    }

    /// What is known of one stream.
    package func statistics(of key: StreamKey) -> SegmentStoreStatistics? {
        self.state.withLock { $0.shelves[key] }?.statistics()
    }
}
