import Media
import NIOCore

/// The header of an AAC frame that describes itself. Spec: ISO 13818-7 §6.2, ISO 14496-3 §1.A.2.2.
struct ADTSHeader: Sendable, Equatable {
    /// Without a checksum.
    static let byteCount = 7
    static let maximumFrameLength = 0x1FFF

    private static let sampleRates = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ]

    /// 1 to 4.
    let objectType: Int
    let sampleRate: Int
    /// 0 when the layout is in a program config element.
    let channelConfiguration: Int
    /// 7, or 9 with a checksum.
    let headerLength: Int
    /// Bytes of the frame with its header, never fewer than the header.
    let frameLength: Int
    /// 1 to 4.
    let rawDataBlocks: Int

    /// Reads the header at `index`. `nil` when it is none, or when fewer than 7 bytes are there.
    init?(_ buffer: ByteBuffer, at index: Int) {
        guard let (high, middle, low) = buffer.getMultipleIntegers(at: index, as: (UInt32, UInt16, UInt8).self)
        else { return nil }
        let bits = UInt64(high) << 24 | UInt64(middle) << 8 | UInt64(low)
        let rateIndex = Int(bits >> 34 & 15)
        // Sync word, and a layer of 0.
        guard bits >> 44 == 0xFFF, bits >> 41 & 3 == 0, rateIndex < Self.sampleRates.count else { return nil }
        self.headerLength = bits >> 40 & 1 == 1 ? 7 : 9
        self.objectType = Int(bits >> 38 & 3) + 1
        self.sampleRate = Self.sampleRates[rateIndex]
        self.channelConfiguration = Int(bits >> 30 & 7)
        self.frameLength = Int(bits >> 13 & 0x1FFF)
        self.rawDataBlocks = Int(bits & 3) + 1
        guard self.frameLength >= self.headerLength else { return nil }
    }

    /// The 56 bits of a header without checksum, with a length of 0 and one raw data block; `nil` when the header cannot
    /// express `config`.
    static func fixedBits(of config: AudioSpecificConfig) -> UInt64? {
        guard (1...4).contains(config.objectType), (1...7).contains(config.channelConfiguration),
            !config.usesShortFrames, let rateIndex = self.sampleRates.firstIndex(of: config.sampleRate)
        else { return nil }
        // Sync word, no checksum, profile, rate, channels, then a buffer fullness of 0x7FF: variable rate.
        return 0xFFF1 << 40 | UInt64(config.objectType - 1) << 38 | UInt64(rateIndex) << 34
            | UInt64(config.channelConfiguration) << 30 | 0x7FF << 2
    }
}
