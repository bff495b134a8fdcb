package import Logging
import Media
package import MediaObjects
package import NIOCore
package import StreamHub
import Synchronization

/// Makes sessions of viewers that come by single requests: HLS, DASH, recordings.
///
/// A client is an address, a `User-Agent`, a stream and, where tokens name one, a subject; URLs carry no session, so that
/// caches can share what they name. The first request of a client asks `decide`, once, while its other requests wait; from
/// then on a request costs a look-up. States of a client: deciding → active → (no request for a while) away, or refused.
///
/// A client that is away and comes back without credentials, as players do that go on after a pause with URLs out of a
/// playlist, is decided about by those that it had. Pictures are decided about like the rest, and make no viewer. Proved
/// nodes of the cluster pass. Any thread may call; call `tick` once a second.
package final class ObjectSessions: MediaObjectGate {
    /// Decides about a client. Called from a task; answers within its own deadlines. The account of `peer` is the session.
    package typealias Decision =
        @Sendable (_ question: ObjectSessionQuestion) async -> Result<SessionLimits, SessionRefusal>

    private let registry: SessionRegistry
    private let configuration: ObjectSessionsConfiguration
    private let decide: Decision
    private let logger: Logger
    private let table: Mutex<ObjectSessionTable>

    package init(
        registry: SessionRegistry, configuration: ObjectSessionsConfiguration = .init(), logger: Logger,
        decide: @escaping Decision
    ) {
        self.registry = registry
        self.configuration = configuration
        self.logger = logger
        self.decide = decide
        self.table = Mutex(ObjectSessionTable(configuration: configuration))
    }

    /// Sessions that are active.
    package var count: Int { self.table.withLock { $0.activeCount } }
    /// Requests that wait for a decision.
    package var waitingCount: Int { self.table.withLock { $0.waitingCount } }

    /// Clients of which something is known: sessions, refusals, those that are away.
    var rememberedCount: Int { self.table.withLock { $0.clientCount } }

    // MARK: Requests

    package func admit(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop
    ) -> MediaObjectAdmission {
        if self.configuration.isNode(access) { return .now(.success(nil)) }
        let client = ObjectClient(request, access, subject: self.configuration.subject(access))
        let now = NIODeadline.now()
        switch self.table.withLock({ $0.request(client, on: loop, now: now) }) {
        case .verdict(let verdict): return .now(verdict)
        case .wait(let verdict): return .later(verdict)
        case .refuse(let refusal):
            self.registry.refused(client.transport(request), refusal.cause)
            return .now(.failure(refusal))
        case .ask(let credentials):
            return self.ask(client, request, access.with(credentials), on: loop, now: now)
        }
    }

    private func ask(
        _ client: ObjectClient, _ request: MediaObjectRequest, _ access: MediaObjectAccess, on loop: any EventLoop,
        now: NIODeadline
    ) -> MediaObjectAdmission {
        let transport = client.transport(request)
        let account = self.registry.openVirtual(access.peer, transport: access.isSecure ? "https" : "http")
        account.forwardedAddress = access.forwardedAddress
        let question = ObjectSessionQuestion(request, access, transport: transport, account: account)
        account.client = question.peer.client
        account.onTerminate { [weak self, weak account] end, text in
            if let account { self?.terminated(client, account, end, text) }
        }
        let pending = ObjectDecision(account: account, transport: transport, credentials: access.credentials)
        let promise = loop.makePromise(of: MediaObjectVerdict.self)
        pending.waiters.append(promise)
        // Another loop may have asked about this client meanwhile; then this request waits with the others.
        let isFirst = self.table.withLock { $0.begin(pending, of: client, now: now) }
        guard isFirst else {
            self.registry.close(account)
            promise.fail(ChannelError.eof)
            return self.admit(request, access, on: loop)
        }
        let decide = self.decide
        // A callback of the channel starts work that ends by its own deadline; `tick` ends the wait for it by ours.
        loop.makeFutureWithTask { await decide(question) }.whenComplete { result in
            let unavailable = SessionRefusal(.unavailable, "nobody decides about this client now")
            self.decided(client, pending, (try? result.get()) ?? .failure(unavailable))
        }
        return .later(promise.futureResult)
    }

    // MARK: Decisions

    private func decided(
        _ client: ObjectClient, _ pending: ObjectDecision, _ result: Result<SessionLimits, SessionRefusal>
    ) {
        let now = NIODeadline.now()
        let linger = self.configuration.linger(client.key)
        let waiters = self.table.withLock { table in
            table.decided(client, pending, result.map { _ in () }, linger: linger, now: now)
        }
        guard let waiters else { return }
        self.conclude(client, pending, result, waiters)
    }

    /// Does what a decision means for the account, then tells those who waited.
    private func conclude(
        _ client: ObjectClient, _ pending: ObjectDecision, _ result: Result<SessionLimits, SessionRefusal>,
        _ waiters: [EventLoopPromise<MediaObjectVerdict>]
    ) {
        let account = pending.account
        var metadata: Logger.Metadata = [
            "session": "\(account.id)", "peer": "\(client.address)", "stream": "\(client.key)",
            "transport": "\(pending.transport)",
        ]
        switch result {
        case .failure(let refusal):
            self.registry.refused(pending.transport, refusal.cause)
            metadata["cause"] = "\(refusal.cause.rawValue)"
            metadata["reason"] = "\(refusal.text)"
            self.logger.info("play refused", metadata: metadata)
            self.registry.close(account)
            for waiter in waiters { waiter.succeed(.failure(refusal)) }
        case .success where client.isPicture:
            self.registry.close(account)
            for waiter in waiters { waiter.succeed(.success(nil)) }
        case .success(let limits):
            account.limits = limits
            let epoch = self.configuration.epoch(client.key)
            metadata["epoch"] = "\(epoch)"
            self.logger.info("play started", metadata: metadata)
            self.registry.begin(
                account,
                SessionActivity(kind: .play, key: client.key, transport: pending.transport, epoch: epoch))
            for waiter in waiters { waiter.succeed(.success(account)) }
        }
    }

    // MARK: Ends

    /// The session was ended from outside.
    private func terminated(_ client: ObjectClient, _ account: SessionAccount, _ end: SessionEnd, _ text: String) {
        let refusal = SessionRefusal(end == .limited ? .limited : .forbidden, text)
        let lifetime = end == .kicked ? self.configuration.kickLifetime : self.configuration.denialLifetime
        let now = NIODeadline.now()
        let waiters = self.table.withLock { table in
            table.refuse(client, account, refusal, until: now + lifetime, now: now)
        }
        self.close(account, client, end)
        for waiter in waiters { waiter.succeed(.failure(refusal)) }
    }

    private func close(_ account: SessionAccount, _ client: ObjectClient, _ end: SessionEnd) {
        self.registry.close(account, end)
        self.logger.info(
            "play ended",
            metadata: [
                "session": "\(account.id)", "peer": "\(client.address)", "stream": "\(client.key)",
                "sent": "\(account.sentBytes)", "reason": "\(end.rawValue)",
            ])
    }

    /// Ends the sessions of clients that stayed away, and waits that took too long. Call once a second.
    package func tick(now: NIODeadline = .now()) {
        let (left, late) = self.table.withLock { $0.deadlineReached(now: now) }
        for (client, account) in left { self.close(account, client, .left) }
        let refusal = SessionRefusal(.unavailable, "the decision about this client took too long")
        for (client, pending, waiters) in late { self.conclude(client, pending, .failure(refusal), waiters) }
    }

    /// Ends all sessions, such as at shutdown. Clients that come again are asked about again.
    package func endAll(_ end: SessionEnd) {
        for (client, account) in self.table.withLock({ $0.removeActive() }) { self.close(account, client, end) }
    }
}

