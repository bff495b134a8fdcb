import Media
import NIOCore

/// Turns sample entries back into tracks. Spec: ISO/IEC 14496-12 §12.1.3 and §12.2.3.
enum SampleEntryReader {
    /// The track that a sample entry describes; `nil` for a codec that is not carried, and for encrypted media.
    static func track(of entry: Box) throws(ISOBMFFError) -> Track? {
        switch entry.type {
        case "avc1", "avc3": try self.video(.h264, entry, "avcC") { $0 }
        case "hvc1", "hev1": try self.video(.hevc, entry, "hvcC") { $0 }
        case "av01": try self.video(.av1, entry, "av1C") { $0 }
        case "vp08": try self.video(.vp8, entry, "vpcC") { $0 }
        case "vp09": try self.video(.vp9, entry, "vpcC") { $0 }
        case "mp4a": try self.mp4a(entry)
        case "Opus": try self.audio(.opus, entry, "dOps", self.opusHead)
        case "fLaC": try self.audio(.flac, entry, "dfLa", self.streamInfo)
        case "ac-3": try self.ac3(.ac3, entry, "dac3")
        case "ec-3": try self.ac3(.eac3, entry, "dec3")
        case ".mp3": self.mp3(try self.audioFields(entry))
        default: nil
        }
    }

    // MARK: Video

    private static func video(
        _ codec: Codec, _ entry: Box, _ type: BoxType, _ record: (ByteBuffer) -> ByteBuffer
    ) throws(ISOBMFFError) -> Track {
        var fields = FieldReader(entry)
        try fields.skip(24)
        let width = Int(try fields.integer(as: UInt16.self))
        let height = Int(try fields.integer(as: UInt16.self))
        guard let box = try entry.child(type, skipping: SampleEntryWriter.visualFieldBytes) else {
            throw .missingBox(type, parent: entry.type)
        }
        var track = try self.parsed(codec, record(box.payload))
        guard case .video(var format) = track.format else { return track }
        // VP8 and VP9 tell their size only here; the others tell theirs themselves.
        if format.width == nil, width > 0 { format.width = width }
        if format.height == nil, height > 0 { format.height = height }
        track.format = .video(format)
        return track
    }

    // MARK: Audio

    private struct AudioFields {
        var sampleRate: Int
        var channels: Int
        /// Bytes of the entry in front of its boxes.
        var length: Int
    }

    /// QuickTime's versions 1 and 2 have more fields, which some writers put into MP4, too.
    private static func audioFields(_ entry: Box) throws(ISOBMFFError) -> AudioFields {
        var fields = FieldReader(entry)
        try fields.skip(8)
        let offset = fields.offset
        let version = try fields.integer(as: UInt16.self)
        try fields.skip(6)
        let channels = Int(try fields.integer(as: UInt16.self))
        try fields.skip(6)
        let rate = Int(try fields.integer(as: UInt32.self) >> 16)
        guard version <= 2 else {
            throw .unsupportedVersion(entry.type, version: UInt8(clamping: version), offset: offset)
        }
        return AudioFields(
            sampleRate: rate, channels: channels,
            length: SampleEntryWriter.audioFieldBytes + [0, 16, 36][Int(version)])
    }

    private static func audio(
        _ codec: Codec, _ entry: Box, _ type: BoxType, _ record: (Box) throws(ISOBMFFError) -> ByteBuffer
    ) throws(ISOBMFFError) -> Track {
        let fields = try self.audioFields(entry)
        guard let box = try entry.child(type, skipping: fields.length) else {
            throw .missingBox(type, parent: entry.type)
        }
        return try self.parsed(codec, try record(box))
    }

    private static func mp4a(_ entry: Box) throws(ISOBMFFError) -> Track? {
        let fields = try self.audioFields(entry)
        var found = try entry.child(.esds, skipping: fields.length)
        if found == nil, let wave = try entry.child("wave", skipping: fields.length) { found = try wave.child(.esds) }
        guard let found else { throw .missingBox(.esds, parent: entry.type) }
        let stream = try Descriptors.read(found)
        switch stream.objectType {
        case Descriptors.mpeg4Audio, Descriptors.mpeg2AACMain...Descriptors.mpeg2AACScalable:
            guard let info = stream.specificInfo else {
                throw .configuration(.aac, .missingConfiguration(.aac))
            }
            var track = try self.parsed(.aac, info)
            guard case .audio(var format) = track.format else { return track }
            if format.channels == nil, fields.channels > 0 { format.channels = fields.channels }
            track.format = .audio(format)
            return track
        case Descriptors.mpeg1Part3, Descriptors.mpeg2Part3:
            return self.mp3(fields)
        default:
            return nil
        }
    }

    private static func mp3(_ fields: AudioFields) -> Track {
        Track(
            codec: .mp3, configuration: nil,
            format: .audio(
                AudioFormat(
                    sampleRate: fields.sampleRate, channels: fields.channels, profile: "Layer 3",
                    samplesPerFrame: fields.sampleRate < 32_000 ? 576 : 1152)))
    }

    private static func ac3(_ codec: Codec, _ entry: Box, _ type: BoxType) throws(ISOBMFFError) -> Track {
        let fields = try self.audioFields(entry)
        guard let box = try entry.child(type, skipping: fields.length) else {
            throw .missingBox(type, parent: entry.type)
        }
        guard let format = AC3Parameters.audioFormat(ofBox: box, isEnhanced: codec == .eac3) else {
            throw .invalidValue(type, value: 3, offset: box.payloadOffset)
        }
        return Track(
            codec: codec, configuration: nil,
            format: .audio(
                AudioFormat(
                    sampleRate: format.sampleRate ?? fields.sampleRate, channels: format.channels,
                    samplesPerFrame: 1536)))
    }

    private static func opusHead(_ box: Box) throws(ISOBMFFError) -> ByteBuffer {
        var fields = FieldReader(box)
        let offset = fields.offset
        let version = try fields.integer(as: UInt8.self)
        guard version == 0 else { throw .unsupportedVersion(box.type, version: version, offset: offset) }
        let channels = try fields.integer(as: UInt8.self)
        let preSkip = try fields.integer(as: UInt16.self)
        let rate = try fields.integer(as: UInt32.self)
        let gain = try fields.integer(as: Int16.self)
        let family = try fields.integer(as: UInt8.self)
        var head = ByteBuffer(string: "OpusHead")
        head.writeMultipleIntegers(UInt8(1), channels)
        head.writeMultipleIntegers(preSkip, rate, gain, endianness: .little)
        head.writeInteger(family)
        if family != 0 { head.writeImmutableBuffer(try fields.slice(2 + Int(channels))) }
        return head
    }

    /// The block that comes first, which is STREAMINFO.
    private static func streamInfo(_ box: Box) throws(ISOBMFFError) -> ByteBuffer {
        var fields = FieldReader(box)
        _ = try fields.versionAndFlags(maximumVersion: 0)
        let offset = fields.offset
        let header = try fields.integer(as: UInt32.self)
        guard header >> 24 & 0x7F == 0 else {
            throw .invalidValue(box.type, value: Int64(header >> 24), offset: offset)
        }
        return try fields.slice(Int(header & 0xFF_FFFF))
    }

    /// The track of a record, which gets storage of its own: it outlives the bytes that were read.
    private static func parsed(_ codec: Codec, _ record: ByteBuffer) throws(ISOBMFFError) -> Track {
        do throws(CodecHeaderError) {
            return try Track(codec: codec, parsingConfiguration: ByteBuffer(bytes: record.readableBytesView))
        } catch {
            throw .configuration(codec, error)
        }
    }
}
