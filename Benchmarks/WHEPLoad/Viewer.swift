import NIOCore
import Polling
import RTP
import STUN
import SecureRTP

/// One viewer: a WHEP request, an ICE agent that controls, a DTLS client, and a receiver of SRTP.
///
/// States: *connecting*, *requesting*, *checking*, *handshaking*, *playing*, *ended*. It decides nothing about when it
/// is called: the engine feeds it what its sockets have, and calls `tick` every few milliseconds.
final class Viewer {
    enum Phase: String {
        case connecting, requesting, checking, handshaking, playing, ended
    }

    /// What all viewers share.
    struct Common {
        let endpoint: Endpoint
        let dtls: DTLSConfiguration
        let joinsDatagrams: Bool
        /// Zero: no transport-wide feedback is offered.
        let feedbackNanos: UInt64
        let stallMicros: Int64
    }

    /// When it got how far, on the monotonic clock in nanoseconds.
    struct Milestones {
        var opened: UInt64
        var answered: UInt64?
        var connected: UInt64?
        var firstPacket: UInt64?
        var firstKeyframe: UInt64?
    }

    private static let checkNanos: UInt64 = 50_000_000
    /// As browsers check a path that works.
    private static let consentNanos: UInt64 = 2_500_000_000
    private static let reportNanos: UInt64 = 1_000_000_000
    /// Nothing is waited for longer than this.
    private static let patienceNanos: UInt64 = 15_000_000_000
    private static let maximumTransactions = 8
    private static let receiveBufferBytes: Int32 = 2 << 20

    let common: Common
    /// Its frames are put together to the end, not only up to the first keyframe.
    let isSampled: Bool
    private(set) var phase = Phase.connecting
    private(set) var failure: String?
    private(set) var milestones: Milestones
    private(set) var profile: SRTPProfile?
    /// Where the server says that the session is.
    private(set) var location: String?
    /// The connection of the request; `nil` once it is answered.
    private(set) var stream: Socket?
    private(set) var datagrams: Socket?

    private var response = Response()
    private let request: [UInt8]
    private let ufrag: String
    private var answer: Answer?
    private var dtls: DTLSEndpoint?
    private var sender: SRTPSender?
    private var receiver: SRTPReceiver?

    private let ssrc: UInt32
    /// Those of the latest checks: an answer may come after the next check was sent.
    private var transactions: [STUNTransactionID] = []
    private let tieBreaker: UInt64
    private var nextCheck: UInt64 = 0
    private var lastResponse: UInt64 = 0

    private(set) var totals = ReceivedTotals()
    private var counters: [SourceCounter] = []
    private var checker: FrameChecker? = FrameChecker()
    private var lastVideoMicros: Int64 = 0
    private(set) var lastPacket: UInt64 = 0

    private var nextReport: UInt64 = 0
    private var nextFeedback: UInt64 = 0
    private var arrivals: [TransportFeedback.Arrival] = []
    private var transportSequence = RTPSequenceUnwrapper()
    private var feedbackCount: UInt8 = 0

    /// Begins to connect.
    init(_ common: Common, isSampled: Bool, now: UInt64) throws(SystemError) {
        self.common = common
        self.isSampled = isSampled
        self.milestones = Milestones(opened: now)
        self.ufrag = Self.randomText(4)
        let offer = Offer(
            ufrag: self.ufrag, password: Self.randomText(24), fingerprint: common.dtls.certificate.fingerprint(.sha256),
            usesTransportFeedback: common.feedbackNanos > 0)
        self.request = common.endpoint.request(offer: offer.text(sessionID: .random(in: 1 ... .max)))
        self.ssrc = .random(in: 1 ... .max)
        self.tieBreaker = .random(in: 0 ... .max)
        self.stream = try Socket(.stream, to: common.endpoint.address)
    }

