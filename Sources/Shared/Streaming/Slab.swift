import DequeModule
package import Media
package import NIOCore

/// Some whole messages of a rendition, in wire form: immutable, and shared by all viewers.
package final class Slab: Sendable {
    /// Counts the slabs of a rendition, from 0.
    package let sequence: UInt64
    package let bytes: ByteBuffer
    /// What must come before these bytes, if a decoder can start here.
    package let start: SlabStart?
    package let sealedAt: NIODeadline
    /// The number of media frames within.
    package let frames: Int

    package init(sequence: UInt64, bytes: ByteBuffer, start: SlabStart?, sealedAt: NIODeadline, frames: Int) {
        self.sequence = sequence
        self.bytes = bytes
        self.start = start
        self.sealedAt = sealedAt
        self.frames = frames
    }

    /// A viewer can start with this slab.
    package var isStart: Bool { self.start != nil }
}

/// What comes before the bytes of a slab that a viewer starts with, framed like them.
package struct SlabStart: Sendable {
    /// Sent once to each viewer.
    package var header: ByteBuffer
    /// Metadata and codec headers; sent each time a viewer starts or skips.
    package var prelude: ByteBuffer

    package init(header: ByteBuffer, prelude: ByteBuffer) {
        self.header = header
        self.prelude = prelude
    }
}

/// Encodes a stream into slabs, on the stream's home loop.
///
/// A slab ends where the flush policy says, and always before a frame that a decoder can start with, so that a start
/// point is a whole slab.
package struct RenditionFeed: Sendable {
    package let id: RenditionID
    private var encoder: any RenditionEncoder
    private var open = ByteBuffer()
    private var openFrames = 0
    private var openStart: SlabStart?
    private var nextSequence: UInt64 = 0
    private var lastAudioStart: MediaTime?
    private var largestSlab = 2_048
    /// The time of the last frame, which events without a time of their own get.
    private var lastTime = MediaTime.zero

    /// A stream without video gets a start point this often.
    package static let audioStartInterval = MediaTime(millis: 1_000)

    package init(id: RenditionID, encoder: any RenditionEncoder) {
        self.id = id
        self.encoder = encoder
    }

    /// Bytes wait to be sealed.
    package var hasOpenBytes: Bool { self.open.readableBytes > self.id.framing.reserve || self.encoder.holdsBack }

    /// The open bytes begin with a frame that a viewer can start with.
    package var opensWithStart: Bool { self.openStart != nil }

    /// Adds one event. Returns the slab that had to end before it, if any.
    package mutating func append(_ event: MediaEvent, state: StreamState, now: NIODeadline) -> Slab? {
        let time: MediaTime
        let event = self.selected(event, state: state)
        var sealed: Slab?
        switch event {
        case .track(let track):
            guard self.id.selection.includes(track.kind) else { return nil }
            time = self.lastTime
        case .frame(let frame):
            guard self.id.selection.includes(frame.kind) else { return nil }
            time = frame.dts
            if self.isStart(frame, state: state) {
                sealed = self.seal(now: now)
                let selected = self.selected(state)
                self.openStart = SlabStart(
                    header: self.framed { self.encoder.writeHeader(selected, into: &$0) },
                    prelude: self.framed { self.encoder.writePrelude(selected, at: time, into: &$0) })
            }
            self.openFrames += 1
            self.lastTime = time
        case .data(let data):
            time = data.time
        case .metadata:
            time = self.lastTime
        }
        self.beginIfNeeded()
        self.encoder.write(event, state: self.selected(state), at: time, into: &self.open)
        return sealed
    }

    /// Ends the open slab, if it holds anything.
    package mutating func seal(now: NIODeadline) -> Slab? {
        if self.encoder.holdsBack {
            self.beginIfNeeded()
            self.encoder.writeHeldBack(into: &self.open)
        }
        guard self.open.readableBytes > self.id.framing.reserve else { return nil }
        self.id.framing.wrap(&self.open)
        let slab = Slab(
            sequence: self.nextSequence, bytes: self.open, start: self.openStart, sealedAt: now,
            frames: self.openFrames)
        self.nextSequence += 1
        self.largestSlab = max(self.open.readableBytes, self.largestSlab - self.largestSlab / 16)
        self.open = ByteBuffer()
        self.openFrames = 0
        self.openStart = nil
        return slab
    }

    private mutating func isStart(_ frame: Frame, state: StreamState) -> Bool {
        if frame.kind == .video { return frame.isKeyframe }
        guard state.video == nil || self.id.selection == .audioOnly else { return false }
        if let last = self.lastAudioStart, frame.dts >= last, frame.dts - last < Self.audioStartInterval {
            return false
        }
        self.lastAudioStart = frame.dts
        return true
    }

    private mutating func beginIfNeeded() {
        guard self.open.capacity == 0 else { return }
        self.open.reserveCapacity(self.largestSlab + self.largestSlab / 8 + 64)
        self.open.writeRepeatingByte(0, count: self.id.framing.reserve)
    }

    private func framed(_ write: (inout ByteBuffer) -> Void) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeRepeatingByte(0, count: self.id.framing.reserve)
        write(&buffer)
        guard buffer.readableBytes > self.id.framing.reserve else { return ByteBuffer() }
        self.id.framing.wrap(&buffer)
        return buffer
    }

    private func selected(_ event: MediaEvent, state: StreamState) -> MediaEvent {
        guard self.id.selection != .all, case .metadata = event, let metadata = self.selected(state).metadata else {
            return event
        }
        return .metadata(metadata)
    }

    private func selected(_ state: StreamState) -> StreamState {
        switch self.id.selection {
        case .all:
            return state
        case .audioOnly:
            return StreamState(audio: state.audio, metadata: state.metadata?.without(StreamMetadata.videoNames))
        case .videoOnly:
            return StreamState(video: state.video, metadata: state.metadata?.without(StreamMetadata.audioNames))
        }
    }
}

