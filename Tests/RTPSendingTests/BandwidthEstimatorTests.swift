import Media
import NIOCore
import RTP
import Testing

@testable import RTPSending

/// A path with a bottleneck: packets wait in a queue of bounded length, then need a fixed time, more or less.
struct VirtualLink {
    var bitsPerSecond: Double
    var delay: TimeAmount = .milliseconds(20)
    var jitter: TimeAmount = .zero
    var queue: TimeAmount = .milliseconds(300)
    var loss = 0.0
    private var freeAt = NIODeadline.uptimeNanoseconds(0)
    private var generator: SeededGenerator

    init(bitsPerSecond: Double, seed: UInt64) {
        self.bitsPerSecond = bitsPerSecond
        self.generator = SeededGenerator(seed: seed)
    }

    /// When a packet arrives; `nil` if it is lost.
    mutating func carry(_ bytes: Int, at now: NIODeadline) -> NIODeadline? {
        let start = max(now, self.freeAt)
        guard start - now <= self.queue else { return nil }
        self.freeAt = start + .nanoseconds(Int64(Double(bytes) * 8e9 / self.bitsPerSecond))
        guard Double.random(in: 0..<1, using: &self.generator) >= self.loss else { return nil }
        let extra = Int64.random(in: 0...max(self.jitter.nanoseconds, 1), using: &self.generator)
        return self.freeAt + self.delay + .nanoseconds(extra)
    }
}

/// A viewer behind a virtual link, who answers with transport-wide feedback, receiver reports, or an estimate of its
/// own.
final class LinkedViewer {
    let viewer: TestViewer
    var stream = TestStream.live()
    var link: VirtualLink
    let hasFeedback: Bool
    private var arrivals: [(sequence: Int64, at: NIODeadline)] = []
    private var unwrapper = RTPSequenceUnwrapper()
    private var feedbackCount: UInt8 = 0
    private var taken = 0
    private var frameCount = 0
    private var expected = 0
    private var lost = 0
    private var lastExpected = 0
    private var lastLost = 0
    var deliveredBytes = 0
    /// Estimates after each frame.
    var estimates: [Int] = []

    init(_ link: VirtualLink, hasFeedback: Bool = true, startBitrate: Int = 5_000_000) throws {
        self.link = link
        self.hasFeedback = hasFeedback
        var configuration = TestViewer.configuration(
            extensions: hasFeedback ? .init(transportSequenceNumber: 3) : .init())
        configuration.startBitrate = startBitrate
        self.viewer = TestViewer(configuration)
        try self.viewer.start(self.stream, now: .millis(0))
    }

    /// Goes on for some seconds with pictures of 40 ms at a bit rate; keyframes each second are four times as large.
    func run(seconds: Double, bitsPerSecond: Int) throws {
        let mean = bitsPerSecond / 8 / 25
        for _ in 0..<Int(seconds * 25) {
            let time = Int64(self.frameCount) * 40
            let now = NIODeadline.millis(time)
            let isKey = self.frameCount % 25 == 0
            let bytes = isKey ? mean * 4 : mean * 7 / 8
            try self.viewer.send(self.stream.video(time, key: isKey, bytes: bytes), self.stream, now: now)
            try self.viewer.send(self.stream.audio(time), self.stream, now: now)
            try self.viewer.send(self.stream.audio(time + 20, now: now), self.stream, now: now)
            try self.viewer.drain(self.stream, now: now, for: .milliseconds(39))
            self.carry()
            if self.hasFeedback, self.frameCount % 3 == 2 { try self.feedback(now: now + .milliseconds(39)) }
            if !self.hasFeedback, self.frameCount % 25 == 24 { try self.report(now: now + .milliseconds(39)) }
            self.frameCount += 1
            self.estimates.append(self.viewer.estimate)
        }
    }

    private func carry() {
        for packet in self.viewer.received[self.taken...] {
            let bytes = packet.packet.payload.readableBytes + packet.packet.header.byteCount + 44
            let arrival = self.link.carry(bytes, at: packet.at)
            self.expected += 1
            guard let arrival else {
                self.lost += 1
                continue
            }
            self.deliveredBytes += bytes
            guard var number = packet.packet.header.extensions?.value(id: 3),
                let sequence = number.readInteger(as: UInt16.self)
            else { continue }
            self.arrivals.append((self.unwrapper.unwrap(sequence), arrival))
        }
        self.viewer.received.removeAll(keepingCapacity: true)
        self.taken = 0
    }

