import Media
import NIOCore
import RTP
import TestSupport
import Testing

@testable import GB28181

/// Packets of a camera's stream.
private func packets(_ frames: Int, sequence: UInt16 = 0, from start: Int64 = 90_000, keyLength: Int = 3_000)
    -> [ByteBuffer]
{
    var next = sequence
    return ProgramStreamWriter.camera(frames, from: start, keyLength: keyLength).flatMap { pack -> [ByteBuffer] in
        var rest = pack
        var packets: [ByteBuffer] = []
        while let piece = rest.readSlice(length: min(1_000, rest.readableBytes)), piece.readableBytes > 0 {
            var packet = ByteBuffer()
            RTPHeader(
                marker: rest.readableBytes == 0, payloadType: 96, sequenceNumber: next, timestamp: 0, ssrc: 7
            ).write(into: &packet)
            packet.writeImmutableBuffer(piece)
            packets.append(packet)
            next &+= 1
        }
        return packets
    }
}

private struct Line {
    var media = DeviceMedia()
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    var events: [MediaEvent] = []

    mutating func receive(_ packets: some Sequence<ByteBuffer>) {
        for packet in packets {
            self.now = self.now + .milliseconds(1)
            self.events += self.media.receive(packet, now: self.now)
        }
    }

    mutating func finish() { self.events += self.media.finish(now: self.now) }

    var video: [Frame] {
        self.events.compactMap { if case .frame(let frame) = $0, frame.kind == .video { frame } else { nil } }
    }
    var audio: Int { self.events.count { if case .frame(let frame) = $0 { frame.kind == .audio } else { false } } }
}

@Suite struct DeviceMediaTests {
    @Test("packets in order become frames")
    func inOrder() {
        var line = Line()
        line.receive(packets(25))
        line.finish()
        #expect(line.video.count == 25)
        #expect(line.audio == 25)
        #expect(line.media.statistics.lost == 0)
        #expect(line.media.lastMedia == line.now)
    }

    @Test(
        "packets that overtake each other or come twice are put in order, over the wrap of their numbers",
        arguments: [0, 65_500, 65_535])
    func reordered(first: Int) {
        var sent = packets(40, sequence: UInt16(first))
        for index in stride(from: 2, to: sent.count - 3, by: 5) { sent.swapAt(index, index + 3) }
        for index in stride(from: 2, to: sent.count, by: 9) { sent.insert(sent[index], at: index) }
        var line = Line()
        line.receive(sent)
        line.finish()
        #expect(line.video.count == 40)
        #expect(line.media.statistics.lost == 0)
        #expect(line.media.statistics.late + line.media.statistics.duplicates > 0)
    }

    @Test("after a loss no picture comes before the next key frame, and audio goes on")
    func loss() {
        var sent = packets(40)
        sent.remove(at: 7)
        var line = Line()
        line.receive(sent)
        line.now = line.now + .seconds(1)
        line.events += line.media.deadlineReached(now: line.now)
        line.finish()
        let times = line.video.map(\.dts.ticks)
        let gap = zip(times, times.dropFirst()).filter { $1 - $0 != 3_600 }
        #expect(gap.count == 1)
        let resumed = line.video.first { $0.dts.ticks == gap.first?.1 }
        #expect(resumed?.isKeyframe == true)
        #expect(line.media.statistics.lost == 1)
        #expect(line.media.statistics.droppedVideoFrames > 0)
        #expect(line.audio >= 38)
    }

    @Test("a packet waits for one before it for a bounded time only")
    func deadline() {
        var line = Line()
        let sent = packets(3)
        line.receive(sent[0..<2])
        #expect(line.media.nextDeadline == nil)
        line.receive([sent[3]])
        #expect(line.media.nextDeadline == line.now + .milliseconds(200))
        line.events += line.media.deadlineReached(now: line.now + .milliseconds(199))
        #expect(line.media.statistics.lost == 0)
        line.events += line.media.deadlineReached(now: line.now + .milliseconds(200))
        #expect(line.media.statistics.lost == 1)
        #expect(line.media.nextDeadline == nil)
    }

    @Test("where a connection lost its step no picture comes before the next key frame")
    func lostStep() {
        var line = Line()
        let sent = packets(30)
        let half = sent.count / 2
        line.receive(sent[..<half])
        let before = line.video.count
        line.media.lose()
        line.receive(sent[half...])
        line.finish()
        #expect(before > 10 && line.video.dropFirst(before).first?.isKeyframe == true)
        #expect(line.video.count < 29)
    }

    @Test("packets that wait are bounded in number")
    func capacity() {
        var configuration = DeviceMedia.Configuration()
        configuration.reorderCapacity = 8
        configuration.reorderWait = .hours(1)
        var line = Line(media: DeviceMedia(configuration: configuration))
        var sent = packets(40)
        sent.remove(at: 1)
        line.receive(sent)
        line.finish()
        #expect(line.media.statistics.lost == 1)
        #expect(line.video.count >= 29)
    }

    @Test("a device that begins anew with other numbers is followed")
    func restart() {
        var line = Line()
        line.receive(packets(12, sequence: 100))
        line.receive(packets(12, sequence: 40_000, from: 9_000))
        line.finish()
        #expect(line.media.statistics.restarts == 1)
        #expect(line.video.count { $0.dts.ticks < 90_000 } == 12)
    }

