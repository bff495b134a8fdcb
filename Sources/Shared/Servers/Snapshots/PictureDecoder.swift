import CLibAV
import Media
import NIOCore

/// Decodes one keyframe. Synchronous; takes some milliseconds, so no event loop may call it.
enum PictureDecoder {
    /// The picture of `frame`, which a decoder of `track` can start with.
    ///
    /// Errors: `unsupportedCodec`, `configuration`, `decoding`, `noPicture`, `damagedPicture`, `unusableSize`,
    /// `outOfMemory`.
    static func picture(
        of frame: Frame, track: Track, maximumPixels: Int
    ) throws(SnapshotError) -> PictureFrame {
        let codec = track.codec
        // Safety: the decoder's description is static; the context is freed by its owner.
        guard let id = self.identifier(of: codec), let decoder = unsafe avcodec_find_decoder(id) else {
            throw .unsupportedCodec(codec)
        }
        let context = try unsafe CodecContext(decoder)
        if let record = track.configuration { try self.setConfiguration(record, of: context) }
        // One thread, without the delay of more.
        unsafe context.pointer.pointee.thread_count = 1
        unsafe context.pointer.pointee.max_pixels = Int64(maximumPixels)
        var code = unsafe avcodec_open2(context.pointer, decoder, nil)
        guard code >= 0 else { throw .configuration(codec, code: code) }
        let packet = try CodedPacket()
        try self.fill(packet, with: frame.payload)
        unsafe packet.pointer.pointee.flags |= AV_PKT_FLAG_KEY
        code = unsafe avcodec_send_packet(context.pointer, packet.pointer)
        // Nothing follows: the decoder must not wait for pictures that come before this one.
        if code >= 0 { code = unsafe avcodec_send_packet(context.pointer, nil) }
        guard code >= 0 else { throw .decoding(codec, code: code) }
        let picture = try PictureFrame()
        code = unsafe avcodec_receive_frame(context.pointer, picture.pointer)
        guard code >= 0 else {
            throw code == weir_AVERROR_EOF || code == weir_AVERROR_EAGAIN
                ? .noPicture(codec) : .decoding(codec, code: code)
        }
        guard unsafe picture.pointer.pointee.decode_error_flags == 0,
            unsafe picture.pointer.pointee.flags & AV_FRAME_FLAG_CORRUPT == 0
        else { throw .damagedPicture(codec) }
        let (width, height) = (picture.width, picture.height)
        guard width > 0, height > 0, width.multipliedReportingOverflow(by: height).partialValue <= maximumPixels else {
            throw .unusableSize(width: width, height: height)
        }
        return picture
    }

    private static func identifier(of codec: Codec) -> AVCodecID? {
        switch codec {
        case .h264: AV_CODEC_ID_H264
        case .hevc: AV_CODEC_ID_HEVC
        case .av1: AV_CODEC_ID_AV1
        case .vp8: AV_CODEC_ID_VP8
        case .vp9: AV_CODEC_ID_VP9
        case .aac, .mp3, .opus, .flac, .ac3, .eac3, .g711ALaw, .g711MuLaw, .speex: nil
        }
    }

    private static func setConfiguration(
        _ record: ByteBuffer, of context: borrowing CodecContext
    ) throws(SnapshotError) {
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

    private static func fill(_ packet: borrowing CodedPacket, with payload: ByteBuffer) throws(SnapshotError) {
        let count = payload.readableBytes
        guard let size = Int32(exactly: count), unsafe av_new_packet(packet.pointer, size) >= 0,
            let data = unsafe packet.pointer.pointee.data
        else { throw .outOfMemory }
        // Safety: the packet was made with `count` bytes.
        unsafe payload.withUnsafeReadableBytes { source in
            if let start = source.baseAddress {
                unsafe UnsafeMutableRawPointer(data).copyMemory(from: start, byteCount: count)
            }
        }
    }
}
