package import Media
package import NIOCore

/// The header of an FLV file or HTTP-FLV response. Spec: FLV 10.1 §E.2.
package enum FLVFileHeader {
    /// Bytes that `write` appends: the header and the first `PreviousTagSize`.
    package static let byteCount = 13

    /// Appends the header, and the size 0 of the tag that is not there.
    package static func write(hasAudio: Bool, hasVideo: Bool, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            UInt32(0x464C_5601), UInt8((hasAudio ? 4 : 0) | (hasVideo ? 1 : 0)), UInt32(9), UInt32(0))
    }
}

/// Writes FLV tags. Appends to the caller's buffer and allocates nothing else. Spec: FLV 10.1 §E.3, §E.4.1.
package enum FLVTagWriter {
    /// Bytes in front of a tag's body.
    package static let headerByteCount = 11
    /// Bytes of a tag that are not its body: the header in front and the size behind.
    package static let overhead = 15
    /// The largest body a tag can have.
    package static let maximumBodyLength = 0xFF_FFFF

    /// Appends the 11 bytes in front of a body of `bodyLength` bytes.
    ///
    /// `timestampMillis` is reduced to 32 bits, so it wraps after 49 days as FLV's clock does.
    package static func writeTagHeader(
        type: FLVTagType, timestampMillis: Int64, bodyLength: Int, into buffer: inout ByteBuffer
    ) {
        precondition(
            (0...self.maximumBodyLength).contains(bodyLength), "a tag's body cannot have \(bodyLength) bytes")
        let time = UInt32(truncatingIfNeeded: timestampMillis)
        // 24 bits of time, then its highest 8, then a stream id of 0.
        buffer.writeMultipleIntegers(
            UInt32(type.rawValue) << 24 | UInt32(bodyLength), time << 8 | time >> 24, UInt16(0), UInt8(0))
    }

    /// Appends the `PreviousTagSize` behind a body of `bodyLength` bytes.
    package static func writeTrailer(bodyLength: Int, into buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt32(truncatingIfNeeded: bodyLength + self.headerByteCount))
    }

    /// Appends a whole tag whose body is `header` followed by `payload`. Returns the number of bytes.
    @discardableResult
    package static func writeTag(
        type: FLVTagType, timestampMillis: Int64, header: ByteBuffer = ByteBuffer(), payload: ByteBuffer,
        into buffer: inout ByteBuffer
    ) -> Int {
        let length = header.readableBytes + payload.readableBytes
        self.writeTagHeader(type: type, timestampMillis: timestampMillis, bodyLength: length, into: &buffer)
        buffer.writeImmutableBuffer(header)
        buffer.writeImmutableBuffer(payload)
        self.writeTrailer(bodyLength: length, into: &buffer)
        return length + self.overhead
    }

    /// Appends the tag of `frame` at its `dts`. Returns the number of bytes; 0, with nothing written, when the frame is
    /// larger than a tag can be.
    @discardableResult
    package static func writeTag(of frame: Frame, track: Track, into buffer: inout ByteBuffer) -> Int {
        guard frame.payload.readableBytes + FLVTagBodyWriter.maximumHeaderLength <= self.maximumBodyLength else {
            return 0
        }
        let start = buffer.writerIndex
        self.writeTagHeader(
            type: frame.kind == .video ? .video : .audio, timestampMillis: frame.dts.millis, bodyLength: 0,
            into: &buffer)
        FLVTagBodyWriter.writeHeader(of: frame, track: track, into: &buffer)
        buffer.writeImmutableBuffer(frame.payload)
        return self.finishTag(startedAt: start, &buffer)
    }

    /// Appends the tag of the track's sequence header. Returns the number of bytes; 0, with nothing written, for a
    /// track without a configuration record.
    @discardableResult
    package static func writeTag(
        ofConfiguration track: Track, timestampMillis: Int64, into buffer: inout ByteBuffer
    ) -> Int {
        guard let record = track.configuration, record.readableBytes + 16 <= self.maximumBodyLength else { return 0 }
        let start = buffer.writerIndex
        self.writeTagHeader(
            type: track.kind == .video ? .video : .audio, timestampMillis: timestampMillis, bodyLength: 0,
            into: &buffer)
        guard FLVTagBodyWriter.writeConfiguration(of: track, into: &buffer) != nil else {
            buffer.moveWriterIndex(to: start)
            return 0
        }
        return self.finishTag(startedAt: start, &buffer)
    }

    /// Puts the length of the body, known only now, into the header, and appends the trailer.
    private static func finishTag(startedAt start: Int, _ buffer: inout ByteBuffer) -> Int {
        let length = buffer.writerIndex - start - self.headerByteCount
        buffer.setInteger(UInt8(truncatingIfNeeded: length >> 16), at: start + 1)
        buffer.setInteger(UInt16(truncatingIfNeeded: length), at: start + 2)
        self.writeTrailer(bodyLength: length, into: &buffer)
        return length + self.overhead
    }
}

