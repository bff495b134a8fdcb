import FLV
import MPEGTS
package import Media
package import NIOCore

/// Reads a whole FLV or MPEG-TS once, to find where it is intact and rebuild its index: after a crash.
///
/// Feed the bytes from the start with `receive`, then `finish`.
package struct RecordingScan: Sendable {
    package private(set) var index = RecordingIndex()
    /// Video first.
    package private(set) var tracks: [Track] = []
    /// What is in front of this is whole tags or packets.
    package private(set) var intactEnd: Int64 = 0
    package private(set) var frameCount = 0

    private enum Reader: Sendable {
        case flv(FLVFileReader, FLVTrackReader)
        case ts(TSDemuxer)
    }

    private var reader: Reader
    private var received: Int64 = 0
    private var isBroken = false
    private var end = MediaEnd()
    private var hasVideoInInterval = false
    /// Where the program association tables of an MPEG-TS are, with which its intervals begin.
    private var tables: [Int64] = []
    private var lastTime = MediaTime.zero

    /// `format` is FLV or MPEG-TS; MP4 has tables.
    package init(format: RecordingFormat) {
        precondition(format != .mp4, "an MP4 is read by its tables")
        self.reader =
            format == .flv
            ? .flv(FLVFileReader(maximumBodyLength: FLVTagWriter.maximumBodyLength), FLVTrackReader())
            : .ts(TSDemuxer())
    }

    package mutating func receive(_ bytes: ByteBuffer) {
        guard !self.isBroken else { return }
        if case .ts = self.reader { self.noteTables(bytes) }
        self.received += Int64(bytes.readableBytes)
        switch self.reader {
        case .flv(var file, var tracks):
            self.reader = .ts(TSDemuxer())
            file.receive(bytes)
            self.readTags(&file, &tracks)
            self.reader = .flv(file, tracks)
        case .ts(var demuxer):
            self.reader = .flv(FLVFileReader(), FLVTrackReader())
            demuxer.receive(bytes)
            self.readPackets(&demuxer)
            self.reader = .ts(demuxer)
        }
    }

    /// The file ends here.
    package mutating func finish() {
        if case .ts(var demuxer) = self.reader {
            self.intactEnd = self.received - self.received % 188
            demuxer.finish()
            self.readPackets(&demuxer)
            self.reader = .ts(demuxer)
        }
        self.index.endTime = max(self.index.endTime, self.end.time)
        self.index.endPosition = self.intactEnd
    }

    private mutating func readTags(_ file: inout FLVFileReader, _ tracks: inout FLVTrackReader) {
        do throws(FLVError) {
            while let tag = try file.nextTag() {
                let end = self.received - Int64(file.bufferedBytes)
                let start = end - Int64(tag.body.readableBytes + FLVTagWriter.overhead)
                let millis = FrameReader.unwrap(
                    Int64(tag.timestampMillis), near: self.lastTime.millis, period: 1 << 32)
                let result: FLVReadResult =
                    switch tag.type {
                    case .video: try tracks.video(timestampMillis: millis, body: tag.body)
                    case .audio: try tracks.audio(timestampMillis: millis, body: tag.body)
                    case .script: FLVReadResult()
                    }
                if let track = result.track { self.note(track) }
                if let frame = result.frame { self.note(frame, position: start) }
                self.intactEnd = end
            }
        } catch {
            self.isBroken = true
        }
    }

    private mutating func readPackets(_ demuxer: inout TSDemuxer) {
        let offset = TSMuxer.Configuration().timeOffset.ticks
        while let output = demuxer.nextOutput() {
            guard case .event(let event, let position) = output else { continue }
            switch event {
            case .track(let track): self.note(track)
            case .frame(var frame):
                let ticks = FrameReader.unwrap(
                    frame.dts.ticks - offset, near: self.lastTime.ticks, period: 1 << 33)
                frame.dts = MediaTime(ticks: max(0, ticks))
                // The tables in front of the frame belong to its interval.
                self.note(frame, position: self.tables.last { $0 <= position } ?? position)
            case .metadata, .data: continue
            }
        }
    }

    /// Our own files are whole packets from their first byte on.
    private mutating func noteTables(_ bytes: ByteBuffer) {
        var offset = Int((188 - self.received % 188) % 188)
        while let head = bytes.getInteger(at: bytes.readerIndex + offset, as: UInt32.self),
            offset + 4 <= bytes.readableBytes
        {
            // The sync byte, the start of a section, and the packet identifier 0.
            if head >> 8 & 0xFF5FFF == 0x474000 { self.tables.append(self.received + Int64(offset)) }
            offset += 188
        }
    }

    private mutating func note(_ track: Track) {
        self.tracks.removeAll { $0.kind == track.kind }
        self.tracks.insert(track, at: track.kind == .video ? 0 : self.tracks.count)
    }

    private mutating func note(_ frame: Frame, position: Int64) {
        guard let track = self.tracks.first(where: { $0.kind == frame.kind }) else { return }
        self.frameCount += 1
        self.lastTime = frame.dts
        self.end.note(frame, track: track)
        let hasVideo = self.tracks.contains { $0.kind == .video }
        let begins: Bool
        if let last = self.index.times.last {
            begins =
                hasVideo
                ? frame.kind == .video && frame.isKeyframe && self.hasVideoInInterval
                : frame.dts - last >= RecordingIndex.audioInterval
        } else {
            begins = true
        }
        if begins {
            self.index.append(time: self.index.count == 0 ? .zero : frame.dts, position: position)
            self.hasVideoInInterval = false
        }
        if frame.kind == .video { self.hasVideoInInterval = true }
    }
}
