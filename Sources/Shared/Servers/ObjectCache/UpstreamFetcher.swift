import AsyncHTTPClient
import Media
import MediaObjects
import NIOCore
import NIOHTTP1
import Synchronization

/// Fetches objects from other nodes. Knows no waiters and keeps nothing but where each stream was found last.
struct UpstreamFetcher: Sendable {
    let http: HTTPClient
    let configuration: ObjectCacheConfiguration
    let resolver: ObjectCacheResolver
    let places: LastPlaces
    /// Told why a node could not answer.
    let onFailure: @Sendable (StreamKey, ObjectUpstream, String) -> Void

    /// Fetches an object that is kept.
    func fetch(_ order: FetchOrder) async -> FetchResult {
        let key = order.request.key
        let found = await self.resolver.upstreams(key, order.request.name)
        switch found {
        case .upstreams(let upstreams):
            guard !upstreams.isEmpty else { return .notFound("no node has it") }
            return await self.fetch(order, from: self.places.ordered(upstreams, for: key))
        case .spread(let upstreams):
            return await self.merge(order, from: upstreams)
        case .notFound: return await self.fetchLeftover(order, hasEnded: false)
        case .ended: return await self.fetchLeftover(order, hasEnded: true)
        case .suppliers(let upstreams, let hasEnded):
            let result = await self.bring(order, by: upstreams)
            guard case .notFound = result else { return result }
            return await self.fetchLeftover(order, hasEnded: hasEnded)
        case .unavailable(let text):
            guard let last = self.places[key] else { return .failed(text) }
            return await self.fetch(order, from: [last])
        }
    }

    /// What the node that held a stream last still has of it.
    private func fetchLeftover(_ order: FetchOrder, hasEnded: Bool) async -> FetchResult {
        let key = order.request.key
        guard let last = self.places[key] else { return .notFound("nobody publishes the stream") }
        let result = await self.fetch(order, from: [last])
        guard case .notFound(let text) = result else { return result }
        self.places.forget(key)
        return hasEnded ? .gone(text) : result
    }

    /// Asks those who can bring streams. Who cannot bring this one says so at once; the one who can has time for it. A
    /// request that another node passed on goes no further: that node asks all of them itself.
    private func bring(_ order: FetchOrder, by suppliers: [ObjectUpstream]) async -> FetchResult {
        var worst: FetchResult = .notFound("nobody publishes the stream")
        guard order.request.hops == 0, order.request.name.beginsPlaying else { return worst }
        for supplier in suppliers where !Task.isCancelled {
            let result = await self.fetch(order, from: supplier, deadline: .now() + self.configuration.waitDeadline)
            switch result {
            case .object, .notModified, .tooLarge:
                self.places.note(supplier, for: order.request.key)
                return result
            case .refused: return result
            case .notFound, .gone: continue
            case .failed(let text):
                self.onFailure(order.request.key, supplier, text)
                worst = result
            }
        }
        return worst
    }

    /// Tries nodes in turn. One that cannot answer makes the whole "unreachable", whatever the others say they have not.
    private func fetch(_ order: FetchOrder, from upstreams: [ObjectUpstream]) async -> FetchResult {
        var worst: FetchResult = .notFound("no node has it")
        for (index, upstream) in upstreams.enumerated() {
            guard !Task.isCancelled else { return .failed("the fetch was given up") }
            // A node that is frozen must leave time for the others.
            let left = order.deadline - .now()
            let share = TimeAmount.nanoseconds(left.nanoseconds / Int64(upstreams.count - index))
            guard share > .zero else { return .failed("no node answered in time") }
            let result = await self.fetch(order, from: upstream, deadline: .now() + share)
            switch result {
            case .object, .notModified, .tooLarge:
                self.places.note(upstream, for: order.request.key)
                return result
            case .refused:
                return result
            case .notFound, .gone:
                continue
            case .failed(let text):
                self.onFailure(order.request.key, upstream, text)
                worst = result
            }
        }
        return worst
    }

