import Media
import NIOCore
import Testing

@testable import Streaming

@Suite("GOPCache")
struct GOPCacheTests {
    private static func times(_ cache: GOPCache) -> [Int64] {
        cache.events.compactMap { event in
            if case .frame(let frame) = event { frame.dts.millis } else { nil }
        }
    }

    @Test("nothing is kept before the first keyframe")
    func beforeKeyframe() {
        var cache = GOPCache(maximumBytes: 1_000)
        cache.append(.metadata(Sample.metadata), state: Sample.state)
        cache.append(.track(Sample.video), state: Sample.state)
        cache.append(.frame(Sample.audio(0)), state: Sample.state)
        cache.append(.frame(Sample.video(0)), state: Sample.state)
        #expect(cache.events.isEmpty)
    }

    @Test("everything since the newest keyframe is kept, with what the stream was then")
    func sinceKeyframe() {
        var cache = GOPCache(maximumBytes: 10_000)
        cache.append(.frame(Sample.video(0, key: true)), state: StreamState(video: Sample.video))
        cache.append(.frame(Sample.audio(10)), state: Sample.state)
        cache.append(.frame(Sample.video(40, key: true)), state: Sample.state)
        cache.append(.frame(Sample.audio(50)), state: Sample.state)
        let later = StreamState(video: Sample.otherVideo, audio: Sample.audio)
        cache.append(.track(Sample.otherVideo), state: later)
        cache.append(.frame(Sample.video(80)), state: later)
        #expect(Self.times(cache) == [40, 50, 80])
        #expect(cache.events.count == 4)
        #expect(cache.startState == Sample.state)
    }

    @Test("a GOP over the bound is dropped whole, and the next one is kept")
    func bound() {
        var cache = GOPCache(maximumBytes: 250)
        cache.append(.frame(Sample.video(0, key: true, bytes: 100)), state: Sample.state)
        cache.append(.frame(Sample.video(40, bytes: 150)), state: Sample.state)
        #expect(Self.times(cache) == [0, 40])
        cache.append(.frame(Sample.video(80, bytes: 1)), state: Sample.state)
        #expect(cache.events.isEmpty)
        cache.append(.frame(Sample.video(120, bytes: 1)), state: Sample.state)
        #expect(cache.events.isEmpty)
        cache.append(.frame(Sample.video(160, key: true, bytes: 250)), state: Sample.state)
        #expect(Self.times(cache) == [160])
        cache.append(.frame(Sample.video(200, key: true, bytes: 251)), state: Sample.state)
        #expect(cache.events.isEmpty)
    }

    @Test("a stream without video is cut once a second")
    func audioOnly() {
        var cache = GOPCache(maximumBytes: 100_000)
        let state = StreamState(audio: Sample.audio)
        for frame in 0..<130 { cache.append(.frame(Sample.audio(Int64(frame) * 20)), state: state) }
        #expect(Self.times(cache).first == 2_000)
        #expect(Self.times(cache).last == 2_580)
    }

    @Test("a stream without video is cut when its time goes back")
    func audioGoesBack() {
        var cache = GOPCache(maximumBytes: 100_000)
        let state = StreamState(audio: Sample.audio)
        cache.append(.frame(Sample.audio(5_000)), state: state)
        cache.append(.frame(Sample.audio(100)), state: state)
        #expect(Self.times(cache) == [100])
    }

    @Test("audio after a video GOP does not cut it")
    func audioBehindVideo() {
        var cache = GOPCache(maximumBytes: 100_000)
        cache.append(.frame(Sample.video(0, key: true)), state: Sample.state)
        for frame in 0..<100 { cache.append(.frame(Sample.audio(Int64(frame) * 20)), state: Sample.state) }
        #expect(Self.times(cache).count == 101)
    }

    @Test("a cache of no bytes is off")
    func off() {
        var cache = GOPCache(maximumBytes: 0)
        cache.append(.frame(Sample.video(0, key: true)), state: Sample.state)
        #expect(cache.events.isEmpty)
    }

    @Test("a cleared cache waits for a keyframe")
    func clear() {
        var cache = GOPCache(maximumBytes: 1_000)
        cache.append(.frame(Sample.video(0, key: true)), state: Sample.state)
        cache.clear()
        cache.append(.frame(Sample.video(40)), state: Sample.state)
        #expect(cache.events.isEmpty)
    }
}
