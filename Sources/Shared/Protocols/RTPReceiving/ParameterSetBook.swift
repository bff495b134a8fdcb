import Media
import NIOCore

/// The H.264 or HEVC parameter sets of a source, by type and number, and the configuration record that they make.
struct ParameterSetBook {
    private struct Entry: Equatable {
        var type: UInt8
        var number: UInt32
        var unit: ByteBuffer
    }

    /// Sets and bytes that are kept. The standards' own bounds are higher, and no stream comes near them.
    private static let maximumCount = 64
    private static let maximumLength = 8_192

    private let isHEVC: Bool
    private var entries: [Entry] = []

    /// `codec` is H.264 or HEVC.
    init(codec: Codec) {
        precondition(codec == .h264 || codec == .hevc, "\(codec) has no parameter sets")
        self.isHEVC = codec == .hevc
    }

    /// Takes NAL units, of which those that are no parameter sets are passed over. Returns whether anything changed.
    ///
    /// `startsSequence`: they came with a keyframe. Then a complete collection replaces all that was there before.
    mutating func take(_ units: [ByteBuffer], startsSequence: Bool) -> Bool {
        var fresh: [Entry] = []
        for unit in units where unit.readableBytes <= Self.maximumLength {
            guard let entry = self.entry(for: unit) else { continue }
            fresh.removeAll { $0.type == entry.type && $0.number == entry.number }
            fresh.append(entry)
        }
        guard fresh.contains(where: { !self.entries.contains($0) }) else { return false }
        if startsSequence, self.neededTypes.allSatisfy({ type in fresh.contains { $0.type == type } }) {
            self.entries = []
        }
        for entry in fresh {
            self.entries.removeAll { $0.type == entry.type && $0.number == entry.number }
            // A copy, so that the packet's memory is not kept with it.
            self.entries.append(
                Entry(
                    type: entry.type, number: entry.number, unit: ByteBuffer(bytes: entry.unit.readableBytesView)))
        }
        self.entries.removeFirst(max(0, self.entries.count - Self.maximumCount))
        return true
    }

    /// The configuration record; `nil` while a set of each type is not there, or when the sets cannot be read.
    func record() -> ByteBuffer? {
        guard self.neededTypes.allSatisfy({ type in self.entries.contains { $0.type == type } }) else { return nil }
        var buffer = ByteBuffer()
        do throws(CodecHeaderError) {
            if self.isHEVC {
                try HEVCDecoderConfiguration(
                    videoParameterSets: self.units(32), sequenceParameterSets: self.units(33),
                    pictureParameterSets: self.units(34)
                ).write(into: &buffer)
            } else {
                try AVCDecoderConfiguration(sequenceParameterSets: self.units(7), pictureParameterSets: self.units(8))
                    .write(into: &buffer)
            }
        } catch {
            return nil
        }
        return buffer
    }

    private var neededTypes: [UInt8] { self.isHEVC ? [32, 33, 34] : [7, 8] }

    private func units(_ type: UInt8) -> [ByteBuffer] {
        self.entries.filter { $0.type == type }.sorted { $0.number < $1.number }.map(\.unit)
    }

    /// `nil` for units that are no parameter sets, or cut off before their number.
    private func entry(for unit: ByteBuffer) -> Entry? {
        guard let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) else { return nil }
        let type = self.isHEVC ? first >> 1 & 0x3F : first & 0x1F
        guard self.neededTypes.contains(type) else { return nil }
        let head = unit.getSlice(at: unit.readerIndex, length: min(128, unit.readableBytes)) ?? ByteBuffer()
        guard let number = try? self.number(type: type, head: head) else { return nil }
        return Entry(type: type, number: number, unit: unit)
    }

    /// Spec: H.264 §7.3.2.1.1 and §7.3.2.2, HEVC §7.3.2.1 to §7.3.2.3.
    private func number(type: UInt8, head: ByteBuffer) throws(CodecHeaderError) -> UInt32 {
        var reader = BitReader(removingEmulationPreventionFrom: head)
        try reader.skip(self.isHEVC ? 16 : 8)
        switch type {
        case 7: try reader.skip(24)
        case 32: return try reader.bits(4)
        case 33:
            // The number stands behind `profile_tier_level`, whose length depends on the sub-layers.
            try reader.skip(4)
            let subLayers = try reader.int(3)
            try reader.skip(1 + 88 + 8)
            var length = 0
            for index in 0..<(subLayers > 0 ? 8 : 0) {
                let (hasProfile, hasLevel) = (try reader.flag(), try reader.flag())
                if index < subLayers { length += (hasProfile ? 88 : 0) + (hasLevel ? 8 : 0) }
            }
            try reader.skip(length)
        default: break
        }
        return try reader.unsignedExpGolomb(maximum: 255)
    }
}
