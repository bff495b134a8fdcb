/// The client's side: remembers the challenge of a server and counts the uses of its nonce.
package struct DigestClient: Sendable {
    private var challenge: AuthenticationChallenge?
    private var uses: UInt32 = 0
    /// Challenges since the server last took an answer.
    private var refusals = 0
    private let username: String
    private let password: String

    /// What a server may call stale, one time after the other, before it is no longer believed.
    private static let maximumStale = 3

    package init(username: String, password: String) {
        self.username = username
        self.password = password
    }

    /// The server asked for credentials. Takes the values of all its headers.
    ///
    /// Returns whether it makes sense to try: there is a challenge that we understand, and the server did not just refuse
    /// our answer. Servers that hand out new nonces without `stale` are answered, as long as they took an answer before.
    package mutating func challenged(_ headers: [String]) -> Bool {
        let offered = headers.flatMap { (try? AuthenticationChallenge.parse($0)) ?? [] }
        guard let chosen = AuthenticationChallenge.strongest(offered) else { return false }
        var isStale = false
        if case .digest(let digest) = chosen { isStale = digest.isStale }
        let mayTry = self.refusals == 0 || isStale && self.refusals < Self.maximumStale
        self.challenge = chosen
        self.uses = 0
        self.refusals += 1
        return mayTry
    }

    /// The server took an answer: a challenge that comes later is not about the password.
    package mutating func accepted() { self.refusals = 0 }

    /// The value of `Authorization` for a request; `nil` as long as the server did not ask.
    ///
    /// `clientNonce`: random text.
    package mutating func authorization(
        method: String, uri: String, clientNonce: @autoclosure () -> String, body: [UInt8] = []
    ) -> String? {
        guard let challenge = self.challenge else { return nil }
        self.uses = self.uses == .max ? 1 : self.uses + 1
        switch challenge {
        case .basic:
            return AuthenticationCredentials.basic(username: self.username, password: self.password).text
        case .digest(let digest):
            return AuthenticationCredentials.digest(
                DigestCredentials(
                    answering: digest, username: self.username, password: self.password, method: method, uri: uri,
                    nonceCount: self.uses, clientNonce: clientNonce(), body: body)
            ).text
        }
    }
}
