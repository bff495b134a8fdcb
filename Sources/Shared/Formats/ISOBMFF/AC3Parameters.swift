import Media
import NIOCore

/// What `dac3` and `dec3` boxes say of an AC-3 stream. Spec: ETSI TS 102 366 §F.4 and §F.6.
///
/// Of E-AC-3 the first independent substream is described; it is the only one that broadcasters send.
struct AC3Parameters: Equatable {
    /// Sample rate code: 0 48 kHz, 1 44.1 kHz, 2 32 kHz, 3 the half of one of them.
    var rateCode: Int
    var identification: Int
    var mode: Int
    /// Audio coding mode: which channels there are besides the low frequency one.
    var codingMode: Int
    var hasLowFrequency: Bool
    /// AC-3: index into the table of bit rates.
    var bitRateCode: Int
    /// E-AC-3: in kbit/s.
    var kilobits: Int

    private static let sampleRates = [48_000, 44_100, 32_000]
    private static let kilobits = [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640,
    ]

    /// From a frame, or from what is known of the track. Errors: `missingFormat`, `configuration` for a broken frame.
    init(track: Track, frame: ByteBuffer?) throws(ISOBMFFError) {
        if let frame {
            do throws(CodecHeaderError) {
                self = try Self(parsing: frame)
            } catch {
                throw .configuration(track.codec, error)
            }
        } else {
            guard case .audio(let format) = track.format, let rate = format.sampleRate, let channels = format.channels
            else { throw .missingFormat(track.codec) }
            self.rateCode = Self.sampleRates.firstIndex(of: rate) ?? 3
            self.identification = track.codec == .eac3 ? 16 : 8
            self.mode = 0
            self.hasLowFrequency = channels > 5
            self.codingMode = [2, 1, 2, 3, 6, 7, 7][min(channels, 6)]
            // The usual rates: 192 kbit/s for stereo, 448 for surround sound.
            self.bitRateCode = channels > 2 ? 15 : 10
            self.kilobits = Self.kilobits[self.bitRateCode]
        }
    }

    /// Spec: §4.4.1 (`syncinfo`), §4.4.2 (`bsi`), §E.1.2.
    private init(parsing frame: ByteBuffer) throws(CodecHeaderError) {
        let header = try AC3Header(parsing: frame)
        var reader = BitReader(
            frame.getSlice(at: frame.readerIndex, length: min(8, frame.readableBytes)) ?? ByteBuffer())
        self.mode = 0
        if header.isEnhanced {
            try reader.skip(16 + 2 + 3)
            let words = try reader.int(11) + 1
            self.rateCode = try reader.int(2)
            try reader.skip(2)
            self.codingMode = try reader.int(3)
            self.hasLowFrequency = try reader.flag()
            self.identification = try reader.int(5)
            self.bitRateCode = 0
            self.kilobits = words * 16 * header.sampleRate / header.samplesPerFrame / 1000
        } else {
            try reader.skip(32)
            self.rateCode = try reader.int(2)
            self.bitRateCode = try reader.int(6) / 2
            self.identification = try reader.int(5)
            self.mode = try reader.int(3)
            self.codingMode = try reader.int(3)
            if self.codingMode & 1 != 0, self.codingMode != 1 { try reader.skip(2) }
            if self.codingMode & 4 != 0 { try reader.skip(2) }
            if self.codingMode == 2 { try reader.skip(2) }
            self.hasLowFrequency = try reader.flag()
            self.kilobits = Self.kilobits.indices.contains(self.bitRateCode) ? Self.kilobits[self.bitRateCode] : 0
        }
    }

    /// The payload of a `dac3` box.
    var dac3: ByteBuffer {
        let low = UInt32(self.hasLowFrequency ? 1 : 0)
        var bits = UInt32(self.rateCode & 3) << 22 | UInt32(self.identification & 31) << 17
        bits |= UInt32(self.mode & 7) << 14 | UInt32(self.codingMode & 7) << 11
        bits |= low << 10 | UInt32(self.bitRateCode & 31) << 5
        var buffer = ByteBuffer(integer: UInt8(truncatingIfNeeded: bits >> 16))
        buffer.writeInteger(UInt16(truncatingIfNeeded: bits))
        return buffer
    }

    /// The payload of a `dec3` box with one independent and no dependent substream.
    var dec3: ByteBuffer {
        var buffer = ByteBuffer(integer: UInt16(min(self.kilobits, 0x1FFF)) << 3)
        let low = UInt32(self.hasLowFrequency ? 1 : 0)
        var bits = UInt32(self.rateCode & 3) << 22 | UInt32(self.identification & 31) << 17
        bits |= UInt32(self.mode & 7) << 12 | UInt32(self.codingMode & 7) << 9 | low << 8
        buffer.writeInteger(UInt8(truncatingIfNeeded: bits >> 16))
        buffer.writeInteger(UInt16(truncatingIfNeeded: bits))
        return buffer
    }

    /// Rate and channels of a `dac3` or `dec3` payload; `nil` if it is cut off or its rate is reserved.
    static func audioFormat(ofBox box: Box, isEnhanced: Bool) -> (sampleRate: Int?, channels: Int)? {
        var reader = BitReader(box.payload)
        do throws(CodecHeaderError) {
            if isEnhanced { try reader.skip(16) }
            let rateCode = try reader.int(2)
            let identification = try reader.int(5)
            try reader.skip(isEnhanced ? 5 : 3)
            let codingMode = try reader.int(3)
            let low = try reader.int(1)
            let channels = [2, 1, 2, 3, 3, 4, 4, 5][codingMode] + low
            guard rateCode < 3 else { return isEnhanced ? (nil, channels) : nil }
            let shift = isEnhanced ? 0 : max(0, identification - 8) & 3
            return (self.sampleRates[rateCode] >> shift, channels)
        } catch {
            return nil
        }
    }
}

/// The header of a VP9 key frame. Spec: VP9 bitstream §6.2.
enum VP9KeyframeHeader {
    /// The size in pixels; `nil` if this is no key frame, or none that is understood.
    static func size(of frame: ByteBuffer) -> (Int, Int)? {
        var reader = BitReader(
            frame.getSlice(at: frame.readerIndex, length: min(16, frame.readableBytes)) ?? ByteBuffer())
        do throws(CodecHeaderError) {
            guard try reader.bits(2) == 2 else { return nil }
            let profile = try reader.int(1) | reader.int(1) << 1
            if profile == 3 { try reader.skip(1) }
            // No repeated frame, and a key frame.
            guard try reader.bits(2) == 0 else { return nil }
            try reader.skip(2)
            guard try reader.bits(24) == 0x49_8342 else { return nil }
            if profile >= 2 { try reader.skip(1) }
            if try reader.bits(3) != 7 {
                try reader.skip(1)
                if profile & 1 != 0 { try reader.skip(3) }
            } else if profile & 1 != 0 {
                try reader.skip(1)
            }
            return (try reader.int(16) + 1, try reader.int(16) + 1)
        } catch {
            return nil
        }
    }
}
