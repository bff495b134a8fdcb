import Media
import Testing

@testable import MediaObjects

@Suite("MediaObjectName")
struct MediaObjectNameTests {
    private static let names: [(MediaObjectName, String)] = [
        (.info, "_info.json"), (.playlist(.video), "_video.m3u8"), (.playlist(.audio), "_audio.m3u8"),
        (.playlist(.main), "_main.m3u8"), (.initialization(.video, epoch: 7, index: 0), "_video-7-init0.mp4"),
        (.segment(.audio, epoch: 7, sequence: 42), "_audio-7-42.m4s"),
        (.segment(.main, epoch: 7, sequence: 42), "_main-7-42.ts"),
        (.part(.video, epoch: .max, sequence: 42, part: 3), "_video-18446744073709551615-42.3.m4s"),
        (.key(epoch: 7, index: 2), "_key-7-2.key"), (.recording(.playlist(from: 0, to: 1_000)), "_rec-0-1000.m3u8"),
        (.recording(.file(from: 5, to: 6)), "_rec-5-6.mp4"),
        (.recording(.initialization(recording: "ab12")), "_rec-ab12-init.mp4"),
        (.recording(.segment(recording: "ab12", first: 3, count: 2)), "_rec-ab12-3-2.m4s"),
    ]

    @Test("names are read as they are written")
    func roundTrip() {
        for (name, text) in Self.names {
            #expect(name.fileName == text)
            #expect(MediaObjectName(fileName: text) == name)
        }
    }

    @Test(
        "what is no name is none, and there is one spelling for each",
        arguments: [
            "", "_", "video.m3u8", "_video", "_video.m3u", "_Video.m3u8", "_video-1.m4s", "_video-01-1.m4s",
            "_video-1-01.m4s", "_video-1-1.ts", "_main-1-1.m4s", "_video-1-1.m4s.m4s", "_video-1-1.01.m4s",
            "_video-1-1.-1.m4s", "_video-1-+1.m4s", "_video-1-init.mp4", "_video-1-init00.mp4", "_video-1-1-1.m4s",
            "_video-18446744073709551616-1.m4s", "_key-1-1.bin", "_key-1.key", "_rec-5-5.mp4", "_rec-6-5.m3u8",
            "_rec--1-5.mp4", "_rec-a b-init.mp4", "_rec-AB-init.mp4", "_rec-ab-0-0.m4s", "_rec-ab-0-10001.m4s",
            "_rec-0-253402300800000.mp4", "_info.json.gz", "_../x",
        ])
    func others(text: String) {
        #expect(MediaObjectName(fileName: text) == nil)
    }

    @Test("a recording's segment that begins beyond any recording is no name")
    func hostileSegment() {
        #expect(MediaObjectName(fileName: "_rec-abc-\(Int.max)-1.m4s") == nil)
        #expect(MediaObjectName(fileName: "_rec-abc-\(Int32.max)-1.m4s") != nil)
        #expect(MediaObjectName(fileName: "_rec-abc-0-\(Int.max).m4s") == nil)
    }

    @Test("a path is that of the stream, or lies in its folder")
    func paths() throws {
        let key = try StreamKey(app: "a/b", name: "game")
        #expect(MediaObjectName.multivariant.path(of: key) == "/a/b/game.m3u8")
        #expect(MediaObjectName.snapshot.path(of: key) == "/a/b/game.jpg")
        #expect(MediaObjectName.playlist(.audio).path(of: key) == "/a/b/game/_audio.m3u8")
    }

    @Test("requests are equal whatever their hops")
    func hops() throws {
        let key = try StreamKey(app: "live", name: "game")
        let near = MediaObjectRequest(key: key, name: .info)
        let far = MediaObjectRequest(key: key, name: .info, hops: 3)
        #expect(near == far)
        #expect(Set([near, far]).count == 1)
        #expect(near != MediaObjectRequest(key: key, name: .manifest))
    }

    @Test("what serving made of an object is made at the second use, once, and shared by copies")
    func servingCache() throws {
        let cache = ServingCache()
        var made = 0
        func use() -> String? {
            cache.value(of: String.self) {
                made += 1
                return "made"
            }
        }
        #expect(use() == nil)
        #expect(use() == "made")
        #expect(use() == "made")
        #expect(made == 1)
        #expect(cache.value(of: Int.self) { 1 } == nil)
    }
}
