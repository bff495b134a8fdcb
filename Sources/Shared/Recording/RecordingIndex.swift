package import Media
package import NIOCore

/// Where the keyframe intervals of a file lie.
///
/// Interval `n` is the bytes from `positions[n]` to the next position, or to `endPosition`, and the time likewise: in
/// all formats an interval is whole fragments, tags or packets. The first one begins with the file's first frame, each
/// further one with a video keyframe; of an audio-only file one begins every two seconds. Times are the file's own,
/// from 0.
package struct RecordingIndex: Sendable, Hashable {
    /// How long the intervals of a file without video are.
    package static let audioInterval = MediaTime(millis: 2_000)
    private static let version: UInt8 = 1
    private static let maximumCount = 10_000_000

    package private(set) var times: [MediaTime]
    package private(set) var positions: [Int64]
    /// The end of the last frame.
    package var endTime: MediaTime
    /// The end of the last interval in the file.
    package var endPosition: Int64
    /// The file goes on behind `endTime`: it still grows, and what is there is not whole. Not stored.
    package var isPartial = false

    package init() {
        self.times = []
        self.positions = []
        self.endTime = .zero
        self.endPosition = 0
    }

    package var count: Int { self.times.count }

    /// Begins an interval. Both must not be before the last one's.
    package mutating func append(time: MediaTime, position: Int64) {
        self.times.append(max(time, self.times.last ?? time))
        self.positions.append(max(position, self.positions.last ?? position))
        self.endTime = max(self.endTime, time)
        self.endPosition = max(self.endPosition, position)
    }

    /// When interval `n` begins; the end of the file for `count`.
    package func time(of n: Int) -> MediaTime { n < self.count ? self.times[n] : self.endTime }

    package func position(of n: Int) -> Int64 { n < self.count ? self.positions[n] : self.endPosition }

    /// The bytes of intervals, which must be in the file.
    package func bytes(of intervals: Range<Int>) -> Range<Int64> {
        let start = self.position(of: intervals.lowerBound)
        return start..<max(start, self.position(of: intervals.upperBound))
    }

    /// The intervals from the one that holds `from` to the one that holds the last moment before `to`: cut at the
    /// keyframe at or before `from`. Empty outside the file.
    package func intervals(from: MediaTime, to: MediaTime) -> Range<Int> {
        guard from < self.endTime, to > self.time(of: 0), to > from, self.count > 0 else { return 0..<0 }
        let first = max(0, self.firstIndex(after: from) - 1)
        // The first one that begins at or after `to` is behind the range.
        let end = self.firstIndex(after: MediaTime(ticks: to.ticks - 1))
        return first..<max(first, end)
    }

    private func firstIndex(after time: MediaTime) -> Int {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if self.times[middle] > time { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Groups of whole intervals, each at least `duration` long, but for the last. The grouping depends on where the
    /// range begins only through the intervals' own times, so that ranges of one file share most of their segments.
    package func groups(of intervals: Range<Int>, duration: MediaTime) -> [Range<Int>] {
        var groups: [Range<Int>] = []
        var start = intervals.lowerBound
        for index in intervals {
            let slot = self.times[index].ticks / duration.ticks
            let next = index + 1
            guard next >= intervals.upperBound || self.times[next].ticks / duration.ticks != slot else { continue }
            groups.append(start..<next)
            start = next
        }
        return groups
    }

    /// The index of the same intervals at other places, such as after finishing. `positions` has one for each.
    package func moved(to positions: [Int64], endPosition: Int64) -> RecordingIndex {
        precondition(positions.count == self.count, "\(positions.count) positions for \(self.count) intervals")
        var moved = self
        moved.positions = positions
        moved.endPosition = endPosition
        return moved
    }

    // MARK: Storing

    /// The index as bytes: differences as variable-length numbers, some 5 bytes an interval.
    package func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(16 + self.count * 6)
        buffer.writeInteger(Self.version)
        buffer.writeVariable(UInt64(self.count))
        var (time, position) = (Int64(0), Int64(0))
        for index in 0..<self.count {
            buffer.writeVariable(UInt64(clamping: self.times[index].ticks - time))
            buffer.writeVariable(UInt64(clamping: self.positions[index] - position))
            (time, position) = (self.times[index].ticks, self.positions[index])
        }
        buffer.writeVariable(UInt64(clamping: self.endTime.ticks - time))
        buffer.writeVariable(UInt64(clamping: self.endPosition - position))
        return buffer
    }

    /// Reads what `encoded` wrote. Errors: `badIndex`.
    package init(decoding bytes: ByteBuffer) throws(RecordingError) {
        let bad = RecordingError.badIndex(count: bytes.readableBytes)
        var reader = bytes
        guard reader.readInteger(as: UInt8.self) == Self.version, let count = reader.readVariable(),
            count <= UInt64(min(Self.maximumCount, reader.readableBytes / 2))
        else { throw bad }
        self.init()
        self.times.reserveCapacity(Int(count))
        self.positions.reserveCapacity(Int(count))
        var (time, position) = (Int64(0), Int64(0))
        for step in 0...count {
            guard let later = reader.readVariable(), let further = reader.readVariable(), later < 1 << 56,
                further < 1 << 56, time < 1 << 60, position < 1 << 60
            else { throw bad }
            time += Int64(later)
            position += Int64(further)
            if step < count {
                self.append(time: MediaTime(ticks: time), position: position)
            } else {
                (self.endTime, self.endPosition) = (MediaTime(ticks: time), position)
            }
        }
        guard reader.readableBytes == 0 else { throw bad }
    }
}

extension ByteBuffer {
    /// Seven bits a byte, the lowest first.
    fileprivate mutating func writeVariable(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            self.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        self.writeInteger(UInt8(rest))
    }

    fileprivate mutating func readVariable() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 63, by: 7) {
            guard let byte = self.readInteger(as: UInt8.self) else { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }
}
