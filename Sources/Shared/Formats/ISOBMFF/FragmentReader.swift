package import NIOCore

/// Reads media segments in memory back into samples.
package struct FragmentReader: Sendable {
    /// The tracks of the initialization segment that are in codecs which are carried.
    package let tracks: [MP4Track]
    private let extends: [UInt32: TrackExtends]

    /// Reads an initialization segment. Errors: those of its boxes; `missingBox` when it announces no fragments.
    package init(initialization: ByteBuffer) throws(ISOBMFFError) {
        var boxes = BoxReader(initialization)
        while let box = try boxes.next() {
            guard box.type == .moov else { continue }
            let timescale = try MovieReader.timescale(ofMovie: box)
            var tracks: [MP4Track] = []
            var children = try box.children()
            while let child = try children.next() {
                guard child.type == .trak else { continue }
                if let found = try MovieReader.track(
                    child, movieTimescale: timescale, byteCount: Int64(initialization.readableBytes),
                    maximumSamples: 0)
                {
                    tracks.append(found.track)
                }
            }
            guard try box.child(.mvex) != nil else { throw .missingBox(.mvex, parent: .moov) }
            let extends = try TrackExtends.read(from: box)
            self.tracks = tracks
            self.extends = Dictionary(
                tracks.map { ($0.id, extends[$0.id] ?? TrackExtends()) }, uniquingKeysWith: { first, _ in first })
            return
        }
        throw .missingBox(.moov, parent: nil)
    }

    /// Cuts a media segment, or any number of them, into its fragments. Payloads are slices of `segment`.
    ///
    /// A fragment without a decoding time continues the one before it in `segment`, the first at 0.
    /// Errors: those of its boxes, `sampleOutside`.
    package func fragments(in segment: ByteBuffer) throws(ISOBMFFError) -> [FragmentedMP4.Fragment] {
        var fragments: [FragmentedMP4.Fragment] = []
        var boxes = BoxReader(segment)
        while let box = try boxes.next() {
            guard box.type == .moof else { continue }
            let fragment = try MovieFragment(reading: box, extends: self.extends, maximumSamples: 1 << 20)
            for run in fragment.tracks {
                let decodeTime = run.decodeTime.map(UInt64.init) ?? Self.end(of: run.trackID, in: fragments)
                var samples: [MP4Sample] = []
                samples.reserveCapacity(run.samples.count)
                for sample in run.samples { samples.append(try Self.sample(sample, of: run.trackID, in: segment)) }
                fragments.append(
                    FragmentedMP4.Fragment(trackID: run.trackID, decodeTime: decodeTime, samples: samples))
            }
        }
        return fragments
    }

    private static func end(of trackID: UInt32, in fragments: [FragmentedMP4.Fragment]) -> UInt64 {
        guard let last = fragments.last(where: { $0.trackID == trackID }) else { return 0 }
        return last.samples.reduce(last.decodeTime) { $0 + UInt64($1.duration) }
    }

    private static func sample(
        _ sample: MovieFragment.Sample, of trackID: UInt32, in segment: ByteBuffer
    ) throws(ISOBMFFError) -> MP4Sample {
        let end = sample.offset + Int64(sample.byteCount)
        guard end <= segment.readableBytes,
            let payload = segment.getSlice(
                at: segment.readerIndex + Int(sample.offset), length: Int(sample.byteCount))
        else { throw .sampleOutside(trackID: trackID, end: end, byteCount: Int64(segment.readableBytes)) }
        return MP4Sample(
            duration: sample.duration, compositionOffset: sample.compositionOffset, isSync: sample.isSync,
            payload: payload)
    }

    /// The `emsg` boxes of version 1 in a media segment; those of version 0 are passed over.
    package func events(in segment: ByteBuffer) throws(ISOBMFFError) -> [FragmentedMP4.EventMessage] {
        var events: [FragmentedMP4.EventMessage] = []
        var boxes = BoxReader(segment)
        while let box = try boxes.next() {
            guard box.type == .emsg else { continue }
            var fields = FieldReader(box)
            let (version, _) = try fields.versionAndFlags()
            guard version == 1 else { continue }
            let timescale: UInt32 = try fields.integer()
            let time: UInt64 = try fields.integer()
            let duration: UInt32 = try fields.integer()
            let id: UInt32 = try fields.integer()
            let offset = fields.offset
            var rest = fields.rest
            guard let scheme = rest.readNullTerminatedString(), let value = rest.readNullTerminatedString() else {
                throw .truncated(.emsg, offset: offset, needed: rest.readableBytes + 1, available: rest.readableBytes)
            }
            events.append(
                FragmentedMP4.EventMessage(
                    schemeID: scheme, value: value, timescale: timescale, presentationTime: time, duration: duration,
                    id: id, payload: rest))
        }
        return events
    }
}
