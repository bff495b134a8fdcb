import Media

/// How the audio of one stream is transcoded.
package struct AudioTranscodingSettings: Sendable, Hashable {
    /// Bits per second of two channels; one takes half, more take as many times.
    package var aacBitRate: Int
    package var opusBitRate: Int
    /// How much work libopus puts into a frame, from 0 to 10.
    package var opusComplexity: Int
    /// More than two channels become two. Opus never has more, because RFC 7587 carries no more.
    package var mixesDown: Bool

    package init(
        aacBitRate: Int = 128_000, opusBitRate: Int = 96_000, opusComplexity: Int = 5, mixesDown: Bool = true
    ) {
        self.aacBitRate = aacBitRate
        self.opusBitRate = opusBitRate
        self.opusComplexity = opusComplexity
        self.mixesDown = mixesDown
    }

    /// The bounds within which encoders work, for two channels.
    package static let bitRates = 16_000...320_000
    package static let complexities = 0...10

    /// The same within the bounds.
    var clamped: AudioTranscodingSettings {
        func clamp(_ value: Int, to range: ClosedRange<Int>) -> Int {
            min(max(value, range.lowerBound), range.upperBound)
        }
        var settings = self
        settings.aacBitRate = clamp(self.aacBitRate, to: Self.bitRates)
        settings.opusBitRate = clamp(self.opusBitRate, to: Self.bitRates)
        settings.opusComplexity = clamp(self.opusComplexity, to: Self.complexities)
        return settings
    }

    /// Bits per second for `channels` of `codec`.
    func bitRate(of codec: Codec, channels: Int) -> Int {
        (codec == .opus ? self.opusBitRate : self.aacBitRate) / 2 * channels
    }
}

/// The bounds of all transcoding on a node.
package struct TranscodingLimits: Sendable, Hashable {
    package var threads: Int
    /// Streams whose audio is transcoded at once, each codec counted; who comes later gets the source's audio.
    package var maximumTranscoders: Int
    /// Frames of a stream that wait for a thread, and their bytes; beyond, the oldest are dropped.
    package var maximumWaitingFrames: Int
    package var maximumWaitingBytes: Int

    package init(
        threads: Int = 2, maximumTranscoders: Int = 1_000, maximumWaitingFrames: Int = 512,
        maximumWaitingBytes: Int = 4 << 20
    ) {
        self.threads = threads
        self.maximumTranscoders = maximumTranscoders
        self.maximumWaitingFrames = maximumWaitingFrames
        self.maximumWaitingBytes = maximumWaitingBytes
    }
}
