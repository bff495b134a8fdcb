import Logging
import NIOCore
import NodeAPI
import NodeConfiguration
import RTSP
import RTSPServer
import RTSPSessions
import StreamHub

extension NodeParts {
    /// What the RTSP server needs to know; `nil` where RTSP is off.
    static func rtsp(_ live: LiveSettings, registry: SessionRegistry) -> RTSPServerConfiguration? {
        let rtsp = live.current.rtsp
        guard rtsp.isEnabled else { return nil }
        var configuration = RTSPServerConfiguration(
            session: RTSPServerSessionConfiguration(
                requestTimeout: rtsp.requestTimeout, sessionTimeout: rtsp.sessionTimeout,
                mediaTimeout: rtsp.publishIdleTimeout),
            sessions: registry
        ) { host, app, _ in
            live.streamSettings(vhost: live.vhost(forDomain: host), app: app).rtspSessions
        }
        configuration.maximumConnections = rtsp.maximumConnections
        configuration.ports = rtsp.udp ? rtsp.ports.first...rtsp.ports.last : nil
        configuration.realm = rtsp.realm
        configuration.authentication = rtsp.authentication.compactMap { RTSPAuthentication(rawValue: $0.rawValue) }
        configuration.receiveWait = rtsp.receiveWait
        configuration.playerNoDelay = { live.streamSettings(for: $0).play.tcpNoDelay.option }
        return configuration
    }

    /// Streams that are fetched from elsewhere. Errors: a URL that is none.
    static func rtspPulls(
        _ server: RTSPServer, _ settings: NodeSettings, logger: Logger
    ) throws(ListenError) -> RTSPPulls {
        let rtsp = settings.rtsp
        var targets: [RTSPPullTarget] = []
        for pull in rtsp.pulls {
            guard let url = try? RTSPURL(parsing: pull.url) else {
                throw ListenError(key: "rtsp.pulls", address: "\(pull.app)/\(pull.name)", cause: "the URL is malformed")
            }
            targets.append(
                RTSPPullTarget(
                    vhost: pull.vhost, app: pull.app, name: pull.name, query: pull.query, url: url,
                    delivery: RTSPPullTarget.Delivery(rawValue: pull.delivery.rawValue) ?? .auto,
                    isOnDemand: pull.isOnDemand, verifiesCertificate: pull.verifiesCertificate))
        }
        var configuration = RTSPPullConfiguration()
        configuration.mediaTimeout = rtsp.pullMediaTimeout
        configuration.linger = rtsp.pullLinger
        configuration.viewerWait = rtsp.pullWait
        configuration.receiveWait = rtsp.receiveWait
        return RTSPPulls(server: server, targets: targets, configuration: configuration, logger: logger)
    }
}

extension NodeSettings {
    /// The node can bring streams that nobody publishes when somebody wants to play them.
    var bringsStreams: Bool {
        self.gb28181.isEnabled || (self.rtsp.isEnabled && self.rtsp.pulls.contains(where: \.isOnDemand))
    }
}

extension StreamSettings {
    /// How the RTSP sessions of these streams differ from others'.
    fileprivate var rtspSessions: RTSPStreamSettings {
        var settings = RTSPStreamSettings()
        settings.isEnabled = self.rtsp.isEnabled
        settings.publishers = self.rtsp.publishers.map { RTSPAccount(name: $0.name, password: $0.password) }
        settings.players = self.rtsp.players.map { RTSPAccount(name: $0.name, password: $0.password) }
        settings.playWait = self.rtsp.playWait
        return settings
    }
}

extension NodePull {
    init(_ pull: RTSPPullSnapshot) {
        self.init(
            stream: pull.stream, source: pull.url, state: pull.state.rawValue, receivedBytes: pull.receivedBytes,
            attempts: pull.attempts)
        self.lastError = pull.lastError
    }
}
