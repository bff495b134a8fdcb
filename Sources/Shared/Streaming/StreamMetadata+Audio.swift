package import Media

extension StreamMetadata {
    /// The same, but with `audio` instead of the audio that the publisher told of. What it did not tell is not added.
    ///
    /// Names and codec numbers: FLV 10.1 §E.4.4.1 and §E.5, and Enhanced RTMP's FOURCC numbers.
    package func describing(audio: Track) -> StreamMetadata {
        var format = AudioFormat()
        if case .audio(let known) = audio.format { format = known }
        return StreamMetadata(
            entries: self.entries.compactMap { entry in
                switch entry.name {
                case "audiocodecid":
                    Self.codecNumber(of: audio.codec).map { Entry(name: entry.name, value: .number($0)) }
                case "audiosamplerate":
                    format.sampleRate.map { Entry(name: entry.name, value: .number(Double($0))) }
                case "audiochannels":
                    format.channels.map { Entry(name: entry.name, value: .number(Double($0))) }
                case "stereo":
                    format.channels.map { Entry(name: entry.name, value: .boolean($0 > 1)) }
                case "audiodatarate": nil
                default: entry
                }
            })
    }

    private static func codecNumber(of codec: Codec) -> Double? {
        switch codec {
        case .aac: 10
        case .opus: Double(0x4F70_7573)
        default: nil
        }
    }
}
