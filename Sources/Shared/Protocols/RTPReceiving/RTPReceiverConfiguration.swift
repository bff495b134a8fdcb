package import Media
package import NIOCore
package import RTP

/// What a session agreed on with a sender of RTP, by SDP or otherwise, and the limits of its reception.
package struct RTPReceiverConfiguration: Sendable, Hashable {
    /// The media lines that are received. Of several lines of a kind only the first that flows gives frames.
    package var lines: [RTPReceivedLine]
    /// Our own SSRC, the sender of reports and requests. Random; none of the peer's.
    package var localSSRC: UInt32
    /// Our canonical name, sent with each receiver report; `nil` leaves it out.
    package var canonicalName: String?
    package var jitter: RTPJitterLimits
    package var reports: RTPReportSettings
    /// SSRCs that are followed at once, retransmissions included. Further ones replace a source that has been silent
    /// for five seconds, or are dropped.
    package var maximumSources: Int

    package init(
        lines: [RTPReceivedLine], localSSRC: UInt32, canonicalName: String? = nil, jitter: RTPJitterLimits = .init(),
        reports: RTPReportSettings = .init(), maximumSources: Int = 16
    ) {
        precondition(maximumSources > 0, "a receiver follows at least one source, got \(maximumSources)")
        self.lines = lines
        self.localSSRC = localSSRC
        self.canonicalName = canonicalName
        self.jitter = jitter
        self.reports = reports
        self.maximumSources = maximumSources
    }
}

/// One media line: a track, in one encoding or in several at once (simulcast).
package struct RTPReceivedLine: Sendable, Hashable {
    /// The line's name in the `mid` header extension; `nil` where there is none.
    package var mid: String?
    package var kind: MediaKind
    /// What each payload type is. Types that are not here only take up sequence numbers.
    package var payloadTypes: [UInt8: RTPPayloadUse]
    /// The ids of the header extensions that are read; those of other extensions may be there and are ignored.
    package var extensions: [RTPExtensionURI: UInt8]
    /// SSRCs that were signalled (`a=ssrc`), retransmission sources included. May be empty.
    package var ssrcs: [UInt32]
    /// Signalled groups (`a=ssrc-group`).
    package var ssrcGroups: [RTPSourceGroup]
    /// The encodings of simulcast (`a=rid`), in any order; empty for one encoding.
    package var rids: [String]
    package var feedback: RTPFeedback

    package init(
        mid: String? = nil, kind: MediaKind, payloadTypes: [UInt8: RTPPayloadUse],
        extensions: [RTPExtensionURI: UInt8] = [:], ssrcs: [UInt32] = [], ssrcGroups: [RTPSourceGroup] = [],
        rids: [String] = [], feedback: RTPFeedback = []
    ) {
        self.mid = mid
        self.kind = kind
        self.payloadTypes = payloadTypes
        self.extensions = extensions
        self.ssrcs = ssrcs
        self.ssrcGroups = ssrcGroups
        self.rids = rids
        self.feedback = feedback
    }
}

/// What a payload type carries.
package enum RTPPayloadUse: Sendable, Hashable {
    case media(RTPMediaPayload)
    /// Retransmissions of the payload type `associated` (RFC 4588, `apt`).
    case retransmission(associated: UInt8)
    /// Redundant coding around any other type of the line (RFC 2198).
    case redundancy
}

/// A payload type that carries a codec.
package struct RTPMediaPayload: Sendable, Hashable {
    package var format: RTPPayloadFormat
    /// Ticks of the RTP timestamp in a second: 90,000 for video, 48,000 for Opus.
    package var clockRate: Int
    /// Channels of audio; 1 for video.
    package var channels: Int
    /// Parameter sets that came out of band (`sprop-parameter-sets`, `sprop-vps` …): NAL units without start codes.
    package var parameterSets: [ByteBuffer]
    /// A codec header that came out of band in the form of `Track.configuration`: AAC's AudioSpecificConfig.
    package var codecHeader: ByteBuffer?

    package init(
        format: RTPPayloadFormat, clockRate: Int, channels: Int = 1, parameterSets: [ByteBuffer] = [],
        codecHeader: ByteBuffer? = nil
    ) {
        precondition(clockRate > 0, "an RTP clock has a positive rate, got \(clockRate)")
        self.format = format
        self.clockRate = clockRate
        self.channels = channels
        self.parameterSets = parameterSets
        self.codecHeader = codecHeader
    }
}

/// SSRCs that belong together. Spec: RFC 5576 §4.2.
package struct RTPSourceGroup: Sendable, Hashable {
    package enum Semantics: Sendable, Hashable {
        /// A source and its retransmissions, in this order (`FID`).
        case flow
        /// The encodings of simulcast without rids, in any order (`SIM`).
        case simulcast
    }

    package var semantics: Semantics
    package var ssrcs: [UInt32]

    package init(semantics: Semantics, ssrcs: [UInt32]) {
        self.semantics = semantics
        self.ssrcs = ssrcs
    }
}

