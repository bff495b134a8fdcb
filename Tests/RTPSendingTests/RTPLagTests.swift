import Media
import NIOCore
import RTP
import Streaming
import Testing

@testable import RTPSending

@Suite("A loop lags behind its stream")
struct RTPLagTests {
    /// One viewer on a loop that takes frames in when the test says so.
    private final class Loop {
        var stream = TestStream.live()
        let viewer = TestViewer()
        private var policy = RTPLagPolicy()
        private var waiting: [RTPFrame] = []

        init() throws { try self.viewer.start(self.stream, now: .millis(0)) }

        /// The 40 ms from a picture's number on reach the node in time.
        func make(_ range: Range<Int>, gop: Int = 25) {
            for index in range {
                let time = Int64(index) * 40
                self.waiting += self.stream.video(time, key: index % gop == 0, bytes: 4_000)
                self.waiting += self.stream.audio(time)
                self.waiting += self.stream.audio(time + 20, now: .millis(time))
            }
        }

        /// The loop takes in what waits. The ring of the stream has it already.
        @discardableResult
        func takeIn(now: NIODeadline) throws -> RTPLagPolicy.Verdict {
            let frames = self.waiting
            self.waiting = []
            let verdict = self.policy.judge(frames, now: now)
            if verdict.lateCount > 0 { self.viewer.viewer.leaveOut(verdict, ring: self.stream.ring, now: now) }
            try self.viewer.send(Array(frames[verdict.lateCount...]), self.stream, now: now)
            return verdict
        }

        /// The loop is on time.
        func play(_ range: Range<Int>, gop: Int = 25) throws {
            for index in range {
                self.make(index..<index + 1, gop: gop)
                try self.takeIn(now: .millis(Int64(index) * 40))
                try self.viewer.drain(self.stream, now: .millis(Int64(index) * 40), for: .milliseconds(39))
            }
        }

        /// Numbers and times of all that was sent go on; pictures are whole, and begin with a keyframe after a gap.
        func expectSound(sourceLocation: SourceLocation = #_sourceLocation) {
            for packets in [self.viewer.video(), self.viewer.audio()] {
                let isUnbroken = zip(packets, packets.dropFirst()).allSatisfy { $1.sequence == $0.sequence &+ 1 }
                #expect(isUnbroken, sourceLocation: sourceLocation)
            }
            let times = self.viewer.videoTimes()
            #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 }, sourceLocation: sourceLocation)
            let audio = self.viewer.audio().map(\.timestamp)
            #expect(zip(audio, audio.dropFirst()).allSatisfy { $0 < $1 }, sourceLocation: sourceLocation)
            let units = accessUnits(self.viewer.video(), format: .h264(packetizationMode: 1))
            #expect(units.broken == 0, sourceLocation: sourceLocation)
        }
    }

    @Test("a frame is late from half a second on, with all in front of it")
    func limit() {
        var stream = TestStream.live()
        let frames = stream.video(0, key: true) + stream.video(40) + stream.audio(20) + stream.video(80)
        var policy = RTPLagPolicy()
        #expect(policy.judge(frames, now: .millis(500)) == RTPLagPolicy.Verdict())
        #expect(policy.judge([], now: .millis(9_000)) == RTPLagPolicy.Verdict())
        let late = policy.judge(frames, now: .millis(500) + .nanoseconds(1))
        #expect(late == .init(lateCount: 1, audioCount: 0, videoCount: 1, reach: nil))
        // Sound behind a picture that is a little younger.
        let more = policy.judge(frames, now: .millis(530))
        #expect(more == .init(lateCount: 3, audioCount: 1, videoCount: 2, reach: .milliseconds(500)))
        #expect(policy.judge(frames, now: .millis(10_529)).reach == .milliseconds(500))
        #expect(policy.judge(frames, now: .millis(20_529)).reach == nil)
    }

    @Test("after two seconds the viewer is live at once, from the newest keyframe on")
    func oneBlock() throws {
        let loop = try Loop()
        try loop.play(0..<30)
        let before = loop.viewer.received.count
        loop.make(30..<80)
        let verdict = try loop.takeIn(now: .millis(3_170))
        #expect(verdict.videoCount == 37)
        #expect(verdict.audioCount == 74)
        #expect(loop.viewer.statistics.skips[.lag] == 1)
        #expect(loop.viewer.statistics.droppedFrames == 74)
        #expect(loop.viewer.events.contains(.skipped(.lag)))
        let now = Array(loop.viewer.received[before...])
        // What is on time of the audio, and the keyframe at 3 s with what follows; nothing of before.
        #expect(now.filter { $0.packet.header.ssrc == TestViewer.audioSSRC }.count == 26)
        let first = accessUnits(
            now.filter { $0.packet.header.ssrc == TestViewer.videoSSRC }, format: .h264(packetizationMode: 1))
        #expect(first.units.count == 5)
        #expect(first.units.first?.isKeyframe == true)
        try loop.play(80..<100)
        loop.expectSound()
        // Live pictures are at their own times again.
        #expect(loop.viewer.videoTimes().suffix(20) == (80..<100).map { Int64($0) * 3_600 }[...])
        #expect(loop.viewer.statistics.skips[.lag] == 1)
    }

