import NIOCore

extension TransportFeedback {
    /// The two bits that a chunk has for a packet. Spec: §3.1.1.
    private enum Symbol {
        static let notReceived: UInt8 = 0
        static let smallDelta: UInt8 = 1
        static let largeDelta: UInt8 = 2
        static let withoutDelta: UInt8 = 3
    }

    init(parsing body: inout RTPBytes) throws(RTPError) {
        self.senderSSRC = try body.integer(as: UInt32.self)
        self.mediaSSRC = try body.integer(as: UInt32.self)
        self.baseSequenceNumber = try body.integer(as: UInt16.self)
        let count = Int(try body.integer(as: UInt16.self))
        self.referenceTime = Int32(bitPattern: try body.uint24() << 8) >> 8
        self.feedbackCount = try body.integer(as: UInt8.self)
        self.statuses = []
        guard count <= Self.maximumStatuses else { throw .tooManyPackets(limit: Self.maximumStatuses) }
        let symbols = try Self.symbols(count, from: &body)
        self.statuses.reserveCapacity(count)
        for symbol in symbols {
            switch symbol {
            case Symbol.notReceived: self.statuses.append(.notReceived)
            case Symbol.smallDelta: self.statuses.append(.received(delta: Int16(try body.integer(as: UInt8.self))))
            case Symbol.largeDelta: self.statuses.append(.received(delta: try body.integer(as: Int16.self)))
            default: self.statuses.append(.receivedWithoutTime)
            }
        }
    }

    /// Reads chunks until they have told of `count` packets. Spec: §3.1.3 and §3.1.4.
    private static func symbols(_ count: Int, from body: inout RTPBytes) throws(RTPError) -> [UInt8] {
        var symbols: [UInt8] = []
        symbols.reserveCapacity(count)
        while symbols.count < count {
            let offset = body.offset
            let chunk = try body.integer(as: UInt16.self)
            let left = count - symbols.count
            if chunk & 0x8000 == 0 {
                let run = Int(chunk & 0x1FFF)
                guard run > 0 else { throw .invalidValue(UInt32(chunk), offset: offset) }
                symbols.append(
                    contentsOf: repeatElement(UInt8(truncatingIfNeeded: chunk >> 13 & 3), count: min(run, left)))
            } else if chunk & 0x4000 == 0 {
                for bit in 0..<min(14, left) {
                    symbols.append(UInt8(truncatingIfNeeded: chunk >> UInt16(13 - bit) & 1))
                }
            } else {
                for index in 0..<min(7, left) {
                    symbols.append(UInt8(truncatingIfNeeded: chunk >> UInt16(12 - index * 2) & 3))
                }
            }
        }
        return symbols
    }

    func write(into buffer: inout ByteBuffer) {
        precondition(
            self.statuses.count <= Self.maximumStatuses,
            "at most \(Self.maximumStatuses) statuses in a packet, got \(self.statuses.count)")
        buffer.writeMultipleIntegers(
            self.senderSSRC, self.mediaSSRC, self.baseSequenceNumber, UInt16(truncatingIfNeeded: self.statuses.count))
        buffer.writeUInt24(UInt32(bitPattern: self.referenceTime) & 0xFF_FFFF)
        buffer.writeInteger(self.feedbackCount)
        let symbols = self.statuses.map { status in
            switch status {
            case .notReceived: Symbol.notReceived
            case .received(let delta): (0...255).contains(delta) ? Symbol.smallDelta : Symbol.largeDelta
            case .receivedWithoutTime: Symbol.withoutDelta
            }
        }
        Self.write(symbols, into: &buffer)
        for case .received(let delta) in self.statuses {
            if let small = UInt8(exactly: delta) {
                buffer.writeInteger(small)
            } else {
                buffer.writeInteger(delta)
            }
        }
    }

    /// Writes chunks: a run where it tells of more packets than a vector would, else the wider of the two vectors that
    /// can hold what comes next.
    private static func write(_ symbols: [UInt8], into buffer: inout ByteBuffer) {
        var index = 0
        while index < symbols.count {
            let symbol = symbols[index]
            let rest = symbols[index...].prefix(0x1FFF)
            let run = (rest.firstIndex { $0 != symbol } ?? rest.endIndex) - index
            let window = symbols[index...].prefix(14)
            let fitsOneBit = window.allSatisfy { $0 <= Symbol.smallDelta }
            if run >= (fitsOneBit ? 14 : 7) || index + run == symbols.count {
                buffer.writeInteger(UInt16(symbol) << 13 | UInt16(truncatingIfNeeded: run))
                index += run
            } else if fitsOneBit {
                let bits = window.enumerated().reduce(UInt16(0)) { $0 | UInt16($1.element) << UInt16(13 - $1.offset) }
                buffer.writeInteger(0x8000 | bits)
                index += window.count
            } else {
                let pairs = window.prefix(7).enumerated().reduce(UInt16(0)) {
                    $0 | UInt16($1.element) << UInt16(12 - $1.offset * 2)
                }
                buffer.writeInteger(0xC000 | pairs)
                index += min(7, window.count)
            }
        }
    }
}
