/// What the path of a request names.
enum SignallingResource: Equatable {
    enum Action: String, Equatable {
        case publish, play
    }

    /// Takes offers for the stream that the query names. Paths of SRS.
    case srsEndpoint(Action)
    /// Takes offers for the stream that the path names.
    case endpoint(Action, app: String, stream: String)
    /// Takes offers in JSON. Paths of SRS.
    case api(Action)
    case session(id: String)
    case diagnosis(id: String)

    /// Reads a path as it stands in the request; `nil` for what is none of these. A slash at the end does not matter.
    ///
    /// `/{app}/{stream}/whip`: the app may have several components.
    init?(path: String) {
        var segments: [String] = []
        for part in path.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
            guard let segment = QueryText.unescape(part, plusIsSpace: false) else { return nil }
            segments.append(segment)
        }
        if segments.last == "" { segments.removeLast() }
        guard path.first == "/", segments.count >= 3, segments.allSatisfy({ !$0.isEmpty }) else { return nil }
        if segments[0] == "rtc", segments[1] == "v1" {
            switch (segments[2], segments.count) {
            case ("whip", 3): self = .srsEndpoint(.publish)
            case ("whip-play", 3), ("whep", 3): self = .srsEndpoint(.play)
            case ("publish", 3): self = .api(.publish)
            case ("play", 3): self = .api(.play)
            case ("session", 4): self = .session(id: segments[3])
            case ("diagnose", 4): self = .diagnosis(id: segments[3])
            default: return nil
            }
            return
        }
        let action: Action
        switch segments[segments.count - 1] {
        case "whip": action = .publish
        case "whep": action = .play
        default: return nil
        }
        self = .endpoint(
            action, app: segments.dropLast(2).joined(separator: "/"), stream: segments[segments.count - 2])
    }

    /// In the order of `Allow`.
    var methods: [String] {
        switch self {
        case .srsEndpoint: ["DELETE", "OPTIONS", "POST"]
        case .endpoint, .api: ["OPTIONS", "POST"]
        case .session: ["DELETE", "OPTIONS", "PATCH"]
        case .diagnosis: ["GET", "HEAD", "OPTIONS"]
        }
    }

    /// Where a session is changed and ended.
    static func location(of id: String) -> String { "/rtc/v1/session/\(id)" }
}
