package import Media

/// A signature for a stream, or for an app, in both places where it can stand.
///
/// The two forms carry the same code. `SignedPath` is for files: it stands in front of the path, so that the relative
/// addresses in playlists keep it. RTMP, HTTP-FLV and WebSocket have one address for a session, and take the query
/// `expires={expires}&signature={signature}`; there the signature may be in hexadecimal, too, and covers the stream or its
/// app, whichever fits.
package struct SignedURL: Sendable, Hashable {
    /// `/~{expires}{scope}~{signature}`, without a `/` at its end: goes in front of `/app/name.m3u8`.
    package let pathPrefix: String
    /// `expires=…&signature=…`: goes behind the address of a stream, after `?` or `&`.
    package let query: String

    /// Signs for the stream `key`, or for its app, of which `key` may be any stream.
    ///
    /// `expires` is in seconds since 1970 UTC, and cut to the years up to 9999; the signature is good up to the end of
    /// this second. `secret` is `stream.play.url_secret` of the vhost.
    package static func sign(
        _ key: StreamKey, scope: SignedPath.Scope, expires: Int64, secret: some Sequence<UInt8>
    ) -> SignedURL {
        let expires = min(max(0, expires), SignedPath.latest)
        let path = SignedPath(for: key, scope: scope, expires: expires, secret: secret)
        return SignedURL(pathPrefix: path.prefix, query: "expires=\(expires)&signature=\(path.signature)")
    }

    /// Whether what stood in a query opens the stream `key` at `now`, in seconds since 1970 UTC.
    ///
    /// Both texts as they stood in the query, with `%xx` resolved. What cannot be read is forged. Takes the same time
    /// whatever is wrong with a signature that can be read.
    package static func check(
        expires: String, signature: String, for key: StreamKey, secret: some Sequence<UInt8>, now: Int64
    ) -> SignedPath.Verdict {
        guard let time = self.time(expires), let given = self.bytes(signature) else { return .forged }
        let secret = Array(secret)
        var isRight = false
        for scope in [SignedPath.Scope.stream, .app] {
            let wanted = SignedPath.code(key, scope, time, secret)
            var difference = UInt8(given.count == wanted.count ? 0 : 1)
            for (one, other) in zip(given, wanted) { difference |= one ^ other }
            isRight = difference == 0 || isRight
        }
        guard isRight else { return .forged }
        return now <= time ? .valid : .expired
    }

    private static func time(_ text: String) -> Int64? {
        guard (1...12).contains(text.utf8.count),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let time = Int64(text), time <= SignedPath.latest
        else { return nil }
        return time
    }

    /// 16 bytes in base64url without padding, or in hexadecimal: the lengths tell them apart.
    private static func bytes(_ text: String) -> [UInt8]? {
        switch text.utf8.count {
        case 22: self.read(text, bitsEach: 6, self.base64URL)
        case 32: self.read(text, bitsEach: 4, self.hexadecimal)
        default: nil
        }
    }

    /// Bits behind the last whole byte have to be zero.
    private static func read(_ text: String, bitsEach: Int, _ value: (UInt8) -> UInt8?) -> [UInt8]? {
        var bytes: [UInt8] = []
        var bits = 0
        var held = 0
        for byte in text.utf8 {
            guard let value = value(byte) else { return nil }
            bits = bits << bitsEach | Int(value)
            held += bitsEach
            guard held >= 8 else { continue }
            held -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> held))
            bits &= (1 << held) - 1
        }
        return bits == 0 ? bytes : nil
    }

    private static func base64URL(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
