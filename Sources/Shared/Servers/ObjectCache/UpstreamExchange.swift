import Media
import MediaObjects
import NIOCore
import NIOHTTP1
import Playlists

/// What two nodes say to each other about an object: the request's URL and headers, and what the answer's mean.
enum UpstreamExchange {
    /// Names the node that asks.
    static let nodeHeader = "Weir-Node"
    /// How many nodes the request has come over, with the one that asks.
    static let hopsHeader = "Weir-Hops"

    /// The object's URL at a node.
    static func url(of request: MediaObjectRequest, at upstream: ObjectUpstream) -> String {
        let host = upstream.host.utf8.contains(UInt8(ascii: ":")) ? "[\(upstream.host)]" : upstream.host
        let path = RelativeURI.encode(path: request.name.path(of: request.key))
        var words = request.query == MediaObjectQuery() ? [] : [request.query.text]
        if request.key.vhost != StreamKey.defaultVhost {
            words.append("vhost=\(RelativeURI.encode(path: request.key.vhost))")
        }
        let tail = words.isEmpty ? "" : "?" + words.joined(separator: "&")
        return "http://\(host):\(upstream.httpPort)\(path)\(tail)"
    }

    /// What an answer without an object means; `nil` if `status` brings one.
    static func result(of status: HTTPResponseStatus, from node: String) -> FetchResult? {
        switch status.code {
        case 200: nil
        case 304: .notModified
        case 400: .refused(.badRequest("the stream's node refuses the query"))
        case 401, 403: .refused(.forbidden("the stream's node refuses the request"))
        case 404, 410: .notFound("no such object")
        case 409: .refused(.conflict("it is spread over several nodes"))
        default: .failed("\(node) answers \(status.code)")
        }
    }

    /// The body's length in bytes as the head announces it.
    enum BodyLength: Equatable {
        case bytes(Int)
        case chunked
        /// It ends with the connection, so that a part of it looks like all of it; or the head contradicts itself.
        case unknown
    }

    static func bodyLength(_ headers: HTTPHeaders) -> BodyLength {
        let codings = headers[canonicalForm: "transfer-encoding"]
        let lengths = headers[canonicalForm: "content-length"]
        if codings.isEmpty {
            guard let first = lengths.first, lengths.allSatisfy({ $0 == first }), let count = Int(first), count >= 0
            else {
                return .unknown
            }
            return .bytes(count)
        }
        return codings.count == 1 && codings[0].lowercased() == "chunked" && lengths.isEmpty ? .chunked : .unknown
    }

    /// A strong validator without its quotes. Spec: RFC 9110 §8.8.3.
    static func etag(_ headers: HTTPHeaders) -> String? {
        guard let text = headers.first(name: "etag"), text.utf8.count >= 3, text.utf8.count <= 256, text.first == "\"",
            text.last == "\""
        else { return nil }
        let inner = text.dropFirst().dropLast()
        return inner.utf8.allSatisfy { $0 > 0x20 && $0 != UInt8(ascii: "\"") && $0 != 0x7F } ? String(inner) : nil
    }

    /// A validator with its quotes.
    static func quoted(_ etag: String) -> String { "\"\(etag)\"" }

    /// The type as the node tells it, without what no type has; else what objects of that name are.
    static func contentType(_ headers: HTTPHeaders, _ name: MediaObjectName) -> String {
        if let told = headers[canonicalForm: "content-type"].first, (3...128).contains(told.utf8.count),
            told.utf8.allSatisfy({ (0x20..<0x7F).contains($0) })
        {
            return String(told)
        }
        switch name {
        case .multivariant, .playlist, .recording(.playlist): return MediaObject.ContentType.hls
        case .manifest: return MediaObject.ContentType.dash
        case .snapshot: return MediaObject.ContentType.jpeg
        case .info: return MediaObject.ContentType.json
        case .key: return MediaObject.ContentType.key
        case .segment(.main, _, _), .part(.main, _, _, _): return MediaObject.ContentType.mpegTS
        case .segment, .part, .recording(.segment): return MediaObject.ContentType.segment
        case .initialization, .recording: return MediaObject.ContentType.mp4
        }
    }

    /// How long the object may be kept.
    ///
    /// What never changes by its name is immutable. A media playlist is kept as long as its own target durations allow,
    /// or shorter if the node says so: whole seconds, the only unit of `max-age`, are too coarse for parts of 200 ms.
    static func lifetime(
        _ headers: HTTPHeaders, _ name: MediaObjectName, _ facts: PlaylistFacts?
    ) -> MediaObject.Lifetime {
        if case .key = name { return .uncacheable }
        if name.isImmutable { return .immutable }
        let text = headers[canonicalForm: "cache-control"].joined(separator: ",")
        let told = MediaObject.Lifetime(cacheControl: text) ?? .seconds(1)
        switch (told, facts) {
        case (.seconds(let seconds), let facts?): return .seconds(min(max(seconds, 1), facts.lifetimeSeconds))
        case (.immutable, let facts?): return .seconds(facts.lifetimeSeconds)
        default: return told
        }
    }

    /// When the object was made, by the clock of this node. Spec: RFC 9111 §4.2.3.
    static func storedAt(_ headers: HTTPHeaders, now: NIODeadline) -> NIODeadline {
        guard let text = headers.first(name: "age"), let seconds = Int64(text), (1...86_400).contains(seconds) else {
            return now
        }
        return now - .seconds(seconds)
    }

    /// The file name of `Content-Disposition: attachment; filename="…"`, as this project's nodes write it.
    static func attachmentName(_ headers: HTTPHeaders) -> String? {
        guard let text = headers.first(name: "content-disposition"), text.lowercased().hasPrefix("attachment"),
            let start = text.range(ofASCII: "filename=\"")
        else { return nil }
        let name = text[start...].prefix { $0 != "\"" }
        let isPlain = name.utf8.allSatisfy { (0x20..<0x7F).contains($0) && $0 != UInt8(ascii: "\\") }
        return (1...200).contains(name.utf8.count) && isPlain ? String(name) : nil
    }
}

extension String {
    /// Where the text behind the first occurrence of `needle` begins.
    fileprivate func range(ofASCII needle: String) -> String.Index? {
        var start = self.startIndex
        while start < self.endIndex {
            if self[start...].hasPrefix(needle) { return self.index(start, offsetBy: needle.count) }
            start = self.index(after: start)
        }
        return nil
    }
}