/// The feedback messages that were negotiated for a line (`a=rtcp-fb`).
package struct RTPFeedback: OptionSet, Sendable, Hashable {
    package let rawValue: Int

    package init(rawValue: Int) { self.rawValue = rawValue }

    /// Missing packets are asked for (`nack`).
    package static let nack = RTPFeedback(rawValue: 1)
    /// Keyframes are asked for by picture loss indication (`nack pli`).
    package static let pli = RTPFeedback(rawValue: 2)
    /// Keyframes are asked for by full intra request (`ccm fir`); used where PLI is not negotiated.
    package static let fir = RTPFeedback(rawValue: 4)
    /// Arrivals are told (`transport-cc`).
    package static let transportWide = RTPFeedback(rawValue: 8)
    /// A maximum bit rate may be told (`goog-remb`).
    package static let remb = RTPFeedback(rawValue: 16)
}

/// How long and how much is waited for.
package struct RTPJitterLimits: Sendable, Hashable {
    /// Packets between the oldest gap and the newest packet of one video source; beyond, the gap is given up.
    package var maximumVideoPackets: Int
    /// The same of an audio source.
    package var maximumAudioPackets: Int
    /// Bytes that one source holds back.
    package var maximumBytes: Int
    /// Bytes of one frame; larger ones are broken.
    package var maximumFrameBytes: Int
    /// Where missing packets cannot be asked for: how long a packet may come after those that it should precede.
    package var reorderWait: TimeAmount
    /// Where they can: the least and the most that video waits for a packet. In between, four round trips and 100 ms.
    package var minimumWait: TimeAmount
    package var maximumWait: TimeAmount
    /// The most that audio waits for a packet.
    package var maximumAudioWait: TimeAmount
    /// An encoding of simulcast that gave no frame for this long is replaced by the best that does.
    package var layerTimeout: TimeAmount
    /// At the start, how long simulcast waits for the best encoding's first frame.
    package var layerSettling: TimeAmount

    package init(
        maximumVideoPackets: Int = 2_048, maximumAudioPackets: Int = 256, maximumBytes: Int = 2 << 20,
        maximumFrameBytes: Int = 4 << 20, reorderWait: TimeAmount = .milliseconds(120),
        minimumWait: TimeAmount = .milliseconds(200),
        maximumWait: TimeAmount = .milliseconds(500), maximumAudioWait: TimeAmount = .milliseconds(250),
        layerTimeout: TimeAmount = .milliseconds(750), layerSettling: TimeAmount = .milliseconds(300)
    ) {
        self.maximumVideoPackets = maximumVideoPackets
        self.maximumAudioPackets = maximumAudioPackets
        self.maximumBytes = maximumBytes
        self.maximumFrameBytes = maximumFrameBytes
        self.reorderWait = reorderWait
        self.minimumWait = minimumWait
        self.maximumWait = maximumWait
        self.maximumAudioWait = maximumAudioWait
        self.layerTimeout = layerTimeout
        self.layerSettling = layerSettling
    }
}

/// When the sender is told something.
package struct RTPReportSettings: Sendable, Hashable {
    /// Between receiver reports.
    package var reportInterval: TimeAmount
    /// Between rounds of transport-wide feedback.
    package var feedbackInterval: TimeAmount
    /// The bit rate that the sender should not exceed, told in each report interval; `nil` sets no limit.
    package var maximumBitsPerSecond: Int?
    /// A keyframe is asked for when the last one is this old; `nil` leaves their distance to the sender.
    package var keyframeInterval: TimeAmount?
    /// Requests for a keyframe of one source are at least this far apart, or a round trip and a half.
    package var keyframeRequestInterval: TimeAmount
    /// The receiver report may be missing from datagrams with feedback (`a=rtcp-rsize`, RFC 5506).
    package var allowsReducedSize: Bool

    package init(
        reportInterval: TimeAmount = .seconds(1), feedbackInterval: TimeAmount = .milliseconds(60),
        maximumBitsPerSecond: Int? = nil, keyframeInterval: TimeAmount? = nil,
        keyframeRequestInterval: TimeAmount = .milliseconds(400), allowsReducedSize: Bool = true
    ) {
        self.reportInterval = reportInterval
        self.feedbackInterval = feedbackInterval
        self.maximumBitsPerSecond = maximumBitsPerSecond
        self.keyframeInterval = keyframeInterval
        self.keyframeRequestInterval = keyframeRequestInterval
        self.allowsReducedSize = allowsReducedSize
    }
}
