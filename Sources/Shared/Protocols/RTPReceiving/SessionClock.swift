import Media
import NIOCore
import RTP

/// The timeline that all sources of one sender share, in 90 kHz ticks.
///
/// It is anchored twice: to the arrival of the first packet, where the session's time is `start`; and, once a sender
/// report came, to the sender's wall clock, which says how its sources stand to each other.
final class SessionClock {
    /// One second, so that decoding times before the first presentation time are positive.
    static let start: Int64 = MediaTime.ticksPerSecond

    private var firstArrival: NIODeadline?
    /// The sender's wall clock (32.32 NTP) and the session time that it stands for.
    private var anchor: (ntp: UInt64, ticks: Int64)?

    /// A packet arrived; the first one begins the session.
    func begin(at arrival: NIODeadline) { self.firstArrival = self.firstArrival ?? arrival }

    var isAnchored: Bool { self.anchor != nil }

    /// The session time of a moment of arrival.
    func ticks(arrival: NIODeadline) -> Int64 {
        let elapsed = (arrival - (self.firstArrival ?? arrival)).nanoseconds
        return Self.start + elapsed / 100_000 * 9 + elapsed % 100_000 * 9 / 100_000
    }

    /// The session time of a moment of the sender's wall clock; `nil` until it is anchored.
    func ticks(ntp: UInt64) -> Int64? {
        guard let anchor = self.anchor else { return nil }
        let distance = Int64(bitPattern: ntp &- anchor.ntp)
        let seconds = distance >> 32
        let fraction = ((distance & 0xFFFF_FFFF) * MediaTime.ticksPerSecond) >> 32
        return anchor.ticks &+ seconds * MediaTime.ticksPerSecond + fraction
    }

    /// The sender's wall clock shows `ntp` at session time `ticks`.
    func anchor(ntp: UInt64, at ticks: Int64) { self.anchor = (ntp, ticks) }

    /// Moves all that follows the sender's wall clock.
    func shift(by ticks: Int64) { self.anchor?.ticks += ticks }
}

/// Maps the RTP timestamps of one source to the session's timeline.
///
/// A source starts where its first packet arrived. A sender report tells where it ought to stand; it goes there by at
/// most 5 ms a second, or at once when it is more than a second away. Without reports, the earliest arrivals of each
/// ten seconds take their place, so that no clock's drift adds up. A timestamp that does not fit its arrival starts the
/// mapping anew.
struct SourceClock {
    /// What a sender report made of the clock.
    enum Alignment: Equatable {
        /// The report is of no use: too far from the source's times or from where it stands.
        case ignored
        case aligned
        /// The source would have to go back by this many ticks; instead everything else must go forward by as much.
        case shiftOthers(Int64)
    }

    /// 5 ms a second.
    private static let slewDivisor: Int64 = 200
    /// Offsets closer to the target than this are left alone (5 ms), and a slew ends at the second (1 ms).
    private static let slewStart: Int64 = 450
    private static let slewEnd: Int64 = 90
    private static let jumpThreshold: Int64 = MediaTime.ticksPerSecond
    /// Nothing sensible moves a source further than this from where it arrived.
    private static let trustedDistance: Int64 = 10 * MediaTime.ticksPerSecond
    /// A timestamp may run ahead of the time that passed on arrival by this much, or go back by it.
    private static let stepTolerance: Int64 = 3 * MediaTime.ticksPerSecond
    private static let driftWindow = TimeAmount.seconds(10)
    /// Drift below this is noise of the network (20 ms); above, it is corrected at 1 ms a second.
    private static let driftThreshold: Int64 = 1_800
    private static let driftStep: Int64 = 900

    let clockRate: Int
    private var unwrapper = RTPTimestampUnwrapper()
    /// Session time minus the source's own time in 90 kHz ticks; what it is and what it shall be.
    private var offset: Int64 = 0
    private var target: Int64 = 0
    private var isSlewing = false
    private var lastTicks: Int64?
    private var lastArrival: NIODeadline
    private var slewFrom: Int64 = 0
    /// Arrival behind media time, at its least, in the first window and in this one.
    private var baseline: Int64?
    private var windowLeast: Int64 = .max
    private var windowEnd: NIODeadline
    /// A report that came before the first frame.
    private var early: (ntp: UInt64, timestamp: UInt32)?
    /// How often the timestamps did not fit the arrivals.
    private(set) var jumps = 0
    private(set) var hasReport = false
    /// The session's wall clock is tied to this source.
    var isReference = false

    /// `clockRate` in Hz, positive.
    init(clockRate: Int, now: NIODeadline) {
        precondition(clockRate > 0, "an RTP clock has a positive rate, got \(clockRate)")
        self.clockRate = clockRate
        self.lastArrival = now
        self.windowEnd = now + Self.driftWindow
    }

    /// The session time of a timestamp; `arrival` is when its packet came. B-frames may go back.
    mutating func map(_ timestamp: UInt32, arrival: NIODeadline, session: SessionClock) -> Int64 {
        guard let last = self.lastTicks else { return self.start(timestamp, arrival: arrival, session: session) }
        let own = self.scale(self.unwrapper.peek(timestamp))
        let step = own - last
        let elapsed = max(0, session.ticks(arrival: arrival) - session.ticks(arrival: self.lastArrival))
        guard step <= elapsed + Self.stepTolerance, step >= -Self.stepTolerance else {
            self.jumps += 1
            return self.start(timestamp, arrival: arrival, session: session)
        }
        _ = self.unwrapper.unwrap(timestamp)
        self.lastTicks = own
        self.lastArrival = max(self.lastArrival, arrival)
        self.slew(to: own)
        self.follow(session.ticks(arrival: arrival) - own - self.offset, arrival: arrival, session: session)
        return own + self.offset
    }

