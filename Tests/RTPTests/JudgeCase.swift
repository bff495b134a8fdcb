import Foundation
import Media
import NIOCore
import RTP
import Testing

/// A stream that ffmpeg makes, and what becomes of it on its way through RTP.
struct JudgeCase: Sendable, CustomTestStringConvertible {
    var codec: Codec
    /// What makes the source.
    var arguments: [String]
    /// Of the file that holds it.
    var type: String
    var rtpmap: String
    var testDescription: String { self.codec.rawValue }

    private static let video = [
        "-f", "lavfi", "-i", "testsrc2=s=320x240:r=25", "-frames:v", "30", "-pix_fmt", "yuv420p",
    ]
    private static let audio = ["-f", "lavfi", "-i", "sine=r=48000:f=440", "-t", "1"]

    static let cases = [
        JudgeCase(
            codec: .h264,
            arguments: Self.video + ["-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "2", "-slices", "3"],
            type: "ts", rtpmap: "H264/90000"),
        JudgeCase(
            codec: .hevc,
            arguments: Self.video + [
                "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:keyint=12:scenecut=0",
            ],
            type: "ts", rtpmap: "H265/90000"),
        JudgeCase(
            codec: .vp8, arguments: Self.video + ["-c:v", "libvpx", "-deadline", "realtime", "-g", "12", "-b:v", "1M"],
            type: "webm", rtpmap: "VP8/90000"),
        JudgeCase(
            codec: .vp9,
            arguments: Self.video + [
                "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "12", "-b:v", "1M",
            ],
            type: "webm", rtpmap: "VP9/90000"),
        JudgeCase(codec: .opus, arguments: Self.audio + ["-c:a", "libopus"], type: "mka", rtpmap: "opus/48000/2"),
        JudgeCase(
            codec: .g711MuLaw, arguments: Self.audio + ["-ar", "8000", "-c:a", "pcm_mulaw"], type: "mka",
            rtpmap: "PCMU/8000"),
        JudgeCase(
            codec: .g711ALaw, arguments: Self.audio + ["-ar", "8000", "-c:a", "pcm_alaw"], type: "mka",
            rtpmap: "PCMA/8000"),
        JudgeCase(codec: .aac, arguments: Self.audio + ["-c:a", "aac"], type: "mp4", rtpmap: "MPEG4-GENERIC/48000/1"),
    ]

    private func source(in folder: URL) throws -> String {
        let file = folder.appendingPathComponent("source.\(self.type)").path
        _ = try Judge.run(self.arguments + [file], in: folder, name: "source")
        return file
    }

    /// The packets that ffmpeg sends of `file`, its RTCP among them, and its SDP.
    private func capture(file: String, in folder: URL) throws -> (datagrams: [ByteBuffer], sdp: String) {
        let socket = try LoopbackSocket()
        let sdp = try Judge.run(
            [
                "-i", file, "-c", "copy", "-f", "rtp", "-strict", "experimental",
                "rtp://127.0.0.1:\(socket.port)?rtcpport=\(socket.port)&pkt_size=1000",
            ], in: folder, name: "send")
        return (socket.receiveAll(), sdp)
    }

    /// The format that ffmpeg's SDP describes.
    private func format(sdp: String) throws -> RTPPayloadFormat {
        let parameters = sdp.split(whereSeparator: \.isNewline).first { $0.hasPrefix("a=fmtp:") }
            .map { String($0.drop { $0 != " " }) }
        let parts = self.rtpmap.split(separator: "/")
        let clockRate = try #require(Int(parts[1]))
        return try #require(
            RTPPayloadFormat(
                encodingName: String(parts[0]), clockRate: clockRate, channels: 1, formatParameters: parameters ?? ""))
    }

