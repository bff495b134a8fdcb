package import Media
import NIOCore

/// The events since the last frame that a decoder can start with, from which new renditions begin.
///
/// A stream without video is cut once a second, like `RenditionFeed` cuts it.
package struct GOPCache: Sendable {
    /// What the stream consisted of at the first event.
    package private(set) var startState = StreamState()
    package private(set) var events: [MediaEvent] = []
    private var bytes = 0
    private var firstAudio: MediaTime?
    private let maximumBytes: Int

    /// A GOP of more than `maximumBytes` is dropped; new viewers then wait for the next keyframe. 0 turns the cache off.
    package init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

    /// Adds an event; `state` already contains it.
    package mutating func append(_ event: MediaEvent, state: StreamState) {
        guard self.maximumBytes > 0 else { return }
        if case .frame(let frame) = event {
            if self.isStart(frame, state: state) {
                self.clear()
                self.startState = state
                self.firstAudio = frame.kind == .audio ? frame.dts : nil
            } else if self.events.isEmpty {
                return
            }
            self.bytes += frame.payload.readableBytes
            guard self.bytes <= self.maximumBytes else { return self.clear() }
        } else if self.events.isEmpty {
            return
        }
        self.events.append(event)
    }

    /// When the cached events begin; `nil` without any.
    package var startTime: MediaTime? {
        guard case .frame(let frame) = self.events.first else { return nil }
        return frame.dts
    }

    /// The cached events, each with the state that contains it.
    package func replay(_ body: (MediaEvent, StreamState) -> Void) {
        var state = self.startState
        for event in self.events {
            switch event {
            case .track(let track) where track.kind == .video: state.video = track
            case .track(let track): state.audio = track
            case .metadata(let metadata): state.metadata = metadata
            case .frame, .data: break
            }
            body(event, state)
        }
    }

    package mutating func clear() {
        self.events.removeAll(keepingCapacity: true)
        self.bytes = 0
        self.firstAudio = nil
    }

    private func isStart(_ frame: Frame, state: StreamState) -> Bool {
        if frame.kind == .video { return frame.isKeyframe }
        guard state.video == nil else { return false }
        guard let first = self.firstAudio, frame.dts >= first else { return true }
        return frame.dts - first >= RenditionFeed.audioStartInterval
    }
}
