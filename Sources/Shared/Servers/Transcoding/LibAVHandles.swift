import CLibAV
import NIOCore

/// Owns a codec context of libav.
@safe final class AudioContext {
    /// Valid as long as this object is.
    let pointer: UnsafeMutablePointer<AVCodecContext>

    init(_ codec: UnsafePointer<AVCodec>) throws(TranscodingError) {
        guard let pointer = unsafe avcodec_alloc_context3(codec) else { throw .outOfMemory }
        unsafe self.pointer = pointer
        // Broken packets of publishers are counted; what libav has to say of them would fill its log.
        unsafe pointer.pointee.log_level_offset = 64
        unsafe pointer.pointee.thread_count = 1
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVCodecContext>? = unsafe self.pointer
        unsafe avcodec_free_context(&pointer)
    }
}

/// Owns a frame of libav: decoded samples.
@safe final class SampleFrame {
    let pointer: UnsafeMutablePointer<AVFrame>

    init() throws(TranscodingError) {
        guard let pointer = unsafe av_frame_alloc() else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVFrame>? = unsafe self.pointer
        unsafe av_frame_free(&pointer)
    }

    /// What the decoder says of the first sample's time, in the unit of its packets.
    var time: Int64? {
        let time = unsafe self.pointer.pointee.pts
        return time == weir_AV_NOPTS_VALUE ? nil : time
    }

    var sampleCount: Int { unsafe Int(self.pointer.pointee.nb_samples) }
    var format: SampleFormat {
        unsafe SampleFormat(
            sampleFormat: self.pointer.pointee.format, rate: Int(self.pointer.pointee.sample_rate),
            channels: Int(self.pointer.pointee.ch_layout.nb_channels))
    }

    /// Says which channels they are, where a decoder tells their number only.
    func completeLayout() {
        guard unsafe self.pointer.pointee.ch_layout.order == AV_CHANNEL_ORDER_UNSPEC else { return }
        unsafe av_channel_layout_default(
            &self.pointer.pointee.ch_layout, self.pointer.pointee.ch_layout.nb_channels)
    }

    /// Gives the frame room for `count` samples.
    func allocate(_ count: Int, as format: SampleFormat) throws(TranscodingError) {
        self.clear(to: format)
        unsafe self.pointer.pointee.nb_samples = Int32(count)
        guard unsafe av_frame_get_buffer(self.pointer, 0) >= 0 else { throw .outOfMemory }
    }

    /// Makes the samples behind the first `count` silent.
    func silence(from count: Int) {
        let format = self.format
        // Safety: the frame owns room for as many samples as it says.
        _ = unsafe av_samples_set_silence(
            self.pointer.pointee.extended_data, Int32(count), Int32(self.sampleCount - count), Int32(format.channels),
            AVSampleFormat(format.sampleFormat))
    }

    /// Lets go of the samples and describes those that will come.
    func clear(to format: SampleFormat) {
        unsafe av_frame_unref(self.pointer)
        unsafe self.pointer.pointee.format = format.sampleFormat
        unsafe self.pointer.pointee.sample_rate = Int32(format.rate)
        unsafe av_channel_layout_default(&self.pointer.pointee.ch_layout, Int32(format.channels))
    }
}

/// How samples are stored.
struct SampleFormat: Hashable {
    /// libav's number.
    var sampleFormat: Int32
    var rate: Int
    var channels: Int
}

/// Owns a packet of libav: coded bytes.
@safe final class CodedPacket {
    let pointer: UnsafeMutablePointer<AVPacket>

    init() throws(TranscodingError) {
        guard let pointer = unsafe av_packet_alloc() else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVPacket>? = unsafe self.pointer
        unsafe av_packet_free(&pointer)
    }

    /// Copies `payload`, with the padding that decoders read over.
    func fill(with payload: ByteBuffer, time: Int64) throws(TranscodingError) {
        unsafe av_packet_unref(self.pointer)
        let count = payload.readableBytes
        guard let size = Int32(exactly: count), unsafe av_new_packet(self.pointer, size) >= 0,
            let data = unsafe self.pointer.pointee.data
        else { throw .outOfMemory }
        // Safety: the packet was made with `count` bytes.
        unsafe payload.withUnsafeReadableBytes { source in
            if let start = source.baseAddress {
                unsafe UnsafeMutableRawPointer(data).copyMemory(from: start, byteCount: count)
            }
        }
        unsafe self.pointer.pointee.pts = time
        unsafe self.pointer.pointee.dts = time
    }

    /// A copy of the bytes.
    var bytes: ByteBuffer {
        guard let data = unsafe self.pointer.pointee.data, unsafe self.pointer.pointee.size > 0 else {
            return ByteBuffer()
        }
        // Safety: the packet owns as many bytes as it says.
        return unsafe ByteBuffer(
            bytes: UnsafeRawBufferPointer(start: data, count: Int(self.pointer.pointee.size)))
    }
}

