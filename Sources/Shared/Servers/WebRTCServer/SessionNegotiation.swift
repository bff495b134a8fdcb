import Media
import NIOCore
import RTP
import RTPReceiving
import RTPSending
import SDP
import SecureRTP
import Streaming
import WebRTC

/// Makes the configurations of a session's parts of what offer and answer agreed on.
enum SessionNegotiation {
    /// What the answer says of us, with new names and numbers.
    static func localDescription(
        fingerprint: DTLSFingerprint, candidates: [ICECandidate], sends: Bool
    ) -> LocalDescription {
        // Two sources of one number would use the nonces of GCM twice.
        var sources: [LocalDescription.Source] = []
        repeat { sources = [self.source(), self.source()] } while Self.numbers(of: sources).count < 4
        return LocalDescription(
            sessionID: Randomness.integer(), ice: self.credentials(),
            fingerprints: [
                CertificateFingerprint(hash: fingerprint.algorithm.rawValue, digest: fingerprint.digest)
            ],
            candidates: candidates, cname: Randomness.text(count: 16), streamID: Randomness.text(count: 16),
            video: sends ? sources[0] : nil, audio: sends ? sources[1] : nil)
    }

    private static func numbers(of sources: [LocalDescription.Source]) -> Set<UInt32> {
        Set(sources.flatMap { [$0.ssrc, $0.retransmissionSSRC].compactMap { $0 } })
    }

    static func credentials() -> ICECredentials {
        var generator = SystemRandomNumberGenerator()
        return ICECredentials(
            randomBytes: (0..<ICECredentials.randomByteCount).map { _ in generator.next() as UInt8 })
    }

    private static func source() -> LocalDescription.Source {
        .init(ssrc: self.ssrc(), retransmissionSSRC: self.ssrc())
    }

    static func ssrc() -> UInt32 { max(1, Randomness.integer()) }

    /// The fingerprints that DTLS can compare; those of other functions are left out.
    static func fingerprints(_ media: NegotiatedMedia) -> [DTLSFingerprint] {
        media.fingerprints.compactMap { DTLSFingerprint($0.value) }
    }

    static func features(_ settings: WebRTCStreamSettings) -> TransportFeatures {
        var features = TransportFeatures()
        features.nack = settings.usesNACK
        features.retransmission = settings.usesNACK
        features.transportFeedback = settings.usesTransportFeedback
        return features
    }

    static func publishCapabilities(_ settings: WebRTCStreamSettings) -> PublishCapabilities {
        var capabilities = PublishCapabilities()
        capabilities.features = self.features(settings)
        return capabilities
    }

    // MARK: Receiving

    static func receiver(
        _ media: NegotiatedMedia, cname: String, settings: WebRTCStreamSettings
    ) -> RTPReceiverConfiguration {
        var jitter = RTPJitterLimits()
        jitter.maximumWait = max(settings.receiveWait, jitter.minimumWait)
        jitter.maximumAudioWait = min(jitter.maximumAudioWait, jitter.maximumWait)
        var reports = RTPReportSettings()
        reports.maximumBitsPerSecond = settings.maximumPublishBitrate
        reports.keyframeInterval = settings.keyframeInterval
        return RTPReceiverConfiguration(
            lines: media.sections.compactMap { self.line($0) }, localSSRC: self.ssrc(), canonicalName: cname,
            jitter: jitter, reports: reports)
    }

    private static func line(_ section: NegotiatedSection) -> RTPReceivedLine? {
        let format = section.format
        guard
            let payload = RTPPayloadFormat(
                encodingName: self.encodingName(format.codec), clockRate: format.clockRate, channels: format.channels,
                formatParameters: format.parameters.text)
        else { return nil }
        var uses: [UInt8: RTPPayloadUse] = [
            format.payloadType: .media(
                RTPMediaPayload(format: payload, clockRate: format.clockRate, channels: format.channels))
        ]
        if let type = format.retransmissionPayloadType { uses[type] = .retransmission(associated: format.payloadType) }
        var groups = section.remoteSources.compactMap { source in
            source.retransmissionSSRC.map { RTPSourceGroup(semantics: .flow, ssrcs: [source.ssrc, $0]) }
        }
        if !section.simulcastSources.isEmpty {
            groups.append(RTPSourceGroup(semantics: .simulcast, ssrcs: section.simulcastSources))
        }
        return RTPReceivedLine(
            mid: section.mid, kind: section.kind, payloadTypes: uses, extensions: section.extensions,
            ssrcs: section.remoteSources.flatMap { [$0.ssrc] + ($0.retransmissionSSRC.map { [$0] } ?? []) },
            ssrcGroups: groups, rids: section.rids, feedback: self.feedback(section.feedback))
    }

