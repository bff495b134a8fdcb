import MediaObjects
import NIOCore
import NIOHTTP1
import NIOPosix
import StreamHub

/// One answer that takes time: from the question to the source until the last byte of the body is on its way.
///
/// Confined to the connection's event loop. At most one piece of the body is read and one written at a time, so a slow
/// client holds a piece, not a body; what ends early says so by an error, and the connection cannot go on.
final class ObjectExchange {
    enum End {
        /// The answer is written.
        case complete
        /// The body broke off, or the connection.
        case broken
    }

    private enum State {
        /// The source has not answered.
        case waiting
        /// A file is being opened.
        case opening(ObjectResponse)
        case sending(Body)
        case ended
    }

    private enum Body {
        case bytes(ByteBuffer)
        case file(OpenFile, rest: Range<Int64>)
        case stream(Task<Void, Never>, isChunked: Bool)
    }

    /// How much of a file the kernel is told to send at once. While that is on its way, no other connection of the loop
    /// waits for the disk longer than the reading of it takes.
    private static let regionByteCount: Int64 = 1 << 20

    private let fields: RequestFields
    private let wire: ResponseWire
    private let onEnd: (End) -> Void
    private var state = State.waiting
    /// Pieces of the body that the socket took, by which a client is known to go on reading.
    private(set) var progress = 0
    let startedAt: NIODeadline

    /// `onEnd` is called once, unless the exchange is cancelled before.
    init(fields: RequestFields, wire: ResponseWire, now: NIODeadline, onEnd: @escaping (End) -> Void) {
        self.fields = fields
        self.wire = wire
        self.startedAt = now
        self.onEnd = onEnd
    }

    var isWaiting: Bool { if case .waiting = self.state { true } else { false } }

    // MARK: Beginning

    /// Waits for the source's answer.
    func wait(for answer: EventLoopFuture<MediaObjectAnswer>) {
        answer.assumeIsolated().whenComplete { result in
            guard self.isWaiting else { return }
            switch result {
            case .success(let answer): self.send(ObjectResponse(answer, to: self.fields))
            case .failure: self.send(ObjectResponse(.serviceUnavailable, "the source failed"))
            }
        }
    }

    /// Waits for the gate, and then for the answer to `question`.
    func wait(
        for verdict: EventLoopFuture<MediaObjectVerdict>, then question: @escaping (SessionAccount?) -> MediaObjectReply
    ) {
        verdict.assumeIsolated().whenComplete { result in
            guard self.isWaiting else { return }
            switch result {
            case .success(.success(let account)):
                switch question(account) {
                case .now(let answer): self.send(ObjectResponse(answer, to: self.fields))
                case .later(let answer): self.wait(for: answer)
                }
            case .success(.failure(let refusal)): self.send(ObjectResponse(refusal.status, refusal.text))
            case .failure: self.send(ObjectResponse(.serviceUnavailable, "nobody decides about this request"))
            }
        }
    }

    /// Gives up waiting.
    func refuse(_ detail: String) {
        guard self.isWaiting else { return }
        self.send(ObjectResponse(.serviceUnavailable, detail))
    }

    /// The connection is gone: what is read or asked for stops.
    func cancel() {
        if case .sending(.stream(let task, _)) = self.state { task.cancel() }
        self.state = .ended
    }

    func send(_ response: ObjectResponse) {
        if self.wire.writeWhole(response, to: self.fields) { return self.end(.complete) }
        switch response.body {
        case .bytes(let bytes, _):
            self.wire.writeHead(of: response, to: self.fields)
            self.sendPiece(of: bytes)
        case .file(let path, let range, let total):
            self.open(path, range, total, response)
        case .stream(let length, let next):
            self.wire.writeHead(of: response, to: self.fields)
            self.sendStream(length, next)
        case .none:
            preconditionFailure("a response without a body is written as a whole")
        }
    }

    private func end(_ end: End) {
        var hasOpenBody = false
        var isChunked = false
        switch self.state {
        case .ended: return
        case .waiting, .opening: break
        case .sending(.stream(let task, let chunked)):
            task.cancel()
            hasOpenBody = true
            isChunked = chunked
        case .sending: hasOpenBody = true
        }
        self.state = .ended
        if case .complete = end, hasOpenBody { self.wire.writeEnd(isChunked: isChunked) }
        self.onEnd(end)
    }

    // MARK: Bytes

    private func sendPiece(of bytes: ByteBuffer) {
        var rest = bytes
        guard let piece = rest.readSlice(length: min(ResponseWire.pieceByteCount, rest.readableBytes)),
            piece.readableBytes > 0
        else { return self.end(.complete) }
        self.state = .sending(.bytes(rest))
        self.wire.write(piece, promise: self.pieceWritten { self.sendPiece(of: rest) })
        self.wire.flush()
    }

