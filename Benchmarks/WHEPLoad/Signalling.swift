import RTP
import SDP
import SecureRTP

/// What a viewer asks for: one audio and one video track to receive, with what Chromium offers for H.264 and Opus.
struct Offer {
    let ufrag: String
    let password: String
    let fingerprint: DTLSFingerprint
    /// Whether transport-wide feedback is offered.
    let usesTransportFeedback: Bool

    private static let videoFormats: [(payloadType: UInt8, retransmission: UInt8, profile: String)] = [
        (102, 103, "42001f"), (106, 107, "42e01f"), (112, 113, "4d001f"), (116, 117, "64001f"),
    ]

    /// The text of the offer. `sessionID` is any number.
    func text(sessionID: UInt32) -> String {
        var offer = SessionDescription(origin: .init(sessionID: "\(sessionID)", address: "127.0.0.1"))
        offer.attributes = [
            SDPAttribute("group", MediaGroup(semantics: "BUNDLE", mids: ["0", "1"]).value),
            SDPAttribute("extmap-allow-mixed"), SDPAttribute("msid-semantic", "WMS"),
        ]
        offer.media = [self.audio, self.video]
        return offer.text
    }

    private var audio: MediaDescription {
        var attributes = self.transport(mid: "0")
        attributes.append(SDPAttribute("rtpmap", "111 opus/48000/2"))
        if self.usesTransportFeedback { attributes.append(SDPAttribute("rtcp-fb", "111 transport-cc")) }
        attributes.append(SDPAttribute("fmtp", "111 minptime=10;useinbandfec=1;stereo=1"))
        return MediaDescription(
            kind: "audio", formats: ["111"], lines: [SDPLine("c", "IN IP4 0.0.0.0")], attributes: attributes)
    }

    private var video: MediaDescription {
        var attributes = self.transport(mid: "1")
        attributes.append(SDPAttribute("rtcp-rsize"))
        var formats: [String] = []
        for (payloadType, retransmission, profile) in Self.videoFormats {
            formats += ["\(payloadType)", "\(retransmission)"]
            attributes.append(SDPAttribute("rtpmap", "\(payloadType) H264/90000"))
            for kind in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
                if kind == "transport-cc", !self.usesTransportFeedback { continue }
                attributes.append(SDPAttribute("rtcp-fb", "\(payloadType) \(kind)"))
            }
            attributes.append(
                SDPAttribute(
                    "fmtp",
                    "\(payloadType) level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=\(profile)"))
            attributes.append(SDPAttribute("rtpmap", "\(retransmission) rtx/90000"))
            attributes.append(SDPAttribute("fmtp", "\(retransmission) apt=\(payloadType)"))
        }
        return MediaDescription(
            kind: "video", formats: formats, lines: [SDPLine("c", "IN IP4 0.0.0.0")], attributes: attributes)
    }

    private func transport(mid: String) -> [SDPAttribute] {
        var attributes = [
            SDPAttribute("ice-ufrag", self.ufrag), SDPAttribute("ice-pwd", self.password),
            SDPAttribute("ice-options", "trickle"), SDPAttribute("fingerprint", self.fingerprint.description),
            SDPAttribute("setup", "active"), SDPAttribute("mid", mid),
        ]
        var extensions: [RTPExtensionURI] = [.absoluteSendTime]
        if self.usesTransportFeedback { extensions.append(.transportSequenceNumber) }
        extensions.append(.mid)
        for (index, uri) in extensions.enumerated() {
            attributes.append(SDPAttribute("extmap", ExtensionMap(id: index + 2, uri: uri.rawValue).value))
        }
        return attributes + [SDPAttribute("recvonly"), SDPAttribute("rtcp-mux")]
    }
}

/// Why an answer is of no use.
enum AnswerError: Error, Equatable {
    case malformed(SDPError)
    /// Nothing was accepted, or the server wants to begin the handshake itself.
    case lacks(String)
}

/// What a viewer needs to know of the server's answer.
struct Answer {
    let ufrag: String
    let password: String
    let fingerprints: [DTLSFingerprint]
    let address: Address
    let videoPayloadType: UInt8?
    let audioPayloadType: UInt8?
    /// The number of the header extension with the transport-wide sequence number.
    let transportSequenceID: UInt8?

