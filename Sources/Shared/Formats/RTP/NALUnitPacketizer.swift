import Media
import NIOCore

/// Cuts access units of H.264 and HEVC. Spec: RFC 6184 §5.6 to §5.8, RFC 7798 §4.4.
struct NALUnitPacketizer {
    let isHEVC: Bool
    /// Whether units may be aggregated and fragmented.
    let canCombine: Bool
    let maximumPayload: Int

    func payloads(
        of frame: ByteBuffer, lengthSize: Int, parameterSets: [ByteBuffer]
    ) throws(RTPError) -> RTPPayloadBuilder {
        let units = try self.units(of: frame, lengthSize: lengthSize, parameterSets: parameterSets)
        var builder = RTPPayloadBuilder(
            capacity: units.reduce(0) { $0 + $1.readableBytes + $1.readableBytes / self.maximumPayload * 3 + 8 })
        if let first = units.first {
            builder.beginsWithParameterSets = NALUnits.isParameterSet(first, isHEVC: self.isHEVC)
        }
        var group: [ByteBuffer] = []
        var groupLength = 0
        for unit in units {
            let length = unit.readableBytes
            if self.canCombine, self.headerLength + groupLength + 2 + length <= self.maximumPayload {
                group.append(unit)
                groupLength += 2 + length
                continue
            }
            self.flush(&group, into: &builder)
            groupLength = 0
            if length <= self.maximumPayload {
                // It may be the first of the next group.
                group = [unit]
                groupLength = 2 + length
                if !self.canCombine { self.flush(&group, into: &builder) }
            } else {
                guard self.canCombine else {
                    throw .frameTooLong(length: length, maximum: self.maximumPayload)
                }
                self.fragment(unit, into: &builder)
            }
        }
        self.flush(&group, into: &builder)
        return builder
    }

    private var headerLength: Int { self.isHEVC ? 2 : 1 }

    /// What is sent of the frame: no delimiters, no filler, nothing whose type the payload format has taken.
    private func units(
        of frame: ByteBuffer, lengthSize: Int, parameterSets: [ByteBuffer]
    ) throws(RTPError) -> [ByteBuffer] {
        let all = LengthPrefixedNALUnits(frame, lengthSize: lengthSize)
        let limit = RTPPayloadWriter.maximumUnits
        do throws(CodecHeaderError) {
            try all.validate(limit: limit)
        } catch {
            switch error {
            case .truncated(let offset, _, _): throw .malformedFrame(offset: offset)
            case .tooManyUnits(let limit): throw .tooManyUnits(limit: limit)
            default: throw .malformedFrame(offset: 0)
            }
        }
        var units: [ByteBuffer] = []
        var types: Set<UInt8> = []
        for unit in all where unit.readableBytes >= self.headerLength {
            let type = NALUnits.type(of: unit, isHEVC: self.isHEVC)
            guard NALUnits.isSendable(type: type, isHEVC: self.isHEVC) else { continue }
            types.insert(type)
            units.append(unit)
        }
        guard !units.isEmpty else { return [] }
        let missing = parameterSets.filter {
            $0.readableBytes > self.headerLength && !types.contains(NALUnits.type(of: $0, isHEVC: self.isHEVC))
        }
        guard missing.count + units.count <= limit else { throw .tooManyUnits(limit: limit) }
        return missing + units
    }

    /// Writes what was collected: one unit as it is, several as an aggregation packet (STAP-A, AP).
    private func flush(_ group: inout [ByteBuffer], into builder: inout RTPPayloadBuilder) {
        defer { group.removeAll(keepingCapacity: true) }
        guard group.count > 1 else {
            if let unit = group.first { builder.append { $0.writeImmutableBuffer(unit) } }
            return
        }
        builder.append { buffer in
            if self.isHEVC {
                // RFC 7798 §4.4.2: F is set if any unit's is; layer and temporal id are the lowest.
                let headers = group.map { $0.getInteger(at: $0.readerIndex, as: UInt16.self) ?? 0 }
                let forbidden = headers.reduce(0) { $0 | $1 & 0x8000 }
                let layer = headers.map { $0 & 0x01F8 }.min() ?? 0
                let temporal = headers.map { $0 & 7 }.min() ?? 1
                buffer.writeInteger(forbidden | 48 << 9 | layer | temporal)
            } else {
                // RFC 6184 §5.7: F is set if any unit's is; NRI is the highest.
                let headers = group.map { $0.getInteger(at: $0.readerIndex, as: UInt8.self) ?? 0 }
                let forbidden = headers.reduce(0) { $0 | $1 & 0x80 }
                let importance = headers.map { $0 & 0x60 }.max() ?? 0
                buffer.writeInteger(forbidden | importance | 24)
            }
            for unit in group {
                buffer.writeInteger(UInt16(truncatingIfNeeded: unit.readableBytes))
                buffer.writeImmutableBuffer(unit)
            }
        }
    }

    /// Cuts a unit into FU-As or HEVC FUs.
    private func fragment(_ unit: ByteBuffer, into builder: inout RTPPayloadBuilder) {
        var data = unit
        if self.isHEVC {
            guard let header = data.readInteger(as: UInt16.self) else { return }
            let type = UInt8(truncatingIfNeeded: header >> 9 & 0x3F)
            RTPPayloadBuilder.forEachPiece(of: data, room: self.maximumPayload - 3) { piece, isFirst, isLast in
                builder.append { buffer in
                    buffer.writeMultipleIntegers(
                        header & 0x81FF | 49 << 9, (isFirst ? 0x80 : 0) | (isLast ? 0x40 : 0) | type)
                    buffer.writeImmutableBuffer(piece)
                }
            }
        } else {
            guard let header = data.readInteger(as: UInt8.self) else { return }
            RTPPayloadBuilder.forEachPiece(of: data, room: self.maximumPayload - 2) { piece, isFirst, isLast in
                builder.append { buffer in
                    buffer.writeMultipleIntegers(
                        header & 0xE0 | 28, (isFirst ? 0x80 : 0) | (isLast ? 0x40 : 0) | header & 0x1F)
                    buffer.writeImmutableBuffer(piece)
                }
            }
        }
    }
}

/// What the types of NAL units mean for packets. Spec: H.264 table 7-1, HEVC table 7-1.
enum NALUnits {
    static func type(of unit: ByteBuffer, isHEVC: Bool) -> UInt8 {
        let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) ?? 0
        return isHEVC ? first >> 1 & 0x3F : first & 0x1F
    }

    static func isParameterSet(_ unit: ByteBuffer, isHEVC: Bool) -> Bool {
        let type = self.type(of: unit, isHEVC: isHEVC)
        return isHEVC ? (32...34).contains(type) : type == 7 || type == 8
    }

    /// Delimiters and filler data, which frames do not hold.
    static func isDropped(type: UInt8, isHEVC: Bool) -> Bool {
        isHEVC ? type == 35 || type == 38 : type == 9 || type == 12
    }

    /// Types above are the payload formats' own, as is H.264's 0.
    static func isSendable(type: UInt8, isHEVC: Bool) -> Bool {
        guard !self.isDropped(type: type, isHEVC: isHEVC) else { return false }
        return isHEVC ? type < 48 : (1..<24).contains(type)
    }
}
