/// An HLS media playlist: the segments of one rendition, with the tags of Low-Latency HLS.
///
/// A value that the packaging core fills in and `write(into:)` renders. It states facts; which segments are listed and
/// what a server promises is its maker's business. Tags that follow from others are derived: `EXT-X-VERSION`, where
/// `EXT-X-MAP` and `EXT-X-KEY` are repeated, and that a playlist that has ended hints nothing.
///
/// All URIs are references relative to the playlist or absolute, already percent-encoded (see `RelativeURI`). Bytes that
/// no URI has (controls, space, quotation mark) are percent-encoded all the same, so that no name breaks a playlist.
///
/// Spec: RFC 8216; draft-pantos-hls-rfc8216bis for versions above 7 and low latency.
package struct MediaPlaylist: Sendable, Hashable {
    /// What may still change. Spec: RFC 8216 §4.3.3.5.
    package enum Kind: Sendable, Hashable {
        /// Segments are appended, and leave at the front.
        case live
        /// Segments are appended only.
        case event
        /// Nothing changes.
        case onDemand
    }

    /// Whole seconds; no segment's duration, rounded to the nearest second, is longer. Never changes while live.
    package var targetDuration: Int
    package var kind: Kind
    /// `EXT-X-ENDLIST`: no segment will be added.
    package var isEnded: Bool
    /// The sequence number of the first segment, whether listed or skipped.
    package var mediaSequence: UInt64
    /// The number of discontinuities before the first segment; written when it is not 0 or when `kind` is live.
    package var discontinuitySequence: UInt64
    /// `EXT-X-INDEPENDENT-SEGMENTS`: every segment can be decoded without an earlier one.
    package var hasIndependentSegments: Bool
    package var serverControl: ServerControl?
    /// `EXT-X-PART-INF`: the longest duration of a part. Without it no part and no preload hint is written.
    package var partTarget: PlaylistDuration?
    /// `EXT-X-START`: where players begin; negative offsets count from the end.
    package var start: Start?
    /// Oldest first. In a delta update too: `write(into:delta:)` leaves the skipped ones out.
    package var segments: [Segment]
    /// The parts of the segment that is being made.
    package var openSegment: OpenSegment?
    package var preloadHints: [PreloadHint]
    package var renditionReports: [RenditionReport]
    /// Written only if a segment has a program date time, without which they mean nothing. Spec: RFC 8216 §4.3.2.7.
    package var dateRanges: [DateRange]

    /// A live playlist without segments; set the rest as it applies. `targetDuration` is positive.
    package init(
        targetDuration: Int, kind: Kind = .live, isEnded: Bool = false, mediaSequence: UInt64 = 0,
        discontinuitySequence: UInt64 = 0, hasIndependentSegments: Bool = false, serverControl: ServerControl? = nil,
        partTarget: PlaylistDuration? = nil, start: Start? = nil, segments: [Segment] = [],
        openSegment: OpenSegment? = nil, preloadHints: [PreloadHint] = [], renditionReports: [RenditionReport] = [],
        dateRanges: [DateRange] = []
    ) {
        precondition(targetDuration > 0, "the target duration must be positive, got \(targetDuration)")
        self.targetDuration = targetDuration
        self.kind = kind
        self.isEnded = isEnded
        self.mediaSequence = mediaSequence
        self.discontinuitySequence = discontinuitySequence
        self.hasIndependentSegments = hasIndependentSegments
        self.serverControl = serverControl
        self.partTarget = partTarget
        self.start = start
        self.segments = segments
        self.openSegment = openSegment
        self.preloadHints = preloadHints
        self.renditionReports = renditionReports
        self.dateRanges = dateRanges
    }
}

extension MediaPlaylist {
    /// `EXT-X-SERVER-CONTROL`: what the server offers. Spec: RFC 8216bis §4.4.3.8.
    package struct ServerControl: Sendable, Hashable {
        package var canBlockReload: Bool
        /// How far from the end a player of parts stays: at least 2, better 3 part targets. Needed with parts.
        package var partHoldBack: PlaylistDuration?
        /// How far from the end a player of whole segments stays: at least 3 target durations.
        package var holdBack: PlaylistDuration?
        /// Segments that end further from the end than this may be skipped; at least 6 target durations.
        package var canSkipUntil: PlaylistDuration?
        /// Delta updates may leave old date ranges out, too. Only with `canSkipUntil`.
        package var canSkipDateRanges: Bool

        package init(
            canBlockReload: Bool = false, partHoldBack: PlaylistDuration? = nil, holdBack: PlaylistDuration? = nil,
            canSkipUntil: PlaylistDuration? = nil, canSkipDateRanges: Bool = false
        ) {
            self.canBlockReload = canBlockReload
            self.partHoldBack = partHoldBack
            self.holdBack = holdBack
            self.canSkipUntil = canSkipUntil
            self.canSkipDateRanges = canSkipDateRanges
        }
    }

    /// `EXT-X-START`. Spec: RFC 8216 §4.3.5.2.
    package struct Start: Sendable, Hashable {
        /// From the beginning; from the end of the last segment when `countsFromEnd`.
        package var offset: PlaylistDuration
        package var countsFromEnd: Bool
        /// Players begin at the exact time rather than at the segment's start.
        package var isPrecise: Bool

        package init(offset: PlaylistDuration, countsFromEnd: Bool = false, isPrecise: Bool = false) {
            self.offset = offset
            self.countsFromEnd = countsFromEnd
            self.isPrecise = isPrecise
        }
    }

