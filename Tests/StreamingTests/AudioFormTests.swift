import Media
import Testing

@testable import Streaming

@Suite("AudioForm")
struct AudioFormTests {
    private static func track(_ codec: Codec, channels: Int? = 2) -> Track {
        Track(codec: codec, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: channels)))
    }

    @Test("which codec must be made of which", arguments: Codec.allCases.filter { $0.kind == .audio })
    func rule(_ codec: Codec) {
        let track = Self.track(codec)
        #expect(AudioForm.source.derivation(of: track) == nil)
        let isAAC = codec == .aac || codec == .mp3
        #expect(AudioForm.aac.derivation(of: track) == (isAAC ? nil : .aac))
        #expect(AudioForm.opus.derivation(of: track) == (codec == .opus ? nil : .opus))
        let passes = codec == .opus || codec == .g711ALaw || codec == .g711MuLaw
        #expect(AudioForm.opusOrG711.derivation(of: track) == (passes ? nil : .opus))
    }

    @Test("nothing is made of nothing")
    func noTrack() {
        for form in AudioForm.allCases { #expect(form.derivation(of: nil) == nil) }
    }

    @Test("Opus of more than two channels is made into Opus that WebRTC carries")
    func manyChannels() {
        #expect(AudioForm.opus.derivation(of: Self.track(.opus, channels: 6)) == .opus)
        #expect(AudioForm.opusOrG711.derivation(of: Self.track(.opus, channels: 3)) == .opus)
        #expect(AudioForm.opus.derivation(of: Self.track(.opus, channels: nil)) == nil)
        #expect(AudioForm.source.derivation(of: Self.track(.opus, channels: 6)) == nil)
    }
}
