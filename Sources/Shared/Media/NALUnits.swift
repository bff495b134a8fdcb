package import NIOCore

/// The NAL units of a payload in which each has its length in front.
///
/// Iteration yields slices without the length field, skips empty units, and stops in front of a unit that is cut off;
/// `validate()` tells the difference. Nothing is copied. Spec: ISO/IEC 14496-15 §5.3.4.2.
package struct LengthPrefixedNALUnits: Sequence, Sendable {
    /// The units of one frame beyond which it is none: encoders make some tens, HEVC's highest level has 600 slices, and
    /// a hostile frame of 4 MB could have a million.
    package static let maximumUnits = 4_096

    package let payload: ByteBuffer
    /// Bytes of each length field: 1 to 4.
    package let lengthSize: Int

    /// `lengthSize` is the one of the track's configuration record, 1 to 4.
    package init(_ payload: ByteBuffer, lengthSize: Int) {
        precondition((1...4).contains(lengthSize), "NAL unit length fields have 1 to 4 bytes, got \(lengthSize)")
        self.payload = payload
        self.lengthSize = lengthSize
    }

    package struct Iterator: IteratorProtocol {
        private var rest: ByteBuffer
        private let lengthSize: Int

        fileprivate init(_ units: LengthPrefixedNALUnits) {
            self.rest = units.payload
            self.lengthSize = units.lengthSize
        }

        package mutating func next() -> ByteBuffer? {
            while let length = self.rest.readNALUnitLength(size: self.lengthSize) {
                guard let unit = self.rest.readSlice(length: length) else { return nil }
                if length > 0 { return unit }
            }
            return nil
        }
    }

    package func makeIterator() -> Iterator { Iterator(self) }

    /// Checks that the lengths add up to the payload. Returns the number of units, empty ones included.
    ///
    /// Errors: `truncated` with the offset of the unit that is cut off; `tooManyUnits` beyond `limit`.
    @discardableResult
    package func validate(limit: Int = .max) throws(CodecHeaderError) -> Int {
        var rest = self.payload
        var count = 0
        while rest.readableBytes > 0 {
            guard count < limit else { throw .tooManyUnits(limit: limit) }
            let offset = rest.readerIndex - self.payload.readerIndex
            guard let length = rest.readNALUnitLength(size: self.lengthSize) else {
                throw .truncated(
                    offset: offset, neededBits: self.lengthSize * 8, availableBits: rest.readableBytes * 8)
            }
            guard rest.readableBytes >= length else {
                throw .truncated(offset: offset, neededBits: length * 8, availableBits: rest.readableBytes * 8)
            }
            rest.moveReaderIndex(forwardBy: length)
            count += 1
        }
        return count
    }

    /// Whether decoding can start at this access unit: it holds a slice of an H.264 IDR picture (type 5) or of an HEVC
    /// random access picture (BLA, IDR, CRA: types 16 to 21). `false` for other codecs.
    package func containsRandomAccessPoint(codec: Codec) -> Bool {
        for unit in self {
            guard let first = unit.getInteger(at: unit.readerIndex, as: UInt8.self) else { continue }
            switch codec {
            case .h264 where first & 0x1F == 5: return true
            case .hevc where (16...21).contains(first >> 1 & 0x3F): return true
            default: continue
            }
        }
        return false
    }
}

/// NAL units that are told apart by start codes. Spec: H.264 and HEVC, annex B.
package enum AnnexB {
    /// Whether `payload` opens with a start code, `00 00 01` or `00 00 00 01`.
    package static func hasStartCode(_ payload: ByteBuffer) -> Bool {
        guard let head = payload.getInteger(at: payload.readerIndex, as: UInt32.self) else {
            return payload.readableBytes == 3 && payload.readableBytesView.elementsEqual([0, 0, 1])
        }
        return head == 1 || head >> 8 == 1
    }

    /// Cuts a byte stream into slices, one a NAL unit, without start codes and without the zero bytes that may follow a
    /// unit. Bytes before the first start code are passed over, and so is what follows the first `limit` units. Copies
    /// nothing but the slices' handles.
    package static func units(in payload: ByteBuffer, limit: Int = .max) -> [ByteBuffer] {
        var units: [ByteBuffer] = []
        var start: Int?
        self.forEachStartCode(in: payload) { zeros, next in
            if let begin = start { self.append(payload, begin..<zeros, to: &units) }
            start = next
            return units.count < limit
        }
        if units.count < limit, let begin = start { self.append(payload, begin..<payload.readableBytes, to: &units) }
        return units
    }

    /// Rewrites a byte stream as length-prefixed units. Allocates one buffer.
    ///
    /// Errors: `unitTooLong` when a unit's length does not fit into `lengthSize` (1 to 4) bytes; `tooManyUnits` beyond
    /// `LengthPrefixedNALUnits.maximumUnits`.
    package static func lengthPrefixed(
        _ payload: ByteBuffer, lengthSize: Int
    ) throws(CodecHeaderError) -> ByteBuffer {
        precondition((1...4).contains(lengthSize), "NAL unit length fields have 1 to 4 bytes, got \(lengthSize)")
        let limit = LengthPrefixedNALUnits.maximumUnits
        let units = self.units(in: payload, limit: limit + 1)
        guard units.count <= limit else { throw .tooManyUnits(limit: limit) }
        var result = ByteBufferAllocator().buffer(capacity: payload.readableBytes + units.count * lengthSize)
        for unit in units {
            let length = unit.readableBytes
            guard lengthSize == 4 || length >> (lengthSize * 8) == 0 else {
                throw .unitTooLong(length: length, lengthSize: lengthSize)
            }
            for index in (0..<lengthSize).reversed() {
                result.writeInteger(UInt8(truncatingIfNeeded: length >> (index * 8)))
            }
            result.writeImmutableBuffer(unit)
        }
        return result
    }

    private static func append(_ payload: ByteBuffer, _ range: Range<Int>, to units: inout [ByteBuffer]) {
        var end = range.upperBound
        let base = payload.readerIndex
        while end > range.lowerBound, payload.getInteger(at: base + end - 1, as: UInt8.self) == 0 { end -= 1 }
        guard end > range.lowerBound,
            let unit = payload.getSlice(at: base + range.lowerBound, length: end - range.lowerBound)
        else { return }
        units.append(unit)
    }

    /// Calls `body` with the offset of each `00 00 01` and the offset behind it, as long as it returns true.
    private static func forEachStartCode(in payload: ByteBuffer, _ body: (Int, Int) -> Bool) {
        let bytes = payload.readableBytesUInt8Span
        var index = 2
        while index < bytes.count {
            // Three bytes can only be skipped at once when the last of them cannot be part of a start code.
            if bytes[index] > 1 {
                index += 3
            } else if bytes[index] == 1, bytes[index - 1] == 0, bytes[index - 2] == 0 {
                guard body(index - 2, index + 1) else { return }
                index += 3
            } else {
                index += 1
            }
        }
    }
}

extension ByteBuffer {
    fileprivate mutating func readNALUnitLength(size: Int) -> Int? {
        switch size {
        case 1: return self.readInteger(as: UInt8.self).map(Int.init)
        case 2: return self.readInteger(as: UInt16.self).map(Int.init)
        case 3:
            guard let (high, low) = self.readMultipleIntegers(as: (UInt8, UInt16).self) else { return nil }
            return Int(high) << 16 | Int(low)
        default: return self.readInteger(as: UInt32.self).map(Int.init)
        }
    }
}
