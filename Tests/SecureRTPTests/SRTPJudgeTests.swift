import NIOCore
import Testing

@testable import SecureRTP

/// Our packets against libsrtp2's, byte by byte and in both directions.
@Suite struct SRTPJudgeTests {
    /// A packet's shape, drawn anew for each.
    private func packet(
        _ sequenceNumber: UInt16, ssrc: UInt32, using generator: inout SeededGenerator
    ) -> ByteBuffer {
        let csrcs = (0..<Int.random(in: 0...3, using: &generator)).map { UInt32($0) &+ 77 }
        return rtpPacket(
            sequenceNumber: sequenceNumber, ssrc: ssrc,
            payload: generator.bytes(Int.random(in: 0...1400, using: &generator)),
            csrcs: Bool.random(using: &generator) ? csrcs : [],
            extensionWords: Bool.random(using: &generator) ? Int.random(in: 0...6, using: &generator) : nil)
    }

    @Test("packets over two wraps of the sequence number are libsrtp2's", arguments: SRTPProfile.allCases)
    func rtpOverWraps(_ profile: SRTPProfile) throws {
        var generator = SeededGenerator(seed: 1)
        let key = SRTPMasterKey.random(profile, using: &generator)
        let sender = try SRTPSender(profile: profile, masterKey: key)
        let receiver = try SRTPReceiver(profile: profile, masterKey: key)
        let judge = try LibSRTP(profile, key: key, .outbound)
        let judgeReceiver = try LibSRTP(profile, key: key, .inbound)
        for step in 0..<700 {
            // Steps of some 250 carry it around twice; two SSRCs, of which one starts near its end.
            let index = 65_000 + step * 250 + Int.random(in: 0..<200, using: &generator)
            for ssrc in [0xDEAD_BEEF, 7] as [UInt32] {
                let number = UInt16(truncatingIfNeeded: ssrc == 7 ? index - 64_990 : index)
                let plain = self.packet(number, ssrc: ssrc, using: &generator)
                var ours = plain
                try sender.protectRTP(&ours)
                let theirs = try judge.protectRTP(plain)
                try #require(ours == theirs, "step \(step)")
                #expect(try judgeReceiver.unprotectRTP(ours) == plain)
                var opened = theirs
                try receiver.unprotectRTP(&opened)
                try #require(opened == plain)
            }
        }
    }

    @Test("reordered packets around a wrap are accepted by both", arguments: SRTPProfile.allCases)
    func reordering(_ profile: SRTPProfile) throws {
        var generator = SeededGenerator(seed: 2)
        let key = SRTPMasterKey.random(profile, using: &generator)
        let sender = try SRTPSender(profile: profile, masterKey: key)
        let receiver = try SRTPReceiver(profile: profile, masterKey: key)
        let judgeReceiver = try LibSRTP(profile, key: key, .inbound)
        var packets: [(plain: ByteBuffer, sealed: ByteBuffer)] = []
        for index in 65_400..<66_200 {
            let plain = rtpPacket(
                sequenceNumber: UInt16(truncatingIfNeeded: index), ssrc: 9, payload: generator.bytes(20))
            var sealed = plain
            try sender.protectRTP(&sealed)
            packets.append((plain, sealed))
        }
        let first = packets.removeFirst()
        for start in stride(from: 0, to: packets.count, by: 100) {
            packets[start..<min(start + 100, packets.count)].shuffle(using: &generator)
        }
        for (plain, sealed) in [first] + packets {
            var opened = sealed
            try receiver.unprotectRTP(&opened)
            try #require(opened == plain)
            #expect(try judgeReceiver.unprotectRTP(sealed) == plain)
        }
    }

