package import NIOCore

/// GB/T 28181: the SIP server that cameras register at, and the port that their media come to.
package struct GB28181Settings: Sendable, Equatable {
    /// How the media of a session travel.
    package enum Transport: String, Sendable, CaseIterable {
        /// The device connects to us.
        case tcpPassive = "tcp_passive"
        /// We connect to the device.
        case tcpActive = "tcp_active"
        case udp
    }

    /// When the channels of a device are invited.
    package enum Invites: String, Sendable, CaseIterable {
        case onDemand = "on_demand"
        case always
    }

    package var isEnabled = false
    /// Both UDP and TCP.
    package var listen = [ListenAddress(host: "0.0.0.0", port: 5_060)]
    /// 20 digits.
    package var serverID = "34020000002000000001"
    /// Empty: the first ten digits of `serverID`.
    package var domain = ""
    package var password = Secret("")
    /// `ID` or `ID=PASSWORD` of the devices that may register; empty: all with `password`.
    package var devices: [GB28181Device] = []
    /// Both UDP and TCP.
    package var mediaListen = ListenAddress(host: "0.0.0.0", port: 9_000)
    /// Ports of single sessions; `nil`: one port for all.
    package var sessionPorts: PortRange?
    /// Empty: the address at which a device reached us.
    package var mediaHost = ""
    package var transport = Transport.tcpPassive
    package var invites = Invites.onDemand
    package var vhost = ""
    package var app = "live"
    package var streamName = "[device]@[channel]"
    package var keepaliveTimeout = TimeAmount.seconds(180)
    package var catalogInterval = TimeAmount.hours(1)
    package var subscriptions: [String] = []
    package var inviteTimeout = TimeAmount.seconds(15)
    package var mediaTimeout = TimeAmount.seconds(10)
    package var reinviteDelay = TimeAmount.seconds(2)
    package var idleTimeout = TimeAmount.seconds(30)
    package var demandWait = TimeAmount.seconds(10)
    package var reorderWait = TimeAmount.milliseconds(200)
    /// Minutes that the devices' clocks are ahead of UTC.
    package var utcOffsetMinutes = 480
    package var maximumDevices = 10_000

    package init() {}

    /// The domain that counts.
    package var realm: String { self.domain.isEmpty ? String(self.serverID.prefix(10)) : self.domain }
}

/// A device that may register: `34020000001110000001` or `34020000001110000001=PASSWORD`.
package struct GB28181Device: Sendable, Equatable, CustomStringConvertible {
    package var id: String
    /// `nil`: the one of all.
    package var password: Secret?

    init(parsing text: String) throws(ValueProblem) {
        let halves = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let id = String(halves[0])
        let isIdentifier =
            1...64 ~= id.utf8.count
            && id.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
        guard isIdentifier else { throw .invalid(expected: "ID or ID=PASSWORD, such as 34020000001110000001") }
        self.id = id
        self.password = halves.count == 2 ? Secret(String(halves[1])) : nil
    }

    package var description: String { self.password.map { "\(self.id)=\($0.value)" } ?? self.id }
}

extension SettingCodec where Value == [GB28181Device] {
    static var gb28181Devices: Self {
        .list("ID or ID=PASSWORD", isSecret: true) { (text) throws(ValueProblem) in
            try GB28181Device(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [String] {
    static var deviceEvents: Self {
        .list("events") { (text) throws(ValueProblem) in
            guard ["catalog", "alarm", "position"].contains(text) else {
                throw .invalid(expected: "catalog, alarm or position")
            }
            return text
        } write: {
            $0
        }
    }
}

extension SettingCodec where Value == String {
    /// 20 digits, as devices and servers have them.
    static var deviceIdentifier: Self {
        .scalar("20 digits") { (text) throws(ValueProblem) in
            guard text.utf8.count == 20, text.utf8.allSatisfy({ (48...57).contains($0) }) else {
                throw .invalid(expected: "20 digits, such as 34020000002000000001")
            }
            return text
        } write: {
            $0
        }
    }
}
