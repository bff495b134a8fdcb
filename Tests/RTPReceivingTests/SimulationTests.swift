import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

@Suite struct SimulationTests {
    private static func receiver(feedback: RTPFeedback = [.nack, .pli, .transportWide]) -> RTPReceiver {
        .make([.video(feedback: feedback), .audio(feedback: feedback.intersection([.transportWide]))])
    }

    @Test func aCleanNetworkDelaysNothing() throws {
        let link = Link(delay: .milliseconds(10))
        let simulation = Simulation(receiver: Self.receiver(), seed: 1, up: link, down: link)
        try simulation.run(for: .seconds(20))
        let (numbers, fault) = simulation.decode()
        #expect(fault == nil)
        #expect(numbers == Array(1...UInt32(numbers.count)))
        #expect(numbers.count >= simulation.sentFrames - 1)
        #expect(simulation.frames(.audio).count >= simulation.sentAudio - 1)
        #expect(simulation.keyframeRequests == 0)
        #expect(simulation.nackedNumbers == 0)
        // Each frame is out when its last packet is in.
        for (time, frame) in simulation.frames(.video) {
            let media = TimeAmount.nanoseconds((frame.pts.ticks - 90_000) * 100_000 / 9)
            #expect(abs((time - arrival(10) - media).nanoseconds) < 1_000_000)
        }
    }

    @Test(arguments: [(1, 20), (2, 20), (3, 60), (4, 60), (5, 100), (6, 100), (7, 100)])
    func aTwentiethLostWithJitterIsRecoveredWhole(seed: UInt64, roundTrip: Int64) throws {
        let quiet = Link(delay: .milliseconds(roundTrip / 2))
        let simulation = Simulation(receiver: Self.receiver(), seed: seed, up: quiet, down: quiet)
        simulation.usesRTX = seed % 2 == 0
        try simulation.run(for: .seconds(1))
        simulation.up = Link(
            loss: 0.05, duplication: 0.01, delay: .milliseconds(roundTrip / 2), jitter: .milliseconds(50))
        simulation.down = Link(loss: 0.05, delay: .milliseconds(roundTrip / 2), jitter: .milliseconds(10))
        try simulation.run(for: .seconds(20))
        simulation.up = quiet
        try simulation.run(for: .seconds(2))
        let (numbers, fault) = simulation.decode()
        #expect(fault == nil)
        #expect(numbers.count >= simulation.sentFrames - 2, "lost \(simulation.sentFrames - numbers.count) frames")
        #expect(numbers == Array(1...UInt32(numbers.count)))
        // A request is not made for each packet that was only overtaken.
        let video = try #require(
            simulation.receiver.statistics(now: simulation.now).sources.first { $0.kind == .video })
        if simulation.usesRTX { #expect(video.lost > 80) }
        #expect(simulation.nackedNumbers < video.packets / 4, "\(simulation.nackedNumbers) of \(video.packets)")
        #expect(video.abandoned == 0)
    }

    @Test(arguments: 11...14 as ClosedRange<UInt64>)
    func withoutRetransmissionNoBrokenFrameComesOut(seed: UInt64) throws {
        let simulation = Simulation(
            receiver: Self.receiver(feedback: [.pli]), seed: seed,
            up: Link(loss: 0.05, duplication: 0.05, delay: .milliseconds(20), jitter: .milliseconds(50)),
            down: Link(loss: 0.05, delay: .milliseconds(20)))
        try simulation.run(for: .seconds(15))
        let (numbers, fault) = simulation.decode()
        #expect(fault == nil)
        #expect(numbers.count > 20)
        #expect(simulation.keyframeRequests > 5)
    }

    @Test(arguments: 21...24 as ClosedRange<UInt64>)
    func afterABurstThePictureIsBackWithinASecond(seed: UInt64) throws {
        let quiet = Link(delay: .milliseconds(30), jitter: .milliseconds(10))
        let simulation = Simulation(receiver: Self.receiver(), seed: seed, up: quiet, down: quiet)
        try simulation.run(for: .seconds(3))
        simulation.up.loss = 1
        try simulation.run(for: .milliseconds(400))
        simulation.up.loss = 0
        let end = simulation.now
        try simulation.run(for: .seconds(3))
        #expect(simulation.decode().fault == nil)
        let next = try #require(simulation.frames(.video).first { $0.time > end })
        #expect(next.time - end < .seconds(1))
        let last = try #require(simulation.frames(.video).last)
        #expect(simulation.now - last.time < .milliseconds(120))
    }

    @Test(arguments: 31...33 as ClosedRange<UInt64>)
    func heavyLossNeverBreaksAFrame(seed: UInt64) throws {
        let link = Link(loss: 0.3, duplication: 0.1, delay: .milliseconds(40), jitter: .milliseconds(80))
        let simulation = Simulation(receiver: Self.receiver(), seed: seed, up: link, down: link)
        simulation.usesRTX = seed % 2 == 0
        try simulation.run(for: .seconds(15))
        let (numbers, fault) = simulation.decode()
        #expect(fault == nil)
        #expect(numbers.count > 10)
    }
}
