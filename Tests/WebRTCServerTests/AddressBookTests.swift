import Dispatch
import NIOCore
import NIOEmbedded
import NIOPosix
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import WebRTCServer

@Suite struct AddressBookTests {
    private static func book(_ configured: [String] = [], interfaces: [String] = []) -> AddressBook {
        let names = NameResolver(loop: NIOSingletons.posixEventLoopGroup.any()) { _ in
            Issue.record("addresses are not looked up")
            return []
        }
        return AddressBook(
            configured: configured.compactMap { .init($0) }, interfaces: interfaces, ownNames: names, names: names)
    }

    @Test(
        arguments: [
            ("example.org", "example.org", nil), ("example.org:8000", "example.org", 8_000),
            ("10.0.0.1", "10.0.0.1", nil), ("10.0.0.1:9", "10.0.0.1", 9), ("::1", "::1", nil), ("[::1]", "::1", nil),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] as [(String, String, Int?)])
    func hostsAreRead(text: String, name: String, port: Int?) {
        let host = AddressBook.Host(text)
        #expect(host?.name == name)
        #expect(host?.port == port)
    }

    @Test(arguments: ["", "a:b", "a:0", "a:70000", "[::1", "[::1]x", ":80", "a/b"])
    func otherTextsAreNoHosts(text: String) {
        #expect(AddressBook.Host(text) == nil)
    }

    @Test func listenersThatNameAnAddressAreWhatClientsAreTold() async throws {
        let book = Self.book()
        let places = await book.places(
            listeners: [
                (try SocketAddress(ipAddress: "127.0.0.1", port: 8_000), false),
                (try SocketAddress(ipAddress: "::1", port: 8_001), true),
            ], requested: [])
        #expect(places.map { "\($0.isTCP) \($0.address.port ?? 0)" } == ["false 8000", "true 8001"])
    }

    @Test func configuredHostsReplaceThemAndRequestedOnesJoin() async throws {
        let book = Self.book(["192.0.2.1:5000"])
        let listeners = [
            (address: try SocketAddress(ipAddress: "0.0.0.0", port: 8_000), isTCP: false),
            (address: try SocketAddress(ipAddress: "0.0.0.0", port: 9_000), isTCP: true),
        ]
        let places = await book.places(
            listeners: listeners, requested: ["198.51.100.7", "192.0.2.1:5000", "::1"].compactMap { .init($0) })
        #expect(
            places.map { "\($0.address.ipAddress ?? "") \($0.address.port ?? 0) \($0.isTCP)" } == [
                "192.0.2.1 5000 false", "192.0.2.1 5000 true", "198.51.100.7 8000 false", "198.51.100.7 9000 true",
            ])
    }

    @Test func aListenerOfAllAddressesStandsForThoseOfTheInterfaces() async throws {
        let book = Self.book(interfaces: ["lo"])
        let places = await book.places(
            listeners: [(try SocketAddress(ipAddress: "0.0.0.0", port: 8_000), false)], requested: [])
        #expect(places.map { $0.address.ipAddress } == ["127.0.0.1"])
    }
}

/// A directory of names that tests write. Names that begin with `slow` hang until they are let go, one for each call.
private final class Names: Sendable {
    private let asked = Mutex<[String]>([])
    private let addresses = Mutex<[String: [String]]>([:])
    private let isAway = Mutex(false)
    private let gate = DispatchSemaphore(value: 0)

    /// What was looked up so far, in order.
    var log: [String] { self.asked.withLock { $0 } }

    func set(_ name: String, _ addresses: [String]) { self.addresses.withLock { $0[name] = addresses } }

    /// The directory does not answer any more, or does again.
    func setAway(_ isAway: Bool) { self.isAway.withLock { $0 = isAway } }

    func letGo(_ count: Int = 1) { for _ in 0..<count { self.gate.signal() } }

    func ask(_ name: String) -> [String]? {
        self.asked.withLock { $0.append(name) }
        if self.isAway.withLock({ $0 }) { return nil }
        if name.hasPrefix("slow") { self.gate.wait() }
        return self.addresses.withLock { $0[name] ?? [] }
    }
}

@Suite("Names of candidates", .timeLimit(.minutes(1)))
struct NameResolverTests {
    private static func run(
        _ settings: NameResolver.Settings = .init(),
        _ body: (Names, NameResolver, NIOAsyncTestingEventLoop) async throws -> Void
    ) async throws {
        let (loop, names) = (NIOAsyncTestingEventLoop(), Names())
        let resolver = NameResolver(loop: loop, settings: settings) { names.ask($0) }
        let result: Result<Void, any Error>
        do { result = .success(try await body(names, resolver, loop)) } catch { result = .failure(error) }
        resolver.close()
        // Whatever failed, no thread is left behind.
        names.letGo(1_000)
        // A timer that another thread cancelled is told so on the loop, which takes nothing any more once it shuts down.
        await loop.run()
        await loop.shutdownGracefully()
        try result.get()
    }

