import MediaStorage
import NIOCore

/// The keys of HLS, DASH, recording and snapshots.
extension SettingSchema {
    static let mediaSection = Section(
        name: "media", documentation: "Where an origin keeps segments and recordings.", roles: [.origin],
        fields: [
            .init(
                "media.directory", \.media.directory, .text("path"),
                "The folder of HLS and DASH files and snapshots; `stream.hls.path` is below it."),
            .init(
                "media.recordings", \.media.recordings, .text("path"),
                "The folder of recordings; `stream.dvr.path` is below it."),
            .init(
                "media.catalog", \.media.catalog, .text("path"),
                "The SQLite file that knows all segments and recordings of the origin."),
            .init(
                "media.write_queue", \.media.writeQueueBytes, .size((1 << 20)...(1 << 40)),
                "Bytes that may wait for a slow disk; what is over it is not written, and live delivery goes on."),
            .init("media.utc", \.media.utc, .flag, "Whether times in paths are UTC rather than local time."),
        ])

    static let packagingFields: [SettingField<StreamSettings>] = hlsFields + dvrFields + snapshotFields

    private static let hlsFields: [SettingField<StreamSettings>] = [
        .init("hls.enabled", \.hls.enabled, .flag, "Whether the origin packages streams for HLS and DASH."),
        .init(
            "hls.container", \.hls.container, .choice,
            "`fmp4`: CMAF segments, which low latency, DASH, HEVC for Apple's players and AV1 need. `mpegts`: for old players."
        ),
        .init(
            "hls.segment_duration", \.hls.segmentDuration, .duration(.milliseconds(500) ... .seconds(60)),
            "A segment ends at the first keyframe after this time."),
        .init(
            "hls.low_latency", \.hls.lowLatency, .flag,
            "Whether playlists offer parts, blocking reloads and delta updates (with `fmp4`)."),
        .init(
            "hls.part_duration", \.hls.partDuration, .duration(.milliseconds(100) ... .seconds(5)),
            "The length of a part; players keep three of them as their distance to live."),
        .init(
            "hls.window", \.hls.window, .duration(.seconds(1) ... .hours(1)),
            "What a live playlist lists at least; never less than three segments."),
        .init(
            "hls.dvr_window", \.hls.dvrWindow, .duration(.zero ... .hours(12)),
            "How far back viewers can seek with `?dvr=SECONDS`; needs `stream.hls.disk`."),
        .init(
            "hls.maximum_segment_percent", \.hls.maximumSegmentPercent, .integer(110...1_000),
            "A segment that gets no keyframe is cut at this part of its duration."),
        .init("hls.disk", \.hls.disk, .flag, "Whether segments and playlists are also written to `media.directory`."),
        .init(
            "hls.path", \.hls.path, .pathPattern([.track, .epoch, .sequence]),
            "Where a segment is written: `[vhost] [app] [stream] [track] [epoch] [seq] [duration] [timestamp] [2006] [01] [02] [15] [04] [05] [999] [ext]`."
        ),
        .init(
            "hls.dispose", \.hls.dispose, .duration(.zero ... .hours(7 * 24)),
            "How long after its end the playlist and segments of a stream are kept; 0 keeps them."),
        .init("hls.encryption", \.hls.encryption, .flag, "AES-128 for all segments. Parts are then not offered."),
        .init(
            "hls.segments_per_key", \.hls.segmentsPerKey, .integer(1...1_000_000),
            "After how many segments a new key is made."),
        .init(
            "hls.groups", \.hls.groups, .flag,
            "Whether streams `name_…` are offered together as variants by the playlist of `name`."),
        .init(
            "hls.group_members", \.hls.groupMembers, .streamGroups,
            "Groups whose streams have other names: `game=cam-hd+cam-sd` makes the two the variants of `game`."),
        .init(
            "hls.dash", \.hls.dash, .flag, "Whether an MPEG-DASH manifest is offered for the same segments (`fmp4`)."),
    ]

    private static let dvrFields: [SettingField<StreamSettings>] = [
        .init("dvr.enabled", \.dvr.enabled, .flag, "Whether every stream is recorded. The API records single ones."),
        .init("dvr.format", \.dvr.format, .choice, "The file format of recordings."),
        .init(
            "dvr.plan", \.dvr.plan, .choice,
            "`session`: one file from publish to unpublish. `segment`: a new one after `dvr.segment_duration`."),
        .init(
            "dvr.segment_duration", \.dvr.segmentDuration, .duration(.seconds(1) ... .hours(24)),
            "With `dvr.plan: segment`, the next file begins at the first keyframe after this time."),
        .init(
            "dvr.path", \.dvr.path, .pathPattern(),
            "Where a recording is written: the variables of `hls.path` but `[seq]`. A file that exists is never replaced."
        ),
        .init(
            "dvr.progressive", \.dvr.progressive, .flag,
            "Whether a finished MP4 is rewritten with its index in front, so that it plays while it downloads."),
        .init(
            "dvr.on_file", \.dvr.onFile, .callbackURLs,
            "URLs that are sent SRS's `on_dvr` JSON when a file is finished."),
    ]

    private static let snapshotFields: [SettingField<StreamSettings>] = [
        .init("snapshot.enabled", \.snapshot.enabled, .flag, "Whether `/{app}/{stream}.jpg` shows the last keyframe."),
        .init("snapshot.width", \.snapshot.width, .integer(16...4_096), "The largest width of the picture in pixels."),
        .init("snapshot.quality", \.snapshot.quality, .integer(1...100), "The quality of the JPEG."),
        .init(
            "snapshot.interval", \.snapshot.interval, .duration(.zero ... .hours(24)),
            "How often a picture is also written to `media.directory`; 0 never."),
        .init("snapshot.path", \.snapshot.path, .pathPattern(), "Where it is written."),
    ]
}
