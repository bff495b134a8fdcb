import Foundation
import Media
import NIOCore
import Testing

@testable import Transcoding

/// A sound whose value is known at every moment: a tone that rises, four times a second, so that moments near each other
/// do not sound alike.
enum Chirp {
    /// At `seconds`; the tone rises from 300 Hz to 3 kHz.
    static func value(at seconds: Double) -> Double {
        guard seconds >= 0 else { return 0 }
        let since = seconds - (seconds * 4).rounded(.down) / 4
        return 0.5 * sin(2 * .pi * (300 * since + 5_400 * since * since))
    }

    /// How far `samples`, the first of which belongs at `start` seconds, are behind the chirp, in seconds, and how alike
    /// they are there, at most 1. The search goes 20 ms to both sides.
    static func lag(of samples: ArraySlice<Float>, rate: Int, start: Double) -> (seconds: Double, likeness: Double) {
        let values = samples.map(Double.init)
        func likeness(_ lag: Double, step: Int) -> Double {
            var (product, own, other) = (0.0, 0.0, 0.0)
            var index = 0
            while index < values.count {
                let expected = Self.value(at: start + Double(index) / Double(rate) - lag)
                let value = values[index]
                product += value * expected
                own += value * value
                other += expected * expected
                index += step
            }
            return own > 0 && other > 0 ? product / (own * other).squareRoot() : 0
        }
        // The tone stays below 3 kHz: a twelfth of a millisecond cannot miss a period.
        var near = (lag: 0.0, likeness: -1.0)
        for candidate in -240...240 {
            let lag = Double(candidate) / 12_000
            let found = likeness(lag, step: 41)
            if found > near.likeness { near = (lag, found) }
        }
        var best = (seconds: near.lag, likeness: -1.0)
        for candidate in -8...8 {
            let lag = near.lag + Double(candidate) / 96_000
            let found = likeness(lag, step: 7)
            if found > best.likeness { best = (lag, found) }
        }
        return best
    }
}

enum ToolError: Error { case noPackets(String) }

/// A folder that is gone when the test is over, and the programs that judge what is in it.
final class Workbench {
    let url: URL

    init() throws {
        self.url = FileManager.default.temporaryDirectory.appending(path: "transcoding-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: self.url) }

    func path(_ name: String) -> String { self.url.appending(path: name).path }

    /// Runs a program to its end. Returns its output.
    @discardableResult
    func run(_ arguments: [String]) async throws -> Data {
        let (output, errors) = (self.path(UUID().uuidString), self.path(UUID().uuidString))
        for file in [output, errors] { try Data().write(to: URL(filePath: file)) }
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["timeout", "60"] + arguments
        process.standardOutput = try FileHandle(forWritingTo: URL(filePath: output))
        process.standardError = try FileHandle(forWritingTo: URL(filePath: errors))
        // Nobody waits on a thread that other tests need.
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in continuation.resume() }
            do {
                try process.run()
            } catch {
                process.terminationHandler = nil
                continuation.resume(throwing: error)
            }
        }
        let text = try String(contentsOf: URL(filePath: errors), encoding: .utf8)
        try #require(process.terminationStatus == 0, "\(arguments.first ?? ""): \(text)")
        return try Data(contentsOf: URL(filePath: output))
    }

    /// The chirp as ffmpeg codes it.
    fileprivate func code(_ sound: Sound) async throws -> CodedSound {
        var samples = ByteBuffer()
        for index in 0..<Int(sound.seconds * Double(sound.rate)) {
            let value = Float(Chirp.value(at: Double(index) / Double(sound.rate)))
            for _ in 0..<sound.channels { samples.writeInteger(value.bitPattern, endianness: .little) }
        }
        try Data(samples.readableBytesView).write(to: URL(filePath: self.path("in.raw")))
        // Encoders give times from before the first sample, which the container cannot hold: a second is added.
        let input = [
            "-itsoffset", "1", "-f", "f32le", "-ar", "\(sound.rate)", "-ac", "\(sound.channels)", "-i",
            self.path("in.raw"),
        ]
        try await self.run(
            ["ffmpeg", "-y", "-nostdin", "-hide_banner"] + input + sound.arguments
                + ["-avoid_negative_ts", "disabled", "-f", "nut", self.path("in.nut")])
        return try await self.probe(self.path("in.nut"), codec: sound.codec)
    }

