/// Who sends in a section. Spec: RFC 8866 §6.7.
package enum MediaDirection: String, Sendable, Hashable {
    case sendReceive = "sendrecv"
    case sendOnly = "sendonly"
    case receiveOnly = "recvonly"
    case inactive

    package var sends: Bool { self == .sendReceive || self == .sendOnly }
    package var receives: Bool { self == .sendReceive || self == .receiveOnly }
}

/// `a=setup`: who begins the DTLS handshake. Spec: RFC 4145 §4.1, RFC 8842 §5.2.
package enum DTLSSetup: String, Sendable, Hashable {
    case active, passive, actpass, holdconn
}

/// `a=fingerprint`: the digest of a certificate. Spec: RFC 8122 §5.
package struct CertificateFingerprint: Sendable, Hashable {
    /// In lower case, such as `sha-256`.
    package var hash: String
    package var digest: [UInt8]

    package init(hash: String, digest: [UInt8]) {
        self.hash = hash.lowercased()
        self.digest = digest
    }

    /// Takes an attribute's value, digits in either case; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ")
        guard fields.count == 2, fields[1].utf8.count <= 3 * 128 else { return nil }
        var digest: [UInt8] = []
        for pair in fields[1].split(separator: ":", omittingEmptySubsequences: false) {
            guard pair.utf8.count == 2, pair.allSatisfy(\.isHexDigit), let byte = UInt8(pair, radix: 16) else {
                return nil
            }
            digest.append(byte)
        }
        self.init(hash: String(fields[0]), digest: digest)
    }

    /// The attribute's value.
    package var value: String {
        let digits = Array("0123456789ABCDEF")
        let pairs = self.digest.map { String([digits[Int($0 >> 4)], digits[Int($0 & 15)]]) }
        return "\(self.hash) \(pairs.joined(separator: ":"))"
    }
}

/// `a=group`: sections that belong together, such as `BUNDLE`. Spec: RFC 5888 §5.
package struct MediaGroup: Sendable, Hashable {
    package var semantics: String
    package var mids: [String]

    package init(semantics: String, mids: [String]) {
        self.semantics = semantics
        self.mids = mids
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ")
        guard let first = fields.first else { return nil }
        self.init(semantics: String(first), mids: fields.dropFirst().map { String($0) })
    }

    /// The attribute's value.
    package var value: String { ([self.semantics] + self.mids).joined(separator: " ") }
}

/// `a=rid`: one encoding of a section that has several. Spec: RFC 8851 §4.
package struct RestrictionIdentifier: Sendable, Hashable {
    package enum Direction: String, Sendable, Hashable {
        case send, receive = "recv"
    }

    package var id: String
    package var direction: Direction
    /// What follows, such as `pt=96;max-width=1280`.
    package var restrictions: FormatParameters

    package init(id: String, direction: Direction, restrictions: FormatParameters = FormatParameters()) {
        self.id = id
        self.direction = direction
        self.restrictions = restrictions
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ", maxSplits: 2)
        guard fields.count >= 2, Self.isValid(fields[0]), let direction = Direction(rawValue: String(fields[1])) else {
            return nil
        }
        self.init(
            id: String(fields[0]), direction: direction,
            restrictions: FormatParameters(parsing: fields.count > 2 ? fields[2] : ""))
    }

    /// Letters, digits, `-` and `_`; the header extension that carries it has at most 255 bytes.
    private static func isValid(_ id: Substring) -> Bool {
        id.utf8.count <= 255
            && id.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 45
                    || byte == 95
            }
    }

    /// The attribute's value.
    package var value: String {
        let text = self.restrictions.text
        return "\(self.id) \(self.direction.rawValue)" + (text.isEmpty ? "" : " \(text)")
    }
}

/// `a=simulcast`: which encodings are sent and received at the same time. Spec: RFC 8853 §5.1.
package struct SimulcastAttribute: Sendable, Hashable {
    /// One way to encode a stream.
    package struct Alternative: Sendable, Hashable {
        package var rid: String
        package var isPaused: Bool

        package init(rid: String, isPaused: Bool = false) {
            self.rid = rid
            self.isPaused = isPaused
        }
    }

    /// The streams that are sent, each with its alternatives.
    package var send: [[Alternative]]
    package var receive: [[Alternative]]

    package init(send: [[Alternative]] = [], receive: [[Alternative]] = []) {
        self.send = send
        self.receive = receive
    }

    /// Takes an attribute's value; `nil` if it is malformed.
    package init?(parsing value: String) {
        self.init()
        let fields = value.split(separator: " ")
        guard fields.count == 2 || fields.count == 4 else { return nil }
        for index in stride(from: 0, to: fields.count, by: 2) {
            let streams = fields[index + 1].split(separator: ";").map { stream in
                stream.split(separator: ",").compactMap { text in
                    let isPaused = text.first == "~"
                    let rid = text.drop { $0 == "~" }
                    return rid.isEmpty ? nil : Alternative(rid: String(rid), isPaused: isPaused)
                }
            }.filter { !$0.isEmpty }
            switch fields[index] {
            case "send": self.send = streams
            case "recv": self.receive = streams
            default: return nil
            }
        }
    }

    /// The attribute's value.
    package var value: String {
        [("send", self.send), ("recv", self.receive)].filter { !$0.1.isEmpty }.map { direction, streams in
            let lists = streams.map { stream in
                stream.map { ($0.isPaused ? "~" : "") + $0.rid }.joined(separator: ",")
            }
            return "\(direction) \(lists.joined(separator: ";"))"
        }.joined(separator: " ")
    }
}
