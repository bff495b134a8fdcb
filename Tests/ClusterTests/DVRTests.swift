import Foundation
import Testing

extension ClusterTests {
    @Suite struct DVRTests {
        static let formats = ["mp4", "flv", "ts"]

        /// An origin for each format, with what is said of all of them.
        private static func origins(_ cluster: Cluster, _ settings: [String: String]) async throws -> [ClusterNode] {
            var origins: [ClusterNode] = []
            for format in Self.formats {
                let own = [
                    "stream.dvr.format": format, "stream.publish.grace": "1s", "stream.hls.enabled": "false",
                    "log.level": "debug",
                ]
                origins.append(try await cluster.origin("origin-\(format)", own.merging(settings) { $1 }))
            }
            return origins
        }

        /// Publishes the source to `live/{format}` on each origin.
        private static func publish(
            _ sandbox: Sandbox, _ source: URL, to origins: [ClusterNode], name: String = "publisher"
        ) throws -> [Child] {
            try zip(origins, Self.formats).map { origin, format in
                try Media.publish(
                    sandbox, source, to: origin.rtmp("live/\(format)"), name: "\(name)-\(format)")
            }
        }

        private static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

        // MARK: Sessions

        @Test("a published stream becomes one file with all of its frames; lists and the callback tell of it")
        func sessions() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 5)
                let packets = try await Files.packets(sandbox, source.path, "source")
                let cluster = try await Cluster(sandbox)
                let callbacks = try await CallbackServer(sandbox)
                let origins = try await Self.origins(
                    cluster, ["stream.dvr.enabled": "true", "stream.dvr.on_file": callbacks.url])
                for publisher in try Self.publish(sandbox, source, to: origins) {
                    try await publisher.wait(within: .seconds(15))
                }
                for (origin, format) in zip(origins, Self.formats) {
                    let recording = try await origin.finishes("live/\(format)", count: 1)[0]
                    #expect(recording.format == format && recording.path.hasSuffix(".\(format)"))
                    #expect(abs(recording.endMillis - recording.startMillis - 5_000) < 150, "\(recording)")
                    let size = try FileManager.default.attributesOfItem(atPath: recording.path)[.size] as? Int
                    #expect(size == recording.bytes)
                    #expect(try await Files.complaints(sandbox, recording.path) == "", "\(format)")
                    let found = try await Files.packets(sandbox, recording.path, format)
                    #expect(Files.difference([found], packets) == nil, "\(format)")
                    let listed = try await cluster.coordinator.finishes("live/\(format)", count: 1)
                    #expect(listed == [recording])
                    let note = try await until("\(format) is told", within: .seconds(5)) {
                        try callbacks.notes.first { $0.body.stream == format }
                    }
                    Self.check(note, recording, format)
                    // Nothing else is left beside it.
                    let folder = URL(fileURLWithPath: recording.path).deletingLastPathComponent().path
                    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
                }
                #expect(try callbacks.notes.count == 3)
            }
        }

        /// SRS's body of `on_dvr`.
        private static func check(_ note: CallbackServer.Note, _ recording: RecordingView, _ format: String) {
            #expect(note.method == "POST" && note.path == "/dvr" && note.contentType == "application/json")
            #expect(note.body.action == "on_dvr" && note.body.server_id.hasPrefix("vid-"))
            #expect(!note.body.service_id.isEmpty)
            #expect(note.body.vhost == "__defaultVhost__" && note.body.app == "live")
            #expect(note.body.stream_url == "/live/\(format)" && note.body.param == "")
            #expect(note.body.file == recording.path && note.body.cwd.hasPrefix("/"))
        }

        // MARK: The API, and crashes

        @Test("an operator's wish outlives kill -9, as does the file but for its last second; a file can be deleted")
        func crash() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let packets = try await Files.packets(sandbox, source.path, "source")
                let cluster = try await Cluster(sandbox)
                let origins = try await Self.origins(cluster, [:])
                for (origin, format) in zip(origins, Self.formats) {
                    #expect(try await origin.send("POST", "/api/v1/recording/start?app=live&stream=\(format)") == 200)
                }
                let publishers = try Self.publish(sandbox, source, to: origins)
                for (origin, format) in zip(origins, Self.formats) { try await origin.isLive("live/\(format)") }
                try await Task.sleep(for: .seconds(4))
                // Each is killed right after it told what it has got.
                var received: [Int] = []
                for (origin, format) in zip(origins, Self.formats) {
                    received.append(try #require(try await origin.stream("live/\(format)")).videoFrames)
                    origin.child.signal(9)
                }
                for publisher in publishers { publisher.destroy() }
                for origin in origins { try await origin.restart() }
                for (number, format) in Self.formats.enumerated() {
                    let recording = try await origins[number].finishes("live/\(format)", count: 1)[0]
                    #expect(try await Files.complaints(sandbox, recording.path) == "", "\(format)")
                    let found = try await Files.packets(sandbox, recording.path, format)
                    #expect(Files.difference([found], packets, isPart: true) == nil, "\(format)")
                    let frames = found.count { $0.stream == 0 }
                    #expect(frames >= received[number] - 25, "\(format): \(frames) of \(received[number])")
                    let millis = recording.endMillis - recording.startMillis
                    #expect(abs(millis - frames * 40) < 150, "\(format): \(millis) ms of \(frames) frames")
                    #expect(try await cluster.coordinator.finishes("live/\(format)", count: 1) == [recording])
                }
                try await Self.stop(sandbox, source, cluster, origins)
            }
        }

        /// The streams come back and are recorded again, until the operator says no; then one file is deleted.
        private static func stop(
            _ sandbox: Sandbox, _ source: URL, _ cluster: Cluster, _ origins: [ClusterNode]
        ) async throws {
            _ = try Self.publish(sandbox, source, to: origins, name: "again")
            for (origin, format) in zip(origins, Self.formats) {
                try await until("\(format) is recorded again", within: .seconds(10)) {
                    try await origin.recordings("live/\(format)").last?.state == "recording"
                }
            }
            // A file that is written cannot be deleted.
            let growing = try #require(try await origins[0].recordings("live/mp4").last)
            #expect(try await origins[0].send("DELETE", "/api/v1/recordings/\(growing.id)") == 409)
            try await Task.sleep(for: .seconds(1))
            for (origin, format) in zip(origins, Self.formats) {
                #expect(try await origin.send("POST", "/api/v1/recording/stop?app=live&stream=\(format)") == 200)
                let last = try await origin.finishes("live/\(format)", count: 2)[1]
                #expect(Self.exists(last.path) && last.endMillis > last.startMillis)
                #expect(try await origin.stream("live/\(format)")?.state == "live")
                #expect(try await origin.send("DELETE", "/api/v1/recordings/\(last.id)") == 204)
                #expect(!Self.exists(last.path))
                #expect(try await origin.recordings("live/\(format)").count == 1)
                #expect(try await origin.send("DELETE", "/api/v1/recordings/\(last.id)") == 404)
                try await until("the coordinator forgets \(format)", within: .seconds(10)) {
                    try await cluster.coordinator.recordings("live/\(format)").count == 1
                }
            }
        }

        // MARK: Several files

        @Test("files that follow each other have each frame once; a range of two plays and downloads from an edge")
        func rotation() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 6)
                let packets = try await Files.packets(sandbox, source.path, "source")
                let cluster = try await Cluster(sandbox)
                let edge = try await cluster.edge()
                let origins = try await Self.origins(
                    cluster,
                    [
                        "stream.dvr.enabled": "true", "stream.dvr.plan": "segment",
                        "stream.dvr.segment_duration": "1s",
                    ])
                for publisher in try Self.publish(sandbox, source, to: origins) {
                    try await publisher.wait(within: .seconds(20))
                }
                for (origin, format) in zip(origins, Self.formats) {
                    // Keyframes are two seconds apart.
                    let files = try await origin.finishes("live/\(format)", count: 3)
                    var found: [[Media.Unit]] = []
                    for (number, file) in files.enumerated() {
                        #expect(try await Files.complaints(sandbox, file.path) == "", "\(format) \(number)")
                        #expect(try await Files.beginsWithKeyframe(sandbox, file.path), "\(format) \(number)")
                        found.append(try await Files.packets(sandbox, file.path, "\(format)-\(number)"))
                    }
                    #expect(found.map { $0.count { $0.stream == 0 } } == [50, 50, 50], "\(format)")
                    #expect(Files.difference(found, packets) == nil, "\(format)")
                    _ = try await cluster.coordinator.finishes("live/\(format)", count: 3)
                    let range = "live/\(format)/_rec-\(files[0].startMillis)-\(files[1].endMillis)"
                    try await Self.plays(sandbox, edge.http(range), found, format)
                    #expect(try await Self.partStatus(sandbox, "\(origin.http(range)).mp4") == "206")
                    let status = try await Self.partStatus(sandbox, "\(edge.http(range)).mp4")
                    withKnownIssue("an edge passes a download on as a whole") { #expect(status == "206") }
                }
                #expect(try await edge.status(edge.http("live/mp4/_rec-1000-2000.m3u8")) == 404)
            }
        }

        /// A range, without the suffix of its URL, is what the first two files are.
        private static func plays(
            _ sandbox: Sandbox, _ range: String, _ files: [[Media.Unit]], _ format: String
        ) async throws {
            let wanted = (0..<2).flatMap { stream in
                files.prefix(2).flatMap { file in
                    file.filter { $0.stream == stream }
                }.map { ($0.stream, $0.hash) }
            }
            let playlist = try await sandbox.run(try Tools.command("curl"), ["-sf", "\(range).m3u8"])
            #expect(playlist.contains("#EXT-X-PLAYLIST-TYPE:VOD") && playlist.contains("#EXT-X-ENDLIST"))
            #expect(try await Files.complaints(sandbox, "\(range).m3u8") == "", "\(format), HLS")
            let played = try await Files.packets(sandbox, "\(range).m3u8", "\(format)-vod")
            let file = sandbox.file("\(format)-range.mp4")
            _ = try await sandbox.run(try Tools.command("curl"), ["-sf", "-o", file.path, "\(range).mp4"])
            #expect(try await Files.complaints(sandbox, file.path) == "", "\(format), MP4")
            let loaded = try await Files.packets(sandbox, file.path, "\(format)-mp4")
            for (name, units) in [("HLS", played), ("MP4", loaded)] {
                #expect(Media.disorder(units) == nil, "\(format), \(name)")
                let found = (0..<2).flatMap { stream in units.filter { $0.stream == stream } }
                #expect(found.map(\.hash) == wanted.map(\.1), "\(format), \(name)")
                // No seam between the files but, in one MP4, for sound that reaches into the next.
                let times = found.filter { $0.stream == 0 }.map(\.dts)
                let steps = zip(times, times.dropFirst()).map { $1 - $0 }
                let allowed = name == "MP4" ? 38...65 : 38...42
                #expect(steps.allSatisfy { allowed.contains($0) }, "\(format), \(name): \(steps.max() ?? 0) ms")
                #expect(steps.count { $0 > 42 } <= 1)
            }
        }

        /// The status of the answer to a request for a part of a file, as of a browser that seeks.
        private static func partStatus(_ sandbox: Sandbox, _ url: String) async throws -> String {
            try await sandbox.run(
                try Tools.command("curl"), ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-r", "100-199", url])
        }

        // MARK: Rewind

        @Test("a live playlist reaches back as far as viewers ask for, with segments that are on disk alone")
        func rewind() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 16, group: 13)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin(
                    "origin",
                    [
                        "stream.hls.segment_duration": "500ms", "stream.hls.window": "1s",
                        "stream.hls.dvr_window": "1h",
                    ])
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await until("there is something to rewind", within: .seconds(20), every: .milliseconds(200)) {
                    try await Self.segments(sandbox, edge.http("live/one/_video.m3u8?dvr=3600")).count >= 19
                }
                let live = try await Self.segments(sandbox, edge.http("live/one/_video.m3u8"))
                let all = try await Self.segments(sandbox, edge.http("live/one/_video.m3u8?dvr=3600"))
                #expect(live.count <= 6 && Set(live).isSubset(of: Set(all)), "\(live)")
                // What left memory is the file's own, and gone with it.
                let folder = "\(sandbox.file("origin-media").path)/live/one"
                let (path, moved) = ("\(folder)/\(all[0])", "\(folder)/moved")
                let url = origin.http("live/one/\(all[0])")
                #expect(try await origin.status(url) == 200)
                try FileManager.default.moveItem(atPath: path, toPath: moved)
                #expect(try await origin.status(url) != 200)
                #expect(try await origin.status(origin.http("live/one/\(all[all.count - 1])")) == 200)
                try FileManager.default.moveItem(atPath: moved, toPath: path)
                #expect(try await origin.status(url) == 200)
                // A player that begins at the beginning gets the source's first frames.
                let file = sandbox.file("rewound.mkv")
                let player = try sandbox.start(
                    "player", try Tools.ffmpeg,
                    Media.quiet + [
                        "-live_start_index", "0", "-i", edge.http("live/one.m3u8?dvr=3600"), "-map", "0:v", "-map",
                        "0:a",
                        "-t", "6", "-c", "copy", "-y", file.path,
                    ])
                try await player.wait(within: .seconds(20))
                #expect(try HLSTests.complaints(player) == [])
                let found = try await Media.pictures(sandbox, file)
                let wanted = try await Media.pictures(sandbox, source)
                #expect(found.count >= 140)
                #expect(found.first?.hash == wanted.first?.hash)
                #expect(Media.difference(found, wanted, streams: [0], isPart: true) == nil)
            }
        }

        /// The names of the segments that a media playlist lists.
        static func segments(_ sandbox: Sandbox, _ url: String) async throws -> [String] {
            let text = try await sandbox.run(try Tools.command("curl"), ["-s", "-m", "5", url], expecting: nil)
            return text.split(separator: "\n").filter { !$0.hasPrefix("#") && $0.hasPrefix("_") }.map(String.init)
        }

        // MARK: Snapshots

        @Test("the last keyframe is a picture of the right size at origin and edge, and on disk if that is wanted")
        func snapshots() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20, size: "640x360")
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin(
                    "origin", ["stream.snapshot.width": "320", "stream.snapshot.interval": "1s"])
                let edge = try await cluster.edge()
                let path = "live/one.jpg"
                for node in [origin, edge] { #expect(try await node.status(node.http(path)) != 200) }
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                try await origin.isLive("live/one")
                for node in [origin, edge] {
                    // An edge believes for a second that nobody publishes.
                    try await until("\(node.name) has a picture", within: .seconds(10), every: .milliseconds(100)) {
                        try await node.status(node.http(path)) == 200
                    }
                    let file = sandbox.file("\(node.name).jpg")
                    let type = try await sandbox.run(
                        try Tools.command("curl"),
                        ["-s", "-o", file.path, "-w", "%{content_type}", node.http(path)])
                    #expect(type == "image/jpeg")
                    try await Self.isPicture(sandbox, file)
                }
                let stored = sandbox.file("origin-media/live/one.jpg")
                try await until("there is a picture on disk", within: .seconds(10)) { Self.exists(stored.path) }
                try await Self.isPicture(sandbox, stored)
                let old = try Data(contentsOf: stored)
                // The next keyframe shows something else.
                try await until("the picture is replaced", within: .seconds(10), every: .milliseconds(100)) {
                    try Data(contentsOf: stored) != old
                }
                try await Self.isPicture(sandbox, stored)
                // A coordinator that is new does not know at first that nobody publishes.
                try await cluster.isRecovered()
                for node in [origin, edge] {
                    #expect(try await node.status(node.http("live/nobody.jpg")) == 404, "\(node.name)")
                }
            }
        }

        private static func isPicture(_ sandbox: Sandbox, _ file: URL) async throws {
            let size = try await sandbox.run(
                try Tools.ffprobe,
                ["-v", "warning", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", file.path])
            #expect(size.hasPrefix("mjpeg,320,180"), "\(size)")
            #expect(try await Files.complaints(sandbox, file.path) == "")
        }
    }
}
