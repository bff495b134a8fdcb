import Media
import NIOCore
import Streaming
import Synchronization
import Testing

@testable import StreamHub

/// Makes frames of another codec without transcoding: each keeps its time and number. Works when it is told to, or at once.
private final class TestTranscoders: AudioTranscoderFactory {
    private struct State {
        var made: [TestTranscoder] = []
        var isHeld = false
        var refuses = false
    }

    private let state = Mutex(State())

    var made: [TestTranscoder] { self.state.withLock { $0.made } }
    var open: [TestTranscoder] { self.made.filter { !$0.isClosed } }

    /// Transcoders that are made from now on give nothing before `release`.
    func hold() { self.state.withLock { $0.isHeld = true } }
    func refuse() { self.state.withLock { $0.refuses = true } }

    func makeTranscoder(
        of key: StreamKey, from source: Track, to codec: Codec, home: any EventLoop,
        output: @escaping @Sendable ([Frame]) -> Void
    ) -> (any AudioTranscoder)? {
        self.state.withLock { state in
            guard !state.refuses else { return nil }
            let transcoder = TestTranscoder(
                from: source, to: codec, home: home, isHeld: state.isHeld, output: output)
            state.made.append(transcoder)
            return transcoder
        }
    }
}

private final class TestTranscoder: AudioTranscoder {
    private enum Input: Sendable {
        case frame(Frame)
        case mark(@Sendable () -> Void)
    }

    private struct State {
        var waiting: [Input] = []
        var isHeld: Bool
        var isClosed = false
        var sources: [Track]
        var statistics = AudioTranscoderStatistics()
    }

    let track: Track
    private let home: any EventLoop
    private let output: @Sendable ([Frame]) -> Void
    private let state: Mutex<State>

    init(
        from source: Track, to codec: Codec, home: any EventLoop, isHeld: Bool,
        output: @escaping @Sendable ([Frame]) -> Void
    ) {
        self.track = Self.track(of: codec, from: source)
        self.home = home
        self.output = output
        self.state = Mutex(State(isHeld: isHeld, sources: [source]))
    }

    /// As many channels as the source has.
    static func track(of codec: Codec, from source: Track) -> Track {
        var format = AudioFormat(sampleRate: 48_000)
        if case .audio(let known) = source.format { format.channels = known.channels }
        return Track(codec: codec, configuration: ByteBuffer(string: "made"), format: .audio(format))
    }

    var statistics: AudioTranscoderStatistics { self.state.withLock { $0.statistics } }
    var isClosed: Bool { self.state.withLock { $0.isClosed } }
    var sources: [Track] { self.state.withLock { $0.sources } }

    func sourceChanged(to source: Track) -> Bool {
        guard Self.track(of: self.track.codec, from: source) == self.track else { return false }
        self.state.withLock { $0.sources.append(source) }
        return true
    }

    func submit(_ frame: Frame) {
        self.state.withLock { state in
            state.statistics.sourceFrames += 1
            state.waiting.append(.frame(frame))
        }
        self.work()
    }

    func notify(_ reached: @escaping @Sendable () -> Void) {
        self.state.withLock { $0.waiting.append(.mark(reached)) }
        self.work()
    }

    func close() { self.state.withLock { $0.isClosed = true } }

    func release() {
        self.state.withLock { $0.isHeld = false }
        self.work()
    }

    private func work() {
        let inputs = self.state.withLock { state -> [Input] in
            guard !state.isHeld else { return [] }
            defer { state.waiting = [] }
            return state.waiting
        }
        for input in inputs {
            self.home.execute {
                switch input {
                case .frame(var frame):
                    frame.codec = self.track.codec
                    self.output([frame])
                case .mark(let reached): reached()
                }
            }
        }
    }
}

/// Writes down what it is told, with times in milliseconds: `v0`, `K0`, `opus20`, `T:aac`.
private final class AudioTap: StreamTap {
    let audioForm: AudioForm
    private let entries = Mutex<[String]>([])

    init(_ form: AudioForm) { self.audioForm = form }

    var lines: [String] { self.entries.withLock { $0 } }
    func clear() { self.entries.withLock { $0.removeAll() } }

    private func note(_ line: String) { self.entries.withLock { $0.append(line) } }

