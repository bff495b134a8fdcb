import Crypto
package import Media

/// A signature in front of a path, which lets its bearer have the files of a stream, or of an app, until it expires.
///
/// `/~{expires}{scope}~{signature}/live/game.m3u8`, where `expires` is in seconds since 1970 UTC, the scope is `a` for the
/// app or `s` for the one stream, and the signature is the first 16 bytes of HMAC-SHA256, in base64url without padding.
/// A signature covers vhost, scope and expiry, not the file: the relative URIs in playlists keep the prefix, so one
/// signature lasts for a session; and it is no part of what a cache keys objects by.
package struct SignedPath: Sendable, Hashable {
    /// What a signature opens.
    package enum Scope: String, Sendable, Hashable {
        case app = "a"
        case stream = "s"
    }

    /// What a check found.
    package enum Verdict: Sendable, Hashable {
        case valid
        /// The signature is right, its time is over.
        case expired
        /// It was made with another secret, or for something else.
        case forged
    }

    package var scope: Scope
    /// Seconds since 1970 UTC. The signature is good up to the end of this second.
    package var expires: Int64
    /// In base64url, as it stands in the path.
    package var signature: String

    /// The first bytes of the code that are kept.
    private static let signatureByteCount = 16
    /// Their length in base64url.
    private static let signatureTextCount = 22
    /// The latest expiry: the end of the year 9999.
    static let latest: Int64 = 253_402_300_799

    // MARK: Making

    /// Signs for the stream `key`, or for its app. `secret` is the vhost's; it should have 32 bytes or more.
    package init(for key: StreamKey, scope: Scope, expires: Int64, secret: some Sequence<UInt8>) {
        self.scope = scope
        self.expires = expires
        self.signature = Self.base64URL(Self.code(key, scope, expires, secret))
    }

    /// What stands in front of a path, from `/` on, without a `/` at its end.
    package var prefix: String { "/~\(self.expires)\(self.scope.rawValue)~\(self.signature)" }

    // MARK: Reading

    /// Takes the signature from the front of `path`, which then begins with the `/` behind it.
    ///
    /// `nil`, with the path untouched, if it has none. Whether it is right, `check` tells.
    package static func split(from path: inout Substring) -> SignedPath? {
        guard path.utf8.starts(with: "/~".utf8) else { return nil }
        let rest = path.dropFirst(2)
        guard let slash = rest.utf8.firstIndex(of: UInt8(ascii: "/")) else { return nil }
        let parts = rest[..<slash].split(separator: "~", omittingEmptySubsequences: false)
        guard parts.count == 2, let letter = parts[0].last, let scope = Scope(rawValue: String(letter)) else {
            return nil
        }
        let digits = parts[0].dropLast()
        guard (1...12).contains(digits.utf8.count),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let expires = Int64(digits), expires <= self.latest, parts[1].utf8.count == self.signatureTextCount
        else { return nil }
        path = rest[slash...]
        return SignedPath(scope: scope, expires: expires, signature: String(parts[1]))
    }

    private init(scope: Scope, expires: Int64, signature: String) {
        self.scope = scope
        self.expires = expires
        self.signature = signature
    }

    /// Whether the signature opens the files of `key` at `now`, in seconds since 1970 UTC.
    ///
    /// Takes the same time whatever is wrong with the signature.
    package func check(for key: StreamKey, secret: some Sequence<UInt8>, now: Int64) -> Verdict {
        let expected = Self.base64URL(Self.code(key, self.scope, self.expires, secret))
        var difference = UInt8(self.signature.utf8.count == expected.utf8.count ? 0 : 1)
        for (given, wanted) in zip(self.signature.utf8, expected.utf8) { difference |= given ^ wanted }
        guard difference == 0 else { return .forged }
        return now <= self.expires ? .valid : .expired
    }

    // MARK: The code

    /// Line breaks separate the parts: no key contains any.
    static func code(
        _ key: StreamKey, _ scope: Scope, _ expires: Int64, _ secret: some Sequence<UInt8>
    ) -> [UInt8] {
        var message = "weir-path-1\n\(key.vhost)\n\(scope.rawValue)\n\(expires)\n\(key.app)"
        if scope == .stream { message += "\n\(key.name)" }
        var code = HMAC<SHA256>(key: SymmetricKey(data: Array(secret)))
        code.update(data: Array(message.utf8))
        return Array(code.finalize().prefix(self.signatureByteCount))
    }

    /// Spec: RFC 4648 §5, without padding.
    private static func base64URL(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        var text: [UInt8] = []
        var bits = 0
        var held = 0
        for byte in bytes {
            bits = bits << 8 | Int(byte)
            held += 8
            while held >= 6 {
                held -= 6
                text.append(alphabet[bits >> held & 63])
            }
            bits &= (1 << held) - 1
        }
        if held > 0 { text.append(alphabet[bits << (6 - held) & 63]) }
        return String(decoding: text, as: UTF8.self)
    }
}
