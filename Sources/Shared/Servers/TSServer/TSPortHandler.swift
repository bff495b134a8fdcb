import Logging
import MPEGTS
import NIOCore
import StreamHub
import TransportStreams

/// The datagrams of one port: finds the packets in them, and the stream that they are for.
final class TSPortHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    /// One sender, with one stream or one for each program.
    private final class Sender {
        var address: SocketAddress
        var sequence: UInt16?
        var splitter: TSProgramSplitter?
        var ingests: [UInt16: TSIngest] = [:]
        /// It sent something in this batch.
        var isTouched = false

        init(_ address: SocketAddress, splits: Bool) {
            self.address = address
            self.splitter = splits ? TSProgramSplitter() : nil
        }
    }

    /// How often silent senders are looked for.
    private static let checkInterval = TimeAmount.milliseconds(250)

    private let services: TSIngest.Services
    private let listener: TSListenerConfiguration
    private let port: Int
    private var table: TSSenderTable<SocketAddress, String>
    private var senders: [Int: Sender] = [:]
    private var touched: [Sender] = []
    private var timer: RepeatedTask?
    private var context: ChannelHandlerContext?
    private(set) var statistics = TSServerStatistics()

    init(services: TSIngest.Services, listener: TSListenerConfiguration, port: Int) {
        self.services = services
        self.listener = listener
        self.port = port
        let configuration = services.configuration
        self.table = TSSenderTable(
            configuration: .init(
                separatesHosts: listener.stream.uses(.address), takeoverAfter: configuration.takeoverAfter,
                idleTimeout: configuration.idleTimeout, maximumSenders: configuration.maximumSenders))
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        self.statistics.datagrams += 1
        self.statistics.bytes += UInt64(envelope.data.readableBytes)
        let datagram: TSDatagram
        do throws(TSDatagram.Fault) {
            datagram = try TSDatagram(envelope.data)
        } catch {
            self.statistics.malformed += 1
            return
        }
        if datagram.excess > 0 { self.statistics.malformed += 1 }
        let now = NIODeadline.now()
        guard let sender = self.sender(envelope.remoteAddress, now: now) else {
            self.statistics.foreign += 1
            return
        }
        if let rtp = datagram.rtp { self.follow(rtp, of: sender) }
        if !sender.isTouched {
            sender.isTouched = true
            self.touched.append(sender)
        }
        self.give(datagram.packets, of: sender, now: now)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        let now = NIODeadline.now()
        for sender in self.touched {
            sender.isTouched = false
            for ingest in sender.ingests.values { ingest.flush(now: now) }
        }
        self.touched.removeAll(keepingCapacity: true)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = nil
        for sender in self.senders.values {
            for ingest in sender.ingests.values { ingest.close(.shutdown) }
        }
        self.senders = [:]
        self.statistics.streams = 0
        context.fireChannelInactive()
    }

    /// A refused send of somebody on this machine is no reason to stop listening.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.services.logger.debug("receiving failed", metadata: ["port": "\(self.port)", "error": "\(error)"])
    }

    // MARK: Senders

    private func sender(_ address: SocketAddress, now: NIODeadline) -> Sender? {
        switch self.table.receive(from: address, host: { address.ipAddress ?? "" }, now: now) {
        case .stream(let id): return self.senders[id]
        case .foreign, .full: return nil
        case .newSender(let id):
            guard let sender = self.senders[id] else { return nil }
            sender.address = address
            sender.sequence = nil
            if sender.splitter != nil { sender.splitter = TSProgramSplitter() }
            for ingest in sender.ingests.values { ingest.senderChanged(to: address) }
            return sender
        case .newStream(let id):
            let sender = Sender(address, splits: self.listener.stream.uses(.program))
            self.senders[id] = sender
            self.armTimer()
            return sender
        }
    }

    /// Counts what is missing. Datagrams that come in another order are left in it: the packets' own counters show the
    /// damage.
    private func follow(_ rtp: TSDatagram.RTPFields, of sender: Sender) {
        if let last = sender.sequence {
            let distance = rtp.sequenceNumber &- last
            if distance > 1, distance < 0x8000 { self.statistics.lost += UInt64(distance - 1) }
        }
        sender.sequence = rtp.sequenceNumber
    }

    private func give(_ packets: ByteBuffer, of sender: Sender, now: NIODeadline) {
        if sender.splitter != nil {
            for (program, packets) in sender.splitter?.receive(packets) ?? [] {
                self.ingest(of: sender, program: program)?.receive(packets, now: now)
            }
        } else {
            self.ingest(of: sender, program: nil)?.receive(packets, now: now)
        }
    }

    /// `nil` where the sender names more programs than one may have, be it one after the other.
    private func ingest(of sender: Sender, program: UInt16?) -> TSIngest? {
        if let known = sender.ingests[program ?? 0] { return known }
        guard sender.ingests.count < TSProgramSplitter.maximumPrograms else { return nil }
        guard let loop = self.context?.eventLoop else { preconditionFailure("a datagram without a channel") }
        let name = self.listener.stream.text(
            port: self.port, address: sender.address.ipAddress ?? "", program: program)
        let ingest = TSIngest(
            services: self.services, listener: self.listener, name: name, program: program, sender: sender.address,
            loop: loop)
        sender.ingests[program ?? 0] = ingest
        self.statistics.streams += 1
        return ingest
    }

    // MARK: Time

    private func armTimer() {
        guard self.timer == nil, let loop = self.context?.eventLoop else { return }
        let bound = NIOLoopBound(self, eventLoop: loop)
        self.timer = loop.scheduleRepeatedTask(initialDelay: Self.checkInterval, delay: Self.checkInterval) { _ in
            bound.value.check(now: .now())
        }
    }

    private func check(now: NIODeadline) {
        for id in self.table.deadlineReached(now: now) {
            guard let sender = self.senders.removeValue(forKey: id) else { continue }
            for ingest in sender.ingests.values { ingest.close(.left) }
            self.statistics.streams -= sender.ingests.count
        }
        // A program that its sender does not send any more.
        let idle = self.services.configuration.idleTimeout
        for sender in self.senders.values {
            for (program, ingest) in sender.ingests {
                guard now - ingest.lastHeard >= idle else {
                    ingest.check(now: now)
                    continue
                }
                ingest.close(.left)
                sender.ingests[program] = nil
                self.statistics.streams -= 1
            }
        }
        if self.table.isEmpty {
            self.timer?.cancel()
            self.timer = nil
        }
    }
}
