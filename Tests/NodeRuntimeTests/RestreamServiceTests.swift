import Media
import NIOCore
import NIOPosix
import RTMP
import RTMPServer
import StreamHub
import Streaming
import Synchronization
import Testing

@testable import NodeRuntime

@Suite("pushing streams to other servers", .serialized, .timeLimit(.minutes(1))) struct RestreamServiceTests {
    // MARK: URLs

    @Test(
        "placeholders are filled in once",
        arguments: [
            ("rtmp://h/[app]/[stream]", "", "rtmp://h/live/cam"),
            ("rtmp://h/[app]/[stream][param]", "a=1&b=2", "rtmp://h/live/cam?a=1&b=2"),
            ("rtmp://h/[app]/[stream][param]", "", "rtmp://h/live/cam"),
            ("rtmp://h/x/[stream]?vhost=[vhost][param]", "a=1", "rtmp://h/x/cam?vhost=v.example&a=1"),
            ("rtmp://h/x/y?[param]", "a=[app]", "rtmp://h/x/y?a=[app]"),
            ("rtmp://[::1]:1936/a/[unknown]", "", "rtmp://[::1]:1936/a/[unknown]"),
            ("rtmp://h/a/[stream", "", "rtmp://h/a/[stream"),
            ("10.0.0.1:19350", "k=1", "rtmp://10.0.0.1:19350/live/cam?k=1"),
        ])
    func templates(template: String, query: String, url: String) throws {
        let key = try StreamKey(vhost: "v.example", app: "live", name: "cam")
        #expect(RestreamURL.make(template, key: key, query: query) == url)
    }

    @Test(
        "what is shown of a URL has no secrets",
        arguments: [
            ("rtmp://h/live/cam", "rtmp://h/live/cam"),
            ("rtmps://u:p@h:443/live/cam?token=abc&x", "rtmps://h:443/live/cam?token=***&x=***"),
            ("rtmp://a.example/live2/abcd-cam-efgh", "rtmp://a.example/live2/***"),
            ("rtmp://a.example/live2/cam?k=1#f", "rtmp://a.example/live2/cam?k=***"), ("nonsense", "***"),
        ])
    func printable(url: String, shown: String) throws {
        #expect(RestreamURL.printable(url, try StreamKey(app: "live", name: "cam")) == shown)
    }

    @Test("URLs are taken apart, and those that name no stream are refused")
    func targets() throws {
        let target = try RTMPPushTarget(parsing: "rtmps://H.example/live/a/key-1?x=1&y")
        #expect(target.host == "h.example" && target.port == 443 && target.usesTLS)
        #expect(target.app == "live/a" && target.name == "key-1" && target.query == "x=1&y")
        let errors: [(String, RTMPPushError)] = [
            ("http://h/a/b", .scheme), ("rtmp://h/a", .noStream), ("rtmp://h/", .noStream), ("rtmp://h", .noStream),
            ("h/a/b", .address(.missingScheme)), ("rtmp:///a/b", .address(.missingHost)),
            ("rtmp://h:99999/a/b", .address(.invalidPort)),
        ]
        for (text, expected) in errors {
            #expect(throws: expected) { try RTMPPushTarget(parsing: text) }
        }
    }

    // MARK: Pushing

    @Test("a stream is pushed from its last keyframe on, with times that begin at zero, and ends with it")
    func pushes() async throws {
        try await RestreamBench.run { bench in
            try await bench.publish()
            try await bench.send(0..<30)
            try await bench.push(["\(bench.url)/[app]/[stream]?token=secret"])
            let sink = try await bench.sink("live/cam")
            try await restreamEventually { sink.frames.count >= 5 }
            try await bench.send(30..<40)
            try await restreamEventually { sink.frames.count == 15 }
            // The stream's keyframes are every 25 frames: the cache began at 25.
            #expect(sink.frames.map(\.number) == Array(25..<40))
            #expect(sink.frames.map(\.millis) == (0..<15).map { Int64($0) * 40 })
            #expect(sink.tracks.map(\.codec) == [.h264])
            #expect(bench.destination.peers.first?.query == "token=secret")
            let snapshot = try #require(bench.service.snapshots().first)
            #expect(snapshot.state == .live)
            #expect(snapshot.url == "\(bench.url)/live/cam?token=***")
            #expect(snapshot.attempts == 1 && snapshot.sentBytes > 15 * 400)
            try await bench.leave()
            try await restreamEventually { sink.isFinished }
            try await restreamEventually { bench.service.snapshots().isEmpty }
        }
    }

    @Test("a publisher that is waited for keeps its destination, and one that comes back goes on")
    func grace() async throws {
        try await RestreamBench.run(grace: .seconds(20)) { bench in
            try await bench.publish()
            try await bench.send(0..<5)
            try await bench.push(["\(bench.url)/[app]/[stream]"])
            let sink = try await bench.sink("live/cam")
            try await restreamEventually { sink.frames.count == 5 }
            try await bench.leave(isFinal: false)
            try await bench.publish()
            try await bench.push(["\(bench.url)/[app]/[stream]"])
            try await bench.send(25..<30)
            try await restreamEventually { sink.frames.count == 10 }
            #expect(bench.destination.peers.count == 1)
            try await bench.leave()
            try await restreamEventually { bench.service.snapshots().isEmpty }
        }
    }

    @Test("a destination that is lost or refuses is tried again")
    func reconnects() async throws {
        try await RestreamBench.run { bench in
            bench.destination.refuses.withLock { $0 = true }
            try await bench.publish()
            try await bench.send(0..<3)
            try await bench.push(["\(bench.url)/[app]/[stream]"])
            try await restreamEventually { bench.service.snapshots().first?.state == .waiting }
            #expect(bench.service.snapshots().first?.lastError.contains("the test refuses") == true)
            bench.destination.refuses.withLock { $0 = false }
            let first = try await bench.sink("live/cam")
            try await restreamEventually { first.frames.count == 3 }
            bench.destination.dropAll()
            try await restreamEventually { bench.destination.sinks.withLock { $0.count } == 2 }
            let second = try await bench.sink("live/cam")
            try await restreamEventually { second.frames.map(\.number) == [0, 1, 2] }
            #expect((bench.service.snapshots().first?.attempts ?? 0) >= 3)
        }
    }

    @Test("a destination that is away costs nothing but tries, and the stream goes on")
    func unreachable() async throws {
        try await RestreamBench.run { bench in
            let closed = try await ServerBootstrap(group: bench.group).bind(host: "127.0.0.1", port: 0).get()
            let port = closed.localAddress?.port ?? 0
            try await closed.close().get()
            try await bench.publish()
            try await bench.push(["rtmp://127.0.0.1:\(port)/a/b", "http://h/a/b", "\(bench.url)/x/y"])
            try await bench.send(0..<3)
            let sink = try await bench.sink("x/y")
            try await restreamEventually { sink.frames.count == 3 }
            try await restreamEventually {
                (bench.service.snapshots().first { $0.url.contains(":\(port)/") }?.attempts ?? 0) >= 3
            }
            #expect(bench.service.snapshots().count == 2)
            #expect(bench.service.snapshots().first { $0.url.contains(":\(port)/") }?.lastError.isEmpty == false)
            bench.service.withdrawn(bench.key)
            try await restreamEventually { sink.isFinished }
            #expect(bench.service.snapshots().isEmpty)
        }
    }

    @Test("another publisher's destinations take the place of the former ones; those that are the same stay")
    func changes() async throws {
        try await RestreamBench.run { bench in
            try await bench.publish()
            try await bench.send(0..<3)
            try await bench.push(["\(bench.url)/x/one", "\(bench.url)/x/two"])
            let one = try await bench.sink("x/one")
            let two = try await bench.sink("x/two")
            try await bench.push(["\(bench.url)/x/two", "\(bench.url)/x/three"])
            _ = try await bench.sink("x/three")
            try await restreamEventually { one.isFinished }
            #expect(!two.isFinished)
            #expect(bench.service.snapshots().count == 2)
            bench.service.close()
            try await restreamEventually { two.isFinished }
            try await bench.push(["\(bench.url)/x/four"])
            #expect(bench.service.snapshots().isEmpty)
        }
    }

    @Test("more destinations than there may be are left out")
    func bounded() async throws {
        try await RestreamBench.run(maximumDestinations: 2) { bench in
            try await bench.publish()
            try await bench.push((0..<5).map { "\(bench.url)/x/\($0)" })
            #expect(bench.service.snapshots().count == 2)
        }
    }

    @Test("a destination that does not read skips to a keyframe when it reads again, and the queue is bounded")
    func slow() async throws {
        try await RestreamBench.run { bench in
            let gate = try await RestreamProxy.start(to: bench.port, group: bench.group)
            try await bench.publish()
            try await bench.send(0..<5)
            try await bench.push(["rtmp://127.0.0.1:\(gate.port)/x/slow"])
            let sink = try await bench.sink("x/slow")
            try await restreamEventually { sink.frames.count == 5 }
            gate.setReading(false)
            // 60 MB, of which sockets and queue can hold a part.
            try await bench.send(5..<305, bytes: 200_000)
            try await restreamEventually { (bench.service.snapshots().first?.skips ?? 0) >= 1 }
            #expect((bench.service.snapshots().first?.sentBytes ?? .max) < 30 << 20)
            gate.setReading(true)
            var next = 305
            try await restreamEventually {
                try await bench.send(next..<next + 1)
                next += 1
                return (sink.frames.last?.number ?? 0) >= 305
            }
            let numbers = sink.frames.map(\.number)
            let gaps = zip(numbers, numbers.dropFirst()).filter { $1 != $0 + 1 }
            #expect(!gaps.isEmpty)
            #expect(gaps.allSatisfy { $1 % 25 == 0 && $1 > $0 })
            #expect(bench.destination.peers.count == 1)
            try await gate.close()
        }
    }

    @Test("a destination that never reads again is given up and tried anew")
    func stalled() async throws {
        try await RestreamBench.run(stallTimeout: .milliseconds(300)) { bench in
            let gate = try await RestreamProxy.start(to: bench.port, group: bench.group)
            try await bench.publish()
            try await bench.send(0..<5)
            try await bench.push(["rtmp://127.0.0.1:\(gate.port)/x/stalled"])
            _ = try await bench.sink("x/stalled")
            gate.setReading(false)
            try await bench.send(5..<305, bytes: 200_000)
            try await restreamEventually {
                bench.service.snapshots().first?.lastError == "the destination does not read"
            }
            try await restreamEventually { (bench.service.snapshots().first?.attempts ?? 0) >= 2 }
            try await gate.close()
        }
    }

    @Test("RTMPS is pushed to with a certificate that is trusted, and to no other")
    func encrypted() async throws {
        let certificate = try RestreamCertificate()
        try await RestreamBench.run(certificate: certificate) { bench in
            try await bench.publish()
            try await bench.send(0..<3)
            try await bench.push([
                "rtmps://localhost:\(bench.tlsPort)/x/safe", "rtmps://127.0.0.1:\(bench.tlsPort)/x/other",
            ])
            let sink = try await bench.sink("x/safe")
            try await restreamEventually { sink.frames.count == 3 }
            // The certificate is for the name.
            try await restreamEventually {
                bench.service.snapshots().first { $0.url.contains("127.0.0.1") }?.state == .waiting
            }
            #expect(bench.destination.peers.count { $0.name == "other" } == 0)
        }
    }
}
