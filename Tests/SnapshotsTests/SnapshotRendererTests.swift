import Foundation
import Logging
import Media
import NIOCore
import Synchronization
import Testing

@testable import Snapshots

extension SnapshotTests {
    @Suite("Pictures of keyframes", .timeLimit(.minutes(2)))
    struct SnapshotRendererTests {
        @Test("a keyframe becomes the picture that ffmpeg shows", arguments: Film.all)
        func likeness(film: Film) throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try film.keyframes(in: folder)
            // In its own size nothing is lost but by JPEG, so wrong colours would show.
            let whole = SnapshotConfiguration(maximumWidth: 4096, quality: 95)
            try folder.write(try SnapshotRenderer.picture(of: frames[1], track: track, as: whole), to: "whole.jpg")
            let likeness = try folder.likeness("whole.jpg", "picture.png")
            #expect(likeness > 34, "\(likeness) dB in its own size")
            // A smaller one loses what its size costs: as much as the JPEG that ffmpeg makes of the same frame.
            for width in [320, 160] {
                let configuration = SnapshotConfiguration(maximumWidth: width, quality: 95)
                try folder.write(
                    try SnapshotRenderer.picture(of: frames[1], track: track, as: configuration), to: "own.jpg")
                try folder.ffmpeg([
                    "-i", folder.path("film.mp4"), "-vf",
                    "select=eq(n\\,10),scale=\(width):-2:flags=bicubic:out_color_matrix=bt601:out_range=full",
                    "-frames:v", "1", "-pix_fmt", "yuvj420p", "-q:v", "2", folder.path("theirs.jpg"),
                ])
                let own = try folder.likeness("own.jpg", "picture.png")
                let theirs = try folder.likeness("theirs.jpg", "picture.png")
                #expect(own > theirs - 0.5, "\(own) dB at \(width) pixels, ffmpeg \(theirs)")
                let text = try folder.ffmpeg(["-i", folder.path("own.jpg"), "-f", "null", "-"])
                #expect(text.contains("\(width)x\(width * 9 / 16)"))
            }
            // The other keyframe is another picture.
            let other = try SnapshotRenderer.picture(of: frames[0], track: track, as: whole)
            try folder.write(other, to: "other.jpg")
            #expect(try folder.likeness("other.jpg", "picture.png") < 25)
        }

        @Test("a keyframe of VP8, which has no configuration, becomes a picture")
        func vp8() throws {
            let folder = try TemporaryFolder()
            try folder.ffmpeg([
                "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=5:duration=1", "-c:v", "libvpx", "-b:v", "2M",
                folder.path("film.ivf"),
            ])
            try folder.ffmpeg(["-i", folder.path("film.ivf"), "-frames:v", "1", folder.path("picture.png")])
            var bytes = try folder.read("film.ivf")
            bytes.moveReaderIndex(forwardBy: 32)
            let length = bytes.readInteger(endianness: .little, as: UInt32.self)
            bytes.moveReaderIndex(forwardBy: 8)
            let slice = bytes.readSlice(length: Int(length ?? 0))
            let payload = try #require(slice)
            let track = try Track(codec: .vp8, describedBy: payload)
            let frame = Frame(codec: .vp8, dts: .zero, pts: .zero, isKeyframe: true, payload: payload)
            let picture = try SnapshotRenderer.picture(of: frame, track: track, as: SnapshotConfiguration(quality: 95))
            try folder.write(picture, to: "own.jpg")
            #expect(try folder.likeness("own.jpg", "picture.png") > 30)
        }

