package import Media

/// How HEVC is signalled to RTMP and FLV players.
package enum FLVHEVCForm: String, Sendable, Hashable, CaseIterable {
    /// As the publisher did it.
    case asPublished
    /// Enhanced RTMP, fourCC `hvc1`.
    case enhanced
    /// Codec id 12, as players before enhanced RTMP know it.
    case legacy

    /// The track as players shall see it.
    package func apply(_ track: Track) -> Track {
        guard track.codec == .hevc, self != .asPublished else { return track }
        var track = track
        track.usesLegacyFLVCodecID = self == .legacy
        return track
    }
}
