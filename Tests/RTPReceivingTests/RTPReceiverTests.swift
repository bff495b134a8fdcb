import Media
import NIOCore
import RTP
import Testing

@testable import RTPReceiving

private func audioPacket(
    _ sequence: UInt16, timestamp: UInt32, ssrc: UInt32 = 0x2000, payload: ByteBuffer = ByteBuffer(bytes: [0xFC, 1, 2])
) -> RTPPacket {
    RTPPacket(
        header: RTPHeader(
            marker: false, payloadType: 111, sequenceNumber: sequence, timestamp: timestamp, ssrc: ssrc),
        payload: payload)
}

@Suite struct TrackTests {
    @Test func theTrackPrecedesTheFirstFrameAndEachChange() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        let output = receiver.poll(now: arrival(0))
        guard case .track(let track) = output.events.first else { return #expect(Bool(false), "no track") }
        #expect(output.events.count == 2)
        #expect(track.codec == .h264)
        #expect(track.format == .video(.init(width: 640, height: 480, profile: "Constrained Baseline", level: "3.1")))
        let record = try AVCDecoderConfiguration(parsing: #require(track.configuration))
        #expect(record.sequenceParameterSets == [H264.sps(width: 640, height: 480)])
        #expect(record.pictureParameterSets == [H264.pps])
        let frame = try #require(output.frames.first)
        #expect(frame.isKeyframe)
        #expect(frame.dts == MediaTime(ticks: 90_000))
        #expect(H264.check(frame.payload)?.number == 1)

        for packet in try source.frame(isKeyframe: false) { receiver.receive(packet, at: 33) }
        #expect(receiver.poll(now: arrival(33)).events.count == 1)
        source.size = (1280, 720)
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 66) }
        let changed = receiver.poll(now: arrival(66))
        #expect(changed.tracks.count == 1)
        #expect(changed.frames.count == 1)
        // The same sets again change nothing.
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 99) }
        #expect(receiver.poll(now: arrival(99)).tracks.isEmpty)
    }

    @Test func withoutParameterSetsFramesAreHeldBackAndAKeyframeIsAskedFor() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true, withParameterSets: false) { receiver.receive(packet, at: 0) }
        let output = receiver.poll(now: arrival(0))
        #expect(output.events.isEmpty)
        #expect(output.keyframeRequests == [0x1000])
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 33) }
        #expect(receiver.poll(now: arrival(33)).frames.count == 1)
    }

    @Test func parameterSetsFromTheDescriptionAreEnough() throws {
        var line = RTPReceivedLine.video()
        line.payloadTypes[96] = .media(
            RTPMediaPayload(
                format: .h264(packetizationMode: 1), clockRate: 90_000,
                parameterSets: [H264.sps(width: 320, height: 240), H264.pps]))
        let receiver = RTPReceiver.make([line])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true, withParameterSets: false) { receiver.receive(packet, at: 0) }
        let output = receiver.poll(now: arrival(0))
        #expect(output.tracks.count == 1)
        #expect(output.frames.count == 1)
    }

    @Test func soundHasItsTrackFromTheDescription() throws {
        let receiver = RTPReceiver.make([.audio()])
        receiver.receive(audioPacket(1, timestamp: 0), at: 0)
        receiver.receive(audioPacket(2, timestamp: 960), at: 20)
        let output = receiver.poll(now: arrival(20))
        let track = try #require(output.tracks.first)
        #expect(track.codec == .opus)
        #expect(try OpusHead(parsing: #require(track.configuration)).channels == 2)
        #expect(output.frames.map(\.dts.ticks) == [90_000, 91_800])
        #expect(output.frames.allSatisfy { $0.isKeyframe && $0.payload == ByteBuffer(bytes: [0xFC, 1, 2]) })
    }

    @Test func anotherCodecMidwayStartsWithItsKeyframe() throws {
        var line = RTPReceivedLine.video()
        line.payloadTypes[100] = .media(RTPMediaPayload(format: .vp8, clockRate: 90_000))
        let receiver = RTPReceiver.make([line])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        _ = receiver.poll(now: arrival(0))
        func send(_ frame: [UInt8], isKeyframe: Bool, at millis: Int64) throws -> RTPReceiverOutput {
            let writer = RTPPayloadWriter(format: .vp8, maximumPayload: 1_000)
            let payloads = try writer.payloads(of: ByteBuffer(bytes: frame), isKeyframe: isKeyframe)
            receiver.receive(
                RTPPacket(
                    header: RTPHeader(
                        marker: true, payloadType: 100, sequenceNumber: source.sequence,
                        timestamp: source.timestamp, ssrc: source.ssrc), payload: payloads.payload(at: 0)),
                at: millis)
            source.sequence &+= 1
            source.timestamp &+= 3_000
            return receiver.poll(now: arrival(millis))
        }
        let early = try send([0x11, 0, 0, 1, 2, 3], isKeyframe: false, at: 33)
        #expect(early.events.isEmpty)
        #expect(early.keyframeRequests == [0x1000])
        let output = try send(
            [0x10, 0, 0, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0xE0, 0x01, 5, 6, 7], isKeyframe: true, at: 66)
        let track = try #require(output.tracks.first)
        #expect(track.codec == .vp8)
        guard case .video(let format) = track.format else { return #expect(Bool(false)) }
        #expect(format.width == 640)
        #expect(format.height == 480)
        #expect(output.frames.count == 1)
    }
}

