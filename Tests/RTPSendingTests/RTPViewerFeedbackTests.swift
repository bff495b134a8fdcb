import Media
import NIOCore
import RTP
import Streaming
import Testing

@testable import RTPSending

@Suite("A viewer asks again")
struct RTPViewerFeedbackTests {
    private func playing(
        _ configuration: RTPViewerConfiguration = TestViewer.configuration(), sequence: UInt16 = 65_500
    ) throws -> (TestViewer, TestStream) {
        var stream = TestStream.live()
        let viewer = TestViewer(
            configuration,
            seeds: RTPViewerSeeds(
                videoSequence: sequence, videoTimestamp: 0xFFFF_F000, videoRTXSequence: 65_530, audioSequence: 10,
                audioTimestamp: 0, audioRTXSequence: 0))
        // Half a GOP is cached, so that a part of the packets is from a replay.
        for index in 0..<12 { stream.video(Int64(index) * 40, key: index == 0, bytes: 4_000) }
        try viewer.start(stream, now: .millis(480))
        for index in 12..<40 {
            let now = NIODeadline.millis(Int64(index) * 40)
            try viewer.send(stream.video(Int64(index) * 40, key: index == 30, bytes: 4_000), stream, now: now)
            try viewer.send(stream.audio(Int64(index) * 40), stream, now: now)
            try viewer.drain(stream, now: now, for: .milliseconds(39))
        }
        return (viewer, stream)
    }

    private func nack(_ sequences: [UInt16], _ ssrc: UInt32 = TestViewer.videoSSRC) -> RTCPPacket {
        .nack(RTCPNack(senderSSRC: 1, mediaSSRC: ssrc, sequenceNumbers: sequences))
    }

