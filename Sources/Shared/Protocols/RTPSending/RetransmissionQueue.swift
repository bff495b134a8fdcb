import Media
import NIOCore

/// The packets that a viewer asked for again and that have not left yet, and those that left lately.
///
/// Both are bounded, and take no memory before the first request.
struct RetransmissionQueue {
    private struct Recent {
        var sequence: UInt16
        var isVideo: Bool
        var count: UInt8
        /// Milliseconds of the monotonic clock, wrapped.
        var millis: UInt32
    }

    static let maximumPending = 96
    static let maximumRecent = 48

    /// Sequence numbers; bit 16 is set for video.
    private var pending: [UInt32] = []
    private var recent: [Recent] = []
    private var nextRecent = 0

    var isEmpty: Bool { self.pending.isEmpty }
    /// Bytes of both arrays.
    var heapByteCount: Int {
        self.pending.capacity * MemoryLayout<UInt32>.stride + self.recent.capacity * MemoryLayout<Recent>.stride
    }

    /// Takes a request. Returns false if it is refused: asked for already, sent again only just, or too often.
    ///
    /// `patience`: how long a packet that was sent again may take before it counts as lost again.
    mutating func request(
        _ sequence: UInt16, _ kind: MediaKind, maximumRepeats: Int, patience: TimeAmount, now: NIODeadline
    ) -> Bool {
        let key = UInt32(sequence) | (kind == .video ? 0x1_0000 : 0)
        guard self.pending.count < Self.maximumPending, !self.pending.contains(key) else { return false }
        if let index = self.recentIndex(sequence, kind) {
            let entry = self.recent[index]
            guard entry.count < maximumRepeats else { return false }
            let elapsed = Int32(bitPattern: Self.millis(now) &- entry.millis)
            guard Int64(elapsed) >= patience.nanoseconds / 1_000_000 else { return false }
        }
        if self.pending.capacity == 0 { self.pending.reserveCapacity(Self.maximumPending) }
        self.pending.append(key)
        return true
    }

    /// Whether a packet was sent again as often as it may be.
    func isExhausted(_ sequence: UInt16, _ kind: MediaKind, maximumRepeats: Int) -> Bool {
        self.recentIndex(sequence, kind).map { self.recent[$0].count >= maximumRepeats } ?? false
    }

    /// The request that came first.
    var first: (sequence: UInt16, kind: MediaKind)? {
        self.pending.first.map { (UInt16(truncatingIfNeeded: $0), $0 & 0x1_0000 != 0 ? .video : .audio) }
    }

    /// The first request was served, or cannot be.
    mutating func removeFirst(wasSent: Bool, now: NIODeadline) {
        guard let (sequence, kind) = self.first else { return }
        self.pending.removeFirst()
        guard wasSent else { return }
        if let index = self.recentIndex(sequence, kind) {
            self.recent[index].count += self.recent[index].count < .max ? 1 : 0
            self.recent[index].millis = Self.millis(now)
            return
        }
        let entry = Recent(sequence: sequence, isVideo: kind == .video, count: 1, millis: Self.millis(now))
        if self.recent.count < Self.maximumRecent {
            if self.recent.capacity == 0 { self.recent.reserveCapacity(Self.maximumRecent) }
            self.recent.append(entry)
        } else {
            self.recent[self.nextRecent] = entry
            self.nextRecent = (self.nextRecent + 1) % Self.maximumRecent
        }
    }

    /// Forgets what was asked for but not sent.
    mutating func removePending() { self.pending.removeAll(keepingCapacity: true) }

    private func recentIndex(_ sequence: UInt16, _ kind: MediaKind) -> Int? {
        self.recent.firstIndex { $0.sequence == sequence && $0.isVideo == (kind == .video) }
    }

    private static func millis(_ now: NIODeadline) -> UInt32 {
        UInt32(truncatingIfNeeded: now.uptimeNanoseconds / 1_000_000)
    }
}

/// A bucket of bytes that fills at a rate: what may leave now.
struct ByteBudget {
    /// May be negative: a whole burst leaves as long as anything is left.
    private(set) var bytes: Int
    private var filledAt: NIODeadline

    init(bytes: Int, now: NIODeadline) {
        self.bytes = bytes
        self.filledAt = now
    }

    /// Adds what came since the last call, up to `maximum`.
    mutating func fill(bitsPerSecond rate: Int, maximum: Int, now: NIODeadline) {
        guard now > self.filledAt else { return }
        guard self.bytes < maximum else {
            self.filledAt = now
            return
        }
        let nanoseconds = min((now - self.filledAt).nanoseconds, 10_000_000_000)
        let added = Int(Double(rate) / 8 * Double(nanoseconds) / 1e9)
        // Small steps at low rates must not be rounded away.
        guard added > 0 else { return }
        self.bytes = min(self.bytes + added, maximum)
        self.filledAt = now
    }

    mutating func spend(_ count: Int) { self.bytes -= count }

    /// When there will be `wanted` bytes.
    func readyAt(_ wanted: Int, bitsPerSecond rate: Int) -> NIODeadline {
        guard self.bytes < wanted else { return self.filledAt }
        return self.filledAt + .nanoseconds(Int64(Double(wanted - self.bytes) * 8e9 / Double(max(rate, 1))) + 1)
    }
}
