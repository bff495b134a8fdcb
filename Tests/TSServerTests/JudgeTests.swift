import Foundation
import MPEGTS
import Media
import NIOCore
import TestSupport
import Testing

@testable import TSServer

/// Programs that are not ours send transport streams and decode what was received.
@Suite(.timeLimit(.minutes(3)), .enabled(if: Judge.isInstalled("ffmpeg")))
struct JudgeTests {
    private static let source = [
        "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4", "-f", "lavfi", "-i",
        "sine=frequency=440:sample_rate=48000:duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25",
        "-bf", "2", "-b:v", "600k",
    ]

    /// What was received, as a file again.
    private static func file(of sink: RecordedSink, in folder: URL) throws -> String {
        var muxer = TSMuxer()
        try muxer.setTracks(
            video: sink.tracks.last { $0.kind == .video }, audio: sink.tracks.last { $0.kind == .audio })
        var bytes = ByteBuffer()
        muxer.writeTables(into: &bytes)
        for frame in sink.frames { muxer.write(frame, into: &bytes) }
        muxer.flush(into: &bytes)
        let path = folder.appendingPathComponent("received.ts")
        try Data(bytes.readableBytesView).write(to: path)
        return path.path
    }

    /// The hash of each decoded picture, or of each decoded piece of sound.
    private static func hashes(_ file: String, _ kind: String) async throws -> [Substring] {
        let text = try await Judge.runAside(
            "ffmpeg", ["-v", "error", "-i", file, "-map", "0:\(kind)", "-f", "framehash", "-"])
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }
            .compactMap { $0.split(separator: ",").last.map { $0.drop { $0 == " " } } }
    }

    /// Publishes a file that `audio` was coded into with `arguments`, which send it to the port that stands for `PORT`.
    /// `lost`: how many pictures at the end the sender keeps to itself.
    private static func check(
        audio: [String], program: String, lost: Int = 0, _ arguments: (String) -> [String]
    ) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-udp-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let made = folder.appendingPathComponent("made.ts").path
        _ = try await Judge.runAside("ffmpeg", ["-v", "error", "-y"] + Self.source + audio + ["-f", "mpegts", made])
        try await Fixture.run([try Fixture.listener()], { $0.idleTimeout = .seconds(2) }) { fixture in
            let port = try #require(try fixture.address().port)
            let words = arguments(made).map { $0.replacing("PORT", with: "\(port)") }
            _ = try await Judge.runAside(program, words)
            try await eventually("the end", within: .seconds(20)) { fixture.gate.sinks.first?.isFinished ?? false }
            let sink = try #require(fixture.gate.sinks.first)
            let received = try Self.file(of: sink, in: folder)
            let pictures = try await Self.hashes(made, "v")
            #expect(pictures.count == 100)
            let sound = try await Self.hashes(made, "a")
            let (seen, heard) = (try await Self.hashes(received, "v"), try await Self.hashes(received, "a"))
            #expect(seen.prefix(100 - lost) == pictures.prefix(100 - lost))
            #expect(seen.count <= 100)
            #expect(heard.prefix(sound.count - lost * 4) == sound.prefix(sound.count - lost * 4))
            #expect(fixture.gate.sinks.count == 1)
            #expect(await fixture.server.statistics().malformed == 0)
        }
    }

    @Test(
        "ffmpeg's pictures and sound arrive as they were sent, whatever the sound's codec",
        arguments: [
            ["-c:a", "aac"], ["-c:a", "libmp3lame"], ["-c:a", "ac3"], ["-c:a", "libopus"],
            ["-c:a", "aac", "-mpegts_flags", "latm"],
        ])
    func ffmpeg(audio: [String]) async throws {
        try await Self.check(audio: audio, program: "ffmpeg") { file in
            [
                "-v", "error", "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "mpegts",
                "udp://127.0.0.1:PORT?pkt_size=1316",
            ]
        }
    }

    @Test("ffmpeg's RTP with a transport stream in it is read")
    func ffmpegRTP() async throws {
        // It does not send the last packets that fill no datagram.
        try await Self.check(audio: ["-c:a", "aac"], program: "ffmpeg", lost: 3) { file in
            [
                "-v", "error", "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "rtp_mpegts",
                "rtp://127.0.0.1:PORT",
            ]
        }
    }

    @Test("GStreamer's RTP with a transport stream in it is read", .enabled(if: Judge.isInstalled("gst-launch-1.0")))
    func gstreamer() async throws {
        try await Self.check(audio: ["-c:a", "aac"], program: "gst-launch-1.0") { file in
            [
                "-q", "filesrc", "location=\(file)", "!", "tsparse", "set-timestamps=true", "!",
                "video/mpegts,packetsize=188", "!", "rtpmp2tpay", "!", "udpsink", "host=127.0.0.1", "port=PORT",
            ]
        }
    }
}
