import Media
import RTP
import SDP

/// Writes what was agreed on.
struct AnswerWriter {
    let offer: SessionDescription
    let media: NegotiatedMedia
    let local: LocalDescription

    var description: SessionDescription {
        var answer = SessionDescription(origin: .init(sessionID: "\(self.local.sessionID)"))
        let accepted = Set(self.media.sections.compactMap(\.mid))
        let bundle = self.offer.groups.first { $0.semantics == "BUNDLE" }
        let first = accepted.isEmpty ? nil : bundle?.mids.first.flatMap { accepted.contains($0) ? nil : $0 }
        let idle = self.offer.media.firstIndex { $0.mid == first && self.mayBeIdle($0) }
        if let bundle {
            let mids = bundle.mids.filter { accepted.contains($0) || idle != nil && $0 == first }
            answer.attributes.append(SDPAttribute("group", MediaGroup(semantics: "BUNDLE", mids: mids).value))
        }
        if self.offer.attributes.has("extmap-allow-mixed") {
            answer.attributes.append(SDPAttribute("extmap-allow-mixed"))
        }
        answer.attributes.append(SDPAttribute("msid-semantic", "WMS *"))
        answer.attributes.append(SDPAttribute("ice-lite"))
        // `ice2`: we follow RFC 8445.
        answer.attributes.append(SDPAttribute("ice-options", self.local.supportsTrickle ? "trickle ice2" : "ice2"))
        answer.media = self.offer.media.enumerated().map { index, offered in
            if let section = self.media.sections.first(where: { $0.index == index }) {
                return self.accepted(section, offered: offered)
            }
            return index == idle ? self.idle(offered) : self.refused(offered)
        }
        return answer
    }

    /// Whether a section of no use to us can be kept without media. Spec: RFC 9143 §7.3.
    private func mayBeIdle(_ offered: MediaDescription) -> Bool {
        offered.mid != nil && offered.port != 0 && ["audio", "video"].contains(offered.kind)
            && offered.attributes.has("rtcp-mux") && !offered.formats.isEmpty
    }

