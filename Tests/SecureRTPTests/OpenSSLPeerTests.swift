import Foundation
import NIOCore
import Synchronization
import Testing

@testable import SecureRTP

/// A UDP socket on the loopback interface that does not block.
private struct DatagramSocket: ~Copyable {
    let descriptor: Int32
    let port: UInt16
    private var peer = sockaddr_in()
    private var hasPeer = false

    /// Binds to a free port; with a peer's port, sends there.
    init(peer port: UInt16? = nil) throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var own = Self.loopback(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = self.descriptor
        let isBound = unsafe withUnsafeMutablePointer(to: &own) { own in
            unsafe own.withMemoryRebound(to: sockaddr.self, capacity: 1) { own in
                unsafe bind(descriptor, own, length) == 0 && getsockname(descriptor, own, &length) == 0
            }
        }
        try #require(isBound)
        self.port = UInt16(bigEndian: own.sin_port)
        guard let port else { return }
        self.peer = Self.loopback(port)
        self.hasPeer = true
    }

    deinit { close(self.descriptor) }

    private static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    /// The next datagram, whose sender is then the peer.
    mutating func receive() -> ByteBuffer? {
        var room = [UInt8](repeating: 0, count: 65_536)
        var from = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = self.descriptor
        let count = unsafe withUnsafeMutablePointer(to: &from) { from in
            unsafe from.withMemoryRebound(to: sockaddr.self, capacity: 1) { from in
                unsafe recvfrom(descriptor, &room, room.count, 0, from, &length)
            }
        }
        guard count >= 0 else { return nil }
        self.peer = from
        self.hasPeer = true
        return ByteBuffer(bytes: room.prefix(count))
    }

