import Media
package import NIOCore

/// Writes fragmented MP4: one initialization segment, then any number of movie fragments.
///
/// With one track a file it is CMAF. Spec: ISO/IEC 14496-12 §8.8, ISO/IEC 23000-19.
package enum FragmentedMP4 {
    /// The samples of one track in one movie fragment.
    package struct Fragment: Sendable, Hashable {
        package var trackID: UInt32
        /// Decoding time of the first sample, in ticks of the track's timescale.
        package var decodeTime: UInt64
        package var samples: [MP4Sample]

        package init(trackID: UInt32, decodeTime: UInt64, samples: [MP4Sample]) {
            self.trackID = trackID
            self.decodeTime = decodeTime
            self.samples = samples
        }
    }

    /// A message to the player's page, an `emsg` box of version 1. Spec: ISO/IEC 23009-1 §5.10.3.3.
    package struct EventMessage: Sendable, Hashable {
        /// A URI that tells what the message is, such as `https://aomedia.org/emsg/ID3`. No zero bytes.
        package var schemeID: String
        package var value: String
        package var timescale: UInt32
        /// On the presentation's timeline, in ticks of `timescale`.
        package var presentationTime: UInt64
        /// In ticks; all ones: not known.
        package var duration: UInt32
        package var id: UInt32
        package var payload: ByteBuffer

        package init(
            schemeID: String, value: String = "", timescale: UInt32, presentationTime: UInt64, duration: UInt32,
            id: UInt32, payload: ByteBuffer
        ) {
            self.schemeID = schemeID
            self.value = value
            self.timescale = timescale
            self.presentationTime = presentationTime
            self.duration = duration
            self.id = id
            self.payload = payload
        }
    }

    /// The initialization segment: `ftyp`, and a `moov` without samples. `tracks` have different ids.
    package static func initialization(tracks: [MP4Track]) -> ByteBuffer {
        precondition(!tracks.isEmpty, "an initialization segment needs a track")
        precondition(Set(tracks.map(\.id)).count == tracks.count, "track ids must differ")
        var buffer = ByteBuffer()
        buffer.reserveCapacity(1024 + tracks.reduce(0) { $0 + 1024 + $1.sampleEntry.readableBytes })
        buffer.writeBox(.ftyp) {
            // A CMAF header has one track (ISO/IEC 23000-19 §7.3.1).
            $0.writeTypes(["iso6"])
            $0.writeInteger(UInt32(0))
            $0.writeTypes(tracks.count == 1 ? ["iso6", "cmfc", "dash", "mp41"] : ["iso6", "mp41"])
            if tracks.contains(where: { $0.track.codec == .av1 }) { $0.writeTypes(["av01"]) }
        }
        buffer.writeBox(.moov) { buffer in
            MovieBoxes.writeMovieHeader(duration: 0, nextTrackID: Self.nextID(tracks), into: &buffer)
            for track in tracks {
                MovieBoxes.writeTrack(track, timing: .unknown, into: &buffer) { MovieBoxes.writeEmptyTables(into: &$0) }
            }
            buffer.writeBox(.mvex) {
                for track in tracks {
                    $0.writeFullBox(.trex) {
                        $0.writeMultipleIntegers(
                            track.id, UInt32(1), UInt32(0), UInt32(0),
                            SampleFlags.value(isSync: track.kind == .audio))
                    }
                }
            }
        }
        return buffer
    }

    static func nextID(_ tracks: [MP4Track]) -> UInt32 {
        // All ones: a reader has to search for a free one (§8.2.2.3).
        let highest = tracks.map(\.id).max() ?? 0
        return highest == .max ? .max : highest + 1
    }

    /// Appends one movie fragment: `styp` if asked for, `events`, a `moof` with one `traf` for each of `fragments`, and
    /// one `mdat` with their payloads in the same order.
    ///
    /// `sequence` counts the fragments of a file or stream from 1. `fragments` is not empty and names a track once.
    /// Allocates room in `buffer` once and copies each payload once.
    package static func write(
        _ fragments: [Fragment], sequence: UInt32, styp: Bool = false, events: [EventMessage] = [],
        into buffer: inout ByteBuffer
    ) {
        precondition(!fragments.isEmpty, "a movie fragment needs a track")
        let shapes = fragments.map { RunShape($0.samples) }
        let moofBytes = shapes.reduce(8 + 16) { $0 + $1.trackFragmentBytes }
        let payloadBytes = shapes.reduce(0) { $0 + $1.payloadBytes }
        let eventBytes = events.reduce(0) {
            $0 + 34 + $1.schemeID.utf8.count + $1.value.utf8.count + $1.payload.readableBytes
        }
        precondition(
            moofBytes + 8 + payloadBytes <= Int(Int32.max), "\(payloadBytes) bytes are too many for one fragment")
        buffer.reserveCapacity(
            minimumWritableBytes: (styp ? Self.segmentTypeBytes : 0) + eventBytes + moofBytes + 8 + payloadBytes)
        if styp { self.writeSegmentType(into: &buffer) }
        for event in events { self.write(event, into: &buffer) }
        let start = buffer.writerIndex
        buffer.writeMultipleIntegers(UInt32(moofBytes), BoxType.moof.rawValue)
        buffer.writeMultipleIntegers(UInt32(16), BoxType.mfhd.rawValue, UInt32(0), sequence)
        var dataOffset = moofBytes + 8
        for (fragment, shape) in zip(fragments, shapes) {
            shape.write(fragment, dataOffset: Int32(dataOffset), into: &buffer)
            dataOffset += shape.payloadBytes
        }
        assert(buffer.writerIndex - start == moofBytes, "the size of the moof was computed wrongly")
        buffer.writeMultipleIntegers(UInt32(8 + payloadBytes), BoxType.mdat.rawValue)
        for fragment in fragments {
            for sample in fragment.samples { buffer.writeImmutableBuffer(sample.payload) }
        }
    }

    private static let segmentTypeBytes = 28

    /// Spec: ISO/IEC 23009-1 §6.3.4.2 (`msdh`), ISO/IEC 23000-19 §7.3.3.1 (`cmfs`).
    private static func writeSegmentType(into buffer: inout ByteBuffer) {
        buffer.writeBox(.styp) {
            $0.writeTypes(["msdh"])
            $0.writeInteger(UInt32(0))
            $0.writeTypes(["msdh", "cmfs", "iso6"])
        }
    }

    private static func write(_ event: EventMessage, into buffer: inout ByteBuffer) {
        buffer.writeFullBox(.emsg, version: 1) {
            $0.writeMultipleIntegers(event.timescale, event.presentationTime, event.duration, event.id)
            $0.writeNullTerminatedString(event.schemeID)
            $0.writeNullTerminatedString(event.value)
            $0.writeImmutableBuffer(event.payload)
        }
    }
}

