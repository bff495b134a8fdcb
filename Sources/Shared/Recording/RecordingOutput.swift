package import Media
package import NIOCore

/// What a shell does with a recording's file.
package enum RecordingOutput: Sendable, Hashable {
    /// A file begins with these bytes.
    case begin(RecordingStart)
    /// Bytes behind the last ones.
    case append(RecordingPiece)
    /// The file is complete; the shell may finish it.
    case close(RecordingSummary)
}

/// What is known of a file when it begins.
package struct RecordingStart: Sendable, Hashable {
    /// Wall clock of the first frame.
    package var startMillis: Int64
    package var format: RecordingFormat
    /// Video first. They stay the same for the whole file.
    package var tracks: [Track]
    /// The first bytes: everything in front of the first interval.
    package var header: ByteBuffer

    package init(startMillis: Int64, format: RecordingFormat, tracks: [Track], header: ByteBuffer) {
        self.startMillis = startMillis
        self.format = format
        self.tracks = tracks
        self.header = header
    }
}

/// Bytes of a file, and which keyframe intervals begin in them.
package struct RecordingPiece: Sendable, Hashable {
    package struct Interval: Sendable, Hashable {
        package var time: MediaTime
        package var position: Int64

        package init(time: MediaTime, position: Int64) {
            self.time = time
            self.position = position
        }
    }

    package var bytes: ByteBuffer
    package var intervals: [Interval]
    /// The end of the media in the file so far.
    package var endTime: MediaTime

    package init(bytes: ByteBuffer, intervals: [Interval], endTime: MediaTime) {
        self.bytes = bytes
        self.intervals = intervals
        self.endTime = endTime
    }
}

/// Bytes that replace others of the same number inside a file.
package struct RecordingPatch: Sendable, Hashable {
    package var position: Int64
    package var bytes: ByteBuffer

    package init(position: Int64, bytes: ByteBuffer) {
        self.position = position
        self.bytes = bytes
    }
}

/// What is known of a file when it is complete.
package struct RecordingSummary: Sendable, Hashable {
    package enum Reason: String, Sendable, Hashable {
        case sourceEnded, stopped, segmentDuration, fileSize, tracksChanged
    }

    package var startMillis: Int64
    package var endMillis: Int64
    package var tracks: [Track]
    package var byteCount: Int64
    package var index: RecordingIndex
    /// What is filled in at the end: duration and size of an FLV.
    package var patches: [RecordingPatch]
    package var reason: Reason

    package init(
        startMillis: Int64, endMillis: Int64, tracks: [Track], byteCount: Int64, index: RecordingIndex,
        patches: [RecordingPatch] = [], reason: Reason
    ) {
        self.startMillis = startMillis
        self.endMillis = endMillis
        self.tracks = tracks
        self.byteCount = byteCount
        self.index = index
        self.patches = patches
        self.reason = reason
    }
}

extension RecordingPatch {
    /// What the header of a complete file says of it: duration and size of an FLV, nothing in other formats.
    package static func patches(
        format: RecordingFormat, byteCount: Int64, duration: MediaTime
    ) -> [RecordingPatch] {
        format == .flv ? FLVMuxer.patches(byteCount: byteCount, duration: duration) : []
    }
}
