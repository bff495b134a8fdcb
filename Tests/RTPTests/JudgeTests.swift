import NIOCore
import RTP
import Testing

/// Packets that ffmpeg made, and packets that ffmpeg reads.
@Suite(.serialized)
struct JudgeTests {
    @Test(arguments: JudgeCase.cases)
    func `What ffmpeg sends is read to what it was made from, and so is by ffmpeg what we send`(
        stream: JudgeCase
    ) throws {
        try stream.expectReadingAndSending()
    }
}

/// Debian's ffmpeg knows no RTP payload of AV1, a newer one does.
@Suite
struct AV1CaptureTests {
    private func units() throws -> [RTPAccessUnit] {
        var reader = RTPPayloadReader(format: .av1)
        for text in AV1Capture.packets.split(separator: "\n\n") {
            let packet = try RTPPacket(parsing: bytes(String(text)))
            reader.append(packet.payload, marker: packet.header.marker, timestamp: packet.header.timestamp)
        }
        return try reader.drain().map { try #require($0.accessUnit, "\($0)") }
    }

    @Test func `A capture of ffmpeg's packets gives the temporal units that it was made from`() throws {
        let units = try self.units()
        #expect(units.map { Judge.checksum($0.payload) } == AV1Capture.checksums)
        #expect(units.map(\.isKeyframe) == (0..<10).map { $0 % 5 == 0 })
        #expect(units.compactMap(\.pictureSize) == Array(repeating: RTPPictureSize(width: 128, height: 96), count: 2))
    }

    @Test(arguments: [64, 100, 300, 1200])
    func `Real temporal units come back from packets of ours`(maximumPayload: Int) throws {
        let writer = RTPPayloadWriter(format: .av1, maximumPayload: maximumPayload)
        var reader = RTPPayloadReader(format: .av1)
        for unit in try self.units() {
            reader.append(
                try writer.payloads(of: unit.payload, isKeyframe: unit.isKeyframe), timestamp: unit.timestamp)
            #expect(reader.drain() == [.accessUnit(unit)])
        }
    }
}