    /// A part of a resource: `length` bytes from `offset` on.
    package struct ByteRange: Sendable, Hashable {
        package var offset: UInt64
        package var length: UInt64

        package init(offset: UInt64, length: UInt64) {
            self.offset = offset
            self.length = length
        }
    }

    /// `EXT-X-MAP`: the initialization section of the segments that name it. Spec: RFC 8216 §4.3.2.5.
    package struct Map: Sendable, Hashable {
        package var uri: String
        package var byteRange: ByteRange?
        /// The section is encrypted with its segment's key. Otherwise the key is suspended around the tag.
        package var isEncrypted: Bool

        package init(uri: String, byteRange: ByteRange? = nil, isEncrypted: Bool = false) {
            self.uri = uri
            self.byteRange = byteRange
            self.isEncrypted = isEncrypted
        }
    }

    /// `EXT-X-KEY`: how the segments that name it are encrypted. Spec: RFC 8216 §4.3.2.4.
    package struct Key: Sendable, Hashable {
        package enum Method: String, Sendable, Hashable {
            /// Whole segments by AES-128-CBC with PKCS7 padding.
            case aes128 = "AES-128"
            case sampleAES = "SAMPLE-AES"
        }

        package var method: Method
        package var uri: String
        /// 128 bits, big-endian; `nil` means the segment's sequence number.
        package var iv: UInt128?

        package init(method: Method = .aes128, uri: String, iv: UInt128? = nil) {
            self.method = method
            self.uri = uri
            self.iv = iv
        }
    }

    /// `EXT-X-PART`: a partial segment. Spec: RFC 8216bis §4.4.4.9.
    package struct Part: Sendable, Hashable {
        package var uri: String
        package var duration: PlaylistDuration
        /// It begins with a frame that needs no earlier one.
        package var isIndependent: Bool
        /// It is not available.
        package var isGap: Bool
        package var byteRange: ByteRange?

        package init(
            uri: String, duration: PlaylistDuration, isIndependent: Bool = false, isGap: Bool = false,
            byteRange: ByteRange? = nil
        ) {
            self.uri = uri
            self.duration = duration
            self.isIndependent = isIndependent
            self.isGap = isGap
            self.byteRange = byteRange
        }
    }

    /// A media segment with the tags that apply to it. Spec: RFC 8216 §4.3.2.
    package struct Segment: Sendable, Hashable {
        package var uri: String
        package var duration: PlaylistDuration
        package var byteRange: ByteRange?
        /// The wall clock at its first frame, in milliseconds since 1970 UTC.
        package var programDateTimeMillis: Int64?
        /// Something changed between the segment before and this one: file format, tracks, or the run of time.
        package var isDiscontinuity: Bool
        /// The initialization section it needs; the tag is written where it changes.
        package var map: Map?
        /// Its key, `nil` if it is not encrypted; the tag is written where it changes.
        package var key: Key?
        /// `EXT-X-GAP`: it is missing, and players must not ask for it.
        package var isGap: Bool
        /// Its parts, as long as they are offered: the last 3 target durations at least.
        package var parts: [Part]

        package init(
            uri: String, duration: PlaylistDuration, byteRange: ByteRange? = nil, programDateTimeMillis: Int64? = nil,
            isDiscontinuity: Bool = false, map: Map? = nil, key: Key? = nil, isGap: Bool = false, parts: [Part] = []
        ) {
            self.uri = uri
            self.duration = duration
            self.byteRange = byteRange
            self.programDateTimeMillis = programDateTimeMillis
            self.isDiscontinuity = isDiscontinuity
            self.map = map
            self.key = key
            self.isGap = isGap
            self.parts = parts
        }
    }

    /// The segment after the last one: what is known of it, and the parts of it that exist.
    package struct OpenSegment: Sendable, Hashable {
        /// As in `Segment`.
        package var programDateTimeMillis: Int64?
        package var isDiscontinuity: Bool
        package var map: Map?
        package var key: Key?
        package var parts: [Part]

        package init(
            programDateTimeMillis: Int64? = nil, isDiscontinuity: Bool = false, map: Map? = nil, key: Key? = nil,
            parts: [Part] = []
        ) {
            self.programDateTimeMillis = programDateTimeMillis
            self.isDiscontinuity = isDiscontinuity
            self.map = map
            self.key = key
            self.parts = parts
        }
    }

    /// `EXT-X-PRELOAD-HINT`: what will be needed next and may be asked for already. Spec: RFC 8216bis §4.4.5.3.
    package struct PreloadHint: Sendable, Hashable {
        package enum Resource: String, Sendable, Hashable {
            case part = "PART"
            case map = "MAP"
        }

        package var resource: Resource
        package var uri: String
        /// Where it begins in a longer resource.
        package var byteRangeStart: UInt64?
        package var byteRangeLength: UInt64?

        package init(
            resource: Resource = .part, uri: String, byteRangeStart: UInt64? = nil, byteRangeLength: UInt64? = nil
        ) {
            self.resource = resource
            self.uri = uri
            self.byteRangeStart = byteRangeStart
            self.byteRangeLength = byteRangeLength
        }
    }

    /// `EXT-X-RENDITION-REPORT`: how far another rendition of the same stream is. Spec: RFC 8216bis §4.4.5.4.
    package struct RenditionReport: Sendable, Hashable {
        /// The other media playlist.
        package var uri: String
        /// The sequence number of its last segment, of the open one if that has parts.
        package var lastSequence: UInt64
        /// The index of the last part of that segment; `nil` when the playlist has no parts.
        package var lastPart: Int?

        package init(uri: String, lastSequence: UInt64, lastPart: Int? = nil) {
            self.uri = uri
            self.lastSequence = lastSequence
            self.lastPart = lastPart
        }
    }
}
