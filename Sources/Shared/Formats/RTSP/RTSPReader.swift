package import NIOCore

/// Cuts the bytes of a connection into messages and interleaved packets.
///
/// Append what was read, then take elements until there is none. After an error the connection is of no use: where the
/// next message begins is not known. Spec: RFC 2326 §4 and §10.12.
package struct RTSPReader: Sendable {
    /// How much a peer may send at once. Everything beyond is an error.
    package struct Limits: Sendable, Hashable {
        /// Bytes of a start line with its headers.
        package var head: Int
        package var headers: Int
        package var body: Int

        package init(head: Int = 16 << 10, headers: Int = 100, body: Int = 256 << 10) {
            self.head = head
            self.headers = headers
            self.body = body
        }
    }

    private enum State: Sendable {
        case idle
        /// The head was read; the body of so many bytes is missing.
        case body(RTSPElement, length: Int)
    }

    private let limits: Limits
    private var buffer = ByteBuffer()
    private var state = State.idle
    /// Bytes of an unfinished head that hold no end of it.
    private var searched = 0

    package init(limits: Limits = Limits()) { self.limits = limits }

    /// Bytes that wait for the rest of their message: at most the limits and one read.
    package var waitingBytes: Int { self.buffer.readableBytes }

    /// Takes bytes. Packets that come out are slices of them.
    package mutating func append(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next element; `nil` until it is complete.
    package mutating func next() throws(RTSPError) -> RTSPElement? {
        if case .body(let element, let length) = self.state {
            guard let body = self.buffer.readSlice(length: length) else { return nil }
            self.state = .idle
            return Self.element(element, with: body)
        }
        // §4.1 asks to skip empty lines in front of a message; some senders pad with spaces or zeros.
        if self.searched == 0 {
            while let byte = self.peek, byte == 0x0D || byte == 0x0A || byte == 0x20 || byte == 0 {
                self.buffer.moveReaderIndex(forwardBy: 1)
            }
        }
        guard let first = self.peek else { return nil }
        if first == UInt8(ascii: "$") { return self.packet() }
        guard Self.isUpperCase(first) else { throw .unexpectedByte(first) }
        return try self.message()
    }

    private var peek: UInt8? { self.buffer.getInteger(at: self.buffer.readerIndex) }

    private static func isUpperCase(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }

    private mutating func packet() -> RTSPElement? {
        let start = self.buffer.readerIndex
        guard let channel = self.buffer.getInteger(at: start + 1, as: UInt8.self),
            let length = self.buffer.getInteger(at: start + 2, as: UInt16.self),
            self.buffer.readableBytes >= 4 + Int(length)
        else { return nil }
        self.buffer.moveReaderIndex(forwardBy: 4)
        guard let packet = self.buffer.readSlice(length: Int(length)) else { return nil }
        return .packet(channel: channel, packet)
    }

    // MARK: Messages

    private mutating func message() throws(RTSPError) -> RTSPElement? {
        guard let length = self.headLength() else {
            guard self.buffer.readableBytes <= self.limits.head else { throw .headTooLong(limit: self.limits.head) }
            return nil
        }
        guard length <= self.limits.head else { throw .headTooLong(limit: self.limits.head) }
        let head = self.buffer.readString(length: length) ?? ""
        self.searched = 0
        let element = try self.parse(head)
        let headers =
            switch element {
            case .request(let request): request.headers
            case .response(let response): response.headers
            case .packet: RTSPHeaders()
            }
        let bodyLength = try self.bodyLength(headers)
        guard bodyLength > 0 else { return element }
        self.state = .body(element, length: bodyLength)
        return try self.next()
    }

    /// The bytes up to and with the empty line; `nil` while it is not there. Lines may end in LF alone.
    private mutating func headLength() -> Int? {
        let view = self.buffer.readableBytesView
        var index = view.startIndex + max(0, self.searched - 3)
        while index < view.endIndex {
            guard view[index] == 0x0A else {
                index += 1
                continue
            }
            var next = index + 1
            if next < view.endIndex, view[next] == 0x0D { next += 1 }
            if next < view.endIndex, view[next] == 0x0A { return next + 1 - view.startIndex }
            index += 1
        }
        self.searched = view.count
        return nil
    }

    private func bodyLength(_ headers: RTSPHeaders) throws(RTSPError) -> Int {
        let values = Set(headers.all("Content-Length"))
        guard let value = values.first else { return 0 }
        guard values.count == 1, let length = Int(value), length >= 0, value.utf8.first != UInt8(ascii: "+") else {
            throw .malformedLength
        }
        guard length <= self.limits.body else { throw .bodyTooLong(length: length, limit: self.limits.body) }
        return length
    }

    private func parse(_ head: String) throws(RTSPError) -> RTSPElement {
        let lines = head.utf8.split(separator: 0x0A, omittingEmptySubsequences: false).map { line in
            line.last == 0x0D ? line.dropLast() : line
        }
        var headers = RTSPHeaders()
        var folded: RTSPHeaders.Field?
        // The last two pieces are the empty line and what is behind it.
        for (number, line) in lines.enumerated().dropFirst() where !line.isEmpty {
            guard number <= self.limits.headers else { throw .tooManyHeaders(limit: self.limits.headers) }
            if line.first == 0x20 || line.first == 0x09 {
                // A line that goes on from the one before (RFC 2326 §4.2 takes it from HTTP).
                guard folded != nil else { throw .malformedHeader(line: number) }
                folded?.value += " " + Self.trimmed(line)
                continue
            }
            if let folded { headers.add(folded.name, folded.value) }
            guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex else {
                throw .malformedHeader(line: number)
            }
            let name = Self.trimmed(line[..<colon])
            guard !name.isEmpty, !name.utf8.contains(0x20) else { throw .malformedHeader(line: number) }
            folded = .init(name: name, value: Self.trimmed(line[line.index(after: colon)...]))
        }
        if let folded { headers.add(folded.name, folded.value) }
        return try Self.startLine(lines.first ?? head.utf8[...], headers: headers)
    }

    private static func startLine(
        _ line: Substring.UTF8View, headers: RTSPHeaders
    ) throws(RTSPError) -> RTSPElement {
        let words = String(Substring(line)).split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
        guard words.count >= 2 else { throw .malformedStartLine(length: line.count) }
        if words[0].hasPrefix("RTSP/") {
            let version = try Self.version(words[0], length: line.count)
            guard let code = Int(words[1]), (100...999).contains(code) else {
                throw .malformedStartLine(length: line.count)
            }
            var response = RTSPResponse(RTSPStatus(rawValue: code), version: version, headers: headers)
            response.phrase = words.count > 2 ? String(words[2]) : ""
            return .response(response)
        }
        guard words.count == 3 else { throw .malformedStartLine(length: line.count) }
        // A URL with a space in it, which some clients send, ends at the last word.
        guard let last = words[2].split(separator: " ").last else { throw .malformedStartLine(length: line.count) }
        let version = try Self.version(last, length: line.count)
        var uri = String(words[1])
        if last.count < words[2].count {
            uri += " " + words[2].dropLast(last.count).split(separator: " ").joined(separator: " ")
        }
        return .request(RTSPRequest(RTSPMethod(rawValue: String(words[0])), uri, version: version, headers: headers))
    }

    private static func version(_ word: Substring, length: Int) throws(RTSPError) -> String {
        guard word.hasPrefix("RTSP/") else { throw .malformedStartLine(length: length) }
        let version = String(word.dropFirst(5))
        guard ["1.0", "1.1", "2.0"].contains(version) else { throw .unsupportedVersion(String(version.prefix(8))) }
        return version
    }

    private static func trimmed(_ bytes: Substring.UTF8View) -> String {
        var bytes = bytes.drop { $0 == 0x20 || $0 == 0x09 }
        while let last = bytes.last, last == 0x20 || last == 0x09 { bytes = bytes.dropLast() }
        return String(Substring(bytes))
    }

    private static func element(_ element: RTSPElement, with body: ByteBuffer) -> RTSPElement {
        switch element {
        case .request(var request):
            request.body = body
            return .request(request)
        case .response(var response):
            response.body = body
            return .response(response)
        case .packet: return element
        }
    }
}
