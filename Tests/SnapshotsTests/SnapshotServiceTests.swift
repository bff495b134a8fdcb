import Foundation
import Logging
import Media
import MediaObjects
import MediaStorage
import NIOCore
import NIOPosix
import StreamHub
import Synchronization
import Testing

@testable import Snapshots

extension SnapshotTests {
    @Suite("Snapshot service", .timeLimit(.minutes(2)))
    struct SnapshotServiceTests {
        private func service(
            _ fixture: Fixture, _ limits: SnapshotLimits = SnapshotLimits(), storage: StorageWriter? = nil,
            configuration: SnapshotConfiguration? = SnapshotConfiguration()
        ) -> SnapshotService {
            SnapshotService(hub: fixture.hub, storage: storage, logger: Logger(label: "test"), limits: limits) { _ in
                configuration
            }
        }

        private func ask(
            _ service: SnapshotService, _ fixture: Fixture, name: MediaObjectName = .snapshot
        ) async throws -> MediaObjectAnswer {
            let request = MediaObjectRequest(key: fixture.stream.key, name: name)
            let loop = fixture.loop
            return try await loop.flatSubmit {
                switch service.reply(to: request, on: loop) {
                case .now(let answer): loop.makeSucceededFuture(answer)
                case .later(let future): future
                }
            }.get()
        }

        private func object(_ answer: MediaObjectAnswer) throws -> MediaObject {
            guard case .object(let object) = answer else { throw Unexpected(answer: answer) }
            return object
        }

        private struct Unexpected: Error { var answer: MediaObjectAnswer }

        @Test("many viewers of one stream share one picture, which lasts until there is a newer keyframe")
        func singleFlight() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            try await Fixture.run { fixture in
                var limits = SnapshotLimits()
                limits.lifetime = .milliseconds(300)
                let service = self.service(fixture, limits)
                try await fixture.publish()
                try await fixture.send([.track(track), .frame(frames[0])])
                let tags = try await withThrowingTaskGroup(of: String?.self) { group in
                    for _ in 0..<200 { group.addTask { try self.object(try await self.ask(service, fixture)).etag } }
                    return try await group.reduce(into: Set<String?>()) { $0.insert($1) }
                }
                #expect(tags.count == 1 && tags.first != .some(nil))
                #expect(service.counters.made == 1)
                let first = try self.object(try await self.ask(service, fixture))
                #expect(first.contentType == "image/jpeg" && first.lifetime == .seconds(1))
                guard case .bytes(let bytes) = first.body else { throw Unexpected(answer: .object(first)) }
                #expect(bytes.getInteger(at: 0, as: UInt16.self) == 0xFFD8)
                // The same keyframe is not coded again when its second is over.
                try await Task.sleep(for: .milliseconds(350))
                #expect(try self.object(try await self.ask(service, fixture)).etag == first.etag)
                #expect(service.counters.made == 1)
                var later = frames[1]
                later.dts = frames[0].dts + MediaTime(millis: 1000)
                later.pts = later.dts
                try await fixture.send([.frame(later)])
                try await Task.sleep(for: .milliseconds(350))
                #expect(try self.object(try await self.ask(service, fixture)).etag != first.etag)
                #expect(service.counters.made == 2)
                await service.close()
            }
        }

        @Test("what has no picture is not found")
        func notFound() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            try await Fixture.run { fixture in
                let service = self.service(fixture)
                func isNotFound(_ name: MediaObjectName = .snapshot) async throws -> Bool {
                    if case .notFound = try await self.ask(service, fixture, name: name) { true } else { false }
                }
                // Nobody publishes; then there is only sound; then a keyframe that is none.
                #expect(try await isNotFound())
                try await fixture.publish()
                let sound = Track(
                    codec: .mp3, configuration: nil, format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
                let note = Frame(codec: .mp3, dts: .zero, pts: .zero, isKeyframe: true, payload: ByteBuffer(bytes: [1]))
                try await fixture.send([.track(sound), .frame(note)])
                #expect(try await isNotFound())
                var broken = frames[0]
                broken.payload = ByteBuffer(bytes: [0, 0, 0, 2, 0x65, 0x88])
                try await fixture.send([.track(track), .frame(broken)])
                #expect(try await isNotFound())
                #expect(try await isNotFound(.manifest))
                #expect(service.state.withLock { $0.entries.isEmpty })
                let disabled = self.service(fixture, configuration: nil)
                guard case .notFound = try await self.ask(disabled, fixture) else {
                    Issue.record("a picture was made of a stream that is to have none")
                    return
                }
                await disabled.close()
                await service.close()
            }
        }

