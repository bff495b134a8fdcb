import Foundation
import NIOCore
import NodeAPI
import NodeConfiguration
import StreamHub
import WebRTCServer
import WebRTCSignalling

/// A file that a setting names cannot be read.
struct UnreadableFile: Error, CustomStringConvertible {
    let key: String
    let path: String
    let cause: String

    var description: String { "cannot read \(self.path) (\(self.key)): \(self.cause)" }
}

extension NodeParts {
    static func webRTC(
        _ live: LiveSettings, registry: SessionRegistry
    ) throws(UnreadableFile) -> WebRTCServerConfiguration? {
        let rtc = live.current.rtc
        guard rtc.isEnabled else { return nil }
        var configuration = WebRTCServerConfiguration(sessions: registry)
        configuration.udp = rtc.udpListeners.map { .init(host: $0.host, port: $0.port) }
        configuration.tcp = rtc.tcpListeners.map { .init(host: $0.host, port: $0.port) }
        configuration.candidates = rtc.candidates.map(\.description)
        configuration.interfaces = rtc.interfaces
        configuration.maximumSessions = rtc.maximumSessions
        configuration.handshakeTimeout = rtc.handshakeTimeout
        configuration.consentTimeout = rtc.consentTimeout
        configuration.usesSegmentation = rtc.segmentationOffload == .auto
        if !rtc.certificate.isEmpty {
            configuration.certificate = .init(
                certificate: try self.text("rtc.certificate", rtc.certificate), key: try self.text("rtc.key", rtc.key))
        }
        configuration.settings = { live.streamSettings(for: $0).rtc.sessions }
        return configuration
    }

    private static func text(_ key: String, _ path: String) throws(UnreadableFile) -> String {
        do {
            return try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw UnreadableFile(key: key, path: path, cause: error.localizedDescription)
        }
    }

    /// The routes of WHIP, WHEP and SRS's API for WebRTC; `nil` where WebRTC is off.
    func webRTCRoutes(corsOrigins: [String]) -> WebRTCRoutes? {
        guard let server = self.webRTC else { return nil }
        let live = self.live
        let rules = self.rules
        let configuration = WebRTCSignallingConfiguration(
            corsOrigins: corsOrigins, iceServers: { live.current.rtc.servers }, trustsProxy: { rules.trusts($0) },
            identity: .init(
                server: self.identity.server, service: self.identity.service,
                pid: "\(ProcessInfo.processInfo.processIdentifier)"))
        return WebRTCRoutes(sessions: WebRTCSignals(server: server), configuration: configuration)
    }
}

extension WebRTCSettings {
    fileprivate var servers: [ICEServer] {
        self.iceServers.map { url in
            let isRelay = url.hasPrefix("turn:") || url.hasPrefix("turns:")
            guard isRelay, !self.iceUsername.isEmpty else { return ICEServer(url: url) }
            return ICEServer(url: url, username: self.iceUsername, credential: self.iceCredential.value)
        }
    }
}

extension StreamSettings.RTC {
    fileprivate var sessions: WebRTCStreamSettings {
        var settings = WebRTCStreamSettings()
        settings.usesNACK = self.nack
        settings.usesTransportFeedback = self.twcc
        settings.keyframeInterval = self.keyframeInterval > .zero ? self.keyframeInterval : nil
        settings.receiveWait = self.receiveWait
        settings.maximumPublishBitrate = self.maximumBitRate > 0 ? self.maximumBitRate : nil
        settings.dropsBFrames = self.bFrames == .drop
        settings.playWait = self.playWait
        settings.playoutDelay = self.playoutDelay > .zero ? self.playoutDelay : nil
        return settings
    }
}
