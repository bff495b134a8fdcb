package import NIOCore
import STUN

/// The ICE agent of one session: a lite one, which answers the peer's checks and sends none.
///
/// States: *waiting* until a check is verified, *checking* until one is nominated (or media comes), *connected* until
/// nothing is heard on any path for the time of consent, *failed*. The owner routes the first datagram of an address by
/// `STUNMessage.username(of:)`, feeds every STUN datagram and one call for each batch of other packets that DTLS or SRTP
/// accepted, and wakes the agent at `nextDeadline`. Spec: RFC 8445 §2.5 and §7.3, RFC 7675, RFC 6544.
package struct ICEAgent {
    /// A path on which checks were verified.
    private struct ValidPath {
        let path: ICEPath
        /// The last check carried USE-CANDIDATE.
        var isNominated = false
        var lastNomination: NIODeadline?
        var checks = 1
        var refusedChecks = 0
        var lastRefusal: ICERefusal?
        let firstSeen: NIODeadline
        var lastSeen: NIODeadline
        var lastMedia: NIODeadline?
    }

    /// An address from which only refused checks came.
    private struct RefusedPath {
        let path: ICEPath
        var checks: Int
        var lastRefusal: ICERefusal
        let firstSeen: NIODeadline
        var lastSeen: NIODeadline
    }

    package private(set) var local: ICECredentials
    package private(set) var remote: ICECredentials?
    /// Where everything goes; `nil` before the first selection and after a lost connection.
    package var selectedPath: ICEPath? { self.selected.map { self.paths[$0].path } }
    package private(set) var failure: ICEFailure?

    private let configuration: ICEConfiguration
    /// Our credentials from before a restart; they count until the peer uses the new ones.
    private var previous: ICECredentials?
    private var paths: [ValidPath] = []
    private var selected: Int?
    private var selectedSince: NIODeadline
    private var refusedPaths: [RefusedPath] = []
    private var refusedChecks = 0
    private var lastHeard: NIODeadline
    private let started: NIODeadline
    private var connected: NIODeadline?
    private var remoteCandidates: [ICECandidate] = []
    private var restarts = 0
    private var pathChanges = 0
    /// When the path changed lately: at most `maximumPathChanges` times.
    private var recentChanges: [NIODeadline] = []
    /// Where the peer wanted to go when there was no room for a change.
    private var wanted: ICEPath?

    /// Starts to wait. `remote` is what the peer's offer says; its password is not needed, as we send no checks.
    package init(
        local: ICECredentials, remote: ICECredentials?, configuration: ICEConfiguration = ICEConfiguration(),
        now: NIODeadline
    ) {
        precondition(configuration.maximumPaths > 0, "an agent needs room for a path")
        precondition(configuration.maximumPathChanges > 0, "an agent has to be able to follow its peer")
        self.local = local
        self.remote = remote
        self.configuration = configuration
        self.started = now
        self.lastHeard = now
        self.selectedSince = now
    }

    /// A STUN datagram, or what a TCP connection's frame holds, came on a path.
    package mutating func receive(stun datagram: ByteBuffer, from path: ICEPath, now: NIODeadline) -> [ICEOutput] {
        guard self.failure == nil else { return [] }
        guard let message = try? STUNMessage(parsing: datagram) else {
            self.note(.malformed, on: path, now: now)
            return []
        }
        // Nothing is asked, so responses are stray; indications keep NATs open and want nothing.
        guard message.messageClass == .request, message.method == .binding else { return [] }
        if let refusal = self.refusal(of: message, in: datagram) {
            self.note(refusal, on: path, now: now)
            return self.errorResponse(to: message, refusal: refusal, length: datagram.readableBytes)
                .map { [.transmit($0, path)] } ?? []
        }
        if message.username?.receiver == self.local.ufrag { self.previous = nil }
        self.lastHeard = now
        var outputs: [ICEOutput] = []
        if let response = self.successResponse(to: message, on: path) { outputs.append(.transmit(response, path)) }
        let (index, dropped) = self.recordCheck(on: path, now: now)
        outputs += dropped
        let wasNominated = self.paths[index].isNominated
        self.paths[index].isNominated = message.hasUseCandidate
        if message.hasUseCandidate { self.paths[index].lastNomination = now }
        // The peer is back where it is: it wants to go nowhere.
        if message.hasUseCandidate, !wasNominated, index == self.selected { self.wanted = nil }
        if message.hasUseCandidate, self.shouldFollow(index, isNew: !wasNominated, now: now) {
            outputs += self.move(to: index, now: now)
        } else if let better = self.nominationThatReplaces(index) {
            outputs += self.move(to: better, now: now)
        }
        return outputs
    }

    /// Packets that DTLS or SRTP accepted came on a path; one call for several packets will do.
    ///
    /// They count as consent, select a path that was checked but not nominated if there is no other, and move the session
    /// when the selected path has become silent. Packets on paths without a verified check change nothing.
    package mutating func receivedMedia(on path: ICEPath, now: NIODeadline) -> [ICEOutput] {
        guard self.failure == nil else { return [] }
        if let selected = self.selected, self.paths[selected].path == path {
            self.paths[selected].lastMedia = now
            self.paths[selected].lastSeen = now
            self.lastHeard = now
            return []
        }
        guard let index = self.paths.firstIndex(where: { $0.path == path }) else { return [] }
        self.paths[index].lastMedia = now
        self.paths[index].lastSeen = now
        self.lastHeard = now
        // The next packet asks again.
        guard self.connected == nil || self.hasRoomForChange(now) else { return [] }
        guard let selected = self.selected else { return self.select(index, from: nil, now: now) }
        // Packets that were under way on the old path when the peer moved must not move it back.
        let lastUse = max(self.paths[selected].lastMedia ?? self.selectedSince, self.selectedSince)
        guard now - lastUse >= self.configuration.staleAfter else { return [] }
        return self.select(index, from: self.selectedPath, now: now)
    }

    /// Whether a verified check came on the path, so that DTLS and media from it deserve attention.
    package func isValid(_ path: ICEPath) -> Bool {
        self.paths.contains { $0.path == path }
    }

    /// The paths with verified checks, for the owner's routing table.
    package var validPaths: [ICEPath] { self.paths.map(\.path) }

    /// The TCP connection of a path ended. The session goes on with the path that was heard last, if there is one.
    package mutating func pathClosed(_ path: ICEPath, now: NIODeadline) -> [ICEOutput] {
        guard self.failure == nil, let index = self.paths.firstIndex(where: { $0.path == path }) else { return [] }
        let wasSelected = self.selected == index
        self.removePath(index)
        guard wasSelected else { return [] }
        let next = self.paths.indices.max { left, right in
            (self.paths[left].isNominated ? 1 : 0, self.paths[left].lastSeen)
                < (self.paths[right].isNominated ? 1 : 0, self.paths[right].lastSeen)
        }
        guard let next else { return [.selectedPathLost(path)] }
        guard self.hasRoomForChange(now) else {
            self.wanted = self.paths[next].path
            return [.selectedPathLost(path)]
        }
        return self.select(next, from: path, now: now)
    }

    /// The peer restarts ICE: both sides have new credentials. What is selected stays so until checks with the new
    /// credentials nominate a path. Spec: RFC 8445 §9, RFC 9725 §4.3.
    package mutating func restart(local: ICECredentials, remote: ICECredentials?, now: NIODeadline) {
        guard self.failure == nil else { return }
        self.previous = self.local
        self.local = local
        self.remote = remote
        self.restarts += 1
        self.remoteCandidates = []
        self.wanted = nil
        for index in self.paths.indices { self.paths[index].isNominated = false }
    }

    /// The peer's candidates, for the diagnosis only: a lite agent does not send checks to them.
    package mutating func addRemoteCandidates(_ candidates: [ICECandidate]) {
        for candidate in candidates where !self.remoteCandidates.contains(candidate) {
            guard self.remoteCandidates.count < self.configuration.maximumRemoteCandidates else { return }
            self.remoteCandidates.append(candidate)
        }
    }

    /// When `timeout(now:)` wants to be called; `nil` once failed.
    package var nextDeadline: NIODeadline? {
        guard self.failure == nil else { return nil }
        guard self.wanted != nil else { return self.silenceDeadline }
        return min(self.silenceDeadline, self.nextRoomForChange ?? self.silenceDeadline)
    }

    /// When the silence of the peer has lasted too long.
    private var silenceDeadline: NIODeadline {
        self.connected == nil
            ? self.started + self.configuration.connectTimeout : self.lastHeard + self.configuration.consentTimeout
    }

    /// The deadline came. Waking early is harmless.
    package mutating func timeout(now: NIODeadline) -> [ICEOutput] {
        guard self.failure == nil else { return [] }
        guard now >= self.silenceDeadline else {
            guard let wanted = self.wanted, self.hasRoomForChange(now) else { return [] }
            self.wanted = nil
            guard let index = self.paths.firstIndex(where: { $0.path == wanted }), index != self.selected else {
                return []
            }
            return self.select(index, from: self.selectedPath, now: now)
        }
        let failure: ICEFailure
        if self.connected != nil {
            failure = .consentExpired
        } else if !self.paths.isEmpty {
            failure = .neverNominated
        } else {
            failure = self.refusedChecks > 0 ? .allChecksRefused : .noChecks
        }
        self.failure = failure
        return [.failed(failure)]
    }
}

