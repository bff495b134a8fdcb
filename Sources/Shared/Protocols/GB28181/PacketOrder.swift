import DequeModule
import NIOCore
import RTP

/// Puts the packets of one source back into order, and gives up those that do not come.
///
/// A packet waits until all before it came, for a bounded time and in a bounded number. Numbers that jump far, as those
/// of a device that began anew do, and another source begin a new order.
struct PacketOrder: Sendable {
    enum Item: Sendable, Equatable {
        case packet(RTPPacket)
        /// Packets are missing here.
        case gap(count: Int)
    }

    private struct Waiting: Sendable {
        var number: Int64
        var packet: RTPPacket
        var arrival: NIODeadline
    }

    /// A step further than this is a new beginning, or one of another device.
    private static let longestStep = 3_000

    private let wait: TimeAmount
    private let capacity: Int
    private var unwrapper = RTPSequenceUnwrapper()
    private var source: UInt32?
    /// The number that comes next; `nil` before the first packet.
    private var next: Int64?
    /// By number, without those that came in order.
    private var waiting = Deque<Waiting>()
    private(set) var late = 0
    private(set) var duplicates = 0
    private(set) var lost = 0
    private(set) var restarts = 0

    init(wait: TimeAmount, capacity: Int) {
        self.wait = wait
        self.capacity = capacity
    }

    /// When the first that waits is waited for no longer.
    var nextDeadline: NIODeadline? { self.waiting.first.map { $0.arrival + self.wait } }

    /// Takes a packet; appends what is in order now.
    mutating func receive(_ packet: RTPPacket, now: NIODeadline, into items: inout [Item]) {
        let sequence = packet.header.sequenceNumber
        defer { self.source = packet.header.ssrc }
        if let next = self.next,
            packet.header.ssrc != self.source
                || abs(self.unwrapper.peek(sequence) - next) > Int64(Self.longestStep)
        {
            self.releaseAll(into: &items)
            self.restarts += 1
            items.append(.gap(count: 0))
            self.unwrapper = RTPSequenceUnwrapper()
            self.next = nil
        }
        let number = self.unwrapper.unwrap(sequence)
        guard let next = self.next else {
            self.next = number + 1
            return items.append(.packet(packet))
        }
        guard number >= next else { return self.late += 1 }
        guard number > next else {
            self.next = number + 1
            items.append(.packet(packet))
            return self.releaseContiguous(into: &items)
        }
        var index = self.waiting.endIndex
        while index > 0, self.waiting[index - 1].number > number { index -= 1 }
        guard index == 0 || self.waiting[index - 1].number != number else { return self.duplicates += 1 }
        self.waiting.insert(Waiting(number: number, packet: packet, arrival: now), at: index)
        if self.waiting.count > self.capacity { self.skipToFirst(into: &items) }
        self.deadlineReached(now: now, into: &items)
    }

    /// Gives up what is missing in front of packets that waited for too long.
    mutating func deadlineReached(now: NIODeadline, into items: inout [Item]) {
        while self.waiting.contains(where: { $0.arrival + self.wait <= now }) { self.skipToFirst(into: &items) }
    }

    /// Gives out everything that waits.
    mutating func releaseAll(into items: inout [Item]) {
        while !self.waiting.isEmpty { self.skipToFirst(into: &items) }
    }

    private mutating func skipToFirst(into items: inout [Item]) {
        guard let first = self.waiting.first, let next = self.next else { return }
        let count = Int(first.number - next)
        self.lost += count
        if count > 0 { items.append(.gap(count: count)) }
        self.next = first.number
        self.releaseContiguous(into: &items)
    }

    private mutating func releaseContiguous(into items: inout [Item]) {
        while let first = self.waiting.first, first.number == self.next {
            self.waiting.removeFirst()
            self.next = first.number + 1
            items.append(.packet(first.packet))
        }
    }
}
