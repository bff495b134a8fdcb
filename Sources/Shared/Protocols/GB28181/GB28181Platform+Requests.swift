import MANSCDP
import NIOCore
import SIP

/// A request to a device that is not answered yet.
struct PendingRequest: Sendable {
    /// The owner's number; 0 for our own.
    var id: UInt64
    var device: String
    var request: DeviceRequest
    var deadline: NIODeadline
    /// What the device says that there is in all; `nil` before it says so.
    var total: Int?
    var channels: [CatalogItem] = []
    var recordings: [DeviceRecording] = []
}

/// What devices are asked.
extension GB28181Platform {
    /// Asks a device. `id` is the owner's number for the answer, which comes as an event; 0 for none.
    package mutating func request(
        _ id: UInt64, device name: String, _ request: DeviceRequest, _ clock: GB28181Clock
    ) -> DeviceRefusal? {
        guard let device = self.devices[name] else { return .unknownDevice }
        guard device.isOnline else { return .deviceOffline }
        guard device.openRequests < self.configuration.maximumRequests else { return .tooManyRequests }
        if case .playback(let session, let control) = request {
            return self.control(id, session: session, device, request, control, clock)
        }
        let number = self.newMessageNumber()
        let (message, user) = self.message(request, number: number, device: device)
        self.note(number, PendingRequest(id: id, device: name, request: request, deadline: self.deadline(clock)))
        self.ask(
            .request(UInt64(number)), "MESSAGE", device: device, user: user, body: message.body,
            type: MANSCDPMessage.contentType, clock)
        return nil
    }

    private func deadline(_ clock: GB28181Clock) -> NIODeadline {
        clock.now + max(self.configuration.queryTimeout, self.configuration.transactionTimeout)
    }

    private mutating func note(_ number: UInt32, _ pending: PendingRequest) {
        self.requests[number] = pending
        self.devices[pending.device]?.openRequests += 1
    }

    private func message(
        _ request: DeviceRequest, number: UInt32, device: DeviceRecord
    ) -> (MANSCDPMessage, user: String) {
        func query(_ command: String, _ id: String, _ fields: [XMLElement] = []) -> (MANSCDPMessage, String) {
            (MANSCDPMessage(.query, command: command, number: number, deviceID: id, fields: fields), id)
        }
        func control(_ id: String, _ name: String, _ value: String) -> (MANSCDPMessage, String) {
            let message = MANSCDPMessage(
                .control, command: "DeviceControl", number: number, deviceID: id,
                fields: [XMLElement(name, text: value)])
            return (message, id)
        }
        switch request {
        case .catalog: return query("Catalog", device.id)
        case .information: return query("DeviceInfo", device.id)
        case .status: return query("DeviceStatus", device.id)
        case .recordings(let channel, let start, let end):
            let offset = self.configuration.utcOffset
            return query(
                "RecordInfo", channel,
                [
                    XMLElement("StartTime", text: DeviceTime.text(seconds: start, offset: offset)),
                    XMLElement("EndTime", text: DeviceTime.text(seconds: end, offset: offset)),
                    XMLElement("Secrecy", text: "0"), XMLElement("Type", text: "all"),
                ])
        case .ptz(let channel, let command): return control(channel, "PTZCmd", command.digits)
        case .control(let channel, let name, let value):
            // The edition of 2022 spells it right.
            let isRenamed = name == "IFameCmd" && device.edition.hasPrefix("3")
            return control(channel, isRenamed ? "IFrameCmd" : name, value)
        // These are sent within their session.
        case .playback: return query("DeviceInfo", device.id)
        }
    }

    /// Spec: GB/T 28181-2016 §9.8.
    private mutating func control(
        _ id: UInt64, session number: UInt64, _ device: DeviceRecord, _ request: DeviceRequest,
        _ control: PlaybackControl, _ clock: GB28181Clock
    ) -> DeviceRefusal? {
        guard let session = self.sessions[number], session.source.device == device.id else { return .unknownSession }
        guard !session.what.isLive else { return .notPlayback }
        guard session.phase == .established, var dialog = session.dialog else { return .unknownSession }
        dialog.sequence += 1
        dialog.controls += 1
        self.sessions[number]?.dialog = dialog
        let branch = self.newBranch()
        let message = self.send(
            "INFO", to: dialog.target ?? self.uri(session.source.channel, at: device.path),
            user: session.source.channel, callID: dialog.callID, localTag: dialog.localTag,
            remoteTag: dialog.remoteTag, sequence: dialog.sequence, path: device.path, branch: branch
        ) {
            $0["Content-Type"] = PlaybackControl.contentType
            $0.body = control.body(sequence: dialog.controls)
        }
        let key = self.newMessageNumber()
        self.note(key, PendingRequest(id: id, device: device.id, request: request, deadline: self.deadline(clock)))
        self.begin(.request(UInt64(key)), message, branch: branch, device: device.id, path: device.path, clock)
        return nil
    }

    /// The device answered the message itself; `nil` if it did not.
    mutating func requestFinished(_ number: UInt32, status: Int?, _ clock: GB28181Clock) {
        guard var pending = self.requests[number] else { return }
        guard let status else { return self.end(number, pending, .timedOut) }
        guard (200...299).contains(status) else { return self.end(number, pending, .refused(status: status)) }
        switch pending.request {
        // Movements have no other answer.
        case .ptz, .playback: self.end(number, pending, .taken(""))
        case .control(_, let name, _) where name == "TeleBoot": self.end(number, pending, .taken(""))
        default:
            pending.deadline = clock.now + self.configuration.queryTimeout
            self.requests[number] = pending
        }
    }

    mutating func end(_ number: UInt32, _ pending: PendingRequest, _ answer: DeviceAnswer) {
        guard self.requests.removeValue(forKey: number) != nil else { return }
        if let open = self.devices[pending.device]?.openRequests {
            self.devices[pending.device]?.openRequests = max(0, open - 1)
        }
        if pending.id != 0 { self.tell(.answered(request: pending.id, answer)) }
    }

    mutating func checkRequests(_ clock: GB28181Clock) {
        for (number, pending) in self.requests where pending.deadline <= clock.now {
            switch pending.request {
            case .catalog where pending.total != nil: self.finishCatalog(number, pending, clock)
            case .recordings where pending.total != nil:
                self.end(number, pending, .recordings(pending.recordings, isComplete: false))
            default: self.end(number, pending, .timedOut)
            }
        }
    }
}
