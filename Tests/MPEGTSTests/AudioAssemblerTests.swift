import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct AudioAssemblerTests {
    private static func payload(_ seed: UInt8, length: Int = 60) -> ByteBuffer {
        ByteBuffer(bytes: (0..<length).map { UInt8(truncatingIfNeeded: $0) & 0x7F ^ seed })
    }

    private static func demuxed(
        _ pes: [ByteBuffer], type: UInt8 = 0x0F, descriptors: String = ""
    ) -> [TSDemuxer.Output] {
        demux(Streams.stream(type: type, descriptors: descriptors, pes: pes))
    }

    @Test("Frames over the border of PES packets, at every byte: the time is that of the first frame that begins")
    func borders() {
        let frames = (0..<4).map { Streams.adts(Self.payload(UInt8($0))) }
        let all = join(frames)
        for cut in 1..<all.readableBytes {
            let outputs = Self.demuxed([
                Streams.pes(stream: 0xC0, pts: 90_000, payload: all.getSlice(at: 0, length: cut) ?? ByteBuffer()),
                Streams.pes(
                    stream: 0xC0, pts: 500_000,
                    payload: all.getSlice(at: cut, length: all.readableBytes - cut) ?? ByteBuffer()),
            ])
            #expect(outputs.problems == [])
            #expect(outputs.frames.map(\.payload) == (0..<4).map { Self.payload(UInt8($0)) })
            // Frames that begin in the first packet.
            let first = (cut + frames[0].readableBytes - 1) / frames[0].readableBytes
            let times = (0..<4).map { $0 < first ? 90_000 + $0 * 1920 : 500_000 + ($0 - first) * 1920 }
            #expect(outputs.frames.map { Int($0.pts.ticks) } == times, "cut at \(cut)")
        }
    }

    @Test("Times of several frames follow their samples exactly, and wrap")
    func times() {
        var header = Streams.adts(Self.payload(0))
        // 44.1 kHz.
        header.setInteger(UInt8(0x50), at: 2)
        let outputs = Self.demuxed([
            Streams.pes(stream: 0xC0, pts: TS.timePeriod - 100, payload: join(Array(repeating: header, count: 50)))
        ])
        let expected = (0..<50).map { (TS.timePeriod - 100 + ($0 * 1024 * 90_000 + 22_050) / 44_100) & TS.timeMask }
        #expect(outputs.frames.map(\.pts.ticks) == expected)
        #expect(outputs.tracks.map(\.configuration) == [bytes("1210")])
    }

    @Test("Garbage between frames is passed over, and a sync word in it is not believed")
    func garbage() {
        let good = [0, 1, 2].map { Streams.adts(Self.payload(UInt8($0))) }
        let outputs = Self.demuxed([
            Streams.pes(
                stream: 0xC0, pts: 0, payload: join([good[0], bytes("aabb fff14c80 02 1ffc cc"), good[1], good[2]]))
        ])
        #expect(outputs.problems == [.audioSyncLost(pid: 0x100, position: 376)])
        #expect(outputs.frames.map(\.payload) == (0..<3).map { Self.payload(UInt8($0)) })
    }

    @Test("A checksum is passed over; several blocks in a frame and a program config element are told")
    func adtsForms() {
        let checked = Self.demuxed([
            Streams.pes(stream: 0xC0, pts: 0, payload: Streams.adts(Self.payload(1), checksum: true))
        ])
        #expect(checked.frames.map(\.payload) == [Self.payload(1)])
        let blocks = Self.demuxed([
            Streams.pes(
                stream: 0xC0, pts: 0,
                payload: join([Streams.adts(Self.payload(1), blocks: 2), Streams.adts(Self.payload(2))]))
        ])
        #expect(blocks.problems == [.unsupportedConfiguration(.aac, position: 376)])
        #expect(blocks.frames.map(\.pts.ticks) == [3840])
        let element = Self.demuxed([
            Streams.pes(stream: 0xC0, pts: 0, payload: Streams.adts(Self.payload(1), channels: 0))
        ])
        #expect(element.tracks.isEmpty && element.frames.isEmpty)
        #expect(element.problems.first == .unsupportedConfiguration(.aac, position: 376))
    }

    @Test("Another header is another track")
    func newTrack() {
        let outputs = Self.demuxed([
            Streams.pes(
                stream: 0xC0, pts: 0,
                payload: join([1, 2, 2, 6].map { Streams.adts(Self.payload(0), channels: $0) }))
        ])
        #expect(outputs.tracks.map(\.configuration) == ["1188", "1190", "11b0"].map(bytes))
        #expect(outputs.frames.count == 4)
    }

    @Test("Frames before the first time are dropped, and one without a time follows the last")
    func timeless() {
        let frame = Streams.adts(Self.payload(0))
        let outputs = Self.demuxed([
            Streams.pes(stream: 0xC0, pts: nil, payload: frame), Streams.pes(stream: 0xC0, pts: 9000, payload: frame),
            Streams.pes(stream: 0xC0, pts: nil, payload: frame),
        ])
        #expect(outputs.problems == [.unusableFrame(pid: 0x100, position: 376)])
        #expect(outputs.frames.map(\.pts.ticks) == [9000, 10_920])
    }

    @Test(
        "AC-3 has the length of its table",
        arguments: [
            (UInt16(0x0840), 256), (0x1440, 768), (0x2540, 2560), (0x4840, 278), (0x4940, 280), (0x8840, 384),
        ])
    func ac3Lengths(code: UInt16, length: Int) {
        // Byte 4 is rate and size code, byte 5 identification and mode.
        var frame = bytes("0b77 0000")
        frame.writeInteger(code)
        frame.writeBytes(bytes("43e0").readableBytesView)
        #expect(AC3SyncFrame(frame, at: 0) == nil || AC3SyncFrame(frame, at: 0)?.length == length)
        #expect(AC3SyncFrame(frame, at: 0)?.isEnhanced == false)
    }

    @Test("AC-3 in PES packets comes back with its times")
    func ac3() {
        let frames = (0..<3).map { Streams.ac3Frame(seed: UInt8($0)) }
        let outputs = Self.demuxed([Streams.pes(stream: 0xBD, pts: 0, payload: join(frames))], type: 0x81)
        #expect(outputs.problems == [])
        #expect(outputs.frames.map(\.payload) == frames)
        #expect(outputs.frames.map(\.pts.ticks) == [0, 2880, 5760])
        #expect(outputs.tracks.map(\.codec) == [.ac3])
    }

    @Test("Dependent substreams of E-AC-3 are one access unit with the frame in front")
    func substreams() {
        func frame(_ type: UInt16, _ id: UInt16) -> ByteBuffer {
            var frame = bytes("0b77")
            frame.writeInteger(type << 14 | id << 11 | 31)
            frame.writeBytes(bytes("3f 80 00 00").readableBytesView)
            frame.writeRepeatingByte(0x11, count: 56)
            return frame
        }
        let independent = frame(0, 0)
        let dependent = frame(1, 0)
        let outputs = Self.demuxed(
            [
                Streams.pes(
                    stream: 0xBD, pts: 0, payload: join([dependent, independent, dependent, independent, independent]))
            ], type: 0x87)
        #expect(outputs.frames.map(\.payload) == [join([independent, dependent]), independent, independent])
        #expect(outputs.frames.map(\.pts.ticks) == [0, 2880, 5760])
    }

    @Test("Opus packets have a header with their length; trims and extensions are passed over")
    func opus() {
        let packet = bytes("fc 01 02")
        let long = join([bytes("fc"), ByteBuffer(repeating: 7, count: 254)])
        let payload = join([
            bytes("7fe0 03"), packet, bytes("7ffc 03 0010 0020 02 aabb"), packet, bytes("7fe0 ff00"), long,
        ])
        let outputs = Self.demuxed(
            [Streams.pes(stream: 0xBD, pts: 0, payload: payload)], type: 0x06, descriptors: "0504 4f707573 7f02 8001")
        #expect(outputs.problems == [])
        #expect(outputs.frames.map(\.payload) == [packet, packet, long])
        #expect(outputs.frames.map(\.pts.ticks) == [0, 1800, 3600])
        guard case .audio(let format)? = outputs.tracks.first?.format else { return #expect(outputs.tracks.count == 1) }
        #expect(format == AudioFormat(sampleRate: 48_000, channels: 1))
        for length in 0..<payload.readableBytes {
            var piece = payload.getSlice(at: 0, length: length) ?? ByteBuffer()
            if let count = OpusControlHeader.read(&piece) { #expect(count == 3 && length >= 3) }
        }
    }

    @Test("Every channel code that is a plain layout has a header, others have none", arguments: 0...16)
    func opusChannels(code: UInt8) throws {
        let record = OpusHeadRecord.make(channelCode: code)
        guard (1...8).contains(code) else { return #expect(record == nil) }
        let head = try OpusHead(parsing: try #require(record))
        #expect(head.channels == Int(code))
        #expect(head.mappingFamily == (code > 2 ? 1 : 0))
        let track = try Track(codec: .opus, parsingConfiguration: record)
        #expect(try TSAudioForm(track).framing == .opus(channelCode: code))
    }

    @Test(
        "Samples of an Opus packet are told by its first byte",
        arguments: [
            ("00", 480), ("18", 2880), ("60", 480), ("68", 960), ("80", 120), ("98", 960), ("99", 1920), ("9b03", 2880),
            ("9b00", nil), ("9b3f", nil), ("9b", nil), ("", nil),
        ] as [(String, Int?)])
    func opusSamples(packet: String, samples: Int?) {
        #expect(OpusPacket.sampleCount(of: bytes(packet)) == samples)
    }

    @Test("LATM without a configuration, or with one that is not plain, is told")
    func latm() {
        // useSameStreamMux without a configuration before it.
        let orphan = Self.demuxed([Streams.pes(stream: 0xC0, pts: 0, payload: bytes("56e002 80 00"))], type: 0x11)
        #expect(orphan.problems == [.unusableFrame(pid: 0x100, position: 376)])
        // Two programs.
        let programs = Self.demuxed([Streams.pes(stream: 0xC0, pts: 0, payload: bytes("56e003 202000"))], type: 0x11)
        #expect(programs.problems == [.unsupportedConfiguration(.aac, position: 376)])
        // Cut off.
        let cut = Self.demuxed([Streams.pes(stream: 0xC0, pts: 0, payload: bytes("56e001 20"))], type: 0x11)
        #expect(cut.problems.count == 1)
        #expect(cut.frames.isEmpty)
    }
}
