import Media
import MediaObjects
import MediaStorage
import Packaging

extension PackagingTag {
    var mediaTag: MediaTag {
        switch self {
        case .video: .video
        case .audio: .audio
        case .main: .main
        }
    }
}

extension MediaTag {
    var packagingTag: PackagingTag {
        switch self {
        case .video: .video
        case .audio: .audio
        case .main: .main
        }
    }
}

extension SegmentFacts {
    var objectName: MediaObjectName { .segment(self.tag.mediaTag, epoch: self.epoch, sequence: self.sequence) }

    /// What it cannot be played without. A transport stream has no initialization segment, but tracks under its name.
    var needs: StreamShelf.Known {
        StreamShelf.Known(
            initialization: .initialization(
                self.tag.mediaTag, epoch: self.epoch, index: self.run.initializationIndex),
            key: self.keyIndex.map { .key(epoch: self.epoch, index: $0) })
    }
}

extension PartFacts {
    var objectName: MediaObjectName {
        .part(self.tag.mediaTag, epoch: self.epoch, sequence: self.sequence, part: self.index)
    }
}

extension TrackFacts {
    var objectName: MediaObjectName { .initialization(self.tag.mediaTag, epoch: self.epoch, index: self.index) }
}

/// Where the files of one stream lie.
struct StreamFiles: Sendable {
    let key: StreamKey
    let disk: SegmentStoreConfiguration.Disk

    /// The absolute path of a segment; `nil` if a name of the stream is too long for a file.
    func path(of facts: SegmentFacts) -> String? {
        self.path(
            PathValues(
                key: self.key, unixMillis: facts.programDateTimeMillis, sequence: facts.sequence,
                durationMillis: facts.duration * 1_000 / Int64(max(1, facts.timescale)), epoch: facts.epoch,
                track: facts.tag.rawValue, suffix: facts.tag.segmentSuffix))
    }

    private func path(_ values: PathValues) -> String? {
        (try? self.disk.pattern.path(for: values)).map { "\(self.disk.root)/\($0)" }
    }

    /// The path of a segment that may have been written without being listed: `nil` if it depends on its time.
    func path(of tag: PackagingTag, epoch: UInt64, sequence: UInt64) -> String? {
        let known: Set<PathPattern.Variable> = [.vhost, .app, .stream, .sequence, .epoch, .track, .suffix]
        guard self.disk.pattern.variables.isSubset(of: known) else { return nil }
        return self.path(
            PathValues(
                key: self.key, unixMillis: 0, sequence: sequence, epoch: epoch, track: tag.rawValue,
                suffix: tag.segmentSuffix))
    }

    /// The absolute path of an initialization segment or playlist.
    func path(of name: MediaObjectName, nowMillis: Int64) -> String? {
        self.folder(nowMillis: nowMillis).map { "\(self.disk.root)/\($0.path)\($0.prefix)\(name.fileName)" }
    }

    /// The absolute path of a key.
    func path(ofKey name: MediaObjectName, nowMillis: Int64) -> String? {
        let root = self.disk.keyRoot ?? self.disk.root
        return self.folder(nowMillis: nowMillis).map { "\(root)/\($0.path)\($0.prefix)\(name.fileName)" }
    }

    /// The path of `{stream}.m3u8` and `{stream}.mpd`, beside the stream's folder. Only where the layout is servable.
    func path(besideFolder name: MediaObjectName, nowMillis: Int64) -> String? {
        guard self.disk.isServable, let folder = self.folder(nowMillis: nowMillis) else { return nil }
        return "\(self.disk.root)/\(folder.path.dropLast())\(name.fileName)"
    }

    /// The folder of the segments, with `/` at its end, and what file names begin with where streams share a folder.
    private func folder(nowMillis: Int64) -> (path: Substring, prefix: String)? {
        let values = PathValues(key: self.key, unixMillis: nowMillis, track: "video", suffix: "m4s")
        guard let path = try? self.disk.pattern.path(for: values) else { return nil }
        let folder = path.lastIndex(of: "/").map { path[...$0] } ?? ""
        if self.disk.isServable { return (folder, "") }
        return (folder, String(self.key.name.split(separator: "/").last ?? ""))
    }
}
