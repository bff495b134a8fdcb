import Media
import NIOCore
import RTP
import Streaming
import Testing

@testable import RTPSending

@Suite("The packetizer of a stream")
struct RTPStreamPacketizerTests {
    @Test("frames and packets are counted without gaps, and a player gets the same access units back")
    func numbers() throws {
        var stream = TestStream.live()
        for index in 0..<12 {
            stream.video(Int64(index) * 40, key: index % 6 == 0, bytes: 500 + index * 700)
            stream.audio(Int64(index) * 40)
        }
        let video = stream.frames.filter { $0.kind == .video }
        let audio = stream.frames.filter { $0.kind == .audio }
        #expect(video.map(\.number) == Array(0..<12))
        #expect(audio.map(\.number) == Array(0..<12))
        var packets: UInt64 = 0
        for frame in video {
            #expect(frame.firstPacket == packets)
            packets += UInt64(frame.packets.count)
            #expect(frame.packets.allSatisfy { $0.count <= 1_128 })
        }
        let viewer = TestViewer()
        try viewer.start(stream, now: .millis(500))
        try viewer.drain(stream, now: .millis(500), for: .seconds(2))
        let (units, broken) = accessUnits(viewer.video(), format: .h264(packetizationMode: 1))
        #expect(broken == 0)
        // The viewer starts at the last keyframe.
        #expect(units.count == 6)
        #expect(units.map(\.isKeyframe) == [true, false, false, false, false, false])
        #expect(units.first?.parameterSets.sequence == [TestStream.sequenceSet])
        #expect(units.first?.parameterSets.picture == [TestStream.pictureSet])
        for (unit, index) in zip(units, 6..<12) {
            let sent = TestStream.slice(
                key: index == 6, reference: true, bytes: 500 + index * 700, seed: UInt64(index * 40))
            #expect(unit.payload == sent)
        }
    }

    @Test("the packets of a large picture have one size, but for the last")
    func uniformity() {
        var stream = TestStream.live()
        stream.video(0, key: true, bytes: 20_000)
        stream.video(40, bytes: 20_000)
        #expect(stream.frames[1].isUniform)
        #expect(Set(stream.frames[1].packets.dropLast().map(\.count)).count == 1)
        // Parameter sets travel in front, in a packet of their own.
        let key = stream.frames[0]
        #expect(!key.isUniform)
        #expect(key.uniformCount(from: 0) == 1)
        #expect(key.uniformCount(from: 1) == key.packets.count - 1)
    }

    @Test("nothing is sent of a source before its first keyframe, and numbers go on with the next source")
    func sources() {
        var stream = TestStream.live()
        #expect(stream.video(0).isEmpty)
        #expect(stream.video(40, key: true).map(\.number) == [0])
        #expect(stream.video(80).map(\.number) == [1])
        stream.packetizer.sourceChanged()
        #expect(stream.packetizer.status == RTPStreamStatus())
        #expect(stream.video(120).isEmpty)
        #expect(stream.video(160, key: true).map(\.number) == [2])
        #expect(stream.packetizer.status.video == .flowing(.h264))
    }

    @Test("B-frames that nothing is predicted from are left out, and times rise")
    func bFrames() {
        var stream = TestStream.live()
        // I0 P3 b1 b2 P6 b4 b5, in decoding order, with a constant offset.
        let order: [(pts: Int64, reference: Bool)] = [
            (0, true), (3, true), (1, false), (2, false), (6, true), (4, false), (5, false), (9, true), (7, false),
        ]
        for (index, picture) in order.enumerated() {
            stream.video(
                Int64(index) * 40, pts: picture.pts * 40 + 80, key: index == 0, reference: picture.reference)
        }
        #expect(stream.frames.map { ($0.time.millis - 80) / 40 } == [0, 3, 6, 9])
        #expect(stream.packetizer.droppedFrames == 5)
        #expect(stream.packetizer.status.video == .flowing(.h264))
        #expect(zip(stream.frames, stream.frames.dropFirst()).allSatisfy { $0.ticks < $1.ticks })
    }

