import NIOCore
import Testing

@testable import GB28181Server

/// Whose media are believed.
@Suite("Sources of media and their senders")
struct MediaDirectoryTests {
    private static func slot(_ session: UInt64, host: String? = "10.0.0.9") -> MediaSlot {
        MediaSlot(session: session, app: "live", name: "s\(session)", label: "test", deviceHost: host)
    }

    private static func address(_ host: String, _ port: Int = 20_000) throws -> SocketAddress {
        try SocketAddress(ipAddress: host, port: port)
    }

    @Test("the first sender keeps a session while it sends; after a silence another one is believed")
    func senders() throws {
        let slot = Self.slot(1, host: nil)
        let start = NIODeadline.now()
        #expect(slot.admits(try Self.address("10.0.0.9"), byHost: false, now: start))
        #expect(!slot.admits(try Self.address("10.0.0.9", 20_001), byHost: false, now: start + .milliseconds(10)))
        #expect(!slot.admits(try Self.address("10.0.0.66"), byHost: false, now: start + .seconds(2)))
        #expect(slot.admits(try Self.address("10.0.0.9"), byHost: false, now: start + .seconds(2)))
        // A stranger's packets do not make the first one silent.
        #expect(!slot.admits(try Self.address("10.0.0.66"), byHost: false, now: start + .seconds(4)))
        #expect(slot.admits(try Self.address("10.0.0.9", 20_001), byHost: false, now: start + .milliseconds(4_001)))
        #expect(!slot.admits(try Self.address("10.0.0.9"), byHost: false, now: start + .milliseconds(4_002)))
        #expect(!slot.admits(nil, byHost: false, now: start))
    }

    @Test("connections of one host are one sender")
    func connections() throws {
        let slot = Self.slot(1, host: nil)
        let start = NIODeadline.now()
        #expect(slot.admits(try Self.address("10.0.0.9"), byHost: true, now: start))
        #expect(slot.admits(try Self.address("10.0.0.9", 20_001), byHost: true, now: start))
        #expect(!slot.admits(try Self.address("10.0.0.66"), byHost: true, now: start))
    }

    @Test("the address of the registration goes before others, and never the other way round")
    func registered() throws {
        let slot = Self.slot(1)
        let start = NIODeadline.now()
        #expect(slot.admits(try Self.address("10.0.0.66"), byHost: false, now: start))
        #expect(slot.admits(try Self.address("10.0.0.9"), byHost: false, now: start))
        #expect(!slot.admits(try Self.address("10.0.0.66"), byHost: false, now: start))
    }

    @Test("a device that chose its own source is known by its address once it has answered, with one source")
    func byHost() {
        let directory = MediaDirectory()
        let slot = Self.slot(1)
        #expect(directory.add(slot, ssrc: 7))
        #expect(directory.find(ssrc: 99, host: "10.0.0.9") == nil)
        directory.answered(slot, source: 7)
        #expect(directory.find(ssrc: 99, host: "10.0.0.66") == nil)
        #expect(directory.find(ssrc: 99, host: "10.0.0.9") === slot)
        #expect(directory.find(ssrc: 100, host: "10.0.0.9") == nil)
        #expect(directory.count == 2)
        // The source that was agreed upon comes after all.
        #expect(directory.find(ssrc: 7, host: "10.0.0.9") === slot)
        #expect(directory.find(ssrc: 99, host: "10.0.0.9") == nil)
        #expect(directory.count == 1)
    }

    @Test("what is on its way of a session that is over is no other session's, for a minute")
    func former() {
        let directory = MediaDirectory()
        let (first, second) = (Self.slot(1), Self.slot(2))
        #expect(directory.add(first, ssrc: 7))
        directory.remove(first)
        #expect(directory.add(second, ssrc: 8))
        directory.answered(second, source: 8)
        #expect(directory.find(ssrc: 7, host: "10.0.0.9") == nil)
        #expect(directory.find(ssrc: 7, host: "10.0.0.9", now: .now() + .seconds(59)) == nil)
        #expect(directory.find(ssrc: 7, host: "10.0.0.9", now: .now() + .seconds(61)) === second)
    }

    @Test("two sessions of one host are not mistaken for each other")
    func ambiguous() {
        let directory = MediaDirectory()
        let (first, second) = (Self.slot(1), Self.slot(2))
        #expect(directory.add(first, ssrc: 7))
        #expect(directory.add(second, ssrc: 8))
        directory.answered(first, source: 7)
        directory.answered(second, source: 8)
        #expect(directory.find(ssrc: 99, host: "10.0.0.9") == nil)
        #expect(directory.find(ssrc: 8, host: nil) === second)
    }
}
