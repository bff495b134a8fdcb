import NIOCore
import Testing

@testable import RTMP

@Suite("Chunk reader")
struct ChunkReaderTests {
    /// Feeds `hex` whole and cut at every byte boundary, and in single bytes; all must read the same.
    private func expect(
        _ buffer: ByteBuffer, _ expected: Reading, limits: RTMPChunkLimits = .init(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(Reading([buffer], limits: limits) == expected, sourceLocation: sourceLocation)
        #expect(Reading(pieces(of: buffer, size: 1), limits: limits) == expected, sourceLocation: sourceLocation)
        for cut in 1..<max(2, buffer.readableBytes) {
            guard let head = buffer.getSlice(at: 0, length: cut),
                let tail = buffer.getSlice(at: cut, length: buffer.readableBytes - cut)
            else { continue }
            #expect(
                Reading([head, tail], limits: limits) == expected, "cut at \(cut)", sourceLocation: sourceLocation)
        }
    }

    private func audio(_ timestamp: UInt32, _ payload: ByteBuffer, streamID: UInt32 = 0x12345) -> RTMPMessage {
        RTMPMessage(typeID: 8, timestamp: timestamp, streamID: streamID, payload: payload)
    }

    @Test("the example of the specification reads: type 0, 2, 3, 3 with deltas")
    func specificationAudioExample() {
        // RTMP 1.0 §5.3.2.1: message stream 12345, times 1000, 1020, 1040, 1060, 32 bytes each.
        var input = ByteBuffer()
        let payload = pattern(32)
        for header in ["03 0003e8 000020 08 39300000", "83 000014", "c3", "c3"] {
            input.writeImmutableBuffer(bytes(header))
            input.writeImmutableBuffer(payload)
        }
        self.expect(
            input,
            Reading(messages: [1000, 1020, 1040, 1060].map { self.audio($0, payload, streamID: 12_345) }))
    }

    @Test("the example of the specification reads: 307 bytes in chunks of 128")
    func specificationSplitExample() {
        // §5.3.2.2: message stream 12346, time 1000.
        let payload = pattern(307)
        var input = bytes("04 0003e8 000133 09 3a300000")
        input.writeBytes(payload.readableBytesView[0..<128])
        input.writeBytes([0xC4])
        input.writeBytes(payload.readableBytesView[128..<256])
        input.writeBytes([0xC4])
        input.writeBytes(payload.readableBytesView[256..<307])
        self.expect(
            input,
            Reading(messages: [RTMPMessage(typeID: 9, timestamp: 1000, streamID: 12_346, payload: payload)]))
    }

    @Test("type 1 changes length and type, and keeps the message stream")
    func type1() {
        self.expect(
            bytes("05 000010 000001 08 01000000 aa 45 000005 000002 09 bbcc"),
            Reading(messages: [
                self.audio(16, bytes("aa"), streamID: 1),
                RTMPMessage(typeID: 9, timestamp: 21, streamID: 1, payload: bytes("bbcc")),
            ]))
    }

    @Test("a type 1 chunk may open a chunk stream, as librtmp's pings do")
    func type1First() {
        self.expect(
            bytes("42 000007 000006 04 0006 00000001"),
            Reading(messages: [
                RTMPMessage(typeID: 4, timestamp: 7, streamID: 0, payload: bytes("000600000001"))
            ]))
    }

    @Test("chunk stream ids of two and three bytes are read")
    func basicHeaders() {
        self.expect(
            bytes("00 00 000000 000001 08 01000000 aa 01 0001 000000 000001 08 01000000 bb c000 cc c1 0001 dd"),
            Reading(messages: ["aa", "bb", "cc", "dd"].map { self.audio(0, bytes($0), streamID: 1) }))
    }

    @Test("the two and three byte forms of one id are one chunk stream")
    func equalIDs() {
        // Id 64 is 00 00 in two bytes and 01 0000 in three.
        self.expect(
            bytes("00 00 000000 000001 08 01000000 aa c1 0000 bb"),
            Reading(messages: ["aa", "bb"].map { self.audio(0, bytes($0), streamID: 1) }))
    }

