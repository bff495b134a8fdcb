import MPEGTS
import Media
import NIOCore
import NodeAPI
import NodeConfiguration
import SRTAccess
import SRTServer
import StreamHub
import Streaming

extension NodeParts {
    /// What the SRT server needs to know; `nil` where SRT is off. `mayAppear`: somebody can fetch streams that are asked for.
    static func srt(
        _ live: LiveSettings, claims: StreamClaims, registry: SessionRegistry,
        mayAppear: @escaping @Sendable () -> Bool = { false }
    ) -> SRTServerConfiguration? {
        let settings = live.current
        let srt = settings.srt
        guard srt.isEnabled else { return nil }
        var configuration = SRTServerConfiguration(sessions: registry)
        configuration.listeners = srt.listen.map { SRTListenAddress(host: $0.host, port: $0.port) }
        configuration.options = srt.socketOptions
        configuration.streamIDs.app = srt.defaultApp
        configuration.streamIDs.streamID = srt.defaultStreamID
        configuration.streamIDs.mode = srt.defaultMode == .publish ? .publish : .request
        configuration.maximumSessions = srt.maximumSessions
        configuration.threads = srt.threads
        configuration.firstMediaTimeout = srt.firstMediaTimeout
        configuration.idleTimeout = srt.idleTimeout
        configuration.settings = { host, app, name in
            live.streamSettings(vhost: live.vhost(forDomain: host ?? ""), app: app).srtSessions(of: srt, name: name)
        }
        let isAlone = !settings.cluster.isUsed
        configuration.doorkeeper = { request, _ in
            Self.rejection(of: request, live: live, claims: claims, isAlone: isAlone && !mayAppear())
        }
        return configuration
    }

    /// What is certain at once: the gate would refuse the peer, too, but could not tell it why.
    private static func rejection(
        of request: SRTStreamID, live: LiveSettings, claims: StreamClaims, isAlone: Bool
    ) -> SRTRejection? {
        let vhost = live.vhost(forDomain: request.host ?? "")
        guard let key = try? StreamKey(vhost: vhost, app: request.app, name: request.name) else { return .badRequest }
        let stream = live.streamSettings(for: key)
        switch request.mode {
        case .publish:
            if stream.publish.policy == .reject, claims.hasPublisher(key) { return .conflict }
            return nil
        case .request:
            let isMissing = isAlone && live.current.edge.missingStream == .notFound && claims.grant(key) == nil
            return isMissing ? .notFound : nil
        }
    }

    /// Streams that are fetched from elsewhere.
    static func srtPulls(_ settings: NodeSettings) -> [SRTPulls.Target] {
        settings.srt.pulls.map { SRTPulls.Target(stream: $0.stream, url: $0.url) }
    }
}

extension SRTSettings {
    /// All options of the listeners, and of calls.
    fileprivate var socketOptions: SRTOptions {
        var options = SRTOptions()
        let own = self.options
        let latency = own.latency
        let values: [(SRTOption, SRTOptionValue)] = [
            (.mss, .integer(own.mss)), (.flightFlag, .integer(own.flightWindow)),
            (.sendBuffer, .integer(own.sendBuffer)), (.receiveBuffer, .integer(own.receiveBuffer)),
            (.udpSendBuffer, .integer(own.udpSendBuffer)), (.udpReceiveBuffer, .integer(own.udpReceiveBuffer)),
            (.ipTypeOfService, .integer(own.typeOfService)), (.ipTimeToLive, .integer(own.timeToLive)),
            (.maximumBandwidth, .integer(own.maximumBandwidth)), (.inputBandwidth, .integer(own.inputBandwidth)),
            (.overheadBandwidth, .integer(own.overheadPercent)), (.timestampBasedDelivery, .flag(own.timestamps)),
            (.receiveLatency, .integer((own.receiveLatency > .zero ? own.receiveLatency : latency).wholeMillis)),
            (.peerLatency, .integer((own.peerLatency > .zero ? own.peerLatency : latency).wholeMillis)),
            (.tooLateDrop, .flag(own.tooLateDrop)), (.periodicNAK, .flag(own.periodicNAK)),
            (.connectTimeout, .integer(own.connectTimeout.wholeMillis)),
            (.peerIdleTimeout, .integer(own.peerIdleTimeout.wholeMillis)),
            (.maximumReorder, .integer(own.reorderTolerance)), (.payloadSize, .integer(own.payloadSize)),
            (.enforcedEncryption, .flag(own.enforcesEncryption)),
        ]
        for (option, value) in values { options.take(option, value) }
        if !own.packetFilter.isEmpty { options.take(.packetFilter, .text(own.packetFilter)) }
        // It is told in the first answer of a handshake, whatever the stream.
        if self.keyLength != .peer { options.take(.keyLength, .integer(self.keyLength.bytes)) }
        options.encrypt(self.passphrase)
        return options
    }
}

