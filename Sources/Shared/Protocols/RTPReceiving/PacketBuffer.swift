import NIOCore

/// A packet of one source between its arrival and its turn.
struct BufferedPacket {
    /// What stands behind the header and its extensions, without padding. Empty for packets that only take up a number:
    /// padding, forward error correction, payload types that are not understood.
    var payload: ByteBuffer
    var payloadType: UInt8
    var marker: Bool
    var timestamp: UInt32
    var arrival: NIODeadline
}

/// Puts the packets of one source back into order.
///
/// Numbers are extended to 64 bits, so that nothing here wraps. Grows by doubling up to `maximumPackets` and shrinks
/// when it ran empty, so a source without loss costs 16 slots.
struct PacketBuffer {
    private static let smallestCapacity = 16

    let maximumPackets: Int
    let maximumBytes: Int
    private var slots: [BufferedPacket?]
    /// The number whose turn it is.
    private(set) var next: Int64
    /// One past the highest number that is held; `next` when nothing is.
    private(set) var end: Int64
    private(set) var count = 0
    private(set) var bytes = 0

    /// Starts with `next`. `maximumPackets` counts gaps as well, and is rounded up to a power of two.
    init(next: Int64, maximumPackets: Int, maximumBytes: Int) {
        var capacity = Self.smallestCapacity
        while capacity < maximumPackets { capacity *= 2 }
        self.maximumPackets = capacity
        self.maximumBytes = maximumBytes
        self.slots = Array(repeating: nil, count: Self.smallestCapacity)
        self.next = next
        self.end = next
    }

    var isEmpty: Bool { self.count == 0 }

    /// Whether `number` can be held without giving up the gap in front.
    func fits(_ number: Int64) -> Bool { number - self.next < Int64(self.maximumPackets) }

    /// Whether the packet with `number` is here, or had its turn.
    func isKnown(_ number: Int64) -> Bool {
        if number < self.next { return true }
        return number < self.end && self.slots[self.index(number)] != nil
    }

    /// Holds a packet whose number is not known yet and fits.
    mutating func insert(_ packet: BufferedPacket, number: Int64) {
        precondition(!self.isKnown(number) && self.fits(number), "\(number) is known or beyond \(self.next)")
        while number - self.next >= Int64(self.slots.count) { self.grow() }
        self.slots[self.index(number)] = packet
        self.end = max(self.end, number + 1)
        self.count += 1
        self.bytes += packet.payload.readableBytes
    }

    /// The packet whose turn it is, if it is here.
    mutating func popNext() -> BufferedPacket? {
        guard self.count > 0 else { return nil }
        let index = self.index(self.next)
        guard let packet = self.slots[index] else { return nil }
        self.slots[index] = nil
        self.count -= 1
        self.bytes -= packet.payload.readableBytes
        self.next += 1
        if self.count == 0 { self.shrink() }
        return packet
    }

    /// A packet whose turn it is passes by without being held.
    mutating func passNext() {
        precondition(self.isEmpty, "\(self.count) packets are held")
        self.next += 1
        self.end = self.next
    }

    /// Moves the turn over the gap in front, to the first packet that is here. Returns the length of the gap.
    mutating func skipGap() -> Int {
        guard self.count > 0 else { return 0 }
        let start = self.next
        while self.slots[self.index(self.next)] == nil { self.next += 1 }
        return Int(self.next - start)
    }

    /// Drops everything and starts at `number`.
    mutating func restart(at number: Int64) {
        self = PacketBuffer(next: number, maximumPackets: self.maximumPackets, maximumBytes: self.maximumBytes)
    }

    private func index(_ number: Int64) -> Int { Int(truncatingIfNeeded: number) & (self.slots.count - 1) }

    private mutating func grow() {
        let old = self.slots
        let oldMask = Int64(old.count - 1)
        self.slots = Array(repeating: nil, count: old.count * 2)
        for number in self.next..<self.end {
            self.slots[self.index(number)] = old[Int(truncatingIfNeeded: number & oldMask)]
        }
    }

    private mutating func shrink() {
        self.end = self.next
        if self.slots.count > 4 * Self.smallestCapacity {
            self.slots = Array(repeating: nil, count: Self.smallestCapacity)
        }
    }
}
