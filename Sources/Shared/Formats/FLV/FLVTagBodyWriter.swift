package import Media
package import NIOCore

/// Writes the bodies of audio and video messages, without the payload.
///
/// H.264, AAC, MP3, G.711 and Speex take the legacy form, HEVC the legacy form where its track says so; everything else
/// is enhanced RTMP. Appends to the caller's buffer and allocates nothing else.
/// Spec: FLV 10.1 §E.4.2 and §E.4.3, enhanced RTMP v2.
package enum FLVTagBodyWriter {
    /// No header of a frame is longer.
    package static let maximumHeaderLength = 8

    /// Appends what stands before the payload of `frame` in its message body. Returns the number of bytes, 1 to
    /// `maximumHeaderLength`.
    @discardableResult
    package static func writeHeader(of frame: Frame, track: Track, into buffer: inout ByteBuffer) -> Int {
        switch frame.codec {
        case .h264:
            self.writeLegacy(FLVCode.avc, frame, into: &buffer)
        case .hevc where track.usesLegacyFLVCodecID:
            self.writeLegacy(FLVCode.legacyHEVC, frame, into: &buffer)
        case .hevc:
            self.writeEnhancedHEVC(frame, into: &buffer)
        case .av1, .vp8, .vp9:
            self.writeEnhanced(
                self.videoByte(frame, FLVPacketType.codedFrames), FLVFourCC.of(frame.codec) ?? 0, into: &buffer)
        case .aac:
            buffer.writeMultipleIntegers(self.aacByte, UInt8(1))
        case .mp3, .g711ALaw, .g711MuLaw, .speex:
            buffer.writeInteger(self.soundByte(of: track))
        case .opus, .flac, .ac3, .eac3:
            self.writeEnhanced(
                FLVCode.enhancedAudio << 4 | FLVPacketType.codedFrames, FLVFourCC.of(frame.codec) ?? 0, into: &buffer)
        }
    }

    /// Appends the whole body of the track's sequence header. Returns the number of bytes; `nil`, with nothing written,
    /// for a track without a configuration record.
    @discardableResult
    package static func writeConfiguration(of track: Track, into buffer: inout ByteBuffer) -> Int? {
        guard let record = track.configuration else { return nil }
        var length = 0
        switch track.codec {
        case .h264:
            length += buffer.writeMultipleIntegers(UInt8(0x10) | FLVCode.avc, UInt32(0))
        case .hevc where track.usesLegacyFLVCodecID:
            length += buffer.writeMultipleIntegers(UInt8(0x10) | FLVCode.legacyHEVC, UInt32(0))
        case .hevc, .av1, .vp8, .vp9:
            length += self.writeEnhanced(
                0x90 | FLVPacketType.sequenceStart, FLVFourCC.of(track.codec) ?? 0, into: &buffer)
            // ffmpeg, the one common writer, puts the box's version and flags in front of the record.
            if track.codec == .vp8 || track.codec == .vp9 { length += buffer.writeInteger(UInt32(0x0100_0000)) }
        case .aac:
            length += buffer.writeMultipleIntegers(self.aacByte, UInt8(0))
        case .opus, .flac:
            length += self.writeEnhanced(
                FLVCode.enhancedAudio << 4 | FLVPacketType.sequenceStart, FLVFourCC.of(track.codec) ?? 0,
                into: &buffer)
            // "fLaC" and the header of a last metadata block of type STREAMINFO (RFC 9639 §8).
            if track.codec == .flac {
                length += buffer.writeMultipleIntegers(UInt32(0x664C_6143), UInt32(0x8000_0000) | 34)
            }
        case .mp3, .g711ALaw, .g711MuLaw, .speex, .ac3, .eac3:
            return nil
        }
        return length + buffer.writeImmutableBuffer(record)
    }

    /// What players add to the message's time to get the presentation time, in whole milliseconds.
    ///
    /// The message's time is `dts.millis`, so that both sum up to `pts.millis`. Saturates at 24 bits.
    package static func compositionOffsetMillis(of frame: Frame) -> Int32 {
        Int32(max(-0x80_0000, min(0x7F_FFFF, frame.pts.millis - frame.dts.millis)))
    }

    /// AAC always claims 44.1 kHz, 16 bits, stereo; the truth is in its configuration (§E.4.2.1).
    private static let aacByte: UInt8 = FLVCode.aac << 4 | 0x0F

    private static func videoByte(_ frame: Frame, _ packetType: UInt8) -> UInt8 {
        0x80 | (frame.isKeyframe ? 1 : 2) << 4 | packetType
    }

    private static func writeLegacy(_ codecID: UInt8, _ frame: Frame, into buffer: inout ByteBuffer) -> Int {
        let offset = UInt32(bitPattern: self.compositionOffsetMillis(of: frame)) & 0xFF_FFFF
        return buffer.writeMultipleIntegers(
            UInt8(frame.isKeyframe ? 0x10 : 0x20) | codecID, UInt32(1) << 24 | offset)
    }

    private static func writeEnhancedHEVC(_ frame: Frame, into buffer: inout ByteBuffer) -> Int {
        let offset = UInt32(bitPattern: self.compositionOffsetMillis(of: frame)) & 0xFF_FFFF
        guard offset != 0 else {
            return self.writeEnhanced(
                self.videoByte(frame, FLVPacketType.codedFramesX), FLVFourCC.hvc1, into: &buffer)
        }
        return buffer.writeMultipleIntegers(
            self.videoByte(frame, FLVPacketType.codedFrames), FLVFourCC.hvc1, UInt8(offset >> 16),
            UInt16(truncatingIfNeeded: offset))
    }

    @discardableResult
    private static func writeEnhanced(_ first: UInt8, _ fourCC: UInt32, into buffer: inout ByteBuffer) -> Int {
        buffer.writeMultipleIntegers(first, fourCC)
    }

    private static func soundByte(of track: Track) -> UInt8 {
        var format = AudioFormat()
        if case .audio(let known) = track.format { format = known }
        let stereo: UInt8 = format.channels == 1 ? 0 : 1
        let rate = format.sampleRate ?? 44_100
        switch track.codec {
        case .g711ALaw, .g711MuLaw:
            let code = track.codec == .g711ALaw ? FLVCode.g711ALaw : FLVCode.g711MuLaw
            return code << 4 | 2 | stereo
        case .speex:
            // Always 16 kHz mono; the rate bits say 11 kHz, as other writers have it.
            return FLVCode.speex << 4 | 1 << 2 | 2
        default:
            if rate == 8_000 { return FLVCode.mp3At8kHz << 4 | 2 | stereo }
            // Two bits name 5.5, 11, 22 and 44 kHz; decoders read the frame's own header.
            let rateCode: UInt8 = rate >= 32_000 ? 3 : rate >= 16_000 ? 2 : 1
            return FLVCode.mp3 << 4 | rateCode << 2 | 2 | stereo
        }
    }
}
