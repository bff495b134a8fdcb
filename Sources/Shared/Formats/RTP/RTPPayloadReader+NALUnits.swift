import NIOCore

/// H.264 and HEVC. Spec: RFC 6184 §5, RFC 7798 §4.4.
extension RTPPayloadReader {
    // MARK: H.264

    /// Takes every structure of RFC 6184 table 1. Decoding order numbers, which only the interleaved mode needs, are
    /// passed over.
    mutating func addH264(_ payload: ByteBuffer, timestamp: UInt32) throws(RTPError) {
        var reader = RTPBytes(payload)
        let header = try reader.integer(as: UInt8.self)
        let type = header & 0x1F
        if self.unit.openFragment != nil, type != 28 { throw .unfinishedFragment }
        switch type {
        case 1...23: try self.addUnit(payload, isHEVC: false)
        case 24: try self.addAggregated(&reader, isHEVC: false)
        case 25:
            _ = try reader.integer(as: UInt16.self)
            try self.addAggregated(&reader, isHEVC: false)
        case 26, 27:
            _ = try reader.integer(as: UInt16.self)
            try self.addWithTimes(&reader, offsetLength: type == 26 ? 2 : 3, timestamp: timestamp)
        case 28, 29:
            let indicator = try reader.integer(as: UInt8.self)
            if type == 29 { _ = try reader.integer(as: UInt16.self) }
            try self.addFragment(
                reader, flags: indicator, isHEVC: false, header: [header & 0xE0 | indicator & 0x1F])
        default: throw .unsupportedUnit(type: type, offset: 0)
        }
    }

    /// MTAP16 and MTAP24: each unit with an offset to the packet's timestamp. Spec: §5.7.2.
    private mutating func addWithTimes(
        _ reader: inout RTPBytes, offsetLength: Int, timestamp: UInt32
    ) throws(RTPError) {
        while reader.bytesLeft > 0 {
            let length = Int(try reader.integer(as: UInt16.self))
            _ = try reader.integer(as: UInt8.self)
            let offset = offsetLength == 2 ? UInt32(try reader.integer(as: UInt16.self)) : try reader.uint24()
            // The length counts the unit alone.
            guard length > 0 else { throw .emptyUnit(offset: reader.offset) }
            let unit = try reader.slice(length: length)
            self.proceed(to: timestamp &+ offset)
            try self.addUnit(unit, isHEVC: false)
        }
    }

    // MARK: HEVC

    mutating func addHEVC(
        _ payload: ByteBuffer, usesDecodingOrderNumbers: Bool, isInsidePACI: Bool = false
    ) throws(RTPError) {
        var reader = RTPBytes(payload)
        let header = try reader.integer(as: UInt16.self)
        let type = UInt8(truncatingIfNeeded: header >> 9 & 0x3F)
        if self.unit.openFragment != nil, type != 49, type != 50 { throw .unfinishedFragment }
        switch type {
        case 0..<48:
            guard usesDecodingOrderNumbers else { return try self.addUnit(payload, isHEVC: true) }
            _ = try reader.integer(as: UInt16.self)
            var unit = ByteBuffer(integer: header)
            unit.writeImmutableBuffer(reader.rest)
            try self.addUnit(unit, isHEVC: true)
        case 48:
            if usesDecodingOrderNumbers { _ = try reader.integer(as: UInt16.self) }
            try self.addAggregated(&reader, isHEVC: true, hasOrderDifferences: usesDecodingOrderNumbers)
        case 49:
            let flags = try reader.integer(as: UInt8.self)
            if usesDecodingOrderNumbers, flags & 0x80 != 0 { _ = try reader.integer(as: UInt16.self) }
            let unitHeader = header & 0x81FF | UInt16(flags & 0x3F) << 9
            try self.addFragment(
                reader, flags: flags, isHEVC: true,
                header: [UInt8(truncatingIfNeeded: unitHeader >> 8), UInt8(truncatingIfNeeded: unitHeader)])
        case 50 where !isInsidePACI:
            // §4.4.4: a packet of another type with an extension in front.
            let fields = try reader.integer(as: UInt16.self)
            _ = try reader.slice(length: Int(fields >> 4 & 0x1F))
            var inner = ByteBuffer(integer: header & 0x01FF | fields & 0x8000 | (fields >> 9 & 0x3F) << 9)
            inner.writeImmutableBuffer(reader.rest)
            try self.addHEVC(inner, usesDecodingOrderNumbers: usesDecodingOrderNumbers, isInsidePACI: true)
        default: throw .unsupportedUnit(type: type, offset: 0)
        }
    }

    // MARK: Both

    private mutating func addAggregated(
        _ reader: inout RTPBytes, isHEVC: Bool, hasOrderDifferences: Bool = false
    ) throws(RTPError) {
        var isFirst = true
        while reader.bytesLeft > 0 {
            if hasOrderDifferences, !isFirst { _ = try reader.integer(as: UInt8.self) }
            isFirst = false
            let length = Int(try reader.integer(as: UInt16.self))
            guard length > 0 else { throw .emptyUnit(offset: reader.offset) }
            try self.addUnit(try reader.slice(length: length), isHEVC: isHEVC)
        }
    }

    private mutating func addUnit(_ unit: ByteBuffer, isHEVC: Bool) throws(RTPError) {
        try self.require(unit.readableBytes + 4)
        let start = self.unit.buffer.writerIndex
        self.unit.buffer.writeInteger(UInt32(truncatingIfNeeded: unit.readableBytes))
        self.unit.buffer.writeImmutableBuffer(unit)
        try self.complete(from: start, isHEVC: isHEVC)
    }

