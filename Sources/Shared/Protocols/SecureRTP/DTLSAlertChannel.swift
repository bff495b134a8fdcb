import COpenSSL
import NIOCore

/// Where a DTLS record of the new keys stands: what a further record must not repeat. Spec: RFC 6347 §4.1.
struct DTLSRecord: Equatable {
    static let headerLength = 13

    /// 48 bits.
    let sequenceNumber: UInt64
    /// The explicit part of an AEAD's nonce: the first eight bytes of the fragment.
    let nonce: UInt64

    /// The last record of an epoch in a datagram.
    static func last(in bytes: UnsafeRawBufferPointer, epoch: UInt16) -> DTLSRecord? {
        var found: DTLSRecord?
        var offset = 0
        while bytes.count - offset >= self.headerLength + 8 {
            let length = Int(unsafe PacketHeader.uint16(bytes, at: offset + 11))
            if unsafe PacketHeader.uint16(bytes, at: offset + 3) == epoch {
                found = unsafe DTLSRecord(
                    sequenceNumber: UInt64(PacketHeader.uint16(bytes, at: offset + 5)) << 32
                        | UInt64(PacketHeader.uint32(bytes, at: offset + 7)),
                    nonce: UInt64(PacketHeader.uint32(bytes, at: offset + 13)) << 32
                        | UInt64(PacketHeader.uint32(bytes, at: offset + 17)))
            }
            offset += self.headerLength + length
        }
        return found
    }
}

/// What is left of an association when only its end is of interest: the keys that alerts are protected with.
///
/// Some 200 bytes where an association has tens of thousands. AES-GCM only. Spec: RFC 5246 §6.3, RFC 5288 §3.
@safe final class DTLSAlertChannel {
    enum Alert: Equatable {
        case closeNotify
        case fatal(UInt8)

        var number: UInt8 { if case .fatal(let number) = self { number } else { 0 } }
    }

    private static let contentType: UInt8 = 21
    private static let version: UInt16 = 0xFEFD
    private static let tagLength = 16

    private var readKey: [UInt8]
    private var writeKey: [UInt8]
    /// The implicit four bytes of the nonces.
    private let readSalt: [UInt8]
    private let writeSalt: [UInt8]
    private let lastRecord: DTLSRecord

    /// `nil` if the cipher is not AES-GCM.
    init?(_ ssl: OpaquePointer, role: DTLSRole, lastRecord: DTLSRecord?) {
        guard let lastRecord, let cipher = unsafe SSL_get_current_cipher(ssl), let session = unsafe SSL_get_session(ssl)
        else { return nil }
        let keyLength: Int
        switch unsafe SSL_CIPHER_get_cipher_nid(cipher) {
        case NID_aes_128_gcm: keyLength = 16
        case NID_aes_256_gcm: keyLength = 32
        default: return nil
        }
        var secret = [UInt8](repeating: 0, count: 48)
        defer { unsafe OPENSSL_cleanse(&secret, secret.count) }
        var seed = [UInt8](repeating: 0, count: 64)
        guard unsafe SSL_SESSION_get_master_key(session, &secret, secret.count) == secret.count,
            unsafe seed.withUnsafeMutableBufferPointer({ seed in
                guard let start = seed.baseAddress else { return false }
                return unsafe SSL_get_server_random(ssl, start, 32) == 32
                    && SSL_get_client_random(ssl, start + 32, 32) == 32
            }),
            var block = unsafe Self.keyBlock(
                secret: secret, seed: Array("key expansion".utf8) + seed, length: 2 * keyLength + 8,
                digest: SSL_CIPHER_get_handshake_digest(cipher))
        else { return nil }
        defer { unsafe OPENSSL_cleanse(&block, block.count) }
        let client = (Array(block[..<keyLength]), Array(block[(2 * keyLength)..<(2 * keyLength + 4)]))
        let server = (Array(block[keyLength..<(2 * keyLength)]), Array(block[(2 * keyLength + 4)...]))
        (self.readKey, self.readSalt) = role == .server ? client : server
        (self.writeKey, self.writeSalt) = role == .server ? server : client
        self.lastRecord = lastRecord
    }

    deinit {
        unsafe OPENSSL_cleanse(&self.readKey, self.readKey.count)
        unsafe OPENSSL_cleanse(&self.writeKey, self.writeKey.count)
    }

