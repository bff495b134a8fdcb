import Crypto
import CryptoExtras
import Glibc
import Media
import MediaCatalog
import MediaObjects
import MediaStorage
import NIOCore
import Packaging
import Synchronization
import Testing

@testable import SegmentStore

@Suite("A segment store and its disk", .timeLimit(.minutes(1)))
struct DiskTests {
    @Test("After a restart old segments are listed, and a republish goes on with exactly the next number")
    func restart() async throws {
        let folder = try Folder()
        var station = try await Station(folder)
        var source = try await station.publish()
        #expect(station.store.position(of: try Station.key()) == nil)
        try await source.send(seconds: 6)
        try await source.leave()
        await station.settle()
        let before = try await station.text(.playlist(.video))
        let position = try #require(station.store.position(of: try Station.key()))
        try await station.shutDown()

        station = try await Station(folder)
        #expect(try await station.text(.playlist(.video)).names == before.names)
        #expect(try await station.text(.playlist(.audio)).names.count == before.names.count)
        #expect(try await station.text(.multivariant).contains("game/_video.m3u8"))
        for name in before.names {
            let object = try await station.object(try #require(name))
            #expect(object.path == "\(folder.path)/media/live/game/\(try #require(name).fileName)")
            #expect(object.lifetime == .immutable)
        }
        #expect(try await station.object(.initialization(.video, epoch: 7, index: 0)).path != nil)
        #expect(station.store.position(of: try Station.key())?.nextSequence == position.nextSequence)

        var second = try await station.publish(epoch: 8)
        try await second.send(seconds: 2)
        let text = try await station.text(.playlist(.video))
        #expect(text.contains("_video-8-\(position.nextSequence).m4s"))
        #expect(text.contains("#EXT-X-DISCONTINUITY\n"))
        #expect(text.contains("_video-7-init0.mp4") && text.contains("_video-8-init"))
        try await station.shutDown()
    }

    @Test("A file that was written without being listed before a crash is removed")
    func unlistedFile() async throws {
        let folder = try Folder()
        var station = try await Station(folder)
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 4)
        await station.settle()
        let next = try #require(try await station.listed().last) + 1
        let stray = "\(folder.path)/media/live/game/_video-7-\(next).m4s"
        try await station.shutDown()
        let file = unsafe fopen(stray, "w")
        _ = unsafe fclose(file)
        station = try await Station(folder)
        await station.settle()
        #expect(unsafe access(stray, F_OK) != 0)
        // The one that was being made has a number, of which viewers may know.
        let text = try await station.text(.playlist(.video))
        #expect(text.names.count == 4 && text.count(of: "#EXT-X-GAP\n") == 1)
        try await station.shutDown()
    }

