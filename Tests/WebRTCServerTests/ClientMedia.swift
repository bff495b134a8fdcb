import Media
import NIOCore
import RTP
import RTPReceiving
import RTPSending
import Streaming

/// What a client publishes or plays.
final class ClientMedia {
    static let videoSSRC: UInt32 = 0x1111_0001
    static let videoRTX: UInt32 = 0x1111_0002
    static let audioSSRC: UInt32 = 0x2222_0001

    private(set) var receiver: RTPReceiver?
    private var packetizer = RTPStreamPacketizer()
    private var ring = RTPFrameRing()
    private var viewer: RTPViewer
    private let role: TestClient.Role
    private var state = StreamState()
    private var events: [MediaEvent] = []
    private var isStarted = false
    /// What a publisher was asked for.
    private(set) var keyframeRequests = 0

    init(_ role: TestClient.Role) {
        self.role = role
        let extensions = RTPTrackConfiguration.ExtensionIDs(mid: 4, transportSequenceNumber: 3)
        var generator = SystemRandomNumberGenerator()
        self.viewer = RTPViewer(
            configuration: RTPViewerConfiguration(
                video: .init(
                    codec: .h264, ssrc: Self.videoSSRC, payloadType: 96,
                    rtx: .init(ssrc: Self.videoRTX, payloadType: 97), mid: "1", extensions: extensions),
                audio: .init(
                    codec: .opus, ssrc: Self.audioSSRC, payloadType: 111, answersNACK: false, mid: "0",
                    extensions: extensions), cname: "test"),
            seeds: RTPViewerSeeds(using: &generator), ntp: NTPTime(value: 0xE000_0000_0000_0000), now: .now())
    }

    func start(now: NIODeadline) {
        self.isStarted = true
        if self.role == .publisher {
            self.viewer.statusChanged(self.packetizer.status)
            return self.viewer.start(from: self.ring, now: now)
        }
        let extensions: [RTPExtensionURI: UInt8] = [.mid: 4, .transportSequenceNumber: 3]
        self.receiver = RTPReceiver(
            configuration: RTPReceiverConfiguration(
                lines: [
                    .init(
                        mid: "0", kind: .audio,
                        payloadTypes: [111: .media(.init(format: .opus, clockRate: 48_000, channels: 2))],
                        extensions: extensions, feedback: [.transportWide]),
                    .init(
                        mid: "1", kind: .video,
                        payloadTypes: [
                            96: .media(.init(format: .h264(packetizationMode: 1), clockRate: 90_000)),
                            97: .retransmission(associated: 96),
                        ], extensions: extensions, feedback: [.nack, .pli, .transportWide]),
                ], localSSRC: 77), now: now)
    }

    func publish(_ events: [MediaEvent], now: NIODeadline, _ send: (RTPBurst, RTPFrame) -> Void) {
        for event in events {
            if case .track(let track) = event {
                if track.kind == .video { self.state.video = track } else { self.state.audio = track }
            }
            for frame in self.packetizer.append(event, state: self.state, now: now) {
                self.ring.append(frame)
                if self.isStarted, let burst = self.viewer.send(frame, now: now) { send(burst, frame) }
            }
        }
        self.viewer.statusChanged(self.packetizer.status)
        guard self.isStarted else { return }
        while let (frame, burst) = self.viewer.next(from: self.ring, now: now) { send(burst, frame) }
    }

    func receive(rtp packet: ByteBuffer, now: NIODeadline) { self.receiver?.receive(rtp: packet, arrival: now) }

    func receive(rtcp packet: ByteBuffer, now: NIODeadline) {
        if self.role == .player {
            self.receiver?.receive(rtcp: packet, now: now)
        } else {
            // A camera makes a new keyframe when it is asked for one; this one's come at their time.
            var compound = ByteBuffer()
            for part in (try? RTCPPacket.parseCompound(packet)) ?? [] {
                if case .pictureLossIndication = part {
                    self.keyframeRequests += 1
                    continue
                }
                part.write(into: &compound)
            }
            if compound.readableBytes > 0 { self.viewer.receive(rtcp: compound, ring: self.ring, now: now) }
        }
    }

    /// Gives the compounds that are to be sent.
    func work(now: NIODeadline, send: (RTPBurst, RTPFrame) -> Void) -> [ByteBuffer] {
        if let receiver = self.receiver {
            let output = receiver.poll(now: now)
            self.events += output.events
            guard !output.rtcp.isEmpty else { return [] }
            var compound = ByteBuffer()
            for packet in output.rtcp { packet.write(into: &compound) }
            return [compound]
        }
        guard self.isStarted else { return [] }
        var report = ByteBuffer()
        let hasReport = self.viewer.report(into: &report, now: now)
        while let (frame, burst) = self.viewer.next(from: self.ring, now: now) { send(burst, frame) }
        return hasReport ? [report] : []
    }

    func takeEvents() -> [MediaEvent] {
        defer { self.events = [] }
        return self.events
    }
}
