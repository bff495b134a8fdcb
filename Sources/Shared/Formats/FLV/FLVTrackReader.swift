package import Media
package import NIOCore

/// What one audio or video message yields. At most one track and one frame; `track` comes first.
package struct FLVReadResult: Equatable, Sendable {
    /// A track appeared, or its configuration changed.
    package var track: Track?
    package var frame: Frame?

    package init(track: Track? = nil, frame: Frame? = nil) {
        self.track = track
        self.frame = frame
    }
}

/// Turns the audio and video messages of one publisher into tracks and frames.
///
/// Keeps the current track of each kind. A sequence header that repeats the current one byte for byte is dropped; MP3,
/// AC-3, G.711, Speex and VP8 get their track from the first frame; frames that come before the configuration they
/// need are dropped and counted. Of a multitrack stream one track a kind is used, the one with the lowest id that has
/// announced itself. Allocates nothing per frame, except for H.264 in Annex B form, which is rewritten.
package struct FLVTrackReader: Sendable {
    /// What was dropped, for statistics and the log.
    package struct Counters: Equatable, Sendable {
        /// Messages that yielded nothing for a reason that costs no media: empty, repeated, metadata, other tracks.
        package var ignoredMessages = 0
        /// Frames that were lost: before their configuration, in a codec that is not carried, or not usable.
        package var droppedFrames = 0
        /// Frames that came in Annex B form and were rewritten.
        package var convertedFrames = 0

        package init() {}
    }

    private struct Slot: Sendable {
        var track: Track?
        var trackID: UInt8 = 0
        /// The record as it came, which is what a repetition equals.
        var record: ByteBuffer?
        /// The bits of the frame's own header that describe the format, of the codecs that have such a header.
        var signature: UInt32 = 0

        /// Whether a message of track `id` is of the track in use. A message that can begin a track takes over from a
        /// higher id.
        func accepts(_ id: UInt8, announces: Bool) -> Bool {
            self.track == nil || id == self.trackID || announces && id < self.trackID
        }

        /// Takes a configuration record. Returns the new track, or `nil` when the record is the one in use.
        mutating func configure(
            _ codec: Codec, trackID: UInt8, record: ByteBuffer, usesLegacyFLVCodecID: Bool
        ) throws(FLVError) -> Track? {
            if let current = self.track, current.codec == codec, self.trackID == trackID, self.record == record,
                current.usesLegacyFLVCodecID == usesLegacyFLVCodecID
            {
                return nil
            }
            // The record outlives the receive buffer by far, so it gets storage of its own.
            let copy = ByteBuffer(bytes: record.readableBytesView)
            do throws(CodecHeaderError) {
                let track = try Track(
                    codec: codec, parsingConfiguration: copy, usesLegacyFLVCodecID: usesLegacyFLVCodecID)
                self = Slot(track: track, trackID: trackID, record: copy)
                return track
            } catch {
                throw .configuration(codec, error)
            }
        }
    }

    package private(set) var counters = Counters()
    /// Why the last message that yielded nothing did so; `nil` after a message that yielded something.
    package private(set) var lastIgnored: FLVIgnoredReason?
    private var videoSlot = Slot()
    private var audioSlot = Slot()

    package init() {}

    package var videoTrack: Track? { self.videoSlot.track }
    package var audioTrack: Track? { self.audioSlot.track }

    /// Reads the body of a video message. `timestampMillis` is the decoding time on the source's clock.
    ///
    /// Errors: those of `FLVVideoPacket`, and `configuration` for a record that cannot be parsed. The reader keeps its
    /// state and can go on.
    package mutating func video(timestampMillis: Int64, body: ByteBuffer) throws(FLVError) -> FLVReadResult {
        switch try FLVVideoPacket(parsing: body) {
        case .ignored(let reason):
            return self.ignored(reason)
        case .configuration(let codec, let trackID, let isLegacy, let record):
            guard self.videoSlot.accepts(trackID, announces: true) else {
                return self.ignored(.otherTrack(id: trackID))
            }
            return self.announced(
                try self.videoSlot.configure(
                    codec, trackID: trackID, record: record, usesLegacyFLVCodecID: isLegacy && codec == .hevc))
        case .frame(let codec, let trackID, let isKeyframe, let offset, var payload):
            guard self.videoSlot.accepts(trackID, announces: !codec.needsConfiguration) else {
                return self.ignored(.otherTrack(id: trackID))
            }
            var result = FLVReadResult()
            if self.videoSlot.track?.codec != codec {
                // Only VP8 can begin without a record, and its size is in key frames.
                guard !codec.needsConfiguration, isKeyframe else { return self.ignored(.missingConfiguration) }
                guard let track = try? Track(codec: codec, describedBy: payload) else {
                    return self.ignored(.unusableFrame)
                }
                self.videoSlot = Slot(track: track, trackID: trackID)
                result.track = track
            }
            if codec == .h264, AnnexB.hasStartCode(payload) {
                guard let converted = self.lengthPrefixed(payload) else { return self.ignored(.unusableFrame) }
                payload = converted
            }
            if codec == .av1 { payload.skipTemporalDelimiter() }
            let dts = MediaTime(millis: timestampMillis)
            result.frame = Frame(
                codec: codec, dts: dts, pts: dts + MediaTime(millis: Int64(offset)), isKeyframe: isKeyframe,
                payload: payload)
            self.lastIgnored = nil
            return result
        }
    }

    /// Reads the body of an audio message. `timestampMillis` is the time on the source's clock.
    ///
    /// Errors: those of `FLVAudioPacket`, and `configuration` for a record that cannot be parsed. The reader keeps its
    /// state and can go on.
    package mutating func audio(timestampMillis: Int64, body: ByteBuffer) throws(FLVError) -> FLVReadResult {
        switch try FLVAudioPacket(parsing: body) {
        case .ignored(let reason):
            return self.ignored(reason)
        case .configuration(let codec, let trackID, let record):
            guard self.audioSlot.accepts(trackID, announces: true) else {
                return self.ignored(.otherTrack(id: trackID))
            }
            return self.announced(
                try self.audioSlot.configure(codec, trackID: trackID, record: record, usesLegacyFLVCodecID: false))
        case .frame(let codec, let trackID, let isStereo, let payload):
            guard self.audioSlot.accepts(trackID, announces: !codec.needsConfiguration) else {
                return self.ignored(.otherTrack(id: trackID))
            }
            var result = FLVReadResult()
            if codec.needsConfiguration {
                guard self.audioSlot.track?.codec == codec else { return self.ignored(.missingConfiguration) }
            } else {
                let signature = Self.signature(of: codec, isStereo: isStereo, payload)
                if self.audioSlot.track?.codec != codec || self.audioSlot.signature != signature {
                    result.track = self.described(codec, trackID, isStereo: isStereo, payload, signature)
                    // A frame without a readable header in mid-stream is the decoder's to conceal.
                    guard self.audioSlot.track?.codec == codec else { return self.ignored(.unusableFrame) }
                }
            }
            let time = MediaTime(millis: timestampMillis)
            result.frame = Frame(codec: codec, dts: time, pts: time, isKeyframe: true, payload: payload)
            self.lastIgnored = nil
            return result
        }
    }

    private mutating func ignored(_ reason: FLVIgnoredReason) -> FLVReadResult {
        switch reason {
        case .missingConfiguration, .unusableFrame, .unsupportedVideoCodec, .unsupportedSoundFormat,
            .unsupportedFourCC:
            self.counters.droppedFrames += 1
        default:
            self.counters.ignoredMessages += 1
        }
        self.lastIgnored = reason
        return FLVReadResult()
    }

    private mutating func announced(_ track: Track?) -> FLVReadResult {
        guard let track else { return self.ignored(.repeatedConfiguration) }
        self.lastIgnored = nil
        return FLVReadResult(track: track)
    }

    /// Remembers the track that `payload` describes and returns it, or `nil` when its header cannot be read.
    private mutating func described(
        _ codec: Codec, _ trackID: UInt8, isStereo: Bool, _ payload: ByteBuffer, _ signature: UInt32
    ) -> Track? {
        guard var track = try? Track(codec: codec, describedBy: payload) else { return nil }
        if codec == .g711ALaw || codec == .g711MuLaw, isStereo, case .audio(var format) = track.format {
            format.channels = 2
            track.format = .audio(format)
        }
        let isChange = self.audioSlot.track != track
        self.audioSlot = Slot(track: track, trackID: trackID, signature: signature)
        return isChange ? track : nil
    }

    /// What has to stay the same from frame to frame for the format to be the same.
    private static func signature(of codec: Codec, isStereo: Bool, _ payload: ByteBuffer) -> UInt32 {
        switch codec {
        case .mp3:
            // Version, layer, sample rate and channel mode, without bit rate and padding.
            (payload.getInteger(at: payload.readerIndex, as: UInt32.self) ?? 0) & 0xFFFE_0CC0
        case .ac3, .eac3:
            // Sample rate, identification and channels; AC-3's frame size code may alternate.
            ((payload.getInteger(at: payload.readerIndex + 4, as: UInt32.self) ?? 0)
                & (codec == .ac3 ? 0xC0FF_FF00 : 0xFFF8_0000))
        default: isStereo ? 1 : 0
        }
    }

    /// Rewrites a frame in Annex B form. A payload whose lengths add up is what it should be, whatever its first length
    /// looks like. `nil` when it cannot be either.
    private mutating func lengthPrefixed(_ payload: ByteBuffer) -> ByteBuffer? {
        let lengthSize = self.videoSlot.track?.nalUnitLengthSize ?? 4
        let units = LengthPrefixedNALUnits(payload, lengthSize: lengthSize)
        if (try? units.validate()) != nil { return payload }
        guard let converted = try? AnnexB.lengthPrefixed(payload, lengthSize: lengthSize),
            converted.readableBytes > 0
        else { return nil }
        self.counters.convertedFrames += 1
        return converted
    }
}

extension ByteBuffer {
    /// Passes over the temporal delimiter at the start of an AV1 temporal unit, which frames go without. ffmpeg and OBS
    /// send it.
    fileprivate mutating func skipTemporalDelimiter() {
        guard self.getInteger(at: self.readerIndex, as: UInt16.self) == 0x1200 else { return }
        self.moveReaderIndex(forwardBy: 2)
    }
}
