import FoundationEssentials
import Glibc
package import Logging
package import NIOCore
import ServiceLifecycle

/// What SRS's heartbeat reports, and to whom.
package struct ServerHeartbeatConfiguration: Sendable {
    /// Its query is sent, too.
    package var url: String
    package var interval: TimeAmount
    /// What the operator's server knows this node by.
    package var deviceID: String
    /// The node's address, as others reach it.
    package var ip: String
    /// `server` and `service`: those of hooks and the API.
    package var serverID: String
    package var serviceID: String
    package var version: String
    package var timeout = TimeAmount.seconds(5)
    package var secret = ""
    /// The JSON object of `summaries`; `nil`: it is not sent.
    package var summaries: (@Sendable () async -> String)?
    /// Addresses that are listened on, such as `["rtmp": ["0.0.0.0:1935"]]`; empty: they are not sent.
    package var ports: [String: [String]] = [:]

    package init(
        url: String, interval: TimeAmount, deviceID: String, ip: String, serverID: String, serviceID: String,
        version: String
    ) {
        self.url = url
        self.interval = interval
        self.deviceID = deviceID
        self.ip = ip
        self.serverID = serverID
        self.serviceID = serviceID
        self.version = version
    }
}

/// Reports the node to an operator's server in an interval, as SRS does. What is answered does not matter; a report that
/// fails is not made again.
package struct ServerHeartbeat: Service {
    private let configuration: ServerHeartbeatConfiguration
    let logger: Logger

    package init(configuration: ServerHeartbeatConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    package func run() async {
        var calls = HooksConfiguration(
            serverID: self.configuration.serverID, serviceID: self.configuration.serviceID, node: "",
            version: self.configuration.version)
        calls.timeout = self.configuration.timeout
        calls.secret = self.configuration.secret
        // Every report has its full time.
        calls.failuresUntilShort = .max
        let transport = HookTransport(configuration: calls)
        await cancelWhenGracefulShutdown {
            var isReached = true
            let interval = UInt64(max(self.configuration.interval.nanoseconds, 100_000_000))
            while !Task.isCancelled {
                let body = await self.body()
                let outcome = await transport.call(
                    HookCall(.onConnect, url: self.configuration.url, body: body),
                    deadline: .now() + self.configuration.timeout)
                isReached = self.log(outcome, wasReached: isReached)
                try? await Task.sleep(nanoseconds: interval)
            }
        }
        await transport.shutDown()
    }

    /// Logs when the server appears and disappears.
    private func log(_ outcome: HookTransport.Outcome, wasReached: Bool) -> Bool {
        let url = HookCall.printable(self.configuration.url)
        switch outcome {
        case .unreachable(let text):
            if wasReached { self.logger.warning("the heartbeat fails: \(text)", metadata: ["url": "\(url)"]) }
            return false
        case .answered, .tooLong:
            if !wasReached { self.logger.notice("the heartbeat is taken again", metadata: ["url": "\(url)"]) }
            return true
        case .cancelled:
            return wasReached
        }
    }

    /// The report, with the fields of SRS 6.
    func body() async -> ByteBuffer {
        var body = JSONObjectWriter()
        body.add("device_id", self.configuration.deviceID)
        body.add("ip", self.configuration.ip)
        body.add("server", self.configuration.serverID)
        body.add("service", self.configuration.serviceID)
        body.add("pid", "\(getpid())")
        if let summaries = self.configuration.summaries { body.add("summaries", json: await summaries()) }
        for (name, addresses) in self.configuration.ports.sorted(by: { $0.key < $1.key }) {
            body.add(name, list: addresses)
        }
        return body.finish()
    }
}