/// Owns a queue of samples.
@safe final class SampleQueue {
    private let pointer: OpaquePointer

    init(_ format: SampleFormat) throws(TranscodingError) {
        guard
            let pointer = unsafe av_audio_fifo_alloc(
                AVSampleFormat(format.sampleFormat), Int32(format.channels), Int32(format.rate / 10))
        else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit { unsafe av_audio_fifo_free(self.pointer) }

    var count: Int { unsafe Int(av_audio_fifo_size(self.pointer)) }

    /// Appends the samples of `frame` behind the first `skipped`.
    func append(_ frame: SampleFrame, from skipped: Int = 0) throws(TranscodingError) {
        let count = Int32(frame.sampleCount - skipped)
        guard count > 0 else { return }
        // Safety: the frame holds as many samples of the queue's format as it says, of which `count` are behind `skipped`.
        let code = unsafe Self.withPlanes(of: frame, from: skipped) {
            unsafe av_audio_fifo_write(self.pointer, $0, count)
        }
        guard code == count else { throw .outOfMemory }
    }

    /// Takes the oldest `count` samples into `frame`, which has room for them; as many as there are.
    func take(_ count: Int, into frame: SampleFrame) -> Int {
        // Safety: the frame was made with room for `count` samples of the queue's format.
        unsafe Int(Self.withPlanes(of: frame) { unsafe av_audio_fifo_read(self.pointer, $0, Int32(count)) })
    }

    /// Pointers to the sample with number `first` of each plane.
    private static func withPlanes(
        of frame: SampleFrame, from first: Int = 0, _ body: (UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Int32
    ) -> Int32 {
        let format = frame.format
        let isPlanar = av_sample_fmt_is_planar(AVSampleFormat(format.sampleFormat)) != 0
        let sampleBytes = Int(av_get_bytes_per_sample(AVSampleFormat(format.sampleFormat)))
        let stride = isPlanar ? sampleBytes : sampleBytes * format.channels
        guard let planes = unsafe frame.pointer.pointee.extended_data else { return -1 }
        var pointers = unsafe [UnsafeMutableRawPointer?]()
        for channel in 0..<(isPlanar ? format.channels : 1) {
            // Safety: a frame has a pointer for each plane, and room for its samples behind each.
            unsafe pointers.append(planes[channel].map { unsafe UnsafeMutableRawPointer($0) + first * stride })
        }
        return unsafe pointers.withUnsafeMutableBufferPointer { buffer in
            unsafe buffer.baseAddress.map { unsafe body($0) } ?? -1
        }
    }
}

/// Owns a converter of sample rates, formats and channels.
@safe final class Resampler {
    private var pointer: OpaquePointer?
    let input: SampleFormat
    let output: SampleFormat

    /// Takes frames like `source`, with its channel layout.
    init(from source: SampleFrame, to output: SampleFormat) throws(TranscodingError) {
        (self.input, self.output) = (source.format, output)
        source.completeLayout()
        var (inLayout, outLayout) = unsafe (AVChannelLayout(), AVChannelLayout())
        guard unsafe av_channel_layout_copy(&inLayout, &source.pointer.pointee.ch_layout) >= 0 else {
            throw .outOfMemory
        }
        defer { unsafe av_channel_layout_uninit(&inLayout) }
        unsafe av_channel_layout_default(&outLayout, Int32(output.channels))
        var pointer: OpaquePointer?
        var code = unsafe swr_alloc_set_opts2(
            &pointer, &outLayout, AVSampleFormat(output.sampleFormat), Int32(output.rate), &inLayout,
            AVSampleFormat(self.input.sampleFormat), Int32(self.input.rate), 0, nil)
        unsafe self.pointer = pointer
        if code >= 0 { code = unsafe swr_init(pointer) }
        guard code >= 0 else {
            unsafe swr_free(&self.pointer)
            throw .resampling(code: code)
        }
    }

    deinit { unsafe swr_free(&self.pointer) }

    /// Samples of the output that are still inside.
    var delay: Int { unsafe Int(swr_get_delay(self.pointer, Int64(self.output.rate))) }

    /// Converts `source` into `result`, whose samples are replaced; `nil`: what is still inside.
    func convert(_ source: SampleFrame?, into result: SampleFrame) throws(TranscodingError) {
        result.clear(to: self.output)
        source?.completeLayout()
        let code = unsafe swr_convert_frame(self.pointer, result.pointer, source?.pointer)
        guard code >= 0 else { throw .resampling(code: code) }
    }
}
