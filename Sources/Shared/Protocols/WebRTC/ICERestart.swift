package import SDP

/// What the PATCH of a WHIP or WHEP client asks for. Spec: RFC 9725 §4.3.
package enum TrickleRequest: Sendable, Equatable {
    /// The peer's further candidates, which may be none.
    case candidates([ICECandidate], isEnd: Bool)
    /// New credentials of the peer: answer with `TrickleFragment.answer` and new ones of our own.
    case restart(ICECredentials, candidates: [ICECandidate])
}

/// Why a trickle fragment is refused.
package enum TrickleError: Error, Equatable, Sendable {
    case malformed(SDPError)
    /// One of ufrag and password without the other where both are needed, or they are no tokens.
    case invalidCredentials
}

extension TrickleRequest {
    /// More candidates in one request are ignored.
    package static let maximumCandidates = 64

    /// Reads the body of a PATCH. `current` is what the peer's offer or last restart said. A fragment without
    /// credentials is taken as one of candidates.
    package init(parsing body: String, current: ICECredentials) throws(TrickleError) {
        let fragment: TrickleFragment
        do throws(SDPError) {
            fragment = try TrickleFragment(parsing: body)
        } catch {
            throw .malformed(error)
        }
        let candidates = fragment.candidates.lazy.compactMap { ICECandidate(parsing: $0) }
        let bounded = Array(candidates.prefix(Self.maximumCandidates))
        let ufrag = fragment.ufrag ?? current.ufrag
        let password = fragment.password ?? (ufrag == current.ufrag ? current.password : "")
        let credentials = ICECredentials(ufrag: ufrag, password: password)
        guard credentials != current else {
            self = .candidates(bounded, isEnd: fragment.isEndOfCandidates)
            return
        }
        guard credentials.isValid, fragment.ufrag != nil else { throw .invalidCredentials }
        self = .restart(credentials, candidates: bounded)
    }
}

extension TrickleFragment {
    /// The body that answers an ICE restart with our new credentials and all our candidates. `answer` is the session's
    /// answer, whose sections it names. Spec: RFC 9725 §4.3, RFC 8840 §9.
    package init(
        answeringRestartWith ice: ICECredentials, candidates: [ICECandidate], of answer: SessionDescription
    ) {
        self.init()
        self.attributes = answer.attributes.filter { ["ice-lite", "ice-options", "group"].contains($0.name) }
        self.attributes.append(SDPAttribute("ice-ufrag", ice.ufrag))
        self.attributes.append(SDPAttribute("ice-pwd", ice.password))
        // All sections share the transport of the first one that is not refused.
        guard let first = answer.media.first(where: { $0.port != 0 }) else { return }
        var section = MediaDescription(kind: first.kind, transport: first.transport, formats: first.formats)
        if let mid = first.mid { section.attributes.append(SDPAttribute("mid", mid)) }
        section.attributes.append(SDPAttribute("ice-ufrag", ice.ufrag))
        section.attributes.append(SDPAttribute("ice-pwd", ice.password))
        section.attributes += candidates.map { SDPAttribute("candidate", $0.value) }
        section.attributes.append(SDPAttribute("end-of-candidates"))
        self.media = [section]
    }
}
