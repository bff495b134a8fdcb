package import Media
package import NIOCore
import RTP
package import Streaming

/// The settings of an `RTPStreamPacketizer`.
package struct RTPStreamPacketizerConfiguration: Sendable, Hashable {
    /// Bytes of one RTP payload at most. With header, extensions and SRTP tag it has to stay below the path's MTU.
    package var maximumPayload: Int
    /// A track that does not come this long after the other one, by the stream's time, is taken as absent.
    package var absentAfter: TimeAmount

    package init(maximumPayload: Int = 1_128, absentAfter: TimeAmount = .seconds(3)) {
        self.maximumPayload = maximumPayload
        self.absentAfter = absentAfter
    }
}

/// Cuts the frames of a live stream into RTP payloads, once for all viewers of a node.
///
/// On the stream's home loop. Feed it what the stream caches since the last keyframe, then each event; hand the frames
/// to the rings of all event loops that have viewers, and `status` to the viewers when it changes.
///
/// Video goes out in the order in which it is shown: B-frames that nothing is predicted from are left out, a stream
/// with others is refused. Parameter sets are repeated in front of keyframes that come without. Audio is Opus or G.711.
package struct RTPStreamPacketizer: Sendable {
    /// What is kept of one track of the source.
    private struct TrackState: Sendable {
        var track: Track?
        var writer: RTPPayloadWriter?
        var nalUnitLengthSize = 4
        var parameterSets: [ByteBuffer] = []
        /// The next frame's number, and the packets before it. Never start again.
        var nextNumber: UInt64 = 0
        var packets: UInt64 = 0
        var lastTicks: Int64?
        var awaitsKeyframe = true
    }

    private let configuration: RTPStreamPacketizerConfiguration
    private var video = TrackState()
    private var audio = TrackState()
    private var order = PictureOrder()
    private var audioClock = AudioClock(rate: 48_000)
    private var meter = BitrateMeter()
    /// The time of the source's first frame.
    private var sourceStart: MediaTime?

    /// What the stream has for RTP viewers.
    package private(set) var status = RTPStreamStatus()
    /// B-frames that were left out, and frames that could not be parsed, since the beginning.
    package private(set) var droppedFrames = 0
    package private(set) var malformedFrames = 0

    package init(configuration: RTPStreamPacketizerConfiguration = .init()) { self.configuration = configuration }

    /// Another source begins, whose tracks may differ. Video starts again at its first keyframe; the numbers of frames
    /// and packets go on, so viewers go on. Rings should forget their frames (`RTPFrameRing.removeAll`).
    package mutating func sourceChanged() {
        for kind in [MediaKind.video, .audio] {
            self[kind].track = nil
            self[kind].writer = nil
            self[kind].awaitsKeyframe = true
        }
        self.order = PictureOrder()
        self.sourceStart = nil
        self.status = RTPStreamStatus()
        self.meter = BitrateMeter()
    }

    /// Takes one event; `state` already contains it. Gives the frames that are to be sent: one for most video and audio
    /// frames.
    ///
    /// Cost: one copy of the payload and a few allocations a frame.
    package mutating func append(_ event: MediaEvent, state: StreamState, now: NIODeadline) -> [RTPFrame] {
        switch event {
        case .track(let track):
            self.adopt(track)
            return []
        case .metadata, .data:
            return []
        case .frame(let frame):
            self.noteAbsence(frame, state: state)
            if self[frame.kind].track == nil || frame.kind == .video && frame.isKeyframe,
                let track = state.track(of: frame.kind)
            {
                self.adopt(track)
            }
            return frame.kind == .video ? self.packetizeVideo(frame, now: now) : self.packetizeAudio(frame, now: now)
        }
    }

    // MARK: Tracks

    private subscript(kind: MediaKind) -> TrackState {
        get { kind == .video ? self.video : self.audio }
        set { if kind == .video { self.video = newValue } else { self.audio = newValue } }
    }

    private mutating func adopt(_ track: Track) {
        guard self[track.kind].track != track else { return }
        let isSameCodec = self[track.kind].track?.codec == track.codec
        self[track.kind].track = track
        if track.kind == .video {
            if !isSameCodec { self.video.awaitsKeyframe = true }
            self.order = PictureOrder()
        } else {
            self.audioClock = AudioClock(rate: RTPClock.rate(of: track.codec))
        }
        self.status[track.kind] = self.prepare(track)
    }

    private mutating func prepare(_ track: Track) -> RTPTrackStatus {
        self[track.kind].writer = nil
        var channels = 1
        if case .audio(let format) = track.format { channels = format.channels ?? 1 }
        switch track.codec {
        case .h264, .hevc, .av1, .vp8, .vp9, .opus, .g711ALaw, .g711MuLaw: break
        default: return .refused(.unsupportedCodec(track.codec))
        }
        guard let format = RTPPayloadFormat(codec: track.codec, channels: channels) else {
            return .refused(.unsupportedCodec(track.codec))
        }
        do throws(CodecHeaderError) {
            try self.readConfiguration(track)
        } catch {
            return .refused(.malformed(track.codec))
        }
        self[track.kind].writer = RTPPayloadWriter(
            format: format, maximumPayload: self.configuration.maximumPayload)
        return .flowing(track.codec)
    }

    /// Takes parameter sets and the length size out of a video track's configuration record.
    private mutating func readConfiguration(_ track: Track) throws(CodecHeaderError) {
        self[track.kind].parameterSets = []
        self[track.kind].nalUnitLengthSize = 4
        guard let record = track.configuration else { return }
        // What is in it is sent again in front of each keyframe.
        guard record.readableBytes <= Track.maximumConfigurationLength else {
            throw .recordTooLong(length: record.readableBytes, maximum: Track.maximumConfigurationLength)
        }
        switch track.codec {
        case .h264:
            let avc = try AVCDecoderConfiguration(parsing: record)
            self.video.nalUnitLengthSize = avc.nalUnitLengthSize
            self.video.parameterSets = avc.sequenceParameterSets + avc.pictureParameterSets
        case .hevc:
            let hevc = try HEVCDecoderConfiguration(parsing: record)
            self.video.nalUnitLengthSize = hevc.nalUnitLengthSize
            self.video.parameterSets = [32, 33, 34].flatMap { type in
                hevc.parameterSets.filter { $0.unitType == type }.flatMap(\.units)
            }
        case .av1:
            let units = try AV1CodecConfiguration(parsing: record).configurationUnits
            if units.readableBytes > 0 { self.video.parameterSets = [units] }
        default: break
        }
    }

    /// A track that the source does not announce while the other one flows is absent.
    private mutating func noteAbsence(_ frame: Frame, state: StreamState) {
        let other: MediaKind = frame.kind == .video ? .audio : .video
        guard let start = self.sourceStart else {
            self.sourceStart = frame.dts
            return
        }
        guard self.status[other] == .unknown, state.track(of: other) == nil,
            (frame.dts - start).ticks >= self.configuration.absentAfter.ticks
        else { return }
        self.status[other] = .absent
    }

    // MARK: Frames

    private mutating func packetizeVideo(_ frame: Frame, now: NIODeadline) -> [RTPFrame] {
        guard case .flowing(let codec) = self.status.video, codec == frame.codec else { return [] }
        if self.video.awaitsKeyframe {
            guard frame.isKeyframe else { return [] }
            self.video.awaitsKeyframe = false
        }
        switch self.order.judge(frame, lengthSize: self.video.nalUnitLengthSize) {
        case .refuse:
            self.status.video = .refused(.reorderedReferences)
            return []
        case .drop:
            self.droppedFrames += 1
            return []
        case .forward(let isDiscardable):
            guard let payloads = self.payloads(of: frame) else { return [] }
            // Two pictures need two times; what comes out of order by a fault is put behind.
            let ticks = max(frame.pts.ticks, self.video.lastTicks.map { $0 + 1 } ?? .min)
            return [
                self.makeFrame(
                    frame, payload: payloads.buffer, packets: payloads.ranges, ticks: ticks,
                    isDiscardable: isDiscardable, now: now)
            ]
        }
    }

    private mutating func packetizeAudio(_ frame: Frame, now: NIODeadline) -> [RTPFrame] {
        guard case .flowing(let codec) = self.status.audio, codec == frame.codec else { return [] }
        guard let payloads = self.payloads(of: frame) else { return [] }
        var channels = 1
        if case .audio(let format)? = self.audio.track?.format { channels = format.channels ?? 1 }
        let duration = AudioDuration.ticks(of: frame.payload, codec: frame.codec, channels: channels)
        var ticks = self.audioClock.place(frame.pts, duration: duration)
        if let last = self.audio.lastTicks { ticks = max(ticks, last + 1) }
        // Audio that needs several packets is several frames, each with a time of its own and bytes of its own.
        return payloads.ranges.indices.map { index in
            let payload = payloads.payload(at: index)
            return self.makeFrame(
                frame, payload: payload, packets: [payload.readerIndex..<payload.writerIndex],
                ticks: ticks + Int64(index) * Int64(payloads.timestampStep), isDiscardable: false, now: now)
        }
    }

    private mutating func payloads(of frame: Frame) -> RTPPayloads? {
        let lengthSize = self[frame.kind].nalUnitLengthSize
        let sets = frame.isKeyframe ? self[frame.kind].parameterSets : []
        do throws(RTPError) {
            let payloads = try self[frame.kind].writer?.payloads(
                of: frame.payload, isKeyframe: frame.isKeyframe, nalUnitLengthSize: lengthSize, parameterSets: sets)
            guard let payloads, !payloads.ranges.isEmpty else { return nil }
            return payloads
        } catch {
            self.malformedFrames += 1
            // A picture is missing now: what refers to it would be shown broken.
            if frame.kind == .video { self.video.awaitsKeyframe = true }
            return nil
        }
    }

    private mutating func makeFrame(
        _ frame: Frame, payload: ByteBuffer, packets: [Range<Int>], ticks: Int64, isDiscardable: Bool,
        now: NIODeadline
    ) -> RTPFrame {
        let kind = frame.kind
        self.meter.count(packets.reduce(0) { $0 + $1.count }, at: frame.dts)
        let result = RTPFrame(
            codec: frame.codec, number: self[kind].nextNumber, firstPacket: self[kind].packets, ticks: ticks,
            time: frame.pts, isKeyframe: frame.isKeyframe, isDiscardable: isDiscardable, payload: payload,
            packets: packets, arrival: now, streamBitrate: self.meter.bitsPerSecond)
        self[kind].nextNumber += 1
        self[kind].packets += UInt64(packets.count)
        self[kind].lastTicks = ticks
        return result
    }
}

/// Measures a stream by its own time, so that cached frames count like live ones.
struct BitrateMeter: Sendable {
    private var start: MediaTime?
    private var bytes = 0
    private var smoothed: Double?

    /// 0 until there is something to say.
    private(set) var bitsPerSecond = 0

    mutating func count(_ bytes: Int, at time: MediaTime) {
        guard let start = self.start, time >= start || (start - time).ticks < MediaTime.ticksPerSecond else {
            self.start = time
            self.bytes = bytes
            return
        }
        let elapsed = (time - start).ticks
        if elapsed >= MediaTime.ticksPerSecond {
            let rate = Double(self.bytes) * 8 * Double(MediaTime.ticksPerSecond) / Double(elapsed)
            // Seconds with a keyframe take more than others.
            self.smoothed = self.smoothed.map { $0 * 0.75 + rate * 0.25 } ?? rate
            self.start = time
            self.bytes = 0
        } else if self.smoothed == nil, elapsed >= MediaTime.ticksPerSecond / 4 {
            self.bitsPerSecond = self.bytes * 8 * Int(MediaTime.ticksPerSecond) / Int(elapsed)
        }
        self.bytes += bytes
        if let smoothed = self.smoothed { self.bitsPerSecond = Int(smoothed) }
    }
}
