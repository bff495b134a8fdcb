extension MediaObject.Lifetime {
    /// How long things live that viewers' own caches should not add their age to.
    private static let longestLive = 10.0

    /// The value of `Cache-Control`. Spec: RFC 9111 §5.2.2, RFC 8246.
    ///
    /// Seconds are whole in HTTP: at least one, else rounded down. What lives shortly is kept by shared caches alone
    /// (`s-maxage`), which is what joins the viewers' requests into one. A player's own cache has to ask again each time:
    /// there the object's age would be added to that in the shared caches, and Chromium's player gives up when a reload
    /// of a playlist comes from its cache.
    package var cacheControl: String {
        switch self {
        case .immutable: "public, max-age=31536000, immutable"
        case .seconds(let seconds) where seconds > Self.longestLive: "public, max-age=\(Self.whole(seconds))"
        case .seconds(let seconds): "public, max-age=0, s-maxage=\(Self.whole(seconds))"
        case .uncacheable: "no-store"
        }
    }

    /// Reads what a node answered with: the lifetime in a shared cache, of which `s-maxage` says more than `max-age`.
    ///
    /// `nil` if the text has no lifetime. Directives that forbid a shared cache to keep the object win over all others.
    package init?(cacheControl: String) {
        var age: Double?
        var sharedAge: Double?
        var isImmutable = false
        for directive in cacheControl.lowercased().split(separator: ",") {
            let pair = directive.split(separator: "=", maxSplits: 1).map { $0.filter { $0 != " " && $0 != "\"" } }
            switch pair.first {
            case "no-store", "no-cache", "private":
                self = .uncacheable
                return
            case "immutable": isImmutable = true
            case "max-age" where pair.count == 2: age = UInt32(pair[1]).map(Double.init)
            case "s-maxage" where pair.count == 2: sharedAge = UInt32(pair[1]).map(Double.init)
            default: continue
            }
        }
        guard let seconds = sharedAge ?? age else { return nil }
        self = isImmutable ? .immutable : .seconds(seconds)
    }

    private static func whole(_ seconds: Double) -> Int {
        guard seconds > 1 else { return 1 }
        return Int(min(seconds, 31_536_000))
    }
}
