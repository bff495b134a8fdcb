import NIOCore
import TestSupport
import Testing

@testable import MPEGTS

struct ID3TagTests {
    @Test("A text is a TXXX frame in UTF-8")
    func text() {
        let tag = ID3Tag.text([(name: "a", value: "é")])
        #expect(tag == bytes("494433 0400 00 0000000f  54585858 00000005 0000 03 61 00 c3a9"))
        #expect(ID3Tag.frames(in: tag) == [.text(name: "a", value: "é")])
    }

    @Test("Bytes with an owner are a PRIV frame")
    func priv() {
        let tag = ID3Tag.priv(owner: "o.p", payload: bytes("0001ff"))
        #expect(tag == bytes("494433 0400 00 00000011  50524956 00000007 0000 6f2e70 00 0001ff"))
        #expect(ID3Tag.frames(in: tag) == [.priv(owner: "o.p", payload: bytes("0001ff"))])
    }

    @Test("Sizes have seven bits in each byte", arguments: [0, 100, 127, 128, 16_383, 16_384, 300_000])
    func sizes(count: Int) {
        let payload = ByteBuffer(repeating: 0xAA, count: count)
        let tag = ID3Tag.priv(owner: "", payload: payload)
        #expect(tag.readableBytes == 21 + count)
        #expect(tag.getBytes(at: 6, length: 4)?.allSatisfy { $0 < 0x80 } == true)
        #expect(ID3Tag.frames(in: tag) == [.priv(owner: "", payload: payload)])
    }

    @Test("Zero characters cannot end a name early, and several frames keep their order")
    func names() {
        let other = ID3Tag.Frame.other(id: 0x5449_5432, content: bytes("0341"))
        let tag = ID3Tag.tag([.text(name: "a\0b", value: "1"), .priv(owner: "c\0", payload: ByteBuffer()), other])
        #expect(
            ID3Tag.frames(in: tag) == [.text(name: "ab", value: "1"), .priv(owner: "c", payload: ByteBuffer()), other])
        #expect(ID3Tag.frames(in: ID3Tag.text([])) == [])
    }

    @Test("Latin 1 is read, and frames that are not understood are passed on")
    func foreign() {
        #expect(
            ID3Tag.frames(in: bytes("494433 0400 00 0000000e  54585858 00000004 0000 00 61 00 e9"))
                == [.text(name: "a", value: "é")])
        // UTF-16, a compressed frame, a PRIV frame without the end of its owner, padding.
        let content =
            "54585858 00000002 0000 01 61  50524956 00000002 0008 6100  50524956 00000001 0000 61 0000000000000000000000"
        let length = bytes(content).readableBytes
        var tag = bytes("494433 0400 00")
        tag.writeInteger(UInt32(length))
        tag.writeImmutableBuffer(bytes(content))
        #expect(
            ID3Tag.frames(in: tag) == [
                .other(id: 0x5458_5858, content: bytes("0161")), .other(id: 0x5052_4956, content: bytes("6100")),
                .other(id: 0x5052_4956, content: bytes("61")),
            ])
    }

    @Test("What is cut off or no tag gives nothing")
    func broken() {
        let tag = ID3Tag.text([("name", "value")])
        for length in 0..<tag.readableBytes {
            #expect(ID3Tag.frames(in: tag.getSlice(at: 0, length: length) ?? ByteBuffer()) == nil)
        }
        #expect(ID3Tag.frames(in: bytes("494433 0300 00 00000000")) == nil)
        #expect(ID3Tag.frames(in: bytes("494433 0400 80 00000000")) == nil)
        #expect(ID3Tag.frames(in: bytes("494433 0400 00 80000000")) == nil)
        #expect(ID3Tag.frames(in: bytes("494433 0400 00 0000000b 54585858 00000002 0000 03")) == nil)
    }
}
