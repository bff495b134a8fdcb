import HeapModule
import NIOCore

/// A generator whose whole state is its seed (SplitMix64), so that a run can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678 }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func chance(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &self) < share }

    mutating func millis(_ range: ClosedRange<Int64>) -> TimeAmount {
        .milliseconds(Int64.random(in: range, using: &self))
    }
}

/// The virtual clock: does what is due, in the order of time and then of planning.
final class Scheduler {
    private struct Entry: Comparable {
        let at: NIODeadline
        let order: UInt64
        let body: () -> Void

        static func < (left: Entry, right: Entry) -> Bool {
            left.at == right.at ? left.order < right.order : left.at < right.at
        }

        static func == (left: Entry, right: Entry) -> Bool { left.order == right.order }
    }

    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private(set) var now = Scheduler.start
    private var entries = Heap<Entry>()
    private var order: UInt64 = 0
    private(set) var steps = 0

    func after(_ delay: TimeAmount, _ body: @escaping () -> Void) {
        self.order += 1
        self.entries.insert(Entry(at: self.now + delay, order: self.order, body: body))
    }

    /// Runs until nothing is due before `end`.
    func run(until end: NIODeadline) {
        while let next = self.entries.min, next.at <= end {
            self.entries.removeMin()
            self.now = next.at
            self.steps += 1
            next.body()
        }
        self.now = end
    }

    var millisSinceStart: Int64 { (self.now - Scheduler.start).nanoseconds / 1_000_000 }
}
