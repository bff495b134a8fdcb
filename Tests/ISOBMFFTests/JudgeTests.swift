import Media
import NIOCore
import Testing

@testable import ISOBMFF

/// What other programs make of our files, and we of theirs.
@Suite("MP4 files before independent judges", .serialized, .timeLimit(.minutes(5)))
struct JudgeTests {
    private static func streams(_ film: Film) -> [String] { film.hasVideo ? ["v", "a"] : ["a"] }

    @Test("places, sizes, times and keyframes of another writer's samples are those ffprobe finds", arguments: Film.all)
    func index(film: Film) throws {
        let folder = try TemporaryFolder()
        for (name, options) in [
            ("progressive.mp4", []), ("first.mp4", ["-movflags", "faststart"]),
            ("fragments.mp4", ["-movflags", "frag_keyframe+delay_moov+default_base_moof"]),
            ("old.mp4", ["-movflags", "frag_keyframe+separate_moof+delay_moov", "-frag_duration", "300000"]),
        ] {
            try film.make(in: folder, as: name, options)
            let index = try MP4Index(try folder.read(name))
            #expect(index.tail == .none)
            #expect(index.isFragmented == options.contains { $0.contains("frag") })
            for (stream, track) in zip(Self.streams(film), index.tracks) {
                let packets = try folder.probe(
                    folder.path(name), stream: stream, entries: "packet=pts,dts,duration,size,pos,flags",
                    options: ["-ignore_editlist", "1"])
                #expect(packets.count == track.samples.count, "\(name) \(stream)")
                let first = try #require(track.samples.first)
                let firstTime = try #require(packets.first?["dts"].flatMap { Int64($0) })
                for (sample, packet) in zip(track.samples, packets) {
                    #expect(packet["pos"] == "\(sample.offset)")
                    #expect(packet["size"] == "\(sample.byteCount)")
                    #expect(packet["dts"] == "\(sample.decodeTime - first.decodeTime + firstTime)")
                    #expect(packet["pts"] == "\(sample.presentationTime - first.decodeTime + firstTime)")
                    // Of fragments ffprobe tells what the codec says, or nothing.
                    if !index.isFragmented, sample != track.samples.last {
                        #expect(packet["duration"] == "\(sample.duration)")
                    }
                    #expect(packet["flags"]?.hasPrefix("K") == sample.isSync)
                }
            }
        }
    }

