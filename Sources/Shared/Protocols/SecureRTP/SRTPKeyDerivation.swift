import COpenSSL

/// Makes session keys from a master key and salt. Spec: RFC 3711 §4.3, with a key derivation rate of 0.
///
/// A 96-bit salt is padded with zeros at its end. Spec: RFC 7714 §11 with erratum 4938.
enum SRTPKeyDerivation {
    /// What a key is for: the label of RFC 3711 §4.3.2.
    enum Purpose: UInt8 {
        case encryption = 0, authentication, salt, controlEncryption, controlAuthentication, controlSalt
    }

    /// Returns `length` bytes.
    static func derive(
        _ purpose: Purpose, length: Int, from master: SRTPMasterKey
    ) throws(SRTPError) -> [UInt8] {
        var counter = [UInt8](repeating: 0, count: 16)
        counter.replaceSubrange(0..<master.salt.count, with: master.salt)
        counter[7] ^= purpose.rawValue
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .cipherUnavailable }
        defer { unsafe EVP_CIPHER_CTX_free(context) }
        let cipher = master.key.count == 32 ? unsafe EVP_aes_256_ctr() : unsafe EVP_aes_128_ctr()
        let zeros = [UInt8](repeating: 0, count: length)
        var output = [UInt8](repeating: 0, count: length)
        var written: Int32 = 0
        guard unsafe EVP_EncryptInit_ex(context, cipher, nil, master.key, counter) == 1,
            unsafe EVP_EncryptUpdate(context, &output, &written, zeros, Int32(length)) == 1, written == length
        else {
            OpenSSLErrors.clear()
            throw .cipherUnavailable
        }
        return output
    }
}
