import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Synchronization

/// Makes calls: one at a time each, within its deadline, whatever the receiver does. Remembers which receivers could not
/// be reached, and counts.
final class HookTransport: Sendable {
    /// What a call came to.
    enum Outcome: Sendable {
        case answered(status: Int, ByteBuffer)
        /// The answer is longer than it may be.
        case tooLong
        /// No whole answer. The text names no URL.
        case unreachable(String)
        /// The caller was cancelled.
        case cancelled
    }

    /// How the receiver of an origin fared lately.
    private struct Health {
        var failures = 0
        var nextProbe = NIODeadline.uptimeNanoseconds(0)
    }

    private struct State {
        var health: [String: Health] = [:]
        var statistics: [HookEvent: HookEventStatistics] = [:]
    }

    /// Receivers whose failures are remembered at the same time. Settings name a few.
    private static let maximumReceivers = 1_000

    private let configuration: HooksConfiguration
    private let client: HTTPClient
    private let state = Mutex(State())

    /// The client has loops of its own: neither TLS nor JSON is a matter of the media's.
    init(configuration: HooksConfiguration) {
        self.configuration = configuration
        var client = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: configuration.timeout, read: configuration.timeout, write: configuration.timeout))
        client.httpVersion = .http1Only
        client.decompression = .disabled
        client.connectionPool.retryConnectionEstablishment = false
        client.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = configuration.concurrency
        // Shorter than servers keep connections.
        client.connectionPool.idleTimeout = .seconds(3)
        self.client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: client)
    }

    /// No calls succeed any more.
    func shutDown() async { try? await self.client.shutdown() }

    // MARK: Receivers' health

    /// How long a call to `url` may take by now.
    private func patience(_ url: String, now: NIODeadline) -> TimeAmount {
        self.state.withLock { state in
            guard var health = state.health[HookCall.origin(of: url)],
                health.failures >= self.configuration.failuresUntilShort
            else { return self.configuration.timeout }
            guard now >= health.nextProbe else { return self.configuration.shortTimeout }
            // The time begins when the probe is over.
            health.nextProbe = now + self.configuration.timeout + self.configuration.probeInterval
            state.health[HookCall.origin(of: url)] = health
            return self.configuration.timeout
        }
    }

    /// Whether the receiver of `url` could not be reached lately.
    func isUnreachable(_ url: String) -> Bool {
        self.state.withLock {
            $0.health[HookCall.origin(of: url)].map { $0.failures >= self.configuration.failuresUntilShort } ?? false
        }
    }

    private func note(_ url: String, isReached: Bool, now: NIODeadline) {
        let origin = HookCall.origin(of: url)
        self.state.withLock { state in
            guard !isReached else { return state.health[origin] = nil }
            if state.health[origin] == nil, state.health.count >= Self.maximumReceivers { state.health.removeAll() }
            state.health[origin, default: Health()].failures += 1
            if state.health[origin]?.failures == self.configuration.failuresUntilShort {
                state.health[origin]?.nextProbe = now + self.configuration.probeInterval
            }
        }
    }

    // MARK: Counting

    func count(_ event: HookEvent, _ body: (inout HookEventStatistics) -> Void) {
        self.state.withLock { body(&$0.statistics[event, default: HookEventStatistics()]) }
    }

    func statistics() -> HooksStatistics {
        self.state.withLock { state in
            var statistics = HooksStatistics()
            statistics.events = state.statistics
            statistics.unreachable = state.health.values.count {
                $0.failures >= self.configuration.failuresUntilShort
            }
            return statistics
        }
    }

    // MARK: Calling

    /// Calls, and returns by `deadline` at the latest. An answer that is not read to its end is none.
    func call(_ call: HookCall, deadline: NIODeadline) async -> Outcome {
        let start = NIODeadline.now()
        let limit = min(deadline, start + self.patience(call.url, now: start))
        let outcome = await self.exchange(call, until: limit)
        let now = NIODeadline.now()
        switch outcome {
        case .cancelled: return outcome
        case .answered, .tooLong: self.note(call.url, isReached: true, now: now)
        case .unreachable:
            // Who is asked when hardly any time is left is not to blame.
            if limit - start >= self.configuration.shortTimeout || now < limit {
                self.note(call.url, isReached: false, now: now)
            }
        }
        self.count(call.event) { $0.took(now - start) }
        return outcome
    }

    private func exchange(_ call: HookCall, until deadline: NIODeadline) async -> Outcome {
        let left = deadline - .now()
        guard left > .zero else { return .unreachable("no time is left") }
        return await withTaskGroup(of: Outcome.self) { group in
            group.addTask { await self.request(call, deadline: deadline) }
            group.addTask {
                do {
                    try await Task.sleep(nanoseconds: UInt64(left.nanoseconds))
                    return .unreachable("no answer in time")
                } catch {
                    return .cancelled
                }
            }
            defer { group.cancelAll() }
            let first = await group.next() ?? .cancelled
            return Task.isCancelled ? .cancelled : first
        }
    }

    private func request(_ call: HookCall, deadline: NIODeadline) async -> Outcome {
        // A kept connection may be closed by its receiver while the request is on its way: once more, on another one.
        for attempt in 0..<2 {
            do {
                let response = try await self.client.execute(self.request(call), deadline: deadline)
                return try await self.read(response)
            } catch {
                guard attempt == 0, (error as? HTTPClientError) == .remoteConnectionClosed || error is IOError else {
                    return .unreachable(Self.text(error))
                }
            }
        }
        return .unreachable("the connection was closed")
    }

    private func request(_ call: HookCall) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: call.url)
        request.headers.add(name: "User-Agent", value: "Weir/\(self.configuration.version)")
        request.headers.add(name: "Weir-Delivery", value: call.delivery)
        if let body = call.body {
            request.method = .POST
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(body)
        }
        if !self.configuration.secret.isEmpty {
            let now = Int64(Date().timeIntervalSince1970)
            request.headers.add(
                name: "Weir-Signature", value: call.signature(secret: self.configuration.secret, unixSeconds: now))
        }
        return request
    }

    private func read(_ response: HTTPClientResponse) async throws -> Outcome {
        var answer = ByteBuffer()
        for try await chunk in response.body {
            guard answer.readableBytes + chunk.readableBytes <= self.configuration.maximumAnswerBytes else {
                return .tooLong
            }
            answer.writeImmutableBuffer(chunk)
        }
        return .answered(status: Int(response.status.code), answer)
    }

    private static func text(_ error: any Error) -> String {
        if let error = error as? HTTPClientError { return error.shortDescription }
        return String("\(error)".prefix(200))
    }
}
