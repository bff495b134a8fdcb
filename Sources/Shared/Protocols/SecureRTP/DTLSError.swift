/// Why a certificate is not usable, or a DTLS association failed.
package enum DTLSError: Error, Equatable, Sendable {
    /// The text holds no certificate.
    case noCertificate
    /// The certificate at this place of the chain, from 0, is not readable.
    case invalidCertificate(position: Int, reason: String)
    /// The text holds no private key.
    case noPrivateKey
    /// The private key is not readable; one that needs a password is not, either.
    case invalidPrivateKey(reason: String)
    /// Neither an RSA key nor one on an elliptic curve that DTLS certificates have.
    case unsupportedKey
    /// The private key is not that of the first certificate.
    case keyMismatch
    /// No profile, an MTU or a time out of its range.
    case invalidConfiguration
    /// OpenSSL failed at something that is not the peer's doing: its reason.
    case library(reason: String)
    /// The handshake failed: OpenSSL's reason, which names the alert if the peer sent one.
    case handshake(reason: String)
    /// The peer ended the association with an alert after the handshake: OpenSSL's reason or the alert's number.
    case alert(reason: String)
    /// The handshake did not end in time.
    case timedOut
    /// The peer closed in the middle of the handshake.
    case closedInHandshake
    /// No fingerprint to compare the peer's certificate with was given, so that nobody could be trusted.
    case noFingerprint
    /// The peer's certificate is not the one that signalling announced. Spec: RFC 8122 §5.
    case fingerprintMismatch
    /// The peer offered none of our SRTP profiles.
    case noCommonProfile
}
