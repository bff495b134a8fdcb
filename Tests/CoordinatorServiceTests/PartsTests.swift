import CoordinatorStore
import Foundation
import Media
import NIOCore
import Placement
import SRTAccess
import Testing

@testable import CoordinatorService

@Suite("stream index") struct StreamIndexTests {
    private func key(_ app: String, _ name: String, vhost: String = "v") throws -> StreamKey {
        try StreamKey(vhost: vhost, app: app, name: name)
    }

    @Test("names come in order, whatever the order in which they came, and leave") func order() throws {
        let keys = try ["d", "a", "c", "b"].map { try self.key("live", $0) }
        var index = StreamIndex(keys.prefix(2))
        for key in keys { index.insert(key) }
        #expect(index.count == 4)
        #expect(index.entries(after: "", prefix: "", limit: 9).map(\.key.name) == ["a", "b", "c", "d"])
        #expect(index.entries(after: "v/live/b", prefix: "", limit: 1).map(\.key.name) == ["c"])
        index.remove(keys[2])
        index.remove(try self.key("live", "none"))
        #expect(index.entries(after: "v/live/b", prefix: "", limit: 9).map(\.key.name) == ["d"])
    }

    @Test("a prefix bounds the entries on both sides") func prefix() throws {
        let index = StreamIndex([
            try self.key("a", "1"), try self.key("b", "2"), try self.key("b/c", "3"), try self.key("c", "4"),
            try self.key("b", "5", vhost: "w"),
        ])
        #expect(index.entries(after: "", prefix: "v/b/", limit: 9).map(\.key.name) == ["2", "3"])
        #expect(index.entries(after: "v/b/2", prefix: "v/b/", limit: 9).map(\.key.name) == ["3"])
        #expect(index.entries(after: "v/c", prefix: "v/b/", limit: 9).isEmpty)
        #expect(index.entries(after: "", prefix: "x/", limit: 9).isEmpty)
    }

    @Test("keys whose names read the same are apart, and are never torn apart by a limit") func twins() throws {
        let (one, two) = (try self.key("a/b", "c"), try self.key("a", "b/c"))
        var index = StreamIndex([one])
        index.insert(two)
        index.insert(two)
        index.insert(try self.key("a", "z"))
        #expect(Set(index.entries(after: "", prefix: "", limit: 1).map(\.key)) == [one, two])
        index.remove(one)
        #expect(index.entries(after: "", prefix: "", limit: 1).map(\.key) == [two])
    }
}

@Suite("history") struct HistoryBookTests {
    private func at(_ seconds: UInt64) -> NIODeadline { .uptimeNanoseconds(seconds * 1_000_000_000) }

    @Test("one sample in ten seconds, gaps are empty, an hour is kept") func samples() throws {
        let key = try StreamKey(app: "live", name: "x")
        var book = HistoryBook(maximumStreams: 1)
        #expect(book.samples(of: key, now: self.at(0)) == nil)
        for second: UInt64 in [1_000, 1_005, 1_010, 1_040] where book.wantsSample(of: key, now: self.at(second)) {
            book.append(HistorySample(viewers: Int(second), ingest: 1, egress: 2), of: key, now: self.at(second))
        }
        let samples = try #require(book.samples(of: key, now: self.at(1_045)))
        #expect(samples.map { $0?.viewers } == [1_000, 1_010, nil, nil, 1_040])
        #expect(book.samples(of: key, now: self.at(1_070))?.suffix(3).map { $0?.viewers } == [1_040, nil, nil])
        for step: UInt64 in 0..<500 {
            book.append(HistorySample(viewers: 1), of: key, now: self.at(2_000 + step * 10))
        }
        #expect(book.samples(of: key, now: self.at(7_000))?.count == HistoryBook.capacity)
    }

    @Test("streams beyond the limit have none until stale ones went") func bounds() throws {
        let (one, two) = (try StreamKey(app: "live", name: "1"), try StreamKey(app: "live", name: "2"))
        var book = HistoryBook(maximumStreams: 1)
        book.append(HistorySample(), of: one, now: self.at(1_000))
        #expect(!book.wantsSample(of: two, now: self.at(1_000)))
        #expect(book.wantsSample(of: nil, now: self.at(1_000)))
        book.dropStale(now: self.at(4_500))
        #expect(!book.wantsSample(of: two, now: self.at(4_500)))
        book.dropStale(now: self.at(4_600))
        #expect(book.wantsSample(of: two, now: self.at(4_600)))
    }
}

