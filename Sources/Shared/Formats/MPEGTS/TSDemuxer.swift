package import Media
package import NIOCore

/// Reads frames out of an MPEG transport stream from any source: files, or bytes as they arrive.
///
/// Run loop: `receive` bytes in pieces of any size, `finish` at the end of the input; after each, drain `nextOutput()` to
/// `nil`. The same bytes give the same outputs however they are cut.
///
/// - Packets of 188 bytes, also with 4 bytes of time in front (192) or 16 of parity behind (204).
/// - One program: its first video stream, one audio stream, its ID3 streams. A change of the tables is followed.
/// - Damage ends the smallest thing that can end, is told as a `TSProblem`, and reading goes on.
/// - Times are raw: `dts` has the 33 bits of the wire, and `pts` is `dts` plus the distance, so it is never before it.
///   The stream's timeline unwraps them.
/// - Frames have the shape that `Frame` demands: 4-byte lengths, no delimiters, no filler data, no parameter sets unless
///   they change between two keyframes. A `track` event comes in front of the first frame and of each keyframe with
///   which the parameter sets change. Frames before the first parameter sets or the first time stamp are dropped.
/// - H.264 keyframes are IDR pictures, and pictures with a recovery point of 0 and a sequence parameter set, because
///   broadcasters send no IDR pictures.
///
/// Spec: ISO 13818-1, ETSI TS 101 154.
package struct TSDemuxer: Sendable {
    /// What is read, and how much is kept.
    package struct Configuration: Sendable, Hashable {
        /// Which audio stream is read where there are several that we support. `first` also stands in for one that is
        /// not there.
        package enum AudioChoice: Sendable, Hashable {
            case first
            case pid(UInt16)
            /// The three letters of ISO 639-2.
            case language(String)
        }

        /// `nil`: the first in the association table.
        package var programNumber: UInt16?
        package var audio = AudioChoice.first
        /// Bytes of a PES packet and of an access unit.
        package var maximumAccessUnitLength = 8 << 20
        /// Programs in the association table; streams in a program map.
        package var maximumPrograms = 256
        package var maximumStreams = 64

        package init() {}
    }

    /// What was read. A position is the offset in bytes, from the start of the input, of the packet with which the PES
    /// packet began in which the frame begins.
    package enum Output: Sendable, Equatable {
        /// The program that is read, when it is found and whenever its map changes.
        case program(TSProgram)
        /// A track or a frame.
        case event(MediaEvent, position: Int64)
        /// What one PES packet of an ID3 stream carries: a tag, as a rule. `at` is raw, as a frame's time.
        case id3(ByteBuffer, at: MediaTime, position: Int64)
        /// The packet at `position` announces that the program's clock jumps.
        case clockJump(position: Int64)
        case problem(TSProblem)
    }

    /// What was counted since the start.
    package struct Statistics: Sendable, Hashable {
        package var packets = 0
        package var skippedBytes = 0
        package var transportErrors = 0
        package var continuityErrors = 0
        package var duplicates = 0
        package var scrambledPackets = 0

        package init() {}
    }

    let configuration: Configuration
    package internal(set) var statistics = Statistics()
    /// The program's clock as it was last seen: 42 bits of 27 MHz, and where.
    package private(set) var clock: (ticks27MHz: Int64, position: Int64)?

    private var input = ByteBuffer()
    /// The offset of the input's first byte.
    private var inputPosition: Int64 = 0
    private var isFinished = false
    private var isFlushed = false
    /// The distance between two packets; `nil` while it is not known.
    private var stride: Int?
    /// Bytes behind the last packet that belong to it.
    private var trailer = 0
    private var garbage: (position: Int64, count: Int64)?
    var outputs = OutputQueue()
    var association = AssociationState()
    var map: MapState?
    var readers: [TSStreamReader] = []

    package init(configuration: Configuration = .init()) {
        precondition(configuration.maximumAccessUnitLength > 0, "an access unit has to have some bytes")
        precondition(configuration.maximumPrograms > 0 && configuration.maximumStreams > 0, "limits of 0 read nothing")
        self.configuration = configuration
    }

    /// Takes the next bytes of the input. Nothing is read before `nextOutput()` asks.
    package mutating func receive(_ bytes: ByteBuffer) {
        precondition(!self.isFinished, "bytes after the end")
        guard self.input.readableBytes > 0 else { return self.input = bytes }
        self.input.discardReadBytes()
        self.input.writeImmutableBuffer(bytes)
    }

    /// The input has ended: what is unfinished is given out as far as it is usable.
    package mutating func finish() { self.isFinished = true }

    /// The next output; `nil` when more bytes are needed or everything was read.
    package mutating func nextOutput() -> Output? {
        while self.outputs.isEmpty {
            let advanced = self.stride == nil ? self.synchronize() : self.readPacket()
            if advanced { continue }
            guard self.isFinished, !self.isFlushed else { break }
            self.isFlushed = true
            self.skip(self.input.readableBytes)
            self.reportGarbage()
            for index in self.readers.indices { self.readers[index].finish(into: &self.outputs) }
        }
        return self.outputs.next()
    }

    // MARK: Packets

    private static let strides = [188, 192, 204]
    /// Bytes that have to be there to judge whether a packet begins: four sync bytes at the largest distance.
    private static let window = 3 * 204 + 1

    /// Looks for sync bytes at the distance of packets. Returns whether it found some.
    private mutating func synchronize() -> Bool {
        let (offset, found) = self.findPacket()
        self.skip(offset)
        guard let found else { return false }
        // The time in front of the very first packet of 192 bytes is no garbage.
        if found == 192, let garbage = self.garbage, garbage.position == 0, garbage.count == 4 {
            self.statistics.skippedBytes -= 4
            self.garbage = nil
        }
        self.reportGarbage()
        self.stride = found
        self.trailer = 0
        return true
    }

    /// The offset of the first packet with the distance to the next, or how many bytes are certainly none.
    private func findPacket() -> (offset: Int, stride: Int?) {
        let bytes = self.input.readableBytesUInt8Span
        let count = bytes.count
        var offset = 0
        while offset < count {
            if bytes[offset] == TS.syncByte {
                guard self.isFinished || count - offset >= Self.window else { break }
                for stride in Self.strides where count - offset >= TS.packetLength {
                    var matches = 0
                    for index in 1...3 {
                        let next = offset + index * stride
                        if next >= count || bytes[next] == TS.syncByte { matches += 1 }
                    }
                    if matches == 3 { return (offset, stride) }
                }
            }
            offset += 1
        }
        return (offset, nil)
    }

    private mutating func skip(_ count: Int) {
        guard count > 0 else { return }
        self.garbage = (self.garbage?.position ?? self.inputPosition, (self.garbage?.count ?? 0) + Int64(count))
        self.statistics.skippedBytes += count
        self.consume(count)
    }

    private mutating func consume(_ count: Int) {
        self.input.moveReaderIndex(forwardBy: count)
        self.inputPosition += Int64(count)
    }

    private mutating func reportGarbage() {
        guard let garbage = self.garbage else { return }
        self.garbage = nil
        self.outputs.append(.problem(.garbage(position: garbage.position, skipped: garbage.count)))
    }

    private mutating func readPacket() -> Bool {
        if self.trailer > 0 {
            let count = min(self.trailer, self.input.readableBytes)
            self.trailer -= count
            self.consume(count)
        }
        guard let first = self.input.getInteger(at: self.input.readerIndex, as: UInt8.self) else { return false }
        guard first == TS.syncByte else {
            self.stride = nil
            return true
        }
        guard let packet = self.input.getSlice(at: self.input.readerIndex, length: TS.packetLength) else {
            return false
        }
        let position = self.inputPosition
        self.consume(TS.packetLength)
        self.trailer = (self.stride ?? TS.packetLength) - TS.packetLength
        self.statistics.packets += 1
        do throws(TSPacket.Fault) {
            self.receive(try TSPacket(packet), position: position)
        } catch {
            switch error {
            case .transportError(let pid):
                self.statistics.transportErrors += 1
                self.outputs.append(.problem(.transportError(pid: pid, position: position)))
            case .malformed(let pid):
                self.outputs.append(.problem(.malformedPacket(pid: pid, position: position)))
            }
        }
        return true
    }

    private mutating func receive(_ packet: TSPacket, position: Int64) {
        guard packet.pid != TS.nullPID else { return }
        if packet.pid == self.map?.program?.clockPID {
            if packet.isDiscontinuity { self.outputs.append(.clockJump(position: position)) }
            if let clock = packet.clock { self.clock = (clock, position) }
        }
        guard let payload = packet.payload else {
            if packet.isDiscontinuity, let index = self.readers.firstIndex(where: { $0.pid == packet.pid }) {
                self.readers[index].receiveDiscontinuity(packet, into: &self.outputs)
            }
            return
        }
        if packet.pid == TS.tablePID {
            self.receiveAssociation(packet, payload: payload, position: position)
        } else if packet.pid == self.map?.pid {
            self.receiveMap(packet, payload: payload, position: position)
        } else if let index = self.readers.firstIndex(where: { $0.pid == packet.pid }) {
            self.readers[index].receive(
                packet, payload: payload, position: position, statistics: &self.statistics, into: &self.outputs)
        }
    }
}

/// Outputs on their way to the owner. Bounded by what one packet can complete.
struct OutputQueue: Sendable {
    private var elements: [TSDemuxer.Output] = []
    private var head = 0

    var isEmpty: Bool { self.head == self.elements.count }

    mutating func append(_ output: TSDemuxer.Output) { self.elements.append(output) }

    mutating func next() -> TSDemuxer.Output? {
        guard self.head < self.elements.count else { return nil }
        let output = self.elements[self.head]
        self.head += 1
        if self.head == self.elements.count {
            self.elements.removeAll(keepingCapacity: self.elements.capacity <= 64)
            self.head = 0
        }
        return output
    }
}