    @Test("Numbers that were given out while nothing could be written are not given out again after a crash")
    func numbersOutliveAFailingDisk() async throws {
        let folder = try Folder()
        // A file where the folder should be.
        let file = unsafe fopen("\(folder.path)/media", "w")
        _ = unsafe fclose(file)
        var station = try await Station(folder)
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 8)
        await station.settle()
        let next = try #require(station.store.position(of: try Station.key())).nextSequence
        #expect(station.store.statistics().first?.storedSegments == 0)
        try await station.shutDown()
        station = try await Station(folder)
        #expect(station.store.position(of: try Station.key())?.nextSequence == next)
        try await station.shutDown()
    }

    @Test("What was announced and did not come to the disk before a crash is a gap, here and in the files")
    func gapAfterCrash() async throws {
        let folder = try Folder()
        var station = try await Station(folder)
        var source = try await station.publish()
        try await source.send(seconds: 6)
        try await source.leave()
        await station.settle()
        let before = try await station.listed()
        let position = try #require(station.store.position(of: try Station.key()))
        station.catalog.move(try Station.key(), to: position.advanced(by: 2).stored)
        try await station.shutDown()

        station = try await Station(folder)
        let gaps = (0..<2).map { position.nextSequence + $0 }
        for tag in [MediaTag.video, .audio] {
            let text = try await station.text(.playlist(tag))
            #expect(try await station.listed(tag).suffix(4) == (before + gaps).suffix(4))
            #expect(text.count(of: "#EXT-X-GAP\n") == 2)
        }
        var second = try await station.publish(epoch: 8)
        try await second.send(seconds: 4)
        await station.settle()
        let text = try await station.text(.playlist(.video))
        #expect(text.contains("_video-8-\(position.nextSequence + 2).m4s"))
        let file = String(decoding: try #require(folder.contents("media/live/game/_video.m3u8")), as: UTF8.self)
        #expect(file.count(of: "#EXT-X-GAP\n") >= 1 && file.contains("_video-8-"))
        try await station.shutDown()
    }

    @Test("Segments that left the window go from disk and memory; those in the rewind window stay and are served")
    func window() async throws {
        let station = try await Station(try Folder()) {
            $0.packaging.dvrWindowMillis = 20_000
            $0.packaging.windowMillis = 3_000
        }
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 60)
        await station.settle()
        var janitor = Janitor(
            context: StoreContext(catalog: station.catalog, writers: station.writers, logger: Station.logger),
            configuration: { _ in nil })
        await janitor.work(nowMillis: .max / 2)
        let live = try await station.listed()
        let rewound = try await station.listed(query: .init(rewindSeconds: 3_600))
        #expect(live.count < 6 && rewound.count > 15 && rewound.count < 25)
        #expect(rewound.last == live.last)
        let oldest = try await station.object(.segment(.video, epoch: 7, sequence: rewound[0]))
        #expect(oldest.path != nil)
        #expect(try await station.object(.segment(.video, epoch: 7, sequence: live[0])).bytes != nil)
        let files = station.folder.files.filter { $0.contains("_video-7-1") || $0.hasSuffix(".m4s") }
        #expect(files.count < 40, "\(files.count)")
        #expect(files.contains("media/live/game/_video-7-\(rewound[0]).m4s"))
        #expect(station.store.statistics().first?.knownSegments == files.count)
        #expect(try await station.text(.multivariant, query: .init(rewindSeconds: 10)).contains("?dvr=20"))
        try await station.shutDown()
    }

    @Test("A stream that ended long ago leaves nothing behind, and its numbers go on when it returns")
    func disposal() async throws {
        let station = try await Station(try Folder())
        var source = try await station.publish()
        try await source.send(seconds: 4)
        try await source.leave()
        await station.settle()
        let position = try #require(station.store.position(of: try Station.key()))
        #expect(station.folder.files.count > 10)
        let now = WallClock.unixMillis
        station.store.tick(nowMillis: now + 60_000)
        #expect(try await station.ask(.playlist(.video)).kind == "object")
        station.store.tick(nowMillis: now + 130_000)
        #expect(try await station.ask(.playlist(.video)).kind == "notFound")
        #expect(try await station.ask(.multivariant).kind == "notFound")
        var janitor = Janitor(
            context: StoreContext(catalog: station.catalog, writers: station.writers, logger: Station.logger),
            configuration: { _ in nil })
        await station.catalog.flush()
        await janitor.work(nowMillis: now + 200_000)
        #expect(station.folder.files.filter { $0.hasPrefix("media/") } == [])
        #expect(!station.folder.folders.contains("media/live"), "empty folders go, too")
        #expect(try await station.catalog.windows().isEmpty)

        var second = try await station.publish(epoch: 9)
        try await second.send(seconds: 3)
        let listed = try await station.listed()
        #expect(listed.first == position.nextSequence)
        try await station.shutDown()
    }

    @Test("Files of streams that the settings no longer package are removed")
    func forgottenStream() async throws {
        let folder = try Folder()
        var station = try await Station(folder)
        var source = try await station.publish()
        try await source.send(seconds: 4)
        await station.settle()
        try await station.shutDown()
        station = try await Station(folder, onDisk: false)
        await station.catalog.flush()
        var janitor = Janitor(
            context: StoreContext(catalog: station.catalog, writers: station.writers, logger: Station.logger),
            configuration: { _ in nil })
        await janitor.work(nowMillis: WallClock.unixMillis)
        #expect(folder.files.filter { $0.contains("live") } == [])
        try await station.shutDown()
    }

    @Test("A full disk is an alarm; delivery from memory goes on, and what is missing later is a gap")
    func fullDisk() async throws {
        let folder = try Folder(tmpfsBytes: 1_500_000)
        let database = try Folder()
        let station = try await Station(folder, database: "\(database.path)/media.sqlite") {
            $0.packaging.dvrWindowMillis = 60_000
        }
        var source = try await station.publish(hasAudio: false, frameBytes: 8_000)
        try await source.send(seconds: 20)
        await station.settle()
        #expect(station.writers.snapshots().first?.alarm == .diskFull)
        #expect((station.store.statistics().first?.unwrittenSegments ?? 0) > 5)
        for sequence in try await station.listed() {
            let object = try await station.object(.segment(.video, epoch: 7, sequence: sequence))
            #expect((object.bytes?.readableBytes ?? 0) > 100_000)
        }
        // Ten seconds later their memory is needed for others.
        station.store.tick(nowMillis: WallClock.unixMillis + 11_000)
        let rewound = try await station.text(.playlist(.video), query: .init(rewindSeconds: 60))
        #expect(rewound.contains("#EXT-X-GAP"))
        for name in rewound.withoutGaps { #expect(try await station.ask(try #require(name)).kind == "object") }
        try await station.shutDown()
    }

    @Test("A slow disk costs files, not memory and not delivery")
    func slowDisk() async throws {
        let station = try await Station(try Folder(), maximumQueuedBytes: 300_000)
        let gate = Mutex(true)
        let root = "\(station.folder.path)/media"
        station.writers.writer(root: root).write(to: "\(root)/x") {
            while gate.withLock({ $0 }) { usleep(1_000) }
            return nil
        }
        var source = try await station.publish(hasAudio: false, frameBytes: 4_000)
        try await source.send(seconds: 10)
        let snapshot = try #require(station.writers.snapshots().first)
        #expect(snapshot.queuedBytes <= 300_000 && snapshot.droppedWrites > 3 && snapshot.alarm == .queueFull)
        #expect((try await station.listed()).count >= 4)
        for sequence in try await station.listed() {
            #expect(try await station.ask(.segment(.video, epoch: 7, sequence: sequence)).kind == "object")
        }
        gate.withLock { $0 = false }
        await station.settle()
        let statistics = try #require(station.store.statistics().first)
        #expect(statistics.storedSegments > 0 && statistics.unwrittenSegments > 3)
        try await station.shutDown()
    }

    @Test("Without its catalogue the store goes on from memory and writes nothing that it could not find again")
    func noCatalog() async throws {
        let station = try await Station(try Folder(), database: "/nowhere/media.sqlite")
        var source = try await station.publish()
        try await source.send(seconds: 4)
        #expect(try await station.listed().count == 3)
        #expect(station.folder.files.filter { $0.contains("game") } == [])
        #expect((station.store.statistics().first?.unwrittenSegments ?? 0) > 0)
        try await station.shutDown()
    }

    @Test("Encrypted segments open with the served key, which only its owner can read on disk, also after a restart")
    func encryption() async throws {
        let folder = try Folder()
        var station = try await Station(folder) {
            $0.packaging.container = .mpegTS
            $0.packaging.segmentsPerKey = 2
        }
        var source = try await station.publish()
        try await source.send(seconds: 6)
        await station.settle()
        // What was being made when it ended is a gap afterwards.
        let open = try #require(try await station.listed(.main).last) + 1
        func check(_ station: Station) async throws -> Set<MediaObjectName> {
            let text = try await station.text(.playlist(.main))
            var keyName: MediaObjectName?
            var names: Set<MediaObjectName> = []
            for line in text.split(separator: "\n") {
                if line.hasPrefix("#EXT-X-KEY:") {
                    let name = line.split(separator: "\"")[1]
                    keyName = MediaObjectName(fileName: String(name))
                }
                guard line.hasPrefix("_"),
                    case .segment(let tag, let epoch, let sequence)? = MediaObjectName(
                        fileName: String(line)), let keyName, sequence < open
                else { continue }
                names.insert(keyName)
                let keyObject = try await station.object(keyName)
                #expect(keyObject.lifetime == .uncacheable && keyObject.etag == nil)
                let key = Array(try #require(keyObject.bytes).readableBytesView)
                #expect(key.count == 16)
                let object = try await station.object(.segment(tag, epoch: epoch, sequence: sequence))
                let bytes =
                    try object.bytes.map { Array($0.readableBytesView) }
                    ?? #require(folder.contents("media/live/game/\(line)"))
                let vector = (0..<16).map { $0 < 8 ? 0 : UInt8(truncatingIfNeeded: sequence >> (8 * UInt64(15 - $0))) }
                let plain = try AES._CBC.decrypt(
                    bytes, using: SymmetricKey(data: key), iv: AES._CBC.IV(ivBytes: vector))
                #expect(plain.first == 0x47 && plain.count % 188 == 0)
            }
            #expect(names.count >= 2)
            return names
        }
        let names = try await check(station)
        for name in names { #expect(folder.mode("media/live/game/\(name.fileName)") == 0o600) }
        try await station.shutDown()
        station = try await Station(folder) {
            $0.packaging.container = .mpegTS
            $0.packaging.segmentsPerKey = 2
        }
        #expect(try await check(station).isSubset(of: names))
        try await station.shutDown()
    }

    @Test("Streams take a folder each under a pattern of dates, and nothing but segments collides")
    func patterns() async throws {
        let pattern = try PathPattern("[2006]/[app]/[stream]-[track]-[seq].[ext]")
        let station = try await Station(try Folder()) { $0.disk?.pattern = pattern }
        for name in ["a", "b"] {
            var source = try await station.publish(name, hasAudio: false)
            try await source.send(seconds: 4)
        }
        await station.settle()
        let files = station.folder.files.filter { $0.hasPrefix("media/") }
        #expect(files.count == 8, "three segments and an initialization segment each: \(files)")
        #expect(files.allSatisfy { $0.hasPrefix("media/20") && $0.contains("/live/") })
        try await station.shutDown()
    }

    @Test("What the cluster knows of a stream is gone on with, with some numbers left out, unless it is our own")
    func seeding() async throws {
        let station = try await Station(try Folder())
        let key = try Station.key()
        let base = PackagingPosition.base(nowMillis: WallClock.unixMillis)
        let reported = PackagingPosition(nextSequence: base + 1_000, discontinuitySequence: base, endMillis: 5)
        station.store.seed(reported, for: key, slack: 20)
        #expect(station.store.position(of: key)?.nextSequence == base + 1_020)
        var source = try await station.publish(hasAudio: false)
        try await source.send(seconds: 4)
        #expect(try await station.listed().first == base + 1_020)
        let own = try #require(station.store.position(of: key))
        station.store.seed(own, for: key)
        #expect(station.store.position(of: key) == own)
        // It went on elsewhere, and comes back.
        try await source.leave()
        station.store.seed(own.advanced(by: 500), for: key, slack: 0)
        var second = try await station.publish(epoch: 8, hasAudio: false)
        try await second.send(seconds: 4)
        #expect(try await station.listed() == (0..<3).map { own.nextSequence + 500 + $0 })
        try await station.shutDown()
    }

    @Test(
        "Settings that cannot work are refused",
        arguments: [
            ("[app]/[stream].[ext]", SegmentStoreConfigurationError.patternLacks(.sequence)),
            ("[app]/[seq]-[track].[ext]", .patternLacks(.stream)),
            ("[app]/[stream]-[seq].[ext]", .patternLacks(.track)),
        ])
    func refusedPattern(text: String, error: SegmentStoreConfigurationError) throws {
        let disk = SegmentStoreConfiguration.Disk(root: "/media", pattern: try PathPattern(text))
        #expect(throws: error) { try SegmentStoreConfiguration(disk: disk).validate() }
    }

    @Test("Other settings that cannot work are refused")
    func refused() {
        var configuration = SegmentStoreConfiguration()
        configuration.disposeMillis = -1
        #expect(throws: SegmentStoreConfigurationError.negativeDispose(millis: -1)) { try configuration.validate() }
        configuration = SegmentStoreConfiguration(packaging: .init(dvrWindowMillis: 60_000))
        #expect(throws: SegmentStoreConfigurationError.rewindWithoutDisk) { try configuration.validate() }
        configuration.disk = .init(root: "media")
        #expect(throws: SegmentStoreConfigurationError.rootNotAbsolute("media")) { try configuration.validate() }
        configuration.disk = .init(root: "/media")
        #expect(throws: Never.self) { try configuration.validate() }
        configuration.maximumWaiters = 0
        #expect(throws: SegmentStoreConfigurationError.noWaiters) { try configuration.validate() }
        configuration.packaging.segmentDurationMillis = 1
        #expect {
            try configuration.validate()
        } throws: { error in
            if case .packaging? = error as? SegmentStoreConfigurationError { true } else { false }
        }
    }
}

extension String {
    /// The segments of a playlist that are not marked as gaps.
    var withoutGaps: [MediaObjectName?] {
        var names: [MediaObjectName?] = []
        var isGap = false
        for line in self.split(separator: "\n") {
            if line == "#EXT-X-GAP" { isGap = true }
            guard line.hasPrefix("_") else { continue }
            if !isGap { names.append(MediaObjectName(fileName: String(line))) }
            isGap = false
        }
        return names
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func count(of text: String) -> Int {
        self.split(separator: text, omittingEmptySubsequences: false).count - 1
    }
}