@Suite struct RecordTests {
    @Test func vp9HeadersMakeARecord() throws {
        // Profile 0, key frame, shown; sync code; BT.709 in studio range; 640 × 360.
        var writer = BitWriter([])
        for (value, count) in [
            (2, 2), (0, 2), (0, 2), (1, 1), (0, 1), (0x49_8342, 24), (2, 3), (0, 1), (639, 16), (359, 16), (0, 8),
        ] { writer.bits(value, count) }
        let unit = RTPAccessUnit(timestamp: 0, payload: ByteBuffer(bytes: writer.bytes), isKeyframe: true)
        let track = try #require(CodecRecords.vp9(unit))
        #expect(track.format == .video(.init(width: 640, height: 360, profile: "Profile 0", level: "2.1")))
        let record = try VPCodecConfiguration(parsing: #require(track.configuration))
        #expect(record.bitDepth == 8)
        #expect(record.chromaSubsampling == 1)
        for length in 0..<9 {
            let cut = ByteBuffer(bytes: writer.bytes.prefix(length))
            #expect(CodecRecords.vp9(RTPAccessUnit(timestamp: 0, payload: cut, isKeyframe: true)) == nil)
        }
    }

    @Test func av1SequenceHeadersMakeARecord() throws {
        // As libaom writes it for 352 × 288, Main profile, level 2.0, 8 bits 4:2:0.
        let header = ByteBuffer(bytes: [0x0A, 0x0B, 0, 0, 0, 0x04, 0x3C, 0xFF, 0xBC, 0xFB, 0xD9, 0x80, 0x40])
        let track = try #require(CodecRecords.av1(sequenceHeader: header))
        let record = try AV1CodecConfiguration(parsing: #require(track.configuration))
        #expect(record.profile == 0)
        #expect(record.bitDepth == 8)
        #expect(!record.isMonochrome)
        #expect(record.configurationUnits == header)
        for length in 0..<10 {
            let cut = header.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(CodecRecords.av1(sequenceHeader: cut) == nil)
        }
    }

    @Test func theDepthOfReorderingIsInTheParameterSets() throws {
        func track(_ sps: ByteBuffer) throws -> Track {
            var record = ByteBuffer()
            try AVCDecoderConfiguration(sequenceParameterSets: [sps], pictureParameterSets: [H264.pps])
                .write(into: &record)
            return try Track(codec: .h264, parsingConfiguration: record)
        }
        // x264, 1280 × 720, High, with two B-frames.
        let x264 = ByteBuffer(bytes: [
            0x67, 0x64, 0x00, 0x1F, 0xAC, 0xD9, 0x40, 0x50, 0x05, 0xBB, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
            0x00, 0x03, 0x03, 0xC0, 0xF1, 0x83, 0x19, 0x60,
        ])
        #expect(ReorderDepth.declared(by: try track(x264)) == 2)
        #expect(ReorderDepth.declared(by: try track(H264.sps(width: 320, height: 240))) == 0)
        for length in 4..<24 {
            let cut = x264.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(ReorderDepth.declared(by: try track(cut)) == nil)
        }
    }

    @Test func parameterSetsReplaceEachOtherByNumber() throws {
        var book = ParameterSetBook(codec: .h264)
        #expect(book.record() == nil)
        #expect(book.take([H264.sps(width: 320, height: 240)], startsSequence: false) == true)
        #expect(book.record() == nil)
        #expect(book.take([H264.pps, ByteBuffer(bytes: [0x65, 1, 2])], startsSequence: false) == true)
        let first = try #require(book.record())
        #expect(book.take([H264.pps, H264.sps(width: 320, height: 240)], startsSequence: true) == false)
        #expect(book.take([H264.pps, H264.sps(width: 640, height: 240)], startsSequence: true) == true)
        let second = try #require(book.record())
        #expect(first != second)
        #expect(try AVCDecoderConfiguration(parsing: second).sequenceParameterSets.count == 1)
        #expect(
            book.take([ByteBuffer(bytes: [0x67]), ByteBuffer(), ByteBuffer(bytes: [0x68])], startsSequence: true)
                == false)
    }
}

@Suite struct LossTests {
    @Test func aMissingPacketIsAskedForAndItsFrameComesWhole() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource(sequence: 65_534)
        let first = try source.frame(isKeyframe: true)
        for packet in first { receiver.receive(packet, at: 0) }
        let second = try source.frame(isKeyframe: false)
        for packet in second where packet != second[1] { receiver.receive(packet, at: 33) }
        let third = try source.frame(isKeyframe: false)
        for packet in third { receiver.receive(packet, at: 66) }
        var output = receiver.poll(now: arrival(66))
        #expect(output.frames.count == 1)
        #expect(output.nacks.map(\.sequenceNumbers) == [[second[1].header.sequenceNumber]])
        #expect(output.nacks.first?.mediaSSRC == 0x1000)
        receiver.receive(second[1], at: 110)
        output = receiver.poll(now: arrival(110))
        #expect(output.frames.map { H264.check($0.payload)?.number } == [2, 3])
        #expect(output.keyframeRequests.isEmpty)
        let statistics = try #require(receiver.statistics(now: arrival(110)).sources.first)
        #expect(statistics.recovered == 1)
        #expect(statistics.abandoned == 0)
        #expect(statistics.isForwarded)
    }

