package import NIOCore

/// The HTTP API of an origin or edge: SRS's below `/api/v1`, ours below `/api/v2`, `/metrics`, `/healthz`, `/readyz`.
///
/// It knows no sockets: its port (`NodeAPIResponder`) and requests of the coordinator come through the same `respond`.
/// Who may call is decided before: see `isOpen`. Any thread may call.
package final class NodeAPI: Sendable {
    let services: NodeAPIServices
    let lastReload = LastReload()
    private let series = StreamSeries()

    package init(_ services: NodeAPIServices) {
        self.services = services
    }

    /// Whether a path needs no credentials of the API: probes carry none, and publishers and players of WebRTC have those
    /// of their streams.
    package static func isOpen(path: String) -> Bool {
        ["/healthz", "/readyz", "/api/v1/health"].contains(path) || path.hasPrefix("/rtc/v1/")
    }

    /// Answers a request that came through the coordinator.
    package func respond(
        method: String, path: String, body: String?
    ) async -> (status: Int, contentType: String, body: ByteBuffer) {
        let answer: NodeAPIResponse
        if let request = NodeAPIRequest(method: method, target: path, body: body ?? "") {
            answer = await self.respond(request)
        } else {
            answer = .invalid("the path cannot be read")
        }
        return (answer.status, answer.contentType, answer.body)
    }

    /// Answers a request.
    package func respond(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        guard request.method == "HEAD" else { return await self.route(request) }
        var get = request
        get.method = "GET"
        var answer = await self.route(get)
        answer.body.clear()
        return answer
    }

    private func route(_ request: NodeAPIRequest) async -> NodeAPIResponse {
        switch request.path.first {
        case nil: return Self.get(request) { SRSDirectory.root(self.services) }
        case "metrics" where request.path.count == 1:
            guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
            return await NodeMetrics(services: self.services, series: self.series).answer(
                accept: request.headers["accept"])
        case "healthz" where request.path.count == 1:
            guard request.method == "GET" else { return .methodNotAllowed(["GET"]) }
            return await NodeHealth(services: self.services).alive()
        case "readyz" where request.path.count == 1:
            return Self.get(request) { NodeHealth(services: self.services).ready() }
        case "gb" where request.path.dropFirst().first == "v1": return await self.srsGB28181(request)
        case "api":
            var inner = request
            inner.path.removeFirst(min(2, request.path.count))
            switch request.path.dropFirst().first {
            case nil: return Self.get(request) { SRSDirectory.api(self.services) }
            case "v1": return await self.srs(inner)
            case "v2": return Self.tagged(await self.own(inner), request)
            default: break
            }
        default: break
        }
        return .notFound("the node's API has no path \(request.target.prefix(200))")
    }

    static func get(_ request: NodeAPIRequest, _ body: () -> NodeAPIResponse) -> NodeAPIResponse {
        request.method == "GET" ? body() : .methodNotAllowed(["GET"])
    }

    /// Gives a list its entity tag, and leaves its body out if the caller has it. Spec: RFC 9110 §8.8.3, §13.1.2.
    private static func tagged(_ answer: NodeAPIResponse, _ request: NodeAPIRequest) -> NodeAPIResponse {
        guard request.method == "GET", answer.status == 200, answer.contentType == NodeAPIResponse.jsonType
        else { return answer }
        var hasher = Hasher()
        hasher.combine(answer.body)
        // The hash has a key of this process, so a tag counts until the node restarts. Weak: it is no proof.
        let tag = "W/\"\(String(UInt(bitPattern: hasher.finalize()), radix: 36))\""
        var tagged = answer
        tagged.headers = [("Cache-Control", "no-cache"), ("ETag", tag)]
        let known = (request.headers["if-none-match"] ?? "").split(separator: ",").contains { part in
            let text = part.filter { $0 != " " }
            return text == tag || text == "*" || "W/\(text)" == tag
        }
        guard known else { return tagged }
        tagged.status = 304
        tagged.body.clear()
        return tagged
    }
}
