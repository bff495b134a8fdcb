import Media
import NIOCore
import Streaming
import Testing

@testable import StreamHub

@Suite("LiveStream", .timeLimit(.minutes(1)))
struct LiveStreamTests {
    private static func settings(
        _ policy: PublishPolicy = .grace, grace: TimeAmount = .seconds(10), idle: TimeAmount = .milliseconds(50)
    ) -> LiveStreamSettings {
        LiveStreamSettings(publish: PublishSettings(policy: policy, grace: grace), idleTimeout: idle)
    }

    private static func isForgotten(_ fixture: Fixture) async throws {
        try await Fixture.eventually("the hub forgets the stream") { fixture.hub.existing(fixture.key) == nil }
    }

    // MARK: Publishers

    @Test("viewers stay over a republish within the grace time, on one timeline")
    func republish() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<10)
            try await fixture.onHome { $0.left(1) }
            let waiting = try await fixture.onHome { $0.snapshot() }
            #expect(waiting.phase == .grace)
            try await fixture.publish(2, epoch: 2)
            // The new source begins in the middle of a GOP, with its own clock.
            try await fixture.send([.frame(Fixture.video(100, isKeyframe: false, time: 900_000))], from: 2)
            try await fixture.send([.frame(Fixture.video(101, isKeyframe: true, time: 900_040))], from: 2)
            try await fixture.send([.frame(Fixture.video(102, isKeyframe: false, time: 900_080))], from: 2)
            try await end.wait(forFrame: 102)
            #expect(end.frames == Array(0...9) + [101, 102])
            // The new source's track is announced anew.
            #expect(end.outline == "HPKtK")
            #expect(viewer.ends.isEmpty)
            let snapshot = try await fixture.onHome { $0.snapshot() }
            #expect(snapshot.epoch == 2)
            #expect(snapshot.phase == .live)
            #expect(snapshot.counters.droppedFrames == 1)
            let last = try #require(snapshot.end)
            #expect(last.millis >= 10 * 40 && last.millis < 30_000)
        }
    }

    @Test("a stream whose publisher does not return ends for its viewers")
    func graceEnds() async throws {
        try await Fixture.run(Self.settings(grace: .milliseconds(60))) { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<5)
            try await fixture.onHome { $0.left(1) }
            try await Fixture.eventually("the viewer is told") { viewer.ends == [.streamEnded] }
            try await end.wait(forFrame: 4)
            try await Self.isForgotten(fixture)
        }
    }

    @Test(
        "a stream without grace ends with its publisher, after its last bytes",
        arguments: [
            FlushPolicy.realtime, .balanced,
        ])
    func endsAtOnce(flush: FlushPolicy) async throws {
        try await Fixture.run(Self.settings(.reject)) { fixture in
            try await fixture.publish(1)
            let (viewer, end) = try await fixture.watch(on: 1, flush: flush)
            try await fixture.sendFrames(0..<5)
            try await fixture.send([.frame(Fixture.audio(5, time: 200))])
            try await fixture.onHome { $0.left(1) }
            try await Fixture.eventually("the viewer is told") { viewer.ends == [.streamEnded] }
            try await end.wait(forFrame: 5)
            #expect(end.frames == Array(0...5))
        }
    }

    @Test("a stream whose wait ran out while a newcomer was refused ends all the same")
    func graceEndsDuringClaim() async throws {
        try await Fixture.run(Self.settings(grace: .seconds(1))) { fixture in
            try await fixture.publish(1)
            let (viewer, _) = try await fixture.watch(on: 1)
            try await fixture.onHome { $0.left(1) }
            let refusal = try await fixture.onHome { $0.claim(.init(id: 2, token: "")) }
            #expect(refusal == nil)
            try await Task.sleep(for: .milliseconds(1_300))
            #expect(viewer.ends.isEmpty)
            try await fixture.onHome { $0.abandon(2) }
            try await Fixture.eventually("the viewer is told") { viewer.ends == [.streamEnded] }
            try await Self.isForgotten(fixture)
        }
    }

    @Test("a takeover tells the old publisher, whose media no longer count")
    func takeover() async throws {
        try await Fixture.run(Self.settings(.takeover)) { fixture in
            let old = try await fixture.publish(1, token: "secret")
            let (_, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<3)
            let new = try await fixture.publish(2, token: "secret", epoch: 2)
            #expect(old.revocations == [.takenOver])
            #expect(new.revocations.isEmpty)
            try await fixture.sendFrames(3..<6, from: 1)
            try await fixture.sendFrames(50..<53, from: 2)
            try await end.wait(forFrame: 52)
            #expect(end.frames == [0, 1, 2, 50, 51, 52])
            try await fixture.onHome { $0.left(1) }
            let phase = try await fixture.onHome { $0.snapshot().phase }
            #expect(phase == .live)
        }
    }

    @Test("a claim that was abandoned cannot be activated")
    func lateActivation() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let isActive = try await fixture.onHome { stream in
                _ = stream.claim(.init(id: 1, token: ""))
                stream.abandon(1)
                return stream.activate(1, publisher: TestPublisher(), epoch: 1, clock: .rtmp)
            }
            #expect(!isActive)
        }
    }

    @Test("the cluster or an operator can take a stream from its publisher")
    func revoke() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let publisher = try await fixture.publish(1)
            try await fixture.onHome { $0.revoke(.superseded(epoch: 9)) }
            #expect(publisher.revocations == [.superseded(epoch: 9)])
        }
    }

    @Test("a stream is not ended under a live publisher, but while it waits")
    func endNow() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            try await fixture.publish(1)
            let (viewer, _) = try await fixture.watch(on: 1)
            try await fixture.onHome { $0.endNow(.streamEnded) }
            #expect(viewer.ends.isEmpty)
            try await fixture.onHome { $0.left(1) }
            try await fixture.onHome { $0.endNow(.kicked(reason: "test")) }
            try await Fixture.eventually("the viewer is told") { viewer.ends == [.kicked(reason: "test")] }
        }
    }

    // MARK: Media

    @Test("the distance from decoding to presentation is kept, even a negative one")
    func compositionOffsets() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let log = FrameLog()
            let (viewer, _) = try await fixture.connect(on: fixture.loops[0])
            let isWelcome = try await fixture.join(viewer, flush: .realtime) { FrameLog.Encoder(owner: log) }
            #expect(isWelcome)
            try await fixture.publish(1)
            let offsets: [Int64] = [80, 160, 0, -40, 80, 0, -40]
            for (index, offset) in offsets.enumerated() {
                let frame = Fixture.video(
                    index, isKeyframe: index == 0, time: 5_000 + Int64(index) * 40, offset: offset)
                try await fixture.send([.frame(frame)])
            }
            #expect(log.frames.map { ($0.pts - $0.dts).millis } == offsets)
            #expect(log.frames.map(\.dts.millis) == (0..<7).map { 5_000 + $0 * 40 })
        }
    }

    @Test("frames that a source repeats after a reconnect are not sent again")
    func repeatedFrames() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            try await fixture.publish(1)
            let (_, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<40)
            try await fixture.onHome { $0.left(1) }
            try await fixture.publish(2, epoch: 1, continuesClock: true)
            try await fixture.sendFrames(25..<60, from: 2)
            try await end.wait(forFrame: 59)
            #expect(end.frames == Array(0...59))
        }
    }

    @Test("a track or metadata that did not change is sent once")
    func unchangedEvents() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let track = Track(codec: .h264, configuration: nil, format: .video(VideoFormat()))
            let metadata = StreamMetadata(entries: [.init(name: "width", value: .number(1))])
            try await fixture.publish(1, hasTracks: false)
            let (_, end) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<1)
            for number in 1..<4 {
                try await fixture.send([.track(track), .metadata(metadata)])
                try await fixture.sendFrames(number..<(number + 1))
            }
            try await end.wait(forFrame: 3)
            #expect(end.outline == "HPKtm")
            let state = try await fixture.onHome { $0.snapshot().state }
            #expect(state == StreamState(video: track, metadata: metadata))
        }
    }

    @Test("a snapshot counts what came, and the viewers by format")
    func snapshot() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            try await fixture.publish(1, epoch: 7)
            _ = try await fixture.send([.frame(Fixture.video(0, isKeyframe: false))])
            try await fixture.sendFrames(0..<26)
            try await fixture.send([.frame(Fixture.audio(0, time: 1_000))])
            let viewers = try await [fixture.watch(on: 0), fixture.watch(on: 1), fixture.watch(on: 1, flush: .low)]
            let snapshots = await fixture.hub.snapshots()
            let snapshot = try #require(snapshots.first)
            #expect(snapshots.count == 1)
            #expect(snapshot.key == fixture.key)
            #expect(snapshot.epoch == 7)
            #expect(snapshot.counters.videoFrames == 26)
            #expect(snapshot.counters.keyframes == 2)
            #expect(snapshot.counters.audioFrames == 1)
            #expect(snapshot.counters.droppedFrames == 1)
            #expect(snapshot.counters.mediaBytes == 26 * 58 + 18)
            #expect(snapshot.viewers == ["test": 3])
            #expect(snapshot.publishedFor != nil)
            #expect(viewers.count == 3)
        }
    }

    // MARK: Life

    @Test("a stream is forgotten some time after its publisher and its viewers left")
    func idle() async throws {
        try await Fixture.run(Self.settings(.reject)) { fixture in
            try await fixture.publish(1)
            let (viewer, _) = try await fixture.watch(on: 1)
            try await fixture.sendFrames(0..<3)
            let stream = fixture.stream
            try await fixture.onHome { $0.left(1) }
            try await Self.isForgotten(fixture)
            let isClosed = try await stream.home.submit { stream.isClosed }.get()
            #expect(isClosed)
            #expect(viewer.ends == [.streamEnded])
        }
    }

    @Test("a stream that only viewers wanted is forgotten after the last of them")
    func idleAfterViewers() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let first = try await fixture.watch(on: 0)
            let second = try await fixture.watch(on: 1)
            try await first.viewer.onLoop { $0.leave() }
            try await Task.sleep(for: .milliseconds(150))
            #expect(fixture.hub.existing(fixture.key) != nil)
            try await second.viewer.onLoop { $0.leave() }
            try await Self.isForgotten(fixture)
        }
    }

    @Test("a stream whose claim was given up is forgotten")
    func idleAfterAbandon() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            _ = try await fixture.onHome { $0.claim(.init(id: 1, token: "")) }
            try await fixture.onHome { $0.abandon(1) }
            try await Self.isForgotten(fixture)
        }
    }

    @Test("a stream that was about to be forgotten when a publisher came is forgotten after that publisher")
    func idleTwice() async throws {
        try await Fixture.run(Self.settings(.reject, idle: .milliseconds(300))) { fixture in
            for id in UInt64(1)...3 {
                try await fixture.publish(id, epoch: id)
                try await fixture.sendFrames(0..<2, from: id)
                try await fixture.onHome { $0.left(id) }
                #expect(fixture.hub.existing(fixture.key) != nil)
            }
            try await Self.isForgotten(fixture)
        }
    }

    @Test("a viewer keeps an idle stream alive, and is refused by one that is gone")
    func joinAndIdle() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            let stream = fixture.stream
            _ = try await fixture.onHome { $0.claim(.init(id: 1, token: "")) }
            try await fixture.onHome { $0.abandon(1) }
            try await Self.isForgotten(fixture)
            let (viewer, _) = try await fixture.connect(on: fixture.loops[1])
            let isWelcome = try await viewer.onLoop {
                stream.join($0, rendition: RenditionID(format: "test", flush: .realtime)) { RecordEncoder() }
            }.get()
            #expect(!isWelcome)
        }
    }

    @Test("renditions of one stream are made once, and freed with their last viewer")
    func renditionsAreFreed() async throws {
        try await Fixture.run(Self.settings()) { fixture in
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<3)
            for _ in 0..<5 {
                let (viewer, end) = try await fixture.watch(on: 1, flush: .balanced)
                try await end.wait(forFrame: 2)
                try await viewer.onLoop { $0.leave() }
                try await Fixture.eventually("no viewer is left") { try await fixture.onHome(\.viewerCount) == 0 }
            }
            #expect(fixture.hub.existing(fixture.key) != nil)
        }
    }

    @Test("the observer is told of a stream's life in order")
    func observer() async throws {
        final class Observer: StreamObserver {
            let log = FixtureLog<StreamChange>()
            func streamChanged(_ stream: LiveStream, _ change: StreamChange) { self.log.append(change) }
        }
        try await Fixture.run(Self.settings(grace: .milliseconds(30))) { fixture in
            let observer = Observer()
            fixture.hub.observer = observer
            try await fixture.publish(1, epoch: 4, hasTracks: false)
            try await fixture.send([.track(Track(codec: .mp3, configuration: nil, format: .audio(AudioFormat())))])
            try await fixture.onHome { $0.left(1) }
            try await Self.isForgotten(fixture)
            let told = observer.log.values.filter { $0 != .unwatched }
            #expect(told == [.live(epoch: 4), .tracks, .waiting(epoch: 4), .ended(epoch: 4)])
        }
    }
}
