package import SDP

/// The node's side of a session: everything that an answer says of us. The owner draws the random values.
package struct LocalDescription: Sendable, Hashable {
    /// What we send in one section.
    package struct Source: Sendable, Hashable {
        package var ssrc: UInt32
        /// The source of retransmissions; used if they are negotiated.
        package var retransmissionSSRC: UInt32?

        package init(ssrc: UInt32, retransmissionSSRC: UInt32? = nil) {
            self.ssrc = ssrc
            self.retransmissionSSRC = retransmissionSSRC
        }
    }

    /// Number of the session; less than 2^63. Spec: RFC 9429 §5.2.1.
    package var sessionID: UInt64
    package var ice: ICECredentials
    /// Of our certificate; at least one.
    package var fingerprints: [CertificateFingerprint]
    /// What we are if the peer leaves the choice: `passive` (DTLS server) or `active`.
    package var preferredSetup: DTLSSetup
    /// The best first; see `ICECandidate.candidates(for:)`.
    package var candidates: [ICECandidate]
    /// The name of all our sources. Spec: RFC 7022.
    package var cname: String
    /// What a browser calls the stream: a token without spaces.
    package var streamID: String
    /// What we send; `nil` on the publishing side.
    package var video: Source?
    package var audio: Source?
    /// PATCH requests with candidates are welcome.
    package var supportsTrickle: Bool

    package init(
        sessionID: UInt64, ice: ICECredentials, fingerprints: [CertificateFingerprint],
        preferredSetup: DTLSSetup = .passive, candidates: [ICECandidate], cname: String = "weir",
        streamID: String = "weir", video: Source? = nil, audio: Source? = nil, supportsTrickle: Bool = true
    ) {
        precondition(preferredSetup == .passive || preferredSetup == .active, "a setup of one's own is a role")
        self.sessionID = sessionID & 0x7FFF_FFFF_FFFF_FFFF
        self.ice = ice
        self.fingerprints = fingerprints
        self.preferredSetup = preferredSetup
        self.candidates = candidates
        self.cname = cname
        self.streamID = streamID
        self.video = video
        self.audio = audio
        self.supportsTrickle = supportsTrickle
    }
}
