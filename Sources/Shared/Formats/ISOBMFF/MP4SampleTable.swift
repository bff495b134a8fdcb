/// Where the samples of one track are in a file, and when they are decoded; without their bytes.
///
/// Takes 12 bytes a sample and 24 bytes for each run of samples that follow each other in the file and in time. A sample
/// is found in constant time: runs are short.
package struct MP4SampleTable: Sendable, Hashable {
    package struct Sample: Sendable, Hashable {
        /// Of the first byte, in the file.
        package var offset: Int64
        package var byteCount: Int
        /// Decoding time in ticks of the track's timescale, before any edit list.
        package var decodeTime: Int64
        package var duration: UInt32
        /// Presentation time less decoding time.
        package var compositionOffset: Int32
        package var isSync: Bool

        package init(
            offset: Int64, byteCount: Int, decodeTime: Int64, duration: UInt32, compositionOffset: Int32, isSync: Bool
        ) {
            self.offset = offset
            self.byteCount = byteCount
            self.decodeTime = decodeTime
            self.duration = duration
            self.compositionOffset = compositionOffset
            self.isSync = isSync
        }

        /// Presentation time in ticks, before any edit list.
        package var presentationTime: Int64 { self.decodeTime + Int64(self.compositionOffset) }
    }

    /// What is kept of a sample by itself.
    private struct Entry: Hashable {
        /// The lower 31 bits; the highest one is set in a sync sample.
        var sizeAndSync: UInt32
        var duration: UInt32
        var compositionOffset: Int32

        var byteCount: Int { Int(self.sizeAndSync & 0x7FFF_FFFF) }
        var isSync: Bool { self.sizeAndSync >> 31 != 0 }
    }

    private struct Run: Hashable {
        var firstSample: Int
        var offset: Int64
        var decodeTime: Int64
    }

    /// The most samples of a run, which is how many are passed over to find one.
    private static let maximumRunLength = 64

    private var entries: [Entry] = []
    private var runs: [Run] = []
    /// Where a sample that continues the last run would be.
    private var nextOffset: Int64 = 0
    /// The end of the last sample, in ticks; 0 without samples.
    package private(set) var endTime: Int64 = 0

    package init() {}

    /// Adds a sample. Its size is below 2³¹.
    package mutating func append(_ sample: Sample) {
        precondition((0...0x7FFF_FFFF).contains(sample.byteCount), "a sample of \(sample.byteCount) bytes")
        let continues =
            sample.offset == self.nextOffset && sample.decodeTime == self.endTime
            && self.entries.count - (self.runs.last?.firstSample ?? -Self.maximumRunLength) < Self.maximumRunLength
        if !continues {
            self.runs.append(
                Run(firstSample: self.entries.count, offset: sample.offset, decodeTime: sample.decodeTime))
        }
        self.entries.append(
            Entry(
                sizeAndSync: UInt32(sample.byteCount) | (sample.isSync ? 1 << 31 : 0), duration: sample.duration,
                compositionOffset: sample.compositionOffset))
        self.nextOffset = sample.offset + Int64(sample.byteCount)
        self.endTime = sample.decodeTime + Int64(sample.duration)
    }

    mutating func reserveCapacity(_ count: Int) { self.entries.reserveCapacity(count) }

    /// Takes back all samples from `count` on.
    mutating func removeSamples(from count: Int) {
        guard count < self.entries.count else { return }
        self.entries.removeSubrange(count...)
        while let last = self.runs.last, last.firstSample >= count { self.runs.removeLast() }
        guard count > 0 else {
            (self.nextOffset, self.endTime) = (0, 0)
            return
        }
        let last = self[count - 1]
        self.nextOffset = last.offset + Int64(last.byteCount)
        self.endTime = last.decodeTime + Int64(last.duration)
    }

    /// Whether decoding can start at sample `index`. Cheaper than the sample itself.
    package func isSync(at index: Int) -> Bool { self.entries[index].isSync }

    // MARK: Searching. Decoding times that go backwards give some sample, but never a wrong index.

    /// The last sample with a decoding time at or before `time`; `nil` if the first one is later.
    package func lastIndex(decodedAtOrBefore time: Int64) -> Int? {
        let after = self.firstIndex(decodedAfter: time)
        return after > 0 ? after - 1 : nil
    }

    /// The first sample with a decoding time at or after `time`; `count` if there is none.
    package func firstIndex(decodedAtOrAfter time: Int64) -> Int {
        time == .min ? 0 : self.firstIndex(decodedAfter: time - 1)
    }

    /// The last sync sample at or before sample `index`.
    package func syncIndex(atOrBefore index: Int) -> Int? {
        var index = Swift.min(index, self.count - 1)
        while index >= 0 {
            if self.entries[index].isSync { return index }
            index -= 1
        }
        return nil
    }

    /// The first sync sample at or after sample `index`.
    package func syncIndex(atOrAfter index: Int) -> Int? {
        self.entries.indices.dropFirst(Swift.max(0, index)).first { self.entries[$0].isSync }
    }

    private func firstIndex(decodedAfter time: Int64) -> Int {
        var low = 0
        var high = self.runs.count
        while low < high {
            let middle = (low + high) / 2
            if self.runs[middle].decodeTime > time { high = middle } else { low = middle + 1 }
        }
        guard low > 0 else { return 0 }
        let end = low < self.runs.count ? self.runs[low].firstSample : self.entries.count
        var index = self.runs[low - 1].firstSample
        var decodeTime = self.runs[low - 1].decodeTime
        while index < end, decodeTime <= time {
            decodeTime += Int64(self.entries[index].duration)
            index += 1
        }
        return index
    }
}