    @Test("a file written again as fragments has the same packets, frames and times", arguments: Film.all)
    func fragments(film: Film) throws {
        let folder = try TemporaryFolder()
        try film.make(in: folder, as: "source.mp4")
        let source = try folder.read("source.mp4")
        let index = try MP4Index(source)
        for count in [1, 7, 25, 1000] {
            let bytes = fragmented(index, of: source, samplesPerFragment: count)
            let path = try folder.write(bytes, to: "fragments-\(count).mp4")
            let again = try MP4Index(bytes)
            #expect(again.tail == .none && again.completeEnd == Int64(bytes.readableBytes))
            #expect(again.tracks.map(\.track) == index.tracks.map(\.track))
            for stream in Self.streams(film) {
                for copies in count == 25 ? [true, false] : [true] {
                    let expected = try folder.seen(folder.path("source.mp4"), stream: stream, copies: copies)
                    #expect(!expected.isEmpty)
                    #expect(
                        try folder.seen(path, stream: stream, copies: copies) == expected,
                        "\(stream) in fragments of \(count)")
                }
            }
            let warnings = try folder.run("ffprobe", ["-v", "warning", "-show_streams", "-show_packets", path]).errors
            #expect(warnings == "")
        }
    }

    @Test("our own sample entries are understood like those of another writer", arguments: Film.all)
    func entries(film: Film) throws {
        let folder = try TemporaryFolder()
        try film.make(in: folder, as: "source.mp4")
        let source = try folder.read("source.mp4")
        let index = try MP4Index(source)
        var fields = "codec_name,profile,level,width,height,pix_fmt,sample_rate,channels,channel_layout,sample_fmt"
        fields += ",codec_tag_string,r_frame_rate,extradata_size"
        for (stream, track) in zip(Self.streams(film), index.tracks) {
            let first = samples(track, 0..<1, of: source)[0].payload
            for frame in [first, nil] {
                let own = try MP4Track(
                    id: 1, timescale: track.track.timescale, track: track.track.track, describedBy: frame)
                var bytes = FragmentedMP4.initialization(tracks: [own])
                FragmentedMP4.write(
                    [
                        FragmentedMP4.Fragment(
                            trackID: 1, decodeTime: 0,
                            samples: samples(track, 0..<track.samples.count, of: source))
                    ], sequence: 1, styp: true, into: &bytes)
                let path = try folder.write(bytes, to: "own.mp4")
                let entries = "stream=\(fields)"
                let expected = try folder.probe(folder.path("source.mp4"), stream: stream, entries: entries)
                #expect(try folder.probe(path, stream: "0", entries: entries) == expected)
                #expect(try MP4Index(bytes).tracks.first?.track.track == track.track.track)
            }
        }
    }

    @Test(
        "a fragmented file finished into a progressive one has the same packets, frames and times", arguments: Film.all)
    func finishing(film: Film) throws {
        let folder = try TemporaryFolder()
        try film.make(in: folder, as: "source.mp4")
        let source = try folder.read("source.mp4")
        // A recording begins somewhere on its stream's timeline.
        let fragments = fragmented(try MP4Index(source), of: source, samplesPerFragment: 10, seconds: 5000)
        let path = try folder.write(fragments, to: "fragments.mp4")
        let index = try MP4Index(fragments)
        let plan = try ProgressiveMP4.plan(joining: [ProgressiveMP4.Clip(source: 0, index: index)])
        let finished = assemble(plan, from: [fragments])
        let finishedPath = try folder.write(finished, to: "finished.mp4")
        #expect(try MP4Index(finished).isFragmented == false)
        for stream in Self.streams(film) {
            for copies in [true, false] {
                #expect(
                    try folder.seen(finishedPath, stream: stream, copies: copies)
                        == folder.seen(path, stream: stream, copies: copies), "\(stream)")
            }
        }
        let probed = try folder.run(
            "ffprobe",
            ["-v", "warning", "-show_entries", "format=start_time,duration", "-of", "compact=p=0", finishedPath])
        #expect(probed.errors == "")
        #expect(probed.output.contains("start_time=0.000000"), "\(probed.output)")
    }

    @Test("a range that begins between keyframes is cut at the one before, and starts at 0 in picture and sound")
    func cutting() throws {
        let folder = try TemporaryFolder()
        let film = Film.all[0]
        try film.make(in: folder, as: "source.mp4", seconds: 6)
        let source = try folder.read("source.mp4")
        let index = try MP4Index(source)
        let clip = ProgressiveMP4.Clip(
            source: 0, index: index, from: MediaTime(millis: 2500), to: MediaTime(millis: 5000))
        let plan = try ProgressiveMP4.plan(joining: [clip])
        let path = try folder.write(assemble(plan, from: [source]), to: "cut.mp4")
        let frames = try folder.probe(path, stream: "v", entries: "frame=pts_time,pict_type")
        #expect(frames.first?["pts_time"] == "0.000000")
        #expect(frames.first?["pict_type"] == "I")
        // From the keyframe at 2 s on.
        let expected = try folder.seen(folder.path("source.mp4"), stream: "v", copies: false)
        let found = try folder.seen(path, stream: "v", copies: false)
        #expect(found.map(\.hash).prefix(75) == expected[50..<125].map(\.hash).prefix(75))
        // Those behind the end that others refer to are in the file, but not shown.
        #expect(frames.count == 75 && found.count < 78)
        let sound = try folder.probe(path, stream: "a", entries: "packet=pts_time")
        let soundStart = try #require(sound.first?["pts_time"].flatMap { Double($0) })
        #expect(soundStart <= 0 && soundStart > -0.022)
        // The same sound is heard at the same picture: the edit list is accurate to the sample.
        let original = try folder.run(
            "ffmpeg",
            [
                "-v", "error", "-ss", "2", "-i", folder.path("source.mp4"), "-t", "2", "-vn", "-f", "s16le",
                folder.path("a.raw"),
            ])
        let cut = try folder.run(
            "ffmpeg", ["-v", "error", "-i", path, "-t", "2", "-vn", "-f", "s16le", folder.path("b.raw")])
        #expect(original.errors == "" && cut.errors == "")
        #expect(try Self.difference(folder.read("a.raw"), folder.read("b.raw"), skipping: 8192) < 200)
    }

    /// The largest difference of two sounds in 16-bit samples.
    private static func difference(_ left: ByteBuffer, _ right: ByteBuffer, skipping: Int) -> Int {
        var (left, right) = (left, right)
        var largest = abs(left.readableBytes - right.readableBytes)
        left.moveReaderIndex(forwardBy: skipping)
        right.moveReaderIndex(forwardBy: skipping)
        while let one: Int16 = left.readInteger(endianness: .little),
            let other: Int16 = right.readInteger(endianness: .little)
        {
            largest = max(largest, abs(Int(one) - Int(other)))
        }
        return largest
    }

    @Test("files recorded one after the other join without a gap in picture or sound")
    func joining() throws {
        let folder = try TemporaryFolder()
        let film = Film.all[0]
        try film.make(in: folder, as: "source.mp4", seconds: 6)
        let source = try folder.read("source.mp4")
        let index = try MP4Index(source)
        // Three files, each from a keyframe to the next, as a recorder that cuts by duration writes them.
        var files: [ByteBuffer] = []
        for part in 0..<3 {
            let (from, to) = (Int64(part * 2), part == 2 ? Int64(100) : Int64(part * 2 + 2))
            var bytes = FragmentedMP4.initialization(tracks: index.tracks.map(\.track))
            let fragments = index.tracks.map { track in
                let scale = Int64(track.track.timescale)
                let range =
                    track.samples.firstIndex(
                        decodedAtOrAfter: from * scale)..<track.samples.firstIndex(
                        decodedAtOrAfter: to * scale)
                return FragmentedMP4.Fragment(
                    trackID: track.track.id, decodeTime: UInt64(track.samples[range.lowerBound].decodeTime),
                    samples: samples(track, range, of: source))
            }
            FragmentedMP4.write(fragments, sequence: 1, into: &bytes)
            files.append(bytes)
        }
        let clips = try files.enumerated().map {
            ProgressiveMP4.Clip(source: $0.offset, index: try MP4Index($0.element))
        }
        let path = try folder.write(assemble(try ProgressiveMP4.plan(joining: clips), from: files), to: "joined.mp4")
        for stream in ["v", "a"] {
            for copies in [true, false] {
                #expect(
                    try folder.seen(path, stream: stream, copies: copies)
                        == folder.seen(folder.path("source.mp4"), stream: stream, copies: copies))
            }
        }
    }

    @Test("samples in memory become a progressive file")
    func memory() throws {
        let folder = try TemporaryFolder()
        let film = Film.all[0]
        try film.make(in: folder, as: "source.mp4")
        let source = try folder.read("source.mp4")
        let index = try MP4Index(source)
        let plans = index.tracks.map { track in
            ProgressiveMP4.TrackPlan(
                track: track.track,
                runs: [ProgressiveMP4.Run(.memory(samples(track, 0..<track.samples.count, of: source)))],
                mediaStart: -track.presentationShift)
        }
        let path = try folder.write(assemble(ProgressiveMP4.plan(tracks: plans), from: []), to: "memory.mp4")
        let entries = "packet=pts,dts,duration,size,flags"
        for stream in ["v", "a"] {
            // With edit lists: ours must be the one of the source.
            #expect(
                try folder.probe(path, stream: stream, entries: entries)
                    == folder.probe(folder.path("source.mp4"), stream: stream, entries: entries))
        }
    }
}
