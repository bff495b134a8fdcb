/// One line that is not an attribute: its letter and what follows the equals sign. Spec: RFC 8866 §5.
package struct SDPLine: Sendable, Hashable {
    package var type: Character
    package var value: String

    package init(_ type: Character, _ value: String) {
        self.type = type
        self.value = value
    }

    static let sessionOrder: [Character] = ["i", "u", "e", "p", "c", "b", "t", "r", "z", "k"]
    static let mediaOrder: [Character] = ["i", "c", "b", "k"]

    /// Writes the lines by the order of their letters, unknown letters last; equal letters keep their order.
    static func write(_ lines: [SDPLine], order: [Character], into text: inout String) {
        // `t=`, `r=` and `z=` belong together in the order in which they came.
        func rank(_ line: SDPLine) -> Int {
            let letter: Character = line.type == "r" || line.type == "z" ? "t" : line.type
            return order.firstIndex(of: letter) ?? order.count
        }
        let sorted = lines.enumerated().sorted { (rank($0.element), $0.offset) < (rank($1.element), $1.offset) }
        for (_, line) in sorted { text += "\(line.type)=\(line.value)\r\n" }
    }
}

/// One `a=` line: a name, and what follows the colon where there is one. Spec: RFC 8866 §5.13.
package struct SDPAttribute: Sendable, Hashable {
    package var name: String
    /// `nil` for a property such as `rtcp-mux`.
    package var value: String?

    package init(_ name: String, _ value: String? = nil) {
        self.name = name
        self.value = value
    }

    /// Takes the text behind `a=`.
    package init(parsing text: String) {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else {
            self.init(text)
            return
        }
        self.init(String(text[..<colon]), String(text[text.utf8.index(after: colon)...]))
    }

    func write(into text: inout String) {
        text += "a=\(self.name)"
        if let value = self.value { text += ":\(value)" }
        text += "\r\n"
    }
}

extension [SDPAttribute] {
    /// The value of the first attribute of this name; empty for a property. `nil` if there is none.
    package func first(_ name: String) -> String? {
        self.first { $0.name == name }.map { $0.value ?? "" }
    }

    /// The values of all attributes of this name, in their order; empty ones for properties.
    package func all(_ name: String) -> [String] {
        self.compactMap { $0.name == name ? $0.value ?? "" : nil }
    }

    package func has(_ name: String) -> Bool { self.contains { $0.name == name } }
}

/// The lines of a text by section: what both descriptions and trickle fragments consist of.
struct SDPSections {
    /// The lines in front of the first m-line, numbered from 1.
    var session: [(line: SDPLine, number: Int)] = []
    var media: [MediaDescription] = []

    init(parsing text: String, limits: SessionDescription.Limits) throws(SDPError) {
        let length = text.utf8.count
        guard length <= limits.length else { throw .tooLong(length: length, limit: limits.length) }
        var number = 0
        var isFirst = true
        // CRLF is one Character but two bytes, so the bytes are split and empty pieces skipped.
        for piece in text.utf8.split(omittingEmptySubsequences: false, whereSeparator: { $0 == 10 || $0 == 13 }) {
            guard !piece.isEmpty else { continue }
            number += 1
            guard number <= limits.lines else { throw .tooManyLines(limit: limits.lines) }
            try self.add(piece, number: number, isFirst: isFirst, limits: limits)
            isFirst = false
        }
        guard number > 0 else { throw .empty }
    }

    private mutating func add(
        _ piece: Substring.UTF8View, number: Int, isFirst: Bool, limits: SessionDescription.Limits
    ) throws(SDPError) {
        guard let letter = piece.first, (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(letter),
            piece.dropFirst().first == UInt8(ascii: "=")
        else { throw .malformedLine(number) }
        let line = SDPLine(Character(Unicode.Scalar(letter)), SDPSections.trimmed(piece.dropFirst(2)))
        if line.type == "m" {
            guard self.media.count < limits.mediaDescriptions else {
                throw .tooManyMediaDescriptions(limit: limits.mediaDescriptions)
            }
            self.media.append(try MediaDescription(parsing: line.value, line: number))
        } else if self.media.isEmpty {
            self.session.append((line, number))
        } else if line.type == "a" {
            self.media[self.media.count - 1].attributes.append(SDPAttribute(parsing: line.value))
        } else {
            self.media[self.media.count - 1].lines.append(line)
        }
    }

    /// Without spaces and tabs at the end, which some peers leave there.
    private static func trimmed(_ bytes: Substring.UTF8View) -> String {
        var bytes = bytes
        while let last = bytes.last, last == 32 || last == 9 { bytes = bytes.dropLast() }
        return String(Substring(bytes))
    }
}
