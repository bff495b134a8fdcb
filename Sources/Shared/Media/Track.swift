package import NIOCore

/// The two kinds of elementary stream that Weir carries.
package enum MediaKind: String, Sendable, Hashable, Codable {
    case video, audio
}

/// A codec by the name that the API, the logs and the configuration use.
package enum Codec: String, Sendable, Hashable, Codable, CaseIterable {
    case h264, hevc, av1, vp8, vp9
    case aac, mp3, opus, flac, ac3, eac3
    case g711ALaw = "pcma"
    case g711MuLaw = "pcmu"
    case speex

    package var kind: MediaKind {
        switch self {
        case .h264, .hevc, .av1, .vp8, .vp9: .video
        case .aac, .mp3, .opus, .flac, .ac3, .eac3, .g711ALaw, .g711MuLaw, .speex: .audio
        }
    }
}

/// What is known of a video track's picture. Each field is `nil` until a codec header told it.
package struct VideoFormat: Sendable, Hashable {
    /// Displayed size in pixels, cropping applied.
    package var width: Int?
    package var height: Int?
    /// The codec's own profile name, such as `High` or `Main 10`.
    package var profile: String?
    /// The codec's own level, such as `4.1`.
    package var level: String?
    /// Nominal frames per second, from the codec's timing information.
    package var frameRate: Double?

    package init(
        width: Int? = nil, height: Int? = nil, profile: String? = nil, level: String? = nil, frameRate: Double? = nil
    ) {
        self.width = width
        self.height = height
        self.profile = profile
        self.level = level
        self.frameRate = frameRate
    }
}

/// What is known of an audio track's samples.
package struct AudioFormat: Sendable, Hashable {
    /// Samples per second.
    package var sampleRate: Int?
    package var channels: Int?
    /// The codec's own profile name, such as `LC`.
    package var profile: String?
    /// Samples per channel in one frame, where the codec fixes it (AAC 1024 or 960).
    package var samplesPerFrame: Int?

    package init(sampleRate: Int? = nil, channels: Int? = nil, profile: String? = nil, samplesPerFrame: Int? = nil) {
        self.sampleRate = sampleRate
        self.channels = channels
        self.profile = profile
        self.samplesPerFrame = samplesPerFrame
    }
}

/// One elementary stream of a live stream, as its codec headers describe it.
package struct Track: Sendable, Hashable {
    package enum Format: Sendable, Hashable {
        case video(VideoFormat)
        case audio(AudioFormat)
    }

    package var codec: Codec
    /// The codec's out-of-band header in its ISO form, without a box header: `avcC`, `hvcC`, `av1C`, `vpcC` records,
    /// AAC AudioSpecificConfig, `OpusHead`, FLAC STREAMINFO block. `nil` for codecs that have none (MP3, AC-3, G.711).
    package var configuration: ByteBuffer?
    package var format: Format
    /// The publisher signalled HEVC as FLV codec id 12, as encoders did before enhanced RTMP. Its players know no other.
    package var usesLegacyFLVCodecID: Bool

    package init(codec: Codec, configuration: ByteBuffer?, format: Format, usesLegacyFLVCodecID: Bool = false) {
        self.codec = codec
        self.configuration = configuration
        self.format = format
        self.usesLegacyFLVCodecID = usesLegacyFLVCodecID
    }

    package var kind: MediaKind { self.codec.kind }
}
