import Foundation
import Testing

extension ClusterTests {
    @Suite struct DiskTests {
        /// Segments of one second; `group: 25` in the source makes them possible.
        static let short = ["stream.hls.segment_duration": "1s", "stream.hls.window": "6s"]

        private static func source(_ sandbox: Sandbox, seconds: Int) async throws -> URL {
            try await Media.makeSource(sandbox, seconds: seconds, group: 25)
        }

        /// Plays some seconds of a stream with ffmpeg, without a reason to complain, into a file.
        private static func player(
            _ sandbox: Sandbox, _ node: ClusterNode, _ key: String, seconds: Int
        ) throws -> (child: Child, file: URL) {
            let name = "player-\(key.replacingOccurrences(of: "/", with: "-"))"
            let file = sandbox.file("\(name).mkv")
            let child = try sandbox.start(
                name, try Tools.ffmpeg,
                Media.quiet + [
                    "-i", node.http("\(key).m3u8"), "-map", "0:v", "-map", "0:a", "-t", "\(seconds)", "-c", "copy",
                    "-y",
                    file.path,
                ])
            return (child, file)
        }

        /// The player saw a part of the source, every frame of it.
        private static func sawAll(
            _ sandbox: Sandbox, _ player: (child: Child, file: URL), of source: URL, seconds: Int
        ) async throws {
            try await player.child.wait(within: .seconds(seconds + 20))
            let complaints = try HLSTests.complaints(player.child)
            #expect(complaints == [])
            let found = try await Media.pictures(sandbox, player.file)
            #expect(found.count >= seconds * 25 - 13, "\(found.count) frames in \(seconds) s")
            let wanted = try await Media.pictures(sandbox, source)
            #expect(Media.difference(found, wanted, streams: [0], isPart: true) == nil)
        }

        // MARK: Full