    /// `header` is the one of the unit that is cut up. A fragment that is first and last at once is accepted.
    private mutating func addFragment(
        _ reader: RTPBytes, flags: UInt8, isHEVC: Bool, header: [UInt8]
    ) throws(RTPError) {
        try self.require(reader.bytesLeft + 4 + header.count)
        if flags & 0x80 != 0 {
            guard self.unit.openFragment == nil else { throw .unfinishedFragment }
            self.unit.openFragment = self.unit.buffer.writerIndex
            self.unit.buffer.writeInteger(UInt32(0))
            self.unit.buffer.writeBytes(header)
        }
        guard let start = self.unit.openFragment else { throw .unexpectedFragment(offset: 0) }
        self.unit.buffer.writeImmutableBuffer(reader.rest)
        guard flags & 0x40 != 0 else { return }
        self.unit.openFragment = nil
        self.unit.buffer.setInteger(UInt32(truncatingIfNeeded: self.unit.buffer.writerIndex - start - 4), at: start)
        try self.complete(from: start, isHEVC: isHEVC)
    }

    /// The last unit in the buffer is whole: it stays there, or is taken out again.
    private mutating func complete(from start: Int, isHEVC: Bool) throws(RTPError) {
        let length = self.unit.buffer.writerIndex - start - 4
        guard length >= (isHEVC ? 2 : 1), let unit = self.unit.buffer.getSlice(at: start + 4, length: length) else {
            throw .truncated(offset: 0, needed: isHEVC ? 2 : 1, available: max(length, 0))
        }
        let type = NALUnits.type(of: unit, isHEVC: isHEVC)
        let isDropped = NALUnits.isDropped(type: type, isHEVC: isHEVC)
        let isParameterSet = NALUnits.isParameterSet(unit, isHEVC: isHEVC)
        if isDropped || isParameterSet {
            if isParameterSet { try self.keep(ByteBuffer(bytes: unit.readableBytesView), type: type, isHEVC: isHEVC) }
            return self.unit.buffer.moveWriterIndex(to: start)
        }
        guard NALUnits.isSendable(type: type, isHEVC: isHEVC) else { throw .unsupportedUnit(type: type, offset: 0) }
        if isHEVC {
            try self.inspectHEVC(unit, type: type)
        } else {
            try self.inspectH264(unit, type: type)
        }
    }

    /// Parameter sets of one access unit that are kept. The standards' own bounds are higher, and no stream comes near.
    private static var maximumParameterSets: Int { 64 }

    private mutating func keep(_ unit: ByteBuffer, type: UInt8, isHEVC: Bool) throws(RTPError) {
        let sets = self.unit.parameterSets
        guard sets.video.count + sets.sequence.count + sets.picture.count < Self.maximumParameterSets else {
            throw .accessUnitTooLong(limit: self.maximumLength)
        }
        self.unit.parameterSetLength += unit.readableBytes
        switch type {
        case 32 where isHEVC: self.unit.parameterSets.video.append(unit)
        case 7, 33:
            self.unit.parameterSets.sequence.append(unit)
            if isHEVC, let third = unit.getInteger(at: unit.readerIndex + 2, as: UInt8.self) {
                self.subLayers = (third >> 1 & 7) + 1
            }
        default: self.unit.parameterSets.picture.append(unit)
        }
    }

    private mutating func inspectH264(_ unit: ByteBuffer, type: UInt8) throws(RTPError) {
        guard (1...5).contains(type), let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) else { return }
        if !self.unit.hasPicture {
            // `first_mb_in_slice` of 0 is a one bit. Slices in arbitrary order are for Baseline's old users.
            let second = unit.getInteger(at: unit.readerIndex + 1, as: UInt8.self) ?? 0
            guard type != 3, type != 4, second & 0x80 != 0 else { throw .missingFirstSlice }
        }
        self.unit.hasPicture = true
        if type == 5 { self.unit.isKeyframe = true }
        if first & 0x60 != 0 { self.unit.isReferred = true }
    }

    private mutating func inspectHEVC(_ unit: ByteBuffer, type: UInt8) throws(RTPError) {
        guard type < 32, let header = unit.getInteger(at: unit.readerIndex, as: UInt16.self) else { return }
        // Pictures of further layers are not ours to judge.
        guard header >> 3 & 0x3F == 0 else { return }
        if !self.unit.hasPicture {
            let third = unit.getInteger(at: unit.readerIndex + 2, as: UInt8.self) ?? 0
            guard third & 0x80 != 0 else { throw .missingFirstSlice }
        }
        self.unit.hasPicture = true
        if (16...21).contains(type) { self.unit.isKeyframe = true }
        // Even types below 16 are referred to by no picture of their own sub-layer: so by none if that is the highest.
        let isHighest = self.subLayers.map { UInt8(truncatingIfNeeded: header & 7) >= $0 } ?? false
        if type >= 16 || type & 1 == 1 || !isHighest { self.unit.isReferred = true }
    }

    mutating func finishedNALUnits() throws(RTPError) -> RTPAccessUnit? {
        guard self.unit.openFragment == nil else { throw .unfinishedFragment }
        guard self.unit.hasPicture else { return nil }
        // What came in front of the picture may be missing: then nobody knows whether its parameter sets changed.
        if self.unit.isAfterGap, self.unit.isKeyframe, self.unit.parameterSets.sequence.isEmpty {
            throw .packetsMissing
        }
        var unit = RTPAccessUnit(
            timestamp: self.unit.timestamp, payload: self.unit.buffer, isKeyframe: self.unit.isKeyframe)
        unit.isDisposable = !self.unit.isReferred
        unit.parameterSets = self.unit.parameterSets
        return unit
    }
}
