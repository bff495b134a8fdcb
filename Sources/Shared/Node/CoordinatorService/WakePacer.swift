/// Tells watchers that there is news, a little after it came.
///
/// What comes together is told together, and only some watchers are woken at a time: waking all at once would put
/// hundreds of jobs in front of the claim that comes next. With 200 watchers the last one is woken some 25 ms after the
/// news.
struct WakePacer: Sendable {
    private static let gathering = Duration.milliseconds(15)
    private static let watchersPerStep = 32
    private static let pause = Duration.milliseconds(1)

    private let watchers: WatcherList
    private let requests: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(_ watchers: WatcherList) {
        self.watchers = watchers
        (self.requests, self.signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// There is news. What is asked for while watchers are being woken wakes all of them once more.
    func request() { self.signal.yield() }

    /// Wakes watchers until cancelled.
    func run() async {
        for await _ in self.requests {
            try? await Task.sleep(for: Self.gathering)
            var rest = self.watchers.signals[...]
            while !rest.isEmpty {
                for signal in rest.prefix(Self.watchersPerStep) { signal.yield() }
                rest = rest.dropFirst(Self.watchersPerStep)
                if !rest.isEmpty { try? await Task.sleep(for: Self.pause) }
            }
        }
    }
}
