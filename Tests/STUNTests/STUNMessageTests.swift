import NIOCore
import Testing

@testable import STUN

/// The vectors of RFC 5769, and messages of our own.
struct STUNMessageTests {
    static let password = "VOkJxbRl1RmTxUk/WvJxBt"
    static let request = bytes(
        """
        000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff
        80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249
        c1b571a280280004e57a3bcf
        """)
    static let response4 = bytes(
        """
        0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643
        000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96
        """)
    static let response6 = bytes(
        """
        010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa
        a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c
        """)

    static func bytes(_ hex: String) -> ByteBuffer {
        let digits = hex.filter(\.isHexDigit).map { UInt8($0.hexDigitValue ?? 0) }
        return ByteBuffer(bytes: stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] })
    }

    @Test("The sample request of RFC 5769 is read and its integrity holds")
    func sampleRequest() throws {
        let message = try STUNMessage(parsing: Self.request)
        #expect(message.messageClass == .request && message.method == .binding)
        #expect(message.transactionID == STUNTransactionID(high: 0xB7E7_A701, low: 0xBC34_D686_FA87_DFAE))
        #expect(message.username == STUNUsername(receiver: "evtj", sender: "h6vY"))
        #expect(message.priority == 0x6E00_01FF)
        #expect(message.iceControlled == 0x932F_F9B1_5126_3B36)
        #expect(message.iceControlling == nil && !message.hasUseCandidate)
        #expect(message.hasValidIntegrity(in: Self.request, password: Self.password))
        #expect(!message.hasValidIntegrity(in: Self.request, password: "VOkJxbRl1RmTxUk/WvJxBu"))
        #expect(STUNMessage.username(of: Self.request) == message.username)
    }

    @Test("The sample responses of RFC 5769 give their addresses")
    func sampleResponses() throws {
        let four = try STUNMessage(parsing: Self.response4)
        #expect(four.messageClass == .success)
        #expect(four.xorMappedAddress == (try SocketAddress(ipAddress: "192.0.2.1", port: 32_853)))
        #expect(four.hasValidIntegrity(in: Self.response4, password: Self.password))
        let six = try STUNMessage(parsing: Self.response6)
        #expect(
            six.xorMappedAddress
                == (try SocketAddress(ipAddress: "2001:db8:1234:5678:11:2233:4455:6677", port: 32_853)))
        #expect(six.hasValidIntegrity(in: Self.response6, password: Self.password))
        #expect(STUNMessage.username(of: Self.response4) == nil)
    }

    @Test("The sample responses are written byte by byte, but for the padding, which is zero")
    func writesSamples() throws {
        for (sample, host) in [(Self.response4, "192.0.2.1"), (Self.response6, "2001:db8:1234:5678:11:2233:4455:6677")]
        {
            let message = try STUNMessage(parsing: sample)
            let address = try SocketAddress(ipAddress: host, port: 32_853)
            let attribute = try #require(STUNAttribute.xorMappedAddress(address, transactionID: message.transactionID))
            #expect(attribute == message.attribute(.xorMappedAddress))
            var own = STUNMessage(.success, transactionID: message.transactionID)
            own.attributes = [STUNAttribute(.software, ByteBuffer(string: "test vector")), attribute]
            let written = own.write(password: Self.password)
            #expect(written.readableBytes == sample.readableBytes)
            // The padding of the sample is a space, which both checksums cover.
            #expect(written.getSlice(at: 0, length: 35) == sample.getSlice(at: 0, length: 35))
            #expect(written.getSlice(at: 36, length: 12) == sample.getSlice(at: 36, length: 12))
            #expect(try STUNMessage(parsing: written).hasValidIntegrity(in: written, password: Self.password))
        }
    }

    @Test("What is written is read again, for each class and method", arguments: [0, 1, 2, 3] as [UInt8])
    func roundTrip(classNumber: UInt8) throws {
        let messageClass = try #require(STUNMessage.Class(rawValue: classNumber))
        for method in [1, 0x7F, 0x80, 0xFFF] as [UInt16] {
            let message = STUNMessage(
                messageClass, method: .init(rawValue: method), transactionID: .init(high: 1, low: .max),
                attributes: [
                    .username("a:b"), .useCandidate, .iceControlling(tieBreaker: 5), .errorCode(.roleConflict),
                ])
            let written = message.write(password: nil)
            let again = try STUNMessage(parsing: written)
            #expect(again.messageClass == messageClass && again.method.rawValue == method)
            #expect(again.attributes.dropLast() == message.attributes[...])
            #expect(again.errorCode == .roleConflict && again.iceControlling == 5 && again.hasUseCandidate)
            #expect(!again.hasValidIntegrity(in: written, password: ""))
        }
    }

    @Test("A message in the middle of a buffer is read like one at its beginning")
    func readerIndex() throws {
        var buffer = ByteBuffer(repeating: 7, count: 3)
        buffer.writeImmutableBuffer(Self.request)
        buffer.moveReaderIndex(forwardBy: 3)
        #expect(STUNMessage.isSTUN(buffer))
        #expect(try STUNMessage(parsing: buffer).hasValidIntegrity(in: buffer, password: Self.password))
        #expect(STUNMessage.username(of: buffer)?.receiver == "evtj")
    }

    @Test("Cut at every length, a message is an error and has no user name")
    func cut() {
        for length in 0..<Self.request.readableBytes {
            let piece = Self.request.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(throws: STUNError.self) { try STUNMessage(parsing: piece) }
            #expect(STUNMessage.username(of: piece) == nil)
        }
    }

    @Test("Any flipped bit is noticed by the fingerprint or by the parser")
    func flippedBits() {
        for index in 0..<Self.request.readableBytes * 8 {
            var bytes = Self.request
            bytes.setInteger((bytes.getInteger(at: index / 8) ?? 0) ^ UInt8(1) << (index % 8), at: index / 8)
            // A changed type of the last attribute makes it another one: then the message has no fingerprint.
            let message = try? STUNMessage(parsing: bytes)
            #expect(message?.attributes.contains { $0.type == .fingerprint } != true, "bit \(index)")
        }
    }

    @Test("Each malformed message has its error")
    func errors() {
        func error(_ change: (inout ByteBuffer) -> Void) -> STUNError? {
            var bytes = Self.request
            change(&bytes)
            do throws(STUNError) {
                _ = try STUNMessage(parsing: bytes)
                return nil
            } catch {
                return error
            }
        }
        #expect(error { $0 = ByteBuffer() } == .truncated(needed: 20, available: 0))
        #expect(error { $0.setInteger(UInt8(0x40), at: 0) } == .notSTUN)
        #expect(error { $0.setInteger(UInt32(1), at: 4) } == .notSTUN)
        #expect(error { $0.setInteger(UInt16(0x59), at: 2) } == .unalignedLength(0x59))
        #expect(error { $0.setInteger(UInt16(0x5C), at: 2) } == .truncated(needed: 112, available: 108))
        #expect(error { $0.writeInteger(UInt32(0)) } == .trailingBytes(length: 108, available: 112))
        #expect(
            error { $0.setInteger(UInt16(90), at: 22) }
                == .truncatedAttribute(offset: 20, needed: 94, available: 88))
        #expect(error { $0.setInteger(UInt8(1), at: 107) } == .wrongFingerprint)
        #expect(
            error { bytes in
                bytes.setInteger(UInt16(4 * 65), at: 2)
                bytes.moveWriterIndex(to: 20)
                for _ in 0..<65 { bytes.writeInteger(UInt32(0x8000_0000)) }
            } == .tooManyAttributes(limit: 64))
    }

    @Test("A fingerprint that is not last is an error")
    func fingerprintInTheMiddle() throws {
        let message = STUNMessage(.request, transactionID: .init(high: 0, low: 0))
        var bytes = message.write(password: nil)
        bytes.writeInteger(UInt32(0x8022_0000))
        bytes.setInteger(UInt16(12), at: 2)
        #expect(throws: STUNError.wrongFingerprint) { try STUNMessage(parsing: bytes) }
    }

    @Test("Attributes behind the integrity do not count")
    func behindIntegrity() throws {
        let message = STUNMessage(.request, transactionID: .init(high: 0, low: 0), attributes: [.username("a:b")])
        var bytes = message.write(password: "secret")
        // USE-CANDIDATE takes the fingerprint's place.
        bytes.moveWriterIndex(to: bytes.writerIndex - 8)
        bytes.writeInteger(UInt32(0x0025_0000))
        bytes.setInteger(UInt16(bytes.readableBytes - 20), at: 2)
        let read = try STUNMessage(parsing: bytes)
        #expect(read.hasValidIntegrity(in: bytes, password: "secret"))
        #expect(!read.hasUseCandidate)
        #expect(read.unknownRequiredAttributes(known: [.username]).isEmpty)
    }

    @Test("Unknown attributes that must be understood are listed, others are not")
    func unknownAttributes() throws {
        let strange = STUNAttributeType(rawValue: 0x7FFF)
        let message = STUNMessage(
            .request, transactionID: .init(high: 0, low: 0),
            attributes: [STUNAttribute(strange), STUNAttribute(.nomination), .priority(1)])
        #expect(message.unknownRequiredAttributes(known: [.priority]) == [strange])
    }

    @Test("An IPv4 peer of a socket for both families is told its IPv4 address")
    func mappedAddress() throws {
        let id = STUNTransactionID(high: 1, low: 2)
        let mapped = try SocketAddress(ipAddress: "::ffff:192.0.2.1", port: 9)
        let attribute = try #require(STUNAttribute.xorMappedAddress(mapped, transactionID: id))
        let message = STUNMessage(.success, transactionID: id, attributes: [attribute])
        #expect(message.xorMappedAddress == (try SocketAddress(ipAddress: "192.0.2.1", port: 9)))
        let path = try SocketAddress(unixDomainSocketPath: "/x")
        #expect(STUNAttribute.xorMappedAddress(path, transactionID: id) == nil)
    }

    @Test("Packets of other protocols on the same port are no STUN")
    func demultiplexing() {
        #expect(STUNMessage.isSTUN(Self.request))
        for first in [4, 20, 22, 63, 64, 128, 200, 255] as [UInt8] {
            var bytes = Self.request
            bytes.setInteger(first, at: 0)
            #expect(!STUNMessage.isSTUN(bytes))
            #expect(STUNMessage.username(of: bytes) == nil)
        }
        #expect(!STUNMessage.isSTUN(ByteBuffer(bytes: [0, 1])))
    }

    @Test("Odd user names are taken apart or refused")
    func userNames() throws {
        func name(_ bytes: [UInt8]) throws -> STUNUsername? {
            let message = STUNMessage(
                .request, transactionID: .init(high: 0, low: 0),
                attributes: [STUNAttribute(.username, ByteBuffer(bytes: bytes))])
            let written = message.write(password: nil)
            #expect(try STUNMessage(parsing: written).username == STUNMessage.username(of: written))
            return STUNMessage.username(of: written)
        }
        #expect(try name(Array("abc".utf8)) == STUNUsername(receiver: "abc", sender: ""))
        #expect(try name(Array(":".utf8)) == STUNUsername(receiver: "", sender: ""))
        #expect(try name(Array("a:b:c".utf8)) == STUNUsername(receiver: "a", sender: "b:c"))
        #expect(try name([0xFF, 0x3A]) == nil)
        #expect(try name([UInt8](repeating: 97, count: 509))?.receiver.count == 509)
        #expect(try name([UInt8](repeating: 97, count: 510)) == nil)
    }
}
