import Foundation
import Media
import NIOCore
import StreamHub
import Testing

@testable import Hooks

/// The way of sessions through the registry, and the bodies that receivers get.
extension AllTests {
    @Suite struct SessionTests {
        private static let everything: [HookEvent] = HookEvent.allCases

        private static func urls(_ url: String, _ events: [HookEvent] = everything) -> HookURLs {
            HookURLs(Dictionary(uniqueKeysWithValues: events.map { ($0, [url]) }))
        }

        private static let streamID = SRSIdentifiers.stream(HooksBench.key)

        @Test("A publisher over RTMP is told of in SRS's order, field by field")
        func aPublisherOverRtmpIs() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    let peer = try bench.peer()
                    let account = try #require(peer.account)
                    let id = account.id
                    #expect(await bench.hooks.admit(.publish, HooksBench.key, peer) == .allow(SessionPolicy()))
                    bench.registry.begin(
                        account, SessionActivity(kind: .publish, key: HooksBench.key, transport: "rtmp", epoch: 9))
                    account.received(1_000)
                    account.sent(10)
                    bench.registry.end(account, .left)
                    account.received(5)
                    bench.registry.close(account)
                    let requests = try await receiver.requests(4)
                    #expect(requests.map(\.action) == ["on_connect", "on_publish", "on_unpublish", "on_close"])
                    let start = #"{"server_id":"vid-server1","service_id":"run1","action":""#
                    let client = #","client_id":"\#(id)","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live""#
                    let end = #","node":"o1","transport":"rtmp"}"#
                    let stream =
                        #","tcUrl":"rtmp://host/live","stream":"cam","param":"?a=1&token=x""#
                        + #","stream_url":"/live/cam","stream_id":"\#(Self.streamID)""#
                    #expect(
                        requests[0].body
                            == start + #"on_connect""# + client
                            + #","stream":"cam","param":"?a=1&token=x","tcUrl":"rtmp://host/live""#
                            + #","pageUrl":"http://page/\"x\"""# + end)
                    #expect(requests[1].body == start + #"on_publish""# + client + stream + end)
                    let ended = try Self.object(requests[2].body)
                    #expect(
                        requests[2].body
                            == start + #"on_unpublish""# + client + stream + #","epoch":9,"reason":"left","duration":"#
                            + "\(ended["duration"] ?? "")" + #","send_bytes":10,"recv_bytes":1000"# + end)
                    #expect(
                        requests[3].body
                            == start + #"on_close""# + client + #","send_bytes":10,"recv_bytes":1005"# + end)
                    for request in requests {
                        #expect(request.method == "POST")
                        #expect(request.target == "/hook")
                        #expect(request.headers["content-type"] == "application/json")
                        #expect(request.headers["user-agent"] == "Weir/4.0")
                        #expect(request.headers["weir-signature"] == nil)
                        #expect(request.headers["weir-delivery"]?.count == 32)
                    }
                    #expect(Set(requests.map { $0.headers["weir-delivery"] }).count == 4)
                }
            }
        }

        @Test("A viewer over HTTP has no connection of its own, and its vhost is in the URL")
        func aViewerOverHttpHas() async throws {
            let key = HooksBench.key("app/a", "s", vhost: "v.example")
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    let peer = try bench.peer(key, transport: "http-flv", query: "")
                    let account = try #require(peer.account)
                    #expect(await bench.hooks.admit(.play, key, peer) == .allow(SessionPolicy()))
                    bench.registry.begin(account, SessionActivity(kind: .play, key: key, transport: "http-flv"))
                    bench.registry.end(account, .tooSlow)
                    bench.registry.close(account)
                    let requests = try await receiver.requests(2)
                    let play = try Self.object(requests[0].body)
                    let expected = [
                        "server_id": "vid-server1", "service_id": "run1", "action": "on_play", "client_id": account.id,
                        "ip": "192.0.2.7", "vhost": "v.example", "app": "app/a", "tcUrl": "rtmp://host/app/a",
                        "stream": "s", "param": "", "stream_url": "v.example/app/a/s",
                        "stream_id": SRSIdentifiers.stream(key), "pageUrl": "http://page/\"x\"", "node": "o1",
                        "transport": "http-flv",
                    ]
                    #expect(play as? [String: String] == expected)
                    let stop = try Self.object(requests[1].body)
                    #expect(stop["action"] as? String == "on_stop")
                    #expect(stop["reason"] as? String == "tooSlow")
                    #expect(stop["client_id"] as? String == account.id)
                    try await Task.sleep(for: .milliseconds(100))
                    #expect(receiver.requests.count == 2)
                }
            }
        }

        @Test("A connection that was refused is told of when it closes, a publisher that was refused is not")
        func aConnectionThatWasRefused()
            async throws
        {
            try await FakeReceiver.with({ $0.action == "on_publish" ? .text("1") : .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    let peer = try bench.peer()
                    let account = try #require(peer.account)
                    #expect(await bench.hooks.admit(.publish, HooksBench.key, peer) != .allow(SessionPolicy()))
                    bench.registry.close(account)
                    let requests = try await receiver.requests(3)
                    #expect(requests.map(\.action) == ["on_connect", "on_publish", "on_close"])
                    #expect(bench.hooks.sessions.counts.sessions == 0)
                }
            }
        }

        @Test("Where on_connect refuses, on_publish is not called")
        func whereOnconnectRefusesOnpublishIs() async throws {
            try await FakeReceiver.with({ $0.action == "on_connect" ? .text("1") : .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    let peer = try bench.peer()
                    #expect(
                        await bench.hooks.admit(.publish, HooksBench.key, peer)
                            == .refuse(HookRefusal(event: .onConnect, cause: .refused, reason: "refused by on_connect"))
                    )
                    try bench.registry.close(#require(peer.account))
                    #expect(try await receiver.requests(2).map(\.action) == ["on_connect", "on_close"])
                }
            }
        }

        @Test("Relays and sessions that were not asked about cause no calls")
        func relaysAndSessionsThatWere() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    for isRelay in [true, false] {
                        let account = try #require(try bench.peer().account)
                        let activity = SessionActivity(
                            kind: .play, key: HooksBench.key, transport: "rtmp", isRelay: isRelay)
                        bench.registry.begin(account, activity)
                        bench.registry.end(account, .left)
                        bench.registry.close(account)
                    }
                    try await Task.sleep(for: .milliseconds(150))
                    #expect(receiver.requests.isEmpty)
                    #expect(bench.hooks.sessions.counts.sessions == 0)
                }
            }
        }

        @Test("A session that changes its stream ends each of them once")
        func aSessionThatChangesIts() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url, [.onPlay, .onStop, .onClose]) }.run { bench in
                    let first = try bench.peer(HooksBench.key("live", "a"))
                    let account = try #require(first.account)
                    for name in ["a", "b"] {
                        let key = HooksBench.key("live", name)
                        #expect(await bench.hooks.admit(.play, key, first) == .allow(SessionPolicy()))
                        bench.registry.begin(account, SessionActivity(kind: .play, key: key, transport: "rtmp"))
                        bench.registry.end(account, .left)
                    }
                    bench.registry.close(account)
                    let requests = try await receiver.requests(5)
                    let stops = try requests.filter { $0.action == "on_stop" }.map {
                        try Self.object($0.body)["stream"]
                    }
                    #expect(Set(stops.compactMap { $0 as? String }) == ["a", "b"])
                    #expect(requests.count == 5)
                }
            }
        }

        @Test("A connection that closes while it is asked for is told of by the next sweep")
        func aConnectionThatClosesWhile() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url, [.onConnect, .onClose]) }.run { bench in
                    do {
                        let peer = try bench.peer()
                        try bench.registry.close(#require(peer.account))
                        _ = await bench.hooks.admit(.publish, HooksBench.key, peer)
                    }
                    bench.hooks.sweep()
                    let requests = try await receiver.requests(2)
                    #expect(requests.map(\.action) == ["on_connect", "on_close"])
                    #expect(bench.hooks.sessions.counts.sessions == 0)
                }
            }
        }

        @Test("50,000 sessions leave nothing behind")
        func sessionsLeaveNothingBehind() async throws {
            let bench = HooksBench { _ in HookURLs() }
            try await bench.run { bench in
                for index in 0..<50_000 {
                    let key = HooksBench.key("live", "s\(index)")
                    let peer = try bench.peer(key)
                    let account = try #require(peer.account)
                    _ = await bench.hooks.admit(.publish, key, peer)
                    bench.registry.begin(account, SessionActivity(kind: .publish, key: key, transport: "rtmp"))
                    bench.registry.close(account)
                }
                #expect(bench.hooks.sessions.counts.sessions == 0)
                _ = bench.hooks.sessions.sweep(now: .now() + .minutes(6))
                #expect(bench.hooks.sessions.counts.publishers == 0)
            }
        }

        @Test("A recording is told of with its publisher, although it left")
        func aRecordingIsToldOf() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url, [.onDVR]) }.run { bench in
                    let peer = try bench.peer()
                    let account = try #require(peer.account)
                    _ = await bench.hooks.admit(.publish, HooksBench.key, peer)
                    let activity = SessionActivity(kind: .publish, key: HooksBench.key, transport: "rtmp", epoch: 3)
                    bench.registry.begin(account, activity)
                    bench.registry.close(account)
                    bench.hooks.recordingFinished(
                        HookRecording(
                            key: HooksBench.key, path: "/rec/cam.mp4", durationMillis: 2_500, byteCount: 77, id: "abc",
                            epoch: 3))
                    let body = try await receiver.requests(1)[0].body
                    #expect(
                        body
                            == #"{"server_id":"vid-server1","service_id":"run1","action":"on_dvr","client_id":"\#(account.id)""#
                            + #","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://host/live""#
                            + #","stream":"cam","param":"?a=1&token=x","stream_url":"/live/cam""#
                            + #","stream_id":"\#(Self.streamID)","cwd":"\#(FileManager.default.currentDirectoryPath)""#
                            + #","file":"/rec/cam.mp4","epoch":3,"duration":2.5,"bytes":77,"recording":"abc""#
                            + #","node":"o1","transport":"rtmp"}"#)
                }
            }
        }

        @Test("A segment is told of by on_hls and on_hls_notify")
        func aSegmentIsToldOf() async throws {
            try await FakeReceiver.with({ _ in .agreement }) { receiver in
                let post = receiver.url()
                let notify = receiver.url("/n/[server_id]/[service_id]/[app]/[stream]/[ts_url][param]")
                let urls = HookURLs([.onHLS: [post], .onHLSNotify: [notify]])
                try await HooksBench({ $0.secret = "s" }) { _ in urls }.run { bench in
                    let account = try #require(try bench.peer().account)
                    bench.registry.begin(
                        account, SessionActivity(kind: .publish, key: HooksBench.key, transport: "rtmps"))
                    bench.hooks.segmentFinished(
                        HookSegment(
                            key: HooksBench.key, epoch: 4, sequence: 12, durationMillis: 2_002,
                            path: "/media/live/cam/_main-4-12.ts", url: "live/cam/_main-4-12.ts",
                            playlistPath: "/media/live/cam.m3u8", playlistURL: "live/cam.m3u8", track: "main",
                            byteCount: 188))
                    let requests = try await receiver.requests(2)
                    let sent = try #require(requests.first { $0.method == "POST" })
                    #expect(
                        sent.body
                            == #"{"server_id":"vid-server1","service_id":"run1","action":"on_hls","client_id":"\#(account.id)""#
                            + #","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://host/live""#
                            + #","stream":"cam","param":"?a=1&token=x","stream_url":"/live/cam""#
                            + #","stream_id":"\#(Self.streamID)","duration":2.002,"#
                            + #""cwd":"\#(FileManager.default.currentDirectoryPath)","#
                            + #""file":"/media/live/cam/_main-4-12.ts","url":"live/cam/_main-4-12.ts","#
                            + #""m3u8":"/media/live/cam.m3u8","m3u8_url":"live/cam.m3u8","seq_no":12,"epoch":4,"#
                            + #""track":"main","bytes":188,"node":"o1","transport":"rtmps"}"#)
                    let notification = try #require(requests.first { $0.method == "GET" })
                    #expect(
                        notification.target
                            == "/n/vid-server1/run1/live/cam/live/cam/_main-4-12.ts?a=1&token=x")
                    #expect(notification.body.isEmpty)
                    #expect(notification.headers["weir-signature"] != nil)
                }
            }
        }

        @Test("The forward backend is asked for URLs")
        func theForwardBackendIsAsked() async throws {
            let answer = Current(#"{"code":0,"data":{"urls":["rtmp://a/b/c","rtmp://d/e/f?x=1"]}}"#)
            try await FakeReceiver.with({ _ in .text(answer.url) }) { receiver in
                let url = receiver.url()
                try await HooksBench { key in key.app == "live" ? Self.urls(url) : HookURLs() }.run { bench in
                    let peer = try bench.peer()
                    #expect(
                        await bench.hooks.forwards(HooksBench.key, peer)
                            == .success(["rtmp://a/b/c", "rtmp://d/e/f?x=1"]))
                    #expect(
                        receiver.requests[0].body
                            == #"{"server_id":"vid-server1","service_id":"run1","action":"on_forward","client_id":"\#(peer.account?.id ?? "")""#
                            + #","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://host/live""#
                            + #","stream":"cam","param":"?a=1&token=x","node":"o1","transport":"rtmp"}"#)
                    answer.url = #"{"code":0,"data":{"urls":[]}}"#
                    #expect(await bench.hooks.forwards(HooksBench.key, peer) == .success([]))
                    for bad in ["0", #"{"code":0}"#, #"{"code":0,"data":{"urls":"rtmp://a/b/c"}}"#, #"{"code":1}"#] {
                        answer.url = bad
                        guard case .failure = await bench.hooks.forwards(HooksBench.key, peer) else {
                            Issue.record("\(bad) was accepted")
                            continue
                        }
                    }
                    #expect(await bench.hooks.forwards(HooksBench.key("other", "s"), peer) == .success(nil))
                }
            }
        }

        @Test("An answer may set limits for the session, and the tighter ones of two receivers hold")
        func anAnswerMaySetLimits() async throws {
            try await FakeReceiver.with({ request in
                request.action == "on_connect"
                    ? .text(
                        #"{"code":0,"data":{"session":{"maximum_bit_rate":9000000,"maximum_seconds":60,"record":true}}}"#
                    )
                    : .text(
                        #"{"code":0,"data":{"session":{"maximum_bit_rate":"fast","maximum_seconds":90,"expires_at":2000000000,"#
                            + #""publish_policy":"takeover","record":null,"more":[1]}}}"#)
            }) { receiver in
                let url = receiver.url()
                try await HooksBench { _ in Self.urls(url) }.run { bench in
                    let peer = try bench.peer()
                    #expect(
                        await bench.hooks.admit(.publish, HooksBench.key, peer)
                            == .allow(
                                SessionPolicy(
                                    maximumBitRate: 9_000_000, maximumSeconds: 60, expiresAt: 2_000_000_000,
                                    publishPolicy: .takeover, records: true)))
                    try await until { bench.log.all.contains { $0.contains("maximum_bit_rate") } }
                }
            }
        }

        static func object(_ body: String) throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any])
        }
    }
}
