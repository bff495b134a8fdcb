import Media
import NIOCore

/// Active placements by their holder, and by when their lease is to be looked at, so that neither a node that comes or
/// goes nor a lease costs a look at every stream.
struct PlacementIndex: Sendable {
    private var keys: [NodeID: Set<StreamKey>] = [:]
    private(set) var leases = LeaseQueue()

    /// Keys of active placements that `node` holds.
    func keys(heldBy node: NodeID) -> Set<StreamKey> { self.keys[node] ?? [] }

    /// `placement` takes the place of `before` in the table. A lease that was only renewed needs no note.
    mutating func note(_ placement: StreamPlacement, instead before: StreamPlacement?) {
        let old = before.flatMap { $0.state == .ended ? nil : $0 }
        let new = placement.state == .ended ? nil : placement
        if let node = old?.node, node != new?.node {
            self.keys[node]?.remove(placement.key)
            if self.keys[node]?.isEmpty == true { self.keys[node] = nil }
        }
        guard let new else { return }
        if new.node != old?.node { self.keys[new.node, default: []].insert(new.key) }
        if new.epoch != old?.epoch { self.leases.push(new) }
    }

    /// A key and epoch whose lease has ended by `now`, if it was not renewed since it was pushed.
    mutating func popLease(dueAt now: NIODeadline) -> LeaseQueue.Entry? { self.leases.pop(dueAt: now) }

    mutating func pushLease(of placement: StreamPlacement) { self.leases.push(placement) }
}

/// Leases, the first to end at the front: a binary heap.
///
/// A renewal leaves the entry where it is; who takes it out puts it back with the new end. So a heartbeat costs nothing
/// here, and each placement is looked at once in the length of a lease.
struct LeaseQueue: Sendable {
    struct Entry: Sendable {
        /// The lease does not end before.
        var until: NIODeadline
        var key: StreamKey
        var epoch: UInt64
    }

    private var entries: [Entry] = []

    var count: Int { self.entries.count }
    /// No lease ends before this.
    var earliest: NIODeadline? { self.entries.first?.until }

    mutating func push(_ placement: StreamPlacement) {
        self.entries.append(Entry(until: placement.leaseUntil, key: placement.key, epoch: placement.epoch))
        var place = self.entries.count - 1
        while place > 0 {
            let parent = (place - 1) / 2
            guard self.entries[place].until < self.entries[parent].until else { return }
            self.entries.swapAt(place, parent)
            place = parent
        }
    }

    mutating func pop(dueAt now: NIODeadline) -> Entry? {
        guard let first = self.entries.first, first.until <= now else { return nil }
        let last = self.entries.removeLast()
        guard !self.entries.isEmpty else { return first }
        self.entries[0] = last
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2] where child < self.entries.count {
                if self.entries[child].until < self.entries[least].until { least = child }
            }
            guard least != place else { return first }
            self.entries.swapAt(place, least)
            place = least
        }
    }
}

extension PlacementTable {
    /// Active placements that `node` holds.
    func placements(heldBy node: NodeID) -> [StreamPlacement] {
        self.index.keys(heldBy: node).compactMap { self.placements[$0] }
    }

    /// Ends what nobody renewed in time.
    mutating func checkLeases(now: NIODeadline) {
        while let lease = self.index.popLease(dueAt: now) {
            guard let placement = self.placements[lease.key], placement.epoch == lease.epoch, placement.state != .ended
            else { continue }
            if placement.leaseUntil <= now {
                self.end(placement, reason: .leaseExpired, detail: "leaseExpired", now: now)
            } else {
                self.index.pushLease(of: placement)
            }
        }
    }
}
