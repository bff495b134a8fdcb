import COpenSSL

/// A certificate with its private key, by which a DTLS endpoint proves who it is.
///
/// One serves all sessions of a node: WebRTC peers know it by its fingerprint, and look at nothing else in it.
// Safety: the objects are only read after `init`, and OpenSSL counts references to them atomically.
@safe package final class DTLSCertificate: @unchecked Sendable {
    let certificate: OpaquePointer
    let chain: [OpaquePointer]
    let key: OpaquePointer

    /// Takes over the references.
    private init(certificate: OpaquePointer, chain: [OpaquePointer], key: OpaquePointer) {
        unsafe self.certificate = certificate
        unsafe self.chain = chain
        unsafe self.key = key
    }

    deinit {
        unsafe X509_free(self.certificate)
        unsafe self.chain.forEach { unsafe X509_free($0) }
        unsafe EVP_PKEY_free(self.key)
    }

    /// Makes a certificate with a new ECDSA key on P-256, signed by itself, as WebRTC wants. Spec: RFC 8827 §6.5.
    ///
    /// - Parameters:
    ///   - now: the wall clock, in seconds since 1970. The certificate is valid from a day before, for clocks that are
    ///     late.
    ///   - lifetime: how long it is valid from `now` on, in seconds.
    package static func makeSelfSigned(now: Int64, lifetime: Int64) throws(DTLSError) -> DTLSCertificate {
        OpenSSLErrors.clear()
        guard let key = unsafe weir_EVP_EC_gen("P-256") else { throw .library(reason: OpenSSLErrors.takeReason()) }
        guard let certificate = unsafe X509_new() else {
            unsafe EVP_PKEY_free(key)
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        let made = unsafe DTLSCertificate(certificate: certificate, chain: [], key: key)
        guard unsafe fill(certificate, key: key, now: now, lifetime: lifetime) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        return made
    }

    private static func fill(_ certificate: OpaquePointer, key: OpaquePointer, now: Int64, lifetime: Int64) -> Bool {
        let commonName = Array("WebRTC".utf8)
        var serial: UInt64 = 0
        let drawn = unsafe withUnsafeMutableBytes(of: &serial) { bytes in
            unsafe RAND_bytes(bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(bytes.count))
        }
        guard drawn == 1, unsafe X509_set_version(certificate, 2) == 1,
            // A serial number is positive, and never zero. Spec: RFC 5280 §4.1.2.2.
            unsafe ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1,
            unsafe ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(now - 86_400)) != nil,
            unsafe ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(now + lifetime)) != nil,
            unsafe X509_set_pubkey(certificate, key) == 1,
            let name = unsafe X509_get_subject_name(certificate),
            unsafe X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, commonName, Int32(commonName.count), -1, 0)
                == 1,
            unsafe X509_set_issuer_name(certificate, name) == 1
        else { return false }
        return unsafe X509_sign(certificate, key, EVP_sha256()) > 0
    }

    /// Reads a certificate and its key from PEM texts.
    ///
    /// - Parameters:
    ///   - certificateChain: the endpoint's certificate, then those that signed it, as far as they are sent.
    ///   - privateKey: the key of the first certificate, RSA or on an elliptic curve, not encrypted.
    /// - Throws: which of the two is wrong, and how; `keyMismatch` if they do not belong together.
    package static func load(
        certificateChain: some StringProtocol, privateKey: some StringProtocol
    ) throws(DTLSError) -> DTLSCertificate {
        OpenSSLErrors.clear()
        let key = unsafe try self.readKey(Array(privateKey.utf8))
        var certificates: [OpaquePointer] = unsafe []
        do throws(DTLSError) {
            unsafe try self.readChain(Array(certificateChain.utf8), into: &certificates)
        } catch {
            unsafe certificates.forEach { unsafe X509_free($0) }
            unsafe EVP_PKEY_free(key)
            throw error
        }
        let loaded = unsafe DTLSCertificate(
            certificate: certificates[0], chain: Array(certificates.dropFirst()), key: key)
        guard unsafe X509_check_private_key(loaded.certificate, key) == 1 else {
            OpenSSLErrors.clear()
            throw .keyMismatch
        }
        return loaded
    }

    private static func readKey(_ text: [UInt8]) throws(DTLSError) -> OpaquePointer {
        guard let source = unsafe BIO_new_mem_buf(text, Int32(text.count)) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        defer { unsafe BIO_free(source) }
        // Without a callback OpenSSL would ask the terminal for the password.
        guard let key = unsafe PEM_read_bio_PrivateKey(source, nil, { _, _, _, _ in -1 }, nil) else {
            let reason = OpenSSLErrors.takeReason()
            // For a key OpenSSL does not tell that there is no block of one.
            guard String(decoding: text, as: UTF8.self).contains("PRIVATE KEY-----") else { throw .noPrivateKey }
            throw .invalidPrivateKey(reason: reason)
        }
        let type = unsafe EVP_PKEY_get_base_id(key)
        guard type == EVP_PKEY_RSA || type == EVP_PKEY_EC else {
            unsafe EVP_PKEY_free(key)
            throw .unsupportedKey
        }
        return unsafe key
    }

    private static func readChain(_ text: [UInt8], into chain: inout [OpaquePointer]) throws(DTLSError) {
        guard let source = unsafe BIO_new_mem_buf(text, Int32(text.count)) else {
            throw .library(reason: OpenSSLErrors.takeReason())
        }
        defer { unsafe BIO_free(source) }
        while let certificate = unsafe PEM_read_bio_X509(source, nil, nil, nil) {
            unsafe chain.append(certificate)
        }
        let ended = self.isNoStartLine(ERR_peek_last_error())
        let reason = OpenSSLErrors.takeReason()
        guard ended else { throw unsafe .invalidCertificate(position: chain.count, reason: reason) }
        guard unsafe !chain.isEmpty else { throw .noCertificate }
    }

    /// Whether there was just no further block in a PEM text.
    private static func isNoStartLine(_ code: UInt) -> Bool {
        ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE
    }

    /// The certificate's hash, for signalling.
    package func fingerprint(_ algorithm: DTLSFingerprint.Algorithm) -> DTLSFingerprint {
        guard let fingerprint = unsafe Self.fingerprint(of: self.certificate, algorithm) else {
            preconditionFailure("OpenSSL does not have \(algorithm.rawValue)")
        }
        return fingerprint
    }

    static func fingerprint(
        of certificate: OpaquePointer, _ algorithm: DTLSFingerprint.Algorithm
    ) -> DTLSFingerprint? {
        let function =
            switch algorithm {
            case .sha1: unsafe EVP_sha1()
            case .sha256: unsafe EVP_sha256()
            case .sha384: unsafe EVP_sha384()
            case .sha512: unsafe EVP_sha512()
            }
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var length: UInt32 = 0
        guard unsafe X509_digest(certificate, function, &digest, &length) == 1, length == algorithm.length else {
            return nil
        }
        return DTLSFingerprint(algorithm: algorithm, digest: Array(digest.prefix(algorithm.length)))
    }
}
