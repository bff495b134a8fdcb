import Glibc
import LoadSupport
import Polling

/// What one run of the load generator does.
struct LoadPlan {
    var viewers = 0
    var viewerEndpoint: Endpoint?
    var publishers = 0
    var publisherEndpoint: Endpoint?
    /// Viewers are spread over this many streams when the URL holds `{n}`.
    var streams = 1
    /// Connections opened in a second.
    var ramp = 500
    var warmupNanos: UInt64 = 5_000_000_000
    var windowNanos: UInt64 = 14_000_000_000
    /// How many viewers are parsed to the end instead of counted.
    var sampled = 50
    var stallMillis = 1000.0
    /// How often a counted viewer's socket is emptied.
    var drainNanos: UInt64 = 100_000_000
    var chunkSize = 4096
    var servers: [Int32] = []

    /// What viewers speak: `rtmp`, `flv` or `ts`.
    var viewerProtocol: String {
        guard let endpoint = self.viewerEndpoint, endpoint.scheme == .http else { return "rtmp" }
        return HTTPClient.isTransportStream(endpoint.path) ? "ts" : "flv"
    }
}

/// Runs the whole load in one thread around one epoll set.
///
/// A viewer is parsed until its first keyframe. From then on a *sampled* viewer stays in the epoll set and each of its
/// frames is timed; a *counted* one leaves the set, and its socket is emptied every `drainNanos` without copying
/// (`MSG_TRUNC`), so that a thousand viewers cost a few per cent of a core and the server's cost stays visible.
/// Publishers send each message when it is due, as encoders do. States: ramp → warm-up → window → done.
struct LoadEngine: ~Copyable {
    let plan: LoadPlan
    private var media: PublishedMedia?
    private var poller: Poller
    private var connections: [Connection] = []
    private var draining: [Connection] = []
    private var publishing: [Connection] = []
    private var buffer = [UInt8](repeating: 0, count: 256 * 1024)
    private var events: [MediaEvent] = []
    private var drainCursor = 0
    private var lastDrain: UInt64 = 0

    private var inWindow = false
    private(set) var counters = WindowCounters()
    private(set) var firstFrame = MillisHistogram()
    private(set) var failures: [String: Int] = [:]

    private static let tickMillis: Int32 = 5
    private static let discardLimit = 4 << 20
    private static let unsentLimit = 4 << 20
    private static let lateNanos: UInt64 = 100_000_000

    init(plan: LoadPlan, media: PublishedMedia?) throws(SystemError) {
        self.plan = plan
        self.media = media
        self.poller = try Poller()
    }

    /// Runs to the end of the window.
    mutating func run() throws(SystemError) -> LoadResult {
        let memoryBefore = SystemProbe.memory(of: self.plan.servers)
        let total = self.plan.viewers + self.plan.publishers
        let start = monotonicNanos()
        let nanosPerOpen = 1_000_000_000 / UInt64(self.plan.ramp)
        let windowStart = start + UInt64(total) * nanosPerOpen + self.plan.warmupNanos
        while monotonicNanos() < windowStart || self.connections.count < total {
            let due = min(total, Int((monotonicNanos() - start) / nanosPerOpen) + 1)
            while self.connections.count < due { try self.open(self.connections.count) }
            try self.turn()
        }
        for connection in self.connections { connection.receivedAtWindowStart = connection.received }
        let before = SystemProbe(servers: self.plan.servers)
        self.inWindow = true
        while monotonicNanos() < before.taken + self.plan.windowNanos { try self.turn() }
        self.inWindow = false
        let after = SystemProbe(servers: self.plan.servers)
        let rates = self.viewerRates(seconds: Double(after.taken - before.taken) / 1e9)
        return LoadResult(
            before: before, after: after, memoryBefore: memoryBefore,
            memoryAfter: SystemProbe.memory(of: self.plan.servers), viewerRates: rates,
            viewersUp: self.connections.count(where: { !$0.isPublisher && [.counted, .sampled].contains($0.phase) }),
            publishersUp: self.connections.count(where: { $0.phase == .publishing }),
            transportStreamErrors: self.connections.reduce(0) { $0 + $1.transportStreamErrors },
            counters: self.counters, firstFrame: self.firstFrame, failures: self.failures,
            publishedBitrate: self.media?.bitrate ?? 0)
    }

    /// Bits per second of each viewer over the window.
    private func viewerRates(seconds: Double) -> [Double] {
        self.connections.filter { !$0.isPublisher }.map {
            Double($0.received - $0.receivedAtWindowStart) * 8 / seconds
        }
    }

    private mutating func turn() throws(SystemError) {
        let count = self.poller.wait(timeoutMillis: Self.tickMillis)
        for index in 0..<count {
            let event = self.poller.event(at: index)
            let connection = self.connections[event.token]
            guard connection.phase != .closed else { continue }
            if event.writable { try self.writable(connection, token: event.token) }
            if event.readable, connection.phase != .closed { try self.readable(connection, token: event.token) }
        }
        self.drain(now: monotonicNanos())
        self.publish()
    }

    // MARK: Connections

