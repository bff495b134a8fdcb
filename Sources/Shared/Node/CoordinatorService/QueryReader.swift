import CoordinatorStore
import Hummingbird
import Media
import Placement

/// Reads the parameters of a request's query strictly: a name that comes twice, or text that is no UTF-8, is an error.
///
/// Parameters that nobody asks for are ignored, so that a newer client can talk to an older coordinator.
struct QueryReader: Sendable {
    static let maximumBytes = 8 << 10
    private static let maximumParameters = 64

    private let values: [String: String]

    init(_ query: String?) throws(Problem) {
        var values: [String: String] = [:]
        let query = query ?? ""
        guard query.utf8.count <= Self.maximumBytes else {
            throw Problem(
                "query-too-long", .uriTooLong, "The query is too long", detail: "at most \(Self.maximumBytes) bytes")
        }
        let pairs = query.split(separator: "&")
        guard pairs.count <= Self.maximumParameters else {
            throw Problem.invalid("more than \(Self.maximumParameters) parameters")
        }
        for pair in pairs {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decode(parts[0]),
                let value = parts.count > 1 ? Self.decode(parts[1], plusIsSpace: Self.words.contains(name)) : ""
            else { throw Problem.invalid("the query is not percent-encoded UTF-8") }
            guard values.updateValue(value, forKey: name) == nil else {
                throw Problem.invalid("a parameter comes twice")
            }
        }
        self.values = values
    }

    /// Parameters that are typed into search fields, whose forms write `+` for a space.
    private static let words: Set<String> = ["q"]

    /// `%41` is A; `+` is itself, because names of streams may have it.
    static func decode(_ text: Substring, plusIsSpace: Bool = false) -> String? {
        guard text.utf8.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") }) else {
            return String(text)
        }
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(plusIsSpace && byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(Self.digit), let low = rest.popFirst().flatMap(Self.digit) else {
                return nil
            }
            bytes.append(high << 4 | low)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    // MARK: Values

    /// The text as it is, at most `limit` characters (Unicode scalars, as JSON Schema counts) without control characters.
    func text(_ name: String, limit: Int, allowsEmpty: Bool = true) throws(Problem) -> String? {
        guard let value = self.values[name] else { return nil }
        guard value.unicodeScalars.count <= limit else {
            throw Problem.invalid("\(name) is longer than \(limit) characters")
        }
        guard allowsEmpty || !value.isEmpty else { throw Problem.invalid("\(name) is empty") }
        guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw Problem.invalid("\(name) has control characters")
        }
        return value
    }

    func number(_ name: String, _ range: ClosedRange<Int64>) throws(Problem) -> Int64? {
        guard let text = self.values[name] else { return nil }
        guard let value = Self.integer(text), range.contains(value) else {
            throw Problem.invalid("\(name) is a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// Digits alone: `Int64("+5")` would be one, too.
    static func integer(_ text: String) -> Int64? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
        return Int64(text)
    }

    /// `1` and `0`; false without it.
    func flag(_ name: String) throws(Problem) -> Bool {
        switch self.values[name] {
        case nil, "0": return false
        case "1": return true
        default: throw Problem.invalid("\(name) is 0 or 1")
        }
    }

    /// One word of a closed set.
    func choice<Value: RawRepresentable & CaseIterable>(
        _ name: String, of type: Value.Type
    ) throws(Problem) -> Value? where Value.RawValue == String {
        guard let text = self.values[name] else { return nil }
        guard let value = Value(rawValue: text) else {
            throw Problem.invalid("\(name) is one of \(Value.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return value
    }

    func node(_ name: String) throws(Problem) -> NodeID? {
        guard let text = self.values[name] else { return nil }
        guard let id = try? NodeID(text) else { throw Problem.invalid("\(name) is no id of a node") }
        return id
    }

    // MARK: Streams

    /// The stream that `app`, `name` and perhaps `vhost` name.
    func key() throws(Problem) -> StreamKey {
        guard let app = self.values["app"], let name = self.values["name"] else {
            throw Problem.invalid("app and name are needed")
        }
        do {
            return try StreamKey(vhost: self.values["vhost"] ?? StreamKey.defaultVhost, app: app, name: name)
        } catch {
            throw Problem.invalid("\(error)")
        }
    }

    /// The parts of a stream's name that a list is to be held to. `name` is the parameter with the stream's name.
    func filter(name parameter: String = "name") throws(Problem) -> StreamFilter {
        let filter = StreamFilter(
            vhost: self.values["vhost"], app: self.values["app"], name: self.values[parameter])
        do {
            _ = try StreamKey(
                vhost: filter.vhost ?? StreamKey.defaultVhost, app: filter.app ?? "app", name: filter.name ?? "name")
        } catch {
            throw Problem.invalid("\(error)")
        }
        return filter
    }

    /// `limit`, up to `maximum`.
    func limit(_ maximum: Int, standard: Int) throws(Problem) -> Int {
        try self.number("limit", 1...Int64(maximum)).map { Int($0) } ?? standard
    }
}

/// Parts of a stream's name; `nil` stands for all.
struct StreamFilter: Sendable, Hashable {
    var vhost: String?
    var app: String?
    var name: String?

    func matches(_ key: StreamKey) -> Bool {
        (self.vhost.map { key.vhost == $0 } ?? true) && (self.app.map { key.app == $0 } ?? true)
            && (self.name.map { key.name == $0 } ?? true)
    }

    /// What the text form of all that match begins with.
    var prefix: String {
        guard let vhost else { return "" }
        guard let app else { return "\(vhost)/" }
        return "\(vhost)/\(app)/"
    }
}