@Suite("desired edges") struct DesiredEdgesTests {
    private func decide(
        _ desired: DesiredEdges, edges: Int = 2, viewers: Int = 0, egress: UInt64 = 0, mean: Double = 0
    ) -> (Int, DesiredEdges.Reason) {
        var inputs = DesiredEdges.Inputs()
        (inputs.edges, inputs.viewers) = (edges, viewers)
        (inputs.egressBitsPerSecond, inputs.meanUtilisation) = (egress, mean)
        let decision = desired.decide(inputs)
        return (decision.edges, decision.reason)
    }

    @Test("the input that asks for the most decides, and never less than the minimum") func decide() {
        let desired = DesiredEdges(viewersPerEdge: 100, egressBitsPerEdge: 1_000, minimumEdges: 2, targetLoad: 0.5)
        #expect(self.decide(desired) == (2, .minimum))
        #expect(self.decide(desired, viewers: 200) == (2, .minimum))
        #expect(self.decide(desired, viewers: 201) == (3, .viewers))
        #expect(self.decide(desired, viewers: 201, egress: 3_001) == (4, .egress))
        #expect(self.decide(desired, egress: 3_001, mean: 1.2) == (5, .load))
        #expect(self.decide(desired, edges: 4, mean: 0.5) == (4, .load))
        #expect(self.decide(desired, edges: 4, mean: 0.25) == (2, .minimum))
    }

    @Test("what is 0 does not count, and no input makes it overflow") func limits() {
        let desired = DesiredEdges(minimumEdges: 0)
        #expect(self.decide(desired, viewers: .max, egress: .max) == (0, .minimum))
        let counting = DesiredEdges(viewersPerEdge: 1, egressBitsPerEdge: 1)
        #expect(self.decide(counting, viewers: .max, egress: .max, mean: .infinity).0 == 1_000_000_000)
        #expect(!DesiredEdges(targetLoad: 0).isValid)
        #expect(!DesiredEdges(viewersPerEdge: -1).isValid)
        #expect(throws: CoordinatorConfigurationError.desiredEdges) {
            var configuration = CoordinatorConfiguration()
            configuration.desired.targetLoad = 1.5
            try configuration.validate()
        }
    }
}

@Suite("query") struct QueryReaderTests {
    @Test("parameters are read as they are written") func read() throws {
        let query = try QueryReader("app=a%2Fb&name=x+y%C3%A9&q=two+words&flag=1&n=12&empty")
        let key = try query.key()
        #expect(key.app == "a/b")
        #expect(key.name == "x+yé")
        #expect(try query.text("q", limit: 9) == "two words")
        #expect(try query.flag("flag"))
        #expect(try !query.flag("none"))
        #expect(try query.number("n", 0...12) == 12)
        #expect(try query.text("empty", limit: 0) == "")
        #expect(try query.text("none", limit: 1) == nil)
    }

    @Test(
        "what is no query is refused",
        arguments: ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", "%ff=1", "a=%C3", String(repeating: "a", count: 9_000)])
    func refused(query: String) {
        #expect(throws: Problem.self) { try QueryReader(query) }
    }

    @Test("values out of their range are refused") func ranges() throws {
        let query = try QueryReader(
            "n=13&plus=%2B5&word=long&control=%00&flag=2&app=..&name=x&node=a%20b&empty=&kind=x")
        #expect(throws: Problem.self) { try query.number("n", 0...12) }
        #expect(throws: Problem.self) { try query.number("plus", 0...12) }
        #expect(throws: Problem.self) { try query.number("empty", 0...12) }
        #expect(throws: Problem.self) { try query.text("word", limit: 3) }
        #expect(throws: Problem.self) { try query.text("control", limit: 3) }
        #expect(throws: Problem.self) { try query.text("empty", limit: 3, allowsEmpty: false) }
        #expect(throws: Problem.self) { try query.flag("flag") }
        #expect(throws: Problem.self) { try query.key() }
        #expect(throws: Problem.self) { try query.node("node") }
        #expect(throws: Problem.self) { try query.choice("kind", of: NodeRole.self) }
        #expect(throws: Problem.self) { try QueryReader((0..<65).map { "a\($0)=" }.joined(separator: "&")) }
    }
}

@Suite("callers") struct CallerBookTests {
    @Test("each role may do what the ones before it may, and a node places and reads") func roles() {
        let may: [Caller.Role: [RouteAccess]] = [
            .viewer: [.none, .viewer], .operator: [.none, .viewer, .operator],
            .admin: [.none, .viewer, .operator, .admin], .node: [.none, .viewer, .node],
        ]
        for (role, allowed) in may {
            let caller = Caller(name: "x", role: role)
            #expect(RouteAccess.allCases.filter { caller.may($0) } == allowed)
        }
    }

