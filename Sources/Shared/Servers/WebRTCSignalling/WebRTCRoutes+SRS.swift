import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// SRS's API for offers: JSON in and out, and status 200 whatever happened.
extension WebRTCRoutes {
    /// The body of a request. Other members are allowed, and mean nothing here.
    private struct Body: Decodable {
        var sdp: String
        var streamurl: String
        /// Counts if a trusted proxy sends it.
        var clientip: String?
    }

    func api(
        _ request: Request, _ action: SignallingResource.Action, _ query: SignallingQuery, _ peer: SocketAddress?
    ) async -> Response {
        do throws(SignallingProblem) {
            let wish = try await self.apiWish(request, query, peer)
            let answer = try await self.session(action, wish)
            let members = [("sdp", answer.sdp), ("sessionid", answer.iceNames)]
            return self.apiResponse(code: 0, members, headers: self.headers(of: answer))
        } catch {
            // The code of SRS for all failures; the words are ours.
            return self.apiResponse(code: 400, [("error", error.name), ("detail", error.detail ?? error.title)])
        }
    }

    private func apiWish(
        _ request: Request, _ query: SignallingQuery, _ peer: SocketAddress?
    ) async throws(SignallingProblem) -> SignallingRequest {
        let text = try await self.text(of: request)
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(text.utf8)) else {
            throw SignallingProblem(
                .badRequest, "bad-json", "The body is not the JSON that is expected",
                detail: "sdp and streamurl are strings")
        }
        guard !body.sdp.isEmpty else { throw .empty }
        guard let url = StreamURL(body.streamurl) else {
            throw self.problem(.badName("streamurl is webrtc://HOST/APP/STREAM"))
        }
        var wish = self.wish(
            request, offer: body.sdp, app: url.app, stream: url.stream, host: url.host, query: url.query, peer: peer,
            candidates: [QueryText.host(of: request.head.authority ?? ""), url.host] + query.candidates)
        if let peer, let client = body.clientip, self.configuration.trustsProxy(peer),
            let address = try? SocketAddress(ipAddress: client, port: 0).ipAddress
        {
            wish.forwardedAddress = address
        }
        return wish
    }

    private func apiResponse(code: Int, _ members: [(String, String)], headers: HTTPFields = [:]) -> Response {
        let identity = self.configuration.identity
        let all =
            [("server", identity.server), ("service", identity.service), ("pid", identity.pid)] + members
        let texts = all.map { ",\(SignallingJSON.quote($0.0)):\(SignallingJSON.quote($0.1))" }
        var headers = headers
        headers[.contentType] = MediaType.json
        let json = "{\"code\":\(code)\(texts.joined())}"
        return Response(status: .ok, headers: headers, body: .init(byteBuffer: ByteBuffer(string: json)))
    }
}
