import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct AccessUnitTests {
    private static let delimiter = bytes("09f0")

    private static func key(_ seed: UInt8 = 0, length: Int = 40) -> [ByteBuffer] {
        [Self.delimiter, Sample.sps, Sample.pps, Sample.slice(0x65, length: length, seed: seed)]
    }

    private static func demuxed(_ pes: [ByteBuffer]) -> [TSDemuxer.Output] {
        demux(Streams.stream(type: 0x1B, pes: pes))
    }

    @Test("Several access units in one PES packet are told apart, and times go on at the stream's rate")
    func several() {
        let other = Sample.slice(0x41, length: 30)
        let outputs = Self.demuxed([
            Streams.pes(pts: 90_000, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 93_000, payload: Streams.annexB([Self.delimiter, other])),
            Streams.pes(
                pts: 96_000,
                payload: Streams.annexB([Self.delimiter, other, Self.delimiter, other] + [other])),
        ])
        #expect(outputs.problems == [])
        #expect(outputs.frames.map(\.dts.ticks) == [90_000, 93_000, 96_000, 99_000, 102_000])
        #expect(outputs.frames.dropFirst().allSatisfy { $0.payload == Sample.lengthPrefixed([other]) })
    }

    @Test("Slices that are not the first of their picture stay with it")
    func slices() {
        var later = Sample.slice(0x41, length: 20)
        later.setInteger(UInt8(0x40), at: 1)
        let first = Sample.slice(0x41, length: 20)
        let outputs = Self.demuxed([
            Streams.pes(pts: 90_000, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 93_600, payload: Streams.annexB([first, later, later])),
            Streams.pes(pts: 97_200, payload: Streams.annexB([first, later])),
        ])
        #expect(
            outputs.frames.dropFirst().map(\.payload) == [
                Sample.lengthPrefixed([first, later, later]), Sample.lengthPrefixed([first, later]),
            ])
        #expect(outputs.frames.map(\.dts.ticks) == [90_000, 93_600, 97_200])
    }

    @Test("An access unit may be cut into PES packets at every byte", arguments: [true, false])
    func spanning(hasDelimiter: Bool) {
        let units = hasDelimiter ? Self.key() : Array(Self.key().dropFirst())
        let whole = Streams.annexB(units)
        let next = Streams.annexB(
            hasDelimiter ? [Self.delimiter, Sample.slice(0x41, length: 9)] : [Sample.slice(0x41, length: 9)])
        // Nothing begins in a packet that has only a piece of a start code.
        for cut in 4..<whole.readableBytes {
            let outputs = Self.demuxed([
                Streams.pes(pts: 90_000, payload: whole.getSlice(at: 0, length: cut) ?? ByteBuffer()),
                Streams.pes(
                    pts: nil, payload: whole.getSlice(at: cut, length: whole.readableBytes - cut) ?? ByteBuffer()),
                Streams.pes(pts: 93_600, payload: next),
            ])
            #expect(outputs.problems == [], "cut at \(cut)")
            #expect(outputs.frames.map(\.dts.ticks) == [90_000, 93_600], "cut at \(cut)")
            #expect(outputs.frames.first?.payload == Sample.lengthPrefixed([units[units.count - 1]]), "cut at \(cut)")
            #expect(outputs.frames.last?.payload == Sample.lengthPrefixed([Sample.slice(0x41, length: 9)]))
        }
    }

    @Test("A slice over three PES packets has the time of the first of them")
    func longSlice() {
        let slice = Sample.slice(0x41, length: 90)
        let all = Streams.annexB([slice])
        let outputs = Self.demuxed([
            Streams.pes(pts: 90_000, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 100_000, payload: all.getSlice(at: 0, length: 30) ?? ByteBuffer()),
            Streams.pes(pts: nil, payload: all.getSlice(at: 30, length: 30) ?? ByteBuffer()),
            Streams.pes(pts: nil, payload: all.getSlice(at: 60, length: 34) ?? ByteBuffer()),
        ])
        #expect(outputs.frames.map(\.dts.ticks) == [90_000, 100_000])
        #expect(outputs.frames.last?.payload == Sample.lengthPrefixed([slice]))
    }

    @Test("An access unit comes out when the next begins, without waiting for its end")
    func latency() {
        var continuity: UInt8 = 0
        var demuxer = TSDemuxer()
        func receive(_ packet: ByteBuffer) -> Int {
            demuxer.receive(packet)
            var frames = 0
            while let output = demuxer.nextOutput() { if case .event(.frame, _) = output { frames += 1 } }
            return frames
        }
        // Packets of a stream that is found: four sync bytes.
        let tables = Streams.tables([(0x1B, 0x100, "")])
        for packet in packets(in: join([tables, Streams.packet(pid: 0x1FFF, continuity: 0, payload: bytes("00"))])) {
            _ = receive(packet)
        }
        let first = Streams.packets(
            pid: 0x100, continuity: &continuity,
            unit: Streams.pes(pts: 90_000, length: 0, payload: Streams.annexB(Self.key(length: 1000))))
        let second = Streams.packets(
            pid: 0x100, continuity: &continuity,
            unit: Streams.pes(
                pts: 93_600, length: 0,
                payload: Streams.annexB([Self.delimiter, Sample.slice(0x41, length: 1000)])))
        #expect(first.map(receive).reduce(0, +) == 0)
        #expect(receive(second[0]) == 1)
        #expect(second.dropFirst().map(receive).reduce(0, +) == 0)
    }

    @Test("New parameter sets at a keyframe are a new track; the same again are none")
    func newTrack() {
        let other = bytes("674d401e eca0a03d8088000003000800000301e078b16cb0")
        let outputs = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 3600, payload: Streams.annexB(Self.key())),
            Streams.pes(
                pts: 7200, payload: Streams.annexB([Self.delimiter, other, Sample.pps, Sample.slice(0x65, length: 9)])),
        ])
        #expect(outputs.problems == [])
        #expect(outputs.tracks == [Sample.avcTrack(), Sample.avcTrack(sps: other)])
        #expect(outputs.frames.count == 3)
        guard case .event(.track, position: let position)? = outputs.dropLast().last else {
            Issue.record("the track does not come in front of its frame")
            return
        }
        #expect(position == 188 * 4)
    }

    @Test("Parameter sets that change between keyframes go with their frame, and into the track at the next keyframe")
    func changeBetweenKeyframes() throws {
        let second = bytes("68 5b e3 cb 22 c0")
        let slice = Sample.slice(0x41, length: 9)
        let outputs = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 3600, payload: Streams.annexB([Self.delimiter, second, slice])),
            Streams.pes(pts: 7200, payload: Streams.annexB([Self.delimiter, second, slice])),
            Streams.pes(pts: 10_800, payload: Streams.annexB(Self.key())),
        ])
        #expect(outputs.frames[1].payload == Sample.lengthPrefixed([second, slice]))
        #expect(outputs.frames[2].payload == Sample.lengthPrefixed([slice]))
        let record = try #require(outputs.tracks.last?.configuration)
        #expect(outputs.tracks.count == 2)
        #expect(try AVCDecoderConfiguration(parsing: record).pictureParameterSets == [Sample.pps, second])
    }

    @Test("A recovery point with parameter sets is a keyframe, without them or later it is not")
    func recoveryPoint() {
        let point = bytes("06 0101ff 0601 c4 80")
        let late = bytes("06 0601 44 80")
        let slice = Sample.slice(0x41, length: 9)
        let outputs = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB([Self.delimiter, Sample.sps, Sample.pps, point, slice])),
            Streams.pes(pts: 3600, payload: Streams.annexB([Self.delimiter, point, slice])),
            Streams.pes(pts: 7200, payload: Streams.annexB([Self.delimiter, Sample.sps, Sample.pps, late, slice])),
        ])
        #expect(outputs.frames.map(\.isKeyframe) == [true, false, false])
        #expect(outputs.frames.first?.payload == Sample.lengthPrefixed([point, slice]))
    }

    @Test("Frames before the first parameter sets and the first time are dropped and told")
    func unusable() {
        let outputs = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB([Self.delimiter, Sample.slice(0x41, length: 9)])),
            Streams.pes(pts: 3600, payload: Streams.annexB(Self.key())),
        ])
        #expect(outputs.problems == [.unusableFrame(pid: 0x100, position: 376)])
        #expect(outputs.frames.count == 1)
        let timeless = Self.demuxed([
            Streams.pes(pts: nil, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 3600, payload: Streams.annexB(Self.key())),
        ])
        #expect(timeless.problems == [.unusableFrame(pid: 0x100, position: 376)])
        #expect(timeless.frames.map(\.pts.ticks) == [3600])
        let broken = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB([bytes("6764"), Sample.pps, Sample.slice(0x65, length: 9)]))
        ])
        #expect(broken.frames.isEmpty)
        #expect(broken.problems == [.unusableFrame(pid: 0x100, position: 376)])
    }

    @Test("Presentation is never before decoding, also over the wrap")
    func presentation() {
        let top = TS.timePeriod - 1
        let outputs = Self.demuxed([
            Streams.pes(pts: 7199, dts: top, payload: Streams.annexB(Self.key())),
            Streams.pes(pts: 3000, dts: 3600, payload: Streams.annexB(Self.key(1))),
        ])
        #expect(outputs.frames.map(\.dts.ticks) == [top, 3600])
        #expect(outputs.frames.map(\.pts.ticks) == [top + 7200, 3600])
    }

    @Test("Delimiters, filler data and zero bytes behind a unit are left out; other units stay in order")
    func cleaning() {
        let units = Self.key() + [bytes("0c ffff80"), bytes("06 0502aabb 80"), bytes("0a")]
        var payload = Streams.annexB(units)
        payload.writeRepeatingByte(0, count: 5)
        let outputs = Self.demuxed([Streams.pes(pts: 0, payload: payload)])
        #expect(outputs.frames.count == 1)
        #expect(outputs.frames.first?.payload == Sample.lengthPrefixed([units[3]]))
        #expect(outputs.frames.first?.isKeyframe == true)
    }

    @Test("A unit over thousands of PES packets is read in time that grows with its bytes", .timeLimit(.minutes(1)))
    func manyPackets() {
        let slice = Sample.slice(0x41, length: 300_000)
        var all = Streams.annexB([slice])
        var pes = [Streams.pes(pts: 0, payload: Streams.annexB(Self.key()))]
        while let piece = all.readSlice(length: min(100, all.readableBytes)), piece.readableBytes > 0 {
            pes.append(Streams.pes(pts: pes.count == 1 ? 3600 : nil, payload: piece))
        }
        let outputs = Self.demuxed(pes)
        #expect(outputs.problems == [])
        #expect(outputs.frames.map(\.payload).last == Sample.lengthPrefixed([slice]))
        #expect(outputs.frames.map(\.dts.ticks) == [0, 3600])
    }

    @Test("An access unit is bounded in bytes, also over PES packets, and in units")
    func bounds() {
        var configuration = TSDemuxer.Configuration()
        configuration.maximumAccessUnitLength = 1000
        var all = Streams.annexB([Sample.slice(0x41, length: 3000)])
        var pes = [Streams.pes(pts: 0, payload: Streams.annexB(Self.key()))]
        while let piece = all.readSlice(length: min(100, all.readableBytes)), piece.readableBytes > 0 {
            pes.append(Streams.pes(pts: nil, payload: piece))
        }
        pes.append(Streams.pes(pts: 7200, payload: Streams.annexB(Self.key())))
        let long = demux(Streams.stream(type: 0x1B, pes: pes), configuration: configuration)
        #expect(long.problems.count == 1)
        #expect(long.frames.map(\.dts.ticks) == [0, 7200])
        var later = Sample.slice(0x41, length: 4)
        later.setInteger(UInt8(0x40), at: 1)
        let many = Array(repeating: later, count: AccessUnitAssembler.maximumUnits + 1)
        let outputs = Self.demuxed([
            Streams.pes(pts: 0, payload: Streams.annexB(Self.key() + many)),
            Streams.pes(pts: 7200, payload: Streams.annexB(Self.key())),
        ])
        #expect(outputs.problems.contains(.tooLong(pid: 0x100, maximum: 8 << 20, position: 376)))
        #expect(outputs.frames.last?.payload == Sample.lengthPrefixed([Self.key()[3]]))
    }
}
