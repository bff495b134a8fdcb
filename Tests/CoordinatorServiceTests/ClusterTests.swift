import AsyncHTTPClient
import ClusterLink
import Foundation
import Media
import NIOCore
import NIOHTTP1
import Placement
import ServiceLifecycle
import Testing

@testable import CoordinatorService

@Suite("links and coordinator", .timeLimit(.minutes(2)), .serialized) struct LinkTests {
    private let key: StreamKey

    init() throws { self.key = try StreamKey(app: "live", name: "demo") }

    private func epoch(_ outcome: ClaimOutcome) throws -> UInt64 {
        switch outcome {
        case .granted(let epoch, _, _), .provisional(let epoch): return epoch
        default: throw NotInTime(what: "\(outcome)")
        }
    }

    private func report(_ epoch: UInt64, _ state: PlacementState = .live) -> StreamReport {
        StreamReport(key: self.key, epoch: epoch, state: state)
    }

    @Test("of two origins that claim at once exactly one wins, and the other is told the holder")
    func race() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let (a, b) = (try TestNode("a", coordinator: coordinator), try TestNode("b", coordinator: coordinator))
        try await a.startConnected()
        try await b.startConnected()
        let key = self.key
        for round in 0..<10 {
            let name = try StreamKey(app: "live", name: "race\(round)")
            async let first = a.link.claim(name, policy: .grace)
            async let second = b.link.claim(name, policy: .grace)
            let outcomes = [(a, await first), (b, await second)]
            let winners = outcomes.filter { if case .granted = $0.1 { true } else { false } }
            let losers = outcomes.compactMap { outcome -> NodeID? in
                if case .conflict(let conflict) = outcome.1 { conflict.node } else { nil }
            }
            #expect(winners.count == 1)
            #expect(losers == winners.map(\.0.description.id))
        }
        #expect(await a.link.playRoute(for: key) == .notFound)
        await a.kill()
        await b.kill()
        await coordinator.stop()
    }

    @Test("an edge follows a stream from its claim to its end, and finds it by lookup and by watch")
    func follow() async throws {
        let coordinator = try TestCoordinator(secret: "s3cret")
        try await coordinator.start()
        let origin = try TestNode("o", coordinator: coordinator)
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        try await origin.startConnected()
        try await edge.startConnected()
        #expect(await edge.link.playRoute(for: self.key) == .notFound)
        let epoch = try self.epoch(await origin.link.claim(self.key, token: "t", policy: .reject))
        origin.holds(self.report(epoch))
        let route = Route(origin.description, epoch: epoch)
        try await eventually("the edge hears of it") { edge.link.cachedRoute(for: self.key) == route }
        #expect(await edge.link.playRoute(for: self.key) == .origin(route))
        #expect(await edge.link.publishRoute(for: self.key) == .origins([route]))
        await origin.link.report(self.key, epoch: epoch, state: .live)
        await origin.link.report(self.key, epoch: epoch, state: .grace)
        origin.holds()
        await origin.link.release(self.key, epoch: epoch, reason: .graceOver)
        try await eventually("the edge hears the end") { edge.changes.last?.state == .ended }
        #expect(Set(edge.changes.map(\.epoch)) == [epoch])
        #expect(await edge.link.playRoute(for: self.key) == .ended)
        await origin.kill()
        await edge.kill()
        await coordinator.stop()
    }

    @Test("a killed origin's stream is won by another in seconds, with patience, and the edge is told the new route")
    func failover() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let (a, b) = (try TestNode("a", coordinator: coordinator), try TestNode("b", coordinator: coordinator))
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        for node in [a, b, edge] { try await node.startConnected() }
        let first = try self.epoch(await a.link.claim(self.key, policy: .grace))
        a.holds(self.report(first))
        try await eventually("it is live") { edge.changes.last?.state == .live }
        let start = ContinuousClock.now
        await a.kill()
        var outcome = await b.link.claim(self.key, policy: .grace, patience: .seconds(3))
        // A claim that comes before the broken connection is noticed is told of a holder that is well, as in a race.
        while case .conflict = outcome, ContinuousClock.now - start < .seconds(8) {
            try await Task.sleep(for: .milliseconds(50))
            outcome = await b.link.claim(self.key, policy: .grace, patience: .seconds(3))
        }
        let second = try self.epoch(outcome)
        #expect(outcome == .granted(epoch: second, position: nil, wasLastHolder: false))
        #expect(second > first)
        // Two seconds where nothing else runs; process tests hold the real programs to that.
        #expect(ContinuousClock.now - start < .seconds(10))
        try await eventually("the edge follows") { edge.link.cachedRoute(for: self.key)?.node == b.description.id }
        #expect(!edge.changes.contains { $0.state == .ended })
        await b.kill()
        await edge.kill()
        await coordinator.stop()
    }

    @Test("a takeover with the same token tells the old origin at once that it is superseded")
    func takeover() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let (a, b) = (try TestNode("a", coordinator: coordinator), try TestNode("b", coordinator: coordinator))
        try await a.startConnected()
        try await b.startConnected()
        let first = try self.epoch(await a.link.claim(self.key, token: "t", policy: .takeover))
        a.holds(self.report(first))
        let second = try self.epoch(await b.link.claim(self.key, token: "t", policy: .takeover))
        try await eventually("a is told") { a.superseded.contains(second) }
        #expect(b.superseded.isEmpty)
        await a.kill()
        await b.kill()
        await coordinator.stop()
    }

    @Test(
        "a restart of the coordinator, with its database or with an empty one, ends nothing and converges in 5 s",
        arguments: ["db.sqlite", "empty.sqlite"])
    func restart(database: String) async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let origin = try TestNode("o", coordinator: coordinator)
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        try await origin.startConnected()
        try await edge.startConnected()
        let epoch = try self.epoch(await origin.link.claim(self.key, policy: .reject))
        origin.holds(self.report(epoch))
        try await eventually("it is live") { edge.changes.last?.state == .live }
        let port = await coordinator.stop()
        try await eventually("the loss is noticed") { !edge.link.state.isConnected && !origin.link.state.isConnected }

        let route = Route(origin.description, epoch: epoch)
        #expect(await edge.link.playRoute(for: self.key) == .unreachable(cached: route))
        let other = try StreamKey(app: "live", name: "meanwhile")
        let outcome = await origin.link.claim(other, policy: .reject)
        let provisional = try self.epoch(outcome)
        #expect(outcome == .provisional(epoch: provisional))
        origin.holds(self.report(epoch), StreamReport(key: other, epoch: provisional, state: .live))

        try await coordinator.start(port: port, recoveryMillis: 1_500, database: database)
        let start = ContinuousClock.now
        try await eventually("the edge hears of the provisional stream") {
            edge.link.cachedRoute(for: other)?.epoch == provisional
        }
        try await eventually("the edge asks again") { await edge.link.playRoute(for: self.key) == .origin(route) }
        // Five seconds where nothing else runs.
        #expect(ContinuousClock.now - start < .seconds(10))
        try await Task.sleep(for: .seconds(2))
        #expect(!edge.changes.contains { $0.state == .ended })
        #expect(origin.superseded.isEmpty)
        #expect(edge.link.state.lossCount == 1)
        await origin.kill()
        await edge.kill()
        await coordinator.stop()
    }

    @Test("a stream that ended while the coordinator was away is ended for the edges after its return")
    func releasedMeanwhile() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let origin = try TestNode("o", coordinator: coordinator)
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        try await origin.startConnected()
        try await edge.startConnected()
        let epoch = try self.epoch(await origin.link.claim(self.key, policy: .reject))
        origin.holds(self.report(epoch))
        try await eventually("it is live") { edge.changes.last?.state == .live }
        let port = await coordinator.stop()
        try await eventually("the loss is noticed") { !origin.link.state.isConnected }
        origin.holds()
        await origin.link.release(self.key, epoch: epoch, reason: .unpublished)
        try await coordinator.start(port: port, recoveryMillis: 1_000)
        try await eventually("the edge hears the end") { edge.changes.last?.state == .ended }
        await origin.kill()
        await edge.kill()
        await coordinator.stop()
    }

    @Test("drain reaches the node, keeps publishers away, and survives a restart of the coordinator")
    func drain() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let origin = try TestNode("o", coordinator: coordinator)
        try await origin.startConnected()
        #expect(
            try await call(coordinator.url + "/api/v1/nodes/o/drain", method: .POST, headers: asAdmin).status == 204)
        try await eventually("the node is told") { origin.drains == [true] }
        #expect(await origin.link.claim(self.key, policy: .reject) == .refused(reason: "draining"))
        #expect(await origin.link.publishRoute(for: self.key) == .noOrigin)
        let port = await coordinator.stop()
        try await coordinator.start(port: port)
        #expect(await origin.link.claim(self.key, policy: .reject) == .refused(reason: "draining"))
        #expect(
            try await call(coordinator.url + "/api/v1/nodes/o/undrain", method: .POST, headers: asAdmin).status == 204)
        try await eventually("the node is told") { origin.drains == [true, false] }
        await origin.kill()
        await coordinator.stop()
    }

    @Test("a thousand askers of one missing stream make one lookup")
    func singleFlight() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        try await edge.startConnected()
        let outcomes = await withTaskGroup(of: RouteOutcome.self) { group in
            for _ in 0..<1_000 { group.addTask { await edge.link.playRoute(for: self.key) } }
            return await group.reduce(into: [RouteOutcome: Int]()) { $0[$1, default: 0] += 1 }
        }
        #expect(outcomes == [.notFound: 1_000])
        await edge.kill()
        await coordinator.stop()
    }

    @Test("without event streams a node polls, and hears of changes and of a restart all the same")
    func polling() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start(servesEvents: false)
        let origin = try TestNode("o", coordinator: coordinator)
        let edge = try TestNode("e", role: .edge, coordinator: coordinator)
        origin.start()
        try await edge.startConnected(watch: .polling)
        let epoch = try self.epoch(await origin.link.claim(self.key, policy: .reject))
        origin.holds(self.report(epoch))
        try await eventually("it is live") { edge.changes.last?.state == .live }
        let port = await coordinator.stop()
        try await coordinator.start(port: port, recoveryMillis: 500, database: "empty.sqlite", servesEvents: false)
        try await eventually("it joins again") {
            await edge.link.playRoute(for: self.key) == .origin(Route(origin.description, epoch: epoch))
        }
        await origin.link.release(self.key, epoch: epoch, reason: .unpublished)
        try await eventually("the edge hears the end") { edge.changes.last?.state == .ended }
        await origin.kill()
        await edge.kill()
        await coordinator.stop()
    }

    @Test("a node that shuts down gracefully leaves, and a coordinator that does ends its watchers")
    func gracefulShutdown() async throws {
        let coordinator = try TestCoordinator()
        try await coordinator.start()
        let origin = try TestNode("o", coordinator: coordinator)
        let group = ServiceGroup(services: [origin.link], logger: quietLogger())
        let task = Task { try await group.run() }
        try await eventually("it joins") { try await call(coordinator.url + "/api/v1/nodes").body.contains("\"o\"") }
        await group.triggerGracefulShutdown()
        try await task.value
        #expect(try await call(coordinator.url + "/api/v1/nodes").body == "{\"nodes\":[]}")

        let server = CoordinatorServer(
            configuration: CoordinatorConfiguration(port: 0, databasePath: coordinator.folder + "/second.sqlite"),
            logger: quietLogger())
        let servers = ServiceGroup(services: [server], logger: quietLogger())
        let serving = Task { try await servers.run() }
        let port = try #require(await server.boundPort())
        let response = try await HTTPClient.shared.execute(
            HTTPClientRequest(url: "http://127.0.0.1:\(port)/api/v1/watch"), deadline: .now() + .seconds(10))
        #expect(response.status == .ok)
        await servers.triggerGracefulShutdown()
        try await serving.value
        var text = ""
        for try await buffer in response.body { text += String(buffer: buffer) }
        #expect(text.contains("event: synced"))
        await coordinator.stop()
    }
}
