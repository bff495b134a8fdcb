import Media
import MediaStorage
import NIOCore

/// The way one kind of value is read from text and written back.
struct SettingCodec<Value: Sendable & Equatable>: Sendable {
    /// What the documentation and the messages call the values, such as `duration, 100ms to 1h`.
    let syntax: String
    /// Whether YAML gives a list; elsewhere lists are separated by commas.
    let isList: Bool
    let isSecret: Bool
    /// Reads a scalar (one text) or a list (any number). The thrown problem carries the index of the bad element.
    let parse: @Sendable ([String]) throws(IndexedProblem) -> Value
    let write: @Sendable (Value) -> [String]

    struct IndexedProblem: Error {
        let index: Int
        let problem: ValueProblem
    }

    private init(
        syntax: String, isList: Bool, isSecret: Bool,
        parse: @escaping @Sendable ([String]) throws(IndexedProblem) -> Value,
        write: @escaping @Sendable (Value) -> [String]
    ) {
        self.syntax = syntax
        self.isList = isList
        self.isSecret = isSecret
        self.parse = parse
        self.write = write
    }

    static func scalar(
        _ syntax: String, isSecret: Bool = false,
        parse: @escaping @Sendable (String) throws(ValueProblem) -> Value,
        write: @escaping @Sendable (Value) -> String
    ) -> Self {
        Self(syntax: syntax, isList: false, isSecret: isSecret) { (texts) throws(IndexedProblem) in
            precondition(texts.count == 1, "a scalar has one text, got \(texts.count)")
            do throws(ValueProblem) {
                return try parse(texts[0])
            } catch {
                throw IndexedProblem(index: 0, problem: error)
            }
        } write: {
            [write($0)]
        }
    }

    static func list<Element: Sendable>(
        _ syntax: String, isSecret: Bool = false,
        parse: @escaping @Sendable (String) throws(ValueProblem) -> Element,
        write: @escaping @Sendable (Element) -> String
    ) -> Self where Value == [Element] {
        Self(syntax: "list of \(syntax)", isList: true, isSecret: isSecret) { (texts) throws(IndexedProblem) in
            var values: [Element] = []
            for (index, text) in texts.enumerated() {
                do throws(ValueProblem) {
                    values.append(try parse(text))
                } catch {
                    throw IndexedProblem(index: index, problem: error)
                }
            }
            return values
        } write: {
            $0.map(write)
        }
    }
}

// MARK: - Kinds of values

extension SettingCodec where Value == Int {
    static func integer(_ range: ClosedRange<Int>) -> Self {
        .scalar("integer, \(range.lowerBound) to \(range.upperBound)") { (text) throws(ValueProblem) in
            guard let value = Int(text) else { throw .invalid(expected: "an integer") }
            guard range ~= value else { throw .outOfRange("\(range.lowerBound) to \(range.upperBound)") }
            return value
        } write: {
            "\($0)"
        }
    }

    static func size(_ range: ClosedRange<Int>) -> Self {
        let rangeText = "\(SizeText.write(range.lowerBound)) to \(SizeText.write(range.upperBound))"
        return .scalar("size, \(rangeText)") { (text) throws(ValueProblem) in
            let value = try SizeText.parse(text)
            guard range ~= value else { throw .outOfRange(rangeText) }
            return value
        } write: {
            SizeText.write($0)
        }
    }
}

extension SettingCodec where Value == TimeAmount {
    static func duration(_ range: ClosedRange<TimeAmount>) -> Self {
        let rangeText = "\(DurationText.write(range.lowerBound)) to \(DurationText.write(range.upperBound))"
        return .scalar("duration, \(rangeText)") { (text) throws(ValueProblem) in
            let value = try DurationText.parse(text)
            guard range ~= value else { throw .outOfRange(rangeText) }
            return value
        } write: {
            DurationText.write($0)
        }
    }
}

extension SettingCodec where Value == Bool {
    static var flag: Self {
        .scalar("true or false") { (text) throws(ValueProblem) in
            switch text.lowercased() {
            case "true", "yes", "on": return true
            case "false", "no", "off": return false
            default: throw .invalid(expected: "true or false")
            }
        } write: {
            $0 ? "true" : "false"
        }
    }
}

