/// The query part of an RTMP address: names with values, in the order they were written.
package struct RTMPParameters: Sendable, Hashable {
    /// One `name=value`, as written. Percent escapes are not decoded, so that it can be passed on.
    package struct Item: Sendable, Hashable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// In the order they were written; a name may occur more than once.
    package var items: [Item]

    package init(items: [Item] = []) { self.items = items }

    /// Splits `a=b&c=d`. A piece without `=` is a name with an empty value; empty pieces are left out.
    package init(query: some StringProtocol) {
        self.items = query.split(separator: "&").map { piece in
            let parts = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return Item(name: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : "")
        }
    }

    /// The value of the last item called `name`, percent escapes decoded.
    package subscript(name: String) -> String? {
        self.items.last { $0.name == name }.map { Self.decodePercent($0.value) }
    }

    /// `a=b&c=d`, as it was written; empty without items.
    package var queryString: String {
        self.items.map { $0.value.isEmpty ? $0.name : "\($0.name)=\($0.value)" }.joined(separator: "&")
    }

    /// The same without the items of these names.
    package func removing(_ names: Set<String>) -> RTMPParameters {
        RTMPParameters(items: self.items.filter { !names.contains($0.name) })
    }

    /// Adds the items of `other` that are not here with the same value.
    package mutating func merge(_ other: RTMPParameters) {
        for item in other.items where !self.items.contains(item) {
            self.items.append(item)
        }
    }

    private static func decodePercent(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
        var decoded: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2, let value = UInt8(Substring(rest.prefix(2)), radix: 16) {
                decoded.append(value)
                rest = rest.dropFirst(2)
            } else {
                decoded.append(byte)
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }
}

/// Why the text of an address cannot name a stream.
package enum RTMPAddressError: Error, Hashable, Sendable {
    case missingScheme
    case missingHost
    case invalidPort
    case emptyStreamName
    case tooLong(length: Int, limit: Int)
}

extension RTMPAddressError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missingScheme: "address without a scheme"
        case .missingHost: "address without a host"
        case .invalidPort: "address with an invalid port"
        case .emptyStreamName: "address without a stream name"
        case .tooLong(let length, let limit): "address of \(length) bytes, limit \(limit)"
        }
    }
}

/// An RTMP URL taken apart: `scheme://host[:port]/path[?query]`.
///
/// As a `tcUrl` its path is the app. Nothing is decoded; the host is in lower case and without the brackets of IPv6.
package struct RTMPURL: Sendable, Hashable {
    /// The longest URL or stream name that is looked at, in bytes.
    package static let maximumLength = 4096
    package static let defaultPort = 1935
    package static let defaultTLSPort = 443

    /// In lower case.
    package var scheme: String
    /// In lower case, without the brackets of an IPv6 address.
    package var host: String
    /// The port that was written, if any.
    package var port: Int?
    /// Without the slashes around it.
    package var path: String
    package var parameters: RTMPParameters

    package init(
        scheme: String = "rtmp", host: String, port: Int? = nil, path: String, parameters: RTMPParameters = .init()
    ) {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.parameters = parameters
    }

    /// Takes `text` apart. A path is not required.
    package init(parsing text: String) throws(RTMPAddressError) {
        guard text.utf8.count <= Self.maximumLength else {
            throw .tooLong(length: text.utf8.count, limit: Self.maximumLength)
        }
        guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://"), colon > text.startIndex else {
            throw .missingScheme
        }
        self.scheme = text[..<colon].lowercased()
        let rest = text[text.index(colon, offsetBy: 3)...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        (self.host, self.port) = try Self.splitAuthority(authority)
        let target = RTMPText.splitQuery(rest[authority.endIndex...])
        self.path = RTMPText.trim(target.path)
        self.parameters = target.parameters
    }

    /// The port to connect to: the written one, else the default of the scheme.
    package var effectivePort: Int {
        self.port ?? (self.scheme == "rtmps" ? Self.defaultTLSPort : Self.defaultPort)
    }

    private static func splitAuthority(_ text: Substring) throws(RTMPAddressError) -> (host: String, port: Int?) {
        let authority = text.split(separator: "@", omittingEmptySubsequences: false).last ?? text
        var host = authority
        var port: Substring?
        if authority.first == "[", let end = authority.firstIndex(of: "]") {
            host = authority[authority.index(after: authority.startIndex)..<end]
            let tail = authority[authority.index(after: end)...]
            guard tail.isEmpty || tail.first == ":" else { throw .invalidPort }
            port = tail.isEmpty ? nil : tail.dropFirst()
        } else if let colon = authority.lastIndex(of: ":") {
            host = authority[..<colon]
            port = authority[authority.index(after: colon)...]
        }
        guard !host.isEmpty else { throw .missingHost }
        guard let port, !port.isEmpty else { return (host.lowercased(), nil) }
        guard let number = Int(port), 1...65_535 ~= number else { throw .invalidPort }
        return (host.lowercased(), number)
    }
}

