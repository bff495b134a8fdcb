import Media
import NIOCore
import StreamHub
import Streaming
import Synchronization
import Testing

/// Keeps what it is told, as words.
final class SessionLog: SessionObserver {
    private let log = Mutex<[String]>([])
    private let results = Mutex<[SessionResult]>([])
    /// Done inside a call, to see that a registry survives it.
    let onBegan: (@Sendable (SessionAccount) -> Void)?

    init(onBegan: (@Sendable (SessionAccount) -> Void)? = nil) { self.onBegan = onBegan }

    var words: [String] { self.log.withLock { $0 } }
    var ends: [SessionResult] { self.results.withLock { $0 } }

    func sessionBegan(_ account: SessionAccount, _ activity: SessionActivity) {
        self.log.withLock { $0.append("\(account.id) began \(activity.kind.rawValue)") }
        self.onBegan?(account)
    }

    func sessionEnded(_ account: SessionAccount, _ activity: SessionActivity, _ result: SessionResult) {
        self.log.withLock { $0.append("\(account.id) ended \(result.end.rawValue)") }
        self.results.withLock { $0.append(result) }
    }

    func sessionClosed(_ account: SessionAccount) { self.log.withLock { $0.append("\(account.id) closed") } }

    func words(of account: SessionAccount) -> [String] {
        self.words.filter { $0.hasPrefix("\(account.id) ") }.map { String($0.dropFirst(account.id.count + 1)) }
    }
}

/// Lets in as many connections as it may.
private final class Door: ConnectionAdmission {
    let state = Mutex<(open: Int, log: [String])>((0, []))
    let maximum: Int

    init(maximum: Int) { self.maximum = maximum }

    func connectionOpened(_ address: SocketAddress?, transport: String) -> String? {
        self.state.withLock { state in
            guard state.open < self.maximum else { return "full" }
            state.open += 1
            state.log.append("+\(transport)")
            return nil
        }
    }

    func connectionClosed(_ address: SocketAddress?, transport: String) {
        self.state.withLock { state in
            state.open -= 1
            state.log.append("-\(transport)")
        }
    }
}

@Suite("Session registry")
struct SessionRegistryTests {
    private static func key(_ name: String = "a", vhost: String = StreamKey.defaultVhost) throws -> StreamKey {
        try StreamKey(vhost: vhost, app: "live", name: name)
    }

    private static func play(
        _ key: StreamKey, _ transport: String = "rtmp", isRelay: Bool = false
    ) -> SessionActivity {
        SessionActivity(kind: .play, key: key, transport: transport, isRelay: isRelay, epoch: 3)
    }

    private static func publish(_ key: StreamKey) -> SessionActivity {
        SessionActivity(kind: .publish, key: key, transport: "rtmp", epoch: 3)
    }

    // MARK: Life

    @Test("an id has 8 letters and digits, and finds its session until it closes")
    func ids() throws {
        let registry = SessionRegistry()
        let accounts = (0..<1_000).compactMap { _ in registry.open(nil, transport: "rtmp") }
        #expect(Set(accounts.map(\.id)).count == 1_000)
        for account in accounts {
            #expect(account.id.utf8.count == 8)
            #expect(account.id.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) })
        }
        let first = try #require(accounts.first)
        #expect(registry.account(first.id) === first)
        registry.close(first)
        #expect(registry.account(first.id) == nil)
        #expect(registry.counts.open == 999)
        #expect(registry.counts.opened == 1_000)
    }

    @Test("an activity has the bytes that came while it lasted")
    func activityBytes() throws {
        let registry = SessionRegistry()
        let log = SessionLog()
        registry.add(log)
        let account = try #require(registry.open(nil, transport: "rtmp"))
        account.received(100)
        account.sent(10)
        #expect(registry.begin(account, Self.publish(try Self.key())))
        account.received(1_000)
        account.sent(20)
        account.unsent(5)
        #expect(registry.totals(of: try Self.key()).receivedBytes == 1_000)
        #expect(registry.totals(of: try Self.key()).sentBytes == 15)
        #expect(registry.totals(of: try Self.key()).publishers == 1)
        registry.end(account, .left)
        account.received(7)
        registry.close(account)
        #expect(log.words(of: account) == ["began publish", "ended left", "closed"])
        #expect(log.ends.map(\.receivedBytes) == [1_000])
        #expect(log.ends.map(\.sentBytes) == [15])
        #expect(registry.totals().receivedBytes == 1_107)
        #expect(registry.totals().sentBytes == 25)
    }

