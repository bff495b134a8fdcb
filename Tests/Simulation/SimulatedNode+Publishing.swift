import Media
import NIOCore
import Placement

extension SimulatedNode {
    /// How long a stream waits for its publisher's return, and how long a silent one is kept.
    private static let grace = TimeAmount.seconds(10)
    private static let idleTimeout = TimeAmount.seconds(20)
    private static let silentAfter = TimeAmount.seconds(1)
    private static let trustAfterAnswer = TimeAmount.seconds(6)

    /// An encoder wants to publish here.
    func publish(_ encoder: Encoder, _ answer: @escaping (Bool) -> Void) {
        let key = encoder.key
        guard !self.claiming.contains(key) else { return answer(false) }
        if let slot = self.slots[key], slot.encoder != nil {
            let isSilent = self.world.now - slot.lastMedia > Self.silentAfter
            guard encoder.policy != .reject, isSilent || encoder.policy == .takeover else { return answer(false) }
        }
        self.claiming.insert(key)
        let life = self.life
        self.claim(encoder, giveUp: self.world.now + .seconds(2), joins: 0) { result in
            guard self.isUp, self.life == life else { return }
            self.claiming.remove(key)
            guard let (epoch, seed) = result else { return answer(false) }
            self.activate(encoder, epoch: epoch, seed: seed)
            answer(true)
        }
    }

    /// What a granted claim says of the segments; `nil` for a publisher that returns under its epoch.
    private struct Seed {
        var reported: MediaPosition?
        var wasLastHolder: Bool
    }

    private func activate(_ encoder: Encoder, epoch: UInt64, seed: Seed?) {
        let key = encoder.key
        self.turn += 1
        let replaced = self.slots[key]?.encoder
        self.slots[key] = Slot(
            epoch: epoch, encoder: encoder, state: .live, lastMedia: self.world.now, turn: self.turn)
        if let seed {
            self.journal[key] = MediaPosition.resumption(
                own: self.journal[key], reported: seed.reported, wasLastHolder: seed.wasLastHolder,
                nowMillis: self.wallMillis)
        }
        self.world.note("\(self.id) holds \(key) at \(epoch), next \(self.journal[key]?.nextSequence ?? 0)")
        if let replaced, replaced !== encoder { replaced.kicked(by: self) }
        self.report(key, epoch: epoch, .live)
        self.watchSilence(key, self.turn)
    }

    private func watchSilence(_ key: StreamKey, _ turn: Int) {
        self.world.scheduler.after(.seconds(1)) {
            guard let slot = self.slots[key], slot.turn == turn, let encoder = slot.encoder else { return }
            if self.runs, self.world.now - slot.lastMedia > Self.idleTimeout {
                encoder.kicked(by: self)
                return self.left(key, encoder)
            }
            self.watchSilence(key, turn)
        }
    }

    private func claim(
        _ encoder: Encoder, giveUp: NIODeadline, joins: Int, _ done: @escaping ((UInt64, Seed?)?) -> Void
    ) {
        let key = encoder.key
        if let own = self.slots[key]?.epoch { return done((own, nil)) }
        guard self.isConnected else { return done(self.claimProvisionally(encoder)) }
        let request = ClaimRequest(
            key: key, node: self.id, instance: self.instance, policy: encoder.policy, tokenDigest: encoder.token)
        self.call({ $0.claim(request, $1) }) { answer in
            switch answer {
            case .granted(let placement):
                self.held[key] = Held(epoch: placement.epoch, since: self.world.now, isReported: false)
                done(
                    (
                        placement.epoch,
                        Seed(reported: placement.position, wasLastHolder: placement.previousNode == self.id)
                    ))
            case .conflict(let conflict):
                guard let millis = conflict.retryAfterMillis, self.world.now < giveUp else { return done(nil) }
                self.world.scheduler.after(min(.milliseconds(millis), giveUp - self.world.now)) {
                    self.claim(encoder, giveUp: giveUp, joins: joins, done)
                }
            case .refused(.unknownNode) where joins < 3:
                self.isRegistered = false
                self.beat()
                self.world.scheduler.after(.milliseconds(50 * Int64(joins + 1))) {
                    self.claim(encoder, giveUp: giveUp, joins: joins + 1, done)
                }
            case .refused(.draining), .refused(.tooManyStreams), .refused(.notAnOrigin): done(nil)
            default: done(self.claimProvisionally(encoder))
            }
        }
    }

