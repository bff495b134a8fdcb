import Media
import MediaObjects
import NIOCore

/// The rules of the cache, without sockets and without a clock: what is kept, for how long, who waits for what.
///
/// An object is *stored*, *in flight* with requests that wait for it, *negative* for a moment, or unknown. A request asks
/// `request`; whoever is told to `.fetch` reports once or more often to `complete`, until that releases the requests that
/// wait. Playlists are stored without `_HLS_msn` and `_HLS_part`: what a blocking request brought is the newest playlist
/// for everybody, and answers each blocking request that it satisfies.
///
/// Not safe for several threads; its owner locks. Nothing here takes longer for more waiters, but for handing them over.
struct CacheTable<Waiter> {
    /// What to do with a request.
    enum Decision {
        case answer(MediaObjectAnswer)
        /// The waiter was taken; it is handed over by `complete`.
        case wait
        /// The waiter was taken, and the caller has to fetch.
        case fetch(FetchOrder)
        /// The object is not kept: fetch it for this request alone, then call `passThroughEnded`.
        case passThrough(MediaObjectRequest)
    }

    /// Waiting requests by event loop.
    typealias Waiters = [ObjectIdentifier: [Waiter]]

    /// What to do after a fetch.
    enum Completion {
        case release(MediaObjectAnswer, Waiters)
        /// Nobody is released yet: pause, ask where the object is, fetch again.
        case retry(after: TimeAmount, FetchOrder)
        /// The object is not kept: each of the requests is passed through, as far as `passThrough` allows.
        case split(MediaObjectRequest, Waiters)
    }

    struct Entry {
        var object: MediaObject
        var facts: PlaylistFacts?
        var expires: NIODeadline
        /// Fetches that failed since it was stored.
        var failures = 0
        /// While it is expired, no fetch before this.
        var retryAt: NIODeadline
        var cost: Int
    }

    private struct Flight {
        var waiters: Waiters = [:]
        var waiterCount = 0
        var attempts = 0
        var deadline: NIODeadline
        /// How many nodes the first request came over.
        var hops: Int
    }

    /// How far a stream's playlist had come when it was last answered.
    private struct Progress {
        var position: PlaylistFacts.Position
        var targetSeconds: Int
        var until: NIODeadline
    }

    private struct Negative {
        var answer: MediaObjectAnswer
        var since: NIODeadline
        var until: NIODeadline
    }

    let configuration: ObjectCacheConfiguration
    private var entries = LRUMap<MediaObjectRequest, Entry>()
    private var negatives = LRUMap<MediaObjectRequest, Negative>()
    private var oversized = LRUMap<MediaObjectRequest, NIODeadline>()
    private var progress = LRUMap<MediaObjectRequest, Progress>()
    /// When a playlist or manifest of a stream came last.
    private var announcements = LRUMap<StreamKey, NIODeadline>()
    private var flights: [MediaObjectRequest: Flight] = [:]
    private var counters = ObjectCacheStatistics()
    private(set) var isClosed = false

    init(configuration: ObjectCacheConfiguration) {
        self.configuration = configuration
    }

    var statistics: ObjectCacheStatistics {
        var statistics = self.counters
        statistics.objects = self.entries.count
        statistics.flights = self.flights.count
        return statistics
    }

    /// The keys of what is stored, the most recently used first.
    var storedKeys: [MediaObjectRequest] { self.entries.keys }

    var negativeCount: Int { self.negatives.count }

    // MARK: Requests

