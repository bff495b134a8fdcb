import GB28181
import Logging
import MANSCDP
import Media
import NIOCore
import StreamHub

/// Sessions of media, and the streams that they become.
extension Signalling {
    // MARK: Names

    func removeNames(of device: String) {
        for name in self.namesOfDevice.removeValue(forKey: device) ?? [] where self.sources[name]?.device == device {
            self.sources[name] = nil
        }
    }

    func catalogChanged(_ device: String) {
        self.removeNames(of: device)
        var names: [String] = []
        for channel in self.platform.devices[device]?.playableChannels ?? [] {
            let source = DeviceChannel(device: device, channel: channel.id)
            let name = self.configuration.name(of: source)
            // Two channels of one name: the first has it.
            guard self.sources[name] == nil else { continue }
            self.sources[name] = source
            names.append(name)
        }
        self.namesOfDevice[device] = names
        self.logger.info("a device's catalog", metadata: ["device": "\(device)", "channels": "\(names.count)"])
        self.inviteAll(of: device)
    }

    /// Invites every channel, where that is wanted.
    func inviteAll(of device: String) {
        guard self.configuration.invites == .always, !self.isStopped else { return }
        let channels = self.platform.devices[device]?.playableChannels ?? []
        let wanted = Set(channels.filter { $0.isOnline != false }.map(\.id))
        for channel in wanted.sorted() { _ = self.play(DeviceChannel(device: device, channel: channel), pins: false) }
        for session in self.platform.sessions(of: device) where session.what.isLive && !self.pinned.contains(session.id)
        {
            if !wanted.contains(session.source.channel) {
                self.platform.stop(session: session.id, .stopped, self.clock)
            }
        }
    }

    private func key(_ name: String) -> StreamKey? {
        try? StreamKey(
            vhost: self.configuration.vhost ?? StreamKey.defaultVhost, app: self.configuration.app, name: name)
    }

    // MARK: Wishes

    /// Invites a channel live. `pins`: until it is stopped, whoever plays.
    func play(
        _ source: DeviceChannel, pins: Bool, transport: DeviceTransport? = nil
    ) -> Result<UInt64, DeviceRefusal> {
        self.loop.assertInEventLoop()
        guard !self.isStopped else { return .failure(.deviceOffline) }
        let result = self.platform.play(
            source, .live, transport: transport ?? self.configuration.transport, self.clock)
        if case .success(let id) = result, pins {
            self.pinned.insert(id)
            self.sessions[id]?.isPinned = true
        }
        self.drain()
        return result
    }

    /// Begins the session of a recording.
    func playback(_ source: DeviceChannel, _ what: DeviceSource) -> Result<UInt64, DeviceRefusal> {
        guard !self.isStopped else { return .failure(.deviceOffline) }
        let result = self.platform.play(source, what, transport: self.configuration.transport, self.clock)
        self.drain()
        return result
    }

    func stop(session: UInt64) -> Bool {
        let isKnown = self.platform.stop(session: session, .stopped, self.clock)
        self.drain()
        return isKnown
    }

    /// Somebody wants to play a stream. `false`: it is no channel's.
    func demand(_ key: StreamKey) -> Bool {
        guard key.app == self.configuration.app, let source = self.sources[key.name],
            key.vhost == self.configuration.vhost ?? StreamKey.defaultVhost
        else { return false }
        guard case .success(let id) = self.play(source, pins: false) else { return false }
        self.sessions[id]?.idleSince = nil
        self.sessions[id]?.awaitedUntil = .now() + self.configuration.demandWait
        return true
    }

    /// Ends sessions that were invited on demand, and that nobody plays.
    func checkIdle() {
        let now = NIODeadline.now()
        self.ticks += 1
        if self.ticks % Self.reinviteTicks == 0 {
            // Those whose session ended for another reason than the device get another try.
            for device in self.platform.devices.values.filter(\.isOnline) { self.inviteAll(of: device.id) }
        }
        for (id, session) in self.sessions where session.plan.what.isLive {
            guard !session.isPinned else { continue }
            if self.configuration.invites == .always {
                // All channels are invited anew when their device is back.
                if self.platform.sessions[id]?.phase == .waiting(until: nil) {
                    self.platform.stop(session: id, .stopped, self.clock)
                }
                continue
            }
            let totals = self.configuration.sessions.totals(of: session.key)
            let hasReaders = self.fileReaders.lastRead(of: session.key).map { now - $0 < .seconds(2) } ?? false
            guard totals.playerCount + totals.relays == 0, !hasReaders else {
                self.sessions[id]?.idleSince = nil
                self.sessions[id]?.awaitedUntil = now
                continue
            }
            guard now >= session.awaitedUntil else { continue }
            guard let since = session.idleSince else {
                self.sessions[id]?.idleSince = now
                continue
            }
            guard now - since >= self.configuration.idleTimeout else { continue }
            self.logger.info("nobody plays a channel any more", metadata: ["stream": "\(session.key)"])
            self.fileReaders.forget(session.key)
            self.platform.stop(session: id, .stopped, self.clock)
        }
        self.drain()
    }

