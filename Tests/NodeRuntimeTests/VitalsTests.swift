import Media
import NIOCore
import NIOPosix
import Placement
import ProcessStats
import Testing

@testable import NodeRuntime

@Suite("what a node tells of itself", .timeLimit(.minutes(1))) struct VitalsTests {
    @Test(
        "the more streams a node has, the less often it tells of them, but at least with every fifth heartbeat",
        arguments: [(0, 1), (1, 1), (20, 1), (21, 2), (40, 2), (41, 3), (80, 4), (81, 5), (10_000, 5)])
    func factsInterval(streams: Int, interval: Int) {
        #expect(NodeVitals.factsInterval(streams: streams) == interval)
    }

    @Test("a track is told with what its codec's header says")
    func tracks() {
        var format = VideoFormat(width: 1_280, height: 720)
        format.profile = "High"
        let video = TrackFacts(Track(codec: .h264, configuration: nil, format: .video(format)))
        #expect(video.kind == "video" && video.codec == "h264" && video.width == 1_280 && video.height == 720)
        #expect(video.profile == "High" && video.sampleRate == nil)
        let audio = TrackFacts(
            Track(codec: .opus, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2))))
        #expect(audio.kind == "audio" && audio.codec == "opus" && audio.sampleRate == 48_000 && audio.channels == 2)
        #expect(audio.width == nil)
    }

    @Test("a busy loop is seen beside idle ones")
    func busyLoop() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
        let loops = Array(group.makeIterator())
        let load = await LoopLoad(loops)
        try await loops[1].submit {
            let end = NIODeadline.now() + .milliseconds(400)
            while NIODeadline.now() < end {}
        }.get()
        let shares = load.shares()
        try #require(shares.count == 2)
        // Other processes may take the CPU away meanwhile.
        #expect(shares[1] > 0.2 && shares[1] <= 1)
        #expect(shares[0] < shares[1] / 2)
        #expect(load.busiest == shares[1], "a second look at the same moment says the same")
        try await group.shutdownGracefully()
    }
}
