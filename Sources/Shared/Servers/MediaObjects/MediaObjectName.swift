package import Media

/// One file of a stream, as its URL names it: a function of stream, epoch, sequence and part, never of a node.
///
/// A stream `live/game` has `/live/game.m3u8`, `.mpd` and `.jpg`; all other files lie in `/live/game/` and begin with `_`,
/// which keeps them apart from the streams of an app `live/game`.
package enum MediaObjectName: Sendable, Hashable {
    /// `{stream}.m3u8`: the multivariant playlist.
    case multivariant
    /// `{stream}.mpd`: the MPEG-DASH manifest.
    case manifest
    /// `{stream}.jpg`: the last keyframe as a picture.
    case snapshot
    /// `_info.json`: what a multivariant playlist has to say of the stream. For other nodes.
    case info
    /// `_video.m3u8`, `_audio.m3u8`, `_main.m3u8`: a media playlist.
    case playlist(MediaTag)
    /// `_video-{epoch}-init{index}.mp4`: the initialization segment number `index` of an epoch.
    case initialization(MediaTag, epoch: UInt64, index: Int)
    /// `_video-{epoch}-{sequence}.m4s`, `_main-{epoch}-{sequence}.ts`.
    case segment(MediaTag, epoch: UInt64, sequence: UInt64)
    /// `_video-{epoch}-{sequence}.{part}.m4s`: a partial segment.
    case part(MediaTag, epoch: UInt64, sequence: UInt64, part: Int)
    /// `_key-{epoch}-{index}.key`: 16 bytes.
    case key(epoch: UInt64, index: Int)
    /// `_rec-…`: a recording, see `RecordingObjectName`.
    case recording(RecordingObjectName)

    /// Whether a player begins with it, or goes on by it: a playlist or a manifest of what is live.
    package var beginsPlaying: Bool {
        switch self {
        case .multivariant, .manifest, .info, .playlist: true
        case .snapshot, .initialization, .segment, .part, .key, .recording: false
        }
    }

    /// Reads the last component of a path inside the stream's folder; `nil` if it is no file of a stream.
    package init?(fileName: String) {
        guard fileName.utf8.first == UInt8(ascii: "_"), fileName.utf8.count <= 160 else { return nil }
        guard let found = Self.parse(fileName.dropFirst()) else { return nil }
        // One spelling for each name: `01` and `1` must not be two objects of a cache.
        guard found.fileName == fileName else { return nil }
        self = found
    }

    private static func parse(_ text: Substring) -> MediaObjectName? {
        if text == "info.json" { return .info }
        if text.hasPrefix("rec-") {
            return RecordingObjectName(text.dropFirst(4)).map { .recording($0) }
        }
        guard let dot = text.firstIndex(of: ".") else { return nil }
        let suffix = text[text.index(after: dot)...]
        let words = text[..<dot].split(separator: "-", omittingEmptySubsequences: false)
        if words.count == 3, words[0] == "key", suffix == "key" {
            guard let epoch = UInt64(words[1]), let index = Int(words[2]), index >= 0 else { return nil }
            return .key(epoch: epoch, index: index)
        }
        guard let tag = MediaTag(rawValue: String(words[0])) else { return nil }
        if words.count == 1 { return suffix == "m3u8" ? .playlist(tag) : nil }
        guard words.count == 3, let epoch = UInt64(words[1]) else { return nil }
        if words[2].hasPrefix("init"), suffix == "mp4" {
            guard let index = Int(words[2].dropFirst(4)), index >= 0 else { return nil }
            return .initialization(tag, epoch: epoch, index: index)
        }
        guard let sequence = UInt64(words[2]) else { return nil }
        if suffix == tag.segmentSuffix { return .segment(tag, epoch: epoch, sequence: sequence) }
        let ends = suffix.split(separator: ".", omittingEmptySubsequences: false)
        guard ends.count == 2, ends[1] == tag.segmentSuffix, let part = Int(ends[0]), part >= 0 else { return nil }
        return .part(tag, epoch: epoch, sequence: sequence, part: part)
    }

    /// The file's name in the stream's folder. The three that lie beside the folder have only their suffix.
    package var fileName: String {
        switch self {
        case .multivariant: ".m3u8"
        case .manifest: ".mpd"
        case .snapshot: ".jpg"
        case .info: "_info.json"
        case .playlist(let tag): "_\(tag.rawValue).m3u8"
        case .initialization(let tag, let epoch, let index): "_\(tag.rawValue)-\(epoch)-init\(index).mp4"
        case .segment(let tag, let epoch, let sequence): "_\(tag.rawValue)-\(epoch)-\(sequence).\(tag.segmentSuffix)"
        case .part(let tag, let epoch, let sequence, let part):
            "_\(tag.rawValue)-\(epoch)-\(sequence).\(part).\(tag.segmentSuffix)"
        case .key(let epoch, let index): "_key-\(epoch)-\(index).key"
        case .recording(let name): "_rec-\(name.text)"
        }
    }

    /// The path below the site's root, beginning with `/`, for a stream of any vhost.
    package func path(of key: StreamKey) -> String {
        switch self {
        case .multivariant, .manifest, .snapshot: "/\(key.app)/\(key.name)\(self.fileName)"
        default: "/\(key.app)/\(key.name)/\(self.fileName)"
        }
    }
}

