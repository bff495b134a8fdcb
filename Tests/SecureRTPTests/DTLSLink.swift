import Glibc
import NIOCore

@testable import SecureRTP

/// Two endpoints and what may happen to datagrams between them.
///
/// OpenSSL retransmits by a clock of its own, so that time here is the real one; the many links of a test pass it
/// together.
final class DTLSLink {
    /// Each out of a hundred datagrams.
    struct Faults {
        var loss = 0
        var duplication = 0
        var reordering = 0
        var corruption = 0
        /// Only datagrams that begin with a record under the new keys are corrupted.
        var sparesPlainRecords = false
    }

    let seed: UInt64
    let client: DTLSEndpoint
    let server: DTLSEndpoint
    private(set) var clientEvents: [DTLSEvent] = []
    private(set) var serverEvents: [DTLSEvent] = []
    private(set) var largestDatagram = 0
    private(set) var datagramCount = 0
    private var toClient: [ByteBuffer] = []
    private var toServer: [ByteBuffer] = []
    private var faults: Faults
    private var generator: SeededGenerator

    init(client: DTLSEndpoint, server: DTLSEndpoint, faults: Faults = Faults(), seed: UInt64 = 0) {
        self.client = client
        self.server = server
        self.faults = faults
        self.seed = seed
        self.generator = SeededGenerator(seed: seed)
    }

    /// An endpoint each for two configurations that know each other.
    convenience init(
        client: DTLSConfiguration, server: DTLSConfiguration, faults: Faults = Faults(), seed: UInt64 = 0
    ) throws {
        self.init(
            client: try DTLSEndpoint(
                configuration: client, role: .client, expecting: [server.certificate.fingerprint(.sha256)]),
            server: try DTLSEndpoint(
                configuration: server, role: .server, expecting: [client.certificate.fingerprint(.sha256)]),
            faults: faults, seed: seed)
    }

    var isDecided: Bool { !self.clientEvents.isEmpty && !self.serverEvents.isEmpty }

    var clientKeys: SRTPKeys? { Self.keys(self.clientEvents) }
    var serverKeys: SRTPKeys? { Self.keys(self.serverEvents) }

    /// Whether both have keys, which fit.
    var isEstablished: Bool {
        guard let client = self.clientKeys, let server = self.serverKeys else { return false }
        return client.profile == server.profile && client.local == server.remote && client.remote == server.local
            && client.local != client.remote
    }

    private static func keys(_ events: [DTLSEvent]) -> SRTPKeys? {
        for event in events { if case .established(let keys) = event { return keys } }
        return nil
    }

    func start() {
        let now = NIODeadline.now()
        self.take(self.server.start(now: now), fromClient: false)
        self.take(self.client.start(now: now), fromClient: true)
    }

    func take(_ output: DTLSOutput, fromClient: Bool) {
        if fromClient { self.clientEvents += output.events } else { self.serverEvents += output.events }
        for datagram in output.datagrams { self.send(datagram, fromClient: fromClient) }
    }

    func send(_ datagram: ByteBuffer, fromClient: Bool) {
        self.datagramCount += 1
        self.largestDatagram = max(self.largestDatagram, datagram.readableBytes)
        guard !self.chance(self.faults.loss) else { return }
        let copies = self.chance(self.faults.duplication) ? 2 : 1
        for _ in 0..<copies {
            var datagram = datagram
            let isPlain = datagram.getInteger(at: 3, as: UInt16.self) == 0
            if self.chance(self.faults.corruption), !(isPlain && self.faults.sparesPlainRecords) {
                let at = Int.random(in: 0..<datagram.readableBytes, using: &self.generator)
                let byte = datagram.getInteger(at: at, as: UInt8.self) ?? 0
                datagram.setInteger(byte ^ UInt8.random(in: 1...255, using: &self.generator), at: at)
            }
            if fromClient { self.toServer.append(datagram) } else { self.toClient.append(datagram) }
        }
    }

    /// Delivers a datagram or calls what is due; false if there is nothing to do now.
    func step(now: NIODeadline) -> Bool {
        if !self.toServer.isEmpty {
            self.take(self.server.receive(self.next(&self.toServer), now: now), fromClient: false)
            return true
        }
        if !self.toClient.isEmpty {
            self.take(self.client.receive(self.next(&self.toClient), now: now), fromClient: true)
            return true
        }
        var isBusy = false
        if let deadline = self.client.nextDeadline, deadline <= now {
            self.take(self.client.timeout(now: now), fromClient: true)
            isBusy = true
        }
        if let deadline = self.server.nextDeadline, deadline <= now {
            self.take(self.server.timeout(now: now), fromClient: false)
            isBusy = true
        }
        return isBusy
    }

    private func next(_ queue: inout [ByteBuffer]) -> ByteBuffer {
        let isLate = queue.count > 1 && self.chance(self.faults.reordering)
        return queue.remove(at: isLate ? Int.random(in: 1..<queue.count, using: &self.generator) : 0)
    }

    private func chance(_ percent: Int) -> Bool {
        percent > 0 && Int.random(in: 0..<100, using: &self.generator) < percent
    }

    /// Runs links side by side until all are decided and nothing is on its way, at most for the given time.
    static func run(_ links: [DTLSLink], atMost limit: TimeAmount = .seconds(20)) {
        links.forEach { $0.start() }
        let end = NIODeadline.now() + limit
        var isRunning = true
        while isRunning {
            let now = NIODeadline.now()
            guard now < end else { return }
            var isBusy = false
            isRunning = false
            for link in links {
                let wasBusy = link.step(now: now)
                isBusy = isBusy || wasBusy
                isRunning = isRunning || wasBusy || !link.isDecided
            }
            // OpenSSL's clock has to go on.
            if isRunning && !isBusy { usleep(1000) }
        }
    }

    /// Delivers what is on its way, without faults and without waiting.
    func settle() {
        self.faults = Faults()
        while !self.toClient.isEmpty || !self.toServer.isEmpty { _ = self.step(now: .now()) }
    }
}

extension DTLSConfiguration.Settings {
    /// Waits little, for tests that lose datagrams.
    static var impatient: Self {
        var settings = Self()
        settings.firstRetransmission = .milliseconds(20)
        settings.longestRetransmission = .milliseconds(200)
        return settings
    }
}

/// Certificates that tests share, because keys take long to make.
enum TestCertificates {
    /// 2025-01-01.
    static let now: Int64 = 1_735_689_600

    static let first = Result { try DTLSCertificate.makeSelfSigned(now: Self.now, lifetime: 86_400 * 30) }
    static let second = Result { try DTLSCertificate.makeSelfSigned(now: Self.now, lifetime: 86_400 * 30) }
}
