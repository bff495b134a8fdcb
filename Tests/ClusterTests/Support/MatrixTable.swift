/// By which protocol a stream comes in.
enum MatrixIngest: String, CaseIterable, Sendable {
    case rtmp = "RTMP"
    case srt = "SRT"
    case whip = "WHIP"
    case udp = "TS over UDP"
    case rtsp = "RTSP"
    case gb28181 = "GB28181"
    case post = "FLV by POST"

    /// Who publishes in the tests.
    var client: String {
        switch self {
        case .rtmp: "FFmpeg 8.1, enhanced RTMP where the codec needs it"
        case .srt: "FFmpeg 5.1 with libsrt"
        case .whip: "aiortc, which sends packets that are coded already"
        case .udp: "FFmpeg 5.1, unicast"
        case .rtsp: "FFmpeg 5.1, TCP interleaved"
        case .gb28181: "a device of the tests: SIP over UDP, PS in RTP over TCP, one channel for each stream"
        case .post: "FFmpeg 8.1, chunked"
        }
    }
}

/// By which protocol, or as what, a stream goes out.
enum MatrixDelivery: String, CaseIterable, Sendable {
    case rtmp = "RTMP"
    case flv = "HTTP-FLV"
    case ts = "HTTP-TS"
    case hls = "HLS"
    case lowLatency = "LL-HLS"
    case dash = "DASH"
    case whep = "WHEP"
    case srt = "SRT"
    case rtsp = "RTSP"
    case dvr = "DVR"

    /// Who plays in the tests.
    var client: String {
        switch self {
        case .rtmp: "FFmpeg 8.1 at the edge; it says that it knows Opus"
        case .flv: "curl at the edge, with `?audio=source`"
        case .ts: "curl at the edge"
        case .hls: "FFmpeg 5.1 at the edge, CMAF segments"
        case .lowLatency: "a player of the tests at the edge: parts, by blocking reloads"
        case .dash: "a player of the tests at the edge; the manifest is read by mpegdash"
        case .whep: "aiortc at the edge, with the payloads of H.265 added"
        case .srt: "FFmpeg 5.1 with libsrt at the edge"
        case .rtsp: "FFmpeg 5.1 at the edge, TCP interleaved"
        case .dvr: "the MP4 that the origin wrote"
        }
    }

    /// Whether what the tests keep of it has times in whole milliseconds: FLV, RTMP, and what FFmpeg writes as Matroska.
    var hasMillisecondClock: Bool {
        switch self {
        case .rtmp, .flv, .hls, .srt, .rtsp: true
        case .ts, .lowLatency, .dash, .whep, .dvr: false
        }
    }
}

enum MatrixVideo: String, CaseIterable, Sendable {
    case h264 = "H.264"
    case hevc = "HEVC"

    /// As the API, and FFmpeg, name it.
    var name: String { self == .h264 ? "h264" : "hevc" }
}

enum MatrixAudio: String, CaseIterable, Sendable {
    case aac = "AAC"
    case opus = "Opus"
    case mp3 = "MP3"
    case g711 = "G.711"
}

/// What has to come out of one pair of protocols for one pair of codecs.
enum MatrixRule: Equatable, Sendable {
    /// Decoded pictures and packets of sound are the publisher's.
    case exact
    /// Decoded pictures are the publisher's; its sound was made into this codec.
    case derived(MatrixAudio)
    case impossible(MatrixReason)
}

/// Why a cell cannot exist.
enum MatrixReason: String, CaseIterable, Sendable {
    case whipAAC
    case whipMP3
    case tsG711
    case gb28181Opus

    var text: String {
        switch self {
        case .whipAAC:
            """
            WHIP with AAC: endpoints of WebRTC send Opus and G.711 (RFC 7874), and none offers AAC. An offer of AAC is \
            refused with 406 and a text that says what is needed.
            """
        case .whipMP3: "WHIP with MP3: the same holds for `MPA`."
        case .tsG711:
            """
            SRT and TS over UDP with G.711: ISO/IEC 13818-1 has no stream type for it, and nobody registered a descriptor. \
            FFmpeg writes it as private data that does not say what it is. The picture comes without it.
            """
        case .gb28181Opus:
            """
            GB28181 with Opus: GB/T 28181 names AAC, G.711, G.722.1, G.723.1, G.729 and SVAC for sound, and ISO/IEC 13818-1 \
            has no stream type of Opus for the map of a program stream. The picture comes without it.
            """
        }
    }
}

/// One cell of the matrix.
struct MatrixCell: CustomStringConvertible, Sendable {
    let ingest: MatrixIngest
    let delivery: MatrixDelivery
    let video: MatrixVideo
    let audio: MatrixAudio

    var description: String {
        "\(self.ingest.rawValue) to \(self.delivery.rawValue) with \(self.video.rawValue) and \(self.audio.rawValue)"
    }

    /// The table of all cells. Pictures are never made anew, so that `video` changes nothing.
    var rule: MatrixRule {
        if let reason = Self.reason(self.ingest, self.audio) { return .impossible(reason) }
        switch (self.delivery, self.audio) {
        case (.whep, .aac), (.whep, .mp3): return .derived(.opus)
        case (.rtmp, .g711), (.flv, .g711), (.rtsp, .g711), (.whep, .g711): return .exact
        case (_, .g711): return .derived(.aac)
        default: return .exact
        }
    }

    /// Whether this is so by a setting, or by a wish of the player: unless they are told, players get AAC of what not all
    /// of them know.
    var isByWish: Bool {
        guard self.rule == .exact, self.audio == .opus || self.audio == .g711 else { return false }
        return self.delivery != .whep && self.delivery != .rtsp
    }

    /// Why a protocol cannot bring a codec; what it brings can be had by every protocol.
    static func reason(_ ingest: MatrixIngest, _ audio: MatrixAudio) -> MatrixReason? {
        switch (ingest, audio) {
        case (.whip, .aac): .whipAAC
        case (.whip, .mp3): .whipMP3
        case (.srt, .g711), (.udp, .g711): .tsG711
        case (.gb28181, .opus): .gb28181Opus
        default: nil
        }
    }

    static let all = MatrixIngest.allCases.flatMap { ingest in
        MatrixDelivery.allCases.flatMap { delivery in
            MatrixVideo.allCases.flatMap { video in
                MatrixAudio.allCases.map { MatrixCell(ingest: ingest, delivery: delivery, video: video, audio: $0) }
            }
        }
    }
}
