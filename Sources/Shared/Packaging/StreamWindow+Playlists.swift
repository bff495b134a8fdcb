import DequeModule
package import Playlists

/// Whether a playlist request can be answered.
package enum PlaylistReadiness: Sendable, Hashable {
    case ready
    /// What it asks for comes next; or the stream has just begun.
    case wait
    /// 400: no playlist will have it soon, or the query contradicts itself. Spec: RFC 8216bis §6.2.5.2.
    case tooFarAhead
    /// The stream has no such tag, as far as is known.
    case unknown
}

/// An answer to a request for a playlist.
package enum PlaylistAnswer: Sendable, Hashable {
    /// Render it with `write(into:delta:)`.
    case playlist(MediaPlaylist, delta: MediaPlaylist.Delta?)
    case wait
    case tooFarAhead
    case unknown
}

extension StreamWindow {
    /// Whether a request for a tag's playlist has to wait, without making the playlist: for waking those that wait.
    ///
    /// `sequence` and `part` are `_HLS_msn` and `_HLS_part`. A stream that ended keeps nobody waiting.
    package func readiness(_ tag: PackagingTag, sequence: UInt64?, part: Int?) -> PlaylistReadiness {
        if part != nil, sequence == nil { return .tooFarAhead }
        guard let list = self.lists[tag], let last = list.last?.facts else {
            return self.isLive && self.isPossible(tag) ? .wait : .unknown
        }
        guard last.sequence >= self.firstListed else { return .unknown }
        guard let sequence, !self.isEnded else { return .ready }
        let part = self.configuration.offersParts ? part : nil
        if sequence < last.sequence { return .ready }
        if sequence == last.sequence {
            // A part behind a segment's last one means the first of the next (§6.2.5.2).
            guard let part, part >= last.partCount else { return .ready }
            return list.open.isEmpty ? .wait : .ready
        }
        guard sequence - last.sequence <= 2 else { return .tooFarAhead }
        guard let part else { return .wait }
        let have = sequence == last.sequence + 1 ? list.open.count : 0
        if part < have { return .ready }
        return part - have < self.advancePartLimit ? .wait : .tooFarAhead
    }

    /// Spec: RFC 8216bis §6.2.5.2.
    private var advancePartLimit: Int {
        let target = self.partTargetMillis ?? self.configuration.partDurationMillis ?? 1000
        return target < 1000 ? Int((3000 + target - 1) / max(1, target)) : 3
    }

    /// Whether a tag without segments may get some.
    private func isPossible(_ tag: PackagingTag) -> Bool {
        guard (tag == .main) == (self.configuration.container == .mpegTS) else { return false }
        // Once a tag has segments, those that were not announced with it do not come with it.
        return self.leadingTag == nil || self.lists[tag]?.open.isEmpty == false
            || self.newestTracks(tag) != nil
    }

    /// Answers a request for a tag's playlist.
    ///
    /// `sequence` and `part` are `_HLS_msn` and `_HLS_part`; `delta`: `_HLS_skip` was asked for; `rewindSeconds` is how
    /// far back the viewer wants to see, bounded by the configuration. A playlist has a segment at least.
    ///
    /// Cost: linear in what is listed. Spec: RFC 8216bis §6.2.5.
    package func playlist(
        _ tag: PackagingTag, sequence: UInt64? = nil, part: Int? = nil, delta: Bool = false, rewindSeconds: Int? = nil
    ) -> PlaylistAnswer {
        switch self.readiness(tag, sequence: sequence, part: part) {
        case .wait: return .wait
        case .tooFarAhead: return .tooFarAhead
        case .unknown: return .unknown
        case .ready: break
        }
        guard let list = self.lists[tag] else { return .unknown }
        let start = list.index(of: self.firstSequence(rewindSeconds: rewindSeconds))
        guard start < list.entries.count else { return .unknown }
        let first = list.entries[start].facts
        let target = self.targetDurationSeconds ?? first.targetDurationSeconds
        var playlist = MediaPlaylist(
            targetDuration: target, isEnded: self.isEnded && self.configuration.endsPlaylists,
            mediaSequence: first.sequence,
            // The first segment's own discontinuity is still to be read (RFC 8216 §6.3.3).
            discontinuitySequence: first.run.discontinuitySequence - (first.isDiscontinuity ? 1 : 0))
        playlist.segments.reserveCapacity(list.entries.count - start)
        for entry in list.entries[start...] { playlist.segments.append(self.segment(entry)) }
        playlist.hasIndependentSegments = list.entries[start...].allSatisfy(\.facts.isIndependent)
        playlist.serverControl = self.serverControl(target: target)
        if self.configuration.offersParts { self.addParts(of: list, tag, to: &playlist) }
        playlist.dateRanges = self.dateRanges(from: first.programDateTimeMillis)
        let offersDelta = delta && playlist.serverControl?.canSkipUntil != nil
        return .playlist(playlist, delta: offersDelta ? MediaPlaylist.Delta() : nil)
    }

