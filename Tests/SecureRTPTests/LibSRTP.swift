import CSRTP
import NIOCore

@testable import SecureRTP

/// libsrtp2, the judge of our packets.
@safe final class LibSRTP {
    struct Failure: Error, Equatable {
        let status: UInt32
    }

    enum Direction {
        case inbound, outbound
    }

    // The library's start is not safe to repeat or to race.
    private static let start: UInt32 = srtp_init().rawValue

    private var session: srtp_t?

    init(_ profile: SRTPProfile, key: SRTPMasterKey, _ direction: Direction, encryptsControl: Bool = true) throws {
        try Self.check(srtp_err_status_t(rawValue: Self.start))
        var policy = unsafe srtp_policy_t()
        let number =
            switch profile {
            case .aeadAES128GCM: srtp_profile_aead_aes_128_gcm
            case .aeadAES256GCM: srtp_profile_aead_aes_256_gcm
            case .aes128CMSHA1With80BitTag: srtp_profile_aes128_cm_sha1_80
            }
        try unsafe Self.check(srtp_crypto_policy_set_from_profile_for_rtp(&policy.rtp, number))
        try unsafe Self.check(srtp_crypto_policy_set_from_profile_for_rtcp(&policy.rtcp, number))
        if !encryptsControl { unsafe policy.rtcp.sec_serv = sec_serv_auth }
        unsafe policy.ssrc.type = direction == .inbound ? ssrc_any_inbound : ssrc_any_outbound
        unsafe policy.window_size = 1024
        unsafe policy.allow_repeat_tx = 1
        var material = key.key + key.salt
        try unsafe material.withUnsafeMutableBufferPointer { material in
            unsafe policy.key = material.baseAddress
            try unsafe Self.check(srtp_create(&self.session, &policy))
        }
    }

    deinit {
        if let session = unsafe self.session { unsafe srtp_dealloc(session) }
    }

    func protectRTP(_ packet: ByteBuffer) throws -> ByteBuffer {
        try unsafe self.call(packet) { unsafe srtp_protect($0, $1, $2) }
    }

    func unprotectRTP(_ packet: ByteBuffer) throws -> ByteBuffer {
        try unsafe self.call(packet) { unsafe srtp_unprotect($0, $1, $2) }
    }

    func protectRTCP(_ packet: ByteBuffer) throws -> ByteBuffer {
        try unsafe self.call(packet) { unsafe srtp_protect_rtcp($0, $1, $2) }
    }

    func unprotectRTCP(_ packet: ByteBuffer) throws -> ByteBuffer {
        try unsafe self.call(packet) { unsafe srtp_unprotect_rtcp($0, $1, $2) }
    }

    private func call(
        _ packet: ByteBuffer,
        _ body: (srtp_t?, UnsafeMutableRawPointer?, UnsafeMutablePointer<Int32>?) -> srtp_err_status_t
    ) throws -> ByteBuffer {
        var room = packet.array + [UInt8](repeating: 0, count: 160)
        var length = Int32(packet.readableBytes)
        let status = unsafe room.withUnsafeMutableBytes { unsafe body(self.session, $0.baseAddress, &length) }
        try Self.check(status)
        return ByteBuffer(bytes: room.prefix(Int(length)))
    }

    private static func check(_ status: srtp_err_status_t) throws {
        guard status == srtp_err_status_ok else { throw Failure(status: status.rawValue) }
    }
}

extension SRTPMasterKey {
    static func random(_ profile: SRTPProfile, using generator: inout SeededGenerator) -> SRTPMasterKey {
        SRTPMasterKey(key: generator.bytes(profile.keyLength), salt: generator.bytes(profile.saltLength))
    }
}
