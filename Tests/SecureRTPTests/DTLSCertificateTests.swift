import COpenSSL
import NIOCore
import Testing

@testable import SecureRTP

/// PEM texts made by OpenSSL when they are asked for.
enum TestPEM {
    private static let rsa = Result { try unsafe Self.make(weir_EVP_RSA_gen(4096)) }

    static func rsaKey() throws -> String { try self.rsa.get().key }

    /// The certificate three times: longer than any flight of one datagram.
    static func rsaChain() throws -> String { try String(repeating: self.rsa.get().certificate, count: 3) }

    static func ellipticCurve() throws -> (certificate: String, key: String) {
        try unsafe self.make(weir_EVP_EC_gen("P-256"))
    }

    struct Failed: Error {}

    /// A key and a certificate for it.
    static func make(_ key: OpaquePointer?) throws -> (certificate: String, key: String) {
        guard let key = unsafe key, let certificate = unsafe X509_new() else { throw Failed() }
        defer {
            unsafe EVP_PKEY_free(key)
            unsafe X509_free(certificate)
        }
        unsafe X509_set_version(certificate, 2)
        unsafe ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7)
        _ = unsafe ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(TestCertificates.now))
        _ = unsafe ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(TestCertificates.now + 86_400))
        unsafe X509_set_pubkey(certificate, key)
        guard unsafe X509_sign(certificate, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? nil : EVP_sha256()) > 0
        else { throw Failed() }
        return (
            try unsafe self.text { unsafe PEM_write_bio_X509($0, certificate) },
            try unsafe self.text { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
        )
    }

    static func encryptedKey() throws -> String {
        guard let key = unsafe weir_EVP_EC_gen("P-256") else { throw Failed() }
        defer { unsafe EVP_PKEY_free(key) }
        return try unsafe self.text { bio in
            unsafe PEM_write_bio_PrivateKey(bio, key, EVP_aes_128_cbc(), Array("secret".utf8), 6, nil, nil)
        }
    }

    private static func text(_ write: (OpaquePointer) -> Int32) throws -> String {
        guard let bio = unsafe BIO_new(BIO_s_mem()) else { throw Failed() }
        defer { unsafe BIO_free(bio) }
        guard unsafe write(bio) == 1 else { throw Failed() }
        var text = [UInt8](repeating: 0, count: 16_384)
        let length = unsafe BIO_read(bio, &text, Int32(text.count))
        return String(decoding: text.prefix(Int(max(length, 0))), as: UTF8.self)
    }
}

