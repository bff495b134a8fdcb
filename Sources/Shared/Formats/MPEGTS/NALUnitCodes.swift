import Media
import NIOCore

/// What the types of NAL units mean, in H.264 and in HEVC. Spec: H.264 table 7-1, HEVC table 7-1.
struct NALUnitCodes: Sendable {
    enum Role: Equatable {
        /// `isRandomAccess`: of an IDR picture, or of HEVC's other random access pictures.
        case slice(isRandomAccess: Bool)
        case parameterSet
        case supplemental
        /// Delimiters and filler data, which frames do not hold.
        case dropped
        case other
    }

    static let startCode = ByteBuffer(bytes: [0, 0, 0, 1])

    let isHEVC: Bool
    /// An access unit delimiter with its start code that allows every picture type.
    let delimiter: ByteBuffer

    /// `codec` is H.264 or HEVC.
    init(_ codec: Codec) {
        precondition(codec == .h264 || codec == .hevc, "\(codec) has no NAL units")
        self.isHEVC = codec == .hevc
        self.delimiter = self.isHEVC ? Self.hevcDelimiter : Self.avcDelimiter
    }

    private static let avcDelimiter = ByteBuffer(bytes: [0, 0, 0, 1, 0x09, 0xF0])
    private static let hevcDelimiter = ByteBuffer(bytes: [0, 0, 0, 1, 0x46, 0x01, 0x50])

    var headerLength: Int { self.isHEVC ? 2 : 1 }

    func type(ofHeader byte: UInt8) -> UInt8 { self.isHEVC ? byte >> 1 & 0x3F : byte & 0x1F }

    func type(of unit: ByteBuffer) -> UInt8 {
        self.type(ofHeader: unit.getInteger(at: unit.readerIndex, as: UInt8.self) ?? 0)
    }

    /// `nuh_layer_id` of HEVC's two header bytes.
    func layer(_ first: UInt8, _ second: UInt8) -> UInt8 { (first & 1) << 5 | second >> 3 }

    func isDelimiter(_ unit: ByteBuffer) -> Bool { self.type(of: unit) == (self.isHEVC ? 35 : 9) }

    func isSequenceParameterSet(_ unit: ByteBuffer) -> Bool { self.type(of: unit) == (self.isHEVC ? 33 : 7) }

    func role(ofType type: UInt8) -> Role {
        if self.isHEVC {
            switch type {
            case 0..<32: .slice(isRandomAccess: (16...21).contains(type))
            case 32, 33, 34: .parameterSet
            case 35, 38: .dropped
            case 39: .supplemental
            default: .other
            }
        } else {
            switch type {
            case 1...5: .slice(isRandomAccess: type == 5)
            case 7, 8: .parameterSet
            case 6: .supplemental
            case 9, 12: .dropped
            default: .other
            }
        }
    }

    /// Whether a unit that comes behind a slice begins the next access unit.
    ///
    /// Slices in arbitrary order, which only H.264's Baseline profile has, are told apart by delimiters alone.
    /// Spec: H.264 §7.4.1.2.3, HEVC §7.4.2.4.4.
    func startsAccessUnit(type: UInt8, isFirstSlice: Bool) -> Bool {
        if self.isHEVC {
            switch type {
            case 0..<32: isFirstSlice
            case 32...35, 39, 41...44, 48...55: true
            default: false
            }
        } else {
            switch type {
            case 1, 2, 5: isFirstSlice
            case 6...9, 14...18: true
            default: false
            }
        }
    }

    /// Whether an H.264 SEI unit says that decoding can start at its picture: a recovery point of 0 frames.
    /// Spec: H.264 §D.1.8.
    func isRecoveryPoint(_ unit: ByteBuffer) -> Bool {
        guard !self.isHEVC else { return false }
        // The message is small, and stands behind at most a few small ones.
        let head = unit.getSlice(at: unit.readerIndex, length: min(256, unit.readableBytes)) ?? ByteBuffer()
        var reader = BitReader(removingEmulationPreventionFrom: head)
        return (try? Self.findRecoveryPoint(&reader)) == true
    }

    private static func findRecoveryPoint(_ reader: inout BitReader) throws(CodecHeaderError) -> Bool {
        try reader.skip(8)
        while reader.bitsLeft >= 24 {
            let type = try self.extendedNumber(&reader)
            let length = try self.extendedNumber(&reader)
            if type == 6 { return try reader.unsignedExpGolomb() == 0 }
            try reader.skip(length * 8)
        }
        return false
    }

    /// Bytes of 255 add up with the byte behind them (§7.3.2.3.1).
    private static func extendedNumber(_ reader: inout BitReader) throws(CodecHeaderError) -> Int {
        var number = 0
        while true {
            let byte = try reader.int(8)
            number += byte
            if byte < 255 { return number }
        }
    }
}
