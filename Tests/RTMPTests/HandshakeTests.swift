import NIOCore
import Testing

@testable import RTMP

@Suite("Handshake")
struct HandshakeTests {
    /// What a server's handshake says to `input` fed in pieces, and what it leaves for the chunk layer.
    private struct ServerRun: Equatable {
        var transmitted = ByteBuffer()
        var remaining: ByteBuffer?
        var error: RTMPError?
        var proxyAddress: String?

        init(_ pieces: [ByteBuffer], acceptsProxyHeader: Bool = true) {
            var handshake = RTMPServerHandshake(
                randomBytes: pattern(1536), acceptsProxyHeader: acceptsProxyHeader)
            do {
                for piece in pieces {
                    if self.remaining != nil {
                        self.remaining?.writeImmutableBuffer(piece)
                        continue
                    }
                    handshake.receive(piece)
                    while let step = try handshake.next() {
                        switch step {
                        case .transmit(let bytes): self.transmitted.writeImmutableBuffer(bytes)
                        case .finished(let remaining): self.remaining = remaining
                        }
                    }
                }
            } catch {
                self.error = error
            }
            self.proxyAddress = handshake.proxyAddress
        }
    }

    private func hello(_ body: ByteBuffer) -> ByteBuffer {
        var hello = ByteBuffer(integer: UInt8(3))
        hello.writeImmutableBuffer(body)
        return hello
    }

    private var simpleHello: ByteBuffer {
        var body = bytes("00000001 00000000")
        body.writeImmutableBuffer(pattern(1528, seed: 5))
        return self.hello(body)
    }

    /// C1 over the test pattern, with the digest that an independent implementation computed for it.
    private func signedHello(offset: Int, digest: String) -> ByteBuffer {
        var body = pattern(1536)
        body.setBuffer(bytes("00000000 80000702"), at: 0)
        body.setBuffer(bytes(digest), at: offset)
        return self.hello(body)
    }

