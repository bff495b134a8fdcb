package import Media
package import NIOCore

/// What was received, for the API.
package struct RTPReceiverStatistics: Sendable, Hashable {
    /// In the order in which they appeared. Retransmission sources are counted with those that they repair.
    package var sources: [RTPSourceStatistics]
    /// Datagrams that were neither RTP nor RTCP, or broken.
    package var malformedPackets: Int
    /// Packets of sources that no media line could be found for, or that were one too many.
    package var unroutedPackets: Int

    package init(sources: [RTPSourceStatistics] = [], malformedPackets: Int = 0, unroutedPackets: Int = 0) {
        self.sources = sources
        self.malformedPackets = malformedPackets
        self.unroutedPackets = unroutedPackets
    }
}

/// The counters of one source: an encoding of a track.
package struct RTPSourceStatistics: Sendable, Hashable {
    package var ssrc: UInt32
    package var mid: String?
    /// The simulcast encoding, if it has a name.
    package var rid: String?
    package var kind: MediaKind
    /// `nil` before the first packet of a known payload type.
    package var codec: Codec?
    /// Its frames are the ones that go on.
    package var isForwarded = false
    /// Of the last keyframe; `nil` before, and for audio.
    package var width: Int?
    package var height: Int?

    /// Packets of the source itself, duplicates excluded.
    package var packets = 0
    /// Payload bytes, retransmissions included.
    package var bytes = 0
    /// Payload bits per second over about the last second.
    package var bitsPerSecond = 0
    /// Packets that the network lost, whether or not they were recovered.
    package var lost = 0
    /// Packets that came because they were asked for.
    package var recovered = 0
    /// Packets restored from redundant coding.
    package var recoveredByRedundancy = 0
    /// Packets that came a second time.
    package var duplicates = 0
    /// Packets that came after they had been given up.
    package var late = 0
    /// Packets that were given up.
    package var abandoned = 0
    /// Requests for a packet, repetitions included, and requests for a keyframe.
    package var nacksSent = 0
    package var keyframeRequestsSent = 0

    package var frames = 0
    package var keyframes = 0
    /// Frames that could not be decoded and were dropped: broken, or in front of the next keyframe.
    package var droppedFrames = 0
    /// Payloads that broke their format.
    package var malformedPayloads = 0
    /// Timestamps that did not fit their arrival.
    package var timestampJumps = 0

    /// Interarrival jitter. Spec: RFC 3550 §6.4.1.
    package var jitter: TimeAmount = .zero
    /// From a request to the packet, smoothed; `nil` while nothing was asked for.
    package var roundTrip: TimeAmount?
    /// How long a missing packet is waited for, as the path is.
    package var patience: TimeAmount = .zero
    /// Packets that are held back behind a gap.
    package var heldPackets = 0

    package init(ssrc: UInt32, mid: String?, rid: String?, kind: MediaKind) {
        self.ssrc = ssrc
        self.mid = mid
        self.rid = rid
        self.kind = kind
    }
}
