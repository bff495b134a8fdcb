import NIOCore

/// Packets that a receiver misses. Spec: RFC 4585 §6.2.1.
package struct RTCPNack: Sendable, Hashable {
    /// Numbers that one packet may ask for; more are refused as `tooManyPackets`.
    package static let maximumSequenceNumbers = 4096

    package var senderSSRC: UInt32
    package var mediaSSRC: UInt32
    /// In the order of the request. Ascending ones are written most densely: 17 in four bytes.
    package var sequenceNumbers: [UInt16]

    package init(senderSSRC: UInt32, mediaSSRC: UInt32, sequenceNumbers: [UInt16]) {
        self.senderSSRC = senderSSRC
        self.mediaSSRC = mediaSSRC
        self.sequenceNumbers = sequenceNumbers
    }

    init(parsing body: inout RTPBytes) throws(RTPError) {
        self.senderSSRC = try body.integer(as: UInt32.self)
        self.mediaSSRC = try body.integer(as: UInt32.self)
        self.sequenceNumbers = []
        while body.bytesLeft > 0 {
            let first = try body.integer(as: UInt16.self)
            let mask = try body.integer(as: UInt16.self)
            guard self.sequenceNumbers.count + 1 + mask.nonzeroBitCount <= Self.maximumSequenceNumbers else {
                throw .tooManyPackets(limit: Self.maximumSequenceNumbers)
            }
            self.sequenceNumbers.append(first)
            for bit in 0..<16 where mask >> UInt16(bit) & 1 != 0 {
                self.sequenceNumbers.append(first &+ UInt16(bit) &+ 1)
            }
        }
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.senderSSRC, self.mediaSSRC)
        var open: (first: UInt16, mask: UInt16)?
        for sequence in self.sequenceNumbers {
            if let entry = open {
                let distance = sequence &- entry.first
                if distance == 0 { continue }
                if distance <= 16 {
                    open = (entry.first, entry.mask | 1 << (distance - 1))
                    continue
                }
                buffer.writeMultipleIntegers(entry.first, entry.mask)
            }
            open = (sequence, 0)
        }
        if let entry = open { buffer.writeMultipleIntegers(entry.first, entry.mask) }
    }
}

/// Keyframes that are asked for by command. Spec: RFC 5104 §4.3.1.
package struct RTCPFullIntraRequest: Sendable, Hashable {
    package struct Entry: Sendable, Hashable {
        /// The source that should send a keyframe.
        package var ssrc: UInt32
        /// Counts the commands of one sender for the source: a repetition has the same number.
        package var sequenceNumber: UInt8

        package init(ssrc: UInt32, sequenceNumber: UInt8) {
            self.ssrc = ssrc
            self.sequenceNumber = sequenceNumber
        }
    }

    package var senderSSRC: UInt32
    package var entries: [Entry]

    package init(senderSSRC: UInt32, entries: [Entry]) {
        self.senderSSRC = senderSSRC
        self.entries = entries
    }

    init(parsing body: inout RTPBytes) throws(RTPError) {
        self.senderSSRC = try body.integer(as: UInt32.self)
        // §4.3.1.2: the media SSRC of the common header is not used.
        _ = try body.integer(as: UInt32.self)
        self.entries = []
        while body.bytesLeft > 0 {
            let ssrc = try body.integer(as: UInt32.self)
            let sequence = try body.integer(as: UInt8.self)
            _ = try body.uint24()
            self.entries.append(Entry(ssrc: ssrc, sequenceNumber: sequence))
        }
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.senderSSRC, UInt32(0))
        for entry in self.entries {
            buffer.writeMultipleIntegers(entry.ssrc, entry.sequenceNumber)
            buffer.writeUInt24(0)
        }
    }
}

/// The most that a receiver believes it can take. Spec: draft-alvestrand-rmcat-remb §2.2.
package struct RTCPReceiverEstimate: Sendable, Hashable {
    package var senderSSRC: UInt32
    /// In bits per second. Written with 18 significant bits, rounded down.
    package var bitsPerSecond: UInt64
    /// The sources that share the estimate; at most 255.
    package var ssrcs: [UInt32]

    package init(senderSSRC: UInt32, bitsPerSecond: UInt64, ssrcs: [UInt32]) {
        precondition(ssrcs.count < 256, "an estimate names at most 255 sources, got \(ssrcs.count)")
        self.senderSSRC = senderSSRC
        self.bitsPerSecond = bitsPerSecond
        self.ssrcs = ssrcs
    }

    /// `REMB`
    private static let name: UInt32 = 0x5245_4D42

    /// `nil` when it is another application's feedback.
    init?(parsing body: inout RTPBytes) throws(RTPError) {
        self.senderSSRC = try body.integer(as: UInt32.self)
        _ = try body.integer(as: UInt32.self)
        guard body.bytesLeft >= 4, try body.integer(as: UInt32.self) == Self.name else { return nil }
        let count = Int(try body.integer(as: UInt8.self))
        let fields = try body.uint24()
        let (mantissa, exponent) = (UInt64(fields & 0x3_FFFF), UInt64(fields >> 18))
        // 18 + 63 bits do not fit: more than 2^64 is all the same.
        self.bitsPerSecond = exponent > 46 && mantissa >> (64 - exponent) != 0 ? .max : mantissa << exponent
        self.ssrcs = []
        for _ in 0..<count { self.ssrcs.append(try body.integer(as: UInt32.self)) }
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            self.senderSSRC, UInt32(0), Self.name, UInt8(truncatingIfNeeded: self.ssrcs.count))
        let exponent = max(0, 64 - self.bitsPerSecond.leadingZeroBitCount - 18)
        buffer.writeUInt24(
            UInt32(truncatingIfNeeded: exponent) << 18
                | UInt32(truncatingIfNeeded: self.bitsPerSecond >> UInt64(exponent)))
        for ssrc in self.ssrcs { buffer.writeInteger(ssrc) }
    }
}
