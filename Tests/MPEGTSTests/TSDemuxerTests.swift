import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct TSDemuxerTests {
    private static func good(id3: Bool = false) throws -> ByteBuffer {
        var muxer = try Sample.muxer(carriesID3: id3)
        return Sample.stream(of: Sample.second(), with: &muxer)
    }

    // MARK: Finding packets

    @Test("The same bytes give the same outputs however they are cut", arguments: [1, 2, 3, 7, 187, 188, 189, 1000])
    func cuts(step: Int) throws {
        let stream = try Self.good()
        var damaged = stream
        // Garbage in front and in the middle, and a damaged packet.
        damaged.setInteger(UInt8(0), at: 188 * 10)
        let pieces = [
            bytes("0047ff"), damaged.getSlice(at: 0, length: 188 * 30), bytes("47474700"),
            damaged.getSlice(at: 188 * 30, length: damaged.readableBytes - 188 * 30),
        ]
        for input in [stream, join(pieces.compactMap { $0 })] {
            let whole = demux(input)
            #expect(!whole.frames.isEmpty)
            #expect(demux(input, step: step) == whole)
        }
    }

    @Test("A stream that ends at any byte gives the frames up to there")
    func truncation() throws {
        let stream = try Self.good().getSlice(at: 0, length: 188 * 40) ?? ByteBuffer()
        let all = demux(stream).frames
        for length in stride(from: 0, through: stream.readableBytes, by: 13) {
            let frames = demux(stream.getSlice(at: 0, length: length) ?? ByteBuffer()).frames
            for kind in [MediaKind.video, .audio] {
                let mine = frames.filter { $0.kind == kind }
                // The last may be shorter: it was cut off.
                #expect(mine.dropLast() == all.filter { $0.kind == kind }.prefix(max(0, mine.count - 1)))
            }
        }
    }

    @Test("Positions are those of the packets in which PES packets begin")
    func positions() throws {
        let stream = try Self.good()
        for case .event(.frame(let frame), let position) in demux(stream) {
            let packet = try TSPacket(try #require(stream.getSlice(at: Int(position), length: 188)))
            #expect(packet.isStart)
            #expect(packet.pid == (frame.kind == .video ? 0x100 : 0x101))
        }
        let shifted = demux(join([bytes("0102030405"), stream]))
        #expect(shifted.first == .problem(.garbage(position: 0, skipped: 5)))
        for (left, right) in zip(shifted.dropFirst(), demux(stream)) {
            guard case .event(let event, let position) = left else { continue }
            #expect(right == .event(event, position: position - 5))
        }
    }

    @Test("Packets of 192 and 204 bytes are read like those of 188", arguments: [(4, 0), (0, 16)])
    func otherLengths(front: Int, behind: Int) throws {
        let stream = try Self.good()
        let wide = join(
            packets(in: stream).map { packet in
                join([ByteBuffer(repeating: 0x12, count: front), packet, ByteBuffer(repeating: 0x34, count: behind)])
            })
        let outputs = demux(wide)
        #expect(outputs.problems == [])
        #expect(outputs.frames == demux(stream).frames)
        #expect(demux(wide, step: 1) == outputs)
    }

    @Test("A single packet is enough at the end of the input, and fewer bytes are garbage")
    func shortInputs() throws {
        let stream = try Self.good()
        #expect(demux(ByteBuffer()) == [])
        #expect(demux(bytes("47")) == [.problem(.garbage(position: 0, skipped: 1))])
        let tables = stream.getSlice(at: 0, length: 376) ?? ByteBuffer()
        #expect(demux(tables).programs.count == 1)
        #expect(demux(tables).problems == [])
        #expect(demux(ByteBuffer(repeating: 0, count: 5000)) == [.problem(.garbage(position: 0, skipped: 5000))])
        #expect(demux(ByteBuffer(repeating: 0x47, count: 5000)).frames.isEmpty)
    }

    @Test("Reading finds the next packet behind garbage")
    func resynchronization() throws {
        let stream = try Self.good()
        let half = 188 * 60
        let input = join(
            [
                stream.getSlice(at: 0, length: half), ByteBuffer(repeating: 0x55, count: 1001),
                stream.getSlice(at: half, length: stream.readableBytes - half),
            ].compactMap { $0 })
        let outputs = demux(input)
        #expect(outputs.problems == [.garbage(position: Int64(half), skipped: 1001)])
        #expect(outputs.frames == demux(stream).frames)
    }

    // MARK: Damage

    @Test("A missing packet takes its access unit with it and nothing else")
    func missingVideoPacket() throws {
        let stream = try Self.good()
        var list = packets(in: stream)
        let all = demux(stream)
        // A packet in the middle of the second keyframe.
        let starts = all.compactMap { output -> Int64? in
            guard case .event(.frame(let frame), let position) = output, frame.isKeyframe, frame.kind == .video else {
                return nil
            }
            return position
        }
        let victim = Int(starts[1]) / 188 + 3
        let before = try TSPacket(list[victim - 1]).continuity
        list.remove(at: victim)
        let outputs = demux(join(list))
        let position = Int64(victim * 188)
        #expect(
            outputs.problems == [
                .continuity(pid: 0x100, expected: (before + 1) & 15, found: (before + 2) & 15, position: position)
            ])
        #expect(outputs.frames(.video) == all.frames(.video).enumerated().filter { $0.offset != 12 }.map(\.element))
        #expect(outputs.frames(.audio) == all.frames(.audio))
    }

    @Test("Of a damaged PES packet of audio, the frames in front of the damage are used")
    func missingAudioPacket() throws {
        var muxer = try Sample.muxer(video: nil)
        let frames = (0..<12).map { Sample.audio(90_000 + Int64($0) * 1920, length: 200) }
        var list = packets(in: Sample.stream(of: frames, with: &muxer))
        // Each PES packet has four frames of 207 bytes in five packets; the third packet of the second is lost.
        list.remove(at: 2 + 5 + 2)
        let outputs = demux(join(list))
        #expect(outputs.problems.count == 1)
        #expect(outputs.frames == [0, 1, 2, 3, 4, 8, 9, 10, 11].map { frames[$0] })
    }

    @Test("A packet that comes twice is read once; a counter that stands still with other bytes is a gap")
    func duplicates() throws {
        let stream = try Self.good()
        let doubled = join(packets(in: stream).flatMap { [$0, $0] })
        var demuxer = TSDemuxer()
        let outputs = feed(doubled, to: &demuxer)
        #expect(outputs.problems == [])
        #expect(outputs.frames == demux(stream).frames)
        #expect(demuxer.statistics.duplicates > 100)
        var list = packets(in: stream)
        let victim = try #require(try list.lastIndex { try TSPacket($0).pid == 0x100 })
        let flags = try #require(list[victim].getInteger(at: 3, as: UInt8.self))
        list[victim].setInteger(flags & 0xF0 | (flags &- 1) & 15, at: 3)
        #expect(demux(join(list)).problems.count == 1)
    }

    @Test("A jump of the counter that the packet announces is no error")
    func announcedJump() throws {
        var continuity: UInt8 = 0
        let unit = Streams.pes(
            pts: 90_000,
            payload: Streams.annexB([bytes("09f0"), Sample.sps, Sample.pps, Sample.slice(0x65, length: 20)]))
        let first = Streams.packets(pid: 0x100, continuity: &continuity, unit: unit)
        let jump = Streams.packet(
            pid: 0x100, continuity: 9, isStart: true, payload: unit, adaptationFlags: 0x80)
        let outputs = demux(join([Streams.tables([(0x1B, 0x100, "")])] + first + [jump]))
        #expect(outputs.problems == [])
        #expect(outputs.frames.count == 2)
        #expect(outputs.contains(.clockJump(position: 188 * 3)))
    }

    @Test("Packets that the receiver marked, and impossible ones, are dropped")
    func damagedPackets() throws {
        let stream = try Self.good()
        var list = packets(in: stream)
        list.insert(bytes("47 8100 10"), at: 5)
        list[5].writeRepeatingByte(0, count: 184)
        list.insert(bytes("47 0100 00"), at: 9)
        list[9].writeRepeatingByte(0, count: 184)
        list.insert(bytes("47 0100 30 b7"), at: 12)
        list[12].writeRepeatingByte(0, count: 183)
        list.insert(bytes("47 1fff 10"), at: 15)
        list[15].writeRepeatingByte(0, count: 184)
        let outputs = demux(join(list))
        #expect(
            outputs.problems == [
                .transportError(pid: 0x100, position: 940), .malformedPacket(pid: 0x100, position: 1692),
                .malformedPacket(pid: 0x100, position: 2256),
            ])
        #expect(outputs.frames == demux(stream).frames)
    }

    @Test("Scrambled packets are counted and told once a run")
    func scrambled() throws {
        let stream = try Self.good()
        var list = packets(in: stream)
        var count = 0
        for index in 20..<list.count where (try TSPacket(list[index])).pid == 0x100 {
            let flags = try #require(list[index].getInteger(at: 3, as: UInt8.self))
            list[index].setInteger(flags | 0x80, at: 3)
            count += 1
        }
        var demuxer = TSDemuxer()
        let outputs = feed(join(list), to: &demuxer)
        #expect(outputs.problems.count == 1)
        guard case .scrambled(pid: 0x100, position: _)? = outputs.problems.first else {
            Issue.record("\(outputs.problems)")
            return
        }
        #expect(demuxer.statistics.scrambledPackets == count)
        #expect(outputs.frames(.audio) == demux(stream).frames(.audio))
    }

    @Test("Any single damaged byte is survived")
    func corruption() throws {
        var muxer = try Sample.muxer(carriesID3: true)
        let frames = Array(Sample.second().prefix(20))
        let stream = Sample.stream(of: frames, with: &muxer)
        for offset in 0..<stream.readableBytes {
            var damaged = stream
            damaged.setInteger((stream.getInteger(at: offset, as: UInt8.self) ?? 0) ^ 0xFF, at: offset)
            let outputs = demux(damaged)
            // Behind the tables and the first keyframe with its parameter sets, which everything else needs, a PES packet
            // of audio and an access unit are lost at most.
            #expect(offset < 188 * 22 || outputs.frames.count >= frames.count - 5, "byte \(offset)")
        }
    }

    // MARK: PES packets

    @Test("Headers that are none end the packet; padding and scrambled ones are passed over")
    func headers() {
        let unit = Streams.annexB([bytes("09f0"), Sample.sps, Sample.pps, Sample.slice(0x65, length: 20)])
        let good = Streams.pes(pts: 90_000, payload: unit)
        var noPrefix = good
        noPrefix.setInteger(UInt8(1), at: 0)
        var noMarker = good
        noMarker.setInteger(UInt8(0x04), at: 6)
        var dtsAlone = good
        dtsAlone.setInteger(UInt8(0x40), at: 7)
        var tooShort = good
        tooShort.setInteger(UInt8(0xC0), at: 7)
        var scrambled = good
        scrambled.setInteger(UInt8(0x94), at: 6)
        var padding = good
        padding.setInteger(UInt8(0xBE), at: 3)
        for (broken, problems) in [
            (noPrefix, [TSProblem.malformedPES(pid: 0x100, position: 376)]),
            (noMarker, [.malformedPES(pid: 0x100, position: 376)]),
            (dtsAlone, [.malformedPES(pid: 0x100, position: 376)]),
            (tooShort, [.malformedPES(pid: 0x100, position: 376)]),
            (scrambled, [.scrambled(pid: 0x100, position: 376)]), (padding, []),
            (bytes("000001e0 0000 8080 05 21"), [.malformedPES(pid: 0x100, position: 376)]),
        ] {
            let outputs = demux(Streams.stream(type: 0x1B, pes: [broken, good]))
            #expect(outputs.problems == problems)
            #expect(outputs.frames.count == 1)
        }
    }

    @Test("A PES packet that ends early is used and told; one that is too long is dropped")
    func lengths() {
        let unit = Streams.annexB([bytes("09f0"), Sample.sps, Sample.pps, Sample.slice(0x65, length: 20)])
        let short = Streams.pes(pts: 90_000, length: 500, payload: unit)
        let outputs = demux(Streams.stream(type: 0x1B, pes: [short, Streams.pes(pts: 93_600, payload: unit)]))
        #expect(outputs.problems == [.shortPES(pid: 0x100, declared: 492, found: unit.readableBytes, position: 376)])
        #expect(outputs.frames.map(\.pts.ticks) == [90_000, 93_600])
        var configuration = TSDemuxer.Configuration()
        configuration.maximumAccessUnitLength = 1000
        let long = Streams.pes(
            pts: 90_000, length: 0,
            payload: Streams.annexB([bytes("09f0"), Sample.sps, Sample.pps, Sample.slice(0x65, length: 2000)]))
        let limited = demux(
            Streams.stream(type: 0x1B, pes: [long, Streams.pes(pts: 93_600, payload: unit)]),
            configuration: configuration)
        #expect(limited.problems == [.tooLong(pid: 0x100, maximum: 1000, position: 376)])
        #expect(limited.frames.map(\.pts.ticks) == [93_600])
    }

    // MARK: Tables

    @Test("Tables that span packets and share them are read")
    func longTables() {
        let streams = (0..<40).map { (UInt8(0x0F), UInt16(0x200 + $0), "0a04 6465 7500") }
        let map = TSTableWriter.map(
            programNumber: 7, version: 3, clockPID: 0x200, descriptors: ByteBuffer(),
            entries: streams.map { .init(streamType: $0.0, pid: $0.1, descriptors: bytes($0.2)) })
        let association = TSTableWriter.association(transportStreamID: 1, programNumber: 7, mapPID: 0x50)
        var continuity: UInt8 = 3
        // Two sections behind each other; the second begins in the packet in which the first ends.
        var unit = ByteBuffer(bytes: [0])
        unit.writeImmutableBuffer(map)
        let list = Streams.packets(pid: 0x50, continuity: &continuity, unit: unit)
        let outputs = demux(join([Streams.section(association, pid: 0)] + list))
        #expect(outputs.problems == [])
        #expect(outputs.programs.map(\.streams.count) == [40])
        #expect(outputs.programs.first?.streams.first?.language == "deu")
        #expect(outputs.programs.first?.streams.filter(\.isSelected).map(\.pid) == [0x200])
        #expect(outputs.programs.first?.version == 3)
    }

    @Test("A section with a wrong checksum is ignored, as is one that is not valid yet")
    func checksums() {
        let tables = packets(in: Streams.tables([(0x0F, 0x101, "")]))
        var damaged = tables[1]
        damaged.setInteger(UInt8(0x77), at: 20)
        let outputs = demux(join([tables[0], damaged, tables[1]]))
        #expect(outputs.problems.contains(.sectionChecksum(pid: 0x1000, position: 188)))
        #expect(outputs.programs.count == 1)
        var next = TSTableWriter.association(transportStreamID: 1, programNumber: 1, mapPID: 0x1000)
        next.setInteger(UInt8(0xC0), at: 5)
        next.moveWriterIndex(to: next.writerIndex - 4)
        next.writeInteger(CRC32MPEG.checksum(of: next))
        #expect(demux(join([Streams.section(next, pid: 0), tables[1]])).isEmpty)
        // The checksum of annex A, of "123456789".
        #expect(CRC32MPEG.checksum(of: ByteBuffer(string: "123456789")) == 0x0376_E6E7)
    }

    @Test("Sections with impossible lengths are told")
    func malformedSections() {
        let tables = packets(in: Streams.tables([(0x0F, 0x101, "")]))
        let long = Streams.section(bytes("00 bfff 0001 c1 00 00"), pid: 0)
        let pointer = Streams.packet(pid: 0, continuity: 1, isStart: true, payload: bytes("ff 00"))
        var list = [long, pointer] + tables
        list[2].setInteger(UInt8(0x12), at: 3)
        let outputs = demux(join(list))
        #expect(
            outputs.problems == [
                .malformedSection(pid: 0, position: 0), .malformedSection(pid: 0, position: 188),
            ])
        #expect(outputs.programs.count == 1)
    }

    @Test("Of several programs the first is read, or the one that was chosen")
    func programs() throws {
        var association = bytes("00 b015 0001 c1 00 00 0000 e010 0005 e100 0006 e200")
        association.writeInteger(CRC32MPEG.checksum(of: association))
        func map(_ number: UInt16, pid: UInt16, audio: UInt16) -> ByteBuffer {
            Streams.section(
                TSTableWriter.map(
                    programNumber: number, version: 0, clockPID: audio, descriptors: ByteBuffer(),
                    entries: [.init(streamType: 0x0F, pid: audio, descriptors: ByteBuffer())]), pid: pid)
        }
        let stream = join([
            Streams.section(association, pid: 0), map(6, pid: 0x200, audio: 0x201), map(5, pid: 0x100, audio: 0x101),
        ])
        #expect(demux(stream).programs.map(\.number) == [5])
        var configuration = TSDemuxer.Configuration()
        configuration.programNumber = 6
        #expect(demux(stream, configuration: configuration).programs.map(\.number) == [6])
        configuration.programNumber = 7
        #expect(demux(stream, configuration: configuration).isEmpty)
        configuration = .init()
        configuration.maximumPrograms = 1
        configuration.maximumStreams = 1
        #expect(
            demux(stream, configuration: configuration).problems
                == [.tooManyEntries(pid: 0, count: 2, maximum: 1, position: 0)])
    }

    @Test("Of several audio streams the first is read, or the chosen one")
    func audioChoice() {
        let tables = Streams.tables([
            (0x02, 0x100, ""), (0x81, 0x101, "0a04 656e6700"), (0x0F, 0x102, "0a04 64657500"), (0x0F, 0x103, ""),
        ])
        func selected(_ choice: TSDemuxer.Configuration.AudioChoice) -> [UInt16] {
            var configuration = TSDemuxer.Configuration()
            configuration.audio = choice
            return demux(tables, configuration: configuration).programs.flatMap { $0.streams.filter(\.isSelected) }.map(
                \.pid)
        }
        #expect(selected(.first) == [0x101])
        #expect(selected(.pid(0x103)) == [0x103])
        #expect(selected(.language("deu")) == [0x102])
        #expect(selected(.pid(0x100)) == [0x101])
        #expect(selected(.language("fra")) == [0x101])
    }

    @Test(
        "The content of a stream is told by its type and descriptors",
        arguments: [
            (UInt8(0x03), "", TSProgram.Content.media(.mp3)), (0x04, "", .media(.mp3)), (0x0F, "", .media(.aac)),
            (0x11, "", .latm), (0x1B, "", .media(.h264)), (0x24, "", .media(.hevc)), (0x81, "", .media(.ac3)),
            (0x87, "", .media(.eac3)), (0x06, "", .unsupported), (0x06, "6a0100", .media(.ac3)),
            (0x06, "7a0100", .media(.eac3)), (0x06, "0504 41432d33", .media(.ac3)),
            (0x06, "0504 48455643", .media(.hevc)),
            (0x06, "0504 4f707573 7f02 8006", .opus(channelCode: 6)), (0x06, "0504 4f707573", .opus(channelCode: nil)),
            (0x15, "", .unsupported), (0x15, "260d ffff 49443320 ff 49443320 00 0f", .id3),
            (0x15, "2609 0100 ff 49443320 00 0f", .id3), (0x02, "", .unsupported), (0xDB, "", .unsupported),
            (0x06, "05ff 4f707573", .unsupported),
        ])
    func contents(type: UInt8, descriptors: String, content: TSProgram.Content) {
        #expect(demux(Streams.tables([(type, 0x100, descriptors)])).programs.first?.streams.map(\.content) == [content])
    }

    @Test("A changed map is followed; streams that stay keep their state, the others end")
    func mapChange() throws {
        var muxer = try Sample.muxer()
        var buffer = ByteBuffer()
        let frames = Sample.second()
        muxer.writeTables(into: &buffer)
        for frame in frames { muxer.write(frame, into: &buffer) }
        try muxer.setTracks(video: Sample.avcTrack(), audio: nil)
        muxer.writeTables(into: &buffer)
        let more = (0..<3).map { Sample.video(180_000 + Int64($0) * 3600, key: $0 == 0) }
        for frame in more { muxer.write(frame, into: &buffer) }
        try muxer.setTracks(video: nil, audio: Sample.aacTrack)
        muxer.writeTables(into: &buffer)
        muxer.write(Sample.audio(200_000), into: &buffer)
        muxer.flush(into: &buffer)
        let outputs = demux(buffer)
        #expect(outputs.problems == [])
        #expect(outputs.programs.map(\.version) == [0, 1, 2])
        #expect(outputs.programs.map(\.clockPID) == [0x100, 0x100, 0x101])
        #expect(outputs.frames(.video) == frames.filter { $0.kind == .video } + more)
        #expect(outputs.frames(.audio) == frames.filter { $0.kind == .audio } + [Sample.audio(200_000)])
        // The video track is told once, the audio track again with its new stream.
        #expect(outputs.tracks.map(\.codec).filter { $0 == .h264 }.count == 1)
        #expect(outputs.tracks.map(\.codec).filter { $0 == .aac }.count == 2)
        // What ends comes out in front of the map that ends it.
        let last = try #require(outputs.lastIndex { if case .program = $0 { true } else { false } })
        #expect(Array(outputs[..<last]).frames(.video).count == 28)
    }

    @Test("A program that moves or vanishes is followed")
    func associationChange() {
        let first = Streams.tables([(0x0F, 0x101, "")])
        let moved = Streams.tables([(0x0F, 0x102, "")], version: 1, continuity: 1, mapPID: 0x1100)
        let empty = Streams.section(bytes("00 b009 0001 c3 00 00 e834a7b1"), pid: 0, continuity: 2)
        var fixed = bytes("00 b009 0001 c3 00 00")
        fixed.writeInteger(CRC32MPEG.checksum(of: fixed))
        #expect(empty.readableBytes == 188)
        let outputs = demux(
            join([
                first, moved, Streams.section(fixed, pid: 0, continuity: 2),
                Streams.tables([(0x81, 0x103, "")], continuity: 3),
            ]))
        #expect(outputs.programs.map(\.mapPID) == [0x1000, 0x1100, 0x1000])
        #expect(outputs.programs.map { $0.streams.map(\.pid) } == [[0x101], [0x102], [0x103]])
    }
}
