package import NIOCore

/// Requests that wait until it is known what a stream consists of. On the stream's home loop.
///
/// Tracks come one after the other, so what is known is told when nothing is missing, or when a second track has had time to
/// come behind the first.
package final class TrackWaiters<Known: Sendable> {
    private struct Waiter {
        let promise: EventLoopPromise<Known?>
        /// From then on what is there has to do.
        let settled: NIODeadline
        let deadline: NIODeadline
    }

    private static var maximumWaiters: Int { 2_000 }

    private let loop: any EventLoop
    private let settling: TimeAmount
    private var waiters: [Waiter] = []
    private var timer: Scheduled<Void>?
    /// What is known now, and whether nothing is missing.
    private let look: () -> (known: Known?, isComplete: Bool)

    /// `settling`: how long a second track may come behind the first one. `look` is asked on `loop` for what is known, `nil`
    /// if nothing is, and whether nothing is missing.
    package init(
        loop: any EventLoop, settling: TimeAmount, look: @escaping () -> (known: Known?, isComplete: Bool)
    ) {
        self.loop = loop
        self.settling = settling
        self.look = look
    }

    /// What the stream consists of, once that is known, or what is known of it at `deadline`; `nil` if nothing is, or if
    /// the stream ended. `isSettled`: the stream is no new one, so what is missing now will not come.
    package func wait(until deadline: NIODeadline, isSettled: Bool) -> EventLoopFuture<Known?> {
        let now = NIODeadline.now()
        let promise = self.loop.makePromise(of: Known?.self)
        guard self.waiters.count < Self.maximumWaiters else {
            promise.succeed(self.look().known)
            return promise.futureResult
        }
        let settled = isSettled ? now : min(deadline, now + self.settling)
        self.waiters.append(Waiter(promise: promise, settled: settled, deadline: deadline))
        self.answer(now: now)
        return promise.futureResult
    }

    /// Something may have become known.
    package func streamChanged(now: NIODeadline) {
        if !self.waiters.isEmpty { self.answer(now: now) }
    }

    /// Nothing will become known any more.
    package func streamEnded() {
        let ended = self.waiters
        self.waiters = []
        self.stop()
        for waiter in ended { waiter.promise.succeed(nil) }
    }

    /// Nobody wakes by time any more.
    package func stop() {
        self.timer?.cancel()
        self.timer = nil
    }

    private func answer(now: NIODeadline) {
        let (known, isComplete) = self.look()
        let isOver = { (waiter: Waiter) in
            now >= waiter.deadline || known != nil && (isComplete || now >= waiter.settled)
        }
        let answered = self.waiters.filter(isOver)
        self.waiters.removeAll(where: isOver)
        self.stop()
        let next = self.waiters.map { known == nil ? $0.deadline : min($0.settled, $0.deadline) }.min()
        if let next {
            self.timer = self.loop.assumeIsolated().scheduleTask(deadline: next) { [weak self] in
                self?.answer(now: .now())
            }
        }
        // At the end: who is told may come back at once.
        for waiter in answered { waiter.promise.succeed(known) }
    }
}