extension ICEAgent {
    /// Whether a nomination moves the session. Peers that nominate every pair in every check must not make it flap:
    /// only a new nomination counts, or one beside a selected path that is no longer nominated or has become silent.
    private func shouldFollow(_ index: Int, isNew: Bool, now: NIODeadline) -> Bool {
        guard let selected = self.selected else { return true }
        guard selected != index else { return false }
        let current = self.paths[selected]
        guard current.isNominated, now - current.lastSeen < Self.silence else { return true }
        // UDP that works is not given up for TCP only because both are nominated.
        return isNew && (self.paths[index].path.transport == .udp || current.path.transport == .tcp)
    }

    /// The path to go to when a check without nomination came on the selected one: the peer has chosen another.
    private func nominationThatReplaces(_ index: Int) -> Int? {
        guard self.selected == index, !self.paths[index].isNominated else { return nil }
        // A peer that nominates once and keeps alive without nominating means what it nominated last.
        let last = self.paths[index].lastNomination ?? self.started
        return self.paths.indices.first { other in
            self.paths[other].isNominated && (self.paths[other].lastNomination ?? self.started) > last
        }
    }

    /// Longer than the pause between two checks of an active pair.
    private static let silence: TimeAmount = .seconds(6)

    /// When the path may change again; `nil` when it may at any time.
    private var nextRoomForChange: NIODeadline? {
        guard self.recentChanges.count >= self.configuration.maximumPathChanges else { return nil }
        return self.recentChanges.first.map { $0 + self.configuration.pathChangeInterval }
    }

