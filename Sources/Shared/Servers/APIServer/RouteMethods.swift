import HTTPTypes

/// Which methods the routes of a path have, for 405.
struct RouteMethods {
    private let routes: [(segments: [Substring], method: HTTPRequest.Method)]

    /// `path`: as the router writes it, with `{name}` or `:name` for one segment, `*` for any and `**` for the rest.
    init(_ routes: [(path: String, method: HTTPRequest.Method)]) {
        self.routes = routes.map { (segments: $0.path.split(separator: "/"), method: $0.method) }
    }

    /// 405 with `Allow`, if the path is there with other methods.
    func problem(_ method: HTTPRequest.Method, _ path: String) -> APIProblem? {
        let segments = path.split(separator: "/")
        var allowed = Set(self.routes.filter { Self.matches($0.segments, segments) }.map(\.method.rawValue))
        guard !allowed.isEmpty else { return nil }
        if allowed.contains("GET") { allowed.insert("HEAD") }
        let list = allowed.sorted().joined(separator: ", ")
        return APIProblem(
            .methodNotAllowed, name: "method-not-allowed", title: "The resource does not have this method",
            detail: "allowed: \(list)", headers: [.allow: list])
    }

    private static func matches(_ pattern: [Substring], _ path: [Substring]) -> Bool {
        var rest = path[...]
        for part in pattern {
            if part == "**" || (part.first == ":" && part.hasSuffix("**")) { return true }
            guard let segment = rest.popFirst() else { return false }
            let isVariable = part == "*" || part.first == ":" || part.contains("{") || part.contains("*")
            guard isVariable || part == segment else { return false }
        }
        return rest.isEmpty
    }
}
