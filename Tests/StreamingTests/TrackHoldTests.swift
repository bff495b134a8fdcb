import Media
import NIOCore
import Testing

@testable import Streaming

@Suite("TrackHold")
struct TrackHoldTests {
    private static let video: [MediaEvent] = [.track(Sample.video), .frame(Sample.video(0, key: true))]
    private static let audio: [MediaEvent] = [.track(Sample.audio), .frame(Sample.audio(10))]

    private static func hold(_ kinds: Set<MediaKind>) -> TrackHold {
        var hold = TrackHold(configuration: .init(audioWait: .seconds(2), videoWait: .seconds(10), maximumBytes: 1_000))
        hold.expect(kinds)
        return hold
    }

    @Test("what waits comes out whole and in order once all tracks are known, tracks first")
    func waits() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        #expect(hold.receive([.frame(Sample.video(40))], now: arrival(40)).isEmpty)
        #expect(hold.isHolding)
        let out = hold.receive(Self.audio, now: arrival(400))
        #expect(
            out == [
                .track(Sample.video), .track(Sample.audio), .frame(Sample.video(0, key: true)),
                .frame(Sample.video(40)), .frame(Sample.audio(10)),
            ])
        #expect(!hold.isHolding)
        let next: [MediaEvent] = [.frame(Sample.video(80)), .track(Sample.otherVideo)]
        #expect(hold.receive(next, now: arrival(440)) == next)
        #expect(hold.finish().isEmpty)
    }

    @Test("tracks without a frame wait for more to be announced")
    func tracksAlone() {
        var hold = TrackHold()
        #expect(hold.receive([.track(Sample.video)], now: arrival(0)).isEmpty)
        hold.expect([.video, .audio])
        #expect(hold.receive([.frame(Sample.video(0, key: true))], now: arrival(10)).isEmpty)
        #expect(hold.receive(Self.audio, now: arrival(20)).count == 4)
    }

    @Test("a source that announces nothing, or only what it has, is not held", arguments: [[], [MediaKind.video]])
    func immediate(_ kinds: [MediaKind]) {
        var hold = Self.hold(Set(kinds))
        #expect(hold.receive(Self.video, now: arrival(0)) == Self.video)
        #expect(hold.receive(Self.audio, now: arrival(10)) == Self.audio)
    }

    @Test("audio that never comes is waited for as long as its bound says, video longer")
    func bounds() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        #expect(hold.receive([.frame(Sample.video(1_999))], now: arrival(1_999)).isEmpty)
        #expect(hold.receive([.frame(Sample.video(2_000))], now: arrival(2_000)).count == 4)

        hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.audio, now: arrival(0)).isEmpty)
        #expect(hold.receive([.frame(Sample.audio(9_999))], now: arrival(9_999)).isEmpty)
        #expect(hold.receive([.frame(Sample.audio(10_000))], now: arrival(10_000)).count == 4)
    }

    @Test("no more bytes are kept than allowed")
    func bytes() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        #expect(hold.receive([.frame(Sample.video(40, bytes: 900))], now: arrival(40)).isEmpty)
        #expect(hold.receive([.frame(Sample.video(80, bytes: 1))], now: arrival(80)).count == 4)
    }

    @Test("a source that ends gives out what waited")
    func ends() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        #expect(hold.finish() == Self.video)
        #expect(hold.finish().isEmpty)
    }

    @Test("a track that is no longer announced is no longer waited for")
    func withdrawn() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        hold.expect([.video])
        #expect(hold.receive([.frame(Sample.video(40))], now: arrival(40)).count == 3)
    }

    @Test("a track that changes while it waits stays in front of its own frames")
    func changes() {
        var hold = Self.hold([.video, .audio])
        #expect(hold.receive(Self.video, now: arrival(0)).isEmpty)
        let other: [MediaEvent] = [.track(Sample.otherVideo), .frame(Sample.video(40, key: true))]
        #expect(hold.receive(other, now: arrival(40)).isEmpty)
        #expect(
            hold.receive(Self.audio, now: arrival(60)) == [
                .track(Sample.video), .track(Sample.audio), .frame(Sample.video(0, key: true)),
                .track(Sample.otherVideo), .frame(Sample.video(40, key: true)), .frame(Sample.audio(10)),
            ])
    }
}
