import Media
import NIOCore
import Testing

@testable import RTPSending

@Suite("The ring of frames")
struct RTPFrameRingTests {
    @Test("every packet of a kept frame is found, and no other")
    func packets() {
        var stream = TestStream.live(ring: .init(historyAge: .milliseconds(200)))
        for index in 0..<100 {
            stream.video(Int64(index) * 40, key: index % 25 == 0, bytes: 300 + index * 97 % 5_000)
            stream.audio(Int64(index) * 40)
        }
        var found = 0
        for frame in stream.frames {
            let kept = stream.ring.frame(frame.kind, number: frame.number)
            for offset in frame.packets.indices {
                let byPacket = stream.ring.frame(frame.kind, containingPacket: frame.firstPacket + UInt64(offset))
                #expect(byPacket === kept)
            }
            if let kept {
                #expect(kept === frame)
                found += 1
            }
        }
        #expect(found == stream.ring.count)
        // From the last keyframe on, and five audio frames more than 200 ms hold.
        #expect(stream.ring.lastKeyframe == 75)
        #expect(stream.ring.count == 25 + 6)
        #expect(
            stream.ring.byteCount
                == stream.frames.suffix(50).filter { frame in
                    stream.ring.frame(frame.kind, number: frame.number) != nil
                }.reduce(0) { $0 + $1.byteCount })
    }

    @Test("frames from before a keyframe are kept for retransmission, for their time")
    func history() {
        var stream = TestStream.live(ring: .init(historyAge: .milliseconds(400)))
        for index in 0..<20 { stream.video(Int64(index) * 40, key: index == 0 || index == 15) }
        #expect(stream.ring.lastKeyframe == 15)
        #expect(stream.ring.frame(.video, number: 9) != nil)
        #expect(stream.ring.frame(.video, number: 8) == nil)
    }

    @Test("bytes and age are bounded, and a keyframe that had to go is no place to start")
    func bounds() {
        var stream = TestStream.live(ring: .init(maximumBytes: 100_000, maximumAge: .seconds(2)))
        for index in 0..<300 {
            stream.video(Int64(index) * 40, key: index == 0, bytes: 10_000)
            #expect(stream.ring.byteCount <= 100_000)
        }
        #expect(stream.ring.lastKeyframe == nil)
        #expect(stream.ring.count == 9)
        var slow = TestStream.live(ring: .init(maximumAge: .seconds(2)))
        for index in 0..<300 { slow.video(Int64(index) * 40, key: index == 0, bytes: 100) }
        #expect(slow.ring.lastKeyframe == nil)
        #expect(slow.ring.count == 26)
    }

    @Test("a single frame beyond the bound is kept")
    func largeFrame() {
        var stream = TestStream.live(ring: .init(maximumBytes: 1_000))
        stream.video(0, key: true, bytes: 50_000)
        #expect(stream.ring.lastKeyframe == 0)
    }

    @Test("a gap in the numbers empties the ring of that kind")
    func gap() {
        var stream = TestStream.live()
        for index in 0..<5 {
            stream.video(Int64(index) * 40, key: index == 0)
            stream.audio(Int64(index) * 40)
        }
        var other = RTPFrameRing()
        for frame in stream.frames where frame.kind == .audio || frame.number != 3 { other.append(frame) }
        #expect(other.frame(.video, number: 2) == nil)
        #expect(other.frame(.video, number: 4) != nil)
        #expect(other.lastKeyframe == nil)
        #expect(other.frame(.audio, number: 0) != nil)
        other.removeAll(.audio)
        #expect(other.last(.audio) == nil)
        other.removeAll()
        #expect(other.count == 0)
        #expect(other.byteCount == 0)
    }
}