    @Test("tokens hold until they expire or are revoked") func tokens() throws {
        let book = CallerBook(secret: "secret", adminToken: "admin")
        #expect(book.caller(authorization: nil, nowMillis: 0) == nil)
        #expect(book.caller(authorization: "Bearer secret", nowMillis: 0)?.role == .node)
        #expect(book.caller(authorization: "bearer  admin", nowMillis: 0)?.role == .admin)
        for wrong in ["", "Bearer", "Bearer ", "Basic admin", "admin", "Bearer admin2"] {
            #expect(book.caller(authorization: wrong, nowMillis: 0) == nil)
        }
        let token = StoredToken(
            id: 7, name: "ops", role: .operator, digest: CallerBook.digest(of: "t"), createdMillis: 0, expiresMillis: 50
        )
        book.add(token)
        let caller = try #require(book.caller(authorization: "Bearer t", nowMillis: 49))
        #expect(caller == Caller(name: "ops", role: .operator, token: 7, expiresMillis: 50))
        #expect(book.caller(authorization: "Bearer t", nowMillis: 50) == nil)
        #expect(book.isValid(caller, nowMillis: 49))
        #expect(!book.isValid(caller, nowMillis: 50))
        #expect(!book.takeRevocation())
        book.remove(token)
        #expect(!book.isValid(caller, nowMillis: 49))
        #expect(book.takeRevocation())
    }

    @Test("without a secret, who sends nothing is a node, and who sends something is looked up") func anonymous() {
        let book = CallerBook(secret: nil, adminToken: nil)
        #expect(book.caller(authorization: nil, nowMillis: 0)?.role == .node)
        #expect(book.caller(authorization: "Bearer x", nowMillis: 0) == nil)
        #expect(!book.hasAdmin(nowMillis: 0))
    }

    @Test("tokens that are made are long, plain and different") func made() {
        let tokens = (0..<100).map { _ in CallerBook.makeToken() }
        #expect(Set(tokens).count == 100)
        #expect(tokens.allSatisfy { $0.utf8.count == 57 && $0.allSatisfy { $0.isASCII && !$0.isWhitespace } })
    }
}

@Suite("facts") struct FactsBookTests {
    private func facts(_ key: StreamKey, holder: Bool, viewers: Int) -> StreamFacts {
        var facts = StreamFacts(key: key, epoch: 1, isHolder: holder)
        facts.viewers = ["rtmp": viewers]
        return facts
    }

    @Test("each heartbeat replaces what its node told, and a node that goes takes it along") func update() throws {
        let book = FactsBook(maximumRows: 10, maximumHistories: 10)
        let (x, y) = (try StreamKey(app: "live", name: "x"), try StreamKey(app: "live", name: "y"))
        let (origin, edge) = (try NodeID("o"), try NodeID("e"))
        book.update(edge, NodeStatus(facts: [self.facts(x, holder: false, viewers: 5)]), now: .now())
        book.update(
            origin,
            NodeStatus(facts: [self.facts(x, holder: true, viewers: 1), self.facts(y, holder: true, viewers: 0)]),
            now: .now())
        #expect(book.streams([x, y]).map { $0.nodes.map(\.id) } == [[origin, edge], [origin]])
        #expect(book.nodes(having: y) == [origin])
        #expect(book.node(edge).streams == 1)
        #expect(book.history(of: x, now: .now())?.last == HistorySample(viewers: 6))
        book.update(origin, NodeStatus(), now: .now())
        #expect(book.nodes(having: y) == [origin])
        book.update(origin, NodeStatus(facts: [self.facts(x, holder: true, viewers: 1)]), now: .now())
        #expect(book.nodes(having: y) == [])
        book.drop(edge)
        #expect(book.nodes(having: x) == [origin])
        #expect(book.rows.kept == 1)
    }