    @Test("an extended timestamp is read, and skipped where continuations repeat it")
    func extendedTimestamp() {
        let payload = pattern(200)
        var input = bytes("06 ffffff 0000c8 08 01000000 01000000")
        input.writeBytes(payload.readableBytesView[0..<128])
        input.writeImmutableBuffer(bytes("c6 01000000"))
        input.writeBytes(payload.readableBytesView[128..<200])
        self.expect(input, Reading(messages: [self.audio(0x100_0000, payload, streamID: 1)]))
    }

    @Test("continuations that leave out the extended timestamp are tolerated")
    func omittedExtendedTimestamp() {
        for length in [130, 200] {
            let payload = pattern(length)
            var input = bytes("06 ffffff")
            input.writeUInt24(UInt32(length))
            input.writeImmutableBuffer(bytes("08 01000000 01000000"))
            input.writeBytes(payload.readableBytesView[0..<128])
            input.writeImmutableBuffer(bytes("c6"))
            input.writeBytes(payload.readableBytesView[128...])
            self.expect(input, Reading(messages: [self.audio(0x100_0000, payload, streamID: 1)]))
        }
    }

    @Test("an extended delta is added")
    func extendedDelta() {
        self.expect(
            bytes("06 000001 000001 08 01000000 aa 86 ffffff 01000000 bb"),
            Reading(messages: [
                self.audio(1, bytes("aa"), streamID: 1), self.audio(0x100_0001, bytes("bb"), streamID: 1),
            ]))
    }

    @Test("a type 3 message after an extended type 0 has the same time")
    func type3AfterExtended() {
        self.expect(
            bytes("06 ffffff 000001 08 01000000 01000000 aa c6 01000000 bb"),
            Reading(messages: ["aa", "bb"].map { self.audio(0x100_0000, bytes($0), streamID: 1) }))
    }

    @Test("times wrap at 32 bits")
    func wrap() {
        self.expect(
            bytes("06 ffffff 000001 08 01000000 fffffff0 aa 86 000020 bb"),
            Reading(messages: [
                self.audio(0xFFFF_FFF0, bytes("aa"), streamID: 1), self.audio(0x10, bytes("bb"), streamID: 1),
            ]))
    }

    @Test("messages interleave on their chunk streams")
    func interleaving() {
        let video = pattern(200)
        let sound = pattern(130, seed: 1)
        var input = bytes("06 000000 0000c8 09 01000000")
        input.writeBytes(video.readableBytesView[0..<128])
        input.writeImmutableBuffer(bytes("07 000000 000082 08 01000000"))
        input.writeBytes(sound.readableBytesView[0..<128])
        input.writeImmutableBuffer(bytes("c6"))
        input.writeBytes(video.readableBytesView[128...])
        input.writeImmutableBuffer(bytes("c7"))
        input.writeBytes(sound.readableBytesView[128...])
        self.expect(
            input,
            Reading(messages: [
                RTMPMessage(typeID: 9, timestamp: 0, streamID: 1, payload: video),
                RTMPMessage(typeID: 8, timestamp: 0, streamID: 1, payload: sound),
            ]))
    }

    @Test("set chunk size holds from the next chunk")
    func setChunkSize() {
        let payload = pattern(500)
        var input = bytes("02 000000 000004 01 00000000 00001000 06 000000 0001f4 09 01000000")
        input.writeImmutableBuffer(payload)
        self.expect(
            input, Reading(messages: [RTMPMessage(typeID: 9, timestamp: 0, streamID: 1, payload: payload)]))
    }

