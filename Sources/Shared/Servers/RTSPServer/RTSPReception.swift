import Media
import NIOCore
import RTP
import RTPReceiving

/// How packets of RTSP, from whichever side, become media events.
enum RTSPReception {
    /// Compounds are kept below the length of datagrams that every path carries.
    private static let maximumCompound = 1_100

    /// `wait`: how long packets that come by UDP wait for one that is missing.
    static func receiver(_ lines: [RTPReceivedLine], wait: TimeAmount) -> RTPReceiver {
        var jitter = RTPJitterLimits()
        jitter.reorderWait = wait
        jitter.maximumFrameBytes = 16 << 20
        jitter.maximumBytes = 8 << 20
        var reports = RTPReportSettings()
        reports.reportInterval = .seconds(2)
        reports.allowsReducedSize = false
        return RTPReceiver(
            configuration: RTPReceiverConfiguration(
                lines: lines, localSSRC: UInt32.random(in: 1...UInt32.max), canonicalName: "weir", jitter: jitter,
                reports: reports), now: .now())
    }

    static func receive(
        _ packet: ByteBuffer, line: Int, isControl: Bool, by receiver: RTPReceiver, now: NIODeadline
    ) {
        guard !isControl else { return receiver.receive(rtcp: packet, now: now) }
        guard receiver.configuration.lines.indices.contains(line) else { return }
        // Frames of audio are slices of their packet, and are kept for long: they must not keep all of a read alive.
        let isAudio = receiver.configuration.lines[line].kind == .audio
        receiver.receive(rtp: isAudio ? ByteBuffer(bytes: packet.readableBytesView) : packet, arrival: now, line: line)
    }

    /// Gives `send` what is to be told to the sender of each line, whose sources have an RTP session of their own.
    static func forEachCompound(
        of packets: [RTCPPacket], by receiver: RTPReceiver, now: NIODeadline, _ send: (ByteBuffer, Int) -> Void
    ) {
        guard !packets.isEmpty else { return }
        let kinds = Dictionary(
            receiver.statistics(now: now).sources.map { ($0.ssrc, $0.kind) }, uniquingKeysWith: { first, _ in first })
        for (index, line) in receiver.configuration.lines.enumerated() {
            var compound = ByteBuffer()
            for packet in packets where compound.readableBytes < Self.maximumCompound {
                self.part(of: packet, kind: line.kind, kinds)?.write(into: &compound)
            }
            if compound.readableBytes > 0 { send(compound, index) }
        }
    }

    /// What of a packet concerns the sources of one kind; `nil` if nothing does.
    private static func part(of packet: RTCPPacket, kind: MediaKind, _ kinds: [UInt32: MediaKind]) -> RTCPPacket? {
        switch packet {
        case .receiverReport(var report):
            report.reports = report.reports.filter { kinds[$0.ssrc] == kind }
            return .receiverReport(report)
        case .pictureLossIndication(_, let media): return kinds[media] == kind ? packet : nil
        case .nack, .fullIntraRequest, .receiverEstimatedMaximumBitrate: return kind == .video ? packet : nil
        default: return packet
        }
    }
}
