/// What a request's target names, taken apart. Spec: RFC 9112 §3.2.
struct RequestTarget: Equatable {
    /// The path with its escapes undone.
    var path: String
    /// What stands behind `?`, as it came.
    var query: Substring
    /// The authority of a target in absolute form, which then counts more than `Host`.
    var authority: Substring?

    init(_ target: String) {
        var rest = target[...]
        if target.utf8.first != UInt8(ascii: "/"), let scheme = Self.scheme(of: rest) {
            rest = rest.dropFirst(scheme.utf8.count)
            let end = rest.utf8.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
            self.authority = rest[..<end]
            rest = rest[end...]
        }
        var path = rest
        if let mark = rest.utf8.firstIndex(of: UInt8(ascii: "?")) {
            path = rest[..<mark]
            self.query = rest[rest.utf8.index(after: mark)...]
        } else {
            self.query = ""
        }
        self.path = path.removingPercentEncoding() ?? String(path)
    }

    private static func scheme(of target: Substring) -> String? {
        ["http://", "https://"].first { scheme in
            target.utf8.count > scheme.utf8.count
                && zip(target.utf8, scheme.utf8).allSatisfy { $0 == $1 || $0 | 0x20 == $1 }
        }
    }

    /// The query's parameters, unescaped, one after the other.
    func forEachParameter(_ body: (_ name: Substring, _ value: String) -> Void) {
        guard !self.query.isEmpty else { return }
        for item in self.query.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            body(pair[0], pair.count > 1 ? pair[1].removingPercentEncoding() ?? String(pair[1]) : "")
        }
    }

    /// A host without its port, in lower case.
    static func withoutPort(_ authority: some StringProtocol) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            return authority[authority.index(after: authority.startIndex)..<end].lowercased()
        }
        return authority.prefix { $0 != ":" }.lowercased()
    }
}

extension Substring {
    /// The text behind `%XX` escapes; `nil` if an escape or the UTF-8 behind it is broken.
    func removingPercentEncoding() -> String? {
        guard self.utf8.contains(UInt8(ascii: "%")) else { return String(self) }
        var bytes: [UInt8] = []
        var rest = self.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexValue, let low = rest.popFirst()?.hexValue else { return nil }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension UInt8 {
    fileprivate var hexValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
