import FLV
import Foundation
import ISOBMFF
import Media
import NIOCore
import Recording
import TestSupport

/// What a writer made.
struct Written {
    struct File {
        var start: RecordingStart
        var bytes: ByteBuffer
        var pieces: [RecordingPiece] = []
        var summary: RecordingSummary?

        /// The bytes with what is filled in at the end.
        var finished: ByteBuffer {
            var bytes = self.bytes
            for patch in self.summary?.patches ?? [] {
                bytes.setBuffer(patch.bytes, at: bytes.readerIndex + Int(patch.position))
            }
            return bytes
        }
    }

    var files: [File] = []

    mutating func drain(_ writer: inout RecordingWriter) {
        while let output = writer.nextOutput() {
            switch output {
            case .begin(let start): self.files.append(File(start: start, bytes: start.header))
            case .append(let piece):
                self.files[self.files.count - 1].bytes.writeImmutableBuffer(piece.bytes)
                self.files[self.files.count - 1].pieces.append(piece)
            case .close(let summary): self.files[self.files.count - 1].summary = summary
            }
        }
    }

    /// Records events, each a batch of its own, as one source that begins at `wallMillis`.
    static func record(
        _ events: [MediaEvent], _ configuration: RecorderConfiguration, wallMillis: Int64 = 1_700_000_000_000
    ) -> Written {
        var writer = RecordingWriter(configuration: configuration)
        var written = Written()
        writer.sourceStarted(continues: false)
        var latest: Int64 = 0
        for event in events {
            if case .frame(let frame) = event { latest = max(latest, frame.dts.millis) }
            writer.receive(event)
            writer.batchEnded(wallMillis: wallMillis + latest)
            written.drain(&writer)
        }
        writer.sourceEnded()
        written.drain(&writer)
        return written
    }
}

extension [MediaEvent] {
    var frames: [Frame] {
        self.compactMap { event in if case .frame(let frame) = event { frame } else { nil } }
    }

    func moved(by time: MediaTime) -> [MediaEvent] {
        self.map { event in
            guard case .frame(var frame) = event else { return event }
            frame.dts = frame.dts + time
            frame.pts = frame.pts + time
            return .frame(frame)
        }
    }
}
