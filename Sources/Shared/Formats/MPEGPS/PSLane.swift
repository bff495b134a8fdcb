import MPEGTS
import Media
import NIOCore

/// One elementary stream of the program, and what finds its frames.
struct PSLane: Sendable {
    private enum Reader: Sendable {
        case elementary(ElementaryStreamReader)
        case g711(G711Reader)
    }

    let streamID: UInt8
    let content: PSContent
    private var reader: Reader
    /// A packet of this stream had a time stamp, so those without follow it.
    private var hasTimes = false

    init(streamID: UInt8, content: PSContent, maximumLength: Int) {
        self.streamID = streamID
        self.content = content
        switch content {
        case .elementary(let content):
            self.reader = .elementary(
                ElementaryStreamReader(id: UInt16(streamID), content: content, maximumLength: maximumLength))
        case .g711(let codec): self.reader = .g711(G711Reader(codec: codec))
        }
    }

    /// Takes the payload of one PES packet. `clock`: the pack's clock, for streams that have no time stamps at all.
    mutating func receive(
        _ payload: ByteBuffer, header: PESHeader, clock: Int64?, position: Int64, into outputs: inout [PSDemuxer.Output]
    ) {
        self.hasTimes = self.hasTimes || header.pts != nil
        let pts = header.pts ?? (self.hasTimes ? nil : clock)
        switch self.reader {
        case .elementary(var reader):
            // The reader is unique while it is at work.
            self.reader = .g711(G711Reader(codec: .g711ALaw))
            reader.receive(payload, pts: pts, dts: header.dts, position: position)
            Self.drain(&reader, into: &outputs)
            self.reader = .elementary(reader)
        case .g711(var reader):
            reader.receive(payload, pts: pts, position: position, into: &outputs)
            self.reader = .g711(reader)
        }
    }

    mutating func flush(into outputs: inout [PSDemuxer.Output]) {
        guard case .elementary(var reader) = self.reader else { return }
        reader.flush()
        Self.drain(&reader, into: &outputs)
        self.reader = .elementary(reader)
    }

    mutating func discard() {
        guard case .elementary(var reader) = self.reader else { return }
        reader.discard()
        self.reader = .elementary(reader)
    }

    private static func drain(_ reader: inout ElementaryStreamReader, into outputs: inout [PSDemuxer.Output]) {
        while let output = reader.nextOutput() {
            switch output {
            case .event(let event, let position): outputs.append(.event(event, position: position))
            case .problem(let problem): outputs.append(.problem(.elementary(problem)))
            }
        }
    }
}

/// G.711: each packet's payload is a frame, a byte a sample.
struct G711Reader: Sendable {
    private static let sampleRate = 8_000
    private static let ticksPerSample = MediaTime.ticksPerSecond / 8_000
    private static let timeMask: Int64 = (1 << 33) - 1

    private let codec: Codec
    private var hasTrack = false
    /// Raw 33 bits: when the samples that came so far end.
    private var end: Int64?

    init(codec: Codec) { self.codec = codec }

    mutating func receive(
        _ payload: ByteBuffer, pts: Int64?, position: Int64, into outputs: inout [PSDemuxer.Output]
    ) {
        guard payload.readableBytes > 0, let time = pts ?? self.end else { return }
        if !self.hasTrack {
            self.hasTrack = true
            let format = AudioFormat(sampleRate: Self.sampleRate, channels: 1)
            outputs.append(
                .event(.track(Track(codec: self.codec, configuration: nil, format: .audio(format))), position: position)
            )
        }
        self.end = (time + Int64(payload.readableBytes) * Self.ticksPerSample) & Self.timeMask
        let ticks = MediaTime(ticks: time)
        // A copy: a slice would keep the whole input.
        let copy = ByteBuffer(bytes: payload.readableBytesView)
        outputs.append(
            .event(
                .frame(Frame(codec: self.codec, dts: ticks, pts: ticks, isKeyframe: true, payload: copy)),
                position: position))
    }
}
