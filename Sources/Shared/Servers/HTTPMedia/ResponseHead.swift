import NIOCore
import NIOHTTP1

/// Takes the fields of a response's head: as bytes for HTTP/1.1, as values for HTTP/2.
protocol ResponseHead {
    mutating func add(_ name: StaticString, _ value: String)
    mutating func add(_ name: StaticString, number: Int64)
}

/// The head of an HTTP/1.1 response, written as it is sent.
struct ResponseHeadBytes: ResponseHead {
    private(set) var buffer: ByteBuffer

    init(_ status: HTTPResponseStatus, capacity: Int, allocator: ByteBufferAllocator) {
        self.buffer = allocator.buffer(capacity: capacity)
        switch status {
        case .ok: self.buffer.writeStaticString("HTTP/1.1 200 OK\r\n")
        case .partialContent: self.buffer.writeStaticString("HTTP/1.1 206 Partial Content\r\n")
        default:
            self.buffer.writeStaticString("HTTP/1.1 ")
            self.write(Int64(status.code))
            self.buffer.writeStaticString(" ")
            self.buffer.writeString(status.reasonPhrase)
            self.buffer.writeStaticString("\r\n")
        }
    }

    mutating func add(_ name: StaticString, _ value: String) {
        self.buffer.writeStaticString(name)
        self.buffer.writeStaticString(": ")
        self.buffer.writeString(value)
        self.buffer.writeStaticString("\r\n")
    }

    mutating func add(_ name: StaticString, number: Int64) {
        self.buffer.writeStaticString(name)
        self.buffer.writeStaticString(": ")
        self.write(number)
        self.buffer.writeStaticString("\r\n")
    }

    /// The head is complete.
    mutating func finish() -> ByteBuffer {
        self.buffer.writeStaticString("\r\n")
        return self.buffer
    }

    private mutating func write(_ number: Int64) {
        precondition(number >= 0, "no header field has a negative number, got \(number)")
        guard number > 9 else {
            self.buffer.writeInteger(UInt8(ascii: "0") + UInt8(number))
            return
        }
        self.write(number / 10)
        self.buffer.writeInteger(UInt8(ascii: "0") + UInt8(number % 10))
    }
}

/// The head of a response for HTTP/2.
struct ResponseHeadFields: ResponseHead {
    private(set) var head: HTTPResponseHead

    init(_ status: HTTPResponseStatus) {
        self.head = HTTPResponseHead(version: .http2, status: status)
        self.head.headers.reserveCapacity(14)
    }

    mutating func add(_ name: StaticString, _ value: String) { self.head.headers.add(name: "\(name)", value: value) }

    mutating func add(_ name: StaticString, number: Int64) {
        self.head.headers.add(name: "\(name)", value: "\(number)")
    }
}
