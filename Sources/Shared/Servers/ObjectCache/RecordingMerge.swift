import NIOCore

/// Joins VOD playlists of one range that several nodes recorded.
///
/// Each is cut into runs at its discontinuities; a run begins with the program date time and the initialization segment of
/// a file, so runs can stand in any playlist. They are put in the order of their times, with a discontinuity between.
/// Spec: RFC 8216 §4.3.3, §4.3.2.3.
struct RecordingMerge {
    private struct Run {
        /// Milliseconds since 1970 of the first frame.
        var start: Int64
        var lines: [String]
    }

    private var runs: [Run] = []
    private var version = 1
    private var targetSeconds = 1
    private var isIndependent = true

    /// Takes a playlist. Returns whether it is one that can be joined: complete, with a time in each run.
    mutating func add(_ bytes: ByteBuffer) -> Bool {
        let lines = String(buffer: bytes).split(whereSeparator: \.isNewline).map(String.init)
        guard lines.first == "#EXTM3U", lines.contains("#EXT-X-ENDLIST") else { return false }
        var found: [Run] = []
        var run: [String] = []
        var map: String?
        var version = 1
        var target: Int?
        var isIndependent = false
        for line in lines.dropFirst() where !Self.isHeader(line) {
            if line.hasPrefix("#EXT-X-VERSION:") {
                version = Int(line.dropFirst(15)) ?? 1
            } else if line.hasPrefix("#EXT-X-TARGETDURATION:") {
                target = Int(line.dropFirst(22))
            } else if line == "#EXT-X-INDEPENDENT-SEGMENTS" {
                isIndependent = true
            } else if line == "#EXT-X-DISCONTINUITY" {
                guard Self.finish(&run, map: &map, into: &found) else { return false }
            } else {
                run.append(line)
            }
        }
        guard Self.finish(&run, map: &map, into: &found), let target, target > 0 else { return false }
        self.runs += found
        self.version = max(self.version, version)
        self.targetSeconds = max(self.targetSeconds, target)
        self.isIndependent = self.isIndependent && isIndependent
        return true
    }

    /// Lines that belong to the playlist and not to a place in it.
    private static func isHeader(_ line: String) -> Bool {
        line == "#EXT-X-ENDLIST"
            || [
                "#EXT-X-MEDIA-SEQUENCE:", "#EXT-X-DISCONTINUITY-SEQUENCE:", "#EXT-X-PLAYLIST-TYPE:", "#EXT-X-START:",
                "#EXT-X-SERVER-CONTROL:",
            ].contains { line.hasPrefix($0) }
    }

    /// Closes a run. `map` is the initialization segment in force before it, then behind it.
    private static func finish(_ run: inout [String], map: inout String?, into runs: inout [Run]) -> Bool {
        guard let first = run.firstIndex(where: { $0.hasPrefix("#EXTINF:") }) else { return run.isEmpty }
        let timeTag = "#EXT-X-PROGRAM-DATE-TIME:"
        let mapTag = "#EXT-X-MAP:"
        guard let time = run.first(where: { $0.hasPrefix(timeTag) }),
            let start = UTCTime.milliseconds(time.dropFirst(timeTag.count))
        else { return false }
        let last = run.last { $0.hasPrefix(mapTag) } ?? map
        if let map, !run[..<first].contains(where: { $0.hasPrefix(mapTag) }) { run.insert(map, at: 0) }
        map = last
        runs.append(Run(start: start, lines: run))
        run = []
        return true
    }

    /// The joined playlist; `nil` if nothing was added.
    func finished() -> ByteBuffer? {
        guard !self.runs.isEmpty else { return nil }
        var text = "#EXTM3U\n#EXT-X-VERSION:\(self.version)\n#EXT-X-TARGETDURATION:\(self.targetSeconds)\n"
        text += "#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
        if self.isIndependent { text += "#EXT-X-INDEPENDENT-SEGMENTS\n" }
        let ordered = self.runs.enumerated().sorted { ($0.element.start, $0.offset) < ($1.element.start, $1.offset) }
        for (index, run) in ordered.enumerated() {
            if index > 0 { text += "#EXT-X-DISCONTINUITY\n" }
            for line in run.element.lines { text += line + "\n" }
        }
        return ByteBuffer(string: text + "#EXT-X-ENDLIST\n")
    }
}

/// Times of playlists.
enum UTCTime {
    /// Reads `2026-11-22T10:20:30.400Z`, the form that this project's nodes write. Milliseconds since 1970.
    static func milliseconds(_ text: some StringProtocol) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count >= 20, bytes.last == UInt8(ascii: "Z") else { return nil }
        for (offset, byte) in [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")] as [(Int, Unicode.Scalar)]
        where bytes[offset] != UInt8(ascii: byte) { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - UInt8(ascii: "0"))
            }
            return value
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            year >= 1970, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
        else { return nil }
        var milliseconds: Int64 = 0
        if bytes.count > 20 {
            let digits = bytes.count - 21
            guard bytes[19] == UInt8(ascii: "."), (1...9).contains(digits), let fraction = number(20..<20 + digits)
            else {
                return nil
            }
            var scaled = fraction
            for _ in 0..<max(0, digits - 3) { scaled /= 10 }
            for _ in 0..<max(0, 3 - digits) { scaled *= 10 }
            milliseconds = scaled
        }
        return (Self.days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000 + milliseconds
    }

    /// Days since 1970-01-01 in the Gregorian calendar; years begin with March so that the leap day is the last.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}
