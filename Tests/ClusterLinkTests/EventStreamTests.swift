import Media
import NIOCore
import Placement
import Testing

@testable import ClusterLink

@Suite("event stream parser") struct EventStreamParserTests {
    private static let text = ": comment\nevent: a\nid: 7\ndata: one\ndata:two\n\r\ndata: x\r\n\r\nevent: empty\n\n"
    private static let expected = [
        ServerSentEvent(name: "a", data: "one\ntwo", id: "7"), ServerSentEvent(name: "message", data: "x", id: nil),
    ]

    @Test("names, joined data, ids, comments, both line ends; an event without data is none")
    func whole() throws {
        var parser = EventStreamParser(maximumBytes: 1_000)
        #expect(try parser.receive(ByteBuffer(string: Self.text)) == Self.expected)
    }

    @Test("cut at every byte it gives the same events")
    func cut() throws {
        let bytes = Array(Self.text.utf8)
        for cut in 0...bytes.count {
            var parser = EventStreamParser(maximumBytes: 1_000)
            let first = try parser.receive(ByteBuffer(bytes: bytes[..<cut]))
            #expect(try first + parser.receive(ByteBuffer(bytes: bytes[cut...])) == Self.expected)
        }
    }

    @Test("an event that never ends is refused")
    func tooLarge() {
        var parser = EventStreamParser(maximumBytes: 100)
        #expect(throws: EventStreamError.tooLarge(limit: 100)) {
            try parser.receive(ByteBuffer(string: "data: " + String(repeating: "x", count: 100)))
        }
    }
}

@Suite("queries") struct QueryTests {
    @Test("all but unreserved characters are escaped, byte by byte")
    func escape() {
        #expect(CoordinatorClient.escape("a-Z_0.~") == "a-Z_0.~")
        #expect(CoordinatorClient.escape("a/b&c=é+\u{1}") == "a%2Fb%26c%3D%C3%A9%2B%01")
    }
}
