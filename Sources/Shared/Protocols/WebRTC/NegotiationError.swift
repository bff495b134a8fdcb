package import Media
package import SDP

/// Why an offer cannot be answered. `description` says it to the person who sent it.
package enum NegotiationError: Error, Equatable, Sendable {
    /// Which section of an offer, for people: position from 0, kind and mid.
    package struct Line: Equatable, Sendable {
        package var index: Int
        package var kind: String
        package var mid: String?

        package init(index: Int, kind: String, mid: String?) {
            self.index = index
            self.kind = kind
            self.mid = mid
        }
    }

    case malformed(SDPError)
    case noMediaDescriptions
    /// A publisher's offer sends nothing that we could take: all sections are refused, inactive or receiving.
    case nothingSent
    /// A player's offer receives nothing of what the stream has.
    case nothingReceived(streamKinds: [MediaKind])
    /// Not among what RTP over DTLS is called.
    case unsupportedTransport(Line, transport: String)
    case missingBundle
    case notInBundle(Line)
    case missingMid(Line)
    case missingRTCPMux(Line)
    case missingICECredentials(Line)
    case invalidICECredentials(Line)
    /// Both sides are lite, so that nobody would send checks.
    case peerIsLite
    case missingFingerprint(Line)
    /// All fingerprints use digests that are not supported or are malformed.
    case unsupportedFingerprint(Line, hashes: [String])
    case unsupportedSetup(Line, setup: String)
    /// None of the codecs is offered. `offered` has the encodings of the section.
    case noCommonCodec(Line, wanted: [Codec], offered: [String])
    /// The codec is offered, but not in a profile that can decode the stream.
    case noCommonProfile(Line, Codec, offered: [String])
}

extension NegotiationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let error): "the offer is no session description: \(error)"
        case .noMediaDescriptions: "the offer has no m-line"
        case .nothingSent: "the offer sends no audio and no video: a publisher's sections are sendonly or sendrecv"
        case .nothingReceived(let kinds):
            "the offer receives nothing of the stream, which has "
                + (kinds.isEmpty ? "no tracks" : kinds.map(\.rawValue).joined(separator: " and "))
                + ": a player's sections are recvonly or sendrecv"
        case .unsupportedTransport(let line, let transport):
            "\(line): the transport \(transport) is not RTP over DTLS (UDP/TLS/RTP/SAVPF)"
        case .missingBundle: "the offer has no a=group:BUNDLE: all sections must share one transport"
        case .notInBundle(let line): "\(line) is not part of the BUNDLE group"
        case .missingMid(let line): "\(line) has no a=mid"
        case .missingRTCPMux(let line): "\(line) has no a=rtcp-mux: RTP and RTCP must share a port"
        case .missingICECredentials(let line): "\(line) has no a=ice-ufrag and a=ice-pwd, nor has the session"
        case .invalidICECredentials(let line): "\(line): a=ice-ufrag or a=ice-pwd is too short, too long or no token"
        case .peerIsLite: "the offer says a=ice-lite, as the server does: nobody would send connectivity checks"
        case .missingFingerprint(let line): "\(line) has no a=fingerprint, nor has the session"
        case .unsupportedFingerprint(let line, let hashes):
            "\(line): no usable a=fingerprint among \(hashes.joined(separator: ", "))"
        case .unsupportedSetup(let line, let setup): "\(line): a=setup:\(setup) is none of actpass, active, passive"
        case .noCommonCodec(let line, let wanted, let offered):
            "\(line): \(wanted.map(\.rawValue).joined(separator: ", ")) needed, but the offer has "
                + (offered.isEmpty ? "no codec" : offered.joined(separator: ", "))
        case .noCommonProfile(let line, let codec, let offered):
            "\(line): \(codec.rawValue) is offered, but in no usable profile: "
                + offered.joined(separator: ", ")
        }
    }
}

extension NegotiationError.Line: CustomStringConvertible {
    /// Such as `m-line 2 (video, mid 1)`, counted from 1.
    package var description: String {
        "m-line \(self.index + 1) (\(self.kind)\(self.mid.map { ", mid \($0)" } ?? ""))"
    }
}
