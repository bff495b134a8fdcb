import MediaObjects
import NIOCore
import Packaging

/// What an object is made of that is not there yet, or changes.
enum RenderedObject: Hashable, Sendable {
    /// `rewindSeconds` is `nil` for the live window.
    case playlist(PackagingTag, isDelta: Bool, rewindSeconds: Int?)
    case multivariant(rewindSeconds: Int?)
    case manifest
    case info
    /// A part, which is not rendered but found.
    case part(MediaObjectName)
}

/// What a request waits for.
enum WaitCondition: Hashable, Sendable {
    /// The playlist of a tag that has this segment and part; without them any playlist.
    case playlist(PackagingTag, sequence: UInt64?, part: Int?)
    case part(PackagingTag, epoch: UInt64, sequence: UInt64, part: Int)
    /// That there is anything to say of the stream.
    case overview
}

/// Requests on one loop that wait for the same thing and get the same answer.
struct WaiterGroup: Sendable {
    let id: UInt64
    let loop: any EventLoop
    let object: RenderedObject
    let promise: EventLoopPromise<MediaObjectAnswer>
    /// Requests that come later than this form a new group, so that none of them is given up too early.
    let joinableUntil: NIODeadline
    var count: Int
}

/// The requests of a stream that wait. A value under the stream's lock; nothing here completes anything.
///
/// All requests of one loop for one object share one promise, so waking thousands costs one hop for each loop.
struct PlaylistWaiters {
    /// How long a group takes further requests.
    static let joinTime = TimeAmount.milliseconds(500)

    private var groups: [WaitCondition: [WaiterGroup]] = [:]
    private var nextID: UInt64 = 0
    /// How many requests wait.
    private(set) var count = 0

    var isEmpty: Bool { self.groups.isEmpty }

    /// Adds a request. `isNew`: it is the first of its group, whose deadline its caller has to keep.
    mutating func join(
        _ condition: WaitCondition, object: RenderedObject, on loop: any EventLoop, now: NIODeadline
    ) -> (future: EventLoopFuture<MediaObjectAnswer>, id: UInt64, isNew: Bool) {
        self.count += 1
        var list = self.groups[condition] ?? []
        if let index = list.lastIndex(where: { $0.loop === loop && $0.object == object && now < $0.joinableUntil }) {
            list[index].count += 1
            self.groups[condition] = list
            return (list[index].promise.futureResult, list[index].id, false)
        }
        self.nextID += 1
        let group = WaiterGroup(
            id: self.nextID, loop: loop, object: object, promise: loop.makePromise(),
            joinableUntil: now + Self.joinTime,
            count: 1)
        list.append(group)
        self.groups[condition] = list
        return (group.promise.futureResult, group.id, true)
    }

    /// What is waited for.
    var conditions: [WaitCondition] { Array(self.groups.keys) }

    /// Takes out all groups of some conditions.
    mutating func take(_ conditions: [WaitCondition]) -> [WaiterGroup] {
        let taken = conditions.flatMap { self.groups.removeValue(forKey: $0) ?? [] }
        self.count -= taken.reduce(0) { $0 + $1.count }
        return taken
    }

    /// Takes out one group, if it still waits: its time is over.
    mutating func take(id: UInt64, of condition: WaitCondition) -> WaiterGroup? {
        guard let index = self.groups[condition]?.firstIndex(where: { $0.id == id }) else { return nil }
        let group = self.groups[condition]?.remove(at: index)
        if self.groups[condition]?.isEmpty == true { self.groups[condition] = nil }
        self.count -= group?.count ?? 0
        return group
    }
}
