package import Media
package import RTP
package import SDP

/// What offer and answer agreed on.
package struct NegotiatedMedia: Sendable, Hashable {
    /// The sections that carry media, in the order of their m-lines: at most one of each kind.
    package var sections: [NegotiatedSection]
    /// We begin the DTLS handshake.
    package var isDTLSClient: Bool
    /// The peer's certificate must match one of these; at least one.
    package var fingerprints: [CertificateFingerprint]
    package var remoteICE: ICECredentials
    /// From the offer; more may come by PATCH.
    package var remoteCandidates: [ICECandidate]

    package init(
        sections: [NegotiatedSection], isDTLSClient: Bool, fingerprints: [CertificateFingerprint],
        remoteICE: ICECredentials, remoteCandidates: [ICECandidate]
    ) {
        self.sections = sections
        self.isDTLSClient = isDTLSClient
        self.fingerprints = fingerprints
        self.remoteICE = remoteICE
        self.remoteCandidates = remoteCandidates
    }

    package var video: NegotiatedSection? { self.sections.first { $0.kind == .video } }
    package var audio: NegotiatedSection? { self.sections.first { $0.kind == .audio } }
}

/// One m-line on which media flows.
package struct NegotiatedSection: Sendable, Hashable {
    /// Position among the offer's m-lines, from 0.
    package var index: Int
    /// The name in packets' mid extension; `nil` if the only section of an offer has none.
    package var mid: String?
    package var kind: MediaKind
    package var format: NegotiatedFormat
    /// The numbers of the header extensions. 1–14 fit one-byte headers.
    package var extensions: [RTPExtensionURI: UInt8]
    /// The peer mixes one-byte and two-byte headers, and so may we. Spec: RFC 8285 §4.1.2.
    package var allowsMixedExtensionHeaders: Bool
    package var feedback: Set<NegotiatedFeedback>
    /// The peer's sources as its offer lists them; empty if it lists none, as many do.
    package var remoteSources: [RemoteSource]
    /// The sources of an offer with the older form of simulcast, lowest quality first.
    package var simulcastSources: [UInt32]
    /// The encodings of simulcast in the peer's order of preference, which is no order of quality.
    package var rids: [String]
    /// What we send with; `nil` where we receive.
    package var localSource: LocalDescription.Source?

    package init(
        index: Int, mid: String?, kind: MediaKind, format: NegotiatedFormat, extensions: [RTPExtensionURI: UInt8] = [:],
        allowsMixedExtensionHeaders: Bool = false, feedback: Set<NegotiatedFeedback> = [],
        remoteSources: [RemoteSource] = [], simulcastSources: [UInt32] = [], rids: [String] = [],
        localSource: LocalDescription.Source? = nil
    ) {
        self.index = index
        self.mid = mid
        self.kind = kind
        self.format = format
        self.extensions = extensions
        self.allowsMixedExtensionHeaders = allowsMixedExtensionHeaders
        self.feedback = feedback
        self.remoteSources = remoteSources
        self.simulcastSources = simulcastSources
        self.rids = rids
        self.localSource = localSource
    }
}

/// The payload type that was chosen, with its retransmissions.
package struct NegotiatedFormat: Sendable, Hashable {
    package var payloadType: UInt8
    package var codec: Codec
    /// Hz.
    package var clockRate: Int
    /// As in the rtpmap: 2 for Opus whatever it carries; 1 for video.
    package var channels: Int
    /// The payload type of RFC 4588; `nil` without retransmission.
    package var retransmissionPayloadType: UInt8?
    /// The answer's parameters.
    package var parameters: FormatParameters

    package init(
        payloadType: UInt8, codec: Codec, clockRate: Int, channels: Int = 1, retransmissionPayloadType: UInt8? = nil,
        parameters: FormatParameters = FormatParameters()
    ) {
        self.payloadType = payloadType
        self.codec = codec
        self.clockRate = clockRate
        self.channels = channels
        self.retransmissionPayloadType = retransmissionPayloadType
        self.parameters = parameters
    }
}

/// A kind of RTCP feedback, by its value in `a=rtcp-fb`.
package enum NegotiatedFeedback: String, Sendable, Hashable, CaseIterable {
    case nack
    case pictureLoss = "nack pli"
    case fullIntraRequest = "ccm fir"
    case transportFeedback = "transport-cc"
    case remb = "goog-remb"
}

/// One of the peer's sources.
package struct RemoteSource: Sendable, Hashable {
    package var ssrc: UInt32
    /// The source of its retransmissions.
    package var retransmissionSSRC: UInt32?
    package var cname: String?

    package init(ssrc: UInt32, retransmissionSSRC: UInt32? = nil, cname: String? = nil) {
        self.ssrc = ssrc
        self.retransmissionSSRC = retransmissionSSRC
        self.cname = cname
    }
}
