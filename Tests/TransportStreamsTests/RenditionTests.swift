import MPEGTS
import Media
import NIOCore
import Streaming
import Testing

@testable import TransportStreams

struct RenditionTests {
    private static func feed(
        _ encoder: some RenditionEncoder, _ id: RenditionID, _ state: StreamState, _ events: [MediaEvent],
        sealEvery: Int = 3
    ) -> [Slab] {
        var feed = RenditionFeed(id: id, encoder: encoder)
        var slabs: [Slab] = []
        var state = state
        for (index, event) in events.enumerated() {
            if case .track(let track) = event {
                if track.kind == .video { state.video = track } else { state.audio = track }
            }
            if let slab = feed.append(event, state: state, now: .start) { slabs.append(slab) }
            if index % sealEvery == sealEvery - 1, let slab = feed.seal(now: .start) { slabs.append(slab) }
        }
        if let slab = feed.seal(now: .start) { slabs.append(slab) }
        #expect(!feed.hasOpenBytes)
        return slabs
    }

    private static let both = StreamState(video: Sample.avcTrack, audio: Sample.aacTrack)

    private static func ts(
        _ frames: [Frame], state: StreamState = Self.both, selection: TrackSelection = .all, sealEvery: Int = 3
    ) -> [Slab] {
        self.feed(
            TSRendition(), TSRendition.id(selection: selection, flush: .realtime), state,
            frames.map(MediaEvent.frame), sealEvery: sealEvery)
    }

