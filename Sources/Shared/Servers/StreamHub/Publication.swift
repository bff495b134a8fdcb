package import Media
import NIOCore
import Streaming

/// A publisher's hold of a stream on this node.
package final class Publication: MediaSink {
    private let stream: LiveStream
    private let id: UInt64
    package let epoch: UInt64
    package var key: StreamKey? { self.stream.key }
    private var isFinished = false

    /// `id` is the session that holds the stream's slot.
    package init(stream: LiveStream, id: UInt64, epoch: UInt64) {
        self.stream = stream
        self.id = id
        self.epoch = epoch
    }

    package func receive(_ events: [MediaEvent]) {
        guard !events.isEmpty, !self.isFinished else { return }
        if self.stream.home.inEventLoop {
            self.stream.receive(events, from: self.id)
        } else {
            self.stream.home.execute { [stream, id] in stream.receive(events, from: id) }
        }
    }

    package func finish() {
        guard !self.isFinished else { return }
        self.isFinished = true
        if self.stream.home.inEventLoop {
            self.stream.left(self.id)
        } else {
            self.stream.home.execute { [stream, id] in stream.left(id) }
        }
    }
}
