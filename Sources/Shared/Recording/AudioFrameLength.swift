import Media
import NIOCore

/// How long audio frames are, counted in samples of their track.
enum AudioFrameLength {
    /// Samples in `frame`, at the track's sample rate; `nil` where neither the track nor the frame tells.
    static func samples(of frame: Frame, track: Track) -> Int? {
        guard case .audio(let format) = track.format else { return nil }
        if let fixed = format.samplesPerFrame { return fixed }
        switch frame.codec {
        case .opus: return self.opus(frame.payload)
        case .g711ALaw, .g711MuLaw: return frame.payload.readableBytes / max(1, format.channels ?? 1)
        case .flac: return self.flac(frame.payload)
        case .speex: return 320
        default: return nil
        }
    }

    /// Samples at 48 kHz, from the packet's table of contents. Spec: RFC 6716 §3.1.
    private static func opus(_ packet: ByteBuffer) -> Int? {
        guard let head = packet.getInteger(at: packet.readerIndex, as: UInt8.self) else { return nil }
        let configuration = Int(head >> 3)
        let frame: Int =
            switch configuration {
            case 0..<12: [480, 960, 1_920, 2_880][configuration & 3]
            case 12..<16: [480, 960][configuration & 1]
            default: [120, 240, 480, 960][configuration & 3]
            }
        switch head & 3 {
        case 0: return frame
        case 1, 2: return frame * 2
        default:
            guard let count = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self) else { return nil }
            let samples = frame * Int(count & 0x3F)
            // §3.2.5: no packet is longer than 120 ms.
            return samples > 0 && samples <= 5_760 ? samples : nil
        }
    }

    /// The block size of a frame with variable blocks, from its header. Spec: RFC 9639 §9.1.1.
    private static func flac(_ frame: ByteBuffer) -> Int? {
        guard let (sync, codes) = frame.getMultipleIntegers(at: frame.readerIndex, as: (UInt16, UInt8).self),
            sync & 0xFFFE == 0xFFF8
        else { return nil }
        let code = Int(codes >> 4)
        switch code {
        case 1: return 192
        case 2...5: return 144 << code
        case 8...15: return 1 << code
        case 6, 7:
            // The size follows the coded number, whose first byte tells its length as UTF-8's does.
            guard let lead = frame.getInteger(at: frame.readerIndex + 4, as: UInt8.self) else { return nil }
            let length = lead < 0x80 ? 1 : (~lead).leadingZeroBitCount
            let place = frame.readerIndex + 4 + length
            if code == 6 { return frame.getInteger(at: place, as: UInt8.self).map { Int($0) + 1 } }
            return frame.getInteger(at: place, as: UInt16.self).map { Int($0) + 1 }
        default: return nil
        }
    }
}