    private func claimProvisionally(_ encoder: Encoder) -> (UInt64, Seed?)? {
        let key = encoder.key
        let known = self.cache[key]?.change
        let isRecent = self.lastAnswer.map { self.world.now - $0 < Self.trustAfterAnswer } ?? false
        if encoder.policy == .reject || isRecent, let known, let route = known.route, route.node != self.id,
            known.state == .live || known.state == .claiming
        {
            return nil
        }
        let last = max(known?.epoch ?? 0, self.held[key]?.epoch ?? 0)
        let epoch = PlacementEpoch.provisional(
            after: last, wallSeconds: UInt64(self.wallMillis / 1_000), node: self.id)
        self.held[key] = Held(epoch: epoch, since: self.world.now, isReported: false)
        self.beat()
        return (epoch, Seed(reported: nil, wasLastHolder: false))
    }

    /// Media of the encoder arrived; `hasSegment`: enough for a segment.
    func media(from encoder: Encoder, hasSegment: Bool) {
        guard self.runs, self.slots[encoder.key]?.encoder === encoder else { return }
        self.slots[encoder.key]?.lastMedia = self.world.now
        guard hasSegment, var position = self.journal[encoder.key] else { return }
        position.nextSequence += 1
        position.endMillis = max(position.endMillis, self.wallMillis)
        self.journal[encoder.key] = position
    }

    /// The encoder closed its connection, or was closed.
    func left(_ key: StreamKey, _ encoder: Encoder) {
        guard self.isUp, self.slots[key]?.encoder === encoder else { return }
        self.turn += 1
        let turn = self.turn
        self.slots[key]?.encoder = nil
        self.slots[key]?.state = .grace
        self.slots[key]?.turn = turn
        if let epoch = self.slots[key]?.epoch { self.report(key, epoch: epoch, .grace) }
        self.world.scheduler.after(Self.grace) { self.graceOver(key, turn) }
    }

    private func graceOver(_ key: StreamKey, _ turn: Int) {
        guard self.isUp, let slot = self.slots[key], slot.turn == turn else { return }
        // A return that is being admitted keeps the stream.
        guard self.runs, !self.claiming.contains(key) else {
            return self.world.scheduler.after(.milliseconds(100)) { self.graceOver(key, turn) }
        }
        self.slots[key] = nil
        if let held = self.held[key], held.epoch <= slot.epoch { self.held[key] = nil }
        let release = StreamRelease(key: key, epoch: slot.epoch, reason: .graceOver, position: self.journal[key])
        guard self.isConnected else { return self.pendingReleases.append(release) }
        let request = ReleaseRequest(node: self.id, instance: self.instance, release: release)
        self.call({ $0.release(request, $1) }) { answer in
            switch answer {
            case .done, .refused(.fenced): break
            default: self.pendingReleases.append(release)
            }
        }
    }

    private func report(_ key: StreamKey, epoch: UInt64, _ state: PlacementState) {
        guard self.isConnected else { return }
        let request = RenewRequest(
            node: self.id, instance: self.instance,
            report: StreamReport(key: key, epoch: epoch, state: state, position: self.journal[key]))
        self.call({ $0.renew(request, $1) }) { answer in
            guard case .refused(.fenced(let conflict)) = answer, conflict.epoch > epoch else { return }
            if let held = self.held[key], held.epoch < conflict.epoch { self.held[key] = nil }
            self.superseded(key, by: conflict.epoch)
        }
    }

    /// Somebody holds the key under a newer epoch.
    func superseded(_ key: StreamKey, by epoch: UInt64) {
        if let held = self.held[key], held.epoch < epoch { self.held[key] = nil }
        guard let slot = self.slots[key], slot.epoch < epoch else { return }
        self.slots[key] = nil
        self.world.note("\(self.id) gives \(key) at \(slot.epoch) up for \(epoch)")
        slot.encoder?.kicked(by: self)
    }
}
