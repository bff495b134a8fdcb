import FoundationEssentials
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Placement

/// An answer that says what went wrong. Spec: RFC 9457.
struct Problem: Error {
    var details: ProblemDetails
    var headers: HTTPFields = [:]

    init(
        _ name: String, _ status: HTTPResponse.Status, _ title: String, detail: String? = nil,
        conflict: ClaimConflict? = nil
    ) {
        self.details = ProblemDetails(
            type: ProblemDetails.typePrefix + name, title: title, status: status.code, detail: detail,
            conflict: conflict)
    }

    private mutating func retry(afterMillis millis: Int64) {
        self.headers[.retryAfter] = String(max(1, (millis + 999) / 1_000))
    }

    init(_ error: PlacementError) {
        switch error {
        case .unknownNode: self.init("unknown-node", .notFound, "This node has not joined")
        case .nodeIDInUse: self.init("node-id-in-use", .conflict, "Another process with this node id is in the cluster")
        case .notAnOrigin: self.init("not-an-origin", .forbidden, "Only origins hold streams")
        case .draining: self.init("draining", .forbidden, "The node is being drained")
        case .unknownStream: self.init("unknown-stream", .notFound, "Nobody holds this stream")
        case .fenced(let conflict):
            self.init("fenced", .conflict, "The epoch is not the one that counts", conflict: conflict)
        case .transition(let from, let to):
            self.init(
                "transition", .conflict, "The stream cannot go to this state",
                detail: "from \(from.rawValue) to \(to.rawValue)")
        case .recovering(let millis):
            self.init("recovering", .serviceUnavailable, "The coordinator started a moment ago")
            self.retry(afterMillis: millis)
        case .tooManyNodes(let limit):
            self.init("too-many-nodes", .serviceUnavailable, "The cluster is full", detail: "at most \(limit) nodes")
        case .tooManyStreams(let limit):
            self.init(
                "too-many-streams", .serviceUnavailable, "The cluster is full", detail: "at most \(limit) streams")
        case .ended: self.init("ended", .gone, "The stream is over")
        }
    }

    static func invalid(_ detail: String) -> Problem {
        Problem("invalid-request", .badRequest, "The request cannot be understood", detail: detail)
    }

    var response: Response {
        var headers = self.headers
        headers[.contentType] = "application/problem+json"
        headers[.cacheControl] = "no-store"
        let data = (try? JSONEncoder().encode(self.details)) ?? Data()
        return Response(
            status: .init(code: self.details.status), headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}

/// Turns every error into a problem.
struct ProblemMiddleware: RouterMiddleware {
    typealias Context = BasicRequestContext

    func handle(
        _ request: Request, context: BasicRequestContext,
        next: @concurrent (Request, BasicRequestContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let problem as Problem {
            return problem.response
        } catch let error as PlacementError {
            return Problem(error).response
        } catch let error as CoordinatorCore.CoreError {
            switch error {
            case .unavailable:
                return Problem("unavailable", .serviceUnavailable, "The database does not take writes").response
            case .tooManyWatchers(let limit):
                return Problem(
                    "too-many-watchers", .serviceUnavailable, "Too many watchers", detail: "at most \(limit)"
                ).response
            }
        } catch let error as HTTPError {
            return Problem("http", error.status, error.status.reasonPhrase, detail: error.body).response
        } catch {
            context.logger.error("a request failed", metadata: ["error": "\(error)"])
            return Problem("internal", .internalServerError, "The request failed").response
        }
    }
}
