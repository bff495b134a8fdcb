import Media
import NIOCore
import Placement
import Synchronization

/// Changes of placements as the event stream writes them, rendered once for all who are sent them.
///
/// Watchers are mostly at the same place of the ring, and after a restart of the coordinator every node asks for all
/// placements within a second.
final class RenderedChanges: Sendable {
    /// Changes that go into one write, and are rendered in one go: about half a millisecond.
    static let changesPerPiece = 500

    let changes: [PlacementChange]
    private let pieces: Mutex<[ByteBuffer?]>

    init(_ changes: [PlacementChange]) {
        self.changes = changes
        let count = (changes.count + Self.changesPerPiece - 1) / Self.changesPerPiece
        self.pieces = Mutex(Array(repeating: nil, count: count))
    }

    var count: Int { (self.changes.count + Self.changesPerPiece - 1) / Self.changesPerPiece }

    /// Piece `index` of `count`. Who asks first renders it, and who asks meanwhile waits for that one piece.
    func piece(_ index: Int) -> ByteBuffer {
        self.pieces.withLock { pieces in
            if let piece = pieces[index] { return piece }
            let start = index * Self.changesPerPiece
            let made = Self.render(self.changes[start..<min(start + Self.changesPerPiece, self.changes.count)])
            pieces[index] = made
            return made
        }
    }

    /// Pieces that are rendered already.
    var renderedCount: Int { self.pieces.withLock { $0.count { $0 != nil } } }

    private static func render(_ changes: ArraySlice<PlacementChange>) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(changes.count * 256)
        for change in changes {
            buffer.writeStaticString("event: placement\ndata: ")
            change.writeJSON(into: &buffer)
            buffer.writeStaticString("\n\n")
        }
        return buffer
    }
}

/// All placements as they were at one moment, for watchers that start anew.
struct WatchSnapshot: Sendable {
    /// For how long it is given to further watchers, who then read what came since from the ring.
    static let lifetime = TimeAmount.seconds(2)

    /// The last change that it has.
    let sequence: UInt64
    let taken: NIODeadline
    let isRecovering: Bool
    let rendered: RenderedChanges
}

extension PlacementChange {
    /// What `JSONEncoder` makes of it, in a tenth of the time: each change goes to every node of the cluster.
    func writeJSON(into buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"key\":{\"vhost\":")
        buffer.writeJSON(self.key.vhost)
        buffer.writeStaticString(",\"app\":")
        buffer.writeJSON(self.key.app)
        buffer.writeStaticString(",\"name\":")
        buffer.writeJSON(self.key.name)
        buffer.writeString("},\"epoch\":\(self.epoch),\"state\":\"\(self.state.rawValue)\"")
        if let route = self.route {
            buffer.writeStaticString(",\"route\":")
            route.writeJSON(into: &buffer)
        }
        buffer.writeStaticString("}")
    }
}

extension Route {
    /// What `JSONEncoder` makes of it: the answer to the most frequent question.
    func writeJSON(into buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"node\":")
        buffer.writeJSON(self.node.rawValue)
        buffer.writeStaticString(",\"host\":")
        buffer.writeJSON(self.host)
        buffer.writeString(
            ",\"rtmpPort\":\(self.rtmpPort),\"httpPort\":\(self.httpPort),\"epoch\":\(self.epoch)}")
    }
}

extension ByteBuffer {
    /// A string literal. Spec: RFC 8259 §7.
    fileprivate mutating func writeJSON(_ text: String) {
        self.writeInteger(UInt8(ascii: "\""))
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }) {
            self.writeString(text)
        } else {
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                    self.writeInteger(UInt8(ascii: "\\"))
                    self.writeInteger(byte)
                case 0..<0x20:
                    let digits = String(byte, radix: 16)
                    self.writeString("\\u00\(digits.utf8.count == 1 ? "0" : "")\(digits)")
                default: self.writeInteger(byte)
                }
            }
        }
        self.writeInteger(UInt8(ascii: "\""))
    }
}