    @Test("abort drops the unfinished message of its chunk stream; of others it is ignored")
    func abort() {
        var input = bytes("06 000000 0000c8 09 01000000")
        input.writeImmutableBuffer(pattern(128))
        input.writeImmutableBuffer(bytes("02 000000 000004 02 00000000 00000009"))
        input.writeImmutableBuffer(bytes("c2 00000006"))
        input.writeImmutableBuffer(bytes("06 000000 000001 09 01000000 aa"))
        self.expect(
            input, Reading(messages: [RTMPMessage(typeID: 9, timestamp: 0, streamID: 1, payload: bytes("aa"))]))
    }

    @Test("an empty message is a message")
    func empty() {
        self.expect(
            bytes("06 000005 000000 08 01000000"), Reading(messages: [self.audio(5, ByteBuffer(), streamID: 1)]))
    }

    @Test("what the protocol forbids, or the limits, is refused")
    func refusals() {
        self.expect(
            bytes("86 000000 aa"), Reading(error: .missingChunkHeader(chunkStream: 6, format: 2)))
        self.expect(bytes("c6 000000"), Reading(error: .missingChunkHeader(chunkStream: 6, format: 3)))
        self.expect(
            bytes("06 000000 ffffff 09 01000000"), Reading(error: .messageTooLong(length: 0xFF_FFFF, limit: 8 << 20)))
        self.expect(
            bytes("02 000000 000004 01 00000000 01000000"),
            Reading(error: .chunkSizeOutOfRange(size: 0x100_0000, limit: 1 << 20)))
        self.expect(
            bytes("02 000000 000004 01 00000000 00000000"),
            Reading(error: .chunkSizeOutOfRange(size: 0, limit: 1 << 20)))
        self.expect(
            bytes("02 000000 000002 01 00000000 0000"),
            Reading(error: .truncatedMessage(typeID: 1, needed: 4, available: 2)))
        self.expect(
            bytes("02 000000 000001 02 00000000 00"),
            Reading(error: .truncatedMessage(typeID: 2, needed: 4, available: 1)))
        var unfinished = bytes("06 000000 0000c8 09 01000000")
        unfinished.writeImmutableBuffer(pattern(128))
        unfinished.writeImmutableBuffer(bytes("06 000000 0000c8 09 01000000"))
        self.expect(
            unfinished, Reading(error: .unfinishedMessage(chunkStream: 6, format: 0, received: 128, length: 200)))
    }

    @Test("chunk streams beyond the limit are refused")
    func tooManyChunkStreams() {
        var input = ByteBuffer()
        for id in UInt8(2)...10 {
            input.writeInteger(id)
            input.writeImmutableBuffer(bytes("000000 000001 08 01000000 aa"))
        }
        let reading = Reading([input], limits: RTMPChunkLimits(maximumChunkStreams: 8))
        #expect(reading.messages.count == 8)
        #expect(reading.error == .tooManyChunkStreams(limit: 8))
    }

    @Test("unfinished messages of all chunk streams together are bounded")
    func tooManyPartialBytes() {
        var input = ByteBuffer()
        for id in UInt8(2)...40 {
            input.writeInteger(id)
            input.writeImmutableBuffer(bytes("000000 010000 08 01000000"))
            input.writeImmutableBuffer(pattern(128))
        }
        let reading = Reading([input], limits: RTMPChunkLimits(maximumPartialBytes: 1024))
        #expect(reading == Reading(error: .tooManyPartialBytes(limit: 1024)))
    }

    @Test("a message that lies whole in a receive buffer is a slice of it")
    func slices() throws {
        var reader = RTMPChunkReader()
        var input = bytes("02 000000 000004 01 00000000 00010000 06 000000 001000 09 01000000")
        input.writeImmutableBuffer(pattern(4096))
        reader.receive(input)
        let message = try #require(try reader.nextMessage())
        let isInside = unsafe input.withUnsafeReadableBytes { whole in
            unsafe message.payload.withUnsafeReadableBytes { part in
                guard let start = whole.baseAddress, let inner = part.baseAddress else { return false }
                return unsafe inner >= start && inner + part.count <= start + whole.count
            }
        }
        #expect(isInside)
    }

