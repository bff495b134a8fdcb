import MPEGTS
import Media
import NIOCore
import Streaming
import Testing

@testable import TransportStreams

struct TSPublicationTests {
    @Test("What is published comes out as it went in, however it is cut", arguments: [1, 7, 188, 1316, 100_000])
    func passes(step: Int) throws {
        let frames = Sample.frames(30)
        let (events, publication, notices) = publish(try Sample.stream(frames), step: step)
        #expect(events.frames(.video) == frames.filter { $0.kind == .video })
        #expect(events.frames(.audio).map(\.payload) == frames.filter { $0.kind == .audio }.map(\.payload))
        #expect(events.tracks.map(\.codec) == [.h264, .aac])
        #expect(publication.statistics.videoFrames == 30)
        #expect(publication.statistics.droppedVideoFrames == 0)
        #expect(publication.hasMedia)
        #expect(notices.count == 1)
        guard case .program(let program) = notices.first else {
            Issue.record("no program was told")
            return
        }
        #expect(publication.program == program)
    }

    @Test("After the loss of any single packet no broken picture goes out")
    func everyLoss() throws {
        let frames = Sample.frames(22, length: 500)
        let sent = Dictionary(
            uniqueKeysWithValues: frames.filter { $0.kind == .video }.map { ($0.dts, $0) })
        let all = packets(in: try Sample.stream(frames))
        for lost in all.indices {
            var kept = all
            let gone = kept.remove(at: lost)
            let (events, publication, _) = publish(join(kept))
            var expectsKeyframe = true
            var last: Frame?
            for frame in events.frames(.video) {
                #expect(sent[frame.dts] == frame, "packet \(lost) was lost")
                // A picture may follow a gap only if it is a keyframe.
                if let last, frame.dts.ticks - last.dts.ticks > 3600 { expectsKeyframe = true }
                #expect(!expectsKeyframe || frame.isKeyframe, "packet \(lost) was lost")
                expectsKeyframe = false
                last = frame
            }
            if gone.pid == 0x100, lost < all.count - 40 {
                #expect(publication.statistics.losses <= 1)
                #expect(publication.statistics.demuxer.continuityErrors <= 1)
            } else if gone.pid == 0x101 {
                #expect(events.frames(.video).count == 22)
                #expect(publication.statistics.losses == 0)
            }
        }
    }

    @Test("The loss of sixteen packets, which no counter shows, lets no broken picture out")
    func lossOfSixteen() throws {
        // Of one picture of 40 packets, whose header says how long it is.
        let frames = [
            Sample.video(90_000, key: true, length: 7_000), Sample.video(93_600), Sample.video(97_200),
            Sample.video(100_800, key: true, length: 900), Sample.video(104_400),
        ]
        var all = packets(in: try Sample.stream(frames, audio: nil))
        all.removeSubrange(6..<22)
        let (events, publication, _) = publish(join(all))
        #expect(events.frames == Array(frames[3...]))
        #expect(publication.statistics.droppedVideoFrames == 3)
    }

    @Test("Without waiting for keyframes, whole pictures behind a loss go out at once")
    func noWaiting() throws {
        let frames = Sample.frames(20).filter { $0.kind == .video }
        var all = packets(in: try Sample.stream(frames, audio: nil))
        let lost = try #require(all.indices.filter { all[$0].isStart && all[$0].pid == 0x100 }.dropFirst(3).first)
        all.remove(at: lost)
        var configuration = TSPublication.Configuration()
        configuration.waitsForKeyframeAfterLoss = false
        let (events, publication, _) = publish(join(all), configuration: configuration)
        #expect(events.frames.count >= 18)
        #expect(publication.statistics.losses == 0)
        #expect(publication.statistics.droppedVideoFrames == 0)
        #expect(publish(join(all)).events.frames.first { $0.dts > frames[3].dts }?.dts == frames[10].dts)
    }