    @Test("there is room for so many rows, and no sum overflows") func bounds() throws {
        let book = FactsBook(maximumRows: 2, maximumHistories: 0)
        let keys = try (0..<3).map { try StreamKey(app: "live", name: "\($0)") }
        let node = try NodeID("o")
        var status = NodeStatus(facts: keys.map { self.facts($0, holder: true, viewers: .max) })
        status.node = NodeFacts(startedMillis: 0)
        status.node?.viewers = ["rtmp": .max]
        status.node?.sentBitsPerSecond = .max
        book.update(node, status, now: .now())
        book.update(try NodeID("p"), status, now: .now())
        #expect(book.rows.kept == 2)
        #expect(book.rows.refused == 4)
        #expect(book.sums().viewers == ["rtmp": .max])
        #expect(book.sums().sentBitsPerSecond == .max)
        #expect(book.history(of: keys[0], now: .now()) == nil)
    }

    @Test("texts of clients are shortened, numbers that cannot be are refused") func check() throws {
        let key = try StreamKey(app: "live", name: "x")
        var facts = self.facts(key, holder: true, viewers: 1)
        facts.publisher = PublisherFacts(
            session: "s", address: "a", transport: "rtmp", userAgent: String(repeating: "é", count: 500), seconds: 1)
        var status = NodeStatus(facts: [facts])
        try FactsCheck.check(status)
        FactsCheck.trim(&status)
        #expect(status.facts?[0].publisher?.userAgent?.utf8.count == 256)
        let changes: [(inout StreamFacts) -> Void] = [
            { $0.viewers = ["RTMP": 1] }, { $0.viewers = ["rtmp": -1] }, { $0.skips = -1 }, { $0.sentBytes = .max },
            { $0.framesPerSecond = -1 }, { $0.silentMillis = -1 }, { $0.publisher?.transport = "" },
            { $0.publisher?.seconds = .infinity }, { $0.tracks = [TrackFacts(kind: "text", codec: "x")] },
            { $0.tracks = Array(repeating: TrackFacts(kind: "audio", codec: "x"), count: 17) },
        ]
        for change in changes {
            var changed = facts
            change(&changed)
            #expect(throws: PlacementValueError.self) { try FactsCheck.check(NodeStatus(facts: [changed])) }
        }
    }
}

@Suite("placement tally") struct PlacementTallyTests {
    @Test("counts follow placements from node to node and state to state") func counts() throws {
        let (a, b) = (try NodeID("a"), try NodeID("b"))
        func placement(_ name: String, _ node: NodeID, _ state: PlacementState) throws -> StreamPlacement {
            StreamPlacement(
                key: try StreamKey(app: "live", name: name), epoch: 1, node: node, instance: "i", state: state,
                leaseUntil: .now())
        }
        var tally = PlacementTally([try placement("x", a, .live), try placement("y", a, .ended)])
        #expect(tally.held == [a: 1])
        tally.note(try placement("x", b, .grace))
        #expect(tally.held == [b: 1])
        #expect(tally.states[.grace] == 1 && tally.states[.live] == 0)
        tally.note(try placement("x", b, .ended))
        #expect(tally.held.isEmpty)
        tally.forget(try StreamKey(app: "live", name: "x"))
        #expect(tally.states[.ended] == 1)
    }