    /// A sender report: at `ntp` of the sender's wall clock its timestamp was `timestamp`.
    ///
    /// The first source to report ties the wall clock to the session, and is never moved by its own reports.
    mutating func report(ntp: UInt64, timestamp: UInt32, session: SessionClock) -> Alignment {
        guard ntp != 0 else { return .ignored }
        guard let last = self.lastTicks else {
            self.early = (ntp, timestamp)
            return .ignored
        }
        let own = self.scale(self.unwrapper.peek(timestamp))
        guard abs(own - last) <= Self.trustedDistance else { return .ignored }
        guard let wanted = session.ticks(ntp: ntp) else {
            session.anchor(ntp: ntp, at: own + self.offset)
            self.hasReport = true
            self.isReference = true
            return .aligned
        }
        let difference = wanted - own - self.offset
        if self.isReference {
            if abs(difference) > Self.jumpThreshold {
                // The sender's wall clock was set.
                session.anchor(ntp: ntp, at: own + self.offset)
            } else {
                self.target = wanted - own
            }
            return .aligned
        }
        guard abs(difference) <= Self.trustedDistance else { return .ignored }
        self.hasReport = true
        guard difference >= -Self.jumpThreshold else {
            session.shift(by: -difference)
            self.target = self.offset
            return .shiftOthers(-difference)
        }
        self.target = wanted - own
        if difference > Self.jumpThreshold { self.offset = self.target }
        return .aligned
    }

    /// Moves the source forward at once, with everything else of its session.
    mutating func shift(by ticks: Int64) {
        self.offset += ticks
        self.target += ticks
        self.baseline = self.baseline.map { $0 - ticks }
        self.windowLeast = self.windowLeast == .max ? .max : self.windowLeast - ticks
    }

    /// The report that came before the first packet, once there is one.
    mutating func takeEarlyReport() -> (ntp: UInt64, timestamp: UInt32)? {
        guard self.lastTicks != nil, let early = self.early else { return nil }
        self.early = nil
        return early
    }

    private mutating func start(_ timestamp: UInt32, arrival: NIODeadline, session: SessionClock) -> Int64 {
        self.unwrapper = RTPTimestampUnwrapper()
        let own = self.scale(self.unwrapper.unwrap(timestamp))
        self.offset = session.ticks(arrival: arrival) - (self.baseline ?? 0) - own
        self.followEarlyReport(own, session)
        self.target = self.offset
        self.isSlewing = false
        self.lastTicks = own
        self.slewFrom = own
        self.lastArrival = max(self.lastArrival, arrival)
        return own + self.offset
    }

    /// A report that came before the first packet says where the source begins. Nothing of it was seen yet, so it may begin
    /// there at once: the first packet of a sender that gathers sound is late by what it holds.
    private mutating func followEarlyReport(_ own: Int64, _ session: SessionClock) {
        guard let early = self.early else { return }
        let reported = self.scale(self.unwrapper.peek(early.timestamp))
        guard abs(reported - own) <= Self.trustedDistance else { return }
        guard let wanted = session.ticks(ntp: early.ntp) else {
            session.anchor(ntp: early.ntp, at: reported + self.offset)
            (self.hasReport, self.isReference, self.early) = (true, true, nil)
            return
        }
        if abs(wanted - reported - self.offset) <= Self.jumpThreshold { self.offset = wanted - reported }
    }

    /// Ticks of the source's clock as ticks of 90 kHz.
    private func scale(_ time: Int64) -> Int64 {
        let rate = Int64(self.clockRate)
        // Seconds and the rest of one, so that nothing overflows and the result is exact to a tick.
        let (seconds, rest) = time.quotientAndRemainder(dividingBy: rate)
        return seconds &* MediaTime.ticksPerSecond &+ rest * MediaTime.ticksPerSecond / rate
    }

    private mutating func slew(to own: Int64) {
        let difference = self.target - self.offset
        if !self.isSlewing {
            self.isSlewing = abs(difference) > Self.slewStart
            self.slewFrom = own
            return
        }
        let budget = (own - self.slewFrom) / Self.slewDivisor
        guard budget > 0 else { return }
        self.slewFrom = own
        self.offset += min(max(difference, -budget), budget)
        self.isSlewing = abs(self.target - self.offset) > Self.slewEnd
    }

    /// Watches how far arrivals are behind media times, and lets the timeline follow our clock over minutes.
    private mutating func follow(_ transit: Int64, arrival: NIODeadline, session: SessionClock) {
        self.windowLeast = min(self.windowLeast, transit)
        guard arrival >= self.windowEnd else { return }
        let least = self.windowLeast
        self.windowLeast = .max
        self.windowEnd = arrival + Self.driftWindow
        guard let baseline = self.baseline else { return self.baseline = least }
        let error = least - baseline
        guard abs(error) > Self.driftThreshold else { return }
        if error > Self.jumpThreshold {
            // The sender slept, and its timestamps with it.
            self.offset += error
            self.target = self.offset
            if self.isReference { session.shift(by: error) }
        } else if self.isReference || !self.hasReport {
            let step = min(max(error / 4, -Self.driftStep), Self.driftStep)
            self.target += step
            if self.isReference { session.shift(by: step) }
        }
    }
}
