import CSRT
import SRTAccess

extension SRTOption {
    /// The library's number of the option.
    var name: SRT_SOCKOPT {
        switch self {
        case .mss: SRTO_MSS
        case .flightFlag: SRTO_FC
        case .sendBuffer: SRTO_SNDBUF
        case .receiveBuffer: SRTO_RCVBUF
        case .udpSendBuffer: SRTO_UDP_SNDBUF
        case .udpReceiveBuffer: SRTO_UDP_RCVBUF
        case .reuseAddress: SRTO_REUSEADDR
        case .ipTimeToLive: SRTO_IPTTL
        case .ipTypeOfService: SRTO_IPTOS
        case .bindToDevice: SRTO_BINDTODEVICE
        case .ipv6Only: SRTO_IPV6ONLY
        case .maximumBandwidth: SRTO_MAXBW
        case .inputBandwidth: SRTO_INPUTBW
        case .minimumInputBandwidth: SRTO_MININPUTBW
        case .overheadBandwidth: SRTO_OHEADBW
        case .timestampBasedDelivery: SRTO_TSBPDMODE
        case .latency: SRTO_LATENCY
        case .receiveLatency: SRTO_RCVLATENCY
        case .peerLatency: SRTO_PEERLATENCY
        case .tooLateDrop: SRTO_TLPKTDROP
        case .sendDropDelay: SRTO_SNDDROPDELAY
        case .periodicNAK: SRTO_NAKREPORT
        case .connectTimeout: SRTO_CONNTIMEO
        case .peerIdleTimeout: SRTO_PEERIDLETIMEO
        case .driftTracer: SRTO_DRIFTTRACER
        case .maximumReorder: SRTO_LOSSMAXTTL
        case .minimumVersion: SRTO_MINVERSION
        case .streamID: SRTO_STREAMID
        case .congestion: SRTO_CONGESTION
        case .payloadSize: SRTO_PAYLOADSIZE
        case .passphrase: SRTO_PASSPHRASE
        case .keyLength: SRTO_PBKEYLEN
        case .keyRefreshRate: SRTO_KMREFRESHRATE
        case .keyPreannounce: SRTO_KMPREANNOUNCE
        case .enforcedEncryption: SRTO_ENFORCEDENCRYPTION
        case .packetFilter: SRTO_PACKETFILTER
        case .retransmitAlgorithm: SRTO_RETRANSMITALGO
        }
    }
}
