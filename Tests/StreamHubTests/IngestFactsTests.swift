import Media
import NIOCore
import Testing

@testable import StreamHub

@Suite("What a stream receives")
struct IngestFactsTests {
    private static let start = NIODeadline.uptimeNanoseconds(100_300_000_000)

    /// 25 frames a second of 1,000 bytes, arriving in time, a keyframe every `gop`.
    private static func meter(seconds: Int, gop: Int = 50) -> IngestMeter {
        var meter = IngestMeter()
        for number in 0..<(seconds * 25) {
            let frame = Frame(
                codec: .h264, dts: MediaTime(millis: Int64(number) * 40), pts: MediaTime(millis: Int64(number) * 40),
                isKeyframe: number % gop == 0, payload: ByteBuffer(repeating: 1, count: 1_000))
            meter.count(frame, now: self.start + .milliseconds(Int64(number) * 40))
        }
        return meter
    }

    @Test("rates are those of the last seconds", arguments: [1, 3, 7, 20])
    func rates(seconds: Int) {
        let facts = Self.meter(seconds: seconds).facts(now: Self.start + .seconds(Int64(seconds)))
        #expect(abs(facts.videoFramesPerSecond - 25) < 0.6, "\(facts)")
        #expect(abs(Double(facts.bitsPerSecond) - 200_000) < 5_000, "\(facts)")
    }

    @Test("nothing is said before there is enough, and nothing comes from a silent source")
    func edges() {
        #expect(IngestMeter().facts(now: Self.start) == IngestFacts())
        let meter = Self.meter(seconds: 2)
        #expect(meter.facts(now: Self.start + .milliseconds(400)).bitsPerSecond == 0)
        #expect(meter.facts(now: Self.start + .seconds(10)).bitsPerSecond == 0)
        #expect(meter.facts(now: Self.start + .seconds(10)).videoFramesPerSecond == 0)
    }

    @Test("the last whole group of pictures is measured on the stream's timeline")
    func gop() {
        #expect(Self.meter(seconds: 1).facts(now: Self.start).gopLength == nil)
        var meter = Self.meter(seconds: 5)
        #expect(meter.facts(now: Self.start).gopLength == MediaTime(millis: 2_000))
        #expect(meter.facts(now: Self.start).gopFrames == 50)
        meter.sourceChanged()
        #expect(meter.facts(now: Self.start).gopLength == nil)
        let keyframe = Frame(
            codec: .h264, dts: MediaTime(millis: 9_000), pts: MediaTime(millis: 9_000), isKeyframe: true,
            payload: ByteBuffer())
        meter.count(keyframe, now: Self.start)
        #expect(meter.facts(now: Self.start).gopLength == nil, "it does not go on from that of the source before")
    }

    @Test("lateness is the most of the last seconds")
    func lateness() {
        var lateness = FlushLateness()
        #expect(lateness.value(now: Self.start) == .zero)
        lateness.note(.milliseconds(7), now: Self.start)
        lateness.note(.milliseconds(3), now: Self.start + .seconds(1))
        #expect(lateness.value(now: Self.start + .seconds(1)) == .milliseconds(7))
        lateness.note(.milliseconds(2), now: Self.start + .seconds(6))
        #expect(lateness.value(now: Self.start + .seconds(6)) == .milliseconds(7))
        lateness.note(.milliseconds(1), now: Self.start + .seconds(12))
        #expect(lateness.value(now: Self.start + .seconds(12)) == .milliseconds(2))
        #expect(lateness.value(now: Self.start + .seconds(30)) == .zero)
    }

    @Test("a snapshot tells what renditions hold")
    func snapshot() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish(1)
            _ = try await fixture.watch()
            _ = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<60, gop: 25)
            let snapshot = try await fixture.onHome { $0.snapshot() }
            let rendition = try #require(snapshot.renditions.first)
            #expect(snapshot.renditions.count == 1)
            #expect(rendition.viewers == 2)
            // What has come since the last keyframe.
            #expect(rendition.slabs == 10)
            #expect(rendition.bytes > 10 * 50)
            #expect(snapshot.ingest.gopLength == MediaTime(millis: 1_000))
            #expect(snapshot.ingest.gopFrames == 25)
        }
    }
}
