package import NIOCore

/// An element of a small XML document: the subset that devices write, with bounds, and without document types.
///
/// Names keep their prefix. White space around text is dropped. Of entities only the five predefined ones and numbers
/// are known; an ampersand that begins none of them is text.
package struct XMLElement: Sendable, Hashable {
    /// How much a document may have.
    package struct Limits: Sendable, Hashable {
        package var length: Int
        package var depth: Int
        package var elements: Int

        package init(length: Int = 256 << 10, depth: Int = 16, elements: Int = 16_384) {
            self.length = length
            self.depth = depth
            self.elements = elements
        }
    }

    package var name: String
    package var attributes: [String: String]
    package var text: String
    package var children: [XMLElement]

    package init(_ name: String, text: String = "", attributes: [String: String] = [:], children: [XMLElement] = []) {
        self.name = name
        self.text = text
        self.attributes = attributes
        self.children = children
    }

    /// Parses a document in UTF-8, GB2312 or GBK. What follows the first element is not looked at.
    package init(parsing bytes: ByteBuffer, limits: Limits = .init()) throws(XMLError) {
        guard bytes.readableBytes <= limits.length else {
            throw .tooLong(length: bytes.readableBytes, limit: limits.length)
        }
        let text = GBKText.decode(bytes, declaredGB: Self.declaresGB(bytes))
        var reader = XMLReader(text, limits: limits)
        self = try reader.document()
    }

    /// Whether the declaration names one of the GB encodings.
    private static func declaresGB(_ bytes: ByteBuffer) -> Bool {
        let head = bytes.readableBytesView.prefix(128)
        guard let end = head.firstIndex(of: UInt8(ascii: ">")) else { return false }
        let declaration = String(decoding: head[..<end], as: UTF8.self).uppercased()
        return declaration.contains("ENCODING") && declaration.contains("GB")
    }

    /// The first child of that name.
    package subscript(name: String) -> XMLElement? { self.children.first { $0.name == name } }

    /// The text of the first child of that name; `nil` where there is none or it is empty.
    package func value(_ name: String) -> String? {
        self[name].flatMap { $0.text.isEmpty ? nil : $0.text }
    }

    /// Appends the element on lines of its own.
    package func write(into text: inout String) {
        text += "<\(self.name)"
        for (name, value) in self.attributes.sorted(by: { $0.key < $1.key }) {
            text += " \(name)=\"\(Self.escaped(value))\""
        }
        if self.children.isEmpty {
            text += ">\(Self.escaped(self.text))</\(self.name)>\r\n"
        } else {
            text += ">\r\n"
            for child in self.children { child.write(into: &text) }
            text += "</\(self.name)>\r\n"
        }
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case _ where character.value < 32: result += " "
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}

/// Reads one document without recursion.
private struct XMLReader {
    private let bytes: [UInt8]
    private let limits: XMLElement.Limits
    private var index = 0
    private var open: [XMLElement] = []
    private var count = 0

    init(_ text: String, limits: XMLElement.Limits) {
        self.bytes = Array(text.utf8)
        self.limits = limits
    }

    mutating func document() throws(XMLError) -> XMLElement {
        while self.index < self.bytes.count {
            guard self.bytes[self.index] == UInt8(ascii: "<") else {
                self.readText()
                continue
            }
            if self.starts(with: "<?") {
                try self.skip(past: "?>")
            } else if self.starts(with: "<!--") {
                try self.skip(past: "-->")
            } else if self.starts(with: "<![CDATA[") {
                try self.readCharacterData()
            } else if self.starts(with: "<!") {
                throw .documentType(offset: self.index)
            } else if self.starts(with: "</") {
                if let root = try self.readEnd() { return root }
            } else if let root = try self.readStart() {
                return root
            }
        }
        guard !self.open.isEmpty else { throw .empty }
        throw .truncated(offset: self.index)
    }

    private func starts(with text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard self.index + count <= self.bytes.count else { return false }
        return text.withUTF8Buffer { unsafe $0.elementsEqual(self.bytes[self.index..<self.index + count]) }
    }

    private mutating func skip(past end: StaticString) throws(XMLError) {
        let begin = self.index
        while self.index < self.bytes.count {
            if self.starts(with: end) {
                self.index += end.utf8CodeUnitCount
                return
            }
            self.index += 1
        }
        throw .truncated(offset: begin)
    }

    // MARK: Text

    private mutating func readText() {
        let begin = self.index
        while self.index < self.bytes.count, self.bytes[self.index] != UInt8(ascii: "<") { self.index += 1 }
        guard !self.open.isEmpty else { return }
        self.open[self.open.count - 1].text += Self.decoded(self.bytes[begin..<self.index])
    }

    private mutating func readCharacterData() throws(XMLError) {
        let begin = self.index + 9
        try self.skip(past: "]]>")
        guard !self.open.isEmpty else { return }
        self.open[self.open.count - 1].text += String(decoding: self.bytes[begin..<self.index - 3], as: UTF8.self)
    }

    private static func decoded(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.contains(UInt8(ascii: "&")) else { return String(decoding: bytes, as: UTF8.self) }
        var result = ""
        var rest = bytes
        while let ampersand = rest.firstIndex(of: UInt8(ascii: "&")) {
            result += String(decoding: rest[..<ampersand], as: UTF8.self)
            rest = rest[(ampersand + 1)...]
            // The longest reference that is known has eight characters.
            if let end = rest.prefix(10).firstIndex(of: UInt8(ascii: ";")), let text = Self.entity(rest[..<end]) {
                result += text
                rest = rest[(end + 1)...]
            } else {
                result += "&"
            }
        }
        return result + String(decoding: rest, as: UTF8.self)
    }

    private static func entity(_ name: ArraySlice<UInt8>) -> String? {
        let name = String(decoding: name, as: UTF8.self)
        switch name {
        case "amp": return "&"
        case "lt": return "<"
        case "gt": return ">"
        case "quot": return "\""
        case "apos": return "'"
        default:
            guard name.hasPrefix("#") else { return nil }
            let digits = name.dropFirst()
            let number = digits.first == "x" ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits)
            return number.flatMap(Unicode.Scalar.init).map { String(Character($0)) }
        }
    }

    private static func trimmed(_ text: String) -> String {
        var scalars = text.unicodeScalars[...]
        while let first = scalars.first, first.properties.isWhitespace { scalars.removeFirst() }
        while let last = scalars.last, last.properties.isWhitespace { scalars.removeLast() }
        return String(scalars)
    }

    // MARK: Tags

    /// Returns the root when it is closed.
    private mutating func close() -> XMLElement? {
        guard var element = self.open.popLast() else { return nil }
        element.text = Self.trimmed(element.text)
        guard !self.open.isEmpty else { return element }
        self.open[self.open.count - 1].children.append(element)
        return nil
    }

    private mutating func readEnd() throws(XMLError) -> XMLElement? {
        let begin = self.index
        self.index += 2
        let name = self.readName()
        self.skipSpace()
        guard self.index < self.bytes.count else { throw .truncated(offset: begin) }
        guard self.bytes[self.index] == UInt8(ascii: ">") else { throw .malformedTag(offset: begin) }
        self.index += 1
        guard name == self.open.last?.name else { throw .mismatchedEnd(offset: begin) }
        return self.close()
    }

    private mutating func readStart() throws(XMLError) -> XMLElement? {
        let begin = self.index
        self.index += 1
        var element = XMLElement(self.readName())
        guard !element.name.isEmpty else { throw .malformedTag(offset: begin) }
        self.count += 1
        guard self.count <= self.limits.elements else { throw .tooManyElements(limit: self.limits.elements) }
        guard self.open.count < self.limits.depth else { throw .tooDeep(limit: self.limits.depth, offset: begin) }
        while true {
            self.skipSpace()
            guard self.index < self.bytes.count else { throw .truncated(offset: begin) }
            switch self.bytes[self.index] {
            case UInt8(ascii: ">"):
                self.index += 1
                self.open.append(element)
                return nil
            case UInt8(ascii: "/"):
                guard self.index + 1 < self.bytes.count else { throw .truncated(offset: begin) }
                guard self.bytes[self.index + 1] == UInt8(ascii: ">") else { throw .malformedTag(offset: begin) }
                self.index += 2
                self.open.append(element)
                return self.close()
            default:
                let (name, value) = try self.readAttribute(begin)
                if element.attributes.count < 64 { element.attributes[name] = value }
            }
        }
    }

    private mutating func readAttribute(_ begin: Int) throws(XMLError) -> (String, String) {
        let name = self.readName()
        self.skipSpace()
        guard !name.isEmpty else { throw .malformedTag(offset: begin) }
        guard self.index < self.bytes.count else { throw .truncated(offset: begin) }
        guard self.bytes[self.index] == UInt8(ascii: "=") else { throw .malformedTag(offset: begin) }
        self.index += 1
        self.skipSpace()
        guard self.index < self.bytes.count else { throw .truncated(offset: begin) }
        let quote = self.bytes[self.index]
        guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else { throw .malformedTag(offset: begin) }
        let start = self.index + 1
        guard let end = self.bytes[start...].firstIndex(of: quote) else { throw .truncated(offset: begin) }
        self.index = end + 1
        return (name, Self.decoded(self.bytes[start..<end]))
    }

    private mutating func readName() -> String {
        let begin = self.index
        while self.index < self.bytes.count {
            switch self.bytes[self.index] {
            case 0...32, UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "/"), UInt8(ascii: "="),
                UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "&"):
                return String(decoding: self.bytes[begin..<self.index], as: UTF8.self)
            default: self.index += 1
            }
        }
        return String(decoding: self.bytes[begin..<self.index], as: UTF8.self)
    }

    private mutating func skipSpace() {
        while self.index < self.bytes.count, self.bytes[self.index] <= 32 { self.index += 1 }
    }
}
