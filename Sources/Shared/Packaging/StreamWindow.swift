import DequeModule
import Playlists

/// What the playlists of a stream list: the facts of its segments and parts, without their bytes.
///
/// Feed it each output of the packager, or what a journal kept. Every change that a playlist shows raises `generation`.
/// All tags are listed from the same sequence number on, which never falls.
package struct StreamWindow: Sendable {
    struct TrackKey: Hashable {
        var tag: PackagingTag
        var epoch: UInt64
        var index: Int
    }

    /// Data messages that are kept at most.
    package static let maximumTimedData = 256

    let configuration: PackagingConfiguration
    var lists: [PackagingTag: SegmentList] = [:]
    private var trackFacts: [TrackKey: TrackFacts] = [:]
    private(set) var timedData = Deque<TimedDataFacts>()
    private(set) var epoch: UInt64 = 0
    /// The first sequence number of live playlists.
    private(set) var firstListed: UInt64 = 0

    /// Raised with each change of any playlist or manifest.
    package private(set) var generation: UInt64 = 0
    /// A source is live.
    package private(set) var isLive = false
    /// The last source ended and nobody waits for its return.
    package private(set) var isEnded = false
    /// `EXT-X-TARGETDURATION`; `nil` before the first segment.
    package private(set) var targetDurationSeconds: Int?
    /// `EXT-X-PART-INF`; `nil` before the first part.
    package private(set) var partTargetMillis: Int64?

    package init(configuration: PackagingConfiguration) { self.configuration = configuration }

    /// The tags that live playlists list, in order of `PackagingTag.allCases`.
    package var tags: [PackagingTag] {
        PackagingTag.allCases.filter { (self.lists[$0]?.last?.facts.sequence).map { $0 >= self.firstListed } ?? false }
    }

    /// Where a packager goes on behind what is listed; `nil` when nothing is.
    package var position: PackagingPosition? {
        let lasts = self.lists.values.compactMap { $0.last?.facts }
        guard let newest = lasts.max(by: { $0.sequence < $1.sequence }) else { return nil }
        return PackagingPosition(
            nextSequence: newest.sequence + 1,
            discontinuitySequence: lasts.map(\.run.discontinuitySequence).max() ?? newest.run.discontinuitySequence,
            endMillis: lasts.map(\.endMillis).max() ?? newest.endMillis, epoch: newest.epoch,
            initializationIndex: newest.run.initializationIndex, targetDurationSeconds: self.targetDurationSeconds)
    }

    /// A segment that is still known, listed or not; for finding its file.
    package func segment(_ tag: PackagingTag, epoch: UInt64, sequence: UInt64) -> SegmentFacts? {
        guard let facts = self.lists[tag]?.segment(sequence), facts.epoch == epoch else { return nil }
        return facts
    }

    /// The tracks of a tag in a run of which a segment or part is known.
    package func tracks(_ tag: PackagingTag, epoch: UInt64, index: Int) -> TrackFacts? {
        self.trackFacts[TrackKey(tag: tag, epoch: epoch, index: index)]
    }

    /// The tracks that were announced last for a tag.
    func announcedTracks(_ tag: PackagingTag) -> TrackFacts? {
        self.trackFacts.values.filter { $0.tag == tag }.max { ($0.epoch, $0.index) < ($1.epoch, $1.index) }
    }

    /// Whether an overview would lack a tag that the source has announced, and whose first segment is about to come: sound
    /// may be ready a moment after its picture, and a player that is told of the picture alone never asks for it. When
    /// another tag has two segments, the first has not come in its time.
    package var lacksAnnouncedTag: Bool {
        guard self.isLive, self.lists.values.allSatisfy({ $0.entries.count < 2 }) else { return false }
        let announced = Set(self.trackFacts.values.filter { $0.epoch == self.epoch }.map(\.tag))
        return !announced.subtracting(self.tags).isEmpty
    }

    // MARK: Input

    /// Takes in what the packager gave out.
    package mutating func append(_ output: PackagingOutput) {
        switch output {
        case .started(let epoch):
            (self.isLive, self.isEnded, self.epoch) = (true, false, epoch)
        case .tracks(let tracks):
            self.take(tracks.facts)
        case .part(let part):
            self.partTargetMillis = part.facts.partTargetMillis
            self.lists[part.facts.tag, default: SegmentList()].append(part.facts)
        case .segment(let segment):
            self.take(segment.facts)
        case .timedData(let data):
            if self.timedData.count == Self.maximumTimedData { self.timedData.removeFirst() }
            self.timedData.append(data)
        case .ended(let isFinal):
            self.isLive = false
            self.isEnded = isFinal
            for tag in self.lists.keys { self.lists[tag]?.dropOpen() }
        case .problem:
            return
        }
        self.generation += 1
    }

    /// Takes in what a journal kept: before any `append`, the tracks of a run before its segments.
    package mutating func restore(_ tracks: TrackFacts) { self.take(tracks) }

    /// Takes in what a journal kept: the segments of each tag by rising sequence. They count as out of memory.
    package mutating func restore(_ segment: SegmentFacts) {
        self.take(segment)
        if let count = self.lists[segment.tag]?.entries.count {
            _ = self.lists[segment.tag]?.leaveMemory(before: count)
        }
        self.epoch = max(self.epoch, segment.epoch)
        self.generation += 1
    }

    private mutating func take(_ tracks: TrackFacts) {
        self.trackFacts[TrackKey(tag: tracks.tag, epoch: tracks.epoch, index: tracks.index)] = tracks
    }

    private mutating func take(_ facts: SegmentFacts) {
        self.fillHole(before: facts)
        self.lists[facts.tag, default: SegmentList()].append(facts)
        self.targetDurationSeconds = facts.targetDurationSeconds
        self.lists[facts.tag]?.dropParts(olderThan: 3_000_000 * Int64(facts.targetDurationSeconds))
        guard let tag = self.leadingTag, let list = self.lists[tag] else { return }
        let index = list.firstIndex(
            spanning: self.liveMicros, count: self.configuration.minimumWindowSegments)
        if index < list.entries.count {
            self.firstListed = max(self.firstListed, list.entries[index].facts.sequence)
        }
        while let oldest = self.timedData.first, oldest.startMillis < self.oldestMillis { self.timedData.removeFirst() }
    }

    /// What a crash kept from being written is a gap, so that the numbers before it still count.
    private mutating func fillHole(before facts: SegmentFacts) {
        guard let last = self.lists[facts.tag]?.last?.facts, facts.sequence > last.sequence + 1,
            facts.sequence - last.sequence <= 8
        else { return }
        for sequence in last.sequence + 1..<facts.sequence {
            guard let other = self.lists.first(where: { $0.key != facts.tag })?.value.segment(sequence),
                var gap = self.lists[facts.tag]?.last?.facts
            else { return }
            let timescale = Int64(gap.timescale)
            gap.decodeStart += gap.duration
            gap.presentationStart += gap.duration
            gap.duration = Ticks.convert(other.duration, from: Int64(other.timescale), to: timescale)
            gap.programDateTimeMillis = max(gap.programDateTimeMillis, other.programDateTimeMillis)
            // Discontinuities count the same for all tags.
            (gap.run, gap.isDiscontinuity) = (other.run, other.isDiscontinuity)
            (gap.sequence, gap.isGap) = (sequence, true)
            (gap.byteCount, gap.frameCount, gap.partCount) = (0, 0, 0)
            self.lists[facts.tag]?.append(gap)
        }
    }

    // MARK: What is listed

    /// The tag that decides what all list: the one that is furthest, and video of equals.
    var leadingTag: PackagingTag? {
        var result: (tag: PackagingTag, sequence: UInt64)?
        for tag in PackagingTag.allCases {
            guard let last = self.lists[tag]?.last?.facts.sequence, last > result?.sequence ?? 0 || result == nil else {
                continue
            }
            result = (tag, last)
        }
        return result?.tag
    }

    /// The length of live playlists: also what the specification asks for, three target durations.
    var liveMicros: Int64 {
        max(self.configuration.windowMillis, 3000 * Int64(self.targetDurationSeconds ?? 0)) * 1000
    }

    /// The length of the longest playlist that a viewer can ask for.
    private var longestMicros: Int64 { max(self.liveMicros, self.configuration.dvrWindowMillis * 1000) }

    /// The first sequence number that playlists of this depth list.
    func firstSequence(rewindSeconds: Int?) -> UInt64 {
        guard let seconds = rewindSeconds, seconds > 0, self.configuration.dvrWindowMillis > 0,
            let tag = self.leadingTag, let list = self.lists[tag]
        else { return self.firstListed }
        let micros = Int64(min(seconds, 604_800)) * 1_000_000
        let index = list.firstIndex(spanning: min(micros, self.configuration.dvrWindowMillis * 1000), count: 0)
        guard index < list.entries.count else { return self.firstListed }
        return min(self.firstListed, list.entries[index].facts.sequence)
    }

    /// The wall clock at the start of the oldest segment that any playlist lists.
    private var oldestMillis: Int64 {
        guard let tag = self.leadingTag, let list = self.lists[tag] else { return .min }
        let index = list.firstIndex(
            spanning: self.longestMicros, count: self.configuration.minimumWindowSegments)
        return index < list.entries.count ? list.entries[index].facts.programDateTimeMillis : .min
    }

    // MARK: Leaving

    /// Segments that no listed playlist needs any more, each once for leaving memory and later once for good.
    ///
    /// A segment stays for as long as the live window and two target durations after it was last listed, because players
    /// that have an older playlist still ask for it. Spec: RFC 8216 §6.2.2. Call it after each segment.
    package mutating func evict() -> [EvictedSegment] {
        var evicted: [EvictedSegment] = []
        let grace = self.liveMicros + 2_000_000 * Int64(self.targetDurationSeconds ?? 0)
        for tag in PackagingTag.allCases {
            guard var list = self.lists.removeValue(forKey: tag) else { continue }
            for facts in list.takeDropped() {
                evicted.append(EvictedSegment(facts, .leftMemory))
                evicted.append(EvictedSegment(facts, .expired))
            }
            let count = self.configuration.minimumWindowSegments + 1
            let kept = list.firstIndex(spanning: self.liveMicros + grace, count: count)
            for facts in list.leaveMemory(before: kept) { evicted.append(EvictedSegment(facts, .leftMemory)) }
            for _ in 0..<list.firstIndex(spanning: self.longestMicros + grace, count: count) {
                if let facts = list.removeFirst() { evicted.append(EvictedSegment(facts, .expired)) }
            }
            self.lists[tag] = list
        }
        if evicted.contains(where: { $0.reason == .expired }) { self.pruneTracks() }
        return evicted
    }

    /// Forgets all segments, of a stream that ended long ago. The position goes with them: take it before.
    package mutating func removeAll() -> [EvictedSegment] {
        var evicted: [EvictedSegment] = []
        for tag in PackagingTag.allCases {
            guard var list = self.lists.removeValue(forKey: tag) else { continue }
            for facts in list.takeDropped() + list.leaveMemory(before: list.entries.count) {
                evicted.append(EvictedSegment(facts, .leftMemory))
            }
            while let facts = list.removeFirst() { evicted.append(EvictedSegment(facts, .expired)) }
        }
        self.trackFacts.removeAll()
        self.timedData.removeAll()
        self.targetDurationSeconds = nil
        self.generation += 1
        return evicted
    }

    private mutating func pruneTracks() {
        var needed: Set<TrackKey> = []
        for (tag, list) in self.lists {
            for entry in list.entries {
                needed.insert(
                    TrackKey(tag: tag, epoch: entry.facts.epoch, index: entry.facts.run.initializationIndex))
            }
            // What was announced last may have no segment yet.
            let newest = self.trackFacts.keys.filter { $0.tag == tag }.max {
                ($0.epoch, $0.index) < ($1.epoch, $1.index)
            }
            if let newest { needed.insert(newest) }
        }
        self.trackFacts = self.trackFacts.filter { needed.contains($0.key) }
    }
}

/// A segment that may be dropped.
package struct EvictedSegment: Sendable, Hashable {
    package enum Reason: Sendable, Hashable {
        /// It left the live window: from disk it is still served.
        case leftMemory
        /// It left the longest playlist: its file may go.
        case expired
    }

    package var tag: PackagingTag
    package var epoch: UInt64
    package var sequence: UInt64
    package var reason: Reason

    init(_ facts: SegmentFacts, _ reason: Reason) {
        self.tag = facts.tag
        self.epoch = facts.epoch
        self.sequence = facts.sequence
        self.reason = reason
    }
}
