package import NIOCore

/// The payloads of one frame's packets: one buffer, and where each payload lies in it.
package struct RTPPayloads: Sendable, Hashable {
    /// All payloads, one behind the other; the reader index is 0.
    package var buffer: ByteBuffer
    /// Offsets in `buffer`, in the order in which they are sent. Empty when the frame holds nothing to send.
    package var ranges: [Range<Int>]
    /// The first payload holds parameter sets.
    package var beginsWithParameterSets: Bool
    /// The last packet has the marker bit. `false` for Opus and G.711, where it would mean the end of a silence.
    package var hasMarkerOnLast: Bool
    /// Ticks by which each payload's timestamp is later than the one before: 0 but for audio that was cut up.
    package var timestampStep: UInt32

    init() {
        self.buffer = ByteBuffer()
        self.ranges = []
        self.beginsWithParameterSets = false
        self.hasMarkerOnLast = true
        self.timestampStep = 0
    }

    /// A slice without a copy.
    package func payload(at index: Int) -> ByteBuffer {
        let range = self.ranges[index]
        // Ranges lie in the buffer; that is how they were made.
        return self.buffer.getSlice(at: range.lowerBound, length: range.count) ?? ByteBuffer()
    }

    /// Whether packet `index` has the marker bit.
    package func hasMarker(at index: Int) -> Bool { self.hasMarkerOnLast && index == self.ranges.count - 1 }

    /// Index ranges of payloads that one segmented send takes: all of one size, but the last that may be shorter.
    package var equalSizedRuns: [Range<Int>] {
        var runs: [Range<Int>] = []
        var start = 0
        for index in self.ranges.indices {
            let isLast = index + 1 == self.ranges.count
            if isLast || self.ranges[index].count < self.ranges[start].count
                || self.ranges[index + 1].count > self.ranges[index].count
            {
                runs.append(start..<index + 1)
                start = index + 1
            }
        }
        return runs
    }
}
