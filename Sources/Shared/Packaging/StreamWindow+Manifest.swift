import DequeModule
package import Playlists

extension StreamWindow {
    /// The MPEG-DASH manifest of the stream, whose files lie in `folder` (the last component of the stream's name, not
    /// encoded) beside it. `nil` before the first segment, with encryption, and for transport streams.
    ///
    /// The timeline begins in 1970, so that a period's start is its wall clock and no node has to remember another one.
    /// Each run is a period, whose id and start never change. Spec: ISO/IEC 23009-1 §5.3.
    package func manifest(folder: String, nowMillis: Int64) -> DASHManifest? {
        guard self.configuration.container == .fragmentedMP4, self.configuration.segmentsPerKey == nil,
            self.leadingTag != nil, let target = self.targetDurationSeconds
        else { return nil }
        let depthMillis = max(self.liveMicros / 1000, self.configuration.dvrWindowMillis)
        let first = self.firstSequence(rewindSeconds: Int(depthMillis / 1000))
        let runs = self.runs(from: first)
        guard !runs.isEmpty else { return nil }
        let segmentDuration = PlaylistDuration(millis: self.configuration.segmentDurationMillis)
        let live = DASHManifest.Live(
            availabilityStartMillis: 0, publishMillis: nowMillis, minimumUpdatePeriod: segmentDuration,
            timeShiftBufferDepth: PlaylistDuration(millis: depthMillis),
            suggestedPresentationDelay: PlaylistDuration(millis: 3000 * Int64(target)),
            utcTiming: .direct(millis: nowMillis))
        var manifest = DASHManifest(
            kind: .live(live), minimumBufferTime: segmentDuration,
            maximumSegmentDuration: PlaylistDuration(millis: Int64(target) * 1000 + 500))
        for (index, run) in runs.enumerated() {
            manifest.periods.append(
                self.period(
                    of: run, folder: RelativeURI.encode(path: folder), from: first, isLast: index == runs.count - 1))
        }
        return manifest
    }

    /// The runs that listed segments belong to, in order.
    private func runs(from sequence: UInt64) -> [PackagingRun] {
        var runs: [(first: UInt64, run: PackagingRun)] = []
        for tag in [PackagingTag.video, .audio] {
            guard let list = self.lists[tag] else { continue }
            for entry in list.entries[list.index(of: sequence)...] where entry.facts.run != runs.last?.run {
                let run = entry.facts.run
                if !runs.contains(where: { $0.run == run }) { runs.append((entry.facts.sequence, run)) }
            }
        }
        return runs.sorted { ($0.first, $0.run.startMillis) < ($1.first, $1.run.startMillis) }.map(\.run)
    }

    private func period(
        of run: PackagingRun, folder: String, from sequence: UInt64, isLast: Bool
    ) -> DASHManifest.Period {
        var period = DASHManifest.Period(
            id: "\(run.epoch)-\(run.initializationIndex)", start: PlaylistDuration(millis: run.startMillis),
            adaptationSets: [])
        var endMillis = run.startMillis
        for (id, tag) in [(0, PackagingTag.video), (1, .audio)] {
            guard let list = self.lists[tag],
                let tracks = self.tracks(tag, epoch: run.epoch, index: run.initializationIndex)
            else { continue }
            let entries = list.entries[list.index(of: sequence)...].filter { $0.facts.run == run }
            guard let first = entries.first?.facts, let last = entries.last?.facts else { continue }
            endMillis = max(endMillis, last.endMillis)
            let timescale = Int64(tracks.timescale)
            let zero = Ticks.convert(max(0, run.startTicks), from: Ticks.perSecond, to: timescale)
            var timeline = DASHManifest.SegmentTimeline()
            for entry in entries {
                timeline.append(
                    start: UInt64(max(0, entry.facts.presentationStart)), duration: UInt64(entry.facts.duration))
            }
            let template = DASHManifest.SegmentTemplate(
                timescale: Int(timescale),
                initialization: "\(folder)/\(tracks.initializationName ?? "")",
                media: "\(folder)/_\(tag.rawValue)-\(run.epoch)-$Number$.\(tag.segmentSuffix)",
                startNumber: first.sequence, presentationTimeOffset: UInt64(zero), timeline: timeline)
            period.adaptationSets.append(
                .init(
                    id: id, content: tag == .video ? .video : .audio,
                    representations: [
                        .init(
                            id: tag.rawValue, codecs: tracks.codecs.joined(separator: ","),
                            bandwidth: Bandwidth(entries.map(\.facts)).peak, format: self.format(tag, tracks),
                            segments: template)
                    ]))
        }
        if !isLast { period.duration = PlaylistDuration(millis: endMillis - run.startMillis) }
        return period
    }

