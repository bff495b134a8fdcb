import NIOCore
import StreamHub
import Synchronization

/// Lets a stream reach its publisher's session from any loop.
///
/// The stream may speak up before the session is made, because the gate is asked first; what it says is kept for it.
final class PublisherLink: PublisherConnection {
    private struct State {
        var handle: SessionHandle?
        var revoked: PublishEnd?
        var isReading = true
    }

    private let worker: WebRTCWorker
    private let state = Mutex(State())

    init(worker: WebRTCWorker) { self.worker = worker }

    var loop: any EventLoop { self.worker.loop }

    /// The session is there. Returns what was said before.
    func attach(_ handle: SessionHandle) -> (revoked: PublishEnd?, isReading: Bool) {
        self.state.withLock { state in
            state.handle = handle
            return (state.revoked, state.isReading)
        }
    }

    func publishingRevoked(_ reason: PublishEnd) {
        let handle = self.state.withLock { state in
            state.revoked = state.revoked ?? reason
            return state.handle
        }
        guard let handle else { return }
        // Never within the caller's turn: it may be the stream that the session is about to leave.
        self.worker.loop.execute { [worker] in
            guard let session = worker.session(handle) else { return }
            session.revoked(reason)
            worker.finishTurn(of: session)
        }
    }

    func keyframeRequested() {
        guard let handle = self.state.withLock({ $0.handle }) else { return }
        // Never within the caller's turn, like the end.
        self.worker.loop.execute { [worker] in
            guard let session = worker.session(handle) else { return }
            session.requestKeyframe(now: .now())
            worker.finishTurn(of: session)
        }
    }

    func setReading(_ isReading: Bool) {
        let handle = self.state.withLock { state in
            state.isReading = isReading
            return state.handle
        }
        guard let handle else { return }
        self.worker.run { $0.session(handle)?.setReading(isReading) }
    }
}
