import DequeModule
import ISOBMFF
import MPEGTS
import Media
import NIOCore

/// One source of a stream while it publishes, as the packager sees it.
struct PackagingSource: Sendable {
    var epoch: UInt64
    /// Its media is being cut; before, frames are gathered until it is known which tracks there are.
    var isRunning = false
    private(set) var video: Track?
    private(set) var audio: Track?
    /// What its metadata says that there is; `nil` without metadata that says so.
    private(set) var announced: Set<MediaKind>?
    private var rejected: Set<MediaKind> = []
    private var reported: Set<PackagingProblem> = []

    /// What came before the start: frames of both kinds, and data messages.
    var gathered: [Frame] = []
    var gatheredData: [TimedData] = []
    var firstMillis: Int64?
    /// Audio that waits for video to come as far, or for a new run.
    var heldAudio = Deque<Frame>()
    private(set) var heldBytes = 0

    /// The next keyframe begins a new run, with these reasons.
    var wantsRun = false
    /// The new run is one for players, not only for names.
    var breaksRun = false
    /// Audio that waits has tracks of the new run.
    var holdsAudio = false
    /// Video that came too late left a hole that only a keyframe ends.
    var awaitsKeyframe = false

    /// The media time and the wall clock that belong together.
    var anchorTicks: Int64 = 0
    var anchorMillis: Int64 = 0
    /// The last frame of the leading kind, and how far it was from the one before, in ticks of 90 kHz.
    var leadTime: Int64?
    var leadInterval: Int64 = 3600
    /// How much later than it is decoded a keyframe is presented.
    var leadOffset: Int64 = 0
    /// Audio that ends before this belongs to no picture of the run.
    var audioFloor: Int64?
    /// The last frame of audio that was given to its lane.
    var audioTime: Int64?
    /// The tracks of the current run.
    var tracks = RunTracks() {
        didSet { self.compareVideo() }
    }

    init(epoch: UInt64) { self.epoch = epoch }

    /// The wall clock at a presentation time, in milliseconds.
    func millis(at ticks: Int64) -> Int64 { self.anchorMillis + Ticks.millis(ticks - self.anchorTicks) }

    /// Where the last frame of the leading kind ends.
    var leadEnd: Int64? { self.leadTime.map { $0 + self.leadInterval } }

    /// Where the media that was given to lanes ends, about; 0 before any.
    var givenEnd: Int64 { max(self.leadEnd ?? 0, self.audioTime.map { $0 + 1920 } ?? 0) }

    /// Where the media ends that came without a hole of more than a second, about; audio that waits included.
    var reach: Int64 {
        var audio = self.audioTime ?? self.heldAudio.first?.dts.ticks ?? .min / 2
        for frame in self.heldAudio {
            guard frame.dts.ticks - audio <= Ticks.perSecond else { break }
            audio = frame.dts.ticks
        }
        return max(self.leadEnd ?? .min / 2, audio + 1920)
    }

    // MARK: Tracks

    mutating func learn(video: Track?, audio: Track?) {
        if video != self.video { self.rejected.remove(.video) }
        if audio != self.audio { self.rejected.remove(.audio) }
        (self.video, self.audio) = (video, audio)
        self.compareVideo()
    }

    mutating func learn(_ metadata: StreamMetadata) {
        var kinds: Set<MediaKind> = []
        for name in ["videocodecid", "width", "videodatarate"] where metadata.says(name) { kinds.insert(.video) }
        for name in ["audiocodecid", "audiosamplerate", "audiodatarate"] where metadata.says(name) {
            kinds.insert(.audio)
        }
        if !kinds.isEmpty { self.announced = kinds }
    }

    /// The track of `kind` that can be packaged, as far as is known.
    func candidate(_ kind: MediaKind, in container: PackagingContainer) -> Track? {
        guard let track = kind == .video ? self.video : self.audio, !self.rejected.contains(kind),
            container.supports(track.codec)
        else { return nil }
        return track
    }

    /// Whether frames of `kind` can be packaged, as far as is known.
    func carries(_ kind: MediaKind, in container: PackagingContainer) -> Bool {
        guard let codec = kind == .video ? self.video?.codec : self.audio?.codec else { return false }
        return container.supports(codec) && !self.rejected.contains(kind)
    }

    /// The next frame of video cannot follow those of the run, because its track is another, or the first.
    private(set) var hasNewVideo = true

    private mutating func compareVideo() {
        guard let video = self.video, let current = self.tracks.videoTrack else {
            self.hasNewVideo = true
            return
        }
        self.hasNewVideo = !video.isCoded(like: current)
    }

    mutating func reject(_ kind: MediaKind) { self.rejected.insert(kind) }

    /// Whether `problem` is new.
    mutating func reports(_ problem: PackagingProblem) -> Bool { self.reported.insert(problem).inserted }

    // MARK: Frames that wait

    mutating func gather(_ frame: Frame) {
        self.gathered.append(frame)
        self.heldBytes += frame.payload.readableBytes
    }

    mutating func takeGathered() -> [Frame] {
        defer {
            self.gathered = []
            self.heldBytes = 0
        }
        return self.gathered
    }

    mutating func hold(_ frame: Frame) {
        self.heldAudio.append(frame)
        self.heldBytes += frame.payload.readableBytes
    }

    mutating func takeHeld() -> Frame? {
        guard let frame = self.heldAudio.popFirst() else { return nil }
        self.heldBytes -= frame.payload.readableBytes
        return frame
    }

    /// The span of the audio that waits, in ticks.
    var heldSpan: Int64 {
        guard let first = self.heldAudio.first, let last = self.heldAudio.last else { return 0 }
        return last.dts.ticks - first.dts.ticks
    }

    /// Audio waits longer than it may.
    func holdsTooMuch(_ configuration: PackagingConfiguration) -> Bool {
        self.heldSpan > configuration.maximumSkewMillis * 90 || self.exceeds(configuration)
    }

    func exceeds(_ configuration: PackagingConfiguration) -> Bool {
        self.gathered.count + self.heldAudio.count >= configuration.maximumHeldFrames
            || self.heldBytes >= configuration.maximumHeldBytes
    }
}

extension StreamMetadata {
    /// Whether a field is there and is not 0 or empty: encoders say so of tracks that they do not send.
    fileprivate func says(_ name: String) -> Bool {
        switch self[name] {
        case nil: false
        case .number(let value): value != 0
        case .string(let text): !text.isEmpty
        case .boolean(let flag): flag
        }
    }
}

extension PackagingContainer {
    func supports(_ codec: Codec) -> Bool {
        switch self {
        case .fragmentedMP4: MP4Track.supports(codec)
        case .mpegTS: TSMuxer.supports(codec)
        }
    }
}

extension Track {
    /// Whether frames of the two are decoded alike, so that one can follow the other in a run.
    func isCoded(like other: Track) -> Bool {
        guard self.codec == other.codec, self.configuration == other.configuration else { return false }
        return self.configuration != nil || self.format == other.format
    }
}