    @Test("Pictures that are shown before an open keyframe stay back where it is the first, also when times wrap")
    func leadingPictures() throws {
        for start in [90_000, (1 << 33) - 5_000] as [Int64] {
            func picture(_ index: Int64, shown: Int64, _ type: UInt8, key: Bool = false) -> (Frame, Int64) {
                let dts = (start + index * 3600) % (1 << 33)
                let frame = Frame(
                    codec: .hevc, dts: MediaTime(ticks: dts), pts: MediaTime(ticks: dts + (shown - index) * 3600),
                    isKeyframe: key, payload: Sample.payload([[type << 1, 1]]))
                return (frame, index * 1880)
            }
            let (cra, idr) = (UInt8(21), UInt8(19))
            let order = [
                picture(0, shown: 3, cra, key: true), picture(1, shown: 1, 8), picture(2, shown: 2, 9),
                picture(3, shown: 5, 1), picture(4, shown: 4, 0),
            ]
            var gate = KeyframeGate(isEnabled: true)
            let first = order.map { gate.admits($0.0, position: $0.1) }
            #expect(first == [true, false, false, true, true])
            // Where nothing was lost, they are shown.
            let next = order.map { gate.admits($0.0, position: $0.1 + 9_400) }
            #expect(next == [true, true, true, true, true])
            // Nothing behind an IDR picture refers to what was before.
            var second = KeyframeGate(isEnabled: true)
            let closed = [picture(0, shown: 3, idr, key: true)] + order.dropFirst()
            let all = closed.map { second.admits($0.0, position: $0.1) }
            #expect(all == [true, true, true, true, true])
        }
    }

    @Test("A keyframe whose first slice is missing does not end the wait")
    func headlessKeyframe() {
        var gate = KeyframeGate(isEnabled: true)
        var frame = Sample.video(0, key: true)
        frame.payload = Sample.payload([[0x65]], isFirst: false)
        let headless = gate.admits(frame, position: 0)
        #expect(!headless)
        frame.payload = Sample.payload([[0x06], [0x65]])
        let whole = gate.admits(frame, position: 0)
        #expect(whole)
    }

    @Test("Scrambled and damaged packets of the video make it wait, those of other streams do not")
    func damage() throws {
        let frames = Sample.frames(30)
        let all = packets(in: try Sample.stream(frames))
        for (pid, losses) in [(UInt16(0x100), 1), (0x101, 0), (0x1000, 0)] {
            // The middle of the second half second.
            guard let index = all.indices.filter({ all[$0].pid == pid }).dropFirst(pid == 0x1000 ? 0 : 40).first else {
                continue
            }
            for change in [1, 3] {
                var damaged = all
                let byte = damaged[index].getInteger(at: damaged[index].readerIndex + change, as: UInt8.self) ?? 0
                // Transport error, scrambled.
                damaged[index] = ByteBuffer(bytes: damaged[index].readableBytesView)
                damaged[index].setInteger(byte | 0x80, at: change)
                let (events, publication, notices) = publish(join(damaged))
                #expect(publication.statistics.losses == losses)
                if pid != 0x1000 {
                    #expect(notices.contains { if case .problem = $0 { true } else { false } })
                    #expect(events.frames(.video).allSatisfy { frames.contains($0) })
                }
            }
        }
    }

    @Test("Problems of one kind are told once in a while, with the number of those in between, and few are kept")
    func notices() throws {
        var publication = TSPublication()
        let all = packets(in: try Sample.stream(Sample.frames(200)))
        _ = publication.receive(join(Array(all[0..<8])), now: .start)
        _ = publication.takeNotices()
        var told = 0
        var suppressed = 0
        // Each second packet is missing, for 30 s.
        for (index, packet) in all[8...].enumerated() where index % 2 == 0 {
            _ = publication.receive(packet, now: .after(millis: Int64(index) * 30_000 / Int64(all.count)))
            for case .problem(.continuity, let count) in publication.takeNotices() {
                told += 1
                suppressed += count
            }
        }
        #expect(told == 3)
        #expect(suppressed > 100)
        #expect(publication.statistics.problems > 200)
        var other = TSPublication(configuration: .init(noticeInterval: .zero))
        _ = other.receive(
            join(all.enumerated().filter { $0.offset < 2 || $0.offset % 2 == 0 }.map(\.element)), now: .start)
        let (kept, none) = (other.takeNotices(), other.takeNotices())
        #expect(kept.count == TSPublication.maximumNotices)
        #expect(none == [])
    }

