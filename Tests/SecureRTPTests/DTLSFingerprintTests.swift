import Testing

@testable import SecureRTP

@Suite struct DTLSFingerprintTests {
    @Test("a fingerprint is read in either case and written in upper case")
    func textForm() throws {
        let bytes = (0..<20).map { UInt8($0 * 13 & 0xFF) }
        let fingerprint = DTLSFingerprint(algorithm: .sha1, digest: bytes)
        let text = fingerprint.description
        #expect(text.hasPrefix("sha-1 00:0D:1A:27:"))
        #expect(DTLSFingerprint(text) == fingerprint)
        #expect(DTLSFingerprint(text.lowercased()) == fingerprint)
        #expect(DTLSFingerprint(algorithm: "SHA-1", value: fingerprint.value) == fingerprint)
    }

    @Test("a fingerprint of another length, form or function is refused")
    func refusals() {
        let value = DTLSFingerprint(algorithm: .sha1, digest: [UInt8](repeating: 0xAB, count: 20)).value
        #expect(DTLSFingerprint("sha-1 " + value) != nil)
        let forms: [String] = [
            "", "sha-1", value, "sha-256 \(value)", "md5 \(value)", "sha-1 \(value.dropLast())", "sha-1 \(value):",
            "sha-1 \(value):AB", "sha-1 \(value.dropLast(3))", "sha-1 \(value.dropLast(2))G0",
            "sha-1 \(value.dropLast(2))ABC", "sha-1 \(value) x", "sha-1 \(value.replacing(":", with: "-"))",
        ]
        for text in forms {
            #expect(DTLSFingerprint(text) == nil, "\(text)")
        }
    }
}
