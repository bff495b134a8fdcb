import NIOCore
import Testing

@testable import WebRTCServer

@Suite struct StreamFramingTests {
    private static let packets: [[UInt8]] = [[1], [2, 3, 4], Array(repeating: 9, count: 300)]

    private static var wire: [UInt8] {
        self.packets.flatMap { [UInt8($0.count >> 8), UInt8($0.count & 0xFF)] + $0 }
    }

    @Test func packetsComeOutWholeWhereverTheBytesAreCut() throws {
        for cut in 0...Self.wire.count {
            var framing = StreamFraming(limit: 1_000)
            var found: [[UInt8]] = []
            for part in [Self.wire[..<cut], Self.wire[cut...]] {
                framing.append(ByteBuffer(bytes: part))
                while let packet = try framing.next() { found.append(Array(packet.readableBytesView)) }
            }
            #expect(found == Self.packets, "cut at \(cut)")
            #expect(framing.waitingBytes == 0)
        }
    }

    @Test func singleBytesAreEnough() throws {
        var framing = StreamFraming(limit: 1_000)
        var found: [[UInt8]] = []
        for byte in Self.wire {
            framing.append(ByteBuffer(bytes: [byte]))
            while let packet = try framing.next() { found.append(Array(packet.readableBytesView)) }
            #expect(framing.waitingBytes < 302)
        }
        #expect(found == Self.packets)
    }

    @Test func emptyPacketsAreSkipped() throws {
        var framing = StreamFraming(limit: 10)
        framing.append(ByteBuffer(bytes: [0, 0, 0, 0, 0, 1, 7, 0, 0]))
        #expect(try framing.next() == ByteBuffer(bytes: [7]))
        #expect(try framing.next() == nil)
    }

    @Test func aPacketThatIsTooLongIsRefusedBeforeItIsThere() {
        var framing = StreamFraming(limit: 100)
        framing.append(ByteBuffer(bytes: [0, 101]))
        #expect(throws: StreamFraming.Failure.tooLong(length: 101, limit: 100)) { try framing.next() }
    }
}

@Suite struct DeadlineQueueTests {
    @Test func entriesComeInTheOrderOfTheirDeadlines() {
        var generator = Seeded(state: 42)
        var queue = DeadlineQueue()
        var expected: [Int64] = []
        for number in 0..<2_000 {
            let nanoseconds = Int64.random(in: 0..<1_000_000, using: &generator)
            expected.append(nanoseconds)
            queue.insert(
                .init(deadline: .uptimeNanoseconds(UInt64(nanoseconds)), session: UInt64(number), generation: 1))
        }
        expected.sort()
        var found: [Int64] = []
        while let entry = queue.popDue(now: .uptimeNanoseconds(500_000)) {
            found.append(Int64(entry.deadline.uptimeNanoseconds))
        }
        #expect(found == expected.filter { $0 <= 500_000 })
        #expect(queue.first == .uptimeNanoseconds(UInt64(expected[found.count])))
    }

    @Test func whatIsOutdatedCanBeDroppedAtOnce() {
        var queue = DeadlineQueue()
        for number in 0..<1_000 {
            queue.insert(
                .init(
                    deadline: .uptimeNanoseconds(UInt64(number * 7 % 1_000)), session: UInt64(number),
                    generation: UInt32(number % 2)))
        }
        queue.compact { $0.generation == 1 }
        #expect(queue.count == 500)
        var last = NIODeadline.uptimeNanoseconds(0)
        while let entry = queue.popDue(now: .distantFuture) {
            #expect(entry.generation == 1)
            #expect(entry.deadline >= last)
            last = entry.deadline
        }
        #expect(queue.count == 0)
    }
}

@Suite struct PacketClassTests {
    @Test(
        arguments: [
            (0, PacketClass.stun), (3, .stun), (4, .unknown), (19, .unknown), (20, .dtls), (63, .dtls), (64, .unknown),
            (127, .unknown), (128, .rtp), (191, .rtp), (192, .unknown), (255, .unknown),
        ] as [(UInt8, PacketClass)])
    func theFirstByteTellsProtocolsApart(first: UInt8, expected: PacketClass) {
        #expect(PacketClass(ByteBuffer(bytes: [first, 96])) == expected)
    }

    @Test func theSecondByteTellsControlFromMedia() {
        for second in UInt8.min...UInt8.max {
            let expected: PacketClass = (192...223).contains(second) ? .rtcp : .rtp
            #expect(PacketClass(ByteBuffer(bytes: [0x80, second])) == expected)
        }
    }

    @Test func nothingIsNothing() {
        #expect(PacketClass(ByteBuffer()) == .unknown)
    }
}

@Suite struct PeerAddressTests {
    @Test(arguments: ["127.0.0.1", "255.1.2.3", "::1", "2001:db8::12:3456", "::ffff:10.0.0.1"])
    func anAddressSurvivesBothWays(text: String) throws {
        let address = try SocketAddress(ipAddress: text, port: 54_321)
        let peer = try #require(PeerAddress(address))
        #expect(peer.socketAddress == address)
        #expect(peer.port == 54_321)
        #expect(peer.isV4 == !text.contains(":"))
    }

    @Test func mappedAddressesAreNotThoseThatTheyStandFor() throws {
        let v4 = PeerAddress(try SocketAddress(ipAddress: "10.0.0.1", port: 1))
        let mapped = PeerAddress(try SocketAddress(ipAddress: "::ffff:10.0.0.1", port: 1))
        #expect(v4 != mapped)
    }

    @Test func placesThatAreNotOfIPHaveNone() throws {
        #expect(PeerAddress(try SocketAddress(unixDomainSocketPath: "/tmp/x")) == nil)
    }
}

/// A generator whose numbers a test can repeat.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