/// Which of a stream's sequences of segments.
package enum MediaTag: String, Sendable, Hashable, Codable, CaseIterable {
    case video, audio
    /// Audio and video in one MPEG-TS.
    case main

    /// What the segments' names end with, without the dot.
    package var segmentSuffix: String { self == .main ? "ts" : "m4s" }
}

/// The file names of recordings behind `_rec-`. Times are milliseconds since 1970 UTC.
package enum RecordingObjectName: Sendable, Hashable {
    /// `{from}-{to}.m3u8`: what was recorded in that range, as a VOD playlist.
    case playlist(from: Int64, to: Int64)
    /// `{from}-{to}.mp4`: the same as one file.
    case file(from: Int64, to: Int64)
    /// `{recording}-init.mp4`: the initialization segment of a recording.
    case initialization(recording: String)
    /// `{recording}-{first}-{count}.m4s`: the keyframe intervals from `first` on.
    case segment(recording: String, first: Int, count: Int)

    init?(_ text: Substring) {
        guard let dot = text.firstIndex(of: ".") else { return nil }
        let suffix = text[text.index(after: dot)...]
        let words = text[..<dot].split(separator: "-", omittingEmptySubsequences: false)
        switch suffix {
        case "m3u8", "mp4":
            if words.count == 2, words[1] == "init", suffix == "mp4", let id = Self.identifier(words[0]) {
                self = .initialization(recording: id)
                return
            }
            guard words.count == 2, let from = Int64(words[0]), let to = Int64(words[1]), from >= 0, to > from,
                to <= Self.latest
            else { return nil }
            self = suffix == "mp4" ? .file(from: from, to: to) : .playlist(from: from, to: to)
        case "m4s":
            guard words.count == 3, let id = Self.identifier(words[0]), let first = Int(words[1]),
                (0...Self.latestInterval).contains(first),
                let count = Int(words[2]), count > 0, count <= 10_000
            else { return nil }
            self = .segment(recording: id, first: first, count: count)
        default:
            return nil
        }
    }

    /// More keyframes than a recording can have.
    private static let latestInterval = Int(Int32.max)

    /// The end of the year 9999.
    private static let latest: Int64 = 253_402_300_799_999

    /// Identifiers of recordings are letters and digits.
    private static func identifier(_ text: Substring) -> String? {
        guard (1...64).contains(text.utf8.count) else { return nil }
        let isPlain = text.utf8.allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0)
        }
        return isPlain ? String(text) : nil
    }

    var text: String {
        switch self {
        case .playlist(let from, let to): "\(from)-\(to).m3u8"
        case .file(let from, let to): "\(from)-\(to).mp4"
        case .initialization(let recording): "\(recording)-init.mp4"
        case .segment(let recording, let first, let count): "\(recording)-\(first)-\(count).m4s"
        }
    }
}
