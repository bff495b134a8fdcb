import MediaStorage
import NIOCore
import ProcessStats

/// Answers to probes: whether the process works, and whether it should get sessions.
struct NodeHealth {
    let services: NodeAPIServices

    /// How long an event loop may take to answer.
    private static let loopDeadline = TimeAmount.seconds(1)

    /// 200 if every event loop answers within a second, else 503: restart the process then.
    func alive() async -> NodeAPIResponse {
        let stuck = await self.services.loops.stuckLoops(within: Self.loopDeadline)
        return .json(
            .object([
                "status": .string(stuck.isEmpty ? "ok" : "stuck"), "node": .string(self.services.identity.node),
                "loops": .count(self.services.loops.lags().count), "stuckLoops": .array(stuck.map { .count($0) }),
            ]), status: stuck.isEmpty ? 200 : 503)
    }

    /// 200 if the node should get new sessions, else 503 with the reasons: take it out of the balancer then.
    func ready() -> NodeAPIResponse {
        let problems = Self.problems(
            self.services.readiness(), alarms: (self.services.storage?().folders ?? []).compactMap(\.alarm))
        return .json(
            .object([
                "status": .string(problems.isEmpty ? "ready" : "not-ready"),
                "node": .string(self.services.identity.node),
                "problems": .array(
                    problems.map { .object(["name": .string($0.name), "detail": .string($0.detail)]) }),
            ]), status: problems.isEmpty ? 200 : 503)
    }

    /// Everything that can keep a node from taking sessions.
    static let problemNames = [
        "not-listening", "draining", "coordinator-silent", "disk-full", "disk-read-only", "limit-reached",
    ]

    /// What keeps the node from taking sessions, by `problemNames`.
    static func problems(
        _ readiness: NodeReadiness, alarms: [StorageError]
    ) -> [(name: String, detail: String)] {
        var problems: [(name: String, detail: String)] = []
        if !readiness.isListening { problems.append(("not-listening", "the listeners are not bound yet")) }
        if readiness.isDraining { problems.append(("draining", "the node is being drained or shuts down")) }
        if case .silent(let silence) = readiness.cluster, silence > readiness.grace {
            let seconds = silence.nanoseconds / 1_000_000_000
            problems.append(("coordinator-silent", "the coordinator has not answered for \(seconds) s"))
        }
        for alarm in alarms where alarm == .diskFull || alarm == .readOnly {
            let isFull = alarm == .diskFull
            let name = isFull ? "disk-full" : "disk-read-only"
            guard !problems.contains(where: { $0.name == name }) else { continue }
            problems.append((name, isFull ? "a disk that is written to is full" : "a disk cannot be written to"))
        }
        for limit in readiness.limitsReached { problems.append(("limit-reached", "\(limit) is reached")) }
        return problems
    }
}
