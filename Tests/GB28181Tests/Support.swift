import DigestAuthentication
import MANSCDP
import NIOCore
import SIP

@testable import GB28181

/// Draws the same numbers each time.
struct Numbers: RandomNumberGenerator, Sendable {
    var state: UInt64 = 42

    mutating func next() -> UInt64 {
        self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return self.state ^ self.state >> 33
    }
}

/// A platform, a clock that a test moves, and what came out.
final class Script {
    static let server = "34020000002000000001"
    static let device = "34020000001110000001"
    static let channel = "34020000001320000001"

    var platform: GB28181Platform
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    var sent: [(message: SIPMessage, path: SIPPath)] = []
    var events: [GB28181Event] = []
    var path = SIPPath(transport: .udp, host: "192.0.2.7", port: 5_060, localHost: "192.0.2.1", localPort: 5_060)
    var sequence: UInt32 = 0
    var callID = "register-1"

    var clock: GB28181Clock { GB28181Clock(now: self.now, wallSeconds: 1_709_164_800) }

    init(password: String? = nil, _ change: (inout GB28181Configuration) -> Void = { _ in }) {
        var configuration = GB28181Configuration(serverID: Self.server, password: { _ in password })
        change(&configuration)
        self.platform = GB28181Platform(configuration: configuration, random: Numbers())
    }

    func drain() {
        while let output = self.platform.nextOutput() {
            switch output {
            case .transmit(let bytes, let path):
                guard let message = try? SIPMessageReader.message(inDatagram: bytes) else {
                    preconditionFailure("what was sent is no message")
                }
                self.sent.append((message, path))
            case .event(let event): self.events.append(event)
            }
        }
    }

    /// What was sent since the last call.
    func takeSent() -> [SIPMessage] {
        defer { self.sent = [] }
        return self.sent.map(\.message)
    }

    func takeEvents() -> [GB28181Event] {
        defer { self.events = [] }
        return self.events
    }

    func receive(_ message: SIPMessage) {
        self.platform.receive(message, from: self.path, self.clock)
        self.drain()
    }

    /// Lets time pass, waking the platform as it wants.
    func wait(_ time: TimeAmount) {
        let end = self.now + time
        while let next = self.platform.nextDeadline, next <= end {
            self.now = max(self.now, next)
            self.platform.deadlineReached(self.clock)
            self.drain()
        }
        self.now = end
    }

    // MARK: Wishes

    func play(
        _ source: DeviceChannel, _ what: DeviceSource = .live, transport: DeviceTransport = .udp
    ) -> Result<UInt64, DeviceRefusal> {
        defer { self.drain() }
        return self.platform.play(source, what, transport: transport, self.clock)
    }

    func ask(_ id: UInt64, _ request: DeviceRequest, device: String = Script.device) -> DeviceRefusal? {
        defer { self.drain() }
        return self.platform.request(id, device: device, request, self.clock)
    }

    func stop(_ session: UInt64) -> Bool {
        defer { self.drain() }
        return self.platform.stop(session: session, .stopped, self.clock)
    }

    // MARK: The device

    func request(
        _ method: String, callID: String? = nil, body: String = "", fields: [(String, String)] = []
    ) -> SIPMessage {
        self.sequence += 1
        var message = SIPMessage(.request(method: method, uri: "sip:\(Self.server)@3402000000"))
        message["Via"] = "SIP/2.0/UDP 10.0.0.9:5060;rport;branch=z9hG4bKdevice\(self.sequence)"
        message["From"] = "<sip:\(Self.device)@3402000000>;tag=d"
        message["To"] = "<sip:\(Self.server)@3402000000>"
        message["Call-ID"] = callID ?? "message-\(self.sequence)"
        message["CSeq"] = "\(self.sequence) \(method)"
        for (name, value) in fields { message[name] = value }
        message.body = ByteBuffer(string: body)
        return message
    }

    /// Sends a registration; returns the answer's status.
    @discardableResult
    func register(expires: Int = 3_600, authorization: String? = nil) -> SIPMessage? {
        var message = self.request("REGISTER", callID: self.callID, fields: [("Expires", "\(expires)")])
        message["Authorization"] = authorization
        self.receive(message)
        return self.sent.first { $0.message["CSeq"] == message["CSeq"] && $0.message.callID == self.callID }?.message
    }

    func tell(_ xml: String) { self.receive(self.request("MESSAGE", body: xml)) }

    func keepAlive() {
        self.tell("<Notify><CmdType>Keepalive</CmdType><SN>1</SN><DeviceID>\(Self.device)</DeviceID></Notify>")
    }

    /// Answers a request of the platform.
    func answer(_ request: SIPMessage, _ status: Int, tag: String = "x", body: String = "") {
        var answer = request.response(status, "Reason", tag: tag)
        if status >= 200, request.method == "INVITE" { answer["Contact"] = "<sip:\(Self.channel)@10.0.0.9:5060>" }
        answer.body = ByteBuffer(string: body)
        self.receive(answer)
    }

    /// Registers, answers everything that is asked then, and lists one channel.
    func comeOnline() {
        self.register()
        for message in self.takeSent() where message.method == "MESSAGE" {
            self.answer(message, 200)
            guard let query = (try? XMLElement(parsing: message.body)).flatMap({ MANSCDPMessage($0) }),
                query.command == "Catalog"
            else { continue }
            self.tell(Self.page(number: query.number ?? 0, total: 1, [Self.channel]))
        }
        self.sent = []
        self.events = []
    }

    static func page(number: UInt32, total: Int, _ channels: [String]) -> String {
        let items = channels.map {
            "<Item><DeviceID>\($0)</DeviceID><Name>c</Name><Status>ON</Status><Parental>0</Parental></Item>"
        }
        return "<Response><CmdType>Catalog</CmdType><SN>\(number)</SN><DeviceID>\(Self.device)</DeviceID>"
            + "<SumNum>\(total)</SumNum><DeviceList Num=\"\(channels.count)\">\(items.joined())</DeviceList></Response>"
    }

    /// Invites the channel live, and makes ready. Returns the session and the invitation.
    func invite(
        _ what: DeviceSource = .live, transport: DeviceTransport = .tcpPassive
    ) throws(DeviceRefusal) -> (session: UInt64, message: SIPMessage?) {
        let source = DeviceChannel(device: Self.device, channel: Self.channel)
        let id = try self.platform.play(source, what, transport: transport, self.clock).get()
        self.platform.mediaReady(session: id, host: nil, port: 9_000, self.clock)
        self.drain()
        return (id, self.takeSent().last { $0.method == "INVITE" })
    }

    static func answerBody(ssrc: String? = nil, port: Int = 30_000) -> String {
        "v=0\r\no=- 0 0 IN IP4 10.0.0.9\r\ns=Play\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=video \(port) TCP/RTP/AVP 96\r\n"
            + "a=setup:active\r\n" + (ssrc.map { "y=\($0)\r\n" } ?? "")
    }
}
