/// What a client wants, as its stream id tells: which stream, and whether to publish or to play it.
///
/// Three forms are understood:
/// - *Access control*: `#!::r=live/camera,m=publish,h=example.com,…`. Pairs are separated by commas. A value goes on to
///   the next comma, `=` included; one in double quotes may hold commas. `%` and two hexadecimal digits are a byte. A name
///   without `=` is a parameter without a value.
/// - *Plain*: `live/camera?key=value&…` or `camera`.
/// - *Empty*: what the settings say.
///
/// A client that takes the stream id out of a URL may leave the URL's escapes in it: `%23!::r=live/camera` is the access
/// control form, and its escapes are undone once more.
///
/// `r` is cut at its first `/` into app and name. Its tail behind `?` holds parameters, and so do all keys that have no
/// meaning of their own, and `u`, `s` and `t`.
/// Spec: SRT access control guidelines, "General syntax" and "Standard keys".
package struct SRTStreamID: Sendable, Hashable {
    package enum Mode: String, Sendable, Hashable, CaseIterable {
        case publish
        /// To play.
        case request
    }

    /// One pair that hooks and rules of access are told as a part of the URL's query.
    package struct Parameter: Sendable, Hashable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// What counts where a stream id leaves something open.
    package struct Defaults: Sendable, Hashable {
        /// Stands for a stream id that is empty; empty: such a client is turned away.
        package var streamID = "#!::r=live/livestream,m=publish"
        package var app = "live"
        package var mode = Mode.request

        package init() {}
    }

    /// The most bytes that a handshake can carry of it.
    package static let maximumLength = 512
    private static let maximumParameters = 64

    /// The vhost or domain; `nil` if none is named.
    package var host: String?
    package var app: String
    package var name: String
    package var mode: Mode
    /// In the order of their names, as they are told. Percent signs are resolved.
    package var parameters: [Parameter]

    package init(
        host: String? = nil, app: String, name: String, mode: Mode, parameters: [Parameter] = []
    ) {
        self.host = host
        self.app = app
        self.name = name
        self.mode = mode
        self.parameters = parameters.sorted { ($0.name, $0.value) < ($1.name, $1.value) }
    }

    /// Reads the bytes of a handshake.
    package init(parsing bytes: [UInt8], defaults: Defaults = Defaults()) throws(SRTStreamIDError) {
        guard bytes.count <= Self.maximumLength else { throw .tooLong(length: bytes.count) }
        if let offset = bytes.firstIndex(where: { $0 < 0x20 || $0 == 0x7F }) {
            throw .controlCharacter(byte: bytes[offset], offset: offset)
        }
        guard String(validating: bytes, as: UTF8.self) != nil else { throw .notUTF8 }
        guard !bytes.isEmpty else {
            guard !defaults.streamID.isEmpty else { throw .missingResource }
            var rest = defaults
            rest.streamID = ""
            self = try SRTStreamID(parsing: Array(defaults.streamID.utf8), defaults: rest)
            return
        }
        let bytes = Self.withoutEscapesOfURL(bytes)
        if bytes.starts(with: "#!::".utf8) {
            try self.init(pairs: try SRTStreamIDPair.split(bytes[4...]), defaults: defaults)
        } else if bytes.starts(with: "#!".utf8) {
            throw .unknownForm
        } else {
            try self.init(plain: bytes[...], defaults: defaults)
        }
    }

    /// A plain stream id never begins with the sign that is escaped here: no stream's name may hold it.
    private static func withoutEscapesOfURL(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.starts(with: "%23".utf8) else { return bytes }
        let resolved = SRTStreamIDPair.resolved(bytes[...])
        return resolved.starts(with: "#!".utf8) ? resolved : bytes
    }

    private init(plain bytes: ArraySlice<UInt8>, defaults: Defaults) throws(SRTStreamIDError) {
        let resource = SRTStreamIDPair.resource(of: bytes)
        let (app, name) = try Self.cut(resource.path, defaults: defaults)
        self.init(app: app, name: name, mode: defaults.mode, parameters: Self.parameters(resource.query))
        guard self.parameters.count <= Self.maximumParameters else {
            throw .tooManyParameters(count: self.parameters.count)
        }
    }

    private init(pairs: [SRTStreamIDPair], defaults: Defaults) throws(SRTStreamIDError) {
        var known: [String: SRTStreamIDPair] = [:]
        var parameters: [Parameter] = []
        for pair in pairs {
            guard ["r", "h", "m", "t"].contains(pair.name) else {
                parameters += Self.parameters(pair)
                continue
            }
            // Which of two resources is meant would be guessed differently by whoever checks it.
            guard known.updateValue(pair, forKey: pair.name) == nil else { throw .repeatedKey(pair.name) }
        }
        let mode = try Self.mode(known["m"], defaults)
        if let type = known["t"]?.value {
            guard !["file", "auth"].contains(type.lowercased()) else { throw .unsupportedType(type) }
            parameters.append(Parameter("t", type))
        }
        var host = known["h"]?.value
        guard let resource = known["r"]?.resource ?? Self.legacyResource(&host, of: known["h"]) else {
            throw .missingResource
        }
        let (app, name) = try Self.cut(resource.path, defaults: defaults)
        parameters += Self.parameters(resource.query)
        guard parameters.count <= Self.maximumParameters else { throw .tooManyParameters(count: parameters.count) }
        self.init(
            host: host.flatMap { $0.isEmpty ? nil : $0 }, app: app, name: name, mode: mode, parameters: parameters)
    }

    private static func mode(_ pair: SRTStreamIDPair?, _ defaults: Defaults) throws(SRTStreamIDError) -> Mode {
        guard let pair else { return defaults.mode }
        guard let mode = Mode(rawValue: pair.value.lowercased()) else { throw .unsupportedMode(pair.value) }
        return mode
    }

    /// Old clients write the resource into `h`: `h=app/name` and `h=vhost/app/name`.
    private static func legacyResource(
        _ host: inout String?, of pair: SRTStreamIDPair?
    ) -> (path: ArraySlice<UInt8>, query: ArraySlice<UInt8>)? {
        guard let (path, query) = pair?.resource else { return nil }
        let slash = UInt8(ascii: "/")
        let parts = path.split(separator: slash)
        guard parts.count >= 2 else { return nil }
        host = parts.count > 2 ? String(decoding: parts[0], as: UTF8.self) : nil
        return (Array(parts.suffix(2).joined(separator: [slash]))[...], query)
    }

    // MARK: Parts

    /// App and name of a path. A slash in front of it is left out.
    private static func cut(
        _ path: ArraySlice<UInt8>, defaults: Defaults
    ) throws(SRTStreamIDError) -> (app: String, name: String) {
        let path = path.drop { $0 == UInt8(ascii: "/") }
        guard !path.isEmpty else { throw .missingResource }
        guard let slash = path.firstIndex(of: UInt8(ascii: "/")) else {
            return (defaults.app, String(decoding: path, as: UTF8.self))
        }
        let name = path[(slash + 1)...]
        guard !name.isEmpty else { throw .missingResource }
        return (String(decoding: path[..<slash], as: UTF8.self), String(decoding: name, as: UTF8.self))
    }

    private static func parameters(_ query: ArraySlice<UInt8>) -> [Parameter] {
        query.split(separator: UInt8(ascii: "&")).map { part in
            let pair = SRTStreamIDPair(unquoted: part)
            return Parameter(pair.name, pair.value)
        }
    }

    /// A value that was not in quotes may itself be the rest of a query, which clients paste behind one key.
    private static func parameters(_ pair: SRTStreamIDPair) -> [Parameter] {
        guard !pair.isQuoted, pair.bytes.contains(UInt8(ascii: "&")) else {
            return [Parameter(pair.name, pair.value)]
        }
        return self.parameters(pair.bytes)
    }
}
