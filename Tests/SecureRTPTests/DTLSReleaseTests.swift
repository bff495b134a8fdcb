import NIOCore
import Testing

@testable import SecureRTP

@Suite struct DTLSReleaseTests {
    private func establish() throws -> DTLSLink {
        let link = try DTLSLink(
            client: DTLSConfiguration(certificate: TestCertificates.first.get(), settings: .impatient),
            server: DTLSConfiguration(certificate: TestCertificates.second.get(), settings: .impatient))
        DTLSLink.run([link])
        try #require(link.isEstablished)
        return link
    }

    @Test(
        "a released endpoint understands its peer's close alert, and its own is understood",
        arguments: [true, false], [true, false])
    func closing(releasesClient: Bool, closesClient: Bool) throws {
        let link = try self.establish()
        let released = releasesClient ? link.client : link.server
        released.releaseAfterHandshake()
        released.releaseAfterHandshake()
        #expect(released.nextDeadline == nil)
        let alerts = closesClient ? link.client.close() : link.server.close()
        #expect(alerts.count == 1)
        alerts.forEach { link.send($0, fromClient: closesClient) }
        link.settle()
        #expect((closesClient ? link.serverEvents : link.clientEvents).dropFirst() == [.closed])
        #expect(released.close().isEmpty)
    }

    @Test("both may be released")
    func both() throws {
        let link = try self.establish()
        link.client.releaseAfterHandshake()
        link.server.releaseAfterHandshake()
        let alerts = link.server.close()
        alerts.forEach { link.send($0, fromClient: false) }
        link.settle()
        #expect(link.clientEvents.dropFirst() == [.closed])
    }

    @Test("a released endpoint ignores alerts that were altered, cut or made by others")
    func forgery() throws {
        let link = try self.establish()
        link.server.releaseAfterHandshake()
        let alert = try #require(link.client.close().first)
        for bit in 0..<(alert.readableBytes * 8) {
            var altered = alert.array
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(link.server.receive(ByteBuffer(bytes: altered), now: .now()) == DTLSOutput(), "bit \(bit)")
        }
        for length in 0..<alert.readableBytes {
            #expect(link.server.receive(ByteBuffer(bytes: alert.array.prefix(length)), now: .now()) == DTLSOutput())
        }
        let other = try self.establish()
        let foreign = try #require(other.client.close().first)
        #expect(link.server.receive(foreign, now: .now()) == DTLSOutput())
        // Behind another record it counts.
        let both = ByteBuffer(bytes: foreign.array + alert.array)
        #expect(link.server.receive(both, now: .now()).events == [.closed])
        #expect(link.server.receive(alert, now: .now()) == DTLSOutput())
    }

    @Test("an endpoint is not released before the handshake's end")
    func early() throws {
        let configuration = try DTLSConfiguration(certificate: TestCertificates.first.get(), settings: .impatient)
        let link = try DTLSLink(client: configuration, server: configuration)
        link.client.releaseAfterHandshake()
        link.server.releaseAfterHandshake()
        DTLSLink.run([link])
        #expect(link.isEstablished)
    }
}
