import Foundation
import MPEGTS
import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGPS

/// ffmpeg writes program streams, and decodes what was read of them.
@Suite(.enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/ffmpeg")))
struct JudgeTests {
    /// What ffmpeg makes has no map, and its packets begin anywhere in a frame.
    @Test(
        "each picture and sound of ffmpeg's program stream is read, however it is cut",
        arguments: ["libx264", "libx265"], [1_400, .max])
    func ffmpeg(encoder: String, step: Int) throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("weir-ps-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let (made, read) = (folder.appendingPathComponent("made.vob"), folder.appendingPathComponent("read.ts"))
        let parameters = encoder == "libx265" ? ["-x265-params", "log-level=error:keyint=25:bframes=2"] : ["-bf", "2"]
        try Judge.run(
            "ffmpeg",
            [
                "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=4", "-f",
                "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=4", "-c:v", encoder, "-preset",
                "ultrafast", "-g", "25",
            ] + parameters + ["-c:a", "mp2", "-f", "vob", made.path])
        let outputs = Self.demux(ByteBuffer(bytes: try Data(contentsOf: made)), step: step)
        for case .problem(let problem) in outputs { Issue.record("\(problem)") }
        let frames = outputs.compactMap { if case .event(.frame(let frame), _) = $0 { frame } else { nil } }
        #expect(frames.count { $0.kind == .video } == 100)
        try Data(try Self.transportStream(outputs, frames).readableBytesView).write(to: read)
        for kind in ["v", "a"] {
            #expect(try Judge.hashes(read.path, kind) == (try Judge.hashes(made.path, kind)))
        }
        // Small pictures of HEVC share packets, and only the first of them has a time.
        guard encoder == "libx264" else { return }
        let times = try [made, read].map {
            try Judge.probe($0.path, "packet=stream_index,pts").filter { $0.hasPrefix("0,") }
        }
        #expect(Self.distances(times[0]) == Self.distances(times[1]))
    }

    private static func demux(_ stream: ByteBuffer, step: Int) -> [PSDemuxer.Output] {
        var demuxer = PSDemuxer()
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

    private static func transportStream(_ outputs: [PSDemuxer.Output], _ frames: [Frame]) throws -> ByteBuffer {
        let tracks = outputs.compactMap { if case .event(.track(let track), _) = $0 { track } else { nil } }
        var muxer = TSMuxer()
        try muxer.setTracks(video: tracks.first { $0.kind == .video }, audio: tracks.first { $0.kind == .audio })
        var bytes = ByteBuffer()
        muxer.writeTables(into: &bytes)
        for frame in frames.sorted(by: { $0.dts < $1.dts }) { muxer.write(frame, into: &bytes) }
        muxer.flush(into: &bytes)
        return bytes
    }

    /// From one picture to the next, in the order in which they are shown.
    private static func distances(_ lines: [String]) -> [Int] {
        let times = lines.compactMap { $0.split(separator: ",").dropFirst().first.flatMap { Int($0) } }.sorted()
        return zip(times, times.dropFirst()).map { $1 - $0 }
    }
}
