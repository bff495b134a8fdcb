import NIOCore

extension NodeSettings {
    /// The shortest key of HS256. Spec: RFC 7518 §3.2.
    static let minimumTokenKeyByteCount = 32

    /// Who may use the node's API.
    func checkAPI(_ found: inout Contradictions) {
        let api = self.api
        if api.username.isEmpty != api.password.isEmpty {
            let (set, missing) =
                api.username.isEmpty ? ("api.password", "api.username") : ("api.username", "api.password")
            found.add(set, "HTTP Basic authentication needs \(missing), too, which is not set")
        }
        guard api.token.isEmpty, api.username.isEmpty else { return }
        for (key, address) in [("api.listen", api.listen)] + api.tls.listen.map({ ("api.tls.listen", $0) })
        where !address.isLoopback {
            found.add(
                key,
                "\(address) can be reached from other machines, so api.token, or api.username and api.password, have to be set"
            )
        }
    }

    /// Tokens and callbacks of the node and of all its streams.
    func checkAccess(_ found: inout Contradictions) {
        let jwt = self.access.jwt
        if !jwt.secret.isEmpty, jwt.secret.value.utf8.count < Self.minimumTokenKeyByteCount {
            found.add(
                "access.jwt.secret",
                "a key of \(jwt.secret.value.utf8.count) bytes can be guessed: HS256 needs "
                    + "\(Self.minimumTokenKeyByteCount) or more")
        }
        if self.heartbeat.enabled, self.heartbeat.url == nil {
            found.add("heartbeat.enabled", "reports need heartbeat.url, which is not set")
        }
        for (prefix, settings) in self.streamSets where !jwt.isEnabled {
            for (name, rules) in [("publish", settings.access.publish), ("play", settings.access.play)]
            where rules.token == .required {
                found.add(
                    "\(prefix).access.\(name).token",
                    "no token could be checked: set access.jwt.secret, access.jwt.public_key or access.jwt.jwks_url")
            }
        }
    }

    /// Every set of `stream` keys with its path: the node's, those of vhosts, and those of their apps.
    var streamSets: [(prefix: String, settings: StreamSettings)] {
        var sets: [(prefix: String, settings: StreamSettings)] = [("stream", self.stream)]
        for (index, vhost) in self.vhosts.enumerated() {
            sets.append(("vhosts[\(index)].stream", vhost.stream))
            for (app, settings) in vhost.apps.sorted(by: { $0.key < $1.key }) {
                sets.append(("vhosts[\(index)].apps.\(app)", settings))
            }
        }
        return sets
    }
}
