import HTTPTypes
import Hummingbird
import NIOCore

/// Offers, candidates and the end of sessions. Spec: RFC 9725 §4.
extension WebRTCRoutes {
    // MARK: Offers

    /// The stream is in the query, and what is to be done may be, too.
    func srsOffer(
        _ request: Request, _ usual: SignallingResource.Action, _ query: SignallingQuery, _ peer: SocketAddress?
    ) async throws(SignallingProblem) -> Response {
        if request.method == .delete || query["action"] == "delete" {
            return try await self.delete(query["token"] ?? query["session"] ?? "")
        }
        // Only what usually publishes may be told to play.
        let isPlay = usual == .play || query["action"] == "play"
        return try await self.offer(
            request, isPlay ? .play : .publish, app: query["app"] ?? "live", stream: query["stream"] ?? "livestream",
            query, peer)
    }

    func offer(
        _ request: Request, _ action: SignallingResource.Action, app: String, stream: String,
        _ query: SignallingQuery, _ peer: SocketAddress?
    ) async throws(SignallingProblem) -> Response {
        if let type = request.headers[.contentType], !MediaType.isEqual(type, MediaType.sdp) {
            throw .unsupportedMediaType(MediaType.sdp)
        }
        if let accept = request.headers[.accept], !MediaType.isAccepted(MediaType.sdp, by: accept) {
            throw SignallingProblem(
                .notAcceptable, "not-acceptable", "Both sides have nothing in common",
                detail: "the answer is \(MediaType.sdp), which Accept does not allow")
        }
        let offer = try await self.text(of: request)
        let host = QueryText.host(of: request.head.authority ?? "")
        let wish = self.wish(
            request, offer: offer, app: app, stream: stream, host: host, query: query, peer: peer,
            candidates: [host] + query.candidates)
        let answer = try await self.session(action, wish)
        var headers = self.headers(of: answer)
        headers[.contentType] = MediaType.sdp
        return Response(
            status: .created, headers: headers, body: .init(byteBuffer: ByteBuffer(string: answer.sdp)))
    }

    /// All that the request says of the client and of what it wants.
    func wish(
        _ request: Request, offer: String, app: String, stream: String, host: String, query: SignallingQuery,
        peer: SocketAddress?, candidates: [String]
    ) -> SignallingRequest {
        var hosts: [String] = []
        for candidate in candidates where QueryText.isHost(candidate) && !hosts.contains(candidate) {
            hosts.append(candidate)
        }
        let scheme = request.head.scheme ?? "http"
        return SignallingRequest(
            offer: offer, app: app, stream: stream, vhost: query["vhost"] ?? query["domain"], host: host,
            query: query.text, token: query["token"] ?? "", authorization: request.headers[.authorization],
            url: "\(scheme)://\(request.head.authority ?? "")\(request.uri.path)",
            userAgent: request.headers[.userAgent] ?? "", referer: request.headers[.referer] ?? "", peer: peer,
            forwardedAddress: ForwardedClient.address(
                request.headers, peer: peer, trusts: self.configuration.trustsProxy),
            candidateHosts: hosts)
    }

    func session(
        _ action: SignallingResource.Action, _ wish: SignallingRequest
    ) async throws(SignallingProblem) -> SignallingAnswer {
        let result =
            switch action {
            case .publish: await self.sessions.publish(wish)
            case .play: await self.sessions.play(wish)
            }
        switch result {
        case .success(let answer): return answer
        case .failure(let refusal): throw self.problem(refusal)
        }
    }

    /// Where the session is, and what the client needs for it.
    func headers(of answer: SignallingAnswer) -> HTTPFields {
        var headers: HTTPFields = [
            .location: SignallingResource.location(of: answer.id), .eTag: "\"\(answer.etag)\"",
            .acceptPatch: MediaType.fragment,
        ]
        for case let link? in self.configuration.iceServers().map(\.link) {
            headers.append(HTTPField(name: .link, value: link))
        }
        return headers
    }

