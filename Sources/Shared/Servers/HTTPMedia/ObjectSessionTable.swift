import NIOCore
import StreamHub

/// A decision that is waited for. Guarded by the lock of the table.
// Safety: `waiters` is touched by the table, or before the table has it.
final class ObjectDecision: @unchecked Sendable {
    let account: SessionAccount
    let transport: String
    let credentials: ObjectCredentials?
    var waiters: [EventLoopPromise<MediaObjectVerdict>] = []

    init(account: SessionAccount, transport: String, credentials: ObjectCredentials?) {
        self.account = account
        self.transport = transport
        self.credentials = credentials
    }
}

/// The clients of `ObjectSessions` and what is known of each. Called under its lock; decides, and does nothing else.
struct ObjectSessionTable {
    enum Answer {
        case verdict(MediaObjectVerdict)
        case wait(EventLoopFuture<MediaObjectVerdict>)
        /// There is no room.
        case refuse(SessionRefusal)
        /// Nobody knows the client: `begin` has to follow. With the credentials that it had.
        case ask(ObjectCredentials?)
    }

    private enum State {
        case deciding(ObjectDecision)
        case active(SessionAccount, ObjectCredentials?, linger: TimeAmount)
        case refused(SessionRefusal)
        /// Pictures only.
        case granted
        case away(ObjectCredentials)

        var isSession: Bool {
            switch self {
            case .deciding, .active: true
            case .refused, .granted, .away: false
            }
        }
    }

    private struct Entry {
        var state: State
        /// For how long the state holds; that of an active client moves with each request.
        var expires: NIODeadline
        /// The second in which it is looked at.
        var due: UInt64
    }

    private let configuration: ObjectSessionsConfiguration
    private var clients: [ObjectClient: Entry] = [:]
    /// The newest client with a subject among those that are the same but for it.
    private var aliases: [ObjectClient: ObjectClient] = [:]
    /// Clients by the second in which they are to be looked at. One that is looked at earlier is left where it was, and
    /// passed over there.
    private var wheel: [UInt64: [ObjectClient]] = [:]
    private var sessionsByAddress: [String: Int] = [:]
    private var sessionCount = 0
    private(set) var activeCount = 0
    private(set) var waitingCount = 0

    init(configuration: ObjectSessionsConfiguration) { self.configuration = configuration }

    var clientCount: Int { self.clients.count }

    // MARK: Requests

    mutating func request(_ client: ObjectClient, on loop: any EventLoop, now: NIODeadline) -> Answer {
        // In place: this is what each request costs.
        guard let index = self.index(of: client) else { return self.room(for: client, nil) }
        let entry = self.clients.values[index]
        switch entry.state {
        case .active(let account, _, let linger):
            self.clients.values[index].expires = now + linger
            return .verdict(.success(account))
        case .deciding(let pending):
            guard self.waitingCount < self.configuration.maximumWaiting,
                pending.waiters.count < self.configuration.maximumWaitingPerClient
            else { return .refuse(SessionRefusal(.limited, "too many requests wait for a decision")) }
            self.waitingCount += 1
            let promise = loop.makePromise(of: MediaObjectVerdict.self)
            pending.waiters.append(promise)
            return .wait(promise.futureResult)
        case .refused(let refusal) where now < entry.expires: return .refuse(refusal)
        case .granted where now < entry.expires: return .verdict(.success(nil))
        case .away(let credentials) where now < entry.expires: return self.room(for: client, credentials)
        case .refused, .granted, .away: return self.room(for: client, nil)
        }
    }

    private func index(of client: ObjectClient) -> Dictionary<ObjectClient, Entry>.Index? {
        if let index = self.clients.index(forKey: client) { return index }
        guard client.subject == nil, let alias = self.aliases[client] else { return nil }
        return self.clients.index(forKey: alias)
    }

    private func room(for client: ObjectClient, _ credentials: ObjectCredentials?) -> Answer {
        guard self.sessionCount < self.configuration.maximumSessions,
            self.sessionsByAddress[client.address, default: 0] < self.configuration.maximumSessionsPerAddress
        else { return .refuse(SessionRefusal(.limited, "as many viewers as there may be")) }
        guard self.waitingCount < self.configuration.maximumWaiting else {
            return .refuse(SessionRefusal(.limited, "too many requests wait for a decision"))
        }
        return .ask(credentials)
    }

    /// A decision begins, with one who waits. Returns false if there is one already, or the client is active.
    mutating func begin(_ pending: ObjectDecision, of client: ObjectClient, now: NIODeadline) -> Bool {
        if let entry = self.clients[client], entry.state.isSession { return false }
        self.waitingCount += 1
        self.set(client, .deciding(pending), expires: now + self.configuration.decisionDeadline)
        return true
    }

    // MARK: Decisions