/// Which stream a client means, from the three places where it may say so: `tcUrl`, `app` and the stream name.
///
/// - The app is the `app` property of `connect`, else the path of `tcUrl`; `/_definst_` is removed, and an empty one is
///   `__defaultApp__`.
/// - A query may hang at each of the three; all are merged, the stream name's last, so that it wins.
///   `...vhost...example` at an app or name means `?vhost=example`.
/// - An explicit vhost is the parameter `vhost` or `domain`, unless it is `__defaultVhost__`.
/// - Of the name, the prefixes `flv:`, `mp4:`, `mp3:` and media file extensions are removed: players add and drop them.
/// - Without a stream name, the last component of the app's or the query's path is taken for it, because some encoders
///   have one field for all.
package struct RTMPStreamAddress: Sendable, Hashable {
    package static let defaultApp = "__defaultApp__"
    private static let prefixes = ["flv:", "mp4:", "mp3:", "f4v:"]
    private static let extensions: Set<String> = [
        "flv", "f4v", "mp4", "m4a", "m3u8", "mpd", "ts", "aac", "mp3",
    ]
    private static let vhostNames: Set<String> = ["vhost", "domain"]

    /// The host of `tcUrl`, empty if that is no URL.
    package let host: String
    /// The vhost that was named explicitly, as written.
    package let vhost: String?
    package let app: String
    package let name: String
    package let parameters: RTMPParameters

    /// Resolves the three places by the rules above. `tcURL` is `nil` when the client sent none that is a URL.
    package init(
        tcURL: RTMPURL?, app appProperty: String, streamName: String
    ) throws(RTMPAddressError) {
        for text in [appProperty, streamName] where text.utf8.count > RTMPURL.maximumLength {
            throw .tooLong(length: text.utf8.count, limit: RTMPURL.maximumLength)
        }
        let appPart = RTMPText.splitQuery(appProperty[...])
        let namePart = RTMPText.splitQuery(streamName[...])
        var app = RTMPText.trim(appPart.path)
        if app.isEmpty {
            app = RTMPText.trim(RTMPText.splitQuery(tcURL.map { $0.path[...] } ?? "").path)
        }
        var parameters = tcURL?.parameters ?? RTMPParameters()
        if let path = tcURL?.path {
            parameters.merge(RTMPText.splitQuery(path[...]).parameters)
        }
        parameters.merge(appPart.parameters)
        var name = RTMPText.trim(namePart.path)
        if name.isEmpty {
            name = Self.takeName(app: &app, parameters: &parameters)
        }
        parameters = Self.appending(namePart.parameters, to: parameters)
        self.host = tcURL?.host ?? ""
        self.vhost = Self.vhost(in: parameters)
        app = RTMPText.removingInstance(app)
        self.app = app.isEmpty ? Self.defaultApp : app
        self.name = Self.key(of: name)
        self.parameters = parameters
        guard !self.name.isEmpty else { throw .emptyStreamName }
    }

    /// The explicit vhost of `parameters`, if there is one.
    package static func vhost(in parameters: RTMPParameters) -> String? {
        for item in parameters.items.reversed() where self.vhostNames.contains(item.name) {
            let name = RTMPText.trim(parameters[item.name] ?? "")
            if !name.isEmpty, name != "__defaultVhost__" { return name }
        }
        return nil
    }

    private static func appending(_ items: RTMPParameters, to parameters: RTMPParameters) -> RTMPParameters {
        var result = RTMPParameters(items: parameters.items.filter { !items.items.contains($0) })
        result.items += items.items
        return result
    }

    /// `app/name`, or `app?vhost=v/name`, in one field.
    private static func takeName(app: inout String, parameters: inout RTMPParameters) -> String {
        if let last = parameters.items.indices.last,
            let slash = parameters.items[last].value.lastIndex(of: "/")
        {
            let value = parameters.items[last].value
            parameters.items[last].value = String(value[..<slash])
            return RTMPText.trim(value[slash...])
        }
        let whole = RTMPText.removingInstance(app)
        guard let slash = whole.lastIndex(of: "/") else { return "" }
        app = String(whole[..<slash])
        return String(whole[whole.index(after: slash)...])
    }

    private static func key(of name: String) -> String {
        var key = name[...]
        if let prefix = self.prefixes.first(where: { key.hasPrefix($0) }) {
            key = key.dropFirst(prefix.count)
        }
        if key.hasPrefix("_definst_/") {
            key = key.dropFirst("_definst_/".count)
        }
        if let dot = key.lastIndex(of: "."), dot > key.startIndex,
            self.extensions.contains(key[key.index(after: dot)...].lowercased())
        {
            key = key[..<dot]
        }
        return RTMPText.trim(key)
    }
}

/// The small rules that all parts of an address share.
private enum RTMPText {
    /// Without the spaces and slashes around it.
    static func trim(_ text: some StringProtocol) -> String {
        let isPadding: (Character) -> Bool = { $0 == "/" || $0.isWhitespace }
        guard let first = text.firstIndex(where: { !isPadding($0) }),
            let last = text.lastIndex(where: { !isPadding($0) })
        else { return "" }
        return String(text[first...last])
    }

    /// The text before `?` or the old separator `...vhost...`, and the parameters after it.
    static func splitQuery(_ text: Substring) -> (path: Substring, parameters: RTMPParameters) {
        if let mark = text.firstIndex(of: "?") {
            return (text[..<mark], RTMPParameters(query: text[text.index(after: mark)...]))
        }
        let separator = "...vhost..."
        var start = text.startIndex
        while let dot = text[start...].firstIndex(of: ".") {
            if text[dot...].hasPrefix(separator) {
                let value = text[text.index(dot, offsetBy: separator.count)...]
                return (text[..<dot], RTMPParameters(items: [.init(name: "vhost", value: String(value))]))
            }
            start = text.index(after: dot)
        }
        return (text, RTMPParameters())
    }

    static func removingInstance(_ app: String) -> String {
        let instance = "_definst_"
        if app == instance { return "" }
        return app.hasSuffix("/" + instance) ? String(app.dropLast(instance.count + 1)) : app
    }
}
