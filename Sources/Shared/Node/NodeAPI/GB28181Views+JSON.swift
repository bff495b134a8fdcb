import GB28181
import GB28181Server
import MANSCDP

/// Devices, channels and sessions as the API tells them.
extension NodeAPI {
    static func view(_ device: GB28181DeviceView) -> JSONValue {
        .object([
            "id": .string(device.id), "online": .bool(device.isOnline), "transport": .string(device.transport),
            "address": .string(device.address), "userAgent": .string(device.userAgent),
            "keepalives": .count(device.keepalives), "registeredSecondsAgo": .integer(device.registeredSecondsAgo),
            "silentSeconds": .integer(device.silentSeconds), "channels": .count(device.channels),
            "information": device.information.map(self.view), "status": device.status.map(self.view),
            "position": device.position.map(self.view),
        ])
    }

    private static func view(_ information: DeviceInformation) -> JSONValue {
        .object([
            "name": .string(information.name), "manufacturer": .string(information.manufacturer),
            "model": .string(information.model), "firmware": .string(information.firmware),
            "channels": information.channels.map { .count($0) },
        ])
    }

    private static func view(_ status: DeviceStatus) -> JSONValue {
        .object([
            "online": .string(status.online), "status": .string(status.status), "encode": .string(status.encode),
            "record": .string(status.record), "deviceTime": .string(status.deviceTime),
        ])
    }

    private static func view(_ position: DevicePosition) -> JSONValue {
        .object([
            "source": .string(position.sourceID), "time": .string(position.time),
            "longitude": .string(position.longitude), "latitude": .string(position.latitude),
            "speed": .string(position.speed), "direction": .string(position.direction),
            "altitude": .string(position.altitude),
        ])
    }

    static func view(_ channel: GB28181ChannelView) -> JSONValue {
        self.view(channel.item).merging(
            .object([
                "stream": channel.stream.map { .string($0) }, "session": channel.session.map { .count($0) },
            ]))
    }

    private static func view(_ item: CatalogItem) -> JSONValue {
        .object([
            "id": .string(item.id), "name": .string(item.name), "manufacturer": .string(item.manufacturer),
            "model": .string(item.model), "owner": .string(item.owner), "civilCode": .string(item.civilCode),
            "address": .string(item.address), "parent": .string(item.parentID),
            "online": item.isOnline.map { .bool($0) }, "longitude": .string(item.longitude),
            "latitude": .string(item.latitude), "ptzType": item.ptzType.map { .count($0) },
            "playable": .bool(item.isPlayable),
        ])
    }

    static func view(_ session: GB28181SessionView) -> JSONValue {
        var times: (String, Int64?, Int64?) = ("live", nil, nil)
        switch session.what {
        case .live: break
        case .playback(let start, let end): times = ("playback", start, end)
        case .download(let start, let end, _): times = ("download", start, end)
        }
        return .object([
            "session": .count(session.id), "device": .string(session.source.device),
            "channel": .string(session.source.channel), "kind": .string(times.0),
            "start": times.1.map { .integer($0) }, "end": times.2.map { .integer($0) },
            "state": .string(session.state), "transport": .string(session.transport.rawValue),
            "ssrc": .count(session.ssrc), "app": .string(session.app), "stream": .string(session.name),
            "pinned": .bool(session.isPinned), "invitations": .count(session.invitations),
            "media": session.media.map(self.view),
        ])
    }

    private static func view(_ media: DeviceMedia.Statistics) -> JSONValue {
        .object([
            "packets": .count(media.packets), "bytes": .count(media.bytes), "lost": .count(media.lost),
            "late": .count(media.late), "duplicates": .count(media.duplicates),
            "malformedPackets": .count(media.malformedPackets), "restarts": .count(media.restarts),
            "skippedBytes": .count(media.skippedBytes), "problems": .count(media.problems),
            "videoFrames": .count(media.videoFrames), "audioFrames": .count(media.audioFrames),
            "droppedVideoFrames": .count(media.droppedVideoFrames),
        ])
    }

    static func view(_ alarm: GB28181Alarm) -> JSONValue {
        .object([
            "number": .count(alarm.number), "device": .string(alarm.device), "source": .string(alarm.alarm.sourceID),
            "receivedSeconds": .integer(alarm.receivedSeconds), "time": .string(alarm.alarm.time),
            "priority": alarm.alarm.priority.map { .count($0) }, "method": alarm.alarm.method.map { .count($0) },
            "type": alarm.alarm.type.map { .count($0) }, "text": .string(alarm.alarm.text),
        ])
    }

    private static func view(_ recording: DeviceRecording) -> JSONValue {
        .object([
            "channel": .string(recording.channelID), "name": .string(recording.name), "path": .string(recording.path),
            "startTime": .string(recording.start), "endTime": .string(recording.end), "type": .string(recording.type),
            "bytes": recording.size.map { .count($0) },
        ])
    }

    // MARK: Answers

