/// Finds the tags of an FLV file as it comes. Spec: FLV 10.1, Annex E.4.
struct FLVTagReader {
    /// Why nothing more is read.
    private(set) var failure: String?

    private var header: [UInt8] = []
    /// Bytes to the end of the current tag, and the tag.
    private var skip = 0
    private var tag: MediaEvent?
    private var sawFileHeader = false

    private static let tagHeader = 13  // 11 bytes, and the first two of the payload

    init() { self.header.reserveCapacity(Self.tagHeader) }

    /// Reads what came, however it is cut, and appends the tags that it completes.
    mutating func read(_ bytes: Span<UInt8>, events: inout [MediaEvent]) {
        var index = 0
        while index < bytes.count, self.failure == nil {
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
                    self.failure = "the body is not FLV"
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
            self.failure = "unexpected FLV tag type \(self.header[0]) of \(size) bytes"
            return
        }
        let first = UInt16(self.header[11]) << 8 | UInt16(self.header[12])
        self.tag = MediaEvent(kind: kind, timestamp: timestamp, firstBytes: first, byteCount: size)
        // Two bytes of the payload are read, PreviousTagSize follows it.
        self.skip = size - 2 + 4
    }
}
