import LoadSupport

/// The client side of a stream over HTTP: sends a GET, then reads the endless body, chunked or not: FLV, or a transport
/// stream where the path ends so.
///
/// Spec: RFC 9112 §6 and §7.1.
struct HTTPClient {
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
    private var tags = FLVTagReader()
    private(set) var transportStream: TransportStreamCheck?
    private var units: [TransportStreamCheck.Unit] = []

    private static let maximumHead = 16_384

    init(authority: String, path: String) {
        self.request =
            "GET /\(path) HTTP/1.1\r\nHost: \(authority)\r\nUser-Agent: weir-bench-load\r\nAccept: */*\r\n\r\n"
        if Self.isTransportStream(path) { self.transportStream = TransportStreamCheck() }
    }

    static func isTransportStream(_ path: String) -> Bool { path.prefix { $0 != "?" }.hasSuffix(".ts") }

    /// The TCP connection is there.
    mutating func connected() {
        self.outgoing.append(contentsOf: self.request.utf8)
    }

    /// Reads what the server sent and appends what it completes.
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
        if self.transportStream != nil {
            self.transportStream?.read(bytes, units: &self.units)
            for unit in self.units { events.append(MediaEvent(unit)) }
            self.units.removeAll(keepingCapacity: true)
        } else {
            self.tags.read(bytes, events: &events)
            if let failure = self.tags.failure { self.state = .failed(failure) }
        }
    }
}
