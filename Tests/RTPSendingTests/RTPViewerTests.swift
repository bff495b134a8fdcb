import Media
import NIOCore
import RTP
import Streaming
import Testing

@testable import RTPSending

@Suite("A viewer is sent a stream")
struct RTPViewerTests {
    /// Four seconds with a keyframe each second, handed over frame by frame.
    private func play(
        _ viewer: TestViewer, _ stream: inout TestStream, from first: Int = 0, count: Int = 100, gop: Int = 25
    ) throws {
        for index in first..<first + count {
            let time = Int64(index) * 40
            let now = NIODeadline.millis(time)
            try viewer.send(stream.video(time, key: index % gop == 0, bytes: 4_000), stream, now: now)
            try viewer.send(stream.audio(time), stream, now: now)
            try viewer.send(stream.audio(time + 20, now: now), stream, now: now)
        }
    }

    @Test(
        "numbers and times go on over every wrap",
        arguments: [UInt16(0), 65_400, 65_535, 32_700], [UInt32(0), 0xFFFF_0000, 0x7FFF_F000])
    func wraps(sequence: UInt16, timestamp: UInt32) throws {
        var stream = TestStream.live()
        let viewer = TestViewer(
            seeds: RTPViewerSeeds(
                videoSequence: sequence, videoTimestamp: timestamp, videoRTXSequence: 0, audioSequence: sequence,
                audioTimestamp: timestamp, audioRTXSequence: 0))
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream)
        for packets in [viewer.video(), viewer.audio()] {
            #expect(packets.count >= 100)
            for (offset, packet) in packets.enumerated() {
                #expect(packet.sequence == sequence &+ UInt16(offset))
                #expect(packet.index == UInt64(sequence) + UInt64(offset))
            }
        }
        let times = viewer.videoTimes()
        #expect(times.count == 100)
        #expect(zip(times, times.dropFirst()).allSatisfy { $1 - $0 == 3_600 })
        #expect(viewer.video().first?.timestamp == timestamp)
        let audio = viewer.audio()
        #expect(zip(audio, audio.dropFirst()).allSatisfy { $1.timestamp &- $0.timestamp == 960 })
        let (units, broken) = accessUnits(viewer.video(), format: .h264(packetizationMode: 1))
        #expect(broken == 0)
        #expect(units.count == 100)
    }

    @Test("the last packet of a picture has the marker, and no packet of audio")
    func markers() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 10)
        let video = viewer.video()
        for (index, packet) in video.enumerated() {
            let isLast = index + 1 == video.count || video[index + 1].timestamp != packet.timestamp
            #expect(packet.packet.header.marker == isLast)
        }
        #expect(viewer.audio().allSatisfy { !$0.packet.header.marker })
        #expect(viewer.audio().allSatisfy { $0.packet.header.payloadType == 111 })
        #expect(video.allSatisfy { $0.packet.header.payloadType == 102 })
    }

    @Test("a viewer who joins gets the cached pictures with times before the live edge, and audio at the edge")
    func join() throws {
        var stream = TestStream.live()
        let early = TestViewer()
        try early.start(stream, now: .millis(0))
        try self.play(early, &stream, count: 70)
        let viewer = TestViewer()
        let joined = NIODeadline.millis(70 * 40)
        try viewer.start(stream, now: joined)
        let first = try #require(viewer.video().first)
        // The first picture leaves at once.
        #expect(first.at == joined)
        try viewer.drain(stream, now: joined, for: .milliseconds(39))
        let cached = viewer.videoTimes()
        try self.play(viewer, &stream, from: 70, count: 30)
        let times = viewer.videoTimes()
        #expect(times.count == 20 + 30)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        // Live pictures have their own times; the cached ones lie close before the first of them.
        let live = (70..<100).map { Int64($0) * 3_600 }
        #expect(Array(times.suffix(30)) == live)
        #expect(cached.allSatisfy { $0 < live[0] })
        #expect(try #require(times.first) >= live[0] - 3_600 - 20 * 90)
        #expect(viewer.audio().first?.timestamp == UInt32(70 * 40 * 48))
        #expect(accessUnits(viewer.video(), format: .h264(packetizationMode: 1)).broken == 0)
    }

    @Test("a start is paced at two and a half times the stream, and live frames meanwhile wait their turn")
    func pacing() throws {
        var stream = TestStream.live()
        // 2 Mb/s for two seconds: 500 KB.
        for index in 0..<50 { stream.video(Int64(index) * 40, key: index == 0, bytes: 10_000) }
        var configuration = TestViewer.configuration()
        configuration.startBitrate = 300_000
        let viewer = TestViewer(configuration)
        try viewer.start(stream, now: .millis(2_000))
        for index in 50..<100 {
            let now = NIODeadline.millis(Int64(index) * 40)
            try viewer.send(stream.video(Int64(index) * 40, bytes: 10_000), stream, now: now)
            try viewer.drain(stream, now: now, for: .milliseconds(39))
        }
        let times = viewer.videoTimes()
        #expect(times.count == 100)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        // It is at the live edge after 2 s / (2.5 − 1), and the rate before was 5 Mb/s.
        let burst = viewer.received.filter { $0.at < .millis(3_000) }
        let bytes = burst.reduce(0) { $0 + $1.packet.payload.readableBytes + 56 }
        #expect((560_000...700_000).contains(bytes), "\(bytes)")
        let edge = viewer.received.filter { $0.at >= .millis(3_600) }
        #expect(Set(edge.map(\.at)).count == 10)
        // No more than a few packets leave at one time while it is behind.
        let largest = Dictionary(grouping: burst.dropFirst(40), by: \.at).values.map(\.count).max() ?? 0
        #expect(largest <= 10, "\(largest)")
    }

    @Test("a keyframe that comes while a viewer catches up is taken at once")
    func newerKeyframe() throws {
        var stream = TestStream.live()
        for index in 0..<200 { stream.video(Int64(index) * 40, key: index == 0, bytes: 10_000) }
        var configuration = TestViewer.configuration()
        configuration.startBitrate = 300_000
        let viewer = TestViewer(configuration)
        try viewer.start(stream, now: .millis(8_000))
        let frames = stream.video(8_000, key: true, bytes: 10_000)
        try viewer.send(frames, stream, now: .millis(8_000))
        try viewer.drain(stream, now: .millis(8_000), for: .milliseconds(30))
        #expect(viewer.videoTimes().last == Int64(720_000))
        let (units, broken) = accessUnits(viewer.video(), format: .h264(packetizationMode: 1))
        #expect(broken == 0)
        #expect(units.last?.isKeyframe == true)
        #expect(units.count < 20)
        #expect(!viewer.hasBacklog)
        #expect(viewer.statistics.skips == RTPSkipCounts())
    }

    @Test("a viewer of a stream without a cached keyframe waits for one, and says so")
    func waits() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        #expect(viewer.events == [.needsKeyframe])
        stream.video(0, key: true)
        let frames = stream.video(40)
        #expect(try viewer.send(frames, stream, now: .millis(40)) == 0)
        #expect(try viewer.send(stream.video(80, key: true), stream, now: .millis(80)) > 0)
    }

    @Test("nothing is sent before the start")
    func idle() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        #expect(try viewer.send(stream.video(0, key: true), stream, now: .millis(0)) == 0)
        #expect(try viewer.send(stream.audio(0), stream, now: .millis(0)) == 0)
        #expect(!viewer.hasBacklog)
    }

    @Test("a cached GOP beyond the limit is not replayed")
    func replayLimit() throws {
        var stream = TestStream.live()
        for index in 0..<20 { stream.video(Int64(index) * 40, key: index == 0, bytes: 10_000) }
        var configuration = TestViewer.configuration()
        configuration.maximumReplayBytes = 150_000
        let viewer = TestViewer(configuration)
        try viewer.start(stream, now: .millis(800))
        #expect(viewer.received.isEmpty)
        #expect(viewer.events == [.needsKeyframe])
    }

    @Test("pictures that nothing refers to are left out of a replay, and numbers have no gap")
    func discardableReplay() throws {
        var stream = TestStream.live()
        for index in 0..<20 {
            stream.video(Int64(index) * 40, key: index == 0, reference: index % 2 == 0, bytes: 500)
        }
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(800))
        try viewer.drain(stream, now: .millis(800), for: .seconds(1))
        #expect(viewer.videoTimes().count == 10)
        let sequences = viewer.video().map(\.sequence)
        #expect(zip(sequences, sequences.dropFirst()).allSatisfy { $1 == $0 &+ 1 })
        try viewer.send(stream.video(800, reference: false, bytes: 500), stream, now: .millis(820))
        #expect(viewer.videoTimes().last == Int64(72_000))
    }

    @Test("a change of the codec stops the track and is told, and the right codec goes on at a keyframe")
    func codecChange() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        viewer.viewer.statusChanged(stream.packetizer.status)
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 3)
        viewer.events = []
        stream.packetizer.sourceChanged()
        stream.announce(Track(codec: .vp8, configuration: nil, format: .video(VideoFormat())))
        viewer.viewer.statusChanged(stream.packetizer.status)
        viewer.collectEvents()
        #expect(viewer.events == [.incompatible(.codecChanged(.video, from: .h264, to: .vp8))])
        #expect(try viewer.send(stream.video(200, key: true, codec: .vp8), stream, now: .millis(200)) == 0)
        // A keyframe that a player without the codec could not use is not replayed either.
        try viewer.receive(
            [.pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC)], stream, now: .millis(210))
        #expect(viewer.videoTimes().count == 3)
        stream.announce(TestStream.h264Track)
        viewer.viewer.statusChanged(stream.packetizer.status)
        #expect(try viewer.send(stream.video(280, key: true), stream, now: .millis(280)) > 0)
        stream.packetizer.sourceChanged()
        var status = stream.packetizer.status
        status.video = .absent
        viewer.viewer.statusChanged(status)
        viewer.collectEvents()
        #expect(viewer.events.last == .incompatible(.trackLost(.video)))
    }

    @Test("a resolution that changes goes on at the keyframe, with its parameter sets")
    func resolutionChange() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 3)
        var track = TestStream.h264Track
        track.format = .video(VideoFormat(width: 320, height: 180))
        stream.announce(track)
        viewer.viewer.statusChanged(stream.packetizer.status)
        #expect(try viewer.send(stream.video(120, key: true), stream, now: .millis(120)) > 0)
        viewer.collectEvents()
        #expect(viewer.events == [.needsKeyframe])
    }

    @Test("a transport that holds back too much lets video skip to a keyframe; audio goes on")
    func queue() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 5)
        viewer.events = []
        viewer.viewer.queuedBytes = 1_500_000
        #expect(try viewer.send(stream.video(200), stream, now: .millis(200)) == 0)
        #expect(viewer.events == [.skipped(.queue)])
        #expect(try viewer.send(stream.audio(200), stream, now: .millis(200)) == 1)
        #expect(try viewer.send(stream.video(240, key: true), stream, now: .millis(240)) == 0)
        viewer.viewer.queuedBytes = 0
        #expect(try viewer.send(stream.video(280), stream, now: .millis(280)) == 0)
        #expect(try viewer.send(stream.video(320, key: true), stream, now: .millis(320)) > 0)
        #expect(viewer.statistics.skips[.queue] == 1)
        viewer.viewer.queuedBytes = 5_000_000
        #expect(try viewer.send(stream.audio(320), stream, now: .millis(320)) == 0)
    }

    @Test("a replay that is not finished in time, or that the ring has lost, waits for a keyframe")
    func lag() throws {
        var stream = TestStream.live(ring: .init(maximumBytes: 300_000))
        for index in 0..<25 { stream.video(Int64(index) * 40, key: index == 0, bytes: 10_000) }
        var configuration = TestViewer.configuration()
        configuration.startBitrate = 300_000
        let viewer = TestViewer(configuration)
        try viewer.start(stream, now: .millis(1_000))
        for index in 25..<60 { stream.video(Int64(index) * 40, bytes: 10_000) }
        try viewer.drain(stream, now: .millis(2_400))
        #expect(viewer.events == [.skipped(.lag), .needsKeyframe])
        #expect(viewer.statistics.skips[.lag] == 1)
        #expect(try viewer.send(stream.video(2_440, key: true), stream, now: .millis(2_440)) > 0)
    }

    @Test("sender reports put both tracks on one line, each second, with counts and name")
    func reports() throws {
        var stream = TestStream.live()
        let viewer = TestViewer(
            seeds: RTPViewerSeeds(
                videoSequence: 0, videoTimestamp: 0xFFFF_FF00, videoRTXSequence: 0, audioSequence: 0,
                audioTimestamp: 77, audioRTXSequence: 0))
        try viewer.start(stream, now: .millis(0))
        #expect(viewer.report(now: .millis(1_500)) == nil)
        try self.play(viewer, &stream, count: 60)
        #expect(viewer.report(now: .millis(2_400)) == nil)
        let packets = try RTCPPacket.parseCompound(try #require(viewer.report(now: .millis(2_500))))
        #expect(viewer.report(now: .millis(2_600)) == nil)
        #expect(packets.count == 3)
        guard case .senderReport(let video) = packets[0], case .senderReport(let audio) = packets[1],
            case .sourceDescription(let names) = packets[2]
        else {
            Issue.record("\(packets)")
            return
        }
        #expect(video.ssrc == TestViewer.videoSSRC && audio.ssrc == TestViewer.audioSSRC)
        #expect(video.ntpTime == audio.ntpTime)
        let elapsed = NTPTime.micros(from: NTPTime(unixNanoseconds: 1_700_000_000_000_000_000), to: video.ntpTime)
        #expect(abs(elapsed - 2_500_000) < 10)
        // Both name the same point of the stream: 2.52 s, as some of the sound arrives 20 ms before it is due.
        #expect(video.rtpTimestamp == UInt32(0xFFFF_FF00) &+ 226_800)
        #expect(audio.rtpTimestamp == 77 + 2_520 * 48)
        #expect(video.packetCount == UInt32(viewer.video().count))
        #expect(video.octetCount == UInt32(viewer.video().reduce(0) { $0 + $1.packet.payload.readableBytes }))
        #expect(names.chunks.map(\.ssrc) == [TestViewer.videoSSRC, TestViewer.audioSSRC])
        #expect(names.chunks.allSatisfy { $0.items == [.init(type: 1, text: ByteBuffer(string: "weir"))] })
        var farewell = ByteBuffer()
        viewer.viewer.goodbye(into: &farewell, now: .millis(2_700))
        guard case .goodbye(let goodbye)? = try RTCPPacket.parseCompound(farewell).last else {
            Issue.record("no BYE")
            return
        }
        #expect(goodbye.ssrcs == [TestViewer.videoSSRC, TestViewer.audioSSRC])
    }

    @Test("audio and video stay aligned in reports although frames arrive in bursts")
    func reportJitter() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        var differences: Set<Int64> = []
        var generator = SeededGenerator(seed: 5)
        for index in 0..<250 {
            let time = Int64(index) * 40
            let now = NIODeadline.millis(time + Int64.random(in: 0...35, using: &generator))
            try viewer.send(stream.video(time, key: index == 0, bytes: 300, now: now), stream, now: now)
            try viewer.send(stream.audio(time, now: now), stream, now: now)
            guard let buffer = viewer.report(now: now) else { continue }
            let packets = try RTCPPacket.parseCompound(buffer)
            guard case .senderReport(let video) = packets[0], case .senderReport(let audio) = packets[1] else {
                continue
            }
            differences.insert(Int64(video.rtpTimestamp) * 48 - Int64(audio.rtpTimestamp) * 90)
        }
        #expect(differences.allSatisfy { abs($0) <= 90 * 2 }, "\(differences)")
        #expect(!differences.isEmpty)
    }

    @Test("audio and video stay aligned in reports, on a line that stays, while the source sends one of them late")
    func reportAfterStall() throws {
        var stream = TestStream.live()
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 60)
        // Sound comes in time, and each picture a second after it was due.
        var lines: Set<Int64> = []
        for index in Int64(60)..<160 {
            let now = NIODeadline.millis(index * 40)
            try viewer.send(stream.audio(index * 40, now: now), stream, now: now)
            if index >= 85 {
                let late = now + .milliseconds(1)
                try viewer.send(stream.video((index - 25) * 40, now: late), stream, now: late)
            }
            guard let buffer = viewer.report(now: now + .milliseconds(2)) else { continue }
            let packets = try RTCPPacket.parseCompound(buffer)
            guard case .senderReport(let video) = packets[0], case .senderReport(let audio) = packets[1] else {
                Issue.record("\(packets)")
                continue
            }
            #expect(video.ntpTime == audio.ntpTime)
            let distance = Int64(video.rtpTimestamp) * 48 - Int64(audio.rtpTimestamp) * 90
            #expect(abs(distance) <= 90 * 2, "sound is \(distance / 90 / 48) ms from its picture")
            // Where the line is: what the clock shows at the stream's time 0.
            lines.insert(index * 40 + 2 - Int64(audio.rtpTimestamp) / 48)
        }
        let spread = try #require(lines.max()) - (try #require(lines.min()))
        #expect(spread <= 2, "the line moves: \(lines)")
    }

    @Test("a viewer takes at most 4 KB, after everything happened to it")
    func memory() throws {
        var stream = TestStream.live()
        let viewer = TestViewer(
            TestViewer.configuration(extensions: .init(absoluteSendTime: 2, transportSequenceNumber: 3)))
        try viewer.start(stream, now: .millis(0))
        try self.play(viewer, &stream, count: 100)
        let quiet = viewer.heapByteCount
        var rest: [UInt16] = []
        for packet in viewer.video().suffix(200) { rest.append(packet.sequence) }
        for index in 0..<20 {
            let now = NIODeadline.millis(4_000 + Int64(index) * 600)
            try viewer.receive(
                [
                    .nack(.init(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC, sequenceNumbers: rest)),
                    .pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC),
                    .transportFeedback(
                        TransportFeedback(
                            senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: UInt16(index * 40), referenceTime: 0,
                            feedbackCount: UInt8(index), statuses: Array(repeating: .received(delta: 4), count: 40))),
                ], stream, now: now)
            try viewer.drain(stream, now: now, for: .milliseconds(500))
        }
        let size = MemoryLayout<RTPViewer>.size
        #expect(size + viewer.heapByteCount <= 4_096, "\(size) + \(viewer.heapByteCount)")
        #expect(size + quiet <= 3_500, "\(size) + \(quiet)")
    }

    @Test("sequence numbers begin where the loss of the first packets cannot hide a wrap")
    func seeds() {
        var generator = SystemRandomNumberGenerator()
        var seen: Set<UInt16> = []
        for _ in 0..<2_000 {
            let seeds = RTPViewerSeeds(using: &generator)
            let all = [seeds.videoSequence, seeds.videoRTXSequence, seeds.audioSequence, seeds.audioRTXSequence]
            #expect(all.allSatisfy { $0 < 0x8000 })
            seen.formUnion(all)
        }
        #expect(seen.count > 5_000, "they are drawn, all of them")
        #expect(seen.contains { $0 > 0x7000 })
    }

}
