import Media
import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct TSProgramSplitterTests {
    /// A program on identifiers of its own, whose frames tell it from others.
    private static func program(_ number: UInt16) throws -> (packets: [ByteBuffer], frames: [Frame]) {
        var muxer = try Sample.muxer {
            $0.programNumber = number
            $0.mapPID = 0x1000 + number
            $0.videoPID = 0x100 + number * 16
            $0.audioPID = 0x101 + number * 16
            $0.id3PID = 0x102 + number * 16
        }
        let frames = Sample.second(from: 90_000 * Int64(number))
        return (packets(in: Sample.stream(of: frames, with: &muxer)), frames)
    }

    /// Programs of one stream, whose packets take turns, with one association.
    private static func mix(_ numbers: [UInt16]) throws -> ByteBuffer {
        var mixed = [Streams.section(Self.association(numbers), pid: 0)]
        let all = try numbers.map { try Self.program($0).packets.filter { try TSPacket($0).pid != 0 } }
        for index in 0..<(all.map(\.count).max() ?? 0) {
            for packets in all where index < packets.count { mixed.append(packets[index]) }
        }
        return join(mixed)
    }

    private static func association(_ numbers: [UInt16]) -> ByteBuffer {
        var body = bytes("0001 c1 00 00")
        for number in numbers { body.writeMultipleIntegers(number, 0xE000 | (0x1000 + number)) }
        var section = ByteBuffer(bytes: [0])
        section.writeInteger(0xB000 | UInt16(body.readableBytes + 4))
        section.writeImmutableBuffer(body)
        section.writeInteger(CRC32MPEG.checksum(of: section))
        return section
    }

    private static func split(_ stream: ByteBuffer, step: Int) -> [UInt16: ByteBuffer] {
        var splitter = TSProgramSplitter()
        var result: [UInt16: ByteBuffer] = [:]
        var rest = stream
        while let piece = rest.readSlice(length: min(step * 188, rest.readableBytes)), piece.readableBytes > 0 {
            for (program, packets) in splitter.receive(piece) {
                result[program, default: ByteBuffer()].writeImmutableBuffer(packets)
            }
        }
        return result
    }

    @Test(
        "Each program's frames come out of its own stream, however many packets come at a time",
        arguments: [1, 7, 1000])
    func splits(step: Int) throws {
        let numbers: [UInt16] = [1, 2, 7]
        let split = Self.split(try Self.mix(numbers), step: step)
        #expect(split.keys.sorted() == numbers)
        for number in numbers {
            var configuration = TSDemuxer.Configuration()
            configuration.programNumber = number
            let outputs = demux(split[number] ?? ByteBuffer(), configuration: configuration)
            #expect(outputs.problems == [])
            let frames = try Self.program(number).frames
            #expect(outputs.frames(.video) == frames.filter { $0.kind == .video })
            #expect(outputs.frames(.audio).map(\.payload) == frames.filter { $0.kind == .audio }.map(\.payload))
        }
    }

    @Test("A program that leaves the association ends, and one that joins it begins")
    func changes() throws {
        var splitter = TSProgramSplitter()
        _ = splitter.receive(try Self.mix([1, 2]))
        #expect(splitter.programNumbers == [1, 2])
        var next = Self.association([2, 3])
        // Another version.
        next.setInteger(UInt8(0xC3), at: 5)
        next.moveWriterIndex(to: next.writerIndex - 4)
        next.writeInteger(CRC32MPEG.checksum(of: next))
        _ = splitter.receive(Streams.section(next, pid: 0, continuity: 1))
        #expect(splitter.programNumbers == [2, 3])
        let gone = try Self.program(1).packets.filter { try TSPacket($0).pid != 0 }
        let left = splitter.receive(join(gone))
        #expect(left.isEmpty)
    }

    @Test("Bytes that are no packets, and packets of no program, are left out")
    func garbage() throws {
        var splitter = TSProgramSplitter()
        let before = splitter.receive(ByteBuffer(repeating: 0x12, count: 1880))
        #expect(before.isEmpty)
        let early = splitter.receive(join(try Self.program(1).packets.filter { try TSPacket($0).pid != 0 }))
        #expect(early.isEmpty)
        // A damaged association.
        var broken = Self.association([1])
        broken.setInteger(UInt8(0x55), at: 9)
        _ = splitter.receive(Streams.section(broken, pid: 0))
        #expect(splitter.programNumbers == [])
    }

    @Test("No more programs are followed than there is room for")
    func bound() {
        var splitter = TSProgramSplitter()
        // 40 in each of two sections.
        for part in [0, 1] as [UInt8] {
            var section = Self.association((0..<40).map { UInt16(part) * 40 + $0 + 1 })
            section.setInteger(part, at: 6)
            section.setInteger(UInt8(1), at: 7)
            section.moveWriterIndex(to: section.writerIndex - 4)
            section.writeInteger(CRC32MPEG.checksum(of: section))
            _ = splitter.receive(Streams.section(section, pid: 0, continuity: part))
        }
        #expect(splitter.programNumbers.count == TSProgramSplitter.maximumPrograms)
    }
}
