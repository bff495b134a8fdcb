/// A parameter of a field or a URI, such as `;tag=1` or `;rport`.
package struct SIPParameter: Sendable, Hashable {
    package var name: String
    /// `nil` without an equals sign.
    package var value: String?

    package init(_ name: String, _ value: String? = nil) {
        self.name = name
        self.value = value
    }

    /// Parses `;name=value;name`. Empty ones are passed over; quotes around a value are removed.
    static func parse(_ text: Substring) -> [SIPParameter] {
        text.split(separator: ";").compactMap { part in
            let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = SIPHead.trimmed(halves[0])
            guard !name.isEmpty else { return nil }
            guard halves.count == 2 else { return SIPParameter(name) }
            var value = SIPHead.trimmed(halves[1])
            if value.count >= 2, value.first == "\"", value.last == "\"" {
                value = String(value.dropFirst().dropLast())
            }
            return SIPParameter(name, value)
        }
    }

    var text: String { self.value.map { "\(self.name)=\($0)" } ?? self.name }
}

extension [SIPParameter] {
    /// The value of the parameter of that name; empty where it has none, `nil` where there is no such parameter.
    package func first(_ name: String) -> String? {
        self.first { SIPFieldName.matches($0.name, name) }.map { $0.value ?? "" }
    }

    /// Gives the parameter a value in its place, or adds it.
    package mutating func set(_ name: String, _ value: String?) {
        if let index = self.firstIndex(where: { SIPFieldName.matches($0.name, name) }) {
            self[index].value = value
        } else {
            self.append(SIPParameter(name, value))
        }
    }

    var text: String { self.map { ";\($0.text)" }.joined() }
}

/// `sip:user@host:port;parameters`. Spec: RFC 3261 §19.1; headers behind `?` are left out.
package struct SIPURI: Sendable, Hashable {
    /// Empty where the URI names a host alone.
    package var user: String
    /// A name or an address; IPv6 without brackets.
    package var host: String
    /// 1 to 65535.
    package var port: Int?
    package var parameters: [SIPParameter]

    package init(user: String = "", host: String, port: Int? = nil, parameters: [SIPParameter] = []) {
        self.user = user
        self.host = host
        self.port = port
        self.parameters = parameters
    }

    private static let delimiters = Set("<>\",".utf8)

    /// `nil` if the text is no `sip:` or `sips:` URI.
    package init?(parsing text: String) {
        guard let colon = text.firstIndex(of: ":"), ["sip", "sips"].contains(text[..<colon].lowercased()) else {
            return nil
        }
        var rest = text[text.index(after: colon)...]
        if let question = rest.firstIndex(of: "?") { rest = rest[..<question] }
        self.user = ""
        if let at = rest.lastIndex(of: "@") {
            // A password behind a colon is deprecated, and nobody's business.
            self.user = String(rest[..<at].prefix { $0 != ":" && $0 != ";" })
            guard self.user.utf8.allSatisfy({ 0x21...0x7E ~= $0 && !Self.delimiters.contains($0) }) else { return nil }
            rest = rest[rest.index(after: at)...]
        }
        var parameters: Substring = ""
        if let semicolon = rest.firstIndex(of: ";") {
            parameters = rest[semicolon...]
            rest = rest[..<semicolon]
        }
        guard let (host, port) = SIPHost.parse(rest) else { return nil }
        self.host = host
        self.port = port
        self.parameters = SIPParameter.parse(parameters)
    }

    package var text: String {
        let user = self.user.isEmpty ? "" : "\(self.user)@"
        return "sip:\(user)\(SIPHost.text(self.host, self.port))\(self.parameters.text)"
    }
}

/// `host`, `host:port`, `[address]:port`.
enum SIPHost {
    static func parse(_ text: Substring) -> (host: String, port: Int?)? {
        var host = text
        var port: Int?
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { return nil }
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if !rest.isEmpty {
                guard rest.first == ":", let number = self.port(rest.dropFirst()) else { return nil }
                port = number
            }
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            guard let number = self.port(text[text.index(after: colon)...]) else { return nil }
            port = number
        }
        guard 1...255 ~= host.utf8.count, host.utf8.allSatisfy(self.isHostByte) else { return nil }
        return (String(host), port)
    }

    /// Letters, digits, and what stands between them in names and addresses.
    private static func isHostByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
            UInt8(ascii: ":"), UInt8(ascii: "%"):
            true
        default: false
        }
    }

    private static func port(_ text: Substring) -> Int? {
        let text = SIPHead.trimmed(text)
        guard !text.isEmpty, text.utf8.count <= 5, text.utf8.allSatisfy({ (48...57).contains($0) }),
            let port = Int(text), (1...65_535).contains(port)
        else { return nil }
        return port
    }

    static func text(_ host: String, _ port: Int?) -> String {
        let host = host.contains(":") ? "[\(host)]" : host
        return port.map { "\(host):\($0)" } ?? host
    }
}

