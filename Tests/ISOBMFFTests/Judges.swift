import Foundation
import NIOCore
import Testing

@testable import ISOBMFF

/// A folder that is gone when the test is over.
final class TemporaryFolder {
    let url: URL

    init() throws {
        self.url = FileManager.default.temporaryDirectory.appending(path: "isobmff-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.url) }

    func path(_ name: String) -> String { self.url.appending(path: name).path }

    func write(_ bytes: ByteBuffer, to name: String) throws -> String {
        try Data(bytes.readableBytesView).write(to: self.url.appending(path: name))
        return self.path(name)
    }

    func read(_ name: String) throws -> ByteBuffer {
        ByteBuffer(bytes: try Data(contentsOf: self.url.appending(path: name)))
    }

    /// Runs a program to its end. Returns what it wrote; a status other than 0 is an error.
    @discardableResult
    func run(_ program: String, _ arguments: [String]) throws -> (output: String, errors: String) {
        let id = UUID().uuidString
        let output = self.url.appending(path: "\(id).out")
        let errors = self.url.appending(path: "\(id).err")
        try Data().write(to: output)
        try Data().write(to: errors)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["timeout", "120", program] + arguments
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: errors)
        try process.run()
        process.waitUntilExit()
        let texts = (try String(contentsOf: output, encoding: .utf8), try String(contentsOf: errors, encoding: .utf8))
        try #require(process.terminationStatus == 0, "\(program) \(arguments): \(texts.1)")
        return texts
    }
}

/// A packet, or a frame, as a judge sees it. How long it lasts is the next one's business: of fragments, judges do not
/// read it.
struct Seen: Equatable {
    var dts: Int64
    var pts: Int64
    var size: Int
    var hash: String
}

extension TemporaryFolder {
    /// Packets (`copies`) or decoded frames of one stream, by ffmpeg, with times from the first one's on.
    func seen(_ path: String, stream: String, copies: Bool) throws -> [Seen] {
        let arguments =
            ["-v", "error", "-ignore_editlist", "1", "-i", path, "-map", "0:\(stream)"]
            + (copies ? ["-c", "copy"] : ["-fps_mode", "passthrough"]) + ["-f", "framehash", "-hash", "md5", "-"]
        let (output, errors) = try self.run("ffmpeg", arguments)
        #expect(errors == "", "\(path)")
        let rows = output.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
            line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        let seen = try rows.map {
            Seen(
                dts: try #require(Int64($0[1])), pts: try #require(Int64($0[2])), size: try #require(Int($0[4])),
                hash: $0[5])
        }
        guard let first = seen.first else { return [] }
        return seen.map {
            Seen(dts: $0.dts - first.dts, pts: $0.pts - first.dts, size: $0.size, hash: $0.hash)
        }
    }

    /// What ffprobe says of the `entries` of one stream, one row each; a warning of it is a failure.
    func probe(_ path: String, stream: String, entries: String, options: [String] = []) throws -> [[String: String]] {
        let (output, errors) = try self.run(
            "ffprobe",
            ["-v", "warning"] + options
                + ["-select_streams", stream, "-show_entries", entries, "-of", "compact=p=0", path])
        #expect(errors == "", "\(path)")
        return output.split(separator: "\n").map { line in
            Dictionary(
                line.split(separator: "|").compactMap { field in
                    let pair = field.split(separator: "=", maxSplits: 1)
                    return pair.count == 2 ? (String(pair[0]), String(pair[1])) : nil
                }, uniquingKeysWith: { first, _ in first })
        }
    }
}

/// A film of two seconds, made by ffmpeg.
struct Film: Sendable, CustomTestStringConvertible {
    var name: String
    var arguments: [String]
    var hasVideo = true

    var testDescription: String { self.name }

    static let all: [Film] = [
        Film(
            name: "H.264 with B-frames and AAC",
            arguments: ["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25", "-c:a", "aac"]),
        Film(
            name: "HEVC with B-frames and AC-3",
            arguments: [
                "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                "log-level=error:bframes=2:keyint=25:open-gop=0",
                "-tag:v", "hvc1", "-c:a", "ac3", "-ac", "6",
            ]),
        Film(
            name: "AV1 and Opus",
            arguments: ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "25", "-c:a", "libopus"]),
        Film(
            name: "VP9 and FLAC",
            arguments: [
                "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25", "-c:a", "flac",
            ]),
        Film(
            name: "H.264 and MP3",
            arguments: ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "libmp3lame"]),
        Film(
            name: "H.264 and E-AC-3",
            arguments: ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "25", "-c:a", "eac3"]),
        Film(name: "MP3 of MPEG-2 alone", arguments: ["-c:a", "libmp3lame", "-ar", "22050"], hasVideo: false),
    ]

    /// Makes the film as `file` in `folder`. `more` goes in front of the file's name.
    func make(in folder: TemporaryFolder, as file: String, seconds: Double = 2, _ more: [String] = []) throws {
        let picture = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=\(seconds)"]
        let sound = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=\(seconds)"]
        try folder.run(
            "ffmpeg",
            ["-v", "error", "-y"] + (self.hasVideo ? picture : []) + sound
                + (self.hasVideo ? ["-pix_fmt", "yuv420p"] : []) + self.arguments
                + ["-strict", "-2", "-threads", "2"] + more + [folder.path(file)])
    }
}

extension MP4Index {
    init(_ bytes: ByteBuffer) throws { try self.init(reading: MP4MemorySource(bytes)) }
}

/// The samples `range` of a track, with their bytes.
func samples(_ track: MP4Index.TrackIndex, _ range: Range<Int>, of file: ByteBuffer) -> [MP4Sample] {
    range.map { index in
        let sample = track.samples[index]
        return MP4Sample(
            duration: sample.duration, compositionOffset: sample.compositionOffset, isSync: sample.isSync,
            payload: file.getSlice(at: Int(sample.offset), length: sample.byteCount) ?? ByteBuffer())
    }
}

/// Writes a file again as initialization segment and fragments of `count` samples a track.
func fragmented(_ index: MP4Index, of file: ByteBuffer, samplesPerFragment count: Int, seconds: Double = 0)
    -> ByteBuffer
{
    var output = FragmentedMP4.initialization(tracks: index.tracks.map(\.track))
    var next = index.tracks.map { _ in 0 }
    var sequence: UInt32 = 1
    while zip(next, index.tracks).contains(where: { $0 < $1.samples.count }) {
        var fragments: [FragmentedMP4.Fragment] = []
        for (number, track) in index.tracks.enumerated() where next[number] < track.samples.count {
            let range = next[number]..<min(next[number] + count, track.samples.count)
            let start = track.samples[range.lowerBound].decodeTime + Int64(seconds * Double(track.track.timescale))
            fragments.append(
                FragmentedMP4.Fragment(
                    trackID: track.track.id, decodeTime: UInt64(start), samples: samples(track, range, of: file)))
            next[number] = range.upperBound
        }
        FragmentedMP4.write(fragments, sequence: sequence, into: &output)
        sequence += 1
    }
    return output
}

/// Puts a planned file together.
func assemble(_ plan: ProgressiveMP4.Plan, from files: [ByteBuffer]) -> ByteBuffer {
    var output = plan.header
    for piece in plan.pieces {
        switch piece {
        case .bytes(let bytes): output.writeImmutableBuffer(bytes)
        case .range(let source, let offset, let count):
            output.writeImmutableBuffer(files[source].getSlice(at: Int(offset), length: Int(count)) ?? ByteBuffer())
        }
    }
    #expect(Int64(output.readableBytes) == plan.byteCount)
    return output
}
