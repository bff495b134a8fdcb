import Foundation

/// Makes, publishes, records and compares media with ffmpeg.
enum Media {
    static let quiet = ["-hide_banner", "-nostdin", "-loglevel", "warning"]

    /// Makes an FLV file of a moving picture with B-frames, and AAC. Keyframes are two seconds apart: 50 frames.
    static func makeSource(
        _ sandbox: Sandbox, seconds: Int, name: String = "source.flv", size: String = "320x180", frequency: Int = 440,
        group: Int = 50
    ) async throws -> URL {
        let file = sandbox.file(name)
        _ = try await sandbox.run(
            try Tools.ffmpeg,
            self.quiet + [
                "-f", "lavfi", "-i", "testsrc2=size=\(size):rate=25",
                "-f", "lavfi", "-i", "sine=frequency=\(frequency):sample_rate=44100", "-t", "\(seconds)",
                "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-b_strategy", "0", "-pix_fmt", "yuv420p",
                "-g", "\(group)", "-keyint_min", "\(group)", "-sc_threshold", "0", "-b:v", "400k", "-c:a", "aac",
                "-b:a", "64k",
                "-ac", "2", "-f", "flv", file.path,
            ], within: .seconds(120))
        return file
    }

    /// Publishes a file in real time.
    static func publish(
        _ sandbox: Sandbox, _ file: URL, to url: String, loops: Bool = false, name: String = "publisher",
        ffmpeg: String? = nil, options: [String] = []
    ) throws -> Child {
        try sandbox.start(
            name, try ffmpeg ?? Tools.ffmpeg,
            self.quiet + ["-re"] + (loops ? ["-stream_loop", "-1"] : []) + ["-i", file.path, "-c", "copy"] + options
                + ["-f", "flv", url])
    }

    /// Records packets, with the timestamps that the server sent.
    static func record(
        _ sandbox: Sandbox, _ url: String, to name: String, ffmpeg: String? = nil, options: [String] = []
    ) throws -> Recording {
        let file = sandbox.file(name)
        let child = try sandbox.start(
            "record-\(name)", try ffmpeg ?? Tools.ffmpeg,
            self.quiet + ["-copyts", "-i", url, "-map", "0", "-c", "copy"] + options
                + ["-flush_packets", "1", "-y", "-f", "flv", file.path])
        return Recording(child: child, file: file)
    }

    /// Downloads HTTP-FLV as it is.
    static func download(_ sandbox: Sandbox, _ url: String, to name: String, options: [String] = []) throws -> Recording
    {
        let file = sandbox.file(name)
        let child = try sandbox.start(
            "download-\(name)", try Tools.command("curl"), ["-sS", "-N", "-f", "-o", file.path] + options + [url])
        return Recording(child: child, file: file)
    }

    // MARK: Comparing

    /// One packet or decoded frame.
    struct Unit: Hashable {
        /// 0 for video, 1 for audio.
        let stream: Int
        /// In milliseconds.
        let dts: Int
        let pts: Int
        let hash: String
    }

    /// The packets of a file as they lie in it, in FLV's milliseconds.
    static func packets(
        _ sandbox: Sandbox, _ file: URL, ffmpeg: String? = nil, map: [String] = ["0:v", "0:a"], options: [String] = []
    ) async throws -> [Unit] {
        try await self.hashes(
            sandbox, file, ffmpeg: ffmpeg, map.flatMap { ["-map", $0] } + ["-c", "copy"] + options)
    }

    /// The decoded pictures of a file.
    static func pictures(_ sandbox: Sandbox, _ file: URL, ffmpeg: String? = nil) async throws -> [Unit] {
        try await self.hashes(
            sandbox, file, ffmpeg: ffmpeg,
            ["-map", "0:v", "-c:v", "rawvideo", "-fps_mode", "passthrough", "-enc_time_base", "1:1000"])
    }

    /// The decoded samples of a file, as one hash.
    static func soundHash(_ sandbox: Sandbox, _ file: URL, ffmpeg: String? = nil) async throws -> String {
        try await sandbox.run(
            try ffmpeg ?? Tools.ffmpeg,
            self.quiet + ["-copyts", "-i", file.path, "-map", "0:a", "-c:a", "pcm_s16le", "-f", "hash", "-"])
    }

    private static func hashes(
        _ sandbox: Sandbox, _ file: URL, ffmpeg: String?, _ options: [String]
    ) async throws -> [Unit] {
        let text = try await sandbox.run(
            try ffmpeg ?? Tools.ffmpeg,
            self.quiet + ["-copyts", "-i", file.path] + options + ["-f", "framehash", "-hash", "md5", "-"],
            within: .seconds(60))
        return try self.parse(text)
    }

    private static func parse(_ text: String) throws -> [Unit] {
        var timeBases: [Int: (Int, Int)] = [:]
        var units: [Unit] = []
        for line in text.split(separator: "\n") {
            if line.hasPrefix("#tb ") {
                let parts = line.dropFirst(4).split(whereSeparator: { ":/ ".contains($0) }).compactMap { Int($0) }
                if parts.count == 3 { timeBases[parts[0]] = (parts[1], parts[2]) }
            }
            guard !line.hasPrefix("#") else { continue }
            let fields = line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            guard fields.count >= 6, let stream = Int(fields[0]), let dts = Int(fields[1]), let pts = Int(fields[2]),
                let base = timeBases[stream]
            else { throw Failure("framehash line is not understood: \(line)") }
            let scale = { (time: Int) in Int((Double(time) * 1_000 * Double(base.0) / Double(base.1)).rounded()) }
            units.append(Unit(stream: stream, dts: scale(dts), pts: scale(pts), hash: fields[5]))
        }
        return units
    }