    private func fetch(
        _ order: FetchOrder, from upstream: ObjectUpstream, deadline: NIODeadline
    ) async -> FetchResult {
        // A kept connection may be closed by its node while the request is on its way: once more, on another one.
        for attempt in 0..<2 {
            do {
                let response = try await self.http.execute(self.request(order, at: upstream), deadline: deadline)
                return await self.take(response, order, upstream)
            } catch {
                guard attempt == 0, Self.isClosedConnection(error) else { return .failed(Self.text(error)) }
            }
        }
        return .failed("the connection was closed")
    }

    /// A connection that was open and is not any more; one that could not be opened is another error.
    private static func isClosedConnection(_ error: any Error) -> Bool {
        (error as? HTTPClientError) == .remoteConnectionClosed || error is IOError || error is ChannelError
    }

    private func request(_ order: FetchOrder, at upstream: ObjectUpstream) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: UpstreamExchange.url(of: order.request, at: upstream))
        request.headers.add(name: UpstreamExchange.nodeHeader, value: self.configuration.node)
        request.headers.add(name: UpstreamExchange.hopsHeader, value: "\(order.request.hops + 1)")
        if let secret = self.configuration.secret, !secret.isEmpty {
            request.headers.add(name: "Authorization", value: "Bearer \(secret)")
        }
        if let validator = order.validator {
            request.headers.add(name: "If-None-Match", value: UpstreamExchange.quoted(validator))
        }
        return request
    }

    private func take(
        _ response: HTTPClientResponse, _ order: FetchOrder, _ upstream: ObjectUpstream
    ) async -> FetchResult {
        if let result = UpstreamExchange.result(of: response.status, from: upstream.node) {
            if case .notModified = result, order.validator == nil { return .failed("304 without a condition") }
            // What an error page says is of no use, but the connection is.
            await self.drain(response.body)
            return result
        }
        let announced = UpstreamExchange.bodyLength(response.headers)
        guard announced != .unknown, response.headers[canonicalForm: "content-encoding"].isEmpty else {
            return .failed("the answer's length or coding cannot be trusted")
        }
        let limit = self.configuration.maximumObjectBytes
        if case .bytes(let count) = announced, count > limit { return .tooLarge }
        let body = response.body
        let collected = await Self.within(self.configuration.bodyDeadline) {
            await Self.collect(body, announced: announced, limit: limit)
        }
        switch collected {
        case .bytes(let bytes): return self.object(bytes, response.headers, order.request)
        case .tooLarge: return .tooLarge
        case .failed(let text): return .failed(text)
        case nil: return .failed("the body took too long")
        }
    }

    private func drain(_ body: HTTPClientResponse.Body) async {
        _ = await Self.within(.milliseconds(500)) {
            await Self.collect(body, announced: .chunked, limit: 16 << 10)
        }
    }

    private enum Collected: Sendable {
        case bytes(ByteBuffer)
        case tooLarge
        case failed(String)
    }

    /// The body in a buffer of its own: what a connection's buffers hold would keep those alive.
    private static func collect(
        _ body: HTTPClientResponse.Body, announced: UpstreamExchange.BodyLength, limit: Int
    ) async -> Collected {
        var capacity = 4_096
        if case .bytes(let count) = announced { capacity = count }
        var bytes = ByteBufferAllocator().buffer(capacity: min(capacity, limit))
        do {
            for try await chunk in body {
                guard bytes.readableBytes + chunk.readableBytes <= limit else { return .tooLarge }
                bytes.writeImmutableBuffer(chunk)
            }
        } catch {
            return .failed(self.text(error))
        }
        if case .bytes(let count) = announced, count != bytes.readableBytes { return .failed("the body was cut short") }
        return .bytes(bytes)
    }

    private func object(_ bytes: ByteBuffer, _ headers: HTTPHeaders, _ request: MediaObjectRequest) -> FetchResult {
        var facts: PlaylistFacts?
        if case .playlist = request.name {
            facts = PlaylistFacts(bytes)
            guard facts != nil else { return .failed("the answer is no playlist") }
        }
        return .object(
            MediaObject(
                body: .bytes(bytes), gzip: request.name.isText ? Gzip.compress(bytes) : nil,
                contentType: UpstreamExchange.contentType(headers, request.name), etag: UpstreamExchange.etag(headers),
                lifetime: UpstreamExchange.lifetime(headers, request.name, facts),
                storedAt: UpstreamExchange.storedAt(headers, now: .now()),
                attachmentName: UpstreamExchange.attachmentName(headers)),
            facts)
    }

    private static func text(_ error: any Error) -> String {
        if let error = error as? HTTPClientError { return error.shortDescription }
        return "\(error)"
    }

    /// `body`'s result, or `nil` and its cancellation after `limit`.
    static func within<Result: Sendable>(
        _ limit: TimeAmount, _ body: @escaping @Sendable () async -> Result
    ) async -> Result? {
        await withTaskGroup(of: Result?.self) { group in
            group.addTask { await body() }
            group.addTask {
                try? await Task.sleep(nanoseconds: UInt64(max(limit.nanoseconds, 0)))
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}

extension UpstreamFetcher {
    /// Asks each node for its piece of a recorded range, at the same time.
    private func merge(_ order: FetchOrder, from upstreams: [ObjectUpstream]) async -> FetchResult {
        guard case .recording(.playlist) = order.request.name else {
            return .refused(.conflict("it is spread over several nodes"))
        }
        let pieces = await withTaskGroup(of: (Int, FetchResult).self) { group in
            for (index, upstream) in upstreams.prefix(16).enumerated() {
                group.addTask {
                    var piece = order
                    piece.validator = nil
                    return (index, await self.fetch(piece, from: upstream, deadline: order.deadline))
                }
            }
            var pieces: [(Int, FetchResult)] = []
            for await piece in group { pieces.append(piece) }
            return pieces.sorted { $0.0 < $1.0 }
        }
        var merge = RecordingMerge()
        var lifetime: Double = .infinity
        var failure: FetchResult?
        for (index, piece) in pieces {
            switch piece {
            case .object(let object, _):
                guard case .bytes(let bytes) = object.body, merge.add(bytes) else {
                    failure = .failed("\(upstreams[index].node) has no playlist that can be joined")
                    continue
                }
                if case .seconds(let seconds) = object.lifetime { lifetime = min(lifetime, seconds) }
            case .notFound, .gone: continue
            default:
                failure = piece
                if case .failed(let text) = piece { self.onFailure(order.request.key, upstreams[index], text) }
            }
        }
        guard let bytes = merge.finished() else { return failure ?? .notFound("nobody recorded that") }
        // With a node away, what the others have is better than nothing, but only for a moment.
        return .object(
            MediaObject(
                body: .bytes(bytes), gzip: Gzip.compress(bytes), contentType: MediaObject.ContentType.hls,
                etag: ContentTag.of(bytes), lifetime: .seconds(failure == nil && lifetime.isFinite ? lifetime : 1),
                storedAt: .now()),
            nil)
    }

    /// Fetches an object that is not kept, for one viewer.
    ///
    /// The body's chunks are asked for as the viewer takes them, which stops the other node when the viewer stops.
    func open(_ request: MediaObjectRequest, onEnd: @escaping @Sendable () -> Void) async -> MediaObjectAnswer {
        let token = PassThroughToken(onEnd)
        let upstreams: [ObjectUpstream]
        switch await self.resolver.upstreams(request.key, request.name) {
        case .upstreams(let found): upstreams = self.places.ordered(found, for: request.key)
        case .spread: return .conflict("it is spread over several nodes")
        case .notFound, .ended, .suppliers: return .notFound("nobody has it")
        case .unavailable(let text): return .unavailable(text)
        }
        let order = FetchOrder(
            request: request, validator: nil, deadline: .now() + self.configuration.headDeadline)
        var worst: MediaObjectAnswer = .notFound("no node has it")
        for upstream in upstreams {
            do {
                let response = try await self.http.execute(self.request(order, at: upstream), deadline: order.deadline)
                let length = UpstreamExchange.bodyLength(response.headers)
                switch UpstreamExchange.result(of: response.status, from: upstream.node) {
                case nil where length != .unknown:
                    return .object(self.passed(response, length, request, token))
                case .refused(let answer): return answer
                case .notFound: continue
                case .failed(let text): worst = .unavailable(text)
                default: worst = .unavailable("\(upstream.node) gives no answer that can be passed on")
                }
            } catch {
                self.onFailure(request.key, upstream, Self.text(error))
                worst = .unavailable(Self.text(error))
            }
        }
        return worst
    }

    private func passed(
        _ response: HTTPClientResponse, _ length: UpstreamExchange.BodyLength, _ request: MediaObjectRequest,
        _ token: PassThroughToken
    ) -> MediaObject {
        let body = PassThroughBody(response.body, token)
        var count: Int64?
        if case .bytes(let announced) = length { count = Int64(announced) }
        return MediaObject(
            body: .stream(length: count, next: { try await body.next() }),
            contentType: UpstreamExchange.contentType(response.headers, request.name), etag: nil,
            lifetime: UpstreamExchange.lifetime(response.headers, request.name, nil), storedAt: .now(),
            attachmentName: UpstreamExchange.attachmentName(response.headers))
    }
}

/// Gives a place among the objects that are passed through back when the last who holds it lets go.
final class PassThroughToken: Sendable {
    private let onEnd: @Sendable () -> Void

    init(_ onEnd: @escaping @Sendable () -> Void) { self.onEnd = onEnd }

    deinit { self.onEnd() }
}

/// The rest of a body. Its end, or letting go of it, ends the request.
private actor PassThroughBody {
    private var iterator: HTTPClientResponse.Body.AsyncIterator?
    private var token: PassThroughToken?

    init(_ body: HTTPClientResponse.Body, _ token: PassThroughToken) {
        self.iterator = body.makeAsyncIterator()
        self.token = token
    }

    /// The next chunk; `nil` at the end. Asked for one at a time.
    func next() async throws -> ByteBuffer? {
        guard var iterator = self.iterator.take() else { return nil }
        do {
            let chunk = try await iterator.next(isolation: self)
            if chunk != nil { self.iterator = iterator } else { self.token = nil }
            return chunk
        } catch {
            self.token = nil
            throw error
        }
    }
}

/// Where each stream was found last: asked first where several nodes may have it, and asked still when it has ended.
final class LastPlaces: Sendable {
    private let limit: Int
    private let places = Mutex(LRUMap<StreamKey, ObjectUpstream>())

    init(limit: Int) { self.limit = limit }

    subscript(key: StreamKey) -> ObjectUpstream? { self.places.withLock { $0.use(key) } }

    func note(_ upstream: ObjectUpstream, for key: StreamKey) {
        self.places.withLock { places in
            places.update(key, upstream)
            while places.count > self.limit { places.removeOldest() }
        }
    }

    func forget(_ key: StreamKey) { self.places.withLock { _ = $0.remove(key) } }

    /// `upstreams` with the last place of `key` first, if it is one of them.
    func ordered(_ upstreams: [ObjectUpstream], for key: StreamKey) -> [ObjectUpstream] {
        guard upstreams.count > 1, let last = self[key],
            let index = upstreams.firstIndex(where: { $0.node == last.node })
        else { return upstreams }
        return [upstreams[index]] + upstreams[..<index] + upstreams[(index + 1)...]
    }
}

/// Strong validators of what a cache makes itself.
enum ContentTag {
    /// FNV-1a of the bytes, 64 bits, as hexadecimal digits: equal on all nodes that make the same.
    static func of(_ bytes: ByteBuffer) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes.readableBytesView { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension MediaObjectName {
    /// Whether its objects are text, which gzip makes smaller.
    ///
    /// Nodes ask each other for plain text and make the gzip form themselves, once per object: the network between them
    /// carries each object once, and a coding taken over would have to be undone to read the playlist.
    var isText: Bool {
        switch self {
        case .multivariant, .manifest, .info, .playlist, .recording(.playlist): true
        default: false
        }
    }
}
