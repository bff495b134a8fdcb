package import NIOCore

/// Cuts the bytes of a TCP connection, or one datagram, into SIP messages.
///
/// Run loop: `append` what came, then `next()` until `nil`. After an error of a connection nothing can be read any
/// more. What waits is bounded by the limits. Spec: RFC 3261 §7.5, §18.3; empty lines in front of a message keep the
/// connection alive (RFC 5626 §3.5.1).
package struct SIPMessageReader: Sendable {
    private let limits: SIPMessage.Limits
    private var buffer = ByteBuffer()
    /// How far the end of the head was looked for.
    private var searched = 0
    /// A head whose body is not all there yet, and the lengths of both.
    private var head: (message: SIPMessage, length: Int, bodyLength: Int)?

    package init(limits: SIPMessage.Limits = .init()) { self.limits = limits }

    /// Bytes that wait for the rest of their message.
    package var waitingBytes: Int { self.buffer.readableBytes }

    package mutating func append(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next message; `nil` until all of it is there.
    package mutating func next() throws(SIPError) -> SIPMessage? {
        if self.head == nil { self.head = try self.nextHead() }
        guard let (found, length, bodyLength) = self.head,
            let body = self.buffer.getSlice(at: self.buffer.readerIndex + length, length: bodyLength)
        else { return nil }
        var message = found
        self.buffer.moveReaderIndex(forwardBy: length + bodyLength)
        self.searched = 0
        self.head = nil
        message.body = body
        return message
    }

    private mutating func nextHead() throws(SIPError) -> (message: SIPMessage, length: Int, bodyLength: Int)? {
        self.skipEmptyLines()
        guard self.buffer.readableBytes > 0 else { return nil }
        guard let (length, headLength) = self.findHead() else {
            guard self.buffer.readableBytes <= self.limits.head else {
                throw .headTooLong(length: self.buffer.readableBytes, limit: self.limits.head)
            }
            return nil
        }
        guard headLength <= self.limits.head else { throw .headTooLong(length: headLength, limit: self.limits.head) }
        guard let head = self.buffer.getSlice(at: self.buffer.readerIndex, length: length) else { return nil }
        let message = try SIPHead.parse(head, limits: self.limits)
        let declared = try SIPHead.contentLength(message)
        // §18.3: over a connection the length is always there; some devices leave it out where there is no body.
        let bodyLength = declared ?? 0
        guard bodyLength <= self.limits.body else { throw .bodyTooLong(length: bodyLength, limit: self.limits.body) }
        return (message, headLength, bodyLength)
    }

    /// Reads one datagram: one message. Without a length all that follows the head is its body, and what stands behind
    /// the body is dropped. `nil` for a datagram of empty lines.
    package static func message(
        inDatagram datagram: ByteBuffer, limits: SIPMessage.Limits = .init()
    ) throws(SIPError) -> SIPMessage? {
        var reader = SIPMessageReader(limits: limits)
        reader.append(datagram)
        reader.skipEmptyLines()
        // Four zeros keep a binding of NAT open (RFC 5626 does so with STUN); some devices send them.
        guard reader.buffer.readableBytesView.contains(where: { $0 != 0 }) else { return nil }
        let (length, headLength) = reader.findHead() ?? (reader.buffer.readableBytes, reader.buffer.readableBytes)
        guard headLength <= limits.head else { throw .headTooLong(length: headLength, limit: limits.head) }
        guard let head = reader.buffer.readSlice(length: length) else { return nil }
        reader.buffer.moveReaderIndex(forwardBy: headLength - length)
        var message = try SIPHead.parse(head, limits: limits)
        let available = reader.buffer.readableBytes
        let declared = try SIPHead.contentLength(message) ?? available
        guard declared <= available else { throw .truncatedBody(declared: declared, available: available) }
        guard declared <= limits.body else { throw .bodyTooLong(length: declared, limit: limits.body) }
        message.body = reader.buffer.readSlice(length: declared) ?? ByteBuffer()
        return message
    }

    private mutating func skipEmptyLines() {
        while let byte = self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt8.self), byte == 13 || byte == 10 {
            self.buffer.moveReaderIndex(forwardBy: 1)
        }
    }

    /// The length of the head without its last line end, and with the empty line. Lines end in CRLF or LF.
    private mutating func findHead() -> (length: Int, withEmptyLine: Int)? {
        if let found = Self.head(in: self.buffer, from: self.searched) { return found }
        self.searched = max(0, self.buffer.readableBytes - 3)
        return nil
    }

    private static func head(in buffer: ByteBuffer, from: Int) -> (length: Int, withEmptyLine: Int)? {
        let bytes = buffer.readableBytesUInt8Span
        var index = from
        while index < bytes.count {
            guard bytes[index] == 10 else {
                index += 1
                continue
            }
            if index + 1 < bytes.count, bytes[index + 1] == 10 { return (index, index + 2) }
            if index + 2 < bytes.count, bytes[index + 1] == 13, bytes[index + 2] == 10 { return (index, index + 3) }
            index += 1
        }
        return nil
    }
}

