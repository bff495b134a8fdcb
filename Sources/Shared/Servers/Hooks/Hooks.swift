import FoundationEssentials
package import Logging
package import Media
package import NIOCore
package import StreamHub
import Synchronization

/// SRS's HTTP callbacks: asks receivers whether sessions may be, and tells them what happened.
///
/// Two kinds of calls. *Deciding* ones (`admit`, `decide`, `forwards`) are made while the session waits, in the order of
/// the URLs; the first that does not agree ends it, and the answer is there by the deadline whatever receivers do.
/// *Telling* ones wait in a bounded queue for each receiver and are tried again; `run` makes them. Nothing here is done on
/// a media loop, and no receiver can hold a stream up.
///
/// Add it to the `SessionRegistry` as an observer: it calls `on_unpublish`, `on_stop` and `on_close` for sessions that it
/// was asked about. Call `run` once, and `close` at the end.
package final class Hooks: SessionObserver {
    let configuration: HooksConfiguration
    let urls: @Sendable (StreamKey) -> HookURLs
    let bodies: HookBodies
    let transport: HookTransport
    let queue: HookQueue
    let sessions = HookSessions()
    let problems: HookProblems
    private let deciding = Atomic<Int>(0)

    /// Calls at one time to one receiver that no session waits for.
    private static let lanes = 8
    /// How long the question for a publisher waits until the end of the stream's last one is told.
    private static let longestWaitForEnd = TimeAmount.milliseconds(500)
    private static let sweepInterval = 30

    /// `configuration` is valid. `urls` is asked at each event, so changes hold from the next one on.
    package init(
        configuration: HooksConfiguration, logger: Logger, urls: @escaping @Sendable (StreamKey) -> HookURLs
    ) {
        self.configuration = configuration
        self.urls = urls
        self.bodies = HookBodies(
            configuration: configuration, folder: FileManager.default.currentDirectoryPath)
        self.transport = HookTransport(configuration: configuration)
        self.queue = HookQueue(capacity: configuration.queue, lanes: min(Self.lanes, configuration.concurrency))
        self.problems = HookProblems(logger)
    }

    // MARK: Deciding

    /// Asks for a session that wants to publish or play: `on_connect` where the protocol has connections of its own (RTMP,
    /// SRT), then `on_publish` or `on_play`, all within the deadline. Not for proved relays.
    package func admit(_ kind: SessionActivity.Kind, _ key: StreamKey, _ peer: PeerIdentity) async -> HookDecision {
        let deadline = NIODeadline.now() + self.configuration.timeout
        let client = HookPeer(peer)
        var policy = SessionPolicy()
        if peer.transport.hasPrefix("rtmp") || peer.transport == "srt" {
            self.sessions.connecting(peer.account, key, client)
            switch await self.decide(.onConnect, key, client, deadline: deadline) {
            case .allow(let added): policy.add(added)
            case .refuse(let refusal): return .refuse(refusal)
            }
        }
        self.sessions.asking(peer.account, kind, key, client)
        if kind == .publish { await self.waitForEnd(of: key, deadline: deadline) }
        switch await self.decide(kind == .publish ? .onPublish : .onPlay, key, client, deadline: deadline) {
        case .allow(let added):
            policy.add(added)
            return .allow(policy)
        case .refuse(let refusal):
            self.sessions.refused(peer.account, kind, key)
            return .refuse(refusal)
        }
    }

    /// Asks the receivers of one event that decides, other than `on_forward`. Sessions are not remembered: see `admit`.
    package func decide(_ event: HookEvent, _ key: StreamKey, _ peer: HookPeer) async -> HookDecision {
        await self.decide(event, key, peer, deadline: .now() + self.configuration.timeout)
    }

    /// Asks where a stream that begins to be published is to be forwarded to. `nil`: nobody is asked, so the settings
    /// hold. An empty list forwards it nowhere.
    package func forwards(_ key: StreamKey, _ peer: PeerIdentity) async -> Result<[String]?, HookRefusal> {
        let urls = self.urls(key)
        guard !urls[.onForward].isEmpty else { return .success(nil) }
        let deadline = NIODeadline.now() + self.configuration.timeout
        var found: [String] = []
        let body = self.bodies.deciding(.onForward, key, HookPeer(peer))
        for url in urls[.onForward] {
            switch await self.ask(.onForward, url, body, deadline: deadline) {
            case .agreed(_, .some(let list), _): found += list
            case .agreed(_, nil, _):
                self.transport.count(.onForward) { $0.refused += 1 }
                return .failure(self.refusal(.onForward, .unreadable, ""))
            case .refused(let refusal): return .failure(refusal)
            case .unreachable(let refusal):
                guard urls.unreachable == .allow else { return .failure(refusal) }
            }
        }
        return .success(found)
    }

    private func decide(
        _ event: HookEvent, _ key: StreamKey, _ peer: HookPeer, deadline: NIODeadline
    ) async -> HookDecision {
        let urls = self.urls(key)
        guard !urls[event].isEmpty else { return .allow(SessionPolicy()) }
        let body = self.bodies.deciding(event, key, peer)
        var policy = SessionPolicy()
        for url in urls[event] {
            switch await self.ask(event, url, body, deadline: deadline) {
            case .agreed(let added, _, let problems):
                policy.add(added)
                if !problems.isEmpty { self.problems.note(event, url, "ignored fields: \(problems)") }
            case .refused(let refusal): return .refuse(refusal)
            case .unreachable(let refusal):
                guard urls.unreachable == .allow else { return .refuse(refusal) }
            }
        }
        return .allow(policy)
    }

    private enum Answer {
        case agreed(SessionPolicy, urls: [String]?, problems: [String])
        case refused(HookRefusal)
        case unreachable(HookRefusal)
    }

    private func ask(_ event: HookEvent, _ url: String, _ body: ByteBuffer, deadline: NIODeadline) async -> Answer {
        let waiting = self.deciding.wrappingAdd(1, ordering: .relaxed).newValue
        defer { self.deciding.wrappingSubtract(1, ordering: .relaxed) }
        guard waiting <= self.configuration.queue else {
            self.transport.count(event) { $0.dropped += 1 }
            self.problems.note(event, url, "too many sessions wait for answers")
            return .unreachable(self.refusal(event, .overloaded, ""))
        }
        switch await self.transport.call(HookCall(event, url: url, body: body), deadline: deadline) {
        case .answered(let status, let bytes):
            let answer = HookAnswer(status: status, body: bytes)
            if case .agreed(let policy, let urls, let problems) = answer {
                if event != .onForward || urls != nil { self.transport.count(event) { $0.delivered += 1 } }
                return .agreed(policy, urls: urls, problems: problems)
            }
            self.transport.count(event) { $0.refused += 1 }
            if case .refused(let reason) = answer { return .refused(self.refusal(event, .refused, reason)) }
            self.problems.note(event, url, "an answer that cannot be read, with status \(status)")
            return .refused(self.refusal(event, .unreadable, ""))
        case .tooLong:
            self.transport.count(event) { $0.refused += 1 }
            self.problems.note(event, url, "an answer longer than \(self.configuration.maximumAnswerBytes) bytes")
            return .refused(self.refusal(event, .unreadable, ""))
        case .unreachable(let text):
            self.transport.count(event) { $0.failed += 1 }
            self.problems.note(event, url, text)
            return .unreachable(self.refusal(event, .unreachable, ""))
        case .cancelled:
            return .unreachable(self.refusal(event, .unreachable, ""))
        }
    }

    private func refusal(_ event: HookEvent, _ cause: HookRefusal.Cause, _ reason: String) -> HookRefusal {
        let text =
            switch cause {
            case .refused where !reason.isEmpty: reason
            case .refused: "refused by \(event.rawValue)"
            case .unreadable: "refused, because the answer to \(event.rawValue) cannot be understood"
            case .unreachable: "the server that decides on \(event.rawValue) cannot be reached"
            case .overloaded: "too many wait for the server that decides on \(event.rawValue)"
            }
        return HookRefusal(event: event, cause: cause, reason: text)
    }

    /// A publisher that comes back at once is asked for after the end of its last session was told, if that is soon.
    private func waitForEnd(of key: StreamKey, deadline: NIODeadline) async {
        guard self.queue.tellsEnd(of: key) else { return }
        let urls = self.urls(key)
        guard !urls[.onPublish].isEmpty, !urls[.onUnpublish].contains(where: { self.transport.isUnreachable($0) })
        else { return }
        let end = min(deadline, .now() + Self.longestWaitForEnd)
        while self.queue.tellsEnd(of: key), NIODeadline.now() < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    // MARK: Life

    /// How the hooks fare.
    package func statistics() -> HooksStatistics {
        var statistics = self.transport.statistics()
        statistics.queued = self.queue.count
        statistics.deciding = self.deciding.load(ordering: .relaxed)
        return statistics
    }

    /// Makes the calls that wait, until `close`, or until its task is cancelled.
    package func run() async {
        await withDiscardingTaskGroup { tasks in
            tasks.addTask { await self.watch() }
            for await lane in self.queue.busyLanes {
                tasks.addTask { await self.work(on: lane) }
            }
            tasks.cancelAll()
        }
        let left = self.queue.close()
        self.problems.flush()
        if left > 0 { self.problems.lost(left) }
    }

    /// Once a second: log lines. Now and then: what is over is forgotten.
    private func watch() async {
        var seconds = 0
        while (try? await Task.sleep(for: .seconds(1))) != nil {
            self.problems.flush()
            seconds += 1
            if seconds % Self.sweepInterval == 0 { self.sweep() }
        }
    }

    func sweep() {
        for (key, peer) in self.sessions.sweep(now: .now()) { self.tellClosed(key, peer, sent: 0, received: 0) }
    }

    /// Waits at most `limit` for the calls that wait, then gives them up, and ends `run`. Sessions have ended by now.
    package func close(within limit: TimeAmount) async {
        let deadline = NIODeadline.now() + limit
        while self.queue.count > 0, NIODeadline.now() < deadline {
            guard (try? await Task.sleep(for: .milliseconds(10))) != nil else { break }
        }
        self.queue.close()
        await self.transport.shutDown()
    }
}
