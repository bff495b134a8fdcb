import DequeModule
import Media
import NIOCore
import Synchronization

/// Calls that no session waits for: a bounded queue for each receiver, in lanes that are worked on one call at a time, so
/// that the calls of one stream stay in order and one dead receiver holds up nobody else.
final class HookQueue: Sendable {
    struct Lane: Hashable, Sendable {
        var origin: String
        var index: Int
    }

    struct Item: Sendable {
        var event: HookEvent
        var url: String
        var key: StreamKey
        /// Writes the body when it is the call's turn, since sessions end on media loops; `nil`: a GET.
        var body: (@Sendable () -> ByteBuffer)?
    }

    private struct Receiver {
        var count = 0
        /// The calls of each lane; the first of one that is worked on is on its way.
        var lanes: [Deque<Item>]
    }

    private struct State {
        var receivers: [String: Receiver] = [:]
        /// Calls of `on_unpublish` that wait, by stream.
        var ends: [StreamKey: Int] = [:]
        var count = 0
        var isClosed = false
    }

    /// Receivers that may have calls waiting at the same time. Settings name a few.
    static let maximumReceivers = 256

    /// Lanes that have become busy: each is told once, and worked on until it is empty.
    let busyLanes: AsyncStream<Lane>
    private let busy: AsyncStream<Lane>.Continuation
    private let capacity: Int
    private let laneCount: Int
    private let state = Mutex(State())

    /// `capacity` is the most that waits for one receiver, which is called by `lanes` at the same time.
    init(capacity: Int, lanes: Int) {
        self.capacity = capacity
        self.laneCount = lanes
        // As many as there are lanes of receivers: `maximumReceivers` times `lanes`.
        (self.busyLanes, self.busy) = AsyncStream.makeStream()
    }

    /// Calls that wait or are on their way.
    var count: Int { self.state.withLock { $0.count } }

    /// Whether ends of the stream wait to be told.
    func tellsEnd(of key: StreamKey) -> Bool { self.state.withLock { $0.ends[key] != nil } }

    /// Returns false if the call is dropped.
    func add(_ item: Item) -> Bool {
        let origin = HookCall.origin(of: item.url)
        let (isAdded, lane) = self.state.withLock { state -> (Bool, Lane?) in
            guard !state.isClosed else { return (false, nil) }
            if state.receivers[origin] == nil {
                guard state.receivers.count < Self.maximumReceivers else { return (false, nil) }
                state.receivers[origin] = Receiver(lanes: Array(repeating: [], count: self.laneCount))
            }
            guard var receiver = state.receivers.removeValue(forKey: origin) else { return (false, nil) }
            defer { state.receivers[origin] = receiver }
            guard receiver.count < self.capacity else { return (false, nil) }
            let index = self.lane(of: item.key)
            let wasIdle = receiver.lanes[index].isEmpty
            receiver.lanes[index].append(item)
            receiver.count += 1
            state.count += 1
            if item.event == .onUnpublish { state.ends[item.key, default: 0] += 1 }
            return (true, wasIdle ? Lane(origin: origin, index: index) : nil)
        }
        if let lane { self.busy.yield(lane) }
        return isAdded
    }

    private func lane(of key: StreamKey) -> Int { Int(UInt(bitPattern: key.hashValue) % UInt(self.laneCount)) }

    /// The call whose turn it is; `nil` when the lane is idle again.
    func next(in lane: Lane) -> Item? {
        self.state.withLock { $0.receivers[lane.origin]?.lanes[lane.index].first }
    }

    /// The call that `next` gave was made, or given up. Returns the one after it.
    func advance(_ lane: Lane) -> Item? {
        self.state.withLock { state in
            guard var receiver = state.receivers.removeValue(forKey: lane.origin) else { return nil }
            let item = receiver.lanes[lane.index].removeFirst()
            receiver.count -= 1
            state.count -= 1
            if item.event == .onUnpublish, let count = state.ends[item.key] {
                state.ends[item.key] = count > 1 ? count - 1 : nil
            }
            let next = receiver.lanes[lane.index].first
            if receiver.count > 0 { state.receivers[lane.origin] = receiver }
            return next
        }
    }

    /// Nothing is taken any more, and `busyLanes` ends. Returns how many calls are left.
    @discardableResult
    func close() -> Int {
        self.busy.finish()
        return self.state.withLock { state in
            state.isClosed = true
            return state.count
        }
    }
}