/// The 32 bits that describe a sample. Spec: ISO/IEC 14496-12 §8.8.3.1.
enum SampleFlags {
    static let nonSync: UInt32 = 0x0001_0000

    /// A sync sample depends on no other; of the others it is taken that they do.
    static func value(isSync: Bool) -> UInt32 { isSync ? 0x0200_0000 : 0x0100_0000 | Self.nonSync }
    static func isSync(_ flags: UInt32) -> Bool { flags & Self.nonSync == 0 }
}

/// Which fields the `tfhd` and `trun` boxes of a run of samples need, and their sizes.
private struct RunShape {
    enum Flags { case equal, firstDiffers, each }

    var payloadBytes = 0
    private var count: Int
    /// The duration of all samples, if it is one.
    private var defaultDuration: UInt32?
    private var defaultFlags: UInt32
    private var flags = Flags.equal
    private var hasOffsets = false

    init(_ samples: [MP4Sample]) {
        self.count = samples.count
        let first = samples.first
        self.defaultDuration = first?.duration
        let later = samples.count > 1 ? samples[1].isSync : first?.isSync ?? true
        self.defaultFlags = SampleFlags.value(isSync: later)
        if let first, first.isSync != later { self.flags = .firstDiffers }
        for (index, sample) in samples.enumerated() {
            self.payloadBytes += sample.payload.readableBytes
            if sample.duration != first?.duration { self.defaultDuration = nil }
            if sample.compositionOffset != 0 { self.hasOffsets = true }
            if index > 0, sample.isSync != later { self.flags = .each }
        }
    }

    private var headerBytes: Int { 12 + 4 + (self.defaultDuration == nil ? 0 : 4) + 4 }

    private var runBytes: Int {
        let perSample =
            4 + (self.defaultDuration == nil ? 4 : 0) + (self.flags == .each ? 4 : 0) + (self.hasOffsets ? 4 : 0)
        return 12 + 4 + 4 + (self.flags == .firstDiffers ? 4 : 0) + self.count * perSample
    }

    var trackFragmentBytes: Int { 8 + self.headerBytes + 20 + self.runBytes }

    /// Spec: ISO/IEC 14496-12 §8.8.7 (`tfhd`), §8.8.12 (`tfdt`), §8.8.8 (`trun`).
    func write(_ fragment: FragmentedMP4.Fragment, dataOffset: Int32, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(UInt32(self.trackFragmentBytes), BoxType.traf.rawValue)
        // default-base-is-moof and default flags, and the duration where it is one for all.
        let headerFlags: UInt32 = 0x02_0020 | (self.defaultDuration == nil ? 0 : 0x08)
        buffer.writeMultipleIntegers(
            UInt32(self.headerBytes), BoxType.tfhd.rawValue, headerFlags, fragment.trackID)
        if let duration = self.defaultDuration { buffer.writeInteger(duration) }
        buffer.writeInteger(self.defaultFlags)
        buffer.writeMultipleIntegers(UInt32(20), BoxType.tfdt.rawValue, UInt32(1) << 24, fragment.decodeTime)
        var runFlags: UInt32 = 0x201
        if self.defaultDuration == nil { runFlags |= 0x100 }
        if self.flags == .firstDiffers { runFlags |= 0x4 }
        if self.flags == .each { runFlags |= 0x400 }
        if self.hasOffsets { runFlags |= 0x800 }
        buffer.writeMultipleIntegers(
            UInt32(self.runBytes), BoxType.trun.rawValue, UInt32(1) << 24 | runFlags, UInt32(self.count), dataOffset)
        if self.flags == .firstDiffers, let first = fragment.samples.first {
            buffer.writeInteger(SampleFlags.value(isSync: first.isSync))
        }
        for sample in fragment.samples {
            if self.defaultDuration == nil { buffer.writeInteger(sample.duration) }
            buffer.writeInteger(UInt32(sample.payload.readableBytes))
            if self.flags == .each { buffer.writeInteger(SampleFlags.value(isSync: sample.isSync)) }
            if self.hasOffsets { buffer.writeInteger(sample.compositionOffset) }
        }
    }
}
