package import Access
package import Media
package import MediaObjects
package import StreamHub

/// What somebody asks for.
package struct AccessRequest: Sendable {
    package var action: AccessAction
    package var key: StreamKey
    package var peer: PeerIdentity
    /// A node of the cluster that proved itself by the cluster's secret: no rule is for it.
    package var isProvedRelay = false
    /// It opens a session, so limits of sessions count. False for what makes no viewer, such as a picture.
    package var opensSession = true
    /// It is for files (HLS, DASH, recordings): a signature has to stand in front of the path, where the relative
    /// addresses in playlists keep it, and not in the query.
    package var isForFiles = false
    /// The signature that stood in front of the path.
    package var signedPath: SignedPath?

    /// A connection that publishes or plays: RTMP, HTTP-FLV, WebSocket.
    package init(_ action: AccessAction, _ key: StreamKey, peer: PeerIdentity, isProvedRelay: Bool = false) {
        self.action = action
        self.key = key
        self.peer = peer
        self.isProvedRelay = isProvedRelay
    }

    /// A viewer of files, who is decided about at the first request. `peer` has the session's account.
    package init(files key: StreamKey, peer: PeerIdentity, access: MediaObjectAccess) {
        self.action = .play
        self.key = key
        self.peer = peer
        self.isForFiles = true
        self.signedPath = access.signedPath
    }
}

/// The answer.
package enum AccessDecision: Sendable, Hashable {
    /// The session's limits, and whom its token was made for.
    case allow(SessionLimits, subject: String?)
    case refuse(SessionRefusal)
}

/// Which rule let somebody in, or kept somebody out. A closed set.
package enum AccessRule: String, Sendable, Hashable, CaseIterable {
    /// A node of the cluster.
    case relay
    /// Nothing was asked for but what everybody has.
    case open
    case address
    case referer
    case signature
    case token
    case quota
}

/// Why access was refused. A closed set: labels and logs take the raw value.
package enum AccessRefusalCause: String, Sendable, Hashable, CaseIterable {
    case addressDenied = "address_denied"
    case addressNotListed = "address_not_listed"
    case refererMissing = "referer_missing"
    case refererMalformed = "referer_malformed"
    case refererNotListed = "referer_not_listed"
    case signatureMissing = "signature_missing"
    case signatureForged = "signature_forged"
    case signatureExpired = "signature_expired"
    case tokenMissing = "token_missing"
    case tokenMalformed = "token_malformed"
    /// Neither HS256 nor RS256 nor ES256, or one for which there is no key.
    case tokenAlgorithm = "token_algorithm"
    case tokenKeyUnknown = "token_key_unknown"
    case tokenForged = "token_forged"
    case tokenExpired = "token_expired"
    case tokenNotYetValid = "token_not_yet_valid"
    case tokenExpiryMissing = "token_expiry_missing"
    case tokenIssuer = "token_issuer"
    case tokenAudience = "token_audience"
    case tokenVhost = "token_vhost"
    case tokenApp = "token_app"
    case tokenStream = "token_stream"
    case tokenAction = "token_action"
    /// The key set was never fetched, and cannot be now.
    case keysUnavailable = "keys_unavailable"
    case publishersPerApp = "publishers_per_app"
    case viewersPerStream = "viewers_per_stream"

    package var rule: AccessRule {
        switch self {
        case .addressDenied, .addressNotListed: .address
        case .refererMissing, .refererMalformed, .refererNotListed: .referer
        case .signatureMissing, .signatureForged, .signatureExpired: .signature
        case .publishersPerApp, .viewersPerStream: .quota
        default: .token
        }
    }

    /// In words for the peer, which tell nothing of the rules' contents.
    var refusal: SessionRefusal {
        switch self {
        case .addressDenied, .addressNotListed: SessionRefusal(.forbidden, "This address may not do that.")
        case .refererMissing: SessionRefusal(.forbidden, "A referer is required.")
        case .refererMalformed, .refererNotListed: SessionRefusal(.forbidden, "This page may not show the stream.")
        case .signatureMissing:
            SessionRefusal(.forbidden, "A signed path, or expires and signature in the query, is required.")
        case .signatureForged: SessionRefusal(.forbidden, "The signature is not for this stream.")
        case .signatureExpired: SessionRefusal(.forbidden, "The signature has expired.")
        case .tokenMissing: SessionRefusal(.unauthorized, "A token is required.")
        case .tokenMalformed: SessionRefusal(.unauthorized, "The token cannot be read.")
        case .tokenAlgorithm: SessionRefusal(.unauthorized, "The token's algorithm is not accepted.")
        case .tokenKeyUnknown: SessionRefusal(.unauthorized, "The token was signed with an unknown key.")
        case .tokenForged: SessionRefusal(.unauthorized, "The token's signature is wrong.")
        case .tokenExpired: SessionRefusal(.unauthorized, "The token has expired.")
        case .tokenNotYetValid: SessionRefusal(.unauthorized, "The token is not valid yet.")
        case .tokenExpiryMissing: SessionRefusal(.unauthorized, "The token has no expiry.")
        case .tokenIssuer: SessionRefusal(.unauthorized, "The token's issuer is not accepted.")
        case .tokenAudience: SessionRefusal(.unauthorized, "The token is for others.")
        case .tokenVhost, .tokenApp, .tokenStream:
            SessionRefusal(.forbidden, "The token is not for this stream.")
        case .tokenAction: SessionRefusal(.forbidden, "The token does not allow that.")
        case .keysUnavailable: SessionRefusal(.unavailable, "Tokens cannot be checked at the moment.")
        case .publishersPerApp: SessionRefusal(.limited, "The app has as many publishers as it may have.")
        case .viewersPerStream: SessionRefusal(.limited, "The stream has as many viewers as it may have.")
        }
    }
}
