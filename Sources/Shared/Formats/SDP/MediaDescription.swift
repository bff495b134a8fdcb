/// One m-line with the lines that belong to it. Spec: RFC 8866 §5.14.
package struct MediaDescription: Sendable, Hashable {
    /// `audio`, `video`, `application` or another word.
    package var kind: String
    /// 0 means that the section is refused, or in an offer with `bundle-only`, that it has no transport of its own.
    package var port: Int
    /// The number behind a slash of the port, where there is one.
    package var portCount: Int?
    /// Such as `UDP/TLS/RTP/SAVPF`.
    package var transport: String
    /// Payload types of RTP as text, otherwise whatever the transport's formats are.
    package var formats: [String]
    /// The section's lines other than attributes (`i`, `c`, `b`, `k`), in the order in which they came.
    package var lines: [SDPLine]
    package var attributes: [SDPAttribute]

    package init(
        kind: String, port: Int = 9, portCount: Int? = nil, transport: String = "UDP/TLS/RTP/SAVPF",
        formats: [String], lines: [SDPLine] = [], attributes: [SDPAttribute] = []
    ) {
        self.kind = kind
        self.port = port
        self.portCount = portCount
        self.transport = transport
        self.formats = formats
        self.lines = lines
        self.attributes = attributes
    }

    init(parsing value: String, line: Int) throws(SDPError) {
        let fields = value.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count >= 4 else { throw .malformedMedia(line: line) }
        let port = fields[1].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let number = SDPNumber.unsigned(port[0], maximum: 65_535) else { throw .malformedMedia(line: line) }
        var count: Int?
        if port.count == 2 {
            guard let parsed = SDPNumber.unsigned(port[1], maximum: 65_535) else { throw .malformedMedia(line: line) }
            count = parsed
        }
        self.init(
            kind: String(fields[0]), port: number, portCount: count, transport: String(fields[2]),
            formats: fields[3...].map { String($0) })
    }

    func write(into text: inout String) {
        text += "m=\(self.kind) \(self.port)"
        if let count = self.portCount { text += "/\(count)" }
        text += " \(self.transport)"
        for format in self.formats { text += " \(format)" }
        text += "\r\n"
        SDPLine.write(self.lines, order: SDPLine.mediaOrder, into: &text)
        for attribute in self.attributes { attribute.write(into: &text) }
    }
}

/// Numbers as they stand in lines: digits and nothing else.
package enum SDPNumber {
    /// The number, if the text is digits only and not more than `maximum`.
    package static func unsigned(_ text: some StringProtocol, maximum: Int) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }), let value = Int(text) else { return nil }
        return value <= maximum ? value : nil
    }
}