    /// Says how `found` differs from `wanted`; `nil` when it is the same, every unit once and in order, with times that
    /// are one shift away from the source's, within a millisecond.
    ///
    /// - Parameter isPart: `found` may begin later and end earlier than `wanted`.
    static func difference(
        _ found: [Unit], _ wanted: [Unit], streams: [Int], shift: Int? = nil, isPart: Bool = false
    ) -> String? {
        var shift = shift
        for stream in streams {
            // What was cut off ends anywhere in a unit.
            let found = isPart ? found.filter { $0.stream == stream }.dropLast() : found.filter { $0.stream == stream }
            var wanted = wanted.filter { $0.stream == stream }
            guard let first = found.first else { return "stream \(stream) has nothing" }
            if isPart {
                let start = wanted.firstIndex { unit in
                    unit.hash == first.hash && shift.map { abs(first.dts - unit.dts - $0) <= 1 } ?? true
                }
                guard let start else { return "stream \(stream) starts with something else" }
                wanted = Array(wanted[start...].prefix(found.count))
            }
            guard found.count == wanted.count else {
                return "stream \(stream) has \(found.count) units, not \(wanted.count)"
            }
            let offset = shift ?? first.dts - wanted[0].dts
            shift = offset
            for (index, pair) in zip(found, wanted).enumerated() {
                guard pair.0.hash == pair.1.hash else { return "unit \(index) of stream \(stream) differs" }
                guard abs(pair.0.dts - pair.1.dts - offset) <= 1, abs(pair.0.pts - pair.1.pts - offset) <= 1 else {
                    return "unit \(index) of stream \(stream): \(pair.0) is not \(pair.1) plus \(offset) ms"
                }
            }
        }
        return nil
    }

    /// Says where decoding times go backwards; `nil` when they never do.
    static func disorder(_ units: [Unit]) -> String? {
        var last: [Int: Int] = [:]
        for (index, unit) in units.enumerated() {
            if let before = last[unit.stream], unit.dts < before {
                return "unit \(index) of stream \(unit.stream): \(unit.dts) ms follows \(before) ms"
            }
            last[unit.stream] = unit.dts
        }
        return nil
    }
}

/// A viewer that writes what it gets into a file.
struct Recording: Sendable {
    let child: Child
    let file: URL

    var size: Int {
        let attributes = try? FileManager.default.attributesOfItem(atPath: self.file.path)
        return (attributes?[.size] as? NSNumber)?.intValue ?? 0
    }

    /// Waits until more than `bytes` have come.
    @discardableResult
    func grows(beyond bytes: Int = 4_096, within limit: Duration = .seconds(10)) async throws -> Duration {
        try await until("\(self.child.name) has more than \(bytes) bytes", within: limit, every: .milliseconds(10)) {
            if let ending = self.child.ending { throw Failure("\(self.child.name) \(ending)") }
            return self.size > bytes
        }
    }

    /// Ends the viewer as a person would. FFmpeg hears nothing while it waits for media.
    func stop() async throws {
        self.child.signal(2)
        try await self.child.wait(within: .seconds(20))
    }
}

/// Viewers of one stream by all protocols of some nodes.
struct Audience: Sendable {
    let recordings: [Recording]

    /// Starts a viewer by RTMP and one by HTTP-FLV on each node, and waits until they get media.
    init(_ sandbox: Sandbox, _ key: String, on nodes: [ClusterNode], name: String = "viewer") async throws {
        self.recordings = try nodes.flatMap { node in
            [
                try Media.record(sandbox, node.rtmp(key), to: "\(name)-\(node.name)-rtmp.flv"),
                try Media.download(sandbox, node.flv(key), to: "\(name)-\(node.name)-http.flv"),
            ]
        }
        for recording in self.recordings { try await recording.grows() }
    }

    /// Watches all viewers for a while: each goes on running, and none waits longer than `limit` for more bytes.
    ///
    /// Returns the longest wait.
    @discardableResult
    func keepsPlaying(for length: Duration, longestWait limit: Duration) async throws -> Duration {
        let end = ContinuousClock.now + length
        var sizes = self.recordings.map(\.size)
        var times = [ContinuousClock.Instant](repeating: .now, count: sizes.count)
        var longest = Duration.zero
        while ContinuousClock.now < end {
            let stall = try await pause(for: .milliseconds(20))
            times = times.map { $0 + stall }
            for (index, recording) in self.recordings.enumerated() {
                if let ending = recording.child.ending { throw Failure("\(recording.child.name) \(ending)") }
                let size = recording.size
                let now = ContinuousClock.now
                longest = max(longest, now - times[index])
                if size > sizes[index] {
                    sizes[index] = size
                    times[index] = now
                } else if now - times[index] > limit {
                    throw Failure("\(recording.child.name) got nothing for \(now - times[index])")
                }
            }
        }
        return longest
    }

    /// Waits until each viewer has got more than it has now. Returns how long the last one waited.
    @discardableResult
    func getsMore(within limit: Duration) async throws -> Duration {
        let sizes = self.recordings.map(\.size)
        return try await until("all viewers get more", within: limit, every: .milliseconds(10)) {
            for recording in self.recordings {
                if let ending = recording.child.ending { throw Failure("\(recording.child.name) \(ending)") }
            }
            return zip(self.recordings, sizes).allSatisfy { $0.size > $1 }
        }
    }

    func stop() async throws {
        for recording in self.recordings { try await recording.stop() }
    }
}
