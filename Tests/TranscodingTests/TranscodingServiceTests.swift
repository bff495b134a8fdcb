import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import StreamHub
import Synchronization
import Testing

@testable import Transcoding

/// Frames that came, on which loop.
private final class Output: Sendable {
    private let log = Mutex<[Frame]>([])
    private let strays = Mutex(0)

    var frames: [Frame] { self.log.withLock { $0 } }
    var strayCalls: Int { self.strays.withLock { $0 } }

    func take(_ frames: [Frame], on home: any EventLoop) {
        if !home.inEventLoop { self.strays.withLock { $0 += 1 } }
        self.log.withLock { $0 += frames }
    }
}

@Suite("TranscodingService", .timeLimit(.minutes(2)), .serialized)
struct TranscodingServiceTests {
    private static func run(
        _ limits: TranscodingLimits = TranscodingLimits(),
        _ body: (TranscodingService, any EventLoop) async throws -> Void
    ) async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let service = TranscodingService(
            limits: limits, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        do {
            try await body(service, group.next())
        } catch {
            await service.close()
            try? await group.shutdownGracefully()
            throw error
        }
        await service.close()
        try await group.shutdownGracefully()
    }

    private static func make(
        _ service: TranscodingService, _ source: Track, _ codec: Codec, _ output: Output, on home: any EventLoop
    ) async throws -> (any AudioTranscoder)? {
        let key = try StreamKey(app: "live", name: "test")
        return try await home.submit {
            service.makeTranscoder(of: key, from: source, to: codec, home: home) { output.take($0, on: home) }
        }.get()
    }

    /// Hands frames over and waits until they have been worked on.
    private static func feed(_ transcoder: any AudioTranscoder, _ frames: [Frame], on home: any EventLoop) async throws
    {
        let promise = home.makePromise(of: Void.self)
        try await home.submit {
            for frame in frames { transcoder.submit(frame) }
            transcoder.notify { promise.succeed() }
        }.get()
        try await promise.futureResult.get()
    }

    @Test("frames come in order on the home loop, all before the mark behind them")
    func works() async throws {
        let coded = try await CodedSounds.shared.coded(.aac)
        try await Self.run { service, home in
            let output = Output()
            let transcoder = try #require(try await Self.make(service, coded.track, .opus, output, on: home))
            #expect(transcoder.track.codec == .opus)
            #expect(service.counters.active == 1)
            try await Self.feed(transcoder, coded.frames(), on: home)
            let count = output.frames.count
            #expect(count > 115 && output.strayCalls == 0)
            #expect(zip(output.frames, output.frames.dropFirst()).allSatisfy { $0.dts < $1.dts })
            #expect(transcoder.statistics.sourceFrames == UInt64(coded.packets.count))
            #expect(transcoder.statistics.frames == UInt64(count))
            try await home.submit { transcoder.close() }.get()
            try await Self.ended(1, of: service)
            #expect(service.counters.totals.frames == UInt64(count))
            try await home.submit { transcoder.submit(coded.frames()[0]) }.get()
            #expect(output.frames.count == count, "a closed one gives nothing")
        }
    }

    @Test("a source that changes keeps its transcoder if the same comes of it")
    func sourceChanges() async throws {
        let (aac, aLaw) = (try await CodedSounds.shared.coded(.aac), try await CodedSounds.shared.coded(.aLaw))
        let opus = try await CodedSounds.shared.coded(.opus)
        try await Self.run { service, home in
            let output = Output()
            let transcoder = try #require(try await Self.make(service, aac.track, .opus, output, on: home))
            try await Self.feed(transcoder, Array(aac.frames().prefix(50)), on: home)
            #expect(try await home.submit { transcoder.sourceChanged(to: opus.track) }.get())
            let last = try #require(output.frames.last)
            try await Self.feed(transcoder, opus.frames().filter { $0.dts > last.dts }, on: home)
            #expect(transcoder.statistics.brokenFrames == 0)
            #expect(output.frames.count > 110)
            // Mono is another track.
            #expect(try await home.submit { !transcoder.sourceChanged(to: aLaw.track) }.get())
            try await home.submit { transcoder.close() }.get()
        }
    }

    @Test("when the workers cannot follow, the oldest frames are dropped and counted, and marks are not")
    func bounded() async throws {
        let coded = try await CodedSounds.shared.coded(.aac)
        try await Self.run(TranscodingLimits(threads: 1, maximumWaitingFrames: 8)) { service, home in
            let output = Output()
            let transcoder = try #require(try await Self.make(service, coded.track, .opus, output, on: home))
            var frames = coded.frames()
            while frames.count < 20_000 { frames += frames }
            let reached = Mutex(0)
            let promise = home.makePromise(of: Void.self)
            try await home.submit { [frames] in
                transcoder.notify { reached.withLock { $0 += 1 } }
                for frame in frames { transcoder.submit(frame) }
                transcoder.notify { promise.succeed() }
            }.get()
            try await promise.futureResult.get()
            let statistics = transcoder.statistics
            #expect(reached.withLock { $0 } == 1)
            #expect(statistics.droppedFrames > 0)
            #expect(statistics.droppedFrames + statistics.sourceFrames == UInt64(frames.count))
            try await home.submit { transcoder.close() }.get()
        }
    }

