import MPEGTS
import Media
import NIOCore
import StreamHub
import Streaming
import TestSupport
import Testing

@testable import HTTPMedia

struct TransportStreamTests {
    private static let aac = Track(
        codec: .aac, configuration: ByteBuffer(bytes: [0x11, 0x90]),
        format: .audio(AudioFormat(sampleRate: 48_000, channels: 2)))
    private static let mp3 = Track(
        codec: .mp3, configuration: nil, format: .audio(AudioFormat(sampleRate: 44_100, channels: 2)))

    private static func audio(_ number: Int, codec: Codec = .aac) -> Frame {
        let time = MediaTime(ticks: Int64(number) * 1920)
        return Frame(
            codec: codec, dts: time, pts: time, isKeyframe: true,
            payload: ByteBuffer(repeating: UInt8(truncatingIfNeeded: number), count: 30))
    }

    /// A picture that looks like one.
    private static func picture(_ number: Int) -> Frame {
        var frame = Fixture.frame(number)
        frame.payload = ByteBuffer(bytes: [0, 0, 0, 8, number % 25 == 0 ? 0x65 : 0x41, 0x88, 1, 2, 3, 4, 5, 0x80])
        frame.payload.setInteger(UInt8(truncatingIfNeeded: number) | 1, at: 8)
        return frame
    }

    private static func frames(in bytes: ByteBuffer) -> [Frame] {
        var demuxer = TSDemuxer()
        demuxer.receive(bytes)
        var frames: [Frame] = []
        while let output = demuxer.nextOutput() {
            if case .event(.frame(let frame), _) = output { frames.append(frame) }
            if case .problem(let problem) = output { Issue.record("\(problem)") }
        }
        return frames
    }

    @Test("A viewer gets whole packets of a transport stream from the last keyframe on, in chunks")
    func playsTS() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish([Fixture.track, Self.aac])
            try await fixture.onHome { $0.receive((0..<5).map { .frame(Self.picture($0)) }, from: 1) }
            let client = try await fixture.client()
            try await client.get("/live/demo.ts")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head["content-type"] == "video/mp2t")
            #expect(head["transfer-encoding"] == "chunked")
            #expect(head["access-control-allow-origin"] == nil)
            for number in 5..<40 {
                try await fixture.onHome {
                    $0.receive([.frame(Self.audio(number)), .frame(Self.picture(number))], from: 1)
                }
            }
            var bytes = ByteBuffer()
            while Self.frames(in: bytes).count(where: { $0.kind == .video }) < 35 {
                let chunk = try await client.chunk()
                #expect(chunk.readableBytes % 188 == 0)
                bytes.writeImmutableBuffer(chunk)
                if chunk.readableBytes == 0 { break }
            }
            let frames = Self.frames(in: bytes)
            #expect(frames.first?.isKeyframe == true)
            let pictures = frames.filter { $0.kind == .video }.map(\.payload)
            #expect(Array(pictures.prefix(35)) == (0..<35).map { Self.picture($0).payload })
            #expect(fixture.gate.peers.map(\.transport) == ["http-ts"])
            #expect(fixture.gate.peers.first?.client.tcURL.hasSuffix("/live/demo.ts") == true)
        }
    }

    @Test("A listener gets AAC as ADTS, and MP3 as it is")
    func playsAudio() async throws {
        for (track, path, type) in [(Self.aac, "aac", "audio/aac"), (Self.mp3, "mp3", "audio/mpeg")] {
            try await Fixture.run { fixture in
                try await fixture.publish([Fixture.track, track])
                let client = try await fixture.client()
                try await client.get("/live/demo.\(path)", headers: "Origin: https://page.example\r\n")
                let head = try await client.head()
                #expect(head.status == 200)
                #expect(head["content-type"] == type)
                #expect(head["access-control-allow-origin"] == "*")
                try await eventually("a listener") { try await fixture.onHome { $0.viewerCount } == 1 }
                for number in 0..<10 {
                    try await fixture.onHome { $0.receive([.frame(Self.audio(number, codec: track.codec))], from: 1) }
                }
                let length = path == "aac" ? 37 : 30
                var bytes = try await client.chunks(length * 10)
                for number in 0..<10 {
                    if path == "aac" { #expect(bytes.readBytes(length: 7)?.prefix(2) == [0xFF, 0xF1]) }
                    let frame = bytes.readSlice(length: 30)
                    #expect(frame == Self.audio(number).payload)
                }
            }
        }
    }

    @Test("A listener who asks for what the stream's audio is not is told so")
    func otherAudio() async throws {
        try await Fixture.run { fixture in
            try await fixture.publish([Self.aac])
            let client = try await fixture.client()
            try await client.get("/live/demo.mp3")
            let (head, body) = try await client.response()
            #expect(head.status == 404)
            #expect(body.contains("the stream's audio is aac, which .mp3 cannot carry"))
            // The connection goes on.
            try await client.get("/live/demo.aac", "HEAD")
            let next = try await client.head()
            #expect(next.status == 200)
            #expect(next["content-type"] == "audio/aac")
        }
    }

    @Test("A stream that has video and no audio has nothing for listeners", arguments: ["aac", "mp3"])
    func noAudio(format: String) async throws {
        var configuration = MediaHTTPConfiguration()
        configuration.audioWait = .milliseconds(50)
        try await Fixture.run(configuration: configuration) { fixture in
            try await fixture.publish([Fixture.track])
            try await Task.sleep(for: .milliseconds(60))
            let client = try await fixture.client()
            try await client.get("/live/demo.\(format)")
            let (head, body) = try await client.response()
            #expect(head.status == 404)
            #expect(body.contains("the stream has no audio"))
        }
    }

    @Test("A viewer whose format carries nothing of the media that comes is ended, and one who gets some is not")
    func nothing() async throws {
        var configuration = MediaHTTPConfiguration()
        configuration.emptyTimeout = .milliseconds(300)
        try await Fixture.run(configuration: configuration) { fixture in
            try await fixture.publish([Fixture.track])
            let listener = try await fixture.client()
            try await listener.get("/live/demo.aac")
            #expect(try await listener.head().status == 200)
            let viewer = try await fixture.client()
            try await viewer.get("/live/demo.ts")
            #expect(try await viewer.head().status == 200)
            for number in 0..<60 {
                try await fixture.onHome { $0.receive([.frame(Self.picture(number))], from: 1) }
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(try await listener.chunk().readableBytes == 0)
            #expect(try await fixture.onHome { $0.viewerCount } == 1)
            #expect(try await viewer.chunk().readableBytes > 0)
        }
    }

    @Test("HEAD, OPTIONS and methods that a stream does not have are answered", arguments: ["flv", "ts", "aac", "mp3"])
    func methods(format: String) async throws {
        try await Fixture.run { fixture in
            try await fixture.publish([Fixture.track, Self.aac])
            let client = try await fixture.client()
            try await client.get("/live/demo.\(format)", "OPTIONS")
            let options = try await client.head()
            #expect(options.status == 204)
            #expect(options["allow"] == (format == "flv" ? "GET, HEAD, OPTIONS, POST, PUT" : "GET, HEAD, OPTIONS"))
            try await client.get("/live/demo.\(format)", "DELETE")
            #expect(try await client.response().head.status == 405)
            if format != "flv" {
                try await client.get("/live/demo.\(format)", "POST")
                #expect(try await client.response().head.status == 405)
            }
            try await client.get("/live/demo.\(format)", "HEAD")
            #expect(try await client.head().status == 200)
            try await client.get("/live/missing.\(format)")
            #expect(try await client.response().head.status == 404)
        }
    }
}
