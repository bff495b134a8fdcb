import Media
import NIOCore

/// The time stamps of a PES packet and where it began.
struct PESStamp: Sendable, Equatable {
    /// Raw 33 bits; `nil` without time stamps. `dts` equals `pts` where the packet gives one only.
    var pts: Int64?
    var dts: Int64?
    var position: Int64
}

/// Reads one elementary stream: checks continuity, puts PES packets together and hands them to what finds frames.
struct TSStreamReader: Sendable {
    private enum State: Sendable, Equatable {
        /// Until the next start.
        case idle
        case header
        case payload(PESHeader)
    }

    let pid: UInt16
    let content: TSProgram.Content
    private let maximumLength: Int
    private var continuity = TSContinuity()
    private var isScrambled = false
    private var state = State.idle
    /// The PES packet so far, without its header once that is read.
    private var bytes = ByteBuffer()
    private var position: Int64 = 0
    // One of these, by the content; neither for ID3.
    private var video: AccessUnitAssembler?
    private var audio: AudioAssembler?

    init(pid: UInt16, content: TSProgram.Content, maximumLength: Int) {
        self.pid = pid
        self.content = content
        self.maximumLength = maximumLength
        guard let codec = content.codec else { return }
        if codec.kind == .video {
            self.video = AccessUnitAssembler(pid: pid, codec: codec, maximumLength: maximumLength)
        } else {
            let channelCode: UInt8? = if case .opus(let code) = content { code } else { nil }
            self.audio = AudioAssembler(
                pid: pid, codec: codec, isLATM: content == .latm, opusChannelCode: channelCode)
        }
    }

    /// Takes a packet of this stream.
    mutating func receive(
        _ packet: TSPacket, payload: ByteBuffer, position: Int64, statistics: inout TSDemuxer.Statistics,
        into outputs: inout OutputQueue
    ) {
        switch self.continuity.receive(packet, payload: payload) {
        case .next: break
        case .duplicate: return statistics.duplicates += 1
        case .announcedGap: self.lose(into: &outputs)
        case .gap(let expected):
            statistics.continuityErrors += 1
            outputs.append(
                .problem(
                    .continuity(pid: self.pid, expected: expected, found: packet.continuity, position: position)))
            self.lose(into: &outputs)
        }
        if packet.isScrambled {
            statistics.scrambledPackets += 1
            self.enterScrambled(position: position, into: &outputs)
            return
        }
        self.isScrambled = false
        if packet.isStart {
            self.end(into: &outputs)
            // Frames that are not given out yet may hold the memory. The new one is as large as is likely to be needed, but
            // not as large as the old one might be: a small packet must not keep much.
            self.bytes.clear(minimumCapacity: min(self.bytes.writerIndex, 16_384))
            self.position = position
            self.state = .header
        } else if self.state == .idle {
            return
        }
        self.bytes.writeImmutableBuffer(payload)
        if self.state == .header { self.readHeader(into: &outputs) }
        self.checkLength(into: &outputs)
    }

    /// Takes a packet of this stream without payload that announces a discontinuity.
    mutating func receiveDiscontinuity(_ packet: TSPacket, into outputs: inout OutputQueue) {
        if self.continuity.receiveWithoutPayload(packet) { self.lose(into: &outputs) }
    }

    /// The stream ends: gives out what is there.
    mutating func finish(into outputs: inout OutputQueue) {
        self.end(into: &outputs)
        self.video?.flush(into: &outputs)
        self.audio?.reset()
    }

    private mutating func enterScrambled(position: Int64, into outputs: inout OutputQueue) {
        if !self.isScrambled {
            outputs.append(.problem(.scrambled(pid: self.pid, position: position)))
            self.lose(into: &outputs)
        }
        self.isScrambled = true
    }

    private mutating func readHeader(into outputs: inout OutputQueue) {
        switch PESHeader.parse(self.bytes) {
        case .incomplete: break
        case .ignored: self.state = .idle
        case .malformed:
            outputs.append(.problem(.malformedPES(pid: self.pid, position: self.position)))
            self.state = .idle
            self.video?.flush(into: &outputs)
            self.audio?.reset()
        case .header(let header) where header.isScrambled:
            self.state = .idle
            self.enterScrambled(position: self.position, into: &outputs)
        case .header(let header):
            self.bytes.moveReaderIndex(forwardBy: header.length)
            self.state = .payload(header)
            let stamp = PESStamp(pts: header.pts, dts: header.dts ?? header.pts, position: self.position)
            self.video?.begin(stamp, first: self.bytes, into: &outputs)
            self.audio?.begin(stamp)
        }
    }

    private mutating func checkLength(into outputs: inout OutputQueue) {
        guard case .payload(let header) = self.state else { return }
        if let length = header.payloadLength, self.bytes.readableBytes >= length {
            self.bytes.moveWriterIndex(to: self.bytes.readerIndex + length)
            self.complete(header, into: &outputs)
        } else if self.bytes.readableBytes > self.maximumLength {
            outputs.append(
                .problem(.tooLong(pid: self.pid, maximum: self.maximumLength, position: self.position)))
            self.state = .idle
            self.bytes = ByteBuffer()
            self.video?.discard()
            self.audio?.reset()
        }
    }

    /// The PES packet ends, because the next begins or because the stream does.
    private mutating func end(into outputs: inout OutputQueue) {
        switch self.state {
        case .idle: return
        case .header:
            outputs.append(.problem(.malformedPES(pid: self.pid, position: self.position)))
            self.state = .idle
        case .payload(let header):
            if let length = header.payloadLength {
                outputs.append(
                    .problem(
                        .shortPES(
                            pid: self.pid, declared: length, found: self.bytes.readableBytes, position: self.position)))
            }
            self.complete(header, into: &outputs)
        }
    }

    private mutating func complete(_ header: PESHeader, into outputs: inout OutputQueue) {
        self.state = .idle
        self.video?.feed(self.bytes, into: &outputs)
        self.audio?.feed(self.bytes, into: &outputs)
        if self.content == .id3, self.bytes.readableBytes > 0 {
            if let pts = header.pts {
                outputs.append(.id3(self.bytes, at: MediaTime(ticks: pts), position: self.position))
            } else {
                outputs.append(.problem(.unusableFrame(pid: self.pid, position: self.position)))
            }
        }
    }

    /// Packets are missing. A PES packet that was complete is not hurt; of one that was not, only whole audio frames are
    /// used.
    private mutating func lose(into outputs: inout OutputQueue) {
        if self.state == .idle {
            self.video?.flush(into: &outputs)
        } else {
            if case .payload = self.state { self.audio?.feed(self.bytes, into: &outputs) }
            self.video?.discard()
        }
        self.audio?.reset()
        self.state = .idle
    }
}
