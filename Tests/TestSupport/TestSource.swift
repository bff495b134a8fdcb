import FLV
import Foundation
package import Media
import NIOCore

/// A moving picture with B-frames, a keyframe a second, and sound.
package enum TestSource {
    package static let seconds = 8

    /// The FLV that the frames come from, made once.
    package static func flv(_ folder: Folder, audioOnly: Bool = false) throws -> String {
        let path = "\(folder.path)/source.flv"
        try Judge.run(
            "ffmpeg",
            ["-hide_banner", "-loglevel", "error", "-nostdin"]
                + (audioOnly
                    ? []
                    : [
                        "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25",
                    ]) + ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", "\(self.seconds)"]
                + (audioOnly
                    ? []
                    : [
                        "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-b_strategy", "0", "-pix_fmt",
                        "yuv420p", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0",
                    ]) + ["-c:a", "aac", "-b:a", "48k", "-ac", "2", "-f", "flv", path])
        return path
    }

    /// The events of an FLV file.
    package static func events(_ path: String) throws -> [MediaEvent] {
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        var file = FLVFileReader()
        var reader = FLVTrackReader()
        var events: [MediaEvent] = []
        file.receive(ByteBuffer(bytes: data))
        while let tag = try file.nextTag() {
            let result: FLVReadResult
            switch tag.type {
            case .video: result = try reader.video(timestampMillis: Int64(tag.timestampMillis), body: tag.body)
            case .audio: result = try reader.audio(timestampMillis: Int64(tag.timestampMillis), body: tag.body)
            case .script: continue
            }
            if let track = result.track { events.append(.track(track)) }
            if let frame = result.frame { events.append(.frame(frame)) }
        }
        return events
    }
}
