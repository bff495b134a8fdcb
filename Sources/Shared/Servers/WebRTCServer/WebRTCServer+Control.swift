import NIOCore
import SDP
import StreamHub
import WebRTC

extension WebRTCServer {
    /// Takes a trickle fragment: candidates of the client, or an ICE restart.
    ///
    /// `ifMatch`: the entity tag that the client goes by, without quotes; `*` fits every one; `nil` where there was none.
    /// Spec: RFC 9725 §4.3.
    package func patch(
        id: String, fragment: String, ifMatch: String?
    ) async -> Result<WebRTCPatchAnswer, WebRTCRefusal> {
        let local = SessionNegotiation.credentials()
        let etag = Randomness.text(count: 16)
        let result = await self.withSession(id: id) { session, _ in
            session.patch(fragment, ifMatch: ifMatch, local: local, etag: etag, now: .now())
        }
        return result ?? .failure(.unknownSession)
    }

    /// Ends a session, as its client asked. Returns false if there is none.
    @discardableResult
    package func delete(id: String) async -> Bool {
        await self.withSession(id: id) { session, _ in session.end(.left, "the client said so") } != nil
    }

    /// What became of a session: of one that lives, or of one of the last few that ended.
    package func diagnose(id: String) async -> WebRTCDiagnosis? {
        let alive = await self.withSession(id: id) { session, _ in session.diagnosis(now: .now()) }
        return alive ?? self.archive.diagnosis(id: id)
    }

    /// The entity tag of a session's ICE generation, without quotes.
    package func etag(id: String) async -> String? { await self.withSession(id: id) { session, _ in session.etag } }
}

extension WebRTCSession {
    /// `local` and `etag` are for a restart.
    func patch(
        _ fragment: String, ifMatch: String?, local: ICECredentials, etag: String, now: NIODeadline
    ) -> Result<WebRTCPatchAnswer, WebRTCRefusal> {
        let request: TrickleRequest
        do throws(TrickleError) {
            request = try TrickleRequest(parsing: fragment, current: self.remoteICE)
        } catch {
            return .failure(.badOffer("the fragment cannot be understood: \(error)"))
        }
        switch request {
        case .candidates(let candidates, _):
            if let ifMatch, ifMatch != "*", ifMatch != self.etag {
                return .failure(.preconditionFailed(etag: self.etag))
            }
            self.addRemoteCandidates(candidates)
            return .success(.noted)
        case .restart(let remote, let candidates):
            // A restart replaces whatever generation there is.
            if let ifMatch, ifMatch != "*", ifMatch != self.etag {
                return .failure(.preconditionFailed(etag: self.etag))
            }
            guard let answer = self.answer else { return .failure(.unknownSession) }
            self.restart(local: local, remote: remote, etag: etag, now: now)
            self.addRemoteCandidates(candidates)
            let fragment = TrickleFragment(
                answeringRestartWith: local, candidates: self.candidates, of: answer)
            return .success(.restarted(fragment: fragment.text, etag: etag))
        }
    }
}
