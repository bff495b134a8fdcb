internal import Crypto
internal import NIOCore

/// What a handshake wants next.
enum RTMPHandshakeStep: Equatable {
    case transmit(ByteBuffer)
    /// The handshake is over; `remaining` already belongs to the chunk layer.
    case finished(remaining: ByteBuffer)
}

/// The server's side of the handshake: simple, or signed as Flash Player demands before it plays H.264.
///
/// States: waiting for C0 and C1 (after an optional proxy header) → answered, waiting for C2 → finished. C2 is read and
/// not verified: many encoders send nonsense there.
///
/// **Spec:** RTMP 1.0 §5.2. The signed form is not in it; it is known from Flash Media Server.
struct RTMPServerHandshake {
    private enum State {
        case hello, acknowledgement, finished
    }

    private let random: ByteBuffer
    private let acceptsProxyHeader: Bool
    private var input = ByteBuffer()
    private var state = State.hello
    /// The client's address as a proxy in front told it.
    private(set) var proxyAddress: String?

    init(randomBytes: ByteBuffer, acceptsProxyHeader: Bool) {
        precondition(
            randomBytes.readableBytes >= RTMPHandshake.packetLength,
            "the handshake needs \(RTMPHandshake.packetLength) random bytes, got \(randomBytes.readableBytes)")
        self.random = randomBytes
        self.acceptsProxyHeader = acceptsProxyHeader
    }

    mutating func receive(_ bytes: ByteBuffer) {
        self.input.writeImmutableBuffer(bytes)
    }

    /// The next step, or `nil` when more bytes are needed.
    mutating func next() throws(RTMPError) -> RTMPHandshakeStep? {
        switch self.state {
        case .hello:
            guard try self.skipProxyHeader() else { return nil }
            guard let version = self.input.getInteger(at: self.input.readerIndex, as: UInt8.self) else { return nil }
            guard version == RTMPHandshake.version else { throw .unsupportedVersion(version) }
            guard self.input.readableBytes > RTMPHandshake.packetLength else { return nil }
            self.input.moveReaderIndex(forwardBy: 1)
            guard let hello = self.input.readSlice(length: RTMPHandshake.packetLength) else { return nil }
            self.state = .acknowledgement
            return .transmit(self.answer(to: hello))
        case .acknowledgement:
            guard self.input.readableBytes >= RTMPHandshake.packetLength else { return nil }
            self.input.moveReaderIndex(forwardBy: RTMPHandshake.packetLength)
            self.state = .finished
            return .finished(remaining: self.input)
        case .finished: return nil
        }
    }

    /// A load balancer may put `F3`, a length of 16 bits and that many bytes, of which the first four are the client's
    /// IPv4 address, in front of C0. Returns `false` while the header is not whole.
    private mutating func skipProxyHeader() throws(RTMPError) -> Bool {
        guard self.acceptsProxyHeader, self.proxyAddress == nil,
            self.input.getInteger(at: self.input.readerIndex, as: UInt8.self) == 0xF3
        else { return true }
        guard let length = self.input.getInteger(at: self.input.readerIndex + 1, as: UInt16.self) else { return false }
        guard 4...256 ~= length else { throw .malformedProxyHeader(length: Int(length)) }
        guard self.input.readableBytes >= 3 + Int(length),
            let address = self.input.getBytes(at: self.input.readerIndex + 3, length: 4)
        else { return false }
        self.proxyAddress = address.map { "\($0)" }.joined(separator: ".")
        self.input.moveReaderIndex(forwardBy: 3 + Int(length))
        return true
    }

    /// S0, S1 and S2.
    private func answer(to hello: ByteBuffer) -> ByteBuffer {
        let clientHello = Array(hello.readableBytesView)
        let random = Array(self.random.readableBytesView.prefix(RTMPHandshake.packetLength))
        var answer = ByteBuffer(integer: RTMPHandshake.version)
        answer.reserveCapacity(1 + 2 * RTMPHandshake.packetLength)
        if let signed = RTMPHandshake.findDigest(in: clientHello, key: RTMPHandshake.playerKey) {
            let hello = RTMPHandshake.signedHello(
                version: RTMPHandshake.serverVersion, random: random, scheme: signed.scheme,
                key: RTMPHandshake.serverKey)
            answer.writeBytes(hello)
            answer.writeBytes(
                RTMPHandshake.signedAcknowledgement(
                    of: signed.digest, random: random,
                    key: RTMPHandshake.serverKey + RTMPHandshake.keySuffix))
        } else {
            // §5.2.3, §5.2.4: time and zero, random bytes; then C1 as it came.
            answer.writeBytes(Array(repeating: 0, count: 8) + random.dropFirst(8))
            answer.writeBytes(clientHello)
        }
        return answer
    }
}

/// The client's side of the handshake.
///
/// States: C0 and C1 sent, waiting for S0 and S1 → C2 sent, waiting for S2 → finished. C1 may be signed; a server that
/// does not sign its own S1 gets the simple C2. S2 is not verified.
struct RTMPClientHandshake {
    private enum State {
        case hello, acknowledgement, finished
    }

    private let random: ByteBuffer
    private let isSigned: Bool
    private var input = ByteBuffer()
    private var state = State.hello

    init(randomBytes: ByteBuffer, isSigned: Bool) {
        precondition(
            randomBytes.readableBytes >= RTMPHandshake.packetLength,
            "the handshake needs \(RTMPHandshake.packetLength) random bytes, got \(randomBytes.readableBytes)")
        self.random = randomBytes
        self.isSigned = isSigned
    }

