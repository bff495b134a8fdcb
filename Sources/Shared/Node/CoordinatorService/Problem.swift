import CoordinatorStore
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

    init(_ error: CoordinatorCore.CoreError) {
        switch error {
        case .unavailable: self.init("unavailable", .serviceUnavailable, "The database does not take writes")
        case .tooManyWatchers(let limit):
            self.init("too-many-watchers", .serviceUnavailable, "Too many watchers", detail: "at most \(limit)")
        }
    }

    init(_ error: CoordinatorStoreError) {
        if case .backupFailed(_, let code) = error {
            self.init("backup-failed", .serviceUnavailable, "The copy could not be written", detail: "code \(code)")
        } else {
            self.init("unavailable", .serviceUnavailable, "The database does not answer")
        }
    }

    init(_ error: RequestBroker.BrokerError) {
        switch error {
        case .unreachable(let node):
            self.init("node-unreachable", .conflict, "The node does not take requests now", detail: "\(node)")
        case .busy(let node):
            self.init("node-busy", .tooManyRequests, "Too many requests wait for the node", detail: "\(node)")
            self.retry(afterMillis: 1_000)
        case .timedOut(let node):
            self.init("node-timed-out", .gatewayTimeout, "The node did not answer in time", detail: "\(node)")
        case .cancelled: self.init("stopping", .serviceUnavailable, "The coordinator stops")
        }
    }

    /// Any error that a route may throw; one that nobody foresaw is logged.
    init(any error: any Error, logger: Logger) {
        switch error {
        case let problem as Problem: self = problem
        case let error as PlacementError: self.init(error)
        case let error as CoordinatorCore.CoreError: self.init(error)
        case let error as CoordinatorStoreError: self.init(error)
        case let error as RequestBroker.BrokerError: self.init(error)
        case let error as HTTPError: self.init("http", error.status, error.status.reasonPhrase, detail: error.body)
        case is ChannelError, is CancellationError:
            // The client left; nobody reads the answer.
            self.init("cancelled", .serviceUnavailable, "The request was not completed")
        default:
            logger.error("a request failed", metadata: ["error": "\(type(of: error))"])
            self.init("internal", .internalServerError, "The request failed")
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
