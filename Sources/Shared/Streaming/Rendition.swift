package import Media
package import NIOCore

/// What a stream consists of at one moment: what a new viewer must be told before the first frame.
package struct StreamState: Sendable, Hashable {
    package var video: Track?
    package var audio: Track?
    package var metadata: StreamMetadata?

    package init(video: Track? = nil, audio: Track? = nil, metadata: StreamMetadata? = nil) {
        self.video = video
        self.audio = audio
        self.metadata = metadata
    }

    package func track(of kind: MediaKind) -> Track? { kind == .video ? self.video : self.audio }
}

/// Which kinds of track a rendition carries.
package enum TrackSelection: String, Sendable, Hashable {
    case all, audioOnly, videoOnly

    package func includes(_ kind: MediaKind) -> Bool {
        switch self {
        case .all: true
        case .audioOnly: kind == .audio
        case .videoOnly: kind == .video
        }
    }
}

/// Names a rendition of a stream: everything that makes its bytes differ from those of another.
///
/// Protocols add their own formats; nothing here lists them.
package struct RenditionID: Sendable, Hashable {
    /// The protocol's own word, such as `rtmp` or `flv`.
    package var format: String
    /// Whatever else of the protocol changes the bytes.
    package var variant: String
    package var framing: RenditionFraming
    package var selection: TrackSelection
    /// The codec that its audio must have.
    package var audio: AudioForm
    package var flush: FlushPolicy

    package init(
        format: String, variant: String = "", framing: RenditionFraming = .none, selection: TrackSelection = .all,
        audio: AudioForm = .source, flush: FlushPolicy
    ) {
        self.format = format
        self.variant = variant
        self.framing = framing
        self.selection = selection
        self.audio = audio
        self.flush = flush
    }
}

/// Turns the events of a stream into the bytes of one output format, once for all viewers.
///
/// Called on the stream's home loop only. Times are on the stream's timeline.
package protocol RenditionEncoder: Sendable {
    /// Appends what each viewer gets once, before anything else.
    func writeHeader(_ state: StreamState, into buffer: inout ByteBuffer)
    /// Appends what a decoder needs before the frame at `time`: metadata and codec headers.
    func writePrelude(_ state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer)
    /// Appends one event. `state` already contains it.
    mutating func write(_ event: MediaEvent, state: StreamState, at time: MediaTime, into buffer: inout ByteBuffer)
    /// Frames were written whose bytes wait for more of their kind, as audio does where one packet holds several frames.
    var holdsBack: Bool { get }
    /// Appends what waits: called before a slab is sealed, so that it holds all frames that came before its end.
    mutating func writeHeldBack(into buffer: inout ByteBuffer)
}

extension RenditionEncoder {
    package var holdsBack: Bool { false }
    package mutating func writeHeldBack(into buffer: inout ByteBuffer) {}
}

/// How the bytes of a slab are wrapped for their transport. Rendered once, like the bytes themselves.
package enum RenditionFraming: String, Sendable, Hashable {
    case none
    /// One chunk of HTTP/1.1 chunked coding (RFC 9112 §7.1).
    case httpChunk
    /// One unmasked binary message (RFC 6455 §5.2).
    case webSocket

    /// The bytes to keep free in front of a payload.
    package var reserve: Int {
        switch self {
        case .none: 0
        case .httpChunk: 10
        case .webSocket: 10
        }
    }

    /// Wraps the readable bytes of `buffer` behind its first `reserve` bytes, in place.
    package func wrap(_ buffer: inout ByteBuffer) {
        let start = buffer.readerIndex
        let count = buffer.readableBytes - self.reserve
        precondition(count >= 0, "framing needs \(self.reserve) reserved bytes, got \(buffer.readableBytes)")
        switch self {
        case .none:
            return
        case .httpChunk:
            // Leading zeros are legal in a chunk size, so the prefix has one width.
            for digit in 0..<8 {
                let nibble = UInt8(truncatingIfNeeded: count >> (28 - 4 * digit)) & 0xF
                buffer.setInteger(nibble + (nibble < 10 ? 0x30 : 0x37), at: start + digit)
            }
            buffer.setInteger(UInt16(0x0D0A), at: start + 8)
            buffer.writeInteger(UInt16(0x0D0A))
        case .webSocket:
            let header = count < 126 ? 2 : count < 65_536 ? 4 : 10
            buffer.moveReaderIndex(forwardBy: self.reserve - header)
            let first = buffer.readerIndex
            buffer.setInteger(UInt8(0x82), at: first)
            switch header {
            case 2: buffer.setInteger(UInt8(count), at: first + 1)
            case 4:
                buffer.setInteger(UInt8(126), at: first + 1)
                buffer.setInteger(UInt16(count), at: first + 2)
            default:
                buffer.setInteger(UInt8(127), at: first + 1)
                buffer.setInteger(UInt64(count), at: first + 2)
            }
        }
    }
}

/// When the bytes of a rendition leave.
package struct FlushPolicy: Sendable, Hashable {
    /// The time over which bytes gather into one slab; `nil` lets each video frame leave at once.
    package var slabInterval: TimeAmount?
    /// Viewers are dealt into this many groups that take turns, one turn a slab interval.
    package var turns: Int
    /// Where video leaves at once: audio waits for a video frame to ride with, which saves a write each time.
    package var holdsAudio = true

    /// How long audio waits for a video frame to ride with, where video leaves at once.
    package static let audioWait = TimeAmount.milliseconds(40)

    /// Each video frame leaves at once.
    package static let realtime = FlushPolicy(slabInterval: nil, turns: 1)
    /// Each frame of audio and video leaves at once: for other nodes, whose viewers may want it evenly.
    package static let immediate: FlushPolicy = {
        var policy = FlushPolicy(slabInterval: nil, turns: 1)
        policy.holdsAudio = false
        return policy
    }()
    /// A viewer gets a write every 100 ms.
    package static let low = FlushPolicy(slabInterval: .milliseconds(50), turns: 2)
    /// A viewer gets a write every 350 ms.
    package static let balanced = FlushPolicy(slabInterval: .milliseconds(175), turns: 2)

    package init(slabInterval: TimeAmount?, turns: Int) {
        precondition(turns > 0, "viewers need at least one turn, got \(turns)")
        self.slabInterval = slabInterval
        self.turns = turns
    }

    /// How long gathered bytes may wait before the next slab is sealed.
    package var sealWait: TimeAmount { self.slabInterval ?? Self.audioWait }
}
