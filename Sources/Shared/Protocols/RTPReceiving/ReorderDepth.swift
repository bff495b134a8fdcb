import Media
import NIOCore

/// How many frames may precede another in decoding order and follow it in presentation, as parameter sets tell it.
enum ReorderDepth {
    /// Of a track's first sequence parameter set; `nil` when it does not tell.
    static func declared(by track: Track) -> Int? {
        guard let record = track.configuration else { return nil }
        switch track.codec {
        case .h264:
            guard let unit = (try? AVCDecoderConfiguration(parsing: record))?.sequenceParameterSets.first else {
                return nil
            }
            return try? self.avc(unit)
        case .hevc:
            let sets = (try? HEVCDecoderConfiguration(parsing: record))?.parameterSets
            guard let unit = sets?.first(where: { $0.unitType == 33 })?.units.first else { return nil }
            return try? self.hevc(unit)
        default: return nil
        }
    }

    private static let profilesWithChromaFormat: Set<UInt32> = [
        100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135,
    ]

    /// `max_num_reorder_frames`; `nil` without a bitstream restriction. Spec: H.264 §7.3.2.1.1 and §E.1.1.
    private static func avc(_ unit: ByteBuffer) throws(CodecHeaderError) -> Int? {
        var reader = BitReader(removingEmulationPreventionFrom: unit)
        try reader.skip(8)
        let profile = try reader.bits(8)
        try reader.skip(16)
        _ = try reader.unsignedExpGolomb()
        if self.profilesWithChromaFormat.contains(profile) {
            if try reader.unsignedExpGolomb() == 3 { try reader.skip(1) }
            for _ in 0..<2 { _ = try reader.unsignedExpGolomb() }
            try reader.skip(1)
            // Scaling lists are rare enough among streams with frames out of order.
            if try reader.flag() { return nil }
        }
        _ = try reader.unsignedExpGolomb()
        switch try reader.unsignedExpGolomb(maximum: 2) {
        case 0: _ = try reader.unsignedExpGolomb()
        // §8.2.1.3: the order of presentation is the order of decoding.
        case 2: return 0
        default: return nil
        }
        _ = try reader.unsignedExpGolomb()
        try reader.skip(1)
        for _ in 0..<2 { _ = try reader.unsignedExpGolomb() }
        if !(try reader.flag()) { try reader.skip(1) }
        try reader.skip(1)
        if try reader.flag() { for _ in 0..<4 { _ = try reader.unsignedExpGolomb() } }
        guard try reader.flag() else { return nil }
        return try self.usability(&reader)
    }

    /// Spec: H.264 §E.1.1.
    private static func usability(_ reader: inout BitReader) throws(CodecHeaderError) -> Int? {
        if try reader.flag(), try reader.bits(8) == 255 { try reader.skip(32) }
        if try reader.flag() { try reader.skip(1) }
        if try reader.flag() {
            try reader.skip(4)
            if try reader.flag() { try reader.skip(24) }
        }
        if try reader.flag() { for _ in 0..<2 { _ = try reader.unsignedExpGolomb() } }
        if try reader.flag() { try reader.skip(65) }
        var hasBuffering = false
        for _ in 0..<2 where try reader.flag() {
            hasBuffering = true
            let count = try reader.unsignedExpGolomb(maximum: 31) + 1
            try reader.skip(8)
            for _ in 0..<count {
                for _ in 0..<2 { _ = try reader.unsignedExpGolomb() }
                try reader.skip(1)
            }
            try reader.skip(20)
        }
        if hasBuffering { try reader.skip(1) }
        try reader.skip(1)
        guard try reader.flag() else { return nil }
        try reader.skip(1)
        for _ in 0..<4 { _ = try reader.unsignedExpGolomb() }
        return Int(try reader.unsignedExpGolomb(maximum: 16))
    }

    /// `sps_max_num_reorder_pics` of the highest sub-layer. Spec: HEVC §7.3.2.2.1.
    private static func hevc(_ unit: ByteBuffer) throws(CodecHeaderError) -> Int? {
        var reader = BitReader(removingEmulationPreventionFrom: unit)
        try reader.skip(16 + 4)
        let subLayers = try reader.int(3)
        try reader.skip(1 + 88 + 8)
        var length = 0
        for index in 0..<(subLayers > 0 ? 8 : 0) {
            let (hasProfile, hasLevel) = (try reader.flag(), try reader.flag())
            if index < subLayers { length += (hasProfile ? 88 : 0) + (hasLevel ? 8 : 0) }
        }
        try reader.skip(length)
        _ = try reader.unsignedExpGolomb()
        if try reader.unsignedExpGolomb() == 3 { try reader.skip(1) }
        for _ in 0..<2 { _ = try reader.unsignedExpGolomb() }
        if try reader.flag() { for _ in 0..<4 { _ = try reader.unsignedExpGolomb() } }
        for _ in 0..<3 { _ = try reader.unsignedExpGolomb() }
        var depth = 0
        for _ in (try reader.flag() ? 0 : subLayers)...subLayers {
            _ = try reader.unsignedExpGolomb()
            depth = Int(try reader.unsignedExpGolomb(maximum: 16))
            _ = try reader.unsignedExpGolomb()
        }
        return depth
    }
}