extension SettingCodec where Value == String {
    static func text(_ syntax: String, maximumLength: Int = 1_024) -> Self {
        .scalar(syntax) { (text) throws(ValueProblem) in
            guard text.utf8.count <= maximumLength else { throw .outOfRange("at most \(maximumLength) bytes") }
            guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
                throw .invalid(expected: "\(syntax) without control characters")
            }
            return text
        } write: {
            $0
        }
    }

    /// Names files of streams. `required`: variables without which files of one stream would replace each other.
    static func pathPattern(_ required: [PathPattern.Variable] = []) -> Self {
        .scalar("path pattern") { (text) throws(ValueProblem) in
            let pattern: PathPattern
            do throws(PathPatternError) {
                pattern = try PathPattern(text)
            } catch {
                throw .invalid(expected: "a path pattern: \(error)")
            }
            let missing = ([.app, .stream] + required).filter { !pattern.variables.contains($0) }
            guard missing.isEmpty else {
                throw .invalid(
                    expected: "a path pattern with " + missing.map { "[\($0.rawValue)]" }.joined(separator: ", "))
            }
            return text
        } write: {
            $0
        }
    }

    /// A name that goes into URLs, log lines and file names.
    static func label(_ syntax: String) -> Self {
        .scalar(syntax) { (text) throws(ValueProblem) in
            let isLabel =
                text.utf8.count <= 128
                && text.utf8.allSatisfy { byte in
                    switch byte {
                    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                        true
                    default: false
                    }
                }
            guard isLabel else { throw .invalid(expected: "at most 128 letters, digits, dots, dashes and underscores") }
            return text
        } write: {
            $0
        }
    }

    static func host(_ syntax: String) -> Self {
        .scalar(syntax) { (text) throws(ValueProblem) in
            let expected = "a host name or address without a port"
            guard !text.isEmpty else { return text }
            let isAddress = text.contains(":")
            let parts = try HostAndPort(parsing: isAddress && text.first != "[" ? "[\(text)]" : text, scheme: nil)
            guard parts.port == nil, !parts.host.isEmpty else { throw .invalid(expected: expected) }
            return parts.host
        } write: {
            $0
        }
    }
}

extension SettingCodec where Value == Secret {
    static var secret: Self {
        .scalar("secret", isSecret: true) { (text) throws(ValueProblem) in
            guard text.utf8.count <= 1_024, text.utf8.allSatisfy({ 0x21...0x7E ~= $0 }) else {
                throw .invalid(expected: "at most 1024 printable ASCII characters without spaces")
            }
            return Secret(text)
        } write: {
            $0.value
        }
    }
}

