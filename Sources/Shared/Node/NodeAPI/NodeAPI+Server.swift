package import APIServer
package import HTTPTypes
package import Hummingbird

extension NodeAPI {
    /// What a request needs, for the configuration of its server: nothing for probes, a viewer for reading, an operator
    /// for what changes something. RAW is an operator's though it is a GET, for it may reload.
    package static func requirement(_ method: HTTPRequest.Method, _ path: String) -> APIRequirement {
        if self.isOpen(path: path) { return .open }
        // As the routes read it: a percent sign hides nothing.
        let parts = NodeAPIRequest(method: method.rawValue, target: path)?.path ?? []
        if parts == ["api", "v1", "raw"] { return .role(.operator) }
        // Origins of SRS ask each other by POST.
        if parts == ["api", "v1", "clusters"] { return .role(.viewer) }
        return .role(method == .get || method == .head ? .viewer : .operator)
    }

    /// A router that hands every request to this API. `HEAD` goes where `GET` goes.
    ///
    /// `prepare` may add what comes before the API.
    package func router(_ prepare: (Router<APIContext>) -> Void = { _ in }) -> Router<APIContext> {
        let router = APIServer.makeRouter()
        prepare(router)
        let responder = NodeAPIResponder(self, context: APIContext.self)
        for method in [HTTPRequest.Method.get, .post, .put, .patch, .delete] {
            router.on("", method: method, responder: responder)
            router.on("**", method: method, responder: responder)
        }
        return router
    }
}