/// The start line and the fields.
enum SIPHead {
    static func parse(_ head: ByteBuffer, limits: SIPMessage.Limits) throws(SIPError) -> SIPMessage {
        var message: SIPMessage?
        var number = 0
        for piece in head.readableBytesView.split(separator: 10, omittingEmptySubsequences: false) {
            let line = piece.last == 13 ? piece.dropLast() : piece
            // Names in other encodings stand in quotes, where nobody reads them.
            let text = String(decoding: line, as: UTF8.self)
            if message == nil {
                message = SIPMessage(try self.start(text))
            } else if line.first == 32 || line.first == 9, message?.fields.isEmpty == false {
                // §7.3.1: a line that begins with white space goes on with the field before.
                let index = (message?.fields.count ?? 1) - 1
                message?.fields[index].value += " " + self.trimmed(text[...])
            } else if !text.isEmpty {
                guard (message?.fields.count ?? 0) < limits.fields else { throw .tooManyFields(limit: limits.fields) }
                message?.fields.append(try self.field(text, line: number))
            }
            number += 1
        }
        guard let message else { throw .malformedStartLine }
        return message
    }

    private static func start(_ line: String) throws(SIPError) -> SIPMessage.Start {
        let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2 else { throw .malformedStartLine }
        if parts[0].uppercased().hasPrefix("SIP/") {
            guard parts[0].uppercased() == "SIP/2.0" else { throw .unsupportedVersion }
            guard parts[1].utf8.count == 3, let status = Int(parts[1]), (100...699).contains(status) else {
                throw .malformedStartLine
            }
            return .response(status: status, reason: parts.count > 2 ? String(parts[2]) : "")
        }
        guard parts.count == 3, !parts[0].isEmpty, !parts[1].isEmpty, parts[0].utf8.count <= 32,
            parts[0].utf8.allSatisfy({ 0x21...0x7E ~= $0 })
        else { throw .malformedStartLine }
        guard parts[2].uppercased() == "SIP/2.0" else { throw .unsupportedVersion }
        return .request(method: String(parts[0]), uri: String(parts[1]))
    }

    private static func field(_ line: String, line number: Int) throws(SIPError) -> SIPMessage.Field {
        guard let colon = line.utf8.firstIndex(of: UInt8(ascii: ":")) else { throw .malformedField(line: number) }
        let name = self.trimmed(line[..<colon])
        guard !name.isEmpty, !name.utf8.contains(where: { $0 <= 32 || $0 == 127 }) else {
            throw .malformedField(line: number)
        }
        return SIPMessage.Field(name, self.trimmed(line[line.utf8.index(after: colon)...]))
    }

    static func contentLength(_ message: SIPMessage) throws(SIPError) -> Int? {
        guard let text = message["Content-Length"] else { return nil }
        guard !text.isEmpty, text.utf8.count <= 9, text.utf8.allSatisfy({ (48...57).contains($0) }),
            let length = Int(text)
        else { throw .malformed(field: "Content-Length") }
        return length
    }

    static func trimmed(_ text: Substring) -> String {
        let isSpace: (UInt8) -> Bool = { $0 == 32 || $0 == 9 }
        var bytes = text.utf8
        while let first = bytes.first, isSpace(first) { bytes.removeFirst() }
        while let last = bytes.last, isSpace(last) { bytes.removeLast() }
        return String(Substring(bytes))
    }
}
