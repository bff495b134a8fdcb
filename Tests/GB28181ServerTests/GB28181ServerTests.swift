import GB28181
import Logging
import Media
import NIOCore
import NIOPosix
import RTP
import SIP
import StreamHub
import Synchronization
import TestSupport
import Testing

@testable import GB28181Server

/// Keeps what a socket received.
private final class Inbox: ChannelInboundHandler, Sendable {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let received = Mutex<[SIPMessage]>([])

    var messages: [SIPMessage] { self.received.withLock { $0 } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let message = try? SIPMessageReader.message(inDatagram: self.unwrapInboundIn(data).data) else { return }
        self.received.withLock { $0.append(message) }
    }
}

@Suite struct GB28181ServerTests {
    @Test("what was announced is published when it comes over TCP, counted, and ends with its connection")
    func announcedTCP() async throws {
        let bench = try await Bench()
        #expect(bench.server.expect("camera", ssrc: 77) == bench.server.boundPorts.media)
        let connection = try await bench.connect()
        try await connection.writeAndFlush(framed(packets(30, ssrc: 77))).get()
        try await until("frames") { try await bench.snapshot("camera")?.counters.videoFrames ?? 0 >= 29 }
        let key = try StreamKey(app: "live", name: "camera")
        #expect(bench.registry.totals(of: key).publishers == 1)
        // All of it: what came before the gate had answered is the stream's, too.
        let sent = packets(30, ssrc: 77).reduce(0) { $0 + $1.readableBytes }
        #expect(bench.registry.totals(of: key).receivedBytes == UInt64(sent))
        #expect(bench.gate.asked.map(\.transport) == ["gb28181"])
        // It sends, so it cannot be announced again.
        #expect(bench.server.expect("camera", ssrc: 78) == nil)
        try await connection.close().get()
        try await until("the end") { bench.registry.totals(of: key).publishers == 0 }
        // It may come again.
        let second = try await bench.connect()
        try await second.writeAndFlush(framed(packets(30, ssrc: 77, from: 900_000))).get()
        try await until("frames again") { bench.registry.totals(of: key).publishers == 1 }
        #expect(bench.server.withdraw("camera"))
        try await until("the withdrawal") { bench.registry.totals(of: key).publishers == 0 }
        #expect(!bench.server.withdraw("camera"))
        try await bench.end()
    }