    func problem(_ refusal: SignallingRefusal) -> SignallingProblem {
        SignallingProblem(refusal, retryAfterSeconds: self.configuration.retryAfterSeconds)
    }

    // MARK: Sessions

    func delete(_ id: String) async throws(SignallingProblem) -> Response {
        guard await self.sessions.delete(id) else { throw self.problem(.unknownSession) }
        return Response(status: .ok)
    }

    func patch(_ request: Request, _ id: String) async throws(SignallingProblem) -> Response {
        guard let type = request.headers[.contentType], MediaType.isEqual(type, MediaType.fragment) else {
            throw .unsupportedMediaType(MediaType.fragment)
        }
        guard let precondition = SignallingPrecondition(request.headers[values: .ifMatch]) else {
            throw .preconditionRequired
        }
        let fragment = try await self.text(of: request)
        switch await self.sessions.patch(id, fragment: fragment, ifMatch: precondition) {
        case .success(.noted): return Response(status: .noContent)
        case .success(.restarted(let fragment, let etag)):
            return Response(
                status: .ok, headers: [.contentType: MediaType.fragment, .eTag: "\"\(etag)\""],
                body: .init(byteBuffer: ByteBuffer(string: fragment)))
        case .failure(let refusal): throw self.problem(refusal)
        }
    }

    func diagnose(_ request: Request, _ id: String) async throws(SignallingProblem) -> Response {
        guard let json = await self.sessions.diagnose(id) else { throw self.problem(.unknownSession) }
        let bytes = ByteBuffer(string: json)
        var headers: HTTPFields = [.contentType: MediaType.json]
        guard request.method == .get else {
            headers[.contentLength] = "\(bytes.readableBytes)"
            return Response(status: .ok, headers: headers)
        }
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: bytes))
    }

    // MARK: Bodies

    /// The body, if it is text, comes in time and is not too long.
    func text(of request: Request) async throws(SignallingProblem) -> String {
        let limit = self.configuration.maximumBodyBytes
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit { throw .tooLong(limit) }
        let timeout = self.configuration.bodyTimeout
        let body = request.body
        let result = await withTaskGroup(of: Result<ByteBuffer, SignallingProblem>.self) { group in
            group.addTask { await Self.collect(body, limit: limit) }
            group.addTask {
                try? await Task.sleep(for: timeout)
                return .failure(.timeout)
            }
            defer { group.cancelAll() }
            return await group.next() ?? .failure(.timeout)
        }
        let bytes = try result.get()
        guard bytes.readableBytes > 0 else { throw .empty }
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else { throw .notText }
        return text
    }

    private static func collect(_ body: RequestBody, limit: Int) async -> Result<ByteBuffer, SignallingProblem> {
        var bytes = ByteBuffer()
        do {
            for try await var part in body {
                guard bytes.readableBytes + part.readableBytes <= limit else { return .failure(.tooLong(limit)) }
                bytes.writeBuffer(&part)
            }
        } catch {
            return .failure(SignallingProblem(.badRequest, "body-broken", "The body broke off"))
        }
        return .success(bytes)
    }
}

extension SignallingPrecondition {
    /// Reads `If-Match`; `nil` if it is missing or names nothing. `"*"` is `*`: RFC 9725 writes it so in §4.3.3.
    ///
    /// Weak tags never match, and are left out. Spec: RFC 9110 §13.1.1.
    init?(_ fields: [String]) {
        var tags: [String] = []
        for item in fields.flatMap({ $0.split(separator: ",") }) {
            var tag = item.filter { $0 != " " && $0 != "\t" }[...]
            if tag.hasPrefix("W/") { continue }
            if tag.count >= 2, tag.first == "\"", tag.last == "\"" { tag = tag.dropFirst().dropLast() }
            if tag == "*" {
                self = .any
                return
            }
            if !tag.isEmpty { tags.append(String(tag)) }
        }
        guard !tags.isEmpty || !fields.isEmpty else { return nil }
        self = .tags(tags)
    }
}
