package import FLV
package import Media

/// What the HTTP delivery of live media needs to know.
package struct MediaHTTPConfiguration: Sendable {
    /// Origins whose pages may read the streams; `*` means all.
    package var corsOrigins: [String]
    /// How HEVC is signalled to the players of a stream.
    package var hevcForm: @Sendable (StreamKey) -> FLVHEVCForm
    /// `TCP_NODELAY` of viewers; `nil` lets the kernel join small writes while older ones are on their way.
    package var playerNoDelay: @Sendable (StreamKey) -> Bool?
    package var isTLS: Bool

    package init(
        corsOrigins: [String] = ["*"],
        hevcForm: @escaping @Sendable (StreamKey) -> FLVHEVCForm = { _ in .asPublished },
        playerNoDelay: @escaping @Sendable (StreamKey) -> Bool? = { _ in nil },
        isTLS: Bool = false
    ) {
        self.corsOrigins = corsOrigins
        self.hevcForm = hevcForm
        self.playerNoDelay = playerNoDelay
        self.isTLS = isTLS
    }

    /// The value of `Access-Control-Allow-Origin` for a request from `origin`; `nil` if it may not read.
    func allowedOrigin(_ origin: String) -> String? {
        if self.corsOrigins.contains("*") { return "*" }
        return self.corsOrigins.contains(origin) ? origin : nil
    }
}