    private mutating func open(_ number: Int) throws(SystemError) {
        let isPublisher = number < self.plan.publishers
        let index = isPublisher ? number : (number - self.plan.publishers) % self.plan.streams
        let endpoint = isPublisher ? self.plan.publisherEndpoint : self.plan.viewerEndpoint
        guard let endpoint else { preconditionFailure("a plan with connections must name their endpoint") }
        let client: Connection.Client
        switch endpoint.scheme {
        case .rtmp:
            let names = endpoint.rtmpNames(stream: index)
            client = .rtmp(
                RTMPClient(
                    purpose: isPublisher ? .publish : .play, authority: endpoint.authority,
                    application: names?.application ?? "live", stream: names?.stream ?? endpoint.path,
                    chunkSize: isPublisher ? self.plan.chunkSize : 4096))
        case .http:
            client = .http(HTTPClient(authority: endpoint.authority, path: endpoint.path(stream: index)))
        }
        let viewer = number - self.plan.publishers
        // Spread evenly, so that the sample is not only those who came first.
        let isSampled =
            !isPublisher
            && viewer * self.plan.sampled / self.plan.viewers != (viewer + 1) * self.plan.sampled / self.plan.viewers
        let now = monotonicNanos()
        let connection = Connection(
            socket: try Socket(address: endpoint.address), client: client, isPublisher: isPublisher,
            isSampled: isSampled, opened: now)
        try self.poller.add(connection.socket.descriptor, token: number, writable: true)
        self.connections.append(connection)
    }

    private mutating func close(_ connection: Connection, _ reason: String) {
        connection.phase = .closed
        connection.socket.close()
        self.failures[reason, default: 0] += 1
    }

    private mutating func writable(_ connection: Connection, token: Int) throws(SystemError) {
        if connection.phase == .connecting {
            connection.phase = .starting
            connection.connected()
        }
        try self.flush(connection, token: token)
    }

    private mutating func readable(_ connection: Connection, token: Int) throws(SystemError) {
        if connection.phase == .publishing {
            // Acknowledgements and the like; an encoder would read them, too.
            switch connection.socket.discard(limit: Self.discardLimit) {
            case .closed: self.close(connection, "closed by the server while publishing")
            case .failed(let code): self.close(connection, "\(systemErrorText(code)) while publishing")
            case .bytes, .nothing: break
            }
            return
        }
        switch connection.socket.receive(into: &self.buffer) {
        case .nothing:
            return
        case .closed:
            return self.close(connection, "closed by the server while \(connection.phase)")
        case .failed(let code):
            return self.close(connection, "\(systemErrorText(code)) while \(connection.phase)")
        case .bytes(let count):
            let now = monotonicNanos()
            connection.received += count
            connection.lastData = now
            var events: [MediaEvent] = []
            swap(&events, &self.events)
            let failure = connection.read(self.buffer.span.extracting(0..<count), events: &events)
            for event in events { self.saw(event, connection, now: now) }
            events.removeAll(keepingCapacity: true)
            swap(&events, &self.events)
            if let failure { return self.close(connection, failure) }
            try self.flush(connection, token: token)
            self.startPublishing(connection, now: now)
        }
    }

    /// Sends what the protocol and the media queued.
    private mutating func flush(_ connection: Connection, token: Int) throws(SystemError) {
        let outgoing = connection.takeOutgoing()
        if !outgoing.isEmpty { connection.unsent.append(contentsOf: outgoing) }
        if connection.unsentOffset < connection.unsent.count {
            do throws(SystemError) {
                connection.unsentOffset += try connection.socket.send(
                    connection.unsent, from: connection.unsentOffset)
            } catch {
                return self.close(connection, "\(error) while \(connection.phase)")
            }
        }
        if connection.unsentOffset == connection.unsent.count, !connection.unsent.isEmpty {
            connection.unsent.removeAll(keepingCapacity: connection.unsent.count < 65_536)
            connection.unsentOffset = 0
        }
        let wantsWritable = !connection.unsent.isEmpty
        if wantsWritable != connection.wantsWritable, connection.phase != .counted {
            connection.wantsWritable = wantsWritable
            try self.poller.modify(connection.socket.descriptor, token: token, writable: wantsWritable)
        }
    }

    // MARK: Viewers

    private mutating func saw(_ event: MediaEvent, _ connection: Connection, now: UInt64) {
        if connection.phase == .starting, event.isKeyframe {
            self.firstFrame.add(Double(now - connection.opened) / 1e6)
            if connection.isSampled {
                connection.phase = .sampled
            } else {
                connection.phase = .counted
                self.poller.remove(connection.socket.descriptor)
                self.draining.append(connection)
            }
        }
        guard connection.phase == .sampled, !event.isSequenceHeader else { return }
        guard event.kind == .video else {
            if self.inWindow, event.kind == .audio { self.counters.audioFrames += 1 }
            return
        }
        let arrival = connection.tracker.video(timestamp: event.timestamp, at: now)
        guard self.inWindow else { return }
        self.counters.videoFrames += 1
        self.counters.lag.add(arrival.lagMillis)
        self.counters.timestampsBack += arrival.timestampWentBack ? 1 : 0
        self.noteGap(millis: arrival.gapMillis)
    }

