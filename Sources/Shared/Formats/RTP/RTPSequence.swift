/// Arithmetic of 16-bit sequence numbers that wrap. Spec: RFC 1982 §3.2, RFC 3550 §A.1.
package enum RTPSequence {
    /// How far `later` is ahead of `earlier`, by the shorter way round: −32,768 to 32,767.
    package static func distance(from earlier: UInt16, to later: UInt16) -> Int {
        Int(Int16(bitPattern: later &- earlier))
    }

    /// Whether `sequence` comes after `other`. Of two numbers half a circle apart neither does.
    package static func isNewer(_ sequence: UInt16, than other: UInt16) -> Bool {
        let distance = sequence &- other
        return distance != 0 && distance < 0x8000
    }

    /// The 64-bit number with the low bits `sequence` that is nearest to `reference`.
    package static func unwrap(_ sequence: UInt16, near reference: Int64) -> Int64 {
        reference &+ Int64(Int16(bitPattern: sequence &- UInt16(truncatingIfNeeded: reference)))
    }
}

/// Arithmetic of 32-bit RTP timestamps that wrap. Spec: RFC 3550 §5.1.
package enum RTPTimestamp {
    /// How far `later` is ahead of `earlier` in ticks, by the shorter way round.
    package static func distance(from earlier: UInt32, to later: UInt32) -> Int64 {
        Int64(Int32(bitPattern: later &- earlier))
    }

    /// Whether `timestamp` comes after `other`. Of two stamps half a circle apart neither does.
    package static func isNewer(_ timestamp: UInt32, than other: UInt32) -> Bool {
        let distance = timestamp &- other
        return distance != 0 && distance < 0x8000_0000
    }

    /// The 64-bit time with the low bits `timestamp` that is nearest to `reference`.
    package static func unwrap(_ timestamp: UInt32, near reference: Int64) -> Int64 {
        reference &+ Int64(Int32(bitPattern: timestamp &- UInt32(truncatingIfNeeded: reference)))
    }
}

/// Widens a source's 16-bit sequence numbers to 64 bits, each near the highest so far.
///
/// The first number is taken as it is, so results begin between 0 and 65,535 and may become negative when packets from
/// before the first one arrive.
package struct RTPSequenceUnwrapper: Sendable, Hashable {
    /// The highest number so far; `nil` before the first.
    package private(set) var highest: Int64?

    package init() { self.highest = nil }

    /// Widens `sequence` and remembers it if it is the highest.
    package mutating func unwrap(_ sequence: UInt16) -> Int64 {
        let wide = self.peek(sequence)
        if wide > self.highest ?? .min { self.highest = wide }
        return wide
    }

    /// Widens `sequence` without remembering it.
    package func peek(_ sequence: UInt16) -> Int64 {
        guard let highest = self.highest else { return Int64(sequence) }
        return RTPSequence.unwrap(sequence, near: highest)
    }
}

/// Widens a source's 32-bit timestamps to 64 bits, each near the last one.
///
/// The first stamp is taken as it is. Stamps of B-frames go back; that is no wrap.
package struct RTPTimestampUnwrapper: Sendable, Hashable {
    /// The last time; `nil` before the first.
    package private(set) var last: Int64?

    package init() { self.last = nil }

    /// Widens `timestamp` and remembers it.
    package mutating func unwrap(_ timestamp: UInt32) -> Int64 {
        let wide = self.peek(timestamp)
        self.last = wide
        return wide
    }

    /// Widens `timestamp` without remembering it.
    package func peek(_ timestamp: UInt32) -> Int64 {
        guard let last = self.last else { return Int64(timestamp) }
        return RTPTimestamp.unwrap(timestamp, near: last)
    }
}
