import AsyncHTTPClient
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// The keys that tokens are held against: those of the settings, and those of a key set that is fetched.
///
/// A set is fetched when keys are first needed, again when it is older than `keySetRefresh`, and when a token asks for a
/// key that is not in it, but never twice within `keySetPause`. One fetch runs at a time; all who need it wait for the
/// same one. When a fetch fails, the last set that was good is used on. Any thread may call.
final class TokenKeyring: Sendable {
    /// The keys at one moment.
    struct Keys: Sendable {
        var own: [TokenKey]
        var published: [TokenKey] = []
        /// Whether a set was ever fetched, and from when it is.
        var fetchedAt: NIODeadline?
        /// Grows when any key changes: what was verified before has to be verified again.
        var generation: UInt64
    }

    private struct Sources: Sendable, Hashable {
        var secret: String
        var publicKey: String
        var keySetURL: String

        init(_ configuration: TokenConfiguration) {
            self.secret = configuration.secret
            self.publicKey = configuration.publicKey
            self.keySetURL = configuration.keySetURL
        }
    }

    private struct State {
        var sources: Sources?
        var keys: Keys?
        /// The bytes of the last good set.
        var document: [UInt8] = []
        var flight: EventLoopFuture<Void>?
        var lastAttempt: NIODeadline?
        var generation: UInt64 = 0
        var fetches: UInt64 = 0
        var failures: UInt64 = 0
    }

    private let http: HTTPClient
    private let group: any EventLoopGroup
    private let clock: AccessClock
    private let logger: Logger
    private let state = Mutex(State())

    init(http: HTTPClient, group: any EventLoopGroup, clock: AccessClock, logger: Logger) {
        self.http = http
        self.group = group
        self.clock = clock
        self.logger = logger
    }

    /// The keys, if those of these settings are loaded.
    func keys(_ configuration: TokenConfiguration) -> Keys? {
        let sources = Sources(configuration)
        return self.state.withLock { $0.sources == sources ? $0.keys : nil }
    }

    /// Whether waiting could bring newer keys: a fetch is under way, or may begin.
    func mayRefresh(_ configuration: TokenConfiguration) -> Bool {
        guard !configuration.keySetURL.isEmpty else { return false }
        let now = self.clock.now()
        return self.state.withLock { state in
            state.flight != nil || state.lastAttempt.map { now - $0 >= configuration.keySetPause } ?? true
        }
    }

    /// Loads the keys of the settings if they are new, and fetches the set; if that is under way, waits for its end.
    ///
    /// Ends within `keySetDeadline`, or twice that if settings changed during a fetch for the old ones.
    func refresh(_ configuration: TokenConfiguration) async {
        for _ in 0..<2 {
            try? await self.begin(configuration)?.get()
            if self.keys(configuration) != nil { return }
        }
    }

    /// As `refresh`, without waiting.
    func refreshInBackground(_ configuration: TokenConfiguration) { _ = self.begin(configuration) }

    private func begin(_ configuration: TokenConfiguration) -> EventLoopFuture<Void>? {
        let promise = self.group.any().makePromise(of: Void.self)
        let now = self.clock.now()
        let sources = Sources(configuration)
        let (running, fetches): (EventLoopFuture<Void>?, Bool) = self.state.withLock { state in
            if let flight = state.flight { return (flight, false) }
            let isOtherSet = state.sources?.keySetURL != sources.keySetURL
            let mayFetch = isOtherSet || state.lastAttempt.map { now - $0 >= configuration.keySetPause } ?? true
            let fetches = mayFetch && !sources.keySetURL.isEmpty
            guard state.sources != sources || fetches else { return (nil, false) }
            if fetches {
                state.lastAttempt = now
                state.fetches += 1
            }
            state.flight = promise.futureResult
            return (promise.futureResult, fetches)
        }
        guard running === promise.futureResult else {
            promise.succeed()
            return running
        }
        // A flight belongs to all who wait for it, and so to none of their tasks; it ends within its deadline.
        promise.completeWithTask { await self.load(configuration, sources, fetches: fetches) }
        return running
    }

    private func load(_ configuration: TokenConfiguration, _ sources: Sources, fetches: Bool) async {
        async let document = fetches ? self.fetch(configuration) : nil
        var own: [TokenKey] = []
        if let key = await TokenKey.symmetric(sources.secret) { own.append(key) }
        if !sources.publicKey.isEmpty, let key = await TokenKey.publicKey(sources.publicKey) { own.append(key) }
        let bytes = await document
        var published: [TokenKey]?
        if let bytes { published = await KeySet.read(bytes) }
        let isUnreadable = bytes != nil && published == nil
        if isUnreadable { self.logger.warning("the key set of tokens is no JSON Web Key Set; the last one is kept") }
        let now = self.clock.now()
        self.state.withLock { state in
            let isOtherSet = state.sources?.keySetURL != sources.keySetURL
            var keys = state.keys ?? Keys(own: [], generation: 0)
            var isChanged = state.sources != sources
            if isOtherSet {
                keys.published = []
                keys.fetchedAt = nil
                state.document = []
            }
            keys.own = own
            if let bytes, let published {
                isChanged = isChanged || bytes != state.document
                state.document = bytes
                keys.published = published
                keys.fetchedAt = now
            } else if fetches {
                state.failures += 1
            }
            if isChanged { state.generation += 1 }
            keys.generation = state.generation
            state.keys = keys
            state.sources = sources
            state.flight = nil
        }
    }

    private enum FetchError: Error {
        case status(Int)
        case deadline
    }

    /// The bytes of the set. `nil`, with a line in the log, if they cannot be had in time.
    private func fetch(_ configuration: TokenConfiguration) async -> [UInt8]? {
        do {
            return try await withThrowingTaskGroup(of: [UInt8].self) { group in
                group.addTask { try await self.download(configuration) }
                group.addTask {
                    // The client's own deadline ends with the head of the answer.
                    try await Task.sleep(for: .nanoseconds(configuration.keySetDeadline.nanoseconds))
                    throw FetchError.deadline
                }
                defer { group.cancelAll() }
                return try await group.next()
            }
        } catch {
            self.logger.warning("the key set of tokens was not fetched", metadata: ["error": "\(error)"])
            return nil
        }
    }

    private func download(_ configuration: TokenConfiguration) async throws -> [UInt8] {
        var request = HTTPClientRequest(url: configuration.keySetURL)
        request.headers.add(name: "Accept", value: "application/jwk-set+json, application/json")
        let response = try await self.http.execute(request, deadline: .now() + configuration.keySetDeadline)
        guard response.status == .ok else { throw FetchError.status(Int(response.status.code)) }
        let body = try await response.body.collect(upTo: configuration.maximumKeySetBytes)
        return Array(body.readableBytesView)
    }

    func write(to statistics: inout AccessStatistics) {
        self.state.withLock { state in
            statistics.keySetFetches = state.fetches
            statistics.keySetFailures = state.failures
            statistics.keySetKeys = state.keys?.published.count ?? 0
        }
    }
}
