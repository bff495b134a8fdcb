import NIOCore
import Testing

@testable import SecureRTP

@Suite struct SRTPVectorTests {
    @Test("session keys are those of RFC 3711 B.3")
    func keyDerivation() throws {
        let master = SRTPMasterKey(
            key: bytes("E1F97A0D3E018BE0D64FA32C06DE4139"), salt: bytes("0EC675AD498AFEEBB6960B3AABE6"))
        #expect(
            try SRTPKeyDerivation.derive(.encryption, length: 16, from: master)
                == bytes("C61E7A93744F39EE10734AFE3FF7A087"))
        #expect(try SRTPKeyDerivation.derive(.salt, length: 14, from: master) == bytes("30CBBC08863D8C85D49DB34A9AE1"))
        let authentication = """
            CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE E049646C43D9327AD175578EF7227098
            6371C10C9A369AC2F94A8C5FBCDDDC25 6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2
            """
        #expect(
            try SRTPKeyDerivation.derive(.authentication, length: 94, from: master) == bytes(authentication))
    }

    struct AEADVector: Sendable {
        let profile: SRTPProfile
        let packet: String
        let controlPacket: String
    }

    static let aeadVectors = [
        AEADVector(
            profile: .aeadAES128GCM,
            packet: """
                8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b
                36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce
                """,
            controlPacket: """
                81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46
                86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4
                """),
        AEADVector(
            profile: .aeadAES256GCM,
            packet: """
                8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f
                1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13
                """,
            controlPacket: """
                81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658
                c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4
                """),
    ]

    static let plainPacket = bytes(
        """
        8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573
        """)
    static let plainControlPacket = bytes(
        """
        81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef
        deadbeef
        """)

    static func transform(
        _ profile: SRTPProfile, _ direction: SRTPTransform.Direction
    ) throws -> SRTPTransform {
        try SRTPTransform(
            profile: profile, direction: direction, key: (0..<UInt8(profile.keyLength)).map { $0 },
            salt: bytes("517569642070726f2071756f"), authenticationKey: [])
    }

    @Test("RTP packets are those of RFC 7714 16", arguments: aeadVectors)
    func rtpVectors(_ vector: AEADVector) throws {
        let expected = bytes(vector.packet)
        let plain = Self.plainPacket
        let sealing = try Self.transform(vector.profile, .sealing)
        var output = Array(plain[..<12]) + [UInt8](repeating: 0, count: plain.count - 12 + 16)
        let isSealed = unsafe plain.withUnsafeBytes { plain in
            unsafe output.withUnsafeMutableBytes { output in
                let start = unsafe output.baseAddress.unsafelyUnwrapped
                return unsafe sealing.sealAEAD(
                    authenticated: .init(rebasing: plain[..<12]), alsoAuthenticated: .init(start: nil, count: 0),
                    prefix: .init(rebasing: plain[12..<17]), payload: .init(rebasing: plain[17...]),
                    ssrc: 0x5501_A0B2, index: 0xF17B, to: start + 12, tag: start + plain.count)
            }
        }
        #expect(isSealed)
        #expect(output == expected)
        let opening = try Self.transform(vector.profile, .opening)
        let isOpened = unsafe output.withUnsafeMutableBytes { output in
            unsafe opening.openAEAD(
                authenticated: .init(rebasing: output[..<12]), alsoAuthenticated: .init(start: nil, count: 0),
                payload: .init(rebasing: output[12..<plain.count]), ssrc: 0x5501_A0B2, index: 0xF17B,
                tag: output.baseAddress.unsafelyUnwrapped + plain.count)
        }
        #expect(isOpened)
        #expect(Array(output[..<plain.count]) == plain)
    }

    @Test("RTCP packets are those of RFC 7714 17", arguments: aeadVectors)
    func rtcpVectors(_ vector: AEADVector) throws {
        let expected = bytes(vector.controlPacket)
        let plain = Self.plainControlPacket
        let sealing = try Self.transform(vector.profile, .sealing)
        let word = bytes("800005d4")
        var output = Array(plain[..<8]) + [UInt8](repeating: 0, count: plain.count - 8 + 16) + word
        let isSealed = unsafe plain.withUnsafeBytes { plain in
            unsafe word.withUnsafeBytes { word in
                unsafe output.withUnsafeMutableBytes { output in
                    let start = unsafe output.baseAddress.unsafelyUnwrapped
                    return unsafe sealing.sealAEAD(
                        authenticated: .init(rebasing: plain[..<8]), alsoAuthenticated: word,
                        prefix: .init(start: nil, count: 0), payload: .init(rebasing: plain[8...]),
                        ssrc: 0x4D61_7273, index: 0x5D4, to: start + 8, tag: start + plain.count)
                }
            }
        }
        #expect(isSealed)
        #expect(output == expected)
    }
}
