import FLV
import MPEGTS
package import Media
package import NIOCore

/// Reads the frames of keyframe intervals back from the bytes of a file.
///
/// FLV and MPEG-TS can be read from any interval on with nothing but their header; MP4 has tables instead: see
/// `MP4Intervals`. Frames come in the file's order; times are the file's own.
package struct FrameReader: Sendable {
    private enum Source: Sendable {
        case flv(header: ByteBuffer)
        case ts
    }

    private let source: Source
    /// Video first.
    package let tracks: [Track]
    /// The frames of the first interval.
    package let firstFrames: [Frame]

    /// A reader of FLV or MPEG-TS. `header` is what stands in front of the first interval (`RecordingStart.header`),
    /// `first` the first interval, in which an MPEG-TS and codecs without a header have their tracks.
    ///
    /// Errors: `badHeader`, `badMedia`.
    package init(format: RecordingFormat, header: ByteBuffer, first: ByteBuffer) throws(RecordingError) {
        switch format {
        case .flv:
            var bytes = header
            bytes.writeImmutableBuffer(first)
            self.source = .flv(header: header)
            (self.firstFrames, self.tracks) = try Self.flv(bytes, .zero)
        case .ts:
            self.source = .ts
            (self.firstFrames, self.tracks) = Self.transport(first, .zero)
        case .mp4:
            throw .badHeader(.mp4)
        }
        guard !self.tracks.isEmpty else { throw .badHeader(format) }
    }

    /// The frames in `bytes`, which are whole intervals of which the first begins at `time`.
    ///
    /// Errors: `badMedia`.
    package func frames(in bytes: ByteBuffer, from time: MediaTime) throws(RecordingError) -> [Frame] {
        switch self.source {
        case .flv(var header):
            header.writeImmutableBuffer(bytes)
            return try Self.flv(header, time).frames
        case .ts:
            return Self.transport(bytes, time).frames
        }
    }

    private static func flv(
        _ bytes: ByteBuffer, _ time: MediaTime
    ) throws(RecordingError) -> (frames: [Frame], tracks: [Track]) {
        var file = FLVFileReader(maximumBodyLength: FLVTagWriter.maximumBodyLength)
        var reader = FLVTrackReader()
        var frames: [Frame] = []
        file.receive(bytes)
        do throws(FLVError) {
            while let tag = try file.nextTag() {
                let millis = Self.unwrap(Int64(tag.timestampMillis), near: time.millis, period: 1 << 32)
                let result: FLVReadResult =
                    switch tag.type {
                    case .video: try reader.video(timestampMillis: millis, body: tag.body)
                    case .audio: try reader.audio(timestampMillis: millis, body: tag.body)
                    case .script: FLVReadResult()
                    }
                if let frame = result.frame { frames.append(frame) }
            }
        } catch {
            throw .badMedia(.flv, offset: Int64(bytes.readableBytes - file.bufferedBytes))
        }
        return (frames, [reader.videoTrack, reader.audioTrack].compactMap { $0 })
    }

    private static func transport(_ bytes: ByteBuffer, _ time: MediaTime) -> (frames: [Frame], tracks: [Track]) {
        let offset = TSMuxer.Configuration().timeOffset
        var demuxer = TSDemuxer()
        var frames: [Frame] = []
        var tracks: [MediaKind: Track] = [:]
        demuxer.receive(bytes)
        demuxer.finish()
        while let output = demuxer.nextOutput() {
            guard case .event(let event, _) = output else { continue }
            switch event {
            case .track(let track): tracks[track.kind] = track
            case .frame(var frame):
                let composition = frame.pts - frame.dts
                let ticks = Self.unwrap(
                    frame.dts.ticks - offset.ticks, near: time.ticks, period: 1 << 33)
                frame.dts = MediaTime(ticks: max(0, ticks))
                frame.pts = frame.dts + composition
                frames.append(frame)
            case .metadata, .data: continue
            }
        }
        return (frames, [tracks[.video], tracks[.audio]].compactMap { $0 })
    }

    /// The value nearest to `reference` that equals `value` on a clock that starts again after `period`.
    static func unwrap(_ value: Int64, near reference: Int64, period: Int64) -> Int64 {
        var distance = (value - reference) % period
        if distance >= period / 2 { distance -= period }
        if distance < -period / 2 { distance += period }
        return reference + distance
    }
}