    private func format(_ tag: PackagingTag, _ tracks: TrackFacts) -> DASHManifest.Representation.Format {
        guard tag == .video else { return .audio(sampleRate: tracks.sampleRate, channels: tracks.channels) }
        return .video(
            width: tracks.width, height: tracks.height,
            frameRate: self.frameRateMilli(.video).map { FrameRates.fraction(ofMilli: $0) })
    }

    /// What a multivariant playlist says of this stream; `nil` before the first segment.
    package func variant() -> VariantFacts? {
        let tags = self.tags
        guard let leading = tags.first(where: { $0 != .audio }) ?? tags.first else { return nil }
        var facts = VariantFacts(
            container: self.configuration.container, video: nil, audio: nil, peakBandwidth: 0, averageBandwidth: 0,
            isIndependent: true)
        for tag in tags {
            guard let list = self.lists[tag], let tracks = self.newestTracks(tag) else { continue }
            let listed = list.entries[list.index(of: self.firstListed)...].map(\.facts)
            let bandwidth = Bandwidth(listed)
            facts.peakBandwidth += bandwidth.peak
            facts.averageBandwidth += bandwidth.average
            if !listed.allSatisfy(\.isIndependent) { facts.isIndependent = false }
            if !tracks.hasVideo {
                facts.audio = .init(codecs: tracks.codecs, channels: tracks.channels, sampleRate: tracks.sampleRate)
            } else {
                facts.video = .init(
                    codecs: tracks.codecs, width: tracks.width, height: tracks.height,
                    frameRateMilli: self.frameRateMilli(leading))
            }
        }
        return facts
    }

    /// The tracks that a tag has had last.
    func newestTracks(_ tag: PackagingTag) -> TrackFacts? {
        if let run = self.lists[tag]?.open.last?.run ?? self.lists[tag]?.last?.facts.run {
            return self.tracks(tag, epoch: run.epoch, index: run.initializationIndex)
        }
        return self.announcedTracks(tag)
    }

    /// Frames per second of the listed segments.
    private func frameRateMilli(_ tag: PackagingTag) -> Int? {
        guard let list = self.lists[tag] else { return nil }
        var frames: Int64 = 0
        var micros: Int64 = 0
        for entry in list.entries[list.index(of: self.firstListed)...] where !entry.facts.isGap {
            frames += Int64(entry.facts.frameCount)
            micros += entry.facts.playlistDuration.micros
        }
        guard frames > 1, micros > 0 else { return nil }
        return FrameRates.settled(milli: Int(frames * 1_000_000_000 / micros))
    }
}

/// The rates that cameras and encoders have.
enum FrameRates {
    private static let known = [
        23_976, 24_000, 25_000, 29_970, 30_000, 48_000, 50_000, 59_940, 60_000, 119_880, 120_000,
    ]

    /// The usual rate that a measured one is within two thousandths of, the nearest; else the measured one.
    static func settled(milli: Int) -> Int {
        let nearest = self.known.min { abs($0 - milli) < abs($1 - milli) } ?? milli
        return abs(nearest - milli) * 500 <= nearest ? nearest : milli
    }

    /// Exact for the rates of NTSC.
    static func fraction(ofMilli milli: Int) -> DASHManifest.Representation.FrameRate {
        switch milli {
        case 23_976: .init(numerator: 24_000, denominator: 1001)
        case 29_970: .init(numerator: 30_000, denominator: 1001)
        case 59_940: .init(numerator: 60_000, denominator: 1001)
        case 119_880: .init(numerator: 120_000, denominator: 1001)
        case _ where milli % 1000 == 0: .init(numerator: milli / 1000)
        default: .init(numerator: milli, denominator: 1000)
        }
    }
}

/// Bits per second of a run of segments.
struct Bandwidth {
    /// Over the most demanding segment of half a second at least, or over all if there is none.
    private(set) var peak = 0
    private(set) var average = 0

    init(_ segments: [SegmentFacts]) {
        var bytes = 0
        var micros: Int64 = 0
        for segment in segments where !segment.isGap {
            let duration = max(1, segment.playlistDuration.micros)
            bytes += segment.byteCount
            micros += duration
            if duration >= 500_000 { self.peak = max(self.peak, Self.rate(segment.byteCount, duration)) }
        }
        self.average = micros > 0 ? Self.rate(bytes, micros) : 0
        self.peak = max(self.peak, self.average)
    }

    private static func rate(_ bytes: Int, _ micros: Int64) -> Int { Int(Int64(bytes) * 8_000_000 / micros) }
}
