package import NIOCore

/// Opus' out-of-band header. Spec: RFC 7845 §5.1.
package struct OpusHead: Sendable, Hashable {
    package var channels: Int
    /// Samples at 48 kHz to discard from the decoder's start.
    package var preSkip: Int
    /// The rate of the sound before it was coded, for information; Opus itself runs at 48 kHz.
    package var inputSampleRate: Int
    /// In 1/256 dB.
    package var outputGain: Int
    package var mappingFamily: Int

    /// The header of a plain mono or stereo stream, for ingests whose protocol carries none.
    package init(channels: Int, preSkip: Int = 312, inputSampleRate: Int = 48_000) {
        precondition((1...2).contains(channels), "mapping family 0 has 1 or 2 channels, got \(channels)")
        self.channels = channels
        self.preSkip = preSkip
        self.inputSampleRate = inputSampleRate
        self.outputGain = 0
        self.mappingFamily = 0
    }

    /// Parses a header with its `OpusHead` signature.
    ///
    /// Errors: `badSignature`, `unsupportedVersion` above 15, `invalidValue` for no channels, `truncated`.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        guard try reader.integer(as: UInt64.self) == 0x4F70_7573_4865_6164 else { throw .badSignature(offset: 0) }
        let version = try reader.integer(as: UInt8.self)
        // §5.1: a change of the upper four bits is the incompatible one.
        guard version < 16 else { throw .unsupportedVersion(version, offset: 8) }
        self.channels = Int(try reader.integer(as: UInt8.self))
        guard self.channels > 0 else { throw .invalidValue(0, offset: 9) }
        self.preSkip = Int(try reader.integer(as: UInt16.self).byteSwapped)
        self.inputSampleRate = Int(try reader.integer(as: UInt32.self).byteSwapped)
        self.outputGain = Int(Int16(bitPattern: try reader.integer(as: UInt16.self).byteSwapped))
        self.mappingFamily = Int(try reader.integer(as: UInt8.self))
        if self.mappingFamily != 0 { _ = try reader.slice(length: 2 + self.channels) }
    }

    /// Appends the header of mapping family 0.
    package func write(into buffer: inout ByteBuffer) {
        precondition(self.mappingFamily == 0, "only mapping family 0 is written, got \(self.mappingFamily)")
        buffer.writeMultipleIntegers(
            UInt64(0x4F70_7573_4865_6164), UInt8(1), UInt8(truncatingIfNeeded: self.channels))
        buffer.writeMultipleIntegers(
            UInt16(truncatingIfNeeded: self.preSkip), UInt32(truncatingIfNeeded: self.inputSampleRate),
            UInt16(truncatingIfNeeded: self.outputGain), endianness: .little)
        buffer.writeInteger(UInt8(0))
    }

    package var audioFormat: AudioFormat { AudioFormat(sampleRate: 48_000, channels: self.channels) }
}

/// FLAC's out-of-band header: the 34 bytes of a STREAMINFO block. Spec: RFC 9639 §8.2.
package struct FLACStreamInfo: Sendable, Hashable {
    package static let byteCount = 34

    /// In samples.
    package var minimumBlockSize: Int
    package var maximumBlockSize: Int
    package var sampleRate: Int
    package var channels: Int
    package var bitsPerSample: Int
    /// The 34 bytes of the block, without the block's own header.
    package var record: ByteBuffer

    /// Parses the block, bare or behind the `fLaC` signature and a metadata block header, as FLV carries it.
    ///
    /// Errors: `truncated`, `invalidValue` for another block type or a sample rate of 0.
    package init(parsing record: ByteBuffer) throws(CodecHeaderError) {
        var reader = RecordReader(record)
        if record.getInteger(at: record.readerIndex, as: UInt32.self) == 0x664C_6143 {
            _ = try reader.integer(as: UInt32.self)
            let header = try reader.integer(as: UInt32.self)
            guard header >> 24 & 0x7F == 0 else { throw .invalidValue(header >> 24 & 0x7F, offset: 4) }
        }
        let offset = reader.offset
        self.record = try reader.slice(length: Self.byteCount)
        var bits = BitReader(self.record)
        self.minimumBlockSize = try bits.int(16)
        self.maximumBlockSize = try bits.int(16)
        try bits.skip(48)
        self.sampleRate = try bits.int(20)
        self.channels = try bits.int(3) + 1
        self.bitsPerSample = try bits.int(5) + 1
        guard self.sampleRate > 0 else { throw .invalidValue(0, offset: offset + 10) }
    }

    package var audioFormat: AudioFormat {
        AudioFormat(
            sampleRate: self.sampleRate, channels: self.channels,
            samplesPerFrame: self.minimumBlockSize == self.maximumBlockSize ? self.maximumBlockSize : nil)
    }
}

