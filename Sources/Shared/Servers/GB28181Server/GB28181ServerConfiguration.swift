package import GB28181
package import NIOCore
package import StreamHub

/// What the GB28181 server of a node needs to know.
package struct GB28181ServerConfiguration: Sendable {
    /// A local address to listen on, over UDP and TCP.
    package struct Listener: Sendable, Hashable {
        package var host: String
        /// 0 takes one that is free, the same for both.
        package var port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    /// When channels are invited.
    package enum InvitePolicy: String, Sendable, Hashable, CaseIterable {
        /// When somebody wants to play the stream, until nobody does.
        case onDemand = "on_demand"
        /// As soon as the device has listed them, for as long as it is there.
        case always
    }

    package var platform: GB28181Configuration
    /// Empty: no SIP; streams then come by `expect` alone.
    package var sip: [Listener] = [Listener(host: "0.0.0.0", port: 5_060)]
    /// Where media arrive: one port for all sessions, told apart by their source.
    package var media = Listener(host: "0.0.0.0", port: 9_000)
    /// A port of its own for each session instead.
    package var sessionPorts: ClosedRange<Int>?
    /// The host that devices are told to send to; `nil`: the address at which they reached us.
    package var mediaHost: String?
    package var transport = DeviceTransport.tcpPassive
    package var invites = InvitePolicy.onDemand
    package var vhost: String?
    package var app = "live"
    /// How a stream is called: `[device]` and `[channel]` stand for their identifiers.
    package var streamName = "[device]@[channel]"
    /// A session that was invited on demand ends when nobody played its stream for so long.
    package var idleTimeout = TimeAmount.seconds(30)
    /// A session without a packet for so long is invited anew.
    package var mediaTimeout = TimeAmount.seconds(10)
    /// How long a player waits for the first frame of a device that is invited for it.
    package var demandWait = TimeAmount.seconds(10)
    /// Connections that have not sent a packet yet are closed then.
    package var firstPacketTimeout = TimeAmount.seconds(10)
    package var connectTimeout = TimeAmount.seconds(5)
    package var maximumConnections = 10_000
    package var deviceMedia = DeviceMedia.Configuration()
    /// The kernel's buffer of a UDP socket for media, in bytes.
    package var receiveBufferBytes = 4 << 20
    package var sessions: SessionRegistry

    package init(platform: GB28181Configuration, sessions: SessionRegistry) {
        self.platform = platform
        self.sessions = sessions
    }

    /// The name of the stream of a channel.
    func name(of source: DeviceChannel) -> String {
        Self.replace(self.streamName, ["[device]": source.device, "[channel]": source.channel])
    }

    /// Replaces placeholders in one pass, so that what stands for one is not looked at again.
    private static func replace(_ template: String, _ values: [String: String]) -> String {
        var result = ""
        var rest = template[...]
        while let first = rest.first {
            if let (name, value) = values.first(where: { rest.hasPrefix($0.key) }) {
                result += value
                rest = rest.dropFirst(name.count)
            } else {
                result.append(first)
                rest = rest.dropFirst()
            }
        }
        return result
    }
}
