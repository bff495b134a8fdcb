import GB28181
import Logging
import NIOCore
import NIOPosix
import RTP
import StreamHub
import Synchronization

/// Brings packets to those who expect them: makes a receiver with the first packet of a session.
final class MediaDoor: Sendable {
    let directory: MediaDirectory
    private let configuration: GB28181ServerConfiguration
    private let gate: any SessionGate
    private let notify: @Sendable (MediaSlot, MediaReceiver.Notice) -> Void
    private let logger: Logger
    private let connections = Atomic<Int>(0)
    private let strangers = Atomic<Int>(0)

    init(
        configuration: GB28181ServerConfiguration, directory: MediaDirectory, gate: any SessionGate, logger: Logger,
        notify: @escaping @Sendable (MediaSlot, MediaReceiver.Notice) -> Void
    ) {
        self.configuration = configuration
        self.directory = directory
        self.gate = gate
        self.logger = logger
        self.notify = notify
    }

    var firstPacketTimeout: TimeAmount { self.configuration.firstPacketTimeout }
    /// Packets and connections that nobody expected.
    var strangerCount: Int { self.strangers.load(ordering: .relaxed) }
    func countStranger() { self.strangers.wrappingAdd(1, ordering: .relaxed) }

    /// Whether another connection may stay; `leave` must follow then.
    func enter() -> Bool {
        let count = self.connections.wrappingAdd(1, ordering: .relaxed).newValue
        guard count > self.configuration.maximumConnections else { return true }
        self.leave()
        return false
    }

    func leave() { self.connections.wrappingSubtract(1, ordering: .relaxed) }

    /// The session that a packet belongs to: `expected`, on a port of its own, else that of its source. `nil` for
    /// strangers and for what is no media.
    func slot(
        of packet: ByteBuffer, from address: SocketAddress?, expected: MediaSlot?, byHost: Bool
    ) -> MediaSlot? {
        guard let second = packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self),
            let first = packet.getInteger(at: packet.readerIndex, as: UInt8.self), first >> 6 == 2,
            !RTPPacket.isRTCP(secondByte: second),
            let ssrc = packet.getInteger(at: packet.readerIndex + 8, as: UInt32.self),
            let slot = expected ?? self.directory.find(ssrc: ssrc, host: address?.ipAddress),
            slot.admits(address, byHost: byHost)
        else { return nil }
        return slot
    }

    /// The receiver of a slot, made on `loop` if there is none. `nil` if the session is over or may not begin.
    func receiver(of slot: MediaSlot, from address: SocketAddress?, on loop: any EventLoop) -> MediaReceiver? {
        if let receiver = slot.receiver { return receiver }
        guard slot.isOpen,
            let account = self.configuration.sessions.open(address, transport: "gb28181")
        else { return nil }
        var made: MediaReceiver?
        let receiver = slot.receiver {
            let receiver = MediaReceiver(
                slot: slot, account: account, loop: loop, configuration: self.configuration, gate: self.gate,
                logger: self.logger, notify: self.notify)
            made = receiver
            return receiver
        }
        if made == nil { self.configuration.sessions.close(account) }
        made?.begin()
        return receiver
    }
}

/// Reads one TCP connection with media: packets in frames (RFC 4571).
///
/// States: *unknown* until the first packet names a session, for a bounded time; *known* to the end.
final class MediaConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let door: MediaDoor
    /// For a port or a connection of one session.
    private var slot: MediaSlot?
    private var receiver: MediaReceiver?
    private var remoteAddress: SocketAddress?
    private var framing = PacketFraming()
    private var resynchronisations = 0
    private var packets: [ByteBuffer] = []
    private var deadline: Scheduled<Void>?
    private var isClosed = false

    init(door: MediaDoor, slot: MediaSlot?) {
        self.door = door
        self.slot = slot
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.deadline = context.eventLoop.assumeIsolated().scheduleTask(in: self.door.firstPacketTimeout) {
            self.door.countStranger()
            context.close(promise: nil)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isClosed else { return }
        self.framing.append(self.unwrapInboundIn(data))
        while let packet = self.framing.next() {
            if self.receiver == nil {
                guard self.begin(packet, context) else { return }
                if self.receiver == nil { continue }
            }
            if self.framing.resynchronisations != self.resynchronisations {
                self.resynchronisations = self.framing.resynchronisations
                self.flush()
                self.receiver?.lostBytes()
            }
            self.packets.append(packet)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.flush()
        context.fireChannelReadComplete()
    }

    private func flush() {
        guard !self.packets.isEmpty, let receiver = self.receiver else { return }
        let packets = self.packets
        self.packets = []
        // Nobody else may take the session's place while this one sends.
        _ = self.slot?.admits(self.remoteAddress, byHost: true)
        receiver.receive(packets)
    }

    /// Returns false, and closes, for a stranger; RTCP in front of the media is passed over.
    private func begin(_ packet: ByteBuffer, _ context: ChannelHandlerContext) -> Bool {
        let isControl =
            packet.getInteger(at: packet.readerIndex + 1, as: UInt8.self).map { RTPPacket.isRTCP(secondByte: $0) }
        if isControl == true { return true }
        let address = context.channel.remoteAddress
        let slot = self.door.slot(of: packet, from: address, expected: self.slot, byHost: true)
        // One device, one connection at a time: a second one takes over on the same loop only.
        guard let slot, let receiver = self.door.receiver(of: slot, from: address, on: context.eventLoop) else {
            self.door.countStranger()
            self.close(context)
            return false
        }
        guard receiver.loop === context.eventLoop else {
            // The session's old connection is on another loop: it makes way, and the device comes again.
            receiver.stop(.left, notifies: true)
            self.close(context)
            return false
        }
        self.slot = slot
        self.remoteAddress = address
        self.receiver = receiver
        self.deadline?.cancel()
        self.deadline = nil
        let channel = context.channel
        receiver.attach(ObjectIdentifier(self)) { channel.close(promise: nil) }
        return true
    }

    private func close(_ context: ChannelHandlerContext) {
        self.isClosed = true
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.deadline?.cancel()
        self.deadline = nil
        self.flush()
        self.receiver?.detached(ObjectIdentifier(self))
        self.receiver = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.close(context) }
}

/// Reads the datagrams of one UDP socket, of all sessions or of one.
final class MediaDatagrams: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let door: MediaDoor
    private let slot: MediaSlot?
    /// What came in this turn, by receiver.
    private var batches: [(receiver: MediaReceiver, packets: [ByteBuffer])] = []

    init(door: MediaDoor, slot: MediaSlot?) {
        self.door = door
        self.slot = slot
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        let packet = envelope.data
        guard packet.readableBytes >= RTPHeader.minimumByteCount,
            let slot = self.door.slot(
                of: packet, from: envelope.remoteAddress, expected: self.slot, byHost: false),
            let receiver = self.door.receiver(of: slot, from: envelope.remoteAddress, on: context.eventLoop)
        else { return self.door.countStranger() }
        // A copy: one packet that waits for another would keep the whole buffer of a read.
        let copy = ByteBuffer(bytes: packet.readableBytesView)
        if let index = self.batches.firstIndex(where: { $0.receiver === receiver }) {
            self.batches[index].packets.append(copy)
        } else {
            self.batches.append((receiver, [copy]))
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        for (receiver, packets) in self.batches { receiver.receive(packets) }
        self.batches.removeAll(keepingCapacity: true)
        context.fireChannelReadComplete()
    }

    /// An unreachable peer is no reason to close the socket of the others.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
