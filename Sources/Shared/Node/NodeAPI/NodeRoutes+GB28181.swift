import Foundation
import GB28181
import GB28181Server
import MANSCDP
import NIOCore

/// Devices of GB/T 28181: `/api/v2/gb28181/…`, and SRS's `/gb/v1/publish/`.
///
/// `devices`, `devices/{id}` (GET, DELETE), `…/channels`, `…/catalog` (POST), `…/information`, `…/status`,
/// `devices/{id}/channels/{id}/play` (POST, DELETE), `…/ptz`, `…/control`, `…/records`, `…/playback` (POST),
/// `sessions`, `sessions/{number}` (DELETE), `sessions/{number}/control` (POST), `alarms`.
extension NodeAPI {
    func gb28181(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard let server = self.services.gb28181 else { return .notFound("this node takes no devices") }
        let path = Array(request.path.dropFirst())
        switch (path[0], path.count) {
        case ("devices", 1):
            guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
            return await self.deviceList(server, request.query)
        case ("devices", 2): return await self.device(server, path[1], request)
        case ("devices", 3): return await self.ask(server, path[1], path[2], request)
        case ("devices", 5) where path[2] == "channels":
            return await self.channel(
                server, DeviceChannel(device: path[1], channel: path[3]), path[4], request)
        case ("sessions", 1):
            guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
            return .json(.object(["sessions": .array(await server.sessions().map(Self.view))]))
        case ("sessions", 2...3): return await self.session(server, path, request)
        case ("alarms", 1):
            guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
            return await self.alarmList(server, request.query)
        default: return .notFound("there is no path \(request.target.prefix(200))")
        }
    }

    // MARK: Devices

