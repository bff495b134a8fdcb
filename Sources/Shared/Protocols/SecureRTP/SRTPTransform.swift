import COpenSSL

/// The session keys of RTP or of RTCP in one direction, with the cipher contexts that are kept between packets.
@safe struct SRTPTransform: ~Copyable {
    enum Direction {
        case sealing, opening
    }

    private let isAEAD: Bool
    /// Keeps the key schedule; only the nonce is set for each packet.
    private let context: OpaquePointer
    /// The states of SHA-1 after the inner and after the outer key; `nil` for an AEAD.
    private let hashes: UnsafeMutablePointer<SHA_CTX>?
    /// The session salt, padded to 16 bytes, as two words in network order.
    private let salt: (high: UInt64, low: UInt64)

    static let aeadTagLength = 16
    static let hmacTagLength = 10

    /// Derives the session keys of RTP or of RTCP.
    init(
        profile: SRTPProfile, masterKey: SRTPMasterKey, isControl: Bool, direction: Direction
    ) throws(SRTPError) {
        guard masterKey.key.count == profile.keyLength, masterKey.salt.count == profile.saltLength else {
            throw .wrongKeyLength(key: masterKey.key.count, salt: masterKey.salt.count)
        }
        OpenSSLErrors.clear()
        try self.init(
            profile: profile, direction: direction,
            key: SRTPKeyDerivation.derive(
                isControl ? .controlEncryption : .encryption, length: profile.keyLength, from: masterKey),
            salt: SRTPKeyDerivation.derive(
                isControl ? .controlSalt : .salt, length: profile.saltLength, from: masterKey),
            authenticationKey: SRTPKeyDerivation.derive(
                isControl ? .controlAuthentication : .authentication, length: 20, from: masterKey))
    }

