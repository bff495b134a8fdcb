/// Which addresses may do something: lists of ranges to allow and to deny.
///
/// Of all ranges that hold an address, the one with the longest prefix decides; of equal ones, the denial. If none
/// holds it, it is allowed, unless there is anything to allow: who lists friends keeps strangers out. No lists allow
/// all.
///
/// So `allow 10.0.0.0/8` with `deny 10.1.0.0/16` lets in 10.2.0.1 and nobody of 10.1 or elsewhere, `deny all` with
/// `allow 192.0.2.7` lets in one address, and `deny 192.0.2.7` alone keeps out one address. Unlike SRS, a narrow
/// permission makes an exception of a wide denial, and a permission to publish denies nobody to play.
package struct AddressRules: Sendable, Hashable {
    package enum Verdict: Sendable, Hashable {
        case allowed
        /// By this range.
        case denied(CIDR)
        /// There are permissions, and the address is in none of them.
        case notListed
    }

    private struct Rule: Sendable, Hashable {
        var range: CIDR
        var isDenial: Bool
    }

    /// Longest prefixes first, and denials before permissions: the first that matches decides.
    private let rules: [Rule]
    private let hasPermissions: Bool

    /// Cost: sorts the lists. Make it when settings are read, not for each request.
    package init(allow: [CIDR] = [], deny: [CIDR] = []) {
        let rules = allow.map { Rule(range: $0, isDenial: false) } + deny.map { Rule(range: $0, isDenial: true) }
        self.rules = rules.sorted { first, second in
            first.range.prefixLength != second.range.prefixLength
                ? first.range.prefixLength > second.range.prefixLength : first.isDenial && !second.isDenial
        }
        self.hasPermissions = !allow.isEmpty
    }

    /// Whether everybody is let in without a look at the address.
    package var isEmpty: Bool { self.rules.isEmpty }

    /// `nil` for peers without an IP address, such as on Unix sockets: only `all` holds them.
    ///
    /// Cost: one comparison of 16 bytes for each range, at most.
    package func verdict(_ address: IPAddress?) -> Verdict {
        for rule in self.rules where address.map({ rule.range.contains($0) }) ?? rule.range.isAll {
            return rule.isDenial ? .denied(rule.range) : .allowed
        }
        return self.hasPermissions ? .notListed : .allowed
    }
}
