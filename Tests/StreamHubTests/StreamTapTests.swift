import Media
import NIOCore
import Streaming
import Synchronization
import Testing

@testable import StreamHub

/// Writes down what it is told.
private final class TapLog: StreamTap {
    private let entries = Mutex<[String]>([])

    var lines: [String] { self.entries.withLock { $0 } }

    private func note(_ line: String) { self.entries.withLock { $0.append(line) } }

    func sourceStarted(epoch: UInt64, continues: Bool) { self.note("start \(epoch)\(continues ? " continues" : "")") }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        switch event {
        case .frame(let frame): self.note("frame \(frame.dts.millis) \(state.video == nil ? "?" : "v")")
        case .track: self.note("track")
        case .metadata, .data: self.note("data")
        }
    }

    func batchEnded(now: NIODeadline) { self.note("-") }

    func sourceEnded(isFinal: Bool) { self.note(isFinal ? "end" : "wait") }
}

@Suite("StreamTap", .timeLimit(.minutes(1)))
struct StreamTapTests {
    @Test("a tap hears of sources, events with the state that contains them, batches and the end")
    func follows() async throws {
        let settings = LiveStreamSettings(
            publish: PublishSettings(policy: .grace, grace: .milliseconds(50)), idleTimeout: .milliseconds(50))
        try await Fixture.run(settings) { fixture in
            let log = TapLog()
            try await fixture.onHome { $0.attach(log) }
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<2)
            try await fixture.onHome { $0.left(1) }
            try await Fixture.eventually("the end is told") { log.lines.last == "end" }
            let frames = log.lines.filter { $0.hasPrefix("frame") }
            #expect(log.lines.first == "start 1")
            #expect(frames == ["frame 0 v", "frame 40 v"])
            #expect(log.lines.contains("track"))
            #expect(log.lines.suffix(2) == ["wait", "end"])
            #expect(log.lines.filter { $0 == "-" }.count >= 1)
        }
    }

    @Test("a tap that comes late begins at the last keyframe, and one that left hears nothing more")
    func late() async throws {
        try await Fixture.run(LiveStreamSettings()) { fixture in
            try await fixture.publish(1)
            try await fixture.sendFrames(0..<3)
            let log = TapLog()
            try await fixture.onHome { $0.attach(log) }
            #expect(log.lines.first == "start 1")
            #expect(log.lines.contains("frame 0 v"))
            #expect(log.lines.last == "-")
            try await fixture.onHome { $0.detach(log) }
            let count = log.lines.count
            try await fixture.sendFrames(3..<6)
            #expect(log.lines.count == count)
        }
    }
}
