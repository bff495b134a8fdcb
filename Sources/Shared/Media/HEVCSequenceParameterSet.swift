package import NIOCore

/// What an HEVC sequence parameter set says of the picture. Spec: HEVC §7.3.2.2 and §E.2.1.
package struct HEVCSequenceParameterSet: Sendable, Hashable {
    package var profileByte: UInt8 = 0
    package var profileCompatibility: UInt32 = 0
    /// The 48 constraint bits, in the low bits.
    package var constraints: UInt64 = 0
    package var levelIndication: UInt8 = 0
    package var temporalLayers: Int
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    package var chromaFormat: Int
    package var lumaBitDepth: Int
    package var chromaBitDepth: Int
    /// Displayed size in pixels, conformance window applied.
    package var width: Int
    package var height: Int
    /// Pictures per second; `nil` without timing information.
    package var frameRate: Double?

    /// Parses a NAL unit of type 33 with its two header bytes and emulation prevention.
    ///
    /// A parameter set that cannot be followed to its timing information keeps its size; any fault before the bit
    /// depths is an error.
    package init(parsing nalUnit: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(removingEmulationPreventionFrom: nalUnit)
        let unitType = UInt8(try reader.bits(16) >> 9 & 0x3F)
        guard unitType == 33 else { throw .unexpectedUnitType(unitType, offset: 0) }
        try reader.skip(4)
        let subLayersOffset = reader.byteOffset
        let subLayers = try reader.int(3)
        guard subLayers <= 6 else { throw .invalidValue(UInt32(subLayers), offset: subLayersOffset) }
        self.temporalLayers = subLayers + 1
        try reader.skip(1)
        (self.chromaFormat, self.lumaBitDepth, self.chromaBitDepth, self.width, self.height) = (1, 8, 8, 0, 0)
        try self.readProfile(&reader, subLayers: subLayers)
        _ = try reader.unsignedExpGolomb(maximum: 15)
        try self.readSize(&reader)
        self.lumaBitDepth = 8 + Int(try reader.unsignedExpGolomb(maximum: 8))
        self.chromaBitDepth = 8 + Int(try reader.unsignedExpGolomb(maximum: 8))
        self.frameRate = try? Self.readFrameRate(&reader, subLayers: subLayers)
    }

    private mutating func readProfile(_ reader: inout BitReader, subLayers: Int) throws(CodecHeaderError) {
        self.profileByte = UInt8(try reader.bits(8))
        self.profileCompatibility = try reader.bits(32)
        self.constraints = UInt64(try reader.bits(16)) << 32
        self.constraints |= UInt64(try reader.bits(32))
        self.levelIndication = UInt8(try reader.bits(8))
        guard subLayers > 0 else { return }
        let presence = try reader.bits(16)
        for layer in 0..<subLayers {
            let flags = presence >> UInt32(14 - 2 * layer)
            if flags & 2 != 0 { try reader.skip(88) }
            if flags & 1 != 0 { try reader.skip(8) }
        }
    }

    private mutating func readSize(_ reader: inout BitReader) throws(CodecHeaderError) {
        self.chromaFormat = Int(try reader.unsignedExpGolomb(maximum: 3))
        let separatePlanes = self.chromaFormat == 3 ? try reader.flag() : false
        let sizeOffset = reader.byteOffset
        self.width = Int(try reader.unsignedExpGolomb(maximum: 0xFFFFF))
        self.height = Int(try reader.unsignedExpGolomb(maximum: 0xFFFFF))
        if try reader.flag() {
            let unitX = !separatePlanes && (self.chromaFormat == 1 || self.chromaFormat == 2) ? 2 : 1
            let unitY = !separatePlanes && self.chromaFormat == 1 ? 2 : 1
            let left = Int(try reader.unsignedExpGolomb())
            let right = Int(try reader.unsignedExpGolomb())
            let top = Int(try reader.unsignedExpGolomb())
            let bottom = Int(try reader.unsignedExpGolomb())
            self.width -= unitX * (left + right)
            self.height -= unitY * (top + bottom)
        }
        guard self.width > 0, self.height > 0 else {
            throw .invalidValue(UInt32(clamping: self.width), offset: sizeOffset)
        }
    }

    private static func readFrameRate(_ reader: inout BitReader, subLayers: Int) throws(CodecHeaderError) -> Double? {
        let orderBits = Int(try reader.unsignedExpGolomb(maximum: 12)) + 4
        for _ in (try reader.flag() ? 0 : subLayers)...subLayers {
            for _ in 0..<3 { _ = try reader.unsignedExpGolomb() }
        }
        for _ in 0..<6 { _ = try reader.unsignedExpGolomb() }
        if try reader.flag(), try reader.flag() { try self.skipScalingLists(&reader) }
        try reader.skip(2)
        if try reader.flag() {
            try reader.skip(8)
            _ = try reader.unsignedExpGolomb()
            _ = try reader.unsignedExpGolomb()
            try reader.skip(1)
        }
        try self.skipShortTermReferenceSets(&reader)
        if try reader.flag() {
            for _ in 0..<(try reader.unsignedExpGolomb(maximum: 32)) { try reader.skip(orderBits + 1) }
        }
        try reader.skip(2)
        guard try reader.flag() else { return nil }
        try VideoUsability.skipToTiming(&reader)
        try reader.skip(3)
        if try reader.flag() { for _ in 0..<4 { _ = try reader.unsignedExpGolomb() } }
        guard try reader.flag() else { return nil }
        let unitsInTick = try reader.bits(32)
        let timeScale = try reader.bits(32)
        return unitsInTick > 0 && timeScale > 0 ? Double(timeScale) / Double(unitsInTick) : nil
    }

    /// Spec: HEVC §7.3.4.
    private static func skipScalingLists(_ reader: inout BitReader) throws(CodecHeaderError) {
        for size in 0..<4 {
            for _ in 0..<(size == 3 ? 2 : 6) {
                guard try reader.flag() else {
                    _ = try reader.unsignedExpGolomb()
                    continue
                }
                if size > 1 { _ = try reader.signedExpGolomb() }
                for _ in 0..<min(64, 1 << (4 + size * 2)) { _ = try reader.signedExpGolomb() }
            }
        }
    }

    /// Spec: HEVC §7.3.7. A set may be coded as a change of the one before it, so the number of pictures is carried.
    private static func skipShortTermReferenceSets(_ reader: inout BitReader) throws(CodecHeaderError) {
        var pictures = 0
        for index in 0..<(try reader.unsignedExpGolomb(maximum: 64)) {
            if index > 0, try reader.flag() {
                try reader.skip(1)
                _ = try reader.unsignedExpGolomb()
                var kept = 0
                for _ in 0...pictures {
                    let isUsed = try reader.flag()
                    // `use_delta_flag` is only there for pictures that are not used.
                    if isUsed {
                        kept += 1
                    } else if try reader.flag() {
                        kept += 1
                    }
                }
                pictures = kept
            } else {
                let negative = Int(try reader.unsignedExpGolomb(maximum: 16))
                let positive = Int(try reader.unsignedExpGolomb(maximum: 16))
                pictures = negative + positive
                for _ in 0..<pictures {
                    _ = try reader.unsignedExpGolomb()
                    try reader.skip(1)
                }
            }
        }
    }
}
