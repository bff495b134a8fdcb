import LoadSupport

/// One TCP connection of the load: a viewer or a publisher.
final class Connection {
    enum Client {
        case rtmp(RTMPClient)
        case http(HTTPClient)
    }

    enum Phase: Equatable {
        case connecting
        /// Talking to the server; everything received is parsed.
        case starting
        /// A viewer whose every frame is parsed and timed.
        case sampled
        /// A viewer whose bytes are counted and thrown away.
        case counted
        case publishing
        case closed
    }

    /// Where a publisher is in its media.
    struct PublishPosition {
        var next = 0
        /// Milliseconds of stream clock at which the current loop began.
        var loopMillis: UInt32 = 0
        let started: UInt64
    }

    let socket: Socket
    let isPublisher: Bool
    let isSampled: Bool
    let opened: UInt64
    var phase = Phase.connecting
    var client: Client
    var received = 0
    var receivedAtWindowStart = 0
    var lastData: UInt64
    /// Bytes that the socket did not take, from `unsentOffset` on.
    var unsent: [UInt8] = []
    var unsentOffset = 0
    var wantsWritable = true
    var tracker = ArrivalTracker()
    var position: PublishPosition?

    init(socket: Socket, client: Client, isPublisher: Bool, isSampled: Bool, opened: UInt64) {
        self.socket = socket
        self.client = client
        self.isPublisher = isPublisher
        self.isSampled = isSampled
        self.opened = opened
        self.lastData = opened
    }

    func connected() {
        switch self.client {
        case .rtmp(var client):
            client.connected()
            self.client = .rtmp(client)
        case .http(var client):
            client.connected()
            self.client = .http(client)
        }
    }

    /// Parses what came in; returns why the connection failed, if it did.
    func read(_ bytes: Span<UInt8>, events: inout [MediaEvent]) -> String? {
        switch self.client {
        case .rtmp(var client):
            // Emptied first, so that the parser's buffers have one owner and are not copied.
            self.client = .http(Self.vacant)
            client.read(bytes, events: &events)
            client.receivedBytes(total: self.received)
            self.client = .rtmp(client)
            if case .failed(let reason) = client.state { return reason }
        case .http(var client):
            self.client = .http(Self.vacant)
            client.read(bytes, events: &events)
            self.client = .http(client)
            if case .failed(let reason) = client.state { return reason }
        }
        return nil
    }

    /// Counts bytes that nobody looked at.
    func discarded() {
        guard case .rtmp(var client) = self.client else { return }
        client.receivedBytes(total: self.received)
        if !client.outgoing.isEmpty { self.client = .rtmp(client) }
    }

    /// What the viewer of a transport stream found wrong with it.
    var transportStreamErrors: Int {
        guard case .http(let client) = self.client, let check = client.transportStream else { return 0 }
        return check.continuityErrors + check.damaged
    }

    /// Takes what the protocol wants sent.
    func takeOutgoing() -> [UInt8] {
        switch self.client {
        case .rtmp(var client):
            guard !client.outgoing.isEmpty else { return [] }
            let bytes = client.outgoing
            client.outgoing = []
            self.client = .rtmp(client)
            return bytes
        case .http(var client):
            guard !client.outgoing.isEmpty else { return [] }
            let bytes = client.outgoing
            client.outgoing = []
            self.client = .http(client)
            return bytes
        }
    }

    private static let vacant = HTTPClient(authority: "", path: "")
}
