import Access
import AccessControl
import Foundation
import Hooks
import Logging
import Media
import NIOCore
import NodeConfiguration
import StreamHub
import Streaming
import Synchronization

extension NodeSettings {
    /// The node's part of access control. `publicKey` is the text of `access.jwt.public_key`'s file.
    func accessConfiguration(publicKey: String) -> AccessConfiguration {
        var configuration = AccessConfiguration()
        let jwt = self.access.jwt
        configuration.token.secret = jwt.secret.value
        configuration.token.publicKey = publicKey
        configuration.token.keySetURL = jwt.jwksURL?.description ?? ""
        configuration.token.keySetRefresh = jwt.jwksRefresh
        configuration.token.parameter = jwt.parameter
        configuration.token.rules = TokenRules(
            issuer: jwt.issuer.isEmpty ? nil : jwt.issuer, audience: jwt.audience.isEmpty ? nil : jwt.audience,
            leewaySeconds: jwt.leeway.nanoseconds / 1_000_000_000, requiresExpiry: jwt.requiresExpiry)
        configuration.connections.sessions = Self.limit(self.limits.sessions)
        configuration.connections.handshakesPerSecond = Self.limit(self.limits.handshakesPerSecond)
        configuration.connections.connectionsPerAddress = Self.limit(self.limits.connectionsPerAddress)
        configuration.connections.handshakesPerAddressPerSecond = Self.limit(self.limits.handshakesPerAddressPerSecond)
        configuration.connections.exempt = self.trustedProxies
        return configuration
    }

    private static func limit(_ value: Int) -> Int? { value > 0 ? value : nil }

    /// `http.trusted_proxies`; the configuration checked each.
    var trustedProxies: [CIDR] { self.http.trustedProxies.compactMap { try? CIDR(parsing: $0) } }
}

extension StreamSettings {
    fileprivate var accessRules: StreamAccessRules {
        var rules = StreamAccessRules()
        rules.publish = self.access.publish.action
        rules.play = self.access.play.action
        rules.referer = RefererRule(
            allow: self.access.referer.allow.compactMap { try? HostPattern(parsing: $0.description) },
            allowsEmpty: self.access.referer.allowEmpty)
        rules.urlSecret = self.play.urlSecret.value
        rules.quotas = SessionQuotaLimits(
            publishersPerApp: self.limits.publishersPerApp > 0 ? self.limits.publishersPerApp : nil,
            viewersPerStream: self.limits.viewersPerStream > 0 ? self.limits.viewersPerStream : nil)
        rules.publishBitsPerSecond = self.limits.publishBitRate > 0 ? UInt64(self.limits.publishBitRate) : nil
        rules.sessionDuration = self.limits.sessionDuration > .zero ? self.limits.sessionDuration : nil
        return rules
    }

    /// Whom to call for the stream's sessions.
    var hookURLs: HookURLs {
        let lists: [(HookEvent, [CallbackURL])] = [
            (.onConnect, self.hooks.onConnect), (.onClose, self.hooks.onClose), (.onPublish, self.hooks.onPublish),
            (.onUnpublish, self.hooks.onUnpublish), (.onPlay, self.hooks.onPlay), (.onStop, self.hooks.onStop),
            (.onDVR, self.hooks.onDVR + self.dvr.onFile), (.onHLS, self.hooks.onHLS),
            (.onHLSNotify, self.hooks.onHLSNotify),
            (.onForward, self.hooks.onForward),
        ]
        let urls = Dictionary(
            lists.filter { !$0.1.isEmpty }.map { ($0.0, $0.1.map(\.description)) }, uniquingKeysWith: { $1 })
        return HookURLs(urls, unreachable: self.hooks.unreachable == .allow ? .allow : .deny)
    }
}

extension StreamSettings.Access.Rules {
    fileprivate var action: StreamAccessRules.Action {
        StreamAccessRules.Action(
            addresses: AddressRules(
                allow: self.allow.compactMap { try? CIDR(parsing: $0) },
                deny: self.deny.compactMap { try? CIDR(parsing: $0) }),
            requiresToken: self.token == .required)
    }
}

extension SessionPolicy.PublishPolicy {
    var slot: Streaming.PublishPolicy {
        switch self {
        case .takeover: .takeover
        case .reject: .reject
        case .grace: .grace
        }
    }

    var setting: StreamSettings.Publish.Policy {
        switch self {
        case .takeover: .takeover
        case .reject: .reject
        case .grace: .grace
        }
    }
}

/// The rules of access, made of the settings once and given out until those change. Any thread may call.
final class AccessRuleBook: Sendable {
    private struct Scope: Hashable {
        var vhost: String
        var app: String
    }

    private struct Entry {
        var access: StreamSettings.Access
        var limits: StreamSettings.Limits
        var urlSecret: Secret
        var rules: StreamAccessRules
    }

    /// Apps are names that peers choose.
    private static let capacity = 1_000

    private let settings: LiveSettings
    private let logger: Logger
    private let entries = Mutex<[Scope: Entry]>([:])
    private let node: Mutex<AccessConfiguration>

    /// Reads the public key's file. Throws what is wrong with it.
    init(settings: LiveSettings, logger: Logger) throws {
        self.settings = settings
        self.logger = logger
        let configuration = try Self.configuration(settings.current)
        try configuration.validate()
        self.node = Mutex(configuration)
        settings.onChange { [weak self] in self?.changed($0) }
    }

    private static func configuration(_ settings: NodeSettings) throws -> AccessConfiguration {
        let path = settings.access.jwt.publicKey
        let key = path.isEmpty ? "" : try String(contentsOfFile: path, encoding: .utf8)
        return settings.accessConfiguration(publicKey: key)
    }

    private func changed(_ settings: NodeSettings) {
        do {
            let configuration = try Self.configuration(settings)
            try configuration.validate()
            self.node.withLock { $0 = configuration }
        } catch {
            self.logger.error("the rules of access stay as they were", metadata: ["error": "\(error)"])
        }
    }

    /// The node's part.
    var configuration: AccessConfiguration { self.node.withLock { $0 } }

    /// Whether `address` is a proxy that is believed what it says of its clients.
    func trusts(_ address: SocketAddress) -> Bool { address.ipAddress.map { self.trusts($0) } ?? false }

    /// The same for an address as text, without a port.
    func trusts(_ address: String) -> Bool {
        let proxies = self.node.withLock { $0.connections.exempt }
        guard !proxies.isEmpty, let parsed = try? IPAddress(parsing: address) else { return false }
        return proxies.contains { $0.contains(parsed) }
    }

    func rules(for key: StreamKey) -> StreamAccessRules {
        let settings = self.settings.streamSettings(for: key)
        let scope = Scope(vhost: key.vhost, app: key.app)
        return self.entries.withLock { entries in
            if let known = entries[scope], known.access == settings.access, known.limits == settings.limits,
                known.urlSecret == settings.play.urlSecret
            {
                return known.rules
            }
            let rules = settings.accessRules
            if entries.count >= Self.capacity { entries.removeAll() }
            entries[scope] = Entry(
                access: settings.access, limits: settings.limits, urlSecret: settings.play.urlSecret, rules: rules)
            return rules
        }
    }
}
