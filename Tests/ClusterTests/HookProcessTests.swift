import Foundation
import Testing

extension ClusterTests {
    /// Callbacks of SRS, told to a receiver that was written for SRS.
    @Suite struct HookProcessTests {
        private static let secret = "secret-of-the-hook-tests"
        private static let events = [
            "on_connect", "on_close", "on_publish", "on_unpublish", "on_play", "on_stop", "on_dvr", "on_hls",
        ]

        /// The members of SRS's bodies, in SRS's order; ours follow.
        private static let common = ["server_id", "service_id", "action", "client_id", "ip", "vhost", "app"]
        private static let stream = ["tcUrl", "stream", "param", "stream_url", "stream_id"]
        private static let members: [String: [String]] = [
            "on_connect": common + ["stream", "param", "tcUrl", "pageUrl"], "on_close": common,
            "on_publish": common + stream, "on_unpublish": common + stream,
            "on_play": common + stream + ["pageUrl"], "on_stop": common + stream,
            "on_dvr": common + stream + ["cwd", "file"],
            "on_hls": common + stream + ["duration", "cwd", "file", "url", "m3u8", "m3u8_url", "seq_no"],
        ]

        private static func origin(
            _ sandbox: Sandbox, _ hooks: HookServer, _ events: [String] = Self.events,
            _ settings: [String: String] = [:]
        ) async throws -> ClusterNode {
            let own = [
                "stream.publish.grace": "1s", "hooks.secret": Self.secret,
                "hooks.timeout": "2s", "shutdown.drain_deadline": "2s",
            ]
            return try await Cluster.node(
                "origin", role: "origin",
                own.merging(hooks.settings(events)) { $1 }.merging(settings) { $1 }, sandbox)
        }

        // MARK: Events

        @Test("a receiver for SRS is told of all that happens, in order, with SRS's members and a right signature")
        func events() async throws {
            try await Sandbox.run { sandbox in
                let hooks = try await HookServer(sandbox, secret: Self.secret)
                let origin = try await Self.origin(
                    sandbox, hooks, Self.events,
                    [
                        "stream.dvr.enabled": "true", "stream.hls.segment_duration": "1s",
                        "stream.hooks.on_hls_notify": hooks.url("notify/[app]/[stream]?ts=[ts_url]&param=[param]"),
                    ])
                let source = try await Media.makeSource(sandbox, seconds: 60, group: 25)
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one?user=ann&n=1"))
                try await HLSTests.isPlayable(sandbox, origin, "live/one", segments: 2)
                let rtmp = try Media.record(sandbox, origin.rtmp("live/one?user=bob"), to: "rtmp.flv")
                let flv = try Media.download(
                    sandbox, origin.flv("live/one") + "?user=cid", to: "http.flv",
                    options: ["-e", "https://page.example/watch"])
                try await rtmp.grows()
                try await flv.grows()
                var ids: [String: String] = [:]
                for type in ["fmle-publish", "rtmp-play", "flv-play", "hls-play"] {
                    ids[type] = try await origin.client(type, of: "one", sandbox)["id"].string
                }
                try await rtmp.stop()
                try await flv.stop()
                try await until("the viewers' ends are told", within: .seconds(30)) {
                    let stopped = try hooks.notes.filter { $0.action == "on_stop" }.map(\.client)
                    return Set(stopped).isSuperset(of: ["rtmp-play", "flv-play", "hls-play"].compactMap { ids[$0] })
                }
                publisher.signal(SIGINT)
                try await until("the recording is told", within: .seconds(15)) {
                    try hooks.notes.contains { $0.action == "on_dvr" }
                }
                try await until("the close is told", within: .seconds(5)) {
                    try hooks.notes(of: ids["fmle-publish"] ?? "").contains { $0.action == "on_close" }
                }
                try Self.checkOrder(try hooks.notes, ids)
                try Self.checkMembers(try hooks.notes, origin)
                try Self.checkFiles(try hooks.notes, sandbox, ids["fmle-publish"] ?? "")
            }
        }