/// The header in front of each MPEG audio frame (MP3 and layers I and II). Spec: ISO/IEC 11172-3 §2.4.2.3, 13818-3.
package struct MPEGAudioHeader: Sendable, Hashable {
    /// 1 to 3.
    package var layer: Int
    package var sampleRate: Int
    package var channels: Int
    package var samplesPerFrame: Int
    /// Bits per second; 0 for free format.
    package var bitRate: Int
    /// Bytes of the whole frame with its header; `nil` for free format.
    package var frameLength: Int?

    /// Parses the header at the start of `frame`. Errors: `badSignature`, `invalidValue` for reserved values,
    /// `truncated`.
    package init(parsing frame: ByteBuffer) throws(CodecHeaderError) {
        guard let header = frame.getInteger(at: frame.readerIndex, as: UInt32.self) else {
            throw .truncated(offset: 0, neededBits: 32, availableBits: frame.readableBytes * 8)
        }
        guard header >> 21 == 0x7FF else { throw .badSignature(offset: 0) }
        let version = Int(header >> 19 & 3)
        let layerCode = Int(header >> 17 & 3)
        let rateIndex = Int(header >> 10 & 3)
        let bitRateIndex = Int(header >> 12 & 15)
        guard version != 1, layerCode != 0 else { throw .invalidValue(header >> 17 & 15, offset: 1) }
        guard rateIndex != 3, bitRateIndex != 15 else { throw .invalidValue(header >> 8 & 0xFF, offset: 2) }
        let isVersion1 = version == 3
        self.layer = 4 - layerCode
        // Version 2 has half the rates of version 1, version 2.5 a quarter.
        self.sampleRate = [44_100, 48_000, 32_000][rateIndex] >> (isVersion1 ? 0 : version == 2 ? 1 : 2)
        self.channels = header >> 6 & 3 == 3 ? 1 : 2
        self.samplesPerFrame = self.layer == 1 ? 384 : self.layer == 3 && !isVersion1 ? 576 : 1152
        self.bitRate = Self.kilobits(layer: self.layer, isVersion1: isVersion1)[bitRateIndex] * 1000
        let padding = Int(header >> 9 & 1)
        if self.bitRate > 0 {
            let slotBytes = self.layer == 1 ? 4 : 1
            let slots = self.samplesPerFrame / 8 / slotBytes * self.bitRate / self.sampleRate
            self.frameLength = (slots + padding) * slotBytes
        }
    }

    private static func kilobits(layer: Int, isVersion1: Bool) -> [Int] {
        switch (layer, isVersion1) {
        case (1, true): [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448]
        case (2, true): [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384]
        case (_, true): [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
        case (1, false): [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256]
        case (_, false): [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
        }
    }

    package var audioFormat: AudioFormat {
        AudioFormat(
            sampleRate: self.sampleRate, channels: self.channels, profile: "Layer \(self.layer)",
            samplesPerFrame: self.samplesPerFrame)
    }
}

/// The header in front of each AC-3 or E-AC-3 frame. Spec: ETSI TS 102 366 §4.3, §4.4 and §E.1.2.
package struct AC3Header: Sendable, Hashable {
    package var isEnhanced: Bool
    package var sampleRate: Int
    /// The low frequency channel included.
    package var channels: Int
    package var samplesPerFrame: Int

    /// Parses the header at the start of `frame`. Errors: `badSignature`, `unsupportedVersion` for a bit stream
    /// identification above 16, `invalidValue` for a reserved sample rate, `truncated`.
    package init(parsing frame: ByteBuffer) throws(CodecHeaderError) {
        // Eight bytes hold every field wanted, and the copy that the bit reader makes stays small.
        let head = frame.getSlice(at: frame.readerIndex, length: min(8, frame.readableBytes)) ?? ByteBuffer()
        var reader = BitReader(head)
        guard try reader.bits(16) == 0x0B77 else { throw .badSignature(offset: 0) }
        var peek = reader
        try peek.skip(24)
        // The identification is at the same place in both formats (§E.1.3.1.6).
        let identification = UInt8(try peek.bits(5))
        guard identification <= 16 else { throw .unsupportedVersion(identification, offset: 5) }
        self.isEnhanced = identification > 10
        if self.isEnhanced {
            try reader.skip(2 + 3 + 11)
            let rateCode = try reader.int(2)
            let second = try reader.int(2)
            guard rateCode < 3 || second < 3 else { throw .invalidValue(UInt32(second), offset: 4) }
            self.sampleRate = rateCode == 3 ? Self.sampleRates[second] / 2 : Self.sampleRates[rateCode]
            self.samplesPerFrame = 256 * (rateCode == 3 ? 6 : [1, 2, 3, 6][second])
            let mode = try reader.int(3)
            self.channels = Self.channels[mode] + (try reader.int(1))
        } else {
            try reader.skip(16)
            let rateCode = try reader.int(2)
            guard rateCode < 3 else { throw .invalidValue(3, offset: 4) }
            // Identifications 9 and 10 are the half and quarter rate variants.
            self.sampleRate = Self.sampleRates[rateCode] >> max(0, Int(identification) - 8)
            self.samplesPerFrame = 1536
            try reader.skip(6 + 5 + 3)
            let mode = try reader.int(3)
            if mode & 1 != 0, mode != 1 { try reader.skip(2) }
            if mode & 4 != 0 { try reader.skip(2) }
            if mode == 2 { try reader.skip(2) }
            self.channels = Self.channels[mode] + (try reader.int(1))
        }
    }

    private static let sampleRates = [48_000, 44_100, 32_000]
    private static let channels = [2, 1, 2, 3, 3, 4, 4, 5]

    package var audioFormat: AudioFormat {
        AudioFormat(sampleRate: self.sampleRate, channels: self.channels, samplesPerFrame: self.samplesPerFrame)
    }
}
