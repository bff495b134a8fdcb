import CLibAV
import Media
import NIOCore

/// What an encoder makes, chosen from what the source is.
struct EncodedFormat: Hashable {
    var codec: Codec
    var rate: Int
    var channels: Int
    /// In bits per second.
    var bitRate: Int
    var complexity: Int

    /// `nil` for codecs that are not made here.
    init?(codec: Codec, of source: Track, settings: AudioTranscodingSettings) {
        let settings = settings.clamped
        var format = AudioFormat()
        if case .audio(let known) = source.format { format = known }
        let channels = format.channels ?? 2
        switch codec {
        case .opus:
            self.rate = 48_000
            self.channels = min(channels, 2)
        case .aac:
            self.rate = Self.aacRate(for: format.sampleRate ?? 48_000)
            self.channels =
                channels <= 2
                ? max(channels, 1) : settings.mixesDown || ![3, 4, 5, 6, 8].contains(channels) ? 2 : channels
        default: return nil
        }
        self.codec = codec
        self.bitRate = settings.bitRate(of: codec, channels: self.channels)
        self.complexity = settings.opusComplexity
    }

    /// One of the rates that every player takes. Low rates have long frames, which would cost latency.
    private static func aacRate(for rate: Int) -> Int {
        switch rate {
        case 32_000: 32_000
        case 44_100, 88_200, 22_050, 11_025: 44_100
        default: 48_000
        }
    }

    /// The track as viewers are told it.
    ///
    /// The times of our frames tell of the samples within, so nothing is left to skip in front: Opus' pre-skip is 0.
    var track: Track {
        var record = ByteBuffer()
        if self.codec == .opus {
            let head = OpusHead(channels: self.channels, preSkip: 0)
            head.write(into: &record)
            return Track(codec: .opus, configuration: record, format: .audio(head.audioFormat))
        }
        let configuration = AudioSpecificConfig(
            sampleRate: self.rate, channelConfiguration: self.channels == 8 ? 7 : self.channels)
        // Plain AAC with a channel configuration can always be written.
        try? configuration.write(into: &record)
        return Track(codec: .aac, configuration: record, format: .audio(configuration.audioFormat))
    }
}

/// Encodes samples of one format. Synchronous; no event loop may call it.
final class AudioEncoder {
    let format: EncodedFormat
    /// What it takes.
    let input: SampleFormat
    /// Samples of each frame.
    let frameSamples: Int
    private let context: AudioContext
    private let packet: CodedPacket
    private let frame: SampleFrame
    /// Samples that were given.
    private var position: Int64 = 0

    /// Errors: `unsupportedCodec`, `configuration`, `outOfMemory`.
    init(_ format: EncodedFormat) throws(TranscodingError) {
        // Safety: the encoder's description is static.
        guard let encoder = unsafe Self.encoder(of: format.codec) else { throw .unsupportedCodec(format.codec) }
        self.format = format
        self.context = try unsafe AudioContext(encoder)
        self.packet = try CodedPacket()
        self.frame = try SampleFrame()
        let context = unsafe self.context.pointer
        let sampleFormat = format.codec == .opus ? AV_SAMPLE_FMT_FLT : AV_SAMPLE_FMT_FLTP
        self.input = SampleFormat(sampleFormat: sampleFormat.rawValue, rate: format.rate, channels: format.channels)
        unsafe context.pointee.sample_fmt = sampleFormat
        unsafe context.pointee.sample_rate = Int32(format.rate)
        unsafe context.pointee.bit_rate = Int64(format.bitRate)
        unsafe context.pointee.time_base = AVRational(num: 1, den: Int32(format.rate))
        unsafe av_channel_layout_default(&context.pointee.ch_layout, Int32(format.channels))
        if format.codec == .opus {
            unsafe context.pointee.compression_level = Int32(format.complexity)
        } else {
            // AudioSpecificConfig instead of ADTS headers.
            unsafe context.pointee.flags |= AV_CODEC_FLAG_GLOBAL_HEADER
        }
        let code = unsafe avcodec_open2(context, encoder, nil)
        guard code >= 0 else { throw .configuration(format.codec, code: code) }
        self.frameSamples = unsafe Int(context.pointee.frame_size)
        guard self.frameSamples > 0 else { throw .configuration(format.codec, code: 0) }
    }

    /// Whether this build of libav can encode `codec`.
    static func canEncode(_ codec: Codec) -> Bool { unsafe self.encoder(of: codec) != nil }

    private static func encoder(of codec: Codec) -> UnsafePointer<AVCodec>? {
        switch codec {
        case .opus: unsafe avcodec_find_encoder_by_name("libopus")
        case .aac: unsafe avcodec_find_encoder_by_name("aac")
        default: nil
        }
    }

    /// Encodes what is whole in `queue`, or everything with silence behind if `isLast`, after which the encoder is
    /// spent. `body` gets the bytes of a frame and the position of its first sample, which is negative for what comes out
    /// of an encoder before the first sample went in.
    func encode(
        _ queue: SampleQueue, isLast: Bool = false, _ body: (ByteBuffer, Int64) -> Void
    ) throws(TranscodingError) {
        while queue.count >= self.frameSamples || (isLast && queue.count > 0) {
            try self.frame.allocate(self.frameSamples, as: self.input)
            let taken = queue.take(self.frameSamples, into: self.frame)
            if taken < self.frameSamples { self.frame.silence(from: taken) }
            unsafe self.frame.pointer.pointee.pts = self.position
            self.position += Int64(self.frameSamples)
            let code = unsafe avcodec_send_frame(self.context.pointer, self.frame.pointer)
            guard code >= 0 else { throw .encoding(self.format.codec, code: code) }
            try self.drain(body)
        }
        guard isLast else { return }
        _ = unsafe avcodec_send_frame(self.context.pointer, nil)
        try self.drain(body)
    }

    private func drain(_ body: (ByteBuffer, Int64) -> Void) throws(TranscodingError) {
        while true {
            let code = unsafe avcodec_receive_packet(self.context.pointer, self.packet.pointer)
            if code == weir_AVERROR_EAGAIN || code == weir_AVERROR_EOF { return }
            guard code >= 0 else { throw .encoding(self.format.codec, code: code) }
            let time = unsafe self.packet.pointer.pointee.pts
            if time != weir_AV_NOPTS_VALUE { body(self.packet.bytes, time) }
            unsafe av_packet_unref(self.packet.pointer)
        }
    }
}
