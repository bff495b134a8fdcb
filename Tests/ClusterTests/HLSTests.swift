import Foundation
import Testing

extension ClusterTests {
    @Suite struct HLSTests {
        /// The multivariant playlist is there, and lists segments of the media playlist that it names.
        static func isPlayable(
            _ sandbox: Sandbox, _ node: ClusterNode, _ key: String, segments: Int = 3,
            within limit: Duration = .seconds(20)
        ) async throws {
            let curl = try Tools.command("curl")
            try await until("\(node.name) lists \(segments) segments of \(key)", within: limit) {
                let main = try await sandbox.run(
                    curl, ["-s", "-m", "5", node.http("\(key).m3u8")], expecting: nil)
                guard let name = main.split(separator: "\n").last(where: { !$0.hasPrefix("#") }) else { return false }
                let folder = key.split(separator: "/").dropLast().joined(separator: "/")
                let media = try await sandbox.run(
                    curl, ["-s", "-m", "5", node.http("\(folder)/\(name)")], expecting: nil)
                return media.split(separator: "\n").filter { $0.hasPrefix("#EXTINF") }.count >= segments
            }
        }

        /// What a player complains of: lines of its standard error.
        static func complaints(_ child: Child) throws -> [String] {
            // ffmpeg says this of every live playlist with an initialization segment, its own ones included.
            try String(contentsOf: child.log, encoding: .utf8).split(separator: "\n").map(String.init)
                .filter { !$0.contains("Found duplicated MOOV Atom. Skipped it") }
        }

