/// What a client answers: the value of `Authorization` or `Proxy-Authorization`.
package enum AuthenticationCredentials: Sendable, Hashable {
    case digest(DigestCredentials)
    /// Spec: RFC 7617 §2. Holds the password: never log it.
    case basic(username: String, password: String)
    /// Spec: RFC 6750 §2.1. A secret, too.
    case bearer(String)

    /// Reads a header's value.
    ///
    /// Errors: what `AuthenticationError` says of the grammar; `unsupportedScheme`, `unsupportedAlgorithm`,
    /// `unsupportedProtection`, `missingParameter`, `invalidValue`, `malformedBasic`.
    package init(parsing text: String) throws(AuthenticationError) {
        guard let header = try AuthenticationHeader.parse(text).first else { throw .missingParameter("scheme") }
        switch header.scheme {
        case "digest": self = .digest(try DigestCredentials(header))
        case "bearer":
            guard !header.token.isEmpty else { throw .missingParameter("token") }
            self = .bearer(header.token)
        case "basic":
            guard let bytes = Base64.decode(header.token), let text = String(validating: bytes, as: UTF8.self),
                let colon = text.utf8.firstIndex(of: UInt8(ascii: ":"))
            else { throw .malformedBasic }
            self = .basic(
                username: String(text[..<colon]), password: String(text[text.utf8.index(after: colon)...]))
        default: throw .unsupportedScheme(header.scheme)
        }
    }

    /// The header's value.
    package var text: String {
        switch self {
        case .digest(let credentials): credentials.text
        case .basic(let username, let password): "Basic " + Base64.encode(Array("\(username):\(password)".utf8))
        case .bearer(let token): "Bearer \(token)"
        }
    }
}

/// An answer to a challenge of Digest. Spec: RFC 7616 §3.4.
package struct DigestCredentials: Sendable, Hashable {
    package var username: String
    package var realm: String
    package var nonce: String
    /// The URI as it stands in the answer, which is what was hashed.
    package var uri: String
    /// Hexadecimal digits, in lower case.
    package var response: String
    package var algorithm: DigestAlgorithm
    package var namesAlgorithm: Bool
    package var opaque: String?
    /// `nil` in the older form, which has neither count nor client nonce.
    package var protection: DigestProtection?
    /// How often the nonce was used, this time included.
    package var nonceCount: UInt32
    package var clientNonce: String

    /// Answers a challenge for a request.
    ///
    /// - Parameters:
    ///   - nonceCount: 1 for the first answer to a nonce, one more for each that follows.
    ///   - clientNonce: random text; not used where the challenge has the older form.
    ///   - body: the request's, which counts only if nothing but `auth-int` is offered.
    package init(
        answering challenge: DigestChallenge, username: String, password: String, method: String, uri: String,
        nonceCount: UInt32, clientNonce: String, body: [UInt8] = []
    ) {
        self.username = username
        self.realm = challenge.realm
        self.nonce = challenge.nonce
        self.uri = uri
        self.algorithm = challenge.algorithm
        self.namesAlgorithm = challenge.namesAlgorithm
        self.opaque = challenge.opaque
        self.protection =
            challenge.protections.contains(.authentication)
            ? .authentication : challenge.protections.contains(.integrity) ? .integrity : nil
        self.nonceCount = nonceCount
        self.clientNonce = clientNonce
        self.response = ""
        self.response = self.expectedResponse(password: password, method: method, body: body)
    }

    init(_ header: AuthenticationHeader) throws(AuthenticationError) {
        func value(_ name: String) throws(AuthenticationError) -> String {
            guard let value = header[name] else { throw .missingParameter(name) }
            return value
        }
        self.username = try value("username")
        self.realm = try value("realm")
        self.nonce = try value("nonce")
        self.uri = try value("uri")
        self.opaque = header["opaque"]
        self.algorithm = .md5
        self.namesAlgorithm = header["algorithm"] != nil
        if let name = header["algorithm"] {
            guard let known = DigestAlgorithm(rawValue: name.uppercased()) else { throw .unsupportedAlgorithm(name) }
            self.algorithm = known
        }
        self.nonceCount = 0
        self.clientNonce = ""
        if let name = header["qop"] {
            guard let known = DigestProtection(rawValue: name.lowercased()) else { throw .unsupportedProtection(name) }
            self.protection = known
            guard let count = UInt32(try value("nc"), radix: 16) else { throw .invalidValue("nc") }
            self.nonceCount = count
            self.clientNonce = try value("cnonce")
        }
        self.response = try value("response").lowercased()
        let isHash =
            self.response.utf8.count == self.algorithm.digitCount
            && self.response.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
        guard isHash else { throw .invalidValue("response") }
    }

    /// Whether the answer was made with this password for this method. The URI is the answer's own: the caller compares
    /// it with the request's, as far as its clients write it alike. Takes the same time for every wrong answer.
    package func isValid(password: String, method: String, body: [UInt8] = []) -> Bool {
        isSame(self.response, self.expectedResponse(password: password, method: method, body: body))
    }

    private func expectedResponse(password: String, method: String, body: [UInt8]) -> String {
        let algorithm = self.algorithm
        let secret = algorithm.hash("\(self.username):\(self.realm):\(password)")
        var request = "\(method):\(self.uri)"
        if self.protection == .integrity { request += ":" + algorithm.hash(bytes: body) }
        let requestHash = algorithm.hash(request)
        guard let protection = self.protection else {
            return algorithm.hash("\(secret):\(self.nonce):\(requestHash)")
        }
        let middle = "\(self.nonce):\(self.countText):\(self.clientNonce):\(protection.rawValue)"
        return algorithm.hash("\(secret):\(middle):\(requestHash)")
    }

    /// Eight hexadecimal digits. Spec: RFC 7616 §3.4.
    private var countText: String {
        Hexadecimal.text((0..<4).map { UInt8(truncatingIfNeeded: self.nonceCount >> (24 - 8 * $0)) })
    }

    var text: String {
        var writer = ParameterWriter(scheme: "Digest")
        writer.quoted("username", self.username)
        writer.quoted("realm", self.realm)
        writer.quoted("nonce", self.nonce)
        writer.quoted("uri", self.uri)
        writer.quoted("response", self.response)
        if self.namesAlgorithm { writer.plain("algorithm", self.algorithm.rawValue) }
        if let opaque = self.opaque { writer.quoted("opaque", opaque) }
        if let protection = self.protection {
            writer.plain("qop", protection.rawValue)
            writer.plain("nc", self.countText)
            writer.quoted("cnonce", self.clientNonce)
        }
        return writer.text
    }
}
