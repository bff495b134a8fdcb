import Media
import Placement
import SRTAccess

/// How a stream is played or published, as URLs say it.
enum MediaProtocol: String, Codable, Hashable, CaseIterable {
    case rtmp
    /// Over HTTP: fetched by players, posted by publishers.
    case flv
    case wsFLV = "ws-flv"
    case hls, dash
    /// By WHEP, and by WHIP for publishers.
    case webRTC = "webrtc"
    /// An MPEG transport stream over HTTP.
    case ts
    case srt, rtsp
    /// RTSP over TLS.
    case rtsps

    /// Publishers can use it, too.
    var takesPublishers: Bool {
        switch self {
        case .rtmp, .flv, .webRTC, .srt, .rtsp, .rtsps: true
        case .wsFLV, .hls, .dash, .ts: false
        }
    }
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
        guard self.serves(node.node, `protocol`, toPublish: toPublish) else { return nil }
        let host = self.host(node.node)
        let http = "\(host):\(node.node.httpPort)"
        let url: String
        switch `protocol` {
        case .rtmp: url = "rtmp://\(host):\(node.node.rtmpPort)\(path)\(vhost)"
        case .flv: url = "http://\(http)\(path).flv\(vhost)"
        case .wsFLV: url = "ws://\(http)\(path).flv\(vhost)"
        case .ts: url = "http://\(http)\(path).ts\(vhost)"
        case .hls: url = "http://\(http)\(path).m3u8\(vhost)"
        case .dash: url = "http://\(http)\(path).mpd\(vhost)"
        case .webRTC: url = "http://\(http)\(path)/\(toPublish ? "whip" : "whep")\(vhost)"
        case .srt:
            guard let query = self.srtQuery(of: key, toPublish: toPublish) else { return nil }
            url = "srt://\(host):\(node.node.srtPort ?? 0)?\(query)"
        case .rtsp: url = "rtsp://\(host):\(node.node.rtspPort ?? 0)\(path)\(vhost)"
        case .rtsps: url = "rtsps://\(host):\(node.node.rtspsPort ?? 0)\(path)\(vhost)"
        }
        return Entry(
            protocol: `protocol`, url: url, node: node.node.id, region: node.node.region, role: node.node.role,
            utilisation: node.utilisation)
    }

    /// Whether a node has the protocol at all.
    private static func serves(
        _ node: NodeDescription, _ protocol: MediaProtocol, toPublish: Bool
    ) -> Bool {
        guard `protocol`.takesPublishers || !toPublish else { return false }
        return switch `protocol` {
        case .rtmp: true
        case .wsFLV, .hls, .dash, .webRTC: node.httpPort > 0
        case .flv: node.httpPort > 0 && (!toPublish || node.takesPostedFLV == true)
        case .ts: node.servesTransportStreams
        case .srt: (node.srtPort ?? 0) > 0
        case .rtsp: (node.rtspPort ?? 0) > 0
        case .rtsps: (node.rtspsPort ?? 0) > 0
        }
    }

    /// `streamid=%23%21::r=live/demo,m=request`; `nil` for streams that no stream id can name: apps with slashes, and names
    /// that are too long.
    ///
    /// The stream id is escaped once more for the URL, in which `#` would begin a fragment. Many clients undo that before
    /// they send it, as ffmpeg does; others, such as OBS, leave it to the server. Spec: SRT access control guidelines.
    private static func srtQuery(of key: StreamKey, toPublish: Bool) -> String? {
        let id = SRTStreamID(
            host: key.vhost == StreamKey.defaultVhost ? nil : key.vhost, app: key.app, name: key.name,
            mode: toPublish ? .publish : .request)
        let value = self.escaped(id.text, alsoPlain: ":,=")
        // Those who do not undo the escapes send all of it.
        guard !key.app.contains("/"), value.utf8.count <= SRTStreamID.maximumLength else { return nil }
        return "streamid=\(value)"
    }

    /// The host as URLs have it: IPv6 addresses in brackets. Spec: RFC 3986 §3.2.2.
    static func host(_ node: NodeDescription) -> String {
        node.host.contains(":") && !node.host.hasPrefix("[") ? "[\(node.host)]" : self.escaped(node.host)
    }

    /// Everything but unreserved characters, slashes and those of `alsoPlain` is percent-encoded. Spec: RFC 3986 §2.3.
    static func escaped(_ text: String, alsoPlain: String = "") -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case _ where alsoPlain.utf8.contains(byte): escaped.unicodeScalars.append(Unicode.Scalar(byte))
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
