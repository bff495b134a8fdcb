import MediaObjects
import NIOHTTP1
import StreamHub
import Streaming

/// A request for an endless stream, as its head tells.
struct MediaHTTPRequest: Sendable, Equatable {
    var app: String
    var name: String
    var format: MediaHTTPFormat
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

    /// Reads `/{app}/{stream}.flv`, `.ts`, `.aac` and `.mp3`; `nil` for a path that is no stream's. `app` may have several
    /// components. The segments of a stream, whose names begin with `_`, are files and no streams.
    init?(_ target: RequestTarget, _ fields: RequestFields) {
        let path = target.path
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")), slash != path.startIndex else { return nil }
        var file = path[path.utf8.index(after: slash)...]
        if file.utf8.first == UInt8(ascii: "_"), MediaObjectName(fileName: String(file)) != nil { return nil }
        guard let format = MediaHTTPFormat.split(from: &file) else { return nil }
        self.format = format
        self.app = String(path[path.utf8.index(after: path.startIndex)..<slash])
        self.name = String(file)
        self.query = String(target.query)
        var items: [Substring: String] = [:]
        target.forEachParameter { items[$0] = $1 }
        self.vhost = items["vhost"] ?? items["domain"]
        self.token = items["token"] ?? ""
        switch items["only"] {
        case _ where format.audio != nil: self.selection = .audioOnly
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
