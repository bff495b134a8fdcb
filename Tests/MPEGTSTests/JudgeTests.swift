import Media
import NIOCore
import Testing

@testable import MPEGTS

/// Streams that ffmpeg made, read and written again, against ffmpeg as the judge.
@Suite(.enabled(if: Judge.isInstalled), .serialized)
struct JudgeTests {
    struct Source: CustomTestStringConvertible {
        var testDescription: String
        var video: [String]?
        var audio: [String]?
        var flags: [String] = []
        var codecs: [Codec]
    }

    static let h264 = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p"]
    static let hevc = [
        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=25:bframes=2", "-pix_fmt",
        "yuv420p",
    ]

    static let sources = [
        Source(
            testDescription: "H.264 with reordering and AAC", video: h264, audio: ["-c:a", "aac"],
            codecs: [.h264, .aac]),
        Source(testDescription: "HEVC and AC-3", video: hevc, audio: ["-c:a", "ac3"], codecs: [.hevc, .ac3]),
        Source(
            testDescription: "H.264 and MP3", video: h264, audio: ["-c:a", "libmp3lame"], codecs: [.h264, .mp3]),
        Source(
            testDescription: "H.264 and MP3 at a half rate", video: h264,
            audio: ["-c:a", "libmp3lame", "-ar", "22050"],
            codecs: [.h264, .mp3]),
        Source(testDescription: "H.264 and Opus", video: h264, audio: ["-c:a", "libopus"], codecs: [.h264, .opus]),
        Source(
            testDescription: "H.264 and E-AC-3", video: h264, audio: ["-c:a", "eac3"], codecs: [.h264, .eac3]),
        Source(
            testDescription: "H.264 with many slices and AAC in LATM", video: h264 + ["-x264-params", "slices=4"],
            audio: ["-c:a", "aac"], flags: ["-mpegts_flags", "latm"], codecs: [.h264, .aac]),
        Source(
            testDescription: "H.264 interlaced and AAC at 44.1 kHz",
            video: h264 + ["-flags", "+ilme+ildct", "-x264-params", "tff=1"], audio: ["-c:a", "aac", "-ar", "44100"],
            codecs: [.h264, .aac]),
        Source(testDescription: "AAC alone", audio: ["-c:a", "aac"], codecs: [.aac]),
        Source(testDescription: "Opus alone", audio: ["-c:a", "libopus"], codecs: [.opus]),
        Source(testDescription: "H.264 alone", video: h264, codecs: [.h264]),
        Source(testDescription: "HEVC alone", video: hevc, codecs: [.hevc]),
        Source(
            testDescription: "H.264 and AC-3 in packets of 192 bytes", video: h264, audio: ["-c:a", "ac3"],
            flags: ["-mpegts_m2ts_mode", "1"], codecs: [.h264, .ac3]),
    ]

    static func make(_ source: Source) throws -> ByteBuffer {
        var arguments: [String] = []
        if source.video != nil { arguments += ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=3"] }
        if source.audio != nil { arguments += ["-f", "lavfi", "-i", "sine=r=48000:d=3"] }
        if let audio = source.audio { arguments += audio.contains("-ar") ? audio : audio + ["-ar", "48000"] }
        return try Judge.make(
            arguments + (source.video ?? []) + (source.audio == nil ? [] : ["-ac", "2"]) + source.flags + [
                "-f", "mpegts",
            ])
    }

    /// Writes what was read, one segment a keyframe.
    static func remux(_ outputs: [TSDemuxer.Output]) throws -> (stream: ByteBuffer, muxer: TSMuxer) {
        var configuration = TSMuxer.Configuration()
        configuration.timeOffset = .zero
        var muxer = TSMuxer(configuration: configuration)
        let tracks = outputs.tracks
        let video = tracks.first { $0.kind == .video }
        try muxer.setTracks(video: video, audio: tracks.first { $0.kind == .audio })
        var buffer = ByteBuffer()
        muxer.writeTables(into: &buffer)
        for frame in outputs.frames {
            if frame.kind == .video, frame.isKeyframe {
                muxer.flush(into: &buffer)
                muxer.writeTables(into: &buffer)
            }
            muxer.write(frame, into: &buffer)
        }
        muxer.flush(into: &buffer)
        return (buffer, muxer)
    }

    @Test("What was read and written again has the same frames at the same times", arguments: sources)
    func sameFrames(source: Source) throws {
        let original = try Self.make(source)
        let outputs = demux(original)
        #expect(outputs.problems == [])
        #expect(Set(outputs.tracks.map(\.codec)) == Set(source.codecs))
        #expect(outputs.tracks.count == source.codecs.count)
        #expect(outputs.frames.allSatisfy { $0.dts <= $0.pts })
        let (stream, muxer) = try Self.remux(outputs)
        #expect(muxer.droppedFrames == 0)
        #expect(try Judge.warnings(of: stream) == "")
        for (kind, isThere) in [("v", source.video != nil), ("a", source.audio != nil)] where isThere {
            let before = try Judge.frameHashes(of: original, kind: kind)
            let after = try Judge.frameHashes(of: stream, kind: kind)
            #expect(before.count > 70)
            #expect(before.map(\.hash) == after.map(\.hash))
            // A tick of 90 kHz is up to half a sample.
            #expect(zip(before, after).allSatisfy { abs($0.time - $1.time) <= (kind == "v" ? 0 : 1) })
        }
        // Our own reader agrees, and so it does when it reads byte by byte.
        let again = demux(stream)
        #expect(again.problems == [])
        #expect(again.tracks == outputs.tracks)
        #expect(again.frames(.video) == outputs.frames(.video))
        #expect(again.frames(.audio).map(\.payload) == outputs.frames(.audio).map(\.payload))
        for (left, right) in zip(again.frames(.audio), outputs.frames(.audio)) {
            #expect(abs(left.pts.ticks - right.pts.ticks) <= 1)
        }
    }
}
