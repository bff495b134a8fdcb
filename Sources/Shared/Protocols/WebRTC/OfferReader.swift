import Media
import RTP
import SDP

/// What we are to the peer.
enum NegotiationRole {
    case publish(PublishCapabilities)
    case play(PlayTracks)

    var features: TransportFeatures {
        switch self {
        case .publish(let capabilities): capabilities.features
        case .play(let tracks): tracks.features
        }
    }

    /// Whether the peer's direction lets media flow our way.
    func fits(_ direction: MediaDirection) -> Bool {
        switch self {
        case .publish: direction.sends
        case .play: direction.receives
        }
    }

    /// Whether there is anything to negotiate for a kind.
    func wants(_ kind: MediaKind) -> Bool {
        switch self {
        case .publish(let capabilities):
            !(kind == .video ? capabilities.videoCodecs : capabilities.audioCodecs).isEmpty
        case .play(let tracks): kind == .video ? !tracks.video.isEmpty : !tracks.audio.isEmpty
        }
    }
}

/// Chooses among what an offer has.
struct OfferReader {
    let offer: SessionDescription
    let role: NegotiationRole

    func answer(
        local: LocalDescription
    ) throws(NegotiationError) -> (answer: SessionDescription, media: NegotiatedMedia) {
        guard !self.offer.media.isEmpty else { throw .noMediaDescriptions }
        guard !self.offer.attributes.has("ice-lite") else { throw .peerIsLite }
        var sections: [NegotiatedSection] = []
        for kind in [MediaKind.audio, .video] where self.role.wants(kind) {
            if let section = try self.section(of: kind, local: local) { sections.append(section) }
        }
        sections.sort { $0.index < $1.index }
        guard let first = sections.first else { throw self.nothing }
        let transport = try self.transport(of: sections, first: first, local: local)
        let media = NegotiatedMedia(
            sections: sections, isDTLSClient: transport.isClient, fingerprints: transport.fingerprints,
            remoteICE: transport.ice, remoteCandidates: self.candidates)
        return (AnswerWriter(offer: self.offer, media: media, local: local).description, media)
    }

    private var nothing: NegotiationError {
        switch self.role {
        case .publish: .nothingSent
        case .play: .nothingReceived(streamKinds: [MediaKind.audio, .video].filter { self.role.wants($0) })
        }
    }

