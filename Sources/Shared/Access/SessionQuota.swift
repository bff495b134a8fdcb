import DequeModule
package import Media
package import NIOCore

/// How many sessions streams and apps of this node may have. `nil`: any number.
package struct SessionQuotaLimits: Sendable, Hashable {
    /// Publishers of one app.
    package var publishersPerApp: Int?
    /// Viewers of one stream.
    package var viewersPerStream: Int?

    package init(publishersPerApp: Int? = nil, viewersPerStream: Int? = nil) {
        self.publishersPerApp = publishersPerApp
        self.viewersPerStream = viewersPerStream
    }
}

/// Counts publishers by app and viewers by stream, with those that were let in and have not begun yet.
///
/// `reserve` → `began` → `ended`, or `reserve` → `withdraw`. A reservation that nobody takes or withdraws is void after
/// `reservationTime`, so that a session which is lost on its way in costs its place for a while only. The cost of an
/// operation does not grow with the number of sessions.
package struct SessionQuota: Sendable {
    package enum Refusal: String, Sendable, Hashable, CaseIterable {
        case publishersPerApp = "publishers_per_app"
        case viewersPerStream = "viewers_per_stream"
    }

    /// An app, or a stream.
    private enum Scope: Hashable, Sendable {
        case app(vhost: String, app: String)
        case stream(StreamKey)
    }

    private struct Count {
        var active = 0
        var reserved = 0
    }

    /// Lives until its place in the queue comes up, whatever became of it.
    private struct Reservation {
        /// `nil`: taken or withdrawn.
        var scope: Scope?
        var voidAt: NIODeadline
    }

    private let reservationTime: TimeAmount
    private var counts: [Scope: Count] = [:]
    private var reservations: [String: Reservation] = [:]
    /// Each reservation once, with the time at which to look at it.
    private var queue: Deque<(session: String, at: NIODeadline)> = []
    /// Where a session is active.
    private var active: [String: Scope] = [:]

    package init(reservationTime: TimeAmount = .seconds(30)) {
        precondition(reservationTime > .zero, "a reservation lasts, got \(reservationTime)")
        self.reservationTime = reservationTime
    }

    // MARK: Counts

    /// Streams and apps that are counted.
    package var scopeCount: Int { self.counts.count }
    /// Sessions of which something is remembered beside the counts.
    package var rememberedCount: Int { self.reservations.count + self.active.count }

    package func publishers(vhost: String, app: String) -> Int {
        self.counts[.app(vhost: vhost, app: app)]?.active ?? 0
    }

    package func viewers(of key: StreamKey) -> Int { self.counts[.stream(key)]?.active ?? 0 }

    // MARK: Life

    /// Keeps a place for `session`, in exchange for one that it has elsewhere. `nil`: it has one, or needs none.
    ///
    /// A session that is active there already keeps its place.
    package mutating func reserve(
        _ session: String, key: StreamKey, action: AccessAction, limits: SessionQuotaLimits, now: NIODeadline
    ) -> Refusal? {
        let scope = Self.scope(key, action)
        if self.active[session] == scope { return nil }
        self.withdraw(session)
        if let refusal = self.refusal(scope, action, limits, now: now) { return refusal }
        guard Self.limit(action, limits) != nil else { return nil }
        let voidAt = now + self.reservationTime
        if self.reservations[session] == nil { self.queue.append((session, voidAt)) }
        self.reservations[session] = Reservation(scope: scope, voidAt: voidAt)
        self.counts[scope, default: Count()].reserved += 1
        return nil
    }

    /// Whether another session would find a place.
    package mutating func refusal(
        key: StreamKey, action: AccessAction, limits: SessionQuotaLimits, now: NIODeadline
    ) -> Refusal? {
        self.refusal(Self.scope(key, action), action, limits, now: now)
    }

    private mutating func refusal(
        _ scope: Scope, _ action: AccessAction, _ limits: SessionQuotaLimits, now: NIODeadline
    ) -> Refusal? {
        self.dropVoid(now: now)
        let count = self.counts[scope] ?? Count()
        guard let limit = Self.limit(action, limits), count.active + count.reserved >= limit else { return nil }
        return action == .publish ? .publishersPerApp : .viewersPerStream
    }

    /// It will not begin: something else refused it, or its connection is gone. Harmless if it has no reservation.
    package mutating func withdraw(_ session: String) {
        guard let scope = self.reservations[session]?.scope else { return }
        self.reservations[session]?.scope = nil
        self.change(scope) { $0.reserved -= 1 }
    }

    /// It publishes or plays from now on, whether or not it had a reservation.
    package mutating func began(_ session: String, key: StreamKey, action: AccessAction) {
        self.withdraw(session)
        self.ended(session)
        let scope = Self.scope(key, action)
        self.active[session] = scope
        self.change(scope) { $0.active += 1 }
    }

    /// It no longer does. Harmless if it did not.
    package mutating func ended(_ session: String) {
        guard let scope = self.active.removeValue(forKey: session) else { return }
        self.change(scope) { $0.active -= 1 }
    }

    private static func scope(_ key: StreamKey, _ action: AccessAction) -> Scope {
        switch action {
        case .publish: .app(vhost: key.vhost, app: key.app)
        case .play: .stream(key)
        }
    }

    private static func limit(_ action: AccessAction, _ limits: SessionQuotaLimits) -> Int? {
        action == .publish ? limits.publishersPerApp : limits.viewersPerStream
    }

    private mutating func change(_ scope: Scope, _ body: (inout Count) -> Void) {
        var count = self.counts[scope] ?? Count()
        body(&count)
        self.counts[scope] = count.active == 0 && count.reserved == 0 ? nil : count
    }

    private mutating func dropVoid(now: NIODeadline) {
        while let (session, at) = self.queue.first, at <= now {
            self.queue.removeFirst()
            guard let reservation = self.reservations[session] else { continue }
            if reservation.scope != nil, reservation.voidAt > now {
                // It was renewed since.
                self.queue.append((session, reservation.voidAt))
            } else {
                self.withdraw(session)
                self.reservations[session] = nil
            }
        }
    }
}