    /// Decides about a request. `makeWaiter` is called if the request has to wait.
    mutating func request(
        _ raw: MediaObjectRequest, loop: ObjectIdentifier, now: NIODeadline, makeWaiter: () -> Waiter
    ) -> Decision {
        let request = raw.canonical
        let stored = self.entries.use(request.storage)
        if let stored, self.isFresh(stored, for: request, now: now) {
            self.counters.hits += 1
            return .answer(.object(stored.object))
        }
        if let negative = self.negatives.use(request) {
            if now < negative.until, !self.isAnnounced(request, since: negative) {
                self.counters.negatives += 1
                return .answer(negative.answer)
            }
            self.negatives.remove(request)
        }
        if let stored, !request.query.isBlocking, now < stored.retryAt,
            self.canServeStale(stored, for: request, now: now)
        {
            self.counters.stale += 1
            return .answer(.object(stored.object))
        }
        guard !self.isClosed else { return .answer(.unavailable("the node is stopping")) }
        if self.isPassedThrough(request, now: now) {
            guard self.beginPassThrough() else { return .answer(.unavailable("too many objects are passed through")) }
            return .passThrough(request)
        }
        return self.join(request, loop: loop, now: now, makeWaiter: makeWaiter)
    }

    private mutating func join(
        _ request: MediaObjectRequest, loop: ObjectIdentifier, now: NIODeadline, makeWaiter: () -> Waiter
    ) -> Decision {
        let present = self.flights[request]?.waiterCount
        guard self.counters.waiters < self.configuration.maximumWaiters,
            present ?? 0 < self.configuration.maximumWaitersPerObject,
            present != nil || self.flights.count < self.configuration.maximumFlights
        else {
            self.counters.refused += 1
            return .answer(.unavailable("too many requests wait"))
        }
        self.counters.waiters += 1
        if present != nil {
            // In place: a copy of the waiters for each one that joins would make a crowd quadratic.
            self.flights[request]?.waiters[loop, default: []].append(makeWaiter())
            self.flights[request]?.waiterCount += 1
            self.counters.waits += 1
            return .wait
        }
        let flight = Flight(
            waiters: [loop: [makeWaiter()]], waiterCount: 1, deadline: now + self.patience(for: request, now: now),
            hops: request.hops)
        self.flights[request] = flight
        self.counters.misses += 1
        return .fetch(self.order(for: request, flight))
    }

    private func isFresh(_ entry: Entry, for request: MediaObjectRequest, now: NIODeadline) -> Bool {
        guard now < entry.expires, !self.isBehind(entry.facts, request, now: now) else { return false }
        guard let sequence = request.query.sequence else { return true }
        return entry.facts?.contains(sequence: sequence, part: request.query.part) ?? false
    }

    private func canServeStale(_ entry: Entry, for request: MediaObjectRequest, now: NIODeadline) -> Bool {
        guard request.name.isReplaced, now < entry.expires + self.configuration.staleLimit else { return false }
        guard !self.isBehind(entry.facts, request, now: now) else { return false }
        guard let sequence = request.query.sequence else { return true }
        return entry.facts?.contains(sequence: sequence, part: request.query.part) ?? false
    }

    /// Whether an object that was not there may be by now: somebody asked for it too early, and a playlist that came
    /// since then may list it.
    private func isAnnounced(_ request: MediaObjectRequest, since negative: Negative) -> Bool {
        guard case .notFound = negative.answer, !request.name.isReplaced else { return false }
        return self.announcements.peek(request.key).map { $0 > negative.since } ?? false
    }

    /// Whether a later playlist of the stream was answered before.
    private func isBehind(_ facts: PlaylistFacts?, _ request: MediaObjectRequest, now: NIODeadline) -> Bool {
        guard let facts, let progress = self.progress.peek(request.progress), now < progress.until else { return false }
        return facts.position.isBehind(progress.position)
    }

    private mutating func isPassedThrough(_ request: MediaObjectRequest, now: NIODeadline) -> Bool {
        if case .recording(.file) = request.name { return true }
        guard let until = self.oversized.peek(request) else { return false }
        if now < until { return true }
        self.oversized.remove(request)
        return false
    }

    /// How long a fetch may take, with all that is tried.
    private func patience(for request: MediaObjectRequest, now: NIODeadline) -> TimeAmount {
        let configuration = self.configuration
        guard request.query.isBlocking else {
            return request.name.isReplaced ? configuration.playlistDeadline : configuration.headDeadline
        }
        guard let progress = self.progress.peek(request.progress), now < progress.until else {
            return configuration.waitDeadline
        }
        // The origin gives up after three target durations (RFC 8216bis §6.2.5.2); its answer shall arrive.
        return min(.seconds(Int64(3 * progress.targetSeconds + 1)), configuration.waitDeadline)
    }