extension MP4SampleTable: RandomAccessCollection {
    package var startIndex: Int { 0 }
    package var endIndex: Int { self.entries.count }

    package subscript(index: Int) -> Sample {
        precondition(self.entries.indices.contains(index), "no sample \(index) among \(self.entries.count)")
        var low = 0
        var high = self.runs.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.runs[middle].firstSample <= index { low = middle } else { high = middle }
        }
        var offset = self.runs[low].offset
        var decodeTime = self.runs[low].decodeTime
        for passed in self.runs[low].firstSample..<index {
            offset += Int64(self.entries[passed].byteCount)
            decodeTime += Int64(self.entries[passed].duration)
        }
        return self.sample(index, offset: offset, decodeTime: decodeTime)
    }

    private func sample(_ index: Int, offset: Int64, decodeTime: Int64) -> Sample {
        let entry = self.entries[index]
        return Sample(
            offset: offset, byteCount: entry.byteCount, decodeTime: decodeTime, duration: entry.duration,
            compositionOffset: entry.compositionOffset, isSync: entry.isSync)
    }

    /// Calls `body` with the samples of `range`, in order; faster than asking for each.
    package func forEach<Failure: Error>(
        in range: Range<Int>, _ body: (Sample) throws(Failure) -> Void
    ) throws(Failure) {
        guard !range.isEmpty else { return }
        var sample = self[range.lowerBound]
        var run = self.runs.partitioningIndex { $0.firstSample > range.lowerBound }
        try body(sample)
        for index in range.dropFirst() {
            if run < self.runs.count, self.runs[run].firstSample == index {
                sample = self.sample(index, offset: self.runs[run].offset, decodeTime: self.runs[run].decodeTime)
                run += 1
            } else {
                sample = self.sample(
                    index, offset: sample.offset + Int64(sample.byteCount),
                    decodeTime: sample.decodeTime + Int64(sample.duration))
            }
            try body(sample)
        }
    }
}

extension Array {
    /// The first index whose element fulfils `predicate`, which all later ones do; `count` if none does.
    fileprivate func partitioningIndex(where predicate: (Element) -> Bool) -> Int {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if predicate(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
