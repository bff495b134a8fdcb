/// Looks at a transport stream as one viewer gets it: whether its packets are whole and in order, and where its access
/// units begin. Spec: ISO 13818-1 §2.4.3.
package struct TransportStreamCheck {
    /// A PES packet of video or audio that is over, because the next one of its kind began.
    package struct Unit: Equatable {
        package let isVideo: Bool
        package let isKeyframe: Bool
        /// Milliseconds of the stream's clock: the decoding time, or that of presentation where there is but one.
        package let millis: UInt32
    }

    private static let length = 188
    private static let syncByte: UInt8 = 0x47
    private static let nullPID = 0x1FFF
    private static let unseen: UInt8 = 0xFF

    package private(set) var packets = 0
    /// Packets whose counter is not the one behind that of their predecessor, and that do not announce it.
    package private(set) var continuityErrors = 0
    /// Packets without a sync byte, or marked as damaged.
    package private(set) var damaged = 0

    /// The beginning of a packet whose end was not read yet.
    private var partial: [UInt8] = []
    /// The last counter of each PID.
    private var counters = [UInt8](repeating: unseen, count: 8192)
    private var video: Unit?
    private var audio: Unit?

    package init() {}

    /// Reads what came, however it is cut, and appends the units that it completes.
    package mutating func read(_ bytes: Span<UInt8>, units: inout [Unit]) {
        var index = 0
        if !self.partial.isEmpty {
            index = min(Self.length - self.partial.count, bytes.count)
            for position in 0..<index { self.partial.append(bytes[position]) }
            guard self.partial.count == Self.length else { return }
            let packet = self.partial
            self.partial.removeAll(keepingCapacity: true)
            self.check(packet.span, units: &units)
        }
        while bytes.count - index >= Self.length {
            self.check(bytes.extracting(index..<index + Self.length), units: &units)
            index += Self.length
        }
        for position in index..<bytes.count { self.partial.append(bytes[position]) }
    }

    private mutating func check(_ packet: Span<UInt8>, units: inout [Unit]) {
        self.packets += 1
        guard packet[0] == Self.syncByte, packet[1] & 0x80 == 0 else {
            self.damaged += 1
            return
        }
        let pid = Int(packet[1] & 0x1F) << 8 | Int(packet[2])
        guard pid != Self.nullPID else { return }
        let hasAdaptation = packet[3] & 0x20 != 0
        let flags = hasAdaptation && packet[4] > 0 ? packet[5] : 0
        let hasPayload = packet[3] & 0x10 != 0
        let counter = packet[3] & 0x0F
        let last = self.counters[pid]
        self.counters[pid] = counter
        let expected = hasPayload ? (last &+ 1) & 0x0F : last
        if last != Self.unseen, counter != expected, flags & 0x80 == 0 { self.continuityErrors += 1 }
        guard hasPayload, packet[1] & 0x40 != 0 else { return }
        let start = hasAdaptation ? 5 + Int(packet[4]) : 4
        if let unit = Self.unit(packet, from: start, isRandomAccess: flags & 0x40 != 0) {
            self.replace(unit, units: &units)
        }
    }

    /// The unit that begins is kept; its predecessor is over.
    private mutating func replace(_ unit: Unit, units: inout [Unit]) {
        let last = unit.isVideo ? self.video : self.audio
        if unit.isVideo { self.video = unit } else { self.audio = unit }
        if let last { units.append(last) }
    }

    /// The header of a PES packet at `start`. Spec: ISO 13818-1 §2.4.3.6.
    private static func unit(_ packet: Span<UInt8>, from start: Int, isRandomAccess: Bool) -> Unit? {
        guard start + 14 <= Self.length, packet[start] == 0, packet[start + 1] == 0, packet[start + 2] == 1 else {
            return nil
        }
        let isVideo = packet[start + 3] & 0xF0 == 0xE0
        let isAudio = packet[start + 3] & 0xE0 == 0xC0 || packet[start + 3] == 0xBD
        let hasTimes = packet[start + 7] & 0x80 != 0
        guard isVideo || isAudio, hasTimes else { return nil }
        let hasDecodingTime = packet[start + 7] & 0x40 != 0
        let time = hasDecodingTime && start + 19 <= Self.length ? start + 14 : start + 9
        let ticks =
            UInt64(packet[time] >> 1 & 0x07) << 30 | UInt64(packet[time + 1]) << 22
            | UInt64(packet[time + 2] >> 1) << 15 | UInt64(packet[time + 3]) << 7 | UInt64(packet[time + 4] >> 1)
        return Unit(isVideo: isVideo, isKeyframe: isVideo && isRandomAccess, millis: UInt32(ticks / 90))
    }
}
