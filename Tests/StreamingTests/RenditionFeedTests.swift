import Media
import NIOCore
import Testing

@testable import Streaming

extension RenditionFeed {
    fileprivate mutating func sealed(_ now: NIODeadline = arrival(0)) throws -> Slab {
        let slab = self.seal(now: now)
        return try #require(slab)
    }
}

@Suite("RenditionFeed")
struct RenditionFeedTests {
    private static func feed(
        selection: TrackSelection = .all, framing: RenditionFraming = .none
    ) -> RenditionFeed {
        RenditionFeed(
            id: RenditionID(format: "word", framing: framing, selection: selection, flush: .balanced),
            encoder: WordEncoder())
    }

    /// Appends frames, and returns the slabs that ended before one of them.
    private static func append(_ frames: [Frame], to feed: inout RenditionFeed, state: StreamState = Sample.state)
        -> [Slab]
    {
        frames.compactMap { feed.append(.frame($0), state: state, now: arrival(0)) }
    }

    @Test("a feed without events seals nothing")
    func empty() {
        var feed = Self.feed()
        #expect(!feed.hasOpenBytes)
        #expect(feed.seal(now: arrival(0)) == nil)
    }

    @Test("frames gather in one slab until it is sealed, and the next slab is numbered after it")
    func gathers() throws {
        var feed = Self.feed()
        #expect(Self.append([Sample.video(0), Sample.audio(10), Sample.video(40)], to: &feed).isEmpty)
        #expect(feed.hasOpenBytes)
        let first = try feed.sealed(arrival(50))
        #expect(first.text == "v0 a10 v40 ")
        #expect(first.sequence == 0)
        #expect(first.frames == 3)
        #expect(first.sealedAt == arrival(50))
        #expect(!first.isStart)
        #expect(!feed.hasOpenBytes)
        #expect(feed.seal(now: arrival(60)) == nil)
        #expect(Self.append([Sample.video(80)], to: &feed).isEmpty)
        let second = try feed.sealed(arrival(90))
        #expect(second.sequence == 1)
    }

    @Test("a keyframe ends the open slab and begins one that viewers can start with")
    func startPoint() throws {
        var feed = Self.feed()
        let sealed = Self.append(
            [Sample.video(0), Sample.audio(10), Sample.video(40, key: true), Sample.audio(50)], to: &feed)
        #expect(sealed.map(\.text) == ["v0 a10 "])
        #expect(!sealed[0].isStart)
        let slab = try feed.sealed()
        #expect(slab.text == "K40 a50 ")
        let start = try #require(slab.start)
        #expect(start.header.text == "H(v3;a2;width,audiosamplerate,encoder)")
        #expect(start.prelude.text == "P40(v3;a2;width,audiosamplerate,encoder)")
    }

    @Test("each keyframe begins its own slab")
    func keyframesInARow() throws {
        var feed = Self.feed()
        let sealed = Self.append((0..<4).map { Sample.video($0 * 40, key: true) }, to: &feed)
        #expect(sealed.map(\.text) == ["K0 ", "K40 ", "K80 "])
        #expect(sealed.allSatisfy { $0.isStart })
        #expect(sealed.map(\.sequence) == [0, 1, 2])
    }

    @Test("a stream without video can be started with once a second")
    func audioStarts() {
        var feed = Self.feed()
        let state = StreamState(audio: Sample.audio)
        let sealed = Self.append((0..<120).map { Sample.audio($0 * 20) }, to: &feed, state: state)
        #expect(sealed.count == 2)
        #expect(sealed.allSatisfy { $0.isStart })
        #expect(sealed[0].frames == 50)
        #expect(sealed[1].text.hasPrefix("a1000 "))
    }

    @Test("audio of a stream with video is no start point, but it is where only audio is wanted")
    func audioOnlySelection() throws {
        var all = Self.feed()
        #expect(Self.append((0..<120).map { Sample.audio($0 * 20) }, to: &all).isEmpty)
        let gathered = try all.sealed()
        #expect(!gathered.isStart)
        var audio = Self.feed(selection: .audioOnly)
        let sealed = Self.append((0..<120).map { Sample.audio($0 * 20) }, to: &audio)
        #expect(sealed.count == 2)
        #expect(sealed[0].start?.prelude.text == "P0(a2;audiosamplerate,encoder)")
        #expect(sealed[0].start?.header.text == "H(a2;audiosamplerate,encoder)")
    }

    @Test("a rendition of one kind of track has nothing of the other")
    func selections() throws {
        let events: [MediaEvent] = [
            .metadata(Sample.metadata), .track(Sample.video), .track(Sample.audio),
            .frame(Sample.video(0, key: true)), .frame(Sample.audio(5)), .frame(Sample.video(40)),
            .data(TimedData(name: "cue", time: millis(45), payload: ByteBuffer())),
        ]
        func render(_ selection: TrackSelection) throws -> String {
            var feed = Self.feed(selection: selection)
            var text = ""
            for event in events {
                if let slab = feed.append(event, state: Sample.state, now: arrival(0)) { text += slab.text }
            }
            return text + (try feed.sealed().text)
        }
        #expect(try render(.all) == "m0[width,audiosamplerate,encoder] tv0 ta0 K0 a5 v40 d45[cue] ")
        #expect(try render(.videoOnly) == "m0[width,encoder] tv0 K0 v40 d45[cue] ")
        #expect(try render(.audioOnly) == "m0[audiosamplerate,encoder] ta0 a5 d45[cue] ")
    }

