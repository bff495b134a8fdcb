import Foundation

/// Why a test cannot go on.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Sleeps for `interval`, and tells how long the machine stood still meanwhile, which is nobody's time: the nodes stood
/// still, too. What a busy machine takes to wake a process is not counted.
func pause(for interval: Duration) async throws -> Duration {
    let start = ContinuousClock.now
    try await Task.sleep(for: interval)
    let stall = ContinuousClock.now - start - interval
    return stall > .milliseconds(200) ? stall : .zero
}

/// Polls until `look` gives a value, and fails after `limit`. Gives the time that it took, too.
private func poll<Value>(
    _ what: () -> String, within limit: Duration, every interval: Duration, _ look: () async throws -> Value?
) async throws -> (value: Value, time: Duration) {
    let start = ContinuousClock.now
    var stalls = Duration.zero
    while true {
        if let value = try await look() { return (value, ContinuousClock.now - start - stalls) }
        guard ContinuousClock.now - start - stalls < limit else { throw Failure("not within \(limit): \(what())") }
        stalls += try await pause(for: interval)
    }
}

/// Polls until `look` gives a value, and fails after `limit`.
@discardableResult
func until<Value>(
    _ what: @autoclosure () -> String, within limit: Duration, every interval: Duration = .milliseconds(20),
    _ look: () async throws -> Value?
) async throws -> Value {
    try await poll(what, within: limit, every: interval, look).value
}

/// Polls until `condition` holds, and fails after `limit`. Gives the time that it took.
@discardableResult
func until(
    _ what: @autoclosure () -> String, within limit: Duration, every interval: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async throws -> Duration {
    try await poll(what, within: limit, every: interval) { try await condition() ? true : nil }.time
}

/// Runs `attempt` until it is good, three times at most; the last one is what counts.
///
/// For what has a bound on time and no part in it of which a slow machine could be told apart: it does not hold thrice by
/// chance, and does not fail thrice either.
func atBest<Value>(_ attempt: () async throws -> Value, isGood: (Value) -> Bool) async throws -> Value {
    for _ in 1..<3 {
        let value = try await attempt()
        if isGood(value) { return value }
    }
    return try await attempt()
}

extension Duration {
    var seconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) / 1e18 }
}
