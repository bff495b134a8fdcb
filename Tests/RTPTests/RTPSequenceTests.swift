import RTP
import Testing

@Suite struct RTPSequenceTests {
    @Test func `The order of sequence numbers holds over the wrap, and half a circle apart neither is newer`() {
        for start in [0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF] as [UInt16] {
            for step in [1, 2, 1000, 0x7FFF] as [UInt16] {
                #expect(RTPSequence.isNewer(start &+ step, than: start))
                #expect(!RTPSequence.isNewer(start, than: start &+ step))
                #expect(RTPSequence.distance(from: start, to: start &+ step) == Int(step))
                #expect(RTPSequence.distance(from: start &+ step, to: start) == -Int(step))
            }
            #expect(!RTPSequence.isNewer(start, than: start))
            #expect(!RTPSequence.isNewer(start &+ 0x8000, than: start))
            #expect(!RTPSequence.isNewer(start, than: start &+ 0x8000))
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `Widened numbers follow a walk of small steps over many wraps`(seed: UInt64) {
        var random = Generator(seed: seed)
        var unwrapper = RTPSequenceUnwrapper()
        var truth = Int64.random(in: 0...0xFFFF, using: &random)
        var highest = truth
        #expect(unwrapper.unwrap(UInt16(truth)) == truth)
        for _ in 0..<500 {
            truth = highest + Int64.random(in: -0x7FFF...0x7FFF, using: &random)
            let sequence = UInt16(truncatingIfNeeded: truth)
            #expect(unwrapper.peek(sequence) == truth)
            #expect(unwrapper.unwrap(sequence) == truth)
            highest = max(highest, truth)
            #expect(unwrapper.highest == highest)
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `Widened timestamps follow a walk of small steps over many wraps`(seed: UInt64) {
        var random = Generator(seed: seed)
        var unwrapper = RTPTimestampUnwrapper()
        var truth = Int64.random(in: 0...0xFFFF_FFFF, using: &random)
        #expect(unwrapper.unwrap(UInt32(truth)) == truth)
        for _ in 0..<500 {
            truth += Int64.random(in: -0x7FFF_FFFF...0x7FFF_FFFF, using: &random)
            let timestamp = UInt32(truncatingIfNeeded: truth)
            #expect(unwrapper.peek(timestamp) == truth)
            #expect(unwrapper.unwrap(timestamp) == truth)
            #expect(unwrapper.last == truth)
        }
    }

    @Test func `Timestamps are compared over the wrap`() {
        #expect(RTPTimestamp.isNewer(5, than: .max - 5))
        #expect(!RTPTimestamp.isNewer(.max - 5, than: 5))
        #expect(RTPTimestamp.distance(from: .max, to: 1) == 2)
        #expect(RTPTimestamp.distance(from: 1, to: .max) == -2)
        #expect(RTPTimestamp.unwrap(3, near: 0x1_FFFF_FFFE) == 0x2_0000_0003)
        #expect(RTPSequence.unwrap(0xFFFF, near: 0) == -1)
    }
}
