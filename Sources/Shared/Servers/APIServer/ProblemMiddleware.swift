import HTTPTypes
import Hummingbird

/// Makes problems of the errors that routes and the router throw.
struct ProblemMiddleware: RouterMiddleware {
    typealias Context = APIContext

    func handle(
        _ request: Request, context: APIContext,
        next: @concurrent (Request, APIContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let problem as APIProblem {
            throw problem
        } catch let error as HTTPError {
            throw APIProblem(error.status, detail: error.body, headers: error.headers)
        } catch let error as any HTTPResponseError {
            throw APIProblem(error.status)
        }
    }
}