    @Test("what is no RTP is counted and does nothing", arguments: [[], [0x80], [UInt8](repeating: 0, count: 40)])
    func garbage(_ bytes: [UInt8]) {
        var line = Line()
        line.receive([ByteBuffer(bytes: bytes)])
        #expect(line.media.statistics.malformedPackets == 1)
        #expect(line.events.isEmpty)
    }

    /// Packs of video, and from the frame `audioFrom` on of A-law.
    private func camera(_ frames: Int, hasMap: Bool, audioFrom: Int) -> [ByteBuffer] {
        (0..<frames).map { index in
            var writer = ProgramStreamWriter()
            let time = Int64(index) * 3_600
            writer.pack(time)
            if index % 25 == 0, hasMap {
                writer.map([(0x1B, ProgramStreamWriter.videoID), (0x90, ProgramStreamWriter.audioID)])
            }
            writer.packet(
                ProgramStreamWriter.videoID, ProgramStreamWriter.picture(key: index % 25 == 0, length: 300), pts: time)
            if index >= audioFrom {
                writer.packet(ProgramStreamWriter.audioID, ByteBuffer(repeating: 1, count: 320), pts: time)
            }
            var packet = ByteBuffer()
            RTPHeader(marker: true, payloadType: 96, sequenceNumber: UInt16(index), timestamp: 0, ssrc: 7).write(
                into: &packet)
            packet.writeImmutableBuffer(writer.bytes)
            return packet
        }
    }

    @Test("the start waits for audio that comes later than video, with and without a map", arguments: [true, false])
    func lateAudio(hasMap: Bool) {
        var line = Line()
        for packet in self.camera(30, hasMap: hasMap, audioFrom: 12) {
            line.receive([packet])
            line.now = line.now + .milliseconds(39)
            if line.media.statistics.audioFrames == 0 { #expect(line.events.isEmpty) }
        }
        let kinds = line.events.prefix(3).map { event -> MediaKind? in
            if case .track(let track) = event { track.kind } else { nil }
        }
        #expect(Set(kinds.prefix(2)) == [.video, .audio] && kinds.last == .some(nil))
        line.finish()
        #expect(line.video.count == 30)
        #expect(line.audio == 18)
    }

    @Test(
        "audio that never comes is waited for a second, whether a map names it or there is none",
        arguments: [true, false])
    func missingAudio(hasMap: Bool) {
        var line = Line()
        var first: Int?
        for (index, packet) in self.camera(60, hasMap: hasMap, audioFrom: .max).enumerated() {
            line.receive([packet])
            line.now = line.now + .milliseconds(39)
            if first == nil, !line.events.isEmpty { first = index }
        }
        line.finish()
        #expect(line.video.count == 60)
        // A frame is whole when the next one begins; the second is 25 frames long.
        #expect(first == 26)
    }

    @Test("what waits for its track is given out when the device leaves")
    func shortStream() {
        var line = Line()
        line.receive(self.camera(5, hasMap: true, audioFrom: .max))
        #expect(line.events.isEmpty)
        line.finish()
        #expect(line.video.count == 5)
    }

    @Test("a stream that is damaged everywhere gives only whole pictures", arguments: 0..<20)
    func damage(seed: Int) {
        var numbers = Numbers(state: UInt64(seed) &* 77 &+ 1)
        var sent = packets(60)
        for index in sent.indices where numbers.next() % 20 == 0 {
            let at = 12 + Int(numbers.next() % UInt64(max(1, sent[index].readableBytes - 12)))
            sent[index].setInteger(UInt8(truncatingIfNeeded: numbers.next()), at: sent[index].readerIndex + at)
        }
        var line = Line()
        line.receive(sent.filter { _ in numbers.next() % 10 != 0 })
        line.now = line.now + .seconds(1)
        line.events += line.media.deadlineReached(now: line.now)
        line.finish()
        #expect(line.video.allSatisfy { $0.payload.readableBytes > 4 && $0.pts >= $0.dts })
    }
}

@Suite struct PacketFramingTests {
    private func framed(_ packets: [ByteBuffer]) -> ByteBuffer {
        packets.reduce(into: ByteBuffer()) {
            $0.writeInteger(UInt16($1.readableBytes))
            $0.writeImmutableBuffer($1)
        }
    }

    @Test("packets come out however the bytes are cut", arguments: [1, 2, 3, 100, 1_000, 10_000])
    func cuts(step: Int) {
        let sent = packets(5)
        var framing = PacketFraming()
        var rest = self.framed(sent)
        rest.writeBytes([0, 0])
        var found: [ByteBuffer] = []
        while let piece = rest.readSlice(length: min(step, rest.readableBytes)), piece.readableBytes > 0 {
            framing.append(piece)
            while let packet = framing.next() { found.append(packet) }
        }
        #expect(found == sent)
        #expect(framing.resynchronisations == 0)
    }

    @Test("behind a wrong length packets of the same source are found again", arguments: [1, 7, 100_000])
    func wrongLength(step: Int) {
        let sent = packets(20)
        var bytes = self.framed(Array(sent[0..<5]))
        bytes.writeBytes([UInt8](repeating: 0x11, count: 333))
        bytes.writeImmutableBuffer(self.framed(Array(sent[5...])))
        var framing = PacketFraming()
        var found: [ByteBuffer] = []
        while let piece = bytes.readSlice(length: min(step, bytes.readableBytes)), piece.readableBytes > 0 {
            framing.append(piece)
            while let packet = framing.next() { found.append(packet) }
        }
        #expect(framing.resynchronisations == 1)
        #expect(found == sent)
    }
}
