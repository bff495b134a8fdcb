import GB28181
import GB28181Server
import Media
import NIOCore
import NodeConfiguration
import StreamHub

extension NodeParts {
    /// What the GB28181 server needs to know; `nil` where no devices are taken.
    static func gb28181(_ settings: NodeSettings, registry: SessionRegistry) -> GB28181ServerConfiguration? {
        let own = settings.gb28181
        guard own.isEnabled, settings.role == .origin else { return nil }
        var configuration = GB28181ServerConfiguration(platform: Self.platform(own), sessions: registry)
        configuration.sip = own.listen.map { .init(host: $0.host, port: $0.port) }
        configuration.media = .init(host: own.mediaListen.host, port: own.mediaListen.port)
        configuration.sessionPorts = own.sessionPorts.map { $0.first...$0.last }
        configuration.mediaHost = own.mediaHost.isEmpty ? nil : own.mediaHost
        configuration.transport =
            switch own.transport {
            case .tcpPassive: .tcpPassive
            case .tcpActive: .tcpActive
            case .udp: .udp
            }
        configuration.invites = own.invites == .always ? .always : .onDemand
        configuration.vhost = own.vhost.isEmpty ? nil : own.vhost
        configuration.app = own.app
        configuration.streamName = own.streamName
        configuration.idleTimeout = own.idleTimeout
        configuration.mediaTimeout = own.mediaTimeout
        configuration.demandWait = own.demandWait
        configuration.deviceMedia.reorderWait = own.reorderWait
        return configuration
    }

    private static func platform(_ own: GB28181Settings) -> GB28181Configuration {
        let passwords = Dictionary(
            own.devices.map { ($0.id, $0.password?.value ?? own.password.value) },
            uniquingKeysWith: { first, _ in first })
        let common = own.password.value
        var platform = GB28181Configuration(
            serverID: own.serverID, domain: own.realm, password: { passwords[$0] ?? common },
            isKnown: { passwords.isEmpty || passwords[$0] != nil })
        platform.keepaliveTimeout = own.keepaliveTimeout
        platform.catalogInterval = own.catalogInterval > .zero ? own.catalogInterval : nil
        platform.subscriptions = Set(
            own.subscriptions.compactMap {
                switch $0 {
                case "catalog": .catalog
                case "alarm": .alarm
                case "position": .position
                default: nil
                }
            })
        platform.inviteTimeout = own.inviteTimeout
        platform.reinviteDelay = own.reinviteDelay
        platform.utcOffset = Int64(own.utcOffsetMinutes) * 60
        platform.maximumDevices = own.maximumDevices
        platform.userAgent = "Weir \(WeirVersion.current)"
        return platform
    }
}