/// The recent slabs of a rendition, as one event loop holds them.
///
/// Positions are slab sequence numbers; a viewer at `end` has everything.
package struct SlabRing: Sendable {
    private struct Entry {
        var slab: Slab
        /// Bytes of all slabs before this one, since the ring began.
        var startOffset: UInt64
    }

    private var entries: Deque<Entry> = []
    private var endOffset: UInt64 = 0
    /// The position behind the newest slab.
    package private(set) var end: UInt64 = 0
    /// The newest slab that a viewer can start with.
    package private(set) var lastStart: UInt64?

    package init() {}

    /// The position of the oldest slab that is kept.
    package var begin: UInt64 { self.end - UInt64(self.entries.count) }
    package var isEmpty: Bool { self.entries.isEmpty }

    /// Adds the slab that follows the newest. A ring that is empty may begin anywhere.
    package mutating func append(_ slab: Slab) {
        precondition(
            self.entries.isEmpty || slab.sequence == self.end, "slab \(slab.sequence) after end \(self.end)")
        self.entries.append(Entry(slab: slab, startOffset: self.endOffset))
        self.endOffset += UInt64(slab.bytes.readableBytes)
        self.end = slab.sequence + 1
        if slab.isStart { self.lastStart = slab.sequence }
    }

    /// The slab at `position`, which is kept.
    package subscript(position: UInt64) -> Slab {
        precondition(position >= self.begin && position < self.end, "\(position) not in \(self.begin)..<\(self.end)")
        return self.entries[Int(position - self.begin)].slab
    }

    package func contains(_ position: UInt64) -> Bool { position >= self.begin && position < self.end }

    /// Bytes from `position` to the end; `nil` when the slab at `position` is gone.
    package func bytesBehind(_ position: UInt64) -> Int? {
        guard position < self.end else { return 0 }
        guard position >= self.begin else { return nil }
        return Int(self.endOffset - self.entries[Int(position - self.begin)].startOffset)
    }

    /// Forgets slabs before `keep`, and, whoever needs them, more until at most `maximumBytes` remain.
    package mutating func trim(keeping keep: UInt64, maximumBytes: Int) {
        while let first = self.entries.first {
            let isSpare = first.slab.sequence < keep
            let isOver = self.endOffset - first.startOffset > UInt64(maximumBytes)
            guard isSpare || isOver else { return }
            if self.lastStart == first.slab.sequence { self.lastStart = nil }
            self.entries.removeFirst()
        }
    }
}

extension StreamMetadata {
    /// The names of `onMetaData` that tell of video.
    fileprivate static let videoNames: Set<String> = [
        "videocodecid", "width", "height", "framerate", "videodatarate", "displayWidth", "displayHeight",
    ]
    /// The names of `onMetaData` that tell of audio.
    fileprivate static let audioNames: Set<String> = [
        "audiocodecid", "audiosamplerate", "audiosamplesize", "audiochannels", "audiodatarate", "stereo",
    ]

    fileprivate func without(_ names: Set<String>) -> StreamMetadata {
        StreamMetadata(entries: self.entries.filter { !names.contains($0.name) })
    }
}
