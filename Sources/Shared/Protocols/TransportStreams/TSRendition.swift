import MPEGTS
package import Media
package import NIOCore
package import Streaming

/// Renders a stream as an MPEG transport stream, the same for every viewer. Spec: ISO 13818-1, as `TSMuxer` writes it.
///
/// - A slab is whole packets of 188 bytes, whatever its framing wraps around them.
/// - The tables stand in front of each keyframe and at least each `Configuration.tableInterval`. A viewer that starts or
///   skips gets them in front of its first slab, with the announcement that it missed what was before.
/// - Audio frames are gathered into PES packets, but never beyond the end of a slab: where each video frame leaves at once
///   its audio does, too.
/// - Tracks that a transport stream cannot carry (AV1, G.711, AAC that ADTS cannot express, …) are left out.
package struct TSRendition: RenditionEncoder {
    /// How the stream is written.
    package struct Configuration: Sendable, Hashable {
        /// The longest time between two copies of the tables. At most 500 ms (ETSI TR 101 290 §5.2.1).
        package var tableInterval = MediaTime(millis: 400)
        /// The longest distance between two clock values. At most 40 ms (ETSI TS 101 154 §4.1.5.3).
        package var clockInterval = MediaTime(millis: 40)
        /// How far the clock is behind the decoding times: what receivers that keep time by it buffer, and how far the
        /// audio of a source may be behind its video.
        package var clockLead = MediaTime(millis: 300)
        /// The longest time that audio frames are gathered for.
        package var maximumAudioDuration = MediaTime(millis: 90)
        package var programNumber: UInt16 = 1
        package var transportStreamID: UInt16 = 1

        package init() {}

        fileprivate var muxer: TSMuxer.Configuration {
            var muxer = TSMuxer.Configuration()
            muxer.clockInterval = self.clockInterval
            muxer.clockLead = self.clockLead
            muxer.maximumAudioDuration = self.maximumAudioDuration
            muxer.programNumber = self.programNumber
            muxer.transportStreamID = self.transportStreamID
            return muxer
        }
    }

    private let configuration: Configuration
    private var muxer: TSMuxer
    /// Whether the muxer knows the stream's tracks, and can carry one of them.
    private var hasTracks = false
    private var carriesVideo = false
    private var carriesAudio = false
    private var isConfigured = false
    private var lastTables: MediaTime?

    package init(configuration: Configuration = .init()) {
        self.configuration = configuration
        self.muxer = TSMuxer(configuration: configuration.muxer)
    }

    /// The rendition that all viewers with these wishes share.
    package static func id(
        framing: RenditionFraming = .none, selection: TrackSelection = .all, audio: AudioForm = .source,
        flush: FlushPolicy
    ) -> RenditionID {
        RenditionID(format: "ts", framing: framing, selection: selection, audio: audio, flush: flush)
    }

    package func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}

    package func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        if self.hasTracks { self.muxer.writeJoin(into: &buffer) }
    }

    package mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .track: self.setTracks(of: state, into: &buffer)
        case .metadata, .data: break
        case .frame(let frame):
            if !self.isConfigured { self.setTracks(of: state, into: &buffer) }
            guard frame.kind == .video ? self.carriesVideo : self.carriesAudio else { return }
            if self.tablesAreDue(before: frame) {
                // What is gathered belongs in front of them: a reader that starts with the tables does not miss a piece.
                self.muxer.flush(into: &buffer)
                self.muxer.writeTables(into: &buffer)
                self.lastTables = frame.dts
            }
            self.muxer.write(frame, into: &buffer)
        }
    }

    package var holdsBack: Bool { self.muxer.holdsAudio }

    package mutating func writeHeldBack(into buffer: inout ByteBuffer) { self.muxer.flush(into: &buffer) }

    private func tablesAreDue(before frame: Frame) -> Bool {
        guard let last = self.lastTables else { return true }
        if frame.kind == .video, frame.isKeyframe { return true }
        return frame.dts < last || frame.dts - last >= self.configuration.tableInterval
    }

    /// Declares what can be carried of the stream's tracks.
    private mutating func setTracks(of state: StreamState, into buffer: inout ByteBuffer) {
        self.isConfigured = true
        // What is gathered belongs to the track that was.
        self.muxer.flush(into: &buffer)
        var candidates = [(state.video, state.audio)]
        if state.video != nil, state.audio != nil { candidates += [(state.video, nil), (nil, state.audio)] }
        for (video, audio) in candidates where video != nil || audio != nil {
            guard (try? self.muxer.setTracks(video: video, audio: audio)) != nil else { continue }
            (self.hasTracks, self.carriesVideo, self.carriesAudio) = (true, video != nil, audio != nil)
            self.lastTables = nil
            return
        }
        (self.hasTracks, self.carriesVideo, self.carriesAudio) = (false, false, false)
    }
}
