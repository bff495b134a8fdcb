/// Where a viewer or publisher goes: the parts of an `rtmp://` or `http://` URL with a numeric IPv4 host.
///
/// `{n}` in the path stands for the number of the stream, so that one URL names many streams.
struct Endpoint: Equatable {
    enum Scheme: String {
        case rtmp, http
    }

    struct Address: Equatable {
        /// The IPv4 address in host byte order.
        let host: UInt32
        let port: UInt16
    }

    let scheme: Scheme
    let authority: String
    let address: Address
    /// Without the leading slash, with the query.
    let path: String

    /// Takes `scheme://a.b.c.d[:port]/path` apart; `nil` when it is anything else.
    init?(_ url: String) {
        let halves = url.split(separator: "://", maxSplits: 1)
        guard halves.count == 2, let scheme = Scheme(rawValue: String(halves[0])) else { return nil }
        let parts = halves[1].split(separator: "/", maxSplits: 1)
        guard parts.count == 2 else { return nil }
        let authority = parts[0].split(separator: ":", omittingEmptySubsequences: false)
        let host = authority[0] == "localhost" ? "127.0.0.1" : authority[0]
        let numbers = host.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard authority.count <= 2, numbers.count == 4 else { return nil }
        var value: UInt32 = 0
        for number in numbers {
            guard let number else { return nil }
            value = value << 8 | UInt32(number)
        }
        guard let port = authority.count == 2 ? UInt16(authority[1]) : (scheme == .rtmp ? 1935 : 80) else { return nil }
        self.scheme = scheme
        self.authority = String(parts[0])
        self.address = Address(host: value, port: port)
        self.path = String(parts[1])
    }

    /// The path of stream number `index`.
    func path(stream index: Int) -> String {
        let pieces = self.path.split(separator: "{n}", maxSplits: 1, omittingEmptySubsequences: false)
        return pieces.count == 2 ? "\(pieces[0])\(index)\(pieces[1])" : self.path
    }

    /// The RTMP application and stream name of stream number `index`; `nil` when the path has only one part.
    func rtmpNames(stream index: Int) -> (application: String, stream: String)? {
        let path = self.path(stream: index)
        guard let slash = path.lastIndex(of: "/") else { return nil }
        return (String(path[..<slash]), String(path[path.index(after: slash)...]))
    }
}
