import Media
import NIOCore

/// The boxes of a `moov` that fragmented and progressive files share.
enum MovieBoxes {
    /// Ticks per second of the movie's own clock, in which durations and edits are stated: those of `MediaTime`.
    static let timescale: UInt32 = 90_000

    /// How long a track is, and from where on it is presented.
    struct TrackTiming {
        /// In ticks of the movie's clock.
        var movieDuration: UInt64
        /// In ticks of the track's timescale.
        var mediaDuration: UInt64
        var edits: [Edit]

        /// Of a track whose samples are in fragments.
        static let unknown = TrackTiming(movieDuration: 0, mediaDuration: 0, edits: [])
    }

    /// One entry of an edit list. Spec: ISO/IEC 14496-12 §8.6.6.
    struct Edit: Equatable {
        /// In ticks of the movie's clock.
        var duration: UInt64
        /// In ticks of the track's timescale; -1: nothing is presented.
        var mediaTime: Int64
    }

    static func writeMovieHeader(duration: UInt64, nextTrackID: UInt32, into buffer: inout ByteBuffer) {
        let isLong = duration > UInt64(UInt32.max)
        buffer.writeFullBox(.mvhd, version: isLong ? 1 : 0) {
            Self.writeTimes(isLong: isLong, between: [self.timescale], duration: duration, into: &$0)
            // Rate 1, volume 1.
            $0.writeMultipleIntegers(UInt32(0x0001_0000), UInt16(0x0100), UInt16(0), UInt64(0))
            self.writeUnityMatrix(into: &$0)
            $0.writeRepeatingByte(0, count: 24)
            $0.writeInteger(nextTrackID)
        }
    }

    /// Writes a `trak` box; `tables` writes what is in `stbl` behind the sample entry.
    static func writeTrack(
        _ track: MP4Track, timing: TrackTiming, into buffer: inout ByteBuffer, tables: (inout ByteBuffer) -> Void
    ) {
        buffer.writeBox(.trak) { buffer in
            self.writeTrackHeader(track, duration: timing.movieDuration, into: &buffer)
            if !timing.edits.isEmpty { self.writeEdits(timing.edits, into: &buffer) }
            buffer.writeBox(.mdia) { buffer in
                let isLong = timing.mediaDuration > UInt64(UInt32.max)
                buffer.writeFullBox(.mdhd, version: isLong ? 1 : 0) {
                    self.writeTimes(
                        isLong: isLong, between: [track.timescale], duration: timing.mediaDuration, into: &$0)
                    // The language is `und`, in three times five bits.
                    $0.writeMultipleIntegers(UInt16(0x55C4), UInt16(0))
                }
                self.writeHandler(track.kind, into: &buffer)
                buffer.writeBox(.minf) { buffer in
                    if track.kind == .video {
                        buffer.writeFullBox("vmhd", flags: 1) { $0.writeInteger(UInt64(0)) }
                    } else {
                        buffer.writeFullBox("smhd") { $0.writeInteger(UInt32(0)) }
                    }
                    buffer.writeBox("dinf") {
                        $0.writeFullBox("dref") {
                            $0.writeInteger(UInt32(1))
                            // The media is in this file.
                            $0.writeFullBox("url ", flags: 1) { _ in }
                        }
                    }
                    buffer.writeBox(.stbl) { buffer in
                        buffer.writeFullBox(.stsd) {
                            $0.writeInteger(UInt32(1))
                            $0.writeImmutableBuffer(track.sampleEntry)
                        }
                        tables(&buffer)
                    }
                }
            }
        }
    }

    /// The tables of a track whose samples are in fragments: all there, all empty.
    static func writeEmptyTables(into buffer: inout ByteBuffer) {
        for type: BoxType in [.stts, .stsc] { buffer.writeFullBox(type) { $0.writeInteger(UInt32(0)) } }
        buffer.writeFullBox(.stsz) { $0.writeInteger(UInt64(0)) }
        buffer.writeFullBox(.stco) { $0.writeInteger(UInt32(0)) }
    }

    /// Creation and modification time (both not known), `fields`, and the duration.
    private static func writeTimes(
        isLong: Bool, between fields: [UInt32], duration: UInt64, into buffer: inout ByteBuffer
    ) {
        buffer.writeRepeatingByte(0, count: isLong ? 16 : 8)
        for field in fields { buffer.writeInteger(field) }
        if isLong { buffer.writeInteger(duration) } else { buffer.writeInteger(UInt32(duration)) }
    }

    private static func writeTrackHeader(_ track: MP4Track, duration: UInt64, into buffer: inout ByteBuffer) {
        let isLong = duration > UInt64(UInt32.max)
        // Flags: enabled, in the movie.
        buffer.writeFullBox(.tkhd, version: isLong ? 1 : 0, flags: 3) {
            self.writeTimes(isLong: isLong, between: [track.id, 0], duration: duration, into: &$0)
            $0.writeMultipleIntegers(
                UInt64(0), UInt16(0), UInt16(0), UInt16(track.kind == .audio ? 0x0100 : 0), UInt16(0))
            self.writeUnityMatrix(into: &$0)
            let size = SampleEntryWriter.pictureSize(ofEntry: track)
            $0.writeMultipleIntegers(UInt32(size.width) << 16, UInt32(size.height) << 16)
        }
    }

    private static func writeEdits(_ edits: [Edit], into buffer: inout ByteBuffer) {
        let isLong = edits.contains { $0.duration > UInt64(UInt32.max) || $0.mediaTime > Int64(Int32.max) }
        buffer.writeBox(.edts) {
            $0.writeFullBox(.elst, version: isLong ? 1 : 0) { buffer in
                buffer.writeInteger(UInt32(edits.count))
                for edit in edits {
                    if isLong {
                        buffer.writeMultipleIntegers(edit.duration, edit.mediaTime)
                    } else {
                        buffer.writeMultipleIntegers(UInt32(edit.duration), Int32(edit.mediaTime))
                    }
                    buffer.writeInteger(UInt32(0x0001_0000))
                }
            }
        }
    }

    private static func writeHandler(_ kind: MediaKind, into buffer: inout ByteBuffer) {
        buffer.writeFullBox(.hdlr) {
            $0.writeInteger(UInt32(0))
            $0.writeTypes([kind == .video ? "vide" : "soun"])
            $0.writeRepeatingByte(0, count: 12)
            $0.writeNullTerminatedString(kind == .video ? "Video" : "Audio")
        }
    }

    private static func writeUnityMatrix(into buffer: inout ByteBuffer) {
        for value: UInt32 in [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000] { buffer.writeInteger(value) }
    }
}