    /// Tells of what arrived a while ago.
    private func feedback(now: NIODeadline) throws {
        let due = self.arrivals.filter { $0.at <= now - .milliseconds(20) }
        self.arrivals.removeAll { $0.at <= now - .milliseconds(20) }
        let told = due.map {
            TransportFeedback.Arrival(
                sequenceNumber: $0.sequence, micros: Int64($0.at.uptimeNanoseconds / 1_000) &+ 77_000_000_123)
        }.sorted { $0.sequenceNumber < $1.sequenceNumber }
        let packets = TransportFeedback.feedback(
            on: told, senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC, firstCount: self.feedbackCount)
        self.feedbackCount &+= UInt8(truncatingIfNeeded: packets.count)
        guard !packets.isEmpty else { return }
        try self.viewer.receive(packets.map { .transportFeedback($0) }, self.stream, now: now)
    }

    private func report(now: NIODeadline) throws {
        let expected = max(self.expected - self.lastExpected, 1)
        let fraction = (self.lost - self.lastLost) * 256 / expected
        self.lastExpected = self.expected
        self.lastLost = self.lost
        let block = RTCPReportBlock(
            ssrc: TestViewer.videoSSRC, fractionLost: UInt8(min(fraction, 255)), cumulativeLost: Int32(self.lost),
            highestSequenceNumber: 0, jitter: 0, lastSenderReport: 0, delaySinceLastSenderReport: 0)
        try self.viewer.receive([.receiverReport(.init(ssrc: 1, reports: [block]))], self.stream, now: now)
    }

    /// The mean of the estimates of the last seconds.
    func mean(seconds: Double) -> Int {
        let last = self.estimates.suffix(Int(seconds * 25))
        return last.reduce(0, +) / max(last.count, 1)
    }

    var congestions: Int {
        self.viewer.events.count { if case .congested = $0 { true } else { false } }
    }
}

@Suite("The estimate of the bandwidth")
struct BandwidthEstimatorTests {
    @Test("a stream of 2 Mb/s finds a bottleneck of 1 Mb/s", arguments: [UInt64(1), 2, 3, 4])
    func bottleneck(seed: UInt64) throws {
        var link = VirtualLink(bitsPerSecond: 1_000_000, seed: seed)
        link.jitter = .milliseconds(10)
        let viewer = try LinkedViewer(link)
        try viewer.run(seconds: 3, bitsPerSecond: 2_000_000)
        #expect((700_000...1_150_000).contains(viewer.viewer.estimate), "\(viewer.viewer.estimate)")
        try viewer.run(seconds: 17, bitsPerSecond: 2_000_000)
        let mean = viewer.mean(seconds: 10)
        #expect((700_000...1_300_000).contains(mean), "seed \(seed): \(mean)")
        #expect(viewer.congestions == 1)
        #expect(viewer.viewer.statistics.skips[.bandwidth] > 5)
        #expect(viewer.viewer.events.contains(.skipped(.bandwidth)))
    }

    @Test("a viewer who cannot take the stream still gets whole pictures, and all audio")
    func skipping() throws {
        let viewer = try LinkedViewer(VirtualLink(bitsPerSecond: 1_000_000, seed: 9))
        try viewer.run(seconds: 10, bitsPerSecond: 2_000_000)
        let before = viewer.deliveredBytes
        let audio = viewer.viewer.viewer.audio?.packetCount ?? 0
        try viewer.run(seconds: 10, bitsPerSecond: 2_000_000)
        let rate = (viewer.deliveredBytes - before) * 8 / 10
        #expect((550_000...1_010_000).contains(rate), "\(rate)")
        #expect((viewer.viewer.viewer.audio?.packetCount ?? 0) - audio == 500)
    }

    @Test(
        "a healthy viewer is never slowed down, whatever jitter and random loss do",
        arguments: [(0, 0.0), (10, 0.0), (50, 0.0), (10, 0.05), (30, 0.15)], [UInt64(1), 2])
    func healthy(quality: (jitter: Int, loss: Double), seed: UInt64) throws {
        var link = VirtualLink(bitsPerSecond: 10_000_000, seed: seed)
        link.jitter = .milliseconds(Int64(quality.jitter))
        link.loss = quality.loss
        let viewer = try LinkedViewer(link)
        try viewer.run(seconds: 30, bitsPerSecond: 1_500_000)
        #expect(viewer.congestions == 0)
        #expect(viewer.viewer.statistics.skips == RTPSkipCounts())
        #expect(viewer.viewer.estimate > 1_500_000, "seed \(seed): \(viewer.viewer.estimate)")
    }

