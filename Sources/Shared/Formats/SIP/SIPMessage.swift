package import NIOCore

/// A SIP request or response. Spec: RFC 3261 §7.
///
/// Fields keep their order; names compare without case, and the compact forms are names of the long ones.
package struct SIPMessage: Sendable, Hashable {
    /// The first line.
    package enum Start: Sendable, Hashable {
        case request(method: String, uri: String)
        case response(status: Int, reason: String)
    }

    /// One field of the head.
    package struct Field: Sendable, Hashable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// How much a peer may send.
    package struct Limits: Sendable, Hashable {
        /// Bytes of the start line and all fields.
        package var head: Int
        package var fields: Int
        package var body: Int

        package init(head: Int = 16 << 10, fields: Int = 128, body: Int = 256 << 10) {
            self.head = head
            self.fields = fields
            self.body = body
        }
    }

    package var start: Start
    package var fields: [Field]
    package var body: ByteBuffer

    package init(_ start: Start, fields: [Field] = [], body: ByteBuffer = ByteBuffer()) {
        self.start = start
        self.fields = fields
        self.body = body
    }

    /// The method of a request; `nil` for a response.
    package var method: String? {
        if case .request(let method, _) = self.start { method } else { nil }
    }

    /// The status of a response; `nil` for a request.
    package var status: Int? {
        if case .response(let status, _) = self.start { status } else { nil }
    }

    /// The value of the first field of that name; assigning `nil` removes all of them, a value replaces the first.
    package subscript(name: String) -> String? {
        get { self.fields.first { SIPFieldName.matches($0.name, name) }?.value }
        set {
            guard let index = self.fields.firstIndex(where: { SIPFieldName.matches($0.name, name) }) else {
                if let newValue { self.fields.append(Field(name, newValue)) }
                return
            }
            if let newValue {
                self.fields[index].value = newValue
            } else {
                self.fields.removeAll { SIPFieldName.matches($0.name, name) }
            }
        }
    }

    /// The values of all fields of that name, in their order.
    package func all(_ name: String) -> [String] {
        self.fields.filter { SIPFieldName.matches($0.name, name) }.map(\.value)
    }

    /// Appends the message with the length of its body.
    package func write(into buffer: inout ByteBuffer) {
        switch self.start {
        case .request(let method, let uri): buffer.writeString("\(method) \(uri) SIP/2.0\r\n")
        case .response(let status, let reason): buffer.writeString("SIP/2.0 \(status) \(reason)\r\n")
        }
        for field in self.fields where !SIPFieldName.matches(field.name, "Content-Length") {
            buffer.writeString("\(field.name): \(field.value)\r\n")
        }
        buffer.writeString("Content-Length: \(self.body.readableBytes)\r\n\r\n")
        buffer.writeImmutableBuffer(self.body)
    }
}

/// Names of fields. Spec: RFC 3261 §7.3.3 and §20 for the compact forms.
enum SIPFieldName {
    private static let compact: [UInt8: String] = [
        UInt8(ascii: "v"): "via", UInt8(ascii: "f"): "from", UInt8(ascii: "t"): "to", UInt8(ascii: "i"): "call-id",
        UInt8(ascii: "m"): "contact", UInt8(ascii: "l"): "content-length", UInt8(ascii: "c"): "content-type",
        UInt8(ascii: "e"): "content-encoding", UInt8(ascii: "k"): "supported", UInt8(ascii: "s"): "subject",
        UInt8(ascii: "o"): "event", UInt8(ascii: "u"): "allow-events",
    ]

    /// Whether both name the same field.
    static func matches(_ one: String, _ other: String) -> Bool {
        let (one, other) = (self.long(one), self.long(other))
        guard one.utf8.count == other.utf8.count else { return false }
        return zip(one.utf8, other.utf8).allSatisfy { self.lower($0) == self.lower($1) }
    }

    private static func long(_ name: String) -> String {
        guard name.utf8.count == 1, let letter = name.utf8.first else { return name }
        return self.compact[self.lower(letter)] ?? name
    }

    static func lower(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte + 32 : byte }
}
