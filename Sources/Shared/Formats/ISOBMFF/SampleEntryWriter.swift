import Media
import NIOCore

/// Makes the sample entries of `stsd`. Spec: ISO/IEC 14496-12 §12.1.3 and §12.2.3.
enum SampleEntryWriter {
    /// Bytes of a visual sample entry's fields, the header of its box not included.
    static let visualFieldBytes = 78
    /// The same of an audio sample entry of version 0.
    static let audioFieldBytes = 28

    static func entry(for track: Track, frame: ByteBuffer?) throws(ISOBMFFError) -> ByteBuffer {
        switch track.codec {
        case .h264: try self.h264(track)
        case .hevc: try self.hevc(track)
        case .av1:
            self.visual(
                "av01", size: self.size(track), "av1C",
                try self.checked(track) { record throws(CodecHeaderError) in
                    _ = try AV1CodecConfiguration(parsing: record)
                    return record
                })
        case .vp8: self.visual("vp08", size: self.size(track, frame), "vpcC", try self.vpcC(track))
        case .vp9: self.visual("vp09", size: self.size(track, frame), "vpcC", try self.vpcC(track))
        case .aac:
            try self.audio("mp4a", track, .esds, self.aacDescriptor(track))
        case .mp3:
            try self.audio("mp4a", track, .esds, self.mp3Descriptor(track))
        case .opus: try self.audio("Opus", track, "dOps", self.dOps(track))
        case .flac: try self.audio("fLaC", track, "dfLa", self.dfLa(track))
        case .ac3:
            try self.audio("ac-3", track, "dac3", AC3Parameters(track: track, frame: frame).dac3)
        case .eac3:
            try self.audio("ec-3", track, "dec3", AC3Parameters(track: track, frame: frame).dec3)
        case .g711ALaw, .g711MuLaw, .speex:
            throw .unsupportedCodec(track.codec)
        }
    }

    /// The size in the visual sample entry of `track`; 0 × 0 for sound.
    static func pictureSize(ofEntry track: MP4Track) -> (width: UInt16, height: UInt16) {
        let entry = track.sampleEntry
        guard track.kind == .video,
            let size = entry.getMultipleIntegers(at: entry.readerIndex + 8 + 24, as: (UInt16, UInt16).self)
        else { return (0, 0) }
        return (size.0, size.1)
    }

    // MARK: Boxes

    private static func visual(
        _ type: BoxType, size: (width: UInt16, height: UInt16), _ configuration: BoxType, _ record: ByteBuffer
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeBox(type) { buffer in
            buffer.writeMultipleIntegers(UInt32(0), UInt16(0), UInt16(1))
            buffer.writeRepeatingByte(0, count: 16)
            // 72 dpi both ways, one frame a sample.
            buffer.writeMultipleIntegers(
                size.width, size.height, UInt32(0x0048_0000), UInt32(0x0048_0000), UInt32(0), UInt16(1))
            buffer.writeRepeatingByte(0, count: 32)
            buffer.writeMultipleIntegers(UInt16(24), UInt16.max)
            buffer.writeBox(configuration) { $0.writeImmutableBuffer(record) }
        }
        return buffer
    }

    private static func audio(
        _ type: BoxType, _ track: Track, _ configuration: BoxType, _ record: ByteBuffer
    ) throws(ISOBMFFError) -> ByteBuffer {
        guard case .audio(let format) = track.format, let rate = format.sampleRate, rate > 0,
            let channels = format.channels, (1...255).contains(channels)
        else { throw .missingFormat(track.codec) }
        // FLAC in ISOBMFF §3.3.2: a rate that does not fit is stated as its largest regular divisor that does.
        var stated = rate
        while stated > UInt16.max { stated = stated.isMultiple(of: 2) ? stated / 2 : 0 }
        var buffer = ByteBuffer()
        buffer.writeBox(type) { buffer in
            buffer.writeMultipleIntegers(UInt32(0), UInt16(0), UInt16(1), UInt64(0))
            buffer.writeMultipleIntegers(UInt16(channels), UInt16(16), UInt32(0), UInt32(stated) << 16)
            buffer.writeBox(configuration) { $0.writeImmutableBuffer(record) }
        }
        return buffer
    }

    // MARK: Video

    private static func h264(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        var isComplete = false
        let record = try self.checked(track) { record throws(CodecHeaderError) in
            let parsed = try AVCDecoderConfiguration(parsing: record)
            isComplete = !parsed.sequenceParameterSets.isEmpty && !parsed.pictureParameterSets.isEmpty
            return record
        }
        return self.visual(isComplete ? "avc1" : "avc3", size: self.size(track), "avcC", record)
    }