    @Test("non-reference pictures in their order are sent, and marked as such")
    func discardable() {
        var stream = TestStream.live()
        for index in 0..<6 {
            stream.video(Int64(index) * 40, key: index == 0, reference: index % 2 == 0)
        }
        #expect(stream.frames.map(\.isDiscardable) == [false, true, false, true, false, true])
        #expect(stream.packetizer.droppedFrames == 0)
    }

    @Test("a B-pyramid is refused with its reason, until the track changes")
    func pyramid() {
        var stream = TestStream.live()
        // I0 P4 B2(reference) b1 b3 P8 B6(reference) …
        let order: [(pts: Int64, reference: Bool)] = [
            (0, true), (4, true), (2, true), (1, false), (3, false), (8, true), (6, true), (5, false), (7, false),
            (12, true), (10, true), (9, false), (11, false),
        ]
        for (index, picture) in order.enumerated() {
            stream.video(
                Int64(index) * 40, pts: picture.pts * 40 + 120, key: index == 0, reference: picture.reference)
        }
        #expect(stream.packetizer.status.video == .refused(.reorderedReferences))
        #expect(stream.video(2_000, key: true).isEmpty)
        var other = TestStream.h264Track
        other.format = .video(VideoFormat(width: 640, height: 360))
        stream.announce(other)
        #expect(stream.packetizer.status.video == .flowing(.h264))
        #expect(stream.video(2_040, key: true).count == 1)
    }

    @Test("a single step back of the source's clock neither stops video nor sends a time twice")
    func stray() {
        var stream = TestStream.live()
        for (index, pts) in [0, 40, 80, 70, 120, 120, 160].enumerated() {
            stream.video(Int64(index) * 40, pts: Int64(pts), key: index == 0)
        }
        #expect(stream.frames.count == 7)
        #expect(zip(stream.frames, stream.frames.dropFirst()).allSatisfy { $0.ticks < $1.ticks })
        #expect(stream.packetizer.status.video == .flowing(.h264))
    }

    @Test("HEVC's leading pictures and sub-layer non-reference pictures are told from others")
    func hevcPictures() {
        func frame(_ type: UInt8, pts: Int64, key: Bool = false) -> Frame {
            var payload = ByteBuffer()
            payload.writeInteger(UInt32(4))
            payload.writeMultipleIntegers(type << 1, UInt8(1), UInt8(0xAA), UInt8(0xBB))
            return Frame(
                codec: .hevc, dts: .zero, pts: MediaTime(millis: pts), isKeyframe: key, payload: payload)
        }
        var order = PictureOrder()
        #expect(order.judge(frame(21, pts: 200, key: true), lengthSize: 4) == .forward(isDiscardable: false))
        // RASL_R and RASL_N before the CRA, TRAIL_N and TRAIL_R.
        #expect(order.judge(frame(9, pts: 120), lengthSize: 4) == .drop)
        #expect(order.judge(frame(8, pts: 160), lengthSize: 4) == .drop)
        #expect(order.judge(frame(1, pts: 320), lengthSize: 4) == .forward(isDiscardable: false))
        #expect(order.judge(frame(0, pts: 280), lengthSize: 4) == .drop)
        #expect(order.judge(frame(0, pts: 360), lengthSize: 4) == .forward(isDiscardable: true))
        for pts in [310, 305] {
            #expect(order.judge(frame(1, pts: Int64(pts)), lengthSize: 4) == .forward(isDiscardable: false))
        }
        #expect(order.judge(frame(1, pts: 300), lengthSize: 4) == .refuse)
        #expect(order.judge(frame(21, pts: 400, key: true), lengthSize: 4) == .refuse)
    }

