package import SDP

/// Answers offers. Spec: RFC 9429 §5.3, RFC 9143 (BUNDLE), RFC 9725 §4.2.
///
/// One transport for all: each section that carries media is in the BUNDLE group and has rtcp-mux. Of each kind one
/// section is used; the others, those of data channels included, are refused with port 0.
package enum Negotiator {
    /// Answers a publisher: each section that we take is `recvonly`.
    package static func answer(
        publishOffer offer: SessionDescription, capabilities: PublishCapabilities, local: LocalDescription
    ) throws(NegotiationError) -> (answer: SessionDescription, media: NegotiatedMedia) {
        try OfferReader(offer: offer, role: .publish(capabilities)).answer(local: local)
    }

    /// Answers a player: each section that we send in is `sendonly`. The streams' tracks decide over codecs.
    package static func answer(
        playOffer offer: SessionDescription, tracks: PlayTracks, local: LocalDescription
    ) throws(NegotiationError) -> (answer: SessionDescription, media: NegotiatedMedia) {
        try OfferReader(offer: offer, role: .play(tracks)).answer(local: local)
    }

    /// Parses and answers a publisher's offer.
    package static func answer(
        publishOffer text: String, capabilities: PublishCapabilities, local: LocalDescription
    ) throws(NegotiationError) -> (answer: SessionDescription, media: NegotiatedMedia) {
        try self.answer(publishOffer: self.parse(text), capabilities: capabilities, local: local)
    }

    /// Parses and answers a player's offer.
    package static func answer(
        playOffer text: String, tracks: PlayTracks, local: LocalDescription
    ) throws(NegotiationError) -> (answer: SessionDescription, media: NegotiatedMedia) {
        try self.answer(playOffer: self.parse(text), tracks: tracks, local: local)
    }

    private static func parse(_ text: String) throws(NegotiationError) -> SessionDescription {
        do throws(SDPError) {
            return try SessionDescription(parsing: text)
        } catch {
            throw .malformed(error)
        }
    }
}