        private static func checkOrder(_ notes: [HookServer.Note], _ ids: [String: String]) throws {
            func actions(_ type: String) -> [String] {
                notes.filter { $0.client == ids[type] && $0.action != "on_hls" && $0.action != "on_dvr" }.map(\.action)
            }
            #expect(actions("fmle-publish") == ["on_connect", "on_publish", "on_unpublish", "on_close"])
            #expect(actions("rtmp-play") == ["on_connect", "on_play", "on_stop", "on_close"])
            #expect(actions("flv-play") == ["on_play", "on_stop"])
            #expect(actions("hls-play") == ["on_play", "on_stop"])
            #expect(Set(notes.filter { !$0.client.isEmpty }.map(\.client)) == Set(ids.values))
            let deliveries = notes.map(\.delivery)
            #expect(Set(deliveries).count == deliveries.count && !deliveries.contains(""))
        }

        private static func checkMembers(_ notes: [HookServer.Note], _ origin: ClusterNode) throws {
            for note in notes where note.method == "POST" {
                let wanted = try #require(Self.members[note.action])
                #expect(Array(note.names.prefix(wanted.count)) == wanted, "\(note.action)")
                #expect(note.contentType == "application/json")
                #expect(note.target == "/srs?event=\(note.action)")
                #expect(note.userAgent.hasPrefix("Weir/") || note.userAgent.lowercased().hasPrefix("weir"))
                #expect(note.body["ip"].string == "127.0.0.1", "\(note.action)")
                #expect(note.body["vhost"].string == "__defaultVhost__" && note.body["app"].string == "live")
                #expect(note.body["server_id"].string?.hasPrefix("vid-") == true)
                #expect(note.body["service_id"].string?.utf8.count == 8, "\(note.body["service_id"])")
                #expect(note.client.utf8.count == 8, "\(note.action): \(note.client)")
                guard wanted.contains("stream_url") else { continue }
                #expect(note.body["stream"].string == "one" && note.body["stream_url"].string == "/live/one")
                #expect(note.body["stream_id"].string?.hasPrefix("vid-") == true)
            }
            #expect(notes.allSatisfy { $0.signature == "right" })
            #expect(Set(notes.filter { $0.method == "POST" }.compactMap(\.body["server_id"].string)).count == 1)
            func first(_ action: String, _ type: String) throws -> JSON {
                try #require(notes.first { $0.action == action && $0.body["transport"].string == type }).body
            }
            #expect(try first("on_publish", "rtmp")["param"].string == "?user=ann&n=1")
            #expect(try first("on_publish", "rtmp")["tcUrl"].string == "rtmp://127.0.0.1:\(origin.rtmpPort)/live")
            #expect(try first("on_play", "rtmp")["param"].string == "?user=bob")
            #expect(try first("on_play", "http-flv")["param"].string == "?user=cid")
            #expect(try first("on_play", "http-flv")["pageUrl"].string == "https://page.example/watch")
            #expect(try first("on_play", "hls")["param"].string == "")
            let close = try #require(notes.last { $0.action == "on_close" }).body
            #expect((close["recv_bytes"].int ?? 0) > 100_000 && (close["send_bytes"].int ?? 0) > 3_000, "\(close)")
        }

