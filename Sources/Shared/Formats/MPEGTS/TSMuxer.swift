package import Media
package import NIOCore

/// Writes frames as an MPEG transport stream with one program: at most one video, one audio and one ID3 stream.
///
/// Run loop: `setTracks` (again whenever a track changes), then for each segment `writeTables`, the segment's frames in
/// the order they came, and `flush` at its end. Continuity counters run on from segment to segment, so the segments put
/// together are one valid stream. Everything is appended to the caller's buffer; nothing is kept but the audio frames
/// that are being gathered.
///
/// - Video: one access unit a PES packet, Annex B, an access unit delimiter in front; keyframes have their parameter
///   sets in front unless the frame brings its own.
/// - Audio: frames are gathered into one PES packet while they follow each other without a gap, for at most
///   `Configuration.maximumAudioDuration`; the packet's time is exactly that of its first frame.
/// - Clock: with each PES packet of the stream that carries it, and in between where that would be too rare.
///
/// Spec: ISO 13818-1, ETSI TS 101 154, ATSC A/52 (AC-3), ETSI TS 103 491 (Opus).
package struct TSMuxer: Sendable {
    /// How the stream is written.
    package struct Configuration: Sendable, Hashable {
        package var transportStreamID: UInt16 = 1
        /// 1 to 65,535.
        package var programNumber: UInt16 = 1
        /// Packet identifiers: 0x10 to 0x1FFE, all different.
        package var mapPID: UInt16 = 0x1000
        package var videoPID: UInt16 = 0x100
        package var audioPID: UInt16 = 0x101
        package var id3PID: UInt16 = 0x102
        /// Added to each time, so that the clock of a stream that begins at 0 does not begin by wrapping.
        package var timeOffset = MediaTime(ticks: 126_000)
        /// The clock is this much behind the decoding times: what a receiver buffers. At most `timeOffset`.
        package var clockLead = MediaTime(ticks: 63_000)
        /// The longest distance between two clock values. At most 100 ms (§2.7.2).
        package var clockInterval = MediaTime(millis: 90)
        /// The longest time that audio frames are gathered for; with zero each has a PES packet of its own.
        package var maximumAudioDuration = MediaTime(millis: 90)
        /// The bytes after which a PES packet of audio is full. At most 65,000.
        package var maximumAudioLength = 16_384

        package init() {}
    }

    private struct Video: Sendable, Equatable {
        var codec: Codec
        var lengthSize: Int
        /// The parameter sets of the track's record, with start codes.
        var parameterSets: ByteBuffer
    }

    /// Audio frames on their way into one PES packet.
    private struct Gathered: Sendable {
        var frames = ByteBuffer()
        var start: Int64 = 0
        var samples = 0
        /// Of all frames so far, in ticks; `nil` when they do not tell, so that nothing can follow.
        var duration: Int64? = 0
    }

    private let configuration: Configuration
    private var video: Video?
    private var audio: TSAudioForm?
    private var carriesID3 = false
    private var version: UInt8?
    private var tablesAreDue = false
    private var association: TSPacketWriter
    private var map: TSPacketWriter
    private var videoPackets: TSPacketWriter
    private var audioPackets: TSPacketWriter
    private var id3Packets: TSPacketWriter
    private var tables: (association: ByteBuffer, map: ByteBuffer) = (ByteBuffer(), ByteBuffer())
    private var gathered = Gathered()
    /// The last clock value that was written, and the last decoding time of the stream that carries the clock; neither
    /// is wrapped.
    private var clock: Int64?
    private var clockStreamTime: Int64?
    /// Where the small pieces of a PES packet are put together.
    private var scratch = ByteBuffer()

    /// Frames that could not be carried: empty, of a codec without a track, or too long for their framing.
    package private(set) var droppedFrames = 0

    package init(configuration: Configuration = .init()) {
        let pids = [configuration.mapPID, configuration.videoPID, configuration.audioPID, configuration.id3PID]
        precondition(
            Set(pids).count == pids.count && pids.allSatisfy { (0x10..<TS.nullPID).contains($0) },
            "packet identifiers \(pids) are not four of 0x10 to 0x1FFE")
        precondition(configuration.programNumber > 0, "program 0 is the network's")
        precondition(
            (1...65_000).contains(configuration.maximumAudioLength),
            "a PES packet cannot have \(configuration.maximumAudioLength) bytes of audio")
        precondition(configuration.clockInterval > .zero, "clock interval \(configuration.clockInterval)")
        precondition(configuration.clockLead >= .zero, "clock lead \(configuration.clockLead)")
        self.configuration = configuration
        self.association = TSPacketWriter(pid: TS.tablePID)
        self.map = TSPacketWriter(pid: configuration.mapPID)
        self.videoPackets = TSPacketWriter(pid: configuration.videoPID)
        self.audioPackets = TSPacketWriter(pid: configuration.audioPID)
        self.id3Packets = TSPacketWriter(pid: configuration.id3PID)
    }

    /// Whether a transport stream can carry `codec` so that players know it.
    package static func supports(_ codec: Codec) -> Bool {
        switch codec {
        case .h264, .hevc, .aac, .mp3, .ac3, .eac3, .opus: true
        case .av1, .vp8, .vp9, .flac, .g711ALaw, .g711MuLaw, .speex: false
        }
    }

    // MARK: Tables

    /// Declares what the stream carries from here on. A changed set has a new version of the program map, which is
    /// written with the next tables or, if none are asked for, in front of the next frame. Audio that was gathered for
    /// a track which changes goes in front of those tables, so call `flush(into:)` before a segment ends.
    ///
    /// Errors: `unsupportedCodec`, `unsupportedConfiguration`, `configuration`, `noStreams`; the set stays as it was.
    package mutating func setTracks(
        video: Track?, audio: Track?, carriesID3: Bool = false
    ) throws(MPEGTSError) {
        precondition(video?.kind != .audio && audio?.kind != .video, "tracks are swapped")
        guard video != nil || audio != nil || carriesID3 else { throw .noStreams }
        let newVideo: Video? = if let video { try Self.videoForm(video) } else { nil }
        let newAudio: TSAudioForm? = if let audio { try TSAudioForm(audio) } else { nil }
        let isSame =
            newVideo == self.video && newAudio == self.audio && carriesID3 == self.carriesID3 && self.version != nil
        guard !isSame else { return }
        if (newVideo == nil) != (self.video == nil) { self.clockStreamTime = nil }
        let version = self.version.map { ($0 + 1) & 31 } ?? 0
        self.version = version
        (self.video, self.audio, self.carriesID3) = (newVideo, newAudio, carriesID3)
        self.tables = (
            TSTableWriter.association(
                transportStreamID: self.configuration.transportStreamID,
                programNumber: self.configuration.programNumber, mapPID: self.configuration.mapPID),
            self.mapSection(version: version)
        )
        self.tablesAreDue = true
    }

    /// Writes the program association and the program map: at each segment's start. `setTracks` came before.
    package mutating func writeTables(into buffer: inout ByteBuffer) {
        precondition(self.version != nil, "tables without tracks")
        // What was gathered before the set changed belongs to the old map.
        if self.tablesAreDue { self.flush(into: &buffer) }
        self.tablesAreDue = false
        self.association.writeSection(self.tables.association, into: &buffer)
        self.map.writeSection(self.tables.map, into: &buffer)
    }

    /// Writes the tables for a reader that has not seen what was written before, and tells it so: its decoder does not
    /// take the next packets for the sign of a loss (`discontinuity_indicator`, §2.4.3.5). Readers that have seen it all
    /// do not need it; nothing that is written later depends on it. Writes nothing before the first `setTracks`.
    package func writeJoin(into buffer: inout ByteBuffer) {
        guard self.version != nil else { return }
        self.association.writeDiscontinuity(self.tables.association, into: &buffer)
        self.map.writeDiscontinuity(self.tables.map, into: &buffer)
        if self.video != nil { self.videoPackets.writeDiscontinuity(into: &buffer) }
        if self.audio != nil { self.audioPackets.writeDiscontinuity(into: &buffer) }
        if self.carriesID3 { self.id3Packets.writeDiscontinuity(into: &buffer) }
    }

    /// Audio waits for more: `flush(into:)` writes it.
    package var holdsAudio: Bool { self.gathered.frames.readableBytes > 0 }

    private func mapSection(version: UInt8) -> ByteBuffer {
        var entries: [TSTableWriter.Entry] = []
        if let video = self.video {
            var descriptors = ByteBuffer()
            if video.codec == .hevc { descriptors.writeRegistration(TSIdentifier.hevc) }
            entries.append(
                .init(
                    streamType: video.codec == .hevc ? TSStreamType.hevc : TSStreamType.h264,
                    pid: self.configuration.videoPID, descriptors: descriptors))
        }
        if let audio = self.audio {
            var descriptors = ByteBuffer()
            audio.writeDescriptors(into: &descriptors)
            entries.append(
                .init(streamType: audio.streamType, pid: self.configuration.audioPID, descriptors: descriptors))
        }
        if self.carriesID3 {
            entries.append(
                .init(
                    streamType: TSStreamType.metadataPES, pid: self.configuration.id3PID,
                    descriptors: TSTableWriter.metadata()))
        }
        let number = self.configuration.programNumber
        return TSTableWriter.map(
            programNumber: number, version: version, clockPID: self.clockPID,
            descriptors: self.carriesID3 ? TSTableWriter.metadataPointer(programNumber: number) : ByteBuffer(),
            entries: entries)
    }

    private var clockPID: UInt16 {
        if self.video != nil { return self.configuration.videoPID }
        return self.audio != nil ? self.configuration.audioPID : self.configuration.id3PID
    }

    private static func videoForm(_ track: Track) throws(MPEGTSError) -> Video {
        guard track.codec == .h264 || track.codec == .hevc else { throw .unsupportedCodec(track.codec) }
        guard let record = track.configuration else {
            throw .configuration(track.codec, .missingConfiguration(track.codec))
        }
        let units: [ByteBuffer]
        let lengthSize: Int
        do throws(CodecHeaderError) {
            if track.codec == .h264 {
                let parsed = try AVCDecoderConfiguration(parsing: record)
                units = parsed.sequenceParameterSets + parsed.pictureParameterSets
                lengthSize = parsed.nalUnitLengthSize
            } else {
                let parsed = try HEVCDecoderConfiguration(parsing: record)
                units = [32, 33, 34].flatMap { parsed.units(ofType: $0) }
                lengthSize = parsed.nalUnitLengthSize
            }
        } catch {
            throw .configuration(track.codec, error)
        }
        var sets = ByteBuffer()
        for unit in units where unit.readableBytes > 0 {
            sets.writeImmutableBuffer(NALUnitCodes.startCode)
            sets.writeImmutableBuffer(unit)
        }
        return Video(codec: track.codec, lengthSize: lengthSize, parameterSets: sets)
    }

    // MARK: Frames

    /// Writes a video frame, or gathers an audio frame and writes what is complete.
    ///
    /// Shape: as `Frame` says, with the length size of the track's record. Frames come in decoding order of their track.
    /// A presentation time before the decoding time, which a transport stream cannot express, is written as equal to it.
    /// A frame that cannot be carried is dropped and counted.
    package mutating func write(_ frame: Frame, into buffer: inout ByteBuffer) {
        if self.tablesAreDue { self.writeTables(into: &buffer) }
        guard frame.payload.readableBytes > 0 else { return self.droppedFrames += 1 }
        if let video = self.video, video.codec == frame.codec {
            self.writeVideo(frame, as: video, into: &buffer)
        } else if let audio = self.audio, audio.codec == frame.codec {
            self.gather(frame, as: audio, into: &buffer)
        } else {
            self.droppedFrames += 1
        }
    }

    /// Writes the audio that is gathered: at a segment's end.
    package mutating func flush(into buffer: inout ByteBuffer) {
        guard self.gathered.frames.readableBytes > 0 else { return }
        let time = self.gathered.start
        var flags = TSPacketWriter.Flags()
        if self.video == nil {
            flags = self.advanceClock(to: time, into: &buffer)
            flags.isRandomAccess = true
        } else if let limit = self.clockStreamTime {
            self.fillClock(upTo: min(time - self.configuration.clockLead.ticks, limit), into: &buffer)
        }
        // `private_stream_1` for what MPEG does not define: AC-3 and Opus.
        let isPrivate = [.ac3, .eac3, .opus].contains(self.audio?.codec)
        self.scratch.clear()
        PESHeader.write(
            streamID: isPrivate ? PESHeader.privateStream1 : PESHeader.audioStream, pts: time, dts: time,
            payloadLength: self.gathered.frames.readableBytes, into: &self.scratch)
        self.audioPackets.begin(
            length: self.scratch.readableBytes + self.gathered.frames.readableBytes, flags: flags, into: &buffer)
        self.audioPackets.append(self.scratch, into: &buffer)
        self.audioPackets.append(self.gathered.frames, into: &buffer)
        self.gathered.frames.clear()
    }

    /// Writes an ID3 tag that belongs to `time`. A tag over 65,000 bytes is dropped and counted.
    ///
    /// `setTracks` declared the ID3 stream.
    package mutating func writeID3(_ tag: ByteBuffer, at time: MediaTime, into buffer: inout ByteBuffer) {
        precondition(self.carriesID3, "the program map has no ID3 stream")
        if self.tablesAreDue { self.writeTables(into: &buffer) }
        guard (1...65_000).contains(tag.readableBytes) else { return self.droppedFrames += 1 }
        let ticks = (time + self.configuration.timeOffset).ticks
        var flags = TSPacketWriter.Flags()
        if self.clockPID == self.configuration.id3PID { flags = self.advanceClock(to: ticks, into: &buffer) }
        self.scratch.clear()
        PESHeader.write(
            streamID: PESHeader.privateStream1, pts: ticks, dts: ticks, payloadLength: tag.readableBytes,
            into: &self.scratch)
        self.id3Packets.begin(length: self.scratch.readableBytes + tag.readableBytes, flags: flags, into: &buffer)
        self.id3Packets.append(self.scratch, into: &buffer)
        self.id3Packets.append(tag, into: &buffer)
    }

    private mutating func writeVideo(_ frame: Frame, as video: Video, into buffer: inout ByteBuffer) {
        let units = LengthPrefixedNALUnits(frame.payload, lengthSize: video.lengthSize)
        let codes = NALUnitCodes(video.codec)
        var (length, count) = (0, 0)
        var bringsParameterSets = false
        for unit in units {
            count += 1
            guard count <= LengthPrefixedNALUnits.maximumUnits else { return self.droppedFrames += 1 }
            guard !codes.isDelimiter(unit) else { continue }
            length += NALUnitCodes.startCode.readableBytes + unit.readableBytes
            if codes.isSequenceParameterSet(unit) { bringsParameterSets = true }
        }
        guard length > 0 else { return self.droppedFrames += 1 }
        let dts = (frame.dts + self.configuration.timeOffset).ticks
        if self.gathered.frames.readableBytes > 0,
            dts - self.gathered.start >= self.configuration.maximumAudioDuration.ticks
        {
            self.flush(into: &buffer)
        }
        var flags = self.advanceClock(to: dts, into: &buffer)
        flags.isRandomAccess = frame.isKeyframe
        let sets = frame.isKeyframe && !bringsParameterSets ? video.parameterSets : ByteBuffer()
        let head = codes.delimiter.readableBytes + sets.readableBytes
        self.scratch.clear()
        PESHeader.write(
            streamID: PESHeader.videoStream, pts: max(dts, (frame.pts + self.configuration.timeOffset).ticks), dts: dts,
            payloadLength: head + length, into: &self.scratch)
        self.videoPackets.begin(length: self.scratch.readableBytes + head + length, flags: flags, into: &buffer)
        self.videoPackets.append(self.scratch, into: &buffer)
        self.videoPackets.append(codes.delimiter, into: &buffer)
        self.videoPackets.append(sets, into: &buffer)
        for unit in units where !codes.isDelimiter(unit) {
            self.videoPackets.append(NALUnitCodes.startCode, into: &buffer)
            self.videoPackets.append(unit, into: &buffer)
        }
    }

    private mutating func gather(_ frame: Frame, as audio: TSAudioForm, into buffer: inout ByteBuffer) {
        guard let header = audio.headerLength(of: frame.payload), header + frame.payload.readableBytes <= 65_000 else {
            return self.droppedFrames += 1
        }
        let time = (frame.pts + self.configuration.timeOffset).ticks
        let samples = audio.sampleCount(of: frame.payload)
        let total = samples.map { $0 + self.gathered.samples }
        if self.gathered.frames.readableBytes > 0 {
            let fits =
                self.gathered.frames.readableBytes + header + frame.payload.readableBytes
                <= self.configuration.maximumAudioLength
            // Sources that count milliseconds are off by up to one tick of theirs.
            let follows = self.gathered.duration.map { abs(time - self.gathered.start - $0) <= 135 } ?? false
            let ends = total.flatMap { audio.ticks(ofSamples: $0) }
            if !fits || !follows || ends.map({ $0 > self.configuration.maximumAudioDuration.ticks }) ?? true {
                self.flush(into: &buffer)
            }
        }
        if self.gathered.frames.readableBytes == 0 {
            self.gathered.start = time
            self.gathered.samples = 0
        }
        audio.write(frame.payload, into: &self.gathered.frames)
        self.gathered.samples += samples ?? 0
        self.gathered.duration = samples == nil ? nil : audio.ticks(ofSamples: self.gathered.samples)
        let next = samples.flatMap { audio.ticks(ofSamples: self.gathered.samples + $0) }
        // Without room for one more of its kind there is nothing to wait for.
        if next.map({ $0 > self.configuration.maximumAudioDuration.ticks }) ?? true { self.flush(into: &buffer) }
    }

    // MARK: Clock

    /// The clock that goes with a PES packet at `time` of the stream that carries it. Fills a gap up to it.
    private mutating func advanceClock(to time: Int64, into buffer: inout ByteBuffer) -> TSPacketWriter.Flags {
        var target = time - self.configuration.clockLead.ticks
        // A source that went back: the clock has to follow, because it may not be ahead of what is decoded (§2.4.3.5).
        let goesBack = self.clock.map { time < $0 } ?? false
        if !goesBack {
            self.fillClock(upTo: target, into: &buffer)
            target = max(target, self.clock ?? target)
        }
        self.clock = target
        self.clockStreamTime = time
        return .init(clock: target & TS.timeMask, isDiscontinuity: goesBack)
    }

    /// Writes clock values on their own while the last one is longer ago than the interval. A gap of more than a second
    /// is one of the source.
    private mutating func fillClock(upTo target: Int64, into buffer: inout ByteBuffer) {
        let interval = self.configuration.clockInterval.ticks
        guard var clock = self.clock, target - clock <= MediaTime.ticksPerSecond else { return }
        while target - clock > interval {
            clock += interval
            if self.video != nil {
                self.videoPackets.writeClock(clock & TS.timeMask, isDiscontinuity: false, into: &buffer)
            } else if self.audio != nil {
                self.audioPackets.writeClock(clock & TS.timeMask, isDiscontinuity: false, into: &buffer)
            } else {
                self.id3Packets.writeClock(clock & TS.timeMask, isDiscontinuity: false, into: &buffer)
            }
        }
        self.clock = clock
    }
}