    @Test("changes are named up to a number, and then only known to be more") func changes() throws {
        var changes = PendingChanges()
        #expect(changes.isEmpty)
        for index in 0...PendingChanges.limit { changes.note(try StreamKey(app: "live", name: "\(index)")) }
        #expect(changes.streams.count == PendingChanges.limit)
        #expect(changes.isOverflowing)
    }
}

@Suite("request broker", .timeLimit(.minutes(1))) struct RequestBrokerTests {
    private let node: NodeID
    private let broker = RequestBroker(queueLimit: 2)

    init() throws { self.node = try NodeID("n") }

    private func respond(_ id: UInt64, instance: String = "i", from node: NodeID? = nil) {
        self.broker.answer(
            node ?? self.node,
            NodeResponse(instance: instance, id: id, status: 200, contentType: "t", body: ""), body: ByteBuffer())
    }

    private func outcome(_ timeout: TimeAmount = .seconds(5)) async -> Result<Int, RequestBroker.BrokerError> {
        do throws(RequestBroker.BrokerError) {
            return .success(try await self.broker.ask(self.node, "GET", "/x", timeout: timeout).status)
        } catch {
            return .failure(error)
        }
    }

    @Test("a request reaches the poll that waits, and its answer the asker") func roundTrip() async throws {
        async let polled = self.broker.poll(self.node, instance: "i", wait: .seconds(5))
        try await eventually("the node is reachable") { self.broker.isReachable(self.node) }
        async let outcome = self.outcome()
        let requests = await polled
        #expect(requests.map(\.path) == ["/x"])
        let id = try #require(requests.first?.id)
        self.respond(id, instance: "other")
        self.respond(id, from: try NodeID("m"))
        self.respond(id + 1)
        #expect(self.broker.pendingCount == 1)
        self.respond(id)
        #expect(await outcome == .success(200))
        self.respond(id)
        #expect(self.broker.pendingCount == 0)
    }

    @Test("nobody waits for a node without a poll, and a second poll ends the first") func polls() async throws {
        #expect(await self.outcome() == .failure(.unreachable(self.node)))
        async let first = self.broker.poll(self.node, instance: "i", wait: .seconds(30))
        try await eventually("the node is reachable") { self.broker.isReachable(self.node) }
        async let second = self.broker.poll(self.node, instance: "i", wait: .milliseconds(50))
        #expect(await first == [])
        #expect(await second == [])
    }

    @Test("requests wait for the next poll in a bounded queue, and end at their deadline") func deadlines() async throws
    {
        #expect(await self.broker.poll(self.node, instance: "i", wait: .zero) == [])
        async let one = self.outcome(.milliseconds(50))
        async let two = self.outcome(.milliseconds(50))
        try await eventually("both wait") { self.broker.pendingCount == 2 }
        #expect(await self.outcome() == .failure(.busy(self.node)))
        self.broker.tick(now: .now() + .milliseconds(60))
        #expect(await one == .failure(.timedOut(self.node)))
        #expect(await two == .failure(.timedOut(self.node)))
        #expect(await self.broker.poll(self.node, instance: "i", wait: .zero) == [])
    }

    @Test("an asker that leaves, a node that goes and an end of it all leave nothing behind") func ends() async throws {
        _ = await self.broker.poll(self.node, instance: "i", wait: .zero)
        let leaving = Task { await self.outcome() }
        try await eventually("it waits") { self.broker.pendingCount == 1 }
        leaving.cancel()
        #expect(await leaving.value == .failure(.cancelled))
        async let dropped = self.outcome()
        try await eventually("it waits") { self.broker.pendingCount == 1 }
        self.broker.drop(self.node)
        #expect(await dropped == .failure(.unreachable(self.node)))
        async let poll = self.broker.poll(self.node, instance: "i", wait: .seconds(30))
        try await eventually("the node is reachable") { self.broker.isReachable(self.node) }
        self.broker.close()
        #expect(await poll == [])
        #expect(await self.outcome() == .failure(.cancelled))
        #expect(await self.broker.poll(self.node, instance: "i", wait: .seconds(30)) == [])
    }
}

@Suite("URLs of media") struct MediaURLsTests {
    private func node(_ id: String, host: String = "h", region: String = "", load: Double = 0, http: Int = 8080) throws
        -> MediaNode
    {
        MediaNode(
            node: NodeDescription(
                id: try NodeID(id), instance: "i", role: .edge, region: region, host: host, rtmpPort: 1935,
                httpPort: http), utilisation: load, isSuspect: false)
    }