    private func order(for request: MediaObjectRequest, _ flight: Flight) -> FetchOrder {
        let validator =
            request.name.isReplaced && !request.query.isBlocking
            ? self.entries.peek(request.storage)?.object.etag : nil
        var request = request
        request.hops = flight.hops
        return FetchOrder(request: request, validator: validator, deadline: flight.deadline)
    }

    // MARK: Passing through

    /// Takes one of the places for objects that are passed through.
    mutating func beginPassThrough() -> Bool {
        guard self.counters.passThroughs < self.configuration.maximumPassThroughs else {
            self.counters.refused += 1
            return false
        }
        self.counters.passThroughs += 1
        self.counters.passedThrough += 1
        return true
    }

    /// Gives the place back.
    mutating func passThroughEnded() {
        precondition(self.counters.passThroughs > 0, "nothing is passed through")
        self.counters.passThroughs -= 1
    }

    // MARK: Completion

    /// Takes what a fetch brought.
    mutating func complete(_ request: MediaObjectRequest, _ result: FetchResult, now: NIODeadline) -> Completion {
        guard self.flights[request] != nil else {
            preconditionFailure("nothing is in flight for \(request.name.fileName)")
        }
        switch result {
        case .object(let object, let facts):
            self.counters.fetched += 1
            if case .bytes(let bytes) = object.body { self.counters.fetchedBytes += bytes.readableBytes }
            return self.arrived(request, object, facts, now: now)
        case .notModified:
            self.counters.fetched += 1
            return self.revalidated(request, now: now)
        case .refused(let answer):
            return self.release(request, answer, isRemembered: true, now: now)
        case .gone(let text):
            self.counters.notFound += 1
            self.drop(request.storage)
            return self.release(request, .notFound(text), isRemembered: true, now: now)
        case .notFound(let text):
            self.counters.notFound += 1
            return self.failed(request, .notFound(text), now: now)
        case .failed(let text):
            self.counters.errors += 1
            return self.failed(request, .unavailable(text), now: now)
        case .tooLarge:
            self.oversized.update(request, now + .minutes(1))
            while self.oversized.count > self.configuration.maximumNegatives { self.oversized.removeOldest() }
            return .split(request, self.land(request))
        }
    }

    private mutating func arrived(
        _ request: MediaObjectRequest, _ object: MediaObject, _ facts: PlaylistFacts?, now: NIODeadline
    ) -> Completion {
        self.negatives.remove(request)
        if request.name.isReplaced {
            self.announcements.update(request.key, now)
            while self.announcements.count > self.configuration.maximumStreams { self.announcements.removeOldest() }
        }
        guard let facts, request.name.isReplaced else {
            self.store(request.storage, object, facts, now: now)
            return self.release(request, .object(object), isRemembered: false, now: now)
        }
        if self.isBehind(facts, request, now: now) {
            self.counters.outdated += 1
            return self.regressed(request, now: now)
        }
        if let newer = self.entries.peek(request.storage), let known = newer.facts, facts.isOlder(than: known),
            self.isFresh(newer, for: request, now: now)
        {
            // Two answers overtook each other.
            return self.release(request, .object(newer.object), isRemembered: false, now: now)
        }
        self.progress.update(
            request.progress,
            Progress(
                position: facts.position, targetSeconds: facts.targetSeconds,
                until: now + self.configuration.regressionLimit))
        while self.progress.count > self.configuration.maximumStreams { self.progress.removeOldest() }
        self.store(request.storage, object, facts, now: now)
        return self.release(request, .object(object), isRemembered: false, now: now)
    }

    /// A playlist came that is older than one that was answered: it was overtaken, or its node has lost the stream.
    private mutating func regressed(_ request: MediaObjectRequest, now: NIODeadline) -> Completion {
        if let newer = self.entries.peek(request.storage), self.isFresh(newer, for: request, now: now) {
            return self.release(request, .object(newer.object), isRemembered: false, now: now)
        }
        if self.flights[request]?.attempts == 0 { return self.retry(request, after: .milliseconds(20)) }
        return self.failed(request, .unavailable("the playlist went back"), now: now)
    }