    /// Spec: ISO/IEC 14496-15 §8.4.1.1: in `hvc1` all arrays of parameter sets are complete.
    private static func hevc(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        var isComplete = false
        let record = try self.checked(track) { record throws(CodecHeaderError) in
            let parsed = try HEVCDecoderConfiguration(parsing: record)
            isComplete = [32, 33, 34].allSatisfy { type in !parsed.units(ofType: type).isEmpty }
            var result = ByteBuffer()
            result.writeImmutableBuffer(record)
            result.setInteger(UInt8(1), at: 0)
            guard isComplete else { return result }
            var position = 23
            for sets in parsed.parameterSets {
                if (32...34).contains(sets.unitType) { result.setInteger(0x80 | sets.unitType, at: position) }
                position += sets.units.reduce(3) { $0 + 2 + $1.readableBytes }
            }
            return result
        }
        return self.visual(isComplete ? "hvc1" : "hev1", size: self.size(track), "hvcC", record)
    }

    /// The record with version 1 and flags. VP8 has none of its own: 8 bits, 4:2:0. Spec: VP Codec ISO Binding §2.2.
    private static func vpcC(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        var buffer = ByteBuffer(integer: UInt32(0x0100_0000))
        if track.codec == .vp8, track.configuration == nil {
            // Profile 0, level not known, 8 bits 4:2:0 in studio range, colours unspecified, no initialization data.
            buffer.writeMultipleIntegers(UInt8(0), UInt8(0), UInt8(0x82), UInt8(2), UInt8(2), UInt8(2), UInt16(0))
        } else {
            buffer.writeImmutableBuffer(
                try self.checked(track) { record throws(CodecHeaderError) in
                    try VPCodecConfiguration(parsing: record).record
                })
        }
        return buffer
    }

    private static func size(_ track: Track, _ frame: ByteBuffer? = nil) -> (width: UInt16, height: UInt16) {
        guard case .video(var format) = track.format else { return (0, 0) }
        if format.width == nil || format.height == nil, let frame {
            if track.codec == .vp8, let parsed = try? VP8KeyframeHeader.videoFormat(of: frame) { format = parsed }
            if track.codec == .vp9, let parsed = VP9KeyframeHeader.size(of: frame) {
                (format.width, format.height) = parsed
            }
        }
        return (UInt16(clamping: format.width ?? 0), UInt16(clamping: format.height ?? 0))
    }

    // MARK: Audio

    private static func aacDescriptor(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        let record = try self.checked(track) { record throws(CodecHeaderError) in
            _ = try AudioSpecificConfig(parsing: record)
            return record
        }
        return Descriptors.elementaryStream(objectType: Descriptors.mpeg4Audio, specificInfo: record)
    }

    private static func mp3Descriptor(_ track: Track) -> ByteBuffer {
        guard case .audio(let format) = track.format else { return ByteBuffer() }
        // Rates up to 24 kHz are MPEG-2's.
        let isMPEG2 = format.sampleRate ?? 0 <= 24_000
        return Descriptors.elementaryStream(
            objectType: isMPEG2 ? Descriptors.mpeg2Part3 : Descriptors.mpeg1Part3, specificInfo: nil)
    }

    /// Spec: Encapsulation of Opus in ISOBMFF §4.3.2: the fields of `OpusHead` with the other byte order.
    private static func dOps(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        try self.checked(track) { record throws(CodecHeaderError) in
            let head = try OpusHead(parsing: record)
            var buffer = ByteBuffer()
            buffer.writeMultipleIntegers(
                UInt8(0), UInt8(head.channels), UInt16(head.preSkip), UInt32(head.inputSampleRate),
                Int16(head.outputGain), UInt8(head.mappingFamily))
            if head.mappingFamily != 0 {
                var table = record
                table.moveReaderIndex(forwardBy: 19)
                buffer.writeImmutableBuffer(table.readSlice(length: 2 + head.channels) ?? ByteBuffer())
            }
            return buffer
        }
    }

    /// Spec: Encapsulation of FLAC in ISOBMFF §3.3.2: metadata blocks with their headers, here the only and last one.
    private static func dfLa(_ track: Track) throws(ISOBMFFError) -> ByteBuffer {
        try self.checked(track) { record throws(CodecHeaderError) in
            let info = try FLACStreamInfo(parsing: record)
            var buffer = ByteBuffer()
            buffer.writeMultipleIntegers(UInt32(0), UInt32(0x8000_0000) | UInt32(info.record.readableBytes))
            buffer.writeImmutableBuffer(info.record)
            return buffer
        }
    }

    /// Passes the track's record through `body` and wraps its errors.
    private static func checked(
        _ track: Track, _ body: (ByteBuffer) throws(CodecHeaderError) -> ByteBuffer
    ) throws(ISOBMFFError) -> ByteBuffer {
        guard let record = track.configuration else {
            throw .configuration(track.codec, .missingConfiguration(track.codec))
        }
        do throws(CodecHeaderError) {
            return try body(record)
        } catch {
            throw .configuration(track.codec, error)
        }
    }
}
