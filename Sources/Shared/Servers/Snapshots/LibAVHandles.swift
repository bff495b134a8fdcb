import CLibAV

/// Owns a codec context of libav.
@safe struct CodecContext: ~Copyable {
    /// Valid as long as this value is.
    let pointer: UnsafeMutablePointer<AVCodecContext>

    init(_ codec: UnsafePointer<AVCodec>) throws(SnapshotError) {
        guard let pointer = unsafe avcodec_alloc_context3(codec) else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVCodecContext>? = unsafe self.pointer
        unsafe avcodec_free_context(&pointer)
    }
}

/// Owns a frame of libav: a picture and a reference to its bytes.
@safe struct PictureFrame: ~Copyable {
    let pointer: UnsafeMutablePointer<AVFrame>

    init() throws(SnapshotError) {
        guard let pointer = unsafe av_frame_alloc() else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVFrame>? = unsafe self.pointer
        unsafe av_frame_free(&pointer)
    }

    var width: Int { unsafe Int(self.pointer.pointee.width) }
    var height: Int { unsafe Int(self.pointer.pointee.height) }
}

/// Owns a packet of libav: coded bytes.
@safe struct CodedPacket: ~Copyable {
    let pointer: UnsafeMutablePointer<AVPacket>

    init() throws(SnapshotError) {
        guard let pointer = unsafe av_packet_alloc() else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit {
        var pointer: UnsafeMutablePointer<AVPacket>? = unsafe self.pointer
        unsafe av_packet_free(&pointer)
    }
}

/// Owns a scaler of libav.
@safe struct Scaler: ~Copyable {
    let pointer: OpaquePointer

    init() throws(SnapshotError) {
        guard let pointer = unsafe sws_alloc_context() else { throw .outOfMemory }
        unsafe self.pointer = pointer
    }

    deinit { unsafe sws_freeContext(self.pointer) }

    /// Sets an option that counts from `initialize` on.
    func set(_ option: String, to value: Int) throws(SnapshotError) {
        // Safety: a scaler begins with the class that the options belong to.
        let code = unsafe av_opt_set_int(UnsafeMutableRawPointer(self.pointer), option, Int64(value), 0)
        guard code >= 0 else { throw .scaling(code: code) }
    }

    func initialize() throws(SnapshotError) {
        let code = unsafe sws_init_context(self.pointer, nil, nil)
        guard code >= 0 else { throw .scaling(code: code) }
    }
}
