import MPEGTS
import Media
import NIOCore

/// Writes all frames of a stream into the segments of one transport stream.
///
/// Frames go in as they come; a segment's length is known when the next one begins.
struct TransportLane: Sendable {
    private(set) var plan: SegmentPlan
    private var muxer = TSMuxer()
    private var buffer = ByteBuffer()
    /// Frames of any kind, and of the kind that leads.
    private var frameCount = 0
    private var leadingCount = 0
    private var firstDecode: Int64?
    private var presentationStart: Int64?
    /// The last frame of the kind that leads, and how long it lasts by what came before.
    private var lastDecode: Int64?
    private var lastDuration: Int64 = 3600
    private(set) var isIndependent = false
    private var carriesID3 = false

    /// Opens the lane with the segment of `plan`, whose tracks the muxer has taken: see `accepts`.
    init(plan: SegmentPlan, sink: inout PackagingSink) {
        self.plan = plan
        self.begin(sink: &sink, isNewRun: true)
    }

    /// Whether a transport stream can have `track`.
    static func accepts(_ track: Track) -> Bool {
        var muxer = TSMuxer()
        let (video, audio) = track.kind == .video ? (track, nil) : (nil, track)
        return (try? muxer.setTracks(video: video, audio: audio)) != nil
    }

    var hasFrames: Bool { self.frameCount > 0 }

    mutating func add(_ frame: Frame, sink: inout PackagingSink) {
        sink.counters.frames += 1
        if !self.hasFrames {
            self.firstDecode = frame.dts.ticks
            self.isIndependent = frame.isKeyframe
        }
        self.presentationStart = min(self.presentationStart ?? frame.pts.ticks, frame.pts.ticks)
        if frame.kind == self.leadingKind {
            if let last = self.lastDecode, frame.dts.ticks > last {
                self.lastDuration = min(frame.dts.ticks - last, Ticks.perSecond)
            }
            self.lastDecode = frame.dts.ticks
            self.leadingCount += 1
        }
        self.frameCount += 1
        self.muxer.write(frame, into: &self.buffer)
    }

    /// Adds an ID3 tag; the first one declares the stream of them.
    mutating func add(id3 tag: ByteBuffer, at time: MediaTime) {
        if !self.carriesID3 {
            self.carriesID3 = true
            self.setTracks()
        }
        guard self.carriesID3 else { return }
        self.muxer.writeID3(tag, at: time, into: &self.buffer)
    }

    private var leadingKind: MediaKind { self.plan.tracks.videoTrack == nil ? .audio : .video }

    /// The frame at `decode` (90 kHz) begins the segment of `plan`.
    mutating func cross(to plan: SegmentPlan, at decode: Int64, isContinuous: Bool, sink: inout PackagingSink) {
        let nominal = (self.lastDecode ?? decode) + self.lastDuration
        self.close(until: isContinuous ? decode : nominal, sink: &sink)
        let isNewRun = plan.run != self.plan.run
        self.plan = plan
        if plan.isDiscontinuity { self.lastDecode = nil }
        self.begin(sink: &sink, isNewRun: isNewRun)
    }

    mutating func finish(sink: inout PackagingSink) {
        guard self.hasFrames else { return }
        self.close(until: (self.lastDecode ?? self.firstDecode ?? 0) + self.lastDuration, sink: &sink)
    }

    private mutating func begin(sink: inout PackagingSink, isNewRun: Bool) {
        if isNewRun {
            self.setTracks()
            let tracks = [self.plan.tracks.videoTrack, self.plan.tracks.audioTrack].compactMap { $0 }
            let facts = TrackFacts(
                tag: .main, run: self.plan.run, timescale: UInt32(Ticks.perSecond), tracks: tracks, container: .mpegTS)
            sink.outputs.append(.tracks(PackagedTracks(facts: facts, initialization: nil)))
        }
        self.muxer.writeTables(into: &self.buffer)
    }

    private mutating func setTracks() {
        // Each track was tried; a set that is refused all the same leaves the one before, whose frames are dropped.
        let tracks = self.plan.tracks
        do throws(MPEGTSError) {
            try self.muxer.setTracks(
                video: tracks.videoTrack, audio: tracks.audioTrack, carriesID3: self.carriesID3)
        } catch {
            self.carriesID3 = false
        }
    }

    private mutating func close(until decode: Int64, sink: inout PackagingSink) {
        self.muxer.flush(into: &self.buffer)
        let first = self.firstDecode ?? self.plan.decodeStart
        let start = self.presentationStart ?? self.plan.start
        let duration = max(1, decode - first)
        let facts = SegmentFacts(
            tag: .main, sequence: self.plan.sequence, run: self.plan.run, isDiscontinuity: self.plan.isDiscontinuity,
            timescale: UInt32(Ticks.perSecond), decodeStart: first, presentationStart: start, duration: duration,
            programDateTimeMillis: sink.programTime(
                of: start, timescale: Ticks.perSecond, run: self.plan.run, tag: .main),
            keyIndex: self.plan.keyIndex, isIndependent: self.isIndependent || !self.hasFrames,
            isGap: !self.hasFrames, byteCount: self.buffer.readableBytes, frameCount: self.leadingCount, partCount: 0,
            targetDurationSeconds: sink.targetDuration(ticks: duration, timescale: Ticks.perSecond))
        sink.give(facts, [self.buffer])
        // The segment keeps its memory; the next one will be about as long.
        let capacity = self.buffer.readableBytes
        self.buffer = ByteBuffer()
        self.buffer.reserveCapacity(capacity + capacity / 8)
        (self.frameCount, self.leadingCount) = (0, 0)
        (self.firstDecode, self.presentationStart) = (nil, nil)
        self.isIndependent = false
    }
}
