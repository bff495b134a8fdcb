import MANSCDP
import NIOCore
import SIP

/// What devices tell.
extension GB28181Platform {
    mutating func receiveMessage(_ request: SIPMessage, _ path: SIPPath, _ clock: GB28181Clock) {
        let id = request.from?.uri.user ?? ""
        guard self.touch(id, path, clock) else {
            // A device that gets this registers again.
            self.counters.strangers += 1
            return self.answer(request, 403, "Forbidden", path, clock)
        }
        var message: MANSCDPMessage?
        if request.body.readableBytes > 0 {
            do throws(XMLError) {
                message = MANSCDPMessage(try XMLElement(parsing: request.body))
            } catch {
                self.counters.malformed += 1
                return self.answer(request, 400, "Bad Request", path, clock)
            }
        }
        self.answer(request, 200, "OK", path, clock)
        guard let message else { return }
        switch message.kind {
        case .notify: self.receiveNotice(message, id, callID: request.callID ?? "", clock)
        case .response: self.receiveAnswer(message, id, clock)
        // Devices that ask us things get no answer: we are nobody's device.
        case .query, .control: break
        }
    }

    private mutating func receiveNotice(
        _ message: MANSCDPMessage, _ id: String, callID: String, _ clock: GB28181Clock
    ) {
        switch message.command {
        case "Keepalive": self.devices[id]?.keepalives += 1
        case "Catalog": self.applyCatalogChange(message, id)
        case "Alarm":
            self.tell(.alarm(device: id, DeviceAlarm(message)))
            self.confirmAlarm(message, id, clock)
        case "MobilePosition":
            let position = DevicePosition(message)
            self.devices[id]?.position = position
            self.tell(.position(device: id, position))
        // 121: the recording has been sent to its end.
        case "MediaStatus" where message.value("NotifyType") == "121":
            let ended = self.sessions.values.filter { session in
                !session.what.isLive && session.source.device == id
                    && (session.dialog?.callID == callID || session.source.channel == message.deviceID)
            }
            for session in ended.sorted(by: { $0.id < $1.id }) { self.stop(session: session.id, .byeFromDevice, clock) }
        default: break
        }
    }

    /// Spec: GB/T 28181-2016 §9.4.
    private mutating func confirmAlarm(_ message: MANSCDPMessage, _ id: String, _ clock: GB28181Clock) {
        guard let device = self.devices[id], let number = message.number,
            device.openRequests < self.configuration.maximumRequests
        else { return }
        self.devices[id]?.openRequests += 1
        let confirmation = MANSCDPMessage(
            .response, command: "Alarm", number: number, deviceID: message.deviceID,
            fields: [XMLElement("Result", text: "OK")])
        self.ask(
            .question, "MESSAGE", device: device, user: id, body: confirmation.body,
            type: MANSCDPMessage.contentType, clock)
    }

    /// A notice of changed channels.
    private mutating func applyCatalogChange(_ message: MANSCDPMessage, _ id: String) {
        guard let known = self.devices[id]?.channels else { return }
        var channels = Dictionary(known.map { ($0.id, $0) }) { first, _ in first }
        let items = message.catalog(maximum: self.configuration.maximumChannels).items
        for item in items {
            switch item.event {
            case "DEL": channels[item.id] = nil
            case "ON", "VLOST", "OFF", "DEFECT": channels[item.id]?.isOnline = item.event == "ON"
            default:
                guard channels[item.id] != nil || channels.count < self.configuration.maximumChannels,
                    Self.isIdentifier(item.id)
                else { continue }
                var item = item
                item.event = nil
                channels[item.id] = item
            }
        }
        self.setChannels(Array(channels.values), of: id)
    }

    mutating func setChannels(_ channels: [CatalogItem], of id: String) {
        let before = self.devices[id]?.channels ?? []
        let room = max(0, self.configuration.maximumChannelsInAll - (self.channelCount - before.count))
        let sorted = Array(channels.sorted { $0.id < $1.id }.prefix(room))
        let isNew = self.devices[id]?.hasCatalog == false
        guard isNew || before != sorted else { return }
        self.channelCount += sorted.count - before.count
        self.devices[id]?.channels = sorted
        self.devices[id]?.hasCatalog = true
        self.tell(.catalogChanged(device: id))
    }

    // MARK: Answers

    private mutating func receiveAnswer(_ message: MANSCDPMessage, _ id: String, _ clock: GB28181Clock) {
        // Without a request of ours an answer still tells what the device is.
        switch message.command {
        case "DeviceInfo": self.devices[id]?.information = DeviceInformation(message)
        case "DeviceStatus": self.devices[id]?.status = DeviceStatus(message)
        default: break
        }
        guard let number = message.number, self.requests[number]?.device == id,
            // Taken out, so that its pages are not copied when another one is added.
            var pending = self.requests.removeValue(forKey: number)
        else { return }
        var answer: DeviceAnswer?
        var isWholeCatalog = false
        switch (pending.request, message.command) {
        case (.information, "DeviceInfo"): answer = .information(DeviceInformation(message))
        case (.status, "DeviceStatus"): answer = .status(DeviceStatus(message))
        case (.control, "DeviceControl"), (.ptz, "DeviceControl"): answer = .taken(message.value("Result") ?? "")
        case (.catalog, "Catalog"):
            let room = max(0, self.configuration.maximumChannels - pending.channels.count)
            let (total, items) = message.catalog(maximum: room)
            pending.total = total ?? pending.total
            pending.channels += items
            pending.deadline = clock.now + self.configuration.queryTimeout
            isWholeCatalog =
                pending.channels.count >= min(pending.total ?? 0, self.configuration.maximumChannels)
        case (.recordings, "RecordInfo"):
            let room = max(0, self.configuration.maximumChannels - pending.recordings.count)
            let (total, items) = message.recordings(maximum: room)
            pending.total = total ?? pending.total
            pending.recordings += items
            pending.deadline = clock.now + self.configuration.queryTimeout
            if pending.recordings.count >= min(pending.total ?? 0, self.configuration.maximumChannels) {
                answer = .recordings(pending.recordings, isComplete: true)
            }
        default: break
        }
        self.requests[number] = pending
        if isWholeCatalog { self.finishCatalog(number, pending, clock) }
        if let answer { self.end(number, pending, answer) }
    }

    /// All pages came, or no more do.
    mutating func finishCatalog(_ number: UInt32, _ pending: PendingRequest, _ clock: GB28181Clock) {
        var seen: Set<String> = []
        // Some devices send an item twice, or a page.
        let channels = pending.channels.filter { Self.isIdentifier($0.id) && seen.insert($0.id).inserted }
        self.setChannels(channels, of: pending.device)
        if let interval = self.configuration.catalogInterval {
            self.devices[pending.device]?.catalogDue = clock.now + interval
        }
        self.end(number, pending, .catalog(channels.sorted { $0.id < $1.id }))
    }
}