    private static func randomText(_ length: Int) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789")
        return String((0..<length).map { _ in letters[Int.random(in: 0..<letters.count)] })
    }

    // MARK: The request

    /// The connection is there: sends the request, which a new connection has room for.
    func connected() {
        guard self.phase == .connecting, let stream = self.stream else { return }
        self.phase = .requesting
        let sent = unsafe self.request.withUnsafeBytes { unsafe stream.send($0) }
        if sent != self.request.count { self.end("the request was not taken: \(sent)") }
    }

    /// Reads the response. Returns true once there is a socket for datagrams.
    func readResponse(into buffer: inout [UInt8], now: UInt64) -> Bool {
        guard self.phase == .requesting, let stream = self.stream else { return false }
        let count = stream.receive(into: &buffer)
        guard count >= 0 else { return false }
        guard self.response.append(buffer[..<count]) else {
            self.end("the answer is too long")
            return false
        }
        guard let whole = self.response.whole(isEnd: count == 0) else {
            if count == 0 { self.end("the server closed the request") }
            return false
        }
        stream.close()
        self.stream = nil
        guard whole.status == 201 else {
            self.end("status \(whole.status)")
            return false
        }
        self.milestones.answered = now
        self.location = whole.location
        do {
            let answer = try Answer(parsing: whole.body, preferring: self.common.endpoint.address.host)
            let socket = try Socket(.datagram, to: answer.address)
            self.datagrams = socket
            try socket.prepareForDatagrams(
                joins: self.common.joinsDatagrams, receiveBytes: Self.receiveBufferBytes)
            self.dtls = try DTLSEndpoint(
                configuration: self.common.dtls, role: .client, expecting: answer.fingerprints)
            self.answer = answer
        } catch {
            self.end("\(error)")
            return false
        }
        self.phase = .checking
        self.lastResponse = now
        self.sendCheck(now: now)
        return true
    }

    // MARK: Datagrams

    /// Takes one datagram, which may be changed; `micros` is the kernel's time of its arrival.
    func receive(_ datagram: UnsafeMutableRawBufferPointer, micros: Int64, now: UInt64) {
        guard let first = unsafe datagram.first, self.phase != .ended else { return }
        switch first {
        case 0...3: unsafe self.receiveSTUN(ByteBuffer(bytes: datagram), now: now)
        case 20...63:
            if let output = unsafe self.dtls?.receive(ByteBuffer(bytes: datagram), now: Self.deadline(now)) {
                self.handle(output, now: now)
            }
        case 128...191:
            if datagram.count > 1, unsafe RTPPacket.isRTCP(secondByte: datagram[1]) {
                unsafe self.receiveControl(datagram, micros: micros)
            } else {
                unsafe self.receivePacket(datagram, micros: micros, now: now)
            }
        default: break
        }
    }

    private func receiveSTUN(_ datagram: ByteBuffer, now: UInt64) {
        guard let message = try? STUNMessage(parsing: datagram), self.transactions.contains(message.transactionID),
            let password = self.answer?.password
        else { return }
        guard message.messageClass == .success, message.hasValidIntegrity(in: datagram, password: password) else {
            return self.end("a check was refused: \(message.errorCode?.rawValue ?? 0)")
        }
        self.lastResponse = now
        guard self.phase == .checking, let dtls = self.dtls else { return }
        self.phase = .handshaking
        self.nextCheck = now + Self.consentNanos
        self.handle(dtls.start(now: Self.deadline(now)), now: now)
    }

    private func sendCheck(now: UInt64) {
        guard let answer = self.answer else { return }
        self.nextCheck = now + (self.phase == .checking ? Self.checkNanos : Self.consentNanos)
        let transaction = STUNTransactionID(high: .random(in: 0 ... .max), low: .random(in: 0 ... .max))
        if self.transactions.count >= Self.maximumTransactions { self.transactions.removeFirst() }
        self.transactions.append(transaction)
        let check = STUNMessage(
            .request, transactionID: transaction,
            attributes: [
                .username("\(answer.ufrag):\(self.ufrag)"), .iceControlling(tieBreaker: self.tieBreaker),
                .useCandidate, .priority(1_853_824_767),
            ])
        self.send(check.write(password: answer.password))
    }

    private func handle(_ output: DTLSOutput, now: UInt64) {
        for datagram in output.datagrams { self.send(datagram) }
        for event in output.events {
            switch event {
            case .established(let keys): self.established(keys, now: now)
            case .failed(let error): self.end("\(error)")
            case .closed: self.end("the server ended the session")
            }
        }
    }

    private func established(_ keys: SRTPKeys, now: UInt64) {
        do {
            self.sender = try SRTPSender(profile: keys.profile, masterKey: keys.local, maximumSources: 2)
            self.receiver = try SRTPReceiver(profile: keys.profile, masterKey: keys.remote, maximumSources: 8)
        } catch {
            return self.end("\(error)")
        }
        self.profile = keys.profile
        self.phase = .playing
        self.milestones.connected = now
        // Not all at once: viewers that came together would report together for ever.
        self.nextReport = now + .random(in: 0..<Self.reportNanos)
        self.nextFeedback = now + .random(in: 0..<max(1, self.common.feedbackNanos))
    }

    // MARK: Media

    private func receivePacket(_ packet: UnsafeMutableRawBufferPointer, micros: Int64, now: UInt64) {
        guard
            let facts = unsafe PacketFacts(
                UnsafeRawBufferPointer(packet), extensionID: self.answer?.transportSequenceID)
        else { return }
        self.lastPacket = now
        self.totals.packets += 1
        self.totals.bytes += packet.count
        if self.milestones.firstPacket == nil { self.milestones.firstPacket = now }
        let isVideo = facts.payloadType == self.answer?.videoPayloadType
        let missing = self.count(facts, isVideo: isVideo, micros: micros)
        if let sequence = facts.transportSequence {
            self.arrivals.append(.init(sequenceNumber: self.transportSequence.unwrap(sequence), micros: micros))
        }
        guard self.checker != nil, isVideo || facts.payloadType == self.answer?.audioPayloadType else { return }
        guard let length = unsafe try? self.receiver?.unprotectRTP(packet) else {
            self.totals.undecryptable += 1
            return
        }
        self.dtls?.releaseAfterHandshake()
        let plain = unsafe ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: packet[..<length]))
        let isKeyframe =
            self.checker?.take(plain, isVideo: isVideo, missing: missing, totals: &self.totals) ?? false
        guard isKeyframe, self.milestones.firstKeyframe == nil else { return }
        self.milestones.firstKeyframe = now
        if !self.isSampled { self.checker = nil }
    }

    /// Returns how many packets are missing in front of this one.
    private func count(_ packet: PacketFacts, isVideo: Bool, micros: Int64) -> Int {
        if isVideo {
            let gap = micros - self.lastVideoMicros
            if self.lastVideoMicros > 0, gap > self.totals.longestGapMicros { self.totals.longestGapMicros = gap }
            if self.lastVideoMicros > 0, gap > self.common.stallMicros { self.totals.stalls += 1 }
            self.lastVideoMicros = micros
        }
        guard let index = self.counters.firstIndex(where: { $0.ssrc == packet.ssrc }) else {
            self.counters.append(SourceCounter(packet, clockRate: isVideo ? 90_000 : 48_000, micros: micros))
            self.totals.expected += 1
            return 0
        }
        let missing = self.counters[index].note(packet, micros: micros)
        if missing < 0 { self.totals.late += 1 } else { self.totals.expected += 1 + missing }
        return max(0, missing)
    }

    private func receiveControl(_ packet: UnsafeMutableRawBufferPointer, micros: Int64) {
        self.totals.controlPackets += 1
        guard let length = unsafe try? self.receiver?.unprotectRTCP(packet) else {
            self.totals.undecryptable += 1
            return
        }
        let plain = unsafe ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: packet[..<length]))
        for case .senderReport(let report) in (try? RTCPPacket.parseCompound(plain)) ?? [] {
            if let index = self.counters.firstIndex(where: { $0.ssrc == report.ssrc }) {
                self.counters[index].note(report, micros: micros)
            }
        }
    }

    // MARK: Time

    /// Does what is due: checks, the handshake's repetitions, reports and feedback. `wallMicros` is on the clock of the
    /// arrivals.
    func tick(now: UInt64, wallMicros: Int64) {
        switch self.phase {
        case .ended: return
        case .connecting, .requesting:
            if now > self.milestones.opened + Self.patienceNanos { self.end("no answer") }
            return
        case .checking, .handshaking, .playing: break
        }
        if now > self.lastResponse + Self.patienceNanos { return self.end("checks are not answered") }
        if now >= self.nextCheck { self.sendCheck(now: now) }
        if let dtls = self.dtls, let deadline = dtls.nextDeadline, deadline <= Self.deadline(now) {
            self.handle(dtls.timeout(now: Self.deadline(now)), now: now)
        }
        guard self.phase == .playing else { return }
        if now >= self.nextFeedback, !self.arrivals.isEmpty { self.sendFeedback(now: now) }
        if now >= self.nextReport, !self.counters.isEmpty { self.sendReport(now: now, micros: wallMicros) }
    }

    private func sendReport(now: UInt64, micros: Int64) {
        self.nextReport = now + Self.reportNanos
        var blocks: [RTCPReportBlock] = []
        for index in self.counters.indices { blocks.append(self.counters[index].reportBlock(micros: micros)) }
        var packet = ByteBuffer()
        RTCPPacket.receiverReport(RTCPReceiverReport(ssrc: self.ssrc, reports: blocks)).write(into: &packet)
        RTCPPacket.sourceDescription(RTCPSourceDescription(ssrc: self.ssrc, cname: self.ufrag)).write(into: &packet)
        self.send(control: packet)
    }

    private func sendFeedback(now: UInt64) {
        self.nextFeedback = now + self.common.feedbackNanos
        let packets = TransportFeedback.feedback(
            on: self.arrivals, senderSSRC: self.ssrc, mediaSSRC: self.counters.first?.ssrc ?? 0,
            firstCount: self.feedbackCount)
        self.arrivals.removeAll(keepingCapacity: true)
        self.feedbackCount &+= UInt8(truncatingIfNeeded: packets.count)
        for feedback in packets {
            var packet = ByteBuffer()
            RTCPPacket.transportFeedback(feedback).write(into: &packet)
            self.send(control: packet)
        }
    }

    private func send(control packet: ByteBuffer) {
        var packet = packet
        guard let sender = self.sender, (try? sender.protectRTCP(&packet)) != nil else { return }
        self.send(packet)
    }

    /// A datagram that the socket does not take is lost, as others are.
    private func send(_ datagram: ByteBuffer) {
        guard let socket = self.datagrams else { return }
        _ = unsafe datagram.withUnsafeReadableBytes { unsafe socket.send($0) }
    }

    private static func deadline(_ nanos: UInt64) -> NIODeadline { .uptimeNanoseconds(nanos) }

    // MARK: The end

    /// Something went wrong: the session counts as failed.
    func end(_ reason: String) {
        guard self.phase != .ended else { return }
        self.failure = "\(reason) while \(self.phase.rawValue)"
        self.close()
    }

    /// Tells the server that the viewer goes, if there is a session.
    func close() {
        guard self.phase != .ended else { return }
        for datagram in self.dtls?.close() ?? [] { self.send(datagram) }
        self.phase = .ended
        self.stream?.close()
        self.stream = nil
        self.datagrams?.close()
        self.datagrams = nil
        self.dtls = nil
        self.arrivals = []
    }
}
