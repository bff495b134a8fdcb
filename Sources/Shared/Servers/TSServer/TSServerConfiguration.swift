package import NIOCore
package import StreamHub
package import TransportStreams

/// The name of a stream with places for what tells streams of one listener apart.
package struct TSStreamTemplate: Sendable, Hashable {
    /// What may stand in brackets.
    package enum Variable: String, Sendable, Hashable, CaseIterable {
        /// The port that the datagrams came to.
        case port
        /// The sender's address, with `-` in the place of `:`.
        case address
        /// The number of the program.
        case program
    }

    private enum Piece: Sendable, Hashable {
        case text(String)
        case variable(Variable)
    }

    private let pieces: [Piece]

    /// Reads `ch[port]`, `cam-[address]` and the like. `nil` for brackets that are not closed, or hold something else.
    package init?(_ text: String) {
        var pieces: [Piece] = []
        var rest = text[...]
        while let open = rest.firstIndex(of: "[") {
            guard let close = rest[open...].firstIndex(of: "]"),
                let variable = Variable(rawValue: String(rest[rest.index(after: open)..<close]))
            else { return nil }
            if open > rest.startIndex { pieces.append(.text(String(rest[..<open]))) }
            pieces.append(.variable(variable))
            rest = rest[rest.index(after: close)...]
        }
        guard !rest.contains("]") else { return nil }
        if !rest.isEmpty { pieces.append(.text(String(rest))) }
        self.pieces = pieces
    }

    package func uses(_ variable: Variable) -> Bool { self.pieces.contains(.variable(variable)) }

    func text(port: Int, address: String, program: UInt16?) -> String {
        self.pieces.map { piece in
            switch piece {
            case .text(let text): text
            case .variable(.port): "\(port)"
            case .variable(.address): address.replacing(":", with: "-")
            case .variable(.program): program.map { "\($0)" } ?? "0"
            }
        }.joined()
    }
}

/// Where transport streams are listened for, and what is made of them.
package struct TSListenerConfiguration: Sendable, Hashable {
    /// Numeric; a multicast group is joined. `::` and `0.0.0.0` take datagrams for every address.
    package var host: String
    package var ports: ClosedRange<Int>
    /// The interface, by name or address, on which a group is joined; `nil` lets the kernel choose.
    package var interface: String?
    /// A group's only sender that is wanted (source-specific multicast, RFC 4607).
    package var source: String?
    package var vhost: String?
    package var app: String
    package var stream: TSStreamTemplate
    /// What the publisher's URL would have behind `?`, such as a token. Holds secrets: never log it.
    package var query: String
    /// Which program, and which audio, are read, and what follows a loss. The program does not count where streams are
    /// told apart by it.
    package var publication: TSPublication.Configuration

    package init(
        host: String, ports: ClosedRange<Int>, interface: String? = nil, source: String? = nil, vhost: String? = nil,
        app: String, stream: TSStreamTemplate, query: String = "", publication: TSPublication.Configuration = .init()
    ) {
        self.host = host
        self.ports = ports
        self.interface = interface
        self.source = source
        self.vhost = vhost
        self.app = app
        self.stream = stream
        self.query = query
        self.publication = publication
    }
}

/// The settings of the server of transport streams over UDP.
package struct TSServerConfiguration: Sendable {
    package var listeners: [TSListenerConfiguration]
    /// `SO_RCVBUF` of each socket.
    package var receiveBufferBytes: Int
    /// Datagrams that are read with one call.
    package var receiveBatch: Int
    /// A sender that is silent for longer has left.
    package var idleTimeout: TimeAmount
    /// A sender that is silent for longer may be replaced by another.
    package var takeoverAfter: TimeAmount
    /// How long a sender that was refused waits before it is asked for again.
    package var retryAfter: TimeAmount
    /// The most that is kept of one stream while it is decided, in bytes of frames.
    package var maximumHeldBytes: Int
    /// Senders of one port.
    package var maximumSenders: Int
    package var sessions: SessionRegistry

    package init(
        listeners: [TSListenerConfiguration], receiveBufferBytes: Int = 4 << 20, receiveBatch: Int = 32,
        idleTimeout: TimeAmount = .seconds(5), takeoverAfter: TimeAmount = .milliseconds(500),
        retryAfter: TimeAmount = .seconds(5), maximumHeldBytes: Int = 8 << 20, maximumSenders: Int = 1_000,
        sessions: SessionRegistry = SessionRegistry()
    ) {
        self.listeners = listeners
        self.receiveBufferBytes = receiveBufferBytes
        self.receiveBatch = receiveBatch
        self.idleTimeout = idleTimeout
        self.takeoverAfter = takeoverAfter
        self.retryAfter = retryAfter
        self.maximumHeldBytes = maximumHeldBytes
        self.maximumSenders = maximumSenders
        self.sessions = sessions
    }
}

/// Why a listener cannot be opened.
package enum TSServerError: Error, Equatable, Sendable {
    /// The host is no address.
    case badAddress(String)
    case unknownInterface(String)
    /// A source was named for an address that is no group, or of the other family.
    case sourceWithoutGroup(String)
    case bind(address: String, port: Int, cause: String)
    case join(group: String, cause: String)
}

/// What the sockets received since the start.
package struct TSServerStatistics: Sendable, Hashable {
    package var datagrams: UInt64 = 0
    package var bytes: UInt64 = 0
    /// Datagrams that hold no packets.
    package var malformed: UInt64 = 0
    /// Datagrams of senders whose stream has another sender, or that are too many.
    package var foreign: UInt64 = 0
    /// Datagrams that were missing by the numbers of RTP.
    package var lost: UInt64 = 0
    /// Streams that are being received.
    package var streams = 0

    package init() {}

    static func + (left: TSServerStatistics, right: TSServerStatistics) -> TSServerStatistics {
        var sum = left
        sum.datagrams += right.datagrams
        sum.bytes += right.bytes
        sum.malformed += right.malformed
        sum.foreign += right.foreign
        sum.lost += right.lost
        sum.streams += right.streams
        return sum
    }
}
