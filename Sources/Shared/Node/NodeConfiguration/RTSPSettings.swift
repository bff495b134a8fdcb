package import NIOCore

/// RTSP: the listener that all who publish and play share, its ports of UDP, and streams that are fetched from cameras.
package struct RTSPSettings: Sendable, Equatable {
    /// How clients may prove that they know a password.
    package enum Authentication: String, Sendable, CaseIterable {
        case sha256
        case md5
        case basic
    }

    package var isEnabled = true
    package var listen = [ListenAddress(host: "0.0.0.0", port: 8_554)]
    /// RTSPS.
    package var tls = TLSSettings()
    /// Whether tracks may travel by UDP.
    package var udp = true
    /// Two for each track by UDP.
    package var ports = PortRange(first: 20_000, last: 20_999)
    /// Offered in this order.
    package var authentication: [Authentication] = [.sha256, .md5, .basic]
    package var realm = "Weir"
    /// From the connection to PLAY or RECORD.
    package var requestTimeout = TimeAmount.seconds(30)
    /// The longest silence of a player by UDP, or of one that paused.
    package var sessionTimeout = TimeAmount.seconds(60)
    /// The longest silence of a publisher.
    package var publishIdleTimeout = TimeAmount.seconds(10)
    /// How long packets by UDP wait for one that is missing.
    package var receiveWait = TimeAmount.milliseconds(200)
    package var maximumConnections = 10_000
    /// Streams that are fetched from other servers and cameras.
    package var pulls: [RTSPPullSetting] = []
    /// How long a stream on demand is fetched after its last viewer left.
    package var pullLinger = TimeAmount.seconds(10)
    /// How long the first viewer of a stream on demand waits for it.
    package var pullWait = TimeAmount.seconds(10)
    /// The longest silence of a camera before it is called again.
    package var pullMediaTimeout = TimeAmount.seconds(10)

    package init() {}
}

extension StreamSettings {
    /// How a stream is taken from and given to RTSP clients.
    package struct RTSP: Sendable, Equatable {
        package var isEnabled = true
        /// Who may publish; empty: whoever the access rules let in.
        package var publishers: [Credential] = []
        /// Who may play.
        package var players: [Credential] = []
        /// How long the answer to a player waits for the first tracks of a stream.
        package var playWait = TimeAmount.seconds(5)

        package init() {}
    }
}

/// A range of ports, `20000-20999`.
package struct PortRange: Sendable, Hashable, CustomStringConvertible {
    /// Both are 1024 to 65535, and the last is above the first.
    package let first: Int
    package let last: Int

    /// - Parameter last: above `first`.
    package init(first: Int, last: Int) {
        precondition(1_024 <= first && first < last && last <= 65_535, "no range of ports: \(first) to \(last)")
        self.first = first
        self.last = last
    }

    init(parsing text: String) throws(ValueProblem) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let first = Int(parts[0]), let last = Int(parts[1]), 1_024 <= first, first < last,
            last <= 65_535
        else { throw .invalid(expected: "FIRST-LAST, two ports from 1024 to 65535, such as 20000-20999") }
        self.init(first: first, last: last)
    }

    package var description: String { "\(self.first)-\(self.last)" }
}

/// A name with its password, `NAME:PASSWORD`. No description shows the password.
package struct Credential: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    package let name: String
    package let password: String

    init(parsing text: String) throws(ValueProblem) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")), colon > text.startIndex, text.utf8.count <= 512
        else { throw .invalid(expected: "NAME:PASSWORD") }
        self.name = String(text[..<colon])
        self.password = String(text[text.utf8.index(after: colon)...])
        guard !self.password.isEmpty else { throw .invalid(expected: "NAME:PASSWORD, with a password") }
    }

    package var description: String { "\(self.name):<redacted>" }
    package var debugDescription: String { self.description }
    package var customMirror: Mirror { Mirror(self, children: []) }

    /// The text that is parsed. Holds the password: never log it.
    var text: String { "\(self.name):\(self.password)" }
}

