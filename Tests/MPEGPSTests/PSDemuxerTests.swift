import MPEGTS
import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGPS

private typealias Writer = ProgramStreamWriter

private func demux(
    _ stream: ByteBuffer, step: Int = .max, configuration: PSDemuxer.Configuration = .init()
) -> [PSDemuxer.Output] {
    var demuxer = PSDemuxer(configuration: configuration)
    var outputs: [PSDemuxer.Output] = []
    var rest = stream
    while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
        demuxer.receive(piece)
        while let output = demuxer.nextOutput() { outputs.append(output) }
    }
    demuxer.finish()
    while let output = demuxer.nextOutput() { outputs.append(output) }
    return outputs
}

private func join(_ pieces: [ByteBuffer]) -> ByteBuffer {
    pieces.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1) }
}

extension [PSDemuxer.Output] {
    fileprivate var frames: [Frame] {
        self.compactMap { if case .event(.frame(let frame), _) = $0 { frame } else { nil } }
    }
    fileprivate var tracks: [Track] {
        self.compactMap { if case .event(.track(let track), _) = $0 { track } else { nil } }
    }
    fileprivate var problems: [PSProblem] {
        self.compactMap { if case .problem(let problem) = $0 { problem } else { nil } }
    }
    fileprivate var maps: [PSMap] { self.compactMap { if case .map(let map) = $0 { map } else { nil } } }
}

