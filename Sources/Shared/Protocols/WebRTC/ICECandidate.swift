package import NIOCore
import SDP

/// What carries a path between two agents.
package enum ICETransport: String, Sendable, Hashable, Encodable {
    case udp, tcp
}

/// A transport address that an agent may be reached at. Spec: RFC 8839 §5.1.
package struct ICECandidate: Sendable, Hashable {
    package enum Kind: String, Sendable, Hashable, Encodable {
        case host
        case serverReflexive = "srflx"
        case peerReflexive = "prflx"
        case relayed = "relay"
    }

    /// Who opens the connection of a TCP candidate. Spec: RFC 6544 §4.5.
    package enum TCPKind: String, Sendable, Hashable {
        case active, passive
        case simultaneousOpen = "so"
    }

    /// 1–32 characters, equal for candidates of the same kind, address and transport.
    package var foundation: String
    /// 1 for RTP, and for RTCP, too, as they share a port.
    package var component: Int
    package var transport: ICETransport
    package var priority: UInt32
    /// An IPv4 or IPv6 address, or a name; names that end in `.local` are a browser's way to hide its address.
    package var address: String
    package var port: Int
    package var kind: Kind
    package var tcpKind: TCPKind?

    package init(
        foundation: String, component: Int = 1, transport: ICETransport, priority: UInt32, address: String, port: Int,
        kind: Kind = .host, tcpKind: TCPKind? = nil
    ) {
        self.foundation = foundation
        self.component = component
        self.transport = transport
        self.priority = priority
        self.address = address
        self.port = port
        self.kind = kind
        self.tcpKind = tcpKind
    }

    /// Parses what follows `a=candidate:`; unknown extensions are ignored. `nil` if it is malformed or its transport or
    /// kind is unknown.
    package init?(parsing value: String) {
        let fields = value.split(separator: " ")
        guard fields.count >= 8, fields[6] == "typ", (1...32).contains(fields[0].utf8.count),
            let component = SDPNumber.unsigned(fields[1], maximum: 256), component > 0,
            let transport = ICETransport(rawValue: fields[2].lowercased()),
            let priority = SDPNumber.unsigned(fields[3], maximum: Int(UInt32.max)),
            fields[4].utf8.count <= 253, let port = SDPNumber.unsigned(fields[5], maximum: 65_535),
            let kind = Kind(rawValue: String(fields[7]))
        else { return nil }
        var tcpKind: TCPKind?
        for index in stride(from: 8, to: fields.count - 1, by: 2) where fields[index] == "tcptype" {
            tcpKind = TCPKind(rawValue: String(fields[index + 1]))
        }
        self.init(
            foundation: String(fields[0]), component: component, transport: transport, priority: UInt32(priority),
            address: String(fields[4]), port: port, kind: kind, tcpKind: tcpKind)
    }

    /// What follows `a=candidate:`.
    package var value: String {
        let text =
            "\(self.foundation) \(self.component) \(self.transport.rawValue) \(self.priority) \(self.address) "
            + "\(self.port) typ \(self.kind.rawValue)"
        return text + (self.tcpKind.map { " tcptype \($0.rawValue)" } ?? "")
    }

    /// The address is an mDNS name that only the peer's own network resolves.
    package var isHidden: Bool { self.address.lowercased().hasSuffix(".local") }
}

/// Where the node can be reached: what its candidates are made of.
package struct ICEEndpoint: Sendable, Hashable {
    /// An IPv4 or IPv6 address without brackets, or a name.
    package var address: String
    package var port: Int
    package var transport: ICETransport

    package init(address: String, port: Int, transport: ICETransport) {
        self.address = address
        self.port = port
        self.transport = transport
    }
}

extension ICECandidate {
    /// Host candidates of endpoints, the best one first in the list; TCP ones are passive. Duplicates are left out.
    ///
    /// UDP comes before TCP whatever the order, as some clients try the first line only; inside a transport the order
    /// of the endpoints is the order of preference. Priorities differ from each other. Spec: RFC 8445 §5.1.2,
    /// RFC 6544 §4.2.
    package static func candidates(for endpoints: [ICEEndpoint]) -> [ICECandidate] {
        var seen: Set<ICEEndpoint> = []
        let unique = endpoints.filter { seen.insert($0).inserted }
        let ordered = unique.filter { $0.transport == .udp } + unique.filter { $0.transport == .tcp }
        var foundations: [ICEEndpoint: Int] = [:]
        return ordered.prefix(Self.maximumLocalCandidates).enumerated().map { index, endpoint in
            // Ports do not tell foundations apart.
            var base = endpoint
            base.port = 0
            let foundation = foundations[base] ?? foundations.count + 1
            foundations[base] = foundation
            let isUDP = endpoint.transport == .udp
            let preference = isUDP ? UInt32(65_535 - index) : 4 << 13 | UInt32(8191 - index)
            return ICECandidate(
                foundation: "\(foundation)", transport: endpoint.transport,
                priority: (isUDP ? 126 : 90) << 24 | preference << 8 | 255, address: endpoint.address,
                port: endpoint.port, tcpKind: isUDP ? nil : .passive)
        }
    }

    /// Lines behind `a=candidate:` for endpoints, in the order of `candidates(for:)`.
    package static func lines(for endpoints: [ICEEndpoint]) -> [String] {
        self.candidates(for: endpoints).map(\.value)
    }

    private static let maximumLocalCandidates = 64
}

/// A way between one of our sockets and one of the peer's addresses.
package struct ICEPath: Sendable, Hashable {
    package var transport: ICETransport
    package var local: SocketAddress
    package var remote: SocketAddress

    package init(transport: ICETransport, local: SocketAddress, remote: SocketAddress) {
        self.transport = transport
        self.local = local
        self.remote = remote
    }
}
