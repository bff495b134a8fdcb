/// A session description, as an offer or an answer of WebRTC carries it.
///
/// Nothing is lost that a line said: unknown attributes and lines stay, in their order. Writing puts the lines of each
/// section in the order that the specification asks for. Spec: RFC 8866 §5.
package struct SessionDescription: Sendable, Hashable {
    /// How much a peer may send. Everything beyond is an error.
    package struct Limits: Sendable, Hashable {
        /// UTF-8 bytes of the whole text.
        package var length: Int
        package var lines: Int
        package var mediaDescriptions: Int

        package init(length: Int = 256 * 1024, lines: Int = 4096, mediaDescriptions: Int = 64) {
            self.length = length
            self.lines = lines
            self.mediaDescriptions = mediaDescriptions
        }
    }

    /// The `o=` line. Spec: RFC 8866 §5.2.
    package struct Origin: Sendable, Hashable {
        package var username: String
        /// Digits, kept as text: some peers send more than 64 bits.
        package var sessionID: String
        package var sessionVersion: String
        /// `IP4` or `IP6`.
        package var addressType: String
        package var address: String

        package init(
            username: String = "-", sessionID: String, sessionVersion: String = "1", addressType: String = "IP4",
            address: String = "0.0.0.0"
        ) {
            self.username = username
            self.sessionID = sessionID
            self.sessionVersion = sessionVersion
            self.addressType = addressType
            self.address = address
        }
    }

    package var origin: Origin
    /// The `s=` line; `-` where there is nothing to say.
    package var name: String
    /// The session's other lines (`i`, `u`, `e`, `p`, `c`, `b`, `t`, `r`, `z`, `k`), in the order in which they came.
    package var lines: [SDPLine]
    /// The `a=` lines in front of the first m-line, in their order.
    package var attributes: [SDPAttribute]
    package var media: [MediaDescription]

    package init(
        origin: Origin, name: String = "-", lines: [SDPLine] = [SDPLine("t", "0 0")], attributes: [SDPAttribute] = [],
        media: [MediaDescription] = []
    ) {
        self.origin = origin
        self.name = name
        self.lines = lines
        self.attributes = attributes
        self.media = media
    }

    /// Parses a description. Lines may end in CRLF, LF or CR; empty lines are skipped; the order of lines inside a
    /// section does not matter, except that `v=0` comes first.
    package init(parsing text: String, limits: Limits = Limits()) throws(SDPError) {
        let sections = try SDPSections(parsing: text, limits: limits)
        guard let first = sections.session.first else { throw .empty }
        guard first.line.type == "v", first.line.value == "0" else { throw .unsupportedVersion(line: first.number) }
        var origin: Origin?
        self.name = "-"
        self.lines = []
        self.attributes = []
        for (line, number) in sections.session.dropFirst() {
            switch line.type {
            case "v": throw .unsupportedVersion(line: number)
            case "o": origin = try Origin(parsing: line.value, line: number)
            case "s": self.name = line.value.isEmpty ? "-" : line.value
            case "a": self.attributes.append(SDPAttribute(parsing: line.value))
            default: self.lines.append(line)
            }
        }
        guard let origin else { throw .missingOrigin }
        self.origin = origin
        self.media = sections.media
    }

    /// The text, each line ended by CRLF.
    package var text: String {
        var text = "v=0\r\no=\(self.origin.value)\r\ns=\(self.name.isEmpty ? "-" : self.name)\r\n"
        SDPLine.write(self.lines, order: SDPLine.sessionOrder, into: &text)
        for attribute in self.attributes { attribute.write(into: &text) }
        for media in self.media { media.write(into: &text) }
        return text
    }
}

extension SessionDescription.Origin {
    fileprivate init(parsing value: String, line: Int) throws(SDPError) {
        let fields = value.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count >= 6 else { throw .malformedOrigin(line: line) }
        self.init(
            username: String(fields[0]), sessionID: String(fields[1]), sessionVersion: String(fields[2]),
            addressType: String(fields[4]), address: String(fields[5]))
    }

    fileprivate var value: String {
        "\(self.username) \(self.sessionID) \(self.sessionVersion) IN \(self.addressType) \(self.address)"
    }
}
