package import MediaStorage
package import Packaging
package import Streaming

/// How the segments of one stream are made, kept and served.
package struct SegmentStoreConfiguration: Sendable, Hashable {
    /// Where files go.
    package struct Disk: Sendable, Hashable {
        /// The absolute folder that all paths are relative to.
        package var root: String
        /// Names the segments. Everything else of a stream lies beside its segments.
        package var pattern: PathPattern
        /// Whether playlists and manifests are written, too, so that any static server over the folder plays the
        /// stream. Only with a pattern whose file names are those of the URLs, see `isServable`.
        package var writesPlaylists: Bool
        /// Whether segments that left every playlist are deleted.
        package var deletesSegments: Bool
        /// The folder for keys, if they must not lie beside the segments.
        package var keyRoot: String?

        package init(
            root: String, pattern: PathPattern = .segments, writesPlaylists: Bool = true,
            deletesSegments: Bool = true, keyRoot: String? = nil
        ) {
            self.root = root
            self.pattern = pattern
            self.writesPlaylists = writesPlaylists
            self.deletesSegments = deletesSegments
            self.keyRoot = keyRoot
        }

        /// Whether the files have the names and folders of the URLs, behind a prefix that is the same for all.
        package var isServable: Bool { self.pattern.text.hasSuffix(PathPattern.segments.text) }
    }

    package var packaging: PackagingConfiguration
    /// `nil`: segments are in memory only, and there is no rewind beyond the live window.
    package var disk: Disk?
    /// How long after its source ended a stream's playlists and files go away, in milliseconds; 0 is never.
    package var disposeMillis: Int64
    /// How many requests of a stream may wait for what comes next. Beyond it they are answered with 503.
    package var maximumWaiters: Int
    /// In which codec the audio is packaged.
    package var audioForm: AudioForm

    package init(
        packaging: PackagingConfiguration = .init(), disk: Disk? = nil, disposeMillis: Int64 = 120_000,
        maximumWaiters: Int = 50_000, audioForm: AudioForm = .source
    ) {
        self.packaging = packaging
        self.disk = disk
        self.disposeMillis = disposeMillis
        self.maximumWaiters = maximumWaiters
        self.audioForm = audioForm
    }

    /// Refuses what cannot work. Errors name the field.
    package func validate() throws(SegmentStoreConfigurationError) {
        do throws(PackagingConfigurationError) {
            try self.packaging.validate()
        } catch {
            throw .packaging(error)
        }
        guard self.disposeMillis >= 0 else { throw .negativeDispose(millis: self.disposeMillis) }
        guard self.maximumWaiters > 0 else { throw .noWaiters }
        guard let disk = self.disk else {
            guard self.packaging.dvrWindowMillis == 0 else { throw .rewindWithoutDisk }
            return
        }
        for root in [disk.root, disk.keyRoot].compactMap({ $0 }) where !root.hasPrefix("/") || root.hasSuffix("/") {
            throw .rootNotAbsolute(root)
        }
        let variables = disk.pattern.variables
        guard variables.contains(.stream) else { throw .patternLacks(.stream) }
        guard variables.contains(.sequence) || variables.contains(.timestamp) else { throw .patternLacks(.sequence) }
        if self.packaging.container == .fragmentedMP4 {
            guard variables.contains(.track) else { throw .patternLacks(.track) }
        }
    }
}

extension PathPattern {
    /// The names of the URLs.
    package static let segments: PathPattern = {
        let text = "[app]/[stream]/_[track]-[epoch]-[seq].[ext]"
        guard let pattern = try? PathPattern(text) else { preconditionFailure("\(text) is a pattern") }
        return pattern
    }()
}

/// Why a configuration is refused.
package enum SegmentStoreConfigurationError: Error, Equatable {
    case packaging(PackagingConfigurationError)
    case negativeDispose(millis: Int64)
    case noWaiters
    /// `dvrWindowMillis` needs `disk`.
    case rewindWithoutDisk
    /// A root folder that does not begin with `/`, or ends with it.
    case rootNotAbsolute(String)
    /// Without the variable, files would overwrite each other.
    case patternLacks(PathPattern.Variable)
}
