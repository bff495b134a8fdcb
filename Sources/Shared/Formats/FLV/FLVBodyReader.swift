import NIOCore

/// Reads the header fields of a message body; errors carry the offset from the body's start.
struct FLVBodyReader {
    /// One track of an enhanced RTMP body, as its header names it.
    struct Track {
        var packetType: UInt8
        var fourCC: UInt32
        var id: UInt8
        var body: FLVBodyReader
    }

    private var buffer: ByteBuffer
    private let start: Int

    init(_ body: ByteBuffer) {
        self.buffer = body
        self.start = body.readerIndex
    }

    private init(_ slice: ByteBuffer, start: Int) {
        self.buffer = slice
        self.start = start
    }

    var bytesLeft: Int { self.buffer.readableBytes }
    private var offset: Int { self.buffer.readerIndex - self.start }

    mutating func optionalByte() -> UInt8? { self.buffer.readInteger(as: UInt8.self) }

    mutating func byte() throws(FLVError) -> UInt8 {
        guard let value = self.buffer.readInteger(as: UInt8.self) else { throw self.truncated(needed: 1) }
        return value
    }

    /// A 24-bit two's complement number.
    mutating func signed24() throws(FLVError) -> Int32 {
        Int32(bitPattern: try self.unsigned24() << 8) >> 8
    }

    mutating func unsigned24() throws(FLVError) -> UInt32 {
        guard let (high, low) = self.buffer.readMultipleIntegers(as: (UInt8, UInt16).self) else {
            throw self.truncated(needed: 3)
        }
        return UInt32(high) << 16 | UInt32(low)
    }

    mutating func fourCC() throws(FLVError) -> UInt32 {
        guard let value = self.buffer.readInteger(as: UInt32.self) else { throw self.truncated(needed: 4) }
        return value
    }

    /// All that is left, as a slice.
    mutating func rest() -> ByteBuffer { self.buffer.readSlice(length: self.buffer.readableBytes) ?? ByteBuffer() }

    /// Passes over the modifier extensions that may stand before the packet type proper, whose nanosecond offset is
    /// finer than this module's milliseconds. Spec: enhanced RTMP v2, `ModEx`.
    mutating func packetType(_ first: UInt8) throws(FLVError) -> UInt8 {
        var packetType = first
        while packetType == FLVPacketType.modifierExtension {
            var length = Int(try self.byte()) + 1
            if length == 256 {
                guard let long = self.buffer.readInteger(as: UInt16.self) else { throw self.truncated(needed: 2) }
                length = Int(long) + 1
            }
            guard self.buffer.readableBytes >= length else { throw self.truncated(needed: length) }
            self.buffer.moveReaderIndex(forwardBy: length)
            packetType = try self.byte() & 0x0F
        }
        return packetType
    }

    /// Reads the codec's name and, in a multitrack body, the track with the lowest id.
    mutating func trackHeader(_ packetType: UInt8, multitrackType: UInt8) throws(FLVError) -> Track {
        guard packetType == multitrackType else {
            let fourCC = try self.fourCC()
            return Track(packetType: packetType, fourCC: fourCC, id: 0, body: self)
        }
        let offset = self.offset
        let types = try self.byte()
        let (arrangement, inner) = (types >> 4, types & 0x0F)
        // 0: one track, 1: many tracks of one codec, 2: many tracks of several codecs.
        guard arrangement <= 2, inner != multitrackType, inner != FLVPacketType.modifierExtension else {
            throw .undefinedValue(types, offset: offset)
        }
        var fourCC = arrangement == 2 ? 0 : try self.fourCC()
        if arrangement == 0 {
            let id = try self.byte()
            return Track(packetType: inner, fourCC: fourCC, id: id, body: self)
        }
        var lowest: Track?
        repeat {
            if arrangement == 2 { fourCC = try self.fourCC() }
            let id = try self.byte()
            let length = Int(try self.unsigned24())
            guard let slice = self.buffer.readSlice(length: length) else { throw self.truncated(needed: length) }
            guard lowest.map({ id < $0.id }) ?? true else { continue }
            // A slice counts from 0, so this start keeps its offsets those of the body.
            let sliceStart = length + self.start - self.buffer.readerIndex
            lowest = Track(
                packetType: inner, fourCC: fourCC, id: id, body: FLVBodyReader(slice, start: sliceStart))
        } while self.buffer.readableBytes > 0
        guard let lowest else { throw self.truncated(needed: 4) }
        return lowest
    }

    private func truncated(needed: Int) -> FLVError {
        .truncated(offset: self.offset, needed: needed, available: self.buffer.readableBytes)
    }
}
