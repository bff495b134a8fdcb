import CoordinatorStore
import Hummingbird
import Media
import Placement

/// Body of `PUT /api/v1/policies`.
struct PolicyBody: Decodable, Hashable {
    var settings: [String: String]

    static let maximumSettings = 64
    static let maximumValueBytes = 2_048

    /// Policies are stored and shown as they are.
    static func isSecret(_ key: String) -> Bool { key.hasSuffix("secret") || key.hasSuffix("password") }

    /// Makes nodes call URLs, publish elsewhere or write files at other paths: more than an operator of streams may.
    static func needsAdmin(_ key: String) -> Bool {
        key.hasPrefix("hooks.") || key.hasPrefix("forward.") || key == "dvr.on_file" || key.hasSuffix(".path")
    }

    static func isKey(_ text: String) -> Bool {
        (1...64).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }
}

/// Settings that hold over the nodes' own, per vhost and app.
extension CoordinatorRoutes {
    func policyCalls() -> [APIRoute] {
        [
            APIRoute(.get, Self.prefix + "/policies", .operator) { request in
                let policies = await self.core.policies
                return try self.tagged(policies, steady: policies, for: request)
            },
            APIRoute(.put, Self.prefix + "/policies", .operator) { try await self.putPolicy($0) },
            APIRoute(.delete, Self.prefix + "/policies", .operator) { try await self.deletePolicy($0) },
        ]
    }

    private func putPolicy(_ request: APIRequest) async throws -> Response {
        let filter = try request.query.filter()
        let body = try await self.body(of: request, as: PolicyBody.self, limit: self.configuration.maximumRequestBytes)
        try self.check(body, by: request.caller)
        let policy = StreamPolicy(vhost: filter.vhost, app: filter.app, settings: body.settings)
        guard
            let policies = try await self.core.store.setPolicy(policy, limit: self.configuration.maximumPolicies)
        else {
            throw Problem(
                "too-many-policies", .conflict, "There are too many policies",
                detail: "at most \(self.configuration.maximumPolicies)")
        }
        await self.core.adopt(policies)
        try await self.core.record(
            ClusterEvent(kind: .policySet, detail: Self.label(filter)), actor: request.caller.name)
        return try Self.json(policies)
    }

    private func check(_ body: PolicyBody, by caller: Caller) throws(Problem) {
        guard (1...PolicyBody.maximumSettings).contains(body.settings.count) else {
            throw Problem.invalid("settings has 1 to \(PolicyBody.maximumSettings) keys")
        }
        for (key, value) in body.settings.sorted(by: { $0.key < $1.key }) {
            guard PolicyBody.isKey(key) else { throw Problem.invalid("settings has a key that cannot be one") }
            guard value.utf8.count <= PolicyBody.maximumValueBytes else {
                throw Problem.invalid("\(key) is longer than \(PolicyBody.maximumValueBytes) bytes")
            }
            guard !PolicyBody.needsAdmin(key) || caller.may(.admin) else {
                throw Problem(
                    "forbidden", .forbidden, "This token may not do that", detail: "\(key) is set by an admin only")
            }
            let reason =
                PolicyBody.isSecret(key)
                ? "secrets are set in the configuration of the nodes" : self.configuration.checkSetting(key, value)
            if let reason {
                throw Problem(
                    "invalid-setting", .unprocessableContent, "A setting cannot be used", detail: "\(key): \(reason)")
            }
        }
    }

    private func deletePolicy(_ request: APIRequest) async throws -> Response {
        let filter = try request.query.filter()
        guard let policies = try await self.core.store.removePolicy(vhost: filter.vhost, app: filter.app) else {
            throw Problem("unknown-policy", .notFound, "There is no policy for this vhost and app")
        }
        await self.core.adopt(policies)
        try await self.core.record(
            ClusterEvent(kind: .policyRemoved, detail: Self.label(filter)), actor: request.caller.name)
        return Self.noContent
    }

    private static func label(_ filter: StreamFilter) -> String { "\(filter.vhost ?? "*")/\(filter.app ?? "*")" }
}
