import Media
import NIOCore
import NIOPosix
import RTPSending
import StreamHub
import TestSupport
import Testing

@testable import WebRTCServer

@Suite(.timeLimit(.minutes(1))) struct AudioWaitTests {
    /// Sound comes 10 ms before each picture. Pictures are one packet, longer than the sound.
    @Test(arguments: [0, 20]) func soundLeavesInTheSendOfAPictureThatIsNear(waitMillis: Int64) async throws {
        let node = try await TestNode(loops: 1) { configuration in
            configuration.settings = { _ in
                var settings = WebRTCStreamSettings()
                settings.audioWait = .milliseconds(waitMillis)
                return settings
            }
        }
        let publisher = try await TestPublisher.start(node.hub, "w", on: node.group.next())
        try await publisher.publish([
            .track(Sample.video), .track(Sample.audio), .frame(Sample.video(0, bytes: 700)), .frame(Sample.audio(0)),
        ])
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.play(player, name: "w")
        try await eventually("it plays") { !player.frames.isEmpty }
        let worker = node.server.workers[0]
        let before = try await worker.loop.submit { worker.socketCounters }.get()
        let start = ContinuousClock.now
        for number in 1..<50 {
            try await Task.sleep(until: start + .milliseconds(40) * number - .milliseconds(10))
            try await publisher.publish([.frame(Sample.audio(2 * number))])
            try await Task.sleep(until: start + .milliseconds(40) * number)
            try await publisher.publish([.frame(Sample.video(number, bytes: 700))])
        }
        try await eventually("all is there") {
            Sample.numbers(of: player.frames, bytes: 700).last == 49
                && Sample.audioNumbers(of: player.frames).last == 98
        }
        #expect(Sample.audioNumbers(of: player.frames).compactMap(\.self).filter { $0 > 0 } == (1..<50).map { 2 * $0 })
        let after = try await worker.loop.submit { worker.socketCounters }.get()
        let joined = (after.datagrams - before.datagrams) - (after.sends - before.sends)
        // A machine that is busy makes pictures late, for which nothing waits.
        if waitMillis > 0 { #expect(joined >= 10) } else { #expect(joined <= 3) }
        try await node.stop()
    }

    /// Sound without pictures goes on when the pictures stop.
    @Test func soundDoesNotWaitForPicturesThatStopped() async throws {
        let node = try await TestNode(loops: 1)
        let publisher = try await TestPublisher.start(node.hub, "s", on: node.group.next())
        try await publisher.publish([.track(Sample.video), .track(Sample.audio), .frame(Sample.video(0))])
        for number in 1..<10 {
            try await Task.sleep(for: .milliseconds(40))
            try await publisher.publish([.frame(Sample.video(number)), .frame(Sample.audio(number))])
        }
        let player = TestClient(.player, on: node.group.next())
        _ = try await node.play(player, name: "s")
        try await eventually("it plays") { player.frames.count >= 10 }
        for number in 10..<40 {
            try await publisher.publish([.frame(Sample.audio(number))])
            try await Task.sleep(for: .milliseconds(20))
        }
        try await eventually("all sound is there") { Sample.audioNumbers(of: player.frames).last == 39 }
        try await node.stop()
    }
}
