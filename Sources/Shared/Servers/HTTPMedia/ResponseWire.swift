import MediaObjects
import NIOCore
import NIOHTTP1

/// Writes responses in the form of the connection's protocol. Confined to the connection's event loop.
///
/// Over HTTP/1 it writes bytes below the codec, whose encoder then costs nothing; over HTTP/2 each stream's codec makes
/// frames of parts. Nothing is sent until `flush`.
struct ResponseWire {
    /// Of the handler that answers.
    let context: ChannelHandlerContext
    /// The place below the HTTP/1 codec; `nil` over HTTP/2.
    let bytes: ChannelHandlerContext?
    let isTLS: Bool
    let configuration: MediaHTTPConfiguration
    /// Whose the bytes are.
    let answers: AnswerBytes

    /// Bodies up to this size are copied behind their head, which makes one write of the two.
    private static let joinedByteCount = 16 << 10
    /// The kernel can send a file by itself.
    var takesRegions: Bool { self.bytes != nil && !self.isTLS }

    /// How much of a body is written at once, where it is encrypted or cut into frames before the socket takes it.
    static let pieceByteCount = 128 << 10

    // MARK: Whole responses

    /// Writes a response with its body, if that needs no waiting. Returns whether it did; else nothing was written.
    func writeWhole(_ response: ObjectResponse, to fields: RequestFields) -> Bool {
        if fields.method == .HEAD {
            self.writeHead(of: response, to: fields)
            self.writeEnd(isChunked: false)
            return true
        }
        switch response.body {
        case .none:
            self.writeHead(of: response, to: fields)
        case .bytes(let bytes, let cache):
            guard self.takesRegions || bytes.readableBytes <= Self.pieceByteCount else { return false }
            self.write(response, to: fields, bytes, cache)
        case .file(_, let range, _):
            guard range.isEmpty else { return false }
            self.writeHead(of: response, to: fields)
        case .stream(let length, _):
            guard length == 0 else { return false }
            self.writeHead(of: response, to: fields)
        }
        self.writeEnd(isChunked: false)
        return true
    }

    private func write(
        _ response: ObjectResponse, to fields: RequestFields, _ bytes: ByteBuffer, _ cache: ServingCache?
    ) {
        guard let below = self.bytes else {
            self.writeHead(of: response, to: fields)
            if bytes.readableBytes > 0 { self.writePart(.body(.byteBuffer(bytes))) }
            return
        }
        let isJoined = bytes.readableBytes <= Self.joinedByteCount
        var head = self.head(of: response, fields, capacity: Self.headByteCount + (isJoined ? bytes.readableBytes : 0))
        if isJoined { head.writeImmutableBuffer(bytes) }
        self.put(head, on: below)
        if isJoined { return }
        if self.takesRegions, let cache, let file = cache.value(of: OpenFile.self, make: { .inMemory(bytes) }) {
            self.write(file, 0..<file.count, promise: nil)
        } else {
            self.put(bytes, on: below)
        }
    }

    private func put(_ bytes: ByteBuffer, on below: ChannelHandlerContext, promise: EventLoopPromise<Void>? = nil) {
        self.answers.add(bytes.readableBytes)
        below.write(NIOAny(bytes), promise: promise)
    }

    // MARK: Heads

    /// Most heads are shorter.
    private static let headByteCount = 640

    func writeHead(of response: ObjectResponse, to fields: RequestFields) {
        if let below = self.bytes {
            self.put(self.head(of: response, fields, capacity: Self.headByteCount), on: below)
        } else {
            var head = ResponseHeadFields(response.status)
            self.writeFields(of: response, fields, into: &head)
            self.writePart(.head(head.head))
        }
    }

