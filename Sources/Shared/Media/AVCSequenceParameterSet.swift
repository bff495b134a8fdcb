package import NIOCore

/// What an H.264 sequence parameter set says of the picture. Spec: H.264 §7.3.2.1.1 and §E.1.1.
package struct AVCSequenceParameterSet: Sendable, Hashable {
    package var profileIndication: UInt8
    package var profileCompatibility: UInt8
    package var levelIndication: UInt8
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    package var chromaFormat: Int = 1
    package var lumaBitDepth: Int = 8
    package var chromaBitDepth: Int = 8
    /// Displayed size in pixels, cropping applied.
    package var width: Int = 0
    package var height: Int = 0
    /// Frames (not fields) per second; `nil` without timing information.
    package var frameRate: Double?

    /// Parses a NAL unit of type 7 or 15 with its header byte and emulation prevention.
    ///
    /// A parameter set that is cut off in its usability information keeps its size; any earlier fault is an error.
    package init(parsing nalUnit: ByteBuffer) throws(CodecHeaderError) {
        var reader = BitReader(removingEmulationPreventionFrom: nalUnit)
        let unitType = UInt8(try reader.bits(8) & 0x1F)
        guard unitType == 7 || unitType == 15 else { throw .unexpectedUnitType(unitType, offset: 0) }
        self.profileIndication = UInt8(try reader.bits(8))
        self.profileCompatibility = UInt8(try reader.bits(8))
        self.levelIndication = UInt8(try reader.bits(8))
        _ = try reader.unsignedExpGolomb(maximum: 31)
        var separatePlanes = false
        if Self.profilesWithChromaFormat.contains(self.profileIndication) {
            self.chromaFormat = Int(try reader.unsignedExpGolomb(maximum: 3))
            if self.chromaFormat == 3 { separatePlanes = try reader.flag() }
            self.lumaBitDepth = 8 + Int(try reader.unsignedExpGolomb(maximum: 6))
            self.chromaBitDepth = 8 + Int(try reader.unsignedExpGolomb(maximum: 6))
            try reader.skip(1)
            if try reader.flag() { try Self.skipScalingLists(&reader, count: self.chromaFormat == 3 ? 12 : 8) }
        }
        try Self.skipOrderAndReferences(&reader)
        try self.readSize(&reader, chromaArrayType: separatePlanes ? 0 : self.chromaFormat)
        self.frameRate = try? Self.readFrameRate(&reader)
    }

    private static let profilesWithChromaFormat: [UInt8] = [
        100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135,
    ]

    private static func skipScalingLists(_ reader: inout BitReader, count: Int) throws(CodecHeaderError) {
        for index in 0..<count where try reader.flag() {
            var last: Int32 = 8
            for _ in 0..<(index < 6 ? 16 : 64) {
                last = (last &+ (try reader.signedExpGolomb())) & 0xFF
                if last == 0 { break }
            }
        }
    }

    private static func skipOrderAndReferences(_ reader: inout BitReader) throws(CodecHeaderError) {
        _ = try reader.unsignedExpGolomb(maximum: 12)
        switch try reader.unsignedExpGolomb(maximum: 2) {
        case 0:
            _ = try reader.unsignedExpGolomb(maximum: 12)
        case 1:
            try reader.skip(1)
            _ = try reader.signedExpGolomb()
            _ = try reader.signedExpGolomb()
            for _ in 0..<(try reader.unsignedExpGolomb(maximum: 255)) { _ = try reader.signedExpGolomb() }
        default:
            break
        }
        _ = try reader.unsignedExpGolomb()
        try reader.skip(1)
    }

    private mutating func readSize(_ reader: inout BitReader, chromaArrayType: Int) throws(CodecHeaderError) {
        let sizeOffset = reader.byteOffset
        // 65,536 macroblocks are far beyond any level and keep the products small.
        let codedWidth = (Int(try reader.unsignedExpGolomb(maximum: 0xFFFF)) + 1) * 16
        let mapUnits = Int(try reader.unsignedExpGolomb(maximum: 0xFFFF)) + 1
        let onlyFrames = try reader.flag()
        let codedHeight = mapUnits * 16 * (onlyFrames ? 1 : 2)
        if !onlyFrames { try reader.skip(1) }
        try reader.skip(1)
        self.width = codedWidth
        self.height = codedHeight
        guard try reader.flag() else { return }
        // §7.4.2.1.1: cropping counts in chroma samples, and in pairs of lines where fields are possible.
        let unitX = chromaArrayType == 1 || chromaArrayType == 2 ? 2 : 1
        let unitY = (chromaArrayType == 1 ? 2 : 1) * (onlyFrames ? 1 : 2)
        let left = Int(try reader.unsignedExpGolomb())
        let right = Int(try reader.unsignedExpGolomb())
        let top = Int(try reader.unsignedExpGolomb())
        let bottom = Int(try reader.unsignedExpGolomb())
        self.width -= unitX * (left + right)
        self.height -= unitY * (top + bottom)
        guard self.width > 0, self.height > 0 else {
            throw .invalidValue(UInt32(clamping: left + right + top + bottom), offset: sizeOffset)
        }
    }

    private static func readFrameRate(_ reader: inout BitReader) throws(CodecHeaderError) -> Double? {
        guard try reader.flag() else { return nil }
        try VideoUsability.skipToTiming(&reader)
        guard try reader.flag() else { return nil }
        let unitsInTick = try reader.bits(32)
        let timeScale = try reader.bits(32)
        guard unitsInTick > 0, timeScale > 0 else { return nil }
        // A tick is a field's time (§E.2.1), hence two a frame.
        return Double(timeScale) / (2 * Double(unitsInTick))
    }
}

/// The start of the video usability information, which H.264 and HEVC share.
enum VideoUsability {
    /// Passes aspect ratio, overscan, signal type and chroma location. Spec: H.264 §E.1.1, HEVC §E.2.1.
    static func skipToTiming(_ reader: inout BitReader) throws(CodecHeaderError) {
        if try reader.flag(), try reader.bits(8) == 255 { try reader.skip(32) }
        if try reader.flag() { try reader.skip(1) }
        if try reader.flag() {
            try reader.skip(4)
            if try reader.flag() { try reader.skip(24) }
        }
        if try reader.flag() {
            _ = try reader.unsignedExpGolomb()
            _ = try reader.unsignedExpGolomb()
        }
    }
}