    // MARK: Media

    func openMedia(_ plan: MediaPlan) {
        let base = self.configuration.name(of: plan.source)
        let name =
            switch plan.what {
            case .live: base
            case .playback(let start, _): "\(base)-playback-\(start)-\(plan.session)"
            case .download(let start, _, _): "\(base)-download-\(start)-\(plan.session)"
            }
        guard let key = self.key(name) else {
            self.logger.error("a channel makes no name of a stream", metadata: ["name": "\(name.prefix(256))"])
            self.platform.stop(session: plan.session, .rejected("the channel makes no name of a stream"), self.clock)
            return
        }
        let slot = MediaSlot(
            session: plan.session, app: key.app, name: key.name,
            label: "\(plan.source.device)@\(plan.source.channel)",
            deviceHost: self.platform.devices[plan.source.device]?.path.host)
        var session = Session(slot: slot, plan: plan, key: key)
        session.isPinned = self.pinned.contains(plan.session)
        session.idleSince = self.sessions[plan.session]?.idleSince
        session.awaitedUntil = self.sessions[plan.session]?.awaitedUntil ?? .uptimeNanoseconds(0)
        self.sessions[plan.session] = session
        guard self.directory.add(slot, ssrc: plan.ssrc), let ports = self.ports else {
            return self.platform.mediaFailed(session: plan.session, self.clock)
        }
        guard self.configuration.sessionPorts != nil, plan.transport != .tcpActive else {
            return self.platform.mediaReady(
                session: plan.session, host: self.configuration.mediaHost, port: ports.sharedPort, self.clock)
        }
        ports.open(for: slot, transport: plan.transport).hop(to: self.loop).whenComplete { result in
            switch result {
            case .success(let (channel, port)):
                guard self.sessions[plan.session]?.slot === slot, !self.isStopped else {
                    return channel.close(promise: nil)
                }
                self.sessions[plan.session]?.port = channel
                self.platform.mediaReady(
                    session: plan.session, host: self.configuration.mediaHost, port: port, self.clock)
            case .failure(let error):
                self.logger.warning("no port for a session", metadata: ["error": "\(error)"])
                self.platform.mediaFailed(session: plan.session, self.clock)
            }
            self.drain()
        }
    }

    func connectMedia(_ id: UInt64, _ host: String, _ port: Int) {
        guard let session = self.sessions[id], let ports = self.ports else { return }
        ports.connect(for: session.slot, host: host, port: port).hop(to: self.loop).whenFailure { error in
            guard self.sessions[id]?.slot === session.slot else { return }
            self.logger.warning(
                "a device cannot be connected to",
                metadata: ["source": "\(session.slot.label)", "address": "\(host):\(port)", "error": "\(error)"])
            self.platform.mediaEnded(session: id, self.clock)
            self.drain()
        }
    }

    func closeMedia(_ id: UInt64, _ end: DeviceSessionEnd, isOver: Bool) {
        if isOver { self.pinned.remove(id) }
        guard let session = self.sessions[id] else { return }
        self.directory.remove(session.slot)
        session.slot.close()?.stop(end == .stopped ? .left : .failed, notifies: false)
        session.port?.close(promise: nil)
        self.sessions[id]?.port = nil
        if isOver { self.sessions[id] = nil }
        let metadata: Logger.Metadata = ["source": "\(session.slot.label)", "reason": "\(end.text)"]
        if end == .stopped {
            self.logger.debug("a session with a device is over", metadata: metadata)
        } else {
            self.logger.notice(
                isOver ? "a session with a device is over" : "a session with a device broke", metadata: metadata)
        }
    }

    /// What the receiver of a session tells.
    func noted(_ slot: MediaSlot, _ notice: MediaReceiver.Notice) {
        guard let id = slot.session, self.sessions[id]?.slot === slot else { return }
        switch notice {
        case .began: self.platform.mediaStarted(session: id)
        case .ended(let refusal?): self.platform.stop(session: id, .rejected(refusal), self.clock)
        case .ended: self.platform.mediaEnded(session: id, self.clock)
        }
        self.drain()
    }
}
