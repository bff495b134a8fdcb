import Media
import NIOCore
import RTPSending
import Synchronization

/// Frames of a stream on their way from its home loop to the loop of a group.
///
/// The home loop adds, and wakes the other loop if nothing waited; that one takes everything at once. So a loop that lags
/// has one task to do for all that came meanwhile, and knows how late it is.
///
/// Bound: frames and bytes. When it is full, what is older than the newest keyframe is dropped, or everything if that is
/// not enough; viewers then skip to a keyframe.
final class RTPFrameInbox: Sendable {
    struct Contents {
        /// Another source began: what the ring has is of no use.
        var clearsRing = false
        var frames: [RTPFrame] = []
        /// The newest, if it has changed.
        var status: RTPStreamStatus?
    }

    private struct State {
        var contents = Contents()
        var bytes = 0
        var isWaiting = false
    }

    private let state = Mutex(State())
    private let maximumFrames: Int
    private let maximumBytes: Int

    init(maximumFrames: Int = 4_096, maximumBytes: Int) {
        self.maximumFrames = maximumFrames
        self.maximumBytes = maximumBytes
    }

    /// Adds the frames of a batch. Returns whether the taker has to be woken.
    func add(_ frames: [RTPFrame], status: RTPStreamStatus?) -> Bool {
        self.state.withLock { state in
            state.contents.frames += frames
            for frame in frames { state.bytes += frame.byteCount }
            if let status { state.contents.status = status }
            self.shorten(&state)
            defer { state.isWaiting = true }
            return !state.isWaiting
        }
    }

    /// What waits, and what the ring has, is of a source that is gone. Returns whether the taker has to be woken.
    func sourceChanged() -> Bool {
        self.state.withLock { state in
            state.contents.frames = []
            state.bytes = 0
            state.contents.clearsRing = true
            defer { state.isWaiting = true }
            return !state.isWaiting
        }
    }

    func take() -> Contents {
        self.state.withLock { state in
            let contents = state.contents
            state = State()
            return contents
        }
    }

    private func shorten(_ state: inout State) {
        guard self.isFull(state) else { return }
        let frames = state.contents.frames
        let start = frames.lastIndex { $0.kind == .video && $0.isKeyframe } ?? frames.count
        for frame in frames[..<start] { state.bytes -= frame.byteCount }
        state.contents.frames = Array(frames[start...])
        guard self.isFull(state) else { return }
        state.contents.frames = []
        state.bytes = 0
    }

    private func isFull(_ state: borrowing State) -> Bool {
        state.contents.frames.count > self.maximumFrames || state.bytes > self.maximumBytes
    }
}