    private func probe(_ path: String, codec: Codec) async throws -> CodedSound {
        let json = try await self.run([
            "ffprobe", "-hide_banner", "-loglevel", "error", "-show_streams", "-show_packets", "-show_data", "-of",
            "json", path,
        ])
        let root = try JSONSerialization.jsonObject(with: json) as? [String: Any]
        let packets = root?["packets"] as? [[String: Any]] ?? []
        let stream = (root?["streams"] as? [[String: Any]])?.first ?? [:]
        let rate = (stream["sample_rate"] as? String).flatMap(Int.init)
        let format = AudioFormat(sampleRate: rate, channels: stream["channels"] as? Int)
        var track = Track(codec: codec, configuration: nil, format: .audio(format))
        if codec.needsConfiguration, let dump = stream["extradata"] as? String {
            track = try Track(codec: codec, parsingConfiguration: Self.bytes(ofDump: dump))
        }
        let frames = packets.compactMap { packet -> (Double, ByteBuffer)? in
            guard let time = (packet["pts_time"] as? String).flatMap(Double.init), let dump = packet["data"] as? String,
                !dump.isEmpty, packet["size"] as? String != "0"
            else { return nil }
            return (time - 1, Self.bytes(ofDump: dump))
        }
        guard !frames.isEmpty else { throw ToolError.noPackets(String(decoding: json.prefix(400), as: UTF8.self)) }
        return CodedSound(track: track, packets: frames)
    }

    /// Reads `00000000: 4f70 7573  Opus`.
    private static func bytes(ofDump dump: String) -> ByteBuffer {
        var buffer = ByteBuffer()
        for line in dump.split(separator: "\n") {
            let columns = line.dropFirst(10).prefix(40).filter { $0 != " " }
            var digits = columns[...]
            while digits.count >= 2 {
                if let byte = UInt8(digits.prefix(2), radix: 16) { buffer.writeInteger(byte) }
                digits = digits.dropFirst(2)
            }
        }
        return buffer
    }

    /// Samples of the first channel, as ffmpeg decodes `frames` of `track`.
    func decode(_ frames: [Frame], of track: Track) async throws -> (samples: [Float], rate: Int, channels: Int) {
        guard case .audio(let format) = track.format, let rate = format.sampleRate, let channels = format.channels
        else {
            throw ToolError.noPackets("the track does not tell its format")
        }
        let bytes = track.codec == .opus ? try Ogg.file(frames, of: track) : try ADTS.stream(frames, of: track)
        try Data(bytes.readableBytesView).write(to: URL(filePath: self.path("out")))
        let container = track.codec == .opus ? "ogg" : "aac"
        let raw = try await self.run([
            "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-f", container, "-i",
            self.path("out"), "-f", "f32le", "-",
        ])
        var reader = ByteBuffer(bytes: raw)
        var values: [Float] = []
        values.reserveCapacity(raw.count / 4)
        while let bits = reader.readInteger(endianness: .little, as: UInt32.self) {
            values.append(Float(bitPattern: bits))
        }
        return (stride(from: 0, to: values.count, by: channels).map { values[$0] }, rate, channels)
    }
}

/// A sound for ffmpeg to code.
struct Sound: Sendable, CustomTestStringConvertible {
    var name: String
    var codec: Codec
    var rate = 48_000
    var channels = 2
    var seconds = 2.5
    var arguments: [String]

    var testDescription: String { self.name }

    static let aac = Sound(name: "AAC", codec: .aac, arguments: ["-c:a", "aac", "-b:a", "160k"])
    static let opus = Sound(name: "Opus", codec: .opus, arguments: ["-c:a", "libopus", "-b:a", "128k"])
    static let aLaw = Sound(
        name: "A-law", codec: .g711ALaw, rate: 8_000, channels: 1,
        arguments: ["-af", "asetnsamples=160", "-c:a", "pcm_alaw"])

    static let all: [Sound] = [
        .aac, .opus, .aLaw,
        Sound(name: "AAC 44.1 kHz mono", codec: .aac, rate: 44_100, channels: 1, arguments: ["-c:a", "aac"]),
        Sound(
            name: "Opus 60 ms mono", codec: .opus, channels: 1,
            arguments: ["-c:a", "libopus", "-frame_duration", "60", "-b:a", "64k"]),
        Sound(name: "MP3", codec: .mp3, rate: 44_100, arguments: ["-c:a", "libmp3lame", "-b:a", "192k"]),
        Sound(
            name: "MP3 22.05 kHz", codec: .mp3, rate: 22_050, channels: 1,
            arguments: ["-c:a", "libmp3lame", "-b:a", "64k"]),
        Sound(
            name: "µ-law", codec: .g711MuLaw, rate: 8_000, channels: 1,
            arguments: ["-af", "asetnsamples=160", "-c:a", "pcm_mulaw"]),
        Sound(name: "AC-3", codec: .ac3, arguments: ["-c:a", "ac3", "-b:a", "192k"]),
        Sound(name: "AC-3 5.1", codec: .ac3, channels: 6, arguments: ["-c:a", "ac3", "-b:a", "448k"]),
        Sound(name: "E-AC-3", codec: .eac3, arguments: ["-c:a", "eac3", "-b:a", "192k"]),
        Sound(name: "FLAC", codec: .flac, rate: 44_100, arguments: ["-c:a", "flac"]),
        Sound(
            name: "Speex", codec: .speex, rate: 16_000, channels: 1,
            arguments: ["-c:a", "libspeex", "-b:a", "40k"]),
    ]
}

