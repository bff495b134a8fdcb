import HTTPTypes
package import Hummingbird
import NIOCore

/// Answers requests of the node's HTTP port.
///
/// A responder of Hummingbird: whoever serves it decides who may call, sets the headers of security and of CORS, and
/// bounds connections. It reads at most `NodeAPIRequest.maximumBodyBytes` of a body.
package struct NodeAPIResponder<Context: RequestContext>: HTTPResponder {
    private let api: NodeAPI

    package init(_ api: NodeAPI, context: Context.Type = BasicRequestContext.self) {
        self.api = api
    }

    package func respond(to request: Request, context: Context) async throws -> Response {
        var headers: [String: String] = [:]
        headers["accept"] = request.headers[.accept]
        headers["if-none-match"] = request.headers[.ifNoneMatch]
        headers["host"] = request.head.authority
        let body: String
        do {
            body = String(buffer: try await request.body.collect(upTo: NodeAPIRequest.maximumBodyBytes))
        } catch is NIOTooManyBytesError {
            return Self.response(.problem("too-large", 413, "The body is too long"))
        }
        guard
            let inner = NodeAPIRequest(
                method: request.method.rawValue, target: request.head.path ?? "", headers: headers, body: body)
        else { return Self.response(.invalid("the path cannot be read")) }
        return Self.response(await self.api.respond(inner))
    }

    private static func response(_ answer: NodeAPIResponse) -> Response {
        var headers = HTTPFields()
        if !answer.contentType.isEmpty { headers[.contentType] = answer.contentType }
        for (name, value) in answer.headers {
            if let field = HTTPField.Name(name) { headers[field] = value }
        }
        return Response(
            status: .init(code: answer.status), headers: headers,
            body: answer.status == 204 || answer.status == 304 ? .init() : .init(byteBuffer: answer.body))
    }
}
