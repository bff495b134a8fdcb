import CSRT

/// How the network treats one connection. Counters count from its beginning.
package struct SRTStatistics: Sendable, Hashable {
    package var roundTripMillis = 0.0
    /// What the path can carry, as the library estimates it, in bits a second.
    package var bandwidth = 0.0
    /// Packets of data, those that were sent again included.
    package var sentPackets: Int64 = 0
    package var receivedPackets: Int64 = 0
    /// Packets that the peer reported lost, and those that were missing here.
    package var sendLoss: Int64 = 0
    package var receiveLoss: Int64 = 0
    package var retransmittedPackets: Int64 = 0
    /// Packets that came too late: those that were not sent any more, and those that were given up here.
    package var sendDrops: Int64 = 0
    package var receiveDrops: Int64 = 0
    package var undecryptedPackets: Int64 = 0
    /// What is on its way: bytes and milliseconds of media in the buffers.
    package var sendBufferBytes = 0
    package var sendBufferMillis = 0
    package var receiveBufferBytes = 0
    package var receiveBufferMillis = 0
    /// The delays that both ends agreed upon, in milliseconds.
    package var sendLatencyMillis = 0
    package var receiveLatencyMillis = 0

    package init() {}
}

extension SRTStatistics {
    init(_ sample: SRT_TRACEBSTATS) {
        self.roundTripMillis = sample.msRTT
        self.bandwidth = sample.mbpsBandwidth * 1e6
        self.sentPackets = sample.pktSentTotal
        self.receivedPackets = sample.pktRecvTotal
        self.sendLoss = Int64(sample.pktSndLossTotal)
        self.receiveLoss = Int64(sample.pktRcvLossTotal)
        self.retransmittedPackets = Int64(sample.pktRetransTotal)
        self.sendDrops = Int64(sample.pktSndDropTotal)
        self.receiveDrops = Int64(sample.pktRcvDropTotal)
        self.undecryptedPackets = Int64(sample.pktRcvUndecryptTotal)
        self.sendBufferBytes = Int(sample.byteSndBuf)
        self.sendBufferMillis = Int(sample.msSndBuf)
        self.receiveBufferBytes = Int(sample.byteRcvBuf)
        self.receiveBufferMillis = Int(sample.msRcvBuf)
        self.sendLatencyMillis = Int(sample.msSndTsbPdDelay)
        self.receiveLatencyMillis = Int(sample.msRcvTsbPdDelay)
    }
}

extension SRTSocket {
    /// `nil` if the socket is not connected.
    func statistics() -> SRTStatistics? {
        var sample = SRT_TRACEBSTATS()
        // Safety: the library fills one structure.
        guard unsafe srt_bistats(self.id, &sample, 0, 1) >= 0 else { return nil }
        return SRTStatistics(sample)
    }
}