        private static func checkFiles(_ notes: [HookServer.Note], _ sandbox: Sandbox, _ publisher: String) throws {
            func path(_ body: JSON, _ name: String) -> String {
                let file = body[name].string ?? ""
                return file.hasPrefix("/") ? file : "\(body["cwd"].string ?? "")/\(file)"
            }
            let recordings = notes.filter { $0.action == "on_dvr" }
            #expect(recordings.count == 1 && recordings[0].client == publisher)
            #expect(FileManager.default.fileExists(atPath: path(recordings[0].body, "file")), "\(recordings[0].body)")
            let segments = notes.filter { $0.action == "on_hls" }
            #expect(segments.count > 5)
            var numbers: [String: [Int]] = [:]
            var durations: [String: [Double]] = [:]
            for segment in segments {
                #expect(segment.client == publisher)
                #expect(segment.body["url"].string?.hasPrefix("live/one/") == true, "\(segment.body)")
                #expect(segment.body["m3u8_url"].string == "live/one.m3u8")
                let track = segment.body["track"].string ?? ""
                numbers[track, default: []].append(segment.body["seq_no"].int ?? -1)
                durations[track, default: []].append(segment.body["duration"].number ?? 0)
            }
            for (track, found) in numbers { #expect(found == found.sorted(), "\(track): \(found)") }
            // The end of the stream cuts the last one.
            for (track, found) in durations {
                #expect(found.dropLast().allSatisfy { abs($0 - 1) < 0.2 }, "\(track): \(found)")
            }
            let notified = notes.filter { $0.method == "GET" }
            #expect(notified.count == segments.count)
            #expect(notified.allSatisfy { $0.target.hasPrefix("/notify/live/one?ts=live/one/") }, "\(notified[0])")
            #expect(notified.allSatisfy { $0.target.hasSuffix("&param=?user=ann&n=1") }, "\(notified[0])")
        }

        // MARK: Refusals

        /// What ffmpeg and curl get of a stream that is on: `rtmp`, `flv` and `hls`, and what `publish` says of another.
        private static func attempts(_ sandbox: Sandbox, _ origin: ClusterNode, _ file: URL) async throws -> [String:
            String]
        {
            let quick = Media.quiet + ["-rw_timeout", "8000000"]
            let publisher = try sandbox.start(
                "refused-publisher", try Tools.ffmpeg,
                Media.quiet + ["-re", "-i", file.path, "-c", "copy", "-t", "3", "-f", "flv", origin.rtmp("live/other")])
            let player = try sandbox.start(
                "refused-player", try Tools.ffmpeg,
                quick + ["-i", origin.rtmp("live/one"), "-c", "copy", "-t", "1", "-f", "null", "-"])
            // A client of its own, which nothing is known of.
            let agent = "agent-\(UUID().uuidString)"
            let hls = try await sandbox.request(origin.http("live/one.m3u8"), options: ["-A", agent])
            let flv = try await sandbox.request(
                origin.flv("live/one"), options: ["-m", "6", "-o", "/dev/null"])
            try await publisher.wait(within: .seconds(15))
            try await player.wait(within: .seconds(15))
            func told(_ child: Child) -> String { child.ending == .exited(0) ? "well" : child.text }
            return [
                "publish": told(publisher), "rtmp": told(player), "flv": "\(flv.status)",
                "hls": "\(hls.status) \(hls.json["detail"].string ?? "")",
            ]
        }

        @Test("a receiver's no, in every form, ends publishers and viewers of all kinds, who are told its reason")
        func refusals() async throws {
            try await Sandbox.run { sandbox in
                let hooks = try await HookServer(sandbox, secret: Self.secret)
                let origin = try await Self.origin(
                    sandbox, hooks, ["on_publish", "on_play", "on_unpublish", "on_stop"])
                let source = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                let publisher = try Media.publish(sandbox, source, to: origin.rtmp("live/one"))
                try await HLSTests.isPlayable(sandbox, origin, "live/one", segments: 1)
                let viewer = try Media.download(sandbox, origin.flv("live/one"), to: "first.flv")
                try await viewer.grows()
                for manner in [HookServer.Manner.refuse, .refusePlainly, .forbid, .garbage, .silence, .flood] {
                    try hooks.answer(["on_publish": manner, "on_play": manner])
                    let found = try await Self.attempts(sandbox, origin, source)
                    let reason =
                        switch manner {
                        case .refuse: "not today"
                        case .refusePlainly, .forbid: "refused by"
                        default: "cannot be understood"
                        }
                    #expect(found["publish"]?.contains(reason) == true, "\(manner): \(found)")
                    #expect(found["rtmp"]?.contains(reason) == true, "\(manner): \(found)")
                    #expect(found["flv"] == "403", "\(manner): \(found)")
                    #expect(
                        found["hls"]?.hasPrefix("403 ") == true && found["hls"]?.contains(reason) == true, "\(found)")
                    #expect(try await origin.stream("live/other") == nil, "\(manner)")
                }
                // Who was refused has no end that could be told.
                #expect(try !hooks.notes.contains { $0.action == "on_unpublish" || $0.action == "on_stop" })
                #expect(publisher.isRunning && viewer.child.isRunning)
                try await viewer.grows()
                try hooks.answer(["on_play": .shortly])
                let short = try Media.download(sandbox, origin.flv("live/one"), to: "short.flv")
                try await short.grows()
                try await short.child.wait(within: .seconds(6))
                #expect(viewer.child.isRunning)
            }
        }

