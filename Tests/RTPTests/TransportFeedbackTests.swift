import NIOCore
import RTP
import Testing

@Suite struct TransportFeedbackTests {
    private func parse(_ buffer: ByteBuffer) throws -> RTCPPacket {
        try #require(try RTCPPacket.parseCompound(buffer).first)
    }

    /// The figures of the draft's §3.1.3 and §3.1.4: a run, a vector of one-bit symbols, one of two-bit symbols.
    @Test func `Runs and vectors of both widths are read`() throws {
        // A run of 3 not received; a one-bit vector 1 and 13 × 0; of a two-bit vector small, large, none, without time.
        let buffer = bytes("8FCD0007 00000001 00000002 FFFE 0015 FFFFFF 07 0003 A000 D8C0 04 08 FF38 0000")
        guard case .transportFeedback(let feedback) = try self.parse(buffer) else {
            Issue.record("not a feedback")
            return
        }
        #expect(feedback.baseSequenceNumber == 0xFFFE)
        #expect(feedback.referenceTime == -1)
        #expect(feedback.feedbackCount == 7)
        var expected = Array(repeating: TransportFeedback.Status.notReceived, count: 21)
        expected[3] = .received(delta: 4)
        expected[17] = .received(delta: 8)
        expected[18] = .received(delta: -200)
        expected[20] = .receivedWithoutTime
        #expect(feedback.statuses == expected)
    }

    @Test func `Packets are told with their numbers over the wrap and with absolute times`() {
        let feedback = TransportFeedback(
            senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: 0xFFFF, referenceTime: 2, feedbackCount: 0,
            statuses: [.received(delta: 4), .notReceived, .received(delta: -8), .receivedWithoutTime])
        var told: [String] = []
        feedback.forEachPacket { told.append("\($0) \($1.map { "\($0)" } ?? "lost")") }
        #expect(told == ["65535 129000", "0 lost", "1 127000", "2 127000"])
    }

    @Test func `The bytes of a feedback with every kind of status are those of the draft`() throws {
        let feedback = TransportFeedback(
            senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: 5, referenceTime: 1, feedbackCount: 3,
            statuses: [.received(delta: 1), .received(delta: 256), .notReceived, .received(delta: -1)])
        let buffer = written { RTCPPacket.transportFeedback(feedback).write(into: &$0) }
        // A vector of two bits: 01 10 00 10 00 00 00.
        #expect(buffer == bytes("8FCD0006 00000001 00000002 0005 0004 000001 03 D880 01 0100 FFFF 00"))
        #expect(try self.parse(buffer) == .transportFeedback(feedback))
    }

    @Test(arguments: 0..<100 as Range<UInt64>)
    func `Any statuses come back`(seed: UInt64) throws {
        var random = Generator(seed: seed)
        var statuses: [TransportFeedback.Status] = []
        while statuses.count < Int(seed) * 3 + 1 {
            let status: TransportFeedback.Status =
                switch Int.random(in: 0..<8, using: &random) {
                case 0: .received(delta: .random(in: .min...Int16.max, using: &random))
                case 1: .receivedWithoutTime
                case 2, 3: .notReceived
                default: .received(delta: .random(in: 0...255, using: &random))
                }
            let run = [1, 1, 1, 2, 7, 13, 14, 15, 100].randomElement(using: &random) ?? 1
            statuses += Array(repeating: status, count: run)
        }
        let packet = RTCPPacket.transportFeedback(
            TransportFeedback(
                senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: .random(in: 0...UInt16.max, using: &random),
                referenceTime: .random(in: -0x80_0000...0x7F_FFFF, using: &random), feedbackCount: 255,
                statuses: statuses))
        #expect(try self.parse(written { packet.write(into: &$0) }) == packet)
    }

    @Test func `A run longer than its 13 bits is cut`() throws {
        let packet = RTCPPacket.transportFeedback(
            TransportFeedback(
                senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: 0, referenceTime: 0, feedbackCount: 0,
                statuses: Array(repeating: .notReceived, count: TransportFeedback.maximumStatuses)))
        let buffer = written { packet.write(into: &$0) }
        #expect(buffer.readableBytes == 24)
        #expect(try self.parse(buffer) == packet)
    }