@Suite struct PSDemuxerTests {
    @Test("a camera's stream gives its tracks, frames and times")
    func camera() throws {
        let outputs = demux(join(Writer.camera(25)))
        #expect(outputs.problems.isEmpty)
        #expect(
            outputs.maps == [PSMap(streams: [.init(id: 0xE0, type: 0x1B), .init(id: 0xC0, type: 0x90)])])
        #expect(
            outputs.tracks.map(\.codec) == [.g711ALaw, .h264] || outputs.tracks.map(\.codec) == [.h264, .g711ALaw])
        let video = outputs.frames.filter { $0.kind == .video }
        let audio = outputs.frames.filter { $0.kind == .audio }
        #expect(video.map(\.dts.ticks) == (0..<25).map { 90_000 + $0 * 3_600 })
        #expect(video.map(\.isKeyframe) == (0..<25).map { $0 % 10 == 0 })
        #expect(audio.map(\.dts.ticks) == (0..<25).map { 90_000 + $0 * 3_600 })
        #expect(audio.allSatisfy { $0.payload.readableBytes == 320 && $0.codec == .g711ALaw })
        // Length-prefixed, without parameter sets.
        let first = try #require(video.first)
        #expect(first.payload.getInteger(at: first.payload.readerIndex, as: UInt32.self) == 3_000)
        #expect(Array(first.payload.readableBytesView.dropFirst(4)) == Writer.slice(key: true, length: 3_000, seed: 0))
    }

    @Test("the same bytes give the same outputs however they are cut", arguments: [1, 2, 3, 7, 13, 100, 1_400])
    func cuts(step: Int) {
        var stream = join(Writer.camera(12, keyLength: 700))
        stream.writeBytes([1, 2, 3, 0, 0, 1, 0xE0, 0, 9])
        stream.writeImmutableBuffer(join(Writer.camera(12, from: 180_000, keyLength: 700)))
        let whole = demux(stream)
        #expect(!whole.problems.isEmpty)
        #expect(demux(stream, step: step) == whole)
    }

    @Test("a picture over many packets, of any length, is one frame")
    func longPicture() {
        var writer = Writer()
        for index in 0..<3 {
            let time = Int64(index) * 3_600
            writer.pack(time, stuffing: index * 3)
            if index == 0 { writer.map([(0x1B, 0xE0)]) }
            writer.packet(
                0xE0, Writer.picture(key: index == 0, length: 200_000), pts: time + 3_600, dts: time,
                maximum: [65_000, 1_000, 37][index])
        }
        let outputs = demux(writer.bytes)
        #expect(outputs.problems.isEmpty)
        #expect(outputs.frames.map(\.payload.readableBytes) == [200_004, 200_004, 200_004])
        #expect(outputs.frames.map(\.pts.ticks) == [3_600, 7_200, 10_800])
        #expect(outputs.frames.map(\.dts.ticks) == [0, 3_600, 7_200])
    }

    @Test("packets of unknown length end where the next unit begins")
    func openPackets() {
        var writer = Writer()
        for index in 0..<4 {
            writer.pack(Int64(index) * 3_600)
            if index == 0 { writer.map([(0x1B, 0xE0)]) }
            writer.packet(
                0xE0, Writer.picture(key: index == 0, length: 500 + index), pts: Int64(index) * 3_600, isOpen: true)
        }
        writer.raw([0, 0, 1, 0xB9])
        for step in [1, 5, 64, Int.max] {
            let outputs = demux(writer.bytes, step: step)
            #expect(outputs.problems.isEmpty)
            #expect(outputs.frames.map(\.payload.readableBytes) == [504, 505, 506, 507])
        }
    }

    @Test("a packet of unknown length that does not end is dropped, and reading goes on")
    func openPacketTooLong() {
        var configuration = PSDemuxer.Configuration()
        configuration.maximumAccessUnitLength = 2_000
        var writer = Writer()
        writer.pack(0)
        writer.map([(0x1B, 0xE0)])
        writer.packet(0xE0, Writer.picture(key: true, length: 3_000), pts: 0, isOpen: true)
        writer.pack(3_600)
        writer.packet(0xE0, Writer.picture(key: true, length: 100), pts: 3_600)
        for step in [1, 3, 500, Int.max] {
            let outputs = demux(writer.bytes, step: step, configuration: configuration)
            #expect(
                outputs.problems.first.map { if case .tooLong(0xE0, 2_000, _) = $0 { true } else { false } } == true)
            #expect(outputs.frames.map(\.payload.readableBytes) == [104])
        }
    }

    @Test("without a map the packets show what they are")
    func withoutMap() {
        let outputs = demux(join(Writer.camera(12, hasMap: false)))
        #expect(outputs.problems.isEmpty)
        #expect(Set(outputs.tracks.map(\.codec)) == [.h264, .g711ALaw])
        #expect(outputs.frames.filter { $0.kind == .video }.count == 12)
    }

    @Test(
        "each coding that a map can name is read",
        arguments: [
            (UInt8(0x0F), Codec.aac), (0x03, .mp3), (0x04, .mp3), (0x90, .g711ALaw), (0x91, .g711MuLaw),
        ])
    func audioTypes(type: UInt8, codec: Codec) {
        // AAC-LC of 48 kHz in ADTS, and layer III of 128 kb/s and 48 kHz: each a whole frame.
        let aac: [UInt8] = [0xFF, 0xF1, 0x4C, 0x80, 0x03, 0xFF, 0xFC] + [UInt8](repeating: 0x21, count: 24)
        let mp3: [UInt8] = [0xFF, 0xFB, 0x94, 0x00] + [UInt8](repeating: 0x55, count: 380)
        let payload: [UInt8] =
            switch codec {
            case .aac: aac
            case .mp3: mp3
            default: [UInt8](repeating: 0x33, count: 320)
            }
        var writer = Writer()
        for index in 0..<4 {
            writer.pack(Int64(index) * 3_600)
            if index == 0 { writer.map([(type, 0xC0)]) }
            writer.packet(0xC0, ByteBuffer(bytes: payload), pts: Int64(index) * 3_600)
        }
        let outputs = demux(writer.bytes)
        #expect(outputs.problems.isEmpty)
        #expect(outputs.maps.map(\.kinds) == [[.audio]])
        #expect(outputs.tracks.map(\.codec) == [codec])
        #expect(outputs.frames.map(\.pts.ticks) == [0, 3_600, 7_200, 10_800])
        #expect(outputs.frames.allSatisfy { $0.payload.readableBytes == (codec == .aac ? 24 : payload.count) })
    }

    @Test("parameter sets are believed more than the map")
    func contradiction() {
        var writer = Writer()
        for index in 0..<3 {
            writer.pack(Int64(index) * 3_600)
            writer.map([(0x24, 0xE0)])
            writer.packet(0xE0, Writer.picture(key: true, length: 100), pts: Int64(index) * 3_600)
        }
        let outputs = demux(writer.bytes)
        #expect(
            outputs.problems == [.contradictoryMap(declared: .hevc, found: .h264, position: 14 + 20)])
        #expect(outputs.tracks.map(\.codec) == [.h264])
        #expect(outputs.frames.count == 3)
    }

    @Test("codings that are not carried further are told once")
    func unsupported() {
        var writer = Writer()
        for index in 0..<3 {
            writer.pack(Int64(index) * 3_600)
            writer.map([(0x80, 0xE0), (0x92, 0xC0)])
            writer.packet(0xE0, ByteBuffer(repeating: 7, count: 100), pts: 0)
            writer.packet(0xC0, ByteBuffer(repeating: 7, count: 100), pts: 0)
        }
        let outputs = demux(writer.bytes)
        #expect(outputs.frames.isEmpty)
        #expect(
            outputs.problems == [
                .unsupportedStream(streamID: 0xE0, type: 0x80, position: 14),
                .unsupportedStream(streamID: 0xC0, type: 0x92, position: 14),
            ])
    }

    @Test("garbage between packs is passed over, and hurts only the frame that it is in")
    func garbage() {
        var packs = Writer.camera(20)
        packs[4].writeBytes([UInt8](repeating: 0x55, count: 1_000))
        let outputs = demux(join(packs))
        #expect(outputs.problems.count == 1)
        guard case .garbage(_, 1_000)? = outputs.problems.first else {
            Issue.record("\(outputs.problems)")
            return
        }
        #expect(outputs.frames.filter { $0.kind == .audio }.count == 20)
        #expect(outputs.frames.filter { $0.kind == .video }.count >= 19)
    }

    @Test("where bytes are lost, reading goes on with the next pack and no piece of a picture comes out")
    func loss() {
        let packs = Writer.camera(20, keyLength: 5_000)
        var demuxer = PSDemuxer()
        var outputs: [PSDemuxer.Output] = []
        for (index, pack) in packs.enumerated() {
            if index == 10 {
                // The middle of a key frame is missing.
                demuxer.receive(pack.getSlice(at: 0, length: 1_000) ?? ByteBuffer())
                demuxer.lose()
                demuxer.receive(pack.getSlice(at: 3_000, length: pack.readableBytes - 3_000) ?? ByteBuffer())
            } else {
                demuxer.receive(pack)
            }
            while let output = demuxer.nextOutput() { outputs.append(output) }
        }
        demuxer.finish()
        while let output = demuxer.nextOutput() { outputs.append(output) }
        let video = outputs.frames.filter { $0.kind == .video }
        #expect(video.filter(\.isKeyframe).map(\.payload.readableBytes) == [5_004])
        #expect(!video.map(\.dts.ticks).contains(90_000 + 10 * 3_600))
        #expect(video.contains { $0.dts.ticks == 90_000 + 11 * 3_600 })
        #expect(demuxer.statistics.losses == 1)
    }

    @Test("times have the 33 bits of the wire, over their wrap")
    func wrap() {
        let start = (Int64(1) << 33) - 2 * 3_600
        let outputs = demux(join(Writer.camera(5, from: start)))
        let expected = (0..<5).map { (start + $0 * 3_600) & ((1 << 33) - 1) }
        #expect(outputs.frames.filter { $0.kind == .video }.map(\.dts.ticks) == expected)
        #expect(outputs.frames.filter { $0.kind == .audio }.map(\.dts.ticks) == expected)
    }

    @Test("a stream without time stamps takes the clock of its packs")
    func packClock() {
        var writer = Writer()
        for index in 0..<3 {
            writer.pack(Int64(index) * 3_600)
            writer.map([(0x90, 0xC0)])
            writer.packet(0xC0, ByteBuffer(repeating: 1, count: 320), pts: nil)
        }
        #expect(demux(writer.bytes).frames.map(\.dts.ticks) == [0, 3_600, 7_200])
    }

    @Test("a map that contradicts itself is told and ignored")
    func malformedMap() {
        var writer = Writer()
        writer.pack(0)
        writer.raw([0, 0, 1, 0xBC, 0, 4, 0xE0, 0xFF, 0, 200])
        writer.packet(0xC0, ByteBuffer(repeating: 1, count: 320), pts: 0)
        let outputs = demux(writer.bytes)
        #expect(outputs.problems == [.malformedMap(position: 14)])
        #expect(outputs.frames.count == 1)
    }

    @Test("packs of MPEG-1 are read")
    func oldPack() {
        var writer = Writer()
        writer.raw([0, 0, 1, 0xBA, 0x21, 0, 1, 0, 1, 0x80, 0, 1])
        writer.packet(0xC0, ByteBuffer(repeating: 1, count: 320), pts: 9_000)
        #expect(demux(writer.bytes).frames.map(\.dts.ticks) == [9_000])
    }
}