    /// The bundle's first section, without media: libwebrtc's policy *max-bundle* puts the whole transport there, and
    /// takes no answer that refuses it.
    private func idle(_ offered: MediaDescription) -> MediaDescription {
        let others: Set = ["rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "cn"]
        let map = offered.rtpMaps.first { !others.contains($0.encoding.lowercased()) }
        let format = map.map { "\($0.payloadType)" } ?? offered.formats[0]
        var attributes = self.transportAttributes
        attributes += [offered.mid.map { SDPAttribute("mid", $0) }].compactMap(\.self)
        attributes += [SDPAttribute("inactive"), SDPAttribute("rtcp-mux")]
        if let map {
            attributes.append(SDPAttribute("rtpmap", map.value))
            attributes += offered.attributes.all("fmtp").filter { $0.hasPrefix("\(format) ") }
                .map { SDPAttribute("fmtp", $0) }
        }
        attributes += self.local.candidates.map { SDPAttribute("candidate", $0.value) }
        attributes.append(SDPAttribute("end-of-candidates"))
        return MediaDescription(
            kind: offered.kind, transport: offered.transport, formats: [format], lines: [Self.connection],
            attributes: attributes)
    }

    private static let connection = SDPLine("c", "IN IP4 0.0.0.0")

    private func refused(_ offered: MediaDescription) -> MediaDescription {
        var attributes = [SDPAttribute("inactive")]
        if let mid = offered.mid { attributes.append(SDPAttribute("mid", mid)) }
        return MediaDescription(
            kind: offered.kind, port: 0, transport: offered.transport, formats: offered.formats,
            lines: [Self.connection], attributes: attributes)
    }

    private func accepted(_ section: NegotiatedSection, offered: MediaDescription) -> MediaDescription {
        var attributes = self.transportAttributes
        if let mid = section.mid { attributes.append(SDPAttribute("mid", mid)) }
        for (uri, id) in section.extensions.sorted(by: { $0.value < $1.value }) {
            attributes.append(SDPAttribute("extmap", ExtensionMap(id: Int(id), uri: uri.rawValue).value))
        }
        if !self.offer.attributes.has("extmap-allow-mixed"), offered.attributes.has("extmap-allow-mixed") {
            attributes.append(SDPAttribute("extmap-allow-mixed"))
        }
        attributes.append(SDPAttribute(section.localSource == nil ? "recvonly" : "sendonly"))
        if section.localSource != nil {
            attributes.append(SDPAttribute("msid", self.streamAndTrack(section)))
        }
        attributes.append(SDPAttribute("rtcp-mux"))
        if offered.attributes.has("rtcp-rsize") { attributes.append(SDPAttribute("rtcp-rsize")) }
        attributes += self.formatAttributes(section)
        attributes += self.simulcastAttributes(section, offered: offered)
        attributes += self.sourceAttributes(section)
        attributes += self.local.candidates.map { SDPAttribute("candidate", $0.value) }
        attributes.append(SDPAttribute("end-of-candidates"))
        let types = [section.format.payloadType, section.format.retransmissionPayloadType].compactMap { $0 }
        return MediaDescription(
            kind: offered.kind, transport: offered.transport, formats: types.map { "\($0)" },
            lines: [Self.connection], attributes: attributes)
    }

    private var transportAttributes: [SDPAttribute] {
        [SDPAttribute("ice-ufrag", self.local.ice.ufrag), SDPAttribute("ice-pwd", self.local.ice.password)]
            + self.local.fingerprints.map { SDPAttribute("fingerprint", $0.value) }
            + [SDPAttribute("setup", self.media.isDTLSClient ? "active" : "passive")]
    }

    private func formatAttributes(_ section: NegotiatedSection) -> [SDPAttribute] {
        let format = section.format
        // Codecs of the answer are called as the offer calls them, AV1X included.
        let offered = self.offer.media[section.index].rtpMaps.first { $0.payloadType == format.payloadType }
        let map = RTPMap(
            payloadType: format.payloadType,
            encoding: offered?.encoding ?? (format.codec == .g711ALaw ? "PCMA" : "PCMU"),
            clockRate: format.clockRate, channels: format.channels)
        var attributes = [SDPAttribute("rtpmap", map.value)]
        for feedback in NegotiatedFeedback.allCases where section.feedback.contains(feedback) {
            let value = FeedbackAttribute(payloadType: format.payloadType, kind: feedback.rawValue).value
            attributes.append(SDPAttribute("rtcp-fb", value))
        }
        if !format.parameters.parameters.isEmpty {
            attributes.append(SDPAttribute("fmtp", "\(format.payloadType) \(format.parameters.text)"))
        }
        if let retransmission = format.retransmissionPayloadType {
            let map = RTPMap(payloadType: retransmission, encoding: "rtx", clockRate: format.clockRate)
            attributes.append(SDPAttribute("rtpmap", map.value))
            attributes.append(SDPAttribute("fmtp", "\(retransmission) apt=\(format.payloadType)"))
        }
        return attributes
    }

    private func simulcastAttributes(_ section: NegotiatedSection, offered: MediaDescription) -> [SDPAttribute] {
        guard !section.rids.isEmpty else { return [] }
        var attributes = section.rids.map {
            SDPAttribute("rid", RestrictionIdentifier(id: $0, direction: .receive).value)
        }
        if offered.attributes.has("simulcast") {
            let simulcast = SimulcastAttribute(receive: section.rids.map { [.init(rid: $0)] })
            attributes.append(SDPAttribute("simulcast", simulcast.value))
        }
        return attributes
    }

    private func sourceAttributes(_ section: NegotiatedSection) -> [SDPAttribute] {
        guard let source = section.localSource else { return [] }
        let ssrcs = [source.ssrc, source.retransmissionSSRC].compactMap { $0 }
        var attributes: [SDPAttribute] = []
        if ssrcs.count == 2 {
            attributes.append(SDPAttribute("ssrc-group", SourceGroup(semantics: "FID", ssrcs: ssrcs).value))
        }
        for ssrc in ssrcs {
            let lines = [
                SDPAttribute("cname", self.local.cname), SDPAttribute("msid", self.streamAndTrack(section)),
            ]
            attributes += lines.map { SDPAttribute("ssrc", SourceAttribute(ssrc: ssrc, attribute: $0).value) }
        }
        return attributes
    }

    private func streamAndTrack(_ section: NegotiatedSection) -> String {
        "\(self.local.streamID) \(self.local.streamID)-\(section.kind.rawValue)"
    }
}
