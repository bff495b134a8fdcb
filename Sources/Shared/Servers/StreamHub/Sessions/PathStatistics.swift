/// How the network treats a session, where its transport knows. Counters count from the session's beginning.
package struct PathStatistics: Sendable, Hashable {
    package var roundTripMillis = 0.0
    /// What the path can carry, as the transport estimates it.
    package var bitsPerSecond = 0.0
    /// Packets of data, those that were sent again included.
    package var sentPackets: Int64 = 0
    package var receivedPackets: Int64 = 0
    /// Packets that the peer missed, and those that were missing here.
    package var sendLoss: Int64 = 0
    package var receiveLoss: Int64 = 0
    package var retransmittedPackets: Int64 = 0
    /// Packets that were too late: not sent any more, or given up here.
    package var sendDrops: Int64 = 0
    package var receiveDrops: Int64 = 0
    package var undecryptedPackets: Int64 = 0
    /// Media in the buffers.
    package var sendBufferMillis = 0
    package var receiveBufferMillis = 0
    /// The delays that both ends agreed upon.
    package var sendLatencyMillis = 0
    package var receiveLatencyMillis = 0

    package init() {}
}