        @Test(
            "ffmpeg, GStreamer and VLC play HLS from origin and edge, and hear no reason to complain",
            arguments: ["fmp4", "mpegts"])
        func players(container: String) async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["stream.hls.container": container])
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true)
                for node in [origin, edge] {
                    try await Self.isPlayable(sandbox, node, "live/one")
                    let url = node.http("live/one.m3u8")
                    let file = sandbox.file("\(node.name).mkv")
                    let player = try sandbox.start(
                        "ffmpeg-\(node.name)", try Tools.ffmpeg,
                        Media.quiet + [
                            "-i", url, "-map", "0:v", "-map", "0:a", "-t", "6", "-c", "copy", "-y", file.path,
                        ])
                    try await player.wait(within: .seconds(30))
                    #expect(try Self.complaints(player) == [])
                    let pictures = try await Media.pictures(sandbox, file)
                    #expect(pictures.count >= 120, "\(node.name)")
                    #expect(Media.disorder(pictures) == nil)
                    try await Self.playsInGStreamer(sandbox, url)
                    try await Self.playsInVLC(sandbox, url, name: node.name)
                }
            }
        }

        /// The names of the playlists of segments.
        private static func playlists(_ container: String) -> [String] {
            container == "fmp4" ? ["video", "audio"] : ["main"]
        }

        /// Waits until the playlists of a stream list nearly all of `seconds`, so that nothing is to come.
        private static func isListed(
            _ sandbox: Sandbox, _ node: ClusterNode, _ key: String, container: String, seconds: Int
        ) async throws {
            for tag in self.playlists(container) {
                try await until("_\(tag) lists \(seconds) s", within: .seconds(20), every: .milliseconds(200)) {
                    let text = try await sandbox.request(node.http("\(key)/_\(tag).m3u8")).text
                    let lengths = text.split(separator: "\n").filter { $0.hasPrefix("#EXTINF:") }.compactMap { line in
                        Double(line.dropFirst(8).prefix { $0 != "," })
                    }
                    return lengths.reduce(0, +) > Double(seconds) - 0.1
                }
            }
        }

        /// Everything that the playlists of a stream list, as one file. A live playlist has no end: it gets one here, so
        /// that ffmpeg does not wait for more.
        static func collect(
            _ sandbox: Sandbox, _ node: ClusterNode, _ key: String, container: String
        ) async throws -> URL {
            var inputs: [String] = []
            let tags = self.playlists(container)
            for tag in tags {
                let text = try await sandbox.request(node.http("\(key)/_\(tag).m3u8")).text
                let lines = text.split(separator: "\n").filter { line in
                    !["#EXT-X-PART", "#EXT-X-PRELOAD", "#EXT-X-SERVER", "#EXT-X-RENDITION"].contains {
                        line.hasPrefix($0)
                    }
                }.map { line in
                    let line = line.replacingOccurrences(of: "URI=\"_", with: "URI=\"\(node.http(key))/_")
                    return line.hasPrefix("_") ? "\(node.http(key))/\(line)" : line
                }
                let list = try sandbox.write(
                    "\(node.name)-\(tag).m3u8", (lines + ["#EXT-X-ENDLIST", ""]).joined(separator: "\n"))
                inputs += ["-protocol_whitelist", "file,http,tcp,crypto,data", "-i", list.path]
            }
            let file = sandbox.file("\(node.name)-collected.mkv")
            _ = try await sandbox.run(
                try Tools.ffmpeg,
                Media.quiet + inputs
                    + ["-map", "0:v", "-map", "\(tags.count - 1):a", "-c", "copy", "-y", file.path],
                within: .seconds(60))
            return file
        }

        static func playsInGStreamer(_ sandbox: Sandbox, _ url: String) async throws {
            // A live stream has no end; each sink takes what makes four seconds, and ends.
            let text = try await sandbox.run(
                try Tools.command("gst-launch-1.0"),
                [
                    "playbin3", "uri=\(url)", "video-sink=fakesink num-buffers=100 sync=false",
                    "audio-sink=fakesink num-buffers=150 sync=false",
                ], within: .seconds(40))
            #expect(text.contains("Got EOS"), "\(text.suffix(500))")
        }

        static func playsInVLC(_ sandbox: Sandbox, _ url: String, name: String) async throws {
            let recording = try VLC.record(sandbox, url, to: "vlc-\(name)")
            try await recording.grows(beyond: 200_000, within: .seconds(30))
            recording.child.signal(15)
            try await recording.child.wait(within: .seconds(10))
            let pictures = try await Media.pictures(sandbox, recording.file)
            #expect(pictures.count >= 50, "VLC at \(name)")
        }

        @Test("MPEG-DASH plays in VLC and Streamlink without a gap, over many refreshes; mpegdash reads the manifest")
        func dash() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 40)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                let edge = try await cluster.edge()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await Self.isPlayable(sandbox, edge, "live/one", segments: 4)
                let url = edge.http("live/one.mpd")
                let parsed = try await sandbox.run(
                    try Tools.python,
                    [
                        "-c",
                        """
                        import sys
                        from mpegdash.parser import MPEGDASHParser
                        mpd = MPEGDASHParser.parse(sys.argv[1])
                        sets = mpd.periods[0].adaptation_sets
                        print(mpd.type, len(sets), sorted(r.codecs for s in sets for r in s.representations))
                        """, url,
                    ])
                #expect(parsed.hasPrefix("dynamic 2 ['avc1."), "\(parsed)")
                #expect(parsed.contains("mp4a.40.2"))
                let streamlink = try Self.streamlink(sandbox, url, seconds: 20)
                let recording = try VLC.record(sandbox, url, to: "dash")
                // More than the manifest has at a time.
                try await recording.grows(beyond: 1_500_000, within: .seconds(35))
                recording.child.signal(SIGTERM)
                try await recording.child.wait(within: .seconds(10))
                try await streamlink.child.wait(within: .seconds(30))
                for file in [recording.file, streamlink.file] { try await Self.isPart(sandbox, file, of: source) }
            }
        }

        /// Begins to play `seconds` of a DASH manifest into a file, with FFmpeg as its multiplexer.
        private static func streamlink(_ sandbox: Sandbox, _ url: String, seconds: Int) throws -> Recording {
            let file = sandbox.file("streamlink.ts")
            let child = try sandbox.start(
                "streamlink", try Tools.streamlink,
                [
                    "--no-config", "--ffmpeg-ffmpeg", try Tools.ffmpeg, "--ffmpeg-fout", "mpegts",
                    "--stream-segmented-duration", "\(seconds)", "--output", file.path, "dash://\(url)", "best",
                ])
            return Recording(child: child, file: file)
        }

        /// Pictures and sound of a recording are those of `source`, 18 seconds at least, without a gap.
        private static func isPart(_ sandbox: Sandbox, _ file: URL, of source: URL) async throws {
            let name = file.lastPathComponent
            let pictures = try await Media.pictures(sandbox, file).dropLast(4)
            #expect(pictures.count >= 450, "\(name): \(pictures.count)")
            let wanted = try await Media.pictures(sandbox, source)
            #expect(Media.difference(Array(pictures), wanted, streams: [0], isPart: true) == nil, "\(name)")
            let sound = try await Media.packets(
                sandbox, file, map: ["0:a"], options: ["-bsf:a", "aac_adtstoasc"])
            #expect(sound.count >= 750, "\(name): \(sound.count)")
            let wantedSound = try await Media.packets(sandbox, source, map: ["0:a"])
            #expect(Media.difference(sound, wantedSound, streams: [0], isPart: true) == nil, "\(name)")
        }

        @Test(
            "every frame and sample of the source is in the segments", arguments: ["fmp4", "mpegts"])
        func complete(container: String) async throws {
            let seconds = Tools.seconds("WEIR_TEST_RECORDING_SECONDS", default: 20)
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: seconds)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin(
                    "origin",
                    [
                        "stream.hls.container": container, "stream.hls.window": "\(seconds + 60)s",
                        "stream.publish.grace": "1s",
                    ])
                let edge = try await cluster.edge()
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await Self.isPlayable(sandbox, edge, "live/one")
                try await publisher.wait(within: .seconds(seconds + 15))
                try await Self.isListed(sandbox, edge, "live/one", container: container, seconds: seconds)
                let file = try await Self.collect(sandbox, edge, "live/one", container: container)
                let pictures = try await Media.pictures(sandbox, source)
                let found = try await Media.pictures(sandbox, file)
                #expect(Media.difference(found, pictures, streams: [0]) == nil)
                let sound = try await Media.soundHash(sandbox, source)
                #expect(try await Media.soundHash(sandbox, file) == sound)
            }
        }

        @Test("numbers and dates of a playlist never go back: over a republish and a restart of the origin")
        func restart() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", ["stream.publish.grace": "2s"])
                let edge = try await cluster.edge()
                let first = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true, name: "first")
                try await Self.isPlayable(sandbox, edge, "live/one")
                let watch = try PlaylistWatch.start(sandbox, edge.http("live/one/_video.m3u8"), seconds: 32)
                let player = try sandbox.start(
                    "player", try Tools.ffmpeg,
                    Media.quiet + [
                        "-i", edge.http("live/one.m3u8"), "-map", "0:v", "-t", "26", "-c", "copy", "-y",
                        sandbox.file("played.mkv").path,
                    ])
                try await Task.sleep(for: .seconds(4))
                first.destroy()
                let second = try Media.publish(
                    sandbox, source, to: origin.rtmp("live/one"), loops: true, name: "second")
                try await Task.sleep(for: .seconds(8))
                second.destroy()
                origin.child.destroy()
                try await origin.restart()
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), loops: true, name: "third")
                let looks = try await watch.looks()
                #expect(PlaylistWatch.regression(looks) == nil)
                #expect(
                    looks.allSatisfy { $0.status == 200 },
                    "\(looks.filter { $0.status != 200 }.map { ($0.at, $0.status) })")
                let last = try #require(looks.last)
                #expect(last.discontinuitySequence + last.discontinuities >= (looks[0].discontinuitySequence + 2))
                try await player.wait(within: .seconds(40))
            }
        }

        @Test("a stream that moves to another origin goes on under the same URLs, after a discontinuity")
        func move() async throws {
            try await Sandbox.run { sandbox in
                let source = try await Media.makeSource(sandbox, seconds: 20)
                let cluster = try await Cluster(sandbox)
                let one = try await cluster.origin("origin-1")
                let two = try await cluster.origin("origin-2")
                let edge = try await cluster.edge()
                let first = try Media.publish(sandbox, source, to: one.rtmp("live/one"), loops: true, name: "first")
                try await Self.isPlayable(sandbox, edge, "live/one")
                let watch = try PlaylistWatch.start(sandbox, edge.http("live/one/_video.m3u8"), seconds: 25)
                let player = try sandbox.start(
                    "player", try Tools.ffmpeg,
                    Media.quiet + [
                        "-i", edge.http("live/one.m3u8"), "-map", "0:v", "-t", "18", "-c", "copy", "-y",
                        sandbox.file("played.mkv").path,
                    ])
                try await Task.sleep(for: .seconds(4))
                one.child.destroy()
                first.destroy()
                try await until("the other origin takes the publisher", within: .seconds(15)) {
                    let next = try Media.publish(sandbox, source, to: two.rtmp("live/one"), loops: true, name: "next")
                    for _ in 0..<60 {
                        try await Task.sleep(for: .milliseconds(100))
                        if try await two.stream("live/one")?.state == "live" { return true }
                        if next.ending != nil { break }
                    }
                    next.destroy()
                    return false
                }
                let looks = try await watch.looks()
                #expect(PlaylistWatch.regression(looks) == nil)
                #expect(
                    looks.allSatisfy { $0.status == 200 },
                    "\(looks.filter { $0.status != 200 }.map { ($0.at, $0.status) })")
                let epochs = Set(looks.flatMap(\.uris).compactMap { $0.split(separator: "-").dropFirst().first })
                #expect(epochs.count == 2)
                try await player.wait(within: .seconds(30))
            }
        }
    }
}
