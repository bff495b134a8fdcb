/// The hash of a certificate, by which signalling says whom to expect. Spec: RFC 8122 §5.
package struct DTLSFingerprint: Sendable, Hashable, CustomStringConvertible {
    /// A hash function, with its name in SDP.
    package enum Algorithm: String, Sendable, Hashable, CaseIterable {
        case sha1 = "sha-1"
        case sha256 = "sha-256"
        case sha384 = "sha-384"
        case sha512 = "sha-512"

        /// The length of the hash in bytes.
        package var length: Int {
            switch self {
            case .sha1: 20
            case .sha256: 32
            case .sha384: 48
            case .sha512: 64
            }
        }
    }

    /// The hash function.
    package let algorithm: Algorithm
    /// `algorithm.length` bytes.
    package let digest: [UInt8]

    init(algorithm: Algorithm, digest: [UInt8]) {
        self.algorithm = algorithm
        self.digest = digest
    }

    /// Reads the two parts of an `a=fingerprint` line. `nil` if the function is unknown or the value is not its length
    /// in pairs of hexadecimal digits, in either case, with colons between.
    package init?(algorithm: some StringProtocol, value: some StringProtocol) {
        guard let algorithm = Algorithm(rawValue: algorithm.lowercased()) else { return nil }
        let parts = Array(value.utf8).split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == algorithm.length else { return nil }
        var digest: [UInt8] = []
        digest.reserveCapacity(parts.count)
        for part in parts {
            guard part.count == 2, let high = part.first.flatMap(Self.digit),
                let low = part.last.flatMap(Self.digit)
            else { return nil }
            digest.append(high << 4 | low)
        }
        self.init(algorithm: algorithm, digest: digest)
    }

    /// Reads the value of an `a=fingerprint` line: the function's name, a space, and the hash. `nil` as above.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2 else { return nil }
        self.init(algorithm: parts[0], value: parts[1])
    }

    /// The hash as SDP writes it: pairs of upper-case digits with colons between.
    package var value: String {
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(self.digest.count * 3)
        for byte in self.digest {
            if !text.isEmpty { text.append(UInt8(ascii: ":")) }
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The value of an `a=fingerprint` line.
    package var description: String { "\(self.algorithm.rawValue) \(self.value)" }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
