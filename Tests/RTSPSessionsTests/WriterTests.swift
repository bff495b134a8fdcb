import Media
import NIOCore
import RTP
import RTPReceiving
import RTSP
import RTSPSessions
import Streaming
import Testing

/// What is written is read again by the receiver, and the descriptions by the reader: two of ours against each other.
@Suite struct WriterTests {
    static let start = NIODeadline.uptimeNanoseconds(5_000_000_000)

    static func tracks() throws -> (video: Track, audio: Track) {
        // 640×360, High 3.0.
        let sps: [UInt8] = [
            0x67, 0x64, 0, 0x1E, 0xAC, 0xD9, 0x40, 0xA0, 0x2F, 0xF9, 0x70, 0x11, 0, 0, 3, 0, 1, 0, 0, 3, 0, 0x32, 0x0F,
            0x16, 0x2D, 0x96,
        ]
        let avc = try AVCDecoderConfiguration(
            sequenceParameterSets: [ByteBuffer(bytes: sps)],
            pictureParameterSets: [ByteBuffer(bytes: [0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0])])
        var record = ByteBuffer()
        avc.write(into: &record)
        return (
            try Track(codec: .h264, parsingConfiguration: record),
            try Track(codec: .aac, parsingConfiguration: ByteBuffer(bytes: [0x12, 0x08]))
        )
    }

    static let seed = RTSPStreamSeed(
        video: .init(ssrc: 1, sequence: 65_530, timestamp: 0xFFFF_F000),
        audio: .init(ssrc: 2, sequence: 65_535, timestamp: 0xFFFF_FF00), ntp: NTPTime(value: 0xE000_0000_0000_0000),
        cname: "x")

    /// Length-prefixed NAL units: a slice that needs several packets if it is long.
    static func video(_ index: Int, isKeyframe: Bool, length: Int) -> Frame {
        var payload = ByteBuffer()
        payload.writeInteger(UInt32(length))
        payload.writeInteger(UInt8(isKeyframe ? 0x65 : 0x41))
        // The first macroblock of a picture: `first_mb_in_slice` 0.
        payload.writeInteger(UInt8(0x88))
        for offset in 2..<length { payload.writeInteger(UInt8(truncatingIfNeeded: index &* 7 &+ offset) | 1) }
        let time = MediaTime(ticks: 90_000 * 3_600 + Int64(index) * 3_600)
        return Frame(codec: .h264, dts: time, pts: time, isKeyframe: isKeyframe, payload: payload)
    }

