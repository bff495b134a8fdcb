extension MediaDescription {
    /// The `a=mid`; `nil` if there is none.
    package var mid: String? { self.attributes.first("mid") }

    /// The section's own direction; `nil` if it has none and the session's counts.
    package var direction: MediaDirection? {
        for attribute in self.attributes where attribute.value == nil {
            if let direction = MediaDirection(rawValue: attribute.name) { return direction }
        }
        return nil
    }

    package var rtpMaps: [RTPMap] { self.attributes.all("rtpmap").compactMap { RTPMap(parsing: $0) } }

    /// The `a=fmtp` of a payload type; `nil` if there is none.
    package func formatParameters(of payloadType: UInt8) -> FormatParameters? {
        for value in self.attributes.all("fmtp") {
            let fields = value.split(separator: " ", maxSplits: 1)
            guard let first = fields.first, SDPNumber.unsigned(first, maximum: 127) == Int(payloadType) else {
                continue
            }
            return FormatParameters(parsing: fields.count > 1 ? fields[1] : "")
        }
        return nil
    }

    /// The kinds of feedback that a payload type understands, such as `nack pli`, those of `*` included.
    package func feedback(of payloadType: UInt8) -> [String] {
        self.attributes.all("rtcp-fb").compactMap { FeedbackAttribute(parsing: $0) }
            .filter { $0.payloadType == nil || $0.payloadType == payloadType }.map(\.kind)
    }

    package var extensionMaps: [ExtensionMap] {
        self.attributes.all("extmap").compactMap { ExtensionMap(parsing: $0) }
    }

    package var sources: [SourceAttribute] { self.attributes.all("ssrc").compactMap { SourceAttribute(parsing: $0) } }

    package var sourceGroups: [SourceGroup] {
        self.attributes.all("ssrc-group").compactMap { SourceGroup(parsing: $0) }
    }

    package var restrictionIdentifiers: [RestrictionIdentifier] {
        self.attributes.all("rid").compactMap { RestrictionIdentifier(parsing: $0) }
    }

    package var simulcast: SimulcastAttribute? { self.attributes.first("simulcast").flatMap { .init(parsing: $0) } }
}

extension SessionDescription {
    /// The `a=group` lines of the session.
    package var groups: [MediaGroup] { self.attributes.all("group").compactMap { MediaGroup(parsing: $0) } }

    /// The values of an attribute of a section, or those of the session if the section has none.
    package func inherited(_ name: String, by media: MediaDescription) -> [String] {
        let own = media.attributes.all(name)
        return own.isEmpty ? self.attributes.all(name) : own
    }

    /// The direction of a section: its own, else the session's, else both ways. Spec: RFC 8866 §6.7.
    package func direction(of media: MediaDescription) -> MediaDirection {
        if let own = media.direction { return own }
        for attribute in self.attributes where attribute.value == nil {
            if let direction = MediaDirection(rawValue: attribute.name) { return direction }
        }
        return .sendReceive
    }
}