/// One tag of an FLV file.
package struct FLVTag: Equatable, Sendable {
    package var type: FLVTagType
    /// The file's 32-bit clock, as it is in the tag.
    package var timestampMillis: UInt32
    package var body: ByteBuffer

    package init(type: FLVTagType, timestampMillis: UInt32, body: ByteBuffer) {
        self.type = type
        self.timestampMillis = timestampMillis
        self.body = body
    }
}

/// Cuts the bytes of an FLV file or HTTP-FLV stream into tags.
///
/// Feed it bytes as they come with `receive`, then drain `nextTag` to `nil`. It keeps what is received and not yet
/// returned, which the owner bounds by draining; a tag that announces more than `maximumBodyLength` is an error before
/// its bytes are waited for. Tags of unknown types are passed over, and so are wrong `PreviousTagSize` fields, which
/// many writers get wrong. Spec: FLV 10.1 §E.2 to §E.4.1.
package struct FLVFileReader: Sendable {
    /// Room for extensions of the file header, which nobody uses.
    private static let maximumHeaderLength = 1024

    private var buffer = ByteBuffer()
    /// Bytes of the file that came before `buffer`'s reader index.
    private var offset = 0
    private var hasReadHeader = false
    private let maximumBodyLength: Int

    /// The flags of the file header; `nil` before it was read. They are often wrong.
    package private(set) var declaresAudio: Bool?
    package private(set) var declaresVideo: Bool?

    /// `maximumBodyLength` is the largest tag body that is accepted, in bytes.
    package init(maximumBodyLength: Int = 8 << 20) {
        precondition(
            (1...FLVTagWriter.maximumBodyLength).contains(maximumBodyLength),
            "a tag's body cannot have \(maximumBodyLength) bytes")
        self.maximumBodyLength = maximumBodyLength
    }

    /// Bytes received and not yet returned.
    package var bufferedBytes: Int { self.buffer.readableBytes }

    package mutating func receive(_ bytes: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole tag, or `nil` when more bytes are needed. After an error the reader is of no further use.
    package mutating func nextTag() throws(FLVError) -> FLVTag? {
        guard try self.readHeader() else { return nil }
        while true {
            let start = self.buffer.readerIndex
            guard let (typeAndLength, time) = self.buffer.getMultipleIntegers(at: start, as: (UInt32, UInt32).self)
            else { return nil }
            guard typeAndLength & 0x2000_0000 == 0 else { throw .encrypted(offset: self.offset) }
            let length = Int(typeAndLength & 0xFF_FFFF)
            guard length <= self.maximumBodyLength else {
                throw .tooLong(length: length, maximum: self.maximumBodyLength, offset: self.offset)
            }
            let whole = length + FLVTagWriter.overhead
            guard self.buffer.readableBytes >= whole,
                let body = self.buffer.getSlice(at: start + FLVTagWriter.headerByteCount, length: length)
            else { return nil }
            self.consume(whole)
            guard let type = FLVTagType(rawValue: UInt8(typeAndLength >> 24 & 0x1F)) else { continue }
            return FLVTag(type: type, timestampMillis: time >> 8 | time << 24, body: body)
        }
    }

    private mutating func readHeader() throws(FLVError) -> Bool {
        guard !self.hasReadHeader else { return true }
        let start = self.buffer.readerIndex
        guard
            let (signature, flags, length) = self.buffer.getMultipleIntegers(
                at: start, as: (UInt32, UInt8, UInt32).self)
        else { return false }
        guard signature == 0x464C_5601 else { throw .notFLV(offset: 0) }
        guard length >= 9, length <= UInt32(Self.maximumHeaderLength) else {
            throw .tooLong(length: Int(length), maximum: Self.maximumHeaderLength, offset: 5)
        }
        guard self.buffer.readableBytes >= Int(length) + 4 else { return false }
        self.consume(Int(length) + 4)
        self.declaresAudio = flags & 4 != 0
        self.declaresVideo = flags & 1 != 0
        self.hasReadHeader = true
        return true
    }

    private mutating func consume(_ count: Int) {
        self.buffer.moveReaderIndex(forwardBy: count)
        self.offset += count
    }
}