        @Test("lower quality makes smaller files")
        func quality() throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            let sizes = try [1, 30, 60, 90, 100].map { quality in
                try SnapshotRenderer.picture(of: frames[0], track: track, as: SnapshotConfiguration(quality: quality))
                    .readableBytes
            }
            #expect(sizes == sizes.sorted() && Set(sizes).count == sizes.count, "\(sizes)")
        }

        @Test("what cannot be decoded is a typed error, and no cut of a keyframe harms")
        func errors() throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            let configuration = SnapshotConfiguration()
            func error(_ frame: Frame, _ track: Track, pixels: Int = 1 << 26) -> SnapshotError? {
                do throws(SnapshotError) {
                    _ = try SnapshotRenderer.picture(of: frame, track: track, as: configuration, maximumPixels: pixels)
                    return nil
                } catch {
                    return error
                }
            }
            let sound = Track(codec: .aac, configuration: nil, format: .audio(AudioFormat()))
            #expect(error(frames[0], sound) == .unsupportedCodec(.aac))
            var empty = frames[0]
            empty.payload = ByteBuffer()
            #expect(error(empty, track) == .decoding(.h264, code: -EINVAL))
            var noise = frames[0]
            noise.payload = ByteBuffer(bytes: (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            #expect(error(noise, track) != nil)
            #expect(error(frames[0], track, pixels: 100) != nil)
            var broken = track
            broken.configuration = ByteBuffer(bytes: [1, 2, 3])
            #expect(error(frames[0], broken) != nil)
            var cuts = 0
            for step in 0..<40 {
                var cut = frames[0]
                cut.payload =
                    cut.payload.getSlice(at: cut.payload.readerIndex, length: cut.payload.readableBytes * step / 40)
                    ?? ByteBuffer()
                if error(cut, track) != nil { cuts += 1 }
            }
            #expect(cuts == 40)
        }

        @Test("sizes keep the picture's shape, are even, and count the shape of its pixels")
        func sizes() {
            func size(_ width: Int, _ height: Int, _ aspect: (Int, Int), _ maximum: Int) -> [Int] {
                let size = PictureEncoder.size(width: width, height: height, pixelAspect: aspect, maximumWidth: maximum)
                return [size.width, size.height]
            }
            #expect(size(1920, 1080, (1, 1), 640) == [640, 360])
            #expect(size(320, 180, (0, 1), 640) == [320, 180])
            #expect(size(720, 576, (64, 45), 640) == [640, 360])
            #expect(size(1080, 1920, (1, 1), 640) == [640, 1138])
            #expect(size(321, 181, (1, 1), 641) == [322, 182] || size(321, 181, (1, 1), 641) == [320, 182])
            #expect(size(1, 1, (1, 1), 16) == [2, 2])
            #expect(size(8000, 2, (1, 1), 16) == [16, 2])
            #expect(size(2, 8000, (1, 1), 640) == [2, 8000])
            #expect(size(100, 100, (Int(Int32.max), 1), 640) == [640, 2])
        }

        @Test("the queue has a bound, what waits too long is not made, and closing answers all")
        func queue() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            var limits = SnapshotLimits()
            limits.maximumWaiting = 2
            limits.deadline = .milliseconds(500)
            let renderer = SnapshotRenderer(limits: limits, logger: Logger(label: "test"))
            let gate = DispatchSemaphore(value: 0)
            let results = Results()
            // Holds the only thread from within its completion.
            renderer.render(frames[0], of: track, as: SnapshotConfiguration()) { result in
                results.add("first", result)
                gate.wait()
            }
            try await Fixture.eventually("the first is made") { results.all["first"] != nil }
            for name in ["a", "b", "c"] {
                renderer.render(frames[0], of: track, as: SnapshotConfiguration()) { results.add(name, $0) }
            }
            #expect(results.all["c"] == .busy(waiting: 2))
            try await Task.sleep(for: .milliseconds(550))
            gate.signal()
            try await Fixture.eventually("all are answered") { results.all.count == 4 }
            #expect(results.all["first"] == .some(nil))
            #expect(results.all["a"] == .timedOut && results.all["b"] == .timedOut)
            #expect(renderer.counters.made == 1 && renderer.counters.failed == 2 && renderer.counters.waiting == 0)
            await renderer.close()
            renderer.render(frames[0], of: track, as: SnapshotConfiguration()) { results.add("late", $0) }
            #expect(results.all["late"] == .closed)
            await renderer.close()
        }

        @Test("the library's messages go to our log, and are few")
        func log() async throws {
            let folder = try TemporaryFolder()
            let (frames, track) = try Film.h264.keyframes(in: folder)
            let lines = LogKeeper.Lines()
            let renderer = SnapshotRenderer(logger: Logger(label: "test") { _ in LogKeeper(lines: lines) })
            var cut = frames[0]
            cut.payload = cut.payload.getSlice(at: cut.payload.readerIndex, length: 500) ?? ByteBuffer()
            for _ in 0..<20 { _ = try? SnapshotRenderer.picture(of: cut, track: track, as: SnapshotConfiguration()) }
            #expect((1...2).contains(lines.all.count), "\(lines.all)")
            #expect(lines.all.allSatisfy { $0.hasPrefix("libav: ") && $0.count > 10 })
            await renderer.close()
        }
    }
}

/// Answers by name: an error, or `nil` for a picture.
private final class Results: Sendable {
    private let results = Mutex<[String: SnapshotError?]>([:])

    var all: [String: SnapshotError?] { self.results.withLock { $0 } }

    func add(_ name: String, _ result: Result<ByteBuffer, SnapshotError>) {
        self.results.withLock { results in
            switch result {
            case .success: _ = results.updateValue(nil, forKey: name)
            case .failure(let error): _ = results.updateValue(error, forKey: name)
            }
        }
    }
}
