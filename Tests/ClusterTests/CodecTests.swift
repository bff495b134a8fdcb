import Foundation
import Testing

extension ClusterTests {
    @Suite struct CodecTests {
        struct Case: CustomTestStringConvertible, Sendable {
            let video: [String]
            let audio: [String]
            let codecs: [String]

            var testDescription: String { self.codecs.joined(separator: " + ") }
        }

        static let cases = [
            Case(
                video: [
                    "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=50:bframes=2",
                ],
                audio: ["-c:a", "libopus"], codecs: ["hevc", "opus"]),
            Case(
                video: ["-c:v", "libsvtav1", "-preset", "12", "-g", "50"], audio: ["-c:a", "ac3"],
                codecs: ["av1", "ac3"]),
            Case(
                video: ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50"],
                audio: ["-c:a", "flac"], codecs: ["vp9", "flac"]),
            Case(
                video: ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50"], audio: ["-c:a", "libmp3lame"],
                codecs: ["h264", "mp3"]),
        ]

        @Test("a new ffmpeg publishes by enhanced RTMP, and gets the same packets from an edge", arguments: cases)
        func enhanced(_ codecs: Case) async throws {
            try await Sandbox.run { sandbox in
                let ffmpeg = try Tools.newFFmpeg
                let source = sandbox.file("source.flv")
                _ = try await sandbox.run(
                    ffmpeg,
                    Media.quiet + [
                        "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi",
                        "-i", "sine=sample_rate=48000", "-t", "24", "-pix_fmt", "yuv420p", "-ac", "2",
                    ] + codecs.video + codecs.audio + ["-f", "flv", source.path], within: .seconds(60))
                let cluster = try await Cluster(sandbox)
                let origin = try await cluster.origin()
                // These players do not say that they know more than AAC, though this one does.
                let edge = try await cluster.edge("edge", ["stream.audio.live": "source"])
                _ = try Media.publish(sandbox, source, to: origin.rtmp("live/one"), ffmpeg: ffmpeg)
                let stream = try await origin.isLive("live/one")
                try #require(stream.tracks.map(\.codec) == codecs.codecs)
                let recordings = [
                    try Media.record(sandbox, edge.rtmp("live/one"), to: "rtmp.flv", ffmpeg: ffmpeg),
                    try Media.download(sandbox, edge.flv("live/one"), to: "http.flv"),
                ]
                for recording in recordings { try await recording.grows(beyond: 50_000) }
                try await Task.sleep(for: .seconds(3))
                for recording in recordings { try await recording.stop() }
                // Temporal delimiters, which ffmpeg writes against the specification, are not passed on.
                let filter = codecs.codecs[0] == "av1" ? ["-bsf:v", "filter_units=remove_types=2"] : []
                let packets = try await Media.packets(sandbox, source, ffmpeg: ffmpeg, options: filter)
                let pictures = Set(try await Self.decode(sandbox, source).map(\.hash))
                for recording in recordings {
                    let found = try await Media.packets(sandbox, recording.file, ffmpeg: ffmpeg)
                    try #require(found.filter { $0.stream == 0 }.count > 50)
                    let difference = Media.difference(found, packets, streams: [0, 1], isPart: true)
                    try #require(difference == nil, "\(recording.child.name)")
                    let decoded = try await Self.decode(sandbox, recording.file)
                    try #require(decoded.count > 50, "\(recording.child.name)")
                    try #require(
                        decoded.dropLast(3).allSatisfy { pictures.contains($0.hash) }, "\(recording.child.name)")
                }
            }
        }

        /// The new ffmpeg knows enhanced FLV but has no decoder for AV1; Debian's is the other way round.
        private static func decode(_ sandbox: Sandbox, _ file: URL) async throws -> [Media.Unit] {
            let copy = file.appendingPathExtension("mkv")
            _ = try await sandbox.run(
                try Tools.newFFmpeg, Media.quiet + ["-i", file.path, "-map", "0:v", "-c", "copy", "-y", copy.path])
            return try await Media.pictures(sandbox, copy)
        }

        @Test("HEVC by the older codec id 12 comes out with that id, or enhanced where that is set")
        func legacyHEVC() async throws {
            try await Sandbox.run { sandbox in
                let ffmpeg = try Tools.newFFmpeg
                let enhanced = sandbox.file("enhanced.flv")
                _ = try await sandbox.run(
                    ffmpeg,
                    Media.quiet + [
                        "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-t", "15", "-pix_fmt", "yuv420p",
                        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                        "log-level=error:keyint=50:bframes=2",
                        "-f", "flv", enhanced.path,
                    ], within: .seconds(60))
                let legacy = sandbox.file("legacy.flv")
                try FLVRewriter.legacyHEVC(try Data(contentsOf: enhanced)).write(to: legacy)
                let origin = try await Cluster.node("origin", role: "origin", [:], sandbox)
                let other = try await Cluster.node(
                    "edge", role: "edge",
                    ["cluster.origins": "127.0.0.1:\(origin.rtmpPort)", "stream.flv.hevc": "enhanced"], sandbox)
                // No ffmpeg sends such tags as they are.
                _ = try sandbox.start(
                    "publisher", try Tools.command("python3"),
                    [try sandbox.write("send.py", FLVRewriter.sender).path, legacy.path, "\(origin.rtmpPort)"])
                let stream = try await origin.isLive("live/one")
                try #require(stream.tracks.map(\.codec) == ["hevc"])
                let asPublished = try Media.download(sandbox, origin.flv("live/one"), to: "legacy-out.flv")
                let rewritten = try Media.download(sandbox, other.flv("live/one"), to: "enhanced-out.flv")
                try await asPublished.grows(beyond: 60_000)
                try await rewritten.grows(beyond: 60_000)
                try await asPublished.stop()
                try await rewritten.stop()
                let first = try FLVRewriter.videoTags(try Data(contentsOf: asPublished.file))
                try #require(first.count > 20)
                try #require(first.allSatisfy { $0.first.map { $0 & 0x8F == 12 } ?? false })
                let packets = try await Media.packets(sandbox, enhanced, ffmpeg: ffmpeg, map: ["0:v"])
                let found = try await Media.packets(sandbox, rewritten.file, ffmpeg: ffmpeg, map: ["0:v"])
                let difference = Media.difference(found, packets, streams: [0], isPart: true)
                try #require(difference == nil)
            }
        }
    }
}

