package import NIOCore
package import SIP

/// How a node speaks to devices of GB/T 28181.
package struct GB28181Configuration: Sendable {
    /// The 20 digits by which devices know this server.
    package var serverID: String
    /// The SIP domain, which is the realm of passwords, too: the first ten digits of `serverID` as a rule.
    package var domain: String
    /// The password of a device; `nil` or empty: it may register without one. Not called for others than `REGISTER`.
    package var password: @Sendable (_ deviceID: String) -> String?
    /// Whether a device may register at all.
    package var isKnown: @Sendable (_ deviceID: String) -> Bool
    /// Seconds that a registration may last at most; devices that ask for more get this.
    package var maximumExpiry = 86_400
    package var minimumExpiry = 60
    /// A device that was silent for so long is gone.
    package var keepaliveTimeout = TimeAmount.seconds(180)
    /// The catalog is asked for again so often; `nil`: after a registration only.
    package var catalogInterval: TimeAmount?
    /// What is subscribed to at each device.
    package var subscriptions: Set<DeviceEvent> = []
    /// Seconds that a subscription lasts; it is renewed in time.
    package var subscriptionExpiry = 3_600
    /// Seconds between two positions of a device.
    package var positionInterval = 15
    /// From a request to its final response. Spec: RFC 3261 §17, 64 × T1.
    package var transactionTimeout = TimeAmount.seconds(32)
    /// The first pause before a datagram is sent again, and the longest (T1 and T2).
    package var firstRetransmission = TimeAmount.milliseconds(500)
    package var longestRetransmission = TimeAmount.seconds(4)
    /// From a query to its last page.
    package var queryTimeout = TimeAmount.seconds(10)
    /// From an invitation to the first packet of media.
    package var inviteTimeout = TimeAmount.seconds(15)
    /// The pause before a device is invited anew when its media ended, and the longest of those pauses, which double.
    package var reinviteDelay = TimeAmount.seconds(2)
    package var longestReinviteDelay = TimeAmount.seconds(60)
    /// Seconds that the devices' clocks are ahead of UTC.
    package var utcOffset: Int64 = 8 * 3_600
    package var maximumDevices = 10_000
    /// Channels of one device, and entries of one answer.
    package var maximumChannels = 10_000
    /// Channels of all devices together; those that come when there are so many are not taken up.
    package var maximumChannelsInAll = 200_000
    /// Requests to one device that are not answered yet.
    package var maximumRequests = 64
    /// Sessions of media in all.
    package var maximumSessions = 10_000
    package var limits = SIPMessage.Limits()
    package var userAgent = "Weir"

    /// - Parameter serverID: 20 digits.
    package init(
        serverID: String, domain: String? = nil, password: @escaping @Sendable (String) -> String? = { _ in nil },
        isKnown: @escaping @Sendable (String) -> Bool = { _ in true }
    ) {
        self.serverID = serverID
        self.domain = domain ?? String(serverID.prefix(10))
        self.password = password
        self.isKnown = isKnown
    }
}

/// What devices tell by themselves once they were asked to.
package enum DeviceEvent: String, Sendable, Hashable, CaseIterable {
    case catalog = "Catalog"
    case alarm = "Alarm"
    case position = "MobilePosition"
}

/// Where a SIP message came from, and where others to the same peer go.
package struct SIPPath: Sendable, Hashable {
    package enum Transport: Sendable, Hashable {
        case udp
        /// The connection's number, which only its owner understands.
        case tcp(connection: UInt64)
    }

    package var transport: Transport
    package var host: String
    package var port: Int
    /// Our own address on the way; empty where it is not known.
    package var localHost: String
    package var localPort: Int

    package init(transport: Transport, host: String, port: Int, localHost: String, localPort: Int) {
        self.transport = transport
        self.host = host
        self.port = port
        self.localHost = localHost
        self.localPort = localPort
    }

    var isDatagram: Bool { self.transport == .udp }
    /// As `Via` names it.
    var transportName: String { self.isDatagram ? "UDP" : "TCP" }
}

/// The clocks of one input: monotonic for deadlines, the wall for what devices are told.
package struct GB28181Clock: Sendable {
    package var now: NIODeadline
    /// Seconds since 1970 UTC.
    package var wallSeconds: Int64

    package init(now: NIODeadline, wallSeconds: Int64) {
        self.now = now
        self.wallSeconds = wallSeconds
    }
}
