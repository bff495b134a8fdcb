import NIOCore
import Testing

@testable import Streaming

@Suite("PublisherSlot")
struct PublisherSlotTests {
    private static func settings(_ policy: PublishPolicy, grace: TimeAmount = .seconds(10)) -> PublishSettings {
        PublishSettings(policy: policy, grace: grace, silentAfter: .seconds(1))
    }

    private static func session(_ id: UInt64, token: String = "", isRelay: Bool = false) -> PublisherSlot.Session {
        .init(id: id, token: token, isRelay: isRelay)
    }

    /// A slot that session 1 publishes since `arrival(0)`.
    private static func live(_ policy: PublishPolicy, token: String = "", isRelay: Bool = false) -> PublisherSlot {
        var slot = PublisherSlot()
        let refusal = slot.claim(
            self.session(1, token: token, isRelay: isRelay), settings: self.settings(policy), now: arrival(0))
        #expect(refusal == nil)
        #expect(slot.activate(1, now: arrival(0)) == nil)
        return slot
    }

    @Test("a free stream is claimed, then published", arguments: PublishPolicy.allCases)
    func firstPublisher(policy: PublishPolicy) {
        var slot = PublisherSlot()
        #expect(slot.phase == .free)
        #expect(slot.holder == nil)
        #expect(slot.claim(Self.session(1), settings: Self.settings(policy), now: arrival(0)) == nil)
        #expect(slot.phase == .claiming)
        #expect(slot.isClaiming(1))
        #expect(!slot.isClaiming(2))
        #expect(slot.holder == nil)
        #expect(slot.activate(1, now: arrival(10)) == nil)
        #expect(slot.phase == .live)
        #expect(slot.holder == 1)
        #expect(!slot.isClaiming(1))
        #expect(slot.nextDeadline == nil)
    }

    @Test("a second claim waits for the first to be decided", arguments: PublishPolicy.allCases)
    func secondClaim(policy: PublishPolicy) {
        var slot = PublisherSlot()
        #expect(slot.claim(Self.session(1), settings: Self.settings(policy), now: arrival(0)) == nil)
        let refusal = slot.claim(Self.session(2), settings: Self.settings(policy), now: arrival(100_000))
        #expect(refusal == .claiming(holder: 1))
        slot.abandon(2)
        #expect(slot.isClaiming(1))
        slot.abandon(1)
        #expect(slot.phase == .free)
        #expect(slot.claim(Self.session(2), settings: Self.settings(policy), now: arrival(0)) == nil)
    }

    @Test("a claim ends with its session")
    func claimantLeaves() {
        var slot = PublisherSlot()
        #expect(slot.claim(Self.session(1), settings: Self.settings(.grace), now: arrival(0)) == nil)
        #expect(slot.left(1, settings: Self.settings(.grace), now: arrival(1)) == .unknown)
        #expect(slot.phase == .free)
    }

    @Test("a live publisher that sends media is never replaced without its token", arguments: PublishPolicy.allCases)
    func busy(policy: PublishPolicy) {
        var slot = Self.live(policy, token: "secret")
        slot.receivedMedia(now: arrival(5_000))
        let refusal = slot.claim(Self.session(2, token: "other"), settings: Self.settings(policy), now: arrival(6_000))
        #expect(refusal == .busy(holder: 1, silentFor: .seconds(1)))
        #expect(slot.phase == .live)
        #expect(slot.holder == 1)
    }

    @Test("empty tokens are not the same token")
    func emptyTokens() {
        var slot = Self.live(.takeover)
        let refusal = slot.claim(Self.session(2), settings: Self.settings(.takeover), now: arrival(500))
        #expect(refusal == .busy(holder: 1, silentFor: .milliseconds(500)))
    }

    @Test("the same token takes a live stream over, but only where takeover is allowed")
    func sameToken() {
        for (policy, isAllowed) in [(PublishPolicy.takeover, true), (.grace, false), (.reject, false)] {
            var slot = Self.live(policy, token: "secret")
            let refusal = slot.claim(
                Self.session(2, token: "secret"), settings: Self.settings(policy), now: arrival(500))
            #expect((refusal == nil) == isAllowed, "\(policy)")
        }
    }

    @Test("a silent publisher is replaced, except where the first one keeps the stream")
    func silent() {
        for (policy, isAllowed) in [(PublishPolicy.takeover, true), (.grace, true), (.reject, false)] {
            var slot = Self.live(policy)
            slot.receivedMedia(now: arrival(2_000))
            #expect(slot.claim(Self.session(2), settings: Self.settings(policy), now: arrival(3_000)) != nil)
            let refusal = slot.claim(Self.session(2), settings: Self.settings(policy), now: arrival(3_001))
            #expect((refusal == nil) == isAllowed, "\(policy)")
            if !isAllowed { #expect(refusal == .busy(holder: 1, silentFor: .milliseconds(1_001))) }
        }
    }

    @Test("the old publisher goes on until the new one is admitted, and is then named")
    func takeover() {
        var slot = Self.live(.takeover, token: "secret")
        #expect(
            slot.claim(Self.session(2, token: "secret"), settings: Self.settings(.takeover), now: arrival(1)) == nil)
        #expect(slot.phase == .live)
        #expect(slot.holder == 1)
        #expect(slot.activate(2, now: arrival(2)) == 1)
        #expect(slot.holder == 2)
        #expect(slot.left(1, settings: Self.settings(.takeover), now: arrival(3)) == .unknown)
        #expect(slot.holder == 2)
    }

