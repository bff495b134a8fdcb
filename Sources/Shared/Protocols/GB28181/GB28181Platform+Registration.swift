import DigestAuthentication
import MANSCDP
import NIOCore
import SIP

/// Who is there.
extension GB28181Platform {
    private static let defaultExpiry = 3_600

    mutating func receiveRegistration(_ request: SIPMessage, _ path: SIPPath, _ clock: GB28181Clock) {
        let id = request.from?.uri.user ?? ""
        guard Self.isIdentifier(id), self.configuration.isKnown(id) else {
            return self.refuse(request, id, 403, "Forbidden", path, clock, reason: "the device is not known")
        }
        if let password = self.configuration.password(id), !password.isEmpty {
            switch self.judge(request, id, password, path, clock) {
            case .right: break
            case .ask(let isStale): return self.challenge(request, id, isStale: isStale, path, clock)
            case .wrong:
                self.guesses.failed(id, at: path.host, now: clock.now)
                return self.refuse(request, id, 403, "Forbidden", path, clock, reason: "the password is wrong")
            }
        }
        let expiry = min(request.expires ?? Self.defaultExpiry, self.configuration.maximumExpiry)
        guard expiry > 0 else { return self.unregister(request, id, path, clock) }
        let minimum = self.configuration.minimumExpiry
        guard expiry >= minimum else {
            return self.answer(request, 423, "Interval Too Brief", path, clock) { $0["Min-Expires"] = "\(minimum)" }
        }
        guard self.devices[id] != nil || self.makeRoom(clock) else {
            return self.refuse(
                request, id, 503, "Service Unavailable", path, clock, reason: "there are too many devices")
        }
        self.counters.registrations += 1
        let date = DeviceTime.text(seconds: clock.wallSeconds, offset: self.configuration.utcOffset)
        let contact = request["Contact"]
        let hasEdition = request["X-GB-Ver"] != nil
        self.answer(request, 200, "OK", path, clock) {
            $0["Contact"] = contact
            $0["Expires"] = "\(expiry)"
            // §9.10 of GB/T 28181: devices set their clocks by it.
            $0["Date"] = date
            // Annex I of GB/T 28181-2022.
            if hasEdition { $0["X-GB-Ver"] = "3.0" }
        }
        self.register(id, request, expiry: expiry, path, clock)
    }

