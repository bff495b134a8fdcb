import NIOHTTP1
import StreamHub
import Streaming

/// A request for an endless stream, as its head tells.
struct MediaHTTPRequest: Sendable, Equatable {
    var app: String
    var name: String
    var vhost: String?
    /// The `Host` header without its port.
    var host: String
    var query: String
    var token: String
    var selection: TrackSelection
    /// The client takes the audio as it was published.
    var wantsSourceAudio: Bool
    /// The key of a WebSocket upgrade.
    var webSocketKey: String?
    /// The client closes after this answer, so its end can mark the end of the body.
    var isLast: Bool
    /// The body is sent in chunks; else it ends with the connection, or with the stream of HTTP/2.
    var takesChunks: Bool
    var origin: String?
    var method: HTTPMethod

    /// Reads `/{app}/{stream}.flv`; `nil` for a path that is no stream's. `app` may have several components.
    init?(_ target: RequestTarget, _ fields: RequestFields) {
        let path = target.path
        guard path.utf8.count > 4, path.hasSuffix(".flv"), let slash = path.lastIndex(of: "/"),
            slash != path.startIndex
        else { return nil }
        self.app = String(path[path.index(after: path.startIndex)..<slash])
        self.name = String(path[path.index(after: slash)...].dropLast(4))
        self.query = String(target.query)
        var items: [Substring: String] = [:]
        target.forEachParameter { items[$0] = $1 }
        self.vhost = items["vhost"] ?? items["domain"]
        self.token = items["token"] ?? ""
        switch items["only"] {
        case "audio": self.selection = .audioOnly
        case "video": self.selection = .videoOnly
        default: self.selection = .all
        }
        self.wantsSourceAudio = items["audio"] == "source"
        self.host = RequestTarget.withoutPort(target.authority.map(String.init) ?? fields.host)
        self.origin = fields.origin
        self.method = fields.method
        self.isLast = fields.isLast
        self.takesChunks = fields.takesChunks
        self.webSocketKey = fields.webSocketKey
    }

    var framing: RenditionFraming {
        if self.webSocketKey != nil { return .webSocket }
        return self.takesChunks && !self.isLast ? .httpChunk : .none
    }
}