    /// What players may ask for. Plain playlists without rewind offer nothing, so that they stay readable by old players.
    private func serverControl(target: Int) -> MediaPlaylist.ServerControl? {
        guard self.configuration.offersParts || self.configuration.dvrWindowMillis > 0 else { return nil }
        var control = MediaPlaylist.ServerControl(
            canBlockReload: true, holdBack: PlaylistDuration(millis: 3000 * Int64(target)),
            canSkipUntil: PlaylistDuration(millis: 6000 * Int64(target)))
        if self.configuration.offersParts, let part = self.partTargetMillis {
            control.partHoldBack = PlaylistDuration(millis: 3 * part)
        }
        return control
    }

    private func segment(_ entry: SegmentList.Entry) -> MediaPlaylist.Segment {
        let facts = entry.facts
        return MediaPlaylist.Segment(
            uri: facts.name, duration: facts.playlistDuration, programDateTimeMillis: facts.programDateTimeMillis,
            isDiscontinuity: facts.isDiscontinuity, map: self.map(facts.tag, facts.run, isGap: facts.isGap),
            key: facts.keyIndex.map { .init(uri: PackagingNames.key(epoch: facts.epoch, index: $0)) },
            isGap: facts.isGap, parts: self.configuration.offersParts ? entry.parts.map(Self.part) : [])
    }

    private static func part(_ facts: PartFacts) -> MediaPlaylist.Part {
        .init(uri: facts.name, duration: facts.playlistDuration, isIndependent: facts.isIndependent)
    }

    private func map(_ tag: PackagingTag, _ run: PackagingRun, isGap: Bool = false) -> MediaPlaylist.Map? {
        // A gap in a run that the tag had no part in has nothing that could be initialized.
        let isKnown = !isGap || self.tracks(tag, epoch: run.epoch, index: run.initializationIndex) != nil
        guard tag != .main, isKnown else { return nil }
        return .init(uri: PackagingNames.initialization(tag, epoch: run.epoch, index: run.initializationIndex))
    }

    private func addParts(of list: SegmentList, _ tag: PackagingTag, to playlist: inout MediaPlaylist) {
        guard let target = self.partTargetMillis, let last = list.last?.facts else { return }
        playlist.partTarget = PlaylistDuration(millis: target)
        if let first = list.open.first {
            playlist.openSegment = .init(
                programDateTimeMillis: first.segmentProgramDateTimeMillis, isDiscontinuity: first.isDiscontinuity,
                map: self.map(tag, first.run), parts: list.open.map(Self.part))
        }
        guard self.isLive else { return }
        let next: String
        if let part = list.open.last {
            next = PackagingNames.part(tag, epoch: part.epoch, sequence: part.sequence, index: part.index + 1)
        } else {
            next = PackagingNames.part(tag, epoch: self.epoch, sequence: last.sequence + 1, index: 0)
        }
        playlist.preloadHints = [.init(uri: next)]
        for other in self.tags where other != tag {
            guard let report = self.lists[other]?.lastReport else { continue }
            playlist.renditionReports.append(
                .init(uri: PackagingNames.playlist(other), lastSequence: report.sequence, lastPart: report.part))
        }
    }

    private func dateRanges(from millis: Int64) -> [DateRange] {
        self.timedData.filter { $0.startMillis >= millis }.map { data in
            DateRange(
                id: data.id, classIdentifier: data.name, startMillis: data.startMillis,
                attributes: data.attributes.map { attribute in
                    switch attribute.value {
                    case .text(let text): .init(name: attribute.name, value: .text(text))
                    case .number(let milli):
                        .init(name: attribute.name, value: .number(unscaled: milli, decimals: 3))
                    }
                })
        }
    }
}
