import NIOCore

/// When who has to go while a node is being emptied.
///
/// Pure: takes what is on the node and the time, and says whom to end. Publishers go first, each when its wait is over;
/// then viewers of this node. Nodes that pull from here follow their streams to where they are published next, so they
/// are let alone until a process that stops has no publisher left, and a while longer.
struct DrainPlan: Sendable {
    struct Settings: Sendable, Hashable {
        /// How long publishers may stay who cannot be asked to go on elsewhere.
        var publisherWait = TimeAmount.zero
        /// How long viewers of this node may stay.
        var viewerWait = TimeAmount.zero
        /// The least that a publisher gets who was asked to go on elsewhere, which it does at its next keyframe.
        var moveWait = TimeAmount.seconds(6)
        /// What nodes that pull get, after the last publisher left, to find the stream elsewhere.
        var relayWait = TimeAmount.seconds(3)

        init() {}
    }

    /// One session, as far as it matters here.
    struct Session: Sendable, Hashable {
        enum Role: Sendable, Hashable {
            case publisher, viewer
            /// A node that pulls.
            case relay
        }

        var id: String
        var role: Role
        /// A viewer that comes by single requests, whose files are served until the end.
        var isVirtual = false

        init(id: String, role: Role, isVirtual: Bool = false) {
            self.id = id
            self.role = role
            self.isVirtual = isVirtual
        }
    }

    struct Step: Sendable, Hashable {
        /// Sessions to end now.
        var ends: [String] = []
        /// Nobody is left whom the node waits for.
        var isEmpty = false
    }

    let settings: Settings
    private let since: NIODeadline
    /// Publishers that were asked to go on elsewhere.
    private var asked: Set<String> = []
    /// When a publisher was seen last.
    private var lastPublisher: NIODeadline
    /// The process stops, so that nobody can stay.
    private(set) var isStopping: Bool
    private let hasOtherNodes: Bool

    /// `hasOtherNodes`: there are nodes that can take over what is published here.
    init(settings: Settings, isStopping: Bool, hasOtherNodes: Bool, now: NIODeadline) {
        self.settings = settings
        self.since = now
        self.lastPublisher = now
        self.isStopping = isStopping
        self.hasOtherNodes = hasOtherNodes
    }

    /// These publishers were asked to go on elsewhere, and said that they can.
    mutating func wereAsked(_ sessions: Set<String>) { self.asked.formUnion(sessions) }

    /// The process is told to stop while it is being drained.
    mutating func stops() { self.isStopping = true }

    private func publisherLimit(_ id: String) -> NIODeadline {
        let wait =
            self.asked.contains(id)
            ? max(self.settings.publisherWait, self.settings.moveWait) : self.settings.publisherWait
        return self.since + wait
    }

    /// Says what to do with `sessions`, which are all that publish or play.
    mutating func step(_ sessions: [Session], now: NIODeadline) -> Step {
        if sessions.contains(where: { $0.role == .publisher }) { self.lastPublisher = now }
        let areViewersDue = now >= self.since + self.settings.viewerWait
        let relayWait = self.hasOtherNodes ? self.settings.relayWait : .zero
        let areRelaysDue =
            self.isStopping && now >= self.lastPublisher + relayWait
            && !sessions.contains { $0.role == .publisher }
        var step = Step()
        var waitsFor = 0
        for session in sessions {
            let isDue =
                switch session.role {
                case .publisher: now >= self.publisherLimit(session.id)
                case .viewer: areViewersDue
                case .relay: areRelaysDue
                }
            if session.isVirtual {
                // There is no connection to end; what it fetches is served until the process ends.
                if !isDue { waitsFor += 1 }
            } else {
                waitsFor += 1
                if isDue { step.ends.append(session.id) }
            }
        }
        step.isEmpty = waitsFor == 0
        return step
    }
}
