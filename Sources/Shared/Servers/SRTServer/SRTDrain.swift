import NIOCore
import SRTAccess
import StreamHub

/// Keeps a connection whose stream is over until the other end has everything.
///
/// What a receiver acknowledged is not yet delivered: it is held for the latency, and thrown away where the connection ends
/// before that. So the connection stands for the latency and a round trip more. Both have bounds: a grace for what is not
/// acknowledged, and what the handshake agreed upon for the rest.
struct SRTDrain: Sendable {
    private static let pause = TimeAmount.milliseconds(20)

    private let socket: SRTSocket
    private let deadline: NIODeadline

    /// `grace`: how long what was sent may stay without an acknowledgement.
    init(_ socket: SRTSocket, grace: TimeAmount, now: NIODeadline) {
        self.socket = socket
        self.deadline = now + grace
    }

    /// Calls `done` on `worker`, once.
    func run(on worker: any EventLoop, _ done: @escaping @Sendable () -> Void) {
        worker.execute { self.step(on: worker, done) }
    }

    private func step(on worker: any EventLoop, _ done: @escaping @Sendable () -> Void) {
        if self.socket.unacknowledgedBytes > 0, NIODeadline.now() < self.deadline {
            worker.scheduleTask(in: Self.pause) { self.step(on: worker, done) }
            return
        }
        // A connection that broke meanwhile has no figures, and delivers nothing any more.
        guard let statistics = self.socket.statistics() else { return done() }
        worker.scheduleTask(in: Self.delivery(of: statistics), done)
    }

    /// How long the last message takes to be delivered, counted from its acknowledgement. A handshake has no more than 16
    /// bits for the latency, in milliseconds.
    static func delivery(of statistics: PathStatistics) -> TimeAmount {
        let roundTrip = min(max(0, statistics.roundTripMillis), 2_000)
        return .milliseconds(Int64(min(max(0, statistics.sendLatencyMillis), 65_535)))
            + .microseconds(Int64(roundTrip * 1_000)) + self.pause
    }
}
