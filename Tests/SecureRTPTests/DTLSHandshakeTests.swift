import Glibc
import NIOCore
import Testing

@testable import SecureRTP

@Suite struct DTLSHandshakeTests {
    private func configurations(
        _ settings: DTLSConfiguration.Settings = .impatient
    ) throws -> (client: DTLSConfiguration, server: DTLSConfiguration) {
        (
            try DTLSConfiguration(certificate: TestCertificates.first.get(), settings: settings),
            try DTLSConfiguration(certificate: TestCertificates.second.get(), settings: settings)
        )
    }

    @Test("two endpoints agree on keys, and each closes the other")
    func establishAndClose() throws {
        let (client, server) = try self.configurations()
        for closesClient in [true, false] {
            let link = try DTLSLink(client: client, server: server)
            DTLSLink.run([link])
            try #require(link.isEstablished)
            #expect(link.clientKeys?.profile == .aeadAES128GCM)
            #expect(link.client.nextDeadline == nil && link.server.nextDeadline == nil)
            #expect(link.largestDatagram <= 1200)
            let alerts = closesClient ? link.client.close() : link.server.close()
            #expect(alerts.count == 1)
            alerts.forEach { link.send($0, fromClient: closesClient) }
            link.settle()
            #expect((closesClient ? link.serverEvents : link.clientEvents).dropFirst() == [.closed])
            #expect((closesClient ? link.clientEvents : link.serverEvents).count == 1)
            #expect(link.client.close().isEmpty && link.server.close().isEmpty)
        }
    }

    @Test("the first profile of the server that the client has is chosen", arguments: SRTPProfile.allCases)
    func profiles(_ profile: SRTPProfile) throws {
        var settings = DTLSConfiguration.Settings.impatient
        settings.profiles = [profile]
        let restricted = try DTLSConfiguration(certificate: TestCertificates.first.get(), settings: settings)
        let (_, full) = try self.configurations()
        let links = [
            try DTLSLink(client: restricted, server: full), try DTLSLink(client: full, server: restricted),
        ]
        DTLSLink.run(links)
        for link in links {
            #expect(link.isEstablished)
            #expect(link.clientKeys?.profile == profile)
            #expect(link.clientKeys?.local.key.count == profile.keyLength)
            #expect(link.clientKeys?.local.salt.count == profile.saltLength)
        }
    }

    @Test("without a profile in common there is no association")
    func noCommonProfile() throws {
        var settings = DTLSConfiguration.Settings.impatient
        settings.profiles = [.aeadAES256GCM]
        let first = try DTLSConfiguration(certificate: TestCertificates.first.get(), settings: settings)
        settings.profiles = [.aes128CMSHA1With80BitTag]
        let second = try DTLSConfiguration(certificate: TestCertificates.second.get(), settings: settings)
        let link = try DTLSLink(client: first, server: second)
        DTLSLink.run([link])
        #expect(link.serverEvents == [.failed(.noCommonProfile)])
        #expect(link.clientEvents == [.failed(.noCommonProfile)])
    }

    @Test("a peer with another certificate, and one of whom nothing is known, are refused by either side")
    func fingerprints() throws {
        let (client, server) = try self.configurations()
        let right = client.certificate.fingerprint(.sha256)
        let wrong = server.certificate.fingerprint(.sha256)
        let cases: [([DTLSFingerprint], DTLSError?)] = [
            ([], .noFingerprint), ([wrong], .fingerprintMismatch), ([right], nil), ([wrong, right], nil),
            ([client.certificate.fingerprint(.sha1)], nil), ([client.certificate.fingerprint(.sha384)], nil),
            ([client.certificate.fingerprint(.sha512)], nil),
            // The strongest function decides.
            ([right, server.certificate.fingerprint(.sha512)], .fingerprintMismatch),
            ([wrong, client.certificate.fingerprint(.sha512)], nil),
        ]
        for (expected, error) in cases {
            let asServer = DTLSLink(
                client: try DTLSEndpoint(configuration: client, role: .client, expecting: [wrong]),
                server: try DTLSEndpoint(configuration: server, role: .server, expecting: expected))
            let asClient = DTLSLink(
                client: try DTLSEndpoint(configuration: server, role: .client, expecting: expected),
                server: try DTLSEndpoint(configuration: client, role: .server, expecting: [wrong]))
            DTLSLink.run([asServer, asClient])
            #expect(asServer.isEstablished == (error == nil))
            #expect(asClient.isEstablished == (error == nil))
            guard let error else { continue }
            #expect(asServer.serverEvents == [.failed(error)])
            #expect(asClient.clientEvents == [.failed(error)])
            // The other side learns that it is over, in the handshake or after.
            #expect(asServer.clientEvents.last == .closed || asServer.clientEvents.last == .failed(.closedInHandshake))
            #expect(asClient.serverEvents.last == .closed)
        }
    }