    /// A promise for a piece; `next` goes on when the socket has taken it.
    private func pieceWritten(_ next: @escaping () -> Void) -> EventLoopPromise<Void> {
        let promise = self.wire.context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { result in
            if case .ended = self.state { return }
            self.progress += 1
            if case .success = result { next() } else { self.end(.broken) }
        }
        return promise
    }

    // MARK: Files

    private func open(_ path: String, _ range: Range<Int64>, _ total: Int64, _ response: ObjectResponse) {
        self.state = .opening(response)
        self.wire.configuration.filePool
            .runIfActive(eventLoop: self.wire.context.eventLoop) { try OpenFile.open(path) }
            .assumeIsolated().whenComplete { result in
                guard case .opening(let response) = self.state else { return }
                self.opened(result, range, total, response)
            }
    }

    private func opened(
        _ result: Result<OpenFile, any Error>, _ range: Range<Int64>, _ total: Int64, _ response: ObjectResponse
    ) {
        switch result {
        case .success(let file) where file.count >= total:
            self.wire.writeHead(of: response, to: self.fields)
            self.sendPiece(of: file, range)
        case .success:
            self.send(ObjectResponse(.serviceUnavailable, "the file is shorter than it should be"))
        case .failure(let error as IOError) where error.errnoCode == ENOENT:
            self.send(ObjectResponse(.notFound, "the file is gone"))
        case .failure:
            self.send(ObjectResponse(.serviceUnavailable, "the file cannot be read"))
        }
    }

    private func sendPiece(of file: OpenFile, _ range: Range<Int64>) {
        guard !range.isEmpty else { return self.end(.complete) }
        let limit = self.wire.takesRegions ? Self.regionByteCount : Int64(ResponseWire.pieceByteCount)
        let middle = min(range.lowerBound + limit, range.upperBound)
        let piece = range.lowerBound..<middle
        let rest = middle..<range.upperBound
        self.state = .sending(.file(file, rest: rest))
        let next = self.pieceWritten { self.sendPiece(of: file, rest) }
        if self.wire.takesRegions {
            // The kernel reads the next piece while this one leaves.
            if !rest.isEmpty { file.readAhead(rest.prefix(Int(Self.regionByteCount))) }
            self.wire.write(file, piece, promise: next)
            self.wire.flush()
        } else {
            self.read(file, piece, promise: next)
        }
    }

    private func read(_ file: OpenFile, _ piece: Range<Int64>, promise: EventLoopPromise<Void>) {
        self.wire.configuration.filePool
            .runIfActive(eventLoop: self.wire.context.eventLoop) { try file.read(piece) }
            .assumeIsolated().whenComplete { result in
                guard case .sending = self.state, case .success(let bytes) = result else {
                    return promise.fail(ChannelError.eof)
                }
                self.wire.write(bytes, promise: promise)
                self.wire.flush()
            }
    }

    // MARK: Streams

    private func sendStream(_ length: Int64?, _ next: @escaping @Sendable () async throws -> ByteBuffer?) {
        let isChunked = length == nil && self.fields.takesChunks
        let loop = self.wire.context.eventLoop
        let exchange = NIOLoopBound(self, eventLoop: loop)
        // The source is asked by a task, which lives as long as this exchange: `cancel` and `end` cancel it.
        let task = Task {
            var sent: Int64 = 0
            var end = End.broken
            do {
                while let piece = try await next() {
                    sent += Int64(piece.readableBytes)
                    if let length, sent > length { break }
                    guard piece.readableBytes > 0 else { continue }
                    try await loop.flatSubmit { exchange.value.write(piece, isChunked: isChunked) }.get()
                }
                if sent == length ?? sent { end = .complete }
            } catch {
                end = .broken
            }
            let result = end
            loop.execute { exchange.value.streamEnded(result) }
        }
        self.state = .sending(.stream(task, isChunked: isChunked))
        self.wire.flush()
    }

    private func write(_ piece: ByteBuffer, isChunked: Bool) -> EventLoopFuture<Void> {
        let loop = self.wire.context.eventLoop
        guard case .sending = self.state else { return loop.makeFailedFuture(ChannelError.eof) }
        let promise = loop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenSuccess { self.progress += 1 }
        if isChunked {
            self.wire.writeChunk(piece, promise: promise)
        } else {
            self.wire.write(piece, promise: promise)
        }
        self.wire.flush()
        return promise.futureResult
    }

    private func streamEnded(_ end: End) {
        guard case .sending(.stream) = self.state else { return }
        self.end(end)
    }
}