    static func answered(_ result: Result<DeviceAnswer, DeviceRefusal>) -> NodeAPIResponse {
        switch result {
        case .failure(let refusal): return self.refused(refusal)
        case .success(.catalog(let items)):
            return .json(.object(["channels": .array(items.map(self.view)), "total": .count(items.count)]))
        case .success(.information(let information)): return .json(self.view(information))
        case .success(.status(let status)): return .json(self.view(status))
        case .success(.recordings(let recordings, let isComplete)):
            return .json(
                .object(["recordings": .array(recordings.map(self.view)), "complete": .bool(isComplete)]))
        case .success(.taken(let result)): return .json(.object(["result": .string(result.isEmpty ? "OK" : result)]))
        case .success(.refused(let status)):
            return .problem("device-refused", 502, "The device refused the request", detail: "SIP status \(status)")
        case .success(.timedOut): return .problem("device-silent", 504, "The device did not answer in time")
        case .success(.deviceGone): return .problem("device-offline", 409, "The device went away")
        }
    }

    static func refused(_ refusal: DeviceRefusal) -> NodeAPIResponse {
        switch refusal {
        case .unknownDevice: .problem("unknown-device", 404, "There is no device with this id")
        case .unknownChannel: .problem("unknown-channel", 404, "The device has no channel with this id")
        case .unknownSession: .problem("unknown-session", 404, "There is no such session")
        case .deviceOffline: .problem("device-offline", 409, "The device is not registered")
        case .notPlayback: .problem("not-a-recording", 409, "The session is none of a recording")
        case .tooManyRequests: .problem("too-many-requests", 429, "The device has too many requests to answer")
        case .tooManySessions: .problem("too-many-sessions", 503, "There are too many sessions")
        }
    }
}

extension PTZCommand {
    /// `command` with what belongs to it: `move` (`pan`, `tilt`, `zoom`), `lens` (`focus`, `iris`), `stop`, presets,
    /// cruises, scans and switches.
    init(_ query: [String: String]) throws(InvalidRequest) {
        func number(_ name: String, _ range: ClosedRange<Int>, _ standard: Int? = nil) throws(InvalidRequest) -> Int {
            guard let text = query[name] else {
                if let standard { return standard }
                throw InvalidRequest(text: "\(name) is missing")
            }
            guard let value = Int(text), range.contains(value) else {
                throw InvalidRequest(text: "\(name) is a number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        switch query["command"] {
        case "stop": self = .move(pan: 0, tilt: 0, zoom: 0)
        case "stop_lens": self = .lens(focus: 0, iris: 0)
        case "move":
            self = .move(
                pan: try number("pan", -255...255, 0), tilt: try number("tilt", -255...255, 0),
                zoom: try number("zoom", -15...15, 0))
        case "lens": self = .lens(focus: try number("focus", -255...255, 0), iris: try number("iris", -255...255, 0))
        case "set_preset": self = .setPreset(try number("preset", 1...255))
        case "call_preset": self = .callPreset(try number("preset", 1...255))
        case "delete_preset": self = .deletePreset(try number("preset", 1...255))
        case "add_cruise_point":
            self = .addCruisePoint(group: try number("group", 0...255), preset: try number("preset", 1...255))
        case "delete_cruise_point":
            self = .deleteCruisePoint(group: try number("group", 0...255), preset: try number("preset", 0...255))
        case "cruise_speed":
            self = .setCruiseSpeed(group: try number("group", 0...255), speed: try number("speed", 0...4_095))
        case "cruise_dwell":
            self = .setCruiseDwell(group: try number("group", 0...255), seconds: try number("seconds", 0...4_095))
        case "start_cruise": self = .startCruise(group: try number("group", 0...255))
        case "start_scan": self = .startScan(group: try number("group", 0...255))
        case "scan_left": self = .setScanLeft(group: try number("group", 0...255))
        case "scan_right": self = .setScanRight(group: try number("group", 0...255))
        case "scan_speed":
            self = .setScanSpeed(group: try number("group", 0...255), speed: try number("speed", 0...4_095))
        case "auxiliary_on": self = .auxiliary(try number("switch", 1...255), isOn: true)
        case "auxiliary_off": self = .auxiliary(try number("switch", 1...255), isOn: false)
        default:
            throw InvalidRequest(
                text: "command is move, lens, stop, stop_lens, a preset's (set_preset, call_preset, delete_preset), "
                    + "a cruise's, a scan's, auxiliary_on or auxiliary_off")
        }
    }
}

extension PlaybackControl {
    /// `action` with `value` or `seconds`; `nil` if it is none.
    init?(_ query: [String: String]) {
        switch query["action"] {
        case "pause": self = .pause
        case "resume": self = .resume
        case "scale":
            guard let value = query["value"].flatMap({ Double($0) }), value.magnitude <= 32, value != 0 else {
                return nil
            }
            self = .scale(thousandths: Int((value * 1_000).rounded()))
        case "seek":
            guard let seconds = query["seconds"].flatMap({ Int($0) }), (0..<1 << 31).contains(seconds) else {
                return nil
            }
            self = .seek(seconds: seconds)
        default: return nil
        }
    }
}
