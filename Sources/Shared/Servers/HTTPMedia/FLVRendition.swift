import AMF
package import FLV
package import Media
package import NIOCore
package import Streaming

/// Renders a stream as FLV tags with absolute timestamps, the same for every viewer. Spec: FLV 10.1, Annex E.
package struct FLVRendition: RenditionEncoder {
    private let hevc: FLVHEVCForm

    package init(hevc: FLVHEVCForm = .asPublished) { self.hevc = hevc }

    package static func id(
        framing: RenditionFraming, selection: TrackSelection = .all, audio: AudioForm = .source, flush: FlushPolicy
    ) -> RenditionID {
        RenditionID(format: "flv", framing: framing, selection: selection, audio: audio, flush: flush)
    }

    package func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {
        // A kind that only the metadata promise is announced, too: its first frame may come a little later.
        FLVFileHeader.write(
            hasAudio: state.audio != nil || state.metadata?["audiocodecid"] != nil,
            hasVideo: state.video != nil || state.metadata?["videocodecid"] != nil, into: &buffer)
    }

    package func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        if let metadata = state.metadata { self.write(metadata, into: &buffer) }
        for case .some(let track) in [state.video, state.audio] {
            FLVTagWriter.writeTag(
                ofConfiguration: self.hevc.apply(track), timestampMillis: time.millis, into: &buffer)
        }
    }

    package mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .metadata(let metadata): self.write(metadata, into: &buffer)
        case .track(let track):
            FLVTagWriter.writeTag(
                ofConfiguration: self.hevc.apply(track), timestampMillis: time.millis, into: &buffer)
        case .data(let data):
            var body = ByteBuffer()
            AMF0.write(.string(data.name), into: &body)
            body.writeImmutableBuffer(data.payload)
            FLVTagWriter.writeTag(type: .script, timestampMillis: time.millis, payload: body, into: &buffer)
        case .frame(let frame):
            guard let track = state.track(of: frame.kind) else { return }
            FLVTagWriter.writeTag(of: frame, track: self.hevc.apply(track), into: &buffer)
        }
    }

    /// Metadata are at time 0, wherever they stand: ffmpeg makes a track of text of those that are not.
    private func write(_ metadata: StreamMetadata, into buffer: inout ByteBuffer) {
        var body = ByteBuffer()
        metadata.writeBody(into: &body)
        FLVTagWriter.writeTag(type: .script, timestampMillis: 0, payload: body, into: &buffer)
    }
}
