import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

@Suite struct RoutingTests {
    private func name(_ id: UInt8, _ text: String) -> RTPHeaderExtensions.Element {
        .init(id: id, value: ByteBuffer(string: text))
    }

    @Test func packetsFindTheirLineByNameThenByPayloadType() throws {
        var other = RTPReceivedLine.video(mid: "2")
        other.payloadTypes = [96: .media(RTPMediaPayload(format: .vp8, clockRate: 90_000))]
        let receiver = RTPReceiver.make([.video(), .audio(), other])
        var source = VideoSource(ssrc: 7)
        // Two lines have payload type 96: without a name it is nobody's.
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        #expect(receiver.statistics(now: arrival(0)).unroutedPackets == 4)
        source.extensions = RTPHeaderExtensions([self.name(1, "0")])
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 33) }
        // Once learnt, the name is not needed.
        source.extensions = nil
        for packet in try source.frame(isKeyframe: false) { receiver.receive(packet, at: 66) }
        #expect(receiver.poll(now: arrival(66)).frames.count == 2)
        #expect(receiver.statistics(now: arrival(66)).sources.map(\.mid) == ["0"])
    }

    @Test func signalledSourcesNeedNoExtension() throws {
        let receiver = RTPReceiver.make([
            .video(mid: "0", ssrcs: [5]),
            .video(mid: "1", ssrcs: [6, 7], groups: [.init(semantics: .flow, ssrcs: [6, 7])]),
        ])
        var source = VideoSource(ssrc: 6)
        let key = try source.frame(isKeyframe: true)
        for packet in key { receiver.receive(packet, at: 0) }
        let lost = try source.frame(isKeyframe: false)
        for packet in lost.dropLast() { receiver.receive(packet, at: 33) }
        var payload = ByteBuffer()
        let last = try #require(lost.last)
        RTXPacket.write(
            originalSequenceNumber: last.header.sequenceNumber, payload: last.payload, into: &payload)
        receiver.receive(
            RTPPacket(
                header: RTPHeader(
                    marker: true, payloadType: 97, sequenceNumber: 1, timestamp: last.header.timestamp, ssrc: 7),
                payload: payload), at: 50)
        #expect(receiver.poll(now: arrival(50)).frames.count == 2)
        #expect(receiver.statistics(now: arrival(50)).sources.map(\.mid) == ["1"])
    }

    @Test func theTransportMayTellTheLine() throws {
        let receiver = RTPReceiver.make([.video(mid: nil), .video(mid: nil)])
        var source = VideoSource(ssrc: 9)
        for packet in try source.frame(isKeyframe: true) {
            var datagram = ByteBuffer()
            packet.write(into: &datagram)
            receiver.receive(rtp: datagram, arrival: arrival(0), line: 1)
            receiver.receive(rtp: datagram, arrival: arrival(0), line: 5)
        }
        #expect(receiver.poll(now: arrival(0)).frames.count == 1)
        #expect(receiver.sources.map(\.lineIndex) == [1])
    }

    @Test func sourcesBeyondTheLimitAreDroppedUntilOneIsSilent() throws {
        let receiver = RTPReceiver.make([.video(mid: "0")], maximumSources: 4)
        for index in 0..<10_000 as Range<UInt32> {
            var source = VideoSource(ssrc: 0x100 + index)
            receiver.receive(try source.frame(isKeyframe: true)[0], at: Int64(index % 3))
        }
        #expect(receiver.sources.count == 4)
        #expect(receiver.routes.count == 4)
        #expect(receiver.statistics(now: arrival(3)).unroutedPackets == 9_996)
        var source = VideoSource(ssrc: 0x9999)
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 6_000) }
        #expect(receiver.sources.count == 4)
        #expect(receiver.poll(now: arrival(6_000)).frames.count == 1)
    }

    @Test func noiseIsCountedAndDropped() throws {
        let receiver = RTPReceiver.make([.video(), .audio()])
        var random = SeededGenerator(seed: 9)
        for _ in 0..<20_000 {
            let length = Int.random(in: 0...60, using: &random)
            var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            if length > 12 {
                bytes[0] = 0x80
                bytes[1] = [96, 97, 98, 111, 63, 224][Int.random(in: 0..<6, using: &random)]
                (bytes[8], bytes[9], bytes[10]) = (0, 0, 0)
                bytes[11] &= 3
            }
            let now = arrival(Int64.random(in: 0...50, using: &random))
            receiver.receive(rtp: ByteBuffer(bytes: bytes), arrival: now)
            receiver.receive(rtcp: ByteBuffer(bytes: bytes), now: now)
        }
        _ = receiver.poll(now: arrival(60))
        #expect(receiver.sources.count <= 16)
        #expect(receiver.statistics(now: arrival(60)).malformedPackets > 0)
        for source in receiver.sources {
            #expect(source.losses.count <= 512)
            #expect(source.currentStatistics(now: arrival(60)).heldPackets <= 2_048)
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func numbersInAnyOrderStayWithinTheBounds(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let receiver = RTPReceiver.make(
            [.video(), .audio()], jitter: .init(maximumVideoPackets: 128, maximumBytes: 20_000))
        let payloads: [[UInt8]] = [
            [0x65, 0x88, 1], [0x41, 0x9A, 2], [0x7C, 0x85, 3], [0x7C, 0x45, 4], [0x67], [0x78, 0, 1, 9], [], [0x61],
        ]
        let span = [50, 300, 3_000, 65_536][Int(seed % 4)]
        let start = Int.random(in: 0...65_535, using: &random)
        for step in 0..<1_500 as Range<Int64> {
            let packet = RTPPacket(
                header: RTPHeader(
                    marker: random.chance(0.3),
                    payloadType: [96, 96, 96, 97, 98, 50].randomElement(using: &random) ?? 96,
                    sequenceNumber: UInt16(
                        truncatingIfNeeded: start + Int(step) / 4 + Int.random(in: 0..<span, using: &random)),
                    timestamp: UInt32(truncatingIfNeeded: step / 5 * 3_000), ssrc: 40),
                payload: ByteBuffer(bytes: payloads.randomElement(using: &random) ?? []))
            receiver.receive(packet, at: step)
            if random.chance(0.2) { _ = receiver.poll(now: arrival(step)) }
            guard let source = receiver.sources.first else { continue }
            #expect(source.losses.count <= 512)
            #expect(source.currentStatistics(now: arrival(step)).heldPackets <= 128)
        }
    }

    @Test func giantGapsHoldNothingBack() throws {
        let receiver = RTPReceiver.make([.video()], jitter: .init(maximumVideoPackets: 128))
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        for step in 1...200 as ClosedRange<Int64> {
            source.sequence &+= UInt16(truncatingIfNeeded: step * 40)
            for packet in try source.frame(isKeyframe: step % 50 == 0) { receiver.receive(packet, at: step) }
            _ = receiver.poll(now: arrival(step))
            let held = try #require(receiver.sources.first).currentStatistics(now: arrival(step)).heldPackets
            #expect(held <= 128)
            #expect(try #require(receiver.sources.first).losses.count <= 512)
        }
    }
}

@Suite struct SimulcastTests {
    private static let names = ["q", "h", "f"]

    private func receiver() -> RTPReceiver { .make([.video(rids: Self.names)]) }

    private func sources() -> [VideoSource] {
        zip(Self.names, [(320, 192), (640, 368), (1280, 720)]).enumerated().map { index, pair in
            var source = VideoSource(
                ssrc: UInt32(index + 1), sequence: UInt16(index) &* 7_000, timestamp: UInt32(index) &* 1_000_000_000)
            source.size = pair.1
            source.extensions = RTPHeaderExtensions([
                .init(id: 1, value: ByteBuffer(string: "0")), .init(id: 3, value: ByteBuffer(string: pair.0)),
            ])
            return source
        }
    }

    @Test func theBestEncodingGoesOnFromTheStart() throws {
        let receiver = self.receiver()
        var sources = self.sources()
        var frames: [Frame] = []
        var tracks: [Track] = []
        for step in 0..<10 as Range<Int64> {
            for index in sources.indices {
                for packet in try sources[index].frame(isKeyframe: step == 0) {
                    receiver.receive(packet, at: step * 33 + Int64(index) * 5)
                }
            }
            let output = receiver.poll(now: arrival(step * 33 + 15))
            frames += output.frames
            tracks += output.tracks
        }
        #expect(tracks.count == 1)
        guard case .video(let format) = tracks.first?.format else { return #expect(Bool(false)) }
        #expect(format.width == 1280)
        #expect(frames.count == 10)
        let statistics = receiver.statistics(now: arrival(400))
        #expect(statistics.sources.map(\.rid) == ["q", "h", "f"])
        #expect(statistics.sources.map(\.isForwarded) == [false, false, true])
    }

    @Test func anEncodingThatStopsIsReplacedAtAKeyframeAndComesBack() throws {
        let receiver = self.receiver()
        var sources = self.sources()
        var widths: [Int] = []
        var asked: Set<UInt32> = []
        var last = Int64.min
        for step in 0..<300 as Range<Int64> {
            for index in sources.indices {
                // The best one pauses from 1 to 4 seconds.
                if index == 2, (30..<120).contains(step) {
                    sources[index].timestamp &+= 3_000
                    continue
                }
                let isKeyframe = step == 0 || asked.remove(UInt32(index + 1)) != nil
                for packet in try sources[index].frame(isKeyframe: isKeyframe) {
                    receiver.receive(packet, at: step * 33)
                }
            }
            let output = receiver.poll(now: arrival(step * 33))
            asked.formUnion(output.keyframeRequests)
            for case .track(let track) in output.events {
                if case .video(let format) = track.format { widths.append(format.width ?? 0) }
            }
            for frame in output.frames {
                #expect(frame.dts.ticks > last)
                // All encodings stay on one timeline, although their timestamps have nothing in common.
                #expect(abs(frame.pts.ticks - 90_000 - step * 33 * 90) < 9_000)
                last = frame.dts.ticks
            }
        }
        #expect(widths == [1280, 640, 1280])
    }

    @Test func aMissingEncodingDelaysTheStartOnlyForAMoment() throws {
        let receiver = self.receiver()
        var sources = self.sources()
        var first: Int64?
        for step in 0..<30 as Range<Int64> {
            for index in 0..<2 {
                for packet in try sources[index].frame(isKeyframe: step == 0) {
                    receiver.receive(packet, at: step * 33)
                }
            }
            let frames = receiver.poll(now: arrival(step * 33)).frames
            if first == nil, !frames.isEmpty {
                first = step * 33
                #expect(frames.count == Int(step) + 1)
            }
        }
        #expect(first.map { (300...340).contains($0) } == true)
        #expect(receiver.statistics(now: arrival(1_000)).sources.map(\.isForwarded) == [false, true])
    }
}
