import NIOCore
import Testing

@testable import SecureRTP

@Suite struct SRTPRefusalTests {
    private struct Pair {
        let sender: SRTPSender
        let receiver: SRTPReceiver
        var generator: SeededGenerator

        init(_ profile: SRTPProfile, seed: UInt64, maximumSources: Int = 8) throws {
            self.generator = SeededGenerator(seed: seed)
            let key = SRTPMasterKey.random(profile, using: &self.generator)
            self.sender = try SRTPSender(profile: profile, masterKey: key, maximumSources: maximumSources)
            self.receiver = try SRTPReceiver(profile: profile, masterKey: key, maximumSources: maximumSources)
        }

        func sealed(_ plain: ByteBuffer) throws -> ByteBuffer {
            var packet = plain
            try self.sender.protectRTP(&packet)
            return packet
        }

        func sealedControl(_ plain: ByteBuffer) throws -> ByteBuffer {
            var packet = plain
            try self.sender.protectRTCP(&packet)
            return packet
        }

        func open(_ packet: ByteBuffer) throws(SRTPError) -> ByteBuffer {
            var packet = packet
            try self.receiver.unprotectRTP(&packet)
            return packet
        }

        func openControl(_ packet: ByteBuffer) throws(SRTPError) -> ByteBuffer {
            var packet = packet
            try self.receiver.unprotectRTCP(&packet)
            return packet
        }
    }

