package import AsyncHTTPClient
package import Logging
package import Media
package import MediaObjects
package import NIOCore
import Synchronization

/// The cache of objects that other nodes have: playlists, segments, keys, pictures, recordings.
///
/// A request is answered from memory on the spot, or waits for the one fetch of its object. All rules are `CacheTable`'s;
/// this class locks it, runs a task for each fetch, and hands the answers over with one hop to each event loop that has
/// requests waiting. `UpstreamFetcher` speaks with the other nodes.
///
/// Viewers who left while they waited are not noticed: their place is held until the object's fetch ends, which has a
/// deadline. Range requests, conditions and codings are matters of whoever sends the objects.
package final class ObjectCache: MediaObjectSource {
    private typealias Table = CacheTable<EventLoopPromise<MediaObjectAnswer>>

    /// A request that waits for its turn to be asked again, or a fetch that can be told to begin anew.
    private typealias Wakeups = [StreamKey: [UInt64: AsyncStream<Void>.Continuation]]

    private let configuration: ObjectCacheConfiguration
    private let resolver: ObjectCacheResolver
    private let fetcher: UpstreamFetcher
    private let group: any EventLoopGroup
    private let table: Mutex<Table>
    private let wakeups = Mutex<(next: UInt64, streams: Wakeups)>((0, [:]))
    private let failures: FailureLog

    /// Makes an empty cache. `http` comes from `clientConfiguration(_:)` and is shut down by its owner after this cache is.
    package init(
        configuration: ObjectCacheConfiguration, http: HTTPClient, resolver: ObjectCacheResolver, logger: Logger
    ) {
        let failures = FailureLog(logger)
        self.configuration = configuration
        self.resolver = resolver
        self.group = http.eventLoopGroup
        self.failures = failures
        self.table = Mutex(Table(configuration: configuration))
        self.fetcher = UpstreamFetcher(
            http: http, configuration: configuration, resolver: resolver,
            places: LastPlaces(limit: configuration.maximumStreams),
            onFailure: { key, upstream, text in failures.note(key, upstream, text) })
    }

    /// How the client of a cache has to be set: it follows no redirects, tries nothing again by itself, and opens as many
    /// connections to one node as blocking requests may hold.
    package static func clientConfiguration(_ configuration: ObjectCacheConfiguration) -> HTTPClient.Configuration {
        var client = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(
                connect: configuration.connectDeadline,
                read: max(configuration.idleDeadline, configuration.waitDeadline)))
        client.httpVersion = .http1Only
        client.decompression = .disabled
        client.connectionPool.retryConnectionEstablishment = false
        client.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.maximumConnectionsPerNode
        client.connectionPool.idleTimeout = .seconds(30)
        return client
    }

    /// What it did and holds.
    package var statistics: ObjectCacheStatistics { self.table.withLock { $0.statistics } }

    package func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        guard request.hops < self.configuration.maximumHops else {
            return .now(.unavailable("the request came over too many nodes"))
        }
        var promise: EventLoopPromise<MediaObjectAnswer>?
        let decision = self.table.withLock { table in
            table.request(request, loop: ObjectIdentifier(loop), now: .now()) {
                let made = loop.makePromise(of: MediaObjectAnswer.self)
                promise = made
                return made
            }
        }
        switch decision {
        case .answer(let answer): return .now(answer)
        case .wait: break
        case .fetch(let order): self.start(order)
        case .passThrough(let request):
            let made = loop.makePromise(of: MediaObjectAnswer.self)
            promise = made
            self.pass(request, to: made)
        }
        guard let promise else { preconditionFailure("a request that waits has a promise") }
        return .later(promise.futureResult)
    }

    /// The stream's place has changed: blocking requests that wait at the old one ask again at the new one.
    package func streamMoved(_ key: StreamKey) {
        let waiting = self.wakeups.withLock { Array(($0.streams[key] ?? [:]).values) }
        for wakeup in waiting { wakeup.yield() }
    }

    /// Answers all that wait, and fetches nothing any more. What is in memory is still served.
    package func shutdown() {
        let ended = self.table.withLock { $0.close(.unavailable("the node is stopping")) }
        for (answer, waiters) in ended { Self.hand(answer, to: waiters) }
        let waiting = self.wakeups.withLock { wakeups in
            defer { wakeups.streams = [:] }
            return wakeups.streams.values.flatMap(\.values)
        }
        for wakeup in waiting { wakeup.yield() }
    }

    // MARK: Fetching

    private func start(_ order: FetchOrder) {
        // A request comes on an event loop; its fetch is not tied to it, since others wait for it too. It ends by the
        // order's deadline.
        Task { await self.run(order) }
    }

    private func run(_ first: FetchOrder) async {
        var order = first
        while true {
            let result = await self.load(order)
            let next = self.table.withLock { table -> Table.Completion? in
                // After a shutdown nobody waits.
                table.isClosed ? nil : table.complete(order.request, result, now: .now())
            }
            switch next {
            case nil: return
            case .release(let answer, let waiters): return Self.hand(answer, to: waiters)
            case .retry(let pause, let again):
                try? await Task.sleep(nanoseconds: UInt64(max(pause.nanoseconds, 0)))
                order = again
            case .split(let request, let waiters): return self.split(request, waiters)
            }
        }
    }

    private func load(_ order: FetchOrder) async -> FetchResult {
        if order.request.name == .multivariant {
            let members = await self.resolver.groupMembers(order.request.key)
            if !members.isEmpty { return await self.assemble(order, members) }
        }
        guard order.request.query.isBlocking else {
            let limit = (order.deadline - .now()) + self.configuration.bodyDeadline
            return await UpstreamFetcher.within(limit) { await self.fetcher.fetch(order) }
                ?? .failed("no node answered in time")
        }
        return await self.wait(order)
    }

    /// A fetch that `streamMoved` can interrupt.
    private func wait(_ order: FetchOrder) async -> FetchResult {
        let key = order.request.key
        let (moves, move) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let id = self.wakeups.withLock { wakeups in
            wakeups.next += 1
            wakeups.streams[key, default: [:]][wakeups.next] = move
            return wakeups.next
        }
        defer {
            self.wakeups.withLock { wakeups in
                wakeups.streams[key]?[id] = nil
                if wakeups.streams[key]?.isEmpty == true { wakeups.streams[key] = nil }
            }
        }
        let limit = (order.deadline - .now()) + self.configuration.bodyDeadline
        return await withTaskGroup(of: FetchResult.self) { group in
            group.addTask {
                await UpstreamFetcher.within(limit) { await self.fetcher.fetch(order) }
                    ?? .failed("no node answered in time")
            }
            group.addTask {
                for await _ in moves { break }
                return .failed("the stream has moved")
            }
            defer { group.cancelAll() }
            return await group.next() ?? .failed("no node answered")
        }
    }

    /// One hop to each event loop, however many wait there.
    private static func hand(
        _ answer: MediaObjectAnswer, to waiters: [ObjectIdentifier: [EventLoopPromise<MediaObjectAnswer>]]
    ) {
        for promises in waiters.values {
            guard let loop = promises.first?.futureResult.eventLoop else { continue }
            loop.execute {
                for promise in promises { promise.succeed(answer) }
            }
        }
    }

    // MARK: Groups

    /// The multivariant playlist of a group whose members may be on several nodes.
    private func assemble(_ order: FetchOrder, _ members: [StreamKey]) async -> FetchResult {
        let answers = await withTaskGroup(of: (Int, MediaObjectAnswer).self) { group in
            for (index, member) in members.prefix(self.configuration.maximumGroupMembers).enumerated() {
                group.addTask { (index, await self.answer(to: MediaObjectRequest(key: member, name: .info))) }
            }
            var answers: [(Int, MediaObjectAnswer)] = []
            for await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }
        }
        var found: [GroupMember] = []
        var lifetime: Double = 2
        var failure: String?
        for (index, answer) in answers {
            switch answer {
            case .object(let object):
                guard case .bytes(let bytes) = object.body else { continue }
                found.append(GroupMember(key: members[index], info: bytes))
                if case .seconds(let seconds) = object.lifetime { lifetime = min(lifetime, seconds) }
            case .unavailable(let text): failure = text
            default: continue
            }
        }
        guard !found.isEmpty, let bytes = self.resolver.multivariant(order.request.key, found) else {
            return failure.map { .failed($0) } ?? .notFound("no stream of the group is published")
        }
        return .object(
            MediaObject(
                body: .bytes(bytes), gzip: Gzip.compress(bytes), contentType: MediaObject.ContentType.hls,
                etag: ContentTag.of(bytes), lifetime: .seconds(failure == nil ? lifetime : 1), storedAt: .now()),
            nil)
    }

    /// The answer to a request of the cache's own.
    private func answer(to request: MediaObjectRequest) async -> MediaObjectAnswer {
        switch self.reply(to: request, on: self.group.next()) {
        case .now(let answer): return answer
        case .later(let future):
            do { return try await future.get() } catch { return .unavailable("\(error)") }
        }
    }

    // MARK: Passing through

    private func pass(_ request: MediaObjectRequest, to promise: EventLoopPromise<MediaObjectAnswer>) {
        // Asked for on an event loop. The task ends when the other node's answer has begun, or by its deadline; the rest
        // belongs to the viewer.
        Task {
            let answer = await self.fetcher.open(request) { [weak self] in
                self?.table.withLock { $0.passThroughEnded() }
            }
            promise.succeed(answer)
        }
    }

    private func split(
        _ request: MediaObjectRequest, _ waiters: [ObjectIdentifier: [EventLoopPromise<MediaObjectAnswer>]]
    ) {
        for promise in waiters.values.joined() {
            if self.table.withLock({ $0.beginPassThrough() }) {
                self.pass(request, to: promise)
            } else {
                promise.succeed(.unavailable("too many objects are passed through"))
            }
        }
    }
}

/// Logs what went wrong between nodes, at most once a second.
private final class FailureLog: Sendable {
    private let logger: Logger
    private let state = Mutex<(next: NIODeadline, skipped: Int)>((.uptimeNanoseconds(0), 0))

    init(_ logger: Logger) { self.logger = logger }

    func note(_ key: StreamKey, _ upstream: ObjectUpstream, _ text: String) {
        let skipped = self.state.withLock { state -> Int? in
            let now = NIODeadline.now()
            guard now >= state.next else {
                state.skipped += 1
                return nil
            }
            defer { state = (now + .seconds(1), 0) }
            return state.skipped
        }
        guard let skipped else { return }
        self.logger.warning(
            "an object could not be fetched from another node",
            metadata: ["stream": "\(key)", "peer": "\(upstream.node)", "reason": "\(text)", "skipped": "\(skipped)"])
    }
}