    @Test("a takeover that is refused leaves the old publisher alone")
    func abandonedTakeover() {
        var slot = Self.live(.takeover, token: "secret")
        #expect(
            slot.claim(Self.session(2, token: "secret"), settings: Self.settings(.takeover), now: arrival(1)) == nil)
        slot.abandon(2)
        #expect(slot.phase == .live)
        #expect(slot.holder == 1)
        #expect(!slot.isClaiming(2))
    }

    @Test("a pull from another node gives way to any publisher", arguments: PublishPolicy.allCases)
    func relayGivesWay(policy: PublishPolicy) {
        var slot = Self.live(policy, isRelay: true)
        slot.receivedMedia(now: arrival(100))
        #expect(slot.claim(Self.session(2), settings: Self.settings(policy), now: arrival(101)) == nil)
        #expect(slot.activate(2, now: arrival(102)) == 1)
    }

    @Test("a pull does not replace a publisher that sends media")
    func relayIsRefused() {
        var slot = Self.live(.grace)
        let refusal = slot.claim(Self.session(2, isRelay: true), settings: Self.settings(.grace), now: arrival(10))
        #expect(refusal == .busy(holder: 1, silentFor: .milliseconds(10)))
    }

    @Test("a stream ends with its publisher's connection where it does not wait")
    func endsAtOnce() {
        for settings in [Self.settings(.reject), Self.settings(.grace, grace: .zero)] {
            var slot = Self.live(settings.policy)
            #expect(slot.left(1, settings: settings, now: arrival(5)) == .ended)
            #expect(slot.phase == .free)
            #expect(slot.nextDeadline == nil)
        }
    }

    @Test("a stream waits for its publisher's return, and no longer", arguments: [PublishPolicy.grace, .takeover])
    func grace(policy: PublishPolicy) {
        var slot = Self.live(policy)
        let until = arrival(10_005)
        #expect(slot.left(1, settings: Self.settings(policy), now: arrival(5)) == .waiting(until: until))
        #expect(slot.phase == .grace)
        #expect(slot.holder == nil)
        #expect(slot.nextDeadline == until)
        #expect(slot.deadlineReached(now: until - .nanoseconds(1)) == false)
        #expect(slot.phase == .grace)
        #expect(slot.deadlineReached(now: until) == true)
        #expect(slot.phase == .free)
        #expect(slot.deadlineReached(now: until + .seconds(1)) == false)
    }

    @Test("anyone may publish while the stream waits")
    func returnWithinGrace() {
        var slot = Self.live(.grace, token: "secret")
        _ = slot.left(1, settings: Self.settings(.grace), now: arrival(0))
        #expect(slot.claim(Self.session(2), settings: Self.settings(.grace), now: arrival(9_000)) == nil)
        #expect(slot.phase == .claiming)
        #expect(slot.nextDeadline == nil)
        #expect(slot.deadlineReached(now: arrival(20_000)) == false)
        #expect(slot.activate(2, now: arrival(9_001)) == nil)
        #expect(slot.phase == .live)
        #expect(slot.left(2, settings: Self.settings(.grace), now: arrival(9_500)) == .waiting(until: arrival(19_500)))
    }

    @Test("a claim that is refused while the stream waits leaves the wait as it was")
    func abandonWithinGrace() {
        var slot = Self.live(.grace)
        _ = slot.left(1, settings: Self.settings(.grace), now: arrival(0))
        #expect(slot.claim(Self.session(2), settings: Self.settings(.grace), now: arrival(9_000)) == nil)
        slot.abandon(2)
        #expect(slot.phase == .grace)
        #expect(slot.nextDeadline == arrival(10_000))
        #expect(slot.deadlineReached(now: arrival(10_500)) == true)
    }

    @Test("a publisher that leaves during a takeover leaves the stream to the newcomer")
    func leavesDuringTakeover() {
        var slot = Self.live(.takeover, token: "secret")
        #expect(
            slot.claim(Self.session(2, token: "secret"), settings: Self.settings(.takeover), now: arrival(1)) == nil)
        #expect(slot.left(1, settings: Self.settings(.takeover), now: arrival(2)) == .waiting(until: arrival(10_002)))
        #expect(slot.phase == .claiming)
        #expect(slot.activate(2, now: arrival(3)) == nil)
        #expect(slot.holder == 2)
    }

    @Test("the wait of a pull is long, because its owner ends it")
    func relayGrace() {
        var slot = Self.live(.reject, isRelay: true)
        guard case .waiting(let until) = slot.left(1, settings: Self.settings(.reject), now: arrival(0)) else {
            Issue.record("a pull that left does not wait")
            return
        }
        #expect(until >= arrival(60_000))
        slot.endGrace()
        #expect(slot.phase == .free)
    }

    @Test("a session that never claimed cannot leave or abandon")
    func strangers() {
        var slot = Self.live(.grace)
        #expect(slot.left(7, settings: Self.settings(.grace), now: arrival(0)) == .unknown)
        slot.abandon(7)
        #expect(slot.holder == 1)
        var free = PublisherSlot()
        #expect(free.left(7, settings: Self.settings(.grace), now: arrival(0)) == .unknown)
        #expect(free.phase == .free)
    }
}
