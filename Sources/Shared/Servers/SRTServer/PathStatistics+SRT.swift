import CSRT
import StreamHub

extension PathStatistics {
    init(_ sample: SRT_TRACEBSTATS) {
        self.init()
        self.roundTripMillis = sample.msRTT
        self.bitsPerSecond = sample.mbpsBandwidth * 1e6
        self.sentPackets = sample.pktSentTotal
        self.receivedPackets = sample.pktRecvTotal
        self.sendLoss = Int64(sample.pktSndLossTotal)
        self.receiveLoss = Int64(sample.pktRcvLossTotal)
        self.retransmittedPackets = Int64(sample.pktRetransTotal)
        self.sendDrops = Int64(sample.pktSndDropTotal)
        self.receiveDrops = Int64(sample.pktRcvDropTotal)
        self.undecryptedPackets = Int64(sample.pktRcvUndecryptTotal)
        self.sendBufferMillis = Int(sample.msSndBuf)
        self.receiveBufferMillis = Int(sample.msRcvBuf)
        self.sendLatencyMillis = Int(sample.msSndTsbPdDelay)
        self.receiveLatencyMillis = Int(sample.msRcvTsbPdDelay)
    }
}

extension SRTSocket {
    /// `nil` if the socket is not connected.
    func statistics() -> PathStatistics? {
        var sample = SRT_TRACEBSTATS()
        // Safety: the library fills one structure.
        guard unsafe srt_bistats(self.id, &sample, 0, 1) >= 0 else { return nil }
        return PathStatistics(sample)
    }
}