    func sourceStarted(epoch: UInt64, continues: Bool) { self.note("start") }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        switch event {
        case .frame(let frame) where frame.kind == .video:
            self.note("\(frame.isKeyframe ? "K" : "v")\(frame.dts.millis)")
        case .frame(let frame):
            let isRight = state.audio?.codec == frame.codec
            self.note("\(frame.codec.rawValue)\(frame.dts.millis)\(isRight ? "" : "!")")
        case .track(let track): self.note("T:\(track.codec.rawValue)")
        case .metadata(let metadata):
            if case .number(let number) = metadata["audiocodecid"] {
                self.note("M\(Int(number))")
            } else {
                self.note("M")
            }
        case .data: self.note("data")
        }
    }

    func batchEnded(now: NIODeadline) {}
    func sourceEnded(isFinal: Bool) { self.note(isFinal ? "end" : "wait") }
}

@Suite("Derived audio", .timeLimit(.minutes(1)))
struct AudioDerivationTests {
    private static func track(_ codec: Codec, channels: Int = 2) -> Track {
        Track(
            codec: codec, configuration: ByteBuffer(string: codec.rawValue),
            format: .audio(AudioFormat(sampleRate: 48_000, channels: channels)))
    }

    private static func audio(_ codec: Codec, _ time: Int64) -> MediaEvent {
        let dts = MediaTime(millis: time)
        return .frame(
            Frame(codec: codec, dts: dts, pts: dts, isKeyframe: true, payload: .payload(number: time, filler: 4)))
    }

    private static func video(_ time: Int64, gop: Int64 = 1_000) -> MediaEvent {
        .frame(Fixture.video(Int(time), isKeyframe: time % gop == 0, time: time))
    }

    private static func settings(linger: TimeAmount = .milliseconds(30), gop: Int = 1 << 20) -> LiveStreamSettings {
        LiveStreamSettings(
            gopCacheBytes: gop, publish: PublishSettings(policy: .grace, grace: .milliseconds(50)),
            idleTimeout: .milliseconds(50), audioLinger: linger)
    }

    private static func run(
        _ settings: LiveStreamSettings = Self.settings(), hasTranscoders: Bool = true,
        _ body: (Fixture, TestTranscoders) async throws -> Void
    ) async throws {
        try await Fixture.run(settings) { fixture in
            let transcoders = TestTranscoders()
            if hasTranscoders { fixture.hub.audioTranscoders = transcoders }
            try await body(fixture, transcoders)
        }
    }

    /// Sends frames of both kinds from one time up to another, 40 ms apart, audio 20 ms behind the video.
    private static func send(_ fixture: Fixture, _ codec: Codec, from: Int64, to: Int64, id: UInt64 = 1) async throws {
        for time in stride(from: from, to: to, by: 40) {
            try await fixture.send([Self.video(time), Self.audio(codec, time + 20)], from: id)
        }
    }

    /// What came, without the video.
    private static func sound(_ tap: AudioTap) -> [String] { tap.lines.filter { !"vK".contains($0.prefix(1)) } }

    @Test("a tap gets the audio that it asks for, and video and the state that go with it")
    func derives() async throws {
        try await Self.run { fixture, transcoders in
            let (aac, source, opus) = (AudioTap(.aac), AudioTap(.source), AudioTap(.opus))
            for tap in [aac, source, opus] { try await fixture.onHome { $0.attach(tap) } }
            try await fixture.publish(1)
            let metadata = StreamMetadata(entries: [.init(name: "audiocodecid", value: .number(10))])
            try await fixture.send([.metadata(metadata), .track(Self.track(.aac))])
            try await Self.send(fixture, .aac, from: 0, to: 80)
            try await Fixture.eventually("both frames are made") { opus.lines.last == "opus60" }
            #expect(Self.sound(source) == ["start", "T:h264", "M10", "T:aac", "aac20", "aac60"])
            #expect(aac.lines == source.lines)
            #expect(Self.sound(opus) == ["start", "T:h264", "M10", "T:opus", "M1332770163", "opus20", "opus60"])
            #expect(opus.lines.filter { "vK".contains($0.prefix(1)) } == ["K0", "v40"])
            #expect(transcoders.made.count == 1)
            let snapshot = try await fixture.onHome { $0.snapshot() }
            #expect(snapshot.derivations.map(\.followers) == [1])
            #expect(snapshot.derivations.first?.track.codec == .opus)
            #expect(snapshot.derivations.first?.statistics.sourceFrames == 2)
            #expect(snapshot.state.audio?.codec == .aac)
        }
    }

