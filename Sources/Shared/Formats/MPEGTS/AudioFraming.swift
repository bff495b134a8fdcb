import Media
import NIOCore

/// How the frames of an audio elementary stream are told apart.
struct AudioFraming: Sendable {
    enum Kind: Sendable, Equatable { case adts, loas, mpeg, ac3 }

    /// What stands at an offset of the stream.
    enum Found: Equatable {
        /// A frame of `length` bytes.
        case frame(length: Int)
        /// More bytes are needed to tell, or to have all of the frame.
        case incomplete
        /// No frame begins here.
        case none
    }

    let kind: Kind

    /// Looks at the bytes at `offset`. A frame is found when all of it is there.
    func look(at offset: Int, in data: ByteBuffer) -> Found {
        let available = data.readableBytes - offset
        guard let length = self.length(at: data.readerIndex + offset, in: data) else {
            return available < self.headerLength ? .incomplete : .none
        }
        return length <= available ? .frame(length: length) : .incomplete
    }

    /// Whether the bytes are whole frames from their beginning to their end.
    func isChain(_ data: ByteBuffer) -> Bool {
        var offset = 0
        while case .frame(let length) = self.look(at: offset, in: data) { offset += length }
        return offset > 0 && offset == data.readableBytes
    }

    /// Bytes that a header needs to be read.
    private var headerLength: Int {
        switch self.kind {
        case .adts: ADTSHeader.byteCount
        case .loas: 3
        case .mpeg: 4
        case .ac3: 6
        }
    }

    private func length(at index: Int, in data: ByteBuffer) -> Int? {
        switch self.kind {
        case .adts: return ADTSHeader(data, at: index)?.frameLength
        case .loas:
            guard let (high, low) = data.getMultipleIntegers(at: index, as: (UInt16, UInt8).self), high >> 5 == 0x2B7
            else { return nil }
            return 3 + (Int(high & 0x1F) << 8 | Int(low))
        case .mpeg:
            guard let header = data.getSlice(at: index, length: 4) else { return nil }
            return (try? MPEGAudioHeader(parsing: header))?.frameLength
        case .ac3: return AC3SyncFrame(data, at: index)?.length
        }
    }
}

/// Length and role of an AC-3 or E-AC-3 frame. Spec: ETSI TS 102 366 §4.3, table 4.13, §E.1.2.
struct AC3SyncFrame: Equatable {
    /// Bytes of the frame.
    let length: Int
    let isEnhanced: Bool
    /// The frame belongs to the one before it: a dependent substream, or a further programme.
    let isAttached: Bool

    private static let kilobits = [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
    ]

    /// Reads the header at `index`. `nil` when it is none, or when fewer than 6 bytes are there.
    init?(_ buffer: ByteBuffer, at index: Int) {
        guard let (sync, second, third) = buffer.getMultipleIntegers(at: index, as: (UInt16, UInt16, UInt16).self),
            sync == 0x0B77
        else { return nil }
        let identification = third >> 3 & 0x1F
        guard identification <= 16 else { return nil }
        self.isEnhanced = identification > 10
        if self.isEnhanced {
            self.length = (Int(second & 0x7FF) + 1) * 2
            self.isAttached = second >> 14 == 1 || second >> 11 & 7 != 0
            guard self.length >= 8 else { return nil }
        } else {
            let (rate, size) = (Int(third >> 14), Int(third >> 8 & 0x3F))
            guard rate < 3, size < 38 else { return nil }
            let kilobits = Self.kilobits[size / 2]
            switch rate {
            case 0: self.length = kilobits * 4
            case 1: self.length = (kilobits * 96_000 / 44_100 + size % 2) * 2
            default: self.length = kilobits * 6
            }
            self.isAttached = false
        }
    }
}
