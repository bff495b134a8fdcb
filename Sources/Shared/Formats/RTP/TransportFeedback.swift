import NIOCore

/// When each packet of a transport arrived, by transport-wide sequence numbers; what congestion control lives on.
///
/// Spec: draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.
package struct TransportFeedback: Sendable, Hashable {
    package enum Status: Sendable, Hashable {
        case notReceived
        /// `delta` in steps of 250 µs since the received packet before, for the first since the reference time.
        case received(delta: Int16)
        /// Received, at a time that is not told.
        case receivedWithoutTime
    }

    /// One packet that arrived, for `feedback(on:…)`.
    package struct Arrival: Sendable, Hashable {
        /// The transport-wide sequence number, widened (see `RTPSequenceUnwrapper`).
        package var sequenceNumber: Int64
        /// On any steady clock, in microseconds.
        package var micros: Int64

        package init(sequenceNumber: Int64, micros: Int64) {
            self.sequenceNumber = sequenceNumber
            self.micros = micros
        }
    }

    /// Statuses that are accepted or made in one packet.
    package static let maximumStatuses = 8_192
    /// Microseconds of one step of a delta.
    package static let tickMicros: Int64 = 250
    /// Microseconds of one step of the reference time.
    package static let referenceMicros: Int64 = 64_000

    package var senderSSRC: UInt32
    package var mediaSSRC: UInt32
    /// The number of the first status.
    package var baseSequenceNumber: UInt16
    /// 24 bits with sign, in steps of 64 ms.
    package var referenceTime: Int32
    /// Counts feedback packets, so that the sender sees lost ones.
    package var feedbackCount: UInt8
    /// One for each packet from `baseSequenceNumber` on; at most `maximumStatuses`.
    package var statuses: [Status]

    package init(
        senderSSRC: UInt32, mediaSSRC: UInt32, baseSequenceNumber: UInt16, referenceTime: Int32, feedbackCount: UInt8,
        statuses: [Status]
    ) {
        self.senderSSRC = senderSSRC
        self.mediaSSRC = mediaSSRC
        self.baseSequenceNumber = baseSequenceNumber
        self.referenceTime = referenceTime
        self.feedbackCount = feedbackCount
        self.statuses = statuses
    }

    /// Calls `body` with each packet's number and its arrival in microseconds of the receiver's clock, which wraps with
    /// the reference time's 24 bits (every 12 days); `nil` for packets that did not arrive. A packet without a time has
    /// the one of the packet before.
    package func forEachPacket(_ body: (UInt16, Int64?) -> Void) {
        var sequence = self.baseSequenceNumber
        var time = Int64(self.referenceTime) * Self.referenceMicros
        for status in self.statuses {
            switch status {
            case .notReceived: body(sequence, nil)
            case .receivedWithoutTime: body(sequence, time)
            case .received(let delta):
                time += Int64(delta) * Self.tickMicros
                body(sequence, time)
            }
            sequence &+= 1
        }
    }

    /// Makes as few packets as tell of all `arrivals`, each at most `maximumByteCount` long, with ascending counts from
    /// `firstCount` on.
    ///
    /// `arrivals` are ascending by sequence number; one that is not is passed over. Numbers between two arrivals are
    /// told as not received, unless a new packet begins between them (a delta of more than 8 s, a full packet).
    package static func feedback(
        on arrivals: [Arrival], senderSSRC: UInt32, mediaSSRC: UInt32, firstCount: UInt8,
        maximumByteCount: Int = 1100
    ) -> [TransportFeedback] {
        var packets: [TransportFeedback] = []
        var open: Draft?
        for arrival in arrivals {
            if var draft = open {
                if arrival.sequenceNumber < draft.next { continue }
                // Moved out, so that the statuses are not copied.
                open = nil
                if draft.append(arrival, maximumByteCount: maximumByteCount) {
                    open = draft
                    continue
                }
                packets.append(draft.feedback)
            }
            open = Draft(
                arrival,
                feedback: TransportFeedback(
                    senderSSRC: senderSSRC, mediaSSRC: mediaSSRC,
                    baseSequenceNumber: UInt16(truncatingIfNeeded: arrival.sequenceNumber), referenceTime: 0,
                    feedbackCount: firstCount &+ UInt8(truncatingIfNeeded: packets.count), statuses: []))
        }
        if let open { packets.append(open.feedback) }
        return packets
    }

    /// A packet that is being made.
    private struct Draft {
        var feedback: TransportFeedback
        /// The number behind the last status.
        var next: Int64
        /// Time of the last arrival in steps of a delta.
        var ticks: Int64
        var deltaByteCount: Int

        init(_ first: Arrival, feedback: TransportFeedback) {
            self.feedback = feedback
            self.next = first.sequenceNumber + 1
            let reference = Self.floor(first.micros, TransportFeedback.referenceMicros)
            self.feedback.referenceTime = Int32(truncatingIfNeeded: reference &<< 8) >> 8
            self.ticks = Self.floor(first.micros, TransportFeedback.tickMicros)
            let stepsPerReference = TransportFeedback.referenceMicros / TransportFeedback.tickMicros
            let delta = Int16(truncatingIfNeeded: self.ticks - reference * stepsPerReference)
            self.feedback.statuses.append(.received(delta: delta))
            self.deltaByteCount = 1
        }

        /// `false` when the arrival needs another packet.
        mutating func append(_ arrival: Arrival, maximumByteCount: Int) -> Bool {
            let ticks = Self.floor(arrival.micros, TransportFeedback.tickMicros)
            guard let delta = Int16(exactly: ticks - self.ticks) else { return false }
            let missing = arrival.sequenceNumber - self.next
            guard missing < TransportFeedback.maximumStatuses - self.feedback.statuses.count else { return false }
            let count = self.feedback.statuses.count + Int(missing) + 1
            let bytes = self.deltaByteCount + ((0...255).contains(delta) ? 1 : 2)
            // In the worst case each chunk tells of 7 packets.
            guard 20 + (count + 6) / 7 * 2 + bytes + 3 <= maximumByteCount else { return false }
            for _ in 0..<missing { self.feedback.statuses.append(.notReceived) }
            self.feedback.statuses.append(.received(delta: delta))
            self.ticks = ticks
            self.next = arrival.sequenceNumber + 1
            self.deltaByteCount = bytes
            return true
        }

        /// Division that rounds towards negative infinity.
        private static func floor(_ value: Int64, _ divisor: Int64) -> Int64 {
            let (quotient, rest) = value.quotientAndRemainder(dividingBy: divisor)
            return rest < 0 ? quotient - 1 : quotient
        }
    }
}