    @Test(
        "The frames come out of the stream again with their times, whatever the slabs", arguments: [1, 2, 3, 7, 1000])
    func roundTrip(sealEvery: Int) {
        let frames = Sample.frames(60)
        let slabs = Self.ts(frames, sealEvery: sealEvery)
        #expect(slabs.allSatisfy { $0.bytes.readableBytes % 188 == 0 && $0.bytes.readableBytes > 0 })
        let (events, publication, notices) = publish(join(slabs.map(\.bytes)))
        let offset: Int64 = 126_000
        for kind in [MediaKind.video, .audio] {
            let sent = frames.filter { $0.kind == kind }
            #expect(events.frames(kind).map(\.payload) == sent.map(\.payload))
            // Gathered audio takes its times from its samples, to the nearest tick.
            #expect(
                zip(events.frames(kind), sent).allSatisfy { abs($0.dts.ticks - offset - $1.dts.ticks) <= 1 })
        }
        #expect(publication.statistics.problems == 0)
        #expect(notices.count == 1)
    }

    @Test("A slab holds all frames that came before its end")
    func nothingHeldBack() {
        let frames = Sample.frames(30)
        let slabs = Self.ts(frames, sealEvery: 1)
        #expect(slabs.count == frames.count)
        for (slab, frame) in zip(slabs, frames) {
            let pid: UInt16 = frame.kind == .video ? 0x100 : 0x101
            #expect(packets(in: slab.bytes).contains { $0.pid == pid && $0.isStart })
        }
    }

    @Test("A viewer that starts or skips anywhere reads without a sign of loss")
    func skips() {
        let frames = Sample.frames(100)
        let slabs = Self.ts(frames, sealEvery: 7)
        let starts = slabs.indices.filter { slabs[$0].isStart }
        #expect(starts.count == 10)
        for start in starts.dropFirst() {
            for skipTo in starts.filter({ $0 > start + 1 }) {
                var bytes = ByteBuffer()
                func begin(_ slab: Slab) {
                    bytes.writeImmutableBuffer(slab.start?.header ?? ByteBuffer())
                    bytes.writeImmutableBuffer(slab.start?.prelude ?? ByteBuffer())
                }
                begin(slabs[start])
                bytes.writeImmutableBuffer(slabs[start].bytes)
                begin(slabs[skipTo])
                for slab in slabs[skipTo...] { bytes.writeImmutableBuffer(slab.bytes) }
                let (events, publication, _) = publish(bytes)
                #expect(publication.statistics.problems == 0)
                #expect(publication.statistics.demuxer.continuityErrors == 0)
                let expected =
                    slabs[start].frames + slabs[skipTo...].reduce(0) { $0 + $1.frames }
                #expect(events.frames.count == expected)
            }
        }
    }

    @Test("Tables come each 400 ms and with keyframes, the clock each 40 ms")
    func intervals() {
        let frames = Sample.frames(100, keyEvery: 30)
        var demuxer = TSDemuxer()
        var clocks: [Int64] = []
        var tables: [Int] = []
        var pictures = 0
        for packet in packets(in: join(Self.ts(frames).map(\.bytes))) {
            if packet.pid == 0 { tables.append(pictures) }
            if packet.pid == 0x100, packet.isStart { pictures += 1 }
            demuxer.receive(packet)
            while demuxer.nextOutput() != nil {}
            if let clock = demuxer.clock?.ticks27MHz, clock != clocks.last { clocks.append(clock) }
        }
        #expect(zip(tables, tables.dropFirst()).allSatisfy { $1 - $0 <= 11 })
        for key in [0, 30, 60, 90] { #expect(tables.contains(key)) }
        #expect(clocks.count >= 97)
        #expect(zip(clocks, clocks.dropFirst()).allSatisfy { $1 - $0 <= 40 * 27_000 && $1 > $0 })
    }

    @Test("Audio alone and video alone are whole streams")
    func single() {
        let frames = Sample.frames(100)
        for (selection, kind) in [(TrackSelection.audioOnly, MediaKind.audio), (.videoOnly, .video)] {
            let slabs = Self.ts(frames, selection: selection)
            let (events, publication, _) = publish(join(slabs.map(\.bytes)))
            #expect(events.frames.map(\.payload) == frames.filter { $0.kind == kind }.map(\.payload))
            #expect(events.tracks.map(\.kind) == [kind])
            #expect(publication.program?.streams.count == 1)
            #expect(publication.program?.clockPID == (kind == .video ? 0x100 : 0x101))
            #expect(slabs.filter(\.isStart).count == (kind == .video ? 10 : 4))
        }
    }

    @Test("Tracks that a transport stream cannot carry are left out, and come with another source")
    func unsupported() {
        let frames = Sample.frames(20)
        let g711 = Self.ts(frames, state: StreamState(video: Sample.avcTrack, audio: Sample.g711Track))
        #expect(
            publish(join(g711.map(\.bytes))).events.frames == publish(join(g711.map(\.bytes))).events.frames(.video))
        #expect(publish(join(g711.map(\.bytes))).events.frames.count == 20)
        let av1 = Self.ts(frames, state: StreamState(video: Sample.av1Track, audio: Sample.aacTrack))
        #expect(publish(join(av1.map(\.bytes))).events.frames(.audio).count == frames.count { $0.kind == .audio })
        #expect(Self.ts(frames, state: StreamState(video: Sample.av1Track, audio: Sample.g711Track)).isEmpty)
        let later = Self.feed(
            TSRendition(), TSRendition.id(flush: .realtime),
            StreamState(video: Sample.avcTrack, audio: Sample.g711Track),
            frames.map(MediaEvent.frame) + [.track(Sample.aacTrack)]
                + Sample.frames(20, from: 90_000 + 20 * 3600).map(MediaEvent.frame))
        let events = publish(join(later.map(\.bytes))).events
        #expect(events.frames(.video).count == 40)
        #expect(events.frames(.audio).count == frames.count { $0.kind == .audio })
    }

    @Test("A slab of AAC is frames of ADTS, one of MP3 is the frames themselves")
    func elementary() throws {
        let frames = Sample.frames(50).filter { $0.kind == .audio }
        let aac = Self.feed(
            AudioRendition(.aac), AudioRendition.id(.aac, flush: .realtime), Self.both, frames.map(MediaEvent.frame))
        var bytes = join(aac.map(\.bytes))
        for frame in frames {
            let read = bytes.readBytes(length: 7)
            let header = try #require(read)
            #expect(header[0] == 0xFF && header[1] == 0xF1)
            let length = Int(header[3] & 3) << 11 | Int(header[4]) << 3 | Int(header[5] >> 5)
            #expect(length == frame.payload.readableBytes + 7)
            let payload = bytes.readSlice(length: frame.payload.readableBytes)
            #expect(payload == frame.payload)
        }
        #expect(bytes.readableBytes == 0)
        let mp3Frames = frames.map { Sample.audio($0.dts.ticks, codec: .mp3) }
        let mp3 = Self.feed(
            AudioRendition(.mp3), AudioRendition.id(.mp3, flush: .realtime), StreamState(audio: Sample.mp3Track),
            mp3Frames.map(MediaEvent.frame))
        #expect(join(mp3.map(\.bytes)) == join(mp3Frames.map(\.payload)))
        let wrong = Self.feed(
            AudioRendition(.mp3), AudioRendition.id(.mp3, flush: .realtime), Self.both, frames.map(MediaEvent.frame))
        #expect(wrong.isEmpty)
        #expect(AudioRendition.carries(Sample.aacTrack, as: .aac))
        #expect(!AudioRendition.carries(Sample.aacTrack, as: .mp3))
        #expect(AudioRendition.carries(Sample.mp3Track, as: .mp3))
        #expect(!AudioRendition.carries(Sample.mp3Track, as: .aac))
        var unlisted = Sample.aacTrack
        // Frames of 960 samples.
        unlisted.configuration = ByteBuffer(bytes: [0x11, 0x94])
        #expect(!AudioRendition.carries(unlisted, as: .aac))
    }

    @Test("24 hours and longer, over the wrap of the 33 bits: nothing drifts and nothing is lost")
    func day() {
        // From a little before the first wrap on; a frame of each kind in ten seconds, so that 27 hours are soon over.
        let start: Int64 = (1 << 33) - 126_000 - 90_000 * 60
        let step: Int64 = 900_000
        var encoder = TSRendition()
        // Frames of ten seconds that waited for each other and then come at once would look like a jump of the clock.
        var publication = TSPublication(configuration: .init(hold: .init(audioWait: .zero, videoWait: .zero)))
        var timeline = Timeline(clock: .mpegTS)
        timeline.sourceChanged(clock: .mpegTS, continuesClock: false)
        var buffer = ByteBuffer()
        var placed: [MediaKind: (first: Int64, count: Int64)] = [:]
        let steps: Int64 = 27 * 360
        for index in 0..<steps {
            let now = NIODeadline.start + .seconds(index * 10)
            buffer.clear()
            for frame in [
                Sample.video(start + index * step, key: index % 5 == 0, length: 40),
                Sample.audio(start + index * step, length: 20),
            ] {
                encoder.write(.frame(frame), state: Self.both, at: frame.dts, into: &buffer)
            }
            encoder.writeHeldBack(into: &buffer)
            for frame in publication.receive(buffer, now: now).frames {
                let time = timeline.place(frame.kind, at: frame.dts, arrival: now).ticks
                let (first, count) = placed[frame.kind] ?? (time, 0)
                placed[frame.kind] = (first, count + 1)
                if time - first != count * step {
                    Issue.record("\(frame.kind) \(count) is at \(time - first)")
                    return
                }
            }
        }
        #expect(placed[.video]?.count ?? 0 >= steps - 1)
        #expect(placed[.audio]?.count ?? 0 >= steps - 1)
        #expect(placed[.video]?.first == placed[.audio]?.first)
        #expect(timeline.joinedJumps == 0)
        #expect(timeline.restampedFrames == 0)
        #expect(publication.statistics.problems == 0)
    }
}
