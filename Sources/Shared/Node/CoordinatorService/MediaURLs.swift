import Media
import Placement

/// How a stream is played or published, as URLs say it.
enum MediaProtocol: String, Codable, Hashable, CaseIterable {
    case rtmp, flv
    case wsFLV = "ws-flv"
    case hls, dash
    /// By WHEP, and by WHIP for publishers.
    case webRTC = "webrtc"
}

/// Answer of `GET /api/v1/routes/play` and `…/publish` with `format`.
struct MediaURLs: Codable, Hashable {
    struct Entry: Codable, Hashable {
        var `protocol`: MediaProtocol
        var url: String
        var node: NodeID
        var region: String
        var role: NodeRole
        var utilisation: Double
    }

    var key: StreamKey
    var isLive: Bool
    var urls: [Entry]

    /// What a node in another region counts as more loaded than it is.
    private static let regionPenalty = 1.0
    /// What a node that is silent at the moment counts as more loaded than it is.
    private static let suspectPenalty = 10.0
    /// Nodes whose load differs by less are as good as each other; loads are a second old.
    private static let tolerance = 0.05

    /// The least loaded nodes, those of `region` first, at most `limit`.
    ///
    /// Nodes that are about equally loaded are told in turn at random, so that those who ask within one second do not
    /// all go to the same one.
    static func best(of nodes: [MediaNode], region: String, limit: Int) -> [MediaNode] {
        let weighed = nodes.map { node in
            let penalty = region.isEmpty || node.node.region == region ? 0 : self.regionPenalty
            let load = node.utilisation + penalty + (node.isSuspect ? self.suspectPenalty : 0)
            return (node: node, step: (load / self.tolerance).rounded(.down), draw: UInt32.random(in: 0...UInt32.max))
        }
        return weighed.sorted { ($0.step, $0.draw) < ($1.step, $1.draw) }.prefix(limit).map(\.node)
    }

    /// `nil` if the node does not serve the protocol.
    static func url(
        of key: StreamKey, at node: MediaNode, by protocol: MediaProtocol, toPublish: Bool = false
    ) -> Entry? {
        let path = "/\(self.escaped(key.app))/\(self.escaped(key.name))"
        let vhost = key.vhost == StreamKey.defaultVhost ? "" : "?vhost=\(self.escaped(key.vhost))"
        let host = self.host(node.node)
        let http = "\(host):\(node.node.httpPort)"
        guard node.node.httpPort > 0 || `protocol` == .rtmp else { return nil }
        let url =
            switch `protocol` {
            case .rtmp: "rtmp://\(host):\(node.node.rtmpPort)\(path)\(vhost)"
            case .flv: "http://\(http)\(path).flv\(vhost)"
            case .wsFLV: "ws://\(http)\(path).flv\(vhost)"
            case .hls: "http://\(http)\(path).m3u8\(vhost)"
            case .dash: "http://\(http)\(path).mpd\(vhost)"
            case .webRTC: "http://\(http)\(path)/\(toPublish ? "whip" : "whep")\(vhost)"
            }
        return Entry(
            protocol: `protocol`, url: url, node: node.node.id, region: node.node.region, role: node.node.role,
            utilisation: node.utilisation)
    }

    /// The host as URLs have it: IPv6 addresses in brackets. Spec: RFC 3986 §3.2.2.
    static func host(_ node: NodeDescription) -> String {
        node.host.contains(":") && !node.host.hasPrefix("[") ? "[\(node.host)]" : self.escaped(node.host)
    }

    /// Everything but unreserved characters and slashes is percent-encoded. Spec: RFC 3986 §2.3.
    static func escaped(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"), UInt8(ascii: "/"):
                escaped.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                escaped += digits.utf8.count == 1 ? "%0\(digits)" : "%\(digits)"
            }
        }
        return escaped
    }
}