/// `live/door=rtsp://user:password@192.0.2.7/stream1 udp on_demand`: a stream that is fetched, and how.
package struct RTSPPullSetting: Sendable, Hashable, CustomStringConvertible {
    package enum Delivery: String, Sendable, CaseIterable {
        case auto, tcp, udp
    }

    package let vhost: String?
    package let app: String
    package let name: String
    /// What rules and hooks may want of the publisher.
    package let query: String
    /// Holds user and password: never log it.
    package let url: String
    package let delivery: Delivery
    package let isOnDemand: Bool
    package let verifiesCertificate: Bool
    private let text: String

    static let expected =
        "APP/STREAM=rtsp://HOST/PATH, then words of udp, tcp, on_demand and insecure, such as "
        + "live/door=rtsp://user:password@192.0.2.7/stream1 on_demand"

    init(parsing text: String) throws(ValueProblem) {
        let words = text.split(separator: " ", omittingEmptySubsequences: true)
        guard let first = words.first,
            let mark = first.firstRange(of: "=rtsp://") ?? first.firstRange(of: "=rtsps://")
        else { throw .invalid(expected: Self.expected) }
        let url = String(first[first.index(after: mark.lowerBound)...])
        let target = first[..<mark.lowerBound].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = target[0].split(separator: "/", omittingEmptySubsequences: false)
        guard path.count >= 2, path.allSatisfy({ !$0.isEmpty }), Self.isURL(url) else {
            throw .invalid(expected: Self.expected)
        }
        self.app = path.dropLast().joined(separator: "/")
        self.name = String(path[path.count - 1])
        self.query = target.count > 1 ? String(target[1]) : ""
        self.vhost = self.query.split(separator: "&").first { $0.hasPrefix("vhost=") }.map { String($0.dropFirst(6)) }
        self.url = url
        var (delivery, isOnDemand, verifies) = (Delivery.auto, false, true)
        for word in words.dropFirst() {
            switch word {
            case "udp": delivery = .udp
            case "tcp": delivery = .tcp
            case "on_demand": isOnDemand = true
            case "insecure": verifies = false
            default: throw .invalid(expected: Self.expected)
            }
        }
        (self.delivery, self.isOnDemand, self.verifiesCertificate) = (delivery, isOnDemand, verifies)
        self.text = text
    }

    /// Something with a host; the rest is the client's business.
    private static func isURL(_ text: String) -> Bool {
        guard let mark = text.firstRange(of: "://") else { return false }
        let authority = text[mark.upperBound...].prefix { $0 != "/" && $0 != "?" }
        return !(authority.split(separator: "@", omittingEmptySubsequences: false).last ?? "").isEmpty
    }

    /// As the operator wrote it. Holds user and password.
    package var description: String { self.text }
}

extension SettingCodec where Value == PortRange {
    static var portRange: Self {
        .scalar("FIRST-LAST") { (text) throws(ValueProblem) in
            try PortRange(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == PortRange? {
    /// Empty means none.
    static var optionalPortRange: Self {
        .scalar("FIRST-LAST") { (text) throws(ValueProblem) in
            text.isEmpty ? nil : try PortRange(parsing: text)
        } write: {
            $0?.description ?? ""
        }
    }
}

extension SettingCodec where Value == [RTSPSettings.Authentication] {
    static var rtspAuthentication: Self {
        .list("sha256, md5, basic") { (text) throws(ValueProblem) in
            guard let method = RTSPSettings.Authentication(rawValue: text) else {
                throw .invalid(expected: "sha256, md5 or basic")
            }
            return method
        } write: {
            $0.rawValue
        }
    }
}

extension SettingCodec where Value == [Credential] {
    static var credentials: Self {
        .list("NAME:PASSWORD", isSecret: true) { (text) throws(ValueProblem) in
            try Credential(parsing: text)
        } write: {
            $0.text
        }
    }
}

extension SettingCodec where Value == [RTSPPullSetting] {
    static var rtspPulls: Self {
        .list("APP/STREAM=rtsp://HOST/PATH", isSecret: true) { (text) throws(ValueProblem) in
            try RTSPPullSetting(parsing: text)
        } write: {
            $0.description
        }
    }
}