    @Test("one transcoder serves all who want a codec; it begins with the first and ends some time after the last")
    func shares() async throws {
        try await Self.run { fixture, transcoders in
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 0, to: 80)
            #expect(transcoders.made.isEmpty, "nobody needs it")
            let taps = [AudioTap(.aac), AudioTap(.aac)]
            for tap in taps { try await fixture.onHome { $0.attach(tap) } }
            try await Self.send(fixture, .opus, from: 80, to: 160)
            try await Fixture.eventually("both have it") { taps.allSatisfy { $0.lines.last == "aac140" } }
            #expect(transcoders.made.count == 1)
            try await fixture.onHome { $0.detach(taps[0]) }
            try await Task.sleep(for: .milliseconds(100))
            #expect(transcoders.open.count == 1, "one still needs it")
            // In one turn of the loop that counts the time, however busy the machine is.
            let lingering = try await fixture.onHome { stream in
                stream.detach(taps[1])
                return transcoders.open.count
            }
            #expect(lingering == 1, "it lingers")
            try await Fixture.eventually("it ends") { transcoders.open.isEmpty }
            #expect(try await fixture.onHome { $0.snapshot().derivations }.isEmpty)
        }
    }

    @Test("who comes back while a transcoder lingers is served by it at once")
    func lingers() async throws {
        try await Self.run(Self.settings(linger: .seconds(10))) { fixture, transcoders in
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            let first = AudioTap(.aac)
            try await fixture.onHome { $0.attach(first) }
            try await Self.send(fixture, .opus, from: 0, to: 80)
            try await Fixture.eventually("it is made") { first.lines.last == "aac60" }
            try await fixture.onHome { $0.detach(first) }
            let second = AudioTap(.aac)
            try await fixture.onHome { $0.attach(second) }
            #expect(second.lines == ["start", "K0", "aac20", "v40", "aac60"])
            #expect(transcoders.made.count == 1)
        }
    }

    @Test("the first viewer begins with the cached video and its audio, in the order of their times")
    func fills() async throws {
        try await Self.run { fixture, transcoders in
            transcoders.hold()
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 0, to: 120)
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            #expect(tap.lines == ["start"], "it waits for the audio")
            try await fixture.send([Self.video(120)])
            transcoders.made.first?.release()
            try await Fixture.eventually("it begins") { tap.lines.count > 1 }
            #expect(tap.lines == ["start", "K0", "aac20", "v40", "aac60", "v80", "aac100", "v120"])
            try await Self.send(fixture, .opus, from: 160, to: 200)
            try await Fixture.eventually("it goes on") { tap.lines.last == "aac180" }
        }
    }

    @Test("a transcoder that does not answer delays the first viewer by a bounded time")
    func fillIsBounded() async throws {
        try await Self.run { fixture, transcoders in
            transcoders.hold()
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 0, to: 80)
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            try await Fixture.eventually("the video comes without it") { tap.lines.count > 1 }
            #expect(tap.lines == ["start", "K0", "v40"])
            transcoders.made.first?.release()
            try await Fixture.eventually("late audio comes, too") { tap.lines.last == "aac60" }
        }
    }

    @Test("a late viewer of a derivation begins at the keyframe, without audio from before it")
    func late() async throws {
        try await Self.run { fixture, transcoders in
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            let first = AudioTap(.aac)
            try await fixture.onHome { $0.attach(first) }
            try await Self.send(fixture, .opus, from: 0, to: 1_000)
            try await Fixture.eventually("all is made") { first.lines.last == "aac980" }
            try await fixture.send([Self.video(1_000)])
            try await fixture.send([Self.audio(.opus, 990), Self.audio(.opus, 1_010)])
            try await Fixture.eventually("all is made") { first.lines.last == "aac1010" }
            let second = AudioTap(.aac)
            try await fixture.onHome { $0.attach(second) }
            #expect(second.lines == ["start", "K1000", "aac1010"])
            #expect(first.lines.suffix(3) == ["K1000", "aac990", "aac1010"])
            #expect(transcoders.made.count == 1)
        }
    }

    @Test("viewers of renditions get derived audio, and each form is a rendition of its own")
    func renditions() async throws {
        try await Self.run { fixture, transcoders in
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 0, to: 80)
            let (aacLog, sourceLog) = (FrameLog(), FrameLog())
            var ends: [FarEnd] = []
            for (form, log) in [(AudioForm.aac, aacLog), (.source, sourceLog)] {
                let connection = try await fixture.connect(on: fixture.loops[1])
                let stream = fixture.stream
                let id = RenditionID(format: "test", audio: form, flush: .realtime)
                let isIn = try await connection.viewer.onLoop {
                    stream.join($0, rendition: id) { FrameLog.Encoder(owner: log) }
                }.get()
                #expect(isIn)
                ends.append(connection.end)
            }
            try await Self.send(fixture, .opus, from: 80, to: 160)
            try await Fixture.eventually("all is made") { aacLog.frames.count == 8 }
            #expect(sourceLog.frames.filter { $0.kind == .audio }.map(\.codec) == [.opus, .opus, .opus, .opus])
            #expect(aacLog.frames.filter { $0.kind == .audio }.map(\.codec) == [.aac, .aac, .aac, .aac])
            #expect(aacLog.frames.filter { $0.kind == .audio }.map(\.dts.millis) == [20, 60, 100, 140])
            for end in ends { end.hangUp() }
            try await fixture.send([Self.video(160)])
            try await Fixture.eventually("it ends with its last viewer") {
                try await fixture.send([Self.video(200)])
                return transcoders.open.isEmpty
            }
        }
    }

    @Test("a source whose codec changes moves everybody to where their audio is")
    func changes() async throws {
        try await Self.run { fixture, transcoders in
            let (aac, opus) = (AudioTap(.aac), AudioTap(.opus))
            for tap in [aac, opus] { try await fixture.onHome { $0.attach(tap) } }
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.aac))])
            try await Self.send(fixture, .aac, from: 0, to: 80)
            try await Fixture.eventually("it is made") { opus.lines.last == "opus60" }
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 80, to: 160)
            try await Fixture.eventually("it is made") { aac.lines.last == "aac140" }
            let expectedAAC = ["start", "T:h264", "T:aac", "aac20", "aac60", "T:aac", "aac100", "aac140"]
            #expect(Self.sound(aac) == expectedAAC)
            let expectedOpus = ["start", "T:h264", "T:opus", "opus20", "opus60", "T:opus", "opus100", "opus140"]
            #expect(Self.sound(opus) == expectedOpus)
            #expect(transcoders.open.map(\.track.codec) == [.aac], "what nobody needs any more is closed")
            #expect(opus.lines.contains("v80") && aac.lines.contains("v80"))
        }
    }

    @Test("a source that changes so that the same comes of it keeps its transcoder, and another gets another")
    func changesParameters() async throws {
        try await Self.run { fixture, transcoders in
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus)), Self.audio(.opus, 20)])
            try await fixture.send([.track(Self.track(.speex)), Self.audio(.speex, 40)])
            try await Fixture.eventually("it is made") { tap.lines.last == "aac40" }
            #expect(transcoders.made.count == 1)
            #expect(transcoders.made.first?.sources.map(\.codec) == [.opus, .speex])
            #expect(tap.lines == ["start", "T:h264", "T:aac", "aac20", "aac40"], "its track stays as it is")
            try await fixture.send([.track(Self.track(.speex, channels: 1)), Self.audio(.speex, 60)])
            try await Fixture.eventually("it is made") { tap.lines.last == "aac60" }
            #expect(transcoders.made.count == 2 && transcoders.open.count == 1)
            #expect(tap.lines.suffix(2) == ["T:aac", "aac60"])
        }
    }

    @Test("frames that a closed transcoder gives late, and frames that go back, reach nobody")
    func lateFrames() async throws {
        try await Self.run { fixture, transcoders in
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            try await fixture.publish(1)
            transcoders.hold()
            try await fixture.send([.track(Self.track(.opus)), Self.audio(.opus, 20)])
            try await fixture.send([.track(Self.track(.opus, channels: 1)), Self.audio(.opus, 40)])
            #expect(transcoders.made.count == 2)
            for transcoder in transcoders.made.reversed() { transcoder.release() }
            try await Fixture.eventually("the new one's came") { tap.lines.last == "aac40" }
            try await fixture.onHome { _ in }
            #expect(!tap.lines.contains("aac20"))
        }
    }

    @Test("without transcoders, or with one that refuses, everybody gets the source's audio")
    func fallsBack() async throws {
        for hasTranscoders in [true, false] {
            try await Self.run(hasTranscoders: hasTranscoders) { fixture, transcoders in
                transcoders.refuse()
                let early = AudioTap(.aac)
                try await fixture.onHome { $0.attach(early) }
                try await fixture.publish(1)
                try await fixture.send([.track(Self.track(.opus))])
                try await Self.send(fixture, .opus, from: 0, to: 80)
                #expect(early.lines == ["start", "T:h264", "T:opus", "K0", "opus20", "v40", "opus60"])
                let late = AudioTap(.aac)
                try await fixture.onHome { $0.attach(late) }
                #expect(late.lines == ["start", "K0", "opus20", "v40", "opus60"])
            }
        }
    }

    @Test("a transcoder ends with its source; another source gets another, and nothing comes after the end")
    func ends() async throws {
        try await Self.run { fixture, transcoders in
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            try await fixture.publish(1)
            transcoders.hold()
            try await fixture.send([.track(Self.track(.opus)), Self.video(0), Self.audio(.opus, 20)])
            try await fixture.onHome { $0.left(1) }
            transcoders.made.first?.release()
            try await Fixture.eventually("the end is told") { tap.lines.last == "end" }
            #expect(transcoders.open.isEmpty)
            #expect(!tap.lines.contains("aac20"))
            try await fixture.onHome { $0.attach(tap) }
            try await fixture.publish(2)
            try await fixture.send([.track(Self.track(.opus)), Self.video(0), Self.audio(.opus, 20)], from: 2)
            #expect(transcoders.made.count == 2)
            transcoders.made.last?.release()
            try await Fixture.eventually("it is made") { tap.lines.last?.hasPrefix("aac") == true }
        }
    }

    @Test("a tap that comes between two publishers of one clock gets its audio from the second")
    func between() async throws {
        try await Self.run(LiveStreamSettings(publish: PublishSettings(policy: .grace))) { fixture, transcoders in
            try await fixture.publish(1)
            try await fixture.send([.track(Self.track(.opus))])
            try await Self.send(fixture, .opus, from: 0, to: 80)
            try await fixture.onHome { $0.left(1) }
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            #expect(tap.lines.isEmpty)
            try await fixture.publish(2, continuesClock: true)
            try await fixture.send([.track(Self.track(.opus))], from: 2)
            try await Self.send(fixture, .opus, from: 80, to: 160, id: 2)
            try await Fixture.eventually("it is made") { tap.lines.last == "aac140" }
            #expect(tap.lines.first == "start" && !tap.lines.contains { $0.hasPrefix("opus") })
            #expect(transcoders.open.count == 1)
        }
    }

    @Test("a source that takes over begins with new transcoders")
    func takeover() async throws {
        let settings = LiveStreamSettings(publish: PublishSettings(policy: .takeover))
        try await Self.run(settings) { fixture, transcoders in
            let tap = AudioTap(.aac)
            try await fixture.onHome { $0.attach(tap) }
            try await fixture.publish(1, token: "t")
            try await fixture.send([.track(Self.track(.opus)), Self.video(0), Self.audio(.opus, 20)])
            try await Fixture.eventually("it is made") { tap.lines.last == "aac20" }
            tap.clear()
            try await fixture.publish(2, token: "t")
            #expect(transcoders.open.isEmpty)
            try await fixture.send([Self.video(0), .track(Self.track(.opus)), Self.audio(.opus, 20)], from: 2)
            try await Fixture.eventually("it is made") { tap.lines.last?.hasPrefix("aac") == true }
            #expect(tap.lines.map { $0.filter { !$0.isNumber } } == ["start", "T:h", "K", "T:aac", "aac"])
        }
    }
}
