import Media
import NIOCore
import StreamHub
import Synchronization

/// What became of the last reload, for `rpc=reload-fetch`.
final class LastReload: Sendable {
    struct State {
        /// SRS's states: 0 never, 10 under way, 90 over.
        var state = 0
        var error = 0
        var message = "Success"
        var id = ""
    }

    private let state = Mutex(State())

    var current: State { self.state.withLock { $0 } }

    /// `false` if one is under way.
    func begin() -> Bool {
        let id = String(UInt64.random(in: .min ... .max), radix: 36)
        return self.state.withLock { state in
            guard state.state != 10 else { return false }
            state = State(state: 10, error: 0, message: "Success", id: String(id.suffix(7)))
            return true
        }
    }

    func end(_ result: NodeReload) {
        self.state.withLock { state in
            state.state = 90
            state.error = result.succeeded ? 0 : SRSRaw.Code.invalidConfiguration
            state.message = result.message
        }
    }
}

/// SRS's raw API and the look-up of an origin cluster.
struct SRSRaw {
    enum Code {
        static let invalidConfiguration = 1023
        static let rawFailed = 1060
        static let rawDisabled = 1061
    }

    let services: NodeAPIServices
    let lastReload: LastReload

    func answer(_ query: [String: String]) async -> NodeAPIResponse {
        let options = self.services.options()
        switch query["rpc"] {
        case "raw":
            return .json(
                .object([
                    "code": .integer(0),
                    "http_api": .object([
                        "enabled": .bool(true), "listen": .string("\(options.apiPort)"),
                        "crossdomain": .bool(options.crossdomain),
                        "raw_api": .object([
                            "enabled": .bool(options.allowsRawReload),
                            "allow_reload": .bool(options.allowsRawReload), "allow_query": .bool(false),
                            "allow_update": .bool(false),
                        ]),
                    ]),
                ]))
        case "reload":
            guard options.allowsRawReload else { return .code(Code.rawDisabled) }
            guard self.lastReload.begin() else { return .code(Code.rawFailed) }
            self.lastReload.end(await self.services.reload())
            return .code(0)
        case "reload-fetch":
            let last = self.lastReload.current
            return .json(
                .object([
                    "code": .integer(0),
                    "data": .object([
                        "err": .count(last.error), "msg": .string(last.message), "state": .count(last.state),
                        "rid": .string(last.id),
                    ]),
                ]))
        default:
            return .code(options.allowsRawReload ? Code.rawFailed : Code.rawDisabled)
        }
    }

    /// Whether a stream is published on this node, as an edge of SRS asks its origins.
    func clusters(_ query: [String: String]) async -> NodeAPIResponse {
        let vhost = self.services.vhostOfDomain(query["vhost"] ?? "")
        let key = try? StreamKey(vhost: vhost, app: query["app"] ?? "", name: query["stream"] ?? "")
        var origin = JSONValue.null
        if let key, let stream = await self.services.stream(key), stream.isHeld, stream.isLive {
            origin = self.origin(query)
        }
        return .json(
            .object([
                "code": .integer(0),
                "data": .object([
                    "query": .object([
                        "ip": .string(query["ip"] ?? ""), "vhost": .string(query["vhost"] ?? ""),
                        "app": .string(query["app"] ?? ""), "stream": .string(query["stream"] ?? ""),
                    ]),
                    "origin": origin,
                ]),
            ]))
    }

    private func origin(_ query: [String: String]) -> JSONValue {
        let options = self.services.options()
        let caller = Self.host(query["coworker"] ?? "")
        func shown(_ host: String) -> String { ["0.0.0.0", "::", ""].contains(host) ? caller : host }
        let api = "\(Self.bracketed(shown(options.apiHost))):\(options.apiPort)"
        return .object([
            "ip": .string(shown(options.rtmpHost)), "port": .count(options.rtmpPort),
            "vhost": .string(query["vhost"] ?? ""), "api": .string(api), "routers": .array([.string(api)]),
        ])
    }

    private static func bracketed(_ host: String) -> String { host.contains(":") ? "[\(host)]" : host }

    /// The host of `host:port`, `[v6]:port` or a bare host.
    static func host(_ text: String) -> String {
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            return String(text[text.index(after: text.startIndex)..<end])
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 2 ? String(parts[0]) : text
    }
}
