package import NIOCore

extension Codec {
    /// Frames of this codec cannot be decoded without the track's configuration record.
    package var needsConfiguration: Bool {
        switch self {
        case .h264, .hevc, .av1, .vp9, .aac, .opus, .flac: true
        case .vp8, .mp3, .ac3, .eac3, .g711ALaw, .g711MuLaw, .speex: false
        }
    }
}

extension Track {
    /// Bytes of a configuration record beyond which it is refused. Records have some hundred; they are repeated with each
    /// keyframe or segment, so that a long one would cost every viewer.
    package static let maximumConfigurationLength = 65_536

    /// Makes a track from a codec's configuration record, filling in what the record tells of the format.
    ///
    /// The record is kept in its ISO form: an H.264 record of bare Annex B parameter sets becomes an `avcC`, a `vpcC`
    /// loses its version and flags, FLAC's signature and block header are removed. Details that parameter sets inside
    /// an intact record do not give, or give wrongly, stay `nil`.
    ///
    /// Errors: those of the record's parser; `recordTooLong` beyond `maximumConfigurationLength`; `missingConfiguration`
    /// when the codec needs a record and has none. Codecs without one take `nil`, and their format comes from
    /// `init(codec:describedBy:)`.
    package init(
        codec: Codec, parsingConfiguration record: ByteBuffer?, usesLegacyFLVCodecID: Bool = false
    ) throws(CodecHeaderError) {
        guard (record?.readableBytes ?? 0) <= Self.maximumConfigurationLength else {
            throw .recordTooLong(length: record?.readableBytes ?? 0, maximum: Self.maximumConfigurationLength)
        }
        var configuration = record
        var format: Track.Format = codec.kind == .video ? .video(VideoFormat()) : .audio(AudioFormat())
        if let record, record.readableBytes > 0 {
            switch codec {
            case .h264:
                if AnnexB.hasStartCode(record) {
                    configuration = try Self.avcRecord(annexB: record)
                }
                format = .video(try AVCDecoderConfiguration(parsing: configuration ?? record).videoFormat)
            case .hevc:
                format = .video(try HEVCDecoderConfiguration(parsing: record).videoFormat)
            case .av1:
                format = .video(try AV1CodecConfiguration(parsing: record).videoFormat)
            case .vp8, .vp9:
                let parsed = try VPCodecConfiguration(parsing: record)
                configuration = parsed.record
                format = .video(parsed.videoFormat)
            case .aac:
                format = .audio(try AudioSpecificConfig(parsing: record).audioFormat)
            case .opus:
                format = .audio(try OpusHead(parsing: record).audioFormat)
            case .flac:
                let parsed = try FLACStreamInfo(parsing: record)
                configuration = parsed.record
                format = .audio(parsed.audioFormat)
            case .mp3, .ac3, .eac3, .g711ALaw, .g711MuLaw, .speex:
                configuration = nil
            }
        } else {
            guard !codec.needsConfiguration else { throw .missingConfiguration(codec) }
            configuration = nil
        }
        self.init(
            codec: codec, configuration: configuration, format: format, usesLegacyFLVCodecID: usesLegacyFLVCodecID)
    }

    /// Makes a track of a codec whose frames describe themselves, from the first of them (VP8: from a key frame).
    ///
    /// G.711 is taken as 8 kHz mono and Speex as 16 kHz mono, which is what they are in FLV unless it says otherwise.
    /// Errors: those of the frame header's parser; `missingConfiguration` for codecs that need a record.
    package init(codec: Codec, describedBy frame: ByteBuffer) throws(CodecHeaderError) {
        guard !codec.needsConfiguration else { throw .missingConfiguration(codec) }
        let format: Track.Format
        switch codec {
        case .vp8: format = .video(try VP8KeyframeHeader.videoFormat(of: frame))
        case .mp3: format = .audio(try MPEGAudioHeader(parsing: frame).audioFormat)
        case .ac3, .eac3: format = .audio(try AC3Header(parsing: frame).audioFormat)
        case .speex: format = .audio(AudioFormat(sampleRate: 16_000, channels: 1))
        default: format = .audio(AudioFormat(sampleRate: 8_000, channels: 1))
        }
        self.init(codec: codec, configuration: nil, format: format)
    }

    /// Bytes in front of each NAL unit of the track's frames; `nil` for codecs without NAL units or without a readable
    /// record.
    package var nalUnitLengthSize: Int? {
        guard let record = self.configuration else { return nil }
        let offset: Int
        switch self.codec {
        case .h264: offset = 4
        case .hevc: offset = 21
        default: return nil
        }
        return record.getInteger(at: record.readerIndex + offset, as: UInt8.self).map { Int($0 & 3) + 1 }
    }

    private static func avcRecord(annexB stream: ByteBuffer) throws(CodecHeaderError) -> ByteBuffer {
        let all = AnnexB.units(in: stream)
        func units(ofType type: UInt8) -> [ByteBuffer] {
            all.filter { ($0.getInteger(at: $0.readerIndex, as: UInt8.self) ?? 0) & 0x1F == type }
        }
        let record = try AVCDecoderConfiguration(
            sequenceParameterSets: units(ofType: 7), pictureParameterSets: units(ofType: 8))
        var buffer = ByteBuffer()
        record.write(into: &buffer)
        return buffer
    }
}