    private func hasRoomForChange(_ now: NIODeadline) -> Bool { self.nextRoomForChange.map { now >= $0 } ?? true }

    /// Selects a path, or remembers it until the path may change again.
    private mutating func move(to index: Int, now: NIODeadline) -> [ICEOutput] {
        guard self.connected == nil || self.hasRoomForChange(now) else {
            self.wanted = self.paths[index].path
            return []
        }
        return self.select(index, from: self.selectedPath, now: now)
    }

    private mutating func select(_ index: Int, from old: ICEPath?, now: NIODeadline) -> [ICEOutput] {
        let new = self.paths[index].path
        self.selected = index
        self.selectedSince = now
        self.wanted = nil
        guard self.connected != nil else {
            self.connected = now
            return [.connected(new)]
        }
        self.pathChanges += 1
        if self.recentChanges.count >= self.configuration.maximumPathChanges { self.recentChanges.removeFirst() }
        self.recentChanges.append(now)
        return [.selectedPathChanged(from: old, to: new)]
    }

    /// Counts a verified check; returns the path's index.
    private mutating func recordCheck(on path: ICEPath, now: NIODeadline) -> (index: Int, outputs: [ICEOutput]) {
        if let index = self.paths.firstIndex(where: { $0.path == path }) {
            self.paths[index].checks += 1
            self.paths[index].lastSeen = now
            return (index, [])
        }
        if self.paths.count >= self.configuration.maximumPaths {
            let silent = self.paths.indices.filter { $0 != self.selected }
                .min { self.paths[$0].lastSeen < self.paths[$1].lastSeen }
            // With room for one path only, the selected one goes.
            self.removePath(silent ?? 0)
        }
        var entry = ValidPath(path: path, firstSeen: now, lastSeen: now)
        if let refused = self.refusedPaths.firstIndex(where: { $0.path == path }) {
            entry.refusedChecks = self.refusedPaths[refused].checks
            entry.lastRefusal = self.refusedPaths[refused].lastRefusal
            self.refusedPaths.remove(at: refused)
        }
        self.paths.append(entry)
        return (self.paths.count - 1, [])
    }

