import NIOCore

/// Decides when a source is asked for a keyframe.
///
/// A keyframe may be *needed*, because nothing can be decoded before it, or *wanted*, by a viewer or by the settings.
/// In either case requests are repeated until it comes, at growing distance.
struct KeyframeRequester {
    /// The first keyframe of an encoder that starts carefully may need this long to come through.
    private static let startGrace = TimeAmount.milliseconds(500)
    /// While nothing comes from a source, it is not asked either; this is when to look again.
    private static let idleInterval = TimeAmount.seconds(1)
    private static let idleAfter = TimeAmount.seconds(3)

    private let interval: TimeAmount
    private let periodicInterval: TimeAmount?
    /// Frames cannot be decoded before the next keyframe.
    private(set) var isNeeded: Bool
    private var due: NIODeadline?
    private var lastSent: NIODeadline?
    private var attempts = 0
    private var roundTrip = TimeAmount.zero
    /// Nobody uses the source: a lower encoding of simulcast.
    var isSuspended = false

    init(settings: RTPReportSettings, isVideo: Bool, now: NIODeadline) {
        self.interval = settings.keyframeRequestInterval
        self.periodicInterval = isVideo ? settings.keyframeInterval : nil
        self.isNeeded = isVideo
        self.due = isVideo ? now + Self.startGrace : nil
    }

    var nextDeadline: NIODeadline? { self.isSuspended ? nil : self.due }

    /// Something broke.
    mutating func need(now: NIODeadline) {
        guard !self.isNeeded else { return }
        self.isNeeded = true
        self.hurry(now: now)
    }

    /// A frame was dropped for the lack of a keyframe, or a viewer waits for one: asks as soon as the distance between
    /// requests allows.
    mutating func hurry(now: NIODeadline) {
        let earliest = self.lastSent.map { max(now, $0 + self.distance) } ?? now
        self.due = min(self.due ?? earliest, earliest)
    }

    /// A keyframe came.
    mutating func satisfied(now: NIODeadline) {
        self.isNeeded = false
        self.attempts = 0
        self.due = self.periodicInterval.map { now + $0 }
    }

    /// Whether to ask now. `lastPacket` is when the source last gave a sign of life.
    mutating func takeDue(now: NIODeadline, lastPacket: NIODeadline, roundTrip: TimeAmount) -> Bool {
        guard let due = self.nextDeadline, now >= due else { return false }
        self.roundTrip = roundTrip
        guard now - lastPacket < Self.idleAfter else {
            self.due = now + Self.idleInterval
            return false
        }
        self.lastSent = now
        self.attempts += 1
        self.due = now + self.distance
        return true
    }

    /// The distance between two requests.
    private var distance: TimeAmount {
        let base = max(self.interval.nanoseconds, self.roundTrip.nanoseconds / 2 * 3)
        return .nanoseconds(base << Int64(min(max(0, self.attempts - 4), 2)))
    }
}
