import Crypto
import Media
import NIOCore

/// One request to one receiver.
struct HookCall: Sendable {
    var event: HookEvent
    var url: String
    /// `nil`: a GET without a body.
    var body: ByteBuffer?
    /// The same for all tries, so that the receiver can drop what it has.
    var delivery: String

    init(_ event: HookEvent, url: String, body: ByteBuffer?) {
        self.event = event
        self.url = url
        self.body = body
        self.delivery = Self.hexadecimal(.random(in: .min ... .max)) + Self.hexadecimal(.random(in: .min ... .max))
    }

    private static func hexadecimal(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// What the failures of a URL are counted by: scheme, host and port.
    static func origin(of url: String) -> String {
        guard let scheme = url.firstRange(of: "://") else { return url }
        let rest = url[scheme.upperBound...]
        return String(url[..<scheme.upperBound]) + rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    }

    /// The URL without what may be secret: user, password and query.
    static func printable(_ url: String) -> String {
        let bare = url.prefix { $0 != "?" && $0 != "#" }
        guard let scheme = bare.firstRange(of: "://") else { return String(bare) }
        let authority = bare[scheme.upperBound...].prefix { $0 != "/" }
        guard let at = authority.lastIndex(of: "@") else { return String(bare) }
        return String(bare[..<scheme.upperBound]) + bare[bare.index(after: at)...]
    }

    /// The part of the URL that a request line has: path and query.
    static func target(of url: String) -> String {
        guard let scheme = url.firstRange(of: "://") else { return "/" }
        let rest = url[scheme.upperBound...]
        guard let start = rest.firstIndex(where: { $0 == "/" || $0 == "?" }) else { return "/" }
        let target = rest[start...].prefix { $0 != "#" }
        return target.first == "/" ? String(target) : "/" + target
    }

    /// `Weir-Signature`: `t=<unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>", in hexadecimal>`. Of a request without a body,
    /// the target (path and query) is signed in its place.
    func signature(secret: String, unixSeconds: Int64) -> String {
        var hash = HMAC<SHA256>(key: SymmetricKey(data: Array(secret.utf8)))
        hash.update(data: Array("\(unixSeconds).".utf8))
        if let body = self.body {
            hash.update(data: Array(body.readableBytesView))
        } else {
            hash.update(data: Array(Self.target(of: self.url).utf8))
        }
        let digits = hash.finalize().map { byte in
            String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
        }
        return "t=\(unixSeconds),v1=\(digits.joined())"
    }
}

/// The URL templates of `on_hls_notify`.
enum NotifyURL {
    /// Fills the placeholders `[server_id] [service_id] [app] [stream] [ts_url] [param]` in, each once. What peers wrote
    /// is percent-encoded, so it cannot change another part of the URL. A segment with a URL of its own takes the template's
    /// place.
    static func make(
        _ template: String, _ configuration: HooksConfiguration, _ segment: HookSegment, parameter: String
    ) -> String {
        if segment.url.hasPrefix("http://") || segment.url.hasPrefix("https://") { return segment.url }
        var url = ""
        var rest = template[...]
        while let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") {
            url += rest[..<open]
            url +=
                self.value(rest[rest.index(after: open)..<close], configuration, segment, parameter)
                ?? String(rest[open...close])
            rest = rest[rest.index(after: close)...]
        }
        return url + rest
    }

    private static func value(
        _ name: Substring, _ configuration: HooksConfiguration, _ segment: HookSegment, _ parameter: String
    ) -> String? {
        switch name {
        case "server_id": self.encoded(configuration.serverID)
        case "service_id": self.encoded(configuration.serviceID)
        case "app": self.encoded(segment.key.app)
        case "stream": self.encoded(segment.key.name)
        case "ts_url": self.encoded(segment.url)
        case "param": self.encoded(parameter, keeping: "?&=%+;,:@!$'()*")
        default: nil
        }
    }

    private static func encoded(_ text: String, keeping more: String = "") -> String {
        let kept = Set("-._~/".utf8).union(more.utf8)
        var encoded = ""
        for byte in text.utf8 {
            let scalar = Unicode.Scalar(byte)
            if scalar.properties.isAlphabetic, byte < 0x80 {
                encoded.unicodeScalars.append(scalar)
            } else if (0x30...0x39).contains(byte) || kept.contains(byte) {
                encoded.unicodeScalars.append(scalar)
            } else {
                encoded += "%" + String(byte >> 4, radix: 16, uppercase: true)
                encoded += String(byte & 15, radix: 16, uppercase: true)
            }
        }
        return encoded
    }
}