    @Test(
        "a new configuration in the middle of a stream comes before its keyframe, and later viewers get only the new one"
    )
    func configurationChange() throws {
        var feed = Self.feed()
        #expect(Self.append([Sample.video(0, key: true), Sample.video(40)], to: &feed).isEmpty)
        let state = StreamState(video: Sample.otherVideo, audio: Sample.audio)
        #expect(feed.append(.track(Sample.otherVideo), state: state, now: arrival(0)) == nil)
        let ended = feed.append(.frame(Sample.video(80, key: true)), state: state, now: arrival(0))
        let before = try #require(ended)
        #expect(before.text == "K0 v40 tv40 ")
        #expect(before.start?.prelude.text == "P0(v3;a2;width,audiosamplerate,encoder)")
        let slab = try feed.sealed()
        #expect(slab.text == "K80 ")
        #expect(slab.start?.prelude.text == "P80(v2;a2)")
    }

    @Test("a stream can be started with its first audio when a publisher without video takes over")
    func videoDisappears() {
        var feed = Self.feed()
        _ = Self.append([Sample.video(0, key: true)], to: &feed)
        let sealed = Self.append([Sample.audio(5_000)], to: &feed, state: StreamState(audio: Sample.audio))
        #expect(sealed.count == 1)
        let slab = feed.seal(now: arrival(0))
        #expect(slab?.isStart == true)
    }

    @Test(
        "an event of which the format knows nothing leaves no slab behind",
        arguments: [
            RenditionFraming.none, .httpChunk, .webSocket,
        ])
    func silentEvents(framing: RenditionFraming) {
        var feed = RenditionFeed(
            id: RenditionID(format: "payload", framing: framing, flush: .balanced), encoder: PayloadEncoder())
        #expect(feed.append(.metadata(Sample.metadata), state: Sample.state, now: arrival(0)) == nil)
        #expect(!feed.hasOpenBytes)
        #expect(feed.append(.frame(Sample.video(0, key: true, bytes: 0)), state: Sample.state, now: arrival(0)) == nil)
        #expect(!feed.hasOpenBytes)
        #expect(feed.seal(now: arrival(0)) == nil)
    }

    // MARK: Budgets

    /// Looks at the buffer that the feed gives to its encoder.
    private struct GrowthEncoder: RenditionEncoder {
        final class Log: @unchecked Sendable {
            // Safety: a test uses it from one thread.
            var growths = 0
            var largestCapacity = 0
        }

        let log: Log

        func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}
        func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {}
        mutating func write(
            _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
        ) {
            guard case .frame(let frame) = event else { return }
            let before = buffer.capacity
            buffer.writeImmutableBuffer(frame.payload)
            if buffer.capacity != before { self.log.growths += 1 }
            self.log.largestCapacity = max(self.log.largestCapacity, buffer.capacity)
        }
    }

    @Test("in a steady stream a slab is one allocation of about its size")
    func steadyAllocations() {
        let log = GrowthEncoder.Log()
        var feed = RenditionFeed(
            id: RenditionID(format: "growth", framing: .httpChunk, flush: .balanced), encoder: GrowthEncoder(log: log))
        var slabs = 0
        func run(seconds: Range<Int>) {
            for frame in (seconds.lowerBound * 25)..<(seconds.upperBound * 25) {
                let isKey = frame % 50 == 0
                let video = Sample.video(Int64(frame) * 40, key: isKey, bytes: isKey ? 20_000 : 4_000)
                if feed.append(.frame(video), state: Sample.state, now: arrival(0)) != nil { slabs += 1 }
                for part in 0..<2 {
                    _ = feed.append(
                        .frame(Sample.audio(Int64(frame) * 40 + Int64(part) * 20)), state: Sample.state, now: arrival(0)
                    )
                }
                if frame % 2 == 1, feed.seal(now: arrival(0)) != nil { slabs += 1 }
            }
        }
        run(seconds: 0..<10)
        (log.growths, slabs) = (0, 0)
        log.largestCapacity = 0
        run(seconds: 10..<70)
        #expect(slabs == 60 * 25 / 2)
        // A keyframe may grow its slab if the ones before it were small.
        #expect(log.growths <= 30)
        #expect(log.largestCapacity <= 64 << 10)
    }

    @Test("hot values are small")
    func sizes() {
        #expect(MemoryLayout<RenditionFeed>.size <= 320)
        #expect(MemoryLayout<SlabRing>.size <= 48)
        #expect(MemoryLayout<Timeline>.size <= 480)
        #expect(MemoryLayout<SkipHistory>.size <= 16)
        #expect(MemoryLayout<Frame>.size <= 64)
        #expect(MemoryLayout<MediaEvent>.size <= 112)
    }
}