    private static func encodingName(_ codec: Codec) -> String {
        switch codec {
        case .hevc: "h265"
        case .g711ALaw: "pcma"
        case .g711MuLaw: "pcmu"
        default: codec.rawValue
        }
    }

    private static func feedback(_ negotiated: Set<NegotiatedFeedback>) -> RTPFeedback {
        var feedback: RTPFeedback = []
        for kind in negotiated {
            switch kind {
            case .nack: feedback.insert(.nack)
            case .pictureLoss: feedback.insert(.pli)
            case .fullIntraRequest: feedback.insert(.fir)
            case .transportFeedback: feedback.insert(.transportWide)
            case .remb: feedback.insert(.remb)
            }
        }
        return feedback
    }

    // MARK: Sending

    /// What the answer to a player may promise.
    static func playTracks(_ tracks: AudienceTracks, settings: WebRTCStreamSettings) -> PlayTracks {
        var video: [PlayVideo] = []
        if case .flowing = tracks.status.video, let track = tracks.state.video, let form = PlayVideo(track) {
            video.append(form)
        }
        var audio: [PlayAudio] = []
        if case .flowing(let codec) = tracks.status.audio {
            var channels = codec == .opus ? 2 : 1
            if let track = tracks.state.audio, track.codec == codec, case .audio(let format) = track.format {
                channels = format.channels ?? channels
            }
            audio.append(PlayAudio(codec: codec, channels: channels))
        }
        var result = PlayTracks(video: video, audio: audio)
        result.features = self.features(settings)
        return result
    }

    static func viewer(
        _ media: NegotiatedMedia, cname: String, settings: WebRTCStreamSettings
    ) -> RTPViewerConfiguration {
        var delay: ClosedRange<Int>?
        if let wanted = settings.playoutDelay {
            let millis = Int(min(max(0, wanted.nanoseconds / 1_000_000), 40_000))
            delay = millis...millis
        }
        return RTPViewerConfiguration(
            video: media.video.flatMap { self.track($0) }, audio: media.audio.flatMap { self.track($0) }, cname: cname,
            playoutDelayMillis: delay, startBitrate: settings.startBitrate)
    }

    private static func track(_ section: NegotiatedSection) -> RTPTrackConfiguration? {
        guard let source = section.localSource else { return nil }
        var rtx: RTPTrackConfiguration.RTX?
        if let type = section.format.retransmissionPayloadType, let ssrc = source.retransmissionSSRC {
            rtx = .init(ssrc: ssrc, payloadType: type)
        }
        let usesFeedback = section.feedback.contains(.transportFeedback)
        return RTPTrackConfiguration(
            codec: section.format.codec, ssrc: source.ssrc, payloadType: section.format.payloadType,
            clockRate: section.format.clockRate, answersNACK: section.feedback.contains(.nack), rtx: rtx,
            mid: section.mid ?? "",
            extensions: .init(
                mid: section.mid == nil ? nil : section.extensions[.mid],
                absoluteSendTime: section.extensions[.absoluteSendTime],
                transportSequenceNumber: usesFeedback ? section.extensions[.transportSequenceNumber] : nil,
                playoutDelay: section.extensions[.playoutDelay]))
    }

    /// Whether the client takes G.711, beside or instead of Opus.
    static func takesG711(_ offer: SessionDescription) -> Bool {
        offer.media.contains { media in
            media.kind == "audio"
                && (media.formats.contains("0") || media.formats.contains("8")
                    || media.attributes.all("rtpmap").contains { value in
                        let name = value.split(separator: " ").last?.lowercased() ?? ""
                        return name.hasPrefix("pcma/") || name.hasPrefix("pcmu/")
                    })
        }
    }
}