    /// The pseudorandom function of TLS 1.2. Spec: RFC 5246 §5.
    private static func keyBlock(
        secret: [UInt8], seed: [UInt8], length: Int, digest: OpaquePointer?
    ) -> [UInt8]? {
        let size = unsafe Int(EVP_MD_get_size(digest))
        guard size > 0 else { return nil }
        func hash(_ bytes: [UInt8]) -> [UInt8]? {
            var output = [UInt8](repeating: 0, count: size)
            guard unsafe HMAC(digest, secret, Int32(secret.count), bytes, bytes.count, &output, nil) != nil else {
                return nil
            }
            return output
        }
        var block: [UInt8] = []
        var state = seed
        while block.count < length {
            guard let next = hash(state), let part = hash(next + seed) else { return nil }
            state = next
            block += part
        }
        return Array(block.prefix(length))
    }

    /// The first alert in a datagram that the peer made, but for warnings that end nothing.
    func alert(in datagram: ByteBuffer) -> Alert? {
        var rest = datagram
        while let header = rest.readBytes(length: DTLSRecord.headerLength) {
            guard let fragment = rest.readBytes(length: Int(header[11]) << 8 | Int(header[12])) else { return nil }
            // Epoch 1, and an alert in an explicit nonce and a tag.
            guard header[0] == Self.contentType, header[1...4].elementsEqual([0xFE, 0xFD, 0, 1]),
                fragment.count == 8 + 2 + Self.tagLength, let plain = self.open(header: header, fragment: fragment)
            else { continue }
            if plain[1] == 0 { return .closeNotify }
            if plain[0] == 2 { return .fatal(plain[1]) }
        }
        return nil
    }

    /// A datagram with a close_notify; `nil` if OpenSSL fails.
    func closeAlert() -> ByteBuffer? {
        var datagram = ByteBuffer()
        let sequenceNumber = 1 << 48 | (self.lastRecord.sequenceNumber + 1)
        let nonce = self.lastRecord.nonce &+ 1
        datagram.writeMultipleIntegers(
            Self.contentType, Self.version, sequenceNumber, UInt16(8 + 2 + Self.tagLength), nonce)
        guard let sealed = self.seal([1, 0], sequenceNumber: sequenceNumber, nonce: nonce) else { return nil }
        datagram.writeBytes(sealed)
        return datagram
    }

    private func open(header: [UInt8], fragment: [UInt8]) -> [UInt8]? {
        guard let context = unsafe EVP_CIPHER_CTX_new() else { return nil }
        defer { unsafe EVP_CIPHER_CTX_free(context) }
        let authenticated = Array(header[3..<11]) + Array(header[0..<3]) + [0, 2]
        var tag = Array(fragment[10...])
        var plain: [UInt8] = [0, 0]
        var nothing = [UInt8](repeating: 0, count: 16)
        var written: Int32 = 0
        let isOpened =
            unsafe EVP_DecryptInit_ex(
                context, Self.cipher(self.readKey), nil, self.readKey, self.readSalt + fragment[..<8]) == 1
            && EVP_DecryptUpdate(context, nil, &written, authenticated, Int32(authenticated.count)) == 1
            && EVP_DecryptUpdate(context, &plain, &written, Array(fragment[8..<10]), 2) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tag.count), &tag) == 1
            && EVP_DecryptFinal_ex(context, &nothing, &written) == 1
        return isOpened ? plain : nil
    }

    private func seal(_ plain: [UInt8], sequenceNumber: UInt64, nonce: UInt64) -> [UInt8]? {
        guard let context = unsafe EVP_CIPHER_CTX_new() else { return nil }
        defer { unsafe EVP_CIPHER_CTX_free(context) }
        var authenticated = ByteBuffer()
        authenticated.writeMultipleIntegers(sequenceNumber, Self.contentType, Self.version, UInt16(plain.count))
        var iv = ByteBuffer(bytes: self.writeSalt)
        iv.writeInteger(nonce)
        var sealed = [UInt8](repeating: 0, count: plain.count)
        var tag = [UInt8](repeating: 0, count: Self.tagLength)
        var nothing = [UInt8](repeating: 0, count: 16)
        var written: Int32 = 0
        let isSealed =
            unsafe EVP_EncryptInit_ex(
                context, Self.cipher(self.writeKey), nil, self.writeKey, Array(iv.readableBytesView)) == 1
            && EVP_EncryptUpdate(
                context, nil, &written, Array(authenticated.readableBytesView), Int32(authenticated.readableBytes))
                == 1
            && EVP_EncryptUpdate(context, &sealed, &written, plain, Int32(plain.count)) == 1
            && EVP_EncryptFinal_ex(context, &nothing, &written) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tag.count), &tag) == 1
        return isSealed ? sealed + tag : nil
    }

    private static func cipher(_ key: [UInt8]) -> OpaquePointer? {
        key.count == 32 ? unsafe EVP_aes_256_gcm() : unsafe EVP_aes_128_gcm()
    }
}
