package import NIOCore

/// A point of wall time as NTP writes it: seconds since 1900 with 32 fractional bits. Spec: RFC 5905 §6.
package struct NTPTime: Sendable, Hashable {
    package var value: UInt64

    package init(value: UInt64) { self.value = value }

    /// Of nanoseconds since 1970, as the system's wall clock counts them.
    package init(unixNanoseconds: Int64) {
        let (seconds, rest) = unixNanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let (whole, part) = rest < 0 ? (seconds - 1, rest + 1_000_000_000) : (seconds, rest)
        self.value =
            UInt64(bitPattern: whole &+ 2_208_988_800) << 32 | (UInt64(part) << 32) / 1_000_000_000
    }

    /// The middle 32 bits, in units of 1/65,536 second: what report blocks hold. Spec: RFC 3550 §6.4.1.
    package var compact: UInt32 { UInt32(truncatingIfNeeded: self.value >> 16) }

    /// Microseconds from `earlier` to `later`, of any sign; right for distances below 68 years.
    package static func micros(from earlier: Self, to later: Self) -> Int64 {
        let distance = Int64(bitPattern: later.value &- earlier.value)
        let (seconds, fraction) = (distance >> 32, distance & 0xFFFF_FFFF)
        return seconds * 1_000_000 + ((fraction * 1_000_000) >> 32)
    }
}

/// What a receiver says of one source. Spec: RFC 3550 §6.4.1.
package struct RTCPReportBlock: Sendable, Hashable {
    /// The source that the block is about.
    package var ssrc: UInt32
    /// Of the packets since the last report, in 1/256.
    package var fractionLost: UInt8
    /// Since the start, 24 bits with sign: duplicates can make it negative.
    package var cumulativeLost: Int32
    /// The highest sequence number with the count of its cycles in the upper 16 bits.
    package var highestSequenceNumber: UInt32
    /// In ticks of the payload's clock.
    package var jitter: UInt32
    /// Compact NTP time of the last sender report; 0 when there was none.
    package var lastSenderReport: UInt32
    /// In 1/65,536 second since that report came.
    package var delaySinceLastSenderReport: UInt32

    package init(
        ssrc: UInt32, fractionLost: UInt8, cumulativeLost: Int32, highestSequenceNumber: UInt32, jitter: UInt32,
        lastSenderReport: UInt32, delaySinceLastSenderReport: UInt32
    ) {
        self.ssrc = ssrc
        self.fractionLost = fractionLost
        self.cumulativeLost = min(max(cumulativeLost, -0x80_0000), 0x7F_FFFF)
        self.highestSequenceNumber = highestSequenceNumber
        self.jitter = jitter
        self.lastSenderReport = lastSenderReport
        self.delaySinceLastSenderReport = delaySinceLastSenderReport
    }

    /// Microseconds that a packet needs there and back, for a block that arrived at `now` by the clock that wrote the
    /// sender report. `nil` before the first sender report and for a time that cannot be.
    package func roundTripMicros(now: NTPTime) -> Int64? {
        guard self.lastSenderReport != 0 else { return nil }
        let distance = now.compact &- self.lastSenderReport &- self.delaySinceLastSenderReport
        guard distance < 0x8000_0000 else { return nil }
        return (Int64(distance) * 1_000_000) >> 16
    }

    init(parsing body: inout RTPBytes) throws(RTPError) {
        self.ssrc = try body.integer(as: UInt32.self)
        self.fractionLost = try body.integer(as: UInt8.self)
        self.cumulativeLost = Int32(bitPattern: try body.uint24() << 8) >> 8
        self.highestSequenceNumber = try body.integer(as: UInt32.self)
        self.jitter = try body.integer(as: UInt32.self)
        self.lastSenderReport = try body.integer(as: UInt32.self)
        self.delaySinceLastSenderReport = try body.integer(as: UInt32.self)
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.ssrc, self.fractionLost)
        buffer.writeUInt24(UInt32(bitPattern: self.cumulativeLost) & 0xFF_FFFF)
        buffer.writeMultipleIntegers(
            self.highestSequenceNumber, self.jitter, self.lastSenderReport, self.delaySinceLastSenderReport)
    }

    static func parse(_ count: Int, from body: inout RTPBytes) throws(RTPError) -> [RTCPReportBlock] {
        var blocks: [RTCPReportBlock] = []
        for _ in 0..<count { blocks.append(try RTCPReportBlock(parsing: &body)) }
        return blocks
    }
}

/// What a sender says of its clocks and counts. Spec: RFC 3550 §6.4.1.
package struct RTCPSenderReport: Sendable, Hashable {
    package var ssrc: UInt32
    /// Wall time of the instant that `rtpTimestamp` names.
    package var ntpTime: NTPTime
    package var rtpTimestamp: UInt32
    package var packetCount: UInt32
    /// Of payloads alone, without headers and padding.
    package var octetCount: UInt32
    /// At most 31.
    package var reports: [RTCPReportBlock]

    package init(
        ssrc: UInt32, ntpTime: NTPTime, rtpTimestamp: UInt32, packetCount: UInt32, octetCount: UInt32,
        reports: [RTCPReportBlock] = []
    ) {
        self.ssrc = ssrc
        self.ntpTime = ntpTime
        self.rtpTimestamp = rtpTimestamp
        self.packetCount = packetCount
        self.octetCount = octetCount
        self.reports = reports
    }

    init(parsing body: inout RTPBytes, count: Int) throws(RTPError) {
        self.ssrc = try body.integer(as: UInt32.self)
        self.ntpTime = NTPTime(value: try body.integer(as: UInt64.self))
        self.rtpTimestamp = try body.integer(as: UInt32.self)
        self.packetCount = try body.integer(as: UInt32.self)
        self.octetCount = try body.integer(as: UInt32.self)
        self.reports = try RTCPReportBlock.parse(count, from: &body)
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            self.ssrc, self.ntpTime.value, self.rtpTimestamp, self.packetCount, self.octetCount)
        for report in self.reports { report.write(into: &buffer) }
    }
}