    func send(_ datagram: ByteBuffer) {
        guard self.hasPeer else { return }
        var peer = self.peer
        let bytes = Array(datagram.readableBytesView)
        _ = unsafe withUnsafePointer(to: &peer) { peer in
            unsafe peer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                unsafe sendto(
                    self.descriptor, bytes, bytes.count, 0, peer, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}

/// What a tool printed so far. Filled by the thread that reads its pipe.
private final class Transcript: Sendable {
    private let bytes = Mutex(Data())

    var text: String { self.bytes.withLock { String(decoding: $0, as: UTF8.self) } }

    func append(_ data: Data) { self.bytes.withLock { $0 += data } }
}

/// A running `openssl`.
private final class Tool {
    private let process = Process()
    private let input = Pipe()
    private let folder: URL
    private let transcript = Transcript()

    var output: String { self.transcript.text }

    init(_ arguments: [String], certificate: String, key: String) throws {
        self.folder = FileManager.default.temporaryDirectory.appending(component: "weir-dtls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        try Data(certificate.utf8).write(to: self.folder.appending(component: "c.pem"))
        try Data(key.utf8).write(to: self.folder.appending(component: "k.pem"))
        let output = Pipe()
        self.process.executableURL = URL(filePath: "/usr/bin/env")
        self.process.arguments = ["openssl"] + arguments + ["-cert", "c.pem", "-key", "k.pem"]
        self.process.currentDirectoryURL = self.folder
        self.process.standardInput = self.input
        self.process.standardOutput = output
        self.process.standardError = output
        output.fileHandleForReading.readabilityHandler = { [transcript] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil }
            transcript.append(data)
        }
        try self.process.run()
    }

    deinit {
        if self.process.isRunning { self.process.terminate() }
        try? FileManager.default.removeItem(at: self.folder)
    }

    /// Makes it end as if its user had.
    func endInput() { try? self.input.fileHandleForWriting.close() }

    func type(_ text: String) { try? self.input.fileHandleForWriting.write(contentsOf: Data(text.utf8)) }

    /// What it exported for SRTP, once it has printed it.
    var keyingMaterial: String? {
        for line in self.output.split(separator: "\n") {
            let parts = line.split(separator: ":")
            if parts.count == 2, parts[0].hasSuffix("Keying material") {
                return parts[1].trimmingCharacters(in: .whitespaces)
            }
        }
        return nil
    }
}

/// Our endpoints against the `openssl` program.
@Suite(.timeLimit(.minutes(2)))
struct OpenSSLPeerTests {
    private let configuration: DTLSConfiguration

    init() throws {
        self.configuration = try DTLSConfiguration(certificate: TestCertificates.first.get())
    }

    private static func arguments(_ profile: SRTPProfile) -> [String] {
        [
            "-dtls1_2", "-use_srtp", profile.name, "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen",
            "\(2 * (profile.keyLength + profile.saltLength))",
        ]
    }

    /// What the exporter gave, as our keys tell it.
    private static func material(_ keys: SRTPKeys, role: DTLSRole) -> String {
        let (client, server) = role == .client ? (keys.local, keys.remote) : (keys.remote, keys.local)
        let bytes = client.key + server.key + client.salt + server.salt
        return bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined().uppercased()
    }

    /// Serves the endpoint until `isDone`, for at most 15 seconds. Returns all events so far.
    private func serve(
        _ endpoint: DTLSEndpoint, _ socket: inout DatagramSocket, first: DTLSOutput? = nil, events: inout [DTLSEvent],
        until isDone: ([DTLSEvent]) -> Bool
    ) async throws {
        let end = NIODeadline.now() + .seconds(15)
        first?.datagrams.forEach { socket.send($0) }
        while !isDone(events), NIODeadline.now() < end {
            var output = DTLSOutput()
            if let datagram = socket.receive() {
                output = endpoint.receive(datagram, now: .now())
            } else if let deadline = endpoint.nextDeadline, deadline <= .now() {
                output = endpoint.timeout(now: .now())
            } else {
                try await Task.sleep(for: .milliseconds(2))
            }
            output.datagrams.forEach { socket.send($0) }
            events += output.events
        }
    }

    private func waitFor(_ tool: Tool, _ isDone: (String) -> Bool) async throws {
        let end = NIODeadline.now() + .seconds(15)
        while !isDone(tool.output), NIODeadline.now() < end { try await Task.sleep(for: .milliseconds(5)) }
    }

    @Test(
        "s_client has the same keys, and its end is noticed, released or not",
        arguments: SRTPProfile.allCases, [true, false])
    func asServer(profile: SRTPProfile, releases: Bool) async throws {
        let (certificate, key) =
            releases ? (try TestPEM.rsaChain(), try TestPEM.rsaKey()) : try TestPEM.ellipticCurve()
        let loaded = try DTLSCertificate.load(certificateChain: certificate, privateKey: key)
        let endpoint = try DTLSEndpoint(
            configuration: self.configuration, role: .server, expecting: [loaded.fingerprint(.sha256)])
        var socket = try DatagramSocket()
        var events: [DTLSEvent] = []
        let first = endpoint.start(now: .now())
        let tool = try Tool(
            ["s_client", "-connect", "127.0.0.1:\(socket.port)"] + Self.arguments(profile), certificate: certificate,
            key: key)
        try await self.serve(endpoint, &socket, first: first, events: &events) { !$0.isEmpty }
        guard case .established(let keys) = events.first else {
            Issue.record("\(events) \(tool.output)")
            return
        }
        #expect(keys.profile == profile)
        try await self.waitFor(tool) { _ in tool.keyingMaterial != nil }
        #expect(tool.keyingMaterial == Self.material(keys, role: .server))
        if releases { endpoint.releaseAfterHandshake() }
        tool.endInput()
        try await self.serve(endpoint, &socket, events: &events) { $0.count > 1 }
        #expect(events.dropFirst() == [.closed])
    }

    @Test("s_server has the same keys, and notices our end, released or not", arguments: [true, false])
    func asClient(releases: Bool) async throws {
        let (certificate, key) = try TestPEM.ellipticCurve()
        let loaded = try DTLSCertificate.load(certificateChain: certificate, privateKey: key)
        let endpoint = try DTLSEndpoint(
            configuration: self.configuration, role: .client, expecting: [loaded.fingerprint(.sha384)])
        // A port that was free a moment ago.
        let port = try DatagramSocket().port
        let tool = try Tool(
            ["s_server", "-accept", "127.0.0.1:\(port)", "-Verify", "1", "-naccept", "1"]
                + Self.arguments(.aes128CMSHA1With80BitTag), certificate: certificate, key: key)
        try await self.waitFor(tool) { $0.contains("ACCEPT") }
        var socket = try DatagramSocket(peer: port)
        var events: [DTLSEvent] = []
        try await self.serve(endpoint, &socket, first: endpoint.start(now: .now()), events: &events) { !$0.isEmpty }
        guard case .established(let keys) = events.first else {
            Issue.record("\(events) \(tool.output)")
            return
        }
        #expect(keys.profile == .aes128CMSHA1With80BitTag)
        try await self.waitFor(tool) { _ in tool.keyingMaterial != nil }
        #expect(tool.keyingMaterial == Self.material(keys, role: .client))
        if releases { endpoint.releaseAfterHandshake() }
        endpoint.close().forEach { socket.send($0) }
        try await self.waitFor(tool) { $0.contains("CONNECTION CLOSED") || $0.contains("DONE") }
        #expect(tool.output.contains("CONNECTION CLOSED") || tool.output.contains("DONE"))
    }

    @Test("a peer that speaks an older version only is told so, and refused")
    func oldVersion() async throws {
        let (certificate, key) = try TestPEM.ellipticCurve()
        let endpoint = try DTLSEndpoint(
            configuration: self.configuration, role: .server,
            expecting: [DTLSCertificate.load(certificateChain: certificate, privateKey: key).fingerprint(.sha256)])
        var socket = try DatagramSocket()
        var events: [DTLSEvent] = []
        let first = endpoint.start(now: .now())
        let tool = try Tool(
            [
                "s_client", "-connect", "127.0.0.1:\(socket.port)", "-dtls1", "-cipher", "ALL:@SECLEVEL=0", "-use_srtp",
                SRTPProfile.aeadAES128GCM.name,
            ], certificate: certificate, key: key)
        try await self.serve(endpoint, &socket, first: first, events: &events) { !$0.isEmpty }
        #expect(events == [.failed(.handshake(reason: "unsupported protocol"))])
        try await self.waitFor(tool) { $0.contains("alert") }
        #expect(tool.output.contains("alert protocol version"))
    }
}
