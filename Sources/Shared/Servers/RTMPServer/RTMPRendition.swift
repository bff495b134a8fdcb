import AMF
package import FLV
package import Media
package import NIOCore
import RTMP
package import Streaming

/// Renders a stream as RTMP chunks that are the same for every viewer: all messages start with a type 0 chunk, on one
/// message stream, with absolute timestamps.
package struct RTMPRendition: RenditionEncoder {
    private let chunkSize: Int
    private let hevc: FLVHEVCForm
    private var scratch = ByteBuffer()

    package init(chunkSize: Int, hevc: FLVHEVCForm = .asPublished) {
        self.chunkSize = chunkSize
        self.hevc = hevc
    }

    package static func id(
        chunkSize: Int, selection: TrackSelection = .all, audio: AudioForm = .source, flush: FlushPolicy
    ) -> RenditionID {
        RenditionID(format: "rtmp", variant: "\(chunkSize)", selection: selection, audio: audio, flush: flush)
    }

    package func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer) {}

    package func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer) {
        if let metadata = state.metadata { self.write(metadata, into: &buffer) }
        for case .some(let track) in [state.video, state.audio] {
            self.writeConfiguration(of: track, at: time, into: &buffer)
        }
    }

    package mutating func write(
        _ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer
    ) {
        switch event {
        case .metadata(let metadata):
            self.write(metadata, into: &buffer)
        case .track(let track):
            self.writeConfiguration(of: track, at: time, into: &buffer)
        case .data(let data):
            var body = ByteBuffer()
            AMF0.write(.string(data.name), into: &body)
            body.writeImmutableBuffer(data.payload)
            self.write(RTMPMessageType.dataAMF0, body, at: data.time, into: &buffer)
        case .frame(let frame):
            guard let track = state.track(of: frame.kind) else { return }
            self.scratch.clear()
            FLVTagBodyWriter.writeHeader(of: frame, track: self.hevc.apply(track), into: &self.scratch)
            let isVideo = frame.kind == .video
            RTMPChunkWriter.write(
                typeID: isVideo ? RTMPMessageType.video : RTMPMessageType.audio,
                timestamp: frame.dts.rtmp, messageStreamID: RTMPServerSession.messageStreamID,
                chunkStreamID: isVideo ? RTMPChunkStreamID.video : RTMPChunkStreamID.audio,
                header: self.scratch, payload: frame.payload, chunkSize: self.chunkSize, into: &buffer)
        }
    }

    private func writeConfiguration(of track: Track, at time: MediaTime, into buffer: inout ByteBuffer) {
        var body = ByteBuffer()
        guard FLVTagBodyWriter.writeConfiguration(of: self.hevc.apply(track), into: &body) != nil else { return }
        self.write(
            track.kind == .video ? RTMPMessageType.video : RTMPMessageType.audio, body, at: time, into: &buffer)
    }

    /// Metadata are at time 0, wherever they stand: ffmpeg makes a track of text of those that are not, and its
    /// recordings then wait for more of it.
    private func write(_ metadata: StreamMetadata, into buffer: inout ByteBuffer) {
        var body = ByteBuffer()
        metadata.writeBody(into: &body)
        self.write(RTMPMessageType.dataAMF0, body, at: MediaTime(millis: 0), into: &buffer)
    }

    private func write(_ type: UInt8, _ body: ByteBuffer, at time: MediaTime, into buffer: inout ByteBuffer) {
        let chunkStream =
            switch type {
            case RTMPMessageType.video: RTMPChunkStreamID.video
            case RTMPMessageType.audio: RTMPChunkStreamID.audio
            default: RTMPChunkStreamID.data
            }
        RTMPChunkWriter.write(
            typeID: type, timestamp: time.rtmp, messageStreamID: RTMPServerSession.messageStreamID,
            chunkStreamID: chunkStream, payload: body, chunkSize: self.chunkSize, into: &buffer)
    }
}

extension MediaTime {
    /// The low 32 bits of the time in milliseconds, as RTMP and FLV carry it.
    package var rtmp: UInt32 { UInt32(truncatingIfNeeded: self.millis) }
}