    @Test("handshakes end well through loss, duplication and reordering of up to 30 %")
    func faults() throws {
        let (client, server) = try self.configurations()
        var links: [DTLSLink] = []
        for seed in 0..<60 as Range<UInt64> {
            let percent = [10, 20, 30][Int(seed % 3)]
            links.append(
                try DTLSLink(
                    client: client, server: server,
                    faults: .init(loss: percent, duplication: percent, reordering: percent), seed: seed))
        }
        DTLSLink.run(links)
        for link in links {
            #expect(link.isEstablished, "seed \(link.seed): \(link.clientEvents) \(link.serverEvents)")
        }
    }

    @Test("records under the new keys that were altered are ignored")
    func corruptedProtectedRecords() throws {
        let (client, server) = try self.configurations()
        let links = try (100..<130 as Range<UInt64>).map {
            try DTLSLink(
                client: client, server: server,
                faults: .init(loss: 10, duplication: 10, corruption: 30, sparesPlainRecords: true), seed: $0)
        }
        DTLSLink.run(links)
        for link in links {
            #expect(link.isEstablished, "seed \(link.seed): \(link.clientEvents) \(link.serverEvents)")
        }
    }

    /// The first flights are not authenticated: what is altered in them ends the handshake at the latest when the hashes
    /// of the messages are compared.
    @Test("a handshake with altered records ends well or with an error, but ends")
    func corruption() throws {
        var settings = DTLSConfiguration.Settings.impatient
        settings.handshakeTimeout = .seconds(3)
        let (client, server) = try self.configurations(settings)
        let links = try (200..<260 as Range<UInt64>).map {
            try DTLSLink(client: client, server: server, faults: .init(loss: 5, corruption: 30), seed: $0)
        }
        DTLSLink.run(links)
        for link in links {
            #expect(link.isDecided, "seed \(link.seed)")
            if link.clientKeys != nil && link.serverKeys != nil { #expect(link.isEstablished, "seed \(link.seed)") }
        }
        #expect(links.contains { $0.isEstablished })
    }

    @Test("a flight of many datagrams, of RSA certificates of 4,096 bits and a chain, passes with loss")
    func largeCertificates() throws {
        let large = try DTLSCertificate.load(certificateChain: TestPEM.rsaChain(), privateKey: TestPEM.rsaKey())
        let configuration = try DTLSConfiguration(certificate: large, settings: .impatient)
        let links = try (300..<310 as Range<UInt64>).map {
            try DTLSLink(
                client: configuration, server: configuration,
                faults: $0 == 300 ? .init() : .init(loss: 20, duplication: 10, reordering: 20), seed: $0)
        }
        DTLSLink.run(links)
        for link in links {
            #expect(link.isEstablished, "seed \(link.seed): \(link.clientEvents) \(link.serverEvents)")
        }
        #expect(links[0].datagramCount > 6)
        #expect(links.allSatisfy { $0.largestDatagram <= 1200 })
    }

    @Test("a last flight that is lost is sent again when the peer repeats its own", arguments: [1, 3])
    func lastFlightLost(losses: Int) throws {
        let (client, server) = try self.configurations()
        let link = try DTLSLink(client: client, server: server)
        let now = NIODeadline.now()
        _ = link.server.start(now: now)
        var toServer = link.client.start(now: now).datagrams
        var lost = 0
        var clientEvents: [DTLSEvent] = []
        let end = now + .seconds(10)
        while clientEvents.isEmpty && NIODeadline.now() < end {
            var toClient: [ByteBuffer] = []
            for datagram in toServer {
                let output = link.server.receive(datagram, now: .now())
                let isLast = output.datagrams.contains { $0.getInteger(at: $0.readerIndex, as: UInt8.self) == 20 }
                if isLast && lost < losses { lost += 1 } else { toClient += output.datagrams }
            }
            toServer = []
            for datagram in toClient {
                let output = link.client.receive(datagram, now: .now())
                toServer += output.datagrams
                clientEvents += output.events
            }
            if let deadline = link.client.nextDeadline, deadline <= .now() {
                toServer += link.client.timeout(now: .now()).datagrams
            }
        }
        #expect(lost == losses)
        #expect(clientEvents.count == 1)
    }

    @Test("a handshake nobody answers is repeated with growing pauses, and given up in time")
    func silence() throws {
        var settings = DTLSConfiguration.Settings()
        settings.firstRetransmission = .milliseconds(50)
        settings.handshakeTimeout = .milliseconds(1_500)
        let (configuration, _) = try self.configurations(settings)
        let client = try DTLSEndpoint(
            configuration: configuration, role: .client, expecting: [configuration.certificate.fingerprint(.sha256)])
        let start = NIODeadline.now()
        #expect(client.start(now: start).datagrams.count == 1)
        #expect(client.start(now: start) == DTLSOutput())
        let first = try #require(client.nextDeadline) - start
        #expect(first > .milliseconds(10) && first <= .milliseconds(50))
        // Waking early changes nothing.
        #expect(client.timeout(now: start) == DTLSOutput())
        let end = start + settings.handshakeTimeout
        var sentCount = 0
        var events: [DTLSEvent] = []
        while events.isEmpty, let deadline = client.nextDeadline {
            #expect(deadline <= end)
            while NIODeadline.now() < deadline { usleep(1_000) }
            let now = NIODeadline.now()
            let output = client.timeout(now: now)
            events += output.events
            guard !output.datagrams.isEmpty else { continue }
            sentCount += 1
            // As they are meant: a busy machine keeps none of them.
            guard let next = client.nextDeadline, next < end else { continue }
            #expect(next - now > .milliseconds(25 << sentCount))
            #expect(next - now <= .milliseconds(50 << sentCount))
        }
        #expect(events == [.failed(.timedOut)])
        // 50, 150, 350, 750 ms, or fewer if the machine is busy.
        #expect((2...4).contains(sentCount))
        #expect(client.nextDeadline == nil)
        #expect(client.timeout(now: .now() + .hours(1)) == DTLSOutput())
        #expect(client.close().isEmpty)
    }

    @Test("the first pause is 300 ms, and a server waits for the whole time")
    func defaultTimes() throws {
        let (configuration, _) = try self.configurations(DTLSConfiguration.Settings())
        let print = [configuration.certificate.fingerprint(.sha256)]
        let now = NIODeadline.now()
        let client = try DTLSEndpoint(configuration: configuration, role: .client, expecting: print)
        _ = client.start(now: now)
        let pause = try #require(client.nextDeadline) - now
        #expect(pause > .milliseconds(250) && pause <= .milliseconds(300))
        let server = try DTLSEndpoint(configuration: configuration, role: .server, expecting: print)
        #expect(server.nextDeadline == nil)
        #expect(server.start(now: now) == DTLSOutput())
        #expect(server.nextDeadline == now + .seconds(30))
        #expect(server.timeout(now: now + .seconds(30)).events == [.failed(.timedOut)])
    }

    @Test("what is not for it leaves an endpoint as it is")
    func garbage() throws {
        let (client, server) = try self.configurations()
        let link = try DTLSLink(client: client, server: server)
        #expect(link.server.receive(ByteBuffer(bytes: [22, 0xFE, 0xFD]), now: .now()) == DTLSOutput())
        var generator = SeededGenerator(seed: 17)
        _ = link.server.start(now: .now())
        for length in [0, 1, 12, 13, 14, 100, 1500, 20_000] {
            let garbage = ByteBuffer(bytes: [20] + generator.bytes(length))
            #expect(link.server.receive(garbage, now: .now()).events.isEmpty)
        }
        DTLSLink.run([link])
        try #require(link.isEstablished)
        for length in [0, 1, 12, 13, 14, 100, 1500, 20_000] {
            for first in 20...23 as ClosedRange<UInt8> {
                let garbage = ByteBuffer(bytes: [first, 0xFE, 0xFD, 0, 1] + generator.bytes(length))
                #expect(link.server.receive(garbage, now: .now()) == DTLSOutput())
                #expect(link.client.receive(garbage, now: .now()) == DTLSOutput())
            }
        }
    }
}
