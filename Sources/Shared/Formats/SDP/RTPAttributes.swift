/// `a=rtpmap`: what a payload type carries. Spec: RFC 8866 §6.6.
package struct RTPMap: Sendable, Hashable {
    package var payloadType: UInt8
    /// As the peer wrote it; compare without case.
    package var encoding: String
    /// Hz.
    package var clockRate: Int
    /// Audio channels; 1 where the line says nothing.
    package var channels: Int

    package init(payloadType: UInt8, encoding: String, clockRate: Int, channels: Int = 1) {
        self.payloadType = payloadType
        self.encoding = encoding
        self.clockRate = clockRate
        self.channels = channels
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ", maxSplits: 1)
        guard fields.count == 2, let payloadType = SDPNumber.unsigned(fields[0], maximum: 127) else { return nil }
        let parts = fields[1].split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 2, !parts[0].isEmpty, let rate = SDPNumber.unsigned(parts[1], maximum: 10_000_000),
            rate > 0
        else { return nil }
        var channels = 1
        if parts.count > 2 {
            guard let count = SDPNumber.unsigned(parts[2], maximum: 255), count > 0 else { return nil }
            channels = count
        }
        self.init(
            payloadType: UInt8(payloadType), encoding: String(parts[0]), clockRate: rate, channels: channels)
    }

    /// The attribute's value.
    package var value: String {
        "\(self.payloadType) \(self.encoding)/\(self.clockRate)" + (self.channels > 1 ? "/\(self.channels)" : "")
    }
}

/// `a=fmtp`: a payload type's parameters, in their order. Spec: RFC 8866 §6.15.
package struct FormatParameters: Sendable, Hashable {
    package struct Parameter: Sendable, Hashable {
        /// As the peer wrote it; empty for a parameter that is a value only, such as `0-15`.
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package var parameters: [Parameter]

    package init(_ parameters: [Parameter] = []) {
        self.parameters = parameters
    }

    /// Takes what stands behind the payload type, such as `minptime=10;useinbandfec=1`.
    package init(parsing text: some StringProtocol) {
        self.parameters = text.split(separator: ";").compactMap { piece in
            let piece = piece.drop { $0 == " " || $0 == "\t" }
            guard !piece.isEmpty else { return nil }
            guard let equals = piece.firstIndex(of: "=") else { return Parameter("", String(piece)) }
            return Parameter(String(piece[..<equals]), String(piece[piece.index(after: equals)...]))
        }
    }

    /// The value of a parameter, whose name is compared without case.
    package subscript(name: String) -> String? {
        let name = name.lowercased()
        return self.parameters.first { $0.name.lowercased() == name }?.value
    }

    /// What stands behind the payload type.
    package var text: String {
        self.parameters.map { $0.name.isEmpty ? $0.value : "\($0.name)=\($0.value)" }.joined(separator: ";")
    }
}

/// `a=extmap`: the number of a header extension. Spec: RFC 8285 §8.
package struct ExtensionMap: Sendable, Hashable {
    /// 1–14 fits one-byte headers, up to 255 two-byte ones. An offer with more extensions than that numbers the rest from 4096
    /// on, for the answer to renumber; no packet can carry such a number.
    package var id: Int
    package var direction: MediaDirection?
    package var uri: String
    package var attributes: String?

    package init(id: Int, direction: MediaDirection? = nil, uri: String, attributes: String? = nil) {
        self.id = id
        self.direction = direction
        self.uri = uri
        self.attributes = attributes
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ", maxSplits: 2)
        guard fields.count >= 2 else { return nil }
        let number = fields[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let id = SDPNumber.unsigned(number[0], maximum: 4351), id > 0 else { return nil }
        var direction: MediaDirection?
        if number.count == 2 {
            guard let parsed = MediaDirection(rawValue: String(number[1])) else { return nil }
            direction = parsed
        }
        self.init(
            id: id, direction: direction, uri: String(fields[1]),
            attributes: fields.count > 2 ? String(fields[2]) : nil)
    }

    /// The attribute's value.
    package var value: String {
        var value = "\(self.id)"
        if let direction = self.direction { value += "/\(direction.rawValue)" }
        value += " \(self.uri)"
        if let attributes = self.attributes { value += " \(attributes)" }
        return value
    }
}

/// `a=rtcp-fb`: a kind of feedback that a payload type understands. Spec: RFC 4585 §4.2.
package struct FeedbackAttribute: Sendable, Hashable {
    /// `nil` for `*`: every payload type of the section.
    package var payloadType: UInt8?
    /// Such as `nack pli`.
    package var kind: String

    package init(payloadType: UInt8?, kind: String) {
        self.payloadType = payloadType
        self.kind = kind
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ")
        guard fields.count >= 2 else { return nil }
        if fields[0] == "*" {
            self.payloadType = nil
        } else {
            guard let number = SDPNumber.unsigned(fields[0], maximum: 127) else { return nil }
            self.payloadType = UInt8(number)
        }
        self.kind = fields[1...].joined(separator: " ")
    }

    /// The attribute's value.
    package var value: String { "\(self.payloadType.map { "\($0)" } ?? "*") \(self.kind)" }
}

/// `a=ssrc`: something about one source. Spec: RFC 5576 §4.1.
package struct SourceAttribute: Sendable, Hashable {
    package var ssrc: UInt32
    package var attribute: SDPAttribute

    package init(ssrc: UInt32, attribute: SDPAttribute) {
        self.ssrc = ssrc
        self.attribute = attribute
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ", maxSplits: 1)
        guard fields.count == 2, let ssrc = SDPNumber.unsigned(fields[0], maximum: Int(UInt32.max)) else { return nil }
        self.init(ssrc: UInt32(ssrc), attribute: SDPAttribute(parsing: String(fields[1])))
    }

    /// The attribute's value.
    package var value: String {
        "\(self.ssrc) \(self.attribute.name)" + (self.attribute.value.map { ":\($0)" } ?? "")
    }
}

/// `a=ssrc-group`: sources that belong together, such as `FID` for a source and its retransmissions.
/// Spec: RFC 5576 §4.2.
package struct SourceGroup: Sendable, Hashable {
    package var semantics: String
    package var ssrcs: [UInt32]

    package init(semantics: String, ssrcs: [UInt32]) {
        self.semantics = semantics
        self.ssrcs = ssrcs
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ")
        guard fields.count >= 2 else { return nil }
        self.semantics = String(fields[0])
        self.ssrcs = []
        for field in fields[1...] {
            guard let ssrc = SDPNumber.unsigned(field, maximum: Int(UInt32.max)) else { return nil }
            self.ssrcs.append(UInt32(ssrc))
        }
    }

    /// The attribute's value.
    package var value: String { "\(self.semantics) \(self.ssrcs.map { "\($0)" }.joined(separator: " "))" }
}
