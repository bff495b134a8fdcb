import Media
import NIOCore
import RTP
import RTPReceiving
import StreamHub

/// What a publisher sends, on its way to the stream: packets become media events.
///
/// On the loop of the session's worker, which is the loop that the gate made the sink for.
final class PublisherMedia: SessionMedia {
    /// Compounds are kept below the length of datagrams that every path carries.
    private static let maximumCompound = 1_100

    private let receiver: RTPReceiver
    private let sink: any MediaSink
    private let codecs: [String]
    private var isReading: Bool
    private var unreadPackets = 0

    init(receiver: RTPReceiver, sink: any MediaSink, isReading: Bool) {
        self.receiver = receiver
        self.sink = sink
        self.isReading = isReading
        self.codecs = receiver.configuration.lines.flatMap { line in
            line.payloadTypes.values.compactMap { use in
                if case .media(let payload) = use { payload.format.codec.rawValue } else { nil }
            }
        }
    }

    var nextDeadline: NIODeadline? { self.receiver.nextDeadline }

    func established(_ session: WebRTCSession, now: NIODeadline) {}

    func receiveRTP(_ packet: ByteBuffer, now: NIODeadline) {
        // Whoever takes the media cannot take more: like on a full network, packets are lost.
        guard self.isReading else { return self.unreadPackets += 1 }
        self.receiver.receive(rtp: packet, arrival: now)
    }

    func receiveRTCP(_ packet: ByteBuffer, now: NIODeadline) { self.receiver.receive(rtcp: packet, now: now) }

    func act(_ session: WebRTCSession, now: NIODeadline) {
        let output = self.receiver.poll(now: now)
        if !output.rtcp.isEmpty { Self.send(output.rtcp, by: session) }
        if !output.events.isEmpty { self.sink.receive(output.events) }
    }

    /// Sends packets in as few compounds as their lengths allow.
    private static func send(_ packets: [RTCPPacket], by session: WebRTCSession) {
        var compound = ByteBuffer()
        for packet in packets {
            let start = compound.writerIndex
            packet.write(into: &compound)
            guard compound.readableBytes > Self.maximumCompound, start > 0 else { continue }
            guard let full = compound.readSlice(length: start) else { continue }
            session.send(rtcp: full)
            compound = ByteBuffer(buffer: compound)
            compound = compound.slice()
        }
        if compound.readableBytes > 0 { session.send(rtcp: compound) }
    }

    func targetChanged(_ session: WebRTCSession) {}

    func setReading(_ isReading: Bool) { self.isReading = isReading }

    func requestKeyframe(now: NIODeadline) { self.receiver.keyframeRequest(now: now) }

    func stop(_ session: WebRTCSession) { self.sink.finish() }

    func diagnosis(now: NIODeadline) -> WebRTCMediaDiagnosis {
        let statistics = self.receiver.statistics(now: now)
        var diagnosis = WebRTCMediaDiagnosis()
        diagnosis.codecs = self.codecs
        var counters: [String: Int64] = [
            "malformedPackets": Int64(statistics.malformedPackets),
            "unroutedPackets": Int64(statistics.unroutedPackets), "unreadPackets": Int64(self.unreadPackets),
        ]
        for source in statistics.sources {
            let numbers: [(String, Int)] = [
                ("packets", source.packets), ("lost", source.lost), ("recovered", source.recovered),
                ("duplicates", source.duplicates), ("late", source.late), ("abandoned", source.abandoned),
                ("nacksSent", source.nacksSent), ("keyframeRequestsSent", source.keyframeRequestsSent),
                ("frames", source.frames), ("keyframes", source.keyframes), ("droppedFrames", source.droppedFrames),
                ("malformedPayloads", source.malformedPayloads),
            ]
            for (name, value) in numbers { counters["\(source.kind.rawValue).\(name)", default: 0] += Int64(value) }
        }
        diagnosis.counters = counters
        return diagnosis
    }
}