    private func deviceList(_ server: GB28181Server, _ query: [String: String]) async -> NodeAPIResponse {
        switch Self.page(query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let page):
            let all = await server.devices().filter { device in
                query["online"].map { ($0 == "true") == device.isOnline } ?? true
            }
            let rest = all.drop { !page.after.isEmpty && $0.id <= page.after }
            let shown = rest.prefix(page.limit)
            return .json(
                .object([
                    "devices": .array(shown.map(Self.view)), "total": .count(all.count),
                    "next": rest.count > page.limit ? shown.last.map { .string($0.id) } : nil,
                ]))
        }
    }

    private func device(_ server: GB28181Server, _ id: String, _ request: NodeAPIRequest) async -> NodeAPIResponse {
        switch request.method {
        case "GET": return await server.device(id).map { .json(Self.view($0)) } ?? Self.refused(.unknownDevice)
        case "DELETE": return await server.forget(device: id) ? .noContent() : Self.refused(.unknownDevice)
        default: return .methodNotAllowed(["GET", "DELETE"])
        }
    }

    private func ask(
        _ server: GB28181Server, _ id: String, _ what: String, _ request: NodeAPIRequest
    ) async -> NodeAPIResponse {
        switch (what, request.method) {
        case ("channels", "GET"):
            guard let channels = await server.channels(of: id) else { return Self.refused(.unknownDevice) }
            return .json(.object(["channels": .array(channels.map(Self.view)), "total": .count(channels.count)]))
        case ("catalog", "POST"): return Self.answered(await server.request(id, .catalog))
        case ("information", "POST"): return Self.answered(await server.request(id, .information))
        case ("status", "POST"): return Self.answered(await server.request(id, .status))
        case ("channels", _): return .methodNotAllowed(["GET"])
        case ("catalog", _), ("information", _), ("status", _): return .methodNotAllowed(["POST"])
        default: return .notFound("devices have channels, catalog, information and status")
        }
    }

    // MARK: Channels

    private func channel(
        _ server: GB28181Server, _ source: DeviceChannel, _ action: String, _ request: NodeAPIRequest
    ) async -> NodeAPIResponse {
        let query = request.query
        switch (action, request.method) {
        case ("play", "POST"): return await self.play(server, source, query)
        case ("play", "DELETE"):
            guard let session = await server.liveSession(of: source) else { return Self.refused(.unknownSession) }
            return await server.stop(session: session) ? .noContent() : Self.refused(.unknownSession)
        case ("ptz", "POST"):
            do throws(InvalidRequest) {
                let command = try PTZCommand(query)
                return Self.answered(await server.request(source.device, .ptz(channel: source.channel, command)))
            } catch {
                return .invalid(error.text)
            }
        case ("control", "POST"):
            guard let (name, value) = Self.controls[query["command"] ?? ""] else {
                return .invalid("command is one of \(Self.controls.keys.sorted().joined(separator: ", "))")
            }
            return Self.answered(
                await server.request(
                    source.device, .control(channel: source.channel, name: name, value: value)))
        case ("records", "GET"):
            switch Self.times(query) {
            case .failure(let error): return .invalid(error.text)
            case .success(let times):
                return Self.answered(
                    await server.request(
                        source.device,
                        .recordings(channel: source.channel, start: times.start, end: times.end)))
            }
        case ("playback", "POST"): return await self.playback(server, source, query)
        case ("play", _): return .methodNotAllowed(["POST", "DELETE"])
        case ("ptz", _), ("control", _), ("playback", _): return .methodNotAllowed(["POST"])
        case ("records", _): return .methodNotAllowed(["GET"])
        default: return .notFound("channels have play, ptz, control, records and playback")
        }
    }

    /// Controls of GB/T 28181 A.2.3.1, by our names.
    private static let controls: [String: (String, String)] = [
        "record": ("RecordCmd", "Record"), "stop_record": ("RecordCmd", "StopRecord"),
        "guard": ("GuardCmd", "SetGuard"),
        "reset_guard": ("GuardCmd", "ResetGuard"), "reset_alarm": ("AlarmCmd", "ResetAlarm"),
        "keyframe": ("IFameCmd", "Send"), "reboot": ("TeleBoot", "Boot"),
    ]

    private func play(
        _ server: GB28181Server, _ source: DeviceChannel, _ query: [String: String]
    ) async -> NodeAPIResponse {
        var transport: DeviceTransport?
        if let text = query["transport"] {
            guard let known = DeviceTransport(rawValue: text.replacingOccurrences(of: "_", with: "-")) else {
                return .invalid("transport is tcp_passive, tcp_active or udp")
            }
            transport = known
        }
        return await self.begun(server, await server.play(source, transport: transport))
    }

    private func playback(
        _ server: GB28181Server, _ source: DeviceChannel, _ query: [String: String]
    ) async -> NodeAPIResponse {
        switch Self.times(query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let times):
            var what = DeviceSource.playback(start: times.start, end: times.end)
            if let text = query["download"] {
                guard let speed = Int(text), (1...32).contains(speed) else {
                    return .invalid("download is a speed from 1 to 32")
                }
                what = .download(start: times.start, end: times.end, speed: speed)
            }
            return await self.begun(server, await server.playback(source, what))
        }
    }

    private func begun(
        _ server: GB28181Server, _ result: Result<UInt64, DeviceRefusal>
    ) async -> NodeAPIResponse {
        switch result {
        case .failure(let refusal): return Self.refused(refusal)
        case .success(let id):
            guard let session = await server.sessions().first(where: { $0.id == id }) else {
                return .json(.object(["session": .count(id)]), status: 202)
            }
            return .json(Self.view(session), status: 202)
        }
    }

    /// Seconds since 1970.
    private static func times(_ query: [String: String]) -> Result<(start: Int64, end: Int64), InvalidRequest> {
        guard let start = query["start"].flatMap({ Int64($0) }), let end = query["end"].flatMap({ Int64($0) }),
            (0..<1 << 40).contains(start), (0..<1 << 40).contains(end), start < end
        else {
            return .failure(InvalidRequest(text: "start and end are times in seconds since 1970, one after the other"))
        }
        return .success((start, end))
    }

    // MARK: Sessions

    private func session(
        _ server: GB28181Server, _ path: [String], _ request: NodeAPIRequest
    ) async -> NodeAPIResponse {
        guard let id = UInt64(path[1]), let session = await server.sessions().first(where: { $0.id == id }) else {
            return Self.refused(.unknownSession)
        }
        switch (request.method, path.count) {
        case ("GET", 2): return .json(Self.view(session))
        case ("DELETE", 2): return await server.stop(session: id) ? .noContent() : Self.refused(.unknownSession)
        case (_, 2): return .methodNotAllowed(["GET", "DELETE"])
        case ("POST", _) where path[2] == "control":
            guard let control = PlaybackControl(request.query) else {
                return .invalid("action is pause, resume, scale (with value, such as 2.0) or seek (with seconds)")
            }
            return Self.answered(
                await server.request(session.source.device, .playback(session: id, control)))
        default: return .methodNotAllowed(["POST"])
        }
    }

    private func alarmList(_ server: GB28181Server, _ query: [String: String]) async -> NodeAPIResponse {
        switch Self.page(query) {
        case .failure(let error): return .invalid(error.text)
        case .success(let page):
            guard let after = page.after.isEmpty ? 0 : UInt64(page.after) else {
                return .invalid("after is the number of an alarm")
            }
            let alarms = await server.alarms(after: after, limit: page.limit)
            return .json(
                .object([
                    "alarms": .array(alarms.map(Self.view)), "next": alarms.last.map { .string("\($0.number)") },
                ]))
        }
    }

    // MARK: SRS

    private struct Announcement: Decodable {
        var id: String
        var ssrc: String
    }

    /// SRS's API for a SIP server elsewhere. `POST /gb/v1/publish/` with `id` and `ssrc`; `DELETE /gb/v1/publish/{id}`
    /// takes it back, which SRS cannot.
    func srsGB28181(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.path.count >= 3, request.path[2] == "publish" else {
            return .notFound("there is no path \(request.target.prefix(200))")
        }
        func answer(_ code: Int, _ text: String) -> NodeAPIResponse {
            .json(.object(["code": .count(code), "desc": .string(text)]))
        }
        guard let server = self.services.gb28181 else { return answer(1_018, "this node takes no devices") }
        switch (request.method, request.path.count) {
        case ("DELETE", 4):
            return server.withdraw(request.path[3]) ? .code(0) : answer(2_048, "nothing with this id was announced")
        case ("POST", 3):
            guard let body = try? JSONDecoder().decode(Announcement.self, from: Data(request.body.utf8)),
                !body.id.isEmpty, let ssrc = UInt32(body.ssrc), ssrc > 0
            else { return answer(1_018, "the body is {\"id\": \"…\", \"ssrc\": \"decimal number\"}") }
            guard let port = server.expect(body.id, ssrc: ssrc) else {
                return answer(1_028, "the id or the ssrc is in use, or the id makes no name of a stream")
            }
            return .json(.object(["code": .integer(0), "port": .count(port), "is_tcp": .bool(true)]))
        default: return .methodNotAllowed(request.path.count == 4 ? ["DELETE"] : ["POST"])
        }
    }
}
