import DequeModule
import FoundationEssentials
import NIOCore
import Placement
import Synchronization

/// Carries requests of the API to nodes and their answers back, over the long poll that each node keeps open.
///
/// A request waits in its node's queue until a poll takes it, and is answered, or over at its deadline, whatever
/// happens. One poll per node counts, the latest; an earlier one ends empty. Any thread may call.
final class RequestBroker: Sendable {
    struct Answer: Sendable, Hashable {
        var status: Int
        var contentType: String
        var body: ByteBuffer
    }

    enum BrokerError: Error, Hashable {
        /// The node keeps no poll open.
        case unreachable(NodeID)
        /// The node's queue is full.
        case busy(NodeID)
        case timedOut(NodeID)
        /// The asker went away, or the coordinator stops.
        case cancelled
    }

    private typealias AnswerContinuation = CheckedContinuation<Result<Answer, BrokerError>, Never>
    private typealias PollContinuation = CheckedContinuation<[NodeRequest], Never>

    private struct Pending {
        var node: NodeID
        var request: NodeRequest
        var deadline: NIODeadline
        var continuation: AnswerContinuation
    }

    private struct Node {
        var instance: String
        /// Ids of requests that no poll took yet; those that are over stay until a poll passes them.
        var queue: Deque<UInt64> = []
        var poll: (id: UInt64, continuation: PollContinuation)?
        var lastPoll: NIODeadline
    }

    private struct State {
        var nodes: [NodeID: Node] = [:]
        var pending: [UInt64: Pending] = [:]
        var nextID: UInt64 = 0
        var isClosed = false
    }

    /// Between two polls of a node that is well.
    private static let pollPause = TimeAmount.seconds(5)
    private static let requestsPerPoll = 16

    private let queueLimit: Int
    private let state = Mutex(State())

    init(queueLimit: Int) { self.queueLimit = queueLimit }

    var pendingCount: Int { self.state.withLock { $0.pending.count } }

    func isReachable(_ id: NodeID, now: NIODeadline = .now()) -> Bool {
        self.state.withLock { Self.isReachable($0.nodes[id], now: now) }
    }

    private static func isReachable(_ node: Node?, now: NIODeadline) -> Bool {
        guard let node else { return false }
        return node.poll != nil || now - node.lastPoll < self.pollPause
    }

    // MARK: Asking