    @Test("Bytes that are no transport stream are counted and passed over")
    func garbage() throws {
        var publication = TSPublication()
        for _ in 0..<20 {
            let events = publication.receive(ByteBuffer(repeating: 0x11, count: 1316), now: .start)
            #expect(events == [])
        }
        #expect(!publication.hasMedia)
        let frames = Sample.frames(10)
        let events = publication.receive(try Sample.stream(frames), now: .start) + publication.finish()
        #expect(events.frames(.video).count == 10)
        #expect(publication.statistics.demuxer.skippedBytes == 20 * 1316)
        #expect(publication.statistics.bytes > 20 * 1316)
        let again = publication.finish()
        #expect(again == [])
    }

    @Test("While the program's audio has not come, nothing goes out; then both are told before the first frame")
    func waitsForAudio() throws {
        let frames = Sample.frames(30).filter { $0.kind == .video || $0.dts.ticks > 90_000 + 20 * 3600 }
        var publication = TSPublication()
        var events: [MediaEvent] = []
        var beforeAudio: [MediaEvent] = []
        for (index, packet) in packets(in: try Sample.stream(frames)).enumerated() {
            events += publication.receive(packet, now: .after(millis: Int64(index)))
            if publication.statistics.audioFrames == 0 { beforeAudio = events }
        }
        #expect(beforeAudio == [])
        #expect(publication.hasMedia)
        events += publication.finish()
        #expect(Array(events.prefix(2)) == events.tracks.map(MediaEvent.track))
        #expect(events.tracks.map(\.codec) == [.h264, .aac])
        #expect(events.frames(.video) == frames.filter { $0.kind == .video })
    }

    @Test("Audio that the program names and that never comes is waited for in vain for two seconds only")
    func audioNeverComes() throws {
        let frames = Sample.frames(60).filter { $0.kind == .video }
        let all = packets(in: try Sample.stream(frames))
        var publication = TSPublication()
        var firstAt: Int64?
        var events: [MediaEvent] = []
        for (index, packet) in all.enumerated() {
            let millis = Int64(index) * 3_000 / Int64(all.count)
            let news = publication.receive(packet, now: .after(millis: millis))
            if !news.isEmpty, firstAt == nil { firstAt = millis }
            events += news
        }
        events += publication.finish()
        #expect((2_000...2_300).contains(firstAt ?? 0), "\(String(describing: firstAt))")
        #expect(events.frames == frames)
        #expect(events.tracks.map(\.codec) == [.h264])
    }

    @Test("A video on another packet identifier waits for its own keyframe")
    func otherVideo() throws {
        let first = try Sample.stream(Sample.frames(5).filter { $0.kind == .video }, audio: nil)
        var configuration = TSMuxer.Configuration()
        configuration.videoPID = 0x200
        configuration.timeOffset = .zero
        configuration.clockLead = .zero
        var muxer = TSMuxer(configuration: configuration)
        try muxer.setTracks(video: nil, audio: Sample.aacTrack)
        try muxer.setTracks(video: Sample.avcTrack, audio: nil)
        var second = ByteBuffer()
        muxer.writeTables(into: &second)
        for frame in [Sample.video(200_000), Sample.video(203_600, key: true), Sample.video(207_200)] {
            muxer.write(frame, into: &second)
        }
        let events = publish(join([first, second])).events
        #expect(events.frames.count == 7)
        #expect(events.frames.suffix(2).map(\.isKeyframe) == [true, false])
    }
}