    @Test("what is sent again, by its number or by its index, is the same packet", arguments: SRTPProfile.allCases)
    func retransmission(_ profile: SRTPProfile) throws {
        var generator = SeededGenerator(seed: 3)
        let key = SRTPMasterKey.random(profile, using: &generator)
        let sender = try SRTPSender(profile: profile, masterKey: key)
        let judge = try LibSRTP(profile, key: key, .outbound)
        var sealed: [(index: UInt64, plain: ByteBuffer, theirs: ByteBuffer)] = []
        for index in stride(from: UInt64(60_000), to: 80_000, by: 100) {
            let plain = rtpPacket(
                sequenceNumber: UInt16(truncatingIfNeeded: index), ssrc: 9, payload: generator.bytes(40),
                extensionWords: 2)
            var ours = plain
            try sender.protectRTP(&ours)
            let theirs = try judge.protectRTP(plain)
            try #require(ours == theirs)
            sealed.append((index, plain, theirs))
        }
        for (index, plain, theirs) in sealed {
            var again = plain
            try sender.protectRTP(&again)
            #expect(again == theirs)
            #expect(try self.protect(plain, headerLength: 24, prefixLength: 2, index: index, with: sender) == theirs)
            #expect(try self.protect(plain, headerLength: 24, prefixLength: 0, index: nil, with: sender) == theirs)
        }
        // An index of a later turn makes later numbers follow it.
        let later = rtpPacket(sequenceNumber: 5, ssrc: 9, payload: [1])
        _ = try self.protect(later, headerLength: 12, prefixLength: 0, index: 5 << 16 | 5, with: sender)
        let next = rtpPacket(sequenceNumber: 6, ssrc: 9, payload: [2])
        let expected = try self.protect(next, headerLength: 12, prefixLength: 0, index: 5 << 16 | 6, with: sender)
        var ours = next
        try sender.protectRTP(&ours)
        #expect(ours == expected)
    }

    /// The hot path, with the packet's parts in places of their own.
    private func protect(
        _ packet: ByteBuffer, headerLength: Int, prefixLength: Int, index: UInt64?, with sender: SRTPSender
    ) throws -> ByteBuffer {
        let header = Array(packet.array[..<headerLength])
        let prefix = Array(packet.array[headerLength..<(headerLength + prefixLength)])
        let payload = Array(packet.array[(headerLength + prefixLength)...])
        var output = [UInt8](repeating: 0xEE, count: packet.readableBytes + 64)
        let length = try unsafe output.withUnsafeMutableBytes { output in
            try unsafe header.withUnsafeBytes { header in
                try unsafe prefix.withUnsafeBytes { prefix in
                    try unsafe payload.withUnsafeBytes { payload in
                        if let index {
                            return try unsafe sender.protect(
                                header: header, prefix: prefix, payload: payload, index: index, into: output)
                        }
                        return try unsafe sender.protect(
                            header: header, prefix: prefix, payload: payload, into: output)
                    }
                }
            }
        }
        #expect(output[length...].allSatisfy { $0 == 0xEE })
        return ByteBuffer(bytes: output[..<length])
    }

    @Test("RTCP packets are libsrtp2's", arguments: SRTPProfile.allCases)
    func rtcp(_ profile: SRTPProfile) throws {
        var generator = SeededGenerator(seed: 4)
        let key = SRTPMasterKey.random(profile, using: &generator)
        let sender = try SRTPSender(profile: profile, masterKey: key)
        let receiver = try SRTPReceiver(profile: profile, masterKey: key)
        let judge = try LibSRTP(profile, key: key, .outbound)
        let judgeReceiver = try LibSRTP(profile, key: key, .inbound)
        // Ours begins with the index 0, libsrtp2 with 1.
        var first = rtcpPacket(ssrc: 5, words: 1)
        try sender.protectRTCP(&first)
        #expect(try judgeReceiver.unprotectRTCP(first) == rtcpPacket(ssrc: 5, words: 1))
        for words in 0..<300 {
            let plain = rtcpPacket(ssrc: 5, words: words)
            var ours = plain
            try sender.protectRTCP(&ours)
            let theirs = try judge.protectRTCP(plain)
            try #require(ours == theirs, "\(words) words")
            #expect(try judgeReceiver.unprotectRTCP(ours) == plain)
            var opened = theirs
            try receiver.unprotectRTCP(&opened)
            #expect(opened == plain)
        }
    }
}
