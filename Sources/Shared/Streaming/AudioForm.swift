package import Media

/// In which codec a rendition or a tap wants its stream's audio.
///
/// What the source sends is passed on as it is where it serves; else it is transcoded, once for all who want the same.
package enum AudioForm: String, Sendable, Hashable, CaseIterable {
    /// Whatever the publisher sends.
    case source
    /// For players that know nothing but AAC, and MP3 where their container takes it, as RTMP, FLV and MPEG-TS do: an MP3
    /// source passes as it is.
    case aac
    /// For WebRTC: Opus with one or two channels, which is what RFC 7587 carries.
    case opus
    /// For WebRTC sessions that negotiated G.711, too: a G.711 source passes as it is.
    case opusOrG711
    /// For RTSP: AAC, MP3, Opus and G.711 pass as they are, everything else becomes AAC.
    case rtsp

    /// The codec that must be made of `track`'s audio; `nil`: the source serves as it is, or there is none.
    package func derivation(of track: Track?) -> Codec? {
        guard let track else { return nil }
        switch (self, track.codec) {
        case (.source, _): return nil
        case (.aac, .aac), (.aac, .mp3): return nil
        case (.aac, _): return .aac
        case (.rtsp, .aac), (.rtsp, .g711ALaw), (.rtsp, .g711MuLaw), (.rtsp, .mp3): return nil
        case (.rtsp, .opus): return Self.hasMoreThanTwoChannels(track) ? .opus : nil
        case (.rtsp, _): return .aac
        case (.opusOrG711, .g711ALaw), (.opusOrG711, .g711MuLaw): return nil
        case (.opus, .opus), (.opusOrG711, .opus): return Self.hasMoreThanTwoChannels(track) ? .opus : nil
        case (.opus, _), (.opusOrG711, _): return .opus
        }
    }

    private static func hasMoreThanTwoChannels(_ track: Track) -> Bool {
        guard case .audio(let format) = track.format else { return false }
        return format.channels.map { $0 > 2 } ?? false
    }
}
