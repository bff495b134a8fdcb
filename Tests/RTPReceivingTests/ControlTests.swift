import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

@Suite struct ControlTests {
    @Test func receiverReportsTellLossDelayAndName() throws {
        let receiver = RTPReceiver(
            configuration: RTPReceiverConfiguration(
                lines: [.video()], localSSRC: 77, canonicalName: "weir",
                reports: .init(maximumBitsPerSecond: 3_000_000)), now: arrival(0))
        var source = VideoSource()
        var packets: [RTPPacket] = []
        for index in 0..<20 { packets += try source.frame(isKeyframe: index == 0) }
        for packet in packets where packet.header.sequenceNumber % 10 != 5 { receiver.receive(packet, at: 100) }
        var datagram = ByteBuffer()
        RTCPPacket.senderReport(
            RTCPSenderReport(
                ssrc: 0x1000, ntpTime: NTPTime(value: 0x1234_5678_9ABC_DEF0), rtpTimestamp: 9_000, packetCount: 0,
                octetCount: 0)
        ).write(into: &datagram)
        receiver.receive(rtcp: datagram, now: arrival(500))
        let output = receiver.poll(now: arrival(1_000))
        guard case .receiverReport(let report) = output.rtcp.first else { return #expect(Bool(false)) }
        #expect(report.ssrc == 77)
        let block = try #require(report.reports.first)
        #expect(block.ssrc == 0x1000)
        #expect(block.cumulativeLost == 6)
        #expect(block.fractionLost == UInt8(6 * 256 / packets.count))
        #expect(block.lastSenderReport == 0x5678_9ABC)
        #expect(block.delaySinceLastSenderReport == 32_768)
        #expect(block.highestSequenceNumber & 0xFFFF == UInt32(try #require(packets.last).header.sequenceNumber))
        guard case .sourceDescription = output.rtcp[1] else { return #expect(Bool(false)) }
        // The estimate needs `goog-remb`.
        #expect(!output.rtcp.contains { if case .receiverEstimatedMaximumBitrate = $0 { true } else { false } })
    }

    @Test func theBitrateIsLimitedByEstimate() throws {
        let receiver = RTPReceiver.make(
            [.video(feedback: [.remb])], reports: .init(maximumBitsPerSecond: 3_000_000))
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        let output = receiver.poll(now: arrival(1_000))
        #expect(
            output.rtcp.contains(
                .receiverEstimatedMaximumBitrate(
                    RTCPReceiverEstimate(senderSSRC: 1, bitsPerSecond: 3_000_000, ssrcs: [0x1000]))))
    }

    @Test func arrivalsAreToldWithinTheFeedbackInterval() throws {
        let receiver = RTPReceiver.make([.video(feedback: [.transportWide])])
        var source = VideoSource()
        var number: UInt16 = 65_534
        var told: [UInt16: Bool] = [:]
        for step in 0..<30 as Range<Int64> {
            source.extensions = nil
            for packet in try source.frame(isKeyframe: step == 0) {
                var packet = packet
                packet.header.extensions = RTPHeaderExtensions([.init(id: 2, value: ByteBuffer(integer: number))])
                number &+= 1
                if number % 11 != 0 { receiver.receive(packet, at: step * 33) }
            }
            for case .transportFeedback(let feedback) in receiver.poll(now: arrival(step * 33 + 20)).rtcp {
                feedback.forEachPacket { number, micros in told[number] = told[number] == true || micros != nil }
            }
        }
        for case .transportFeedback(let feedback) in receiver.poll(now: arrival(1_100)).rtcp {
            feedback.forEachPacket { number, micros in told[number] = micros != nil }
        }
        let all = (0..<90).map { UInt16(65_534) &+ UInt16($0) }
        for sent in all.dropLast() { #expect(told[sent] == ((sent &+ 1) % 11 != 0), "\(sent)") }
    }

    @Test func anOwnerMayAskForAKeyframe() throws {
        let receiver = RTPReceiver.make([.video(feedback: [.fir]), .audio()])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        #expect(receiver.poll(now: arrival(0)).rtcp.isEmpty)
        receiver.keyframeRequest(now: arrival(100))
        #expect(receiver.nextDeadline == arrival(100))
        let request = RTCPPacket.fullIntraRequest(
            RTCPFullIntraRequest(senderSSRC: 1, entries: [.init(ssrc: 0x1000, sequenceNumber: 1)]))
        #expect(receiver.poll(now: arrival(100)).rtcp == [request])
        receiver.keyframeRequest(now: arrival(120))
        #expect(receiver.poll(now: arrival(120)).rtcp.isEmpty)
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 150) }
        _ = receiver.poll(now: arrival(150))
        #expect(receiver.poll(now: arrival(900)).rtcp.isEmpty)
    }

    @Test func feedbackGoesInACompoundWhereReducedSizeIsNotAllowed() throws {
        let receiver = RTPReceiver.make([.video()], reports: .init(allowsReducedSize: false))
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        receiver.keyframeRequest(now: arrival(100))
        let packets = receiver.poll(now: arrival(100)).rtcp
        #expect(
            packets == [
                .receiverReport(RTCPReceiverReport(ssrc: 1)), .pictureLossIndication(senderSSRC: 1, mediaSSRC: 0x1000),
            ])
    }

    @Test func aSourceThatSaidGoodbyeIsNotReportedOn() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        var datagram = ByteBuffer()
        RTCPPacket.goodbye(RTCPGoodbye(ssrcs: [0x1000])).write(into: &datagram)
        receiver.receive(rtcp: datagram, now: arrival(10))
        guard case .receiverReport(let report) = receiver.poll(now: arrival(1_000)).rtcp.first else {
            return #expect(Bool(false))
        }
        #expect(report.reports.isEmpty)
    }

    @Test func aReceiverWithoutPacketsIsQuiet() {
        let receiver = RTPReceiver.make([.video(), .audio()])
        #expect(receiver.nextDeadline == nil)
        #expect(receiver.poll(now: arrival(10_000)).isEmpty)
        receiver.receive(rtcp: ByteBuffer(bytes: [1, 2, 3]), now: arrival(1))
        #expect(receiver.statistics(now: arrival(1)).malformedPackets == 1)
    }
}
