package import Media
package import NIOCore

/// Finds the frames of one elementary stream in the payloads of its PES packets, whatever carries those.
///
/// Run loop: for each PES packet `receive` its payload, `flush` when nothing continues what is there, `discard` when it
/// is damaged; after each, drain `nextOutput()` to `nil`. Frames have the shape and the raw times that `TSDemuxer`
/// documents. A video frame comes out when the next one begins.
package struct ElementaryStreamReader: Sendable {
    /// A track, a frame or what was wrong. A position is the one of the PES packet in which the frame begins.
    package enum Output: Sendable, Equatable {
        case event(MediaEvent, position: Int64)
        case problem(TSProblem)
    }

    private var video: AccessUnitAssembler?
    private var audio: AudioAssembler?
    private var outputs = OutputQueue()

    /// - Parameters:
    ///   - id: told in problems, as a packet identifier is.
    ///   - content: has a codec; one of those that `TSDemuxer` reads.
    ///   - maximumLength: bytes of an access unit.
    package init(id: UInt16, content: TSProgram.Content, maximumLength: Int) {
        guard let codec = content.codec else { preconditionFailure("\(content) has no frames") }
        if codec.kind == .video {
            self.video = AccessUnitAssembler(pid: id, codec: codec, maximumLength: maximumLength)
        } else {
            let channelCode: UInt8? = if case .opus(let code) = content { code } else { nil }
            self.audio = AudioAssembler(
                pid: id, codec: codec, isLATM: content == .latm, opusChannelCode: channelCode)
        }
    }

    /// Takes the whole payload of one PES packet. Times are the raw 33 bits; `dts` only where it differs from `pts`.
    package mutating func receive(_ payload: ByteBuffer, pts: Int64?, dts: Int64?, position: Int64) {
        let stamp = PESStamp(pts: pts, dts: dts ?? pts, position: position)
        self.video?.begin(stamp, first: payload, into: &self.outputs)
        self.video?.feed(payload, into: &self.outputs)
        self.audio?.begin(stamp)
        self.audio?.feed(payload, into: &self.outputs)
    }

    /// Nothing continues what is there: it is given out.
    package mutating func flush() {
        self.video?.flush(into: &self.outputs)
        self.audio?.reset()
    }

    /// What is unfinished is damaged, and is dropped.
    package mutating func discard() {
        self.video?.discard()
        self.audio?.reset()
    }

    /// The next output; `nil` when the next packet is needed.
    package mutating func nextOutput() -> Output? {
        while let output = self.outputs.next() {
            switch output {
            case .event(let event, let position): return .event(event, position: position)
            case .problem(let problem): return .problem(problem)
            case .program, .id3, .clockJump: continue
            }
        }
        return nil
    }
}