    @Test("what never left is taken back, even of bytes from before the activity")
    func takenBack() throws {
        let registry = SessionRegistry()
        let account = try #require(registry.open(nil, transport: "rtmp"))
        account.sent(100)
        registry.begin(account, Self.play(try Self.key()))
        account.unsent(40)
        #expect(registry.totals(of: try Self.key()).sentBytes == 0)
        registry.close(account)
        #expect(registry.totals().sentBytes == 60)
    }

    @Test("a session does one thing at a time, may do several, and none when it is over")
    func transitions() throws {
        let registry = SessionRegistry()
        let log = SessionLog()
        registry.add(log)
        let account = try #require(registry.open(nil, transport: "rtmp"))
        registry.end(account, .left)
        #expect(registry.begin(account, Self.play(try Self.key("a"))))
        #expect(!registry.begin(account, Self.play(try Self.key("b"))))
        registry.end(account, .streamEnded)
        registry.end(account, .left)
        #expect(registry.begin(account, Self.play(try Self.key("b"))))
        registry.close(account, .failed)
        registry.close(account)
        #expect(!registry.begin(account, Self.play(try Self.key("c"))))
        registry.end(account, .left)
        #expect(
            log.words(of: account) == ["began play", "ended streamEnded", "began play", "ended failed", "closed"])
        #expect(registry.counts.ends == [.streamEnded: 1, .failed: 1])
        #expect(registry.activeStreams.isEmpty)
    }

    @Test("an observer may end the session that it is told of")
    func reentrant() throws {
        let registry = SessionRegistry()
        let log = SessionLog { [unowned registry] in registry.close($0, .kicked) }
        registry.add(log)
        let account = try #require(registry.open(nil, transport: "rtmp"))
        registry.begin(account, Self.play(try Self.key()))
        #expect(log.words(of: account) == ["began play", "ended kicked", "closed"])
    }

    @Test("threads that begin, end, close and terminate at once leave nothing behind and tell in order")
    func races() async throws {
        let registry = SessionRegistry()
        let log = SessionLog()
        registry.add(log)
        let key = try Self.key()
        let accounts = (0..<300).map { _ in registry.openVirtual(nil) }
        for account in accounts {
            account.onTerminate { [unowned registry, unowned account] end, _ in registry.close(account, end) }
        }
        await withDiscardingTaskGroup { group in
            for account in accounts {
                group.addTask { registry.begin(account, Self.play(key)) }
                group.addTask { account.sent(1) }
                group.addTask { registry.end(account, .streamEnded) }
                group.addTask { account.terminate(.kicked, "go") }
                group.addTask { registry.close(account) }
            }
            group.addTask { for _ in 0..<50 { _ = registry.totals(of: key) } }
            group.addTask { for _ in 0..<50 { registry.tick() } }
        }
        #expect(registry.counts.open == 0)
        #expect(registry.activeStreams.isEmpty)
        #expect(registry.totals().playerCount == 0)
        for account in accounts {
            let words = log.words(of: account)
            #expect(words.last == "closed")
            switch words.count {
            case 1: break
            case 3:
                #expect(words[0] == "began play")
                #expect(words[1].hasPrefix("ended "))
            default: Issue.record("\(words)")
            }
        }
    }

    // MARK: Ending from outside

    @Test("a session is terminated once, with its reason, and does nothing afterwards")
    func terminate() throws {
        let registry = SessionRegistry()
        let log = SessionLog()
        registry.add(log)
        let account = try #require(registry.open(nil, transport: "rtmp"))
        #expect(!registry.kick("nobody00", reason: "x"))
        let told = Mutex<[String]>([])
        account.onTerminate { end, text in told.withLock { $0.append("\(end.rawValue): \(text)") } }
        registry.begin(account, Self.play(try Self.key()))
        #expect(registry.kick(account.id, reason: "behave"))
        #expect(!registry.kick(account.id, reason: "again"))
        account.onTerminate { _, _ in told.withLock { $0.append("a second one") } }
        #expect(!account.terminate(.limited, "again"))
        #expect(told.withLock { $0 } == ["kicked: behave"])
        // The connection that ends for it knows only that it ends.
        registry.end(account, .left)
        #expect(log.ends.map(\.end) == [.kicked])
        #expect(!registry.begin(account, Self.play(try Self.key())))
        registry.close(account)
        #expect(!registry.kick(account.id, reason: "late"))
    }

    @Test("an end that comes before the connection listens for it is told once it does")
    func earlyEnd() throws {
        let registry = SessionRegistry()
        let account = try #require(registry.open(nil, transport: "rtmp"))
        #expect(registry.kick(account.id, reason: "early"))
        #expect(!registry.kick(account.id, reason: "again"))
        #expect(!registry.begin(account, Self.play(try Self.key())))
        let told = Mutex<[String]>([])
        for _ in 0..<2 {
            account.onTerminate { end, text in told.withLock { $0.append("\(end.rawValue): \(text)") } }
        }
        #expect(told.withLock { $0 } == ["kicked: early"])
    }

    @Test("limits end a session, and are those of its activity")
    func limits() throws {
        let registry = SessionRegistry()
        let account = try #require(registry.open(nil, transport: "rtmp"))
        let told = Mutex<[String]>([])
        account.onTerminate { end, text in told.withLock { $0.append("\(end.rawValue): \(text)") } }
        let start = NIODeadline.now()
        account.limits.until = start + .seconds(60)
        registry.tick(now: start + .seconds(61))
        #expect(told.withLock { $0 }.isEmpty, "it does nothing")
        registry.begin(account, Self.play(try Self.key()))
        registry.tick(now: start + .seconds(59))
        #expect(told.withLock { $0 }.isEmpty)
        registry.tick(now: start + .seconds(61))
        #expect(told.withLock { $0 } == ["limited: The time of this session is over."])
        registry.end(account, .left)
        #expect(account.limits == SessionLimits())
    }

    @Test("a publisher may exceed its bit rate for a moment, and not for longer")
    func bitRate() throws {
        let registry = SessionRegistry()
        let account = try #require(registry.open(nil, transport: "rtmp"))
        let told = Mutex<[String]>([])
        account.onTerminate { end, text in told.withLock { $0.append("\(end.rawValue): \(text)") } }
        registry.begin(account, Self.publish(try Self.key()))
        account.limits.bitsPerSecond = 1_000_000
        let start = NIODeadline.now()
        for second in 1...9 {
            account.received(250_000)
            registry.tick(now: start + .seconds(Int64(second)))
        }
        #expect(told.withLock { $0 }.isEmpty)
        for second in 10...12 {
            account.received(250_000)
            registry.tick(now: start + .seconds(Int64(second)))
        }
        #expect(told.withLock { $0 }.count == 1)
        #expect(told.withLock { $0 }.first?.contains("1000000 b/s are allowed") == true)
        // Viewers have no such limit.
        let viewer = try #require(registry.open(nil, transport: "rtmp"))
        viewer.onTerminate { end, _ in told.withLock { $0.append("\(end)") } }
        registry.begin(viewer, Self.play(try Self.key()))
        viewer.limits.bitsPerSecond = 1
        for second in 0...30 {
            viewer.received(1_000_000)
            registry.tick(now: start + .seconds(Int64(second)))
        }
        #expect(told.withLock { $0 }.count == 1)
    }

    @Test("bit rates are those of the last half minute")
    func rates() throws {
        let registry = SessionRegistry()
        let account = try #require(registry.open(nil, transport: "rtmp"))
        let start = NIODeadline.now()
        for second in 1...60 {
            account.sent(second <= 20 ? 1_000_000 : 125_000)
            registry.tick(now: start + .seconds(Int64(second)))
        }
        let rate = account.snapshot(now: start + .seconds(60)).sentBitsPerSecond
        #expect((950_000...1_050_000).contains(rate), "\(rate)")
    }

    // MARK: Accepting

    @Test("who may not come in is counted, and who was let in is told of when it goes")
    func admission() throws {
        let registry = SessionRegistry()
        let door = Door(maximum: 1)
        registry.setAdmission(door)
        let account = try #require(registry.open(nil, transport: "https"))
        #expect(registry.open(nil, transport: "rtmp") == nil)
        _ = registry.openVirtual(nil)
        registry.setAdmission(Door(maximum: 0))
        registry.close(account)
        registry.close(account)
        #expect(door.state.withLock { $0.log } == ["+https", "-https"])
        #expect(registry.counts.refused == ["full": 1])
        registry.refused("hls", .forbidden)
        registry.refused("hls", .forbidden)
        #expect(registry.counts.refusals == [SessionRefusalKind(transport: "hls", cause: .forbidden): 2])
    }

    // MARK: Sums

    @Test("streams, vhosts and the node are sums, and relays are nobody's viewers")
    func sums() throws {
        let registry = SessionRegistry()
        let (a, b) = (try Self.key("a"), try Self.key("b", vhost: "v.example"))
        var accounts: [SessionAccount] = []
        for (index, activity) in [
            Self.publish(a), Self.play(a), Self.play(a, "http-flv"), Self.play(b), Self.play(b, isRelay: true),
        ].enumerated() {
            let account = try #require(registry.open(nil, transport: "rtmp"))
            registry.begin(account, activity)
            account.sent(10 << index)
            account.received(1 << index)
            accounts.append(account)
        }
        let viewer = registry.openVirtual(nil)
        registry.begin(viewer, Self.play(a, "hls"))
        viewer.sent(5)
        #expect(registry.totals(of: a).sentBytes == 75)
        #expect(registry.totals(of: a).players == ["rtmp": 1, "http-flv": 1, "hls": 1])
        #expect(registry.totals(of: b).playerCount == 1)
        #expect(registry.totals(of: b).relays == 1)
        #expect(registry.totals(ofVhost: "v.example").sentBytes == 240)
        #expect(registry.totals().sentBytes == 310, "bytes of virtual sessions are bytes of connections")
        #expect(registry.totals().receivedBytes == 31)
        #expect(registry.totals().playerCount == 4)
        registry.keepTotals(of: a)
        for account in accounts + [viewer] { registry.close(account) }
        #expect(registry.totals(of: a).sentBytes == 75)
        #expect(registry.totals(of: b) == SessionTotals(), "nobody holds it")
        #expect(registry.totals(ofVhost: "v.example").sentBytes == 240)
        #expect(registry.totals(ofVhost: StreamKey.defaultVhost).sentBytes == 75)
        #expect(registry.totals().sentBytes == 310)
        registry.forgetTotals(of: a)
        #expect(registry.totals(of: a) == SessionTotals())
    }

    @Test("a stream that is forgotten while it has sessions is dropped with the last")
    func forgotten() throws {
        let registry = SessionRegistry()
        let key = try Self.key()
        registry.keepTotals(of: key)
        let first = try #require(registry.open(nil, transport: "rtmp"))
        let second = try #require(registry.open(nil, transport: "rtmp"))
        for account in [first, second] {
            registry.begin(account, Self.play(key))
            account.sent(10)
        }
        registry.close(first)
        registry.forgetTotals(of: key)
        #expect(registry.totals(of: key).sentBytes == 20)
        registry.close(second)
        #expect(registry.totals(of: key).sentBytes == 0)
    }

    @Test("vhosts beyond a thousand are added up under the default one")
    func vhosts() throws {
        let registry = SessionRegistry()
        for number in 0..<1_010 {
            let account = try #require(registry.open(nil, transport: "rtmp"))
            registry.begin(account, Self.play(try Self.key(vhost: "v\(number)")))
            account.sent(1)
            registry.close(account)
        }
        #expect(registry.totals(ofVhost: "v999").sentBytes == 1)
        #expect(registry.totals(ofVhost: "v1005").sentBytes == 0)
        #expect(registry.totals(ofVhost: StreamKey.defaultVhost).sentBytes == 10)
        #expect(registry.totals().sentBytes == 1_010)
    }

    @Test("names that were published and dropped leave nothing behind")
    func manyNames() async throws {
        try await Fixture.run { fixture in
            let registry = SessionRegistry()
            let hub = StreamHub(sessions: registry) { _ in .init(idleTimeout: .milliseconds(10)) }
            let key = try Self.key("kept")
            let stream = hub.stream(key, home: fixture.loops[0])
            let account = try #require(registry.open(nil, transport: "rtmp"))
            registry.begin(account, Self.publish(key))
            account.received(8)
            registry.close(account)
            #expect(registry.totals(of: key).receivedBytes == 8)
            try await stream.home.submit {
                _ = stream.hold()
                stream.letGo(closesNow: true)
            }.get()
            #expect(registry.totals(of: key).receivedBytes == 0)
        }
    }

    // MARK: Lists

    @Test("lists are in the order of ids, with a cursor and filters")
    func lists() throws {
        let registry = SessionRegistry()
        let (a, b) = (try Self.key("a"), try Self.key("b", vhost: "v.example"))
        for number in 0..<20 {
            let address = try SocketAddress(ipAddress: "10.0.0.\(number % 4)", port: 1_000 + number)
            let account = try #require(registry.open(address, transport: "rtmp"))
            if number >= 18 { continue }
            registry.begin(account, number == 0 ? Self.publish(a) : Self.play(number % 2 == 0 ? a : b))
            if number == 5 { account.forwardedAddress = "2001:db8::5" }
        }
        var filter = SessionFilter()
        #expect(registry.count(filter) == 18)
        filter.includesIdle = true
        #expect(registry.count(filter) == 20)
        let all = registry.list(filter, limit: 100).map(\.account.id)
        #expect(all == all.sorted())
        var pages: [String] = []
        while let last = registry.list(filter, after: pages.last ?? "", limit: 7).last {
            pages += registry.list(filter, after: pages.last ?? "", limit: 7).map(\.account.id)
            #expect(pages.last == last.account.id)
        }
        #expect(pages == all)
        #expect(registry.list(filter, limit: 0).isEmpty)
        #expect(registry.list(filter, limit: -1).isEmpty)
        filter = SessionFilter()
        filter.key = a
        #expect(registry.count(filter) == 9)
        filter.kind = .publish
        #expect(registry.count(filter) == 1)
        filter = SessionFilter()
        filter.vhost = "v.example"
        #expect(registry.count(filter) == 9)
        filter.ip = "2001:db8::5"
        #expect(registry.list(filter, limit: 5).map(\.ip) == ["2001:db8::5"])
        filter.transport = "hls"
        #expect(registry.count(filter) == 0)
        filter = SessionFilter()
        filter.app = "live"
        filter.ip = "10.0.0.1"
        #expect(registry.count(filter) == 4)
    }

    // MARK: Texts

    @Test("texts of peers are cut to their bound, and URLs lose their query")
    func texts() {
        #expect(ClientDescription.bounded("a") == "a")
        #expect(ClientDescription.bounded(String(repeating: "é", count: 1_000)).utf8.count <= 1_026)
        #expect(ClientDescription.withoutQuery("rtmp://h/live?token=x#y") == "rtmp://h/live")
        #expect(ClientDescription.withoutQuery("") == "")
    }

    @Test("an address loses its port, and its brackets with it")
    func ports() {
        #expect(PeerIdentity.withoutPort("127.0.0.1:80") == "127.0.0.1")
        #expect(PeerIdentity.withoutPort("[2001:db8::1]:80") == "2001:db8::1")
        #expect(PeerIdentity.withoutPort("unknown") == "unknown")
    }
}
