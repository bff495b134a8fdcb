import HTTPTypes
import Media
import NIOHTTPTypes
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
    /// The key of a WebSocket upgrade.
    var webSocketKey: String?
    /// The client closes after this answer, so its end can mark the end of the body.
    var isLast: Bool
    var origin: String?
    var method: HTTPRequest.Method

    /// Reads `/{app}/{stream}.flv`; `nil` for a path that is no stream's. `app` may have several components.
    init?(_ head: HTTPRequest) {
        let target = head.path ?? "/"
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = (parts[0].removingPercentEncoding() ?? String(parts[0]))
        guard path.hasSuffix(".flv"), let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return nil }
        self.app = String(path[path.index(after: path.startIndex)..<slash])
        self.name = String(path[path.index(after: slash)...].dropLast(4))
        self.query = parts.count > 1 ? String(parts[1]) : ""
        var items: [String: String] = [:]
        for item in self.query.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            items[String(pair[0])] = pair.count > 1 ? pair[1].removingPercentEncoding() ?? String(pair[1]) : ""
        }
        self.vhost = items["vhost"] ?? items["domain"]
        self.token = items["token"] ?? ""
        switch items["only"] {
        case "audio": self.selection = .audioOnly
        case "video": self.selection = .videoOnly
        default: self.selection = .all
        }
        self.host = Self.withoutPort(head.authority ?? "")
        self.origin = head.headerFields[.origin]
        self.method = head.method
        let connection = head.headerFields[.connection]?.lowercased() ?? ""
        self.isLast = connection.contains("close")
        let upgrades = head.headerFields[.upgrade]?.lowercased() == "websocket" && connection.contains("upgrade")
        self.webSocketKey = upgrades ? head.headerFields[.secWebSocketKey] : nil
    }

    private static func withoutPort(_ authority: String) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            return authority[authority.index(after: authority.startIndex)..<end].lowercased()
        }
        return authority.prefix { $0 != ":" }.lowercased()
    }

    var framing: RenditionFraming {
        if self.webSocketKey != nil { return .webSocket }
        return self.isLast ? .none : .httpChunk
    }
}

extension Substring {
    /// The text behind `%XX` escapes; `nil` if an escape or the UTF-8 behind it is broken.
    fileprivate func removingPercentEncoding() -> String? {
        guard self.utf8.contains(UInt8(ascii: "%")) else { return String(self) }
        var bytes: [UInt8] = []
        var rest = self.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexValue, let low = rest.popFirst()?.hexValue else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension UInt8 {
    fileprivate var hexValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
