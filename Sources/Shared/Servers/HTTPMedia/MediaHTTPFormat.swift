import FLV
import Media
import NIOCore
import StreamHub
import Streaming
import TransportStreams

/// The formats of endless streams over HTTP, by the ending of the path.
enum MediaHTTPFormat: String, Sendable, Hashable, CaseIterable {
    case flv, ts, aac, mp3

    var contentType: String {
        switch self {
        case .flv: "video/x-flv"
        case .ts: "video/mp2t"
        case .aac: AudioRendition.Format.aac.contentType
        case .mp3: AudioRendition.Format.mp3.contentType
        }
    }

    /// The elementary stream of formats that have nothing but audio.
    var audio: AudioRendition.Format? {
        switch self {
        case .flv, .ts: nil
        case .aac: .aac
        case .mp3: .mp3
        }
    }

    /// Takes the format off the last component of a path; `nil` if it ends otherwise.
    static func split(from file: inout Substring) -> MediaHTTPFormat? {
        guard let dot = file.utf8.lastIndex(of: UInt8(ascii: ".")),
            let format = MediaHTTPFormat(rawValue: String(file[file.utf8.index(after: dot)...]))
        else { return nil }
        file = file[..<dot]
        return format
    }
}

/// What a viewer is sent of a stream, and who renders it.
struct MediaRendition {
    let id: RenditionID
    let encoder: @Sendable () -> any RenditionEncoder

    init(_ request: MediaHTTPRequest, of stream: LiveStream, _ configuration: MediaHTTPConfiguration) {
        let key = stream.key
        let flush = stream.settings.flush
        let audio = request.wantsSourceAudio ? .source : configuration.audioForm(key)
        switch request.format {
        case .flv:
            let hevc = configuration.hevcForm(key)
            self.id = FLVRendition.id(
                framing: request.framing, selection: request.selection, audio: audio, flush: flush)
            self.encoder = { FLVRendition(hevc: hevc) }
        case .ts:
            self.id = TSRendition.id(
                framing: request.framing, selection: request.selection, audio: audio, flush: flush)
            self.encoder = { TSRendition() }
        case .aac:
            self.id = AudioRendition.id(.aac, framing: request.framing, audio: audio, flush: flush)
            self.encoder = { AudioRendition(.aac) }
        case .mp3:
            self.id = AudioRendition.id(.mp3, framing: request.framing, audio: .source, flush: flush)
            self.encoder = { AudioRendition(.mp3) }
        }
    }

    /// Why the rendition would have no bytes, by the stream's audio; `nil` if it will, or if nobody knows yet.
    ///
    /// A stream whose audio did not come within `audioWait` has none.
    func missing(in stream: StreamSnapshot, _ format: MediaHTTPFormat, audioWait: TimeAmount) -> String? {
        guard let audio = format.audio else { return nil }
        guard let track = stream.state.audio else {
            guard stream.state.video != nil, let age = stream.publishedFor, age >= audioWait else { return nil }
            return "the stream has no audio"
        }
        if let made = self.id.audio.derivation(of: track) { return made == audio.codec ? nil : Self.text(track, audio) }
        return AudioRendition.carries(track, as: audio) ? nil : Self.text(track, audio)
    }

    private static func text(_ track: Track, _ format: AudioRendition.Format) -> String {
        track.codec == format.codec
            ? "the stream's audio has a configuration that .\(format.rawValue) cannot carry"
            : "the stream's audio is \(track.codec.rawValue), which .\(format.rawValue) cannot carry"
    }
}
