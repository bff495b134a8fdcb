import ISOBMFF
package import Media
package import NIOCore

/// Makes the fragmented MP4 of recorded media, whatever the format of the file it comes from.
package enum RecordingSegment {
    /// The initialization segment for all segments of a recording with `tracks`. `frames` are some of its first ones,
    /// which tell what the tracks do not.
    ///
    /// Errors: `unsupported` with the first codec that MP4 has no mapping of.
    package static func initialization(tracks: [Track], frames: [Frame]) throws(RecordingError) -> ByteBuffer {
        FragmentedMP4.initialization(tracks: try self.tracks(tracks, frames: frames))
    }

    static func tracks(_ tracks: [Track], frames: [Frame]) throws(RecordingError) -> [MP4Track] {
        let made = FragmentedMuxer.tracks(tracks, frames: frames)
        guard made.count == tracks.count, !made.isEmpty else {
            let missing = tracks.first { track in !made.contains { $0.track == track } }
            throw missing.map { .unsupported($0.codec, .mp4) } ?? .empty
        }
        return made
    }

    /// One segment with all tracks: `styp`, and a fragment with a run for each track, more where audio has gaps.
    ///
    /// `frames` are whole intervals in the file's order; `nextVideo` is when the video behind them begins, or the end of
    /// the recording. `origin` is added to all times: the wall clock of the recording's start lets the segments of
    /// several recordings follow each other on one timeline. Deterministic: the same frames give the same bytes on every
    /// node. Errors: `empty`.
    package static func media(
        frames: [Frame], tracks: [Track], sequence: UInt32, nextVideo: MediaTime?, origin: MediaTime = .zero
    ) throws(RecordingError) -> ByteBuffer {
        var fragments: [FragmentedMP4.Fragment] = []
        var gaps: [FragmentedMP4.Fragment] = []
        for (index, track) in tracks.enumerated() {
            let own = frames.filter { $0.codec == track.codec }
            guard let first = own.first else { continue }
            let id = UInt32(index + 1)
            if track.kind == .video {
                let samples = VideoPlacement.samples(
                    of: own, next: nextVideo.flatMap { $0 > (own.last?.dts ?? .zero) ? $0 : nil },
                    fallback: VideoPlacement.defaultDuration)
                fragments.append(
                    FragmentedMP4.Fragment(
                        trackID: id, decodeTime: UInt64(clamping: (first.dts + origin).ticks), samples: samples))
            } else {
                let runs = self.runs(of: own, track: track, id: id, origin: origin)
                fragments += runs.prefix(1)
                gaps += runs.dropFirst()
            }
        }
        guard !fragments.isEmpty else { throw .empty }
        var buffer = ByteBuffer()
        FragmentedMP4.write(fragments, sequence: sequence, styp: true, into: &buffer)
        for gap in gaps { FragmentedMP4.write([gap], sequence: sequence, into: &buffer) }
        return buffer
    }

    private static func runs(
        of frames: [Frame], track: Track, id: UInt32, origin: MediaTime
    ) -> [FragmentedMP4.Fragment] {
        let start = AudioPlacement.ticks(of: origin, rate: Int64(RecordingTimescale.of(track)))
        var placement = AudioPlacement(track: track)
        var runs: [FragmentedMP4.Fragment] = []
        for frame in frames {
            let place = placement.place(frame, track: track)
            if place.isJump || runs.isEmpty {
                runs.append(
                    FragmentedMP4.Fragment(
                        trackID: id, decodeTime: UInt64(clamping: place.decodeTime + start), samples: []))
            }
            runs[runs.count - 1].samples.append(
                MP4Sample(duration: UInt32(clamping: place.duration), payload: frame.payload))
        }
        return runs
    }
}