    @Test("every packet that the ring has comes again on the RTX stream, as it was")
    func rtx() throws {
        let (viewer, stream) = try self.playing()
        let originals = viewer.video()
        var now = NIODeadline.millis(1_600)
        for original in originals {
            now = now + .milliseconds(20)
            try viewer.receive([self.nack([original.sequence])], stream, now: now)
        }
        let repeated = viewer.repeated()
        // The keyframe at 1.2 s, and one second before the last frame.
        #expect(repeated.count >= 26 * 4)
        #expect(UInt64(repeated.count) == viewer.statistics.repeatedPackets)
        #expect(
            viewer.statistics.repeatedPackets + viewer.statistics.unansweredPackets
                == UInt64(originals.count))
        var lookup: [UInt16: Received] = [:]
        for original in originals { lookup[original.sequence] = original }
        for (offset, packet) in repeated.enumerated() {
            #expect(packet.packet.header.payloadType == 103)
            #expect(packet.index == 65_530 + UInt64(offset))
            let rebuilt = try #require(
                try RTXPacket.original(of: packet.packet, ssrc: TestViewer.videoSSRC, payloadType: 102))
            let original = try #require(lookup[rebuilt.header.sequenceNumber])
            #expect(rebuilt.payload == original.packet.payload)
            #expect(rebuilt.header.timestamp == original.timestamp)
            #expect(rebuilt.header.marker == original.packet.header.marker)
        }
    }

    @Test("without RTX a packet comes again the same to the bit, with the index it had")
    func plain() throws {
        let extensions = RTPTrackConfiguration.ExtensionIDs(
            mid: 4, absoluteSendTime: 2, transportSequenceNumber: 3, playoutDelay: 6)
        let (viewer, stream) = try self.playing(TestViewer.configuration(rtx: false, extensions: extensions))
        let originals = viewer.video()
        let wanted = originals.suffix(60).filter { $0.sequence % 3 == 0 }
        let before = viewer.received.count
        try viewer.receive([self.nack(wanted.map(\.sequence))], stream, now: .millis(1_700))
        try viewer.drain(stream, now: .millis(1_700), for: .seconds(1))
        let again = viewer.received[before...]
        #expect(again.count == wanted.count)
        for (packet, original) in zip(again, wanted) {
            #expect(packet.index == original.index)
            #expect(packet.packet == original.packet)
        }
    }

    @Test("a packet is sent again only after a round trip, and not for ever")
    func repeats() throws {
        let (viewer, stream) = try self.playing()
        let sequence = try #require(viewer.video().last).sequence
        var now = NIODeadline.millis(1_600)
        try viewer.receive([self.nack([sequence, sequence]), self.nack([sequence])], stream, now: now)
        #expect(viewer.repeated().count == 1)
        now = now + .milliseconds(50)
        try viewer.receive([self.nack([sequence])], stream, now: now)
        #expect(viewer.repeated().count == 1)
        for _ in 0..<50 {
            now = now + .milliseconds(120)
            try viewer.receive([self.nack([sequence])], stream, now: now)
        }
        #expect(viewer.repeated().count == 8)
    }

    @Test("a storm of requests is bounded, in packets and in bytes")
    func nackStorm() throws {
        let (viewer, stream) = try self.playing()
        let all = viewer.video().suffix(120).map(\.sequence) + (0..<2_000).map { UInt16($0) + 1_000 }
        for _ in 0..<100 { try viewer.receive([self.nack(all)], stream, now: .millis(1_600)) }
        let bytes = viewer.repeated().reduce(0) { $0 + $1.packet.payload.readableBytes }
        // Half a second of the stream.
        #expect(bytes <= 64_000, "\(bytes)")
        #expect(viewer.hasBacklog)
        #expect(viewer.nextDeadline > .millis(1_600))
        #expect(viewer.nextDeadline < .millis(2_000))
    }

    @Test("what was never sent, or on another track, is not sent again")
    func unknown() throws {
        let (viewer, stream) = try self.playing()
        let next = try #require(viewer.video().last).sequence &+ 1
        try viewer.receive(
            [
                self.nack([next, next &+ 1_000, 65_499]), self.nack([12], TestViewer.audioSSRC), self.nack([1], 0x9999),
            ], stream, now: .millis(1_600))
        #expect(viewer.repeated().isEmpty)
        #expect(viewer.statistics.unansweredPackets == 3)
        #expect(!viewer.hasBacklog)
    }

    @Test("a request for a keyframe is answered at once from the ring, with times that go on")
    func keyframe() throws {
        let (viewer, stream0) = try self.playing()
        var stream = stream0
        let before = viewer.video().count
        let last = try #require(viewer.videoTimes().last)
        try viewer.receive(
            [.pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC)], stream, now: .millis(1_590))
        try viewer.drain(stream, now: .millis(1_590), for: .milliseconds(9))
        let answer = Array(viewer.video()[before...])
        #expect(answer.first?.at == .millis(1_590))
        let (units, broken) = accessUnits(answer, format: .h264(packetizationMode: 1))
        #expect(broken == 0)
        #expect(units.count == 10)
        #expect(units.first?.isKeyframe == true)
        #expect(units.first?.parameterSets.isEmpty == false)
        let sequences = viewer.video().map(\.sequence)
        #expect(zip(sequences, sequences.dropFirst()).allSatisfy { $1 == $0 &+ 1 })
        for index in 40..<50 {
            let now = NIODeadline.millis(Int64(index) * 40)
            try viewer.send(stream.video(Int64(index) * 40, bytes: 4_000), stream, now: now)
            try viewer.drain(stream, now: now, for: .milliseconds(39))
        }
        let times = viewer.videoTimes()
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        // Live pictures are at their own times again.
        #expect(try #require(times.last) == last + 10 * 3_600)
    }

    @Test("a storm of PLI and FIR is answered a few times, more and more rarely")
    func keyframeStorm() throws {
        let (viewer, stream0) = try self.playing()
        var stream = stream0
        for index in 0..<500 {
            let now = NIODeadline.millis(1_600 + Int64(index) * 20)
            let time = 1_600 + Int64(index) * 20
            if index % 2 == 0 {
                try viewer.send(stream.video(time, key: index % 100 == 0, bytes: 2_000), stream, now: now)
            }
            try viewer.receive(
                [
                    .pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC),
                    .fullIntraRequest(
                        .init(
                            senderSSRC: 1,
                            entries: [.init(ssrc: TestViewer.videoSSRC, sequenceNumber: UInt8(index & 255))])),
                ], stream, now: now)
            try viewer.drain(stream, now: now, for: .milliseconds(19))
        }
        let statistics = viewer.statistics
        #expect(statistics.keyframeRequests == 1_000)
        // After 0, 0.5, 1.5, 3.5 and 7.5 seconds.
        #expect(statistics.replays == 5, "\(statistics.replays)")
        let times = viewer.videoTimes()
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
        #expect(accessUnits(viewer.video(), format: .h264(packetizationMode: 1)).broken == 0)
    }

    @Test("NACKs for packets of a replay, a live run and a second replay all find what was sent")
    func nackOverRuns() throws {
        let (viewer, stream) = try self.playing()
        for index in 0..<3 {
            // Nothing new comes meanwhile.
            let now = NIODeadline.millis(1_600 + Int64(index) * 10_000)
            try viewer.receive(
                [.pictureLossIndication(senderSSRC: 1, mediaSSRC: TestViewer.videoSSRC)], stream, now: now)
            try viewer.drain(stream, now: now, for: .seconds(1))
        }
        let originals = viewer.video()
        var answered = 0
        for (offset, original) in originals.suffix(150).enumerated() {
            let before = viewer.received.count
            try viewer.receive(
                [self.nack([original.sequence])], stream, now: .millis(30_000 + Int64(offset) * 20))
            guard viewer.received.count > before, let packet = viewer.received.last else { continue }
            let rebuilt = try #require(
                try RTXPacket.original(of: packet.packet, ssrc: TestViewer.videoSSRC, payloadType: 102))
            #expect(rebuilt.payload == original.packet.payload)
            #expect(rebuilt.header.timestamp == original.timestamp)
            answered += 1
        }
        #expect(answered == 150)
    }

    @Test("header extensions are those that were negotiated, in one-byte and two-byte form")
    func headerExtensions() throws {
        for highest in [UInt8(5), 200] {
            let ids = RTPTrackConfiguration.ExtensionIDs(
                mid: highest, absoluteSendTime: 2, transportSequenceNumber: 3, playoutDelay: 6)
            let (viewer, _) = try self.playing(TestViewer.configuration(extensions: ids))
            var expected: UInt16?
            for packet in viewer.received {
                let header = packet.packet.header
                let extensions = try #require(header.extensions)
                let mid = try #require(extensions.value(id: highest))
                #expect(String(buffer: mid) == (header.ssrc == TestViewer.videoSSRC ? "0" : "1"))
                let number = try #require(extensions.value(id: 3))
                let sequence = try #require(number.getInteger(at: number.readerIndex, as: UInt16.self))
                if let expected { #expect(sequence == expected) }
                expected = sequence &+ 1
                let time = try #require(extensions.value(id: 2))
                #expect(
                    RTPAbsoluteSendTime(parsing: time) == RTPAbsoluteSendTime(nanoseconds: packet.at.uptimeNanoseconds))
                #expect(extensions.form == (highest > 14 ? .twoByte : .oneByte))
            }
            // Playout delay is told with keyframes.
            let units = Dictionary(grouping: viewer.video(), by: \.timestamp).values.sorted {
                $0[0].index < $1[0].index
            }
            for (index, unit) in units.enumerated() {
                let isKeyframe = index == 0 || index == 30
                for packet in unit {
                    let delay = packet.packet.header.extensions?.value(id: 6)
                    #expect((delay != nil) == isKeyframe)
                    if let delay {
                        #expect(RTPPlayoutDelay(parsing: delay) == RTPPlayoutDelay(minimumMillis: 0, maximumMillis: 0))
                    }
                }
            }
            #expect(viewer.audio().allSatisfy { $0.packet.header.extensions?.value(id: 6) == nil })
        }
        let (plain, _) = try self.playing()
        #expect(plain.received.allSatisfy { $0.packet.header.extensions == nil })
    }

    @Test("a mid that is too long for the extension, and ids that are none, are left out")
    func strangeExtensions() throws {
        var configuration = TestViewer.configuration(extensions: .init(mid: 4, absoluteSendTime: 0))
        configuration.video?.mid = String(repeating: "m", count: 17)
        let (viewer, _) = try self.playing(configuration)
        #expect(viewer.video().allSatisfy { $0.packet.header.extensions == nil })
        configuration.video?.mid = String(repeating: "m", count: 16)
        configuration.video?.extensions = .init(
            mid: 255, absoluteSendTime: 254, transportSequenceNumber: 253, playoutDelay: 252)
        let (longest, _) = try self.playing(configuration)
        let first = try #require(longest.video().first?.packet.header)
        #expect(first.byteCount <= RTPBurst.maximumHeaderLength)
        let mid = try #require(first.extensions?.value(id: 255))
        #expect(String(buffer: mid) == String(repeating: "m", count: 16))
        #expect(first.extensions?.value(id: 252) != nil)
    }

    @Test("all packets of a picture have one header length")
    func headerLengths() throws {
        var stream = TestStream.live()
        let viewer = TestViewer(
            TestViewer.configuration(
                extensions: .init(mid: 1, absoluteSendTime: 2, transportSequenceNumber: 3, playoutDelay: 4)))
        viewer.viewer.start(from: stream.ring, now: .millis(0))
        var lengths: [Int] = []
        for index in 0..<3 {
            for frame in stream.video(Int64(index) * 40, key: index == 0, bytes: 9_000) {
                let sent = viewer.viewer.send(frame, now: .millis(Int64(index) * 40))
                let burst = try #require(sent)
                #expect(burst.count == frame.packets.count)
                lengths.append(burst.headerLength)
            }
        }
        // 12 + 4 + (3 + 4 + 2, padded), and 4 more with the playout delay.
        #expect(lengths == [32, 28, 28])
    }

    @Test("receiver reports tell loss, jitter and the round trip")
    func receiverReports() throws {
        let (viewer, stream) = try self.playing()
        let buffer = try #require(viewer.report(now: .millis(2_600)))
        guard case .senderReport(let report)? = try RTCPPacket.parseCompound(buffer).first else {
            Issue.record("no report")
            return
        }
        let block = RTCPReportBlock(
            ssrc: TestViewer.videoSSRC, fractionLost: 64, cumulativeLost: 17, highestSequenceNumber: 1, jitter: 900,
            lastSenderReport: report.ntpTime.compact, delaySinceLastSenderReport: 65_536 / 2)
        try viewer.receive([.receiverReport(.init(ssrc: 1, reports: [block]))], stream, now: .millis(3_180))
        let statistics = viewer.statistics
        #expect(statistics.videoLoss == 0.25)
        #expect(statistics.lostPackets == 17)
        #expect(statistics.videoJitterMillis == 10)
        #expect(abs(try #require(statistics.roundTripMillis) - 80) < 1)
    }

    @Test("broken RTCP is counted and harms nothing, cut at every byte")
    func brokenReports() throws {
        let (viewer, stream) = try self.playing()
        var datagram = ByteBuffer()
        for packet in [
            self.nack([1, 2, 3]), .pictureLossIndication(senderSSRC: 1, mediaSSRC: 0x9999),
            .goodbye(RTCPGoodbye(ssrcs: [5])),
        ] { packet.write(into: &datagram) }
        for length in 0..<datagram.readableBytes {
            viewer.viewer.receive(
                rtcp: datagram.getSlice(at: 0, length: length) ?? ByteBuffer(), ring: stream.ring, now: .millis(1_600))
        }
        #expect(viewer.statistics.malformedReports > 0)
        viewer.viewer.receive(rtcp: datagram, ring: stream.ring, now: .millis(1_600))
        viewer.collectEvents()
        #expect(viewer.events.contains(.goodbye))
    }
}
