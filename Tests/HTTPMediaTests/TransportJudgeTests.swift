import FLV
import Foundation
import MPEGTS
import Media
import NIOCore
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import HTTPMedia

/// Programs that are not ours publish by POST and play the other formats.
@Suite(.timeLimit(.minutes(3)), .enabled(if: Judge.isInstalled("ffmpeg")))
struct TransportJudgeTests {
    private static func hashes(_ input: String, _ kind: String) async throws -> [Substring] {
        let text = try await Judge.runAside(
            "ffmpeg", ["-v", "error", "-i", input, "-map", "0:\(kind)", "-f", "framehash", "-"])
        return text.split(separator: "\n").filter { !$0.hasPrefix("#") }
            .compactMap { $0.split(separator: ",").last.map { $0.drop { $0 == " " } } }
    }

    private static func made(in folder: URL, _ audio: [String], seconds: Int = 6) async throws -> String {
        let file = folder.appendingPathComponent("made.flv").path
        _ = try await Judge.runAside(
            "ffmpeg",
            [
                "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=\(seconds)", "-f",
                "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=\(seconds)", "-c:v", "libx264",
                "-preset", "ultrafast", "-g", "25", "-bf", "2",
            ] + audio + ["-f", "flv", file])
        return file
    }

    private static func withFolder(_ body: (URL) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-http-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body(folder)
    }

    /// Whether `part` stands in `whole` in one piece.
    private static func contains(_ whole: [Substring], _ part: ArraySlice<Substring>) -> Bool {
        guard let first = part.first, let start = whole.firstIndex(of: first) else { return false }
        return whole[start...].prefix(part.count) == part
    }

    @Test("What ffmpeg posts in chunks is what ffmpeg plays as a transport stream and as bare AAC")
    func postAndPlay() async throws {
        try await Self.withFolder { folder in
            let made = try await Self.made(in: folder, ["-c:a", "aac"])
            let played = folder.appendingPathComponent("played.ts").path
            let heard = folder.appendingPathComponent("heard.aac").path
            try await Fixture.run(.init(flush: .realtime, publish: .init(grace: .milliseconds(200)))) { fixture in
                let url = "http://127.0.0.1:\(fixture.port)/live/demo"
                async let post = Judge.runAside(
                    "ffmpeg",
                    ["-v", "error", "-re", "-i", made, "-c", "copy", "-f", "flv", "-method", "POST", "\(url).flv"])
                try await eventually("a publisher") { fixture.hub.existing(fixture.key) != nil }
                async let play = Judge.runAside(
                    "ffmpeg", ["-v", "error", "-y", "-i", "\(url).ts", "-c", "copy", "-f", "mpegts", played])
                async let listen = Judge.runAside("curl", ["-s", "-o", heard, "\(url).aac"])
                _ = try await (post, play, listen)
            }
            let pictures = try await Self.hashes(made, "v")
            let seen = try await Self.hashes(played, "v")
            // The player came a little late, and starts with a keyframe.
            #expect(seen.count >= 75)
            #expect(Self.contains(pictures, seen[...]))
            #expect(seen.last == pictures.last)
            // A decoder that starts in the middle needs some frames to be exact.
            let sound = try await Self.hashes(made, "a")
            for file in [played, heard] {
                let mine = try await Self.hashes(file, "a")
                #expect(mine.count > 120)
                #expect(Self.contains(sound, mine.dropFirst(3).dropLast(3)))
            }
        }
    }

    @Test(
        "What curl puts with a length is what GStreamer plays as a transport stream, and curl as MP3",
        .enabled(if: Judge.isInstalled("gst-launch-1.0") && Judge.isInstalled("curl")))
    func putAndPlay() async throws {
        try await Self.withFolder { folder in
            let made = try await Self.made(in: folder, ["-c:a", "libmp3lame"])
            let played = folder.appendingPathComponent("played.ts").path
            let heard = folder.appendingPathComponent("heard.mp3").path
            try await Fixture.run(.init(flush: .realtime, publish: .init(grace: .milliseconds(200)))) { fixture in
                let url = "http://127.0.0.1:\(fixture.port)/live/demo"
                async let post = Judge.runAside("curl", ["-s", "--limit-rate", "60k", "-T", made, "\(url).flv"])
                try await eventually("a publisher") { fixture.hub.existing(fixture.key) != nil }
                async let play = Judge.runAside(
                    "gst-launch-1.0",
                    [
                        "-q", "souphttpsrc", "location=\(url).ts", "!", "tsparse", "!", "filesink",
                        "location=\(played)",
                    ])
                async let listen = Judge.runAside("curl", ["-s", "-o", heard, "\(url).mp3"])
                let answer = try await (post, play, listen).0
                #expect(answer.contains("\"video_frames\":150"))
            }
            let pictures = try await Self.hashes(made, "v")
            let seen = try await Self.hashes(played, "v")
            #expect(seen.count >= 50)
            #expect(Self.contains(pictures, seen[...]))
            let sound = try await Self.hashes(made, "a")
            let mine = try await Self.hashes(heard, "a")
            #expect(mine.count > 80)
            #expect(Self.contains(sound, mine.dropFirst(5).dropLast(5)))
        }
    }
}
