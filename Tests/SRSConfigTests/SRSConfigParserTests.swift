import SRSConfig
import Testing

private func parse(_ text: String) throws(SRSConfigError) -> [SRSDirective] {
    try SRSConfigParser.parse(text.utf8)
}

private func fault(_ text: String) -> SRSConfigError? {
    do throws(SRSConfigError) {
        _ = try parse(text)
        return nil
    } catch {
        return error
    }
}

@Suite("srs.conf")
struct SRSConfigParserTests {
    private static let sample = """
        # a comment { with; signs }
        listen  1935 [::]:1936;   # behind a statement
        vhost "my host" {
            hls {
                enabled on;
                hls_ts_file [app]/[stream]-[seq].ts;
            }
            forward { destination 'a b' c#d; }
            empty { }
        }
        say "a \\"quoted\\" \\\\ \\n text";
        """

    @Test("statements, blocks, quotes and comments are read with their places")
    func sample() throws {
        let found = try parse(Self.sample)
        #expect(found.map(\.name) == ["listen", "vhost", "say"])
        #expect(found[0].arguments == ["1935", "[::]:1936"] && found[0].line == 2 && found[0].column == 1)
        #expect(found[1].arguments == ["my host"])
        let vhost = try #require(found[1].block)
        #expect(vhost.map(\.name) == ["hls", "forward", "empty"])
        #expect(vhost[0].block?.map(\.name) == ["enabled", "hls_ts_file"])
        #expect(vhost[0].block?[1].arguments == ["[app]/[stream]-[seq].ts"])
        #expect(vhost[0].block?[1].line == 6 && vhost[0].block?[1].column == 9)
        #expect(vhost[1].block?[0].arguments == ["a b", "c#d"])
        #expect(vhost[2].block == [])
        #expect(found[2].arguments == ["a \"quoted\" \\ \\n text"])
    }

    @Test("lines may end in CR LF, and a byte order mark is passed over")
    func lineEnds() throws {
        let text = Self.sample.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
        #expect(try parse("\u{FEFF}" + text) == parse(Self.sample))
    }

    @Test("an empty file, and one of comments, hold nothing")
    func nothing() throws {
        #expect(try parse("").isEmpty)
        #expect(try parse("  # nothing").isEmpty)
        #expect(try parse("#\n\n\t#\r\n").isEmpty)
    }

    @Test(
        "every mistake has its place and its reason",
        arguments: [
            ("listen 1935", SRSConfigError(line: 1, column: 1, reason: .openStatement(name: "listen"))),
            ("a;\n b c }", SRSConfigError(line: 2, column: 2, reason: .openStatement(name: "b"))),
            ("a;\n}", SRSConfigError(line: 2, column: 1, reason: .blockEnd)),
            ("a;\n  vhost x {\n b; ", SRSConfigError(line: 2, column: 3, reason: .openBlock)),
            ("a { ; }", SRSConfigError(line: 1, column: 5, reason: .missingName)),
            ("{ }", SRSConfigError(line: 1, column: 1, reason: .missingName)),
            ("a 'b", SRSConfigError(line: 1, column: 3, reason: .openQuote)),
            ("a \"b'c;", SRSConfigError(line: 1, column: 3, reason: .openQuote)),
            ("a 'b'c;", SRSConfigError(line: 1, column: 6, reason: .textBehindQuote)),
            ("a b\u{1};", SRSConfigError(line: 1, column: 4, reason: .controlCharacter(1))),
            ("a 'b\u{7F}';", SRSConfigError(line: 1, column: 5, reason: .controlCharacter(0x7F))),
        ])
    func mistakes(text: String, expected: SRSConfigError) {
        #expect(fault(text) == expected)
        #expect(expected.description.hasPrefix("\(expected.line):\(expected.column): "))
    }

    @Test("bytes that are not UTF-8 are refused")
    func encoding() {
        #expect(throws: SRSConfigError(line: 1, column: 3, reason: .notUTF8)) {
            try SRSConfigParser.parse([0x61, 0x20, 0xFF, 0x3B])
        }
    }

    @Test("depth, size and counts are bounded")
    func limits() throws {
        let depth = SRSConfigParser.maximumDepth
        #expect(try parse(String(repeating: "a{", count: depth) + String(repeating: "}", count: depth)).count == 1)
        let deeper = String(repeating: "a{", count: depth + 1) + String(repeating: "}", count: depth + 1)
        #expect(fault(deeper)?.reason == .tooDeep(maximum: depth))
        let many = String(repeating: "a;", count: SRSConfigParser.maximumStatements + 1)
        #expect(fault(many)?.reason == .tooManyStatements(maximum: SRSConfigParser.maximumStatements))
        let arguments = "a" + String(repeating: " b", count: SRSConfigParser.maximumArguments + 1) + ";"
        #expect(fault(arguments)?.reason == .tooManyArguments(maximum: SRSConfigParser.maximumArguments))
        let bytes = SRSConfigParser.maximumByteCount
        #expect(fault(String(repeating: " ", count: bytes)) == nil)
        #expect(
            fault(String(repeating: " ", count: bytes + 1))?.reason == .tooLong(byteCount: bytes + 1, maximum: bytes))
    }

    @Test("a text cut anywhere, or with any byte changed, gives statements or an error, and never ends the program")
    func total() {
        let bytes = Array(Self.sample.utf8)
        var errors = 0
        for end in bytes.indices {
            do throws(SRSConfigError) { _ = try SRSConfigParser.parse(bytes[..<end]) } catch { errors += 1 }
            for replacement: UInt8 in [0, 0x22, 0x23, 0x27, 0x3B, 0x5C, 0x7B, 0x7D, 0xC3, 0xFF] {
                var changed = bytes
                changed[end] = replacement
                do throws(SRSConfigError) { _ = try SRSConfigParser.parse(changed) } catch { errors += 1 }
            }
        }
        #expect(errors > bytes.count)
    }
}