    @Test("a name that hangs holds an answer up for half a second, is left out, and is there for the next one")
    func hangs() async throws {
        try await Self.run { names, resolver, loop in
            names.set("slow.example", ["192.0.2.5"])
            names.set("fast.example", ["192.0.2.9", "2001:db8::9"])
            let book = AddressBook(configured: [], interfaces: [], ownNames: resolver, names: resolver)
            let listener = (address: try SocketAddress(ipAddress: "192.0.2.1", port: 8_000), isTCP: false)
            let hosts = ["slow.example:9000", "fast.example", "198.51.100.1"].compactMap { AddressBook.Host($0) }
            @Sendable func places() async -> [String] {
                await book.places(listeners: [listener], requested: hosts).map {
                    "\($0.address.ipAddress ?? ""):\($0.address.port ?? 0)"
                }
            }
            async let first = places()
            try await eventually("the fast one is known") {
                resolver.counts == (known: 1, sought: 1, waiting: 1)
            }
            await loop.advanceTime(by: .milliseconds(499))
            #expect(resolver.counts.waiting == 1)
            await loop.advanceTime(by: .milliseconds(1))
            let early = await first
            #expect(early == ["192.0.2.1:8000", "192.0.2.9:8000", "198.51.100.1:8000"])
            names.letGo()
            try await eventually("the slow one is known, too") {
                resolver.counts == (known: 2, sought: 0, waiting: 0)
            }
            let late = await places()
            #expect(
                late == ["192.0.2.1:8000", "192.0.2.5:9000", "192.0.2.9:8000", "198.51.100.1:8000"])
            #expect(names.log.sorted() == ["fast.example", "slow.example"])
        }
    }

    @Test("an answer goes on as soon as the last of its names is known")
    func joins() async throws {
        try await Self.run { names, resolver, _ in
            names.set("slow.a", ["192.0.2.1"])
            names.set("slow.b", ["192.0.2.2"])
            async let both = resolver.addresses(of: ["slow.a", "slow.b", "192.0.2.3"])
            async let one = resolver.addresses(of: ["slow.a"])
            try await eventually("two wait") { resolver.counts == (known: 0, sought: 2, waiting: 2) }
            names.letGo(2)
            let (found, same) = await (both, one)
            #expect(found == ["slow.a": ["192.0.2.1"], "slow.b": ["192.0.2.2"], "192.0.2.3": ["192.0.2.3"]])
            #expect(same == ["slow.a": ["192.0.2.1"]])
            #expect(names.log.count == 2)
        }
    }

    @Test("names are looked up again when their time is over, and until that is done the old addresses count")
    func expires() async throws {
        try await Self.run { names, resolver, loop in
            names.set("slow.example", ["192.0.2.5"])
            names.letGo()
            #expect(await resolver.addresses(of: ["slow.example"]) == ["slow.example": ["192.0.2.5"]])
            #expect(await resolver.addresses(of: ["none.example"]) == ["none.example": []])
            await loop.advanceTime(by: .milliseconds(4_999))
            #expect(await resolver.addresses(of: ["none.example"]) == ["none.example": []])
            #expect(names.log.count == 2)
            await loop.advanceTime(by: .milliseconds(1))
            names.set("none.example", ["192.0.2.6"])
            // What is known is given at once, and looked up for the next one, which may be as quick.
            let given = await resolver.addresses(of: ["none.example"])["none.example"]
            #expect(given == [] || given == ["192.0.2.6"])
            try await eventually("it is found") { resolver.counts.sought == 0 }
            #expect(await resolver.addresses(of: ["none.example"]) == ["none.example": ["192.0.2.6"]])
            await loop.advanceTime(by: .milliseconds(24_999))
            #expect(await resolver.addresses(of: ["slow.example"]) == ["slow.example": ["192.0.2.5"]])
            #expect(names.log.count == 3)
            await loop.advanceTime(by: .milliseconds(1))
            names.set("slow.example", ["192.0.2.7"])
            #expect(await resolver.addresses(of: ["slow.example"]) == ["slow.example": ["192.0.2.5"]])
            try await eventually("it is looked up again") { names.log.count == 4 }
            #expect(await resolver.addresses(of: ["slow.example"]) == ["slow.example": ["192.0.2.5"]])
            names.letGo()
            try await eventually("it is known") { resolver.counts.sought == 0 }
            #expect(await resolver.addresses(of: ["slow.example"]) == ["slow.example": ["192.0.2.7"]])
        }
    }

    @Test("a directory that does not answer costs nobody a name that was known")
    func away() async throws {
        try await Self.run { names, resolver, loop in
            names.set("a.example", ["192.0.2.5"])
            #expect(await resolver.addresses(of: ["a.example"]) == ["a.example": ["192.0.2.5"]])
            names.setAway(true)
            #expect(await resolver.addresses(of: ["b.example"]) == ["b.example": []])
            for round in 1...5 {
                await loop.advanceTime(by: .seconds(30))
                #expect(await resolver.addresses(of: ["a.example"]) == ["a.example": ["192.0.2.5"]])
                try await eventually("it was asked for again") {
                    resolver.counts.sought == 0 && names.log.count == round + 2
                }
            }
            names.setAway(false)
            names.set("a.example", [])
            await loop.advanceTime(by: .seconds(5))
            _ = await resolver.addresses(of: ["a.example"])
            try await eventually("the directory says that it is gone") { resolver.counts.sought == 0 }
            #expect(await resolver.addresses(of: ["a.example"]) == ["a.example": []])
        }
    }

    @Test("names of requests that hang keep nobody from the names of the settings")
    func foreign() async throws {
        try await Self.run { names, resolver, loop in
            names.set("own.example", ["192.0.2.5"])
            let own = NameResolver(loop: loop, settings: .unbounded) { names.ask($0) }
            let book = AddressBook(
                configured: ["own.example"].compactMap { .init($0) }, interfaces: [], ownNames: own, names: resolver)
            for number in 0..<16 { resolver.begin("slow.\(number)") }
            try await eventually("both threads hang") { names.log.count == 2 }
            let listener = (address: try SocketAddress(ipAddress: "0.0.0.0", port: 8_000), isTCP: false)
            let places = await book.places(listeners: [listener], requested: [])
            #expect(places.map { $0.address.ipAddress } == ["192.0.2.5"])
            own.close()
        }
    }

    @Test("the names that are kept and those that are looked up are bounded")
    func bounded() async throws {
        var settings = NameResolver.Settings()
        settings.maximumLookups = 3
        settings.maximumEntries = 2
        settings.threads = 1
        try await Self.run(settings) { names, resolver, loop in
            for name in ["slow.a", "slow.b", "slow.c"] { names.set(name, ["192.0.2.1"]) }
            for name in ["slow.a", "slow.b", "slow.c", "d", "slow.a"] { resolver.begin(name) }
            #expect(resolver.counts.sought == 3)
            // Nobody waits for a name that is not looked up.
            #expect(await resolver.addresses(of: ["d"]) == [:])
            names.letGo(3)
            try await eventually("all are found") { resolver.counts.sought == 0 }
            #expect(resolver.counts.known == 2)
            #expect(names.log == ["slow.a", "slow.b", "slow.c"])
        }
    }

    @Test("closing lets everybody go, and nothing is looked up afterwards")
    func closes() async throws {
        try await Self.run { names, resolver, _ in
            async let found = resolver.addresses(of: ["slow.example"])
            try await eventually("somebody waits") { resolver.counts.waiting == 1 }
            resolver.close()
            let nothing = await found
            #expect(nothing == [:])
            #expect(await resolver.addresses(of: ["other.example"]) == [:])
            names.letGo()
            try await eventually("the thread is free") { resolver.counts.sought == 0 }
            #expect(resolver.counts.known == 0 && !names.log.contains("other.example"))
        }
    }

    @Test("the gate is asked before any name is looked up, and a name that hangs holds no answer up for long")
    func gateFirst() async throws {
        let names = Names()
        defer { names.letGo(1_000) }
        let node = try await TestNode { configuration in
            configuration.candidates = ["slow.own"]
            configuration.askForAddresses = { names.ask($0) }
        }
        // What the settings name is looked up at the start.
        try await eventually("it is") { names.log == ["slow.own"] }
        var request = node.request(TestClient(.publisher, on: node.group.next()).offer, app: "closed", name: "cam")
        request.candidateHosts = ["slow.example"]
        await #expect(throws: WebRTCRefusal.refused(SessionRefusal(.unauthorized, "the test wants a token"))) {
            _ = try await node.server.createPublisher(request).get()
        }
        await #expect(throws: WebRTCRefusal.self) { _ = try await node.server.createPlayer(request).get() }
        #expect(names.log == ["slow.own"])
        request.peer.app = "live"
        let start = ContinuousClock.now
        let answer = try await node.server.createPublisher(request).get()
        let time = ContinuousClock.now - start
        #expect(time >= .milliseconds(400) && time < .seconds(5), "\(time)")
        #expect(names.log == ["slow.own", "slow.example"])
        #expect(!answer.sdp.contains("a=candidate"))
        await node.server.delete(id: answer.id)
        try await node.stop()
    }
}
