package import NIOCore
import Synchronization

/// Measures how late event loops are: a repeating timer on each tells by how much it was called too late.
///
/// A loop that is late serves all of its connections late. Any thread may call.
package final class LoopLagProbe: Sendable {
    /// The lag of one loop.
    package struct Lag: Sendable, Hashable {
        /// Of the last call of its timer.
        package var last = TimeAmount.zero
        /// The largest of the last one to two windows of `LoopLagProbe.window`.
        package var maximum = TimeAmount.zero
        /// The sum of all lags, and how many there were.
        package var sum = TimeAmount.zero
        package var count: UInt64 = 0
    }

    private struct State {
        var lag = Lag()
        var windowMaximum = TimeAmount.zero
        var previousMaximum = TimeAmount.zero
        var windowEnd: NIODeadline
        var due: NIODeadline
        var timer: Scheduled<Void>?
        var isStopped = false

        mutating func observe(at now: NIODeadline) {
            let lag = max(.zero, now - self.due)
            if now >= self.windowEnd {
                self.previousMaximum = now - self.windowEnd < LoopLagProbe.window ? self.windowMaximum : .zero
                self.windowMaximum = .zero
                self.windowEnd = now + LoopLagProbe.window
            }
            self.windowMaximum = max(self.windowMaximum, lag)
            self.lag.last = lag
            self.lag.maximum = max(self.windowMaximum, self.previousMaximum)
            self.lag.sum = self.lag.sum + lag
            self.lag.count &+= 1
        }
    }

    /// One loop and its state.
    private final class Slot: Sendable {
        let loop: any EventLoop
        let state: Mutex<State>

        init(_ loop: any EventLoop) {
            self.loop = loop
            self.state = Mutex(State(windowEnd: .now() + LoopLagProbe.window, due: .now()))
        }
    }

    /// How often each loop is looked at.
    package static let interval = TimeAmount.milliseconds(250)
    /// For how long the largest lag is remembered.
    package static let window = TimeAmount.seconds(30)

    private let slots: [Slot]

    /// Starts at once. Stop it before the loops are shut down.
    package init(_ loops: [any EventLoop]) {
        self.slots = loops.map { Slot($0) }
        for slot in self.slots { Self.arm(slot) }
    }

    private static func arm(_ slot: Slot) {
        let due = NIODeadline.now() + Self.interval
        let mayGoOn = slot.state.withLock { state in
            state.due = due
            return !state.isStopped
        }
        guard mayGoOn else { return }
        let timer = slot.loop.scheduleTask(deadline: due) {
            slot.state.withLock { $0.observe(at: .now()) }
            Self.arm(slot)
        }
        let wasStopped = slot.state.withLock { state in
            state.timer = timer
            return state.isStopped
        }
        if wasStopped { timer.cancel() }
    }

    /// Ends the timers.
    package func stop() {
        for slot in self.slots {
            let timer = slot.state.withLock { state in
                state.isStopped = true
                defer { state.timer = nil }
                return state.timer
            }
            timer?.cancel()
        }
    }

    /// The lags, in the order of the loops. A loop whose timer is overdue counts as late by now.
    package func lags(now: NIODeadline = .now()) -> [Lag] {
        self.slots.map { slot in
            slot.state.withLock { state in
                var lag = state.lag
                let overdue = state.isStopped ? .zero : max(.zero, now - state.due)
                lag.last = max(lag.last, overdue)
                lag.maximum = max(lag.maximum, overdue)
                return lag
            }
        }
    }

    /// Asks each loop to answer, and returns the numbers of those that did not do so in time.
    package func stuckLoops(within limit: TimeAmount = .seconds(1)) async -> [Int] {
        let answers = Answers()
        for (number, slot) in self.slots.enumerated() {
            slot.loop.execute { answers.add(number) }
        }
        let end = NIODeadline.now() + limit
        while answers.count < self.slots.count, NIODeadline.now() < end {
            try? await Task.sleep(for: .milliseconds(2))
            if Task.isCancelled { break }
        }
        let numbers = answers.numbers
        return self.slots.indices.filter { !numbers.contains($0) }
    }

    private final class Answers: Sendable {
        private let answered = Mutex(Set<Int>())

        func add(_ number: Int) { self.answered.withLock { _ = $0.insert(number) } }
        var count: Int { self.answered.withLock { $0.count } }
        var numbers: Set<Int> { self.answered.withLock { $0 } }
    }
}
