package import NIOCore

/// How hooks are called.
package struct HooksConfiguration: Sendable, Hashable {
    /// `server_id` of the bodies: the same text that the node's API shows.
    package var serverID: String
    /// `service_id`: the run of the process.
    package var serviceID: String
    /// `node`: the node's name in the cluster.
    package var node: String
    /// For `User-Agent`.
    package var version: String
    /// How long a session waits for all its receivers, and how long one call may take that no session waits for.
    package var timeout = TimeAmount.seconds(5)
    /// How often a call that no session waits for is made again, after connections that failed and answers 429 and 5xx.
    package var retries = 3
    /// Pauses before the second, third… try; the last one holds for all further.
    package var pauses: [TimeAmount] = [.seconds(1), .seconds(5), .seconds(20)]
    /// Signs every call; empty: calls are not signed.
    package var secret = ""
    /// Calls that may wait for one receiver, and sessions that may wait for answers; more are dropped, or refused.
    package var queue = 10_000
    /// Calls at one time to one receiver.
    package var concurrency = 64
    /// The longest answer that is read, in bytes.
    package var maximumAnswerBytes = 64 << 10
    /// After this many failures to reach a receiver, one after another, it gets `shortTimeout` only…
    package var failuresUntilShort = 3
    package var shortTimeout = TimeAmount.milliseconds(250)
    /// …but for one call in this time.
    package var probeInterval = TimeAmount.seconds(5)

    package init(serverID: String, serviceID: String, node: String, version: String) {
        self.serverID = serverID
        self.serviceID = serviceID
        self.node = node
        self.version = version
    }

    /// Refuses what cannot work.
    package func validate() throws(HooksConfigurationError) {
        guard self.timeout > .zero else { throw .timeout(self.timeout) }
        guard self.shortTimeout > .zero else { throw .timeout(self.shortTimeout) }
        guard 0...100 ~= self.retries else { throw .retries(self.retries) }
        guard self.retries == 0 || !self.pauses.isEmpty else { throw .noPauses }
        guard self.queue > 0 else { throw .queue(self.queue) }
        guard self.concurrency > 0 else { throw .concurrency(self.concurrency) }
        guard self.maximumAnswerBytes > 0 else { throw .maximumAnswerBytes(self.maximumAnswerBytes) }
        guard self.failuresUntilShort > 0 else { throw .failuresUntilShort(self.failuresUntilShort) }
    }
}

/// Which field of the configuration is out of its range.
package enum HooksConfigurationError: Error, Equatable {
    /// Not positive.
    case timeout(TimeAmount)
    /// Outside 0 to 100.
    case retries(Int)
    /// There are retries without pauses before them.
    case noPauses
    /// Not positive.
    case queue(Int)
    case concurrency(Int)
    case maximumAnswerBytes(Int)
    case failuresUntilShort(Int)
}
