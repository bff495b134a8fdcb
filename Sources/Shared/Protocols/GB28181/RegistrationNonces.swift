import DigestAuthentication
import NIOCore

/// The nonces that devices are challenged with. They carry their time and whom they are for under a keyed hash, so that none
/// has to be kept: strangers who ask for challenges, however many, cost others nothing.
///
/// What is kept are those that were used by somebody who knew the password: an answer of the older form, without a count,
/// counts once, another one each time with a higher count. Spec: RFC 7616 §3.3 and §5.4.
struct RegistrationNonces: Sendable {
    enum Judgement: Sendable, Hashable {
        case usable
        /// Too old, for somebody else, or none of ours.
        case stale
        /// It was used already.
        case replayed
    }

    private struct Use: Sendable {
        var expires: NIODeadline
        var lastCount: UInt32
    }

    private static let lifetime = TimeAmount.minutes(5)
    private static let timeLength = 16

    private let secret: String
    private let capacity: Int
    private var used: [String: Use] = [:]

    /// - Parameters:
    ///   - secret: at least 16 random bytes.
    ///   - capacity: nonces in use at one time; when there are more, devices have to ask again.
    init(secret: [UInt8], capacity: Int) {
        precondition(secret.count >= 16 && capacity > 0, "nonces from \(secret.count) bytes for \(capacity) devices")
        self.secret = Base64.encode(secret)
        self.capacity = capacity
    }

    /// A nonce for a device at a host.
    func issue(to device: String, host: String, now: NIODeadline) -> String {
        let digits = String(now.uptimeNanoseconds, radix: 16)
        let time = String(repeating: "0", count: Self.timeLength - digits.utf8.count) + digits
        return time + self.seal(time, device, host)
    }

    private func seal(_ time: String, _ device: String, _ host: String) -> String {
        String(DigestAlgorithm.sha256.hash("\(self.secret)|\(time)|\(host)|\(device)|\(self.secret)").prefix(32))
    }

    /// Judges the nonce of an answer whose password was right, and notes its use.
    mutating func use(
        _ credentials: DigestCredentials, by device: String, host: String, now: NIODeadline
    ) -> Judgement {
        let time = String(credentials.nonce.prefix(Self.timeLength))
        guard credentials.nonce == time + self.seal(time, device, host),
            let nanoseconds = UInt64(time, radix: 16)
        else { return .stale }
        let expires = NIODeadline.uptimeNanoseconds(nanoseconds) + Self.lifetime
        guard now < expires else { return .stale }
        let count = credentials.protection == nil ? .max : credentials.nonceCount
        if let use = self.used[credentials.nonce] {
            guard count > use.lastCount else { return .replayed }
        } else if self.used.count >= self.capacity {
            self.used = self.used.filter { $0.value.expires > now }
            guard self.used.count < self.capacity else { return .stale }
        }
        self.used[credentials.nonce] = Use(expires: expires, lastCount: count)
        return .usable
    }
}
