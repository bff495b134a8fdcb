/// `srt://host:port?option=value&…`: a remote end of SRT, with how it is reached.
///
/// Options have the names of `SRTOption`; `mode` is `caller` (as it is without), `listener` or `rendezvous`;
/// `localaddr` and `localport` say where this end is bound. A value may use percent signs. The host is an address or a
/// name; of a listener it is the address that is listened on, and may be left out.
package struct SRTURL: Sendable, Hashable {
    package enum Mode: String, Sendable, Hashable, CaseIterable {
        case caller, listener, rendezvous
    }

    package var host: String
    package var port: Int
    package var mode: Mode
    /// Where this end is bound; `nil`: anywhere. Rendezvous uses the remote port if none is set.
    package var localAddress: String?
    package var localPort: Int?
    package var options: SRTOptions

    /// Of IPv4, UDP and SRT in front of each message, in bytes.
    package static let headerLength = 44

    /// Other names that URLs of other programs have for options and keys.
    private static let aliases: [String: String] = [
        "pkt_size": "payloadsize", "payload_size": "payloadsize", "transtype": "", "smoother": "congestion",
        "connect_timeout": "conntimeo", "adapter": "localaddr", "port": "localport", "recv_buffer_size": "udprcvbuf",
        "send_buffer_size": "udpsndbuf", "ffs": "fc", "tos": "iptos", "ttl": "ipttl",
        "enforced_encryption":
            "enforcedencryption",
    ]

    package init(parsing text: String) throws(SRTURLError) {
        guard text.utf8.count <= 2_048 else { throw .tooLong(length: text.utf8.count) }
        guard text.lowercased().hasPrefix("srt://") else { throw .wrongScheme }
        let rest = text.dropFirst(6)
        let mark = rest.firstIndex(of: "?") ?? rest.endIndex
        var authority = rest[..<mark]
        if authority.last == "/" { authority = authority.dropLast() }
        guard !authority.contains(where: { "/@#".contains($0) }) else { throw .badAuthority }
        (self.host, self.port) = try Self.authority(authority)
        self.mode = .caller
        self.options = SRTOptions()
        for part in rest[mark...].dropFirst().split(separator: "&") {
            let equals = part.firstIndex(of: "=") ?? part.endIndex
            try self.take(String(part[..<equals]), Self.resolved(part[equals...].dropFirst()))
        }
        guard self.mode == .listener || !self.host.isEmpty else { throw .missingHost }
        if case .integer(let mss) = self.options[.mss] {
            var payload = 188
            if case .integer(let wanted) = self.options[.payloadSize] { payload = wanted }
            guard payload <= mss - Self.headerLength else { throw .noRoom(payload: payload, mss: mss) }
        }
    }

    private mutating func take(_ name: String, _ value: String) throws(SRTURLError) {
        let name = Self.aliases[name.lowercased()] ?? name.lowercased()
        switch name {
        // Nothing else than live transmission is there.
        case "": break
        case "mode":
            // "client" and "server" are words of older programs.
            let word = ["client": "caller", "server": "listener"][value] ?? value
            guard let mode = Mode(rawValue: word) else { throw .unknownMode(value) }
            self.mode = mode
        case "localaddr": self.localAddress = value
        case "localport":
            guard let port = Int(value), 1...65_535 ~= port else { throw .badPort }
            self.localPort = port
        default:
            guard let option = SRTOption(rawValue: name) else { throw .unknownOption(name) }
            do throws(SRTOptionError) {
                try self.options.set(option, reading: value)
            } catch {
                throw .option(error)
            }
        }
    }

    private static func authority(_ text: Substring) throws(SRTURLError) -> (host: String, port: Int) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            1...65_535 ~= port
        else { throw .badPort }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            throw .badAuthority
        }
        guard host.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else { throw .badAuthority }
        return (String(host), port)
    }

    private static func resolved(_ text: Substring) -> String {
        SRTStreamIDPair(unquoted: Array("=\(text)".utf8)[...]).value
    }

    /// Without what is secret: for logs and the API.
    package var printable: String {
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        return "srt://\(host):\(self.port)" + (self.mode == .caller ? "" : "?mode=\(self.mode.rawValue)")
    }
}

/// What is wrong with a URL of SRT.
package enum SRTURLError: Error, Equatable {
    case tooLong(length: Int)
    /// It does not begin with `srt://`.
    case wrongScheme
    /// User, path or fragment, or a host that is none.
    case badAuthority
    case missingHost
    case badPort
    case unknownMode(String)
    case unknownOption(String)
    case option(SRTOptionError)
    /// `mss` has no room for the headers and the payload, in bytes.
    case noRoom(payload: Int, mss: Int)
}

extension SRTURLError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooLong(let length): "the URL has \(length) bytes"
        case .wrongScheme: "the URL does not begin with srt://"
        case .badAuthority: "the URL is not srt://HOST:PORT?OPTIONS"
        case .missingHost: "the URL has no host"
        case .badPort: "the URL has no port from 1 to 65535"
        case .unknownMode(let mode): "mode \(mode) is not caller, listener or rendezvous"
        case .unknownOption(let name): "there is no option \(name)"
        case .option(let error): "\(error)"
        case .noRoom(let payload, let mss):
            "mss of \(mss) bytes has no room for \(SRTURL.headerLength) bytes of headers and a payload of \(payload)"
        }
    }
}