@Suite("RenditionFraming")
struct RenditionFramingTests {
    /// Both sides of every limit of the two framings.
    private static let lengths = [1, 9, 10, 15, 16, 125, 126, 127, 65_535, 65_536, 70_000]

    private static func wrap(_ count: Int, _ framing: RenditionFraming) throws -> ByteBuffer {
        var feed = RenditionFeed(
            id: RenditionID(format: "payload", framing: framing, flush: .balanced), encoder: PayloadEncoder())
        _ = feed.append(.frame(Sample.video(0, bytes: count)), state: Sample.state, now: arrival(0))
        return try feed.sealed().bytes
    }

    @Test("bytes without framing are left alone", arguments: lengths)
    func plain(count: Int) throws {
        #expect(try Self.wrap(count, .none) == ByteBuffer(repeating: 0x56, count: count))
    }

    @Test("an HTTP chunk has its size in hexadecimal and ends with CRLF", arguments: lengths)
    func chunk(count: Int) throws {
        var bytes = try Self.wrap(count, .httpChunk)
        let prefix = bytes.readString(length: 8)
        let size = try #require(prefix)
        #expect(Int(size, radix: 16) == count)
        #expect(bytes.readString(length: 2) == "\r\n")
        #expect(bytes.readSlice(length: count) == ByteBuffer(repeating: 0x56, count: count))
        #expect(bytes.readString(length: 2) == "\r\n")
        #expect(bytes.readableBytes == 0)
    }

    @Test("a WebSocket message is final, binary, unmasked and has the shortest length", arguments: lengths)
    func webSocket(count: Int) throws {
        var bytes = try Self.wrap(count, .webSocket)
        #expect(bytes.readInteger(as: UInt8.self) == 0x82)
        let byte = bytes.readInteger(as: UInt8.self)
        let short = try #require(byte)
        switch count {
        case ..<126: #expect(Int(short) == count)
        case ..<65_536:
            #expect(short == 126)
            #expect(bytes.readInteger(as: UInt16.self).map(Int.init) == count)
        default:
            #expect(short == 127)
            #expect(bytes.readInteger(as: UInt64.self).map(Int.init) == count)
        }
        #expect(bytes == ByteBuffer(repeating: 0x56, count: count))
    }

    @Test("header and prelude of a start point are framed like its bytes")
    func framedStart() throws {
        var feed = RenditionFeed(
            id: RenditionID(format: "word", framing: .httpChunk, flush: .balanced), encoder: WordEncoder())
        let state = StreamState(video: Sample.video)
        _ = feed.append(.frame(Sample.video(0, key: true)), state: state, now: arrival(0))
        let slab = try feed.sealed()
        #expect(slab.start?.header.text == "00000005\r\nH(v3)\r\n")
        #expect(slab.start?.prelude.text == "00000006\r\nP0(v3)\r\n")
        #expect(slab.text == "00000003\r\nK0 \r\n")
    }

    @Test("a start point of a format without headers has no empty chunk, which would end the response")
    func noEmptyChunk() throws {
        for framing in [RenditionFraming.none, .httpChunk, .webSocket] {
            var feed = RenditionFeed(
                id: RenditionID(format: "payload", framing: framing, flush: .balanced), encoder: PayloadEncoder())
            _ = feed.append(.frame(Sample.video(0, key: true)), state: Sample.state, now: arrival(0))
            let slab = try feed.sealed()
            let start = try #require(slab.start)
            #expect(start.header.readableBytes == 0)
            #expect(start.prelude.readableBytes == 0)
        }
    }
}

@Suite("FlushPolicy")
struct FlushPolicyTests {
    @Test("a viewer's wait is the interval of a slab times the turns")
    func waits() {
        #expect(FlushPolicy.realtime.slabInterval == nil)
        #expect(FlushPolicy.realtime.turns == 1)
        #expect(FlushPolicy.realtime.sealWait == FlushPolicy.audioWait)
        #expect(FlushPolicy.low.sealWait * FlushPolicy.low.turns == .milliseconds(100))
        #expect(FlushPolicy.balanced.sealWait * FlushPolicy.balanced.turns == .milliseconds(350))
    }

    @Test("renditions differ by everything that changes their bytes or their timing")
    func identity() {
        let base = RenditionID(format: "flv", flush: .balanced)
        var others = [base]
        others.append(RenditionID(format: "rtmp", flush: .balanced))
        others.append(RenditionID(format: "flv", variant: "4096", flush: .balanced))
        others.append(RenditionID(format: "flv", framing: .httpChunk, flush: .balanced))
        others.append(RenditionID(format: "flv", selection: .audioOnly, flush: .balanced))
        others.append(RenditionID(format: "flv", flush: .realtime))
        #expect(Set(others).count == others.count)
        #expect(RenditionID(format: "flv", flush: .balanced) == base)
    }
}
