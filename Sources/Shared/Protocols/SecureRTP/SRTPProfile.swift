/// How SRTP packets are encrypted and authenticated. The raw value is the protection profile's number in DTLS.
///
/// Spec: RFC 5764 §4.1.2, RFC 7714 §14.2.
package enum SRTPProfile: UInt16, Sendable, Hashable, CaseIterable {
    /// SRTP_AEAD_AES_128_GCM: the fastest, and the one we prefer.
    case aeadAES128GCM = 0x0007
    /// SRTP_AEAD_AES_256_GCM.
    case aeadAES256GCM = 0x0008
    /// SRTP_AES128_CM_SHA1_80: the one every peer has.
    case aes128CMSHA1With80BitTag = 0x0001

    /// The length of the master key in bytes, which is that of the session keys, too.
    package var keyLength: Int { self == .aeadAES256GCM ? 32 : 16 }

    /// The length of the master salt in bytes.
    package var saltLength: Int { self == .aes128CMSHA1With80BitTag ? 14 : 12 }

    /// How many bytes longer a protected RTP packet is.
    package var overhead: Int { self == .aes128CMSHA1With80BitTag ? 10 : 16 }

    /// How many bytes longer a protected RTCP packet is: the tag, and the word with the packet's index.
    package var controlOverhead: Int { self.overhead + 4 }

    /// The name under which OpenSSL knows it.
    package var name: String {
        switch self {
        case .aeadAES128GCM: "SRTP_AEAD_AES_128_GCM"
        case .aeadAES256GCM: "SRTP_AEAD_AES_256_GCM"
        case .aes128CMSHA1With80BitTag: "SRTP_AES128_CM_SHA1_80"
        }
    }

    var isAEAD: Bool { self != .aes128CMSHA1With80BitTag }
}

/// What one side's packets are protected with: the master key and the master salt. Its description shows neither.
package struct SRTPMasterKey: Sendable, Equatable, CustomStringConvertible {
    /// `SRTPProfile.keyLength` bytes.
    package let key: [UInt8]
    /// `SRTPProfile.saltLength` bytes.
    package let salt: [UInt8]

    package init(key: [UInt8], salt: [UInt8]) {
        self.key = key
        self.salt = salt
    }

    package var description: String { "SRTPMasterKey(\(self.key.count) + \(self.salt.count) bytes)" }
}

/// What a DTLS handshake agreed on for SRTP. Spec: RFC 5764 §4.2.
package struct SRTPKeys: Sendable, Equatable {
    /// The profile of both directions.
    package let profile: SRTPProfile
    /// Protects what we send.
    package let local: SRTPMasterKey
    /// Protects what the peer sends.
    package let remote: SRTPMasterKey

    package init(profile: SRTPProfile, local: SRTPMasterKey, remote: SRTPMasterKey) {
        self.profile = profile
        self.local = local
        self.remote = remote
    }
}
