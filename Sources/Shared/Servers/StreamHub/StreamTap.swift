package import Media
package import NIOCore
package import Streaming

/// Follows everything that a stream carries, on this node, without being a viewer: packaging, recording.
///
/// Called on the stream's home loop, in order; must not block it. A tap does not keep its stream alive.
package protocol StreamTap: AnyObject, Sendable {
    /// The codec in which it wants the audio; the same for as long as it is attached. `source` unless it says otherwise.
    var audioForm: AudioForm { get }
    /// A publisher holds the stream under `epoch`. `continues`: its clock and tracks go on from the source before.
    func sourceStarted(epoch: UInt64, continues: Bool)
    /// One event on the stream's timeline; `state` already contains it.
    func receive(_ event: MediaEvent, state: StreamState, now: NIODeadline)
    /// The events that arrived together were given.
    func batchEnded(now: NIODeadline)
    /// The publisher left. `isFinal`: nobody waits for its return.
    func sourceEnded(isFinal: Bool)
}

extension StreamTap {
    package var audioForm: AudioForm { .source }
}
