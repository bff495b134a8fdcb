import Media
import NIOCore
import RTP
import Streaming
import Testing

@testable import RTPSending

@Suite("A viewer asks for a keyframe")
struct RTPKeyframeTests {
    private static let pli = RTCPPacket.pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC)

    /// A viewer of a stream that nothing comes from any more: it had a keyframe at 0 and pictures until 1 s.
    private func waiting(
        _ configuration: RTPViewerConfiguration = TestViewer.configuration()
    ) throws -> (TestViewer, TestStream) {
        var stream = TestStream.live()
        for index in 0..<25 { stream.video(Int64(index) * 40, key: index == 0, bytes: 2_000) }
        let viewer = TestViewer(configuration, now: .millis(1_000))
        try viewer.start(stream, now: .millis(1_000))
        try viewer.drain(stream, now: .millis(1_000), for: .milliseconds(900))
        return (viewer, stream)
    }

    /// Asks, and waits for what comes. Returns the number of pictures that did.
    private func ask(_ viewer: TestViewer, _ stream: TestStream, at millis: Int64) throws -> Int {
        let before = viewer.video().count
        try viewer.receive([Self.pli], stream, now: .millis(millis))
        try viewer.drain(stream, now: .millis(millis), for: .milliseconds(90))
        return Set(viewer.video()[before...].map(\.timestamp)).count
    }

    private func needs(_ viewer: TestViewer) -> Int { viewer.events.count { $0 == .needsKeyframe } }

    private func nack(_ sequence: UInt16) -> RTCPPacket {
        .nack(RTCPNack(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC, sequenceNumbers: [sequence]))
    }

    private func lossReport(_ fraction: UInt8) -> RTCPPacket {
        let block = RTCPReportBlock(
            ssrc: TestViewer.videoSSRC, fractionLost: fraction, cumulativeLost: 3, highestSequenceNumber: 1, jitter: 0,
            lastSenderReport: 0, delaySinceLastSenderReport: 0)
        return .receiverReport(.init(ssrc: 1, reports: [block]))
    }

    @Test("who played until the stream went silent gets its last pictures again every ten seconds, not at each request")
    func silence() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        for index in 0..<40 {
            let now = NIODeadline.millis(Int64(index) * 40)
            try viewer.send(stream.video(Int64(index) * 40, key: index % 25 == 0), stream, now: now)
        }
        viewer.events = []
        var answered: [Int64] = []
        for time in stride(from: Int64(4_600), through: 40_000, by: 3_000) {
            if try self.ask(viewer, stream, at: time) > 0 { answered.append(time) }
        }
        #expect(answered == [4_600, 16_600, 28_600])
        #expect(viewer.statistics.replays == 3)
        #expect(viewer.statistics.keyframeRequests == 12)
        // What cannot be answered is passed on.
        #expect(self.needs(viewer) == 9)
        let times = viewer.videoTimes()
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        // The stream goes on: a request is answered at once again.
        let now = NIODeadline.millis(41_000)
        try viewer.send(stream.video(41_000, key: true), stream, now: now)
        try viewer.send(stream.video(41_040), stream, now: .millis(41_040))
        #expect(try self.ask(viewer, stream, at: 41_050) == 2)
        #expect(accessUnits(viewer.video(), format: .h264(packetizationMode: 1)).broken == 0)
    }

    @Test("who joined a silent stream and saw nothing gets the picture again at once, then rarely")
    func neverDecoded() throws {
        let (viewer, stream) = try self.waiting()
        #expect(Set(viewer.video().map(\.timestamp)).count == 25)
        #expect(try self.ask(viewer, stream, at: 2_000) == 25)
        for time in stride(from: Int64(2_600), to: 12_000, by: 600) {
            #expect(try self.ask(viewer, stream, at: time) == 0)
        }
        #expect(try self.ask(viewer, stream, at: 12_000) == 25)
        #expect(try self.ask(viewer, stream, at: 12_600) == 0)
    }

    @Test("packets of the last replay that cannot be sent again make it worth another one")
    func unmended() throws {
        let (viewer, stream) = try self.waiting()
        let before = viewer.video().count
        #expect(try self.ask(viewer, stream, at: 2_000) == 25)
        let lost = viewer.video()[before + 4].sequence
        // A packet that came again mends it.
        try viewer.receive([self.nack(lost)], stream, now: .millis(2_600))
        #expect(viewer.repeated().count == 1)
        #expect(try self.ask(viewer, stream, at: 3_200) == 0)
        for index in 0..<9 { try viewer.receive([self.nack(lost)], stream, now: .millis(3_300 + Int64(index) * 120)) }
        #expect(viewer.repeated().count == 8)
        #expect(try self.ask(viewer, stream, at: 4_500) == 25)
        // What was lost before that does not matter any more.
        try viewer.receive([self.nack(lost)], stream, now: .millis(5_000))
        #expect(try self.ask(viewer, stream, at: 6_500) == 0)
    }

    @Test("packets of it that are not kept any more make it worth another one")
    func forgotten() throws {
        let (viewer, stream) = try self.waiting()
        #expect(try self.ask(viewer, stream, at: 2_000) == 25)
        let lost = try #require(viewer.video().last).sequence
        let empty = TestStream.live()
        try viewer.receive([self.nack(lost)], empty, now: .millis(2_600))
        #expect(try self.ask(viewer, stream, at: 3_200) == 25)
    }

    @Test("without NACK, loss that the viewer reports makes it worth another one")
    func lossWithoutNack() throws {
        let (viewer, stream) = try self.waiting(TestViewer.configuration(rtx: false, nack: false))
        #expect(try self.ask(viewer, stream, at: 2_000) == 25)
        try viewer.receive([self.lossReport(0)], stream, now: .millis(2_600))
        #expect(try self.ask(viewer, stream, at: 3_200) == 0)
        try viewer.receive([self.lossReport(9)], stream, now: .millis(3_600))
        #expect(try self.ask(viewer, stream, at: 4_200) == 25)
        #expect(try self.ask(viewer, stream, at: 6_200) == 0)
        // With NACK it may have been mended.
        let (other, _) = try self.waiting()
        #expect(try self.ask(other, stream, at: 2_000) == 25)
        try other.receive([self.lossReport(9)], stream, now: .millis(3_600))
        #expect(try self.ask(other, stream, at: 4_200) == 0)
    }

    @Test("a group of pictures that is longer than two seconds is sent, and a nearer keyframe is asked for")
    func longGroup() throws {
        for (count, isLong) in [(50, false), (51, false), (52, true), (120, true)] {
            var stream = TestStream.live()
            for index in 0..<count { stream.video(Int64(index) * 40, key: index == 0, bytes: 2_000) }
            let viewer = TestViewer()
            let now = Int64(count) * 40
            try viewer.start(stream, now: .millis(now))
            #expect(!viewer.video().isEmpty)
            #expect(self.needs(viewer) == (isLong ? 1 : 0), "\(count)")
            try viewer.drain(stream, now: .millis(now), for: .seconds(3))
            #expect(try self.ask(viewer, stream, at: now + 3_000) > 0)
            #expect(self.needs(viewer) == (isLong ? 2 : 0), "\(count)")
        }
    }

    @Test("who cannot be given a picture tells so, once in a while")
    func need() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        #expect(self.needs(viewer) == 1)
        for time in stride(from: Int64(10), to: 2_000, by: 10) {
            stream.video(time, now: .millis(time))
            _ = try self.ask(viewer, stream, at: time)
        }
        #expect(viewer.video().isEmpty)
        #expect(self.needs(viewer) == 4)
    }
}
