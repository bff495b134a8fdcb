import ClusterLink
import Foundation
import Hummingbird
import Media
import NIOCore
import NodeConfiguration
import Playlists
import StreamHub
import Streaming
import Synchronization

/// The live streams as the player page lists them. Made at most once a second, whoever asks.
final class StreamListing: Sendable {
    struct Track: Encodable, Sendable {
        var codec: String
        /// The codec as a browser's `MediaSource.isTypeSupported` wants it (RFC 6381).
        var mime: String?
        var width: Int?
        var height: Int?
        var frameRate: Double?
        var sampleRate: Int?
        var channels: Int?
    }

    struct Entry: Encodable, Sendable {
        var vhost: String
        var app: String
        var name: String
        var video: Track?
        var audio: Track?
        /// Bits a second, on the average of the time that it has been published.
        var bitRate: Int?
        /// Viewers at this node.
        var viewers: Int
        /// How it can be played: `hls`, `flv`, `dash`, `webrtc`, and what browsers do not have: `ts`, `srt`, `rtsp`.
        var formats: [String]
        /// Seconds that viewers can go back.
        var dvr: Int?
    }

    private struct Body: Encodable { let streams: [Entry] }

    private struct Made {
        var entries: [Entry]
        var until: NIODeadline
    }

    /// Streams on one page.
    private static let maximumEntries = 1_000

    private let settings: LiveSettings
    private let vitals: NodeVitals
    private let link: ClusterLink?
    private let made = Mutex<Made?>(nil)

    init(settings: LiveSettings, vitals: NodeVitals, link: ClusterLink?) {
        self.settings = settings
        self.vitals = vitals
        self.link = link
    }

    /// The JSON for a page of the vhost that serves `host`.
    func json(host: String) async throws -> Response {
        let vhost = self.settings.vhost(forDomain: host)
        let entries = await self.entries().filter { $0.vhost == vhost }
        let data = try JSONEncoder().encode(Body(streams: Array(entries.prefix(Self.maximumEntries))))
        return Response(
            status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(bytes: data)))
    }

    private func entries() async -> [Entry] {
        let now = NIODeadline.now()
        if let made = self.made.withLock({ $0 }), made.until > now { return made.entries }
        let entries = await self.make()
        self.made.withLock { $0 = Made(entries: entries, until: now + .seconds(1)) }
        return entries
    }

    private func make() async -> [Entry] {
        var found: [StreamKey: Entry] = [:]
        for snapshot in await self.vitals.snapshots() where snapshot.phase == .live || snapshot.phase == .grace {
            found[snapshot.key] = self.entry(snapshot)
        }
        // What the cluster has and nobody watches here yet.
        for key in self.link?.liveStreams ?? [] where found[key] == nil {
            found[key] = Entry(
                vhost: key.vhost, app: key.app, name: key.name, viewers: 0, formats: self.formats(key),
                dvr: self.rewindSeconds(key))
        }
        return found.values.sorted { ($0.app, $0.name) < ($1.app, $1.name) }
    }

    private func entry(_ snapshot: StreamSnapshot) -> Entry {
        let seconds = Double(snapshot.publishedFor?.nanoseconds ?? 0) / 1e9
        return Entry(
            vhost: snapshot.key.vhost, app: snapshot.key.app, name: snapshot.key.name,
            video: snapshot.state.video.map(Track.init), audio: snapshot.state.audio.map(Track.init),
            bitRate: seconds > 1 ? Int(Double(snapshot.counters.mediaBytes * 8) / seconds) : nil,
            viewers: snapshot.viewers.values.reduce(0, +), formats: self.formats(snapshot.key),
            dvr: self.rewindSeconds(snapshot.key))
    }

    /// An edge knows its own settings only, so they have to say the same as the origin's.
    private func rewindSeconds(_ key: StreamKey) -> Int? {
        let hls = self.settings.streamSettings(for: key).hls
        return hls.enabled && hls.dvrWindow > .zero ? Int(hls.dvrWindow.millis / 1_000) : nil
    }

    private func formats(_ key: StreamKey) -> [String] {
        let stream = self.settings.streamSettings(for: key)
        let node = self.settings.current
        let offered = [
            ("hls", stream.hls.enabled),
            ("dash", stream.hls.enabled && stream.hls.dash && stream.hls.container == .fmp4), ("flv", true),
            ("webrtc", node.rtc.isEnabled), ("ts", true), ("srt", node.srt.isEnabled && stream.srt.isEnabled),
            ("rtsp", node.rtsp.isEnabled && stream.rtsp.isEnabled),
        ]
        return offered.compactMap { $1 ? $0 : nil }
    }
}

extension StreamListing.Track {
    init(_ track: Track) {
        self.init(codec: track.codec.rawValue, mime: CodecString.of(track))
        switch track.format {
        case .video(let format):
            (self.width, self.height, self.frameRate) = (format.width, format.height, format.frameRate)
        case .audio(let format): (self.sampleRate, self.channels) = (format.sampleRate, format.channels)
        }
    }
}
