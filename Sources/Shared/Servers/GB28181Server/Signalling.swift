import GB28181
import Logging
import MANSCDP
import Media
import NIOCore
import SIP
import StreamHub

/// What a node is told of its devices and sessions goes through here: the platform's owner.
///
/// Moves messages between sockets and the platform, and tells those who wait. All on one event loop.
// Safety: all mutable state is touched on `loop` only; entry points assert it.
final class Signalling: @unchecked Sendable {
    /// A session of media as the owner keeps it.
    struct Session {
        var slot: MediaSlot
        var plan: MediaPlan
        var key: StreamKey
        /// Nobody plays it since then.
        var idleSince: NIODeadline?
        /// Somebody may still wait for it until then.
        var awaitedUntil = NIODeadline.uptimeNanoseconds(0)
        /// Somebody asked for it, and it stays until that is taken back.
        var isPinned = false
        var port: (any Channel)?
        var beganAt = NIODeadline.now()
    }

    static let maximumAlarms = 1_000
    /// Seconds between two rounds in which all channels are invited that have no session.
    static let reinviteTicks = 30

    let loop: any EventLoop
    let configuration: GB28181ServerConfiguration
    let directory: MediaDirectory
    let logger: Logger
    let fileReaders = FileReaders()
    var platform: GB28181Platform
    var sessions: [UInt64: Session] = [:]
    /// By the name of the stream.
    var sources: [String: DeviceChannel] = [:]
    var namesOfDevice: [String: [String]] = [:]
    /// Keys of sessions that were asked for by the name of a stream, or by the API.
    var pinned: Set<UInt64> = []
    private(set) var alarms: [GB28181Alarm] = []
    private var alarmNumber: UInt64 = 0
    /// Seconds since the start.
    var ticks = 0
    /// Opens ports and connections for media.
    var ports: MediaPorts?
    private var connections: [UInt64: any Channel] = [:]
    private var datagrams: [(channel: any Channel, port: Int, isV6: Bool)] = []
    private var waiting: [UInt64: CheckedContinuation<DeviceAnswer, Never>] = [:]
    private var lastRequest: UInt64 = 0
    private var timer: Scheduled<Void>?
    private var armed = NIODeadline.distantFuture
    private var ticker: RepeatedTask?
    private(set) var isStopped = false
    private var lastRefusal = NIODeadline.uptimeNanoseconds(0)
    private var untoldRefusals = 0
    private let wallSeconds: @Sendable () -> Int64

    init(
        loop: any EventLoop, configuration: GB28181ServerConfiguration, directory: MediaDirectory, logger: Logger,
        wallSeconds: @escaping @Sendable () -> Int64
    ) {
        self.loop = loop
        self.configuration = configuration
        self.directory = directory
        self.logger = logger
        self.wallSeconds = wallSeconds
        self.platform = GB28181Platform(
            configuration: configuration.platform, random: SystemRandomNumberGenerator())
    }

    var clock: GB28181Clock { GB28181Clock(now: .now(), wallSeconds: self.wallSeconds()) }

    func start() {
        self.loop.assertInEventLoop()
        let second = TimeAmount.seconds(1)
        self.ticker = self.loop.scheduleRepeatedTask(initialDelay: second, delay: second) { [weak self] _ in
            self?.checkIdle()
        }
    }

    func stop() {
        self.loop.assertInEventLoop()
        self.isStopped = true
        for id in self.sessions.keys.sorted() { self.platform.stop(session: id, .stopped, self.clock) }
        self.drain()
        self.ticker?.cancel()
        self.timer?.cancel()
        for channel in self.connections.values { channel.close(promise: nil) }
        let waiting = self.waiting
        self.waiting = [:]
        for continuation in waiting.values { continuation.resume(returning: .deviceGone) }
    }

    // MARK: Sockets

    func opened(_ number: UInt64, _ channel: any Channel) { self.connections[number] = channel }

    func closed(_ number: UInt64) {
        self.connections[number] = nil
        guard !self.isStopped else { return }
        self.platform.connectionClosed(number, self.clock)
        self.drain()
    }

    func add(datagrams channel: any Channel, isV6: Bool) {
        self.loop.assertInEventLoop()
        self.datagrams.append((channel, channel.localAddress?.port ?? 0, isV6))
    }

    func received(_ message: SIPMessage, from path: SIPPath) {
        guard !self.isStopped else { return }
        self.platform.receive(message, from: path, self.clock)
        self.drain()
    }

    func receivedGarbage(_ error: SIPError, from path: SIPPath) {
        self.platform.receivedGarbage()
        self.logger.debug("bytes that are no SIP message", metadata: ["peer": "\(path.host)", "error": "\(error)"])
    }

