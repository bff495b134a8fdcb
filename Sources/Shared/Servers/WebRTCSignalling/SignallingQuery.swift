import NIOCore

/// The parameters of a query, by name; the first of several with one name counts.
struct SignallingQuery: Equatable {
    /// As it came, without `?`.
    let text: String
    private let items: [String: String]

    /// More parameters are not looked at.
    private static let maximumCount = 64

    init(_ text: some StringProtocol) {
        self.text = String(text)
        var items: [String: String] = [:]
        for item in text.split(separator: "&").prefix(Self.maximumCount) {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = pair.count > 1 ? pair[1] : ""
            guard let name = QueryText.unescape(pair[0]), items[name] == nil else { continue }
            items[name] = QueryText.unescape(value) ?? String(value)
        }
        self.items = items
    }

    /// The value of a parameter; `nil` if it is missing or empty.
    subscript(_ name: String) -> String? {
        self.items[name].flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// `webrtc://HOST/APP/STREAM?QUERY`, as players and publishers of SRS name streams.
struct StreamURL: Equatable {
    /// Without port, in lower case.
    var host: String
    var app: String
    var stream: String
    var query: SignallingQuery

    /// Takes any scheme. The app may have several components. Returns `nil` for what names no stream.
    init?(_ text: String) {
        guard let separator = text.firstRange(of: "://"), separator.lowerBound > text.startIndex else { return nil }
        let rest = text[separator.upperBound...]
        let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var segments = parts[0].split(separator: "/", omittingEmptySubsequences: false)
        if segments.last == "", segments.count > 3 { segments.removeLast() }
        let names = segments.dropFirst().map { QueryText.unescape($0, plusIsSpace: false) ?? "" }
        guard names.count >= 2, names.allSatisfy({ !$0.isEmpty }) else { return nil }
        self.host = QueryText.host(of: segments[0])
        self.app = names.dropLast().joined(separator: "/")
        self.stream = names[names.count - 1]
        self.query = SignallingQuery(parts.count > 1 ? parts[1] : "")
    }
}

extension SignallingQuery {
    /// The addresses at which the client says that it reaches the node, as it does with SRS: `IP` or `IP:PORT`.
    ///
    /// What is no address is passed over: nobody's query may have names looked up.
    var candidates: [String] {
        [self["eip"], self["candidate"]].compactMap { $0.flatMap { QueryText.isAddress($0) ? $0 : nil } }
    }
}

/// What URLs write differently.
enum QueryText {
    /// The text behind `%XX` escapes; `nil` if an escape or the UTF-8 behind it is broken.
    static func unescape(_ text: some StringProtocol, plusIsSpace: Bool = true) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = rest.popFirst()?.hexValue, let low = rest.popFirst()?.hexValue else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
            default: bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// A host without its port and brackets, in lower case.
    static func host(of authority: some StringProtocol) -> String {
        if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
            return authority[authority.index(after: authority.startIndex)..<end].lowercased()
        }
        return authority.prefix { $0 != ":" }.lowercased()
    }

    /// Whether a text is an IP address, `IP:PORT`, or `[IPv6]:PORT`.
    static func isAddress(_ text: String) -> Bool {
        var host = text[...]
        var port: Substring?
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return false }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return false }
            if !rest.isEmpty { port = rest.dropFirst() }
            guard host.contains(":") else { return false }
        } else if let colon = text.firstIndex(of: ":"), colon == text.lastIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        if let port {
            guard port.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = UInt16(port), number > 0
            else { return false }
        }
        return (try? SocketAddress(ipAddress: String(host), port: 0)) != nil
    }

    /// Whether a text could be `HOST`, `HOST:PORT` or an IP address. Who uses it has to read it properly.
    static func isHost(_ text: String) -> Bool {
        (1...255).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
                    UInt8(ascii: ":"), UInt8(ascii: "["), UInt8(ascii: "]"):
                    true
                default: false
                }
            }
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