/// The value of `From`, `To` and `Contact`: a URI with or without angle brackets, and parameters of the field.
package struct SIPAddress: Sendable, Hashable {
    package var uri: SIPURI
    package var parameters: [SIPParameter]

    package init(_ uri: SIPURI, parameters: [SIPParameter] = []) {
        self.uri = uri
        self.parameters = parameters
    }

    /// `nil` if there is no URI. A name in front of the brackets is dropped.
    package init?(parsing text: String) {
        // A quoted name may have brackets.
        var rest = text[...]
        if let first = rest.first(where: { $0 != " " && $0 != "\t" }), first == "\"" {
            rest = rest.drop { $0 != "\"" }.dropFirst()
            guard let quote = rest.firstIndex(of: "\"") else { return nil }
            rest = rest[rest.index(after: quote)...]
        }
        if let begin = rest.firstIndex(of: "<") {
            guard let end = rest[begin...].firstIndex(of: ">"),
                let uri = SIPURI(parsing: String(rest[rest.index(after: begin)..<end]))
            else { return nil }
            self.init(uri, parameters: SIPParameter.parse(rest[rest.index(after: end)...]))
        } else {
            // §20: without brackets, parameters belong to the field.
            guard var uri = SIPURI(parsing: SIPHead.trimmed(rest)) else { return nil }
            let parameters = uri.parameters
            uri.parameters = []
            self.init(uri, parameters: parameters)
        }
    }

    package var tag: String? { self.parameters.first("tag") }

    package var text: String { "<\(self.uri.text)>\(self.parameters.text)" }
}

/// One hop of `Via`. Spec: RFC 3261 §20.42, RFC 3581.
package struct SIPVia: Sendable, Hashable {
    /// `UDP` or `TCP`, in upper case.
    package var transport: String
    package var host: String
    package var port: Int?
    package var parameters: [SIPParameter]

    package init(transport: String, host: String, port: Int?, parameters: [SIPParameter]) {
        self.transport = transport
        self.host = host
        self.port = port
        self.parameters = parameters
    }

    /// Reads the first hop of a field's value. `nil` if it is none.
    package init?(parsing text: String) {
        let first = text.split(separator: ",", maxSplits: 1).first ?? ""
        let parts = first.split(separator: ";", maxSplits: 1, omittingEmptySubsequences: false)
        let words = parts.first?.split(whereSeparator: { $0 == " " || $0 == "\t" }) ?? []
        guard words.count == 2 else { return nil }
        let version = words[0].split(separator: "/", omittingEmptySubsequences: false)
        guard version.count == 3, version[0].uppercased() == "SIP", version[1] == "2.0", !version[2].isEmpty,
            let (host, port) = SIPHost.parse(words[1])
        else { return nil }
        self.init(
            transport: version[2].uppercased(), host: host, port: port,
            parameters: parts.count > 1 ? SIPParameter.parse(parts[1]) : [])
    }

    package var branch: String? { self.parameters.first("branch") }

    package var text: String {
        "SIP/2.0/\(self.transport) \(SIPHost.text(self.host, self.port))\(self.parameters.text)"
    }
}

/// `CSeq`: a number that counts a peer's requests, and the method. Spec: RFC 3261 §20.16.
package struct SIPSequence: Sendable, Hashable {
    package var number: UInt32
    package var method: String

    package init(_ number: UInt32, _ method: String) {
        self.number = number
        self.method = method
    }

    package init?(parsing text: String) {
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
        guard words.count == 2, words[0].utf8.count <= 10, let number = UInt32(words[0]) else { return nil }
        self.init(number, String(words[1]))
    }

    package var text: String { "\(self.number) \(self.method)" }
}