    /// The first section of a kind that can be used; `nil` if the offer has none in our direction.
    private func section(
        of kind: MediaKind, local: LocalDescription
    ) throws(NegotiationError) -> NegotiatedSection? {
        var failure: NegotiationError?
        for (index, media) in self.offer.media.enumerated() where media.kind == kind.rawValue {
            guard media.port != 0 || media.attributes.has("bundle-only"),
                self.role.fits(self.offer.direction(of: media))
            else { continue }
            do throws(NegotiationError) {
                return try self.negotiate(media, index: index, kind: kind, local: local)
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return nil
    }

    private func negotiate(
        _ media: MediaDescription, index: Int, kind: MediaKind, local: LocalDescription
    ) throws(NegotiationError) -> NegotiatedSection {
        let line = self.line(media, index: index)
        guard media.transport.uppercased().hasSuffix("RTP/SAVPF") || media.transport.uppercased().hasSuffix("RTP/SAVP")
        else { throw .unsupportedTransport(line, transport: media.transport) }
        try self.checkBundle(media, line: line)
        guard !self.offer.inherited("rtcp-mux", by: media).isEmpty else { throw .missingRTCPMux(line) }
        let format = try self.format(media, kind: kind, line: line)
        let feedback = self.feedback(media, kind: kind, payloadType: format.payloadType)
        var section = NegotiatedSection(
            index: index, mid: media.mid, kind: kind, format: format,
            extensions: self.extensions(media, kind: kind, feedback: feedback),
            allowsMixedExtensionHeaders: self.allowsMixedHeaders(media), feedback: feedback)
        switch self.role {
        case .publish(let capabilities):
            self.readSources(media, into: &section)
            if kind == .video, capabilities.allowsSimulcast { section.rids = Self.rids(media) }
        case .play:
            section.localSource = kind == .video ? local.video : local.audio
            if format.retransmissionPayloadType == nil || section.localSource?.retransmissionSSRC == nil {
                section.format.retransmissionPayloadType = nil
                section.localSource?.retransmissionSSRC = nil
            }
        }
        return section
    }

    /// A section that is alone shares its transport with nothing and needs no group.
    private func checkBundle(_ media: MediaDescription, line: NegotiationError.Line) throws(NegotiationError) {
        guard let group = self.offer.groups.first(where: { $0.semantics == "BUNDLE" }) else {
            guard self.offer.media.count == 1 else { throw .missingBundle }
            return
        }
        guard let mid = media.mid, !mid.isEmpty else { throw .missingMid(line) }
        guard group.mids.contains(mid) else { throw .notInBundle(line) }
    }

    func line(_ media: MediaDescription, index: Int) -> NegotiationError.Line {
        NegotiationError.Line(index: index, kind: media.kind, mid: media.mid)
    }

    private func allowsMixedHeaders(_ media: MediaDescription) -> Bool {
        self.offer.attributes.has("extmap-allow-mixed") || media.attributes.has("extmap-allow-mixed")
    }

    private var candidates: [ICECandidate] {
        let values =
            self.offer.attributes.all("candidate") + self.offer.media.flatMap { $0.attributes.all("candidate") }
        return Array(values.lazy.compactMap { ICECandidate(parsing: $0) }.prefix(TrickleRequest.maximumCandidates))
    }
}

extension OfferReader {
    private func format(
        _ media: MediaDescription, kind: MediaKind, line: NegotiationError.Line
    ) throws(NegotiationError) -> NegotiatedFormat {
        let formats = OfferedFormat.formats(of: media)
        let (chosen, codec, parameters) = try self.choose(formats, kind: kind, line: line)
        var result = NegotiatedFormat(
            payloadType: chosen.payloadType, codec: codec, clockRate: chosen.clockRate, channels: chosen.channels,
            parameters: parameters)
        if self.role.features.retransmission {
            result.retransmissionPayloadType =
                formats.first {
                    $0.encoding == "rtx" && $0.clockRate == chosen.clockRate
                        && $0.number("apt", absent: 128) == Int(chosen.payloadType)
                }?.payloadType
        }
        return result
    }

    private func choose(
        _ formats: [OfferedFormat], kind: MediaKind, line: NegotiationError.Line
    ) throws(NegotiationError) -> (OfferedFormat, Codec, FormatParameters) {
        let wanted: [Codec]
        switch self.role {
        case .publish(let capabilities):
            let accepted = kind == .video ? capabilities.videoCodecs : capabilities.audioCodecs
            wanted = accepted
            let offered = formats.compactMap(\.codec).filter { accepted.contains($0) }
            for codec in capabilities.prefersOfferOrder ? offered : accepted {
                guard let best = Self.best(formats, codec: codec, score: { FormatScore.publish($0, codec: codec) })
                else { continue }
                let stereo = capabilities.allowsStereo
                return (best, codec, AnswerParameters.publish(best, codec: codec, allowsStereo: stereo))
            }
        case .play(let tracks) where kind == .video:
            wanted = tracks.video.map(\.codec)
            for video in tracks.video {
                guard let best = Self.best(formats, codec: video.codec, score: { FormatScore.play($0, video: video) })
                else { continue }
                return (best, video.codec, AnswerParameters.play(best, codec: video.codec, channels: 1))
            }
        case .play(let tracks):
            wanted = tracks.audio.map(\.codec)
            for audio in tracks.audio {
                guard let best = Self.best(formats, codec: audio.codec, score: { _ in 0 }) else { continue }
                return (best, audio.codec, AnswerParameters.play(best, codec: audio.codec, channels: audio.channels))
            }
        }
        if let codec = wanted.first(where: { codec in formats.contains { $0.codec == codec } }) {
            throw .noCommonProfile(line, codec, offered: formats.filter { $0.codec == codec }.map(\.summary))
        }
        var names: [String] = []
        for format in formats where format.encoding != "rtx" {
            let name = format.encoding.uppercased()
            if !names.contains(name) { names.append(name) }
        }
        throw .noCommonCodec(line, wanted: wanted, offered: names)
    }

    /// The format of a codec with the smallest score, the first of equal ones.
    private static func best(
        _ formats: [OfferedFormat], codec: Codec, score: (OfferedFormat) -> Int?
    ) -> OfferedFormat? {
        var best: (format: OfferedFormat, score: Int)?
        for format in formats where format.codec == codec {
            guard let score = score(format), score < best?.score ?? .max else { continue }
            best = (format, score)
        }
        return best?.format
    }

    private func feedback(_ media: MediaDescription, kind: MediaKind, payloadType: UInt8) -> Set<NegotiatedFeedback> {
        let features = self.role.features
        let offered = Set(media.feedback(of: payloadType).compactMap { NegotiatedFeedback(rawValue: $0.lowercased()) })
        return offered.filter { kind in
            switch kind {
            case .nack: features.nack
            case .transportFeedback: features.transportFeedback
            case .remb: features.remb
            case .pictureLoss, .fullIntraRequest: true
            }
        }.filter { kind == .video || $0 == .nack || $0 == .transportFeedback }
    }

    private func extensions(
        _ media: MediaDescription, kind: MediaKind, feedback: Set<NegotiatedFeedback>
    ) -> [RTPExtensionURI: UInt8] {
        var wanted: Set<RTPExtensionURI> = [.mid]
        if feedback.contains(.transportFeedback) { wanted.insert(.transportSequenceNumber) }
        if feedback.contains(.remb) { wanted.insert(.absoluteSendTime) }
        if kind == .video {
            switch self.role {
            case .publish(let capabilities) where capabilities.allowsSimulcast: wanted.formUnion([.rid, .repairedRID])
            case .publish: break
            case .play: wanted.insert(.playoutDelay)
            }
        }
        // Two-byte headers carry more numbers, but not every receiver of one-byte headers reads them.
        let highest = self.allowsMixedHeaders(media) ? 255 : 14
        var extensions: [RTPExtensionURI: UInt8] = [:]
        for value in self.offer.inherited("extmap", by: media) {
            guard let map = ExtensionMap(parsing: value), let uri = RTPExtensionURI(rawValue: map.uri),
                wanted.contains(uri), extensions[uri] == nil, map.id <= highest, map.id != 15,
                self.role.fits(map.direction ?? .sendReceive), !extensions.values.contains(UInt8(map.id))
            else { continue }
            extensions[uri] = UInt8(map.id)
        }
        return extensions
    }

    private func readSources(_ media: MediaDescription, into section: inout NegotiatedSection) {
        let groups = media.sourceGroups
        var repairs: [UInt32: UInt32] = [:]
        var secondary: Set<UInt32> = []
        for group in groups where group.ssrcs.count == 2 {
            guard group.semantics == "FID" || group.semantics.hasPrefix("FEC") else { continue }
            secondary.insert(group.ssrcs[1])
            if group.semantics == "FID" { repairs[group.ssrcs[0]] = group.ssrcs[1] }
        }
        for attribute in media.sources where !secondary.contains(attribute.ssrc) {
            let cname = attribute.attribute.name == "cname" ? attribute.attribute.value : nil
            if let index = section.remoteSources.firstIndex(where: { $0.ssrc == attribute.ssrc }) {
                section.remoteSources[index].cname = section.remoteSources[index].cname ?? cname
            } else if section.remoteSources.count < Self.maximumSources {
                section.remoteSources.append(
                    RemoteSource(
                        ssrc: attribute.ssrc, retransmissionSSRC: repairs[attribute.ssrc], cname: cname))
            }
        }
        let simulcast = groups.first { $0.semantics == "SIM" }?.ssrcs ?? []
        section.simulcastSources = Array(simulcast.prefix(Self.maximumSources))
    }

    private static let maximumSources = 16
    private static let maximumRIDs = 8

    /// The encodings that the peer sends. Without a simulcast line the rid lines stand for themselves.
    private static func rids(_ media: MediaDescription) -> [String] {
        let declared = media.restrictionIdentifiers.filter { $0.direction == .send }.map(\.id)
        var rids: [String] = []
        for rid in media.simulcast?.send.compactMap({ $0.first?.rid }) ?? declared
        where declared.contains(rid) && !rids.contains(rid) {
            rids.append(rid)
        }
        return Array(rids.prefix(Self.maximumRIDs))
    }
}
