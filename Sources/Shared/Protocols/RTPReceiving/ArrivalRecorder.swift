import NIOCore
import RTP

/// The arrivals that transport-wide feedback tells the sender. Spec:
/// draft-holmer-rmcat-transport-wide-cc-extensions-01.
///
/// Holds at most `capacity` numbers; feedback covers each number once, unless a packet comes after it was told missing.
struct ArrivalRecorder {
    /// What one round of feedback covers.
    struct Window: Equatable {
        /// Packets in front of the first arrival that did not come.
        var missingInFront: Int
        /// Ascending by number; never empty.
        var arrivals: [TransportFeedback.Arrival]
    }

    /// Several rounds of a strong stream.
    private static let capacity = 1_024

    /// So many numbers out of reach, one after another, are a sender that counts anew.
    private static let staleBeforeRestart = 50

    private var unwrapper = RTPSequenceUnwrapper()
    /// By number modulo the capacity; empty until the first packet. 0 stands for missing.
    private var slots: [UInt64] = []
    /// The first number that was not reported, and one past the highest that came.
    private var begin: Int64 = 0
    private var end: Int64 = 0
    private var stale = 0
    private(set) var pending = 0

    /// A packet with this transport-wide number came.
    mutating func record(_ number: UInt16, arrival: NIODeadline) {
        let wide = self.unwrapper.unwrap(number)
        let capacity = Int64(Self.capacity)
        if self.slots.isEmpty {
            self.slots = Array(repeating: 0, count: Self.capacity)
            (self.begin, self.end) = (wide, wide)
        }
        // Older than anything that could still be told.
        guard wide >= self.end - capacity else {
            self.stale += 1
            if self.stale > Self.staleBeforeRestart { self = ArrivalRecorder() }
            return
        }
        self.stale = 0
        if wide >= self.end {
            if wide - self.end >= capacity {
                for index in self.slots.indices { self.slots[index] = 0 }
            } else {
                for missing in self.end..<wide { self.slots[self.index(missing)] = 0 }
            }
            self.end = wide + 1
            self.begin = max(self.begin, self.end - capacity)
        } else {
            guard self.slots[self.index(wide)] == 0 else { return }
            self.begin = min(self.begin, wide)
        }
        self.slots[self.index(wide)] = max(1, arrival.uptimeNanoseconds)
        self.pending += 1
    }

    /// Takes what was not told yet, oldest first; `nil` when nothing came.
    mutating func take() -> Window? {
        guard self.pending > 0 else { return nil }
        self.pending = 0
        var first = self.begin
        while first < self.end, self.slots[self.index(first)] == 0 { first += 1 }
        var window = Window(missingInFront: Int(first - self.begin), arrivals: [])
        for number in first..<self.end {
            let nanoseconds = self.slots[self.index(number)]
            guard nanoseconds > 0 else { continue }
            window.arrivals.append(.init(sequenceNumber: number, micros: Int64(nanoseconds / 1_000)))
        }
        self.begin = self.end
        return window.arrivals.isEmpty ? nil : window
    }

    private func index(_ number: Int64) -> Int { Int(truncatingIfNeeded: number) & (Self.capacity - 1) }
}
