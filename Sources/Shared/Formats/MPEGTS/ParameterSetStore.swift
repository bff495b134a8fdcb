import Media
import NIOCore

/// The parameter sets of a stream by type and number, and whether they changed since the track was told.
struct ParameterSetStore: Sendable {
    private struct Entry: Sendable, Equatable {
        var type: UInt8
        var number: UInt32
        var unit: ByteBuffer
    }

    /// Sets and bytes that are kept. The standards' own bounds are higher, and no stream comes near them.
    private static let maximumCount = 64
    private static let maximumLength = 16_384

    private let codec: Codec
    private let codes: NALUnitCodes
    private var entries: [Entry] = []
    /// The track that was told last does not have these sets.
    var isChanged = false
    /// The sets are those of the track that was told last.
    var isClean: Bool { !self.isChanged }

    init(codec: Codec) {
        self.codec = codec
        self.codes = NALUnitCodes(codec)
    }

    /// Takes the parameter sets of one access unit. Returns those that are new or differ from before.
    ///
    /// `mayReplace`: decoding starts here, so a new sequence parameter set that comes with all it needs makes an end of
    /// the sets before it.
    mutating func receive(_ units: [ByteBuffer], mayReplace: Bool) -> [ByteBuffer] {
        var fresh: [Entry] = []
        for unit in units where unit.readableBytes <= Self.maximumLength {
            guard let number = self.number(of: unit) else { continue }
            let entry = Entry(type: self.codes.type(of: unit), number: number, unit: unit)
            fresh.removeAll { $0.type == entry.type && $0.number == entry.number }
            fresh.append(entry)
        }
        let changed = fresh.filter { !self.entries.contains($0) }
        guard !changed.isEmpty else { return [] }
        self.isChanged = true
        let needed: [UInt8] = self.codes.isHEVC ? [32, 33, 34] : [7, 8]
        if mayReplace, changed.contains(where: { $0.type == needed[needed.count - 2] }),
            needed.allSatisfy({ type in fresh.contains { $0.type == type } })
        {
            self.entries = fresh.map(Self.owned)
        } else {
            for entry in changed {
                self.entries.removeAll { $0.type == entry.type && $0.number == entry.number }
                self.entries.append(Self.owned(entry))
            }
        }
        // The oldest go first.
        self.entries.removeFirst(max(0, self.entries.count - Self.maximumCount))
        return changed.map(\.unit)
    }

    /// The configuration record of the sets; `nil` while one of each type is not there.
    func record() throws(CodecHeaderError) -> ByteBuffer? {
        var buffer = ByteBuffer()
        if self.codes.isHEVC {
            let (video, sequence, picture) = (self.units(32), self.units(33), self.units(34))
            guard !video.isEmpty, !sequence.isEmpty, !picture.isEmpty else { return nil }
            try HEVCDecoderConfiguration(
                videoParameterSets: video, sequenceParameterSets: sequence, pictureParameterSets: picture
            ).write(into: &buffer)
        } else {
            let (sequence, picture) = (self.units(7), self.units(8))
            guard !sequence.isEmpty, !picture.isEmpty else { return nil }
            try AVCDecoderConfiguration(sequenceParameterSets: sequence, pictureParameterSets: picture)
                .write(into: &buffer)
        }
        return buffer
    }

    private func units(_ type: UInt8) -> [ByteBuffer] { self.entries.filter { $0.type == type }.map(\.unit) }

    /// A copy, so that the packet's memory is not kept with it.
    private static func owned(_ entry: Entry) -> Entry {
        Entry(type: entry.type, number: entry.number, unit: ByteBuffer(bytes: entry.unit.readableBytesView))
    }

    /// The number that a set is referred to by; `nil` when it is cut off.
    private func number(of unit: ByteBuffer) -> UInt32? {
        let head = unit.getSlice(at: unit.readerIndex, length: min(128, unit.readableBytes)) ?? ByteBuffer()
        var reader = BitReader(removingEmulationPreventionFrom: head)
        let type = self.codes.type(of: unit)
        return try? Self.readNumber(&reader, type: type, isHEVC: self.codes.isHEVC)
    }

    private static func readNumber(
        _ reader: inout BitReader, type: UInt8, isHEVC: Bool
    ) throws(CodecHeaderError) -> UInt32 {
        try reader.skip(isHEVC ? 16 : 8)
        switch (isHEVC, type) {
        case (true, 32): return try reader.bits(4)
        case (true, 33):
            // §7.3.2.2.1: the number stands behind `profile_tier_level`, whose length depends on the sub-layers.
            try reader.skip(4)
            let subLayers = try reader.int(3)
            try reader.skip(1 + 88 + 8)
            var length = 0
            if subLayers > 0 {
                for index in 0..<8 {
                    let (hasProfile, hasLevel) = (try reader.flag(), try reader.flag())
                    if index < subLayers { length += (hasProfile ? 88 : 0) + (hasLevel ? 8 : 0) }
                }
            }
            try reader.skip(length)
        case (false, 7): try reader.skip(24)
        default: break
        }
        return try reader.unsignedExpGolomb(maximum: 255)
    }
}
