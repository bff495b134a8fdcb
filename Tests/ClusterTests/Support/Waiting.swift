import Foundation

/// Why a test cannot go on.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// Polls until `look` gives a value, and fails after `limit`.
@discardableResult
func until<Value>(
    _ what: @autoclosure () -> String, within limit: Duration, every interval: Duration = .milliseconds(20),
    _ look: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + limit
    while true {
        if let value = try await look() { return value }
        guard ContinuousClock.now < deadline else { throw Failure("not within \(limit): \(what())") }
        try await Task.sleep(for: interval)
    }
}

/// Polls until `condition` holds, and fails after `limit`. Gives the time that it took.
@discardableResult
func until(
    _ what: @autoclosure () -> String, within limit: Duration, every interval: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async throws -> Duration {
    let start = ContinuousClock.now
    _ = try await until(what(), within: limit, every: interval) { try await condition() ? true : nil }
    return ContinuousClock.now - start
}

extension Duration {
    var seconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) / 1e18 }
}
