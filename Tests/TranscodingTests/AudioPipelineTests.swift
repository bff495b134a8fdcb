import Foundation
import Media
import NIOCore
import StreamHub
import Testing

@testable import Transcoding

@Suite("AudioPipeline", .serialized, .timeLimit(.minutes(2)))
struct AudioPipelineTests {
    private static func target(
        _ codec: Codec, of track: Track, _ settings: AudioTranscodingSettings = .init()
    ) throws -> EncodedFormat {
        try #require(EncodedFormat(codec: codec, of: track, settings: settings))
    }

    /// Expects that the decoded samples of `frames` sound like the chirp where their times say, from `seconds` on.
    private static func expectChirp(
        _ frames: [Frame], of track: Track, offset: Double = 1, at seconds: [Double], within tolerance: Double = 0.001,
        likeness: Double = 0.97, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let workbench = try Workbench()
        let (samples, rate, _) = try await workbench.decode(frames, of: track)
        let start = Double(try #require(frames.first).dts.ticks) / 90_000 - offset
        for moment in seconds {
            let from = Int((moment - start) * Double(rate))
            try #require(from >= 0 && from + 4_096 <= samples.count, "there are \(samples.count) samples")
            let found = Chirp.lag(
                of: samples[from..<from + 4_096], rate: rate, start: start + Double(from) / Double(rate))
            #expect(abs(found.seconds) <= tolerance, "at \(moment) s", sourceLocation: sourceLocation)
            #expect(found.likeness > likeness, "at \(moment) s", sourceLocation: sourceLocation)
        }
    }

    @Test("each codec becomes AAC and Opus of the same sound at the same time", arguments: Sound.all)
    func transcodes(_ sound: Sound) async throws {
        let coded = try await CodedSounds.shared.coded(sound)
        for codec in [Codec.aac, .opus] {
            let pipeline = AudioPipeline(source: coded.track, target: try Self.target(codec, of: coded.track))
            let input = coded.frames()
            let frames = pipeline.process(input)
            #expect(pipeline.statistics.brokenFrames == 0, "\(String(describing: pipeline.lastError))")
            #expect(pipeline.statistics.frames == UInt64(frames.count))
            #expect(pipeline.statistics.gaps == 0)
            let track = pipeline.target.track
            // A frame of Opus has 20 ms, one of AAC 1024 samples; their times follow each other exactly.
            let duration = codec == .opus ? 1_800.0 : 1_024.0 * 90_000 / Double(pipeline.target.rate)
            let steps = zip(frames, frames.dropFirst()).map { $1.dts.ticks - $0.dts.ticks }
            #expect(steps.allSatisfy { abs(Double($0) - duration) <= 1 })
            let first = try #require(frames.first).dts.ticks - (try #require(input.first).dts.ticks)
            #expect(first >= 0 && first <= Int64(duration), "the first frame is at \(first)")
            try await Self.expectChirp(
                frames, of: track, at: [0.5, 2],
                // Speex looks ahead, and its streams do not say how far; MP3's filter bank has its own delay.
                within: sound.codec == .speex ? 0.02 : 0.001, likeness: sound.codec == .speex ? 0.93 : 0.97)
        }
    }

    @Test("times that are rounded to milliseconds, as RTMP has them, move nothing")
    func rounded() async throws {
        let coded = try await CodedSounds.shared.coded(.aac)
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(.opus, of: coded.track))
        let frames = pipeline.process(coded.frames(rounding: 90))
        let steps = zip(frames, frames.dropFirst()).map { $1.dts.ticks - $0.dts.ticks }
        #expect(Set(steps) == [1_800])
        try await Self.expectChirp(frames, of: pipeline.target.track, at: [0.5, 2], within: 0.0015)
    }

