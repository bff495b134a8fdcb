/// An option of an SRT socket, by the name that URLs and other programs know it by.
///
/// Spec: SRT API socket options. Times are milliseconds, sizes bytes, bandwidths bytes a second.
package enum SRTOption: String, Sendable, Hashable, CaseIterable {
    /// The most bytes of a datagram with all its headers. Sets both.
    case mss
    /// Packets on the way that are not acknowledged.
    case flightFlag = "fc"
    case sendBuffer = "sndbuf"
    case receiveBuffer = "rcvbuf"
    case udpSendBuffer = "udpsndbuf"
    case udpReceiveBuffer = "udprcvbuf"
    case reuseAddress = "reuseaddr"
    case ipTimeToLive = "ipttl"
    case ipTypeOfService = "iptos"
    case bindToDevice = "bindtodevice"
    case ipv6Only = "ipv6only"

    case maximumBandwidth = "maxbw"
    case inputBandwidth = "inputbw"
    case minimumInputBandwidth = "mininputbw"
    /// Percent above the input for what is sent again.
    case overheadBandwidth = "oheadbw"
    /// Delivery by time: the receiver plays at the sender's times, delayed by the latency.
    case timestampBasedDelivery = "tsbpdmode"
    /// The delay of both directions.
    case latency
    case receiveLatency = "rcvlatency"
    case peerLatency = "peerlatency"
    /// What comes too late is left out.
    case tooLateDrop = "tlpktdrop"
    case sendDropDelay = "snddropdelay"
    /// Losses are reported until they are repaired.
    case periodicNAK = "nakreport"
    case connectTimeout = "conntimeo"
    case peerIdleTimeout = "peeridletimeo"
    case driftTracer = "drifttracer"
    case maximumReorder = "lossmaxttl"
    case minimumVersion = "minversion"
    case streamID = "streamid"
    /// The congestion controller.
    case congestion
    /// The most bytes of one message.
    case payloadSize = "payloadsize"
    case passphrase
    /// Bytes of the key: 16, 24 or 32; 0 as the peer has it.
    case keyLength = "pbkeylen"
    /// Packets after which the key changes, and before that at which the next one is told.
    case keyRefreshRate = "kmrefreshrate"
    case keyPreannounce = "kmpreannounce"
    /// A peer whose encryption does not match is turned away.
    case enforcedEncryption = "enforcedencryption"
    /// Forward error correction.
    case packetFilter = "packetfilter"
    case retransmitAlgorithm = "retransmitalgo"
}

/// The value of an option.
package enum SRTOptionValue: Sendable, Hashable {
    case flag(Bool)
    case integer(Int)
    case text(String)
}

extension SRTOption {
    /// What kind of value an option takes, and how wide the library keeps it.
    package enum Kind: Sendable, Hashable {
        case flag
        /// 32 bits.
        case integer(ClosedRange<Int>)
        /// 64 bits.
        case wide(ClosedRange<Int>)
        /// At most so many bytes.
        case text(maximum: Int)
    }

    /// When an option may still be set.
    package enum Stage: Sendable, Hashable, CaseIterable {
        /// Before the socket is bound. Those that are accepted have their listener's.
        case binding
        /// Before it is connected; for those that are accepted, during the handshake.
        case connecting
        case always
    }

    package var kind: Kind {
        switch self {
        case .reuseAddress, .timestampBasedDelivery, .tooLateDrop, .periodicNAK, .driftTracer, .enforcedEncryption:
            .flag
        case .mss: .integer(76...65_536)
        case .flightFlag: .integer(32...(1 << 24))
        case .sendBuffer, .receiveBuffer: .integer(50_000...(1 << 30))
        case .udpSendBuffer, .udpReceiveBuffer: .integer(4_096...(1 << 30))
        case .ipTimeToLive: .integer(1...255)
        case .ipTypeOfService: .integer(0...255)
        case .bindToDevice: .text(maximum: 15)
        case .ipv6Only: .integer(-1...1)
        case .maximumBandwidth: .wide(-1...(1 << 40))
        case .inputBandwidth, .minimumInputBandwidth: .wide(0...(1 << 40))
        case .overheadBandwidth: .integer(5...100)
        case .latency, .receiveLatency, .peerLatency: .integer(0...60_000)
        case .sendDropDelay: .integer(-1...60_000)
        case .connectTimeout, .peerIdleTimeout: .integer(0...3_600_000)
        case .maximumReorder: .integer(0...100_000)
        case .minimumVersion: .integer(0...0xFF_FFFF)
        case .streamID: .text(maximum: SRTStreamID.maximumLength)
        case .congestion: .text(maximum: 4)
        case .payloadSize: .integer(188...1_456)
        case .passphrase: .text(maximum: 79)
        case .keyLength: .integer(0...32)
        case .keyRefreshRate, .keyPreannounce: .integer(0...Int(Int32.max))
        case .packetFilter: .text(maximum: 512)
        case .retransmitAlgorithm: .integer(0...1)
        }
    }

    package var stage: Stage {
        switch self {
        case .mss, .flightFlag, .sendBuffer, .receiveBuffer, .udpSendBuffer, .udpReceiveBuffer, .reuseAddress,
            .ipTimeToLive, .ipTypeOfService, .bindToDevice, .ipv6Only:
            .binding
        case .maximumBandwidth, .inputBandwidth, .minimumInputBandwidth, .overheadBandwidth, .sendDropDelay,
            .driftTracer, .maximumReorder:
            .always
        default: .connecting
        }
    }
}