    /// Takes session keys. An AEAD has no use for the authentication key.
    init(
        profile: SRTPProfile, direction: Direction, key: [UInt8], salt: [UInt8], authenticationKey: [UInt8]
    ) throws(SRTPError) {
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .cipherUnavailable }
        let cipher =
            switch profile {
            case .aeadAES128GCM: unsafe EVP_aes_128_gcm()
            case .aeadAES256GCM: unsafe EVP_aes_256_gcm()
            case .aes128CMSHA1With80BitTag: unsafe EVP_aes_128_ctr()
            }
        // Counter mode is its own inverse.
        let encrypts: Int32 = direction == .sealing || !profile.isAEAD ? 1 : 0
        guard unsafe EVP_CipherInit_ex(context, cipher, nil, key, nil, encrypts) == 1 else {
            unsafe EVP_CIPHER_CTX_free(context)
            OpenSSLErrors.clear()
            throw .cipherUnavailable
        }
        unsafe self.context = context
        self.isAEAD = profile.isAEAD
        if profile.isAEAD {
            unsafe self.hashes = nil
        } else {
            let hashes = UnsafeMutablePointer<SHA_CTX>.allocate(capacity: 2)
            unsafe hashes.initialize(repeating: SHA_CTX(), count: 2)
            unsafe weir_hmac_sha1_key(hashes, hashes + 1, authenticationKey, authenticationKey.count)
            unsafe self.hashes = hashes
        }
        var words: (high: UInt64, low: UInt64) = (0, 0)
        for (position, byte) in salt.enumerated() {
            if position < 8 {
                words.high |= UInt64(byte) << (56 - 8 * UInt64(position))
            } else {
                words.low |= UInt64(byte) << (56 - 8 * UInt64(position - 8))
            }
        }
        self.salt = words
    }

    deinit {
        unsafe EVP_CIPHER_CTX_free(self.context)
        guard let hashes = unsafe self.hashes else { return }
        unsafe OPENSSL_cleanse(hashes, 2 * MemoryLayout<SHA_CTX>.stride)
        unsafe hashes.deallocate()
    }

    /// Sets the nonce: of an AEAD, RFC 7714 §8.1 and §9.1; of counter mode, RFC 3711 §4.1.1.
    ///
    /// `index` has 48 bits for RTP, 31 for RTCP.
    @inline(__always)
    private func begin(ssrc: UInt32, index: UInt64) -> Bool {
        var nonce: (UInt64, UInt64)
        if self.isAEAD {
            nonce.0 = self.salt.high ^ (UInt64(ssrc) << 16 | index >> 32)
            nonce.1 = self.salt.low ^ (index & 0xFFFF_FFFF) << 32
        } else {
            nonce.0 = self.salt.high ^ UInt64(ssrc)
            nonce.1 = self.salt.low ^ index << 16
        }
        nonce = (nonce.0.bigEndian, nonce.1.bigEndian)
        // Safety: both words are initialised, and a nonce has 12 or 16 of their bytes. -1 leaves the direction.
        return unsafe withUnsafeBytes(of: &nonce) { bytes in
            unsafe EVP_CipherInit_ex(
                self.context, nil, nil, nil, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), -1) == 1
        }
    }

    /// Authenticates bytes that stay as they are. AEAD only.
    @inline(__always)
    private func addAuthenticated(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var written: Int32 = 0
        return unsafe bytes.isEmpty
            || EVP_CipherUpdate(
                self.context, nil, &written, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
                Int32(truncatingIfNeeded: bytes.count)) == 1
    }

    /// Encrypts or decrypts; `output` may be where the bytes are.
    @inline(__always)
    private func crypt(_ bytes: UnsafeRawBufferPointer, to output: UnsafeMutableRawPointer) -> Bool {
        var written: Int32 = 0
        return unsafe bytes.isEmpty
            || EVP_CipherUpdate(
                self.context, output.assumingMemoryBound(to: UInt8.self), &written,
                bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(truncatingIfNeeded: bytes.count)) == 1
    }

    /// Ends an AEAD operation. False if it opened and the tag was wrong.
    @inline(__always)
    private func finish() -> Bool {
        var nothing: (UInt64, UInt64) = (0, 0)
        var written: Int32 = 0
        return unsafe withUnsafeMutableBytes(of: &nothing) { bytes in
            guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
            return unsafe EVP_CipherFinal_ex(self.context, start, &written) == 1
        }
    }

    /// Encrypts two pieces, one behind the other, to `output`, and writes the AEAD's tag to `tag`.
    @inline(__always)
    func sealAEAD(
        authenticated: UnsafeRawBufferPointer, alsoAuthenticated: UnsafeRawBufferPointer,
        prefix: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer, ssrc: UInt32, index: UInt64,
        to output: UnsafeMutableRawPointer, tag: UnsafeMutableRawPointer
    ) -> Bool {
        unsafe self.begin(ssrc: ssrc, index: index)
            && self.addAuthenticated(authenticated) && self.addAuthenticated(alsoAuthenticated)
            && self.crypt(prefix, to: output) && self.crypt(payload, to: output + prefix.count) && self.finish()
            && EVP_CIPHER_CTX_ctrl(self.context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.aeadTagLength), tag) == 1
    }

    /// Decrypts in place, and says whether the tag was right.
    @inline(__always)
    func openAEAD(
        authenticated: UnsafeRawBufferPointer, alsoAuthenticated: UnsafeRawBufferPointer,
        payload: UnsafeMutableRawBufferPointer, ssrc: UInt32, index: UInt64, tag: UnsafeMutableRawPointer
    ) -> Bool {
        guard self.begin(ssrc: ssrc, index: index),
            unsafe EVP_CIPHER_CTX_ctrl(self.context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.aeadTagLength), tag) == 1,
            unsafe self.addAuthenticated(authenticated), unsafe self.addAuthenticated(alsoAuthenticated)
        else { return false }
        if let start = payload.baseAddress {
            guard unsafe self.crypt(UnsafeRawBufferPointer(payload), to: start) else { return false }
        }
        return self.finish()
    }

    /// Encrypts or decrypts two pieces in counter mode, one behind the other, to `output`.
    @inline(__always)
    func cryptCounterMode(
        prefix: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer, ssrc: UInt32, index: UInt64,
        to output: UnsafeMutableRawPointer
    ) -> Bool {
        unsafe self.begin(ssrc: ssrc, index: index) && self.crypt(prefix, to: output)
            && self.crypt(payload, to: output + prefix.count)
    }

    /// The HMAC-SHA1 of the bytes and, if there is one, of the rollover counter behind them. Spec: RFC 3711 §4.2.
    @inline(__always)
    func authenticationCode(
        _ bytes: UnsafeRawBufferPointer, rolloverCounter: UInt32?
    ) -> (UInt64, UInt64, UInt32) {
        var digest: (UInt64, UInt64, UInt32) = (0, 0, 0)
        guard let hashes = unsafe self.hashes else { preconditionFailure("an AEAD has no code of its own") }
        var tail = (rolloverCounter ?? 0).bigEndian
        // Safety: the digest is 20 bytes, and the states were initialised with the key.
        unsafe withUnsafeMutableBytes(of: &digest) { output in
            guard let start = unsafe output.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return }
            unsafe weir_hmac_sha1(
                hashes, hashes + 1, bytes.baseAddress, bytes.count, &tail, rolloverCounter == nil ? 0 : 4, start)
        }
        return digest
    }

    /// Writes the 80-bit tag of the bytes.
    @inline(__always)
    func writeTag(of bytes: UnsafeRawBufferPointer, rolloverCounter: UInt32?, to tag: UnsafeMutableRawPointer) {
        var digest = unsafe self.authenticationCode(bytes, rolloverCounter: rolloverCounter)
        unsafe withUnsafeBytes(of: &digest) { digest in
            guard let start = digest.baseAddress else { return }
            unsafe memcpy(tag, start, Self.hmacTagLength)
        }
    }

    /// Compares the 80-bit tag of the bytes, in a time that does not depend on where it differs.
    @inline(__always)
    func hasTag(_ tag: UnsafeRawPointer, of bytes: UnsafeRawBufferPointer, rolloverCounter: UInt32?) -> Bool {
        var digest = unsafe self.authenticationCode(bytes, rolloverCounter: rolloverCounter)
        return unsafe withUnsafeBytes(of: &digest) { digest in
            guard let start = digest.baseAddress else { return false }
            return unsafe CRYPTO_memcmp(tag, start, Self.hmacTagLength) == 0
        }
    }
}