    private mutating func removePath(_ index: Int) {
        let removed = self.paths.remove(at: index)
        if removed.path == self.wanted { self.wanted = nil }
        guard let selected = self.selected else { return }
        if selected == index { self.selected = nil } else if selected > index { self.selected = selected - 1 }
    }

    private mutating func note(_ refusal: ICERefusal, on path: ICEPath, now: NIODeadline) {
        self.refusedChecks += 1
        if let index = self.paths.firstIndex(where: { $0.path == path }) {
            self.paths[index].refusedChecks += 1
            self.paths[index].lastRefusal = refusal
        } else if let index = self.refusedPaths.firstIndex(where: { $0.path == path }) {
            self.refusedPaths[index].checks += 1
            self.refusedPaths[index].lastRefusal = refusal
            self.refusedPaths[index].lastSeen = now
        } else if self.refusedPaths.count < self.configuration.maximumRefusedPaths {
            self.refusedPaths.append(
                RefusedPath(path: path, checks: 1, lastRefusal: refusal, firstSeen: now, lastSeen: now))
        }
    }
}

extension ICEAgent {
    /// What stands against a request, in the order of RFC 8489 §9.1.3 and RFC 8445 §7.3.1.1.
    private func refusal(of message: STUNMessage, in datagram: ByteBuffer) -> ICERefusal? {
        guard message.integrityOffset != nil else { return .missingIntegrity }
        guard let username = message.username else { return .missingUsername }
        let password: String
        if username.receiver == self.local.ufrag {
            password = self.local.password
        } else if let previous = self.previous, username.receiver == previous.ufrag {
            password = previous.password
        } else {
            return .unknownUsername
        }
        guard message.hasValidIntegrity(in: datagram, password: password) else { return .wrongPassword }
        // A lite agent is always the controlled one, so the peer must be controlling. Spec: RFC 8445 §6.1.1.
        guard message.iceControlled == nil else { return .roleConflict }
        guard message.unknownRequiredAttributes(known: Self.knownAttributes).isEmpty else { return .unknownAttribute }
        return nil
    }

    private static let knownAttributes: Set<STUNAttributeType> = [
        .username, .messageIntegrity, .messageIntegritySHA256, .mappedAddress, .xorMappedAddress, .errorCode,
        .unknownAttributes, .realm, .nonce, .passwordAlgorithm, .userhash, .priority, .useCandidate,
    ]

    private func password(for message: STUNMessage) -> String {
        message.username?.receiver == self.previous?.ufrag
            ? self.previous?.password ?? self.local.password : self.local.password
    }

    private func successResponse(to message: STUNMessage, on path: ICEPath) -> ByteBuffer? {
        guard
            let address = STUNAttribute.xorMappedAddress(path.remote, transactionID: message.transactionID)
        else { return nil }
        return STUNMessage(.success, transactionID: message.transactionID, attributes: [address])
            .write(password: self.password(for: message))
    }