/// What a receiver that sends nothing says. Spec: RFC 3550 §6.4.2.
package struct RTCPReceiverReport: Sendable, Hashable {
    /// Of the one who reports.
    package var ssrc: UInt32
    /// At most 31.
    package var reports: [RTCPReportBlock]

    package init(ssrc: UInt32, reports: [RTCPReportBlock] = []) {
        self.ssrc = ssrc
        self.reports = reports
    }

    init(parsing body: inout RTPBytes, count: Int) throws(RTPError) {
        self.ssrc = try body.integer(as: UInt32.self)
        self.reports = try RTCPReportBlock.parse(count, from: &body)
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.ssrc)
        for report in self.reports { report.write(into: &buffer) }
    }
}

/// Names of sources. Spec: RFC 3550 §6.5.
package struct RTCPSourceDescription: Sendable, Hashable {
    /// One text of a source. Types: 1 CNAME, 2 NAME, 7 NOTE, 12 RTP stream id (RFC 8852), 15 MID (RFC 8843).
    package struct Item: Sendable, Hashable {
        package var type: UInt8
        /// At most 255 bytes.
        package var text: ByteBuffer

        package init(type: UInt8, text: ByteBuffer) {
            precondition(type > 0, "item type 0 ends a chunk")
            precondition(text.readableBytes < 256, "an item has at most 255 bytes, got \(text.readableBytes)")
            self.type = type
            self.text = text
        }
    }

    package struct Chunk: Sendable, Hashable {
        package var ssrc: UInt32
        package var items: [Item]

        package init(ssrc: UInt32, items: [Item]) {
            self.ssrc = ssrc
            self.items = items
        }
    }

    /// At most 31.
    package var chunks: [Chunk]

    package init(chunks: [Chunk]) { self.chunks = chunks }

    /// The description that every sender must send: the canonical name of one source.
    package init(ssrc: UInt32, cname: String) {
        self.init(chunks: [Chunk(ssrc: ssrc, items: [Item(type: 1, text: ByteBuffer(string: cname))])])
    }

    init(parsing body: inout RTPBytes, count: Int) throws(RTPError) {
        self.chunks = []
        let start = body.offset
        for _ in 0..<count {
            var chunk = Chunk(ssrc: try body.integer(as: UInt32.self), items: [])
            while true {
                let type = try body.integer(as: UInt8.self)
                if type == 0 { break }
                let length = Int(try body.integer(as: UInt8.self))
                chunk.items.append(Item(type: type, text: try body.slice(length: length)))
            }
            // §6.5: a chunk ends with at least one null, at a 32-bit boundary.
            _ = try body.slice(length: (start - body.offset) & 3)
            self.chunks.append(chunk)
        }
    }

    func write(into buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        for chunk in self.chunks {
            buffer.writeInteger(chunk.ssrc)
            for item in chunk.items {
                buffer.writeMultipleIntegers(item.type, UInt8(truncatingIfNeeded: item.text.readableBytes))
                buffer.writeImmutableBuffer(item.text)
            }
            buffer.writeRepeatingByte(0, count: 4 - ((buffer.writerIndex - start) & 3))
        }
    }
}

/// Sources that leave. Spec: RFC 3550 §6.6.
package struct RTCPGoodbye: Sendable, Hashable {
    /// At most 31.
    package var ssrcs: [UInt32]
    /// At most 255 bytes; `nil` when none is given.
    package var reason: ByteBuffer?

    package init(ssrcs: [UInt32], reason: ByteBuffer? = nil) {
        self.ssrcs = ssrcs
        self.reason = reason
    }

    init(parsing body: inout RTPBytes, count: Int) throws(RTPError) {
        self.ssrcs = []
        for _ in 0..<count { self.ssrcs.append(try body.integer(as: UInt32.self)) }
        if body.bytesLeft > 0 {
            self.reason = try body.slice(length: Int(body.integer(as: UInt8.self)))
        }
    }

    func write(into buffer: inout ByteBuffer) {
        for ssrc in self.ssrcs { buffer.writeInteger(ssrc) }
        guard let reason = self.reason else { return }
        precondition(reason.readableBytes < 256, "a reason has at most 255 bytes, got \(reason.readableBytes)")
        buffer.writeInteger(UInt8(truncatingIfNeeded: reason.readableBytes))
        buffer.writeImmutableBuffer(reason)
    }
}

/// A packet of an application's own. Spec: RFC 3550 §6.7.
package struct RTCPApplicationPacket: Sendable, Hashable {
    /// 0 to 31.
    package var subtype: UInt8
    package var ssrc: UInt32
    /// Four ASCII characters, the first in the highest byte.
    package var name: UInt32
    /// Whole 32-bit words.
    package var data: ByteBuffer

    package init(subtype: UInt8, ssrc: UInt32, name: UInt32, data: ByteBuffer) {
        precondition(data.readableBytes % 4 == 0, "the data is whole words, got \(data.readableBytes) bytes")
        self.subtype = subtype
        self.ssrc = ssrc
        self.name = name
        self.data = data
    }

    init(parsing body: inout RTPBytes, subtype: UInt8) throws(RTPError) {
        self.subtype = subtype
        self.ssrc = try body.integer(as: UInt32.self)
        self.name = try body.integer(as: UInt32.self)
        self.data = try body.slice(length: body.bytesLeft & ~3)
    }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(self.ssrc, self.name)
        buffer.writeImmutableBuffer(self.data)
    }
}
