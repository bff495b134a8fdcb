import Media
import NIOCore

/// Cuts temporal units of AV1 into payloads of OBU elements. Spec: RTP Payload Format For AV1 §4.4 and §4.5.
struct AV1Packetizer {
    let maximumPayload: Int

    /// A part of an element in a packet: `range` of all elements' bytes.
    private struct Piece {
        var range: Range<Int>
        var beginsElement: Bool
        var endsElement: Bool
    }

    func payloads(
        of frame: ByteBuffer, isKeyframe: Bool, configurationUnits: [ByteBuffer]
    ) throws(RTPError) -> RTPPayloadBuilder {
        var elements = ByteBufferAllocator().buffer(capacity: frame.readableBytes + 64)
        var lengths: [Int] = []
        var count = 0
        var types = try self.appendElements(of: frame, to: &elements, lengths: &lengths, count: &count)
        if !types.contains(OBU.sequenceHeader), !configurationUnits.isEmpty, !lengths.isEmpty {
            (elements, lengths, count) = (ByteBufferAllocator().buffer(capacity: frame.readableBytes + 64), [], 0)
            types = []
            for unit in configurationUnits + [frame] {
                types += try self.appendElements(of: unit, to: &elements, lengths: &lengths, count: &count)
            }
        }
        let plan = self.plan(lengths)
        var builder = RTPPayloadBuilder(capacity: elements.readableBytes + plan.count * 4 + lengths.count * 4)
        builder.beginsWithParameterSets = types.first == OBU.sequenceHeader
        for (index, pieces) in plan.enumerated() {
            builder.append { self.write(pieces, of: elements, isNewSequence: isKeyframe && index == 0, into: &$0) }
        }
        return builder
    }

    /// Appends the OBUs that are sent, without their size fields, and adds all OBUs to `count`. Returns the types of
    /// those that are sent.
    private func appendElements(
        of frame: ByteBuffer, to elements: inout ByteBuffer, lengths: inout [Int], count: inout Int
    ) throws(RTPError) -> [UInt8] {
        var types: [UInt8] = []
        var reader = RTPBytes(frame)
        while reader.bytesLeft > 0 {
            let offset = reader.offset
            count += 1
            guard count <= RTPPayloadWriter.maximumUnits else {
                throw .tooManyUnits(limit: RTPPayloadWriter.maximumUnits)
            }
            let unit: OBU
            do throws(RTPError) {
                unit = try OBU(readingFrom: &reader)
            } catch {
                throw .malformedFrame(offset: offset)
            }
            // §5: delimiters, tile lists are not sent; padding need not be.
            guard ![OBU.temporalDelimiter, OBU.tileList, OBU.padding].contains(unit.type) else { continue }
            let start = elements.writerIndex
            unit.writeHeader(into: &elements, hasSize: false)
            elements.writeImmutableBuffer(unit.payload)
            lengths.append(elements.writerIndex - start)
            types.append(unit.type)
        }
        return types
    }

    /// The pieces of each packet: as few packets as there must be, all as long as the longest has to be.
    private func plan(_ lengths: [Int]) -> [[Piece]] {
        let widest = self.plan(lengths, size: self.maximumPayload)
        guard widest.count > 1 else { return widest }
        let total = lengths.reduce(0, +) + widest.count
        let start = (total + widest.count - 1) / widest.count
        for size in start..<min(start + 16, self.maximumPayload) {
            let narrow = self.plan(lengths, size: size)
            if narrow.count == widest.count { return narrow }
        }
        return widest
    }