extension SettingCodec where Value == ListenAddress {
    static var listenAddress: Self {
        .scalar("address") { (text) throws(ValueProblem) in
            try ListenAddress(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [ListenAddress] {
    static var listenAddresses: Self {
        .list("addresses") { (text) throws(ValueProblem) in
            try ListenAddress(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [PeerAddress] {
    static func peers(defaultPort: Int) -> Self {
        .list("HOST:PORT") { (text) throws(ValueProblem) in
            try PeerAddress(parsing: text, defaultPort: defaultPort)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [ServiceURL] {
    static var serviceURLs: Self {
        .list("URLs") { (text) throws(ValueProblem) in
            try ServiceURL(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [CallbackURL] {
    static var callbackURLs: Self {
        .list("URLs") { (text) throws(ValueProblem) in
            try CallbackURL(parsing: text)
        } write: {
            $0.description
        }
    }
}

extension SettingCodec where Value == [String] {
    /// Browser origins: `*` or `scheme://host[:port]`.
    static var webOrigins: Self {
        .list("origins") { (text) throws(ValueProblem) in
            let expected = "* or SCHEME://HOST without a path, such as https://example.com"
            guard text != "*" else { return text }
            guard let separator = text.firstRange(of: "://") else { throw .invalid(expected: expected) }
            let rest = String(text[separator.upperBound...])
            guard separator.lowerBound > text.startIndex, !rest.isEmpty, !rest.contains("/") else {
                throw .invalid(expected: expected)
            }
            _ = try HostAndPort(parsing: rest, scheme: String(text[..<separator.lowerBound]))
            return text.lowercased()
        } write: {
            $0
        }
    }
}

extension SettingCodec where Value == [StreamSettings.StreamGroup] {
    /// `NAME=STREAM+STREAM`: names that a stream can have.
    static var streamGroups: Self {
        .list("NAME=STREAM+STREAM") { (text) throws(ValueProblem) in
            let parts = text.split(separator: "=", omittingEmptySubsequences: false)
            let members = parts.count == 2 ? parts[1].split(separator: "+", omittingEmptySubsequences: false) : []
            let names = (parts.prefix(1) + members).map(String.init)
            guard parts.count == 2, names.allSatisfy({ (try? StreamKey(app: "app", name: $0)) != nil }) else {
                throw .invalid(expected: "NAME=STREAM+STREAM, with names that streams can have")
            }
            return StreamSettings.StreamGroup(name: names[0], members: Array(names.dropFirst()))
        } write: {
            "\($0.name)=\($0.members.joined(separator: "+"))"
        }
    }
}

extension SettingCodec where Value: CaseIterable & RawRepresentable, Value.RawValue == String {
    /// One word of a closed set.
    static var choice: Self {
        let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return .scalar("one of: \(words)") { (text) throws(ValueProblem) in
            guard let value = Value(rawValue: text) else { throw .invalid(expected: "one of: \(words)") }
            return value
        } write: {
            $0.rawValue
        }
    }
}

// MARK: - Fields

/// One key: its name, what it is for, and how it is read into and written from `Root`.
struct SettingField<Root>: Sendable {
    /// The path below `Root`, such as `publish.grace`.
    let name: String
    let syntax: String
    let isList: Bool
    let isSecret: Bool
    /// For the reference: what the setting does.
    let documentation: String
    /// Shown instead of an empty default that is computed at the start.
    let computedDefault: String?
    let assign: @Sendable ([String], inout Root) throws(ElementProblem) -> Void
    let write: @Sendable (Root) -> [String]

    struct ElementProblem: Error {
        let index: Int
        let problem: ValueProblem
    }

    private init(
        name: String, syntax: String, isList: Bool, isSecret: Bool, documentation: String, computedDefault: String?,
        assign: @escaping @Sendable ([String], inout Root) throws(ElementProblem) -> Void,
        write: @escaping @Sendable (Root) -> [String]
    ) {
        self.name = name
        self.syntax = syntax
        self.isList = isList
        self.isSecret = isSecret
        self.documentation = documentation
        self.computedDefault = computedDefault
        self.assign = assign
        self.write = write
    }

    init<Value>(
        _ name: String, _ path: any WritableKeyPath<Root, Value> & Sendable, _ codec: SettingCodec<Value>,
        computedDefault: String? = nil, _ documentation: String
    ) {
        self.init(
            name: name, syntax: codec.syntax, isList: codec.isList, isSecret: codec.isSecret,
            documentation: documentation, computedDefault: computedDefault
        ) { (texts, root) throws(ElementProblem) in
            do throws(SettingCodec<Value>.IndexedProblem) {
                root[keyPath: path] = try codec.parse(texts)
            } catch {
                throw ElementProblem(index: error.index, problem: error.problem)
            }
        } write: { root in
            codec.write(root[keyPath: path])
        }
    }

    /// The same field as a part of a larger structure, below `prefix`.
    func lifted<Outer>(to path: any WritableKeyPath<Outer, Root> & Sendable, prefix: String) -> SettingField<Outer> {
        SettingField<Outer>(
            name: "\(prefix).\(self.name)", syntax: self.syntax, isList: self.isList, isSecret: self.isSecret,
            documentation: self.documentation, computedDefault: self.computedDefault
        ) { (texts, outer) throws(SettingField<Outer>.ElementProblem) in
            do throws(ElementProblem) {
                try self.assign(texts, &outer[keyPath: path])
            } catch {
                throw SettingField<Outer>.ElementProblem(index: error.index, problem: error.problem)
            }
        } write: { outer in
            self.write(outer[keyPath: path])
        }
    }
}