        @Test("a receiver that hangs, hangs up or is gone follows the policy, and streams that play do not notice")
        func outages() async throws {
            try await Sandbox.run { sandbox in
                let hooks = try await HookServer(sandbox, secret: Self.secret)
                let source = try await Media.makeSource(sandbox, seconds: 120, group: 25)
                var audiences: [(ClusterNode, Audience)] = []
                for policy in ["deny", "allow"] {
                    let origin = try await Self.origin(
                        sandbox, hooks, ["on_publish", "on_play", "on_unpublish", "on_stop", "on_hls"],
                        [
                            "stream.hooks.unreachable": policy, "node.id": policy, "media.directory": "\(policy)-media",
                            "media.recordings": "\(policy)-recordings", "media.catalog": "\(policy).sqlite",
                        ])
                    _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), name: "publisher-\(policy)")
                    try await HLSTests.isPlayable(sandbox, origin, "live/one", segments: 1)
                    audiences.append((origin, try await Audience(sandbox, "live/one", on: [origin], name: policy)))
                }
                for manner in [HookServer.Manner.hang, .drop, nil] {
                    if let manner {
                        try hooks.answer(["on_publish": manner, "on_play": manner, "on_stop": manner, "on_hls": manner])
                    } else {
                        hooks.child.destroy()
                    }
                    for (origin, audience) in audiences {
                        let began = ContinuousClock.now
                        let found = try await Self.attempts(sandbox, origin, source)
                        #expect(ContinuousClock.now - began < .seconds(20))
                        if origin === audiences[0].0 {
                            #expect(found["publish"]?.contains("cannot be reached") == true, "\(found)")
                            #expect(found["rtmp"]?.contains("cannot be reached") == true, "\(found)")
                            #expect(found["flv"] == "503" && found["hls"]?.hasPrefix("503") == true, "\(found)")
                        } else {
                            #expect(found["publish"] == "well" && found["rtmp"] == "well", "\(found)")
                            #expect(found["flv"] == "200" && found["hls"]?.hasPrefix("200") == true, "\(found)")
                        }
                        try await audience.keepsPlaying(for: .seconds(1), longestWait: .seconds(2))
                    }
                }
                // It comes back, and all goes on as before.
                let back = try await HookServer(sandbox, secret: Self.secret, port: hooks.port)
                try back.answer([:])
                try await until("sessions are let in again", within: .seconds(15), every: .milliseconds(500)) {
                    try await Self.attempts(sandbox, audiences[0].0, source)["publish"] == "well"
                }
            }
        }

        // MARK: Cluster

        @Test("a publisher that comes through an edge is judged once, at the origin, by its own address and URL")
        func forwarded() async throws {
            try await Sandbox.run { sandbox in
                let hooks = try await HookServer(sandbox, secret: Self.secret)
                let settings = hooks.settings(Self.events).merging(["hooks.secret": Self.secret]) { $1 }
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin("origin", settings)
                let edge = try await cluster.edge("edge", settings)
                let relay = try await CountingRelay(sandbox, targets: [edge.rtmpPort], source: "127.0.0.77")
                let source = try await Media.makeSource(sandbox, seconds: 30, group: 25)
                let publisher = try Media.publish(sandbox, source, to: relay.rtmp(0, "live/one?user=ann"))
                try await origin.isLive("live/one")
                let viewer = try Media.download(sandbox, edge.flv("live/one"), to: "edge.flv")
                try await viewer.grows()
                let listed = try await origin.client("fmle-publish", of: "one", sandbox)
                #expect(listed["ip"].string == "127.0.0.77")
                publisher.signal(SIGINT)
                try await until("the end is told", within: .seconds(15)) {
                    try hooks.notes.contains { $0.action == "on_unpublish" }
                }
                let published = try hooks.notes.filter { $0.action == "on_publish" }
                #expect(published.count == 1)
                #expect(published[0].body["ip"].string == "127.0.0.77")
                #expect(published[0].body["param"].string == "?user=ann")
                #expect(published[0].body["node"].string == "origin")
                let played = try hooks.notes.filter { $0.action == "on_play" }
                #expect(played.map { $0.body["node"].string } == ["edge"])
                #expect(try hooks.notes.filter { $0.action == "on_unpublish" }.count == 1)
            }
        }
    }
}
