import Media
import Testing

@testable import Streaming

@Suite("Metadata of derived audio")
struct AudioMetadataTests {
    private static func track(_ codec: Codec, channels: Int?) -> Track {
        Track(codec: codec, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: channels)))
    }

    private static let published = StreamMetadata(entries: [
        .init(name: "width", value: .number(640)), .init(name: "audiocodecid", value: .number(7)),
        .init(name: "audiosamplerate", value: .number(8_000)), .init(name: "audiochannels", value: .number(1)),
        .init(name: "stereo", value: .boolean(false)), .init(name: "audiodatarate", value: .number(64)),
        .init(name: "encoder", value: .string("x")),
    ])

    @Test("what tells of the audio is replaced, the rest and the order stay")
    func replaces() {
        let metadata = Self.published.describing(audio: Self.track(.aac, channels: 2))
        let expected = StreamMetadata(entries: [
            .init(name: "width", value: .number(640)), .init(name: "audiocodecid", value: .number(10)),
            .init(name: "audiosamplerate", value: .number(48_000)), .init(name: "audiochannels", value: .number(2)),
            .init(name: "stereo", value: .boolean(true)), .init(name: "encoder", value: .string("x")),
        ])
        #expect(metadata == expected)
        // The FOURCC `Opus` as a number.
        let opus = Self.published.describing(audio: Self.track(.opus, channels: 1))
        #expect(opus["audiocodecid"] == .number(1_332_770_163))
        #expect(opus["stereo"] == .boolean(false))
    }

    @Test("what is not known is left out, and nothing is added")
    func leavesOut() {
        let metadata = Self.published.describing(audio: Self.track(.flac, channels: nil))
        #expect(metadata.entries.map(\.name) == ["width", "audiosamplerate", "encoder"])
        #expect(StreamMetadata().describing(audio: Self.track(.aac, channels: 2)).entries.isEmpty)
    }
}
