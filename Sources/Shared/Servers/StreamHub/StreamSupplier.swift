package import Media
package import NIOCore

/// Brings streams that nobody publishes when somebody wants to play them, such as a camera's.
package protocol StreamSupplier: Sendable {
    /// Begins to bring the stream. Returns how long a viewer may wait for it; `nil` if it is none of the supplier's, or
    /// cannot be brought now.
    func demand(_ key: StreamKey) async -> TimeAmount?
    /// Somebody reads files that are made of the stream, here or on another node: a viewer whom no session shows.
    ///
    /// Called for each such request, whoever's the stream is, from any thread: it must be cheap.
    func filesWanted(of key: StreamKey)
}
