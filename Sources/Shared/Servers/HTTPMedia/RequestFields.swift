import NIOHTTP1

/// What answers depend on of a request's head, other than its target. Read in one pass over the header fields.
struct RequestFields: Equatable {
    var method: HTTPMethod
    /// `Host`, as it came.
    var host = ""
    var origin: String?
    /// The connection closes after this answer, so its end can mark the end of the body: the client said so, or sends a body
    /// in a coding other than `chunked`, whose end proxies may see elsewhere (RFC 9112 §6.1).
    var isLast: Bool
    /// A body of unknown length can be sent in chunks.
    var takesChunks: Bool
    var range: String?
    var ifRange: String?
    var ifNoneMatch: String?
    var acceptsGzip = false
    var authorization: String?
    /// `Weir-Node` and `Weir-Hops`: another node asks.
    var node: String?
    var hops: String?
    /// The key of a WebSocket upgrade.
    var webSocketKey: String?
    /// `Content-Type` without its parameters, in lower case.
    var contentType: String?
    /// The client waits for 100 before it sends its body (RFC 9110 §10.1.1).
    var expectsContinue = false
    var userAgent = ""
    var referer: String?
    /// What proxies say of the client, lists in the order of the fields.
    var forwardedFor: String?
    var realIP: String?
    var forwarded: String?

    init(_ head: HTTPRequestHead) {
        self.method = head.method
        // Streams of HTTP/2 end by themselves.
        self.isLast = head.version == .http1_0 || head.version == .http0_9
        self.takesChunks = head.version == .http1_1
        var isUpgrade = false
        var hasCoding = false
        var isWebSocket = false
        for (name, value) in head.headers {
            switch name.utf8.count {
            case 4 where Self.is(name, "host"): self.host = value
            case 5 where Self.is(name, "range"): self.range = value
            case 6 where Self.is(name, "origin"): self.origin = value
            case 6 where Self.is(name, "expect"): self.expectsContinue = Self.is(value, "100-continue")
            case 7 where Self.is(name, "referer"): self.referer = value
            case 7 where Self.is(name, "upgrade"): isWebSocket = isWebSocket || Self.is(value, "websocket")
            case 8 where Self.is(name, "if-range"): self.ifRange = value
            case 9 where Self.is(name, "weir-node"): self.node = value
            case 9 where Self.is(name, "weir-hops"): self.hops = value
            case 9 where Self.is(name, "x-real-ip"): self.realIP = value
            case 9 where Self.is(name, "forwarded"): self.forwarded = self.forwarded.map { "\($0),\(value)" } ?? value
            case 10 where Self.is(name, "user-agent"): self.userAgent = value
            case 10 where Self.is(name, "connection"):
                let options = value.lowercased()
                if options.contains("close") { self.isLast = true }
                if options.contains("keep-alive"), head.version == .http1_0 { self.isLast = false }
                if options.contains("upgrade") { isUpgrade = true }
            case 12 where Self.is(name, "content-type"):
                self.contentType = value.prefix { $0 != ";" && $0 != " " }.lowercased()
            case 13 where Self.is(name, "if-none-match"):
                self.ifNoneMatch = self.ifNoneMatch.map { "\($0),\(value)" } ?? value
            case 13 where Self.is(name, "authorization"): self.authorization = value
            case 17 where Self.is(name, "transfer-encoding"):
                if hasCoding || !Self.is(value, "chunked") { self.isLast = true }
                hasCoding = true
            case 15 where Self.is(name, "x-forwarded-for"):
                self.forwardedFor = self.forwardedFor.map { "\($0),\(value)" } ?? value
            case 15 where Self.is(name, "accept-encoding"):
                self.acceptsGzip = self.acceptsGzip || Self.acceptsGzip(value)
            case 17 where Self.is(name, "sec-websocket-key"): self.webSocketKey = value
            default: continue
            }
        }
        if !(isUpgrade && isWebSocket && head.version == .http1_1) { self.webSocketKey = nil }
    }

    /// Whether a field name is `lowercase`, in whatever case it is written.
    private static func `is`(_ name: String, _ lowercase: StaticString) -> Bool {
        guard name.utf8.count == lowercase.utf8CodeUnitCount else { return false }
        return lowercase.withUTF8Buffer { wanted in
            var index = 0
            for byte in name.utf8 {
                guard unsafe byte == wanted[index] || byte | 0x20 == wanted[index] else { return false }
                index += 1
            }
            return true
        }
    }

    /// Whether `Accept-Encoding` allows gzip. Spec: RFC 9110 §12.5.3.
    static func acceptsGzip(_ value: String) -> Bool {
        var any: Bool?
        for item in value.lowercased().split(separator: ",") {
            let words = item.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" } }
            let isRefused = words.dropFirst().contains { word in
                word.hasPrefix("q=0") && word.dropFirst(3).allSatisfy { $0 == "0" || $0 == "." }
            }
            switch words.first {
            case "gzip", "x-gzip": return !isRefused
            case "*": any = !isRefused
            default: continue
            }
        }
        return any ?? false
    }
}
