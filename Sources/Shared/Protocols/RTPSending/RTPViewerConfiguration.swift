package import Media
package import NIOCore

/// One track of a viewer, as offer and answer agreed on it.
package struct RTPTrackConfiguration: Sendable, Hashable {
    package var codec: Codec
    package var ssrc: UInt32
    /// 0 to 127.
    package var payloadType: UInt8
    /// Ticks per second of RTP timestamps: 90,000 for video, 48,000 for Opus, 8,000 for G.711.
    package var clockRate: Int
    /// The viewer may ask for packets again (`nack`).
    package var answersNACK: Bool
    /// Where retransmissions go. Without it they repeat the packet itself, which then has to be the same to the bit: no
    /// send times and transport-wide numbers are written on a track that answers NACK without RTX.
    package var rtx: RTX?
    /// The value of the mid extension, written if `extensions.mid` is set and if it has at most 16 bytes of UTF-8.
    package var mid: String
    /// Extension ids are those of the track's m-line.
    package var extensions: ExtensionIDs

    /// A retransmission stream. Spec: RFC 4588 §4.
    package struct RTX: Sendable, Hashable {
        package var ssrc: UInt32
        package var payloadType: UInt8

        package init(ssrc: UInt32, payloadType: UInt8) {
            self.ssrc = ssrc
            self.payloadType = payloadType
        }
    }

    /// The ids under which header extensions were negotiated, 1 to 255; `nil` for those that were not.
    package struct ExtensionIDs: Sendable, Hashable {
        package var mid: UInt8?
        package var absoluteSendTime: UInt8?
        package var transportSequenceNumber: UInt8?
        /// Written on keyframes only; players keep the last value.
        package var playoutDelay: UInt8?

        package init(
            mid: UInt8? = nil, absoluteSendTime: UInt8? = nil, transportSequenceNumber: UInt8? = nil,
            playoutDelay: UInt8? = nil
        ) {
            self.mid = mid
            self.absoluteSendTime = absoluteSendTime
            self.transportSequenceNumber = transportSequenceNumber
            self.playoutDelay = playoutDelay
        }
    }

    package init(
        codec: Codec, ssrc: UInt32, payloadType: UInt8, clockRate: Int? = nil, answersNACK: Bool = true,
        rtx: RTX? = nil, mid: String = "", extensions: ExtensionIDs = .init()
    ) {
        self.codec = codec
        self.ssrc = ssrc
        self.payloadType = payloadType
        self.clockRate = clockRate ?? RTPClock.rate(of: codec)
        self.answersNACK = answersNACK
        self.rtx = rtx
        self.mid = mid
        self.extensions = extensions
    }
}

/// The clock rates of RTP payload formats.
package enum RTPClock {
    /// Ticks per second. Spec: RFC 7587 §4.1, RFC 3551 §6, 90 kHz for all video.
    package static func rate(of codec: Codec) -> Int {
        switch codec {
        case .h264, .hevc, .av1, .vp8, .vp9: 90_000
        case .g711ALaw, .g711MuLaw: 8_000
        default: 48_000
        }
    }
}

