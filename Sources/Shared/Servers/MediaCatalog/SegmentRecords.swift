package import Media

/// One segment on disk, as a row.
package struct SegmentRecord: Sendable, Hashable {
    package var key: StreamKey
    /// `video`, `audio` or `main`.
    package var tag: String
    package var epoch: UInt64
    package var sequence: UInt64
    /// The absolute path.
    package var path: String
    package var byteCount: Int64
    /// The first decoding time and the length, in ticks of `timescale`.
    package var start: Int64
    package var duration: Int64
    package var timescale: UInt32
    /// The wall clock of its beginning, in milliseconds since 1970.
    package var startMillis: Int64
    package var isDiscontinuity: Bool
    package var isIndependent: Bool
    /// The number of its initialization segment in the epoch.
    package var initializationIndex: Int
    /// The number of its key in the epoch, if it is encrypted.
    package var keyIndex: Int?
    /// Whatever else the packager wants back, such as its own facts as JSON.
    package var details: String?

    package init(
        key: StreamKey, tag: String, epoch: UInt64, sequence: UInt64, path: String, byteCount: Int64, start: Int64,
        duration: Int64, timescale: UInt32, startMillis: Int64, isDiscontinuity: Bool, isIndependent: Bool,
        initializationIndex: Int, keyIndex: Int? = nil, details: String? = nil
    ) {
        self.key = key
        self.tag = tag
        self.epoch = epoch
        self.sequence = sequence
        self.path = path
        self.byteCount = byteCount
        self.start = start
        self.duration = duration
        self.timescale = timescale
        self.startMillis = startMillis
        self.isDiscontinuity = isDiscontinuity
        self.isIndependent = isIndependent
        self.initializationIndex = initializationIndex
        self.keyIndex = keyIndex
        self.details = details
    }
}

/// A file that segments of an epoch need or that describes them, as a row.
package struct AssetRecord: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable {
        /// An initialization segment. It goes when no segment of its epoch and tag is left.
        case initialization = "init"
        /// A key. It goes when no segment of its epoch has it any more.
        case key
        /// A playlist or manifest. It goes when no segment of the stream is left, or with `expire`.
        case playlist
    }

    package var key: StreamKey
    package var kind: Kind
    /// Empty for what belongs to no tag.
    package var tag: String
    /// 0 for playlists.
    package var epoch: UInt64
    /// The number of the initialization segment or key in its epoch.
    package var number: Int
    /// The absolute path.
    package var path: String
    package var byteCount: Int64
    package var details: String?

    package init(
        key: StreamKey, kind: Kind, tag: String, epoch: UInt64, number: Int, path: String, byteCount: Int64,
        details: String? = nil
    ) {
        self.key = key
        self.kind = kind
        self.tag = tag
        self.epoch = epoch
        self.number = number
        self.path = path
        self.byteCount = byteCount
        self.details = details
    }
}

/// Where the numbers of a stream stand. Kept when all its files are gone, so that no number is given twice.
package struct StreamPosition: Sendable, Hashable {
    package var nextSequence: UInt64
    package var discontinuitySequence: UInt64
    /// The end of the last segment on the wall clock, in milliseconds since 1970.
    package var endMillis: Int64

    package init(nextSequence: UInt64, discontinuitySequence: UInt64, endMillis: Int64) {
        self.nextSequence = nextSequence
        self.discontinuitySequence = discontinuitySequence
        self.endMillis = endMillis
    }
}

/// All that is on disk of one stream and still listed.
package struct StoredWindow: Sendable, Hashable {
    package var key: StreamKey
    package var position: StreamPosition
    /// In the order of sequence numbers, the tags among each other in no order.
    package var segments: [SegmentRecord]
    package var assets: [AssetRecord]

    package init(key: StreamKey, position: StreamPosition, segments: [SegmentRecord], assets: [AssetRecord]) {
        self.key = key
        self.position = position
        self.segments = segments
        self.assets = assets
    }
}

/// A file that nobody lists any more.
package struct ExpiredFile: Sendable, Hashable {
    enum Row: Sendable, Hashable {
        case segment(stream: Int64, tag: String, sequence: Int64, epoch: Int64)
        case asset(stream: Int64, kind: String, tag: String, epoch: Int64, number: Int64)
    }

    package let key: StreamKey
    package let path: String
    package let byteCount: Int64
    let row: Row
}
