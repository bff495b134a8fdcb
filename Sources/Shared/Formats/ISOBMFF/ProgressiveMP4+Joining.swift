package import Media

extension ProgressiveMP4 {
    /// A stretch of one file that becomes part of a new one.
    package struct Clip: Sendable {
        /// The caller's number of the file, which comes back in the pieces.
        package var source: Int
        package var index: MP4Index
        /// On the file's own timeline, edit lists applied. Begins with the last keyframe that is presented at or before
        /// it; `nil`: everything from the start.
        package var from: MediaTime?
        /// What is decoded at or after this is left out, and what is presented later is not shown if the clip is the last
        /// one; `nil`: everything to the end.
        package var to: MediaTime?

        package init(source: Int, index: MP4Index, from: MediaTime? = nil, to: MediaTime? = nil) {
            self.source = source
            self.index = index
            self.from = from
            self.to = to
        }
    }

    /// Plans one file of `clips`, each behind the one before.
    ///
    /// The file begins at 0 with the first clip's first keyframe; sound before that is decoded but not played. The order
    /// and ids of the tracks are those of the first clip that is not empty. A track that a later clip lacks pauses there.
    /// Sound goes on over the joint without a gap where the clips were recorded in one go.
    ///
    /// Errors: `incompatibleTracks` when clips have tracks that one sample entry cannot describe, `emptyRange`.
    package static func plan(joining clips: [Clip]) throws(ISOBMFFError) -> Plan {
        var joiner = ClipJoiner()
        for clip in clips { try joiner.append(clip) }
        return self.plan(tracks: try joiner.finish())
    }
}

/// Puts clips behind each other. All tracks of the result are on one timeline that begins at 0.
private struct ClipJoiner {
    fileprivate struct Output {
        var track: MP4Track
        var runs: [ProgressiveMP4.Run] = []
        /// The sum of the samples' durations, in ticks of the track.
        var duration: Int64 = 0
        /// The new file's time, in ticks of the track, at which the first sample is decoded.
        var origin: Int64 = 0
        var hasStarted = false
        /// The composition offset of the first sample.
        var firstOffset: Int64 = 0
    }

    private var outputs: [Output] = []
    private var lead = 0
    /// Where the next clip begins, in ticks of the leading track.
    private var position: Int64 = 0
    /// Where the last clip was to end, on the new file's timeline.
    private var endTicks: Int64?

    // MARK: One clip

    mutating func append(_ clip: ProgressiveMP4.Clip) throws(ISOBMFFError) {
        let tracks = clip.index.tracks
        guard let leadIndex = tracks.firstIndex(where: { $0.track.kind == .video }) ?? tracks.indices.first else {
            return
        }
        let lead = tracks[leadIndex]
        let range = Self.leadRange(lead, clip)
        guard !range.isEmpty else { return }
        let isFirst = self.outputs.isEmpty
        if isFirst {
            self.outputs = tracks.map { Output(track: $0.track) }
            self.lead = leadIndex
        }
        let pairs = try self.pairs(tracks)
        let scale = lead.track.timescale
        // Later clips are joined at the leading track; the first begins with whatever is earliest.
        let isWholeStart = isFirst && clip.from == nil
        let leadStart = lead.presentationTime(lead.samples[range.lowerBound])
        let start = isWholeStart ? Self.start(of: tracks, in: scale) : leadStart
        let base = self.position
        for (output, track) in pairs {
            let timescale = track.track.timescale
            let clipStart = Rescale.ticks(start, from: scale, to: timescale)
            let outputBase = Rescale.ticks(base, from: scale, to: timescale)
            let isLead = output == self.lead
            let own = isLead ? range : Self.range(of: track, from: clip.from == nil ? nil : clipStart, clip)
            self.append(
                own, of: track, source: clip.source, shift: outputBase - clipStart, to: output, isLead: isLead)
        }
        let end = self.outputs[self.lead]
        self.position = end.origin + end.duration + end.firstOffset
        self.endTicks = clip.to.map { to in
            Rescale.ticks(base - start, from: scale, to: MovieBoxes.timescale) + min(to.ticks, Rescale.limit)
        }
    }

    /// The new file's tracks with those of a clip that continue them.
    private func pairs(_ tracks: [MP4Index.TrackIndex]) throws(ISOBMFFError) -> [(Int, MP4Index.TrackIndex)] {
        var result: [(Int, MP4Index.TrackIndex)] = []
        for kind in [MediaKind.video, .audio] {
            let own = self.outputs.indices.filter { self.outputs[$0].track.kind == kind }
            for (output, track) in zip(own, tracks.filter { $0.track.kind == kind }) {
                let expected = self.outputs[output].track
                guard expected.timescale == track.track.timescale, expected.sampleEntry == track.track.sampleEntry
                else { throw .incompatibleTracks(kind) }
                result.append((output, track))
            }
        }
        return result
    }

