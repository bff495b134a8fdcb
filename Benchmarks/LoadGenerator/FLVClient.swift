/// The client side of HTTP-FLV: sends a GET, then finds the tags in the endless body, chunked or not.
///
/// Spec: RFC 9112 §6 and §7.1; FLV 10.1 annex E.4.
struct FLVClient {
    enum State: Equatable {
        case head, body
        case failed(String)
    }

    private enum Framing: Equatable {
        case untilClose
        case chunkSize(Int)
        case chunkData(Int)
        /// The line break after a chunk's data.
        case chunkEnd
    }

    private(set) var state = State.head
    var outgoing: [UInt8] = []

    private let request: String
    private var head: [UInt8] = []
    private var framing = Framing.untilClose
    private var header: [UInt8] = []
    /// Bytes to the end of the current tag, and the tag.
    private var skip = 0
    private var tag: MediaEvent?
    private var sawFileHeader = false

    private static let maximumHead = 16_384
    private static let tagHeader = 13  // 11 bytes, and the first two of the payload

    init(authority: String, path: String) {
        self.request =
            "GET /\(path) HTTP/1.1\r\nHost: \(authority)\r\nUser-Agent: weir-bench-load\r\nAccept: */*\r\n\r\n"
        self.header.reserveCapacity(Self.tagHeader)
    }

    /// The TCP connection is there.
    mutating func connected() {
        self.outgoing.append(contentsOf: self.request.utf8)
    }

    /// Reads what the server sent and appends the tags that it completes.
    mutating func read(_ bytes: Span<UInt8>, events: inout [MediaEvent]) {
        var index = 0
        while index < bytes.count, self.state == .head {
            self.head.append(bytes[index])
            index += 1
            if self.head.suffix(4).elementsEqual([13, 10, 13, 10]) {
                self.headComplete()
            } else if self.head.count >= Self.maximumHead {
                self.state = .failed("HTTP head longer than \(Self.maximumHead) bytes")
            }
        }
        while index < bytes.count, self.state == .body {
            switch self.framing {
            case .untilClose:
                self.readBody(bytes.extracting(index...), events: &events)
                index = bytes.count
            case .chunkSize(let size):
                index += self.readChunkSize(bytes[index], sizeSoFar: size)
            case .chunkData(let left):
                let count = min(left, bytes.count - index)
                self.readBody(bytes.extracting(index..<index + count), events: &events)
                index += count
                self.framing = count == left ? .chunkEnd : .chunkData(left - count)
            case .chunkEnd:
                if bytes[index] == 10 { self.framing = .chunkSize(0) }
                index += 1
            }
        }
    }

    private mutating func headComplete() {
        let text = String(decoding: self.head, as: UTF8.self).lowercased()
        self.head = []
        guard text.hasPrefix("http/1.1 200") || text.hasPrefix("http/1.0 200") else {
            self.state = .failed(String(text.prefix { $0 != "\r" && $0 != "\r\n" }))
            return
        }
        self.framing = text.contains("transfer-encoding: chunked") ? .chunkSize(0) : .untilClose
        self.state = .body
    }

    private mutating func readChunkSize(_ byte: UInt8, sizeSoFar: Int) -> Int {
        switch byte {
        case 13:
            break
        case 10 where sizeSoFar == 0:
            self.state = .failed("the server ended the stream")
        case 10:
            self.framing = .chunkData(sizeSoFar)
        default:
            guard let digit = Character(UnicodeScalar(byte)).hexDigitValue, sizeSoFar < 1 << 40 else {
                self.state = .failed("bad HTTP chunk size")
                break
            }
            self.framing = .chunkSize(sizeSoFar << 4 | digit)
        }
        return 1
    }

    private mutating func readBody(_ bytes: Span<UInt8>, events: inout [MediaEvent]) {
        var index = 0
        while index < bytes.count {
            if self.skip > 0 {
                let count = min(self.skip, bytes.count - index)
                self.skip -= count
                index += count
                if self.skip == 0, let tag = self.tag { events.append(tag) }
                continue
            }
            self.header.append(bytes[index])
            index += 1
            guard self.header.count == Self.tagHeader else { continue }
            if self.sawFileHeader {
                self.tagBegan()
            } else {
                // FLV header and PreviousTagSize0 are 13 bytes, too.
                guard self.header.starts(with: [0x46, 0x4C, 0x56]) else {
                    self.state = .failed("the body is not FLV")
                    return
                }
                self.sawFileHeader = true
            }
            self.header.removeAll(keepingCapacity: true)
        }
    }

    private mutating func tagBegan() {
        let size = Int(self.header[1]) << 16 | Int(self.header[2]) << 8 | Int(self.header[3])
        let timestamp =
            UInt32(self.header[7]) << 24 | UInt32(self.header[4]) << 16 | UInt32(self.header[5]) << 8
            | UInt32(self.header[6])
        guard let kind = MediaEvent.Kind(rawValue: self.header[0] & 0x1F), size >= 2 else {
            self.state = .failed("unexpected FLV tag type \(self.header[0]) of \(size) bytes")
            return
        }
        let first = UInt16(self.header[11]) << 8 | UInt16(self.header[12])
        self.tag = MediaEvent(kind: kind, timestamp: timestamp, firstBytes: first, byteCount: size)
        // Two bytes of the payload are read, PreviousTagSize follows it.
        self.skip = size - 2 + 4
    }
}
