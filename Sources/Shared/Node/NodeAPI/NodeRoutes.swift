import Media
import NIOCore
import ProcessStats
import StreamHub

extension NodeAPI {
    /// Our own API. `request.path` is what follows `/api/v2`. Lists have cursors: `after` and `limit`, and `next` while
    /// there is more.
    func own(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        switch (request.path.first, request.path.count) {
        case (nil, _), ("node", 1): return await self.ownNode(request)
        case ("sessions", 1...2): return self.sessions(request)
        case ("streams", 1...): return await self.ownStreams(request)
        case ("recordings", 1...2), ("record", 1...2): return await self.recordings(request)
        case ("snapshot", 1): return await self.snapshot(request)
        case ("settings", 1):
            return Self.get(request) {
                let document = self.services.settings()
                return NodeAPIResponse(
                    status: 200, contentType: document.contentType, headers: [("Cache-Control", "no-store")],
                    body: ByteBuffer(string: document.text))
            }
        case ("reload", 1): return await self.reload(request)
        case ("drain", 1): return await self.drain(request)
        case ("storage", 1): return Self.get(request) { self.storage() }
        case ("cache", 1): return Self.get(request) { self.cache() }
        case ("hooks", 1): return Self.get(request) { self.hooks() }
        case ("gb28181", 2...): return await self.gb28181(request)
        case ("forwards", 1): return Self.get(request) { self.forwards() }
        case ("pulls", 1): return Self.get(request) { self.pulls() }
        default: return .notFound("there is no path \(request.target.prefix(200))")
        }
    }

    private func ownNode(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
        let sample = self.services.sampler.sample()
        let totals = self.services.sessions.totals()
        let identity = self.services.identity
        return .json(
            .object([
                "node": .string(identity.node), "role": .string(identity.role), "region": .string(identity.region),
                "version": .string(identity.version), "startedMillis": .integer(identity.startedMillis),
                "draining": .bool(self.services.readiness().isDraining),
                "streams": .count(await self.services.streams().count),
                "sessions": .count(self.services.sessions.counts.open), "publishers": .count(totals.publishers),
                "players": .counts(totals.players), "relays": .count(totals.relays),
                "receivedBytes": .count(totals.receivedBytes), "sentBytes": .count(totals.sentBytes),
                "receivedBitsPerSecond": .count(totals.receivedBitsPerSecond),
                "sentBitsPerSecond": .count(totals.sentBitsPerSecond), "cores": .number(sample.rates.processCores),
                "residentBytes": .count(sample.residentBytes), "openFiles": .count(sample.descriptors.open),
                "maximumOpenFiles": .count(sample.descriptors.limit),
                "loopLagMillis": .array(
                    self.services.loops.lags().map { .number(Double($0.maximum.nanoseconds) / 1e6) }),
            ]))
    }

    private func reload(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "POST" else { return .methodNotAllowed(["POST"]) }
        guard self.lastReload.begin() else {
            return .problem("reload-under-way", 409, "The settings are being reloaded by another request")
        }
        let result = await self.services.reload()
        self.lastReload.end(result)
        return .json(
            .object([
                "succeeded": .bool(result.succeeded), "message": .string(result.message), "result": .raw(result.json),
            ]), status: result.succeeded ? 200 : 422)
    }

    private func drain(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        switch request.method {
        case "GET": break
        case "POST": await self.services.setDraining(true)
        case "DELETE": await self.services.setDraining(false)
        default: return .methodNotAllowed(["GET", "POST", "DELETE"])
        }
        let totals = self.services.sessions.totals()
        return .json(
            .object([
                "draining": .bool(self.services.readiness().isDraining), "publishers": .count(totals.publishers),
                "players": .count(totals.playerCount), "relays": .count(totals.relays),
            ]))
    }

    // MARK: Parameters

    /// A number of entries, and the cursor behind which they are; or what is wrong with them.
    static func page(
        _ query: [String: String], standard: Int = 100, maximum: Int = 1_000
    ) -> Result<(after: String, limit: Int), InvalidRequest> {
        guard let given = query["limit"] else { return .success((query["after"] ?? "", standard)) }
        guard let limit = Int(given), (1...maximum).contains(limit) else {
            return .failure(InvalidRequest(text: "limit is a number from 1 to \(maximum)"))
        }
        return .success((query["after"] ?? "", limit))
    }

    /// The stream that `key=vhost/app/name` (or `app/name`, in the default vhost), or `app`, `stream` and perhaps
    /// `vhost`, name.
    func key(_ query: [String: String]) -> Result<StreamKey, InvalidRequest> {
        if let text = query["key"] { return self.key(text) }
        guard let app = query["app"], let name = query["stream"] else {
            return .failure(InvalidRequest(text: "the stream is named by key=app/name, or by app and stream"))
        }
        return Self.key(vhost: query["vhost"] ?? StreamKey.defaultVhost, app: app, name: name)
    }

    /// The first part is a vhost if it is one of ours and two more follow.
    func key(_ text: String) -> Result<StreamKey, InvalidRequest> {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count >= 2 else {
            return .failure(InvalidRequest(text: "a key is app/name, or vhost/app/name"))
        }
        let isNamed = parts.count > 2 && self.services.vhosts().contains { $0.name == parts[0] }
        let rest = isNamed ? parts.dropFirst() : parts[...]
        return Self.key(
            vhost: isNamed ? parts[0] : StreamKey.defaultVhost, app: rest.first ?? "",
            name: rest.dropFirst().joined(separator: "/"))
    }

    private static func key(vhost: String, app: String, name: String) -> Result<StreamKey, InvalidRequest> {
        do {
            return .success(try StreamKey(vhost: vhost, app: app, name: name))
        } catch {
            return .failure(InvalidRequest(text: "the parameters name no stream: \(error)"))
        }
    }
}

/// A parameter that cannot be understood, in words for the caller.
struct InvalidRequest: Error, Hashable {
    var text: String
}