    /// Takes the candidate of UDP over IPv4 with the address that the request went to, or else the first one.
    init(parsing text: String, preferring host: UInt32) throws(AnswerError) {
        let answer: SessionDescription
        do throws(SDPError) {
            answer = try SessionDescription(parsing: text)
        } catch {
            throw .malformed(error)
        }
        let sections = answer.media.filter { $0.port != 0 }
        guard let first = sections.first else { throw .lacks("media") }
        guard let ufrag = answer.inherited("ice-ufrag", by: first).first,
            let password = answer.inherited("ice-pwd", by: first).first
        else { throw .lacks("ICE credentials") }
        guard answer.inherited("setup", by: first).first == DTLSSetup.passive.rawValue else {
            throw .lacks("setup:passive")
        }
        self.ufrag = ufrag
        self.password = password
        self.fingerprints = answer.inherited("fingerprint", by: first).compactMap { DTLSFingerprint($0) }
        let candidates = sections.flatMap { $0.attributes.all("candidate") }.compactMap { Self.address($0) }
        guard let address = candidates.first(where: { $0.host == host }) ?? candidates.first else {
            throw .lacks("a candidate of UDP over IPv4")
        }
        self.address = address
        func payloadType(_ kind: String) -> UInt8? {
            sections.first { $0.kind == kind }?.formats.first.flatMap { UInt8($0) }
        }
        self.videoPayloadType = payloadType("video")
        self.audioPayloadType = payloadType("audio")
        self.transportSequenceID =
            sections.flatMap(\.extensionMaps)
            .first { $0.uri == RTPExtensionURI.transportSequenceNumber.rawValue }.flatMap { UInt8(exactly: $0.id) }
    }

    private static func address(_ candidate: String) -> Address? {
        let fields = candidate.split(separator: " ")
        guard fields.count >= 8, fields[2].lowercased() == "udp", let host = Address.host(fields[4]),
            let port = UInt16(fields[5])
        else { return nil }
        return Address(host: host, port: port)
    }
}

/// Where the requests go: the parts of an `http://` URL with a numeric IPv4 host.
struct Endpoint {
    let authority: String
    let address: Address
    let path: String

    /// `nil` when the URL is anything else.
    init?(_ url: String) {
        guard url.hasPrefix("http://") else { return nil }
        let rest = url.dropFirst("http://".count)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let authority = rest[..<slash].split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(authority.count), let host = Address.host(authority[0]),
            let port = authority.count == 2 ? UInt16(authority[1]) : 80
        else { return nil }
        self.authority = String(rest[..<slash])
        self.address = Address(host: host, port: port)
        self.path = slash < rest.endIndex ? String(rest[slash...]) : "/"
    }

    /// A request that ends its connection.
    func request(offer: String) -> [UInt8] {
        Array(
            """
            POST \(self.path) HTTP/1.1\r
            Host: \(self.authority)\r
            Content-Type: application/sdp\r
            Content-Length: \(offer.utf8.count)\r
            Connection: close\r
            \r
            \(offer)
            """.utf8)
    }
}

/// A response that comes in pieces, with a length or up to the connection's end.
struct Response {
    private static let maximumLength = 256 * 1024
    private var bytes: [UInt8] = []

    struct Whole {
        let status: Int
        /// Where the session is.
        let location: String?
        let body: String
    }

    /// Returns false if the response is too long.
    mutating func append(_ bytes: ArraySlice<UInt8>) -> Bool {
        self.bytes += bytes
        return self.bytes.count <= Self.maximumLength
    }

    /// The response, once all of it is there; `isEnd`: nothing follows.
    func whole(isEnd: Bool) -> Whole? {
        let separator = Array("\r\n\r\n".utf8)
        guard let end = self.bytes.indices.first(where: { self.bytes[$0...].starts(with: separator) }) else {
            return nil
        }
        let lines = String(decoding: self.bytes[..<end], as: UTF8.self).split(separator: "\r\n")
        let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        func header(_ name: String) -> String? {
            let line = lines.first { $0.lowercased().hasPrefix(name + ":") }
            return line.map { String($0.dropFirst(name.count + 1).drop { $0 == " " }) }
        }
        let body = self.bytes[(end + separator.count)...]
        let length = header("content-length").flatMap { Int($0) }
        guard length.map({ body.count >= $0 }) ?? isEnd else { return nil }
        return Whole(
            status: status, location: header("location"),
            body: String(decoding: body.prefix(length ?? body.count), as: UTF8.self))
    }
}