    @Test("announcing a long message reserves no more than 64 KiB")
    func reserve() throws {
        var reader = RTMPChunkReader()
        reader.receive(bytes("06 000000 7fffff 09 01000000 aa"))
        #expect(try reader.nextMessage() == nil)
        #expect(reader.bufferedBytes == 1)
    }

    @Test("nothing is kept between messages")
    func keepsNothing() throws {
        var reader = RTMPChunkReader()
        for size in [1, 100, 128, 129, 4000] {
            var input = ByteBuffer()
            RTMPChunkWriter.write(
                typeID: 9, timestamp: 0, messageStreamID: 1, chunkStreamID: 6, payload: pattern(size),
                chunkSize: 128, into: &input)
            reader.receive(input)
            #expect(try reader.nextMessage()?.payload == pattern(size))
            #expect(try reader.nextMessage() == nil)
            #expect(reader.bufferedBytes == 0)
        }
    }
}

@Suite("Chunk writer")
struct ChunkWriterTests {
    @Test("a message is a type 0 chunk and type 3 continuations")
    func layout() {
        var output = ByteBuffer()
        RTMPChunkWriter.write(
            typeID: 9, timestamp: 1000, messageStreamID: 12_346, chunkStreamID: 4, header: bytes("1701000000"),
            payload: bytes("aabbccdd"), chunkSize: 4, into: &output)
        #expect(output == bytes("04 0003e8 000009 09 3a300000 17010000 c4 00aabbcc c4 dd"))
    }

    @Test("an extended timestamp is repeated in each chunk")
    func extended() {
        var output = ByteBuffer()
        RTMPChunkWriter.write(
            typeID: 8, timestamp: 0xFF_FFFF, messageStreamID: 1, chunkStreamID: 7, payload: bytes("aabbcc"),
            chunkSize: 2, into: &output)
        #expect(output == bytes("07 ffffff 000003 08 01000000 00ffffff aabb c7 00ffffff cc"))
    }

    @Test(
        "the length is known beforehand, and the reader gets back what was written",
        arguments: [2, 63, 64, 319, 320, 65_599] as [UInt32], [0, 1, 127, 128, 129, 256, 257, 5000])
    func roundTrip(chunkStreamID: UInt32, length: Int) {
        for timestamp in [0, 0xFF_FFFE, 0xFF_FFFF, UInt32.max] as [UInt32] {
            for headerLength in Set([0, min(5, length), length]) {
                var output = ByteBuffer()
                let body = pattern(length)
                let header = body.getSlice(at: 0, length: headerLength) ?? ByteBuffer()
                let payload = body.getSlice(at: headerLength, length: length - headerLength) ?? ByteBuffer()
                RTMPChunkWriter.write(
                    typeID: 9, timestamp: timestamp, messageStreamID: 1, chunkStreamID: chunkStreamID,
                    header: header, payload: payload, chunkSize: 128, into: &output)
                #expect(
                    output.readableBytes
                        == RTMPChunkWriter.encodedLength(
                            bodyLength: length, timestamp: timestamp, chunkStreamID: chunkStreamID, chunkSize: 128))
                #expect(
                    Reading([output])
                        == Reading(messages: [
                            RTMPMessage(typeID: 9, timestamp: timestamp, streamID: 1, payload: body)
                        ]))
            }
        }
    }

    @Test("writing into a buffer with room does not grow it")
    func budget() {
        var output = ByteBuffer()
        output.reserveCapacity(1 << 16)
        let capacity = output.capacity
        let header = bytes("1701000000")
        let payload = pattern(3000)
        for _ in 0..<1000 {
            output.clear()
            for _ in 0..<20 {
                RTMPChunkWriter.write(
                    typeID: 9, timestamp: 40, messageStreamID: 1, chunkStreamID: 6, header: header,
                    payload: payload, chunkSize: 60_000, into: &output)
            }
        }
        #expect(output.capacity == capacity)
        #expect(output.readableBytes == 20 * (12 + 3005))
    }
}
