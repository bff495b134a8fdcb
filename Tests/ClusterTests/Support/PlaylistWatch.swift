import Foundation

/// Follows a media playlist as a player does, with the `m3u8` parser of PyPI, and tells what it saw.
enum PlaylistWatch {
    /// One look at the playlist.
    struct Look: Decodable, Sendable {
        /// Seconds since the watch began.
        let at: Double
        let status: Int
        let mediaSequence: Int
        let discontinuitySequence: Int
        let segments: Int
        let discontinuities: Int
        let targetDuration: Double
        /// Wall clock of the first listed segment and of the end of the last, in seconds since 1970.
        let firstDate: Double
        let lastDate: Double
        let parts: Int
        /// The names of all segments.
        let uris: [String]
        let durations: [Double]
        let problem: String?
    }

    /// Begins to look at `url` every `interval`, for `seconds`, whatever comes.
    static func start(
        _ sandbox: Sandbox, _ url: String, seconds: Double, every interval: Double = 0.2, name: String = "watch"
    ) throws -> Watch {
        let script = try sandbox.write("\(name).py", self.script)
        let output = sandbox.file("\(name).json")
        let child = try sandbox.start(
            name, try Tools.python, [script.path, url, "\(seconds)", "\(interval)"], output: output)
        return Watch(child: child, output: output)
    }

    struct Watch: Sendable {
        let child: Child
        let output: URL

        /// What was seen, once the watch is over.
        func looks(within limit: Duration = .seconds(60)) async throws -> [Look] {
            try await self.child.wait(within: limit)
            return try JSONDecoder().decode([Look].self, from: Data(contentsOf: self.output))
        }
    }

    /// Says what went backwards; `nil` if nothing did.
    static func regression(_ looks: [Look]) -> String? {
        let seen = looks.filter { $0.status == 200 && $0.problem == nil }
        for (before, after) in zip(seen, seen.dropFirst()) {
            let where_ = "between \(before.at) s and \(after.at) s"
            if after.mediaSequence < before.mediaSequence {
                return "media sequence \(before.mediaSequence) → \(after.mediaSequence) \(where_)"
            }
            if after.discontinuitySequence < before.discontinuitySequence {
                return
                    "discontinuity sequence \(before.discontinuitySequence) → \(after.discontinuitySequence) \(where_)"
            }
            if after.lastDate < before.lastDate - 0.002 {
                return "program date \(before.lastDate) → \(after.lastDate) \(where_)"
            }
            // A number names the same segment for ever.
            for (index, uri) in after.uris.enumerated() {
                let old = after.mediaSequence + index - before.mediaSequence
                if before.uris.indices.contains(old), before.uris[old] != uri {
                    return "segment \(after.mediaSequence + index) was \(before.uris[old]) and is \(uri)"
                }
            }
        }
        return seen.isEmpty ? "no playlist was seen" : nil
    }

    private static let script = #"""
        import datetime, json, sys, time, urllib.request, urllib.error
        import m3u8

        url, seconds, interval = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
        looks, start = [], time.monotonic()
        while time.monotonic() - start < seconds:
            look = dict(at=round(time.monotonic() - start, 3), status=0, mediaSequence=0, discontinuitySequence=0,
                        segments=0, discontinuities=0, targetDuration=0, firstDate=0, lastDate=0, parts=0, uris=[],
                        durations=[], problem=None)
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    look["status"] = answer.status
                    text = answer.read().decode()
                playlist = m3u8.loads(text)
                found = [s for s in playlist.segments if s.uri]
                look.update(mediaSequence=playlist.media_sequence, targetDuration=playlist.target_duration,
                            discontinuitySequence=playlist.discontinuity_sequence or 0, segments=len(found),
                            discontinuities=sum(1 for s in found if s.discontinuity),
                            parts=text.count("#EXT-X-PART:"), uris=[s.uri for s in found],
                            durations=[s.duration for s in found])
                # Read here, because the parser guesses the date of a segment behind one whose parts are listed.
                date, dates = None, []
                for line in text.splitlines():
                    if line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
                        date = datetime.datetime.fromisoformat(line.split(":", 1)[1].replace("Z", "+00:00")).timestamp()
                    elif line and not line.startswith("#"):
                        dates.append(date)
                if dates:
                    look.update(firstDate=dates[0], lastDate=dates[-1] + found[-1].duration)
            except urllib.error.HTTPError as error:
                look["status"] = error.code
            except Exception as error:
                look["problem"] = f"{type(error).__name__}: {error}"
            looks.append(look)
            time.sleep(interval)
        print(json.dumps(looks))
        """#
}