        @Test("a full disk is an alarm and one line of the log; viewers see no gap, and files are written again")
        func full() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.source(sandbox, seconds: 40)
                let cluster = try await Cluster(sandbox)
                let disk = sandbox.file("disk").path
                let settings = [
                    "media.directory": "\(disk)/media", "media.recordings": "\(disk)/recordings",
                    "stream.dvr.enabled": "true",
                ]
                let origin = try await cluster.origin(
                    "origin", Self.short.merging(settings) { $1 },
                    launch: try .mounting("mkdir -p '\(disk)'; mount -t tmpfs -o size=16m tmpfs '\(disk)'"))
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await HLSTests.isPlayable(sandbox, edge, "live/one")
                let watch = try PlaylistWatch.start(sandbox, edge.http("live/one/_video.m3u8"), seconds: 12)
                let player = try Self.player(sandbox, edge, "live/one", seconds: 14)
                try await Launch.run(
                    "dd if=/dev/zero of='\(disk)/ballast' bs=4k 2> /dev/null || true", in: origin, sandbox)
                for folder in ["/media", "/recordings"] {
                    try await until("\(folder) has an alarm", within: .seconds(5), every: .milliseconds(100)) {
                        try await origin.storage()?.folder(folder)?.alarm?.contains("disk is full") ?? false
                    }
                }
                try await Task.sleep(for: .seconds(3))
                let lines = origin.lines(with: "cannot write to the disk").filter { $0.contains("the disk is full") }
                #expect(lines.count == 2, "one for each folder: \(lines)")
                // What was recorded is saved where it is: the copy with its index in front finds no room.
                let saved = try await until("the recording is saved", within: .seconds(5)) {
                    try await origin.recordings("live/one").first { $0.state == "finished" }
                }
                try await Launch.run("rm '\(disk)/ballast'", in: origin, sandbox)
                let before = try #require(try await origin.storage()?.folder("/media")).writtenFiles
                try await until("the alarms are over", within: .seconds(15), every: .milliseconds(100)) {
                    try await origin.storage()?.folders.allSatisfy { $0.alarm == nil } ?? false
                }
                try await until("files are written again", within: .seconds(5), every: .milliseconds(100)) {
                    (try await origin.storage()?.folder("/media")?.writtenFiles ?? 0) > before + 6
                }
                #expect(origin.lines(with: "writing to the disk works again").count == 2)
                try await until("the stream is recorded again", within: .seconds(15), every: .milliseconds(100)) {
                    try await origin.recordings("live/one").last?.state == "recording"
                }
                let seen = "/proc/\(origin.child.pid)/root"
                #expect(try await Files.complaints(sandbox, seen + saved.path) == "")
                try await Self.isLastOnDisk(sandbox, origin, "\(seen)\(disk)/media/live/one")
                let looks = try await watch.looks()
                #expect(PlaylistWatch.regression(looks) == nil)
                #expect(looks.allSatisfy { $0.status == 200 })
                try await Self.sawAll(sandbox, player, of: source, seconds: 14)
            }
        }

        /// A segment that is listed now is a file with the same bytes.
        private static func isLastOnDisk(_ sandbox: Sandbox, _ node: ClusterNode, _ folder: String) async throws {
            let names = try await DVRTests.segments(sandbox, node.http("live/one/_video.m3u8"))
            let name = try #require(names.dropLast().last)
            let file = sandbox.file("served.m4s")
            _ = try await sandbox.run(
                try Tools.command("curl"), ["-sf", "-o", file.path, node.http("live/one/\(name)")])
            #expect(FileManager.default.contentsEqual(atPath: file.path, andPath: "\(folder)/\(name)"), "\(name)")
        }

        // MARK: Read-only

        @Test("a disk that cannot be written, at start or later, is told of; the streams are live all the same")
        func readOnly() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.source(sandbox, seconds: 60)
                let cluster = try await Cluster(sandbox)
                let edge = try await cluster.edge()
                let bind = { (path: String) in "mkdir -p '\(path)'; mount --bind '\(path)' '\(path)'; " }
                let readOnly = { (path: String) in
                    // Not while a file is open for writing.
                    "n=0; until mount -o remount,ro,bind '\(path)'; do n=$((n + 1)); [ $n -lt 60 ]; sleep 0.05; done"
                }
                // All of it, the catalogue too, from the start.
                let fixed = sandbox.file("fixed").path
                let one = try await cluster.origin(
                    "fixed",
                    Self.short.merging([
                        "media.directory": "\(fixed)/media", "media.recordings": "\(fixed)/recordings",
                        "media.catalog": "\(fixed)/catalog.sqlite", "stream.dvr.enabled": "true",
                    ]) { $1 }, launch: try .mounting(bind(fixed) + readOnly(fixed)))
                // A folder of somebody else's.
                let denied = sandbox.file("denied").path
                try FileManager.default.createDirectory(
                    atPath: denied, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o555])
                let two = try await cluster.origin(
                    "denied", Self.short.merging(["media.directory": denied]) { $1 }, launch: try .withoutOverride())
                // From some time on.
                let later = sandbox.file("later").path
                let three = try await cluster.origin(
                    "later", Self.short.merging(["media.directory": later]) { $1 }, launch: try .mounting(bind(later)))
                for origin in [one, two, three] {
                    _ = try Media.publish(
                        sandbox, source, to: origin.rtmp("live/\(origin.name)"), name: "to-\(origin.name)")
                }
                for origin in [one, two, three] {
                    try await HLSTests.isPlayable(sandbox, edge, "live/\(origin.name)")
                }
                #expect(try await three.storage()?.folder("/later")?.alarm == nil)
                let players = try ["fixed", "denied", "later"].map { name in
                    try Self.player(sandbox, edge, "live/\(name)", seconds: 7)
                }
                try await Launch.run(readOnly(later), in: three, sandbox)
                try await Self.isAlarmed(one, "/recordings", "read-only")
                try await Self.isAlarmed(two, "/denied", "no permission")
                try await Self.isAlarmed(three, "/later", "read-only")
                #expect(one.lines(with: "the media database is out of use").count == 1)
                #expect(try await one.storage()?.catalog.contains("degraded") == true)
                #expect(one.lines(with: "the recording of a stream broke off").count == 1)
                #expect(try await two.storage()?.catalog == "ready")
                for player in players { try await Self.sawAll(sandbox, player, of: source, seconds: 7) }
                try await Launch.run("mount -o remount,rw,bind '\(later)'", in: three, sandbox)
                try await until("the alarm is over", within: .seconds(12), every: .milliseconds(100)) {
                    try await three.storage()?.folder("/later")?.alarm == nil
                }
                for origin in [one, two, three] {
                    #expect(try await origin.stream("live/\(origin.name)")?.state == "live")
                }
            }
        }

        private static func isAlarmed(_ node: ClusterNode, _ folder: String, _ text: String) async throws {
            try await until("\(node.name) tells of \(folder)", within: .seconds(8), every: .milliseconds(100)) {
                try await node.storage()?.folder(folder)?.alarm?.contains(text) ?? false
            }
            #expect(node.lines(with: "cannot write to the disk").filter { $0.contains(folder) }.count == 1)
        }

        // MARK: Slow

        @Test("a disk that takes a second for each write delays no part of a live playlist")
        func slow() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.source(sandbox, seconds: 60)
                let cluster = try await Cluster(sandbox)
                let disk = sandbox.file("disk").path
                try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
                let origin = try await cluster.origin(
                    "origin",
                    Self.short.merging([
                        "media.directory": "\(disk)/media", "media.recordings": "\(disk)/recordings",
                        "stream.dvr.enabled": "true",
                    ]) { $1 }, launch: try await .slow(sandbox, below: disk, millis: 1_000))
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await HLSTests.isPlayable(sandbox, edge, "live/one")
                // Each write takes a second all the time: a node that waits for them has no good six seconds.
                let report = try await atBest {
                    try await PartWatch.run(sandbox, edge.http("live/one/_video.m3u8"), seconds: 6)
                } isGood: {
                    $0.parts >= 27 && $0.longestMillis < 500
                }
                #expect(report.parts >= 27 && report.longestMillis < 500, "\(report)")
                // It was slow indeed.
                let stream = try #require(try await origin.storage()?.streams.first)
                #expect(stream.storedSegments + 6 < stream.madeSegments, "\(stream)")
            }
        }

        // MARK: Crashes

        @Test("after kill -9 of an origin every file that a playlist on disk lists is whole, and numbers go on")
        func originKilled() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.source(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let edge = try await cluster.edge()
                let containers = ["fmp4", "mpegts"]
                var origins: [ClusterNode] = []
                for container in containers {
                    let settings = ["stream.hls.container": container, "stream.publish.grace": "1s"]
                    origins.append(try await cluster.origin(container, Self.short.merging(settings) { $1 }))
                }
                let publish = { (name: String) in
                    try origins.map { origin in
                        try Media.publish(
                            sandbox, source, to: origin.rtmp("live/\(origin.name)"), loops: true,
                            name: "\(name)-\(origin.name)")
                    }
                }
                let publishers = try publish("first")
                for container in containers { try await HLSTests.isPlayable(sandbox, edge, "live/\(container)") }
                let watches = try zip(containers, ["video", "main"]).map { container, tag in
                    try PlaylistWatch.start(
                        sandbox, edge.http("live/\(container)/_\(tag).m3u8"), seconds: 14, name: "watch-\(container)")
                }
                try await Task.sleep(for: .milliseconds(2_300))
                for origin in origins { origin.child.signal(9) }
                for publisher in publishers { publisher.destroy() }
                for origin in origins {
                    let media = sandbox.file("\(origin.name)-media")
                    try FileManager.default.copyItem(at: media, to: sandbox.file("\(origin.name)-left"))
                    // A file that was being written.
                    let folder = media.appendingPathComponent(".weir-tmp")
                    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
                    try Data("part".utf8).write(to: folder.appendingPathComponent("4194304-dead-1"))
                }
                for origin in origins { try await origin.restart() }
                _ = try publish("second")
                for origin in origins { try await Self.checkFiles(sandbox, origin, in: "left") }
                for (number, watch) in watches.enumerated() {
                    let looks = try await watch.looks()
                    #expect(PlaylistWatch.regression(looks) == nil, "\(containers[number])")
                    let last = try #require(looks.last)
                    let epochs = Set(last.uris.compactMap { $0.split(separator: "-").dropFirst().first })
                    #expect(last.status == 200 && !epochs.isEmpty)
                    #expect(last.mediaSequence > looks[0].mediaSequence)
                    #expect(last.discontinuitySequence + last.discontinuities > looks[0].discontinuitySequence)
                }
                for origin in origins {
                    try await Self.checkFiles(sandbox, origin, in: "media")
                    let left = sandbox.file("\(origin.name)-media/.weir-tmp/4194304-dead-1").path
                    #expect(!FileManager.default.fileExists(atPath: left), "\(origin.name)")
                }
            }
        }

        /// ffprobe reads each segment that a playlist in a folder of media of `origin` lists.
        private static func checkFiles(
            _ sandbox: Sandbox, _ origin: ClusterNode, in media: String
        ) async throws {
            let folder = sandbox.file("\(origin.name)-\(media)/live/\(origin.name)")
            var count = 0
            for tag in origin.name == "fmp4" ? ["video", "audio"] : ["main"] {
                let text = try String(contentsOf: folder.appendingPathComponent("_\(tag).m3u8"), encoding: .utf8)
                #expect(text.hasPrefix("#EXTM3U\n"))
                var map = Data()
                for line in text.split(separator: "\n") {
                    if line.hasPrefix("#EXT-X-MAP:URI=\"") {
                        let name = line.split(separator: "\"")[1]
                        map = try Data(contentsOf: folder.appendingPathComponent(String(name)))
                    }
                    guard line.hasPrefix("_") else { continue }
                    let whole = sandbox.file("whole-\(line)")
                    try (map + Data(contentsOf: folder.appendingPathComponent(String(line)))).write(to: whole)
                    #expect(try await Files.complaints(sandbox, whole.path) == "", "\(line)")
                    count += 1
                }
            }
            #expect(count >= 3, "\(origin.name)")
        }

        @Test("when an edge dies amid its players, others play on; it serves again when it is back")
        func edgeKilled() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Self.source(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", Self.short)
                let one = try await cluster.edge("edge-1")
                let two = try await cluster.edge("edge-2")
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                for edge in [one, two] { try await HLSTests.isPlayable(sandbox, edge, "live/one") }
                async let lost = HLSPlayers.play(sandbox, one.http("live/one.m3u8"), count: 100, seconds: 9)
                async let kept = HLSPlayers.play(sandbox, two.http("live/one.m3u8"), count: 30, seconds: 8)
                try await Task.sleep(for: .milliseconds(5_000))
                one.child.signal(9)
                let report = try await kept
                #expect(report.errors == [:] && report.statuses.keys.sorted() == ["200"], "\(report)")
                #expect(report.stalls == 0 && report.wentBack == 0, "\(report)")
                #expect(report.media >= 30 * 4, "\(report)")
                let broken = try await lost
                #expect(!broken.errors.isEmpty && broken.media > 100, "\(broken)")
                #expect(try await origin.stream("live/one")?.state == "live")
                try await one.restart()
                try await HLSTests.isPlayable(sandbox, one, "live/one", within: .seconds(8))
                let player = try Self.player(sandbox, one, "live/one", seconds: 3)
                try await player.child.wait(within: .seconds(15))
                let complaints = try HLSTests.complaints(player.child)
                #expect(complaints == [])
            }
        }
    }
}
