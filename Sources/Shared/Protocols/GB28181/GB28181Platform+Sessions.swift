import MANSCDP
import NIOCore
import SIP

/// Sessions of media.
extension GB28181Platform {
    /// The session of a channel that is wanted live, if there is one.
    package func liveSession(of source: DeviceChannel) -> DeviceSession? {
        self.liveSessions[source].flatMap { self.sessions[$0] }
    }

    /// The sessions with a device, in the order of their numbers.
    package func sessions(of device: String) -> [DeviceSession] {
        (self.sessionsByDevice[device] ?? []).sorted().compactMap { self.sessions[$0] }
    }

    /// Begins a session. A live one that there is already is given back. The device may come later for a live one.
    package mutating func play(
        _ source: DeviceChannel, _ what: DeviceSource, transport: DeviceTransport, _ clock: GB28181Clock
    ) -> Result<UInt64, DeviceRefusal> {
        if what.isLive, let session = self.liveSession(of: source) { return .success(session.id) }
        guard let device = self.devices[source.device] else { return .failure(.unknownDevice) }
        guard device.isOnline else { return .failure(.deviceOffline) }
        let isKnown = source.channel == source.device || device.channels.contains { $0.id == source.channel }
        guard isKnown || !device.hasCatalog && Self.isIdentifier(source.channel) else {
            return .failure(.unknownChannel)
        }
        guard self.sessions.count < min(self.configuration.maximumSessions, 9_000) else {
            return .failure(.tooManySessions)
        }
        let id = self.newSession()
        self.sessions[id] = DeviceSession(
            id: id, source: source, what: what, transport: transport, ssrc: self.newSSRC(isLive: what.isLive))
        self.sessionsByDevice[source.device, default: []].insert(id)
        if what.isLive { self.liveSessions[source] = id }
        self.open(id, clock)
        self.schedule(clock)
        return .success(id)
    }

    /// Lets the owner make ready for the media.
    mutating func open(_ id: UInt64, _ clock: GB28181Clock) {
        guard var session = self.sessions[id] else { return }
        // Packets of the session before are told apart by their source.
        if session.invitations > 0 {
            session.ssrc = self.newSSRC(isLive: session.what.isLive)
            self.givenSources.remove(session.givenSource)
            session.givenSource = session.ssrc
        }
        session.phase = .opening
        session.hasMedia = false
        self.sessions[id] = session
        self.tell(
            .openMedia(
                MediaPlan(
                    session: id, source: session.source, what: session.what, transport: session.transport,
                    ssrc: session.ssrc)))
    }

    /// Media of the session are received at `port`, and at `host` if that is not the address over which the device is
    /// reached. Invites the device.
    package mutating func mediaReady(session id: UInt64, host: String?, port: Int, _ clock: GB28181Clock) {
        guard var session = self.sessions[id], session.phase == .opening else { return }
        guard let device = self.devices[session.source.device], device.isOnline else {
            return self.interrupt(id, .deviceGone, clock)
        }
        let branch = self.newBranch()
        let dialog = DeviceSession.Dialog(
            callID: self.newCallID(device.path), localTag: self.randomText(10), sequence: 1, inviteBranch: branch)
        session.phase = .inviting
        session.dialog = dialog
        session.invitations += 1
        self.sessions[id] = session
        self.dialogs[dialog.callID] = id
        let plan = MediaPlan(
            session: id, source: session.source, what: session.what, transport: session.transport, ssrc: session.ssrc)
        let ownHost = host ?? device.path.localHost
        let server = self.configuration.serverID
        let body = SessionOffer.text(plan, serverID: server, host: ownHost, port: port)
        let channel = session.source.channel
        let request = self.send(
            "INVITE", to: self.uri(channel, at: device.path), user: channel, callID: dialog.callID,
            localTag: dialog.localTag, remoteTag: nil, sequence: 1, path: device.path, branch: branch
        ) {
            // Annex J of GB/T 28181: sender and its media, receiver and its media.
            $0["Subject"] = "\(channel):\(SessionOffer.digits(plan.ssrc)),\(server):0"
            $0["Content-Type"] = "Application/SDP"
            $0.body = ByteBuffer(string: body)
        }
        self.begin(.invite(session: id), request, branch: branch, device: device.id, path: device.path, clock)
    }

    /// There is no way to receive the media now.
    package mutating func mediaFailed(session id: UInt64, _ clock: GB28181Clock) {
        guard self.sessions[id]?.phase == .opening else { return }
        self.interrupt(id, .noPort, clock)
    }

    /// The first packet came.
    package mutating func mediaStarted(session id: UInt64) {
        guard self.sessions[id]?.phase == .established || self.sessions[id]?.phase == .inviting else { return }
        self.sessions[id]?.hasMedia = true
        self.sessions[id]?.failures = 0
        self.sessions[id]?.mediaDeadline = nil
    }

