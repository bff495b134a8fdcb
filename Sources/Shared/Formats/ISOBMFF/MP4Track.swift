package import Media
package import NIOCore

/// A track of an MP4 file: what a `trak` box says of it.
package struct MP4Track: Sendable, Hashable {
    /// Not 0; unique in its file.
    package let id: UInt32
    /// Ticks per second of all times and durations of the track's samples.
    package let timescale: UInt32
    package let track: Track
    /// The sample entry: a whole box of the `stsd` table, such as `avc1` with its `avcC`.
    package let sampleEntry: ByteBuffer

    /// Makes the track and its sample entry.
    ///
    /// `id` and `timescale` are positive. `frame`, if it is given, is a first frame (VP8 and VP9: a key frame) that tells
    /// what the track itself does not: AC-3 and E-AC-3 have their stream parameters in each frame, VP9 its size.
    /// Without one, AC-3 parameters follow from rate and channels, at the usual bit rate, and the size is stated as 0.
    ///
    /// H.264 and HEVC get the entries `avc1` and `hvc1` when the configuration holds the parameter sets, `avc3` and
    /// `hev1` when they can only come with the frames.
    ///
    /// Errors: `unsupportedCodec`; `configuration` for a record that is missing or broken; `missingFormat`.
    package init(
        id: UInt32, timescale: UInt32, track: Track, describedBy frame: ByteBuffer? = nil
    ) throws(ISOBMFFError) {
        precondition(id > 0 && timescale > 0, "track id \(id) and timescale \(timescale) must be positive")
        self.id = id
        self.timescale = timescale
        self.track = track
        self.sampleEntry = try SampleEntryWriter.entry(for: track, frame: frame)
    }

    /// A track as a file describes it.
    init(id: UInt32, timescale: UInt32, track: Track, sampleEntry: ByteBuffer) {
        self.id = id
        self.timescale = timescale
        self.track = track
        self.sampleEntry = sampleEntry
    }

    /// Whether MP4 files of tracks of `codec` are written.
    package static func supports(_ codec: Codec) -> Bool {
        switch codec {
        case .h264, .hevc, .av1, .vp8, .vp9, .aac, .mp3, .opus, .flac, .ac3, .eac3: true
        case .g711ALaw, .g711MuLaw, .speex: false
        }
    }

    /// The same track under another number, for files that are joined.
    package func renumbered(_ id: UInt32) -> MP4Track {
        precondition(id > 0, "track ids are positive")
        return MP4Track(id: id, timescale: self.timescale, track: self.track, sampleEntry: self.sampleEntry)
    }

    /// The four characters of the sample entry, such as `avc1`.
    package var sampleEntryType: BoxType {
        BoxType(rawValue: self.sampleEntry.getInteger(at: self.sampleEntry.readerIndex + 4) ?? 0)
    }

    var kind: MediaKind { self.track.kind }
}

/// One sample: an access unit or an audio frame, with its place in time given by those before it.
package struct MP4Sample: Sendable, Hashable {
    /// In ticks of the track's timescale.
    package var duration: UInt32
    /// Presentation time less decoding time, in ticks of the track's timescale.
    package var compositionOffset: Int32
    package var isSync: Bool
    /// As in `Frame.payload`.
    package var payload: ByteBuffer

    package init(duration: UInt32, compositionOffset: Int32 = 0, isSync: Bool = true, payload: ByteBuffer) {
        self.duration = duration
        self.compositionOffset = compositionOffset
        self.isSync = isSync
        self.payload = payload
    }
}