    static func audio(_ index: Int) -> Frame {
        // Milliseconds, as RTMP has them.
        let time = MediaTime(millis: 3_600_000 + Int64(index) * 1_024_000 / 44_100)
        return Frame(
            codec: .aac, dts: time, pts: time, isKeyframe: true,
            payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: index), count: 100 + index))
    }

    @Test func `A rendition is understood by the receiver, over the wrap of numbers and times`() throws {
        let (video, audio) = try Self.tracks()
        let state = StreamState(video: video, audio: audio)
        let tracks = RTSPTracks(state)
        var rendition = RTSPRendition(
            tracks: tracks, channels: .init(video: .init(rtp: 0, rtcp: 1), audio: .init(rtp: 2, rtcp: 3)),
            seed: Self.seed)
        var wire = ByteBuffer()
        var sent: [Frame] = []
        rendition.writePrelude(state, at: Self.video(0, isKeyframe: true, length: 10).dts, into: &wire)
        for index in 0..<50 {
            let frame = Self.video(index, isKeyframe: index % 25 == 0, length: index % 25 == 0 ? 9_000 : 700)
            for frame in [frame, Self.audio(index * 2), Self.audio(index * 2 + 1)] {
                sent.append(frame)
                rendition.write(.frame(frame), state: state, at: frame.dts, into: &wire)
            }
        }
        let source = try RTSPSource(
            parsing: tracks.description(of: state, name: "a", sessionID: 1, address: "192.0.2.1"))
        #expect(source.tracks.map(\.control) == ["trackID=0", "trackID=1"])
        let receiver = RTPReceiver(
            configuration: RTPReceiverConfiguration(lines: source.tracks.map(\.line), localSSRC: 9), now: Self.start)
        var events: [MediaEvent] = []
        var reader = RTSPReader()
        reader.append(wire)
        var reports: [Int] = []
        while let element = try reader.next() {
            guard case .packet(let channel, let packet) = element else {
                Issue.record("not a packet")
                return
            }
            if channel % 2 == 1 {
                reports.append(Int(channel))
                receiver.receive(rtcp: packet, now: Self.start)
            } else {
                receiver.receive(rtp: packet, arrival: Self.start, line: Int(channel) / 2)
                events += receiver.poll(now: Self.start).events
            }
        }
        #expect(Array(reports.prefix(2)) == [1, 3])
        var received: [MediaKind: [Frame]] = [:]
        for case .frame(let frame) in events { received[frame.kind, default: []].append(frame) }
        let expected = Dictionary(grouping: sent, by: \.kind)
        for kind in [MediaKind.video, .audio] {
            #expect(received[kind]?.map(\.payload) == expected[kind]?.map(\.payload))
            #expect(received[kind]?.map(\.isKeyframe) == expected[kind]?.map(\.isKeyframe))
        }
        // The distances are the source's; those of audio are exact, although its times were rounded.
        let videoTimes = try #require(received[.video]).map(\.pts.ticks)
        #expect(zip(videoTimes, videoTimes.dropFirst()).allSatisfy { $1 - $0 == 3_600 })
        let audioTimes = try #require(received[.audio]).map(\.dts.ticks)
        #expect(zip(audioTimes, audioTimes.dropFirst()).allSatisfy { (2_089...2_090).contains($1 - $0) })
        #expect(abs(videoTimes[0] - audioTimes[0]) <= 90)
        guard case .track(let told)? = events.first(where: { if case .track = $0 { true } else { false } }) else {
            Issue.record("no track")
            return
        }
        #expect(told.format == video.format)
    }

    @Test func `Only what players were told of is sent`() throws {
        let (video, audio) = try Self.tracks()
        let state = StreamState(video: video, audio: audio)
        var rendition = RTSPRendition(
            tracks: RTSPTracks(state), channels: .init(video: nil, audio: .init(rtp: 0, rtcp: 1)), seed: Self.seed)
        var wire = ByteBuffer()
        rendition.write(.frame(Self.video(0, isKeyframe: true, length: 50)), state: state, at: .zero, into: &wire)
        #expect(wire.readableBytes == 0)
        rendition.write(.frame(Self.audio(0)), state: state, at: .zero, into: &wire)
        let length = wire.readableBytes
        #expect(length > 0)
        // 48 kHz now: its header is another.
        let other = try Track(codec: .aac, parsingConfiguration: ByteBuffer(bytes: [0x11, 0x90]))
        let changed = StreamState(video: video, audio: other)
        rendition.write(.track(other), state: changed, at: .zero, into: &wire)
        rendition.write(.frame(Self.audio(1)), state: changed, at: .zero, into: &wire)
        #expect(wire.readableBytes == length)
        rendition.write(.track(audio), state: state, at: .zero, into: &wire)
        rendition.write(.frame(Self.audio(2)), state: state, at: .zero, into: &wire)
        #expect(wire.readableBytes > length)
        #expect(RTSPTracks(state) != RTSPTracks(changed))
    }

    @Test func `Players with the same tracks and channels share a rendition, others do not`() throws {
        let (video, audio) = try Self.tracks()
        let all = RTSPTracks(StreamState(video: video, audio: audio))
        let none = RTSPTracks(StreamState(video: video))
        let pairs = (RTSPRendition.Channels.Pair(rtp: 0, rtcp: 1), RTSPRendition.Channels.Pair(rtp: 2, rtcp: 3))
        func id(_ tracks: RTSPTracks, _ video: RTSPRendition.Channels.Pair?, _ audio: RTSPRendition.Channels.Pair?)
            -> RenditionID
        {
            RTSPRendition.id(
                tracks: tracks, channels: .init(video: video, audio: audio), audio: .rtsp, flush: .realtime)
        }
        #expect(id(all, pairs.0, pairs.1) == id(all, pairs.0, pairs.1))
        let ids: Set = [
            id(all, pairs.0, pairs.1), id(all, pairs.1, pairs.0), id(all, pairs.0, nil), id(all, nil, pairs.0),
            id(none, pairs.0, nil),
        ]
        #expect(ids.count == 5)
        #expect(id(all, nil, pairs.0).selection == .audioOnly && id(all, pairs.0, nil).selection == .videoOnly)
    }

    @Test(arguments: [Codec.opus, .g711ALaw, .g711MuLaw, .mp3])
    func `Audio of other codecs is described as it is read`(_ codec: Codec) throws {
        var track = Track(codec: codec, configuration: nil, format: .audio(AudioFormat(sampleRate: 8_000, channels: 1)))
        if codec == .opus {
            var head = ByteBuffer()
            OpusHead(channels: 2).write(into: &head)
            track = try Track(codec: .opus, parsingConfiguration: head)
        }
        let state = StreamState(audio: track)
        let tracks = RTSPTracks(state)
        let source = try RTSPSource(parsing: tracks.description(of: state, name: "a", sessionID: 1, address: "::1"))
        #expect(source.tracks.map(\.codecs) == [[codec]])
        #expect(
            tracks.all.map(\.payloadType) == [codec == .opus ? 97 : codec == .mp3 ? 14 : codec == .g711MuLaw ? 0 : 8])
    }

    @Test func `Codecs without a payload format are left out`() {
        let speex = Track(
            codec: .speex, configuration: nil, format: .audio(AudioFormat(sampleRate: 16_000, channels: 1)))
        #expect(RTSPTracks(StreamState(audio: speex)).isEmpty)
        // AAC without its header could not be decoded.
        let aac = Track(codec: .aac, configuration: nil, format: .audio(AudioFormat(sampleRate: 44_100, channels: 2)))
        #expect(RTSPTracks(StreamState(audio: aac)).isEmpty)
    }

    @Test func `Reports tie both tracks to one wall clock`() throws {
        let (video, audio) = try Self.tracks()
        let state = StreamState(video: video, audio: audio)
        var writer = RTSPStreamWriter(tracks: RTSPTracks(state), seed: Self.seed)
        writer.adopt(state)
        var bytes = ByteBuffer()
        var count: UInt32 = 0
        writer.write(Self.video(0, isKeyframe: true, length: 5_000), framing: .none, into: &bytes) { _ in count += 1 }
        let time = MediaTime(ticks: 90_000 * 3_600 + 45_000)
        var reports: [RTCPSenderReport] = []
        for kind in [MediaKind.video, .audio] {
            var report = ByteBuffer()
            writer.writeReport(kind, at: time, framing: .none, into: &report)
            for case .senderReport(let sender) in try RTCPPacket.parseCompound(report) { reports.append(sender) }
        }
        #expect(reports.map(\.ssrc) == [1, 2])
        // Half a second behind the first frame, which is now.
        #expect(reports.map(\.ntpTime.value) == [0xE000_0000_8000_0000, 0xE000_0000_8000_0000])
        #expect(reports[0].rtpTimestamp == UInt32(truncatingIfNeeded: time.ticks) &+ 0xFFFF_F000)
        let samples = Int64(3_600) * 44_100 + 22_050
        #expect(reports[1].rtpTimestamp == UInt32(truncatingIfNeeded: samples) &+ 0xFFFF_FF00)
        #expect(reports[0].packetCount == count && count > 3 && reports[1].packetCount == 0)
    }
}
