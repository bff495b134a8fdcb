import Foundation

/// Follows a low-latency playlist by blocking reloads, and notes when its parts come.
enum PartWatch {
    struct Report: Decodable, Sendable {
        /// Parts that were announced while it watched.
        let parts: Int
        let medianMillis: Int
        /// The longest time without a new one.
        let longestMillis: Int
    }

    static func run(_ sandbox: Sandbox, _ url: String, seconds: Int) async throws -> Report {
        let script = try sandbox.write("parts.py", self.script)
        let text = try await sandbox.run(
            try Tools.python, [script.path, url, "\(seconds)"], within: .seconds(seconds + 20))
        return try JSONDecoder().decode(Report.self, from: Data(text.utf8))
    }

    private static let script = #"""
        import http.client, json, re, sys, time
        from urllib.parse import urlsplit

        url, seconds = urlsplit(sys.argv[1]), float(sys.argv[2])
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)


        def load(query):
            connection.request("GET", url.path + query)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                sys.exit(f"{answer.status}: {text[:200]}")
            sequence, part = int(re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text).group(1)), 0
            for line in text.splitlines():
                if line.startswith("#EXT-X-PART:"):
                    part += 1
                elif line and not line.startswith("#"):
                    sequence, part = sequence + 1, 0
            return sequence, part


        place, times, end = load(""), [], time.monotonic() + seconds
        while time.monotonic() < end:
            found = load(f"?_HLS_msn={place[0]}&_HLS_part={place[1]}")
            if found <= place:
                sys.exit(f"asked for {place}, got what ends before {found}")
            place = found
            times.append(time.monotonic())
        gaps = sorted(round(1000 * (b - a)) for a, b in zip(times, times[1:]))
        print(json.dumps({"parts": len(times), "medianMillis": gaps[len(gaps) // 2], "longestMillis": gaps[-1]}))
        """#
}
