import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct TSMuxerTests {
    /// The packets of one identifier, parsed.
    private func parsed(_ stream: ByteBuffer, pid: UInt16) throws -> [TSPacket] {
        try packets(in: stream).map { try TSPacket($0) }.filter { $0.pid == pid }
    }

    @Test("A frame comes back as it was written")
    func roundTrip() throws {
        var muxer = try Sample.muxer()
        let frames = Sample.second()
        let outputs = demux(Sample.stream(of: frames, with: &muxer))
        #expect(outputs.problems == [])
        #expect(outputs.tracks.count == 2 && Set(outputs.tracks) == [Sample.avcTrack(), Sample.aacTrack])
        #expect(outputs.frames(.video) == frames.filter { $0.kind == .video })
        #expect(outputs.frames(.audio) == frames.filter { $0.kind == .audio })
        #expect(muxer.droppedFrames == 0)
    }

    @Test("Continuity counters run on from segment to segment")
    func continuity() throws {
        var muxer = try Sample.muxer(carriesID3: true)
        var last: [UInt16: UInt8] = [:]
        for index in 0..<20 {
            let start = 90_000 + Int64(index) * 90_000
            var segment = ByteBuffer()
            muxer.writeTables(into: &segment)
            muxer.writeID3(ID3Tag.text([("n", "\(index)")]), at: MediaTime(ticks: start), into: &segment)
            for frame in Sample.second(from: start) { muxer.write(frame, into: &segment) }
            muxer.flush(into: &segment)
            let list = try packets(in: segment).map { try TSPacket($0) }
            #expect(list.prefix(2).map(\.pid) == [0, 0x1000])
            for packet in list {
                if let before = last[packet.pid] {
                    #expect(packet.continuity == (packet.payload == nil ? before : (before + 1) & 15))
                }
                last[packet.pid] = packet.continuity
            }
        }
        #expect(Set(last.keys) == [0, 0x1000, 0x100, 0x101, 0x102])
    }

    @Test("Tables are those of the specification, byte for byte")
    func tables() throws {
        var muxer = try Sample.muxer()
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        let list = packets(in: buffer)
        #expect(list.count == 2)
        #expect(
            list[0].getSlice(at: 0, length: 22)
                == bytes("47 4000 10 00  00 b00d 0001 c1 00 00  0001 f000  2ab104b2 ff"))
        #expect(
            list[1].getSlice(at: 0, length: 28)
                == bytes("47 5000 10 00  02 b017 0001 c1 00 00  e100 f000  1b e100 f000  0f e101 f000 2f"))
        #expect(CRC32MPEG.checksum(of: list[1].getSlice(at: 5, length: 26) ?? ByteBuffer()) == 0)
    }

    @Test("The map of ID3 and Opus has the descriptors that players look for")
    func descriptors() throws {
        var muxer = try Sample.muxer(
            video: nil, audio: Sample.track(.opus, "4f70757348656164 01 02 3801 80bb0000 0000 00"), carriesID3: true)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        let map = packets(in: buffer)[1]
        let body = try #require(map.getSlice(at: 13, length: 56))
        #expect(
            body
                == bytes(
                    """
                    e101 f011  25 0f ffff 49443320 ff 49443320 00 1f 0001
                    06 e101 f00a  05 04 4f707573  7f 02 80 02
                    15 e102 f00f  26 0d ffff 49443320 ff 49443320 00 0f
                    """))
    }

    @Test("Only a changed set of tracks has a new version of the map, which wraps after 31")
    func versions() throws {
        var muxer = try Sample.muxer()
        var versions: [UInt8] = []
        func version() throws -> UInt8 {
            var buffer = ByteBuffer()
            muxer.writeTables(into: &buffer)
            return try #require(packets(in: buffer)[1].getInteger(at: 10, as: UInt8.self)) >> 1 & 31
        }
        versions.append(try version())
        try muxer.setTracks(video: Sample.avcTrack(), audio: Sample.aacTrack)
        versions.append(try version())
        try muxer.setTracks(video: Sample.avcTrack(), audio: nil)
        versions.append(try version())
        #expect(versions == [0, 0, 1])
        for index in 0..<31 {
            try muxer.setTracks(video: Sample.avcTrack(), audio: index % 2 == 0 ? Sample.aacTrack : nil)
        }
        #expect(try version() == 0)
    }

    @Test("A changed set is told in front of the next frame, and behind the audio of the old set")
    func changeWithoutTables() throws {
        var muxer = try Sample.muxer()
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        for index in 0..<3 { muxer.write(Sample.audio(90_000 + Int64(index) * 1920), into: &buffer) }
        try muxer.setTracks(video: nil, audio: Sample.track(.ac3))
        muxer.write(
            Frame(
                codec: .ac3, dts: MediaTime(ticks: 100_000), pts: MediaTime(ticks: 100_000), isKeyframe: true,
                payload: Streams.ac3Frame()), into: &buffer)
        muxer.flush(into: &buffer)
        let outputs = demux(buffer)
        #expect(outputs.problems == [])
        #expect(outputs.programs.map(\.version) == [0, 1])
        #expect(outputs.frames.map(\.codec) == [.aac, .aac, .aac, .ac3])
        #expect(outputs.tracks.map(\.codec) == [.aac, .ac3])
    }

    @Test("What players do not know in a transport stream is refused, and the set stays", arguments: Codec.allCases)
    func refusals(codec: Codec) throws {
        var muxer = try Sample.muxer()
        let configurations: [Codec: Track] = [
            .h264: Sample.avcTrack(), .aac: Sample.aacTrack,
            .opus: Sample.track(.opus, "4f70757348656164 01 02 3801 80bb0000 0000 00"),
        ]
        guard codec != .hevc else { return #expect(TSMuxer.supports(.hevc)) }
        let track = configurations[codec] ?? Sample.track(codec)
        var error: MPEGTSError?
        do throws(MPEGTSError) {
            try muxer.setTracks(video: track.kind == .video ? track : nil, audio: track.kind == .audio ? track : nil)
        } catch let thrown {
            error = thrown
        }
        #expect(error == (TSMuxer.supports(codec) ? nil : .unsupportedCodec(codec)))
        if error != nil {
            var buffer = ByteBuffer()
            muxer.writeTables(into: &buffer)
            #expect(demux(buffer).programs.map { $0.streams.map(\.content) } == [[.media(.h264), .media(.aac)]])
        }
    }

    @Test(
        "Configurations that the framing cannot express are refused",
        arguments: [
            (
                Sample.track(.aac, "11"),
                MPEGTSError.configuration(.aac, .truncated(offset: 0, neededBits: 4, availableBits: 3))
            ),
            (Sample.track(.aac), .configuration(.aac, .missingConfiguration(.aac))),
            (Sample.track(.aac, "1194"), .unsupportedConfiguration(.aac)),
            (Sample.track(.aac, "f8e84000"), .unsupportedConfiguration(.aac)),
            (Sample.track(.aac, "17800fa090"), .unsupportedConfiguration(.aac)),
            (Sample.track(.opus), .configuration(.opus, .missingConfiguration(.opus))),
            (Sample.track(.opus, "00"), .configuration(.opus, .truncated(offset: 0, neededBits: 64, availableBits: 8))),
            (
                Sample.track(.opus, "4f70757348656164 01 03 3801 80bb0000 0000 01 0300 000102"),
                .unsupportedConfiguration(.opus)
            ),
            (Sample.track(.h264), .configuration(.h264, .missingConfiguration(.h264))),
            (Sample.track(.h264, "0264001f"), .configuration(.h264, .unsupportedVersion(2, offset: 0))),
            (Sample.track(.hevc), .configuration(.hevc, .missingConfiguration(.hevc))),
        ])
    func refusedConfigurations(track: Track, expected: MPEGTSError) throws {
        var muxer = TSMuxer()
        #expect(throws: expected) {
            try muxer.setTracks(video: track.kind == .video ? track : nil, audio: track.kind == .audio ? track : nil)
        }
    }

    @Test("A stream without anything is refused")
    func nothing() {
        var muxer = TSMuxer()
        #expect(throws: MPEGTSError.noStreams) { try muxer.setTracks(video: nil, audio: nil) }
    }

    @Test("Frames that cannot be carried are dropped and counted")
    func drops() throws {
        var muxer = try Sample.muxer(carriesID3: true)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        let start = buffer.readableBytes
        var empty = Sample.audio(0)
        empty.payload = ByteBuffer()
        muxer.write(empty, into: &buffer)
        muxer.write(Sample.audio(0, length: 8185), into: &buffer)
        muxer.write(Sample.audio(0, codec: .mp3), into: &buffer)
        // Only a delimiter: there is no picture in it.
        var delimiter = Sample.video(0)
        delimiter.payload = bytes("00000002 09f0")
        muxer.write(delimiter, into: &buffer)
        // More units than any picture has.
        delimiter.payload = Sample.lengthPrefixed(Array(repeating: bytes("41"), count: 4_097))
        muxer.write(delimiter, into: &buffer)
        muxer.writeID3(ByteBuffer(), at: .zero, into: &buffer)
        muxer.writeID3(ByteBuffer(repeating: 1, count: 65_001), at: .zero, into: &buffer)
        muxer.flush(into: &buffer)
        #expect(muxer.droppedFrames == 7)
        #expect(buffer.readableBytes == start)
        muxer.write(Sample.audio(0, length: 8184), into: &buffer)
        muxer.flush(into: &buffer)
        #expect(demux(buffer).frames.map(\.payload.readableBytes) == [8184])
    }

    @Test("Access units begin with a delimiter, and keyframes with parameter sets unless they bring their own")
    func accessUnits() throws {
        func payload(of frame: Frame) throws -> ByteBuffer {
            var muxer = try Sample.muxer(audio: nil)
            let stream = Sample.stream(of: [frame], with: &muxer)
            var pes = join(try parsed(stream, pid: 0x100).compactMap(\.payload))
            guard case .header(let header) = PESHeader.parse(pes) else { return ByteBuffer() }
            pes.moveReaderIndex(forwardBy: header.length)
            return pes
        }
        func units(_ frame: Frame) throws -> [UInt8] {
            AnnexB.units(in: try payload(of: frame)).map { $0.getInteger(at: $0.readerIndex, as: UInt8.self) ?? 0 }
        }
        #expect(try units(Sample.video(0)) == [0x09, 0x41])
        #expect(try units(Sample.video(0, key: true)) == [0x09, 0x67, 0x68, 0x65])
        var own = Sample.video(0, key: true)
        own.payload = Sample.lengthPrefixed([
            bytes("09f0"), Sample.sps, Sample.pps, Sample.slice(0x65, length: 10),
        ])
        #expect(try units(own) == [0x09, 0x67, 0x68, 0x65])
    }

    @Test(
        "The clock comes at least every 100 ms, never goes back and is never ahead of decoding",
        arguments: [40, 200, 700])
    func clock(frameMillis: Int64) throws {
        var muxer = try Sample.muxer { $0.timeOffset = MediaTime(ticks: 126_000) }
        var frames: [Frame] = []
        for index in 0..<20 { frames.append(Sample.video(Int64(index) * frameMillis * 90, key: index == 0)) }
        let end = 19 * frameMillis * 90
        for index in 0..<Int(end / 1920) { frames.append(Sample.audio(Int64(index) * 1920)) }
        frames.sort { $0.dts < $1.dts }
        let stream = Sample.stream(of: frames, with: &muxer)
        let clocks = try parsed(stream, pid: 0x100).compactMap { $0.clock.map { $0 / 300 } }
        #expect(clocks.first == 63_000)
        let steps = zip(clocks.dropFirst(), clocks).map { $0 - $1 }
        #expect(steps.allSatisfy { (0...9000).contains($0) }, "\(steps)")
        #expect(clocks.last == 63_000 + end)
        #expect(try parsed(stream, pid: 0x101).allSatisfy { $0.clock == nil })
    }

    @Test("A source that goes back takes the clock with it, announced as a discontinuity")
    func clockJump() throws {
        var muxer = try Sample.muxer(audio: nil)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        muxer.write(Sample.video(900_000, key: true), into: &buffer)
        muxer.write(Sample.video(903_600), into: &buffer)
        muxer.write(Sample.video(90_000, key: true), into: &buffer)
        muxer.write(Sample.video(93_600), into: &buffer)
        let list = try parsed(buffer, pid: 0x100).filter { $0.clock != nil }
        #expect(list.map { ($0.clock ?? 0) / 300 } == [837_000, 840_600, 27_000, 30_600])
        #expect(list.map(\.isDiscontinuity) == [false, false, true, false])
        #expect(demux(buffer).filter { if case .clockJump = $0 { true } else { false } }.count == 1)
    }

    @Test("Audio is gathered up to the limits, and split where times do not follow")
    func gathering() throws {
        func starts(_ frames: [Frame], _ change: (inout TSMuxer.Configuration) -> Void = { _ in }) throws -> [Int64] {
            var muxer = try Sample.muxer(video: nil, change)
            let stream = Sample.stream(of: frames, with: &muxer)
            return try parsed(stream, pid: 0x101).filter(\.isStart).compactMap { packet in
                guard let payload = packet.payload, case .header(let header) = PESHeader.parse(payload) else {
                    return nil
                }
                return header.pts
            }
        }
        let even = (0..<9).map { Sample.audio(Int64($0) * 1920) }
        #expect(try starts(even) == [0, 7680, 15_360])
        #expect(try starts(even) { $0.maximumAudioDuration = .zero } == (0..<9).map { Int64($0) * 1920 })
        #expect(try starts(even) { $0.maximumAudioLength = 250 } == [0, 3840, 7680, 11_520, 15_360])
        // Milliseconds, as RTMP has them: within the tolerance.
        #expect(try starts((0..<4).map { Sample.audio(MediaTime(millis: Int64($0) * 64 / 3).ticks) }) == [0])
        let gap = [0, 1920, 3840 + 136, 5760 + 136].map { Sample.audio($0) }
        #expect(try starts(gap) == [0, 3976])
    }

    @Test("Gathered audio does not wait for more than its limit when video goes on")
    func gatheringEnds() throws {
        var muxer = try Sample.muxer()
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        muxer.write(Sample.audio(0), into: &buffer)
        muxer.write(Sample.video(8_099), into: &buffer)
        #expect(try parsed(buffer, pid: 0x101).isEmpty)
        muxer.write(Sample.video(8_100), into: &buffer)
        #expect(try parsed(buffer, pid: 0x101).count == 1)
    }

    @Test("Times wrap at 33 bits")
    func wrap() throws {
        var muxer = try Sample.muxer()
        let frames = Sample.second(from: TS.timePeriod - 45_000)
        let outputs = demux(Sample.stream(of: frames, with: &muxer))
        #expect(outputs.problems == [])
        for kind in [MediaKind.video, .audio] {
            let sent = frames.filter { $0.kind == kind }
            let got = outputs.frames(kind)
            #expect(got.map(\.dts.ticks) == sent.map { $0.dts.ticks & TS.timeMask })
            // The distance stays what it is, also for frames that are decoded before the wrap and shown behind it.
            #expect(got.map { $0.pts - $0.dts } == sent.map { $0.pts - $0.dts })
            #expect(got.contains { $0.pts.ticks >= TS.timePeriod } == (kind == .video))
        }
    }

    @Test("Every length of frame fills whole packets")
    func lengths() throws {
        var muxer = try Sample.muxer(audio: nil)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        let frames = (3..<800).map { Sample.video(Int64($0) * 3600, key: $0 % 2 == 0, length: $0) }
        for frame in frames { muxer.write(frame, into: &buffer) }
        let outputs = demux(buffer)
        // The first comes before the first keyframe.
        #expect(outputs.problems == [.unusableFrame(pid: 0x100, position: 376)])
        #expect(outputs.frames == Array(frames.drop { !$0.isKeyframe }))
    }

    @Test("A frame that is too long for the length field goes into an open PES packet")
    func longFrames() throws {
        var muxer = try Sample.muxer(audio: nil)
        let frames = [65_000, 65_500, 65_535, 200_000].enumerated().map {
            Sample.video(Int64($0.offset) * 3600, key: true, length: $0.element)
        }
        let outputs = demux(Sample.stream(of: frames, with: &muxer))
        #expect(outputs.problems == [])
        #expect(outputs.frames == frames)
    }

    @Test("A presentation time before decoding is written as equal")
    func earlyPresentation() throws {
        var muxer = try Sample.muxer(audio: nil)
        let stream = Sample.stream(of: [Sample.video(90_000, key: true, delay: -10)], with: &muxer)
        #expect(demux(stream).frames.map(\.pts.ticks) == [90_000])
    }

    @Test("An ID3 tag comes back at its time")
    func id3() throws {
        var muxer = try Sample.muxer(carriesID3: true)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        let tag = ID3Tag.text([("title", "a text"), ("x", String(repeating: "y", count: 400))])
        muxer.writeID3(tag, at: MediaTime(ticks: 123_456), into: &buffer)
        let outputs = demux(buffer)
        #expect(outputs.problems == [])
        #expect(outputs.dropFirst().first == .id3(tag, at: MediaTime(ticks: 123_456), position: 376))
    }

    @Test("A stream with ID3 alone has its clock there")
    func id3Alone() throws {
        var muxer = try Sample.muxer(video: nil, audio: nil, carriesID3: true)
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        muxer.writeID3(ID3Tag.text([("a", "b")]), at: MediaTime(ticks: 90_000), into: &buffer)
        #expect(try parsed(buffer, pid: 0x102).map { $0.clock } == [27_000 * 300])
        #expect(demux(buffer).programs.map(\.clockPID) == [0x102])
    }
}
