/// A scheme with its parameters, as `WWW-Authenticate` and `Authorization` have them. Spec: RFC 9110 §11.2.
struct AuthenticationHeader: Equatable {
    struct Parameter: Equatable {
        /// In lower case.
        var name: String
        /// Without quotes and their escapes.
        var value: String
    }

    /// UTF-8 bytes of a header's value that are read.
    static let maximumLength = 8_192
    /// Parameters of one scheme.
    static let maximumParameters = 32
    /// Challenges in one value.
    static let maximumSchemes = 8

    /// In lower case.
    var scheme: String
    /// What stands behind the scheme in one piece: the credentials of Basic.
    var token = ""
    var parameters: [Parameter] = []

    subscript(name: String) -> String? { self.parameters.first { $0.name == name }?.value }

    /// Reads a value that may hold several schemes, separated by commas like their parameters.
    ///
    /// Errors: `tooLong`, `tooManyParameters`, `unexpectedByte`, `truncated`, `repeatedParameter`.
    static func parse(_ text: String) throws(AuthenticationError) -> [AuthenticationHeader] {
        let length = text.utf8.count
        guard length <= self.maximumLength else { throw .tooLong(length: length, limit: self.maximumLength) }
        var scanner = Scanner(Array(text.utf8))
        var headers: [AuthenticationHeader] = []
        while true {
            scanner.skip { $0 == 0x20 || $0 == 0x09 || $0 == UInt8(ascii: ",") }
            guard !scanner.isAtEnd else { return headers }
            let word = try scanner.token()
            let hadSpace = scanner.skipSpaces()
            guard scanner.peek == UInt8(ascii: "="), !headers.isEmpty || !hadSpace else {
                guard headers.count < self.maximumSchemes else {
                    throw .tooManyParameters(limit: self.maximumSchemes)
                }
                var header = AuthenticationHeader(scheme: word.lowercased())
                header.token = scanner.token68()
                headers.append(header)
                continue
            }
            guard !headers.isEmpty else { throw .unexpectedByte(UInt8(ascii: "="), offset: scanner.offset) }
            scanner.advance()
            _ = scanner.skipSpaces()
            let value = try scanner.value()
            try headers[headers.count - 1].add(Parameter(name: word.lowercased(), value: value))
        }
    }

    private mutating func add(_ parameter: Parameter) throws(AuthenticationError) {
        guard self.parameters.count < Self.maximumParameters else {
            throw .tooManyParameters(limit: Self.maximumParameters)
        }
        guard self[parameter.name] == nil else { throw .repeatedParameter(parameter.name) }
        self.parameters.append(parameter)
    }
}

/// Walks over the bytes of a value.
private struct Scanner {
    private let bytes: [UInt8]
    private(set) var offset = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { self.offset == self.bytes.count }
    var peek: UInt8? { self.isAtEnd ? nil : self.bytes[self.offset] }

    mutating func advance() { self.offset += 1 }

    mutating func skip(_ condition: (UInt8) -> Bool) {
        while let byte = self.peek, condition(byte) { self.offset += 1 }
    }

    /// Returns whether there were any.
    mutating func skipSpaces() -> Bool {
        let start = self.offset
        self.skip { $0 == 0x20 || $0 == 0x09 }
        return self.offset > start
    }

    /// Spec: RFC 9110 §5.6.2.
    mutating func token() throws(AuthenticationError) -> String {
        let start = self.offset
        self.skip(Self.isTokenByte)
        guard self.offset > start else { throw self.unexpected() }
        return String(decoding: self.bytes[start..<self.offset], as: UTF8.self)
    }

    /// A run up to the next comma or space, if it is no parameter; else nothing is read.
    mutating func token68() -> String {
        let start = self.offset
        self.skip { Self.isTokenByte($0) || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ":") }
        let end = self.offset
        self.skip { $0 == UInt8(ascii: "=") }
        let isWhole = self.peek.map { $0 == UInt8(ascii: ",") || $0 == 0x20 || $0 == 0x09 } ?? true
        // One word alone is credentials; a word with an equals sign and more behind it is a parameter.
        guard isWhole, end > start else {
            self.offset = start
            return ""
        }
        return String(decoding: self.bytes[start..<self.offset], as: UTF8.self)
    }

    /// A token or a quoted string. Senders leave quotes out where the grammar asks for them, so that anything up to the
    /// next comma is a value.
    mutating func value() throws(AuthenticationError) -> String {
        guard self.peek == UInt8(ascii: "\"") else {
            let start = self.offset
            self.skip { $0 != UInt8(ascii: ",") && $0 != UInt8(ascii: "\"") }
            if self.peek == UInt8(ascii: "\"") { throw self.unexpected() }
            var end = self.offset
            while end > start, self.bytes[end - 1] == 0x20 || self.bytes[end - 1] == 0x09 { end -= 1 }
            return String(decoding: self.bytes[start..<end], as: UTF8.self)
        }
        self.advance()
        var value: [UInt8] = []
        while let byte = self.peek {
            self.advance()
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: value, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = self.peek else { throw .truncated(offset: self.offset) }
                value.append(escaped)
                self.advance()
            default: value.append(byte)
            }
        }
        throw .truncated(offset: self.offset)
    }

    private func unexpected() -> AuthenticationError {
        guard let byte = self.peek else { return .truncated(offset: self.offset) }
        return .unexpectedByte(byte, offset: self.offset)
    }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
        }
    }
}

/// Writes parameters, quoted where they have to be.
struct ParameterWriter {
    private(set) var text: String

    init(scheme: String) { self.text = scheme }

    private var isFirst = true

    mutating func quoted(_ name: String, _ value: String) {
        var escaped = ""
        for character in value.unicodeScalars {
            // No line can be ended from inside of a value.
            if character.value < 0x20 || character.value == 0x7F { continue }
            if character == "\"" || character == "\\" { escaped += "\\" }
            escaped.unicodeScalars.append(character)
        }
        self.plain(name, "\"\(escaped)\"")
    }

    mutating func plain(_ name: String, _ value: String) {
        self.text += "\(self.isFirst ? " " : ", ")\(name)=\(value)"
        self.isFirst = false
    }
}