    private mutating func revalidated(_ request: MediaObjectRequest, now: NIODeadline) -> Completion {
        guard var entry = self.entries.use(request.storage) else { return self.retry(request, after: .nanoseconds(0)) }
        if self.isBehind(entry.facts, request, now: now) { return self.regressed(request, now: now) }
        entry.object.storedAt = now
        entry.expires = self.expiry(of: entry.object, request.name, now: now)
        entry.failures = 0
        entry.retryAt = now
        self.entries.update(request.storage, entry)
        return self.release(request, .object(entry.object), isRemembered: false, now: now)
    }

    private mutating func failed(
        _ request: MediaObjectRequest, _ answer: MediaObjectAnswer, now: NIODeadline
    ) -> Completion {
        let entry = self.entries.peek(request.storage)
        if case .notFound = answer, entry?.facts?.isEnded == true {
            self.drop(request.storage)
            return self.release(request, answer, isRemembered: true, now: now)
        }
        if let flight = self.flights[request], request.query.isBlocking, !self.isClosed,
            let progress = self.progress.peek(request.progress), now < progress.until
        {
            // It was live a moment ago: whoever waits goes on waiting for the origin that takes over.
            let pause = self.backoff(flight.attempts)
            if now + pause < flight.deadline { return self.retry(request, after: pause) }
        }
        guard var entry, self.canServeStale(entry, for: request, now: now) else {
            return self.release(request, answer, isRemembered: true, now: now)
        }
        entry.retryAt = now + self.backoff(entry.failures)
        entry.failures += 1
        self.entries.update(request.storage, entry)
        self.counters.stale += self.flights[request]?.waiterCount ?? 0
        return self.release(request, .object(entry.object), isRemembered: false, now: now)
    }

    private func backoff(_ failures: Int) -> TimeAmount {
        let first = self.configuration.retryInterval.nanoseconds
        let (pause, overflows) = first.multipliedReportingOverflow(by: 1 << Int64(min(failures, 16)))
        let limit = max(self.configuration.negativeLifetime, self.configuration.retryInterval)
        return overflows ? limit : min(.nanoseconds(pause), limit)
    }

    private mutating func retry(_ request: MediaObjectRequest, after pause: TimeAmount) -> Completion {
        guard var flight = self.flights[request] else { preconditionFailure("a retry without a flight") }
        flight.attempts += 1
        self.flights[request] = flight
        return .retry(after: pause, self.order(for: request, flight))
    }

    private mutating func release(
        _ request: MediaObjectRequest, _ answer: MediaObjectAnswer, isRemembered: Bool, now: NIODeadline
    ) -> Completion {
        if isRemembered {
            let until = now + self.configuration.negativeLifetime
            self.negatives.update(request, Negative(answer: answer, since: now, until: until))
            while self.negatives.count > self.configuration.maximumNegatives { self.negatives.removeOldest() }
        }
        return .release(answer, self.land(request))
    }

    private mutating func land(_ request: MediaObjectRequest) -> Waiters {
        guard let flight = self.flights.removeValue(forKey: request) else { return [:] }
        self.counters.waiters -= flight.waiterCount
        return flight.waiters
    }

    /// Ends everything: all flights are released with `answer`, and nothing is fetched any more.
    mutating func close(_ answer: MediaObjectAnswer) -> [(MediaObjectAnswer, Waiters)] {
        self.isClosed = true
        return self.flights.keys.map { (answer, self.land($0)) }
    }

    // MARK: Storing

    /// What an object takes beside its bytes: its names, the table's slots.
    private static var overhead: Int { 1_024 }