    /// Letters and digits, as identifiers become parts of stream names.
    static func isIdentifier(_ id: String) -> Bool {
        1...64 ~= id.utf8.count
            && id.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45 || $0 == 95
            }
    }

    /// Forgets the device that has been gone for longest, if the book is full. Returns false if all are there.
    private mutating func makeRoom(_ clock: GB28181Clock) -> Bool {
        guard self.devices.count >= self.configuration.maximumDevices else { return true }
        let gone = self.devices.values.filter { !$0.isOnline }.min { $0.lastSeen < $1.lastSeen }
        guard let gone else { return false }
        return self.forget(device: gone.id, clock)
    }

    private enum Judgement {
        case right, wrong
        case ask(isStale: Bool)
    }

    private mutating func judge(
        _ request: SIPMessage, _ id: String, _ password: String, _ path: SIPPath, _ clock: GB28181Clock
    ) -> Judgement {
        guard let text = request["Authorization"],
            case .digest(let credentials)? = try? AuthenticationCredentials(parsing: text)
        else { return .ask(isStale: false) }
        guard !self.guesses.isBlocked(id, at: path.host, now: clock.now) else { return .wrong }
        guard credentials.username == id, credentials.realm == self.configuration.domain,
            credentials.isValid(password: password, method: "REGISTER")
        else { return .wrong }
        switch self.nonces.use(credentials, by: id, host: path.host, now: clock.now) {
        case .usable: return .right
        case .stale, .replayed: return .ask(isStale: true)
        }
    }

    private mutating func challenge(
        _ request: SIPMessage, _ id: String, isStale: Bool, _ path: SIPPath, _ clock: GB28181Clock
    ) {
        let nonce = self.nonces.issue(to: id, host: path.host, now: clock.now)
        let challenge = AuthenticationChallenge.digest(
            DigestChallenge(
                realm: self.configuration.domain, nonce: nonce, algorithm: .md5, protections: [.authentication],
                isStale: isStale))
        self.answer(request, 401, "Unauthorized", path, clock) { $0["WWW-Authenticate"] = challenge.text }
    }

    private mutating func refuse(
        _ request: SIPMessage, _ id: String, _ status: Int, _ text: String, _ path: SIPPath, _ clock: GB28181Clock,
        reason: String
    ) {
        self.counters.refusedRegistrations += 1
        self.answer(request, status, text, path, clock)
        self.tell(.registrationRefused(device: Self.isIdentifier(id) ? id : "", reason: reason))
    }

    private mutating func register(
        _ id: String, _ request: SIPMessage, expiry: Int, _ path: SIPPath, _ clock: GB28181Clock
    ) {
        let callID = request.callID ?? ""
        let expires = clock.now + .seconds(Int64(expiry))
        let known = self.devices[id]
        var device =
            known ?? DeviceRecord(id: id, path: path, now: clock.now, expires: expires, callID: callID)
        let isFresh = known.map { !$0.isOnline || $0.registrationCallID != callID } ?? true
        device.expires = expires
        device.registrationCallID = callID
        device.lastSeen = clock.now
        if isFresh { device.registeredAt = clock.now }
        device.isOnline = true
        device.edition = String((request["X-GB-Ver"] ?? "").prefix(16))
        device.userAgent = String((request["User-Agent"] ?? "").prefix(128))
        self.devices[id] = device
        let hasMoved = self.move(id, to: path, clock)
        guard isFresh || hasMoved else { return }
        self.tell(.registered(device: id, isNew: known == nil))
        self.deviceCame(id, clock)
    }

    /// Notes where the device is now. Returns whether it moved; its sessions then begin anew, for nothing reaches it
    /// where it was.
    private mutating func move(_ id: String, to path: SIPPath, _ clock: GB28181Clock) -> Bool {
        guard let old = self.devices[id]?.path, old != path else { return false }
        self.devices[id]?.path = path
        guard old.host != path.host else { return false }
        for session in self.sessions(of: id) { self.interrupt(session.id, .deviceGone, clock) }
        return true
    }

    /// Asks a device that came what it is, and what it has.
    private mutating func deviceCame(_ id: String, _ clock: GB28181Clock) {
        self.devices[id]?.openRequests = 0
        for request in [DeviceRequest.information, .status, .catalog] {
            _ = self.request(0, device: id, request, clock)
        }
        for event in self.configuration.subscriptions.sorted(by: { $0.rawValue < $1.rawValue }) {
            let subscription = DeviceSubscription(callID: "", localTag: self.randomText(10), due: clock.now)
            self.devices[id]?.subscriptions[event] = subscription
        }
        self.renewSubscriptions(id, clock)
        for session in self.sessions(of: id) where session.phase == .waiting(until: nil) {
            self.open(session.id, clock)
        }
    }

    private mutating func unregister(
        _ request: SIPMessage, _ id: String, _ path: SIPPath, _ clock: GB28181Clock
    ) {
        let contact = request["Contact"]
        self.answer(request, 200, "OK", path, clock) {
            $0["Contact"] = contact
            $0["Expires"] = "0"
        }
        // Nothing that it says counts until it registers again.
        self.devices[id]?.expires = clock.now
        if self.devices[id]?.isOnline == true { self.deviceGone(id, reason: nil, clock) }
    }

    mutating func deviceGone(_ id: String, reason: String?, _ clock: GB28181Clock) {
        guard self.devices[id]?.isOnline == true else { return }
        self.devices[id]?.isOnline = false
        self.devices[id]?.subscriptions = [:]
        _ = self.transactions.forget(device: id)
        self.tell(.unregistered(device: id, reason: reason))
        for (number, pending) in self.requests.filter({ $0.value.device == id }) {
            self.end(number, pending, .deviceGone)
        }
        for session in self.sessions(of: id) { self.interrupt(session.id, .deviceGone, clock) }
    }

    /// Whether a message from `path` is the device's, which is then alive and there. Without passwords a device is
    /// believed wherever it is; with them only at the host from which it registered.
    mutating func touch(_ id: String, _ path: SIPPath, _ clock: GB28181Clock) -> Bool {
        guard let device = self.devices[id], device.expires > clock.now else { return false }
        let isOpen = self.configuration.password(id).map(\.isEmpty) ?? true
        guard isOpen || device.path.host == path.host else { return false }
        self.devices[id]?.lastSeen = clock.now
        _ = self.move(id, to: path, clock)
        if !device.isOnline {
            // It was silent, or its connection was closed; its registration still counts.
            self.devices[id]?.isOnline = true
            self.tell(.registered(device: id, isNew: false))
            self.deviceCame(id, clock)
        }
        return true
    }

    /// Ends those that were silent for too long, or whose registration is over.
    mutating func checkDevices(_ clock: GB28181Clock) {
        for device in self.devices.values where device.isOnline {
            if device.expires <= clock.now {
                self.deviceGone(device.id, reason: "its registration is over", clock)
            } else if device.lastSeen + self.configuration.keepaliveTimeout <= clock.now {
                self.deviceGone(device.id, reason: "it was silent for too long", clock)
            } else {
                if let due = device.catalogDue, due <= clock.now {
                    self.devices[device.id]?.catalogDue = nil
                    _ = self.request(0, device: device.id, .catalog, clock)
                }
                if device.subscriptions.values.contains(where: { $0.due <= clock.now }) {
                    self.renewSubscriptions(device.id, clock)
                }
            }
        }
    }

    /// Forgets a device that is gone, or sends it away until it registers again.
    package mutating func forget(device id: String, _ clock: GB28181Clock) -> Bool {
        guard self.devices[id] != nil else { return false }
        self.deviceGone(id, reason: "it was forgotten", clock)
        for session in self.sessions(of: id) { self.stop(session: session.id, .deviceGone, clock) }
        self.channelCount -= self.devices[id]?.channels.count ?? 0
        self.devices[id] = nil
        self.tell(.forgotten(device: id))
        return true
    }

    // MARK: Subscriptions

    private mutating func renewSubscriptions(_ id: String, _ clock: GB28181Clock) {
        guard let device = self.devices[id], device.isOnline else { return }
        for (event, subscription) in device.subscriptions.sorted(by: { $0.key.rawValue < $1.key.rawValue })
        where subscription.due <= clock.now {
            var subscription = subscription
            if subscription.callID.isEmpty { subscription.callID = self.newCallID(device.path) }
            subscription.due = clock.now + .seconds(Int64(self.configuration.subscriptionExpiry))
            self.devices[id]?.subscriptions[event] = subscription
            self.subscribe(device, event, subscription, clock)
            self.devices[id]?.subscriptions[event]?.sequence += 1
        }
    }

    private mutating func subscribe(
        _ device: DeviceRecord, _ event: DeviceEvent, _ subscription: DeviceSubscription, _ clock: GB28181Clock
    ) {
        var fields: [XMLElement] = []
        switch event {
        case .catalog: break
        case .alarm:
            fields = [
                XMLElement("StartAlarmPriority", text: "0"), XMLElement("EndAlarmPriority", text: "0"),
                XMLElement("AlarmMethod", text: "0"),
            ]
        case .position: fields = [XMLElement("Interval", text: "\(self.configuration.positionInterval)")]
        }
        let query = MANSCDPMessage(
            .query, command: event.rawValue, number: self.newMessageNumber(), deviceID: device.id, fields: fields)
        let branch = self.newBranch()
        let expiry = self.configuration.subscriptionExpiry
        let request = self.send(
            "SUBSCRIBE", to: self.uri(device.id, at: device.path), user: device.id, callID: subscription.callID,
            localTag: subscription.localTag, remoteTag: subscription.remoteTag, sequence: subscription.sequence,
            path: device.path, branch: branch
        ) {
            $0["Event"] = event == .position ? "presence" : event.rawValue
            $0["Expires"] = "\(expiry)"
            $0["Content-Type"] = MANSCDPMessage.contentType
            $0.body = query.body
        }
        self.begin(
            .subscribe(device: device.id, event), request, branch: branch, device: device.id, path: device.path, clock)
    }

    mutating func subscribed(
        _ device: String, _ event: DeviceEvent, status: Int?, _ response: SIPMessage?, _ clock: GB28181Clock
    ) {
        guard var subscription = self.devices[device]?.subscriptions[event] else { return }
        if let status, (200...299).contains(status) {
            subscription.remoteTag = response?.to?.tag ?? subscription.remoteTag
            // Renewed when a tenth of the time is left, at the latest.
            let granted = min(response?.expires ?? self.configuration.subscriptionExpiry, 1 << 20)
            subscription.due = clock.now + .seconds(Int64(max(30, granted * 9 / 10)))
        } else if status == 481 {
            // The device no longer knows of it.
            subscription = DeviceSubscription(
                callID: "", localTag: self.randomText(10), due: clock.now + .seconds(5))
        } else {
            // Many devices know no subscriptions: they are not asked often.
            subscription = DeviceSubscription(
                callID: "", localTag: self.randomText(10), due: clock.now + .minutes(10))
        }
        self.devices[device]?.subscriptions[event] = subscription
    }
}
