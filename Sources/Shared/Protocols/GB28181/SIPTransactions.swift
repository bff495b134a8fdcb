import NIOCore
import SIP

/// The requests that we sent and that are not answered, and our answers to those of devices.
///
/// Datagrams are sent again until an answer comes (RFC 3261 §17.1); a request that comes again gets the answer that was
/// given before (§17.2). Both are bounded.
struct SIPTransactions: Sendable {
    /// What a request of ours was about.
    enum Purpose: Sendable, Hashable {
        case invite(session: UInt64)
        case bye
        case cancel
        /// A request of the owner; its answer is the response, or a message that comes later.
        case request(UInt64)
        /// A question that nobody waits for.
        case question
        case subscribe(device: String, DeviceEvent)
    }

    struct Client: Sendable {
        var purpose: Purpose
        var device: String
        var isInvite: Bool
        var message: ByteBuffer
        /// Our request, for the `ACK` of a failure and for `CANCEL`.
        var request: SIPMessage
        var path: SIPPath
        var deadline: NIODeadline
        /// `nil`: not sent again.
        var nextSend: NIODeadline?
        var interval: TimeAmount
    }

    enum Due {
        case resend(ByteBuffer, SIPPath)
        case timedOut(Client)
    }

    private struct Answer: Sendable {
        var bytes: ByteBuffer
        var expires: NIODeadline
    }

    private static let maximumAnswers = 8_192

    private(set) var clients: [String: Client] = [:]
    private var answers: [String: Answer] = [:]
    /// In the order in which they expire.
    private var answerOrder: [String] = []
    private var answerHead = 0
    private(set) var retransmissions = 0

    // MARK: Ours

    mutating func begin(
        _ purpose: Purpose, _ request: SIPMessage, branch: String, device: String, path: SIPPath,
        configuration: GB28181Configuration, now: NIODeadline
    ) {
        let isInvite = request.method == "INVITE"
        self.clients[branch] = Client(
            purpose: purpose, device: device, isInvite: isInvite, message: request.bytes, request: request, path: path,
            deadline: now + configuration.transactionTimeout,
            nextSend: path.isDatagram ? now + configuration.firstRetransmission : nil,
            interval: configuration.firstRetransmission)
    }

    /// A response came. Returns the transaction, which is over if the response is final.
    mutating func receive(_ response: SIPMessage, branch: String, longest: TimeAmount) -> Client? {
        guard let client = self.clients[branch], response.sequence?.method == client.request.method else { return nil }
        if (response.status ?? 0) >= 200 {
            self.clients[branch] = nil
        } else {
            // An invitation is not repeated once the device has it; another request is, but seldom.
            self.clients[branch]?.nextSend = client.isInvite ? nil : client.nextSend
            self.clients[branch]?.interval = longest
        }
        return client
    }

    /// Nobody waits for the answer any more.
    mutating func forget(branch: String) { self.clients[branch] = nil }

    mutating func forget(device: String) -> [Client] {
        let found = self.clients.filter { $0.value.device == device }
        for branch in found.keys { self.clients[branch] = nil }
        return Array(found.values)
    }

    var nextDeadline: NIODeadline? {
        self.clients.values.reduce(nil) { earliest, client in
            let own = min(client.nextSend ?? client.deadline, client.deadline)
            return earliest.map { min($0, own) } ?? own
        }
    }

    mutating func due(_ configuration: GB28181Configuration, now: NIODeadline) -> [Due] {
        var due: [Due] = []
        for (branch, client) in self.clients {
            if client.deadline <= now {
                self.clients[branch] = nil
                due.append(.timedOut(client))
            } else if let next = client.nextSend, next <= now {
                let doubled = client.interval + client.interval
                let interval = client.isInvite ? doubled : min(doubled, configuration.longestRetransmission)
                self.clients[branch]?.interval = interval
                self.clients[branch]?.nextSend = now + interval
                self.retransmissions += 1
                due.append(.resend(client.message, client.path))
            }
        }
        return due
    }

    // MARK: Theirs

    static func key(_ request: SIPMessage, from path: SIPPath) -> String {
        "\(path.host)|\(request.via?.branch ?? "")|\(request.callID ?? "")|\(request["CSeq"] ?? "")|\(request.from?.tag ?? "")"
    }

    func answer(to key: String, now: NIODeadline) -> ByteBuffer? {
        self.answers[key].flatMap { now < $0.expires ? $0.bytes : nil }
    }

    mutating func remember(_ bytes: ByteBuffer, for key: String, lifetime: TimeAmount, now: NIODeadline) {
        while self.answerHead < self.answerOrder.count {
            let oldest = self.answerOrder[self.answerHead]
            let isOver = self.answers[oldest].map { $0.expires <= now } ?? true
            guard isOver || self.answers.count >= Self.maximumAnswers else { break }
            self.answers[oldest] = nil
            self.answerHead += 1
        }
        if self.answerHead > 1_024, self.answerHead * 2 > self.answerOrder.count {
            self.answerOrder.removeFirst(self.answerHead)
            self.answerHead = 0
        }
        if self.answers.updateValue(Answer(bytes: bytes, expires: now + lifetime), forKey: key) == nil {
            self.answerOrder.append(key)
        }
    }
}
