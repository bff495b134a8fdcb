import Media
import NIOCore
import Streaming
import Testing

@testable import StreamHub

@Suite("Fan-out", .timeLimit(.minutes(2)))
struct FanOutTests {
    private static let policies: [FlushPolicy] = [.realtime, .low, .balanced]

    /// The frames from `first` to `last`, each once.
    private static func all(_ first: Int64, _ last: Int64) -> [Int64] { Array(first...last) }

    @Test("viewers on two loops get header, prelude and every frame once and in order", arguments: policies)
    func everyFrameOnce(flush: FlushPolicy) async throws {
        try await Fixture.run { fixture in
            var early: [FarEnd] = []
            for index in 0..<6 { early.append(try await fixture.watch(on: index % 2, flush: flush).end) }
            try await fixture.publish(1)
            var late: [FarEnd] = []
            // Viewers that wait start at the newest of several keyframes in one batch.
            try await fixture.sendFrames(0..<1)
            for end in early { try await end.wait(forFrame: 0) }
            for number in 1..<100 {
                try await fixture.sendFrames(number..<(number + 1))
                if number % 10 == 7 { late.append(try await fixture.watch(on: number / 10 % 2, flush: flush).end) }
            }
            for end in early {
                try await end.wait(forFrame: 99)
                #expect(end.frames == Self.all(0, 99))
                #expect(end.outline == "HPKKKK")
            }
            for (index, end) in late.enumerated() {
                try await end.wait(forFrame: 99)
                // Batched slabs may still be on their way to the viewer's loop, so that it starts a little earlier.
                let newest = Int64((index * 10 + 7) / 25 * 25)
                let first = flush == .realtime ? newest : try #require(end.frames.first)
                #expect(first <= newest && first % 25 == 0, "viewer \(index)")
                #expect(end.frames == Self.all(first, 99), "viewer \(index)")
                #expect(end.outline.hasPrefix("HPK"))
                #expect(end.records.count { $0.kind == "P" } == 1)
            }
        }
    }

