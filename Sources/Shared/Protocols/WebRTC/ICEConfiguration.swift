package import NIOCore

/// The limits of one ICE agent.
package struct ICEConfiguration: Sendable, Hashable {
    /// How long the first usable check may take.
    package var connectTimeout: TimeAmount = .seconds(30)
    /// How long a connected peer may be silent on all paths. Spec: RFC 7675 §5.1.
    package var consentTimeout: TimeAmount = .seconds(30)
    /// A path on which nothing was heard for so long gives way to another one that carries media.
    package var staleAfter: TimeAmount = .milliseconds(500)
    /// Paths of verified checks that are kept; the one that was silent longest makes room.
    package var maximumPaths = 8
    /// Changes of the selected path within `pathChangeInterval`. Beyond, the path stays until there is room again: nobody
    /// asks an address whether it wants what is sent to it.
    package var maximumPathChanges = 10
    package var pathChangeInterval: TimeAmount = .seconds(10)
    /// Addresses of refused checks that are kept for the diagnosis; further ones are only counted.
    package var maximumRefusedPaths = 8
    /// The peer's candidates that are kept for the diagnosis.
    package var maximumRemoteCandidates = 32

    package init() {}
}

/// What an ICE agent asks of its owner.
package enum ICEOutput: Sendable, Equatable {
    /// Send the datagram on the path.
    case transmit(ByteBuffer, ICEPath)
    /// The first path was selected: everything may flow. Comes once.
    case connected(ICEPath)
    /// Everything must go to another path from now on: the peer moved, or its old connection ended.
    case selectedPathChanged(from: ICEPath?, to: ICEPath)
    /// The selected connection ended and no other path is known; nothing can be sent until one is selected.
    case selectedPathLost(ICEPath)
    /// The session is over. Comes once, and nothing comes after it.
    case failed(ICEFailure)
}

/// Why an ICE agent gave up.
package enum ICEFailure: String, Sendable, Equatable, Encodable {
    /// No check came at all: a wrong candidate, a closed port, or the peer went away.
    case noChecks = "no-checks"
    /// Checks came, but each was refused.
    case allChecksRefused = "all-checks-refused"
    /// Checks were answered, but none was nominated: the answers do not reach the peer.
    case neverNominated = "never-nominated"
    /// A connected peer fell silent.
    case consentExpired = "consent-expired"
}

/// Why a check was refused.
package enum ICERefusal: String, Sendable, Hashable, Encodable {
    /// No STUN message, or one that is broken.
    case malformed
    case missingUsername = "missing-username"
    case missingIntegrity = "missing-integrity"
    /// The USERNAME names another session, or credentials from before a restart.
    case unknownUsername = "unknown-username"
    case wrongPassword = "wrong-password"
    /// The peer insists on being the controlled agent, which we are.
    case roleConflict = "role-conflict"
    case unknownAttribute = "unknown-attribute"
}
