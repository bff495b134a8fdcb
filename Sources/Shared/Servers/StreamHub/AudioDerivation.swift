import Media
import NIOCore
import Streaming

/// A stream as those see it who want its audio in another codec: the same video and data, and audio that a transcoder
/// makes of the source's.
///
/// It begins with the audio of the cached group of pictures, so that its first viewer has sound at once. Until the
/// transcoder is through with that, or `fillLimit` is over, it is *filling*: what comes is gathered, and nobody is served.
/// Derived audio follows the video of its time by what codecs need, some tens of milliseconds.
// Safety: touched on the stream's home loop only; callbacks pass the reference on.
final class AudioDerivation: @unchecked Sendable {
    /// What the cached audio gave so far, and what came meanwhile.
    private struct Fill {
        var startState: StreamState
        var others: [MediaEvent] = []
        var audio: [Frame] = []
    }

    /// How long viewers wait for the audio of the cached group of pictures.
    static let fillLimit = TimeAmount.milliseconds(150)
    /// Cached frames that are transcoded when a derivation begins: the newest ones of a long group of pictures.
    private static let maximumFillFrames = 480

    let codec: Codec
    /// What its frames are made of, as the source's last audio track says.
    private(set) var source: Track
    /// What the stream consists of for those who follow the derivation.
    private(set) var state = StreamState()
    private(set) var gop: GOPCache
    private(set) var transcoder: any AudioTranscoder
    /// Tells the frames of this transcoder from those of the one before; `nil` when the derivation is closed.
    private var transcoderID: UInt64?
    private var fill: Fill?
    private var lastTime: MediaTime?
    var lingerTimer: Scheduled<Void>?
    private let make: Maker

    /// Makes a transcoder from the source's track, and a number with which its output comes.
    typealias Maker = (_ source: Track) -> (transcoder: any AudioTranscoder, id: UInt64)?

    /// `nil` if no transcoder can be made. `make` is kept.
    init?(codec: Codec, source: Track, state: StreamState, gopCacheBytes: Int, make: @escaping Maker) {
        guard let made = make(source) else { return nil }
        self.codec = codec
        self.source = source
        self.gop = GOPCache(maximumBytes: gopCacheBytes)
        (self.transcoder, self.transcoderID) = made
        self.make = make
        self.state = self.derived(state)
    }

    /// The audio that its followers get.
    var track: Track { self.transcoder.track }
    var isFilling: Bool { self.fill != nil }

    // MARK: The beginning

    /// Begins with what the stream has cached, and with its audio if `reached` is given. Returns whether it is filling;
    /// if so, call `filled` when `reached` was called or the time is over.
    func start(from cached: GOPCache, reached: (@Sendable () -> Void)?) -> Bool {
        guard !cached.events.isEmpty else { return false }
        var fill = Fill(startState: self.derived(cached.startState))
        var audio: [Frame] = []
        cached.replay { event, state in
            switch event {
            case .frame(let frame) where frame.kind == .audio:
                if state.audio == self.source { audio.append(frame) }
            case .track(let track) where track.kind == .audio: break
            default: fill.others.append(event)
            }
        }
        self.fill = fill
        guard !audio.isEmpty, let reached else {
            self.filled()
            return false
        }
        for frame in audio.suffix(Self.maximumFillFrames) { self.transcoder.submit(frame) }
        self.transcoder.notify(reached)
        return true
    }

    /// Puts the audio where it belongs between the video; from now on followers can be served. Harmless when repeated.
    func filled() {
        guard let fill = self.fill else { return }
        self.fill = nil
        self.state = fill.startState
        var audio = fill.audio[...]
        for event in fill.others {
            if case .frame(let frame) = event {
                while let first = audio.first, first.dts < frame.dts {
                    self.keep(.frame(first))
                    audio.removeFirst()
                }
            }
            self.keep(event)
        }
        for frame in audio { self.keep(.frame(frame)) }
    }

    // MARK: Events

    /// Takes an event of the stream, other than an audio track. Returns what followers get of it.
    func receive(_ event: MediaEvent) -> MediaEvent? {
        if case .frame(let frame) = event, frame.kind == .audio {
            self.transcoder.submit(frame)
            return nil
        }
        guard self.fill == nil else {
            self.fill?.others.append(event)
            return nil
        }
        return self.keep(event)
    }

    /// Takes a frame that the transcoder made. Returns whether followers get it.
    func accept(_ frame: Frame, from transcoder: UInt64) -> Bool {
        guard transcoder == self.transcoderID, self.lastTime.map({ frame.dts > $0 }) ?? true else { return false }
        self.lastTime = frame.dts
        guard self.fill == nil else {
            self.fill?.audio.append(frame)
            return false
        }
        self.keep(.frame(frame))
        return true
    }

    /// The source goes on with another audio track. Returns false if that cannot be transcoded.
    func sourceChanged(to source: Track) -> Bool {
        guard source != self.source else { return true }
        self.source = source
        if !self.transcoder.sourceChanged(to: source) {
            guard let made = self.make(source) else { return false }
            self.transcoder.close()
            (self.transcoder, self.transcoderID) = made
            self.keep(.track(self.track))
        }
        return true
    }

    func close() {
        self.lingerTimer?.cancel()
        self.lingerTimer = nil
        self.transcoderID = nil
        self.transcoder.close()
    }

    /// Notes an event in the state and the cache. Returns it as followers get it.
    @discardableResult
    private func keep(_ event: MediaEvent) -> MediaEvent {
        var event = event
        switch event {
        case .track(let track) where track.kind == .video: self.state.video = track
        case .track(let track):
            self.state.audio = track
            self.state.metadata = self.state.metadata?.describing(audio: track)
        case .metadata(let metadata):
            let derived = metadata.describing(audio: self.track)
            self.state.metadata = derived
            event = .metadata(derived)
        case .frame(let frame) where frame.kind == .audio && self.state.video != nil:
            // Audio from before the cached keyframe is for those only who follow already.
            guard let start = self.gop.startTime, frame.dts >= start else { return event }
        case .frame, .data: break
        }
        self.gop.append(event, state: self.state)
        return event
    }

    private func derived(_ state: StreamState) -> StreamState {
        StreamState(
            video: state.video, audio: self.track, metadata: state.metadata?.describing(audio: self.track))
    }
}

/// Where a rendition or a tap gets its events from.
struct AudioPlace {
    /// `nil`: the source itself.
    var derivation: AudioDerivation?
    /// It waits for the derivation to be filled, and has got nothing yet.
    var needsReplay = false
    /// The derived track that it was told.
    var track: Track?
}

/// A tap and where it gets its events from.
final class TapEntry {
    let tap: any StreamTap
    var place = AudioPlace()

    init(_ tap: any StreamTap) { self.tap = tap }
}