    @Test(
        "a hole of the source is a hole of what is made, and both sides are at their times",
        arguments: [Codec.aac, .opus])
    func hole(_ codec: Codec) async throws {
        let coded = try await CodedSounds.shared.coded(codec == .aac ? .opus : .aac)
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(codec, of: coded.track))
        let input = coded.frames().filter { !(1.9 * 90_000..<2.5 * 90_000).contains(Double($0.dts.ticks)) }
        let frames = pipeline.process(input)
        #expect(pipeline.statistics.gaps == 1)
        let split = try #require(
            zip(frames, frames.dropFirst()).enumerated().max { left, right in
                left.element.1.dts - left.element.0.dts < right.element.1.dts - right.element.0.dts
            }
        ).offset
        let (before, after) = (frames[...split], frames[(split + 1)...])
        let resumed = try #require(input.first { $0.dts.ticks > Int64(2.4 * 90_000) }).dts.ticks
        let begins = try #require(after.first).dts.ticks - resumed
        #expect(begins >= 0 && begins <= 2_000, "it goes on \(begins) ticks after the source")
        let ended = try #require(before.last).dts.ticks
        #expect(ended <= Int64(1.95 * 90_000) && ended >= Int64(1.85 * 90_000), "it ended at \(ended)")
        try await Self.expectChirp(Array(before), of: pipeline.target.track, at: [0.3, 0.8])
        try await Self.expectChirp(Array(after), of: pipeline.target.track, at: [1.7, 2.2])
    }

    @Test("packets that are lost leave silence, and what follows is at its time")
    func lost() async throws {
        let coded = try await CodedSounds.shared.coded(.opus)
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(.aac, of: coded.track))
        var input = coded.frames()
        input.removeSubrange(60..<64)
        let frames = pipeline.process(input)
        #expect(pipeline.statistics.gaps == 0)
        let steps = zip(frames, frames.dropFirst()).map { $1.dts.ticks - $0.dts.ticks }
        #expect(steps.allSatisfy { abs($0 - 1_920) <= 10 }, "80 ms are filled")
        try await Self.expectChirp(frames, of: pipeline.target.track, at: [0.5, 1, 1.6, 2.2])
    }

    @Test("a packet that cannot be decoded costs that packet", arguments: [Sound.aac, .opus])
    func broken(_ sound: Sound) async throws {
        let coded = try await CodedSounds.shared.coded(sound)
        let other: Codec = sound.codec == .aac ? .opus : .aac
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(other, of: coded.track))
        var input = coded.frames()
        input[20].payload = ByteBuffer()
        input[30].payload = ByteBuffer(repeating: 0xFF, count: 60)
        input[40].payload = ByteBuffer(repeating: 0, count: 1)
        input[45].codec = .mp3
        let frames = pipeline.process(input)
        #expect((2...4).contains(pipeline.statistics.brokenFrames), "\(pipeline.statistics.brokenFrames)")
        #expect(pipeline.statistics.gaps == 0)
        try await Self.expectChirp(frames, of: pipeline.target.track, at: [1.3, 1.8, 2.2])
    }

    @Test("a source that changes its codec goes on in the same track without a step")
    func sourceChanges() async throws {
        let (first, second) = (try await CodedSounds.shared.coded(.aac), try await CodedSounds.shared.coded(.opus))
        let pipeline = AudioPipeline(source: first.track, target: try Self.target(.opus, of: first.track))
        var frames = pipeline.process(first.frames().filter { $0.dts.ticks < Int64(2 * 90_000) })
        pipeline.sourceChanged(to: second.track)
        frames += pipeline.process(second.frames().filter { $0.dts.ticks >= Int64(2 * 90_000) })
        #expect(pipeline.statistics.gaps == 0 && pipeline.statistics.brokenFrames == 0)
        try await Self.expectChirp(frames, of: pipeline.target.track, at: [0.5, 1.3, 2], within: 0.021)
    }

    @Test("a source clock that is wrong by 0.1 % is followed without a step")
    func drift() async throws {
        let coded = try await CodedSounds.shared.coded(.aLaw)
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(.opus, of: coded.track))
        let payload = try #require(coded.packets.first).payload
        var frames: [Frame] = []
        // 160 samples of 8 kHz are 1800 ticks; this source says 1801.8.
        for index in 0..<6_000 {
            let input = coded.frame(payload, ticks: 90_000 + Int64(Double(index) * 1_801.8))
            pipeline.process(input, into: &frames)
        }
        let steps = zip(frames, frames.dropFirst()).map { $1.dts.ticks - $0.dts.ticks }
        #expect(steps.allSatisfy { (1_780...1_820).contains($0) }, "steps are \(Set(steps).sorted())")
        #expect(pipeline.statistics.gaps == 0)
        let ends = try #require(frames.last).dts.ticks - (90_000 + Int64(5_999 * 1_801.8))
        #expect(abs(ends) < 3 * 1_800, "the end is \(ends) off")
    }

    @Test(
        "bytes that are no audio break frames and nothing else", arguments: Codec.allCases.filter { $0.kind == .audio })
    func noise(_ codec: Codec) async throws {
        var random = SystemRandomNumberGenerator()
        let track = Track(
            codec: codec, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
        let pipeline = AudioPipeline(source: track, target: try Self.target(.opus, of: track))
        var output: [Frame] = []
        for index in 0..<300 {
            let bytes = (0..<Int.random(in: 0..<500, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let time = MediaTime(ticks: Int64(index) * 1_800)
            let payload = ByteBuffer(bytes: bytes)
            pipeline.process(
                Frame(codec: codec, dts: time, pts: time, isKeyframe: true, payload: payload), into: &output)
        }
        #expect(pipeline.statistics.sourceFrames == 300)
        #expect(zip(output, output.dropFirst()).allSatisfy { $0.dts < $1.dts })
    }

    @Test(
        "a source that claims a rate of a few samples a second makes no flood of samples", arguments: [1, 100, 1 << 24])
    func absurdRate(_ rate: Int) async throws {
        let track = Track(
            codec: .g711ALaw, configuration: nil, format: .audio(AudioFormat(sampleRate: rate, channels: 1)))
        let pipeline = AudioPipeline(source: track, target: try Self.target(.aac, of: track))
        let input = (0..<10).map { index in
            let time = MediaTime(ticks: Int64(index) * 1_800)
            return Frame(
                codec: .g711ALaw, dts: time, pts: time, isKeyframe: true,
                payload: ByteBuffer(repeating: 0x55, count: 160)
            )
        }
        #expect(pipeline.process(input).isEmpty)
        #expect(pipeline.statistics.brokenFrames == 10)
    }

    @Test("what is made of which source: rates, channels, bit rates and headers")
    func formats() async throws {
        func track(_ rate: Int?, _ channels: Int?) -> Track {
            Track(
                codec: .flac, configuration: nil, format: .audio(AudioFormat(sampleRate: rate, channels: channels)))
        }
        func format(_ codec: Codec, _ rate: Int?, _ channels: Int?, mixesDown: Bool = true) throws -> [Int] {
            let settings = AudioTranscodingSettings(aacBitRate: 100_000, opusBitRate: 64_000, mixesDown: mixesDown)
            let made = try Self.target(codec, of: track(rate, channels), settings)
            return [made.rate, made.channels, made.bitRate]
        }
        #expect(try format(.aac, 8_000, 1) == [48_000, 1, 50_000])
        #expect(try format(.aac, 44_100, 2) == [44_100, 2, 100_000])
        #expect(try format(.aac, 22_050, 2) == [44_100, 2, 100_000])
        #expect(try format(.aac, 96_000, 6) == [48_000, 2, 100_000])
        #expect(try format(.aac, 48_000, 6, mixesDown: false) == [48_000, 6, 300_000])
        #expect(try format(.aac, 48_000, 7, mixesDown: false) == [48_000, 2, 100_000])
        #expect(try format(.opus, 44_100, 6, mixesDown: false) == [48_000, 2, 64_000])
        #expect(try format(.opus, nil, nil) == [48_000, 2, 64_000])
        #expect(EncodedFormat(codec: .mp3, of: track(48_000, 2), settings: .init()) == nil)
        let opus = try Self.target(.opus, of: track(48_000, 1)).track
        let head = try OpusHead(parsing: try #require(opus.configuration))
        #expect(head.channels == 1 && head.preSkip == 0)
        let surround = try Self.target(.aac, of: track(48_000, 8), .init(mixesDown: false)).track
        let configuration = try AudioSpecificConfig(parsing: try #require(surround.configuration))
        #expect(configuration.channelConfiguration == 7 && configuration.channels == 8)
        #expect(
            AudioTranscodingSettings(aacBitRate: 1, opusBitRate: 1 << 30, opusComplexity: 99).clamped
                == AudioTranscodingSettings(aacBitRate: 16_000, opusBitRate: 320_000, opusComplexity: 10))
    }

    @Test("six channels stay six where they are not to be mixed down")
    func surround() async throws {
        let sound = Sound(name: "5.1", codec: .flac, channels: 6, arguments: ["-c:a", "flac"])
        let coded = try await CodedSounds.shared.coded(sound)
        let settings = AudioTranscodingSettings(mixesDown: false)
        let pipeline = AudioPipeline(source: coded.track, target: try Self.target(.aac, of: coded.track, settings))
        let frames = pipeline.process(coded.frames())
        #expect(pipeline.statistics.brokenFrames == 0)
        #expect(try await Workbench().decode(frames, of: pipeline.target.track).channels == 6)
        try await Self.expectChirp(frames, of: pipeline.target.track, at: [1, 2])
    }
}
