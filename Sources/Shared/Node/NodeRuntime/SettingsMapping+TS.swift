import HTTPMedia
import MPEGTS
import NIOCore
import NodeAPI
import NodeConfiguration
import StreamHub
import TSServer
import TransportStreams

extension NodeParts {
    /// What the server of transport streams needs to know; `nil` where none are listened for.
    static func transportStreams(_ settings: NodeSettings, registry: SessionRegistry) -> TSServerConfiguration? {
        let ts = settings.ts
        guard !ts.listeners.isEmpty else { return nil }
        var configuration = TSServerConfiguration(
            listeners: ts.listeners.compactMap { $0.listener(waitsForKeyframe: ts.waitsForKeyframe) },
            sessions: registry)
        configuration.receiveBufferBytes = ts.receiveBuffer
        configuration.idleTimeout = ts.idleTimeout
        configuration.takeoverAfter = ts.takeoverAfter
        configuration.retryAfter = ts.retryAfter
        configuration.maximumSenders = ts.maximumSenders
        return configuration
    }

    /// Opens the listeners. Returns the ports that were bound; `nil` where there are none.
    func listenForTransportStreams() async throws -> [Int]? {
        guard let server = self.transportStreams else { return nil }
        do {
            try await server.start()
        } catch {
            let listeners = self.settings.ts.listeners.map { "\($0.host):\($0.ports.lowerBound)" }
            throw ListenError(key: "ts.listeners", address: listeners.joined(separator: ", "), cause: "\(error)")
        }
        return server.boundAddresses.compactMap(\.port)
    }
}

extension NodeTSFigures {
    init(_ statistics: TSServerStatistics) {
        self.init()
        self.streams = statistics.streams
        self.datagrams = statistics.datagrams
        self.bytes = statistics.bytes
        self.malformed = statistics.malformed
        self.foreign = statistics.foreign
        self.lost = statistics.lost
    }
}

extension TSListenTarget {
    /// `nil` for a name that is no template, which the settings have refused.
    fileprivate func listener(waitsForKeyframe: Bool) -> TSListenerConfiguration? {
        guard let template = TSStreamTemplate(self.stream) else { return nil }
        var publication = TSPublication.Configuration(waitsForKeyframeAfterLoss: waitsForKeyframe)
        publication.demuxer.programNumber = self.program
        switch self.audio {
        case .first: break
        case .pid(let pid): publication.demuxer.audio = .pid(pid)
        case .language(let name): publication.demuxer.audio = .language(name)
        }
        return TSListenerConfiguration(
            host: self.host, ports: self.ports, interface: self.interface, source: self.source, vhost: self.vhost,
            app: self.app, stream: template, query: self.token.map { "token=\($0)" } ?? "", publication: publication)
    }
}

extension NodeSettings {
    /// Publishers over HTTP are held to what those of RTMP are.
    var httpPublish: HTTPPublishConfiguration {
        HTTPPublishConfiguration(
            isEnabled: self.http.takesPublishers, maximumTagBytes: min(self.rtmp.maximumMessageBytes, 0xFF_FFFF),
            firstMediaTimeout: self.rtmp.publishFirstMediaTimeout, mediaTimeout: self.rtmp.publishIdleTimeout)
    }
}