/// What is asked about a client.
package struct ObjectSessionQuestion: Sendable {
    /// Who asks; its vhost is the stream's, its transport `hls`, `dash` or `snapshot`.
    package var peer: PeerIdentity
    package var request: MediaObjectRequest
    package var access: MediaObjectAccess

    init(
        _ request: MediaObjectRequest, _ access: MediaObjectAccess, transport: String, account: SessionAccount
    ) {
        self.request = request
        self.access = access
        let key = request.key
        self.peer = PeerIdentity(
            transport: transport, address: access.address, vhost: key.vhost, host: access.host, app: key.app,
            name: key.name, query: access.query, token: access.queryValue("token") ?? "")
        var client = ClientDescription()
        let path = request.name.path(of: key)
        client.tcURL = ClientDescription.bounded("\(access.isSecure ? "https" : "http")://\(access.host)\(path)")
        client.userAgent = ClientDescription.bounded(access.userAgent)
        client.referer = ClientDescription.bounded(access.referer ?? "")
        client.pageURL = client.referer
        client.query = ClientDescription.bounded(access.query, to: ClientDescription.maximumQueryLength)
        self.peer.client = client
        self.peer.account = account
        self.peer.authorization = access.authorization
    }
}

extension MediaObjectAccess {
    /// The first value of a parameter of the query, as it stands there.
    fileprivate func queryValue(_ name: String) -> String? {
        for item in self.query.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if pair[0] == name { return pair.count > 1 ? pair[1].removingPercentEncoding() ?? String(pair[1]) : "" }
        }
        return nil
    }

    fileprivate var peer: SocketAddress? {
        guard let colon = self.address.lastIndex(of: ":") else { return nil }
        let port = Int(self.address[self.address.index(after: colon)...]) ?? 0
        return try? SocketAddress(ipAddress: PeerIdentity.withoutPort(self.address), port: port)
    }
}
