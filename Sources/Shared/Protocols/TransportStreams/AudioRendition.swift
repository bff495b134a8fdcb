import MPEGTS
package import Media
package import NIOCore
package import Streaming

/// Renders the audio of a stream as a bare elementary stream, the same for every listener: AAC in ADTS, or MP3.
///
/// Frames of another codec are left out: before a listener is promised anything, look at the stream's track.
package struct AudioRendition: RenditionEncoder {
    /// The elementary streams that there are.
    package enum Format: String, Sendable, Hashable, CaseIterable {
        case aac, mp3

        package var codec: Codec { self == .aac ? .aac : .mp3 }

        /// As it is known to players. Spec: RFC 3003 for MP3; AAC's is in common use.
        package var contentType: String { self == .aac ? "audio/aac" : "audio/mpeg" }
    }

    private let format: Format
    private var framing: ADTSFraming?
    private var isConfigured = false

    package init(_ format: Format) { self.format = format }

    /// The rendition that all listeners with these wishes share. `audio`: `.aac` lets the node make AAC of other codecs;
    /// nothing makes MP3 of them.
    package static func id(
        _ format: Format, framing: RenditionFraming = .none, audio: AudioForm = .source, flush: FlushPolicy
    ) -> RenditionID {
        RenditionID(format: format.rawValue, framing: framing, selection: .audioOnly, audio: audio, flush: flush)
    }

    /// Whether `track`'s frames can be written in `format` as they are.
    package static func carries(_ track: Track, as format: Format) -> Bool {
        guard track.codec == format.codec else { return false }
        return format == .mp3 || (try? ADTSFraming(track)) != nil
    }

    package func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}

    package func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {}

    package mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .track: self.setTrack(state.audio)
        case .metadata, .data: break
        case .frame(let frame):
            if !self.isConfigured { self.setTrack(state.audio) }
            guard frame.codec == self.format.codec else { return }
            switch self.format {
            // A frame that its header cannot describe is left out, as a decoder would have to.
            case .aac: _ = self.framing?.write(frame.payload, into: &buffer)
            case .mp3: buffer.writeImmutableBuffer(frame.payload)
            }
        }
    }

    private mutating func setTrack(_ track: Track?) {
        self.isConfigured = true
        self.framing = track.flatMap { try? ADTSFraming($0) }
    }
}