    @Test("a viewer that joins late starts at the last keyframe", arguments: policies)
    func lateViewer(flush: FlushPolicy) async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<60)
            let end = try await fixture.watch(on: 1, flush: flush).end
            try await end.wait(forFrame: 59)
            #expect(end.frames == Self.all(50, 59))
            #expect(end.records.prefix(3).map(\.kind) == ["H", "P", "K"])
            #expect(end.records[1].number == 50 * 40)
        }
    }

    @Test("without a cache a viewer waits for the next keyframe")
    func noCache() async throws {
        try await Fixture.run(LiveStreamSettings(gopCacheBytes: 0)) { fixture in
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<10)
            let end = try await fixture.watch(on: 1).end
            try await fixture.sendFrames(10..<20)
            try await end.readFor(.milliseconds(60))
            #expect(end.records.isEmpty)
            try await fixture.sendFrames(20..<30)
            try await end.wait(forFrame: 29)
            #expect(end.frames == Self.all(25, 29))
        }
    }

    @Test("audio of a stream with video leaves without waiting for a video frame")
    func audioAlone() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let end = try await fixture.watch().end
            try await fixture.send([.frame(Fixture.video(0, isKeyframe: true))])
            try await end.wait(forFrame: 0)
            try await fixture.send([.frame(Fixture.audio(1, time: 20))])
            try await end.wait(forFrame: 1)
            #expect(end.frames == [0, 1])
        }
    }

    @Test("a viewer joins while slabs wait for its turn, and gets none of them twice")
    func joinsBetweenTurns() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let first = try await fixture.watch(on: 0, flush: .balanced).end
            var others: [FarEnd] = []
            for number in 0..<40 {
                try await fixture.sendFrames(number..<(number + 1), gop: 5)
                others.append(try await fixture.watch(on: number % 2, flush: .balanced).end)
                try await Task.sleep(for: .milliseconds(3))
            }
            try await fixture.sendFrames(40..<50, gop: 5)
            try await first.wait(forFrame: 49)
            #expect(first.frames == Self.all(0, 49))
            for (index, end) in others.enumerated() {
                try await end.wait(forFrame: 49)
                let first = try #require(end.frames.first)
                #expect(first <= Int64(index / 5 * 5) && first % 5 == 0, "viewer \(index)")
                #expect(end.frames == Self.all(first, 49), "viewer \(index)")
            }
        }
    }

    @Test("bytes stay in order for a reader so slow that every write is cut", arguments: policies)
    func partialWrites(flush: FlushPolicy) async throws {
        let policy = SlowViewerPolicy(maximumBytes: 1 << 30, maximumAge: .hours(1))
        try await Fixture.run(LiveStreamSettings(gopCacheBytes: 1 << 30, slowViewer: policy)) { fixture in
            try await fixture.publish(1)
            let slow = try await fixture.watch(on: 1, flush: flush, sendBuffer: 4_096)
            let other = try await fixture.watch(on: 0, flush: flush, sendBuffer: 4_096)
            let count = 2_000
            var privates = 0
            try await fixture.sendFrames(0..<1)
            for end in [slow.end, other.end] { try await end.wait(forFrame: 0) }
            for number in 1..<count {
                let filler = number &* 2_654_435_761 % 2_500
                let frame = Fixture.video(number, isKeyframe: number % 50 == 0, filler: filler)
                try await fixture.send([.frame(frame)])
                try slow.end.read(limit: 1_500)
                try other.end.read(limit: 700)
                if number % 97 == 0 {
                    // Bytes of this viewer alone must not land inside those of the stream.
                    privates += 1
                    try await slow.viewer.onLoop { viewer in
                        var bytes = ByteBuffer()
                        bytes.writeRecord("X", .payload(number: 7, filler: 300))
                        viewer.send(bytes)
                    }
                }
            }
            try await slow.end.wait(forFrame: Int64(count - 1), atMost: 1_500)
            try await other.end.wait(forFrame: Int64(count - 1), atMost: 5_000)
            #expect(slow.end.frames == Self.all(0, Int64(count - 1)))
            #expect(other.end.frames == Self.all(0, Int64(count - 1)))
            try await slow.end.wait { $0.count { $0.kind == "X" } == privates }
            #expect(slow.end.openBytes == 0)
            let skips = try await slow.viewer.onLoop(\.skipCount)
            #expect(skips == 0)
            let sent = try await slow.viewer.onLoop(\.sentBytes)
            #expect(sent == UInt64(slow.end.byteCount))
        }
    }

    @Test("a viewer that reads nothing skips, is closed, and others do not notice")
    func readsNothing() async throws {
        let policy = SlowViewerPolicy(maximumBytes: 256 << 10, maximumAge: .hours(1), skipsBeforeClose: 3)
        try await Fixture.run(LiveStreamSettings(gopCacheBytes: 1 << 20, slowViewer: policy)) { fixture in
            try await fixture.publish(1)
            let stuck = try await fixture.watch(on: 1, sendBuffer: 4_096)
            let healthy = try await fixture.watch(on: 1)
            var number = 0
            while stuck.viewer.ends.isEmpty, number < 4_000 {
                try await fixture.sendFrames(number..<(number + 10), gop: 10, filler: 10_000)
                number += 10
                try await healthy.end.wait(forFrame: Int64(number - 1))
            }
            #expect(stuck.viewer.ends == [.tooSlow(.bytes)])
            let skips = try await stuck.viewer.onLoop(\.skipCount)
            #expect(skips == 3)
            #expect(healthy.end.frames == Self.all(0, Int64(number - 1)))
            #expect(healthy.viewer.ends.isEmpty)
            let viewers = try await fixture.onHome(\.viewerCount)
            #expect(viewers == 1)
            // What it was sent ends inside a record, perhaps the first, but is whole before that.
            try stuck.end.read()
            #expect(stuck.end.frames.first ?? 0 == 0)
        }
    }

    @Test("a viewer whose bytes grow old skips for that reason")
    func growsOld() async throws {
        let policy = SlowViewerPolicy(maximumBytes: 1 << 30, maximumAge: .milliseconds(50), skipsBeforeClose: 2)
        try await Fixture.run(LiveStreamSettings(slowViewer: policy)) { fixture in
            try await fixture.publish(1)
            let stuck = try await fixture.watch(on: 1, sendBuffer: 4_096)
            var number = 0
            while stuck.viewer.ends.isEmpty, number < 2_000 {
                try await fixture.sendFrames(number..<(number + 1), gop: 10, filler: 10_000)
                number += 1
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(stuck.viewer.ends == [.tooSlow(.age)])
        }
    }

    @Test("a viewer that skips goes on at a keyframe, with a prelude and without a second header")
    func skipsToKeyframe() async throws {
        let policy = SlowViewerPolicy(maximumBytes: 300 << 10, maximumAge: .hours(1), skipsBeforeClose: 1_000)
        try await Fixture.run(LiveStreamSettings(gopCacheBytes: 1 << 20, slowViewer: policy)) { fixture in
            try await fixture.publish(1)
            let slow = try await fixture.watch(on: 1, sendBuffer: 4_096)
            try await fixture.sendFrames(0..<200, gop: 10, filler: 10_000)
            try await Fixture.eventually("a skip") { try await slow.viewer.onLoop(\.skipCount) > 0 }
            var number = 200
            while slow.end.frames.last ?? 0 < 200, number < 2_000 {
                try slow.end.read()
                try await fixture.sendFrames(number..<(number + 1), gop: 10, filler: 10_000)
                number += 1
            }
            let records = slow.end.records
            #expect(records.count { $0.kind == "H" } == 1)
            #expect(records.count { $0.kind == "P" } >= 2)
            for (before, after) in zip(records, records.dropFirst()) {
                if before.kind == "P" { #expect(after.kind == "K") }
                if "Kv".contains(before.kind), "Kv".contains(after.kind) { #expect(after.number == before.number + 1) }
            }
        }
    }

    @Test("a paused viewer gets nothing, and continues at a keyframe")
    func pause() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<10)
            try await end.wait(forFrame: 9)
            try await viewer.onLoop { $0.setPaused(true) }
            try await fixture.sendFrames(10..<60)
            try await end.readFor(.milliseconds(50))
            #expect(end.frames == Self.all(0, 9))
            try await viewer.onLoop { $0.setPaused(false) }
            try await end.wait(forFrame: 59)
            #expect(end.frames == Self.all(0, 9) + Self.all(50, 59))
            #expect(end.outline == "HPKPK")
        }
    }

    @Test("a viewer that pauses in the middle of a write gets whole messages all the same")
    func pauseWhileWriting() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.watch(on: 1, sendBuffer: 4_096)
            var number = 0
            for _ in 0..<20 {
                try await fixture.sendFrames(number..<(number + 10), gop: 10, filler: 9_000)
                try await viewer.onLoop { $0.setPaused(true) }
                try end.read(limit: 3_000)
                try await viewer.onLoop { $0.setPaused(false) }
                number += 10
            }
            try await end.wait(forFrame: Int64(number - 1))
            #expect(end.openBytes == 0)
        }
    }

    @Test("a viewer that was paused before its stream had it in gets nothing until it continues")
    func pausedBeforeJoin() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<10)
            let (viewer, end) = try await fixture.connect(on: fixture.loops[1])
            try await viewer.onLoop { $0.setPaused(true) }
            let isWelcome = try await fixture.join(viewer, flush: .realtime)
            #expect(isWelcome)
            try await fixture.sendFrames(10..<30)
            try await end.readFor(.milliseconds(50))
            #expect(end.records.isEmpty)
            try await viewer.onLoop { $0.setPaused(false) }
            try await end.wait(forFrame: 29)
            #expect(end.frames == Self.all(25, 29))
        }
    }

    @Test("bytes that were written before a viewer joined are not overtaken by the stream")
    func earlierBytesFirst() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.connect(on: fixture.loops[1], sendBuffer: 4_096)
            try await viewer.writeOutside(records: 40)
            let isWelcome = try await fixture.join(viewer, flush: .realtime, encoder: { BareEncoder() })
            #expect(isWelcome)
            try await fixture.sendFrames(0..<30, gop: 10)
            try await end.wait(forFrame: 29)
            #expect(end.records.prefix(40).allSatisfy { $0.kind == "X" })
            #expect(end.frames.suffix(10) == ArraySlice(Self.all(20, 29)))
        }
    }

    @Test("a viewer may leave while it is written to")
    func leaveWhileWriting() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let leaver = try await fixture.watch(on: 1, sendBuffer: 4_096)
            let stayer = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<20, gop: 10, filler: 9_000)
            try await leaver.viewer.onLoop { $0.leave() }
            try await fixture.sendFrames(20..<40, gop: 10, filler: 9_000)
            for _ in 0..<50 { try leaver.end.read() }
            try await stayer.end.wait(forFrame: 39)
            #expect(stayer.end.frames == Self.all(0, 39))
            #expect(leaver.viewer.ends.isEmpty)
            try await Fixture.eventually("one viewer is left") { try await fixture.onHome(\.viewerCount) == 1 }
            try await leaver.viewer.onLoop { $0.leave() }
            let viewers = try await fixture.onHome(\.viewerCount)
            #expect(viewers == 1)
        }
    }

    @Test("a viewer whose peer went away does not disturb the others")
    func peerGone() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            let stayer = try await fixture.watch(on: 1)
            let leaver = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<20)
            leaver.end.hangUp()
            try await fixture.sendFrames(20..<40)
            try await stayer.end.wait(forFrame: 39)
            #expect(stayer.end.frames == Self.all(0, 39))
            try await Fixture.eventually("one viewer is left") { try await fixture.onHome(\.viewerCount) == 1 }
        }
    }
}