    private mutating func noteGap(millis: Double) {
        self.counters.longestGapMillis = max(self.counters.longestGapMillis, millis)
        if millis > self.plan.stallMillis { self.counters.stalls += 1 }
    }

    /// Empties the sockets of as many counted viewers as are due since the last call, in turn.
    private mutating func drain(now: UInt64) {
        defer { self.lastDrain = now }
        let elapsed = min(now - self.lastDrain, self.plan.drainNanos)
        let share = Double(elapsed) / Double(self.plan.drainNanos)
        let due = Int((Double(self.draining.count) * share).rounded(.up))
        for _ in 0..<due {
            self.drainCursor = self.drainCursor + 1 < self.draining.count ? self.drainCursor + 1 : 0
            let connection = self.draining[self.drainCursor]
            guard connection.phase == .counted else { continue }
            self.drain(connection, now: now)
        }
    }

    private mutating func drain(_ connection: Connection, now: UInt64) {
        switch connection.socket.discard(limit: Self.discardLimit) {
        case .nothing:
            break
        case .closed:
            self.close(connection, "closed by the server while playing")
        case .failed(let code):
            self.close(connection, "\(systemErrorText(code)) while playing")
        case .bytes(let count):
            connection.received += count
            connection.discarded()
            if self.inWindow { self.noteGap(millis: Double(now - connection.lastData) / 1e6) }
            connection.lastData = now
            let outgoing = connection.takeOutgoing()
            guard !outgoing.isEmpty else { return }
            // An acknowledgement; a socket too full for 16 bytes can do without it.
            _ = try? connection.socket.send(outgoing, from: 0)
        }
    }

    // MARK: Publishers

    private mutating func startPublishing(_ connection: Connection, now: UInt64) {
        guard connection.isPublisher, connection.phase == .starting, case .rtmp(let client) = connection.client,
            client.state == .streaming
        else { return }
        connection.phase = .publishing
        // Starts are spread over two seconds by the golden ratio, so that keyframes do not coincide.
        let turn = Double(self.publishing.count) * 0.618_033_988_75
        let delay = UInt64(turn.truncatingRemainder(dividingBy: 1) * 2e9)
        connection.position = Connection.PublishPosition(started: now + delay)
        self.publishing.append(connection)
    }

    private mutating func publish() {
        for connection in self.publishing where connection.phase == .publishing { self.publish(connection) }
    }

    private mutating func publish(_ connection: Connection) {
        guard let count = self.media?.count, let loopStart = self.media?.loopStart,
            let duration = self.media?.durationMillis, case .rtmp(let client) = connection.client
        else { return }
        let stream = client.messageStream
        while let position = connection.position, connection.phase == .publishing {
            guard let millis = self.media?.millis(of: position.next) else { return }
            let timestamp = position.loopMillis + millis
            let due = position.started + UInt64(timestamp) * 1_000_000
            let now = monotonicNanos()
            guard now >= due else { return }
            guard let bytes = self.media?.render(position.next, timestamp: timestamp, messageStream: stream) else {
                return
            }
            self.send(bytes, connection)
            if self.inWindow {
                self.counters.publishedMessages += 1
                self.counters.publishedBytes += bytes.count
                self.counters.publisherLateMessages += now - due > Self.lateNanos ? 1 : 0
            }
            let isLast = position.next + 1 == count
            connection.position?.next = isLast ? loopStart : position.next + 1
            if isLast { connection.position?.loopMillis += duration }
        }
    }

    /// Sends one message, or queues what the socket does not take.
    private mutating func send(_ bytes: [UInt8], _ connection: Connection) {
        do throws(SystemError) {
            if connection.unsentOffset < connection.unsent.count {
                connection.unsentOffset += try connection.socket.send(connection.unsent, from: connection.unsentOffset)
            }
            guard connection.unsentOffset == connection.unsent.count else {
                connection.unsent.append(contentsOf: bytes)
                if connection.unsent.count - connection.unsentOffset > Self.unsentLimit {
                    self.close(connection, "the server reads too slowly: \(Self.unsentLimit) bytes unsent")
                }
                return
            }
            connection.unsent.removeAll(keepingCapacity: false)
            connection.unsentOffset = 0
            let sent = try connection.socket.send(bytes, from: 0)
            if sent < bytes.count { connection.unsent.append(contentsOf: bytes[sent...]) }
        } catch {
            self.close(connection, "\(error) while publishing")
        }
    }
}

/// What a run measured, before it is turned into a report.
struct LoadResult {
    let before: SystemProbe
    let after: SystemProbe
    let memoryBefore: (resident: Int, proportional: Int)
    let memoryAfter: (resident: Int, proportional: Int)
    let viewerRates: [Double]
    let viewersUp: Int
    let publishersUp: Int
    let transportStreamErrors: Int
    let counters: WindowCounters
    let firstFrame: MillisHistogram
    let failures: [String: Int]
    let publishedBitrate: Double
}