    /// Media came no more: the connection was closed, or nothing came for too long.
    package mutating func mediaEnded(session id: UInt64, _ clock: GB28181Clock) {
        guard let session = self.sessions[id] else { return }
        guard session.phase == .established else {
            // The answer to the invitation is still to come, and the media may come again.
            self.sessions[id]?.hasMedia = false
            return
        }
        self.interrupt(id, session.what.isLive ? .noMedia : .byeFromDevice, clock)
        self.schedule(clock)
    }

    /// The session is no longer wanted. Returns false if there is none.
    @discardableResult
    package mutating func stop(session id: UInt64, _ end: DeviceSessionEnd, _ clock: GB28181Clock) -> Bool {
        guard let session = self.sessions.removeValue(forKey: id) else { return false }
        self.givenSources.remove(session.givenSource)
        let device = session.source.device
        self.sessionsByDevice[device]?.remove(id)
        if self.sessionsByDevice[device]?.isEmpty == true { self.sessionsByDevice[device] = nil }
        if self.liveSessions[session.source] == id { self.liveSessions[session.source] = nil }
        self.hangUp(session, clock)
        self.tell(.closeMedia(session: id, end, isOver: true))
        return true
    }

    /// The session broke. A live one begins anew later; a recording's is over.
    mutating func interrupt(_ id: UInt64, _ end: DeviceSessionEnd, _ clock: GB28181Clock) {
        guard var session = self.sessions[id] else { return }
        guard session.what.isLive else {
            self.stop(session: id, end, clock)
            return
        }
        let isOnline = self.devices[session.source.device]?.isOnline == true
        if case .waiting(let until) = session.phase {
            // It waits on for the device, or for its time.
            if !isOnline, until != nil { self.sessions[id]?.phase = .waiting(until: nil) }
            return
        }
        self.hangUp(session, clock)
        session.dialog = nil
        session.mediaDeadline = nil
        session.hasMedia = false
        session.lastEnd = end
        session.failures += 1
        let doublings = Int64(1) << Int64(min(session.failures - 1, 10))
        let delay = min(
            self.configuration.reinviteDelay * doublings, self.configuration.longestReinviteDelay)
        session.phase = .waiting(until: isOnline ? clock.now + delay : nil)
        self.sessions[id] = session
        self.tell(.closeMedia(session: id, end, isOver: false))
    }

    mutating func checkSessions(_ clock: GB28181Clock) {
        let due = self.sessions.values.filter { session in
            switch session.phase {
            case .waiting(let until?): until <= clock.now
            case .established: session.mediaDeadline.map { $0 <= clock.now } ?? false
            default: false
            }
        }
        for session in due.sorted(by: { $0.id < $1.id }) {
            switch session.phase {
            case .waiting:
                if self.devices[session.source.device]?.isOnline == true {
                    self.open(session.id, clock)
                } else {
                    self.sessions[session.id]?.phase = .waiting(until: nil)
                }
            case .established: self.interrupt(session.id, .noMedia, clock)
            default: break
            }
        }
    }

    // MARK: Dialogs

    /// Ends the dialog of a session, whatever its state.
    private mutating func hangUp(_ session: DeviceSession, _ clock: GB28181Clock) {
        guard let dialog = session.dialog else { return }
        self.dialogs[dialog.callID] = nil
        switch session.phase {
        case .inviting:
            // The answer to the invitation is still to come, and finds no session.
            if dialog.hasProvisional { self.cancel(dialog.inviteBranch, clock) }
        case .established: self.bye(dialog, session.source, clock)
        case .opening, .waiting: break
        }
    }

    private mutating func bye(
        _ dialog: DeviceSession.Dialog, _ source: DeviceChannel, _ clock: GB28181Clock
    ) {
        guard let device = self.devices[source.device], device.isOnline, !dialog.isEnding else { return }
        let branch = self.newBranch()
        let request = self.send(
            "BYE", to: dialog.target ?? self.uri(source.channel, at: device.path), user: source.channel,
            callID: dialog.callID, localTag: dialog.localTag, remoteTag: dialog.remoteTag,
            sequence: dialog.sequence + 1, path: device.path, branch: branch)
        self.begin(.bye, request, branch: branch, device: device.id, path: device.path, clock)
    }