    @Test("a simple client gets random bytes and its own back, at every cut")
    func simple() {
        var input = self.simpleHello
        input.writeImmutableBuffer(pattern(1536))
        input.writeImmutableBuffer(bytes("030000"))
        let whole = ServerRun([input])
        #expect(whole.transmitted.readableBytes == 3073)
        #expect(whole.transmitted.getInteger(at: 0, as: UInt8.self) == 3)
        #expect(whole.transmitted.getInteger(at: 5, as: UInt32.self) == 0)
        #expect(
            whole.transmitted.getSlice(at: 1537, length: 1536) == self.simpleHello.getSlice(at: 1, length: 1536))
        #expect(whole.remaining == bytes("030000"))
        #expect(whole.error == nil)
        for size in [1, 7, 1536, 1537, 1538] {
            #expect(ServerRun(pieces(of: input, size: size)) == whole, "pieces of \(size)")
        }
        for cut in 1..<input.readableBytes {
            guard let head = input.getSlice(at: 0, length: cut),
                let tail = input.getSlice(at: cut, length: input.readableBytes - cut)
            else { continue }
            #expect(ServerRun([head, tail]) == whole, "cut at \(cut)")
        }
    }

    @Test(
        "a signed client gets a signed answer in its own scheme",
        arguments: [
            (
                offset: 942, digest: "8e211aefe949d44221d8905aa6154973bcab5ecb43dc582f65b1de1c2f94e4d5",
                answerDigest: "3ad874d22a86dd5ec07cf680e10bd3e456aca1fa6173a62c5bd612c9aa566639",
                signature: "871434c3e31c3b8628fbb2cc6ed94f8b5d12e42e25ea5bcc87ab350546b41fcd"
            ),
            (
                offset: 290, digest: "0b441119ef46c4660e578ac88d3bf4c2d8901ff9a39c94bb92cb345f63928860",
                answerDigest: "c07a160869a9ac8286e7a4f8c704ab32d3d9e10b3e448c09e913518afd4ebae2",
                signature: "6f67f907832e8acc83db0f797b44e5a34e77295d141d6a03224c556325e6355b"
            ),
        ])
    func signed(offset: Int, digest: String, answerDigest: String, signature: String) {
        let run = ServerRun([self.signedHello(offset: offset, digest: digest), pattern(1536)])
        #expect(run.error == nil)
        #expect(run.remaining == ByteBuffer())
        #expect(run.transmitted.readableBytes == 3073)
        #expect(run.transmitted.getSlice(at: 1 + offset, length: 32) == bytes(answerDigest))
        #expect(run.transmitted.getSlice(at: 3073 - 32, length: 32) == bytes(signature))
    }

    @Test("a signature that does not verify falls back to the simple answer")
    func wrongSignature() {
        var input = self.signedHello(
            offset: 942, digest: "8e211aefe949d44221d8905aa6154973bcab5ecb43dc582f65b1de1c2f94e4d5")
        input.setInteger(UInt8(0x77), at: 1000)
        let run = ServerRun([input])
        #expect(run.transmitted.getSlice(at: 1537, length: 1536) == input.getSlice(at: 1, length: 1536))
    }

    @Test("any version but 3 is refused at the first byte", arguments: [0, 2, 6, 8, 0x16, 0x47] as [UInt8])
    func versions(_ version: UInt8) {
        #expect(ServerRun([ByteBuffer(integer: version)]).error == .unsupportedVersion(version))
    }

    @Test("a proxy header tells the client's address, at every cut")
    func proxyHeader() {
        var input = bytes("f3 0006 c0a80107 0000")
        input.writeImmutableBuffer(self.simpleHello)
        let whole = ServerRun([input])
        #expect(whole.proxyAddress == "192.168.1.7")
        #expect(whole.transmitted.readableBytes == 3073)
        for cut in 1..<20 {
            guard let head = input.getSlice(at: 0, length: cut),
                let tail = input.getSlice(at: cut, length: input.readableBytes - cut)
            else { continue }
            #expect(ServerRun([head, tail]) == whole, "cut at \(cut)")
        }
    }

    @Test("a proxy header is refused when it is malformed, repeated or not wanted")
    func badProxyHeaders() {
        #expect(ServerRun([bytes("f3 0003 000000")]).error == .malformedProxyHeader(length: 3))
        #expect(ServerRun([bytes("f3 0400")]).error == .malformedProxyHeader(length: 1024))
        #expect(ServerRun([bytes("f3 0004 00000000 f3")]).error == .unsupportedVersion(0xF3))
        #expect(ServerRun([bytes("f3")], acceptsProxyHeader: false).error == .unsupportedVersion(0xF3))
    }

    @Test("client and server finish with each other", arguments: [true, false])
    func bothSides(isSigned: Bool) throws {
        var client = RTMPClientHandshake(randomBytes: pattern(1536, seed: 8), isSigned: isSigned)
        var server = RTMPServerHandshake(randomBytes: pattern(1536), acceptsProxyHeader: true)
        server.receive(client.hello())
        guard case .transmit(let answer) = try server.next() else {
            Issue.record("the server did not answer")
            return
        }
        client.receive(answer)
        guard case .transmit(let acknowledgement) = try client.next() else {
            Issue.record("the client did not acknowledge")
            return
        }
        #expect(try client.next() == .finished(remaining: ByteBuffer()))
        server.receive(acknowledgement)
        #expect(try server.next() == .finished(remaining: ByteBuffer()))
        let hello = Array(answer.readableBytesView[1..<1537])
        #expect((RTMPHandshake.findDigest(in: hello, key: RTMPHandshake.serverKey) != nil) == isSigned)
        // A simple acknowledgement is an echo; a signed one is not.
        #expect((Array(acknowledgement.readableBytesView) == hello) != isSigned)
    }

    @Test("a signed client echoes to a server that does not sign")
    func fallback() throws {
        var client = RTMPClientHandshake(randomBytes: pattern(1536), isSigned: true)
        _ = client.hello()
        client.receive(self.simpleHello)
        #expect(try client.next() == .transmit(try #require(self.simpleHello.getSlice(at: 1, length: 1536))))
        #expect(try client.next() == nil)
        client.receive(pattern(1536))
        #expect(try client.next() == .finished(remaining: ByteBuffer()))
    }

    @Test("a client refuses a server of another version")
    func clientVersion() {
        var client = RTMPClientHandshake(randomBytes: pattern(1536), isSigned: true)
        client.receive(bytes("06"))
        #expect(throws: RTMPError.unsupportedVersion(6)) { try client.next() }
    }
}