    @Test func afterPatienceIsOverVideoWaitsForAKeyframe() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource()
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        let broken = try source.frame(isKeyframe: false)
        for packet in broken.dropFirst() { receiver.receive(packet, at: 33) }
        for packet in try source.frame(isKeyframe: false) { receiver.receive(packet, at: 66) }
        #expect(receiver.poll(now: arrival(66)).frames.count == 1)
        // Four times the assumed round trip and 100 ms.
        let output = receiver.poll(now: arrival(33 + 500))
        #expect(output.frames.isEmpty)
        #expect(output.keyframeRequests == [0x1000])
        receiver.receive(broken[0], at: 540)
        for packet in try source.frame(isKeyframe: false) { receiver.receive(packet, at: 566) }
        #expect(receiver.poll(now: arrival(566)).frames.isEmpty)
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 600) }
        #expect(receiver.poll(now: arrival(600)).frames.map { H264.check($0.payload)?.number } == [5])
        let statistics = try #require(receiver.statistics(now: arrival(600)).sources.first)
        #expect(statistics.late == 1)
        #expect(statistics.abandoned == 1)
        #expect(statistics.droppedFrames >= 2)
    }

    @Test func lostSoundIsSkippedSooner() throws {
        let receiver = RTPReceiver.make([.audio(feedback: [])])
        for sequence in [1, 2, 4, 5] as [UInt16] {
            receiver.receive(audioPacket(sequence, timestamp: UInt32(sequence) * 960), at: Int64(sequence) * 20)
        }
        #expect(receiver.poll(now: arrival(100)).frames.count == 2)
        let deadline = try #require(receiver.nextDeadline)
        #expect(deadline == arrival(80 + 120))
        let output = receiver.poll(now: deadline)
        #expect(output.frames.map(\.dts.ticks) == [91_800 + 3_600, 91_800 + 5_400])
    }

    @Test func redundantCodingRestoresSoundWithoutARequest() throws {
        let receiver = RTPReceiver.make([.audio()])
        func send(_ sequence: UInt16) {
            var payload = ByteBuffer()
            REDPayload(
                redundant: sequence == 1
                    ? []
                    : [
                        .init(
                            payloadType: 111, timestampOffset: 960,
                            payload: ByteBuffer(bytes: [0xFC, 0, UInt8(sequence - 1)]))
                    ],
                primary: .init(
                    payloadType: 111, timestampOffset: 0, payload: ByteBuffer(bytes: [0xFC, 0, UInt8(sequence)]))
            ).write(into: &payload)
            receiver.receive(
                RTPPacket(
                    header: RTPHeader(
                        marker: false, payloadType: 63, sequenceNumber: sequence, timestamp: UInt32(sequence) * 960,
                        ssrc: 0x2000), payload: payload), at: Int64(sequence) * 20)
        }
        for sequence in [1, 2, 4, 5] as [UInt16] { send(sequence) }
        let output = receiver.poll(now: arrival(200))
        #expect(
            output.frames.map { $0.payload.getInteger(at: $0.payload.readerIndex + 2, as: UInt8.self) } == [
                1, 2, 3, 4, 5,
            ])
        #expect(output.nacks.isEmpty)
        #expect(receiver.statistics(now: arrival(200)).sources.first?.recoveredByRedundancy == 1)
    }

    @Test func duplicatesPaddingAndForeignPayloadTypesDoNoHarm() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource()
        var numbers: [UInt32] = []
        for index in 0..<30 as Range<Int64> {
            for packet in try source.frame(isKeyframe: index == 0) {
                for _ in 0..<3 { receiver.receive(packet, at: index * 33) }
            }
            var filler = RTPPacket(
                header: RTPHeader(
                    marker: false, payloadType: 96, sequenceNumber: source.sequence, timestamp: source.timestamp,
                    ssrc: source.ssrc), payload: ByteBuffer(), paddingCount: 200)
            receiver.receive(filler, at: index * 33)
            filler.header.sequenceNumber &+= 1
            filler.header.payloadType = 77
            filler.payload = ByteBuffer(repeating: 9, count: 100)
            receiver.receive(filler, at: index * 33)
            source.sequence &+= 2
            numbers += receiver.poll(now: arrival(index * 33)).frames.compactMap { H264.check($0.payload)?.number }
        }
        #expect(numbers == Array(1...30))
        let statistics = try #require(receiver.statistics(now: arrival(1_000)).sources.first)
        #expect(statistics.duplicates == 2 * 30 * 3 + 2)
        #expect(statistics.lost == 0)
    }

    @Test func theFirstPacketsMayOvertakeEachOther() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource(sequence: 1)
        let packets = try source.frame(isKeyframe: true) + source.frame(isKeyframe: false)
        for index in [3, 1, 4, 0, 5, 2] { receiver.receive(packets[index], at: Int64(index)) }
        for packet in packets.dropFirst(6) { receiver.receive(packet, at: 10) }
        let output = receiver.poll(now: arrival(10))
        #expect(output.frames.map { H264.check($0.payload)?.number } == [1, 2])
        #expect(receiver.statistics(now: arrival(10)).sources.first?.lost == 0)
    }

    @Test func aSenderThatCountsAnewIsFollowed() throws {
        let receiver = RTPReceiver.make([.video()])
        var source = VideoSource(sequence: 30_000)
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 0) }
        source.sequence = 10_000
        source.timestamp = 3_000_000_000
        for packet in try source.frame(isKeyframe: true) { receiver.receive(packet, at: 33) }
        for packet in try source.frame(isKeyframe: false) { receiver.receive(packet, at: 66) }
        let output = receiver.poll(now: arrival(66))
        #expect(output.frames.map { H264.check($0.payload)?.number } == [1, 2, 3])
        let last = try #require(output.frames.last)
        #expect(last.pts == MediaTime(ticks: 95_970))
    }
}
