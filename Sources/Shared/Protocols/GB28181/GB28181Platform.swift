import DequeModule
import DigestAuthentication
import MANSCDP
package import NIOCore
package import SIP

/// The platform of GB/T 28181: registers devices, asks them things, and invites them to send their media.
///
/// Run loop: hand in messages as they come, wishes, and `deadlineReached` at `nextDeadline`; after each, drain
/// `nextOutput()` to `nil`.
///
/// - A device: registered (`REGISTER`, digest) → online, as long as it keeps alive → offline. One that comes back from
///   another address, or over another connection, is where its last message came from; its sessions begin anew.
/// - A session of media: opening → inviting → established → waiting → … See `DeviceSession`. A live session goes on
///   until it is stopped: when its media end, the device is invited anew, after pauses that grow; when the device is
///   gone, it waits for it. A recording's session ends with the recording.
/// - Requests of ours end by their answer or in time. Everything that is kept is bounded by the configuration.
/// - Time: deadlines are met within 100 ms.
///
/// Spec: GB/T 28181-2016 and -2022, RFC 3261, RFC 3581, RFC 6665.
package struct GB28181Platform {
    /// What the owner does.
    package enum Output: Sendable, Equatable {
        case transmit(ByteBuffer, to: SIPPath)
        case event(GB28181Event)
    }

    /// What was counted since the start.
    package struct Statistics: Sendable, Hashable {
        package var received = 0
        package var malformed = 0
        package var sent = 0
        package var retransmissions = 0
        package var registrations = 0
        package var refusedRegistrations = 0
        /// Requests of devices that are not registered, or came from elsewhere.
        package var strangers = 0

        package init() {}
    }

    let configuration: GB28181Configuration
    private var random: any RandomNumberGenerator & Sendable
    package internal(set) var devices: [String: DeviceRecord] = [:]
    package internal(set) var sessions: [UInt64: DeviceSession] = [:]
    /// By `Call-ID`.
    var dialogs: [String: UInt64] = [:]
    /// By the number of the message.
    var requests: [UInt32: PendingRequest] = [:]
    var transactions = SIPTransactions()
    var nonces: RegistrationNonces
    var guesses = GuessBook()
    /// The live session of a channel.
    var liveSessions: [DeviceChannel: UInt64] = [:]
    var sessionsByDevice: [String: Set<UInt64>] = [:]
    /// What sessions were told to send as.
    var givenSources: Set<UInt32> = []
    /// Channels of all devices.
    var channelCount = 0
    var counters = Statistics()
    private var outputs = Deque<Output>()
    private var messageNumber: UInt32
    private var lastSession: UInt64 = 0
    private var tick: NIODeadline?

    /// `random` makes nonces, too, so it must be unpredictable where devices have passwords.
    package init(configuration: GB28181Configuration, random: any RandomNumberGenerator & Sendable) {
        self.configuration = configuration
        var random = random
        let secret = (0..<32).map { _ in UInt8(truncatingIfNeeded: random.next() as UInt64) }
        self.nonces = RegistrationNonces(secret: secret, capacity: 2 * configuration.maximumDevices)
        self.random = random
        self.messageNumber = 0
        self.messageNumber = UInt32(truncatingIfNeeded: self.random.next() as UInt64) & 0xF_FFFF
    }

    package var statistics: Statistics {
        var statistics = self.counters
        statistics.retransmissions = self.transactions.retransmissions
        return statistics
    }

    package mutating func nextOutput() -> Output? { self.outputs.popFirst() }

    // MARK: Time

    /// When `deadlineReached` has to be called; `nil` while there is nobody.
    package var nextDeadline: NIODeadline? { self.tick }

    package mutating func deadlineReached(_ clock: GB28181Clock) {
        guard let tick = self.tick, clock.now >= tick else { return }
        self.tick = nil
        for due in self.transactions.due(self.configuration, now: clock.now) {
            switch due {
            case .resend(let bytes, let path): self.transmit(bytes, path)
            case .timedOut(let client): self.timedOut(client, clock)
            }
        }
        self.checkDevices(clock)
        self.checkRequests(clock)
        self.checkSessions(clock)
        self.schedule(clock)
    }

    /// Time is looked at often while datagrams wait for answers, else once a second.
    func isIdle() -> Bool { self.devices.isEmpty && self.sessions.isEmpty && self.transactions.clients.isEmpty }

    mutating func schedule(_ clock: GB28181Clock) {
        guard !self.isIdle() else { return }
        let next = clock.now + (self.transactions.clients.isEmpty ? .seconds(1) : .milliseconds(100))
        if self.tick.map({ next < $0 }) ?? true { self.tick = next }
    }

    // MARK: Messages

    /// Takes a message as it came from `path`.
    package mutating func receive(_ message: SIPMessage, from path: SIPPath, _ clock: GB28181Clock) {
        self.counters.received += 1
        defer { self.schedule(clock) }
        guard message.method != nil else { return self.receiveResponse(message, path, clock) }
        do throws(SIPError) {
            try message.checkRequest()
        } catch {
            self.counters.malformed += 1
            // Without these fields an answer would find nobody.
            guard message.via != nil, message["Call-ID"] != nil, message["CSeq"] != nil, message.method != "ACK" else {
                return
            }
            return self.answer(message, 400, "Bad Request", path, clock)
        }
        if message.method == "ACK" { return }
        if let answer = self.transactions.answer(to: SIPTransactions.key(message, from: path), now: clock.now) {
            return self.transmit(answer, path)
        }
        self.receiveRequest(message, path, clock)
    }

    /// The connection was closed: nothing can be sent over it any more.
    package mutating func connectionClosed(_ connection: UInt64, _ clock: GB28181Clock) {
        for device in self.devices.values.filter({ $0.isOnline && $0.path.transport == .tcp(connection: connection) }) {
            self.deviceGone(device.id, reason: "its connection was closed", clock)
        }
        self.schedule(clock)
    }

    /// Bytes came that are no message.
    package mutating func receivedGarbage() { self.counters.malformed += 1 }

    private mutating func receiveRequest(_ request: SIPMessage, _ path: SIPPath, _ clock: GB28181Clock) {
        switch request.method {
        case "REGISTER": self.receiveRegistration(request, path, clock)
        case "MESSAGE", "NOTIFY": self.receiveMessage(request, path, clock)
        case "BYE": self.receiveBye(request, path, clock)
        case "OPTIONS": self.answer(request, 200, "OK", path, clock) { $0["Allow"] = Self.methods }
        case "INFO":
            let isKnown = self.dialogs[request.callID ?? ""] != nil
            self.answer(request, isKnown ? 200 : 481, isKnown ? "OK" : "Call Does Not Exist", path, clock)
        case "CANCEL": self.answer(request, 481, "Transaction Does Not Exist", path, clock)
        // Devices that talk to us, such as for voice broadcast, are not served.
        case "INVITE": self.answer(request, 488, "Not Acceptable Here", path, clock)
        default:
            self.answer(request, 405, "Method Not Allowed", path, clock) { $0["Allow"] = Self.methods }
        }
    }

    private static let methods = "REGISTER, MESSAGE, NOTIFY, BYE, INFO, OPTIONS, ACK, CANCEL"

    /// Sends the final response to a request of a device. Of those that changed something it is remembered for
    /// repetitions; refusals and what strangers ask are answered anew.
    mutating func answer(
        _ request: SIPMessage, _ status: Int, _ reason: String, _ path: SIPPath, _ clock: GB28181Clock,
        _ change: (inout SIPMessage) -> Void = { _ in }
    ) {
        var response = request.response(
            status, reason, tag: self.randomText(8), receivedFrom: (path.host, path.port))
        response["User-Agent"] = self.configuration.userAgent
        change(&response)
        let bytes = response.bytes
        if (200...299).contains(status), ["REGISTER", "MESSAGE", "NOTIFY", "BYE"].contains(request.method) {
            self.transactions.remember(
                bytes, for: SIPTransactions.key(request, from: path), lifetime: self.configuration.transactionTimeout,
                now: clock.now)
        }
        self.transmit(bytes, path)
    }

    private mutating func receiveResponse(_ response: SIPMessage, _ path: SIPPath, _ clock: GB28181Clock) {
        guard let branch = response.via?.branch, let sequence = response.sequence else {
            return self.counters.malformed += 1
        }
        let longest = self.configuration.longestRetransmission
        guard let client = self.transactions.receive(response, branch: branch, longest: longest) else {
            // An answer that comes again: the acknowledgement was lost.
            guard sequence.method == "INVITE", let id = self.dialogs[response.callID ?? ""],
                let bytes = self.sessions[id]?.dialog?.acknowledgement, (200...299).contains(response.status ?? 0)
            else { return }
            return self.transmit(bytes, path)
        }
        let status = response.status ?? 0
        if client.isInvite { return self.receiveInviteResponse(response, status, client, branch, clock) }
        guard status >= 200 else { return }
        self.finished(client, status: status, response: response, clock)
    }

    private mutating func timedOut(_ client: SIPTransactions.Client, _ clock: GB28181Clock) {
        if case .invite(let session) = client.purpose {
            self.invitationFailed(session, client, .noAnswer, clock)
        } else {
            self.finished(client, status: nil, response: nil, clock)
        }
    }

    /// A request of ours other than an invitation ended. `status` is `nil` when no response came.
    private mutating func finished(
        _ client: SIPTransactions.Client, status: Int?, response: SIPMessage?, _ clock: GB28181Clock
    ) {
        switch client.purpose {
        case .request(let number): self.requestFinished(UInt32(truncatingIfNeeded: number), status: status, clock)
        case .subscribe(let device, let event): self.subscribed(device, event, status: status, response, clock)
        case .question:
            if let open = self.devices[client.device]?.openRequests {
                self.devices[client.device]?.openRequests = max(0, open - 1)
            }
        case .invite, .bye, .cancel: break
        }
    }

    // MARK: Sending

    mutating func transmit(_ bytes: ByteBuffer, _ path: SIPPath) {
        self.counters.sent += 1
        self.outputs.append(.transmit(bytes, to: path))
    }

    mutating func tell(_ event: GB28181Event) { self.outputs.append(.event(event)) }

    /// Begins a request of ours. `target` is its URI, `dialog` gives numbers and tags.
    mutating func send(
        _ method: String, to target: String, user: String, callID: String, localTag: String, remoteTag: String?,
        sequence: UInt32, path: SIPPath, branch: String, _ change: (inout SIPMessage) -> Void = { _ in }
    ) -> SIPMessage {
        let local = SIPURI(host: path.localHost, port: path.localPort)
        let via = SIPVia(
            transport: path.transportName, host: local.host, port: local.port,
            parameters: [SIPParameter("rport"), SIPParameter("branch", branch)])
        let own = SIPURI(user: self.configuration.serverID, host: self.configuration.domain)
        let peer = SIPURI(user: user, host: self.configuration.domain)
        var request = SIPMessage(.request(method: method, uri: target))
        request.fields = [
            .init("Via", via.text),
            .init("From", SIPAddress(own, parameters: [SIPParameter("tag", localTag)]).text),
            .init("To", SIPAddress(peer, parameters: remoteTag.map { [SIPParameter("tag", $0)] } ?? []).text),
            .init("Call-ID", callID), .init("CSeq", SIPSequence(sequence, method).text),
            .init(
                "Contact",
                SIPAddress(SIPURI(user: self.configuration.serverID, host: local.host, port: local.port)).text),
            .init("Max-Forwards", "70"), .init("User-Agent", self.configuration.userAgent),
        ]
        change(&request)
        return request
    }

    /// The URI of a device or channel where the device is.
    func uri(_ user: String, at path: SIPPath) -> String {
        SIPURI(user: user, host: path.host, port: path.port).text
    }

    /// Sends a request outside of a dialog, whose answer is its response.
    mutating func ask(
        _ purpose: SIPTransactions.Purpose, _ method: String, device: DeviceRecord, user: String, body: ByteBuffer,
        type: String, _ clock: GB28181Clock
    ) {
        let branch = self.newBranch()
        let request = self.send(
            method, to: self.uri(user, at: device.path), user: user, callID: self.newCallID(device.path),
            localTag: self.randomText(10), remoteTag: nil, sequence: 1, path: device.path, branch: branch
        ) {
            $0["Content-Type"] = type
            $0.body = body
        }
        self.begin(purpose, request, branch: branch, device: device.id, path: device.path, clock)
    }

    mutating func begin(
        _ purpose: SIPTransactions.Purpose, _ request: SIPMessage, branch: String, device: String, path: SIPPath,
        _ clock: GB28181Clock
    ) {
        self.transactions.begin(
            purpose, request, branch: branch, device: device, path: path, configuration: self.configuration,
            now: clock.now)
        self.transmit(request.bytes, path)
        self.schedule(clock)
    }

    // MARK: Numbers

    mutating func randomText(_ length: Int) -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
        return String(
            decoding: (0..<length).map { _ in alphabet[Int(self.random.next(upperBound: 36))] }, as: UTF8.self)
    }

    mutating func newBranch() -> String { "z9hG4bK" + self.randomText(16) }
    mutating func newCallID(_ path: SIPPath) -> String { "\(self.randomText(20))@\(path.localHost)" }

    mutating func newMessageNumber() -> UInt32 {
        repeat { self.messageNumber = self.messageNumber &+ 1 } while self.requests[self.messageNumber] != nil
        return self.messageNumber
    }

    mutating func newSession() -> UInt64 {
        self.lastSession += 1
        return self.lastSession
    }

    /// Ten digits: 0 for live and 1 for recordings, five of the domain, four that no other session has.
    /// Spec: GB/T 28181-2016 annex C.2.3.
    mutating func newSSRC(isLive: Bool) -> UInt32 {
        let digits = self.configuration.serverID.utf8.dropFirst(3).prefix(5).reduce(UInt32(0)) {
            $0 * 10 + ((48...57).contains($1) ? UInt32($1 - 48) : 0)
        }
        var ssrc: UInt32
        repeat {
            // Nobody is to guess it who was not told.
            ssrc = (isLive ? 0 : 1_000_000_000) + digits * 10_000 + UInt32(self.random.next(upperBound: 10_000))
        } while !self.givenSources.insert(ssrc).inserted
        return ssrc
    }
}

extension RandomNumberGenerator {
    /// For generators behind a protocol.
    fileprivate mutating func next(upperBound: UInt64) -> UInt64 { self.next() % upperBound }
}
