import NIOCore
import Testing

@testable import NodeRuntime

@Suite("the plan of a drain") struct DrainPlanTests {
    private typealias Session = DrainPlan.Session

    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    private func settings(publisher: Int64 = 0, viewer: Int64 = 0) -> DrainPlan.Settings {
        var settings = DrainPlan.Settings()
        settings.publisherWait = .seconds(publisher)
        settings.viewerWait = .seconds(viewer)
        settings.moveWait = .seconds(6)
        settings.relayWait = .seconds(3)
        return settings
    }

    private func plan(
        _ settings: DrainPlan.Settings, stops: Bool = true, hasOtherNodes: Bool = true, asked: Set<String> = []
    ) -> DrainPlan {
        var plan = DrainPlan(
            settings: settings, isStopping: stops, hasOtherNodes: hasOtherNodes, now: Self.start)
        plan.wereAsked(asked)
        return plan
    }

    private func at(_ seconds: Double) -> NIODeadline { Self.start + .milliseconds(Int64(seconds * 1_000)) }

    @Test("an empty node is empty at once")
    func empty() {
        for stops in [true, false] {
            var plan = self.plan(self.settings(), stops: stops)
            #expect(plan.step([], now: self.at(0)) == DrainPlan.Step(ends: [], isEmpty: true))
        }
    }

    @Test("without waits publishers and viewers go at once, and the node is empty when they are gone")
    func noWaits() {
        var plan = self.plan(self.settings())
        let step = plan.step(
            [Session(id: "p", role: .publisher), Session(id: "v", role: .viewer)], now: self.at(0))
        #expect(step == DrainPlan.Step(ends: ["p", "v"], isEmpty: false))
        #expect(plan.step([], now: self.at(0.2)).isEmpty)
    }

    @Test("a publisher that was asked to go on elsewhere has time for that, the others the time of the setting")
    func askedPublishers() {
        var plan = self.plan(self.settings(publisher: 2, viewer: 60), asked: ["a"])
        let sessions = [Session(id: "a", role: .publisher), Session(id: "b", role: .publisher)]
        #expect(plan.step(sessions, now: self.at(1.9)).ends == [])
        #expect(plan.step(sessions, now: self.at(2)).ends == ["b"])
        #expect(plan.step([sessions[0]], now: self.at(5.9)).ends == [])
        #expect(plan.step([sessions[0]], now: self.at(6)).ends == ["a"])
    }

    @Test("a longer wait of the setting holds for those that were asked, too")
    func longPublisherWait() {
        var plan = self.plan(self.settings(publisher: 30), asked: ["a"])
        let sessions = [Session(id: "a", role: .publisher)]
        #expect(plan.step(sessions, now: self.at(29.9)).ends == [])
        #expect(plan.step(sessions, now: self.at(30)).ends == ["a"])
    }

    @Test("viewers stay for the time of the setting, counted from the beginning of the drain")
    func viewers() {
        for stops in [true, false] {
            var plan = self.plan(self.settings(viewer: 10), stops: stops)
            let sessions = [Session(id: "v", role: .viewer)]
            #expect(plan.step(sessions, now: self.at(9.9)) == DrainPlan.Step())
            #expect(plan.step(sessions, now: self.at(10)).ends == ["v"])
        }
    }

    @Test("nodes that pull are let alone until no publisher is left, and a while longer")
    func relays() {
        var plan = self.plan(self.settings(), asked: ["p"])
        let relay = Session(id: "r", role: .relay)
        let publisher = Session(id: "p", role: .publisher)
        #expect(plan.step([relay, publisher], now: self.at(2)).ends == [])
        #expect(plan.step([relay], now: self.at(2.2)).ends == [])
        #expect(plan.step([relay], now: self.at(4.9)) == DrainPlan.Step())
        #expect(plan.step([relay], now: self.at(5)).ends == ["r"])
        #expect(plan.step([], now: self.at(5.2)).isEmpty)
    }

    @Test("where nobody else can take the streams, nodes that pull wait for nothing")
    func relaysOfTheOnlyNode() {
        var plan = self.plan(self.settings(), hasOtherNodes: false)
        let relay = Session(id: "r", role: .relay)
        #expect(plan.step([relay, Session(id: "p", role: .publisher)], now: self.at(0)).ends == ["p"])
        #expect(plan.step([relay], now: self.at(0.2)).ends == ["r"])
    }

    @Test("an operator's drain leaves nodes that pull alone, until the process stops")
    func operatorsDrain() {
        var plan = self.plan(self.settings(), stops: false)
        let relay = Session(id: "r", role: .relay)
        #expect(plan.step([relay], now: self.at(3_600)) == DrainPlan.Step())
        plan.stops()
        #expect(plan.step([relay], now: self.at(3_600)).ends == ["r"])
    }

    @Test("viewers that come by single requests are waited for, but nothing is ended for them")
    func virtualViewers() {
        var plan = self.plan(self.settings(viewer: 10))
        let sessions = [Session(id: "h", role: .viewer, isVirtual: true)]
        #expect(plan.step(sessions, now: self.at(9)) == DrainPlan.Step(ends: [], isEmpty: false))
        #expect(plan.step(sessions, now: self.at(10)) == DrainPlan.Step(ends: [], isEmpty: true))
    }

    @Test("a session that does not go is told again, and keeps the node from being empty")
    func stubborn() {
        var plan = self.plan(self.settings())
        let sessions = [Session(id: "v", role: .viewer)]
        for step in 0..<5 {
            #expect(plan.step(sessions, now: self.at(Double(step))) == DrainPlan.Step(ends: ["v"], isEmpty: false))
        }
    }
}