    /// Reads all RTP packets; checks that numbers follow each other and that every access unit is whole.
    private func accessUnits(_ datagrams: [ByteBuffer], format: RTPPayloadFormat) throws -> [RTPAccessUnit] {
        var reader = RTPPayloadReader(format: format)
        var units: [RTPAccessUnit] = []
        var last: UInt16?
        for datagram in datagrams {
            if RTPPacket.isRTCP(secondByte: datagram.getInteger(at: 1, as: UInt8.self) ?? 0) { continue }
            let packet = try RTPPacket(parsing: datagram)
            if let last { #expect(packet.header.sequenceNumber == last &+ 1) }
            last = packet.header.sequenceNumber
            reader.append(packet.payload, marker: packet.header.marker, timestamp: packet.header.timestamp)
            for output in reader.drain() { units.append(try #require(output.accessUnit, "\(output)")) }
        }
        return units
    }

    /// What ffmpeg sees in access units of ours: NAL units as a byte stream, decoded; of others each packet as it is.
    private func expectSame(_ units: [RTPAccessUnit], as file: String, in folder: URL) throws {
        if self.codec == .h264 || self.codec == .hevc {
            var stream = ByteBuffer()
            for unit in units {
                let sets = unit.parameterSets
                for nal in sets.video + sets.sequence + sets.picture
                    + Array(LengthPrefixedNALUnits(unit.payload, lengthSize: 4))
                {
                    stream.writeInteger(UInt32(1))
                    stream.writeImmutableBuffer(nal)
                }
            }
            let ours = folder.appendingPathComponent("ours.\(self.codec.rawValue)")
            try Data(stream.readableBytesView).write(to: ours)
            let decoded = try Judge.run(
                ["-i", ours.path, "-fps_mode", "passthrough", "-f", "framecrc", "-"], in: folder, name: "ours")
            let expected = try Judge.run(
                ["-i", file, "-fps_mode", "passthrough", "-f", "framecrc", "-"], in: folder, name: "expected")
            #expect(Judge.checksums(decoded) == Judge.checksums(expected))
            #expect(Judge.checksums(decoded).count == 30)
        } else if self.codec == .g711ALaw || self.codec == .g711MuLaw {
            let raw = folder.appendingPathComponent("raw")
            _ = try Judge.run(
                ["-i", file, "-c", "copy", "-f", self.codec == .g711ALaw ? "alaw" : "mulaw", raw.path], in: folder,
                name: "raw")
            let all = units.reduce(into: ByteBuffer()) { $0.writeImmutableBuffer($1.payload) }
            #expect(all == ByteBuffer(bytes: try Data(contentsOf: raw)))
            #expect(all.readableBytes == 8000)
        } else {
            let copied = try Judge.run(["-i", file, "-c", "copy", "-f", "framecrc", "-"], in: folder, name: "copied")
            self.expectSame(units.map { Judge.checksum($0.payload) }, Judge.checksums(copied))
        }
    }

    /// ffmpeg keeps the last few access units of AAC to itself, which would share a packet with the next.
    private func expectSame(_ found: [String], _ expected: [String]) {
        let missing = expected.count - found.count
        #expect(found == Array(expected.prefix(found.count)))
        #expect((0...(self.codec == .aac ? 4 : 0)).contains(missing))
    }

    /// What ffmpeg sends is read back to what it was made from; what we send is received by ffmpeg as the same.
    func expectReadingAndSending() throws {
        let folder = try Judge.folder()
        defer { try? FileManager.default.removeItem(at: folder) }
        let file = try self.source(in: folder)
        let (datagrams, sdp) = try self.capture(file: file, in: folder)
        let format = try self.format(sdp: sdp)
        #expect(format.codec == self.codec)
        let units = try self.accessUnits(datagrams, format: format)
        try self.expectSame(units, as: file, in: folder)
        if self.codec.kind == .video { #expect(units.filter(\.isKeyframe).count == 3) }
        if self.codec == .vp8 || self.codec == .vp9 {
            #expect(units.first?.pictureSize == RTPPictureSize(width: 320, height: 240))
        }
        try self.expectReports(in: datagrams)
        try self.expectReceived(units, of: file, format: format, sdp: sdp, in: folder)
    }

    /// ffmpeg's sender reports are read.
    private func expectReports(in datagrams: [ByteBuffer]) throws {
        let compounds = try datagrams.filter { RTPPacket.isRTCP(secondByte: $0.getInteger(at: 1, as: UInt8.self) ?? 0) }
            .map { try RTCPPacket.parseCompound($0) }
        let packets = compounds.flatMap { $0 }
        #expect(packets.contains { if case .senderReport = $0 { true } else { false } })
        #expect(!packets.contains { if case .malformed = $0 { true } else { false } })
    }

    private func expectReceived(
        _ units: [RTPAccessUnit], of file: String, format: RTPPayloadFormat, sdp: String, in folder: URL
    ) throws {
        let port = try LoopbackSocket.freePortPair()
        let fmtp = sdp.split(whereSeparator: \.isNewline).first { $0.hasPrefix("a=fmtp:") }.map {
            "a=fmtp:96" + $0.drop { $0 != " " } + "\n"
        }
        let description = folder.appendingPathComponent("ours.sdp")
        try Data(
            """
            v=0
            o=- 0 0 IN IP4 127.0.0.1
            s=-
            c=IN IP4 127.0.0.1
            t=0 0
            m=\(self.codec.kind.rawValue) \(port) RTP/AVP 96
            a=rtpmap:96 \(self.rtpmap)

            """.utf8
        ).write(to: description)
        if let fmtp {
            let handle = try FileHandle(forWritingTo: description)
            try handle.seekToEnd()
            try handle.write(contentsOf: Data(fmtp.utf8))
            try handle.close()
        }
        let isDecoded = self.codec.kind == .video
        let receiver = try Judge.start(
            [
                "-protocol_whitelist", "file,udp,rtp", "-buffer_size", "4000000", "-max_delay", "0",
                "-i", description.path,
            ] + (isDecoded ? ["-fps_mode", "passthrough"] : ["-c", "copy"]) + ["-f", "framecrc", "-"],
            in: folder, name: "received")
        try self.waitUntilBound(port + 1, receiver, in: folder)
        try self.send(units, format: format, to: port)
        let received = Judge.checksums(try Judge.finish(receiver, in: folder, name: "received"))
        let expected = Judge.checksums(
            try Judge.run(
                ["-i", file] + (isDecoded ? ["-fps_mode", "passthrough"] : ["-c", "copy"]) + ["-f", "framecrc", "-"],
                in: folder, name: "expected"
            ))
        if self.codec == .g711ALaw || self.codec == .g711MuLaw {
            func sum(_ lines: [String]) -> Int { lines.reduce(0) { $0 + (Int($1.prefix { $0 != " " }) ?? 0) } }
            #expect(sum(received) == sum(expected))
        } else {
            self.expectSame(received, expected)
            #expect(isDecoded || received.count == units.count)
        }
    }

    /// Sends access units as a sender of ours would, and says goodbye.
    private func send(_ units: [RTPAccessUnit], format: RTPPayloadFormat, to port: UInt16) throws {
        let socket = try LoopbackSocket()
        let writer = RTPPayloadWriter(format: format, maximumPayload: 1100)
        // Numbers wrap on the way.
        var sequence: UInt16 = 0xFFF0
        for unit in units {
            let sets = unit.parameterSets
            let payloads = try writer.payloads(
                of: unit.payload, isKeyframe: unit.isKeyframe, parameterSets: sets.video + sets.sequence + sets.picture)
            for index in payloads.ranges.indices {
                let header = RTPHeader(
                    marker: payloads.hasMarker(at: index), payloadType: 96, sequenceNumber: sequence,
                    timestamp: unit.timestamp &+ payloads.timestampStep &* UInt32(index), ssrc: 0x1234_5678)
                sequence &+= 1
                let packet = RTPPacket(header: header, payload: payloads.payload(at: index))
                try socket.send(written { packet.write(into: &$0) }, to: port)
            }
        }
        try self.waitUntilRead(port)
        let report = RTCPSenderReport(
            ssrc: 0x1234_5678, ntpTime: NTPTime(unixNanoseconds: 1_700_000_000_000_000_000),
            rtpTimestamp: units.last?.timestamp ?? 0, packetCount: 1, octetCount: 1)
        try socket.send(
            written {
                RTCPPacket.senderReport(report).write(into: &$0)
                RTCPPacket.sourceDescription(RTCPSourceDescription(ssrc: 0x1234_5678, cname: "weir")).write(into: &$0)
                RTCPPacket.goodbye(RTCPGoodbye(ssrcs: [0x1234_5678])).write(into: &$0)
            }, to: port + 1)
    }

    /// The kernel lists who listens where: waits until someone does.
    private func waitUntilBound(_ port: UInt16, _ process: Process, in folder: URL) throws {
        while try self.waitingBytes(port) == nil {
            guard process.isRunning else {
                _ = try Judge.finish(process, in: folder, name: "received")
                throw Judge.Failure(description: "the receiver ended with nothing to say")
            }
            usleep(5000)
        }
    }

    /// Waits until the receiver took all packets: a goodbye that overtakes them ends it.
    private func waitUntilRead(_ port: UInt16) throws {
        while let bytes = try self.waitingBytes(port), bytes > 0 { usleep(5000) }
    }

    /// Bytes that wait in the socket that is bound to `port`; `nil` when there is none.
    private func waitingBytes(_ port: UInt16) throws -> Int? {
        let digits = String(port, radix: 16, uppercase: true)
        let suffix = ":" + String(repeating: "0", count: 4 - digits.count) + digits
        for line in try String(contentsOfFile: "/proc/net/udp", encoding: .utf8).split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 4, fields[1].hasSuffix(suffix) else { continue }
            return fields[4].split(separator: ":").last.flatMap { Int($0, radix: 16) }
        }
        return nil
    }
}
