import Media
import MediaStorage
import NIOCore
import NIOPosix
import Packaging
import StreamHub
import Streaming
import Synchronization
import Testing

@testable import SegmentStore

@Suite("Who is told of finished segments", .timeLimit(.minutes(1)))
struct FinishedSegmentTests {
    private final class Told: Sendable {
        let segments = Mutex<[FinishedSegment]>([])
        var all: [FinishedSegment] {
            self.segments.withLock { $0.sorted { ($0.track, $0.sequence) < ($1.track, $1.sequence) } }
        }
    }

    /// Six seconds of a stream through a store of its own on the station's disk.
    private static func publish(
        _ station: Station, told: Told, configuration: SegmentStoreConfiguration, catalogued: Bool = true
    ) async throws -> SegmentStore {
        let store = SegmentStore(
            catalog: catalogued ? station.catalog : nil, writers: station.writers, logger: Station.logger,
            onSegment: { segment in told.segments.withLock { $0.append(segment) } },
            configuration: { _ in configuration })
        let stream = station.hub.stream(try Station.key(), home: station.loops.next())
        try await stream.home.submit { store.attach(to: stream) }.get()
        var source = try await Source(stream, id: 1, epoch: 7)
        try await source.send(seconds: 6)
        try await source.leave()
        await station.settle()
        return store
    }

    @Test("Each segment is told of once, when its file is there")
    func onDisk() async throws {
        let folder = try Folder()
        let station = try await Station(folder)
        let told = Told()
        let configuration = SegmentStoreConfiguration(
            packaging: .init(segmentDurationMillis: 1_000, windowMillis: 4_000),
            disk: .init(root: "\(folder.path)/media"))
        let store = try await Self.publish(station, told: told, configuration: configuration)
        let video = told.all.filter { $0.track == "video" }
        #expect(video.count == 6)
        #expect(told.all.count { $0.track == "audio" } >= 5)
        let position = try #require(store.position(of: try Station.key()))
        #expect(video.map(\.sequence) == Array(position.nextSequence - 6..<position.nextSequence))
        for segment in told.all {
            #expect(segment.key == (try Station.key()))
            #expect(segment.epoch == 7)
            #expect(segment.url == "live/game/_\(segment.track)-7-\(segment.sequence).m4s")
            #expect(segment.path == "\(folder.path)/media/\(segment.url)")
            #expect(folder.contents("media/\(segment.url)")?.count == Int(segment.byteCount))
            #expect(segment.playlistURL == "live/game.m3u8")
            #expect(segment.playlistPath == "\(folder.path)/media/live/game.m3u8")
        }
        #expect(Set(video.map(\.durationMillis)) == [1_000])
        try await station.shutDown()
    }

    @Test("Segments in memory have no file, and are told of, with and without a catalogue")
    func inMemory() async throws {
        for catalogued in [true, false] {
            let folder = try Folder()
            let station = try await Station(folder)
            let told = Told()
            let configuration = SegmentStoreConfiguration(
                packaging: .init(segmentDurationMillis: 1_000, windowMillis: 4_000))
            _ = try await Self.publish(station, told: told, configuration: configuration, catalogued: catalogued)
            #expect(told.all.count { $0.track == "video" } == 6)
            #expect(told.all.allSatisfy { $0.path == nil && $0.playlistPath == nil && $0.byteCount > 0 })
            try await station.shutDown()
        }
    }

    @Test("A segment that the disk does not take is told of without a file")
    func brokenDisk() async throws {
        let folder = try Folder()
        let station = try await Station(folder)
        let told = Told()
        let configuration = SegmentStoreConfiguration(
            packaging: .init(segmentDurationMillis: 1_000, windowMillis: 4_000),
            disk: .init(root: "/proc/nowhere"))
        _ = try await Self.publish(station, told: told, configuration: configuration)
        #expect(told.all.count { $0.track == "video" } == 6)
        #expect(told.all.allSatisfy { $0.path == nil })
        try await station.shutDown()
    }
}
