/// Why a query cannot be answered.
package enum MediaObjectQueryError: Error, Equatable {
    /// A parameter has a value that is none of its kind.
    case malformed(parameter: String)
    /// A parameter is there more than once.
    case repeated(parameter: String)
    /// `_HLS_part` says nothing without `_HLS_msn`. Spec: RFC 8216bis §6.2.5.2.
    case partWithoutSequence
}

extension MediaObjectQuery {
    /// The farthest that `dvr` reaches back: a year.
    package static let maximumRewindSeconds = 366 * 86_400

    /// Reads the text behind `?` for the object `name`: only playlists have parameters, all others of the query are
    /// passed over. Numbers are decimal digits, as a cache has to see one spelling as one object.
    package init(_ text: Substring, for name: MediaObjectName) throws(MediaObjectQueryError) {
        self.init()
        guard !text.isEmpty, name.takesQuery else { return }
        for item in text.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            try self.read(pair[0], pair.count > 1 ? pair[1] : "", for: name)
        }
        if self.part != nil, self.sequence == nil { throw .partWithoutSequence }
    }

    private mutating func read(
        _ parameter: Substring, _ value: Substring, for name: MediaObjectName
    ) throws(MediaObjectQueryError) {
        let isDirective = parameter.utf8.starts(with: "_HLS_".utf8)
        if isDirective, !name.takesDirectives { return }
        switch parameter {
        case "_HLS_msn":
            try Self.expectFirst(self.sequence == nil, parameter)
            self.sequence = UInt64(try Self.digits(value, of: parameter, at: 19))
        case "_HLS_part":
            try Self.expectFirst(self.part == nil, parameter)
            self.part = Int(try Self.digits(value, of: parameter, at: 9))
        case "_HLS_skip":
            try Self.expectFirst(self.skip == nil, parameter)
            guard let skip = Skip(rawValue: String(value)) else { throw .malformed(parameter: "_HLS_skip") }
            self.skip = skip
        case "dvr":
            try Self.expectFirst(self.rewindSeconds == nil, parameter)
            guard let seconds = Int(try Self.digits(value, of: parameter, at: 9)), seconds > 0 else {
                throw .malformed(parameter: "dvr")
            }
            self.rewindSeconds = min(seconds, Self.maximumRewindSeconds)
        default:
            // Other directives are for servers that know them (RFC 8216bis §6.2.5).
            return
        }
    }

    private static func expectFirst(_ isFirst: Bool, _ parameter: Substring) throws(MediaObjectQueryError) {
        guard isFirst else { throw .repeated(parameter: String(parameter)) }
    }

    private static func digits(
        _ value: Substring, of parameter: Substring, at limit: Int
    ) throws(MediaObjectQueryError) -> Substring {
        let isNumber = value.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        guard isNumber, (1...limit).contains(value.utf8.count) else {
            throw .malformed(parameter: String(parameter))
        }
        return value
    }

    /// The parameters as a URL has them, without `?`; empty if there are none. Equal queries have equal texts.
    package var text: String {
        var items: [String] = []
        if let sequence = self.sequence { items.append("_HLS_msn=\(sequence)") }
        if let part = self.part { items.append("_HLS_part=\(part)") }
        if let skip = self.skip { items.append("_HLS_skip=\(skip.rawValue)") }
        if let seconds = self.rewindSeconds { items.append("dvr=\(seconds)") }
        return items.joined(separator: "&")
    }
}

extension MediaObjectName {
    /// Playlists and manifests reach back as far as `dvr` says.
    fileprivate var takesQuery: Bool {
        switch self {
        case .multivariant, .manifest, .playlist: true
        default: false
        }
    }

    /// Delivery directives are for media playlists only. Spec: RFC 8216bis §6.2.5.
    fileprivate var takesDirectives: Bool {
        if case .playlist = self { true } else { false }
    }
}
