import Media
import MediaStorage
import NIOCore
import Packaging
import StreamHub
import Streaming

/// Drives the packager of a stream, on the stream's home loop, and hands what it makes to the stream's shelf.
// Safety: everything is touched on the home loop of the stream it is attached to only; the reference is passed on.
final class PackagingTap: StreamTap, @unchecked Sendable {
    let shelf: StreamShelf
    var audioForm: AudioForm { self.shelf.configuration.audioForm }
    private var packager: StreamPackager?
    private var outputs: [PackagingOutput] = []
    /// The wall clock of this batch of events.
    private var batchMillis: Int64?

    init(shelf: StreamShelf) { self.shelf = shelf }

    func sourceStarted(epoch: UInt64, continues: Bool) {
        let now = WallClock.unixMillis
        var packager = self.packagerForSource(nowMillis: now)
        packager.sourceStarted(epoch: epoch, continues: continues, nowMillis: now)
        self.packager = packager
        self.collect()
        self.handOver(nowMillis: now)
    }

    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline) {
        let millis = self.batchMillis ?? WallClock.unixMillis
        self.batchMillis = millis
        self.packager?.receive(event, video: state.video, audio: state.audio, nowMillis: millis)
        self.collect()
    }

    func batchEnded(now: NIODeadline) {
        let millis = self.batchMillis ?? WallClock.unixMillis
        self.batchMillis = nil
        self.handOver(nowMillis: millis)
    }

    func sourceEnded(isFinal: Bool) {
        let now = WallClock.unixMillis
        self.packager?.sourceEnded(isFinal: isFinal, nowMillis: now)
        self.collect()
        self.handOver(nowMillis: now)
    }

    /// The packager of before, unless another node has gone on with the stream meanwhile.
    private func packagerForSource(nowMillis: Int64) -> StreamPackager {
        let known = self.shelf.position
        if let packager = self.packager, known.map({ $0.nextSequence <= packager.position.nextSequence }) ?? true {
            return packager
        }
        return StreamPackager(
            configuration: self.shelf.configuration.packaging, position: known, nowMillis: nowMillis)
    }

    private func collect() {
        while let output = self.packager?.nextOutput() { self.outputs.append(output) }
    }

    private func handOver(nowMillis: Int64) {
        guard !self.outputs.isEmpty, let packager = self.packager else { return }
        let outputs = self.outputs
        self.outputs.removeAll(keepingCapacity: true)
        self.shelf.apply(
            outputs, position: packager.position, counters: packager.counters, nowMillis: nowMillis)
    }
}
