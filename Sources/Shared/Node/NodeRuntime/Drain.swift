import ClusterLink
import Logging
import Media
import NIOCore
import NodeConfiguration
import Placement
import RTMPServer
import ServiceLifecycle
import StreamHub
import Synchronization

/// Empties the node: for an operator, who drains it by the coordinator or by the node's own API, and before the process
/// ends. There is this one way for all.
///
/// While it drains, the node refuses new publishers and viewers, says so to the coordinator and to `/readyz`, moves its
/// publishers to other nodes, and ends its viewers when their time is over (`DrainPlan`). A node that an operator
/// drained goes on running, empty, until it is undrained. As a service this runs until the process is told to stop, and
/// then until the node is empty or its deadline is over: let the services that serve media end after it.
actor Drain: Service {
    /// Who wants the node empty.
    enum Wish: String, Sendable, Hashable, CaseIterable {
        /// The operator, by the coordinator.
        case cluster
        /// The operator, by this node's API.
        case node
        /// The process ends.
        case shutdown
    }

    /// How far it is, for the API and metrics.
    enum State: String, Sendable, Hashable, Encodable {
        case serving, draining
        /// Nobody is left.
        case drained
    }

    /// What it needs of the node.
    struct Node: Sendable {
        var registry: SessionRegistry
        /// Asks publishers that can to go on elsewhere; returns those that were asked.
        var requestReconnects: @Sendable () async -> Set<String>
        /// Other nodes that can take over what is published here.
        var hasOtherNodes: @Sendable () -> Bool
        /// The node no longer takes anybody, or does again: tells `/readyz` and the coordinator.
        var announce: @Sendable (_ isDraining: Bool) -> Void
    }

    private struct Shared {
        var wishes: Set<Wish> = []
        var state = State.serving
        /// Counts the drains, so that what belongs to one is not taken for a part of the next.
        var round = 0
    }

    /// How often it looks at who is left: at first, and of a node that is drained for longer.
    private static let interval = Duration.milliseconds(200)
    private static let slowInterval = Duration.seconds(1)
    private static let fastSteps = 50
    /// Is sent to those that are refused or ended.
    private static let text = "This node is being drained."

    private let node: Node
    private let settings: DrainPlan.Settings
    private let deadline: TimeAmount
    private let logger: Logger
    private nonisolated let shared = Mutex(Shared())
    private var plan: DrainPlan?
    private var planRound = 0
    private let kicked: AsyncStream<Void>
    private nonisolated let kick: AsyncStream<Void>.Continuation

    /// `deadline`: the longest that a process that stops waits.
    init(node: Node, settings: DrainPlan.Settings, deadline: TimeAmount, logger: Logger) {
        self.node = node
        self.settings = settings
        self.deadline = deadline
        self.logger = logger
        (self.kicked, self.kick) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    // MARK: For everybody else

    nonisolated var state: State { self.shared.withLock { $0.state } }
    nonisolated var isDraining: Bool { self.shared.withLock { !$0.wishes.isEmpty } }
    /// Who wants the node empty.
    nonisolated var wishes: Set<Wish> { self.shared.withLock { $0.wishes } }

    /// Why a publisher may not begin now; `nil` if it may.
    nonisolated func publishRefusal() -> SessionRefusal? {
        self.isDraining ? SessionRefusal(.unavailable, Self.text) : nil
    }

    /// Why a viewer may not begin now; `nil` if it may. Nodes may pull what is still published here, because it is nowhere
    /// else; for what moved away they have to ask the coordinator again.
    nonisolated func playRefusal(isRelay: Bool, isPublishedHere: Bool) -> SessionRefusal? {
        guard self.isDraining, !(isRelay && isPublishedHere) else { return nil }
        return SessionRefusal(.unavailable, Self.text)
    }

    /// Somebody wants the node empty, or no longer does. Takes effect at once; the work goes on in `run`.
    ///
    /// A process that stops stays so.
    nonisolated func set(_ wish: Wish, _ isWanted: Bool) {
        let change: Bool? = self.shared.withLock { shared in
            let wasDraining = !shared.wishes.isEmpty
            if isWanted {
                shared.wishes.insert(wish)
            } else if wish != .shutdown {
                shared.wishes.remove(wish)
            }
            let isDraining = !shared.wishes.isEmpty
            if isDraining, !wasDraining { shared.round += 1 }
            shared.state = isDraining ? (shared.state == .serving ? .draining : shared.state) : .serving
            return wasDraining == isDraining ? nil : isDraining
        }
        if let isDraining = change {
            self.logger.notice(
                isDraining ? "draining" : "no longer draining", metadata: ["by": "\(wish.rawValue)"])
            self.node.announce(isDraining)
        }
        self.kick.yield()
    }

    // MARK: Running

    /// Carries out the wishes until the process is told to stop, and then the last of them.
    func run() async throws {
        await withTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await self.follow() }
            // A task, because a group that is told to stop does not wake its own body.
            tasks.addTask { try? await gracefulShutdown() }
            await tasks.next()
            tasks.cancelAll()
        }
        guard !Task.isCancelled else { return }
        await self.shutDown()
    }

    /// Waits for wishes, and drains as long as there are any.
    private func follow() async {
        for await _ in self.kicked {
            var steps = 0
            while self.isDraining, !Task.isCancelled {
                await self.step()
                steps += 1
                try? await Task.sleep(for: steps < Self.fastSteps ? Self.interval : Self.slowInterval)
            }
        }
    }

    private func shutDown() async {
        self.set(.shutdown, true)
        let end = NIODeadline.now() + self.deadline
        self.plan?.stops()
        while NIODeadline.now() < end, !Task.isCancelled {
            await self.step()
            if self.state == .drained { return self.logger.notice("the node is empty") }
            try? await Task.sleep(for: Self.interval)
        }
        self.logger.warning(
            "not empty within shutdown.drain_deadline", metadata: ["sessions": "\(self.sessions().count)"])
    }

    private func step() async {
        let round = self.shared.withLock { $0.round }
        if self.plan == nil || self.planRound != round { await self.begin(round) }
        guard var plan = self.plan else { return }
        let step = plan.step(self.sessions(), now: .now())
        self.plan = plan
        for id in step.ends { self.node.registry.account(id)?.terminate(.shutdown, Self.text) }
        self.shared.withLock { shared in
            guard !shared.wishes.isEmpty else { return }
            shared.state = step.isEmpty ? .drained : .draining
        }
    }

    private func begin(_ round: Int) async {
        self.planRound = round
        self.plan = DrainPlan(
            settings: self.settings, isStopping: self.wishes.contains(.shutdown),
            hasOtherNodes: self.node.hasOtherNodes(), now: .now())
        let asked = await self.node.requestReconnects()
        if self.planRound == round { self.plan?.wereAsked(asked) }
    }

    private func sessions() -> [DrainPlan.Session] {
        self.node.registry.activities.map { account, activity in
            let role: DrainPlan.Session.Role =
                activity.kind == .publish ? .publisher : activity.isRelay ? .relay : .viewer
            return DrainPlan.Session(id: account.id, role: role, isVirtual: account.isVirtual)
        }
    }
}
