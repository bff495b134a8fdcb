import MPEGTS
import Media
import NIOCore
import NIOPosix
import StreamHub
import Streaming
import TestSupport
import Testing
import TransportStreams

@testable import TSServer

@Suite(.timeLimit(.minutes(2)))
struct TSServerTests {
    @Test("What is sent to a port is published, and ends when the sender is silent")
    func publishes() async throws {
        try await Fixture.run([try Fixture.listener()], { $0.idleTimeout = .seconds(3) }) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            let (stream, frames) = source.next(200)
            try await sender.send(stream, to: try fixture.address())
            try await eventually("all frames but the last, which may go on") {
                fixture.gate.sinks.first?.frames.count ?? 0 >= 199
            }
            let sink = try #require(fixture.gate.sinks.first)
            #expect(Array(sink.frames.prefix(199)) == Array(frames.prefix(199)))
            #expect(sink.tracks.map(\.codec).last == .h264)
            #expect(sink.clock == .mpegTS)
            #expect(sink.peer.transport == "ts")
            #expect(sink.peer.app == "live")
            #expect(sink.peer.name == "cam")
            let account = try #require(sink.peer.account)
            #expect(account.activity?.kind == .publish)
            #expect(account.receivedBytes == stream.readableBytes)
            let counted = await fixture.server.statistics()
            #expect(counted.streams == 1)
            #expect(counted.datagrams == UInt64((stream.readableBytes + 1_315) / 1_316))
            try await eventually("the end") { sink.isFinished }
            #expect(sink.frames == frames)
            try await eventually("the session is over") { account.isClosed }
            // It comes back from another port.
            let second = try await Sender(fixture.group)
            try await second.send(source.next(20).stream, to: try fixture.address())
            try await eventually("another session") { fixture.gate.sinks.last?.frames.count ?? 0 >= 19 }
            #expect(fixture.gate.sinks.count == 2)
        }
    }

    @Test("Datagrams with a header of RTP are read, and missing ones are counted")
    func rtp() async throws {
        try await Fixture.run([try Fixture.listener()]) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            let (stream, frames) = source.next(30)
            try await sender.send(stream, to: try fixture.address()) { number in
                var header = ByteBuffer(bytes: [0x80, 33])
                header.writeMultipleIntegers(
                    UInt16(truncatingIfNeeded: 65_530 + number + (number > 5 ? 3 : 0)), UInt32(0), UInt32(7))
                return header
            }
            try await eventually("all frames") { fixture.gate.sinks.first?.frames.count ?? 0 >= 29 }
            #expect(fixture.gate.sinks.first?.frames.first == frames.first)
            #expect(await fixture.server.statistics().lost == 3)
        }
    }

    @Test("Each program is a stream where the name has its number")
    func programs() async throws {
        try await Fixture.run([try Fixture.listener("ch[program]")]) { fixture in
            let sender = try await Sender(fixture.group)
            // One association for both, then the packets of both in turns.
            var (one, two) = (try Source(program: 1), try Source(program: 2))
            let (first, second) = (one.next(40), two.next(40))
            var mixed = Self.association([1, 2])
            var (left, right) = (Self.withoutAssociation(first.stream), Self.withoutAssociation(second.stream))
            while left.readableBytes + right.readableBytes > 0 {
                for packet in [left.readSlice(length: 188), right.readSlice(length: 188)].compactMap({ $0 }) {
                    mixed.writeImmutableBuffer(packet)
                }
            }
            try await sender.send(mixed, to: try fixture.address())
            try await eventually("both") {
                fixture.gate.sinks.count == 2 && fixture.gate.sinks.allSatisfy { $0.frames.count >= 39 }
            }
            for (name, frames) in [("ch1", first.frames), ("ch2", second.frames)] {
                let sink = try #require(fixture.gate.sinks.first { $0.peer.name == name })
                #expect(Array(sink.frames.prefix(39)) == Array(frames.prefix(39)))
            }
        }
    }

    /// An association of several programs in one packet.
    private static func association(_ numbers: [UInt16], version: UInt8 = 0) -> ByteBuffer {
        var section = ByteBuffer(bytes: [0])
        section.writeInteger(0xB000 | UInt16(9 + numbers.count * 4))
        section.writeMultipleIntegers(UInt16(1), 0xC1 | version << 1, UInt8(0), UInt8(0))
        for number in numbers { section.writeMultipleIntegers(number, 0xE000 | (0x1000 + number)) }
        var checksum: UInt32 = 0xFFFF_FFFF
        for byte in section.readableBytesView {
            checksum ^= UInt32(byte) << 24
            for _ in 0..<8 { checksum = checksum & 0x8000_0000 != 0 ? checksum << 1 ^ 0x04C1_1DB7 : checksum << 1 }
        }
        section.writeInteger(checksum)
        var packet = ByteBuffer(bytes: [0x47, 0x40, 0, 0x10, 0])
        packet.writeImmutableBuffer(section)
        packet.writeRepeatingByte(0xFF, count: 188 - packet.readableBytes)
        return packet
    }

    @Test("A program that its sender leaves out ends, and the others go on")
    func programEnds() async throws {
        try await Fixture.run([try Fixture.listener("ch[program]")], { $0.idleTimeout = .seconds(2) }) { fixture in
            let sender = try await Sender(fixture.group)
            var (one, two) = (try Source(program: 1), try Source(program: 2))
            // On a machine that is busy with other tests, a sender may be taken for one that left: all is sent again.
            for _ in 0..<100 where fixture.gate.sinks.count < 2 {
                var stream = Self.association([1, 2])
                stream.writeImmutableBuffer(Self.withoutAssociation(one.next(10).stream))
                stream.writeImmutableBuffer(Self.withoutAssociation(two.next(10).stream))
                try await sender.send(stream, to: try fixture.address())
                try await Task.sleep(for: .milliseconds(50))
            }
            let gone = try #require(fixture.gate.sinks.first { $0.peer.name == "ch1" })
            // The next version of the association has one program only.
            for _ in 0..<100 where !gone.isFinished {
                var next = Self.association([2], version: 1)
                next.writeImmutableBuffer(Self.withoutAssociation(two.next(10).stream))
                try await sender.send(next, to: try fixture.address())
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(gone.isFinished)
            #expect(fixture.gate.sinks.last { $0.peer.name == "ch2" }?.isFinished == false)
            #expect(await fixture.server.statistics().streams == 1)
        }
    }

    /// The muxers' own associations know of one program only.
    private static func withoutAssociation(_ stream: ByteBuffer) -> ByteBuffer {
        var (rest, kept) = (stream, ByteBuffer())
        while let packet = rest.readSlice(length: 188) {
            let pid = (packet.getInteger(at: packet.readerIndex + 1, as: UInt16.self) ?? 0) & 0x1FFF
            if pid != 0 { kept.writeImmutableBuffer(packet) }
        }
        return kept
    }

    @Test("Each port of a range is a stream, and each sender where the name has its address")
    func portsAndAddresses() async throws {
        let free = try await Self.freePorts(2)
        let listeners = [try Fixture.listener("p[port]", ports: free), try Fixture.listener("from-[address]")]
        try await Fixture.run(listeners, { $0.takeoverAfter = .seconds(20) }) { fixture in
            let addresses = fixture.server.boundAddresses
            #expect(addresses.count == 3)
            for address in addresses {
                for host in ["127.0.0.1", "127.0.0.2"] {
                    let sender = try await Sender(fixture.group, host: host)
                    var source = try Source()
                    try await sender.send(source.next(20).stream, to: address)
                }
            }
            let names = ["from-127.0.0.1", "from-127.0.0.2", "p\(free.lowerBound)", "p\(free.upperBound)"]
            try await eventually("all streams") { fixture.gate.sinks.map(\.peer.name).sorted() == names.sorted() }
            // The second sender to a port that has one is not mixed in.
            try await eventually("it is counted") { await fixture.server.statistics().foreign > 0 }
        }
    }

    /// Ports behind each other that were free a moment ago.
    private static func freePorts(_ count: Int) async throws -> ClosedRange<Int> {
        for _ in 0..<50 {
            let first = Int.random(in: 20_000..<60_000)
            var channels: [any Channel] = []
            for port in first..<(first + count) {
                let bound = try? await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                    .bind(host: "127.0.0.1", port: port).get()
                if let bound { channels.append(bound) }
            }
            for channel in channels { try await channel.close() }
            if channels.count == count { return first...(first + count - 1) }
        }
        throw TSServerError.badAddress("no free ports")
    }

    @Test("Whoever was refused is asked for again after a while, and goes on with a keyframe")
    func retries() async throws {
        try await Fixture.run([try Fixture.listener()]) { fixture in
            fixture.gate.setOpen(false)
            let sender = try await Sender(fixture.group)
            var source = try Source()
            let started = ContinuousClock.now
            try await eventually("it is asked for again") {
                try await sender.send(source.next(3).stream, to: try fixture.address())
                try await Task.sleep(for: .milliseconds(20))
                return fixture.gate.asked >= 3
            }
            // Once in each `retryAfter`, however often it sends.
            let asked = fixture.gate.asked
            #expect(Double(asked) <= 1 + (ContinuousClock.now - started) / Duration.milliseconds(100))
            fixture.gate.setOpen(true)
            try await eventually("frames") {
                try await sender.send(source.next(3).stream, to: try fixture.address())
                return fixture.gate.sinks.first?.frames.count ?? 0 > 10
            }
            let sink = try #require(fixture.gate.sinks.first)
            #expect(sink.tracks.map(\.codec) == [.h264])
            #expect(sink.frames.first?.isKeyframe == true)
        }
    }

    @Test("A stream that is taken from its sender, kicked or held up loses no more than it must")
    func revoked() async throws {
        try await Fixture.run([try Fixture.listener()]) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            func send(_ count: Int) async throws {
                try await sender.send(source.next(count).stream, to: try fixture.address())
            }
            try await send(20)
            try await eventually("a session") { fixture.gate.sinks.count == 1 }
            fixture.gate.sinks[0].connection.publishingRevoked(.takenOver)
            try await eventually("the end") { fixture.gate.sinks[0].isFinished }
            try await eventually("the second session") {
                try await send(10)
                return fixture.gate.sinks.count == 2
            }
            #expect(fixture.gate.sinks[1].peer.account?.terminate(.kicked, "an operator ended it") == true)
            try await eventually("the end") { fixture.gate.sinks[1].isFinished }
            try await eventually("the third session") {
                try await send(10)
                return fixture.gate.sinks.count == 3 && fixture.gate.sinks[2].frames.count >= 10
            }
            let third = fixture.gate.sinks[2]
            third.connection.setReading(false)
            // The loop has obeyed.
            try await third.connection.loop.submit {}.get()
            let before = third.frames.count
            try await send(20)
            try await Task.sleep(for: .milliseconds(50))
            #expect(third.frames.count == before)
            third.connection.setReading(true)
            try await eventually("what was kept") { third.frames.count >= before + 18 }
        }
    }

    @Test("A configuration that came while nothing was taken is told before the frames that need it")
    func heldUpConfiguration() async throws {
        try await Fixture.run([try Fixture.listener()], { $0.maximumHeldBytes = 2_000 }) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            // What comes while the gate decides may be more than is kept.
            try await eventually("a session with frames") {
                try await sender.send(source.next(10).stream, to: try fixture.address())
                return fixture.gate.sinks.first?.frames.count ?? 0 >= 10
            }
            let sink = try #require(fixture.gate.sinks.first)
            sink.connection.setReading(false)
            try await sink.connection.loop.submit {}.get()
            try source.change(level: 0x28)
            // Much more than is kept, so that the configuration comes with frames that are left out.
            for _ in 0..<4 { try await sender.send(source.next(10).stream, to: try fixture.address()) }
            try await Task.sleep(for: .milliseconds(100))
            let before = sink.frames.count
            sink.connection.setReading(true)
            try await sender.send(source.next(20).stream, to: try fixture.address())
            try await eventually("what came later") { sink.frames.count >= before + 15 }
            let record = Source.video(level: 0x28).configuration
            #expect(sink.tracks.last?.configuration == record && record != Source.video.configuration)
            #expect(sink.frames.dropFirst(before).first?.isKeyframe == true)
        }
    }

    @Test("A sender that goes on without frames loses its stream, and has it again with the next frames")
    func withoutFrames() async throws {
        try await Fixture.run([try Fixture.listener()], { $0.idleTimeout = .seconds(1) }) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            try await sender.send(source.next(20).stream, to: try fixture.address())
            try await eventually("a session") { fixture.gate.sinks.count == 1 }
            var stuffing = ByteBuffer()
            for _ in 0..<7 {
                stuffing.writeMultipleIntegers(UInt8(0x47), UInt16(0x1FFF), UInt8(0x10))
                stuffing.writeRepeatingByte(0xFF, count: 184)
            }
            stuffing.writeImmutableBuffer(Self.association([1]))
            try await eventually("the end") {
                try await sender.send(stuffing, to: try fixture.address())
                return fixture.gate.sinks[0].isFinished
            }
            try await eventually("the session is over") { fixture.sessions.counts.ends[.failed] == 1 }
            #expect(fixture.gate.asked == 1)
            try await eventually("the second session") {
                try await sender.send(source.next(10).stream, to: try fixture.address())
                return fixture.gate.sinks.count == 2
            }
        }
    }

    @Test("Programs that are named and do not come make no streams, and a sender has no more than it may")
    func manyPrograms() async throws {
        try await Fixture.run([try Fixture.listener("ch[program]")]) { fixture in
            let sender = try await Sender(fixture.group)
            for first in stride(from: UInt16(1), to: 2_000, by: 40) {
                let named = Self.association((first..<first + 40).map { $0 }, version: UInt8(first / 40 % 32))
                try await sender.send(named, to: try fixture.address())
            }
            try await eventually("all came") { await fixture.server.statistics().datagrams == 50 }
            #expect(await fixture.server.statistics().streams == 0 && fixture.gate.asked == 0)
            for program in 1...70 as ClosedRange<UInt16> {
                var source = try Source(program: program)
                try await sender.send(source.next(2).stream, to: try fixture.address())
            }
            try await eventually("as many as there may be") { await fixture.server.statistics().streams == 64 }
            try await Task.sleep(for: .milliseconds(50))
            #expect(await fixture.server.statistics().streams == 64)
        }
    }

    @Test("What comes while the gate decides is kept")
    func deciding() async throws {
        try await Fixture.run([try Fixture.listener(app: "slow")]) { fixture in
            let sender = try await Sender(fixture.group)
            var source = try Source()
            let (stream, frames) = source.next(50)
            try await sender.send(stream, to: try fixture.address())
            try await eventually("all frames") { fixture.gate.sinks.first?.frames.count ?? 0 >= 49 }
            #expect(fixture.gate.sinks.first?.frames.prefix(49) == frames.prefix(49))
            #expect(fixture.gate.asked == 1)
        }
    }

    @Test("Datagrams that hold no packets are counted, and nobody is asked")
    func malformed() async throws {
        try await Fixture.run([try Fixture.listener()]) { fixture in
            let sender = try await Sender(fixture.group)
            try await sender.send(ByteBuffer(repeating: 0x11, count: 13_160), to: try fixture.address())
            try await sender.send(ByteBuffer(repeating: 0x47, count: 13_160), to: try fixture.address())
            try await eventually("all") { await fixture.server.statistics().datagrams == 20 }
            #expect(await fixture.server.statistics().malformed == 10)
            #expect(fixture.gate.asked == 0)
        }
    }

    @Test("A group is joined, with any sender and with one, and other groups of the port are not heard")
    func multicast() async throws {
        var wanted = try Fixture.listener("any", host: "239.255.77.1")
        wanted.interface = "lo"
        var specific = try Fixture.listener("one", host: "232.1.77.2")
        (specific.interface, specific.source) = ("127.0.0.1", "127.0.0.1")
        try await Fixture.run([wanted, specific]) { fixture in
            let sender = try await MulticastSender(fixture.group)
            var source = try Source()
            let (stream, frames) = source.next(20)
            for index in 0...1 {
                let bound = try fixture.address(index)
                let group = index == 0 ? "239.255.77.1" : "232.1.77.2"
                let port = try #require(bound.port)
                try await sender.send(stream, to: try SocketAddress(ipAddress: group, port: port))
                try await sender.send(stream, to: try SocketAddress(ipAddress: "239.255.77.9", port: port))
            }
            try await eventually("both") {
                fixture.gate.sinks.count == 2 && fixture.gate.sinks.allSatisfy { $0.frames.count >= 19 }
            }
            for sink in fixture.gate.sinks { #expect(sink.frames.prefix(19) == frames.prefix(19)) }
            #expect(await fixture.server.statistics().datagrams == UInt64((stream.readableBytes + 1_315) / 1_316 * 2))
        }
    }

    @Test("Listeners that cannot be opened are told, and the others are closed again")
    func badListeners() async throws {
        var unknown = try Fixture.listener(host: "239.255.77.1")
        unknown.interface = "nowhere0"
        var source = try Fixture.listener()
        source.source = "10.0.0.1"
        var family = try Fixture.listener(host: "232.1.77.2")
        family.source = "::1"
        let cases: [(TSListenerConfiguration, TSServerError)] = [
            (unknown, .unknownInterface("nowhere0")), (source, .sourceWithoutGroup("10.0.0.1")),
            (family, .sourceWithoutGroup("::1")),
            (try Fixture.listener(host: "example.com"), .badAddress("example.com")),
        ]
        for (listener, expected) in cases {
            await #expect(throws: expected) { try await Fixture.run([try Fixture.listener(), listener]) { _ in } }
        }
        try await Fixture.run([try Fixture.listener()]) { fixture in
            let port = try #require(try fixture.address().port)
            let error = await #expect(throws: TSServerError.self) {
                try await Fixture.run([try Fixture.listener(ports: port...port)]) { _ in }
            }
            guard case .bind("127.0.0.1", port, _) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
    }

    @Test("Templates fill in what tells streams apart, and refuse what they do not know")
    func templates() throws {
        let template = try #require(TSStreamTemplate("a[port]-[address].[program]"))
        #expect(template.text(port: 9_000, address: "fe80::1", program: 5) == "a9000-fe80--1.5")
        #expect(TSStreamTemplate("cam")?.text(port: 1, address: "", program: nil) == "cam")
        #expect(TSStreamTemplate("[program]")?.uses(.program) == true)
        #expect(TSStreamTemplate("cam")?.uses(.address) == false)
        for text in ["[x]", "[port", "port]", "[]"] { #expect(TSStreamTemplate(text) == nil) }
    }
}

/// A socket that sends to groups on loopback, and is closed when this goes.
private final class MulticastSender: Sendable {
    private let channel: any Channel

    init(_ group: any EventLoopGroup) async throws {
        self.channel = try await DatagramBootstrap(group: group).bind(host: "127.0.0.1", port: 0).get()
        let options = try #require(self.channel as? any SocketOptionProvider)
        // Safety: an `in_addr` of 127.0.0.1, in the order of the network.
        try await options.unsafeSetSocketOption(
            level: .ip, name: .ip_multicast_if, value: UInt32(0x7F00_0001).bigEndian
        ).get()
    }

    deinit { self.channel.close(promise: nil) }

    func send(_ stream: ByteBuffer, to address: SocketAddress) async throws {
        var rest = stream
        while let piece = rest.readSlice(length: min(1_316, rest.readableBytes)), piece.readableBytes > 0 {
            try await self.channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: piece)).get()
        }
    }
}
