/// Reads the configuration language of SRS, which is nginx's: statements with arguments, blocks in braces, comments
/// from `#` to the end of the line, and quotes. Every text has a result or an error with its place.
package struct SRSConfigParser {
    package static let maximumByteCount = 1 << 20
    package static let maximumDepth = 16
    package static let maximumStatements = 20_000
    package static let maximumArguments = 1_024

    private struct Mark {
        var line = 1
        var column = 1
    }

    private struct Block {
        var statement: SRSDirective
        var statements: [SRSDirective] = []
    }

    private let bytes: [UInt8]
    private var offset = 0
    private var mark = Mark()
    private var statementCount = 0

    private init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// The statements of the whole text, in its order. `\r\n` and a byte order mark do no harm; names are not checked.
    package static func parse(_ text: some Sequence<UInt8>) throws(SRSConfigError) -> [SRSDirective] {
        var bytes = Array(text)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { bytes.removeFirst(3) }
        guard bytes.count <= self.maximumByteCount else {
            throw SRSConfigError(
                line: 1, column: 1, reason: .tooLong(byteCount: bytes.count, maximum: self.maximumByteCount))
        }
        var parser = SRSConfigParser(bytes)
        return try parser.parse()
    }

    private mutating func parse() throws(SRSConfigError) -> [SRSDirective] {
        // The block of the file has no statement of its own.
        var open = [Block(statement: SRSDirective(name: "", arguments: [], line: 1, column: 1))]
        var words: [String] = []
        var start = self.mark
        while true {
            try self.skipBlanks()
            let here = self.mark
            guard let byte = self.peek else { break }
            switch byte {
            case UInt8(ascii: ";"), UInt8(ascii: "{"):
                self.advance()
                guard let name = words.first else { throw self.error(.missingName, here) }
                try self.countStatement(at: start)
                let statement = SRSDirective(
                    name: name, arguments: Array(words.dropFirst()), line: start.line, column: start.column)
                words = []
                if byte == UInt8(ascii: ";") {
                    open[open.count - 1].statements.append(statement)
                } else {
                    guard open.count <= Self.maximumDepth else {
                        throw self.error(.tooDeep(maximum: Self.maximumDepth), here)
                    }
                    open.append(Block(statement: statement))
                }
            case UInt8(ascii: "}"):
                self.advance()
                if let name = words.first { throw self.error(.openStatement(name: name), start) }
                guard open.count > 1 else { throw self.error(.blockEnd, here) }
                var block = open.removeLast()
                block.statement.block = block.statements
                open[open.count - 1].statements.append(block.statement)
            default:
                if words.isEmpty { start = here }
                guard words.count <= Self.maximumArguments else {
                    throw self.error(.tooManyArguments(maximum: Self.maximumArguments), here)
                }
                words.append(try self.word())
            }
        }
        if let name = words.first { throw self.error(.openStatement(name: name), start) }
        if open.count > 1, let last = open.last {
            throw SRSConfigError(line: last.statement.line, column: last.statement.column, reason: .openBlock)
        }
        return open[0].statements
    }

    private mutating func countStatement(at mark: Mark) throws(SRSConfigError) {
        self.statementCount += 1
        guard self.statementCount <= Self.maximumStatements else {
            throw self.error(.tooManyStatements(maximum: Self.maximumStatements), mark)
        }
    }

    private func error(_ reason: SRSConfigError.Reason, _ mark: Mark) -> SRSConfigError {
        SRSConfigError(line: mark.line, column: mark.column, reason: reason)
    }

    // MARK: Bytes

    private var peek: UInt8? { self.offset < self.bytes.count ? self.bytes[self.offset] : nil }

    private mutating func advance() {
        if self.bytes[self.offset] == UInt8(ascii: "\n") {
            self.mark = Mark(line: self.mark.line + 1, column: 1)
        } else {
            self.mark.column += 1
        }
        self.offset += 1
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
            || byte == UInt8(ascii: "\n")
    }

    /// Skips spaces, ends of lines and comments.
    private mutating func skipBlanks() throws(SRSConfigError) {
        while let byte = self.peek {
            if Self.isBlank(byte) {
                self.advance()
            } else if byte == UInt8(ascii: "#") {
                while let next = self.peek, next != UInt8(ascii: "\n") { self.advance() }
            } else {
                return
            }
        }
    }

    private mutating func word() throws(SRSConfigError) -> String {
        let start = self.mark
        var content: [UInt8] = []
        if let quote = self.peek, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") {
            try self.quoted(quote, from: start, into: &content)
        } else {
            while let byte = self.peek, !Self.isBlank(byte), !Self.endsWord(byte) {
                guard byte >= 0x20, byte != 0x7F else { throw self.error(.controlCharacter(byte), self.mark) }
                content.append(byte)
                self.advance()
            }
        }
        guard let text = String(validating: content, as: UTF8.self) else { throw self.error(.notUTF8, start) }
        return text
    }

    private static func endsWord(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ";") || byte == UInt8(ascii: "{") || byte == UInt8(ascii: "}")
    }

    /// Reads a quote up to its end. A backslash lets the quote and itself stand in it, and stays in front of all else.
    private mutating func quoted(
        _ quote: UInt8, from start: Mark, into content: inout [UInt8]
    ) throws(SRSConfigError) {
        self.advance()
        while let byte = self.peek {
            if byte == quote {
                self.advance()
                guard let next = self.peek else { return }
                guard Self.isBlank(next) || Self.endsWord(next) else { throw self.error(.textBehindQuote, self.mark) }
                return
            }
            guard byte >= 0x20 || Self.isBlank(byte), byte != 0x7F else {
                throw self.error(.controlCharacter(byte), self.mark)
            }
            self.advance()
            if byte == UInt8(ascii: "\\"), let next = self.peek, next == quote || next == UInt8(ascii: "\\") {
                content.append(next)
                self.advance()
            } else {
                content.append(byte)
            }
        }
        throw self.error(.openQuote, start)
    }
}
