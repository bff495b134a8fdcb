/// What a recording is written as. The raw value is the suffix of its file.
package enum RecordingFormat: String, Sendable, Hashable, Codable, CaseIterable {
    /// Fragmented MP4, which a setting lets be finished into a progressive MP4.
    case mp4
    case flv
    case ts
}

/// Where a recording is in its life.
package enum RecordingState: String, Sendable, Hashable, Codable, CaseIterable {
    /// The file grows.
    case recording
    /// Nothing is added any more; the file gets its final form.
    case finishing
    case finished
    /// Writing broke off, or the file cannot be read. What there is of it stays.
    case failed
    /// The file is gone. The entry stays until the coordinator knows.
    case deleted
}

/// One track of a recording, as lists show it.
package struct RecordedTrack: Sendable, Hashable, Codable {
    package var codec: Codec
    package var width: Int?
    package var height: Int?
    package var sampleRate: Int?
    package var channels: Int?

    package init(
        codec: Codec, width: Int? = nil, height: Int? = nil, sampleRate: Int? = nil, channels: Int? = nil
    ) {
        self.codec = codec
        self.width = width
        self.height = height
        self.sampleRate = sampleRate
        self.channels = channels
    }

    package init(_ track: Track) {
        self.init(codec: track.codec)
        switch track.format {
        case .video(let format): (self.width, self.height) = (format.width, format.height)
        case .audio(let format): (self.sampleRate, self.channels) = (format.sampleRate, format.channels)
        }
    }
}

/// One file of a recording, as the catalogues of an origin and of the coordinator list it.
package struct RecordingEntry: Sendable, Hashable, Codable {
    /// 1 to 64 lower-case letters and digits, unique in the cluster.
    package var id: String
    package var key: StreamKey
    /// The claim of the stream that was recorded.
    package var epoch: UInt64
    /// The origin that has the file.
    package var node: String
    /// Wall clock of the first frame, in milliseconds since 1970 UTC.
    package var startMillis: Int64
    /// Wall clock of the end of the last frame; grows while `state` is `recording`.
    package var endMillis: Int64
    package var format: RecordingFormat
    package var tracks: [RecordedTrack]
    package var bytes: Int64
    /// The file on the origin that has it.
    package var path: String
    package var state: RecordingState

    package init(
        id: String, key: StreamKey, epoch: UInt64, node: String, startMillis: Int64, endMillis: Int64,
        format: RecordingFormat, tracks: [RecordedTrack], bytes: Int64, path: String, state: RecordingState
    ) {
        self.id = id
        self.key = key
        self.epoch = epoch
        self.node = node
        self.startMillis = startMillis
        self.endMillis = endMillis
        self.format = format
        self.tracks = tracks
        self.bytes = bytes
        self.path = path
        self.state = state
    }

    package var durationMillis: Int64 { max(0, self.endMillis - self.startMillis) }

    /// Whether `text` can be the id of a recording.
    package static func isID(_ text: some StringProtocol) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
            }
    }
}

/// Which recordings a list is to show.
package struct RecordingQuery: Sendable, Hashable {
    package static let limits = 1...1_000

    package var vhost: String?
    package var app: String?
    package var name: String?
    /// Only what overlaps this time, in milliseconds since 1970 UTC.
    package var fromMillis: Int64?
    package var toMillis: Int64?
    /// Only in this state; `nil`: in any but `deleted`.
    package var state: RecordingState?
    package var limit: Int
    /// `RecordingPage.next` of the page before.
    package var cursor: Cursor?

    /// The place behind an entry in the order of lists: by start, then by id.
    package struct Cursor: Sendable, Hashable {
        package var startMillis: Int64
        package var id: String

        package init(startMillis: Int64, id: String) {
            self.startMillis = startMillis
            self.id = id
        }

        /// Reads what `text` wrote; `nil` for anything else.
        package init?(_ text: some StringProtocol) {
            let words = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
            guard words.count == 2, let start = Int64(words[0]), RecordingEntry.isID(words[1]) else { return nil }
            self.init(startMillis: start, id: String(words[1]))
        }

        package var text: String { "\(self.startMillis).\(self.id)" }
    }

    package init(
        vhost: String? = nil, app: String? = nil, name: String? = nil, fromMillis: Int64? = nil,
        toMillis: Int64? = nil, state: RecordingState? = nil, limit: Int = 100, cursor: Cursor? = nil
    ) {
        self.vhost = vhost
        self.app = app
        self.name = name
        self.fromMillis = fromMillis
        self.toMillis = toMillis
        self.state = state
        self.limit = min(max(limit, Self.limits.lowerBound), Self.limits.upperBound)
        self.cursor = cursor
    }

    /// All recordings of one stream.
    package init(of key: StreamKey, fromMillis: Int64? = nil, toMillis: Int64? = nil) {
        self.init(vhost: key.vhost, app: key.app, name: key.name, fromMillis: fromMillis, toMillis: toMillis)
    }
}

/// One page of a list of recordings, the oldest first.
package struct RecordingPage: Sendable, Hashable, Codable {
    package var recordings: [RecordingEntry]
    /// `cursor` of the next page; missing on the last one.
    package var next: String?

    package init(recordings: [RecordingEntry], next: String? = nil) {
        self.recordings = recordings
        self.next = next
    }
}
