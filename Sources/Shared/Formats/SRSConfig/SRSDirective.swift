/// One statement of an srs.conf: `name argument …;`, or `name argument … { … }`.
package struct SRSDirective: Sendable, Hashable {
    package var name: String
    /// Without quotes.
    package var arguments: [String]
    /// The statements between the braces; `nil` if the statement ends with a semicolon.
    package var block: [SRSDirective]?
    /// Where the name stands. Lines and columns count from 1; a column is a byte.
    package var line: Int
    package var column: Int

    package init(name: String, arguments: [String], block: [SRSDirective]? = nil, line: Int, column: Int) {
        self.name = name
        self.arguments = arguments
        self.block = block
        self.line = line
        self.column = column
    }
}

/// Why a text is no srs.conf, and where. Lines and columns count from 1; a column is a byte.
package struct SRSConfigError: Error, Sendable, Hashable {
    package enum Reason: Sendable, Hashable {
        /// The text has more bytes than are read.
        case tooLong(byteCount: Int, maximum: Int)
        case notUTF8
        case controlCharacter(UInt8)
        /// A quote that begins here does not end.
        case openQuote
        /// Something follows the end of a quote without a space.
        case textBehindQuote
        /// A `}` with no block open.
        case blockEnd
        /// The block that begins here does not end.
        case openBlock
        /// A `{` or `;` without a name before it.
        case missingName
        /// A statement that ends with its block or with the file, rather than with `;` or `{`.
        case openStatement(name: String)
        case tooDeep(maximum: Int)
        case tooManyStatements(maximum: Int)
        case tooManyArguments(maximum: Int)
    }

    package var line: Int
    package var column: Int
    package var reason: Reason

    package init(line: Int, column: Int, reason: Reason) {
        self.line = line
        self.column = column
        self.reason = reason
    }
}

extension SRSConfigError: CustomStringConvertible {
    package var description: String {
        let text =
            switch self.reason {
            case .tooLong(let count, let maximum): "\(count) bytes are more than \(maximum)"
            case .notUTF8: "the text is not UTF-8"
            case .controlCharacter(let byte): "a control character (\(byte))"
            case .openQuote: "the quote does not end"
            case .textBehindQuote: "a space or semicolon is missing behind the quote"
            case .blockEnd: "a } without a {"
            case .openBlock: "the { has no }"
            case .missingName: "a name is missing"
            case .openStatement(let name): "a semicolon is missing behind \"\(name)\""
            case .tooDeep(let maximum): "more than \(maximum) blocks in each other"
            case .tooManyStatements(let maximum): "more than \(maximum) statements"
            case .tooManyArguments(let maximum): "more than \(maximum) arguments"
            }
        return "\(self.line):\(self.column): \(text)"
    }
}