    @Test("a longer route is no congestion")
    func routeChange() throws {
        let viewer = try LinkedViewer(VirtualLink(bitsPerSecond: 10_000_000, seed: 3))
        try viewer.run(seconds: 5, bitsPerSecond: 1_500_000)
        viewer.link.delay = .milliseconds(180)
        try viewer.run(seconds: 15, bitsPerSecond: 1_500_000)
        #expect(viewer.congestions == 0)
    }

    @Test("a path that becomes narrow and wide again is noticed both times")
    func recovery() throws {
        let viewer = try LinkedViewer(VirtualLink(bitsPerSecond: 10_000_000, seed: 4))
        try viewer.run(seconds: 5, bitsPerSecond: 1_500_000)
        viewer.link.bitsPerSecond = 700_000
        try viewer.run(seconds: 10, bitsPerSecond: 1_500_000)
        #expect(viewer.congestions == 1)
        viewer.link.bitsPerSecond = 10_000_000
        try viewer.run(seconds: 40, bitsPerSecond: 1_500_000)
        #expect(viewer.viewer.events.contains(.recovered))
        let skips = viewer.viewer.statistics.skips[.bandwidth]
        try viewer.run(seconds: 10, bitsPerSecond: 1_500_000)
        #expect(viewer.viewer.statistics.skips[.bandwidth] == skips)
    }

    @Test("receiver reports alone find a bottleneck by its loss, and a little loss is none")
    func reports() throws {
        let viewer = try LinkedViewer(VirtualLink(bitsPerSecond: 1_000_000, seed: 5), hasFeedback: false)
        try viewer.run(seconds: 20, bitsPerSecond: 2_000_000)
        let mean = viewer.mean(seconds: 10)
        #expect((500_000...1_700_000).contains(mean), "\(mean)")
        #expect(viewer.congestions >= 1)
        var link = VirtualLink(bitsPerSecond: 10_000_000, seed: 6)
        link.loss = 0.05
        let lossy = try LinkedViewer(link, hasFeedback: false)
        try lossy.run(seconds: 20, bitsPerSecond: 2_000_000)
        #expect(lossy.congestions == 0)
    }

    @Test("an estimate of the receiver counts for some seconds")
    func receiverEstimate() throws {
        let viewer = try LinkedViewer(VirtualLink(bitsPerSecond: 10_000_000, seed: 7))
        try viewer.run(seconds: 2, bitsPerSecond: 1_000_000)
        try viewer.viewer.receive(
            [.receiverEstimatedMaximumBitrate(.init(senderSSRC: 1, bitsPerSecond: 300_000, ssrcs: [2]))],
            viewer.stream, now: .millis(2_000))
        #expect((299_000...300_000).contains(viewer.viewer.estimate))
        try viewer.run(seconds: 8, bitsPerSecond: 1_000_000)
        #expect(viewer.viewer.estimate > 1_000_000)
        #expect(viewer.congestions == 1)
    }

    @Test("feedback that is late, foreign, repeated or out of its mind does no harm")
    func strangeFeedback() {
        var generator = SeededGenerator(seed: 8)
        var estimator = BandwidthEstimator(startBitrate: 2_000_000)
        var now = NIODeadline.millis(0)
        var sequence: UInt16 = 65_000
        for _ in 0..<2_000 {
            now = now + .milliseconds(Int64.random(in: 0...50, using: &generator))
            let count = Int.random(in: 1...60, using: &generator)
            estimator.sent(first: sequence, count: count, bytes: count * 1_000, now: now)
            sequence &+= UInt16(count)
            let statuses = (0..<Int.random(in: 0...100, using: &generator)).map { _ -> TransportFeedback.Status in
                Bool.random(using: &generator)
                    ? .notReceived : .received(delta: .random(in: -8_192...8_191, using: &generator))
            }
            let feedback = TransportFeedback(
                senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: .random(in: 0...65_535, using: &generator),
                referenceTime: .random(in: -8_388_608...8_388_607, using: &generator), feedbackCount: 0,
                statuses: statuses)
            estimator.receive(feedback, roundTrip: .milliseconds(50), now: now)
            #expect((50_000...100_000_000).contains(estimator.bitsPerSecond))
            #expect(estimator.heapByteCount <= 64 * 12 + 32 * 16 + 64)
        }
    }
}