    @Test("a codec without a payload format is refused, and a record that cannot be parsed as well")
    func refusals() {
        var stream = TestStream()
        stream.announce(Track(codec: .aac, configuration: nil, format: .audio(AudioFormat())))
        #expect(stream.packetizer.status.audio == .refused(.unsupportedCodec(.aac)))
        stream.announce(
            Track(codec: .h264, configuration: ByteBuffer(bytes: [9, 9]), format: .video(VideoFormat())))
        #expect(stream.packetizer.status.video == .refused(.malformed(.h264)))
        #expect(stream.video(0, key: true).isEmpty)
    }

    @Test("a frame that cannot be parsed is not sent, and neither is what refers to it")
    func malformed() {
        var stream = TestStream.live()
        stream.video(0, key: true)
        let broken = Frame(
            codec: .h264, dts: MediaTime(millis: 40), pts: MediaTime(millis: 40), isKeyframe: false,
            payload: ByteBuffer(bytes: [0, 0, 1, 0, 0x41]))
        #expect(stream.append(broken, now: .millis(40)).isEmpty)
        #expect(stream.packetizer.malformedFrames == 1)
        #expect(stream.video(80).isEmpty)
        #expect(stream.video(120, key: true).count == 1)
    }

    @Test("a frame of more units than any picture has is as good as broken, and nobody looks at all of them")
    func tooManyUnits() {
        var stream = TestStream.live()
        stream.video(0, key: true)
        var payload = ByteBuffer()
        for _ in 0..<LengthPrefixedNALUnits.maximumUnits {
            payload.writeMultipleIntegers(UInt32(1), UInt8(0x09))
        }
        // A slice that nothing refers to.
        payload.writeMultipleIntegers(UInt32(2), UInt8(0x01), UInt8(0x80))
        let time = MediaTime(millis: 40)
        let frame = Frame(codec: .h264, dts: time, pts: time, isKeyframe: false, payload: payload)
        var order = PictureOrder()
        #expect(
            order.judge(
                Frame(codec: .h264, dts: .zero, pts: .zero, isKeyframe: true, payload: payload), lengthSize: 4)
                == .forward(isDiscardable: false))
        #expect(order.judge(frame, lengthSize: 4) == .forward(isDiscardable: false))
        #expect(stream.append(frame, now: .millis(40)).isEmpty)
        #expect(stream.packetizer.malformedFrames == 1)
        #expect(stream.video(80).isEmpty)
        #expect(stream.video(120, key: true).count == 1)
    }

    @Test("parameter sets that would make every keyframe a long one are refused")
    func longConfiguration() throws {
        var track = TestStream.h264Track
        let record = try #require(track.configuration)
        // What follows the sets of a record is not read.
        var long = record
        long.writeRepeatingByte(0, count: Track.maximumConfigurationLength - record.readableBytes)
        track.configuration = long
        var stream = TestStream()
        stream.announce(track)
        #expect(stream.packetizer.status.video == .flowing(.h264))
        long.writeInteger(UInt8(0))
        track.configuration = long
        stream.announce(track)
        #expect(stream.packetizer.status.video == .refused(.malformed(.h264)))
        #expect(throws: CodecHeaderError.recordTooLong(length: 65_537, maximum: 65_536)) {
            try Track(codec: .h264, parsingConfiguration: long)
        }
    }

    @Test("a track that never comes is absent after a while, and one that is announced is not")
    func absence() {
        var stream = TestStream()
        stream.announce(TestStream.h264Track)
        for index in 0..<74 { stream.video(Int64(index) * 40, key: index == 0, bytes: 100) }
        #expect(stream.packetizer.status.audio == .unknown)
        for index in 74..<80 { stream.video(Int64(index) * 40, bytes: 100) }
        #expect(stream.packetizer.status.audio == .absent)
        stream.announce(TestStream.opusTrack)
        #expect(stream.packetizer.status.audio == .flowing(.opus))
    }

    @Test("audio times that were rounded to milliseconds become exact, and a gap stays a gap")
    func audioTimes() {
        var clock = AudioClock(rate: 48_000)
        var ticks: [Int64] = []
        // Frames of 1,024 samples at 48 kHz last 21.33 ms.
        for index in 0..<100 {
            let time = MediaTime(millis: Int64((Double(index) * 1024 / 48).rounded()))
            ticks.append(clock.place(time, duration: 1024))
        }
        #expect(zip(ticks, ticks.dropFirst()).allSatisfy { $1 - $0 == 1024 })
        let gap = clock.place(MediaTime(millis: 2_133 + 500), duration: 1024)
        #expect(abs(gap - 2_633 * 48) <= 48)
        #expect(clock.place(MediaTime(millis: 2_133 + 521), duration: 1024) == gap + 1024)
    }

    @Test("audio never goes back, and drift does not tear it")
    func audioDrift() {
        var clock = AudioClock(rate: 48_000)
        var last = clock.place(.zero, duration: 960)
        var steps: Set<Int64> = []
        // The source's clock is 100 ppm fast.
        for index in 1..<50_000 {
            let time = MediaTime(ticks: Int64(Double(index) * 1800 * 1.0001))
            let next = clock.place(time, duration: 960)
            steps.insert(next - last)
            last = next
        }
        #expect(steps.min() == 960)
        #expect(steps.count <= 2)
        let back = clock.place(.zero, duration: 960)
        #expect(back > last)
    }

    @Test(
        "Opus packets tell their duration",
        arguments: [
            ([0x00], 480), ([0x18], 2880), ([0x60], 480), ([0x68], 960), ([0x80], 120), ([0xFC], 960), ([0xFD], 1920),
            ([0xFF, 0x03], 2880), ([0xFF, 0x3F], nil), ([0xFF], nil), ([], nil),
        ] as [([UInt8], Int64?)])
    func opusDurations(bytes: [UInt8], ticks: Int64?) {
        #expect(AudioDuration.ticks(of: ByteBuffer(bytes: bytes), codec: .opus, channels: 2) == ticks)
    }

    @Test("G.711 that needs several packets becomes several frames with times of their own")
    func g711() {
        var stream = TestStream()
        stream.announce(
            Track(
                codec: .g711MuLaw, configuration: nil,
                format: .audio(AudioFormat(sampleRate: 8_000, channels: 1))))
        let frame = Frame(
            codec: .g711MuLaw, dts: .zero, pts: .zero, isKeyframe: true,
            payload: ByteBuffer(repeating: 0xFF, count: 1_600))
        let frames = stream.append(frame, now: .millis(0))
        #expect(frames.map(\.ticks) == [0, 800])
        #expect(frames.map { $0.packets.count } == [1, 1])
        #expect(frames.map(\.number) == [0, 1])
        // Each holds its own bytes: a ring counts none of them twice.
        #expect(frames.map(\.byteCount) == [800, 800])
        #expect(frames.map { $0.payload.readerIndex..<$0.payload.writerIndex } == frames.map { $0.packets[0] })
        let next = Frame(
            codec: .g711MuLaw, dts: MediaTime(millis: 200), pts: MediaTime(millis: 200), isKeyframe: true,
            payload: ByteBuffer(repeating: 0xFF, count: 160))
        #expect(stream.append(next, now: .millis(200)).map(\.ticks) == [1_600])
    }

    @Test("the bit rate is measured by the stream's own time")
    func bitrate() throws {
        var stream = TestStream.live()
        // All at once, as from a cache: 25 frames a second of 5,000 bytes.
        for index in 0..<200 { stream.video(Int64(index) * 40, key: index == 0, bytes: 5_000, now: .millis(0)) }
        let rate = try #require(stream.frames.last).streamBitrate
        #expect((980_000...1_030_000).contains(rate), "\(rate)")
    }
}