    /// An error response; `nil` if none is due or if it would be longer than the request, which anybody may have sent in
    /// the name of somebody else.
    private func errorResponse(to message: STUNMessage, refusal: ICERefusal, length: Int) -> ByteBuffer? {
        var attributes: [STUNAttribute]
        var password: String?
        switch refusal {
        case .malformed: return nil
        case .missingIntegrity, .missingUsername: attributes = [.errorCode(.badRequest)]
        case .unknownUsername, .wrongPassword: attributes = [.errorCode(.unauthenticated)]
        case .roleConflict:
            attributes = [.errorCode(.roleConflict)]
            password = self.password(for: message)
        case .unknownAttribute:
            let unknown = message.unknownRequiredAttributes(known: Self.knownAttributes)
            attributes = [.errorCode(.unknownAttribute), .unknownAttributes(unknown)]
            password = self.password(for: message)
        }
        let response = STUNMessage(.failure, transactionID: message.transactionID, attributes: attributes)
            .write(password: password)
        return response.readableBytes <= length ? response : nil
    }
}

extension ICEAgent {
    /// What was tried so far, and where it stands.
    package func diagnosis(now: NIODeadline) -> ICEDiagnosis {
        let state: ICEDiagnosis.State
        if self.failure != nil {
            state = .failed
        } else if self.connected != nil {
            state = .connected
        } else {
            state = self.paths.isEmpty ? .waiting : .checking
        }
        return ICEDiagnosis(
            state: state, failure: self.failure, ageMillis: Self.millis(from: self.started, to: now),
            connectMillis: self.connected.map { Self.millis(from: self.started, to: $0) }, restarts: self.restarts,
            pathChanges: self.pathChanges, pairs: self.validPairs(now: now) + self.refusedPairs(now: now),
            refusedChecks: self.refusedChecks, remoteCandidates: self.remoteCandidates.map(\.value))
    }

    private func validPairs(now: NIODeadline) -> [ICEDiagnosis.Pair] {
        self.paths.enumerated().map { index, entry in
            self.pair(
                entry.path, state: index == self.selected ? .selected : entry.isNominated ? .nominated : .checked,
                checks: entry.checks, refused: (entry.refusedChecks, entry.lastRefusal),
                hasMedia: entry.lastMedia != nil, seen: (entry.firstSeen, entry.lastSeen), now: now)
        }
    }

    private func refusedPairs(now: NIODeadline) -> [ICEDiagnosis.Pair] {
        self.refusedPaths.map { entry in
            self.pair(
                entry.path, state: .refused, checks: 0, refused: (entry.checks, entry.lastRefusal), hasMedia: false,
                seen: (entry.firstSeen, entry.lastSeen), now: now)
        }
    }

    private func pair(
        _ path: ICEPath, state: ICEDiagnosis.PairState, checks: Int, refused: (checks: Int, last: ICERefusal?),
        hasMedia: Bool, seen: (first: NIODeadline, last: NIODeadline), now: NIODeadline
    ) -> ICEDiagnosis.Pair {
        let known = self.remoteCandidates.first {
            $0.transport == path.transport && $0.address == path.remote.ipAddress
                && ($0.port == path.remote.port || $0.tcpKind == .active)
        }
        return ICEDiagnosis.Pair(
            transport: path.transport, local: Self.text(path.local), remote: Self.text(path.remote),
            remoteKind: known?.kind ?? .peerReflexive, state: state, checks: checks, refusedChecks: refused.checks,
            lastRefusal: refused.last, hasMedia: hasMedia, firstSeenMillis: Self.millis(from: seen.first, to: now),
            lastSeenMillis: Self.millis(from: seen.last, to: now))
    }

    private static func millis(from start: NIODeadline, to end: NIODeadline) -> Int64 {
        (end - start).nanoseconds / 1_000_000
    }

    private static func text(_ address: SocketAddress) -> String {
        guard let host = address.ipAddress, let port = address.port else { return "\(address)" }
        return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