@Suite struct DTLSCertificateTests {
    @Test("a certificate made for itself is on P-256, version 3, and valid when it should be")
    func selfSigned() throws {
        let made = try DTLSCertificate.makeSelfSigned(now: TestCertificates.now, lifetime: 3600)
        let certificate = unsafe made.certificate
        #expect(unsafe X509_get_version(certificate) == 2)
        #expect(unsafe EVP_PKEY_get_base_id(made.key) == EVP_PKEY_EC && EVP_PKEY_get_bits(made.key) == 256)
        #expect(unsafe X509_verify(certificate, made.key) == 1)
        #expect(unsafe X509_check_private_key(certificate, made.key) == 1)
        #expect(
            unsafe ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate), time_t(TestCertificates.now - 86_400)) == 0)
        #expect(unsafe ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate), time_t(TestCertificates.now + 3600)) == 0)
        var name = [CChar](repeating: 1, count: 64)
        let subject = unsafe X509_get_subject_name(certificate)
        #expect(unsafe X509_NAME_get_text_by_NID(subject, NID_commonName, &name, 64) == 6)
        #expect(name.prefix(7).map { UInt8($0) } == Array("WebRTC".utf8) + [0])
        let second = try DTLSCertificate.makeSelfSigned(now: TestCertificates.now, lifetime: 3600)
        #expect(second.fingerprint(.sha256) != made.fingerprint(.sha256))
        #expect(made.fingerprint(.sha256).description.hasPrefix("sha-256 "))
        for algorithm in DTLSFingerprint.Algorithm.allCases {
            #expect(made.fingerprint(algorithm).digest.count == algorithm.length)
        }
    }

    @Test(
        "RSA and elliptic curve keys are loaded, with text around them",
        arguments: ["P-224", "P-256", "P-384", "P-521", "RSA"])
    func loading(kind: String) throws {
        let key = kind == "RSA" ? unsafe weir_EVP_RSA_gen(2048) : unsafe weir_EVP_EC_gen(kind)
        let (certificate, privateKey) = unsafe try TestPEM.make(key)
        let loaded = try DTLSCertificate.load(
            certificateChain: "subject=x\n" + certificate + "\n" + certificate + "\n", privateKey: "\n" + privateKey)
        #expect(unsafe loaded.chain.count == 1)
        let configuration = try DTLSConfiguration(certificate: loaded, settings: .impatient)
        let link = try DTLSLink(client: configuration, server: configuration)
        DTLSLink.run([link])
        #expect(link.isEstablished)
    }

    @Test("what is no certificate with its key is refused by what is wrong with it")
    func refusals() throws {
        let (certificate, key) = unsafe try TestPEM.make(weir_EVP_EC_gen("P-256"))
        let (otherCertificate, otherKey) = unsafe try TestPEM.make(weir_EVP_EC_gen("P-256"))
        func load(_ chain: String, _ key: String) throws {
            _ = try DTLSCertificate.load(certificateChain: chain, privateKey: key)
        }
        #expect(throws: DTLSError.noCertificate) { try load("", key) }
        #expect(throws: DTLSError.noCertificate) { try load(key, key) }
        #expect(throws: DTLSError.noPrivateKey) { try load(certificate, "") }
        #expect(throws: DTLSError.noPrivateKey) { try load(certificate, certificate) }
        #expect(throws: DTLSError.keyMismatch) { try load(certificate, otherKey) }
        #expect(throws: DTLSError.keyMismatch) { try load(otherCertificate + certificate, key) }
        let ed25519 = unsafe EVP_PKEY_new_raw_private_key(
            EVP_PKEY_ED25519, nil, [UInt8](repeating: 9, count: 32), 32)
        let (edCertificate, edKey) = unsafe try TestPEM.make(ed25519)
        #expect(throws: DTLSError.unsupportedKey) { try load(edCertificate, edKey) }
        var error = self.error { try load(certificate, try TestPEM.encryptedKey()) }
        guard case .invalidPrivateKey = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        let broken = certificate.replacing("-----BEGIN CERTIFICATE-----\nM", with: "-----BEGIN CERTIFICATE-----\nX")
        error = self.error { try load(certificate + broken, key) }
        guard case .invalidCertificate(position: 1, reason: _) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        error = self.error { try load(certificate, String(key.dropLast(40))) }
        guard case .invalidPrivateKey = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    private func error(_ body: () throws -> Void) -> DTLSError? {
        do { try body() } catch { return error as? DTLSError }
        return nil
    }

    @Test("a configuration out of its ranges, or with a key too weak, is refused")
    func configurations() throws {
        let certificate = try TestCertificates.first.get()
        let changes: [(inout DTLSConfiguration.Settings) -> Void] = [
            { $0.profiles = [] }, { $0.maximumDatagramLength = 575 }, { $0.maximumDatagramLength = 16_385 },
            { $0.firstRetransmission = .milliseconds(19) }, { $0.firstRetransmission = .seconds(11) },
            { $0.longestRetransmission = .milliseconds(299) }, { $0.longestRetransmission = .seconds(61) },
            { $0.handshakeTimeout = .zero },
        ]
        for change in changes {
            var settings = DTLSConfiguration.Settings()
            change(&settings)
            #expect(throws: DTLSError.invalidConfiguration) {
                try DTLSConfiguration(certificate: certificate, settings: settings)
            }
        }
        let (weak, key) = unsafe try TestPEM.make(weir_EVP_RSA_gen(1024))
        let loaded = try DTLSCertificate.load(certificateChain: weak, privateKey: key)
        #expect(throws: DTLSError.library(reason: "ee key too small")) { try DTLSConfiguration(certificate: loaded) }
    }
}