    /// Fills packets of `size` bytes one after the other.
    private func plan(_ lengths: [Int], size: Int) -> [[Piece]] {
        var packets: [[Piece]] = []
        var pieces: [Piece] = []
        var room = size - 1
        var offset = 0
        for (index, length) in lengths.enumerated() {
            var rest = length
            while rest > 0 {
                // The last of up to three pieces has no length in front (§4.4, W).
                let isCounted = pieces.count < 3
                let isLastElement = index == lengths.count - 1
                let taken: Int
                let isFull: Bool
                if isCounted, rest >= room {
                    (taken, isFull) = (room, true)
                } else if isCounted, isLastElement {
                    (taken, isFull) = (rest, true)
                } else if rest + OBU.sizeLength(rest) <= room {
                    taken = rest
                    room -= rest + OBU.sizeLength(rest)
                    isFull = room < (pieces.count < 2 ? 1 : 2)
                } else if isCounted {
                    // It fits only without its length.
                    (taken, isFull) = (rest, true)
                } else {
                    taken = room - OBU.sizeLength(room - 1)
                    isFull = true
                }
                pieces.append(
                    Piece(
                        range: offset..<offset + taken, beginsElement: rest == length, endsElement: taken == rest))
                offset += taken
                rest -= taken
                if isFull {
                    packets.append(pieces)
                    (pieces, room) = ([], size - 1)
                }
            }
        }
        if !pieces.isEmpty { packets.append(pieces) }
        return packets
    }

    private func write(_ pieces: [Piece], of elements: ByteBuffer, isNewSequence: Bool, into buffer: inout ByteBuffer) {
        guard let first = pieces.first, let last = pieces.last else { return }
        let count = pieces.count <= 3 ? pieces.count : 0
        buffer.writeInteger(
            UInt8(first.beginsElement ? 0 : 0x80) | (last.endsElement ? 0 : 0x40)
                | UInt8(truncatingIfNeeded: count << 4) | (isNewSequence ? 0x08 : 0))
        for (index, piece) in pieces.enumerated() {
            if count == 0 || index < count - 1 { OBU.writeSize(piece.range.count, into: &buffer) }
            if let bytes = elements.getSlice(at: piece.range.lowerBound, length: piece.range.count) {
                buffer.writeImmutableBuffer(bytes)
            }
        }
    }
}

/// One open bitstream unit of AV1. Spec: AV1 §5.3.
struct OBU {
    static let sequenceHeader: UInt8 = 1
    static let temporalDelimiter: UInt8 = 2
    static let frameHeader: UInt8 = 3
    static let frame: UInt8 = 6
    static let tileList: UInt8 = 8
    static let padding: UInt8 = 15

    var type: UInt8
    /// The byte of temporal and spatial id.
    var layer: UInt8?
    var payload: ByteBuffer

    /// Takes one unit; without a size field it goes to the end.
    ///
    /// Errors: `truncated`, `invalidValue` for the forbidden bit or a size beyond 32 bits.
    init(readingFrom reader: inout RTPBytes) throws(RTPError) {
        let offset = reader.offset
        let header = try reader.integer(as: UInt8.self)
        guard header & 0x80 == 0 else { throw .invalidValue(UInt32(header), offset: offset) }
        self.type = header >> 3 & 0x0F
        self.layer = header & 0x04 != 0 ? try reader.integer(as: UInt8.self) : nil
        let length = header & 0x02 != 0 ? try reader.leb128() : reader.bytesLeft
        self.payload = try reader.slice(length: length)
    }

    func writeHeader(into buffer: inout ByteBuffer, hasSize: Bool) {
        buffer.writeInteger(self.type << 3 | (self.layer == nil ? 0 : 0x04) | (hasSize ? 0x02 : 0))
        if let layer = self.layer { buffer.writeInteger(layer) }
        if hasSize { Self.writeSize(self.payload.readableBytes, into: &buffer) }
    }

    /// Bytes of `leb128()`.
    static func sizeLength(_ value: Int) -> Int {
        value < 1 << 7 ? 1 : value < 1 << 14 ? 2 : value < 1 << 21 ? 3 : value < 1 << 28 ? 4 : 5
    }

    static func writeSize(_ value: Int, into buffer: inout ByteBuffer) {
        var rest = value
        while rest >= 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: rest & 0x7F | 0x80))
            rest >>= 7
        }
        buffer.writeInteger(UInt8(truncatingIfNeeded: rest))
    }
}
