package import Playlists

/// What a multivariant playlist says of one stream, measured. Nodes send it to each other as JSON.
package struct VariantFacts: Sendable, Hashable, Codable {
    package struct Video: Sendable, Hashable, Codable {
        package var codecs: [String]
        package var width: Int?
        package var height: Int?
        /// Thousandths of a frame per second, measured.
        package var frameRateMilli: Int?

        package init(codecs: [String], width: Int? = nil, height: Int? = nil, frameRateMilli: Int? = nil) {
            self.codecs = codecs
            self.width = width
            self.height = height
            self.frameRateMilli = frameRateMilli
        }
    }

    package struct Audio: Sendable, Hashable, Codable {
        package var codecs: [String]
        package var channels: Int?
        package var sampleRate: Int?

        package init(codecs: [String], channels: Int? = nil, sampleRate: Int? = nil) {
            self.codecs = codecs
            self.channels = channels
            self.sampleRate = sampleRate
        }
    }

    package var container: PackagingContainer
    /// For transport streams the codecs of all tracks are `video`'s, or `audio`'s if there is no video.
    package var video: Video?
    package var audio: Audio?
    /// Bits per second over the most demanding listed segment, all tags together.
    package var peakBandwidth: Int
    package var averageBandwidth: Int
    /// Every listed segment begins with a keyframe.
    package var isIndependent: Bool

    package init(
        container: PackagingContainer, video: Video?, audio: Audio?, peakBandwidth: Int, averageBandwidth: Int,
        isIndependent: Bool
    ) {
        self.container = container
        self.video = video
        self.audio = audio
        self.peakBandwidth = peakBandwidth
        self.averageBandwidth = averageBandwidth
        self.isIndependent = isIndependent
    }
}

/// A stream of a group, for its multivariant playlist.
package struct VariantMember: Sendable, Hashable {
    /// The last component of the stream's name: the folder its files are in, seen from the playlist. Not encoded.
    package var folder: String
    package var facts: VariantFacts

    package init(folder: String, facts: VariantFacts) {
        self.folder = folder
        self.facts = facts
    }
}

extension MultivariantPlaylist {
    /// One stream, or the streams of a group: a variant for each, each with the audio it came with. The most demanding
    /// comes first, since the picture tells viewers what to expect, and equal ones in the order of their names.
    package init(members: [VariantMember]) {
        let sorted = members.sorted {
            ($1.facts.video?.height ?? 0, $1.facts.peakBandwidth, $0.folder)
                < ($0.facts.video?.height ?? 0, $0.facts.peakBandwidth, $1.folder)
        }
        var variants: [Variant] = []
        var renditions: [AudioRendition] = []
        for member in sorted {
            let facts = member.facts
            let folder = RelativeURI.encode(path: member.folder)
            var variant = Variant(
                uri: "\(folder)/\(PackagingNames.playlist(facts.leadingTag))", bandwidth: facts.peakBandwidth,
                averageBandwidth: facts.averageBandwidth,
                codecs: (facts.video?.codecs ?? []) + (facts.audio?.codecs ?? []))
            if let video = facts.video, let width = video.width, let height = video.height, width > 0, height > 0 {
                variant.resolution = .init(width: width, height: height)
            }
            variant.frameRateMillis = facts.video?.frameRateMilli
            if facts.container == .fragmentedMP4, facts.video != nil, let audio = facts.audio {
                let group = sorted.count == 1 ? "audio" : "audio-\(member.folder)"
                variant.audioGroup = group
                renditions.append(
                    AudioRendition(
                        group: group, name: "Audio", uri: "\(folder)/\(PackagingNames.playlist(.audio))",
                        channels: audio.channels, isDefault: true))
            }
            variants.append(variant)
        }
        self.init(
            variants: variants, audioRenditions: renditions,
            hasIndependentSegments: !sorted.isEmpty && sorted.allSatisfy(\.facts.isIndependent))
    }
}

extension VariantFacts {
    /// The tag whose playlist is the variant's.
    var leadingTag: PackagingTag {
        if self.container == .mpegTS { return .main }
        return self.video == nil ? .audio : .video
    }
}