    mutating func receive(_ bytes: ByteBuffer) {
        self.input.writeImmutableBuffer(bytes)
    }

    /// C0 and C1, which open the connection.
    func hello() -> ByteBuffer {
        var hello = ByteBuffer(integer: RTMPHandshake.version)
        if self.isSigned {
            hello.writeBytes(
                RTMPHandshake.signedHello(
                    version: RTMPHandshake.playerVersion, random: self.randomPacket, scheme: .digestFirst,
                    key: RTMPHandshake.playerKey))
        } else {
            hello.writeBytes(Array(repeating: 0, count: 8) + self.randomPacket.dropFirst(8))
        }
        return hello
    }

    private var randomPacket: [UInt8] {
        Array(self.random.readableBytesView.prefix(RTMPHandshake.packetLength))
    }

    /// The next step, or `nil` when more bytes are needed.
    mutating func next() throws(RTMPError) -> RTMPHandshakeStep? {
        switch self.state {
        case .hello:
            guard let version = self.input.getInteger(at: self.input.readerIndex, as: UInt8.self) else { return nil }
            guard version == RTMPHandshake.version else { throw .unsupportedVersion(version) }
            guard self.input.readableBytes > RTMPHandshake.packetLength else { return nil }
            self.input.moveReaderIndex(forwardBy: 1)
            guard let hello = self.input.readBytes(length: RTMPHandshake.packetLength) else { return nil }
            self.state = .acknowledgement
            guard self.isSigned,
                let signed = RTMPHandshake.findDigest(in: hello, key: RTMPHandshake.serverKey)
            else { return .transmit(ByteBuffer(bytes: hello)) }
            return .transmit(
                ByteBuffer(
                    bytes: RTMPHandshake.signedAcknowledgement(
                        of: signed.digest, random: self.randomPacket,
                        key: RTMPHandshake.playerKey + RTMPHandshake.keySuffix)))
        case .acknowledgement:
            guard self.input.readableBytes >= RTMPHandshake.packetLength else { return nil }
            self.input.moveReaderIndex(forwardBy: RTMPHandshake.packetLength)
            self.state = .finished
            return .finished(remaining: self.input)
        case .finished: return nil
        }
    }
}

/// What both sides of the signed handshake compute.
///
/// A hello is 1,536 bytes: time, version, and two blocks of 764 bytes, one with a key and one with a digest, in either
/// order. The digest lies at an offset that four bytes of its block give; it signs the other 1,504 bytes.
enum RTMPHandshake {
    /// Where the digest block lies.
    enum Scheme: CaseIterable {
        case digestLast, digestFirst

        var blockOffset: Int { self == .digestLast ? 772 : 8 }
    }

    static let version: UInt8 = 3
    static let packetLength = 1536
    static let digestLength = 32
    /// Any version but 0 promises a signature. Flash Media Server 3.5.3 and Flash Player 10 are widely known.
    static let serverVersion: UInt32 = 0x0305_0308
    static let playerVersion: UInt32 = 0x8000_0702

    static let playerKey = Array("Genuine Adobe Flash Player 001".utf8)
    static let serverKey = Array("Genuine Adobe Flash Media Server 001".utf8)
    /// The second half of both full keys.
    static let keySuffix: [UInt8] = [
        0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57,
        0x6E, 0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
    ]

    static func hmac(_ message: some Sequence<UInt8>, key: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(message), using: SymmetricKey(data: key)))
    }

    static func digestOffset(in hello: [UInt8], scheme: Scheme) -> Int {
        let block = scheme.blockOffset
        return block + 4 + hello[block..<block + 4].reduce(0) { $0 + Int($1) } % 728
    }

    static func digest(of hello: [UInt8], at offset: Int, key: [UInt8]) -> [UInt8] {
        self.hmac(hello[..<offset] + hello[(offset + self.digestLength)...], key: key)
    }

    /// The digest that `hello` carries, if it is signed with `key` in either scheme.
    static func findDigest(in hello: [UInt8], key: [UInt8]) -> (scheme: Scheme, digest: [UInt8])? {
        // Simple peers send version 0; they need no two computations.
        guard hello.count == self.packetLength, hello[4..<8] != [0, 0, 0, 0] else { return nil }
        for scheme in Scheme.allCases {
            let offset = self.digestOffset(in: hello, scheme: scheme)
            let digest = Array(hello[offset..<offset + self.digestLength])
            if self.digest(of: hello, at: offset, key: key) == digest {
                return (scheme, digest)
            }
        }
        return nil
    }

    /// C1 or S1 of 1,536 bytes made of `random`, signed with `key`.
    static func signedHello(version: UInt32, random: [UInt8], scheme: Scheme, key: [UInt8]) -> [UInt8] {
        var hello = random
        hello.replaceSubrange(0..<4, with: [0, 0, 0, 0])
        hello.replaceSubrange(4..<8, with: (0..<4).map { UInt8(truncatingIfNeeded: version >> (24 - 8 * $0)) })
        let offset = self.digestOffset(in: hello, scheme: scheme)
        let digest = self.digest(of: hello, at: offset, key: key)
        hello.replaceSubrange(offset..<offset + self.digestLength, with: digest)
        return hello
    }

    /// C2 or S2: random bytes, signed with a key that the peer's digest and our full key make.
    static func signedAcknowledgement(of digest: [UInt8], random: [UInt8], key: [UInt8]) -> [UInt8] {
        let body = random.dropFirst(self.digestLength)
        return body + self.hmac(body, key: self.hmac(digest, key: key))
    }
}
