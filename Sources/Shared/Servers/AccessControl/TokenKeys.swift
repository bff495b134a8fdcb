import Crypto
import Foundation
import JWTKit

/// The algorithms that are accepted. Spec: RFC 7518 §3.1.
enum TokenAlgorithm: String, Sendable, Hashable {
    case hs256 = "HS256"
    case rs256 = "RS256"
    case es256 = "ES256"
}

/// One key with the one algorithm that it is used with: a token that names another is never held against it.
struct TokenKey: Sendable {
    var algorithm: TokenAlgorithm
    /// Its name in a key set. `nil` for keys of the settings.
    var identifier: String?
    private let verifier: any JWTAlgorithm

    /// Whether `signature` was made of `text` with this key's secret half. A signature of a wrong length was not.
    func isValid(_ signature: [UInt8], of text: [UInt8]) -> Bool {
        (try? self.verifier.verify(signature, signs: text)) ?? false
    }

    /// The key of HS256. `nil` if it is shorter than JWTKit accepts without a trap.
    static func symmetric(_ secret: String) async -> TokenKey? {
        guard secret.utf8.count >= TokenConfiguration.minimumSecretBytes else { return nil }
        let collection = await JWTKeyCollection().add(hmac: HMACKey(from: secret), digestAlgorithm: .sha256)
        return await Self.make(.hs256, nil, collection)
    }

    /// The key of a PEM text.
    static func publicKey(_ text: String) async -> TokenKey? {
        switch PublicKeyText.read(text) {
        case .rsa(let key):
            let collection = await JWTKeyCollection().add(rsa: key, digestAlgorithm: .sha256)
            return await Self.make(.rs256, nil, collection)
        case .p256(let key):
            return await Self.make(.es256, nil, await JWTKeyCollection().add(ecdsa: key))
        case nil: return nil
        }
    }

    /// The public half of a key of a set. `nil` for keys that RS256 and ES256 have no use for.
    static func published(_ key: JWK) async -> TokenKey? {
        let name = JWKIdentifier(string: "key")
        let collection = JWTKeyCollection()
        switch key.keyType {
        case .rsa where key.algorithm == nil || key.algorithm == .rs256:
            let own = JWK.rsa(.rs256, identifier: name, modulus: key.modulus, exponent: key.exponent)
            guard (try? await collection.add(jwk: own)) != nil else { return nil }
            return await Self.make(.rs256, key.keyIdentifier?.string, collection, name)
        case .ecdsa where (key.algorithm == nil || key.algorithm == .es256) && key.curve == .ecdsa(.p256):
            let own = JWK.ecdsa(.es256, identifier: name, x: key.x, y: key.y, curve: .p256)
            guard (try? await collection.add(jwk: own)) != nil else { return nil }
            return await Self.make(.es256, key.keyIdentifier?.string, collection, name)
        default: return nil
        }
    }

    /// JWTKit gives out an algorithm with its key only by way of a collection.
    private static func make(
        _ algorithm: TokenAlgorithm, _ identifier: String?, _ collection: JWTKeyCollection, _ name: JWKIdentifier? = nil
    ) async -> TokenKey? {
        guard let verifier = try? await collection.getKey(for: name, alg: algorithm.rawValue) else { return nil }
        return TokenKey(algorithm: algorithm, identifier: identifier, verifier: verifier)
    }

    private init(algorithm: TokenAlgorithm, identifier: String?, verifier: any JWTAlgorithm) {
        self.algorithm = algorithm
        self.identifier = identifier
        self.verifier = verifier
    }
}

/// A public key, or a certificate, in PEM.
enum PublicKeyText {
    enum Key {
        case rsa(JWTKit.Insecure.RSA.PublicKey)
        case p256(ECDSA.PublicKey<P256>)
    }

    static func isUsable(_ text: String) -> Bool { self.read(text) != nil }

    static func read(_ text: String) -> Key? {
        if text.contains("BEGIN CERTIFICATE") {
            if let key = try? JWTKit.Insecure.RSA.PublicKey(certificatePEM: text) { return .rsa(key) }
            return (try? ECDSA.PublicKey<P256>(certificate: text)).map { .p256($0) }
        }
        if let key = try? JWTKit.Insecure.RSA.PublicKey(pem: text) { return .rsa(key) }
        return (try? ECDSA.PublicKey<P256>(pem: text)).map { .p256($0) }
    }
}

/// A JSON Web Key Set. Spec: RFC 7517 §5.
enum KeySet {
    /// More keys than this are not looked at.
    static let maximumKeys = 64
    /// The longest number of a key, in base64url: 8192 bits.
    private static let maximumNumberLength = 1_366

    /// Members that are not understood leave out their key, and nothing else. Spec: RFC 7517 §5.
    private struct Document: Decodable {
        var keys: [Entry]
    }

    private struct Entry: Decodable {
        var key: JWK?

        private enum CodingKeys: String, CodingKey { case use, operations = "key_ops" }

        init(from decoder: any Decoder) throws {
            let container = try? decoder.container(keyedBy: CodingKeys.self)
            let use = (try? container?.decodeIfPresent(String.self, forKey: .use)) ?? nil
            let operations = (try? container?.decodeIfPresent([String].self, forKey: .operations)) ?? nil
            guard use == nil || use == "sig", operations?.contains("verify") ?? true else { return }
            self.key = try? JWK(from: decoder)
        }
    }

    /// The keys that can be used. `nil` if the bytes are no key set at all.
    static func read(_ bytes: [UInt8]) async -> [TokenKey]? {
        guard let document = try? JSONDecoder().decode(Document.self, from: Data(bytes)) else { return nil }
        var keys: [TokenKey] = []
        for entry in document.keys.prefix(self.maximumKeys) {
            guard let key = entry.key,
                [key.modulus, key.exponent, key.x, key.y].allSatisfy({ $0?.utf8.count ?? 0 <= self.maximumNumberLength }
                )
            else { continue }
            if let usable = await TokenKey.published(key) { keys.append(usable) }
        }
        return keys
    }
}

/// Where a key set is.
enum KeySetURL {
    static func isUsable(_ text: String) -> Bool {
        guard let url = URL(string: text), let scheme = url.scheme?.lowercased(), let host = url.host() else {
            return false
        }
        return ["http", "https"].contains(scheme) && !host.isEmpty
    }
}
