import NIOCore
import TestSupport
import Testing

@testable import TransportStreams

struct TSDatagramTests {
    private static let packet = join([ByteBuffer(bytes: [0x47]), ByteBuffer(repeating: 0x22, count: 187)])

    private static func rtp(_ flags: String, _ behind: String = "", type: String = "21") -> ByteBuffer {
        bytes("\(flags)\(type) 1234 00000001 cafebabe \(behind)")
    }

    @Test("Packets are found bare and behind RTP with lists, an extension and padding")
    func found() throws {
        let bare = try TSDatagram(join([Self.packet, Self.packet]))
        #expect(bare.packets == join([Self.packet, Self.packet]))
        #expect(bare.rtp == nil)
        #expect(bare.excess == 0)
        let headers = [
            Self.rtp("80"), Self.rtp("82", "0000000100000002"), Self.rtp("90", "bede0001 00000000"),
            Self.rtp("91", "00000001 bede0000"),
        ]
        for header in headers {
            let datagram = try TSDatagram(join([header, Self.packet]))
            #expect(datagram.packets == Self.packet)
            #expect(datagram.rtp == .init(payloadType: 33, sequenceNumber: 0x1234, ssrc: 0xCAFE_BABE))
        }
        let padded = try TSDatagram(join([Self.rtp("a0", type: "a1"), Self.packet, bytes("00000004")]))
        #expect(padded.packets == Self.packet)
        #expect(padded.excess == 0)
        #expect(padded.rtp?.payloadType == 33)
    }

    @Test("A packet that is cut off at the end is left out")
    func excess() throws {
        let datagram = try TSDatagram(join([Self.packet, bytes("47010203")]))
        #expect(datagram.packets == Self.packet)
        #expect(datagram.excess == 4)
    }

    @Test("Everything else is refused with what is wrong")
    func refused() {
        func fault(_ datagram: ByteBuffer) -> TSDatagram.Fault? {
            do throws(TSDatagram.Fault) {
                _ = try TSDatagram(datagram)
                return nil
            } catch {
                return error
            }
        }
        #expect(fault(ByteBuffer()) == .empty)
        #expect(fault(bytes("474747")) == .noPackets(firstByte: 0x47))
        #expect(fault(bytes("00 47")) == .noPackets(firstByte: 0))
        #expect(fault(join([Self.rtp("80"), bytes("00"), Self.packet])) == .noPackets(firstByte: 0x80))
        #expect(fault(bytes("8021")) == .malformedRTP(length: 2))
        #expect(fault(Self.rtp("81")) == .malformedRTP(length: 12))
        #expect(fault(Self.rtp("90", "bede")) == .malformedRTP(length: 14))
        #expect(fault(Self.rtp("90", "bede0001")) == .malformedRTP(length: 16))
        #expect(fault(Self.rtp("a0", "05")) == .malformedRTP(length: 13))
        #expect(fault(Self.rtp("a0", "00")) == .malformedRTP(length: 13))
        #expect(fault(Self.rtp("a0")) == .malformedRTP(length: 12))
        #expect(fault(Self.rtp("80")) == .noPackets(firstByte: 0x80))
    }

    @Test("A datagram that is cut anywhere gives whole packets or a fault")
    func cuts() throws {
        let whole = join([Self.rtp("91", "00000001 bede0001 00000000"), Self.packet, Self.packet])
        for length in 0..<whole.readableBytes {
            let cut = whole.getSlice(at: 0, length: length) ?? ByteBuffer()
            let found = try? TSDatagram(cut)
            #expect((found?.packets.readableBytes ?? 0) == max(0, (length - 24)) / 188 * 188)
        }
    }
}