    /// §9.1 of RFC 3261: the same branch, number and tags as the invitation.
    private mutating func cancel(_ branch: String, _ clock: GB28181Clock) {
        guard let client = self.transactions.clients[branch],
            case .request(_, let uri) = client.request.start
        else { return }
        var request = SIPMessage(.request(method: "CANCEL", uri: uri))
        for name in ["Via", "From", "To", "Call-ID", "Max-Forwards", "User-Agent"] {
            request[name] = client.request[name]
        }
        request["CSeq"] = SIPSequence(client.request.sequence?.number ?? 1, "CANCEL").text
        // Its own answer has the same branch, and nobody waits for it.
        self.transmit(request.bytes, client.path)
    }

    mutating func receiveInviteResponse(
        _ response: SIPMessage, _ status: Int, _ client: SIPTransactions.Client, _ branch: String,
        _ clock: GB28181Clock
    ) {
        guard case .invite(let id) = client.purpose else { return }
        let isCurrent = self.sessions[id]?.dialog?.inviteBranch == branch
        guard status >= 200 else {
            if isCurrent {
                self.sessions[id]?.dialog?.hasProvisional = true
            } else {
                self.cancel(branch, clock)
            }
            return
        }
        guard status < 300 else {
            self.acknowledgeFailure(client, response)
            if isCurrent { self.invitationFailed(id, client, .refused(status: status), clock) }
            return
        }
        let (dialog, acknowledgement) = self.acknowledge(client, response, branch)
        guard isCurrent, var session = self.sessions[id] else {
            // It is no longer wanted.
            return self.bye(
                dialog, DeviceChannel(device: client.device, channel: client.request.to?.uri.user ?? ""), clock)
        }
        session.dialog = dialog
        session.dialog?.acknowledgement = acknowledgement
        session.phase = .established
        session.mediaDeadline = session.hasMedia ? nil : clock.now + self.configuration.inviteTimeout
        let answer = SessionAnswer(parsing: response.body)
        if let ssrc = answer.ssrc { session.ssrc = ssrc }
        self.sessions[id] = session
        self.tell(.established(session: id, ssrc: session.ssrc))
        guard session.transport == .tcpActive else { return }
        guard let host = answer.host, let port = answer.port else { return self.interrupt(id, .badAnswer, clock) }
        self.tell(.connectMedia(session: id, host: host, port: port))
    }

    mutating func invitationFailed(
        _ id: UInt64, _ client: SIPTransactions.Client, _ end: DeviceSessionEnd, _ clock: GB28181Clock
    ) {
        guard self.sessions[id]?.dialog?.callID == client.request.callID, self.sessions[id]?.phase == .inviting else {
            return
        }
        self.interrupt(id, end, clock)
    }

    /// The `ACK` of a success is a request of its own (§13.2.2.4).
    private mutating func acknowledge(
        _ client: SIPTransactions.Client, _ response: SIPMessage, _ branch: String
    ) -> (DeviceSession.Dialog, ByteBuffer) {
        let channel = client.request.to?.uri.user ?? ""
        var dialog = DeviceSession.Dialog(
            callID: client.request.callID ?? "", localTag: client.request.from?.tag ?? "",
            sequence: client.request.sequence?.number ?? 1, inviteBranch: branch)
        dialog.remoteTag = response.to?.tag
        dialog.target = response.contact?.uri.text
        let path = self.devices[client.device]?.path ?? client.path
        let acknowledgement = self.send(
            "ACK", to: dialog.target ?? self.uri(channel, at: path), user: channel, callID: dialog.callID,
            localTag: dialog.localTag, remoteTag: dialog.remoteTag, sequence: dialog.sequence, path: path,
            branch: self.newBranch())
        let bytes = acknowledgement.bytes
        self.transmit(bytes, path)
        return (dialog, bytes)
    }

    /// §17.1.1.3: the branch of the invitation, the tag of the response.
    private mutating func acknowledgeFailure(_ client: SIPTransactions.Client, _ response: SIPMessage) {
        guard case .request(_, let uri) = client.request.start else { return }
        var request = SIPMessage(.request(method: "ACK", uri: uri))
        for name in ["Via", "From", "Call-ID", "Max-Forwards", "User-Agent"] { request[name] = client.request[name] }
        request["To"] = response["To"] ?? client.request["To"]
        request["CSeq"] = SIPSequence(client.request.sequence?.number ?? 1, "ACK").text
        self.transmit(request.bytes, client.path)
    }

    mutating func receiveBye(_ request: SIPMessage, _ path: SIPPath, _ clock: GB28181Clock) {
        guard let id = self.dialogs[request.callID ?? ""], let session = self.sessions[id],
            self.devices[session.source.device]?.path.host == path.host
        else { return self.answer(request, 481, "Call Does Not Exist", path, clock) }
        self.answer(request, 200, "OK", path, clock)
        self.sessions[id]?.dialog?.isEnding = true
        self.interrupt(id, .byeFromDevice, clock)
    }
}