    @Test("a source that changes with every packet fills no memory, and what it is in the end counts")
    func boundedSources() async throws {
        let (aac, opus) = (try await CodedSounds.shared.coded(.aac), try await CodedSounds.shared.coded(.opus))
        let target = try #require(EncodedFormat(codec: .opus, of: aac.track, settings: AudioTranscodingSettings()))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (home, pool) = (group.next(), NIOThreadPool(numberOfThreads: 1))
        pool.start()
        // The only thread has something else to do.
        let isFree = DispatchSemaphore(value: 0)
        pool.submit { _ in isFree.wait() }
        let (output, ended) = (Output(), home.makePromise(of: Void.self))
        let transcoder = StreamTranscoder(
            of: try StreamKey(app: "live", name: "test"), from: aac.track, target: target,
            settings: AudioTranscodingSettings(), limits: TranscodingLimits(maximumWaitingFrames: 8), home: home,
            pool: pool, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            output: { output.take($0, on: home) }, ended: { _ in ended.succeed() })
        let reached = Mutex(0)
        for index in 0..<2_000 {
            let coded = index % 2 == 0 ? aac : opus
            #expect(transcoder.sourceChanged(to: coded.track))
            transcoder.submit(coded.frames()[index % 50])
            transcoder.notify { reached.withLock { $0 += 1 } }
            // Eight frames, sixteen marks, and a source in front of each.
            try #require(transcoder.waitingInputs <= 8 + 16 + 25)
        }
        for index in 0..<2_000 { #expect(transcoder.sourceChanged(to: index % 2 == 0 ? aac.track : opus.track)) }
        #expect(transcoder.waitingInputs <= 8 + 16 + 25)
        for frame in opus.frames().suffix(8) { transcoder.submit(frame) }
        let promise = home.makePromise(of: Void.self)
        transcoder.notify { promise.succeed() }
        // Marks are called before their time rather than never.
        try await home.submit {}.get()
        #expect(reached.withLock { $0 } == 2_001 - 16)
        isFree.signal()
        try await promise.futureResult.get()
        #expect(reached.withLock { $0 } == 2_000)
        // All eight are of the source that was named last.
        let statistics = transcoder.statistics
        #expect(statistics.sourceFrames == 8 && statistics.brokenFrames == 0)
        #expect(statistics.droppedFrames == 2_000)
        #expect(!output.frames.isEmpty)
        transcoder.close()
        try await ended.futureResult.get()
        try await pool.shutdownGracefully()
        try await group.shutdownGracefully()
    }

    @Test("a node makes no more transcoders than it may, and none of what cannot be made")
    func limits() async throws {
        let coded = try await CodedSounds.shared.coded(.aac)
        try await Self.run(TranscodingLimits(maximumTranscoders: 1)) { service, home in
            let output = Output()
            let first = try await Self.make(service, coded.track, .opus, output, on: home)
            #expect(first != nil)
            #expect(try await Self.make(service, coded.track, .opus, output, on: home) == nil)
            #expect(service.counters.refused == 1)
            try await home.submit { first?.close() }.get()
            #expect(try await Self.make(service, coded.track, .mp3, output, on: home) == nil)
            let video = Track(codec: .h264, configuration: nil, format: .video(VideoFormat()))
            #expect(try await Self.make(service, video, .opus, output, on: home) == nil)
            #expect(service.counters.active == 0)
        }
    }

    @Test("transcoders that are at work when the node closes end, and later ones are not made")
    func closes() async throws {
        let coded = try await CodedSounds.shared.coded(.aac)
        try await Self.run { service, home in
            let output = Output()
            let transcoder = try #require(try await Self.make(service, coded.track, .opus, output, on: home))
            try await Self.feed(transcoder, coded.frames(), on: home)
            await service.close()
            try await home.submit { transcoder.submit(coded.frames()[0]) }.get()
            #expect(service.counters.active == 0)
            #expect(try await Self.make(service, coded.track, .opus, output, on: home) == nil)
        }
    }

    @Test("hundreds of transcoders that come and go leave no memory")
    func memory() async throws {
        let (aac, opus) = (try await CodedSounds.shared.coded(.aac), try await CodedSounds.shared.coded(.opus))
        try await Self.run { service, home in
            func cycle(_ count: Int) async throws {
                for _ in 0..<count {
                    for (coded, codec) in [(aac, Codec.opus), (opus, .aac)] {
                        let output = Output()
                        let transcoder = try #require(
                            try await Self.make(service, coded.track, codec, output, on: home))
                        var frames = coded.frames().prefix(12)
                        // A hole, so that encoders are made anew, too, and a packet that breaks.
                        frames[10].dts.ticks += 90_000
                        frames[11].dts.ticks += 90_000
                        frames[5].payload = ByteBuffer(repeating: 0xFF, count: 10)
                        try await Self.feed(transcoder, Array(frames), on: home)
                        #expect(!output.frames.isEmpty)
                        try await home.submit { transcoder.close() }.get()
                    }
                }
            }
            try await cycle(60)
            let before = try Self.residentBytes()
            try await cycle(300)
            let growth = try Self.residentBytes() - before
            // A context of libav that is left behind has some hundred kilobytes. Other tests of the process allocate, too.
            #expect(growth < 32 << 20, "600 transcoders left \(growth) bytes")
            try await Self.ended(720, of: service)
        }
    }

    /// A transcoder that is at work when it is closed ends a little later.
    private static func ended(_ count: UInt64, of service: TranscodingService) async throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while service.counters.ended < count, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(2))
        }
        #expect(service.counters.active == 0 && service.counters.ended == count)
    }

    private static func residentBytes() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        return try #require(Int(text.split(separator: " ")[1])) * 4_096
    }
}