    /// Returns those who waited; `nil` if the decision came too late. `linger`: a session ends so long after a request.
    mutating func decided(
        _ client: ObjectClient, _ pending: ObjectDecision, _ result: Result<Void, SessionRefusal>,
        linger: TimeAmount, now: NIODeadline
    ) -> [EventLoopPromise<MediaObjectVerdict>]? {
        guard case .deciding(let current)? = self.clients[client]?.state, current === pending else { return nil }
        switch result {
        case .failure(let refusal):
            self.set(client, .refused(refusal), expires: now + self.configuration.denialLifetime)
        case .success where client.isPicture:
            self.set(client, .granted, expires: now + self.configuration.pictureLifetime)
        case .success:
            self.set(client, .active(pending.account, pending.credentials, linger: linger), expires: now + linger)
            if client.subject != nil { self.aliases[client.withoutSubject] = client }
        }
        return self.takeWaiters(pending)
    }

    private mutating func takeWaiters(_ pending: ObjectDecision) -> [EventLoopPromise<MediaObjectVerdict>] {
        let waiters = pending.waiters
        pending.waiters = []
        self.waitingCount -= waiters.count
        return waiters
    }

    /// The session of `account` is over, and its client refused. Returns those who waited.
    mutating func refuse(
        _ client: ObjectClient, _ account: SessionAccount, _ refusal: SessionRefusal, until: NIODeadline,
        now: NIODeadline
    ) -> [EventLoopPromise<MediaObjectVerdict>] {
        switch self.clients[client]?.state {
        case .active(let active, _, _) where active === account:
            self.set(client, .refused(refusal), expires: until)
            return []
        case .deciding(let pending) where pending.account === account:
            self.set(client, .refused(refusal), expires: until)
            return self.takeWaiters(pending)
        default: return []
        }
    }

    // MARK: Time

    /// Returns sessions that are over, and decisions that took too long, with those who wait for them.
    mutating func deadlineReached(
        now: NIODeadline
    ) -> (
        left: [(ObjectClient, SessionAccount)],
        late: [(ObjectClient, ObjectDecision, [EventLoopPromise<MediaObjectVerdict>])]
    ) {
        var left: [(ObjectClient, SessionAccount)] = []
        var late: [(ObjectClient, ObjectDecision, [EventLoopPromise<MediaObjectVerdict>])] = []
        let second = Self.second(now)
        for due in self.wheel.keys.filter({ $0 <= second }) {
            for client in self.wheel.removeValue(forKey: due) ?? [] {
                guard let entry = self.clients[client], entry.due == due else { continue }
                guard entry.expires <= now else {
                    self.schedule(client, entry.state, entry.expires)
                    continue
                }
                switch entry.state {
                case .active(let account, let credentials, _):
                    left.append((client, account))
                    if let credentials {
                        self.remove(client)
                        self.set(client, .away(credentials), expires: now + self.configuration.returnLifetime)
                    } else {
                        self.remove(client)
                    }
                case .deciding(let pending):
                    late.append((client, pending, self.takeWaiters(pending)))
                    self.remove(client)
                case .refused, .granted, .away: self.remove(client)
                }
            }
        }
        return (left, late)
    }

    /// Ends all sessions at once. Decisions go on.
    mutating func removeActive() -> [(ObjectClient, SessionAccount)] {
        var ended: [(ObjectClient, SessionAccount)] = []
        for case (let client, .active(let account, _, _)) in self.clients.map({ ($0.key, $0.value.state) }) {
            ended.append((client, account))
            self.remove(client)
        }
        return ended
    }

    // MARK: The lists

    private mutating func set(_ client: ObjectClient, _ state: State, expires: NIODeadline) {
        let old = self.clients[client]
        if old == nil { self.makeRoom() }
        self.count(client, old?.state, state)
        if let old, old.due <= Self.second(expires) + 1 {
            self.clients[client] = Entry(state: state, expires: expires, due: old.due)
        } else {
            self.schedule(client, state, expires)
        }
    }

    private mutating func remove(_ client: ObjectClient) {
        self.count(client, self.clients[client]?.state, nil)
        self.clients[client] = nil
        if client.subject != nil, self.aliases[client.withoutSubject] == client {
            self.aliases[client.withoutSubject] = nil
        }
    }

    private mutating func count(_ client: ObjectClient, _ old: State?, _ new: State?) {
        if case .active? = old { self.activeCount -= 1 }
        if case .active? = new { self.activeCount += 1 }
        let change = (new?.isSession == true ? 1 : 0) - (old?.isSession == true ? 1 : 0)
        guard change != 0 else { return }
        self.sessionCount += change
        let count = self.sessionsByAddress[client.address, default: 0] + change
        self.sessionsByAddress[client.address] = count > 0 ? count : nil
    }

    /// What is remembered of clients without a session is forgotten when it is as much as there may be sessions.
    private mutating func makeRoom() {
        guard self.clients.count - self.sessionCount >= self.configuration.maximumSessions else { return }
        let spare = self.clients.filter { !$0.value.state.isSession }.keys
        for client in spare { self.remove(client) }
        for second in self.wheel.keys { self.wheel[second]?.removeAll { self.clients[$0] == nil } }
    }

    private mutating func schedule(_ client: ObjectClient, _ state: State, _ expires: NIODeadline) {
        let due = Self.second(expires) + 1
        self.clients[client] = Entry(state: state, expires: expires, due: due)
        self.wheel[due, default: []].append(client)
    }

    private static func second(_ time: NIODeadline) -> UInt64 { time.uptimeNanoseconds / 1_000_000_000 }
}
