package import NIOCore

/// What happens when a second publisher wants a stream, and when its publisher leaves.
package enum PublishPolicy: String, Sendable, Hashable, CaseIterable {
    /// The first one keeps it; the stream ends with its connection.
    case reject
    /// A second one replaces the first if both have the same token or the first one is silent.
    case takeover
    /// The first one keeps it unless it is silent; the stream waits some time for its return.
    case grace
}

/// The settings of a stream's publisher slot.
package struct PublishSettings: Sendable, Hashable {
    package var policy: PublishPolicy
    /// How long a stream waits for its publisher to return. Not used by `reject`.
    package var grace: TimeAmount
    /// A publisher that sent no media for longer than this can be replaced.
    package var silentAfter: TimeAmount

    package init(
        policy: PublishPolicy = .grace, grace: TimeAmount = .seconds(10), silentAfter: TimeAmount = .seconds(1)
    ) {
        self.policy = policy
        self.grace = grace
        self.silentAfter = silentAfter
    }
}

/// Decides who may publish a stream.
///
/// States: `free → claiming → live → grace → free`. A claim is owned by one session and ends with it, so that no stream
/// stays busy without a publisher. While a new session claims a live stream, the old one goes on until `activate`.
package struct PublisherSlot: Sendable {
    package struct Session: Sendable, Hashable {
        package var id: UInt64
        /// The secret part of the publisher's URL; empty for none.
        package var token: String
        /// The session pulls the stream from another node. Whoever publishes here replaces it.
        package var isRelay: Bool

        package init(id: UInt64, token: String, isRelay: Bool = false) {
            self.id = id
            self.token = token
            self.isRelay = isRelay
        }
    }

    package enum Refusal: Sendable, Hashable {
        /// A publisher is live, and sent media `silentFor` ago.
        case busy(holder: UInt64, silentFor: TimeAmount)
        /// Another session is being admitted.
        case claiming(holder: UInt64)
    }

    package enum Phase: String, Sendable, Hashable {
        case free, claiming, live, grace
    }

    package enum Departure: Sendable, Hashable {
        case ended
        case waiting(until: NIODeadline)
        /// The session did not hold the stream.
        case unknown
    }

    private struct Holder {
        var session: Session
        var lastMedia: NIODeadline
    }

    /// A pull that lost its upstream looks for another and ends the stream itself; this is for one that forgot.
    private static let relayGrace = TimeAmount.minutes(5)

    private var live: Holder?
    private var claimant: Session?
    private var graceUntil: NIODeadline?

    package init() {}

    package var phase: Phase {
        if self.live != nil { return .live }
        if self.claimant != nil { return .claiming }
        return self.graceUntil != nil ? .grace : .free
    }

    /// The session whose media count.
    package var holder: UInt64? { self.live?.session.id }
    /// When the wait for the publisher's return ends.
    package var nextDeadline: NIODeadline? { self.live == nil && self.claimant == nil ? self.graceUntil : nil }

    /// A session asks for the stream. `nil`: it may go on, and must `activate` or `abandon`.
    package mutating func claim(_ session: Session, settings: PublishSettings, now: NIODeadline) -> Refusal? {
        if let claimant = self.claimant { return .claiming(holder: claimant.id) }
        if let live = self.live {
            let silence = now - live.lastMedia
            let isSilent = silence > settings.silentAfter
            let isSame = !session.token.isEmpty && session.token == live.session.token
            let isReplaceable =
                switch settings.policy {
                case _ where live.session.isRelay: true
                case .reject: false
                case .takeover: isSilent || isSame
                case .grace: isSilent
                }
            guard isReplaceable else { return .busy(holder: live.session.id, silentFor: silence) }
        }
        self.claimant = session
        return nil
    }

    /// The claim was granted. Returns the session that was replaced, if any.
    package mutating func activate(_ id: UInt64, now: NIODeadline) -> UInt64? {
        guard let claimant = self.claimant, claimant.id == id else {
            preconditionFailure(
                "session \(id) activates without a claim, claimant \(String(describing: self.claimant))")
        }
        let replaced = self.live?.session.id
        self.live = Holder(session: claimant, lastMedia: now)
        self.claimant = nil
        self.graceUntil = nil
        return replaced
    }

    /// Whether `id` is the session that is being admitted.
    package func isClaiming(_ id: UInt64) -> Bool { self.claimant?.id == id }

    /// The claim failed or its session went away. Returns whether the slot is free of sessions now.
    package mutating func abandon(_ id: UInt64) {
        if self.claimant?.id == id { self.claimant = nil }
    }

    /// The time since the publisher's last media; `nil` without a publisher.
    package func silence(now: NIODeadline) -> TimeAmount? { self.live.map { now - $0.lastMedia } }

    package mutating func receivedMedia(now: NIODeadline) { self.live?.lastMedia = now }

    /// A session left.
    package mutating func left(_ id: UInt64, settings: PublishSettings, now: NIODeadline) -> Departure {
        if self.claimant?.id == id { self.claimant = nil }
        guard let live = self.live, live.session.id == id else { return .unknown }
        self.live = nil
        if live.session.isRelay {
            let until = now + Self.relayGrace
            self.graceUntil = until
            return .waiting(until: until)
        }
        guard settings.policy != .reject, settings.grace > .zero else { return .ended }
        let until = now + settings.grace
        self.graceUntil = until
        return .waiting(until: until)
    }

    /// Returns whether the wait for the publisher ended without one.
    package mutating func deadlineReached(now: NIODeadline) -> Bool {
        guard let deadline = self.nextDeadline, now >= deadline else { return false }
        self.graceUntil = nil
        return true
    }

    /// Gives up waiting for the publisher's return.
    package mutating func endGrace() { self.graceUntil = nil }
}
