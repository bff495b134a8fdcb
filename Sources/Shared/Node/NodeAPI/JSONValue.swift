/// A JSON document whose members keep their order. Spec: RFC 8259.
package indirect enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// What is no finite number is written as 0, for JSON has no such numbers.
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([Member])
    /// A document that is JSON already. It must be one: it is written as it is.
    case raw(String)

    /// One member of an object.
    package struct Member: Sendable, Hashable {
        package var name: String
        package var value: JSONValue
    }

    /// An object without the members whose value is `nil`.
    static func object(_ members: KeyValuePairs<String, JSONValue?>) -> JSONValue {
        .object(members.compactMap { name, value in value.map { Member(name: name, value: $0) } })
    }

    static func count(_ value: some BinaryInteger) -> JSONValue { .integer(Int64(clamping: value)) }
    static func strings(_ values: some Sequence<String>) -> JSONValue { .array(values.map { .string($0) }) }
    /// Counts by name, in the order of the names.
    static func counts(_ values: [String: Int]) -> JSONValue {
        .object(values.sorted { $0.key < $1.key }.map { Member(name: $0.key, value: .count($0.value)) })
    }

    /// The object with the members of another one behind its own.
    func merging(_ other: JSONValue) -> JSONValue {
        guard case .object(let own) = self, case .object(let more) = other else { return self }
        return .object(own + more)
    }

    /// The document as text, without white space.
    package var text: String {
        var text = ""
        self.write(into: &text)
        return text
    }

    private func write(into text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .number(let value): Self.write(value, into: &text)
        case .string(let value): Self.write(value, into: &text)
        case .raw(let value): text += value
        case .array(let values):
            text += "["
            var isFirst = true
            for value in values {
                if !isFirst { text += "," }
                isFirst = false
                value.write(into: &text)
            }
            text += "]"
        case .object(let members):
            text += "{"
            var isFirst = true
            for member in members {
                if !isFirst { text += "," }
                isFirst = false
                Self.write(member.name, into: &text)
                text += ":"
                member.value.write(into: &text)
            }
            text += "}"
        }
    }

    private static func write(_ value: Double, into text: inout String) {
        guard value.isFinite else {
            text += "0"
            return
        }
        // Six digits are more than any of our figures has meaning.
        let rounded = abs(value) < 1e9 ? (value * 1e6).rounded() / 1e6 : value
        if let whole = Int64(exactly: rounded) { text += "\(whole)" } else { text += "\(rounded)" }
    }

    private static func write(_ value: String, into text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            // Browsers that take a document for a page or a script find nothing to act on.
            case "<", ">", "\u{2028}", "\u{2029}",
                _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