    private func head(of response: ObjectResponse, _ fields: RequestFields, capacity: Int) -> ByteBuffer {
        var head = ResponseHeadBytes(
            response.status, capacity: capacity, allocator: self.context.channel.allocator)
        self.writeFields(of: response, fields, into: &head)
        if response.hasUnknownLength, fields.takesChunks { head.add("Transfer-Encoding", "chunked") }
        if fields.isLast {
            head.add("Connection", "close")
        } else if !fields.takesChunks {
            head.add("Connection", "keep-alive")
        }
        return head.finish()
    }

    private func writeFields(
        of response: ObjectResponse, _ fields: RequestFields, into head: inout some ResponseHead
    ) {
        response.writeFields(into: &head, now: .now())
        if self.configuration.allowsAllOrigins {
            head.add("Access-Control-Allow-Origin", "*")
        } else {
            head.add("Vary", "Origin")
            if let origin = fields.origin, let allowed = self.configuration.allowedOrigin(origin) {
                head.add("Access-Control-Allow-Origin", allowed)
            }
        }
        head.add("Access-Control-Expose-Headers", "Accept-Ranges, Age, Content-Length, Content-Range, Date, ETag")
        head.add("Date", HTTPDate.now)
        // What a publisher sent is never guessed to be a page.
        head.add("X-Content-Type-Options", "nosniff")
        head.add("Server", "Weir")
    }

    // MARK: Bodies

    /// Writes bytes of a body that has a length, or, over HTTP/2, any.
    func write(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>?) {
        if let below = self.bytes {
            self.put(bytes, on: below, promise: promise)
        } else {
            self.writePart(.body(.byteBuffer(bytes)), promise: promise)
        }
    }

    /// Writes a chunk of a body that tells its end by an empty one. Spec: RFC 9112 §7.1.
    func writeChunk(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>?) {
        guard let below = self.bytes else { return self.write(bytes, promise: promise) }
        var size = ByteBuffer(string: String(bytes.readableBytes, radix: 16))
        size.writeStaticString("\r\n")
        self.put(size, on: below)
        self.put(bytes, on: below)
        self.put(ByteBuffer(staticString: "\r\n"), on: below, promise: promise)
    }

    /// Writes a part of a file. Only where `takesRegions`.
    func write(_ file: OpenFile, _ range: Range<Int64>, promise: EventLoopPromise<Void>?) {
        guard let below = self.bytes, !self.isTLS else { preconditionFailure("files are sent over plain HTTP/1 only") }
        let handle = file.handle()
        let region = FileRegion(
            fileHandle: handle, readerIndex: Int(range.lowerBound), endIndex: Int(range.upperBound))
        let written = self.context.eventLoop.makePromise(of: Void.self)
        // The handle must be given up before it goes, and the file must outlive it.
        written.futureResult.assumeIsolated().whenComplete { result in
            OpenFile.release(handle)
            withExtendedLifetime(file) { promise?.completeWith(result) }
        }
        self.answers.add(range.count)
        below.write(NIOAny(IOData.fileRegion(region)), promise: written)
    }

    /// Ends a response. `isChunked`: by an empty chunk, over HTTP/1.
    func writeEnd(isChunked: Bool) {
        if let below = self.bytes {
            if isChunked { self.put(ByteBuffer(staticString: "0\r\n\r\n"), on: below) }
        } else {
            self.writePart(.end(nil))
        }
    }

    private func writePart(_ part: HTTPServerResponsePart, promise: EventLoopPromise<Void>? = nil) {
        if case .body(.byteBuffer(let bytes)) = part { self.answers.add(bytes.readableBytes) }
        self.context.write(NIOAny(part), promise: promise)
    }

    func flush() { self.context.flush() }

    /// Closes the connection, or resets the stream, when what was written has left.
    func closeWhenWritten() {
        let context = self.context
        guard let below = self.bytes else {
            // A stream of HTTP/2 closes by its end.
            return context.flush()
        }
        below.writeAndFlush(NIOAny(ByteBuffer())).assumeIsolated().whenComplete { _ in context.close(promise: nil) }
    }
}
