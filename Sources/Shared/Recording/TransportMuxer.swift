import MPEGTS
import Media
import NIOCore

/// MPEG-TS with its tables in front of each keyframe interval.
struct TransportMuxer: Sendable {
    private let tracks: [Track]
    private var muxer: TSMuxer
    private var end = MediaEnd()

    static func supports(_ track: Track) -> Bool {
        var muxer = TSMuxer()
        let isVideo = track.kind == .video
        return (try? muxer.setTracks(video: isVideo ? track : nil, audio: isVideo ? nil : track)) != nil
    }

    init(tracks: [Track]) {
        self.tracks = tracks
        self.muxer = TSMuxer()
        // Tracks without a mapping were sorted out before; without any, frames are dropped by the muxer.
        try? self.muxer.setTracks(
            video: tracks.first { $0.kind == .video }, audio: tracks.first { $0.kind == .audio })
    }

    var endTime: MediaTime { self.end.time }

    mutating func writeTables(into buffer: inout ByteBuffer) { self.muxer.writeTables(into: &buffer) }

    mutating func write(_ frame: Frame, track: Track, into buffer: inout ByteBuffer) {
        self.muxer.write(frame, into: &buffer)
        self.end.note(frame, track: track)
    }

    mutating func cut(into buffer: inout ByteBuffer) { self.muxer.flush(into: &buffer) }
}

/// The end of what was written, for formats that do not state durations.
struct MediaEnd: Sendable {
    private(set) var time = MediaTime.zero
    private var lastVideo: MediaTime?

    mutating func note(_ frame: Frame, track: Track) {
        var length = MediaTime(millis: 20)
        if frame.kind == .video {
            length = self.lastVideo.map { frame.dts - $0 } ?? MediaTime(ticks: VideoPlacement.defaultDuration)
            self.lastVideo = frame.dts
        } else if let samples = AudioFrameLength.samples(of: frame, track: track) {
            let rate = Int64(RecordingTimescale.of(track))
            length = MediaTime(ticks: Int64(samples) * MediaTime.ticksPerSecond / rate)
        }
        self.time = max(self.time, frame.dts + length)
    }
}
