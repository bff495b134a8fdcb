import Crypto

/// What a node of the cluster sends with its name to be believed: a time and a code that only who knows the cluster's
/// secret can make for it.
///
/// `{seconds}.{code}`, where the seconds are since 1970 UTC and the code is the hex of HMAC-SHA256 over the node's name, a
/// line break and the seconds. Nothing here reads a clock.
package enum RelayProof {
    /// Clocks of nodes may differ by so much, and whoever reads a proof on its way can use it for so long.
    package static let toleranceSeconds: Int64 = 300

    /// `now` is in seconds since 1970 UTC.
    package static func make(secret: String, node: String, now: Int64) -> String {
        "\(now).\(self.code(secret, node, seconds: "\(now)"))"
    }

    /// Whether `proof` was made with `secret` for `node`, not long from `now`.
    ///
    /// Takes the same time whatever is wrong with the code.
    package static func isValid(_ proof: String, secret: String, node: String, now: Int64) -> Bool {
        guard let dot = proof.utf8.firstIndex(of: UInt8(ascii: ".")) else { return false }
        let digits = proof[..<dot]
        let code = proof[proof.utf8.index(after: dot)...]
        guard (1...12).contains(digits.utf8.count),
            digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let seconds = Int64(digits)
        else { return false }
        let expected = self.code(secret, node, seconds: digits)
        var difference = UInt8(code.utf8.count == expected.utf8.count ? 0 : 1)
        for (given, wanted) in zip(code.utf8, expected.utf8) { difference |= given ^ wanted }
        return difference == 0 && abs(seconds - now) <= self.toleranceSeconds
    }

    private static func code(_ secret: String, _ node: String, seconds: some StringProtocol) -> String {
        var code = HMAC<SHA256>(key: SymmetricKey(data: Array(secret.utf8)))
        code.update(data: Array("\(node)\n\(seconds)".utf8))
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: code.finalize().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
