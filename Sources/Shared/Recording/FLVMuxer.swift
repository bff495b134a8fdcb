import AMF
import FLV
import Media
import NIOCore

/// FLV with its duration and size in the first script tag, where they are filled in at the end.
struct FLVMuxer: Sendable {
    private let tracks: [Track]
    private var end = MediaEnd()

    init(tracks: [Track]) { self.tracks = tracks }

    var endTime: MediaTime { self.end.time }

    /// The two numbers are the first entries of the metadata, so that their places are the same in every file: behind
    /// the file's and the tag's header, the name (13), the array's marker and count (5), and the entry's name and marker.
    private static let durationPosition =
        Int64(FLVFileHeader.byteCount + FLVTagWriter.headerByteCount + 13 + 5 + 2 + 8 + 1)
    private static let sizePosition = Self.durationPosition + 8 + 2 + 8 + 1

    static func patches(byteCount: Int64, duration: MediaTime) -> [RecordingPatch] {
        let seconds = Double(duration.ticks) / Double(MediaTime.ticksPerSecond)
        return [(Self.durationPosition, seconds), (Self.sizePosition, Double(byteCount))].map { position, value in
            RecordingPatch(position: position, bytes: ByteBuffer(integer: value.bitPattern))
        }
    }

    func header(metadata: StreamMetadata?) -> ByteBuffer {
        var buffer = ByteBuffer()
        FLVFileHeader.write(
            hasAudio: self.tracks.contains { $0.kind == .audio }, hasVideo: self.tracks.contains { $0.kind == .video },
            into: &buffer)
        var entries = ["duration", "filesize"].map { StreamMetadata.Entry(name: $0, value: .number(0)) }
        let given = metadata?.entries ?? self.described
        entries += given.filter { entry in !["duration", "filesize"].contains(entry.name) }
        var body = ByteBuffer()
        StreamMetadata(entries: entries).writeBody(into: &body)
        FLVTagWriter.writeTag(type: .script, timestampMillis: 0, payload: body, into: &buffer)
        for track in self.tracks { FLVTagWriter.writeTag(ofConfiguration: track, timestampMillis: 0, into: &buffer) }
        return buffer
    }

    /// What can be said of a stream whose publisher said nothing.
    private var described: [StreamMetadata.Entry] {
        self.tracks.flatMap { track -> [StreamMetadata.Entry] in
            let numbers: [(String, Double?)] =
                switch track.format {
                case .video(let format):
                    [
                        ("width", format.width.map(Double.init)), ("height", format.height.map(Double.init)),
                        ("framerate", format.frameRate),
                    ]
                case .audio(let format): [("audiosamplerate", format.sampleRate.map(Double.init))]
                }
            return numbers.compactMap { name, value in
                value.map { StreamMetadata.Entry(name: name, value: .number($0)) }
            }
        }
    }

    mutating func write(_ frame: Frame, track: Track, into buffer: inout ByteBuffer) {
        FLVTagWriter.writeTag(of: frame, track: track, into: &buffer)
        self.end.note(frame, track: track)
    }

    func write(_ data: TimedData, into buffer: inout ByteBuffer) {
        var body = ByteBuffer()
        AMF0.write(string: data.name, into: &body)
        body.writeImmutableBuffer(data.payload)
        guard body.readableBytes <= FLVTagWriter.maximumBodyLength else { return }
        FLVTagWriter.writeTag(type: .script, timestampMillis: data.time.millis, payload: body, into: &buffer)
    }
}
