import CLibAV
import Media
import NIOCore

/// Scales a picture and codes it as JPEG. Synchronous, like `PictureDecoder`.
enum PictureEncoder {
    /// A JFIF file of at most `maximumWidth` pixels' width, with square pixels.
    ///
    /// Errors: `unusableSize`, `scaling`, `encoding`, `outOfMemory`.
    static func jpeg(
        of picture: borrowing PictureFrame, maximumWidth: Int, quality: Int
    ) throws(SnapshotError) -> ByteBuffer {
        let scaled = try self.scaled(picture, maximumWidth: maximumWidth)
        // Safety: the encoder's description is static.
        guard let encoder = unsafe avcodec_find_encoder(AV_CODEC_ID_MJPEG) else { throw .encoding(code: 0) }
        let context = try unsafe CodecContext(encoder)
        // libav counts from 2, the best, to 31.
        let scale = Int32(2 + (100 - quality) * 29 / 99) * FF_QP2LAMBDA
        unsafe context.pointer.pointee.width = Int32(scaled.width)
        unsafe context.pointer.pointee.height = Int32(scaled.height)
        unsafe context.pointer.pointee.pix_fmt = AV_PIX_FMT_YUVJ420P
        unsafe context.pointer.pointee.color_range = AVCOL_RANGE_JPEG
        unsafe context.pointer.pointee.time_base = AVRational(num: 1, den: 1)
        unsafe context.pointer.pointee.thread_count = 1
        unsafe context.pointer.pointee.flags |= AV_CODEC_FLAG_QSCALE
        unsafe context.pointer.pointee.global_quality = scale
        unsafe scaled.pointer.pointee.quality = scale
        unsafe scaled.pointer.pointee.pts = 0
        var code = unsafe avcodec_open2(context.pointer, encoder, nil)
        if code >= 0 { code = unsafe avcodec_send_frame(context.pointer, scaled.pointer) }
        let packet = try CodedPacket()
        if code >= 0 { code = unsafe avcodec_receive_packet(context.pointer, packet.pointer) }
        guard code >= 0 else { throw .encoding(code: code) }
        // Safety: the packet's bytes are as many as it says, and are copied before it is freed.
        return unsafe ByteBuffer(
            bytes: UnsafeBufferPointer(start: packet.pointer.pointee.data, count: Int(packet.pointer.pointee.size)))
    }

    /// The size that is shown: square pixels, not wider than allowed, even numbers, at least 2 × 2.
    static func size(
        width: Int, height: Int, pixelAspect: (Int, Int), maximumWidth: Int
    ) -> (width: Int, height: Int) {
        let (numerator, denominator) = pixelAspect.0 > 0 && pixelAspect.1 > 0 ? pixelAspect : (1, 1)
        let shown = max(1, Double(width) * Double(numerator) / Double(denominator))
        let factor = min(1, Double(maximumWidth) / shown)
        func even(_ value: Double) -> Int { max(2, Int(min(value, 16_384) / 2 + 0.5) * 2) }
        return (min(even(shown * factor), max(2, maximumWidth / 2 * 2)), even(Double(height) * factor))
    }

    private static func scaled(
        _ picture: borrowing PictureFrame, maximumWidth: Int
    ) throws(SnapshotError) -> PictureFrame {
        let source = unsafe picture.pointer
        let aspect = unsafe source.pointee.sample_aspect_ratio
        let size = self.size(
            width: picture.width, height: picture.height, pixelAspect: (Int(aspect.num), Int(aspect.den)),
            maximumWidth: maximumWidth)
        let result = try PictureFrame()
        unsafe result.pointer.pointee.format = AV_PIX_FMT_YUVJ420P.rawValue
        unsafe result.pointer.pointee.width = Int32(size.width)
        unsafe result.pointer.pointee.height = Int32(size.height)
        var code = unsafe av_frame_get_buffer(result.pointer, 0)
        guard code >= 0 else { throw .outOfMemory }
        let isFullRange = unsafe source.pointee.color_range == AVCOL_RANGE_JPEG
        let scaler = try Scaler()
        // The ranges are stated before the scaler is initialized: later ones are ignored for more than 8 bits.
        for (option, value) in [
            ("srcw", picture.width), ("srch", picture.height), ("src_format", unsafe Int(source.pointee.format)),
            ("dstw", size.width), ("dsth", size.height), ("dst_format", Int(AV_PIX_FMT_YUVJ420P.rawValue)),
            ("src_range", isFullRange ? 1 : 0), ("dst_range", 1), ("sws_flags", Int(SWS_BICUBIC)),
        ] { try scaler.set(option, to: value) }
        try scaler.initialize()
        // JFIF is full range with the coefficients of BT.601, whatever the source has.
        unsafe sws_setColorspaceDetails(
            scaler.pointer,
            sws_getCoefficients(self.coefficients(of: source.pointee.colorspace, height: picture.height)),
            isFullRange ? 1 : 0, sws_getCoefficients(SWS_CS_ITU601), 1, 0, 1 << 16, 1 << 16)
        code = unsafe sws_scale_frame(scaler.pointer, result.pointer, source)
        guard code >= 0 else { throw .scaling(code: code) }
        return result
    }

    /// Streams that do not say are taken for what their size suggests, as players do.
    private static func coefficients(of space: AVColorSpace, height: Int) -> Int32 {
        switch space {
        case AVCOL_SPC_BT709: SWS_CS_ITU709
        case AVCOL_SPC_BT2020_NCL, AVCOL_SPC_BT2020_CL: SWS_CS_BT2020
        case AVCOL_SPC_FCC: SWS_CS_FCC
        case AVCOL_SPC_SMPTE240M: SWS_CS_SMPTE240M
        case AVCOL_SPC_BT470BG, AVCOL_SPC_SMPTE170M: SWS_CS_ITU601
        default: height >= 720 ? SWS_CS_ITU709 : SWS_CS_ITU601
        }
    }
}