/// Sounds that ffmpeg has coded, each once.
actor CodedSounds {
    static let shared = CodedSounds()
    private var tasks: [String: Task<CodedSound, any Error>] = [:]

    func coded(_ sound: Sound) async throws -> CodedSound {
        let task = self.tasks[sound.name] ?? Task { try await Workbench().code(sound) }
        self.tasks[sound.name] = task
        return try await task.value
    }
}

/// A sound as a publisher sends it.
struct CodedSound: Sendable {
    var track: Track
    /// Seconds and bytes.
    var packets: [(time: Double, payload: ByteBuffer)]

    /// The chirp begins `offset` seconds after 0. `rounding`: ticks to which times are rounded.
    func frames(offset: Double = 1, rounding: Int64 = 1) -> [Frame] {
        self.packets.map { packet in
            let ticks = Int64(((packet.time + offset) * 90_000).rounded()) / rounding * rounding
            return self.frame(packet.payload, ticks: ticks)
        }
    }

    func frame(_ payload: ByteBuffer, ticks: Int64) -> Frame {
        let time = MediaTime(ticks: ticks)
        return Frame(codec: self.track.codec, dts: time, pts: time, isKeyframe: true, payload: payload)
    }
}

extension AudioPipeline {
    func process(_ frames: [Frame]) -> [Frame] {
        var output: [Frame] = []
        for frame in frames { self.process(frame, into: &output) }
        return output
    }
}

/// Spec: ISO/IEC 13818-7 §6.2.
enum ADTS {
    static func stream(_ frames: [Frame], of track: Track) throws -> ByteBuffer {
        let record = try #require(track.configuration)
        let configuration = try AudioSpecificConfig(parsing: record)
        let rates = [96_000, 88_200, 64_000, 48_000, 44_100, 32_000]
        let rate = UInt8(try #require(rates.firstIndex(of: configuration.sampleRate)))
        let channels = UInt8(configuration.channelConfiguration)
        var buffer = ByteBuffer()
        for frame in frames {
            let length = frame.payload.readableBytes + 7
            buffer.writeBytes([
                0xFF, 0xF1, 1 << 6 | rate << 2 | channels >> 2, channels << 6 | UInt8(length >> 11),
                UInt8(truncatingIfNeeded: length >> 3), UInt8(truncatingIfNeeded: length << 5) | 0x1F, 0xFC,
            ])
            buffer.writeImmutableBuffer(frame.payload)
        }
        return buffer
    }
}

/// One packet a page. Spec: RFC 3533 §6, RFC 7845.
enum Ogg {
    static func file(_ frames: [Frame], of track: Track) throws -> ByteBuffer {
        var buffer = ByteBuffer()
        var tags = ByteBuffer(string: "OpusTags")
        tags.writeInteger(UInt64(0))
        Self.page(try #require(track.configuration), position: 0, number: 0, flags: 2, into: &buffer)
        Self.page(tags, position: 0, number: 1, flags: 0, into: &buffer)
        for (index, frame) in frames.enumerated() {
            let isLast = index == frames.count - 1
            Self.page(
                frame.payload, position: Int64(index + 1) * 960, number: UInt32(index + 2), flags: isLast ? 4 : 0,
                into: &buffer)
        }
        return buffer
    }

    private static func page(
        _ payload: ByteBuffer, position: Int64, number: UInt32, flags: UInt8, into buffer: inout ByteBuffer
    ) {
        var page = ByteBuffer(string: "OggS")
        page.writeBytes([0, flags])
        page.writeInteger(position, endianness: .little)
        page.writeMultipleIntegers(UInt32(7), number, UInt32(0), endianness: .little)
        let full = payload.readableBytes / 255
        page.writeInteger(UInt8(full + 1))
        page.writeRepeatingByte(255, count: full)
        page.writeInteger(UInt8(payload.readableBytes % 255))
        page.writeImmutableBuffer(payload)
        var sum: UInt32 = 0
        for byte in page.readableBytesView {
            sum ^= UInt32(byte) << 24
            for _ in 0..<8 { sum = sum & 0x8000_0000 != 0 ? sum << 1 ^ 0x04C1_1DB7 : sum << 1 }
        }
        page.setInteger(sum, at: page.readerIndex + 22, endianness: .little)
        buffer.writeImmutableBuffer(page)
    }
}
