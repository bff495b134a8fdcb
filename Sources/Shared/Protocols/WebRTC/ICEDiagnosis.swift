/// What became of a session's connectivity: which pairs were tried, and where it stopped.
package struct ICEDiagnosis: Sendable, Hashable, Encodable {
    package enum State: String, Sendable, Hashable, Encodable {
        /// No check has come.
        case waiting
        /// Checks come, none is nominated yet.
        case checking
        case connected
        case failed
    }

    package enum PairState: String, Sendable, Hashable, Encodable {
        /// Every check was refused.
        case refused
        /// Checks were answered.
        case checked
        /// The peer chose the pair with its last check.
        case nominated
        /// The pair is in use.
        case selected
    }

    /// One of our addresses with one of the peer's.
    package struct Pair: Sendable, Hashable, Encodable {
        package var transport: ICETransport
        /// `address:port`, IPv6 in brackets.
        package var local: String
        package var remote: String
        /// What the peer's description says of its address; `prflx` if it does not know it, as behind NAT.
        package var remoteKind: ICECandidate.Kind
        package var state: PairState
        /// Checks that were answered.
        package var checks: Int
        /// Checks that were refused.
        package var refusedChecks: Int
        package var lastRefusal: ICERefusal?
        package var hasMedia: Bool
        /// Milliseconds ago.
        package var firstSeenMillis: Int64
        /// Milliseconds ago.
        package var lastSeenMillis: Int64

        package init(
            transport: ICETransport, local: String, remote: String, remoteKind: ICECandidate.Kind, state: PairState,
            checks: Int, refusedChecks: Int, lastRefusal: ICERefusal?, hasMedia: Bool, firstSeenMillis: Int64,
            lastSeenMillis: Int64
        ) {
            self.transport = transport
            self.local = local
            self.remote = remote
            self.remoteKind = remoteKind
            self.state = state
            self.checks = checks
            self.refusedChecks = refusedChecks
            self.lastRefusal = lastRefusal
            self.hasMedia = hasMedia
            self.firstSeenMillis = firstSeenMillis
            self.lastSeenMillis = lastSeenMillis
        }
    }

    package var state: State
    package var failure: ICEFailure?
    /// Milliseconds since the agent began.
    package var ageMillis: Int64
    /// Milliseconds from the beginning to the first selection; `nil` before it.
    package var connectMillis: Int64?
    package var restarts: Int
    /// Times the selected path changed after the first selection.
    package var pathChanges: Int
    /// In the order in which they were seen, verified ones first.
    package var pairs: [Pair]
    /// Refused checks, those of addresses that are no longer listed included.
    package var refusedChecks: Int
    /// The peer's candidate lines.
    package var remoteCandidates: [String]
}
