import CLibAV
import Media
import NIOCore

/// Decodes the frames of one audio track. Synchronous; no event loop may call it.
final class AudioDecoder {
    /// What is resampled. A source that claims other rates would make a flood of samples out of few bytes.
    private static let rates = 4_000...192_000
    private static let maximumChannels = 24
    /// Samples of one frame; the largest are FLAC's.
    private static let maximumSamples = 1 << 16

    let codec: Codec
    private let context: AudioContext
    private let packet: CodedPacket

    /// Errors: `unsupportedCodec`, `configuration`, `outOfMemory`.
    init(_ track: Track) throws(TranscodingError) {
        self.codec = track.codec
        // Safety: the decoder's description is static.
        guard let decoder = unsafe Self.decoder(of: track.codec) else { throw .unsupportedCodec(track.codec) }
        self.context = try unsafe AudioContext(decoder)
        self.packet = try CodedPacket()
        let context = unsafe self.context.pointer
        unsafe context.pointee.pkt_timebase = AVRational(num: 1, den: 90_000)
        if case .audio(let format) = track.format {
            unsafe context.pointee.sample_rate = Int32(clamping: format.sampleRate ?? 0)
            if let channels = format.channels {
                unsafe av_channel_layout_default(&context.pointee.ch_layout, Int32(clamping: channels))
            }
        }
        if let record = track.configuration { try Self.setConfiguration(record, of: self.context) }
        let code = unsafe avcodec_open2(context, decoder, nil)
        guard code >= 0 else { throw .configuration(track.codec, code: code) }
    }

    /// Whether this build of libav can decode `codec`.
    static func canDecode(_ codec: Codec) -> Bool { unsafe self.decoder(of: codec) != nil }

    /// Takes one packet whose samples begin at `time`, in ticks. Take all that `receive` gives before the next.
    ///
    /// Errors: `decoding`: the packet is lost, the decoder goes on.
    func send(_ payload: ByteBuffer, time: Int64) throws(TranscodingError) {
        guard payload.readableBytes > 0 else { throw .decoding(self.codec, code: 0) }
        try self.packet.fill(with: payload, time: time)
        let code = unsafe avcodec_send_packet(self.context.pointer, self.packet.pointer)
        guard code >= 0 else { throw .decoding(self.codec, code: code) }
    }

    /// Puts the next samples, with their time, into `frame`. Returns false when another packet is needed.
    ///
    /// Errors: `decoding`, `unusableFormat`.
    func receive(into frame: SampleFrame) throws(TranscodingError) -> Bool {
        while true {
            let code = unsafe avcodec_receive_frame(self.context.pointer, frame.pointer)
            if code == weir_AVERROR_EAGAIN || code == weir_AVERROR_EOF { return false }
            guard code >= 0 else { throw .decoding(self.codec, code: code) }
            let format = frame.format
            guard frame.sampleCount > 0 else { continue }
            guard frame.sampleCount <= Self.maximumSamples, Self.rates.contains(format.rate),
                (1...Self.maximumChannels).contains(format.channels)
            else { throw .unusableFormat(self.codec, rate: format.rate, channels: format.channels) }
            return true
        }
    }

    private static func decoder(of codec: Codec) -> UnsafePointer<AVCodec>? {
        let id: AVCodecID? =
            switch codec {
            case .aac: AV_CODEC_ID_AAC
            case .mp3: AV_CODEC_ID_MP3
            case .opus: AV_CODEC_ID_OPUS
            case .flac: AV_CODEC_ID_FLAC
            case .ac3: AV_CODEC_ID_AC3
            case .eac3: AV_CODEC_ID_EAC3
            case .g711ALaw: AV_CODEC_ID_PCM_ALAW
            case .g711MuLaw: AV_CODEC_ID_PCM_MULAW
            case .speex: AV_CODEC_ID_SPEEX
            case .h264, .hevc, .av1, .vp8, .vp9: nil
            }
        return unsafe id.flatMap { unsafe avcodec_find_decoder($0) }
    }

    private static func setConfiguration(_ record: ByteBuffer, of context: AudioContext) throws(TranscodingError) {
        let count = record.readableBytes
        // Decoders read beyond the end: the padding is theirs, and zero.
        guard let bytes = unsafe av_mallocz(count + Int(AV_INPUT_BUFFER_PADDING_SIZE)) else { throw .outOfMemory }
        // Safety: the destination has room for `count` bytes and more; the context frees it.
        unsafe record.withUnsafeReadableBytes { source in
            if let start = source.baseAddress { unsafe bytes.copyMemory(from: start, byteCount: count) }
        }
        unsafe context.pointer.pointee.extradata = bytes.assumingMemoryBound(to: UInt8.self)
        unsafe context.pointer.pointee.extradata_size = Int32(count)
    }
}
