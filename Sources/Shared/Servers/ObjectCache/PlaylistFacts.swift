import NIOCore

/// What a cache has to know of a media playlist: how far it reaches, and how soon it changes.
///
/// Spec: RFC 8216 §4.3; draft-pantos-hls-rfc8216bis §4.4.
struct PlaylistFacts: Equatable {
    /// `EXT-X-MEDIA-SEQUENCE`.
    var mediaSequence: UInt64 = 0
    /// Complete segments, with those that a delta update skips.
    var segmentCount: UInt64 = 0
    /// The parts behind the last complete segment.
    var openParts = 0
    /// `EXT-X-TARGETDURATION` in seconds.
    var targetSeconds = 0
    /// `PART-TARGET` in seconds.
    var partTargetSeconds: Double?
    /// `EXT-X-ENDLIST`.
    var isEnded = false

    /// The number of the segment that is being written.
    var end: UInt64 {
        let (end, overflows) = self.mediaSequence.addingReportingOverflow(self.segmentCount)
        return overflows ? .max : end
    }

    var position: Position { Position(mediaSequence: self.mediaSequence, end: self.end) }

    /// How far a playlist reaches.
    struct Position: Equatable {
        var mediaSequence: UInt64
        var end: UInt64

        /// Whether a player that has seen `other` would see time go back.
        func isBehind(_ other: Position) -> Bool { self.mediaSequence < other.mediaSequence || self.end < other.end }
    }

    /// Whether the media that a blocking request waits for is listed. Spec: RFC 8216bis §6.2.5.2.
    func contains(sequence: UInt64, part: Int?) -> Bool {
        if self.isEnded || sequence < self.end { return true }
        guard let part, sequence == self.end else { return false }
        return part < self.openParts
    }

    /// Whether this lists less than `other`.
    func isOlder(than other: PlaylistFacts) -> Bool {
        self.position.isBehind(other.position) || (self.end == other.end && self.openParts < other.openParts)
    }

    /// How long such a playlist may be kept: half a target duration, a part target if it has parts. Seconds.
    var lifetimeSeconds: Double {
        self.partTargetSeconds ?? Double(max(self.targetSeconds, 1)) / 2
    }

    init() {}

    /// Reads the playlist's tags; `nil` if it is no media playlist, or one of its numbers is none.
    init?(_ bytes: ByteBuffer) {
        var rest = bytes.readableBytesView
        guard let first = Self.nextLine(&rest), first.elementsEqual("#EXTM3U".utf8) else { return nil }
        var hasTarget = false
        while let line = Self.nextLine(&rest) {
            guard line.first == UInt8(ascii: "#"), line.count > 7 else { continue }
            if line.starts(with: "#EXTINF:".utf8) {
                self.segmentCount &+= 1
                self.openParts = 0
            } else if line.starts(with: "#EXT-X-PART:".utf8) {
                self.openParts += 1
            } else if line.elementsEqual("#EXT-X-ENDLIST".utf8) {
                self.isEnded = true
            } else if let value = Self.value(of: line, "#EXT-X-TARGETDURATION:") {
                guard let seconds = Self.integer(value), (1...86_400).contains(seconds) else { return nil }
                self.targetSeconds = Int(seconds)
                hasTarget = true
            } else if let value = Self.value(of: line, "#EXT-X-MEDIA-SEQUENCE:") {
                guard let number = Self.integer(value) else { return nil }
                self.mediaSequence = number
            } else if let value = Self.value(of: line, "#EXT-X-SKIP:") {
                guard let number = Self.attribute("SKIPPED-SEGMENTS", in: value).flatMap(Self.integer) else {
                    return nil
                }
                self.segmentCount &+= number
            } else if let value = Self.value(of: line, "#EXT-X-PART-INF:") {
                guard let seconds = Self.attribute("PART-TARGET", in: value).flatMap(Self.seconds) else { return nil }
                self.partTargetSeconds = seconds
            }
        }
        guard hasTarget else { return nil }
    }

    /// Takes a line from the front, without its end.
    private static func nextLine(_ rest: inout ByteBufferView) -> ByteBufferView? {
        guard !rest.isEmpty else { return nil }
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
        var line = rest[rest.startIndex..<end]
        rest = end == rest.endIndex ? rest[end..<end] : rest[(end + 1)...]
        if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
        return line
    }

    private static func value(of line: ByteBufferView, _ tag: String) -> ByteBufferView? {
        line.starts(with: tag.utf8) ? line.dropFirst(tag.utf8.count) : nil
    }

    /// A value of an attribute list that has no quoted strings before it.
    private static func attribute(_ name: String, in list: ByteBufferView) -> ByteBufferView? {
        list.split(separator: UInt8(ascii: ",")).first {
            $0.starts(with: name.utf8) && $0.dropFirst(name.utf8.count).first == UInt8(ascii: "=")
        }?.dropFirst(name.utf8.count + 1)
    }

    private static func integer(_ digits: ByteBufferView) -> UInt64? { UInt64(String(decoding: digits, as: UTF8.self)) }

    private static func seconds(_ digits: ByteBufferView) -> Double? {
        guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: ".") }),
            let seconds = Double(String(decoding: digits, as: UTF8.self)), seconds > 0, seconds <= 3_600
        else { return nil }
        return seconds
    }
}
