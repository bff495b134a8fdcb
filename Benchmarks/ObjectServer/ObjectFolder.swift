import Foundation
import Media
import MediaObjects
import NIOCore
import NIOPosix
import Synchronization

/// The objects of a folder, made when the server starts.
final class ObjectFolder: MediaObjectSource {
    private let objects: [MediaObjectRequest: MediaObject]
    private let waiting = Mutex<[ObjectIdentifier: [EventLoopPromise<MediaObjectAnswer>]]>([:])

    init(_ root: URL, fromDisk: Bool, tick: TimeAmount, group: any EventLoopGroup) throws {
        var objects: [MediaObjectRequest: MediaObject] = [:]
        let paths = try FileManager.default.subpathsOfDirectory(atPath: root.path)
        for path in paths {
            var parts = path.split(separator: "/").map(String.init)
            guard let file = parts.popLast(), parts.count >= 2, let name = MediaObjectName(fileName: file) else {
                continue
            }
            let stream = parts.removeLast()
            let key = try StreamKey(app: parts.joined(separator: "/"), name: stream)
            objects[MediaObjectRequest(key: key, name: name)] = try Self.object(
                name, at: root.appending(path: path), fromDisk: fromDisk)
        }
        self.objects = objects
        for loop in group.makeIterator() {
            loop.scheduleRepeatedTask(initialDelay: tick, delay: tick) { _ in self.release(on: loop) }
        }
    }

    private static func object(_ name: MediaObjectName, at url: URL, fromDisk: Bool) throws -> MediaObject {
        let bytes = ByteBuffer(bytes: try Data(contentsOf: url))
        let isPlaylist = if case .playlist = name { true } else { false }
        let body: MediaObject.Body =
            fromDisk ? .file(path: url.path, count: Int64(bytes.readableBytes)) : .bytes(bytes)
        return MediaObject(
            body: body, gzip: isPlaylist ? Gzip.compress(bytes) : nil,
            contentType: isPlaylist ? MediaObject.ContentType.hls : MediaObject.ContentType.segment,
            etag: "\(bytes.hashValue)", lifetime: isPlaylist ? .seconds(1) : .immutable)
    }

    func reply(to request: MediaObjectRequest, on loop: any EventLoop) -> MediaObjectReply {
        if request.query.isBlocking {
            let promise = loop.makePromise(of: MediaObjectAnswer.self)
            self.waiting.withLock { $0[ObjectIdentifier(loop), default: []].append(promise) }
            return .later(promise.futureResult)
        }
        guard let object = self.objects[request] else { return .now(.notFound("no such file")) }
        return .now(.object(object))
    }

    /// Answers all who wait on `loop`, with the time of it in nanoseconds of the monotonic clock.
    private func release(on loop: any EventLoop) {
        let promises = self.waiting.withLock { $0.removeValue(forKey: ObjectIdentifier(loop)) } ?? []
        guard !promises.isEmpty else { return }
        let begin = NIODeadline.now()
        let cpuBegin = Self.threadMicros
        let text = "#EXTM3U\n#TIME:\(begin.uptimeNanoseconds)\n"
        let padding = String(repeating: "#EXT-X-PART:DURATION=0.2,URI=\"_video-1-1.1.m4s\"\n", count: 40)
        let object = MediaObject(
            body: .bytes(ByteBuffer(string: text + padding)), contentType: MediaObject.ContentType.hls, etag: "t",
            lifetime: .seconds(1))
        for promise in promises { promise.succeed(.object(object)) }
        // Each answer was given to the kernel before its promise came back.
        let micros = (NIODeadline.now() - begin).nanoseconds / 1_000
        let line = "released \(promises.count) in \(micros) us, \(Self.threadMicros - cpuBegin) us of CPU\n"
        FileHandle.standardOutput.write(Data(line.utf8))
    }

    /// What this thread has had of a CPU.
    private static var threadMicros: Int {
        var time = timespec()
        guard unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0 else { return 0 }
        return time.tv_sec * 1_000_000 + time.tv_nsec / 1_000
    }
}
