package import Media

/// What the node takes from a publisher.
package struct PublishCapabilities: Sendable, Hashable {
    /// The codecs that are accepted, the preferred one first. One of the offered ones is chosen.
    package var videoCodecs: [Codec] = [.h264, .vp8, .vp9, .av1, .hevc]
    package var audioCodecs: [Codec] = [.opus, .g711ALaw, .g711MuLaw]
    /// The publisher's order of codecs counts and not ours.
    package var prefersOfferOrder = false
    /// Opus may have two channels.
    package var allowsStereo = true
    package var features = TransportFeatures()
    /// Several encodings of one picture are taken.
    package var allowsSimulcast = true

    package init() {}
}

/// How packets are repaired and paced, on both sides.
package struct TransportFeatures: Sendable, Hashable {
    /// Generic NACK.
    package var nack = true
    /// Retransmissions as a stream of their own. Spec: RFC 4588.
    package var retransmission = true
    package var transportFeedback = true
    package var remb = true

    package init() {}
}

/// What the node can send of a stream. The first alternative of each kind that the offer has is chosen.
package struct PlayTracks: Sendable, Hashable {
    package var video: [PlayVideo]
    package var audio: [PlayAudio]
    package var features = TransportFeatures()

    package init(video: [PlayVideo], audio: [PlayAudio]) {
        self.video = video
        self.audio = audio
    }
}

/// A video track as payload formats describe it.
package enum PlayVideo: Sendable, Hashable {
    case h264(H264ProfileLevel)
    /// `profile` is `general_profile_idc`, `tier` 0 or 1, `level` `general_level_idc`.
    case hevc(profile: Int, tier: Int, level: Int)
    case vp8
    case vp9(profile: Int)
    /// `level` is `seq_level_idx`.
    case av1(profile: Int, level: Int, tier: Int)

    /// Reads a track's codec header; a header that is missing or broken gives the codec's plainest profile. `nil` if
    /// WebRTC has no payload format for the codec.
    package init?(_ track: Track) {
        switch track.codec {
        case .h264:
            let record = track.configuration.flatMap { try? AVCDecoderConfiguration(parsing: $0) }
            self = .h264(
                record.map {
                    H264ProfileLevel(
                        profileIndication: $0.profileIndication, constraints: $0.profileCompatibility,
                        level: $0.levelIndication)
                } ?? .constrainedBaseline)
        case .hevc:
            let record = track.configuration.flatMap { try? HEVCDecoderConfiguration(parsing: $0) }
            self = .hevc(
                profile: record.map { Int($0.profileByte & 0x1F) } ?? 1,
                tier: record.map { Int($0.profileByte >> 5 & 1) } ?? 0,
                level: record.map { Int($0.levelIndication) } ?? 93)
        case .vp8: self = .vp8
        case .vp9:
            let record = track.configuration.flatMap { try? VPCodecConfiguration(parsing: $0) }
            self = .vp9(profile: record?.profile ?? 0)
        case .av1:
            let record = track.configuration.flatMap { try? AV1CodecConfiguration(parsing: $0) }
            self = .av1(
                profile: record?.profile ?? 0, level: record?.levelIndex ?? 5, tier: record?.isHighTier == true ? 1 : 0)
        default: return nil
        }
    }

    package var codec: Codec {
        switch self {
        case .h264: .h264
        case .hevc: .hevc
        case .vp8: .vp8
        case .vp9: .vp9
        case .av1: .av1
        }
    }
}

/// An audio track as payload formats describe it.
package struct PlayAudio: Sendable, Hashable {
    /// `opus`, `g711ALaw` or `g711MuLaw`.
    package var codec: Codec
    package var channels: Int

    package init(codec: Codec, channels: Int) {
        self.codec = codec
        self.channels = channels
    }
}