    private mutating func store(
        _ key: MediaObjectRequest, _ object: MediaObject, _ facts: PlaylistFacts?, now: NIODeadline
    ) {
        guard case .bytes(let bytes) = object.body else { return }
        let expires = self.expiry(of: object, key.name, now: now)
        guard now < expires else { return }
        let cost = Self.footprint(bytes) + (object.gzip.map(Self.footprint) ?? 0) + Self.overhead
        guard cost <= self.configuration.maximumBytes else { return self.drop(key) }
        let entry = Entry(object: object, facts: facts, expires: expires, retryAt: now, cost: cost)
        self.counters.bytes += cost - (self.entries.update(key, entry)?.cost ?? 0)
        while self.counters.bytes > self.configuration.maximumBytes, let oldest = self.entries.removeOldest() {
            self.counters.bytes -= oldest.value.cost
            self.counters.evictions += 1
        }
    }

    private mutating func drop(_ key: MediaObjectRequest) {
        self.counters.bytes -= self.entries.remove(key)?.cost ?? 0
    }

    /// A buffer's storage is a power of two; the pages behind the bytes of a large one are never touched. Of a large one
    /// whoever serves it keeps a second form, see `ServingCache`.
    private static func footprint(_ bytes: ByteBuffer) -> Int {
        let count = bytes.readableBytes
        return count < ServingCache.minimumByteCount ? bytes.storageCapacity : 2 * count
    }

    private func expiry(of object: MediaObject, _ name: MediaObjectName, now: NIODeadline) -> NIODeadline {
        switch object.lifetime {
        case .immutable: return .distantFuture
        case .seconds(let seconds):
            let lifetime = TimeAmount.nanoseconds(Int64(min(max(seconds, 0), 86_400) * 1_000_000_000))
            // A stale answer of a node in between is kept for a moment, or each request would be a fetch.
            return max((object.storedAt ?? now) + lifetime, now + .milliseconds(100))
        case .uncacheable:
            // A key is the same for all viewers; that they may have it was checked before they came here.
            if case .key = name { return now + self.configuration.keyLifetime }
            return now
        }
    }
}

/// What to fetch; `request.hops` is how many nodes it came over.
struct FetchOrder: Sendable, Equatable {
    var request: MediaObjectRequest
    /// The validator of what is stored, for `If-None-Match`.
    var validator: String?
    /// When the answer has to begin.
    var deadline: NIODeadline
}

/// What a fetch brought.
enum FetchResult: Sendable {
    /// The whole object, and what a media playlist says of itself.
    case object(MediaObject, PlaylistFacts?)
    /// It is what is stored.
    case notModified
    /// It is not there, and will not come back.
    case gone(String)
    /// It is not there. It was, perhaps, and comes back with the next origin.
    case notFound(String)
    /// Another answer that is no failure of the node.
    case refused(MediaObjectAnswer)
    case failed(String)
    /// Too large to be kept.
    case tooLarge
}

extension MediaObjectRequest {
    /// The request without what does not change the object.
    var canonical: MediaObjectRequest {
        var request = self
        switch self.name {
        case .playlist: break
        case .multivariant, .manifest: request.query = MediaObjectQuery(rewindSeconds: self.query.rewindSeconds)
        default: request.query = MediaObjectQuery()
        }
        return request
    }

    /// Under which it is stored: what a blocking request waited for is the playlist itself.
    var storage: MediaObjectRequest {
        guard self.query.isBlocking || self.query.part != nil else { return self }
        var request = self
        request.query.sequence = nil
        request.query.part = nil
        return request
    }

    /// A player mixes these: playlists with and without skipped segments.
    var progress: MediaObjectRequest {
        var request = self.storage
        request.query.skip = nil
        return request
    }
}

extension MediaObjectName {
    /// Whether the object under this name is replaced by newer ones, so that an old one is better than none.
    var isReplaced: Bool {
        switch self {
        case .multivariant, .manifest, .snapshot, .info, .playlist: true
        case .recording(.playlist): true
        default: false
        }
    }

    /// Whether the bytes under this name never change.
    var isImmutable: Bool {
        switch self {
        case .initialization, .segment, .part, .recording(.initialization), .recording(.segment): true
        default: false
        }
    }
}
