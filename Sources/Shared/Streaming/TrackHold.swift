package import Media
package import NIOCore

/// Keeps the start of a source back until each track that it announces is known, so that nobody is told of a part of it.
///
/// Transport streams, RTSP and program streams say early that there is audio, and what it is only with its first frame. A
/// player that was given video alone by then may never ask for sound again: RTSP and WebRTC describe the tracks once.
///
/// States: holding → released, for good. Run loop: `expect` what the source announces, then each batch of events through
/// `receive`; `finish` when the source ends. Nothing has to be woken: what is late comes out with the next batch.
///
/// - What comes out is what went in, in order, but that the first track of each kind comes before all frames.
/// - A source that announces nothing, or whose tracks are all known, is never held.
/// - Bounded by time and by bytes, each of which lets everything go as it is.
package struct TrackHold: Sendable {
    /// How long, and how much.
    package struct Configuration: Sendable, Hashable {
        /// How long the first frame of video may wait for audio, which has to come only once.
        package var audioWait: TimeAmount
        /// How long the first frame of audio may wait for video, which can be read from its next keyframe on.
        package var videoWait: TimeAmount
        /// Payload bytes that are kept.
        package var maximumBytes: Int

        package init(
            audioWait: TimeAmount = .seconds(2), videoWait: TimeAmount = .seconds(10), maximumBytes: Int = 16 << 20
        ) {
            self.audioWait = audioWait
            self.videoWait = videoWait
            self.maximumBytes = maximumBytes
        }
    }

    private let configuration: Configuration
    private var expected: Set<MediaKind> = []
    private var known: Set<MediaKind> = []
    private var held: [MediaEvent] = []
    private var heldBytes = 0
    /// When the first frame came that waits.
    private var since: NIODeadline?
    /// Events are kept back, or would be.
    package private(set) var isHolding = true

    package init(configuration: Configuration = .init()) {
        precondition(configuration.maximumBytes > 0, "a hold of no bytes holds nothing")
        self.configuration = configuration
    }

    /// Of which kinds of track the source will have one. Says so again whenever the source says otherwise; after the
    /// release it has no effect.
    package mutating func expect(_ kinds: Set<MediaKind>) { self.expected = kinds }

    /// Takes the next events. Returns those that may go on now: none while a track is missing.
    package mutating func receive(_ events: [MediaEvent], now: NIODeadline) -> [MediaEvent] {
        guard self.isHolding else { return events }
        for event in events {
            switch event {
            case .track(let track): self.known.insert(track.kind)
            case .frame(let frame):
                self.heldBytes += frame.payload.readableBytes
                if self.since == nil { self.since = now }
            case .metadata, .data: break
            }
        }
        self.held.append(contentsOf: events)
        // Before the first frame more may be announced.
        guard let since = self.since else { return [] }
        let missing = self.expected.subtracting(self.known)
        let wait =
            missing.contains(.video)
            ? self.configuration.videoWait : missing.isEmpty ? .zero : self.configuration.audioWait
        guard now >= since + wait || self.heldBytes > self.configuration.maximumBytes else { return [] }
        return self.release()
    }

    /// The source has ended: gives out what was kept.
    package mutating func finish() -> [MediaEvent] { self.isHolding ? self.release() : [] }

    private mutating func release() -> [MediaEvent] {
        self.isHolding = false
        let events = self.held
        self.held = []
        var tracks: [MediaEvent] = []
        var others: [MediaEvent] = []
        others.reserveCapacity(events.count)
        var told: Set<MediaKind> = []
        for event in events {
            if case .track(let track) = event, told.insert(track.kind).inserted {
                tracks.append(event)
            } else {
                others.append(event)
            }
        }
        return tracks + others
    }
}
