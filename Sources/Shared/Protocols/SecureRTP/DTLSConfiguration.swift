import COpenSSL
package import NIOCore

/// What the DTLS endpoints of a node have in common: the certificate and what is offered. One for all sessions.
///
/// DTLS 1.2 only, without session cache, tickets and renegotiation. Peers may have any certificate; an endpoint
/// compares its fingerprint.
// Safety: the context is not changed after `init`, and OpenSSL locks what it counts inside.
@safe package final class DTLSConfiguration: @unchecked Sendable {
    /// Limits and times.
    package struct Settings: Sendable {
        /// SRTP profiles that are offered and accepted, the preferred one first. Not empty.
        package var profiles: [SRTPProfile] = [.aeadAES128GCM, .aeadAES256GCM, .aes128CMSHA1With80BitTag]
        /// The largest datagram that is sent, in bytes: 576 to 16,384.
        package var maximumDatagramLength = 1200
        /// How long to wait for an answer before a flight is sent again; doubles each time. 20 ms to 10 s.
        package var firstRetransmission: TimeAmount = .milliseconds(300)
        /// No two retransmissions are further apart.
        package var longestRetransmission: TimeAmount = .seconds(5)
        /// How long a handshake may take in all.
        package var handshakeTimeout: TimeAmount = .seconds(30)

        package init() {}
    }

    /// Whom the endpoints are.
    package let certificate: DTLSCertificate
    /// Limits and times.
    package let settings: Settings
    let context: OpaquePointer
    let method: OpaquePointer

    /// - Throws: `library` if OpenSSL refuses the certificate, such as a key too short for its security level;
    ///   `invalidConfiguration` if a setting is out of its range.
    package init(certificate: DTLSCertificate, settings: Settings = Settings()) throws(DTLSError) {
        guard !settings.profiles.isEmpty, (576...16_384).contains(settings.maximumDatagramLength),
            settings.firstRetransmission >= .milliseconds(20), settings.firstRetransmission <= .seconds(10),
            settings.longestRetransmission >= settings.firstRetransmission,
            settings.longestRetransmission <= .seconds(60), settings.handshakeTimeout > .zero
        else { throw .invalidConfiguration }
        OpenSSLErrors.clear()
        guard let method = unsafe DatagramBIO.makeMethod() else { throw .library(reason: OpenSSLErrors.takeReason()) }
        guard let context = unsafe SSL_CTX_new(DTLS_method()) else {
            unsafe BIO_meth_free(method)
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        self.certificate = certificate
        self.settings = settings
        unsafe self.context = context
        unsafe self.method = method
        guard unsafe Self.fill(context, certificate, settings) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
    }

    deinit {
        unsafe SSL_CTX_free(self.context)
        unsafe BIO_meth_free(self.method)
    }

    private static func fill(
        _ context: OpaquePointer, _ certificate: DTLSCertificate, _ settings: Settings
    ) -> Bool {
        let profiles = settings.profiles.map(\.name).joined(separator: ":")
        guard unsafe weir_SSL_CTX_set_proto_versions(context, DTLS1_2_VERSION, DTLS1_2_VERSION) == 1,
            // AES-GCM first: every peer has it, and `DTLSEndpoint.releaseAfterHandshake` knows its records.
            unsafe SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:@SECLEVEL=2") == 1,
            // P-224: a DTLS server with GnuTLS may have a certificate on it.
            unsafe weir_SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384:P-521:P-224") == 1,
            // This one returns 0 on success.
            unsafe SSL_CTX_set_tlsext_use_srtp(context, profiles) == 0,
            unsafe SSL_CTX_use_certificate(context, certificate.certificate) == 1,
            unsafe SSL_CTX_use_PrivateKey(context, certificate.key) == 1,
            unsafe certificate.chain.allSatisfy({ unsafe weir_SSL_CTX_add1_chain_cert(context, $0) == 1 })
        else { return false }
        _ = unsafe SSL_CTX_set_options(
            context,
            weir_SSL_OP_NO_QUERY_MTU() | weir_SSL_OP_NO_TICKET() | weir_SSL_OP_NO_RENEGOTIATION()
                | weir_SSL_OP_NO_COMPRESSION() | weir_SSL_OP_CIPHER_SERVER_PREFERENCE())
        _ = unsafe weir_SSL_CTX_set_session_cache_off(context)
        _ = unsafe weir_SSL_CTX_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS) | Int(SSL_MODE_NO_AUTO_CHAIN))
        _ = unsafe weir_SSL_CTX_set_read_ahead(context, 1)
        unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        // Any chain will do: who the peer is, the fingerprint decides once the handshake has proved the key.
        unsafe SSL_CTX_set_cert_verify_callback(context, { _, _ in 1 }, nil)
        return true
    }
}