    /// Sends a request to a node and waits for its answer, until `timeout` is over.
    func ask(
        _ node: NodeID, _ method: String, _ path: String, body: String? = nil, timeout: TimeAmount
    ) async throws(BrokerError) -> Answer {
        let now = NIODeadline.now()
        let id = self.state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let request = NodeRequest(
            id: id, method: method, path: path, body: body, deadlineMillis: timeout.nanoseconds / 1_000_000)
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: AnswerContinuation) in
                let pending = Pending(
                    node: node, request: request, deadline: now + timeout, continuation: continuation)
                if let refusal = self.enqueue(pending, now: now) { continuation.resume(returning: .failure(refusal)) }
            }
        } onCancel: {
            self.finish(id, .failure(.cancelled))
        }
        return try result.get()
    }

    private func enqueue(_ pending: Pending, now: NIODeadline) -> BrokerError? {
        let id = pending.node
        return self.state.withLock { state -> BrokerError? in
            guard !state.isClosed, !Task.isCancelled else { return .cancelled }
            guard var node = state.nodes[id], Self.isReachable(node, now: now) else { return .unreachable(id) }
            node.queue.removeAll { state.pending[$0] == nil }
            guard node.queue.count < self.queueLimit else { return .busy(id) }
            node.queue.append(pending.request.id)
            state.pending[pending.request.id] = pending
            if let poll = node.poll {
                node.poll = nil
                node.lastPoll = now
                poll.continuation.resume(returning: Self.take(from: &node, state.pending, now: now))
            }
            state.nodes[id] = node
            return nil
        }
    }

    private static func take(
        from node: inout Node, _ pending: [UInt64: Pending], now: NIODeadline
    ) -> [NodeRequest] {
        var requests: [NodeRequest] = []
        while requests.count < self.requestsPerPoll, let id = node.queue.popFirst() {
            guard let entry = pending[id], entry.deadline > now else { continue }
            var request = entry.request
            request.deadlineMillis = (entry.deadline - now).nanoseconds / 1_000_000
            requests.append(request)
        }
        return requests
    }

    private func finish(_ id: UInt64, _ result: Result<Answer, BrokerError>) {
        let pending = self.state.withLock { $0.pending.removeValue(forKey: id) }
        pending?.continuation.resume(returning: result)
    }

    // MARK: The node's side

    /// Requests for a node, as soon as there are some, or none after `wait`.
    func poll(_ id: NodeID, instance: String, wait: TimeAmount) async -> [NodeRequest] {
        let pollID = self.state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let deadline = NIODeadline.now() + wait
        return await withTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                do { try await Task.sleep(for: .nanoseconds(wait.nanoseconds)) } catch { return }
                self.endPoll(of: id, pollID)
            }
            let requests = await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    self.open(continuation, pollID, id, instance: instance, until: deadline)
                }
            } onCancel: {
                self.endPoll(of: id, pollID)
            }
            tasks.cancelAll()
            return requests
        }
    }

    private func open(
        _ continuation: PollContinuation, _ pollID: UInt64, _ id: NodeID, instance: String, until deadline: NIODeadline
    ) {
        let now = NIODeadline.now()
        let ready: [NodeRequest]? = self.state.withLock { state in
            guard !state.isClosed, !Task.isCancelled else { return [] }
            var node = state.nodes[id] ?? Node(instance: instance, lastPoll: now)
            node.poll?.continuation.resume(returning: [])
            node.poll = nil
            node.instance = instance
            node.lastPoll = now
            defer { state.nodes[id] = node }
            let requests = Self.take(from: &node, state.pending, now: now)
            // Whoever ends it at its deadline may have come already, and found nothing to end.
            guard requests.isEmpty, now < deadline else { return requests }
            node.poll = (pollID, continuation)
            return nil
        }
        if let ready { continuation.resume(returning: ready) }
    }

    private func endPoll(of id: NodeID, _ pollID: UInt64) {
        let continuation: PollContinuation? = self.state.withLock { state in
            guard let poll = state.nodes[id]?.poll, poll.id == pollID else { return nil }
            state.nodes[id]?.poll = nil
            state.nodes[id]?.lastPoll = .now()
            return poll.continuation
        }
        continuation?.resume(returning: [])
    }

    /// A node's answer; one that nobody waits for, or that another node was asked for, is ignored.
    func answer(_ id: NodeID, _ response: NodeResponse, body: ByteBuffer) {
        let isExpected = self.state.withLock { state in
            state.pending[response.id]?.node == id && state.nodes[id]?.instance == response.instance
        }
        guard isExpected else { return }
        self.finish(
            response.id,
            .success(Answer(status: response.status, contentType: response.contentType, body: body)))
    }

    // MARK: Time

    /// Ends what nobody answered in time. Call a few times a second.
    func tick(now: NIODeadline) {
        let late = self.state.withLock { $0.pending.values.filter { $0.deadline <= now } }
        for pending in late { self.finish(pending.request.id, .failure(.timedOut(pending.node))) }
    }

    /// The node is gone.
    func drop(_ id: NodeID) {
        let (poll, pending) = self.state.withLock { state in
            (state.nodes.removeValue(forKey: id)?.poll, state.pending.values.filter { $0.node == id })
        }
        poll?.continuation.resume(returning: [])
        for entry in pending { self.finish(entry.request.id, .failure(.unreachable(id))) }
    }

    /// Ends all polls and requests, and takes no more.
    func close() {
        let (polls, pending) = self.state.withLock { state in
            state.isClosed = true
            defer { state.nodes = [:] }
            return (state.nodes.values.compactMap(\.poll), Array(state.pending.keys))
        }
        for poll in polls { poll.continuation.resume(returning: []) }
        for id in pending { self.finish(id, .failure(.cancelled)) }
    }
}