    @Test("each protocol has its URL, with what URLs need escaped") func urls() throws {
        let key = try StreamKey(vhost: "v.example", app: "a/b", name: "né&x")
        let node = try self.node("e", host: "::1")
        func url(_ name: MediaProtocol) -> String? { MediaURLs.url(of: key, at: node, by: name)?.url }
        #expect(url(.rtmp) == "rtmp://[::1]:1935/a/b/n%C3%A9%26x?vhost=v.example")
        #expect(url(.flv) == "http://[::1]:8080/a/b/n%C3%A9%26x.flv?vhost=v.example")
        #expect(url(.wsFLV)?.hasPrefix("ws://") == true)
        #expect(url(.hls)?.contains(".m3u8") == true)
        let plain = try StreamKey(app: "live", name: "x")
        #expect(MediaURLs.url(of: plain, at: node, by: .dash)?.url == "http://[::1]:8080/live/x.mpd")
        #expect(url(.webRTC) == "http://[::1]:8080/a/b/n%C3%A9%26x/whep?vhost=v.example")
        #expect(MediaURLs.url(of: plain, at: try self.node("e", http: 0), by: .hls) == nil)
    }

    @Test("stream ids in URLs read back as the stream, whether or not the client undoes the escapes")
    func streamIDs() throws {
        let names = [("live", "x"), ("live", "né,x&y=z"), ("a+b", "c/d"), ("l", "a'<b>"), ("é", "m=publish,r=b")]
        for (vhost, (app, name)) in names.map({ ("v.example", $0) }) + names.map({ (StreamKey.defaultVhost, $0) }) {
            guard let key = try? StreamKey(vhost: vhost, app: app, name: name) else { continue }
            for toPublish in [false, true] {
                var node = try self.node("e", host: "::1")
                node.node.srtPort = 9_000
                let url = try #require(MediaURLs.url(of: key, at: node, by: .srt, toPublish: toPublish)?.url)
                let prefix = "srt://[::1]:9000?streamid="
                #expect(url.hasPrefix(prefix) && !url.dropFirst(prefix.count).contains { "#&+ ".contains($0) })
                let sent = String(url.dropFirst(prefix.count))
                for id in [sent, try #require(sent.removingPercentEncoding)] {
                    let read = try SRTStreamID(parsing: Array(id.utf8))
                    #expect(read.app == app && read.name == name && read.parameters.isEmpty)
                    #expect(read.host == (vhost == StreamKey.defaultVhost ? nil : vhost))
                    #expect(read.mode == (toPublish ? .publish : .request))
                }
            }
        }
    }

    @Test("streams that no stream id can name have no URL of SRT") func noStreamIDs() throws {
        var node = try self.node("e")
        (node.node.srtPort, node.node.rtspPort, node.node.rtspsPort) = (9_000, 554, 0)
        func url(_ key: StreamKey, _ name: MediaProtocol) -> String? { MediaURLs.url(of: key, at: node, by: name)?.url }
        let deep = try StreamKey(app: "a/b", name: "x")
        #expect(url(deep, .srt) == nil)
        #expect(url(deep, .rtsp) == "rtsp://h:554/a/b/x" && url(deep, .ts) == "http://h:8080/a/b/x.ts")
        #expect(url(deep, .rtsps) == nil)
        let long = try StreamKey(app: "a", name: String(repeating: "é", count: 127))
        #expect(url(long, .srt) == nil && url(long, .rtsp) != nil)
        node.node.httpPort = 0
        #expect(url(deep, .ts) == nil)
    }

    @Test("the least loaded nodes of the region come first, and those alike in turn") func best() throws {
        let nodes = [
            try self.node("far", region: "us", load: 0), try self.node("busy", region: "eu", load: 0.9),
            try self.node("a", region: "eu", load: 0.21), try self.node("b", region: "eu", load: 0.22),
        ]
        let firsts = Set(
            (0..<200).map { _ in MediaURLs.best(of: nodes, region: "eu", limit: 1)[0].node.id.rawValue })
        #expect(firsts == ["a", "b"])
        let all = MediaURLs.best(of: nodes, region: "eu", limit: 9).map(\.node.id.rawValue)
        #expect(all.suffix(2) == ["busy", "far"])
        #expect(MediaURLs.best(of: nodes, region: "", limit: 1)[0].node.id.rawValue == "far")
        #expect(MediaURLs.best(of: [], region: "", limit: 1).isEmpty)
    }
}