    @Test("datagrams of several sources are told apart on one port")
    func announcedUDP() async throws {
        let bench = try await Bench()
        let names = (0..<4).map { "camera\($0)" }
        for (index, name) in names.enumerated() { #expect(bench.server.expect(name, ssrc: UInt32(index + 1)) != nil) }
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: bench.server.boundPorts.media)
        for index in names.indices {
            let socket = try await DatagramBootstrap(group: bench.group).bind(host: "127.0.0.1", port: 0).get()
            for packet in packets(20, ssrc: UInt32(index + 1)) {
                try await socket.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: packet)).get()
            }
            try await socket.close().get()
        }
        for name in names {
            try await until("frames of \(name)") { try await bench.snapshot(name)?.counters.videoFrames ?? 0 >= 19 }
        }
        try await bench.end()
    }

    @Test("datagrams of any size are taken whole", arguments: [1_400, 4_000, 20_000, 60_000])
    func longDatagrams(size: Int) async throws {
        let bench = try await Bench()
        #expect(bench.server.expect("camera", ssrc: 9) != nil)
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: bench.server.boundPorts.media)
        let socket = try await DatagramBootstrap(group: bench.group).bind(host: "127.0.0.1", port: 0).get()
        for packet in packets(20, ssrc: 9, size: size) {
            try await socket.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: packet)).get()
        }
        try await until("frames") { try await bench.snapshot("camera")?.counters.videoFrames ?? 0 >= 19 }
        try await socket.close().get()
        try await bench.end()
    }

    @Test("strangers are closed, counted, and make nothing")
    func strangers() async throws {
        let bench = try await Bench()
        let connection = try await bench.connect()
        try await connection.writeAndFlush(framed(packets(2, ssrc: 5))).get()
        try await connection.closeFuture.get()
        #expect(await bench.server.totals().strangers == 1)
        #expect(bench.gate.asked.isEmpty)
        #expect(bench.registry.counts.open == 0)
        try await bench.end()
    }

    @Test("who says nothing is closed after a time")
    func silence() async throws {
        let bench = try await Bench { $0.firstPacketTimeout = .milliseconds(50) }
        let start = ContinuousClock.now
        let connection = try await bench.connect()
        try await eventually("the stranger is left") { !connection.isActive }
        #expect(ContinuousClock.now - start > .milliseconds(40))
        try await bench.end()
    }

    @Test("packets without frames are put up with for a time, then the connection is closed, and the next one is taken")
    func noFrames() async throws {
        let bench = try await Bench { $0.mediaTimeout = .milliseconds(400) }
        #expect(bench.server.expect("camera", ssrc: 77) != nil)
        let connection = try await bench.connect()
        let empty = (0..<UInt16.max).lazy.map { number -> ByteBuffer in
            var packet = ByteBuffer()
            RTPHeader(marker: false, payloadType: 96, sequenceNumber: number, timestamp: 0, ssrc: 77).write(
                into: &packet)
            packet.writeBytes([UInt8](repeating: 0x55, count: 100))
            return packet
        }
        let began = NIODeadline.now()
        for packet in empty where connection.isActive {
            try? await connection.writeAndFlush(framed([packet])).get()
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(NIODeadline.now() - began > .milliseconds(1_100))
        let second = try await bench.connect()
        try await second.writeAndFlush(framed(packets(30, ssrc: 77))).get()
        try await until("frames") { try await bench.snapshot("camera")?.counters.videoFrames ?? 0 >= 29 }
        try await bench.end()
    }

    @Test("media that may not be published are refused, and the connection is closed")
    func refused() async throws {
        let bench = try await Bench { $0.app = "closed" }
        #expect(bench.server.expect("camera", ssrc: 77) != nil)
        let connection = try await bench.connect()
        try await connection.writeAndFlush(framed(packets(2, ssrc: 77))).get()
        try await connection.closeFuture.get()
        #expect(bench.registry.counts.open == 0)
        #expect(bench.registry.counts.refusals.values.reduce(0, +) == 1)
        try await bench.end()
    }

    @Test("a session that is kicked ends, and its connection with it")
    func kicked() async throws {
        let bench = try await Bench()
        #expect(bench.server.expect("camera", ssrc: 77) != nil)
        let connection = try await bench.connect()
        try await connection.writeAndFlush(framed(packets(30, ssrc: 77))).get()
        let key = try StreamKey(app: "live", name: "camera")
        try await until("the session") { bench.registry.totals(of: key).publishers == 1 }
        var filter = SessionFilter()
        filter.key = key
        let id = try #require(bench.registry.list(filter, limit: 1).first?.account.id)
        #expect(bench.registry.kick(id, reason: "test"))
        try await connection.closeFuture.get()
        #expect(bench.registry.totals(of: key).publishers == 0)
        try await bench.end()
    }

    @Test("a device registers over UDP, is invited, and its media are its channel's stream; silence invites it again")
    func device() async throws {
        let bench = try await Bench {
            $0.invites = .always
            $0.mediaTimeout = .milliseconds(700)
        }
        let inbox = Inbox()
        let socket = try await DatagramBootstrap(group: bench.group).channelInitializer { channel in
            channel.pipeline.addHandler(inbox)
        }.bind(host: "127.0.0.1", port: 0).get()
        let server = try SocketAddress(ipAddress: "127.0.0.1", port: try #require(bench.server.boundPorts.sip.first))
        let device = "34020000001110000001"
        let channel = "34020000001320000001"
        @Sendable func send(_ message: SIPMessage) async throws {
            try await socket.writeAndFlush(AddressedEnvelope(remoteAddress: server, data: message.bytes)).get()
        }
        var number = 0
        func request(_ method: String, _ body: String = "") -> SIPMessage {
            number += 1
            var message = SIPMessage(.request(method: method, uri: "sip:34020000002000000001@3402000000"))
            message["Via"] = "SIP/2.0/UDP 127.0.0.1:1;rport;branch=z9hG4bK\(number)"
            message["From"] = "<sip:\(device)@3402000000>;tag=1"
            message["To"] = "<sip:34020000002000000001@3402000000>"
            message["Call-ID"] = "call-\(number)"
            message["CSeq"] = "\(number) \(method)"
            message.body = ByteBuffer(string: body)
            return message
        }
        try await send(request("REGISTER"))
        try await until("the query") { inbox.messages.contains { String(buffer: $0.body).contains("Catalog") } }
        let query = try #require(inbox.messages.first { String(buffer: $0.body).contains("Catalog") })
        let text = String(buffer: query.body)
        let serial = text.split(separator: "<SN>").dropFirst().first?.prefix { $0 != "<" } ?? ""
        try await send(
            request(
                "MESSAGE",
                "<Response><CmdType>Catalog</CmdType><SN>\(serial)</SN><DeviceID>\(device)</DeviceID><SumNum>1</SumNum>"
                    + "<DeviceList><Item><DeviceID>\(channel)</DeviceID><Status>ON</Status></Item></DeviceList></Response>"
            ))
        for round in 0..<2 {
            try await until("invitation \(round)") {
                Set(inbox.messages.filter { $0.method == "INVITE" }.compactMap(\.callID)).count > round
            }
            let invite = try #require(inbox.messages.last { $0.method == "INVITE" })
            let offer = String(buffer: invite.body)
            let ssrc = try #require(
                UInt32(offer.split(separator: "y=").last?.prefix { $0.isASCII && $0.isNumber } ?? ""))
            #expect(offer.contains("m=video \(bench.server.boundPorts.media) TCP/RTP/AVP 96"))
            var answer = invite.response(200, "OK", tag: "device")
            answer["Contact"] = "<sip:\(channel)@127.0.0.1>"
            try await send(answer)
            let connection = try await bench.connect()
            try await connection.writeAndFlush(framed(packets(30, ssrc: ssrc))).get()
            try await until("frames \(round)") {
                try await bench.snapshot("\(device)@\(channel)")?.counters.videoFrames ?? 0 >= 29 * (round + 1)
            }
            // It sends no more: the session begins anew, and the connection is closed.
            try await connection.closeFuture.get()
        }
        #expect(inbox.messages.contains { $0.method == "BYE" })
        let views = await bench.server.sessions()
        #expect(views.map(\.name) == ["\(device)@\(channel)"])
        #expect(await bench.server.devices().map(\.id) == [device])
        try await socket.close().get()
        try await bench.end()
    }

    @Test("a port that is taken is an error, and nothing stays open")
    func takenPort() async throws {
        let bench = try await Bench()
        let port = bench.server.boundPorts.media
        var configuration = GB28181ServerConfiguration(
            platform: GB28181Configuration(serverID: "34020000002000000001"), sessions: bench.registry)
        configuration.sip = []
        configuration.media = .init(host: "127.0.0.1", port: port)
        let second = GB28181Server(
            group: bench.group, configuration: configuration, gate: bench.gate, logger: .init(label: "test"),
            wallSeconds: { 0 })
        await #expect(throws: IOError.self) { try await second.start() }
        try await bench.end()
    }
}