extension SRTOptions {
    /// The settings were checked: there is nothing that an option does not take.
    fileprivate mutating func take(_ option: SRTOption, _ value: SRTOptionValue) {
        do throws(SRTOptionError) {
            try self.set(option, to: value)
        } catch {
            preconditionFailure("a setting of SRT was accepted, and its option is not: \(error)")
        }
    }

    fileprivate mutating func encrypt(_ passphrase: Secret) {
        if !passphrase.isEmpty { self.take(.passphrase, .text(passphrase.value)) }
    }
}

extension TimeAmount {
    fileprivate var wholeMillis: Int { Int(self.nanoseconds / 1_000_000) }
}

extension StreamSettings {
    /// How the SRT sessions of the stream with this name differ from others'.
    fileprivate func srtSessions(of node: SRTSettings, name: String) -> SRTStreamSettings {
        var settings = SRTStreamSettings()
        settings.isEnabled = self.srt.isEnabled
        settings.options.encrypt(self.srt.passphrase(of: name))
        if self.srt.latency > .zero {
            settings.options.take(.receiveLatency, .integer(self.srt.latency.wholeMillis))
            settings.options.take(.peerLatency, .integer(self.srt.latency.wholeMillis))
        }
        settings.options.take(.payloadSize, .integer(node.options.payloadSize))
        settings.passesThrough = self.srt.passesThrough
        settings.audio = self.audio.live.form
        settings.waitsForKeyframeAfterLoss = self.srt.waitsForKeyframe
        settings.gopCacheBytes = self.gopCache ? self.gopCacheMaximumBytes : 0
        settings.slowViewer = self.live.slowViewer
        if self.srt.program > 0 { settings.demuxer.programNumber = UInt16(clamping: self.srt.program) }
        if let pid = UInt16(self.srt.audio) {
            settings.demuxer.audio = .pid(pid)
        } else if !self.srt.audio.isEmpty {
            settings.demuxer.audio = .language(self.srt.audio)
        }
        return settings
    }
}

extension NodeForward {
    init(_ push: SRTPushSnapshot) {
        self.init(
            key: push.key, destination: push.url, state: push.state.rawValue, sentBytes: push.sentBytes,
            attempts: push.attempts)
        self.lastError = push.lastError
        self.path = push.path
    }
}

extension NodePull {
    init(_ pull: SRTPullSnapshot) {
        self.init(
            stream: pull.stream, source: pull.url, state: pull.state.rawValue, receivedBytes: pull.receivedBytes,
            attempts: pull.attempts)
        self.lastError = pull.lastError
        self.path = pull.path
    }
}

extension NodeSRTFigures {
    init(_ totals: SRTTotals) {
        self.init()
        self.connections = totals.open
        self.opened = totals.opened
        self.sent = totals.sentPackets
        self.received = totals.receivedPackets
        self.sendLost = totals.sendLoss
        self.receiveLost = totals.receiveLoss
        self.retransmitted = totals.retransmittedPackets
        self.sendDropped = totals.sendDrops
        self.receiveDropped = totals.receiveDrops
        self.undecrypted = totals.undecryptedPackets
        for (rejection, count) in totals.turnedAway { self.turnedAway[Int(rejection.rawValue)] = count }
    }
}