    @Test(
        "an RTP packet with any bit flipped is refused, and the whole one is taken after",
        arguments: SRTPProfile.allCases)
    func tampering(_ profile: SRTPProfile) throws {
        let pair = try Pair(profile, seed: 5)
        let plain = rtpPacket(sequenceNumber: 65_535, ssrc: 3, payload: [1, 2, 3, 4, 5], extensionWords: 1)
        let sealed = try pair.sealed(plain)
        for bit in 0..<(sealed.readableBytes * 8) {
            var altered = sealed.array
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: SRTPError.self, "bit \(bit)") { try pair.open(ByteBuffer(bytes: altered)) }
        }
        #expect(throws: SRTPError.authenticationFailed) {
            try pair.open(ByteBuffer(bytes: sealed.array.dropLast() + [sealed.array.last.map { ~$0 } ?? 0]))
        }
        #expect(try pair.open(sealed) == plain)
    }

    @Test(
        "an RTCP packet with any bit flipped is refused, and the whole one is taken after",
        arguments: SRTPProfile.allCases)
    func controlTampering(_ profile: SRTPProfile) throws {
        let pair = try Pair(profile, seed: 6)
        let plain = rtcpPacket(ssrc: 3, words: 6)
        let sealed = try pair.sealedControl(plain)
        for bit in 0..<(sealed.readableBytes * 8) {
            var altered = sealed.array
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: SRTPError.self, "bit \(bit)") { try pair.openControl(ByteBuffer(bytes: altered)) }
        }
        #expect(try pair.openControl(sealed) == plain)
    }

    @Test("a packet cut anywhere is refused", arguments: SRTPProfile.allCases)
    func truncation(_ profile: SRTPProfile) throws {
        let pair = try Pair(profile, seed: 7)
        let sealed = try pair.sealed(
            rtpPacket(sequenceNumber: 1, ssrc: 3, payload: [9, 9, 9], csrcs: [1, 2], extensionWords: 3))
        for length in 0..<sealed.readableBytes {
            #expect(throws: SRTPError.self, "\(length) bytes") {
                try pair.open(ByteBuffer(bytes: sealed.array.prefix(length)))
            }
        }
        #expect(throws: SRTPError.truncated(needed: 12, available: 11)) {
            try pair.open(ByteBuffer(bytes: sealed.array.prefix(11 + profile.overhead)))
        }
        #expect(throws: SRTPError.truncated(needed: 24, available: 23)) {
            try pair.open(ByteBuffer(bytes: sealed.array.prefix(23 + profile.overhead)))
        }
        #expect(throws: SRTPError.truncated(needed: 36, available: 35)) {
            try pair.open(ByteBuffer(bytes: sealed.array.prefix(35 + profile.overhead)))
        }
        let control = try pair.sealedControl(rtcpPacket(ssrc: 3, words: 4))
        for length in 0..<control.readableBytes {
            #expect(throws: SRTPError.self, "\(length) bytes") {
                try pair.openControl(ByteBuffer(bytes: control.array.prefix(length)))
            }
        }
        #expect(throws: SRTPError.truncated(needed: 8, available: 7)) {
            try pair.openControl(ByteBuffer(bytes: control.array.prefix(7 + profile.controlOverhead)))
        }
        #expect(throws: SRTPError.truncated(needed: 8, available: 0)) { try pair.openControl(ByteBuffer()) }
    }

    @Test("what is no packet of version 2 is not protected, and not taken")
    func versions() throws {
        let pair = try Pair(.aeadAES128GCM, seed: 8)
        var packet = rtpPacket(sequenceNumber: 1, ssrc: 3, payload: [UInt8](repeating: 1, count: 40))
        packet.setInteger(UInt8(0x40), at: 0)
        #expect(throws: SRTPError.wrongVersion(1)) { try pair.sealed(packet) }
        #expect(throws: SRTPError.wrongVersion(1)) { try pair.sealedControl(packet) }
        #expect(throws: SRTPError.wrongVersion(1)) { try pair.open(packet) }
        #expect(throws: SRTPError.wrongVersion(1)) { try pair.openControl(packet) }
        #expect(throws: SRTPError.truncated(needed: 12, available: 11)) {
            try pair.sealed(ByteBuffer(bytes: packet.array.prefix(11)))
        }
        #expect(throws: SRTPError.truncated(needed: 8, available: 7)) {
            try pair.sealedControl(ByteBuffer(bytes: [0x80, 1, 2, 3, 4, 5, 6]))
        }
    }

    @Test("a packet is taken once", arguments: SRTPProfile.allCases)
    func replay(_ profile: SRTPProfile) throws {
        let pair = try Pair(profile, seed: 9)
        for number in [65_534, 65_535, 0, 1] as [UInt16] {
            let sealed = try pair.sealed(rtpPacket(sequenceNumber: number, ssrc: 3, payload: [1]))
            _ = try pair.open(sealed)
            let index = number < 2 ? 1 << 16 | UInt64(number) : UInt64(number)
            #expect(throws: SRTPError.replayed(index: index)) { try pair.open(sealed) }
        }
        for index in 0..<3 as Range<UInt64> {
            let sealed = try pair.sealedControl(rtcpPacket(ssrc: 3, words: 1))
            _ = try pair.openControl(sealed)
            #expect(throws: SRTPError.replayed(index: index)) { try pair.openControl(sealed) }
        }
    }

    @Test("a packet 1,023 behind the newest is taken, one 1,024 behind is not")
    func window() throws {
        let pair = try Pair(.aes128CMSHA1With80BitTag, seed: 10)
        let packets = try (0..<1100).map {
            try pair.sealed(rtpPacket(sequenceNumber: UInt16(truncatingIfNeeded: 65_000 + $0), ssrc: 3, payload: [1]))
        }
        _ = try pair.open(packets[0])
        _ = try pair.open(packets[1050])
        _ = try pair.open(packets[27])
        #expect(throws: SRTPError.tooOld(index: 65_026, highest: 66_050)) { try pair.open(packets[26]) }
        #expect(throws: SRTPError.replayed(index: 65_027)) { try pair.open(packets[27]) }
        #expect(throws: SRTPError.replayed(index: 66_050)) { try pair.open(packets[1050]) }
        for position in 28..<1050 { _ = try pair.open(packets[position]) }
        // A number before the first of all has no index.
        let other = try Pair(.aeadAES128GCM, seed: 10)
        _ = try other.open(try other.sealed(rtpPacket(sequenceNumber: 0, ssrc: 3, payload: [1])))
        #expect(throws: SRTPError.tooOld(index: 65_535, highest: 0)) {
            try other.open(rtpPacket(sequenceNumber: 65_535, ssrc: 3, payload: [UInt8](repeating: 0, count: 20)))
        }
        #expect(throws: SRTPError.tooOld(index: 65_535, highest: 0)) {
            try other.sealed(rtpPacket(sequenceNumber: 65_535, ssrc: 3, payload: [1]))
        }
    }

    @Test("forged packets make no sources, and true ones only up to the bound")
    func sources() throws {
        let pair = try Pair(.aeadAES128GCM, seed: 11, maximumSources: 2)
        for ssrc in 0..<100 as Range<UInt32> {
            #expect(throws: SRTPError.authenticationFailed) {
                try pair.open(rtpPacket(sequenceNumber: 1, ssrc: ssrc, payload: [UInt8](repeating: 0, count: 30)))
            }
            #expect(throws: SRTPError.authenticationFailed) { try pair.openControl(rtcpPacket(ssrc: ssrc, words: 10)) }
        }
        for ssrc in 1...2 as ClosedRange<UInt32> {
            _ = try pair.open(try pair.sealed(rtpPacket(sequenceNumber: 1, ssrc: ssrc, payload: [])))
        }
        let third = rtpPacket(sequenceNumber: 1, ssrc: 3, payload: [])
        #expect(throws: SRTPError.tooManySources(limit: 2)) { try pair.sealed(third) }
        for ssrc in 1...2 as ClosedRange<UInt32> {
            _ = try pair.openControl(try pair.sealedControl(rtcpPacket(ssrc: ssrc, words: 1)))
        }
        let control = try pair.sealedControl(rtcpPacket(ssrc: 3, words: 1))
        #expect(throws: SRTPError.tooManySources(limit: 2)) { try pair.openControl(control) }
    }

    @Test("keys of another length, a destination too small and an index of another number are refused")
    func misuse() throws {
        #expect(throws: SRTPError.wrongKeyLength(key: 16, salt: 14)) {
            try SRTPSender(
                profile: .aeadAES128GCM,
                masterKey: SRTPMasterKey(key: [UInt8](repeating: 0, count: 16), salt: [UInt8](repeating: 0, count: 14)))
        }
        #expect(throws: SRTPError.wrongKeyLength(key: 16, salt: 12)) {
            try SRTPReceiver(
                profile: .aeadAES256GCM,
                masterKey: SRTPMasterKey(key: [UInt8](repeating: 0, count: 16), salt: [UInt8](repeating: 0, count: 12)))
        }
        let pair = try Pair(.aeadAES128GCM, seed: 12)
        let header = rtpPacket(sequenceNumber: 1, ssrc: 3, payload: []).array
        let payload: [UInt8] = [1, 2, 3]
        func protect(room: Int, index: UInt64) throws(SRTPError) -> Int {
            var output = [UInt8](repeating: 0, count: room)
            let result = unsafe output.withUnsafeMutableBytes { output in
                unsafe header.withUnsafeBytes { header in
                    unsafe payload.withUnsafeBytes { payload in
                        Result { () throws(SRTPError) -> Int in
                            try unsafe pair.sender.protect(
                                header: header, payload: payload, index: index, into: output)
                        }
                    }
                }
            }
            return try result.get()
        }
        #expect(throws: SRTPError.noRoom(needed: 31, available: 30)) { try protect(room: 30, index: 1) }
        #expect(throws: SRTPError.noRoom(needed: 31, available: 0)) { try protect(room: 0, index: 1) }
        #expect(throws: SRTPError.indexMismatch(index: 2, sequenceNumber: 1)) { try protect(room: 31, index: 2) }
        #expect(throws: SRTPError.keyExhausted) { try protect(room: 31, index: 1 << 48 | 1) }
        #expect(try protect(room: 31, index: (1 << 48) - 65_535) == 31)
    }

    @Test("a key ends with the last index of a source")
    func exhaustion() throws {
        let pair = try Pair(.aeadAES128GCM, seed: 13)
        var output = [UInt8](repeating: 0, count: 64)
        let last = rtpPacket(sequenceNumber: 65_535, ssrc: 3, payload: []).array
        let length = try unsafe output.withUnsafeMutableBytes { output in
            try unsafe last.withUnsafeBytes { last in
                try unsafe pair.sender.protect(
                    header: last, payload: .init(start: nil, count: 0), index: (1 << 48) - 1, into: output)
            }
        }
        #expect(length == 28)
        #expect(throws: SRTPError.keyExhausted) {
            try pair.sealed(rtpPacket(sequenceNumber: 0, ssrc: 3, payload: []))
        }
        #expect(try pair.sealed(rtpPacket(sequenceNumber: 65_000, ssrc: 3, payload: [])).readableBytes == 28)
    }

    @Test("an index is the nearest to the highest, over every wrap")
    func indexEstimate() {
        var generator = SeededGenerator(seed: 14)
        for _ in 0..<20_000 {
            let highest = UInt64.random(in: 0..<(1 << 40), using: &generator)
            let distance = Int64.random(in: -32_768...32_767, using: &generator)
            let index = Int64(highest) + distance
            let estimate = PacketIndex.estimate(UInt16(truncatingIfNeeded: index), highest: highest)
            #expect(estimate == (index < 0 ? nil : UInt64(index)), "\(highest) \(distance)")
        }
        #expect(PacketIndex.estimate(65_535, highest: 0) == nil)
        #expect(PacketIndex.estimate(0, highest: 65_535) == 65_536)
    }

    @Test("the replay window agrees with a set of all indices")
    func windowModel() {
        var generator = SeededGenerator(seed: 15)
        for _ in 0..<50 {
            var highest = UInt64.random(in: 0...200, using: &generator)
            var window = ReplayWindow<2>(first: highest)
            var seen: Set<UInt64> = [highest]
            for _ in 0..<400 {
                let reach: UInt64 = Bool.random(using: &generator) ? 4 : 200
                let index = UInt64.random(
                    in: (highest > reach ? highest - reach : 0)...(highest + reach), using: &generator)
                let error = Self.error(of: window, index)
                if index + 128 <= highest {
                    #expect(error == .tooOld(index: index, highest: highest))
                } else {
                    #expect(error == (seen.contains(index) ? .replayed(index: index) : nil))
                }
                guard error == nil else { continue }
                window.insert(index)
                seen.insert(index)
                highest = max(highest, index)
            }
        }
    }

    private static func error(of window: ReplayWindow<2>, _ index: UInt64) -> SRTPError? {
        do throws(SRTPError) {
            try window.check(index)
            return nil
        } catch {
            return error
        }
    }

    @Test("RTCP that is authenticated but not encrypted is taken", arguments: SRTPProfile.allCases)
    func unencryptedControl(_ profile: SRTPProfile) throws {
        var generator = SeededGenerator(seed: 16)
        let key = SRTPMasterKey.random(profile, using: &generator)
        let judge = try LibSRTP(profile, key: key, .outbound, encryptsControl: false)
        let receiver = try SRTPReceiver(profile: profile, masterKey: key)
        let plain = rtcpPacket(ssrc: 8, words: 6)
        let sealed = try judge.protectRTCP(plain)
        #expect(sealed.array.starts(with: plain.array))
        var altered = sealed.array
        altered[20] ^= 1
        #expect(throws: SRTPError.authenticationFailed) {
            var packet = ByteBuffer(bytes: altered)
            try receiver.unprotectRTCP(&packet)
        }
        var opened = sealed
        try receiver.unprotectRTCP(&opened)
        #expect(opened == plain)
    }

    @Test("a key's description does not show it")
    func redaction() {
        let key = SRTPMasterKey(key: [0xAB, 0xCD], salt: [0xEF])
        let keys = SRTPKeys(profile: .aeadAES128GCM, local: key, remote: key)
        #expect("\(key)" == "SRTPMasterKey(2 + 1 bytes)")
        #expect(!"\(keys)".contains("171") && !"\(DTLSEvent.established(keys))".contains("205"))
    }
}