/// How a viewer is served: what was negotiated, and the limits.
package struct RTPViewerConfiguration: Sendable, Hashable {
    package var video: RTPTrackConfiguration?
    package var audio: RTPTrackConfiguration?
    /// The canonical name in SDES. Spec: RFC 7022 §4.
    package var cname: String
    /// The delay that players are told to keep, in milliseconds; `nil` leaves it to them.
    package var playoutDelayMillis: ClosedRange<Int>?
    /// What the estimate of the viewer's bandwidth begins with, in bits per second.
    package var startBitrate: Int
    /// Bursts (start, answer to PLI) are paced at this multiple of the stream's bit rate, or at the estimate if it is
    /// more.
    package var burstFactor: Double
    /// Most packets that leave at once within a paced burst.
    package var burstPackets: Int
    /// A viewer that starts or asks for a keyframe gets the cached one if it and what follows are at most this long;
    /// otherwise the next keyframe is awaited.
    package var maximumReplayBytes: Int
    /// PLI and FIR are answered at most this often.
    package var keyframeInterval: TimeAmount
    /// A replay that takes longer is given up; the next keyframe is awaited.
    package var maximumLag: TimeAmount
    /// While the path is too narrow for the stream, pictures that waited longer are left out, up to the next keyframe.
    package var maximumDelay: TimeAmount
    /// A viewer whose transport holds back more bytes than this skips to a keyframe. For TCP; UDP holds nothing back.
    package var maximumQueuedBytes: Int
    /// How often one packet is sent again at most.
    package var maximumRepeats: Int
    /// Bytes that each packet costs besides RTP header and payload: SRTP tag, UDP and IP headers.
    package var packetOverhead: Int
    /// Time between two sender reports. Spec: RFC 3550 §6.2 allows one a second at these bit rates.
    package var reportInterval: TimeAmount

    package init(
        video: RTPTrackConfiguration?, audio: RTPTrackConfiguration?, cname: String,
        playoutDelayMillis: ClosedRange<Int>? = 0...0, startBitrate: Int = 5_000_000, burstFactor: Double = 2.5,
        burstPackets: Int = 40, maximumReplayBytes: Int = 8 << 20, keyframeInterval: TimeAmount = .milliseconds(500),
        maximumLag: TimeAmount = .seconds(4), maximumDelay: TimeAmount = .milliseconds(500),
        maximumQueuedBytes: Int = 1 << 20, maximumRepeats: Int = 8,
        packetOverhead: Int = 44, reportInterval: TimeAmount = .seconds(1)
    ) {
        self.video = video
        self.audio = audio
        self.cname = cname
        self.playoutDelayMillis = playoutDelayMillis
        self.startBitrate = startBitrate
        self.burstFactor = burstFactor
        self.burstPackets = burstPackets
        self.maximumReplayBytes = maximumReplayBytes
        self.keyframeInterval = keyframeInterval
        self.maximumLag = maximumLag
        self.maximumDelay = maximumDelay
        self.maximumQueuedBytes = maximumQueuedBytes
        self.maximumRepeats = maximumRepeats
        self.packetOverhead = packetOverhead
        self.reportInterval = reportInterval
    }
}

/// The random numbers of a viewer. Spec: RFC 3550 §5.1 wants unpredictable starts.
package struct RTPViewerSeeds: Sendable, Hashable {
    package var videoSequence: UInt16
    package var videoTimestamp: UInt32
    package var videoRTXSequence: UInt16
    package var audioSequence: UInt16
    package var audioTimestamp: UInt32
    package var audioRTXSequence: UInt16

    package init(
        videoSequence: UInt16, videoTimestamp: UInt32, videoRTXSequence: UInt16, audioSequence: UInt16,
        audioTimestamp: UInt32, audioRTXSequence: UInt16
    ) {
        self.videoSequence = videoSequence
        self.videoTimestamp = videoTimestamp
        self.videoRTXSequence = videoRTXSequence
        self.audioSequence = audioSequence
        self.audioTimestamp = audioTimestamp
        self.audioRTXSequence = audioRTXSequence
    }

    /// Draws all numbers. Sequence numbers begin in the lower half: a receiver that misses the first packets up to a wrap could not
    /// know of it, and would decrypt nothing for 65,536 packets. Spec: RFC 3711 §3.3.1.
    package init(using generator: inout some RandomNumberGenerator) {
        func sequence() -> UInt16 { generator.next() & 0x7FFF }
        self.init(
            videoSequence: sequence(), videoTimestamp: generator.next(), videoRTXSequence: sequence(),
            audioSequence: sequence(), audioTimestamp: generator.next(), audioRTXSequence: sequence())
    }
}

/// What a viewer's owner should know.
package enum RTPViewerEvent: Sendable, Hashable {
    /// The stream has no longer what the viewer negotiated. Other tracks go on; sending resumes if it comes back.
    case incompatible(RTPIncompatibility)
    /// The viewer waits for a keyframe, or has one that is long ago: ask the publisher for one if that is possible.
    case needsKeyframe
    /// Video was left out up to the next keyframe.
    case skipped(RTPSkipReason)
    /// The path does not carry the stream: bits per second that it does, and that the stream needs.
    case congested(estimate: Int, needed: Int)
    /// The path carries the stream again.
    case recovered
    /// The viewer said BYE for one of its sources.
    case goodbye
}

/// Why a viewer can no longer be sent a track.
package enum RTPIncompatibility: Sendable, Hashable {
    case codecChanged(MediaKind, from: Codec, to: Codec)
    case trackLost(MediaKind)
    case refused(MediaKind, RTPRefusal)
}

/// Why video was left out up to the next keyframe.
package enum RTPSkipReason: String, Sendable, Hashable, CaseIterable {
    /// The estimated bandwidth is used up.
    case bandwidth
    /// A paced viewer fell too far behind, or out of the ring.
    case lag
    /// The transport holds back too many bytes.
    case queue
}
