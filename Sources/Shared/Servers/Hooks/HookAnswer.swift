import FoundationEssentials
import NIOCore

/// What a receiver answered.
enum HookAnswer: Equatable {
    /// `urls`: `data.urls`, if it is a list of strings. `problems`: fields of a policy that were left out, by name.
    case agreed(SessionPolicy, urls: [String]?, problems: [String])
    /// It says no, in these words, made printable; empty if it says nothing.
    case refused(String)
    /// Neither `0` nor an object with a `code`.
    case unreadable

    /// The longest reason that is passed on to a peer, in characters.
    static let maximumReasonLength = 200

    /// Reads an answer: agreement is status 200 or 201 with the body `0`, or an object whose `code` is 0.
    init(status: Int, body: ByteBuffer) {
        let isGood = status == 200 || status == 201
        let text = String(buffer: body)
        if text.filter({ !$0.isWhitespace }) == "0", isGood {
            self = .agreed(SessionPolicy(), urls: nil, problems: [])
            return
        }
        // A number that is not 0, as receivers written for the plain form refuse.
        if let code = Int(text.filter { !$0.isWhitespace }), code != 0 {
            self = .refused("")
            return
        }
        guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(text.utf8)) else {
            self = isGood ? .unreadable : .refused("")
            return
        }
        guard isGood, answer.code == 0 else {
            let reason = Self.printable(answer.reason)
            self = isGood && answer.code == nil && reason.isEmpty ? .unreadable : .refused(reason)
            return
        }
        self = .agreed(answer.policy, urls: answer.urls, problems: answer.problems)
    }

    /// The text without what a terminal, a log or a player could take for more than text, and not too long.
    static func printable(_ text: String) -> String {
        var kept = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .lineSeparator, .paragraphSeparator, .spaceSeparator: kept.append(" ")
            case .format, .surrogate, .privateUse, .unassigned: break
            default: kept.append(scalar)
            }
        }
        let words = String(kept).split(separator: " ").joined(separator: " ")
        return String(words.prefix(self.maximumReasonLength))
    }

    /// An object. What is missing, or of another type than expected, is left out; the latter in `session` is noted.
    private struct Answer: Decodable {
        var code: Int?
        var reason = ""
        var policy = SessionPolicy()
        var urls: [String]?
        var problems: [String] = []

        private enum Keys: String, CodingKey {
            case code, msg, message, data, reason, session, urls
        }

        private enum PolicyKeys: String, CodingKey {
            case bitRate = "maximum_bit_rate"
            case seconds = "maximum_seconds"
            case expiry = "expires_at"
            case publishPolicy = "publish_policy"
            case record
        }

        init(from decoder: any Decoder) throws {
            let object = try decoder.container(keyedBy: Keys.self)
            self.code = try? object.decode(Int.self, forKey: .code)
            let data = try? object.nestedContainer(keyedBy: Keys.self, forKey: .data)
            let texts = [
                try? object.decode(String.self, forKey: .msg), try? object.decode(String.self, forKey: .message),
                try? data?.decode(String.self, forKey: .reason),
            ]
            self.reason = texts.compactMap { $0 }.first { !$0.isEmpty } ?? ""
            guard let data else { return }
            self.urls = try? data.decode([String].self, forKey: .urls)
            guard data.contains(.session), (try? data.decodeNil(forKey: .session)) != true else { return }
            guard let session = try? data.nestedContainer(keyedBy: PolicyKeys.self, forKey: .session) else {
                self.problems.append("session")
                return
            }
            self.policy.maximumBitRate = self.value(session, .bitRate) { $0 > 0 }
            self.policy.maximumSeconds = self.value(session, .seconds) { $0 > 0 }
            self.policy.expiresAt = self.value(session, .expiry) { $0 >= 0 }
            self.policy.records = self.value(session, .record) { _ in true }
            let name: String? = self.value(session, .publishPolicy) { SessionPolicy.PublishPolicy(rawValue: $0) != nil }
            self.policy.publishPolicy = name.flatMap { SessionPolicy.PublishPolicy(rawValue: $0) }
        }

        private mutating func value<Value: Decodable>(
            _ session: KeyedDecodingContainer<PolicyKeys>, _ key: PolicyKeys, _ isValid: (Value) -> Bool
        ) -> Value? {
            guard session.contains(key), (try? session.decodeNil(forKey: key)) != true else { return nil }
            guard let value = try? session.decode(Value.self, forKey: key), isValid(value) else {
                self.problems.append(key.rawValue)
                return nil
            }
            return value
        }
    }
}
