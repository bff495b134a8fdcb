package import NIOCore

/// Writes program streams as cameras do, for tests: one pack for each frame.
package struct ProgramStreamWriter {
    package static let videoID: UInt8 = 0xE0
    package static let audioID: UInt8 = 0xC0

    package private(set) var bytes = ByteBuffer()

    package init() {}

    /// A pack header with the clock of 33 bits, and bytes of stuffing.
    package mutating func pack(_ clock: Int64, stuffing: Int = 0) {
        let time = UInt64(clock & ((1 << 33) - 1))
        var bits: UInt64 = 1 << 46 | (time >> 30) << 43 | 1 << 42
        bits |= (time >> 15 & 0x7FFF) << 27 | 1 << 26
        bits |= (time & 0x7FFF) << 11 | 1 << 10 | 1
        self.bytes.writeInteger(UInt32(0x0000_01BA))
        self.bytes.writeInteger(UInt16(truncatingIfNeeded: bits >> 32))
        self.bytes.writeInteger(UInt32(truncatingIfNeeded: bits))
        self.bytes.writeBytes([0x01, 0x89, 0xC3, 0xF8 | UInt8(stuffing)])
        self.bytes.writeRepeatingByte(0xFF, count: stuffing)
    }

    package mutating func systemHeader() {
        self.bytes.writeBytes([0, 0, 1, 0xBB, 0, 12, 0x80, 0xC4, 0xE1, 0x04, 0xE1, 0xFF])
        self.bytes.writeBytes([0xE0, 0xE0, 0x80, 0xC0, 0xC0, 0x40])
    }

    /// A stream map; without a checksum, as many cameras write it.
    package mutating func map(_ streams: [(type: UInt8, id: UInt8)]) {
        self.bytes.writeInteger(UInt32(0x0000_01BC))
        self.bytes.writeInteger(UInt16(6 + streams.count * 4 + 4))
        self.bytes.writeBytes([0xE0, 0xFF, 0, 0])
        self.bytes.writeInteger(UInt16(streams.count * 4))
        for stream in streams { self.bytes.writeBytes([stream.type, stream.id, 0, 0]) }
        self.bytes.writeInteger(UInt32(0))
    }

    /// Packets of `payload`, at most `maximum` bytes each. `isOpen`: one packet without a length.
    package mutating func packet(
        _ id: UInt8, _ payload: ByteBuffer, pts: Int64?, dts: Int64? = nil, maximum: Int = 65_000, isOpen: Bool = false
    ) {
        var rest = payload
        var isFirst = true
        repeat {
            let length = isOpen ? rest.readableBytes : min(maximum, rest.readableBytes)
            guard let piece = rest.readSlice(length: length) else { return }
            var header = ByteBuffer(bytes: [0x84, 0, 0])
            if isFirst, let pts {
                header.setInteger(UInt8(dts == nil ? 0x80 : 0xC0), at: 1)
                header.setInteger(UInt8(dts == nil ? 5 : 10), at: 2)
                Self.time(pts, mark: dts == nil ? 2 : 3, into: &header)
                if let dts { Self.time(dts, mark: 1, into: &header) }
            }
            self.bytes.writeInteger(0x0000_0100 | UInt32(id))
            self.bytes.writeInteger(isOpen ? UInt16(0) : UInt16(header.readableBytes + length))
            self.bytes.writeBuffer(&header)
            self.bytes.writeImmutableBuffer(piece)
            isFirst = false
        } while rest.readableBytes > 0
    }

    package mutating func raw(_ bytes: [UInt8]) { self.bytes.writeBytes(bytes) }

    private static func time(_ ticks: Int64, mark: UInt8, into buffer: inout ByteBuffer) {
        let time = UInt64(ticks & ((1 << 33) - 1))
        buffer.writeInteger(mark << 4 | UInt8(time >> 30) << 1 | 1)
        buffer.writeInteger(UInt16(time >> 15 & 0x7FFF) << 1 | 1)
        buffer.writeInteger(UInt16(time & 0x7FFF) << 1 | 1)
    }

    // MARK: Pictures

    /// Parameter sets of H.264: 1280 × 720, High.
    package static let parameterSets: [[UInt8]] = [
        [
            0x67, 0x64, 0x00, 0x1F, 0xAC, 0xD9, 0x40, 0x50, 0x05, 0xBB, 0x01, 0x6A, 0x02, 0x02, 0x02, 0x80, 0x00, 0x00,
            0x03, 0x00, 0x80, 0x00, 0x00, 0x1E, 0x07, 0x8C, 0x18, 0xCB,
        ], [0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0],
    ]

    /// A slice without start codes in it.
    package static func slice(key: Bool, length: Int, seed: UInt8) -> [UInt8] {
        [key ? 0x65 : 0x41, 0x88]
            + (2..<max(3, length)).map { (UInt8(truncatingIfNeeded: $0 &* 7) ^ seed) | 1 }
    }

    /// An access unit in the byte stream format: a key frame has its parameter sets in front.
    package static func picture(key: Bool, length: Int, seed: UInt8 = 0) -> ByteBuffer {
        var buffer = ByteBuffer()
        for unit in (key ? self.parameterSets : []) + [self.slice(key: key, length: length, seed: seed)] {
            buffer.writeBytes([0, 0, 0, 1])
            buffer.writeBytes(unit)
        }
        return buffer
    }

    /// `count` frames of H.264 at 25 a second, a key frame each `group`, with A-law of 40 ms between them.
    package static func camera(
        _ count: Int, from start: Int64 = 90_000, group: Int = 10, hasMap: Bool = true, keyLength: Int = 3_000
    ) -> [ByteBuffer] {
        (0..<count).map { index in
            var writer = ProgramStreamWriter()
            let time = start + Int64(index) * 3_600
            let isKey = index % group == 0
            writer.pack(time)
            if isKey, hasMap {
                writer.systemHeader()
                writer.map([(0x1B, self.videoID), (0x90, self.audioID)])
            }
            writer.packet(
                self.videoID,
                self.picture(key: isKey, length: isKey ? keyLength : 200 + index, seed: UInt8(index & 0xFE)),
                pts: time)
            writer.packet(self.audioID, ByteBuffer(repeating: UInt8(index & 0x7F), count: 320), pts: time)
            return writer.bytes
        }
    }
}