        @Test("viewers have a bound and a deadline, and a closed service answers")
        func bounds() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            try await Fixture.run { fixture in
                var limits = SnapshotLimits()
                limits.maximumViewers = 3
                limits.deadline = .milliseconds(150)
                let service = self.service(fixture, limits)
                try await fixture.publish()
                try await fixture.send([.track(track), .frame(frames[0])])
                // The renderer's only thread is held up.
                let gate = DispatchSemaphore(value: 0)
                service.renderer.render(frames[0], of: track, as: SnapshotConfiguration()) { _ in gate.wait() }
                let answers = try await withThrowingTaskGroup(of: Bool.self) { group in
                    for _ in 0..<10 {
                        group.addTask {
                            if case .unavailable = try await self.ask(service, fixture) { true } else { false }
                        }
                    }
                    return try await group.reduce(into: [Bool]()) { $0.append($1) }
                }
                #expect(answers == [Bool](repeating: true, count: 10))
                gate.signal()
                // Whoever comes when the thread is free again has a picture.
                try await Fixture.eventually("the queue is empty") { service.counters.waiting == 0 }
                try await Fixture.eventually("nobody waits") {
                    service.state.withLock { $0.entries.values.allSatisfy { $0.waiters == nil } }
                }
                try await Fixture.eventually("there is a picture") {
                    if case .object = try await self.ask(service, fixture) { true } else { false }
                }
                await service.close()
                guard case .unavailable = try await self.ask(service, fixture) else {
                    Issue.record("a closed service gave a picture")
                    return
                }
            }
        }

        @Test("the table of pictures has a bound; the one that was asked for longest ago goes")
        func tableBound() throws {
            var state = SnapshotService.State()
            var limits = SnapshotLimits()
            limits.maximumStreams = 2
            let loop = NIOSingletons.posixEventLoopGroup.any()
            func join(_ name: String) throws -> String {
                switch state.join(try StreamKey(app: "a", name: name), Waiter(loop: loop), now: .now(), limits: limits)
                {
                case .leads: "leads"
                case .waits: "waits"
                case .refused: "refused"
                case .object: "object"
                }
            }
            #expect(try join("x") == "leads")
            #expect(try join("x") == "waits")
            #expect(try join("y") == "leads")
            #expect(try join("z") == "refused")
            let key = try StreamKey(app: "a", name: "y")
            state.entries[key]?.waiters = nil
            #expect(try join("z") == "leads")
            #expect(state.entries[key] == nil)
        }

        @Test("pictures are written to disk at the interval, each keyframe once")
        func periodic() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            let storage = StorageWriter(
                StorageWriterConfiguration(root: folder.path("pictures")), logger: Logger(label: "test"))
            let pattern = try PathPattern("[app]/[stream]-[seq].[ext]")
            let configuration = SnapshotConfiguration(
                periodic: SnapshotConfiguration.Periodic(
                    interval: .seconds(1), root: folder.path("pictures"), pattern: pattern))
            func names() -> [String] {
                let found = (try? FileManager.default.contentsOfDirectory(atPath: folder.path("pictures/live"))) ?? []
                return found.sorted()
            }
            try await Fixture.run { fixture in
                let service = self.service(fixture, storage: storage, configuration: configuration)
                try await fixture.publish()
                try await fixture.onHome { service.streamStarted($0) }
                try await fixture.onHome { service.streamStarted($0) }
                try await fixture.send([.track(track), .frame(frames[0])])
                try await Fixture.eventually("the first picture is written") { names() == ["film-0.jpg"] }
                var later = frames[1]
                later.dts = frames[0].dts + MediaTime(millis: 1000)
                later.pts = later.dts
                try await Task.sleep(for: .milliseconds(1200))
                #expect(names() == ["film-0.jpg"])
                try await fixture.send([.frame(later)])
                try await Fixture.eventually("the second picture is written") {
                    names() == ["film-0.jpg", "film-1.jpg"]
                }
                #expect(service.counters.made == 2)
                try folder.write(try folder.read("pictures/live/film-1.jpg"), to: "own.jpg")
                #expect(try folder.likeness("own.jpg", "picture.png") > 28)
                try await fixture.onHome { service.streamWithdrawn($0) }
                #expect(service.state.withLock { $0.timers.isEmpty })
                await service.close()
            }
            await storage.close()
        }

        @Test("the timer ends with its stream")
        func streamEnds() async throws {
            let folder = try TemporaryFolder()
            let storage = StorageWriter(
                StorageWriterConfiguration(root: folder.path("pictures")), logger: Logger(label: "test"))
            let periodic = SnapshotConfiguration.Periodic(
                interval: .seconds(1), root: folder.path("pictures"), pattern: try PathPattern("x.jpg"))
            try await Fixture.run(idle: .milliseconds(20)) { fixture in
                let service = self.service(
                    fixture, storage: storage, configuration: SnapshotConfiguration(periodic: periodic))
                try await fixture.publish()
                try await fixture.onHome { service.streamStarted($0) }
                #expect(service.state.withLock { $0.timers.count } == 1)
                try await fixture.onHome { $0.left(1) }
                try await Fixture.eventually("the timer is gone") { service.state.withLock { $0.timers.isEmpty } }
                await service.close()
            }
            await storage.close()
        }
    }
}
