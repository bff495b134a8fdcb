import Media
import NIOCore
import Streaming
import Testing

@testable import StreamHub

@Suite("A stream's publisher is asked for keyframes", .timeLimit(.minutes(1)))
struct KeyframeRequestTests {
    private static let settings = LiveStreamSettings(publish: PublishSettings(policy: .grace, grace: .seconds(10)))

    @Test("at once, and then once a second, however many viewers want one")
    func rate() async throws {
        try await Fixture.run(Self.settings) { fixture in
            let publisher = try await fixture.publish(1)
            let start = ContinuousClock.now
            let requests = try await fixture.onHome { stream in
                for _ in 0..<100 { stream.requestKeyframe() }
                return publisher.keyframeRequests
            }
            #expect(requests == 1)
            try await Fixture.eventually("it is asked again") { publisher.keyframeRequests == 2 }
            #expect(ContinuousClock.now - start > .milliseconds(900))
            #expect(try await fixture.onHome { $0.keyframeTimer == nil })
        }
    }

    @Test("not again when a keyframe came meanwhile")
    func satisfied() async throws {
        try await Fixture.run(Self.settings) { fixture in
            let publisher = try await fixture.publish(1)
            try await fixture.onHome { stream in
                for _ in 0..<2 { stream.requestKeyframe() }
            }
            #expect(try await fixture.onHome { $0.keyframeTimer != nil })
            try await fixture.send([.frame(Fixture.video(0, isKeyframe: true))])
            #expect(try await fixture.onHome { $0.keyframeTimer == nil })
            try await fixture.onHome { $0.requestKeyframe() }
            // Another viewer wants a still newer one.
            #expect(try await fixture.onHome { $0.keyframeTimer != nil })
            try await fixture.send([.frame(Fixture.video(1, isKeyframe: false))])
            #expect(try await fixture.onHome { $0.keyframeTimer != nil })
            #expect(publisher.keyframeRequests == 1)
        }
    }

    @Test("only while there is one; another one is asked on its own account")
    func publishers() async throws {
        try await Fixture.run(Self.settings) { fixture in
            try await fixture.onHome { $0.requestKeyframe() }
            let first = try await fixture.publish(1)
            #expect(first.keyframeRequests == 0)
            try await fixture.onHome { $0.requestKeyframe() }
            #expect(first.keyframeRequests == 1)
            try await fixture.onHome { $0.left(1) }
            try await fixture.onHome { $0.requestKeyframe() }
            #expect(try await fixture.onHome { $0.keyframeTimer == nil })
            let second = try await fixture.publish(2, epoch: 2)
            try await fixture.onHome { $0.requestKeyframe() }
            try await Fixture.eventually("it is asked") { second.keyframeRequests == 1 }
            #expect(first.keyframeRequests == 1)
        }
    }
}