    /// The samples of the leading track in a clip.
    private static func leadRange(_ track: MP4Index.TrackIndex, _ clip: ProgressiveMP4.Clip) -> Range<Int> {
        var first = 0
        if let from = clip.from {
            let time = self.mediaTime(from, track)
            first = track.samples.lastIndex(decodedAtOrBefore: time) ?? 0
            // A sync sample that is decoded in time may still be presented too late.
            while let sync = track.samples.syncIndex(atOrBefore: first), sync > 0,
                track.samples[sync].presentationTime > time
            {
                first = sync - 1
            }
            first = track.samples.syncIndex(atOrBefore: first) ?? track.samples.syncIndex(atOrAfter: 0) ?? 0
        }
        let end = clip.to.map { track.samples.firstIndex(decodedAtOrAfter: self.mediaTime($0, track)) }
        return first..<max(first, end ?? track.samples.count)
    }

    /// The samples of another track that are heard at or after `start`, or all from the beginning.
    private static func range(
        of track: MP4Index.TrackIndex, from start: Int64?, _ clip: ProgressiveMP4.Clip
    ) -> Range<Int> {
        var first = 0
        if let start {
            let media = start - track.presentationShift
            first = track.samples.lastIndex(decodedAtOrBefore: media) ?? 0
            if let sync = track.samples.syncIndex(atOrBefore: first) { first = sync }
            if first < track.samples.count {
                let sample = track.samples[first]
                if sample.isSync, sample.decodeTime + Int64(sample.duration) <= media { first += 1 }
            }
        }
        let end = clip.to.map { track.samples.firstIndex(decodedAtOrAfter: self.mediaTime($0, track)) }
        return first..<max(first, end ?? track.samples.count)
    }

    /// When the earliest track's presentation begins, in ticks of `timescale`.
    private static func start(of tracks: [MP4Index.TrackIndex], in timescale: UInt32) -> Int64 {
        tracks.compactMap { track in
            track.samples.first.map {
                let first = max(track.presentationTime($0), track.presentationStart ?? .min)
                return Rescale.ticks(first, from: track.track.timescale, to: timescale)
            }
        }.min() ?? 0
    }

    private static func mediaTime(_ time: MediaTime, _ track: MP4Index.TrackIndex) -> Int64 {
        Rescale.ticks(time.ticks, from: UInt32(MediaTime.ticksPerSecond), to: track.track.timescale)
            - track.presentationShift
    }

    /// Adds samples to a track of the new file. `shift` leads from the clip's presentation times to those of the file.
    private mutating func append(
        _ range: Range<Int>, of track: MP4Index.TrackIndex, source: Int, shift: Int64, to output: Int, isLead: Bool
    ) {
        guard !range.isEmpty else { return }
        var first = range.lowerBound
        var start = track.samples[first]
        func decodeTime() -> Int64 { start.decodeTime + track.presentationShift + shift }
        if self.outputs[output].hasStarted {
            let end = self.outputs[output].origin + self.outputs[output].duration
            // Sound that the clip before has played already is not repeated.
            while !isLead, first + 1 < range.upperBound, decodeTime() + Int64(start.duration / 2) < end {
                first += 1
                start = track.samples[first]
            }
            self.outputs[output].stretch(by: decodeTime() - end)
        } else {
            self.outputs[output].hasStarted = true
            self.outputs[output].origin = decodeTime()
            self.outputs[output].firstOffset = Int64(start.compositionOffset)
        }
        let last = track.samples[range.upperBound - 1]
        self.outputs[output].runs.append(
            ProgressiveMP4.Run(.file(source: source, samples: track.samples, range: first..<range.upperBound)))
        self.outputs[output].duration += last.decodeTime + Int64(last.duration) - start.decodeTime
    }

    // MARK: The whole

    func finish() throws(ISOBMFFError) -> [ProgressiveMP4.TrackPlan] {
        let plans = self.outputs.filter(\.hasStarted).map { output in
            // Where the first sample is presented, unless the file begins in the middle of it.
            let first = output.origin + output.firstOffset
            let delay = Rescale.ticks(max(0, first), from: output.track.timescale, to: MovieBoxes.timescale)
            return ProgressiveMP4.TrackPlan(
                track: output.track, runs: output.runs, delayTicks: delay,
                mediaStart: output.firstOffset + max(0, -first), endTicks: self.endTicks)
        }
        guard !plans.isEmpty else { throw .emptyRange }
        return plans
    }
}

extension ClipJoiner.Output {
    /// Makes the last sample longer, or shorter by at most all but one tick of it.
    fileprivate mutating func stretch(by ticks: Int64) {
        guard ticks != 0, let run = self.runs.last, let own = run.lastSampleDuration else { return }
        let duration = UInt32(clamping: max(1, Int64(own) + ticks))
        self.runs[self.runs.count - 1].lastDuration = duration
        self.duration += Int64(duration) - Int64(own)
    }
}

extension ProgressiveMP4.Run {
    fileprivate var lastSampleDuration: UInt32? {
        switch self.content {
        case .file(_, let samples, let range): range.isEmpty ? nil : samples[range.upperBound - 1].duration
        case .memory(let samples): samples.last?.duration
        }
    }
}