    @Test("after one block the viewer goes back to the last keyframe, however old it is: nobody waits for the next")
    func oldKeyframe() throws {
        let loop = try Loop()
        try loop.play(0..<30, gop: 250)
        let before = loop.viewer.video().count
        loop.make(30..<60, gop: 250)
        try loop.takeIn(now: .millis(2_370))
        try loop.viewer.drain(loop.stream, now: .millis(2_370), for: .milliseconds(600))
        #expect(loop.viewer.statistics.skips[.lag] == 1)
        try loop.play(75..<100, gop: 250)
        loop.expectSound()
        #expect(loop.viewer.video().count > before)
        let units = accessUnits(loop.viewer.video(), format: .h264(packetizationMode: 1)).units
        // Thirty live ones, then all since the keyframe once more.
        #expect(units.filter(\.isKeyframe).count == 2)
        #expect(units.dropFirst(30).first?.isKeyframe == true)
        #expect(loop.viewer.videoTimes().last == Int64(99 * 3_600))
    }

    @Test("on a loop that lagged lately, a keyframe that is too old is not sent; PLI gets it all the same")
    func oldKeyframeAgain() throws {
        let loop = try Loop()
        try loop.play(0..<30, gop: 250)
        loop.make(30..<60, gop: 250)
        try loop.takeIn(now: .millis(2_370))
        try loop.viewer.drain(loop.stream, now: .millis(2_370), for: .milliseconds(600))
        loop.make(60..<90, gop: 250)
        try loop.takeIn(now: .millis(4_170))
        let before = loop.viewer.video().count
        try loop.viewer.drain(loop.stream, now: .millis(4_170), for: .milliseconds(600))
        #expect(loop.viewer.video().count == before)
        #expect(loop.viewer.events.contains(.needsKeyframe))
        try loop.viewer.receive(
            [.pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC)], loop.stream, now: .millis(4_900))
        try loop.viewer.drain(loop.stream, now: .millis(4_900), for: .milliseconds(600))
        #expect(loop.viewer.video().count > before)
        loop.expectSound()
    }

    @Test("a viewer without a transport for a while goes on at the last keyframe, if it missed anything")
    func resumed() throws {
        let loop = try Loop()
        try loop.play(0..<30, gop: 250)
        let before = loop.viewer.video().count
        loop.viewer.viewer.resume(from: loop.stream.ring, now: .millis(1_190))
        try loop.viewer.drain(loop.stream, now: .millis(1_190), for: .milliseconds(5))
        #expect(loop.viewer.video().count == before)
        for index in 30..<50 { _ = loop.stream.video(Int64(index) * 40, key: false, bytes: 4_000) }
        loop.viewer.viewer.resume(from: loop.stream.ring, now: .millis(2_000))
        try loop.viewer.drain(loop.stream, now: .millis(2_000), for: .milliseconds(600))
        let units = accessUnits(loop.viewer.video(), format: .h264(packetizationMode: 1)).units
        #expect(units.count > 30 && units[30].isKeyframe)
        loop.expectSound()
    }

    @Test("a loop that lags all the time sends what is fresh, and recovers by itself")
    func persistent() throws {
        let loop = try Loop()
        try loop.play(0..<10)
        // It comes to its frames every 900 ms, with keyframes each second.
        var end = 10
        for _ in 0..<20 {
            loop.make(end..<end + 23)
            end += 23
            let before = loop.viewer.received.count
            let now = NIODeadline.millis(Int64(end) * 40)
            try loop.takeIn(now: now)
            try loop.viewer.drain(loop.stream, now: now)
            // At most the frames of half a second, but for the first time.
            let sent = loop.viewer.received[before...]
            let pictures = Set(sent.filter { $0.packet.header.ssrc == TestViewer.videoSSRC }.map(\.timestamp)).count
            if end > 40 { #expect(pictures <= 13, "\(pictures)") }
            #expect(sent.filter { $0.packet.header.ssrc == TestViewer.audioSSRC }.count == 24)
        }
        #expect(loop.viewer.statistics.skips[.lag] > 5)
        loop.expectSound()
        let skips = loop.viewer.statistics.skips[.lag]
        try loop.play(end..<end + 50)
        loop.expectSound()
        #expect(loop.viewer.videoTimes().suffix(25) == (end + 25..<end + 50).map { Int64($0) * 3_600 }[...])
        #expect(loop.viewer.statistics.skips[.lag] == skips)
    }

    @Test("who is not live yet, or whose transport is full, is not brought forward")
    func others() throws {
        let loop = try Loop()
        loop.make(0..<50)
        loop.viewer.viewer.queuedBytes = 1 << 20
        try loop.takeIn(now: .millis(2_000))
        // It still waits for its first keyframe.
        #expect(loop.viewer.video().isEmpty)
        #expect(loop.viewer.statistics.skips[.lag] == 0)
        loop.viewer.viewer.queuedBytes = 0
        loop.make(50..<80)
        try loop.takeIn(now: .millis(3_600))
        try loop.viewer.drain(loop.stream, now: .millis(3_600), for: .milliseconds(100))
        #expect(loop.viewer.video().isEmpty)
        try loop.play(90..<120)
        #expect(accessUnits(loop.viewer.video(), format: .h264(packetizationMode: 1)).units.first?.isKeyframe == true)
        loop.expectSound()
    }

    @Test("frames that were dropped on the way count as a lag")
    func gap() throws {
        let loop = try Loop()
        try loop.play(0..<20)
        let missing = loop.stream.frames.count
        loop.make(20..<22)
        let later = loop.stream.frames[missing...].filter { $0.kind == .video }.suffix(1)
        try loop.viewer.send(Array(later), loop.stream, now: .millis(840))
        #expect(loop.viewer.statistics.skips[.lag] == 1)
        #expect(loop.viewer.events.suffix(2) == [.skipped(.lag), .needsKeyframe])
        #expect(accessUnits(loop.viewer.video(), format: .h264(packetizationMode: 1)).units.count == 20)
    }
}