/// Turns enhanced HEVC tags into those with codec id 12.
enum FLVRewriter {
    /// The bodies of all whole video tags.
    static func videoTags(_ file: Data) throws -> [[UInt8]] {
        try self.tags(Array(file)).filter { $0.type == 9 }.map(\.body)
    }

    private struct Tag {
        let type: UInt8
        let time: [UInt8]
        let body: [UInt8]
    }

    private static func tags(_ bytes: [UInt8]) throws -> [Tag] {
        guard bytes.count > 13, bytes.starts(with: Array("FLV".utf8)) else { throw Failure("no FLV header") }
        var tags: [Tag] = []
        var offset = 13
        while offset + 11 <= bytes.count {
            let size = Int(bytes[offset + 1]) << 16 | Int(bytes[offset + 2]) << 8 | Int(bytes[offset + 3])
            guard offset + 15 + size <= bytes.count else { break }
            tags.append(
                Tag(
                    type: bytes[offset], time: Array(bytes[offset + 4..<offset + 8]),
                    body: Array(bytes[offset + 11..<offset + 11 + size])))
            offset += 15 + size
        }
        return tags
    }

    static func legacyHEVC(_ file: Data) throws -> Data {
        var output = Array("FLV".utf8) + [1, 1, 0, 0, 0, 9, 0, 0, 0, 0]
        for tag in try self.tags(Array(file)) where tag.type == 9 {
            guard let first = tag.body.first, first & 0x80 != 0, tag.body.count >= 5 else { continue }
            let frame = first & 0x70
            let rest = Array(tag.body.dropFirst(5))
            let body: [UInt8]
            switch first & 0x0F {
            case 0: body = [frame | 12, 0, 0, 0, 0] + rest  // SequenceStart
            case 1: body = [frame | 12, 1] + rest  // CodedFrames, which has a composition time
            case 3: body = [frame | 12, 1, 0, 0, 0] + rest  // CodedFramesX, which has none
            default: continue
            }
            let size = [UInt8(body.count >> 16 & 0xFF), UInt8(body.count >> 8 & 0xFF), UInt8(body.count & 0xFF)]
            let whole = UInt32(body.count + 11)
            output += [9] + size + tag.time + [0, 0, 0] + body
            output += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: whole >> $0) }
        }
        return Data(output)
    }

    /// Publishes the tags of a file as `live/one`, unchanged and at the pace of their times.
    static let sender = """
        import socket, struct, sys, threading, time

        path, port = sys.argv[1:]
        data = open(path, "rb").read()
        peer = socket.create_connection(("127.0.0.1", int(port)))

        def amf(*values):
            body = b""
            for value in values:
                if value is None:
                    body += b"\\x05"
                elif isinstance(value, str):
                    body += b"\\x02" + struct.pack(">H", len(value)) + value.encode()
                elif isinstance(value, dict):
                    body += b"\\x03"
                    for name, item in value.items():
                        body += struct.pack(">H", len(name)) + name.encode() + amf(item)
                    body += b"\\x00\\x00\\x09"
                else:
                    body += b"\\x00" + struct.pack(">d", value)
            return body

        def send(kind, stream, body, millis=0):
            header = bytes([4]) + millis.to_bytes(3, "big") + len(body).to_bytes(3, "big") + bytes([kind])
            peer.sendall(header + struct.pack("<I", stream) + body)

        def discard():
            while peer.recv(65536):
                pass

        peer.sendall(b"\\x03" + bytes(1536))
        answer = b""
        while len(answer) < 3073:
            answer += peer.recv(3073 - len(answer))
        peer.sendall(answer[1:1537])
        threading.Thread(target=discard, daemon=True).start()
        send(1, 0, struct.pack(">I", 65536))
        send(20, 0, amf("connect", 1, {"app": "live", "tcUrl": f"rtmp://127.0.0.1:{port}/live"}))
        time.sleep(0.3)
        send(20, 0, amf("createStream", 2, None))
        time.sleep(0.3)
        send(20, 1, amf("publish", 3, None, "one", "live"))
        time.sleep(0.3)
        offset, start = 13, time.monotonic()
        while offset + 11 <= len(data):
            size = int.from_bytes(data[offset + 1:offset + 4], "big")
            millis = int.from_bytes(bytes([data[offset + 7]]) + data[offset + 4:offset + 7], "big")
            time.sleep(max(0, start + millis / 1000 - time.monotonic()))
            send(data[offset], 1, data[offset + 11:offset + 11 + size], millis)
            offset += 15 + size
        """
}
