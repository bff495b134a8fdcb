/// An HLS multivariant playlist: the variants of a stream, and the audio renditions they share.
///
/// URIs as in `MediaPlaylist`. Spec: RFC 8216 §4.3.4; draft-pantos-hls-rfc8216bis §4.4.6.
package struct MultivariantPlaylist: Sendable, Hashable {
    /// `EXT-X-STREAM-INF`: one way to play the stream.
    package struct Variant: Sendable, Hashable {
        package struct Resolution: Sendable, Hashable {
            package var width: Int
            package var height: Int

            package init(width: Int, height: Int) {
                self.width = width
                self.height = height
            }
        }

        /// The transfer characteristics of the picture.
        package enum VideoRange: String, Sendable, Hashable {
            case sdr = "SDR"
            case hlg = "HLG"
            case pq = "PQ"
        }

        package var uri: String
        /// Peak bits per second over any segment, of all renditions it plays together.
        package var bandwidth: Int
        package var averageBandwidth: Int?
        /// Codec strings of everything it plays, see `CodecString`.
        package var codecs: [String]
        package var resolution: Resolution?
        /// Thousandths of a frame per second: 29.97 is 29970.
        package var frameRateMillis: Int?
        package var videoRange: VideoRange?
        /// The group of `renditions` that it plays with.
        package var audioGroup: String?

        package init(
            uri: String, bandwidth: Int, averageBandwidth: Int? = nil, codecs: [String] = [],
            resolution: Resolution? = nil, frameRateMillis: Int? = nil, videoRange: VideoRange? = nil,
            audioGroup: String? = nil
        ) {
            self.uri = uri
            self.bandwidth = bandwidth
            self.averageBandwidth = averageBandwidth
            self.codecs = codecs
            self.resolution = resolution
            self.frameRateMillis = frameRateMillis
            self.videoRange = videoRange
            self.audioGroup = audioGroup
        }
    }

    /// `EXT-X-MEDIA` with `TYPE=AUDIO`.
    package struct AudioRendition: Sendable, Hashable {
        package var group: String
        /// What a viewer reads in a menu; unique in its group.
        package var name: String
        /// Its playlist; `nil` when the variants carry it.
        package var uri: String?
        /// RFC 5646, such as `en`.
        package var language: String?
        package var channels: Int?
        package var isDefault: Bool
        /// Players may choose it by the viewer's settings. Always so for the default one.
        package var isAutoselect: Bool

        package init(
            group: String, name: String, uri: String?, language: String? = nil, channels: Int? = nil,
            isDefault: Bool = false, isAutoselect: Bool = true
        ) {
            self.group = group
            self.name = name
            self.uri = uri
            self.language = language
            self.channels = channels
            self.isDefault = isDefault
            self.isAutoselect = isAutoselect
        }
    }

    /// The first one is what most players start with.
    package var variants: [Variant]
    package var audioRenditions: [AudioRendition]
    /// Every segment of every variant can be decoded without an earlier one.
    package var hasIndependentSegments: Bool

    package init(
        variants: [Variant], audioRenditions: [AudioRendition] = [], hasIndependentSegments: Bool = false
    ) {
        self.variants = variants
        self.audioRenditions = audioRenditions
        self.hasIndependentSegments = hasIndependentSegments
    }
}
