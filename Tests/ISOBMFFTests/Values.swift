import Media
import NIOCore

@testable import ISOBMFF

/// Tracks and samples for tests that need no codec.
enum Make {
    /// A parameter set of 320 × 180, made by x264.
    static let avcC: [UInt8] = [
        0x01, 0x64, 0x00, 0x0C, 0xFF, 0xE1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x0C, 0xAC, 0xD9, 0x41, 0x41, 0x9F, 0x9E,
        0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x03, 0x20, 0xF1, 0x42, 0x99, 0x60, 0x01, 0x00, 0x06,
        0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0, 0xFD, 0xF8, 0xF8, 0x00,
    ]

    static func video(id: UInt32 = 1, timescale: UInt32 = 90_000) throws -> MP4Track {
        try MP4Track(
            id: id, timescale: timescale,
            track: Track(codec: .h264, parsingConfiguration: ByteBuffer(bytes: self.avcC)))
    }

    static func audio(id: UInt32 = 2, timescale: UInt32 = 48_000) throws -> MP4Track {
        try MP4Track(
            id: id, timescale: timescale,
            track: Track(codec: .aac, parsingConfiguration: ByteBuffer(bytes: [0x11, 0x90])))
    }

    /// `count` samples of `bytes` bytes with the number of the sample in each; the first is a sync sample.
    static func samples(
        _ count: Int, bytes: Int = 10, duration: UInt32 = 3600, offsets: [Int32] = [0], allSync: Bool = false,
        first: UInt8 = 0
    ) -> [MP4Sample] {
        (0..<count).map { index in
            MP4Sample(
                duration: duration, compositionOffset: offsets[index % offsets.count], isSync: allSync || index == 0,
                payload: ByteBuffer(repeating: first &+ UInt8(truncatingIfNeeded: index), count: bytes))
        }
    }

    /// An initialization segment and fragments of both tracks, with the ends of the parts.
    static func recording(fragments: Int) throws -> (bytes: ByteBuffer, ends: [Int]) {
        var bytes = FragmentedMP4.initialization(tracks: [try self.video(), try self.audio()])
        var ends = [bytes.readableBytes]
        for number in 0..<fragments {
            FragmentedMP4.write(
                [
                    FragmentedMP4.Fragment(
                        trackID: 1, decodeTime: UInt64(number * 10 * 3600),
                        samples: self.samples(10, offsets: [3600, 7200, 0], first: UInt8(number * 10))),
                    FragmentedMP4.Fragment(
                        trackID: 2, decodeTime: UInt64(number * 19 * 1024),
                        samples: self.samples(19, bytes: 5, duration: 1024, allSync: true)),
                ], sequence: UInt32(number + 1), into: &bytes)
            ends.append(bytes.readableBytes)
        }
        return (bytes, ends)
    }
}

/// A file that reads as zeros except where bytes were put: for files larger than memory.
struct SparseSource: MP4ByteSource {
    var byteCount: Int64
    var parts: [(offset: Int64, bytes: ByteBuffer)]

    func read(at offset: Int64, count: Int) throws -> ByteBuffer {
        var result = ByteBuffer(repeating: 0, count: count)
        for part in self.parts {
            for index in 0..<part.bytes.readableBytes {
                let position = part.offset + Int64(index) - offset
                guard (0..<Int64(count)).contains(position) else { continue }
                result.setInteger(part.bytes.getInteger(at: index, as: UInt8.self) ?? 0, at: Int(position))
            }
        }
        return result
    }
}

extension ByteBuffer {
    var hex: String { self.readableBytesView.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

    func prefix(_ count: Int) -> ByteBuffer { self.getSlice(at: self.readerIndex, length: count) ?? ByteBuffer() }

    /// Where `text` first stands.
    func offset(of text: String) -> Int? {
        let bytes = Array(self.readableBytesView)
        let wanted = Array(text.utf8)
        guard bytes.count >= wanted.count else { return nil }
        return (0...(bytes.count - wanted.count)).first { bytes[$0..<($0 + wanted.count)].elementsEqual(wanted) }
    }

    /// Writes a box by hand.
    mutating func box(_ type: BoxType, _ payload: [UInt8]) {
        self.writeBox(type) { $0.writeBytes(payload) }
    }
}