    private func transmit(_ bytes: ByteBuffer, _ path: SIPPath) {
        switch path.transport {
        case .tcp(let number): self.connections[number]?.writeAndFlush(bytes, promise: nil)
        case .udp:
            let isV6 = path.host.contains(":")
            let socket =
                self.datagrams.first { $0.port == path.localPort && $0.isV6 == isV6 }
                ?? self.datagrams.first { $0.isV6 == isV6 }
            guard let socket, let address = try? SocketAddress(ipAddress: path.host, port: path.port) else { return }
            socket.channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: bytes), promise: nil)
        }
    }

    // MARK: Platform

    /// Does what the platform wants, and wakes it in time.
    func drain() {
        while let output = self.platform.nextOutput() {
            switch output {
            case .transmit(let bytes, let path): self.transmit(bytes, path)
            case .event(let event): self.handle(event)
            }
        }
        guard !self.isStopped, let next = self.platform.nextDeadline, next < self.armed else { return }
        self.armed = next
        self.timer?.cancel()
        self.timer = self.loop.assumeIsolated().scheduleTask(deadline: next) {
            self.armed = .distantFuture
            self.platform.deadlineReached(self.clock)
            self.drain()
        }
    }

    private func handle(_ event: GB28181Event) {
        switch event {
        case .registered(let device, let isNew):
            self.logger.info(isNew ? "a device registered" : "a device is back", metadata: ["device": "\(device)"])
            if self.platform.devices[device]?.hasCatalog == true { self.inviteAll(of: device) }
        case .unregistered(let device, let reason):
            self.logger.notice(
                "a device is gone", metadata: ["device": "\(device)", "reason": "\(reason ?? "it unregistered")"])
        case .forgotten(let device): self.removeNames(of: device)
        case .registrationRefused(let device, let reason): self.noteRefusal(device, reason)
        case .catalogChanged(let device): self.catalogChanged(device)
        case .alarm(let device, let alarm): self.note(alarm, of: device)
        case .position: break
        case .openMedia(let plan): self.openMedia(plan)
        case .connectMedia(let session, let host, let port): self.connectMedia(session, host, port)
        case .established(let session, let ssrc):
            guard let known = self.sessions[session] else { return }
            self.directory.answered(known.slot, source: ssrc)
        case .closeMedia(let session, let end, let isOver): self.closeMedia(session, end, isOver: isOver)
        case .answered(let request, let answer):
            self.waiting.removeValue(forKey: request)?.resume(returning: answer)
        }
    }

    /// Anybody can be refused as often as they like: one line a second.
    private func noteRefusal(_ device: String, _ reason: String) {
        let now = NIODeadline.now()
        guard now - self.lastRefusal >= .seconds(1) else { return self.untoldRefusals += 1 }
        self.logger.warning(
            "a device may not register",
            metadata: ["device": "\(device)", "reason": "\(reason)", "others": "\(self.untoldRefusals)"])
        self.lastRefusal = now
        self.untoldRefusals = 0
    }

    /// Whether a device registered over the connection.
    func isUsed(connection number: UInt64) -> Bool {
        self.platform.devices.values.contains { $0.isOnline && $0.path.transport == .tcp(connection: number) }
    }

    private func note(_ alarm: DeviceAlarm, of device: String) {
        self.logger.notice(
            "a device's alarm",
            metadata: [
                "device": "\(device)", "source": "\(alarm.sourceID)", "priority": "\(alarm.priority ?? 0)",
                "method": "\(alarm.method ?? 0)",
            ])
        self.alarmNumber += 1
        self.alarms.append(
            GB28181Alarm(number: self.alarmNumber, device: device, receivedSeconds: self.wallSeconds(), alarm: alarm))
        if self.alarms.count > Self.maximumAlarms { self.alarms.removeFirst() }
    }

    /// Asks a device, and waits for its answer.
    func request(_ device: String, _ request: DeviceRequest) async -> Result<DeviceAnswer, DeviceRefusal> {
        let id: Result<UInt64, DeviceRefusal>? = try? await self.loop.submit {
            guard !self.isStopped else { return .failure(.deviceOffline) }
            self.lastRequest += 1
            return .success(self.lastRequest)
        }.get()
        guard case .success(let id)? = id else { return .failure(.deviceOffline) }
        let refusal = self.loop.makePromise(of: DeviceRefusal?.self)
        let answer = await withCheckedContinuation { (continuation: CheckedContinuation<DeviceAnswer, Never>) in
            self.loop.execute {
                guard !self.isStopped else {
                    refusal.succeed(.deviceOffline)
                    return continuation.resume(returning: .deviceGone)
                }
                // It may be answered before the call returns.
                self.waiting[id] = continuation
                let refused = self.platform.request(id, device: device, request, self.clock)
                refusal.succeed(refused)
                if refused != nil { self.waiting.removeValue(forKey: id)?.resume(returning: .deviceGone) }
                self.drain()
            }
        }
        if let refused = try? await refusal.futureResult.get() { return .failure(refused) }
        return .success(answer)
    }
}
