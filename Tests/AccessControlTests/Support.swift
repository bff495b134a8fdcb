import Access
import AsyncHTTPClient
import Crypto
import CryptoExtras
import Foundation
import Logging
import Media
import NIOCore
import NIOPosix
import StreamHub
import Synchronization

@testable import AccessControl

/// Settings, clocks and an `AccessControl` that reads them.
final class Bench: Sendable {
    private struct State {
        var configuration = AccessConfiguration()
        var rules = StreamAccessRules()
        var now = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
        var seconds: Int64 = Bench.start
    }

    /// When the tests begin, in seconds since 1970.
    static let start: Int64 = 1_800_000_000

    private let state: Box
    let access: AccessControl
    let registry = SessionRegistry()

    private final class Box: Sendable {
        let state = Mutex(State())
    }

    private init(_ http: HTTPClient) {
        let box = Box()
        self.state = box
        self.access = AccessControl(
            configuration: { box.state.withLock { $0.configuration } },
            rules: { _ in box.state.withLock { $0.rules } }, http: http, group: MultiThreadedEventLoopGroup.singleton,
            logger: Logger(label: "access", factory: { _ in SwiftLogNoOpLogHandler() }),
            clock: AccessClock(
                now: { box.state.withLock { $0.now } }, seconds: { box.state.withLock { $0.seconds } }))
    }

    static func run(_ body: (Bench) async throws -> Void) async throws {
        let http = HTTPClient(eventLoopGroupProvider: .singleton)
        let result: Result<Void, any Error>
        do { result = .success(try await body(Bench(http))) } catch { result = .failure(error) }
        try await http.shutdown()
        try result.get()
    }

    func configure(_ body: @Sendable (inout TokenConfiguration) -> Void) {
        self.state.state.withLock { body(&$0.configuration.token) }
    }

    func limit(_ body: @Sendable (inout ConnectionLimits) -> Void) {
        self.state.state.withLock { body(&$0.configuration.connections) }
    }

    func rule(_ body: @Sendable (inout StreamAccessRules) -> Void) { self.state.state.withLock { body(&$0.rules) } }

    /// Both clocks go on.
    func advance(_ seconds: Int64) {
        self.state.state.withLock { state in
            state.now = state.now + .seconds(seconds)
            state.seconds += seconds
        }
    }

    var now: NIODeadline { self.state.state.withLock { $0.now } }

    static func key(_ name: String = "game", app: String = "live") throws -> StreamKey {
        try StreamKey(app: app, name: name)
    }

    static func peer(query: String = "", address: String = "192.0.2.1:50000") -> PeerIdentity {
        PeerIdentity(
            transport: "rtmp", address: address, vhost: nil, host: "node.example", app: "live", name: "game",
            query: query, token: "")
    }

    /// Asks for `live/game`, and gives the answer in a form to compare.
    func ask(
        _ action: AccessAction = .play, query: String = "", key: StreamKey? = nil, address: String = "192.0.2.1:50000",
        _ change: (inout AccessRequest) -> Void = { _ in }
    ) async throws -> Answer {
        var request = AccessRequest(action, try key ?? Self.key(), peer: Self.peer(query: query, address: address))
        change(&request)
        let before = self.access.statistics.refused
        switch await self.access.decide(request) {
        case .allow(let limits, let subject): return .allowed(limits, subject)
        case .refuse(let refusal):
            let after = self.access.statistics.refused
            let counted = after.filter { before[$0.key] != $0.value }.map(\.key.cause)
            return .refused(counted.count == 1 ? counted[0] : nil, refusal.cause)
        }
    }

    enum Answer: Equatable, Sendable {
        case allowed(SessionLimits, String?)
        /// By the counter that grew, and what the peer is told.
        case refused(AccessRefusalCause?, SessionRefusal.Cause)

        var isAllowed: Bool { if case .allowed = self { true } else { false } }
        var cause: AccessRefusalCause? { if case .refused(let cause, _) = self { cause } else { nil } }
        var limits: SessionLimits? { if case .allowed(let limits, _) = self { limits } else { nil } }
    }
}

/// Makes tokens by Crypto alone.
enum Mint {
    static let secret = "a secret of the tests with 32 bytes or more"

    static func base64URL(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacing("=", with: "").replacing("+", with: "-").replacing("/", with: "_")
    }

    static func text(_ header: String, _ claims: String) -> String {
        "\(self.base64URL(header.utf8)).\(self.base64URL(claims.utf8))"
    }

    static func hs256(
        _ claims: String, secret: String = Self.secret, header: String = #"{"alg":"HS256","typ":"JWT"}"#
    ) -> String {
        let text = self.text(header, claims)
        let code = HMAC<SHA256>.authenticationCode(
            for: Data(text.utf8), using: SymmetricKey(data: Data(secret.utf8)))
        return "\(text).\(self.base64URL(code))"
    }

    static func es256(_ claims: String, _ key: P256.Signing.PrivateKey, header: String) throws -> String {
        let text = self.text(header, claims)
        return "\(text).\(self.base64URL(try key.signature(for: Data(text.utf8)).rawRepresentation))"
    }

    static func rs256(_ claims: String, _ key: _RSA.Signing.PrivateKey, header: String) throws -> String {
        let text = self.text(header, claims)
        let signature = try key.signature(for: SHA256.hash(data: Data(text.utf8)), padding: .insecurePKCS1v1_5)
        return "\(text).\(self.base64URL(signature.rawRepresentation))"
    }

    static func claims(_ more: String = "", expires: Int64 = Bench.start + 3_600) -> String {
        "{\"exp\":\(expires)\(more.isEmpty ? "" : ",")\(more)}"
    }

    /// A member of a key set.
    static func published(_ key: P256.Signing.PublicKey, _ kid: String?, _ more: String = "") -> String {
        let raw = Array(key.rawRepresentation)
        let name = kid.map { "\"kid\":\"\($0)\"," } ?? ""
        return
            "{\(name)\(more)\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"\(self.base64URL(raw[..<32]))\","
            + "\"y\":\"\(self.base64URL(raw[32...]))\"}"
    }

    static func published(_ key: _RSA.Signing.PublicKey, _ kid: String?, _ more: String = "") throws -> String {
        let numbers = try key.getKeyPrimitives()
        let name = kid.map { "\"kid\":\"\($0)\"," } ?? ""
        return
            "{\(name)\(more)\"kty\":\"RSA\",\"n\":\"\(self.base64URL(numbers.modulus))\","
            + "\"e\":\"\(self.base64URL(numbers.publicExponent))\"}"
    }

    static func set(_ keys: String...) -> String { "{\"keys\":[\(keys.joined(separator: ","))]}" }
}
