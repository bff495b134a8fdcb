package import NIOCore

/// Limits of a node that hold for all protocols together. Zero means none.
package struct LimitSettings: Sendable, Equatable {
    /// Open connections of one address.
    package var connectionsPerAddress = 0
    /// New connections in a second, of all addresses.
    package var handshakesPerSecond = 0
    /// New connections in a second, of one address.
    package var handshakesPerAddressPerSecond = 0
    /// Open sessions of publishers and viewers.
    package var sessions = 0

    package init() {}
}

/// How clients prove who they are.
package struct AccessSettings: Sendable, Equatable {
    package var jwt = JWT()

    package init() {}

    /// Tokens of RFC 7519. Without a key there are none.
    package struct JWT: Sendable, Equatable {
        /// For HS256; 32 bytes or more. Empty accepts no such tokens.
        package var secret = Secret("")
        /// Path of a PEM file with the public key for RS256 or ES256. Empty means none.
        package var publicKey = ""
        /// Where the keys of an identity provider are (RFC 7517).
        package var jwksURL: CallbackURL?
        /// How long keys from there are kept.
        package var jwksRefresh = TimeAmount.minutes(5)
        /// What `iss` has to be. Empty accepts all.
        package var issuer = ""
        /// What `aud` has to hold. Empty accepts all.
        package var audience = ""
        /// How far clocks may differ.
        package var leeway = TimeAmount.seconds(30)
        /// The parameter of the stream's URL that carries the token.
        package var parameter = "token"
        /// Whether a token without `exp` is refused.
        package var requiresExpiry = true

        package init() {}

        /// Whether any key is there that a token could be checked with.
        package var isEnabled: Bool { !self.secret.isEmpty || !self.publicKey.isEmpty || self.jwksURL != nil }
    }
}

/// How HTTP callbacks are called. Which there are, `StreamSettings.Hooks` says.
package struct HookSettings: Sendable, Equatable {
    /// From the request to the end of the answer, each time.
    package var timeout = TimeAmount.seconds(5)
    /// How often a call that found nobody is made again.
    package var retries = 2
    /// The key of the signature of bodies. Empty means none.
    package var secret = Secret("")
    /// Calls that may wait; more are dropped and counted.
    package var queue = 10_000
    /// Calls at one time.
    package var concurrency = 64

    package init() {}
}

/// The report that a node sends to an operator's own server, as SRS does.
package struct HeartbeatSettings: Sendable, Equatable {
    package var enabled = false
    package var interval = TimeAmount.seconds(10)
    package var url: CallbackURL?
    /// What the server knows this node by.
    package var deviceID = ""
    /// Whether the report holds load and memory.
    package var summaries = false
    /// Whether the report holds the addresses listened on.
    package var ports = false

    package init() {}
}

/// What `/metrics` shows.
package struct MetricsSettings: Sendable, Equatable {
    /// Whether single streams have series of their own.
    package var streams = true
    /// Streams that have; those with the most viewers first.
    package var maximumStreams = 200

    package init() {}
}

extension CoordinatorSettings {
    /// From what the number of edges that a cluster should have is computed.
    package struct Desired: Sendable, Equatable {
        /// Viewers that one edge is meant to serve. Zero: viewers do not count.
        package var viewersPerEdge = 5_000
        /// Bits a second that one edge is meant to send. Zero: they do not count.
        package var egressPerEdge = 0
        package var minimumEdges = 1
        /// In hundredths of what an edge can do.
        package var targetLoadPercent = 70

        package init() {}
    }
}

extension StreamSettings {
    /// Who may publish and play.
    package struct Access: Sendable, Equatable {
        /// Whether a token has to be there.
        package enum Token: String, Sendable, CaseIterable {
            /// One that is there is checked, and counts.
            case none
            case required
        }

        /// The rules of one action.
        package struct Rules: Sendable, Equatable {
            /// Addresses and networks that may; all when empty. `all` stands for every address.
            package var allow: [String] = []
            /// Addresses and networks that may not. The longest prefix decides.
            package var deny: [String] = []
            package var token = Token.none

            package init() {}
        }

        /// From which pages.
        package struct Referer: Sendable, Equatable {
            /// Domains of the pages that may play; all when empty.
            package var allow: [DomainPattern] = []
            /// Whether players that name no page may.
            package var allowEmpty = true

            package init() {}
        }

        package var publish = Rules()
        package var play = Rules()
        package var referer = Referer()

        package init() {}
    }

    /// Zero means none.
    package struct Limits: Sendable, Equatable {
        /// Publishers of one app at one time, at this node.
        package var publishersPerApp = 0
        /// Viewers of one stream at one time, at this node.
        package var viewersPerStream = 0
        /// Bits a second that a publisher may send.
        package var publishBitRate = 0
        /// How long one session may last.
        package var sessionDuration = TimeAmount.zero

        package init() {}
    }

    /// HTTP callbacks with the events and bodies of SRS.
    package struct Hooks: Sendable, Equatable {
        /// What holds when a callback that decides cannot be reached.
        package enum Unreachable: String, Sendable, CaseIterable { case deny, allow }

        package var onConnect: [CallbackURL] = []
        package var onClose: [CallbackURL] = []
        package var onPublish: [CallbackURL] = []
        package var onUnpublish: [CallbackURL] = []
        package var onPlay: [CallbackURL] = []
        package var onStop: [CallbackURL] = []
        package var onDVR: [CallbackURL] = []
        package var onHLS: [CallbackURL] = []
        package var onHLSNotify: [CallbackURL] = []
        package var onForward: [CallbackURL] = []
        package var unreachable = Unreachable.deny

        package init() {}
    }

    /// Where a stream is published again.
    package struct Forward: Sendable, Equatable {
        /// URLs of RTMP servers, with `[app]`, `[stream]` and `[vhost]` for the stream's own.
        package var destinations: [RTMPTemplate] = []

        package init() {}
    }
}
