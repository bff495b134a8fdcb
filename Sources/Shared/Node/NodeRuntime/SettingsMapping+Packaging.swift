import Foundation
import Media
import MediaStorage
import NIOCore
import NodeConfiguration
import Packaging
import Recorder
import Recording
import SegmentStore
import Snapshots

/// What packaging and recording are told, made from the configuration.
extension LiveSettings {
    /// How the segments of a stream are made; `nil` if they are not.
    func segments(of key: StreamKey) -> SegmentStoreConfiguration? {
        let stream = self.streamSettings(for: key)
        let hls = stream.hls
        guard hls.enabled else { return nil }
        return SegmentStoreConfiguration(
            packaging: hls.packaging, disk: hls.disk ? self.disk(hls, of: key) : nil, disposeMillis: hls.dispose.millis,
            audioForm: stream.audio.packaged.form)
    }

    private func disk(_ hls: StreamSettings.HLS, of key: StreamKey) -> SegmentStoreConfiguration.Disk {
        let pattern = self.pattern(hls.path, of: key) ?? .segments
        var disk = SegmentStoreConfiguration.Disk(
            root: NodeSettings.absolute(self.current.media.directory), pattern: pattern)
        disk.writesPlaylists = disk.isServable
        return disk
    }

    /// The streams of the group that `key` names in the settings; empty if it names none.
    func groupMembers(of key: StreamKey) -> [StreamKey] {
        let groups = self.streamSettings(for: key).hls.groupMembers
        guard let group = groups.first(where: { $0.name == key.name }) else { return [] }
        return group.members.compactMap { try? StreamKey(vhost: key.vhost, app: key.app, name: $0) }
    }

    func recording(of key: StreamKey) -> RecordingSettings {
        let stream = self.streamSettings(for: key)
        let dvr = stream.dvr
        return RecordingSettings(
            isEnabled: dvr.enabled, configuration: dvr.recorder,
            pattern: self.pattern(dvr.path, of: key) ?? .recordings, audioForm: stream.audio.packaged.form)
    }

    /// How pictures of a stream are made; `nil` if they are not.
    func snapshot(of key: StreamKey) -> SnapshotConfiguration? {
        let snapshot = self.streamSettings(for: key).snapshot
        guard snapshot.enabled else { return nil }
        var configuration = SnapshotConfiguration(maximumWidth: snapshot.width, quality: snapshot.quality)
        if snapshot.interval > .zero, let pattern = self.pattern(snapshot.path, of: key) {
            configuration.periodic = .init(
                interval: snapshot.interval, root: NodeSettings.absolute(self.current.media.directory), pattern: pattern
            )
        }
        return configuration
    }

    /// A pattern that was checked when the configuration was read. Streams of equal names in other vhosts than the default
    /// one have a folder of their vhost, unless the pattern says where.
    private func pattern(_ text: String, of key: StreamKey) -> PathPattern? {
        let isApart = key.vhost == StreamKey.defaultVhost || text.contains("[vhost]")
        return try? PathPattern(isApart ? text : "[vhost]/" + text, clock: self.current.media.clock)
    }
}

extension NodeSettings {
    /// The path of a folder, from `/` on and without a `/` at its end.
    static func absolute(_ path: String) -> String {
        URL(fileURLWithPath: path).standardizedFileURL.path
    }
}

extension MediaSettings {
    var clock: PathPattern.Clock { self.utc ? .utc : .local }
}

extension PathPattern {
    fileprivate static let recordings: PathPattern = {
        let text = "[app]/[stream]/[timestamp].[ext]"
        guard let pattern = try? PathPattern(text) else { preconditionFailure("\(text) is a pattern") }
        return pattern
    }()
}

extension StreamSettings.HLS {
    fileprivate var packaging: PackagingConfiguration {
        PackagingConfiguration(
            container: self.container == .fmp4 ? .fragmentedMP4 : .mpegTS,
            segmentDurationMillis: self.segmentDuration.millis,
            partDurationMillis: self.lowLatency ? self.partDuration.millis : nil,
            windowMillis: max(self.window, self.segmentDuration).millis, dvrWindowMillis: self.dvrWindow.millis,
            maximumSegmentRatio: Double(self.maximumSegmentPercent) / 100,
            segmentsPerKey: self.encryption ? self.segmentsPerKey : nil)
    }
}

extension StreamSettings.DVR {
    fileprivate var recorder: RecorderConfiguration {
        let format: RecordingFormat =
            switch self.format {
            case .mp4: .mp4
            case .flv: .flv
            case .ts: .ts
            }
        return RecorderConfiguration(
            format: format, plan: self.plan == .session ? .session : .segment(self.segmentDuration),
            finishesProgressive: self.progressive)
    }
}

extension TimeAmount {
    var millis: Int64 { self.nanoseconds / 1_000_000 }
}
