import NIOCore
import Testing

@testable import Streaming

@Suite("SlabRing")
struct SlabRingTests {
    private static func ring(_ sizes: [Int], starts: Set<Int> = [], from first: UInt64 = 0) -> SlabRing {
        var ring = SlabRing()
        for (index, size) in sizes.enumerated() {
            ring.append(.of(first + UInt64(index), bytes: size, isStart: starts.contains(index)))
        }
        return ring
    }

    @Test("a new ring is empty and everything is behind nothing")
    func empty() {
        let ring = SlabRing()
        #expect(ring.isEmpty)
        #expect(ring.begin == 0)
        #expect(ring.end == 0)
        #expect(ring.lastStart == nil)
        #expect(ring.bytesBehind(0) == 0)
        #expect(!ring.contains(0))
    }

    @Test("positions are the numbers of slabs, wherever the ring begins")
    func positions() {
        let ring = Self.ring([10, 20, 30], starts: [1], from: 1_000)
        #expect(ring.begin == 1_000)
        #expect(ring.end == 1_003)
        #expect(ring.lastStart == 1_001)
        #expect(ring[1_002].bytes.readableBytes == 30)
        #expect(ring.contains(1_000) && ring.contains(1_002))
        #expect(!ring.contains(999) && !ring.contains(1_003))
    }

    @Test("the bytes behind a position are those of all slabs from it on")
    func bytesBehind() {
        var ring = Self.ring([10, 20, 30])
        #expect(ring.bytesBehind(0) == 60)
        #expect(ring.bytesBehind(1) == 50)
        #expect(ring.bytesBehind(2) == 30)
        #expect(ring.bytesBehind(3) == 0)
        #expect(ring.bytesBehind(4) == 0)
        ring.trim(keeping: 1, maximumBytes: 1_000)
        #expect(ring.bytesBehind(0) == nil)
        #expect(ring.bytesBehind(1) == 50)
    }

    @Test("the newest start point is remembered until its slab is gone")
    func lastStart() {
        var ring = Self.ring([10, 10, 10, 10], starts: [0, 2])
        #expect(ring.lastStart == 2)
        ring.trim(keeping: 2, maximumBytes: 1_000)
        #expect(ring.lastStart == 2)
        #expect(ring.begin == 2)
        ring.trim(keeping: 3, maximumBytes: 1_000)
        #expect(ring.lastStart == nil)
        ring.append(.of(4, bytes: 1, isStart: true))
        #expect(ring.lastStart == 4)
    }

    @Test("trimming keeps what is needed, but never more than the bound")
    func trim() {
        var ring = Self.ring([100, 100, 100, 100, 100])
        ring.trim(keeping: 0, maximumBytes: 500)
        #expect(ring.begin == 0)
        ring.trim(keeping: 0, maximumBytes: 250)
        #expect(ring.begin == 3)
        #expect(ring.end == 5)
        ring.trim(keeping: 5, maximumBytes: 250)
        #expect(ring.isEmpty)
        #expect(ring.begin == 5 && ring.end == 5)
    }

    @Test("a slab that is larger than the bound is not kept")
    func oversized() {
        var ring = Self.ring([1_000], starts: [0])
        ring.trim(keeping: 0, maximumBytes: 999)
        #expect(ring.isEmpty)
        #expect(ring.lastStart == nil)
        #expect(ring.end == 1)
        ring.append(.of(1, bytes: 10))
        #expect(ring.bytesBehind(1) == 10)
    }

    @Test("offsets stay right over a long life")
    func longLife() {
        var ring = SlabRing()
        for sequence in UInt64(0)..<10_000 {
            ring.append(.of(sequence, bytes: 1 + Int(sequence % 7), isStart: sequence % 50 == 0))
            ring.trim(keeping: ring.lastStart ?? ring.end, maximumBytes: 1_000)
            #expect(ring.end - ring.begin <= 50)
        }
        let expected = (ring.begin..<ring.end).reduce(0) { $0 + 1 + Int($1 % 7) }
        #expect(ring.bytesBehind(ring.begin) == expected)
    }
}

@Suite("SlowViewerPolicy")
struct SlowViewerPolicyTests {
    private static let policy = SlowViewerPolicy(
        maximumBytes: 100, maximumAge: .seconds(10), skipsBeforeClose: 3, skipWindow: .seconds(60))

    private static func ring(_ slabs: [(bytes: Int, at: Int64)]) -> SlabRing {
        var ring = SlabRing()
        for (index, slab) in slabs.enumerated() {
            ring.append(.of(UInt64(index), bytes: slab.bytes, sealedAt: arrival(slab.at)))
        }
        return ring
    }

    @Test("a viewer that has everything is never over its budget")
    func upToDate() {
        let ring = Self.ring([(1_000, 0)])
        #expect(Self.policy.excess(of: 1, in: ring, now: arrival(1_000_000)) == nil)
        #expect(Self.policy.excess(of: 0, in: SlabRing(), now: arrival(0)) == nil)
    }

    @Test("exactly the bytes of the budget are allowed, one more is not")
    func bytes() {
        let ring = Self.ring([(1, 0), (60, 0), (40, 0)])
        #expect(Self.policy.excess(of: 1, in: ring, now: arrival(0)) == nil)
        #expect(Self.policy.excess(of: 0, in: ring, now: arrival(0)) == .bytes)
    }

    @Test("exactly the age of the budget is allowed, one more is not")
    func age() {
        let ring = Self.ring([(1, 0), (1, 5)])
        #expect(Self.policy.excess(of: 0, in: ring, now: arrival(10_000)) == nil)
        #expect(Self.policy.excess(of: 0, in: ring, now: arrival(10_001)) == .age)
        #expect(Self.policy.excess(of: 1, in: ring, now: arrival(10_001)) == nil)
    }

    @Test("a viewer whose slab is gone is over its budget in bytes")
    func lost() {
        var ring = Self.ring([(1, 0), (1, 0)])
        ring.trim(keeping: 1, maximumBytes: 1_000)
        #expect(Self.policy.excess(of: 0, in: ring, now: arrival(0)) == .bytes)
    }

    @Test("the last skip that the window allows closes")
    func skips() {
        var history = SkipHistory()
        #expect(history.skipped(now: arrival(0), policy: Self.policy) == false)
        #expect(history.skipped(now: arrival(10_000), policy: Self.policy) == false)
        #expect(history.skipped(now: arrival(60_000), policy: Self.policy) == true)
        #expect(history.total == 3)
    }

    @Test("skips that are older than the window are forgiven")
    func window() {
        var history = SkipHistory()
        for skip in 0..<20 {
            #expect(history.skipped(now: arrival(Int64(skip) * 31_000), policy: Self.policy) == false)
        }
        #expect(history.total == 20)
    }

    @Test("a policy of one skip closes at once")
    func strict() {
        var history = SkipHistory()
        #expect(history.skipped(now: arrival(0), policy: SlowViewerPolicy(skipsBeforeClose: 1)) == true)
    }
}