    @Test func `Cut anywhere, a feedback is malformed`() throws {
        let statuses: [TransportFeedback.Status] = [.received(delta: 1), .received(delta: 999), .notReceived]
        let packet = RTCPPacket.transportFeedback(
            TransportFeedback(
                senderSSRC: 1, mediaSSRC: 2, baseSequenceNumber: 0, referenceTime: 0, feedbackCount: 0,
                statuses: statuses + statuses + statuses + statuses))
        var buffer = written { packet.write(into: &$0) }
        let words = try #require(buffer.getInteger(at: 2, as: UInt16.self))
        for fewer in 0..<words - 1 {
            buffer.setInteger(fewer, at: 2)
            let cut = try #require(buffer.getSlice(at: 0, length: 4 + Int(fewer) * 4))
            guard case .malformed(205, 15, .truncated) = try self.parse(cut) else {
                Issue.record("\(fewer) words")
                continue
            }
        }
    }

    @Test func `A run of nothing and too many packets are malformed`() throws {
        #expect(
            try self.parse(bytes("8FCD0005 00000001 00000002 0000 0001 000000 00 0000 0000"))
                == .malformed(type: 205, count: 15, .invalidValue(0, offset: 20)))
        #expect(
            try self.parse(bytes("8FCD0005 00000001 00000002 0000 FFFF 000000 00 1FFF 0000"))
                == .malformed(type: 205, count: 15, .tooManyPackets(limit: 8_192)))
    }

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `Arrivals are told within a step, in packets that fit, over every wrap`(seed: UInt64) throws {
        var random = Generator(seed: seed)
        var sequence = Int64.random(in: 0...0x2_0000, using: &random)
        // Near the wrap of the reference time's 24 bits in some runs.
        var time = seed % 2 == 0 ? Int64.random(in: 0...1 << 50, using: &random) : (1 << 23) * 64_000 - 20_000
        let arrivals = (0..<Int.random(in: 1...900, using: &random)).map { _ in
            sequence += [1, 1, 1, 1, 2, 5, 300].randomElement(using: &random) ?? 1
            time += Int64.random(in: -2_000...9_000, using: &random)
            if Int.random(in: 0..<200, using: &random) == 0 { time += 20_000_000 }
            return TransportFeedback.Arrival(sequenceNumber: sequence, micros: time)
        }
        let packets = TransportFeedback.feedback(on: arrivals, senderSSRC: 1, mediaSSRC: 2, firstCount: 250)
        var told: [(UInt16, Int64)] = []
        for (index, feedback) in packets.enumerated() {
            let buffer = written { RTCPPacket.transportFeedback(feedback).write(into: &$0) }
            #expect(buffer.readableBytes <= 1100)
            #expect(try self.parse(buffer) == .transportFeedback(feedback))
            #expect(feedback.feedbackCount == UInt8(truncatingIfNeeded: 250 + index))
            feedback.forEachPacket { if let micros = $1 { told.append(($0, micros)) } }
        }
        #expect(told.count == arrivals.count)
        let period: Int64 = (1 << 24) * 64_000
        let areRight = zip(arrivals, told).allSatisfy { arrival, told in
            let error = ((arrival.micros - told.1) % period + period) % period
            return told.0 == UInt16(truncatingIfNeeded: arrival.sequenceNumber) && error < 250
        }
        #expect(areRight)
    }

    @Test func `Repeated and late arrivals are passed over, and no arrivals make no packet`() {
        let arrivals = [5, 5, 4, 6].map { TransportFeedback.Arrival(sequenceNumber: $0, micros: 1000) }
        let packets = TransportFeedback.feedback(on: arrivals, senderSSRC: 1, mediaSSRC: 2, firstCount: 0)
        #expect(packets.map(\.statuses) == [[.received(delta: 4), .received(delta: 0)]])
        #expect(TransportFeedback.feedback(on: [], senderSSRC: 1, mediaSSRC: 2, firstCount: 0).isEmpty)
    }
}

extension ByteBuffer {
    func prefix(_ count: Int) -> ByteBuffer { self.getSlice(at: self.readerIndex, length: count) ?? self }
}
