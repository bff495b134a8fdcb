package import Media
package import MediaStorage
package import NIOCore
package import Recording
package import Streaming

/// How one stream is recorded.
package struct RecordingSettings: Sendable, Hashable {
    /// Recorded whenever it is published, unless an operator said otherwise.
    package var isEnabled: Bool
    package var configuration: RecorderConfiguration
    /// Where the files go, below the root of the recorder's `StorageWriter`.
    package var pattern: PathPattern
    /// In which codec the audio is recorded.
    package var audioForm: AudioForm

    /// `configuration` must be valid.
    package init(
        isEnabled: Bool, configuration: RecorderConfiguration, pattern: PathPattern, audioForm: AudioForm = .source
    ) {
        self.isEnabled = isEnabled
        self.configuration = configuration
        self.pattern = pattern
        self.audioForm = audioForm
    }
}

/// The limits of a recorder and of what plays its recordings.
package struct RecorderLimits: Sendable, Hashable {
    /// How long a recording that could not be written waits before it begins another file.
    package var retryDelay: TimeAmount
    /// How often the end and the size of a growing recording are put into the catalogue.
    package var progressInterval: TimeAmount
    /// About how long the segments of a VOD playlist are.
    package var segmentDuration: TimeAmount
    /// The longest time that a playlist or a file may span.
    package var maximumRange: TimeAmount
    /// Files of one playlist or download.
    package var maximumFiles: Int
    /// Requests that are answered at a time.
    package var maximumRequests: Int
    /// What a request waits for, other than a download.
    package var requestDeadline: TimeAmount
    /// What a request for a download waits for; it goes on being made, and is there for the next request.
    package var downloadDeadline: TimeAmount
    /// Threads that read files.
    package var readerThreads: Int
    /// Made segments that are kept in memory, in bytes.
    package var segmentCacheBytes: Int
    /// MP4 samples whose tables are kept in memory; each takes some 12 bytes.
    package var indexedSamples: Int
    /// Downloads that lie on the disk.
    package var maximumDownloads: Int
    package var maximumDownloadBytes: Int64
    /// How long a download stays after its last use.
    package var downloadLifetime: TimeAmount
    /// The largest segment that is made, in bytes.
    package var maximumSegmentBytes: Int64

    package init(
        retryDelay: TimeAmount = .seconds(10), progressInterval: TimeAmount = .seconds(10),
        segmentDuration: TimeAmount = .seconds(6), maximumRange: TimeAmount = .hours(24 * 31),
        maximumFiles: Int = 10_000, maximumRequests: Int = 256, requestDeadline: TimeAmount = .seconds(15),
        downloadDeadline: TimeAmount = .seconds(60), readerThreads: Int = 2, segmentCacheBytes: Int = 64 << 20,
        indexedSamples: Int = 8 << 20, maximumDownloads: Int = 8, maximumDownloadBytes: Int64 = 32 << 30,
        downloadLifetime: TimeAmount = .minutes(10), maximumSegmentBytes: Int64 = 256 << 20
    ) {
        precondition(segmentDuration > .zero && maximumRange > .zero, "durations are positive")
        precondition(readerThreads > 0 && maximumRequests > 0, "a recorder needs a thread and a request")
        self.retryDelay = retryDelay
        self.progressInterval = progressInterval
        self.segmentDuration = segmentDuration
        self.maximumRange = maximumRange
        self.maximumFiles = maximumFiles
        self.maximumRequests = maximumRequests
        self.requestDeadline = requestDeadline
        self.downloadDeadline = downloadDeadline
        self.readerThreads = readerThreads
        self.segmentCacheBytes = segmentCacheBytes
        self.indexedSamples = indexedSamples
        self.maximumDownloads = maximumDownloads
        self.maximumDownloadBytes = maximumDownloadBytes
        self.downloadLifetime = downloadLifetime
        self.maximumSegmentBytes = maximumSegmentBytes
    }
}

/// A file that is complete, for callbacks.
package struct FinishedRecording: Sendable, Hashable {
    /// `entry.path` is the absolute path of the file.
    package var entry: RecordingEntry
    /// It was left by a crash or a full disk, and holds what could be saved.
    package var isRepaired: Bool

    package init(entry: RecordingEntry, isRepaired: Bool) {
        self.entry = entry
        self.isRepaired = isRepaired
    }
}

/// What a stream's recording does now, for the API.
package struct RecordingStatus: Sendable, Hashable, Codable {
    package var key: StreamKey
    /// What an operator asked for; missing where the settings decide.
    package var intent: Bool?
    /// Its events are followed.
    package var isFollowed: Bool
    /// The file that grows.
    package var current: RecordingEntry?
    /// Why nothing is written although it should be.
    package var problem: String?
}

/// Why an operator's call on recordings came to nothing.
package enum RecorderError: Error, Equatable, Sendable {
    case unknownRecording
    /// The file is still written: stop the recording first.
    case stillRecording
    /// The catalogue does not answer.
    case catalogUnavailable
    case storage(StorageError)
}
